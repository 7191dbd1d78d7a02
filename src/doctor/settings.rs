//! The settings: every problem at once, and what can still be checked with those that are right. Makes no request.

use super::{Area, Finding};
use crate::config::{Lookup, NIGHTLY_SCHEDULE as SCHEDULE, Problem, Settings, UnknownName, is_of_table, unknown_names};
use crate::host::{never_fires, schedule_problems};
use crate::orchestration::instance::TableRun;
use crate::outbound::{HTTPS_PROXY, Proxy, TrustedHosts};

const ID: &str = "settings";
/// What takes the place of a setting that has to be there, so that the others can be read. Nothing is ever asked of it.
const NOWHERE: [(&str, &str); 2] = [("ADX_CLUSTER_URI", "https://nowhere.invalid"), ("ADX_DATABASE", "nowhere")];
/// The settings of the hunting service and of the cluster: with one of them wrong, the service is not asked.
const OF_HUNTING: [&str; 2] = ["DEFENDER_HUNTING_API_URL", "DEFENDER_RESOURCE_URI"];
const OF_CLUSTER: [&str; 2] = ["ADX_CLUSTER_URI", "ADX_DATABASE"];
const OF_INGESTION: [&str; 2] = ["ADX_INGEST_URI", "ADX_INGESTION"];
/// Tells a function app, or what is meant to be one.
const OF_AN_APP: &str = "FUNCTIONS_WORKER_RUNTIME";
const OF_METADATA: [&str; 5] = ["CONFIG_TABLE", "CONFIG_VIEW", "AUDIT_TABLE", "CHUNK_AUDIT_TABLE", "CHUNK_AUDIT_VIEW"];

/// The settings as far as they are right.
pub(super) struct Usable {
    /// `None`: not even that.
    pub settings: Option<Settings>,
    problems: Vec<Problem>,
    /// What is set and not read.
    misspelt: Vec<UnknownName>,
}

impl Usable {
    /// Reads all of them.
    pub fn read(lookup: Lookup<'_>, names: &[String]) -> Self {
        let misspelt = unknown_names(names);
        let problems = match Settings::parse_all(lookup, names) {
            Ok(settings) => return Self { settings: Some(settings), problems: Vec::new(), misspelt },
            Err(problems) => problems.0,
        };
        let is_wrong = |name: &str| problems.iter().any(|problem| problem.name == name);
        let corrected = |name: &str| match is_wrong(name) {
            true => NOWHERE.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
            false => lookup(name),
        };
        let names: Vec<String> = names.iter().filter(|name| !is_wrong(name)).cloned().collect();
        Self { settings: Settings::parse_all(&corrected, &names).ok(), problems, misspelt }
    }

    /// One finding per problem, of these settings and of `others`, and of what is `ignored` because it cannot be read; or that
    /// there is none.
    pub fn findings(&self, others: Vec<Problem>, ignored: Vec<Problem>) -> Vec<Finding> {
        let mut found: Vec<Finding> = Vec::new();
        for problem in self.problems.iter().cloned().chain(others) {
            let id = id_of(&problem.name);
            // Two readers of one setting say the same.
            if found.iter().all(|known| known.id != id) {
                found.push(Finding::fail(Area::Settings, id, problem.message, remedy(&problem.name)));
            }
        }
        found.extend(self.misspelt.iter().map(|unknown| {
            let meant = unknown.meant.map_or_else(String::new, |meant| format!("call it {meant}, or "));
            Finding::warn(Area::Settings, id_of(&unknown.name), unknown.to_string(), format!("{meant}remove it"))
        }));
        found.extend(ignored.into_iter().map(|problem| {
            let remedy = format!("correct {}, or remove it", problem.name);
            Finding::warn(Area::Settings, id_of(&problem.name), problem.message, remedy)
        }));
        if found.is_empty() {
            found.push(Finding::pass(Area::Settings, ID, "all that are set can be read"));
        }
        found
    }

    /// The check that failed because of which the hunting service is not asked.
    pub fn no_hunting(&self) -> Option<String> {
        self.wrong(&OF_HUNTING)
    }

    /// The same of the cluster.
    pub fn no_cluster(&self) -> Option<String> {
        self.wrong(&OF_CLUSTER)
    }

    /// The same of its ingestion endpoint.
    pub fn no_ingestion(&self) -> Option<String> {
        self.wrong(&OF_CLUSTER).or_else(|| self.wrong(&OF_INGESTION))
    }

    /// The same of the metadata tables.
    pub fn no_metadata(&self) -> Option<String> {
        self.wrong(&OF_CLUSTER).or_else(|| self.wrong(&OF_METADATA))
    }

    fn wrong(&self, names: &[&str]) -> Option<String> {
        if self.settings.is_none() {
            return Some(quoted(ID));
        }
        let wrong = self.problems.iter().find(|problem| names.contains(&problem.name.as_str()));
        wrong.map(|problem| quoted(&id_of(&problem.name)))
    }
}

/// What the host of the functions will refuse: the schedule of the nightly run, and the time zone that it counts in.
pub(super) fn of_the_timer(lookup: Lookup<'_>, names: &[String]) -> Vec<Problem> {
    let environment: Vec<(String, String)> =
        names.iter().filter_map(|name| Some((name.clone(), lookup(name)?))).collect();
    let problems = schedule_problems(&environment, SCHEDULE).into_iter();
    problems.map(|(name, message)| Problem { name: name.to_owned(), message }).collect()
}

/// What keeps the nightly run from its time without being wrong.
pub(super) fn without_a_time(lookup: Lookup<'_>) -> Option<Finding> {
    let warn =
        |what: &str| Finding::warn(Area::Settings, id_of(SCHEDULE), format!("{SCHEDULE}{what}"), remedy(SCHEDULE));
    match lookup(SCHEDULE) {
        Some(schedule) if never_fires(&schedule) => {
            Some(warn(&format!(": `{schedule}` is a time that never comes: there is no nightly run")))
        }
        Some(_) => None,
        None => lookup(OF_AN_APP).map(|_| {
            warn(" is not set: a Functions host leaves the function `nightly` out, so that no run begins by itself")
        }),
    }
}

/// The way out through a proxy, which other checks that fail may be about.
pub(super) fn of_the_proxy(proxy: &Result<Option<Proxy>, String>) -> Option<Finding> {
    let proxy = proxy.as_ref().ok()?.as_ref()?;
    Some(Finding::pass(Area::Settings, id_of(HTTPS_PROXY), proxy.described()))
}

/// What is set above what a run makes use of.
pub(super) fn of_the_limits(lookup: Lookup<'_>, settings: &Settings) -> Vec<Finding> {
    let limits = &settings.limits;
    let set = |name: &str, used: u64| {
        let number = lookup(name)?.trim().parse::<u64>().ok()?;
        (number > used).then(|| (id_of(name), format!("{name} is {number}, of which {used} can be used")))
    };
    let lanes = set(LANES, u64::from(limits.lanes)).map(|(id, what)| {
        let (calls, tables) = (limits.quota.per_minute, limits.tables_at_once);
        Finding::warn(
            Area::Settings,
            id,
            format!("{what}: {calls} calls a minute are for {tables} tables at once"),
            format!("set {LANES}={}, or {TABLES} below {tables}; the quota is what decides", limits.lanes),
        )
    });
    let tables = set(TABLES, u64::from(limits.tables_at_once)).map(|(id, what)| {
        let what = format!(
            "{what}: of {} calls a minute the plans of more would keep the counts waiting",
            limits.quota.per_minute
        );
        Finding::warn(Area::Settings, id, what, format!("set {TABLES}={}, or less", limits.tables_at_once))
    });
    let rows = set(ROWS, limits.window_rows).map(|(id, what)| {
        let what = format!("{what}: the hunting API gives no more rows in one answer");
        Finding::warn(Area::Settings, id, what, format!("set {ROWS}={}, or remove it", limits.window_rows))
    });
    lanes.into_iter().chain(tables).chain(rows).collect()
}

/// What is listed as trusted and names no host.
pub(super) fn of_the_trusted(settings: &Settings) -> Option<Finding> {
    let useless = TrustedHosts::useless(&settings.trusted_hosts);
    let quotes: Vec<String> = useless.iter().map(|entry| quoted(entry)).collect();
    (!quotes.is_empty()).then(|| {
        Finding::warn(
            Area::Settings,
            id_of(TRUSTED),
            format!("{TRUSTED} has what can match no host: {}", quotes.join(", ")),
            "list whole names, with or without a port, and commas between them; those of the cloud that AZURE_AUTHORITY_HOST names need \
             not be listed",
        )
    })
}

/// Settings of single tables that are none of `destinations`.
pub(super) fn of_other_tables(names: &[String], settings: &Settings, tables: &[TableRun]) -> Vec<Finding> {
    let destinations = tables.iter().map(|table| table.config.destination.as_str());
    let unmatched = settings.tables.unmatched(destinations);
    let config = settings.names.config_table.as_str();
    let found = names.iter().filter_map(|name| Some((name, unmatched.iter().find(|table| is_of_table(name, table))?)));
    found
        .map(|(name, table)| {
            let what = format!("{name}: no active row of {config} copies to {table}");
            Finding::warn(
                Area::Settings,
                id_of(name),
                what,
                "name its DestinationTable, in the same case, or remove it",
            )
        })
        .collect()
}

const LANES: &str = "MAX_THREAD_WORKERS";
const TABLES: &str = "MAX_CONCURRENT_TASKS";
const ROWS: &str = "CHUNK_SIZE";
const TRUSTED: &str = "TRUSTED_HOSTS";

/// What the file of settings is called.
const LOCAL_SETTINGS: &str = "local.settings.json";

pub(super) fn id_of(setting: &str) -> String {
    format!("{ID}.{setting}")
}

/// An id as it stands in a text.
pub(super) fn quoted(id: &str) -> String {
    format!("`{id}`")
}

fn remedy(setting: &str) -> String {
    if setting == LOCAL_SETTINGS {
        return format!("correct {setting} in the app root, or name the folder that has host.json with --app-root");
    }
    let form = match setting {
        "ADX_CLUSTER_URI" => "https://CLUSTER.REGION.kusto.windows.net",
        "ADX_DATABASE" => "DATABASE",
        SCHEDULE => "0 0 2 * * *",
        HTTPS_PROXY => "http://PROXY:PORT",
        "WEBSITE_TIME_ZONE" | "TZ" => "Europe/Berlin",
        _ => "VALUE",
    };
    let from = match setting {
        "ADX_CLUSTER_URI" => " (the URI on the Overview page of the cluster in the Azure portal)",
        SCHEDULE => " (second, minute, hour, day, month, weekday: `0 0 2 * * *` is every night at 02:00)",
        // Azure-docs `azure-functions/functions-app-settings`, "WEBSITE_TIME_ZONE".
        "WEBSITE_TIME_ZONE" | "TZ" => " (Flex Consumption knows no other zone than UTC: remove it there)",
        _ => "",
    };
    format!(
        "set {setting} in the environment or in local.settings.json{from}; of a function app: `az functionapp config appsettings \
         set --name APP --resource-group GROUP --settings \"{setting}={form}\"`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;
    use crate::orchestration::head::testing::table;

    fn read(settings: &[(&str, &str)]) -> Usable {
        let lookup = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let names: Vec<String> = settings.iter().map(|(name, _)| (*name).to_owned()).collect();
        Usable::read(&lookup, &names)
    }

    #[test]
    fn each_wrong_setting_is_a_finding_and_the_right_ones_can_be_used() {
        let usable = read(&[
            ("ADX_CLUSTER_URI", "https://c.r.kusto.windows.net"),
            ("CHUNK_SIZE", "many"),
            ("TABLE_RETENTION__T", "x"),
            ("CONFIG_VIEW", "a|b"),
        ]);
        let ids: Vec<String> = usable.findings(Vec::new(), Vec::new()).into_iter().map(|found| found.id).collect();
        assert_eq!(
            ids,
            ["settings.ADX_DATABASE", "settings.CONFIG_VIEW", "settings.TABLE_RETENTION__T", "settings.CHUNK_SIZE"]
        );
        assert_eq!(usable.settings.as_ref().unwrap().cluster.as_str(), "https://c.r.kusto.windows.net/");
        assert_eq!(usable.no_cluster().as_deref(), Some("`settings.ADX_DATABASE`"));
        assert_eq!(usable.no_hunting(), None);
    }

    #[test]
    fn a_setting_that_nothing_reads_is_told_with_the_one_that_was_meant() {
        let settings =
            [("ADX_CLUSTER_URI", "https://c.r.kusto.windows.net"), ("ADX_DATABASE", "D"), ("ADX_INGEST_URL", "x")];
        let [found]: [Finding; 1] = read(&settings).findings(Vec::new(), Vec::new()).try_into().unwrap();
        assert_eq!((found.id.as_str(), found.status), ("settings.ADX_INGEST_URL", Status::Warn));
        assert_eq!(found.remedy.as_deref(), Some("call it ADX_INGEST_URI, or remove it"));
    }

    #[test]
    fn what_is_set_above_what_is_used_is_told_and_what_is_not_set_is_not() {
        let told = |settings: &[(&str, &str)]| {
            let good = [("ADX_CLUSTER_URI", "https://c.r.kusto.windows.net"), ("ADX_DATABASE", "D")];
            let all = [&good[..], settings].concat();
            let lookup = |name: &str| all.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let found = of_the_limits(&lookup, &read(&all).settings.unwrap());
            found.into_iter().map(|found| format!("{} -> {}", found.what, found.remedy.unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(
            told(&[(LANES, "40"), (ROWS, " 500000 ")]),
            [
                "MAX_THREAD_WORKERS is 40, of which 9 can be used: 45 calls a minute are for 5 tables at once -> set \
                 MAX_THREAD_WORKERS=9, or MAX_CONCURRENT_TASKS below 5; the quota is what decides",
                "CHUNK_SIZE is 500000, of which 99000 can be used: the hunting API gives no more rows in one answer -> set \
                 CHUNK_SIZE=99000, or remove it",
            ]
        );
        assert_eq!(
            told(&[(TABLES, "100")]),
            [
                "MAX_CONCURRENT_TASKS is 100, of which 22 can be used: of 45 calls a minute the plans of more would keep the counts waiting -> set \
              MAX_CONCURRENT_TASKS=22, or less"
            ]
        );
        assert!(told(&[("HUNTING_QUOTA_SHARE", "0.5")]).is_empty(), "the default alone is cut");
        assert!(told(&[(LANES, "40"), (TABLES, "1"), (ROWS, "99000")]).is_empty());
    }

    #[test]
    fn trusted_hosts_that_are_none_and_settings_of_tables_that_are_not_copied_are_told() {
        let settings = [
            ("ADX_CLUSTER_URI", "https://c.r.kusto.windows.net"),
            ("ADX_DATABASE", "D"),
            (TRUSTED, "*.kusto.windows.net, a.example"),
            ("TABLE_RETENTION__DeviceEvents", "90d"),
            ("TABLE_RETENTION__DeviceEvent", "90d"),
        ];
        let read = read(&settings).settings.unwrap();
        let found = of_the_trusted(&read).unwrap();
        assert_eq!((found.id.as_str(), found.status), ("settings.TRUSTED_HOSTS", Status::Warn));
        assert_eq!(found.what, "TRUSTED_HOSTS has what can match no host: `*.kusto.windows.net`");
        let names = settings.map(|(name, _)| name.to_owned());
        let mut copied = table();
        copied.config.destination = "DeviceEvents".to_owned();
        let [found] = &of_other_tables(&names, &read, &[copied])[..] else { panic!("not one") };
        assert_eq!((found.id.as_str(), found.status), ("settings.TABLE_RETENTION__DeviceEvent", Status::Warn));
        assert!(
            found.what.ends_with("no active row of meta_MigrationConfiguration copies to DeviceEvent"),
            "{found:?}"
        );
    }

    #[test]
    fn a_nightly_run_that_has_no_time_is_told() {
        let told = |settings: &[(&str, &str)]| {
            let lookup =
                |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            without_a_time(&lookup).map(|found| found.what)
        };
        let (app, custom) = (OF_AN_APP, "custom");
        assert!(told(&[(app, custom)]).unwrap().starts_with("NIGHTLY_SCHEDULE is not set"));
        assert!(told(&[(SCHEDULE, "0 0 0 30 2 *")]).unwrap().contains("never comes"));
        for fine in
            [&[(app, custom), (SCHEDULE, "0 0 2 * * *")][..], &[(SCHEDULE, "12:00:00")], &[(SCHEDULE, "at two")], &[]]
        {
            assert_eq!(told(fine), None);
        }
    }

    #[test]
    fn a_wrong_hunting_endpoint_is_never_replaced_by_another_one() {
        let usable = read(&[
            ("ADX_CLUSTER_URI", "https://c.r.kusto.windows.net"),
            ("ADX_DATABASE", "D"),
            ("DEFENDER_HUNTING_API_URL", "graph"),
        ]);
        assert_eq!(usable.no_hunting().as_deref(), Some("`settings.DEFENDER_HUNTING_API_URL`"));
        assert_eq!((usable.no_cluster(), usable.no_metadata(), usable.no_ingestion()), (None, None, None));
    }
}
