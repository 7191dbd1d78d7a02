//! The state store: opened as a run opens it, and each of its services looked at. A file that is not there is not made.

use super::settings::quoted;
use super::{Area, Finding, STEP, Status};
use crate::config::{Lookup, Problem, StateStore};
use crate::storage::{Connection, Storage, azure, look, sqlite};
use crate::timestamp::Clock;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const STORE: &str = "state.store";
/// The services of an account: the check, the role for it, and the settings that say where it is.
const SERVICES: [(&str, &str, &str); 3] = [
    ("state.tables", "Table", "TableEndpoint or AzureWebJobsStorage__tableServiceUri"),
    ("state.queues", "Queue", "QueueEndpoint or AzureWebJobsStorage__queueServiceUri"),
    ("state.blobs", "Blob", "BlobEndpoint or AzureWebJobsStorage__blobServiceUri"),
];

/// Where the state is.
pub(super) enum Place {
    File(PathBuf),
    Account(Box<Connection>),
    /// A setting is wrong: the check that says so.
    Unknown(String),
}

/// What was found of it.
pub(super) struct Stored {
    pub findings: Vec<Finding>,
    /// The store itself, where it is there and its tables can be read; it repeats nothing.
    pub storage: Option<Storage>,
    /// The clock of an account, which learns from its answers.
    pub clock: Option<Arc<dyn Clock>>,
    /// The check because of which nobody knows what is in it; none where it is not there yet.
    pub cause: Option<String>,
}

impl Place {
    /// Reads the settings; `default` stands for an unset one.
    pub fn read(lookup: Lookup<'_>, default: StateStore) -> (Self, Vec<Problem>) {
        let wrong = |problems: Vec<Problem>| {
            let cause = problems.first().map(|problem| super::settings::id_of(&problem.name)).unwrap_or_default();
            (Self::Unknown(quoted(&cause)), problems)
        };
        match StateStore::parse(lookup, default) {
            Err(problems) => wrong(problems.0),
            Ok(StateStore::Sqlite(path)) => (Self::File(path), Vec::new()),
            Ok(StateStore::Azure) => match Connection::parse(lookup) {
                Ok(connection) => (Self::Account(Box::new(connection)), Vec::new()),
                Err(problems) => wrong(problems.0),
            },
        }
    }

    /// Opens the store and looks at it.
    pub async fn look(&self, lookup: Lookup<'_>, http: Option<&reqwest::Client>, clock: &Arc<dyn Clock>) -> Stored {
        match (self, http) {
            (Self::File(path), _) => of_file(path, clock).await,
            (Self::Account(connection), Some(http)) => of_account(connection, lookup, http, clock).await,
            (Self::Account(_), None) => skipped(&quoted(super::identity::KIND)),
            (Self::Unknown(cause), _) => skipped(cause),
        }
    }
}

fn alone(finding: Finding) -> Stored {
    let cause = (finding.status == Status::Fail).then(|| quoted(STORE));
    Stored { findings: vec![finding], storage: None, clock: None, cause }
}

fn skipped(cause: &str) -> Stored {
    Stored { cause: Some(cause.to_owned()), ..alone(Finding::skip(Area::State, STORE, cause)) }
}

async fn of_file(path: &Path, clock: &Arc<dyn Clock>) -> Stored {
    let shown = path.display();
    // What is empty would be filled by opening it.
    if std::fs::metadata(path).map_or(true, |file| file.is_file() && file.len() == 0) {
        return alone(match path.ancestors().skip(1).find(|folder| folder.exists()) {
            Some(folder) if !folder.is_dir() => Finding::fail(
                Area::State,
                STORE,
                format!("{shown} cannot be made: {} is no folder", folder.display()),
                "set STATE_STORE=sqlite:PATH to a file in a folder on a local disk",
            ),
            folder => match folder.and_then(unwritable) {
                Some(error) => not_written(format!("{shown} cannot be made ({error})")),
                None => Finding::pass(Area::State, STORE, format!("no state yet; the first start makes {shown}")),
            },
        });
    }
    // Beside it there are files of what is not yet in it.
    let file = std::fs::OpenOptions::new().append(true).open(path).err();
    if let Some(error) = file.or_else(|| path.parent().and_then(unwritable)) {
        return alone(not_written(format!("{shown} or its folder may not be written ({error})")));
    }
    let (own, clock) = (path.to_owned(), Arc::clone(clock));
    let opening = tokio::task::spawn_blocking(move || sqlite(&own, clock));
    let failed = |why: String| {
        let remedy = "set STATE_STORE=sqlite:PATH to a state store of this app, or to a file that is not there yet";
        alone(Finding::fail(Area::State, STORE, why, remedy))
    };
    match tokio::time::timeout(STEP, opening).await {
        Ok(Ok(Ok(storage))) => {
            let findings = vec![Finding::pass(Area::State, STORE, format!("sqlite:{shown}"))];
            Stored { findings, storage: Some(storage), clock: None, cause: None }
        }
        Ok(Ok(Err(error))) => failed(error.to_string()),
        Ok(Err(error)) => failed(format!("{shown} could not be opened: {error}")),
        Err(_) => failed(format!("{shown} could not be opened within {} s: another process holds it", STEP.as_secs())),
    }
}

fn not_written(what: String) -> Finding {
    let remedy = "let the account that runs the app write there (`chown` or `chmod`; a container needs a volume), or set \
                  STATE_STORE=sqlite:PATH to a file in another folder on a local disk";
    Finding::fail(Area::State, STORE, what, remedy)
}

/// More than an empty file takes: a full disk has no room for it.
const TRIAL_BYTES: usize = 256 * 1024;

/// Why nothing can be written in a folder. What it is tried with is gone again.
fn unwritable(folder: &Path) -> Option<std::io::Error> {
    // That of a name alone.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let trial = folder.join(format!(".adxingestor-doctor-{}", std::process::id()));
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&trial);
    let Ok(mut file) = made else { return made.err() };
    let written = file.write_all(&vec![0x5a; TRIAL_BYTES]).and_then(|()| file.sync_all());
    written.and(std::fs::remove_file(&trial).map(drop)).err()
}

async fn of_account(
    connection: &Connection,
    lookup: Lookup<'_>,
    http: &reqwest::Client,
    clock: &Arc<dyn Clock>,
) -> Stored {
    let (storage, place) = match azure(connection, lookup, http.clone(), Arc::clone(clock)) {
        Ok(opened) => opened,
        Err(error) => {
            let remedy = "describe the identity for the account with AzureWebJobsStorage__credential and \
                          AzureWebJobsStorage__clientId, or set AzureWebJobsStorage to a connection string";
            return alone(Finding::fail(Area::State, STORE, error.to_string(), remedy));
        }
    };
    let mut findings = vec![Finding::pass(Area::State, STORE, format!("azure, {place}"))];
    let ended = look(&storage, STEP).await;
    let tables_answer = ended[0].is_none();
    for ((id, service, settings), error) in SERVICES.into_iter().zip(ended) {
        findings.push(match error {
            None => Finding::pass(Area::State, id, format!("the {} service answers", service.to_lowercase())),
            Some(error) => {
                let error = error.to_string();
                let remedy = remedy(&error, connection.account(), service, settings);
                Finding::fail(Area::State, id, error, remedy)
            }
        });
    }
    let clock = Some(Arc::clone(&storage.clock));
    let cause = (!tables_answer).then(|| quoted(SERVICES[0].0));
    Stored { findings, storage: tables_answer.then_some(storage), clock, cause }
}

fn remedy(error: &str, account: &str, service: &str, settings: &str) -> String {
    if error.contains("lacks the role") {
        return format!(
            "`az role assignment create --role \"Storage {service} Data Contributor\" --assignee <object id of the identity> --scope \
             \"$(az storage account show --name {account} --query id --output tsv)\"`"
        );
    }
    if error.contains("the identity for AzureWebJobsStorage") {
        return "mend the identity as it says; for the account AzureWebJobsStorage__credential and AzureWebJobsStorage__clientId \
                describe it"
            .to_owned();
    }
    if error.contains("network rules") {
        return format!(
            "let this machine's address in: `az storage account network-rule add --account-name {account} --ip-address ADDRESS`, or \
             run in a network that the account lets in (Networking of the storage account in the Azure portal)"
        );
    }
    if error.contains("AccountKey") {
        return format!(
            "take a connection string from `az storage account show-connection-string --name {account}` and set \
             AzureWebJobsStorage to it"
        );
    }
    if error.contains("shared access signature") {
        return format!(
            "make a new one on the page Shared access signature of storage account {account} in the Azure portal (services blob, \
             queue, table; types service, container, object), and set AzureWebJobsStorage to its connection string"
        );
    }
    format!("check AzureWebJobsStorage ({settings}) and the network rules of storage account {account}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::SystemClock;

    async fn of(path: &Path) -> Stored {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        of_file(path, &clock).await
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state.db");
        let stored = of(&path).await;
        assert_eq!((stored.findings[0].status, stored.storage.is_none()), (Status::Pass, true));
        assert!(!folder.path().join("deep").exists());
    }

    #[tokio::test]
    async fn a_file_of_something_else_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "these are notes, and not a database of any kind").unwrap();
        let stored = of(&path).await;
        assert_eq!(stored.findings[0].status, Status::Fail, "{:?}", stored.findings);
        assert_eq!(of(&path.join("state.db")).await.findings[0].status, Status::Fail);
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("these are notes"));
    }
}
