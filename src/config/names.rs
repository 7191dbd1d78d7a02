//! The names of all settings in one list, and what is set beside them that looks like one of them and has no effect. Reads no value.

use super::tables;
use crate::host::HOST_PID;
use crate::outbound::MANAGED_IDENTITY_RESOURCE_ID;
use crate::spelling::alike;
use std::fmt;

/// By how much times are shrunk; the embedded host hands it to its handler.
pub const TIME_SCALE: &str = "ADXINGESTOR_TIME_SCALE";
/// What is logged, as directives of `tracing-subscriber`.
pub const LOG: &str = "ADXINGESTOR_LOG";
/// In which form: `json` or `text`.
pub const LOG_FORMAT: &str = "ADXINGESTOR_LOG_FORMAT";
/// When the nightly run begins.
pub const NIGHTLY_SCHEDULE: &str = "NIGHTLY_SCHEDULE";

/// What a person sets (docs/settings.md), without the standard variables of OpenTelemetry, whose SDK reads them, and those of
/// single tables.
const SETTINGS: [&str; 43] = [
    "ADXINGESTOR_LOG",
    "ADXINGESTOR_LOG_FORMAT",
    "ADX_CLUSTER_URI",
    "ADX_DATABASE",
    "ADX_INGESTION",
    "ADX_INGEST_URI",
    "AUDIT_TABLE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_TOKEN_CREDENTIALS",
    "AzureWebJobsStorage",
    "CHUNK_AUDIT_TABLE",
    "CHUNK_AUDIT_VIEW",
    "CHUNK_ID",
    "CHUNK_SIZE",
    "CONFIG_TABLE",
    "CONFIG_VIEW",
    "CREATION_TIME",
    "DEFENDER_HUNTING_API_URL",
    "DEFENDER_RESOURCE_URI",
    "EXTENT_TAGS_RETENTION",
    "HISTORY_DAYS",
    "HUNTING_CALLS_PER_HOUR",
    "HUNTING_CALLS_PER_MINUTE",
    "HUNTING_QUOTA_SHARE",
    "LOOK_BACK_HOURS",
    "MAX_CONCURRENT_TASKS",
    "MAX_THREAD_WORKERS",
    "NIGHTLY_SCHEDULE",
    "OVERSIZE_ROWS",
    "REPAIR",
    "ROW_FORMAT",
    "SETTLING_LAG_MINUTES",
    "STATE_STORE",
    "STATE_TABLE",
    "TABLE_BATCHING",
    "TABLE_CACHING",
    "TABLE_ENCODING",
    "TABLE_FOLDER",
    "TABLE_RETENTION",
    "TRUSTED_HOSTS",
];

/// The parts of the state store's connection by identity (azure-docs `articles/azure-functions/functions-reference.md`).
const CONNECTION: [&str; 9] = [
    "AzureWebJobsStorage__accountName",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__clientSecret",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__managedIdentityResourceId",
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
    "AzureWebJobsStorage__tenantId",
];

/// What the platform, or this program's own host, tells a handler.
const TOLD: [&str; 5] =
    [TIME_SCALE, HOST_PID, MANAGED_IDENTITY_RESOURCE_ID, "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT"];

/// What the names of this program's settings begin with, and nobody else's.
const OURS: [&str; 4] = ["ADXINGESTOR_", "ADX_", "DEFENDER_", "HUNTING_"];
/// How alike a name has to be to that of a setting, from 0 to 1, to be taken for it although it might be somebody else's.
const MISSPELT: f64 = 0.85;
/// The same of one that begins as ours do.
const MEANT: f64 = 0.5;

/// Something that is set, and that nothing reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    /// As it is set.
    pub name: String,
    /// The setting that was probably meant.
    pub meant: Option<&'static str>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is set, but is no setting of this program and has no effect", self.name)?;
        self.meant.map_or(Ok(()), |meant| write!(f, "; did you mean {meant}?"))
    }
}

/// What of `names`, those of all that is set, is taken for a misspelt setting: what begins as this program's own do, and what is very
/// like one of them. What else an environment holds is nobody's business here.
pub fn unknown_names(names: &[String]) -> Vec<UnknownName> {
    let mut unknown: Vec<UnknownName> = names.iter().filter_map(|name| misspelt(name)).collect();
    unknown.sort_by(|left, right| left.name.cmp(&right.name));
    unknown.dedup();
    unknown
}

fn all() -> impl Iterator<Item = &'static str> {
    SETTINGS.into_iter().chain(CONNECTION).chain(TOLD)
}

fn is_known(name: &str) -> bool {
    let is_of_table = |name: &str| name.split_once("__").is_some_and(|(setting, _)| tables::NAMES.contains(&setting));
    // The parts of a connection may be joined by a colon as well.
    let joined = name.replace(':', "__");
    all().any(|known| known == joined) || is_of_table(&joined)
}

fn misspelt(name: &str) -> Option<UnknownName> {
    if is_known(name) {
        return None;
    }
    let ours = OURS.iter().any(|prefix| name.starts_with(prefix));
    let nearest = all().map(|known| (alike(name, known), known)).max_by(|(left, _), (right, _)| left.total_cmp(right));
    let meant = nearest.filter(|(alike, _)| *alike >= if ours { MEANT } else { MISSPELT }).map(|(_, known)| known);
    (ours || meant.is_some()).then(|| UnknownName { name: name.to_owned(), meant })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, StateStore, cloud, time_scale, trusted_hosts};
    use crate::storage::Connection;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    fn told(names: &[&str]) -> Vec<(String, Option<&'static str>)> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        unknown_names(&names).into_iter().map(|unknown| (unknown.name, unknown.meant)).collect()
    }

    #[test]
    fn a_misspelt_setting_is_told_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("ADX_CLUSTER", "ADX_CLUSTER_URI"),
            ("HUNTING_CALL_PER_MINUTE", "HUNTING_CALLS_PER_MINUTE"),
            ("DEFENDER_API_URL", "DEFENDER_HUNTING_API_URL"),
            ("ADXINGESTOR_LOGS", "ADXINGESTOR_LOG"),
            ("STATESTORE", "STATE_STORE"),
            ("MAX_THREADS_WORKERS", "MAX_THREAD_WORKERS"),
            ("azurewebjobsstorage__accountname", "AzureWebJobsStorage__accountName"),
            ("TRUSTED_HOST", "TRUSTED_HOSTS"),
        ] {
            assert_eq!(told(&[name]), [(name.to_owned(), Some(meant))]);
        }
        assert_eq!(told(&["ADX_"]), [("ADX_".to_owned(), None)]);
        let [unknown]: [UnknownName; 1] = unknown_names(&["ADX_CLUSTER".to_owned()]).try_into().unwrap();
        assert!(unknown.to_string().ends_with("has no effect; did you mean ADX_CLUSTER_URI?"), "{unknown}");
    }

    #[test]
    fn what_is_right_and_what_is_somebody_elses_is_not_told_of() {
        let right: Vec<&str> = all().chain(["TABLE_RETENTION__Device_Events", "EXTENT_TAGS_RETENTION__T"]).collect();
        assert_eq!(told(&right), []);
        let others =
            ["PATH", "HOME", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_SUBSCRIPTION_ID", "APPSETTING_ADX_DATABASE"];
        let hosts = ["FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsScriptRoot", "OTEL_SERVICE_NAME", "WEBSITE_HOSTNAME"];
        assert_eq!(told(&[&others[..], &hosts].concat()), []);
    }

    #[test]
    fn every_name_that_is_read_is_in_the_list() {
        let asked = RefCell::new(BTreeSet::new());
        let lookup = |name: &str| {
            asked.borrow_mut().insert(name.to_owned());
            None
        };
        let _ = Settings::parse(&lookup);
        let _ = StateStore::parse(&lookup, StateStore::Azure);
        let _ = Connection::parse(&lookup);
        let _ = (trusted_hosts(&lookup), cloud(&lookup), time_scale(&lookup));
        let unlisted: Vec<String> = asked.into_inner().into_iter().filter(|name| !is_known(name)).collect();
        assert_eq!(unlisted, Vec::<String>::new());
    }

    #[test]
    fn the_documentation_lists_the_same_names() {
        let text = include_str!("../../docs/settings.md");
        let table = text.lines().filter(|line| line.starts_with("| `"));
        let words = table.flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
        let documented: BTreeSet<String> = words.collect();
        let missing: Vec<&str> = SETTINGS.into_iter().filter(|name| !documented.contains(*name)).collect();
        assert_eq!(missing, Vec::<&str>::new(), "docs/settings.md does not name these");
        let first = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let names = first.flat_map(|cell| cell.split('`').step_by(2)).filter(|name| {
            name.len() > 3 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with("OTEL_")
        });
        // Read, and of every program: nothing that is like one of them is taken for it.
        let common = ["HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "WEBSITE_TIME_ZONE"];
        let unlisted: Vec<&str> = names.filter(|name| !is_known(name) && !common.contains(name)).collect();
        assert_eq!(unlisted, Vec::<&str>::new(), "docs/settings.md names these, and nothing reads them");
    }
}
