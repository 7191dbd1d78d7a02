//! `adxingestor setup`: prints what Azure Data Explorer needs, or does it; and what an installation of the Python app has of it.

use super::print_lines;
use super::serve::{pointing_on, ready};
use super::standalone::environment;
use super::store::open;
use adxingestor::app::App;
use adxingestor::config::{Lookup, Repair, StateStore};
use adxingestor::outbound::http_client_by;
use adxingestor::random::SystemRandom;
use adxingestor::remedy::Application;
use adxingestor::setup::{self, Choice, Plan, Wanted};
use adxingestor::state::{State, Tenant};
use adxingestor::storage::{Storage, memory};
use adxingestor::timestamp::SystemClock;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The longest name of a folder; one that fits on a line of a portal.
const LONGEST_FOLDER: usize = 256;

/// The options of `setup`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The tables to copy: `recommended`, `all` that the tenant offers, or names with commas between them.
    #[arg(long, value_name = "recommended|all|A,B")]
    tables: Option<String>,
    /// Do it, instead of printing the commands.
    #[arg(long)]
    apply: bool,
    /// Look at an installation of the Python app: what stays, what is added, what has to be mended first.
    #[arg(long, conflicts_with = "tables")]
    from_python_app: bool,
    /// The folder in ADX of the tables that are copied to.
    #[arg(long, default_value = "Defender")]
    folder: String,
    /// The client id of the app or managed identity that gets the roles.
    /// [default: AZURE_CLIENT_ID]
    #[arg(long)]
    app_id: Option<String>,
    /// The tenant of that app.
    /// [default: AZURE_TENANT_ID]
    #[arg(long)]
    tenant_id: Option<String>,
    /// The folder with host.json and local.settings.json; without STATE_STORE also the one with the state.
    #[arg(long, default_value = ".")]
    app_root: PathBuf,
}

/// Prints, or does, what is needed.
///
/// # Errors
/// Why it could not, and what to do.
pub async fn run(arguments: Arguments, lookup: Lookup<'_>) -> Result<ExitCode, String> {
    let choice = arguments.tables.as_deref().map(Choice::parse).transpose().map_err(|error| error.to_string())?;
    check_folder(&arguments.folder)?;
    let (app_root, environment) = environment(&arguments.app_root, lookup)?;
    let names: Vec<String> = environment.iter().map(|(name, _)| name.clone()).collect();
    let merged = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let http = http_client_by(&merged).map_err(|error| error.to_string());
    let ready = ready(&merged, &names, http.clone()).map_err(pointing_on)?;
    let storage = budget(&app_root, &merged, &http).await;
    let services = ready.services(&storage);
    let identity = identity(&arguments, &services.settings.app)?;
    let (limits, repairs) = (services.settings.limits.clone(), services.settings.repair == Repair::Delete);
    let state = State::new(storage, Arc::new(SystemRandom), Tenant::new(&services.settings.tenant, &limits));
    let app = App { state, limits, services: Ok(Arc::new(services)) };
    setup::find_database(&app, setup::deadline()).await.map_err(|error| error.to_string())?;
    if arguments.from_python_app {
        return existing(&app, &identity, arguments.apply).await;
    }
    let deadline = setup::deadline();
    let (rows, left_out) = match &choice {
        Some(choice) => {
            setup::rows(&app, choice, &arguments.folder, deadline).await.map_err(|error| error.to_string())?
        }
        None => (Vec::new(), vec!["no tables were asked for: add --tables recommended, all, or names".to_owned()]),
    };
    let services = app.services.as_ref().map_err(Clone::clone)?;
    let wanted = Wanted { app: identity, repairs, rows, left_out };
    let plan = setup::plan(&services.catalog, &services.settings.database, &wanted, deadline).await;
    let plan = plan.map_err(|error| error.to_string())?;
    if arguments.apply {
        return carry_out(&app, &plan).await;
    }
    print_lines(plan.to_string().trim_end())?;
    Ok(code(!plan.is_wrong()))
}

async fn existing(app: &App, identity: &Application, apply: bool) -> Result<ExitCode, String> {
    let report = setup::examine(app, identity, setup::deadline()).await.map_err(|error| error.to_string())?;
    print_lines(report.to_string().trim_end())?;
    let done = if apply { carry_out(app, &report.plan()).await? } else { ExitCode::SUCCESS };
    Ok(if report.needs() > 0 { ExitCode::FAILURE } else { done })
}

async fn carry_out(app: &App, plan: &Plan) -> Result<ExitCode, String> {
    let services = app.services.as_ref().map_err(Clone::clone)?;
    // What was begun is done all the same.
    let mut unsaid = Ok(());
    let mut say = |line: &str| {
        if let Err(error) = print_lines(line) {
            unsaid = Err(error);
        }
    };
    let applied = setup::apply(&services.catalog, plan, &mut say, setup::deadline()).await;
    let applied = applied.map_err(|error| error.to_string())?;
    unsaid?;
    match (applied.done, applied.left.as_slice()) {
        (0, []) => print_lines("Nothing was left to do.")?,
        (done, []) => print_lines(&format!("Done: {}.", commands(done)))?,
        (done, left) => print_lines(&format!(
            "Done: {}. Left for a Database Admin, unless the app has these roles already:\n{}",
            commands(done),
            left.join("\n")
        ))?,
    }
    Ok(code(applied.left.is_empty()))
}

fn commands(count: usize) -> String {
    format!("{count} command{}", if count == 1 { "" } else { "s" })
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The store whose budget of hunting calls is shared. Where there is none yet, or it cannot be had, the few calls of setting up are
/// kept to the quota by themselves: nothing is made here.
async fn budget(app_root: &Path, lookup: Lookup<'_>, http: &Result<reqwest::Client, String>) -> Storage {
    let alone = || memory(Arc::new(SystemClock));
    let Ok(store) = StateStore::parse(lookup, StateStore::Sqlite(app_root.join("adxingestor.db"))) else {
        return alone();
    };
    if matches!(&store, StateStore::Sqlite(path) if !path.exists()) {
        return alone();
    }
    let opened = match open(&store, lookup, || http.clone()) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(
                error,
                "the state store cannot be opened; hunting calls are taken out of a budget of their own"
            );
            return alone();
        }
    };
    match opened.look().await {
        Ok(()) => opened.storage,
        Err(error) => {
            tracing::warn!(%error, "hunting calls are taken out of a budget of their own");
            alone()
        }
    }
}

/// Who gets the roles.
fn identity(arguments: &Arguments, known: &Application) -> Result<Application, String> {
    const SUCH_AS: &str = "such as 0f8fad5b-d9cb-469f-a165-70867728950e";
    if let Some(bad) = arguments.app_id.as_ref().filter(|id| !is_guid(id)) {
        return Err(format!("--app-id {bad:?} is not a client id {SUCH_AS}"));
    }
    if let Some(bad) = arguments.tenant_id.as_ref().filter(|id| !is_guid(id) && !is_domain(id)) {
        return Err(format!(
            "--tenant-id {bad:?} is neither the id of a tenant {SUCH_AS} nor a domain such as contoso.com"
        ));
    }
    Ok(Application {
        client: arguments.app_id.clone().or_else(|| known.client.clone()),
        tenant: arguments.tenant_id.clone().or_else(|| known.tenant.clone()),
    })
}

fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    text.contains('.') && text.split('.').all(is_label)
}

fn check_folder(folder: &str) -> Result<(), String> {
    if folder.trim().is_empty() || folder.chars().any(char::is_control) || folder.chars().count() > LONGEST_FOLDER {
        return Err(format!("--folder {folder:?} is not a name of 1 to {LONGEST_FOLDER} characters without line ends"));
    }
    Ok(())
}
