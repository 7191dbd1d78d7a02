//! The settings, parsed once from a lookup that is passed in; every bad setting is reported in one go, by name
//! and expected form. Makes no request.

mod names;
mod tables;

pub use names::{LOG, LOG_FORMAT, NIGHTLY_SCHEDULE, TIME_SCALE, UnknownName, unknown_names};
pub use tables::{TableSettings, is_of_table};

use crate::adx::catalog::Names;
use crate::adx::ingestion::Choice;
use crate::defender::Dialect;
use crate::kql::Identifier;
use crate::orchestration::budget::Quota;
use crate::orchestration::ids::TableKey;
use crate::orchestration::ledger::{ChunkIdPlace, RowFormat};
use crate::orchestration::limits::{Limits, MAX_ROWS};
use crate::outbound::Cloud;
use crate::remedy::Application;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

/// Graph's hunting endpoint.
pub const GRAPH_HUNTING: &str = "https://graph.microsoft.com/v1.0/security/runHuntingQuery";
/// The view of the configuration, unless a setting names another.
pub const CONFIG_VIEW: &str = "vw_meta_LatestMigrationConfiguration";
/// Says which ledger owns a destination; stands beside the metadata tables of the Python app.
const LEDGER_TABLE: &str = "meta_Ledger";

/// Looks a setting up.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One setting that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting.
    pub name: String,
    /// What is wrong, and an accepted form.
    pub message: String,
}

/// All settings that are missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", problem.name, problem.message)?;
        }
        Ok(())
    }
}

/// Whether rows that would land as null are refused before anything is uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OversizeRows {
    /// The window fails, naming the row's size.
    Fail,
    /// They are sent: the destination's limit was raised.
    Ingest,
}

/// What the app does about a window that landed otherwise than it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// It names the command that a person runs.
    Off,
    /// It removes the rows itself.
    Delete,
}

/// What a run works with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster's query URI.
    pub cluster: Url,
    /// The cluster's ingestion URI.
    pub ingest: Url,
    /// The database.
    pub database: String,
    /// The hunting endpoint.
    pub hunting: Url,
    /// The resource that tokens for it are asked for.
    pub hunting_resource: String,
    /// The tenant, as far as it is known.
    pub tenant: String,
    /// The app's own ids, as far as they are known.
    pub app: Application,
    /// Names of the metadata objects.
    pub names: Names,
    /// Hosts that may be given a token besides the clouds' own.
    pub trusted_hosts: Vec<String>,
    /// The format of rows in tables that we create, if set.
    pub row_format: Option<RowFormat>,
    /// The way in which blobs get into their tables.
    pub ingestion: Choice,
    /// What to do with rows above 1 MiB.
    pub oversize_rows: OversizeRows,
    /// `REPAIR`
    pub repair: Repair,
    /// Where the window id goes in tables that are copied for the first time.
    pub chunk_id: ChunkIdPlace,
    /// What is asked of destinations.
    pub tables: TableSettings,
    /// The numbers.
    pub limits: Limits,
}

/// Where state lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateStore {
    /// Azure Storage, by `AzureWebJobsStorage`.
    Azure,
    /// One SQLite file.
    Sqlite(PathBuf),
}

struct Reader<'a> {
    lookup: Lookup<'a>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn value(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn problem(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(Problem { name: name.to_owned(), message: message.into() });
    }

    fn required(&mut self, name: &str, form: &str) -> Option<String> {
        let value = self.value(name);
        if value.is_none() {
            self.problem(name, format!("is not set; set it to {form}"));
        }
        value
    }

    fn url(&mut self, name: &str, text: &str) -> Option<Url> {
        match Url::parse(text) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.problem(name, "holds a user name or a password, which no service of this app takes; remove them");
                None
            }
            Ok(url) if matches!(url.scheme(), "https" | "http") && url.has_host() => Some(url),
            _ => {
                self.problem(
                    name,
                    format!("`{}` is not a URL such as https://cluster.region.kusto.windows.net", cut(text)),
                );
                None
            }
        }
    }

    fn number<T: FromStr + PartialOrd + fmt::Display>(&mut self, name: &str, default: T, least: T, most: T) -> T {
        let Some(text) = self.value(name) else { return default };
        match text.parse::<T>() {
            Ok(number) if number >= least && number <= most => number,
            _ => {
                self.problem(name, format!("`{}` is not a number from {least} to {most}", cut(&text)));
                default
            }
        }
    }

    fn choice<T: Copy>(&mut self, name: &str, default: T, choices: &[(&str, T)]) -> T {
        let Some(text) = self.value(name) else { return default };
        if let Some((_, choice)) = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text)) {
            return *choice;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.problem(name, format!("`{}` is not one of {}", cut(&text), words.join(", ")));
        default
    }

    fn identifier(&mut self, name: &str, default: &str) -> Option<Identifier> {
        let text = self.value(name).unwrap_or_else(|| default.to_owned());
        Identifier::new(&text).map_err(|error| self.problem(name, error.to_string())).ok()
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

impl Settings {
    /// Parses the settings, without those of single tables.
    ///
    /// # Errors
    /// [`Problems`]: all of them at once.
    pub fn parse(lookup: Lookup<'_>) -> Result<Self, Problems> {
        Self::parse_all(lookup, &[])
    }

    /// Parses the settings. `all_names` are those of all that there are: some have the name of a table in theirs.
    ///
    /// # Errors
    /// [`Problems`]: all of them at once.
    pub fn parse_all(lookup: Lookup<'_>, all_names: &[String]) -> Result<Self, Problems> {
        let mut reader = Reader { lookup, problems: Vec::new() };
        let cluster = reader
            .required("ADX_CLUSTER_URI", "the query URI, such as https://cluster.region.kusto.windows.net")
            .and_then(|text| reader.url("ADX_CLUSTER_URI", &text));
        let cluster = cluster.as_ref().map(query_uri);
        let ingest = match reader.value("ADX_INGEST_URI") {
            Some(text) => reader.url("ADX_INGEST_URI", &text),
            None => cluster.as_ref().map(ingestion_uri),
        };
        let database = reader.required("ADX_DATABASE", "the name of the database");
        let hunting = reader.value("DEFENDER_HUNTING_API_URL").unwrap_or_else(|| GRAPH_HUNTING.to_owned());
        let hunting = reader.url("DEFENDER_HUNTING_API_URL", &hunting);
        let hunting_resource = reader.value("DEFENDER_RESOURCE_URI");
        let hunting_resource =
            hunting_resource.or_else(|| hunting.as_ref().map(|url| Dialect::of(url).resource(url))).unwrap_or_default();
        let names = (
            reader.identifier("CONFIG_TABLE", "meta_MigrationConfiguration"),
            reader.identifier("CONFIG_VIEW", CONFIG_VIEW),
            reader.identifier("AUDIT_TABLE", "meta_MigrationAudit"),
            reader.identifier("CHUNK_AUDIT_TABLE", "meta_ChunkIngestionFailures"),
            reader.identifier("CHUNK_AUDIT_VIEW", "vw_meta_LatestChunkIngestionFailures"),
            Identifier::new(LEDGER_TABLE).ok(),
        );
        let row_format = match reader.value("ROW_FORMAT") {
            None => None,
            Some(_) => Some(reader.choice(
                "ROW_FORMAT",
                RowFormat::Compact,
                &[("compact", RowFormat::Compact), ("full", RowFormat::Full)],
            )),
        };
        let oversize_rows = reader.choice(
            "OVERSIZE_ROWS",
            OversizeRows::Fail,
            &[("fail", OversizeRows::Fail), ("ingest", OversizeRows::Ingest)],
        );
        let repair = reader.choice("REPAIR", Repair::Off, &[("off", Repair::Off), ("delete", Repair::Delete)]);
        let ingestion = ingestion(&mut reader);
        let chunk_id = reader.choice(
            "CHUNK_ID",
            ChunkIdPlace::Column,
            &[("column", ChunkIdPlace::Column), ("row", ChunkIdPlace::Row)],
        );
        let tables = TableSettings::parse(&mut reader, all_names);
        let limits = limits(&mut reader, hunting.as_ref().map_or(Dialect::Graph, Dialect::of));
        let app = Application { client: reader.value("AZURE_CLIENT_ID"), tenant: reader.value("AZURE_TENANT_ID") };
        let tenant = app.tenant.clone().unwrap_or_default();
        let trusted_hosts = trusted_hosts(lookup);
        match (cluster, ingest, database, hunting, names) {
            (
                Some(cluster),
                Some(ingest),
                Some(database),
                Some(hunting),
                (
                    Some(config_table),
                    Some(config_view),
                    Some(audit_table),
                    Some(chunk_audit_table),
                    Some(chunk_audit_view),
                    Some(ledger_table),
                ),
            ) if reader.problems.is_empty() => Ok(Self {
                cluster,
                ingest,
                database,
                hunting,
                hunting_resource: hunting_resource.trim_end_matches('/').to_owned(),
                tenant,
                app,
                names: Names {
                    config_table,
                    config_view,
                    audit_table,
                    chunk_audit_table,
                    chunk_audit_view,
                    ledger_table,
                },
                trusted_hosts,
                row_format,
                ingestion,
                oversize_rows,
                repair,
                chunk_id,
                tables,
                limits,
            }),
            _ => Err(Problems(reader.problems)),
        }
    }
}

impl Settings {
    /// The key of a table that is copied with these settings.
    pub fn table_key(&self, source: &str, destination: &str) -> TableKey {
        TableKey::new(&self.tenant, source, &self.cluster_name(), &self.database, destination)
    }

    /// The settings that tell a table's ledger from those of others and can be spelled in several ways, for a person.
    pub fn told_apart_by(&self) -> String {
        let tenant = if self.tenant.is_empty() { "unset" } else { &self.tenant };
        format!("AZURE_TENANT_ID {tenant}, ADX_DATABASE {}", self.database)
    }

    /// What tells the cluster from others in the ledger. A stand-in on loopback is the same on another port.
    pub fn cluster_name(&self) -> String {
        let host = self.cluster.host_str().unwrap_or_default().to_ascii_lowercase();
        match self.cluster.host() {
            Some(url::Host::Ipv4(address)) if address.is_loopback() => "loopback".to_owned(),
            Some(url::Host::Ipv6(address)) if address.is_loopback() => "loopback".to_owned(),
            Some(url::Host::Domain(_)) if host == "localhost" => "loopback".to_owned(),
            _ => format!("{host}{}", self.cluster.path().trim_end_matches('/')),
        }
    }
}

/// The hosts listed in `TRUSTED_HOSTS`.
pub fn trusted_hosts(lookup: Lookup<'_>) -> Vec<String> {
    let listed = lookup("TRUSTED_HOSTS").unwrap_or_default();
    listed.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).collect()
}

/// The cloud that `AZURE_AUTHORITY_HOST` names.
pub fn cloud(lookup: Lookup<'_>) -> Cloud {
    Cloud::of_authority(lookup("AZURE_AUTHORITY_HOST").as_deref())
}

/// By how much host times are divided, from [`TIME_SCALE`]; 1 in production.
pub fn time_scale(lookup: Lookup<'_>) -> f64 {
    lookup(TIME_SCALE).and_then(|text| text.parse().ok()).filter(|scale: &f64| *scale >= 1.0).unwrap_or(1.0)
}

fn ingestion(reader: &mut Reader<'_>) -> Choice {
    let choices =
        [("auto", Choice::Auto), ("queued", Choice::Queued), ("rest", Choice::Rest), ("direct", Choice::Direct)];
    reader.choice("ADX_INGESTION", Choice::Auto, &choices)
}

fn limits(reader: &mut Reader<'_>, dialect: Dialect) -> Limits {
    let mut limits = Limits::scaled(time_scale(reader.lookup));
    let tables = reader.number("MAX_CONCURRENT_TASKS", limits.tables_at_once, 1, 100);
    limits.lanes = reader.number("MAX_THREAD_WORKERS", limits.lanes, 1, 100);
    limits.window_rows = reader.number("CHUNK_SIZE", limits.window_rows, 1, 10_000_000).min(MAX_ROWS);
    limits.quota = quota(reader, limits.quota, dialect);
    // A plan takes up to three calls and comes before the counts of its run: while more of them waited for theirs, the first counts
    // would be overdue. With fewer than a handful a small table would wait for the end of large ones.
    limits.tables_at_once = tables.min((limits.quota.per_minute / 2).max(limits.tables_at_once));
    // The permits of all lanes together are good for a minute at most: a longer queue of them would only be voided by
    // the next pause.
    limits.lanes = limits.lanes.min((limits.quota.per_minute / limits.tables_at_once).max(1));
    let lag = reader.number("SETTLING_LAG_MINUTES", limits.settling_lag.as_secs_f64() / 60.0, 0.0, 1440.0);
    limits.settling_lag = Duration::from_secs_f64(lag * 60.0);
    let hours = reader.number("LOOK_BACK_HOURS", limits.look_back.as_secs() / 3_600, 0, 720);
    limits.look_back = Duration::from_secs(hours * 3_600);
    let days = reader.number("HISTORY_DAYS", limits.history.as_secs() / 86_400, 7, 3_650);
    limits.history = Duration::from_secs(days * 86_400);
    limits
}

/// Calls an hour in the quota of Defender for Endpoint, whatever it allows in a minute (learn.microsoft.com "Advanced hunting
/// API"). The other endpoints name none for the hour.
const ENDPOINT_CALLS_PER_HOUR: u32 = 1_500;

fn quota(reader: &mut Reader<'_>, default: Quota, dialect: Dialect) -> Quota {
    let per_minute = reader.number("HUNTING_CALLS_PER_MINUTE", default.per_minute, 1, 100_000);
    let documented = (dialect == Dialect::Mde).then_some(ENDPOINT_CALLS_PER_HOUR);
    let per_hour = match reader.value("HUNTING_CALLS_PER_HOUR") {
        Some(_) => Some(reader.number("HUNTING_CALLS_PER_HOUR", ENDPOINT_CALLS_PER_HOUR, 1, 6_000_000)),
        None => documented,
    };
    let share = reader.number("HUNTING_QUOTA_SHARE", 1.0, 0.01, 1.0);
    Quota { per_minute, per_hour }.share(share)
}

impl StateStore {
    /// Parses `STATE_STORE`; `default` stands for an unset one.
    ///
    /// # Errors
    /// [`Problems`] with the accepted forms.
    pub fn parse(lookup: Lookup<'_>, default: Self) -> Result<Self, Problems> {
        match lookup("STATE_STORE").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("azure") => Ok(Self::Azure),
            Some(text) => match text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
                Some(path) => Ok(Self::Sqlite(PathBuf::from(path))),
                None => Err(Problems(vec![Problem {
                    name: "STATE_STORE".to_owned(),
                    // Not repeated: it may be a connection string that belongs elsewhere.
                    message: "its value is neither `azure` nor `sqlite:PATH`; a connection string goes into AzureWebJobsStorage"
                        .to_owned(),
                }])),
            },
        }
    }
}

impl fmt::Display for StateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Azure => f.write_str("azure"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

/// What the ingestion endpoint of a cluster has before its host.
const INGEST: &str = "ingest-";

/// The host of a cluster that has an ingestion endpoint beside it: a name, and not one of this machine or of a single box.
fn paired_host(url: &Url) -> Option<&str> {
    let Some(url::Host::Domain(host)) = url.host() else { return None };
    let single = host == "localhost" || host.ends_with(".localhost") || host == "onebox.dev.kusto.windows.net";
    (!single).then_some(host)
}

/// The ingestion URI of a cluster: `ingest-` before the host, as the Kusto SDKs do it; left alone where it is
/// there already or the host is an address or loopback.
pub fn ingestion_uri(cluster: &Url) -> Url {
    let mut uri = cluster.clone();
    if let Some(host) = paired_host(cluster).filter(|host| !host.starts_with(INGEST)) {
        // A host that was valid stays valid with the prefix; should it not, the cluster's own URI is kept.
        let _ = uri.set_host(Some(&format!("{INGEST}{host}")));
    }
    uri
}

/// The query URI of a cluster of which the ingestion URI may have been given: without `ingest-` before the host. It has to
/// stand there, and to leave a name: a cluster may have it anywhere else in its own.
pub fn query_uri(given: &Url) -> Url {
    let mut uri = given.clone();
    let name = paired_host(given).and_then(|host| host.strip_prefix(INGEST));
    if let Some(name) = name.filter(|name| !name.starts_with('.')) {
        let _ = uri.set_host(Some(name));
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(settings: &[(&str, &str)]) -> Result<Settings, Problems> {
        let lookup = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::parse(&lookup)
    }

    const GOOD: [(&str, &str); 2] =
        [("ADX_CLUSTER_URI", "https://c.westeurope.kusto.windows.net"), ("ADX_DATABASE", "db")];

    #[test]
    fn two_settings_are_enough() {
        let settings = parse(&GOOD).unwrap();
        assert_eq!(settings.ingest.as_str(), "https://ingest-c.westeurope.kusto.windows.net/");
        assert_eq!(settings.hunting.as_str(), GRAPH_HUNTING);
        assert_eq!((settings.limits.tables_at_once, settings.limits.lanes), (5, 8));
        assert_eq!(settings.names.config_view.as_str(), "vw_meta_LatestMigrationConfiguration");
    }

    #[test]
    fn a_database_is_the_same_in_every_spelling_of_its_case() {
        let key = |database| {
            let settings = parse(&[GOOD[0], ("ADX_DATABASE", database)]).unwrap();
            settings.table_key("DeviceEvents", "DeviceEvents")
        };
        assert_eq!((key("Defender"), key("DEFENDER")), (key("defender"), key("defender")));
        assert_ne!(key("defender"), key("defenders"));
    }

    #[test]
    fn a_tenant_is_the_same_in_every_spelling_of_its_case() {
        let key = |tenant| {
            let settings = parse(&[&GOOD[..], &[("AZURE_TENANT_ID", tenant)]].concat()).unwrap();
            settings.table_key("DeviceEvents", "DeviceEvents")
        };
        assert_eq!(key("0F8FAD5B-D9CB-469F-A165-70867728950E"), key("0f8fad5b-d9cb-469f-a165-70867728950e"));
        assert_ne!(key("0f8fad5b-d9cb-469f-a165-70867728950e"), key("contoso.onmicrosoft.com"));
    }

    #[test]
    fn what_tells_a_ledger_from_others_is_shown_as_it_is_set() {
        let told = |more: &[(&str, &str)]| parse(&[&GOOD[..], more].concat()).unwrap().told_apart_by();
        assert_eq!(told(&[]), "AZURE_TENANT_ID unset, ADX_DATABASE db");
        assert_eq!(told(&[("AZURE_TENANT_ID", "T")]), "AZURE_TENANT_ID T, ADX_DATABASE db");
    }

    #[test]
    fn tokens_are_for_the_endpoint_unless_a_setting_says_otherwise() {
        let resource = |more: &[(&str, &str)]| parse(&[&GOOD, more].concat()).unwrap().hunting_resource;
        let older = ("DEFENDER_HUNTING_API_URL", "https://api-gov.securitycenter.microsoft.us/api/advancedqueries/run");
        assert_eq!(resource(&[]), "https://graph.microsoft.com");
        assert_eq!(resource(&[older]), "https://api-gov.securitycenter.microsoft.us");
        assert_eq!(resource(&[older, ("DEFENDER_RESOURCE_URI", "https://a.example/")]), "https://a.example");
    }

    #[test]
    fn every_bad_setting_is_named_at_once() {
        let bad = [
            ("ADX_CLUSTER_URI", "cluster"),
            ("CHUNK_SIZE", "many"),
            ("ROW_FORMAT", "tiny"),
            ("CONFIG_TABLE", "a;b"),
            ("MAX_THREAD_WORKERS", "0"),
        ];
        let problems = parse(&bad).unwrap_err();
        let mut names: Vec<&str> = problems.0.iter().map(|p| p.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["ADX_CLUSTER_URI", "ADX_DATABASE", "CHUNK_SIZE", "CONFIG_TABLE", "MAX_THREAD_WORKERS", "ROW_FORMAT"]
        );
    }

    #[test]
    fn the_ledger_knows_a_cluster_whatever_the_spelling_of_its_address() {
        let name = |uri| parse(&[("ADX_CLUSTER_URI", uri), GOOD[1]]).unwrap().cluster_name();
        assert_eq!(name("https://C.westeurope.kusto.windows.net/"), "c.westeurope.kusto.windows.net");
        assert_eq!(name("http://127.0.0.1:8080"), name("http://localhost:9090/"));
    }

    #[test]
    fn an_address_with_a_password_is_refused_and_not_repeated() {
        let problems = parse(&[("ADX_CLUSTER_URI", "https://user:hunter2@c.kusto.windows.net"), GOOD[1]]).unwrap_err();
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }

    #[test]
    fn chunk_size_never_exceeds_what_the_api_can_answer() {
        let settings = parse(&[GOOD[0], GOOD[1], ("CHUNK_SIZE", "500000")]).unwrap();
        assert_eq!(settings.limits.window_rows, MAX_ROWS);
    }

    #[test]
    fn a_history_goes_back_a_week_at_least() {
        let history = |days: &str| parse(&[&GOOD[..], &[("HISTORY_DAYS", days)]].concat());
        assert_eq!(parse(&GOOD).unwrap().limits.history, Duration::from_secs(30 * 86_400));
        assert_eq!(history("7").unwrap().limits.history, Duration::from_secs(7 * 86_400));
        assert!(history("6").unwrap_err().to_string().contains("HISTORY_DAYS"));
    }

    #[test]
    fn the_lanes_of_all_tables_fit_a_minute_of_the_quota() {
        let limits = |more: &[(&str, &str)]| parse(&[&GOOD, more].concat()).unwrap().limits;
        assert_eq!((limits(&[]).lanes, limits(&[]).quota.per_minute), (8, 45));
        assert_eq!(limits(&[("HUNTING_CALLS_PER_MINUTE", "20")]).lanes, 4);
        assert_eq!(limits(&[("HUNTING_CALLS_PER_MINUTE", "1")]).lanes, 1);
        assert_eq!(limits(&[("MAX_THREAD_WORKERS", "40"), ("MAX_CONCURRENT_TASKS", "1")]).lanes, 40);
        for (calls, tables) in [("7", "100"), ("45", "100"), ("45", "20"), ("600", "100")] {
            let limits = limits(&[("HUNTING_CALLS_PER_MINUTE", calls), ("MAX_CONCURRENT_TASKS", tables)]);
            assert!(limits.lanes * limits.tables_at_once <= limits.quota.per_minute, "{calls} {limits:?}");
        }
    }

    #[test]
    fn the_plans_of_the_tables_at_once_take_no_longer_than_a_count_may_wait() {
        let tables = |calls, tables| {
            let more = [("HUNTING_CALLS_PER_MINUTE", calls), ("MAX_CONCURRENT_TASKS", tables)];
            parse(&[&GOOD[..], &more].concat()).unwrap().limits.tables_at_once
        };
        assert_eq!([tables("45", "100"), tables("45", "5"), tables("600", "100"), tables("1", "100")], [22, 5, 100, 5]);
    }

    #[test]
    fn a_share_of_the_quota_is_left_to_others() {
        let quota = |share| parse(&[&GOOD[..], &[("HUNTING_QUOTA_SHARE", share)]].concat()).map(|s| s.limits.quota);
        assert_eq!(quota("0.5").unwrap(), Quota { per_minute: 22, per_hour: None });
        assert_eq!(quota("1").unwrap().per_minute, 45);
        for wrong in ["0", "1.1", "-1", "NaN", "half"] {
            assert!(quota(wrong).unwrap_err().to_string().contains("HUNTING_QUOTA_SHARE"), "{wrong}");
        }
    }

    #[test]
    fn the_hour_is_limited_where_the_service_or_a_setting_does() {
        let hour = |more: &[(&str, &str)]| parse(&[&GOOD, more].concat()).unwrap().limits.quota.per_hour;
        let older = ("DEFENDER_HUNTING_API_URL", "https://api.security.microsoft.com/api/advancedqueries/run");
        assert_eq!((hour(&[]), hour(&[older])), (None, Some(1_500)));
        assert_eq!(hour(&[("HUNTING_CALLS_PER_HOUR", "700")]), Some(700));
        assert_eq!(hour(&[older, ("HUNTING_CALLS_PER_MINUTE", "60")]), Some(1_500), "the hour is not the minute's");
        let problems = parse(&[GOOD[0], GOOD[1], ("HUNTING_CALLS_PER_HOUR", "0")]).unwrap_err();
        assert_eq!(problems.0[0].name, "HUNTING_CALLS_PER_HOUR");
    }

    #[test]
    fn ingest_is_put_before_names_and_not_before_addresses() {
        for (cluster, ingest) in [
            ("https://trd-1.z2.kusto.fabric.microsoft.com", "https://ingest-trd-1.z2.kusto.fabric.microsoft.com/"),
            ("https://ingest-c.kusto.windows.net", "https://ingest-c.kusto.windows.net/"),
            ("https://my-ingest-c.kusto.windows.net", "https://ingest-my-ingest-c.kusto.windows.net/"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("http://localhost:8080", "http://localhost:8080/"),
            ("http://[::1]:8080", "http://[::1]:8080/"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]/"),
            ("https://10.0.0.1", "https://10.0.0.1/"),
            ("https://onebox.dev.kusto.windows.net", "https://onebox.dev.kusto.windows.net/"),
        ] {
            assert_eq!(ingestion_uri(&Url::parse(cluster).unwrap()).as_str(), ingest);
        }
    }

    #[test]
    fn queries_go_to_the_engine_whichever_of_both_addresses_is_given() {
        for (given, cluster, ingest) in [
            (
                "https://ingest-c.r.kusto.windows.net",
                "https://c.r.kusto.windows.net/",
                "https://ingest-c.r.kusto.windows.net/",
            ),
            (
                "https://INGEST-trd-1.z2.kusto.fabric.microsoft.com/",
                "https://trd-1.z2.kusto.fabric.microsoft.com/",
                "https://ingest-trd-1.z2.kusto.fabric.microsoft.com/",
            ),
            (
                "https://c.r.kusto.windows.net",
                "https://c.r.kusto.windows.net/",
                "https://ingest-c.r.kusto.windows.net/",
            ),
            (
                "https://my-ingest-c.r.kusto.windows.net",
                "https://my-ingest-c.r.kusto.windows.net/",
                "https://ingest-my-ingest-c.r.kusto.windows.net/",
            ),
            (
                "https://ingest-.kusto.windows.net",
                "https://ingest-.kusto.windows.net/",
                "https://ingest-.kusto.windows.net/",
            ),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
            ("http://[::1]:8080", "http://[::1]:8080/", "http://[::1]:8080/"),
        ] {
            let settings = parse(&[("ADX_CLUSTER_URI", given), GOOD[1]]).unwrap();
            assert_eq!((settings.cluster.as_str(), settings.ingest.as_str()), (cluster, ingest));
        }
        let given = [GOOD[0], GOOD[1], ("ADX_INGEST_URI", "https://elsewhere.kusto.windows.net")];
        assert_eq!(parse(&given).unwrap().ingest.as_str(), "https://elsewhere.kusto.windows.net/");
    }

    #[test]
    fn the_way_of_ingestion_is_one_of_four() {
        let way = |text| parse(&[GOOD[0], GOOD[1], ("ADX_INGESTION", text)]).map(|settings| settings.ingestion);
        assert_eq!(parse(&GOOD).unwrap().ingestion, Choice::Auto);
        assert_eq!((way("REST"), way("direct")), (Ok(Choice::Rest), Ok(Choice::Direct)));
        assert!(way("streaming").unwrap_err().to_string().contains("auto, queued, rest, direct"));
    }

    #[test]
    fn the_state_store_is_azure_or_a_file() {
        let parse = |text: &'static str| StateStore::parse(&move |_| Some(text.to_owned()), StateStore::Azure);
        assert_eq!(parse("sqlite:/tmp/x.db"), Ok(StateStore::Sqlite("/tmp/x.db".into())));
        assert_eq!(parse(" Azure "), Ok(StateStore::Azure));
        for wrong in ["sqlite:", "postgres", "memory"] {
            assert!(parse(wrong).unwrap_err().to_string().contains("sqlite:PATH"));
        }
    }
}
