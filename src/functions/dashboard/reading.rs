//! What the page shows, as the state store has it: few reads, each bounded. Knows records and not how they are shown.

use super::failures;
use crate::app::App;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::{Instance, TableRun};
use crate::orchestration::ledger::Head;
use crate::orchestration::run::listed::Listed;
use crate::state::{CallUse, Error, Stored, Stretch, readable};
use crate::timestamp::Timestamp;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Runs that are shown besides those that go on.
const RUNS: usize = 12;
/// Runs that go on and are shown; more than a few only come about by `force`.
const ACTIVE_RUNS: usize = 8;
/// Tables that are shown.
const TABLES: usize = 200;
/// Reads at once.
const AT_ONCE: usize = 8;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// The runs that go on, their tables, and the quota.
    Active,
}

/// A run with its tables.
#[derive(Debug, Clone)]
pub struct RunSeen {
    /// The run.
    pub run: Instance,
    /// Its tables, by their place.
    pub tables: Vec<TableRun>,
}

impl RunSeen {
    /// Whether it goes on.
    pub fn is_active(&self) -> bool {
        !self.run.status.is_final()
    }
}

/// A window that failed and is still to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedWindow {
    /// The source table.
    pub table: String,
    /// The destination table.
    pub destination: String,
    /// Behind this.
    pub low: Timestamp,
    /// Up to this.
    pub high: Timestamp,
    /// Rows that it is to bring.
    pub rows: u64,
    /// Why it failed last.
    pub error: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The store's time.
    pub now: Timestamp,
    /// How long a window is claimed for.
    pub lease: Duration,
    /// How much it is.
    pub scope: Scope,
    /// Runs, newest first.
    pub runs: Vec<RunSeen>,
    /// Whether there are more.
    pub runs_cut: bool,
    /// Whether there are more tables.
    pub tables_cut: bool,
    /// The heads that were read.
    pub heads: HashMap<TableKey, Head>,
    /// The tenant's calls.
    pub calls: CallUse,
    /// Windows that failed.
    pub windows: Vec<FailedWindow>,
    /// Whether there are more.
    pub windows_cut: bool,
}

impl Overview {
    /// The tables that are shown, by their names, each with the run that says most of it: one that goes on, or the newest.
    pub fn tables(&self) -> Vec<(&RunSeen, &TableRun)> {
        tables(&self.runs).0
    }
}

fn tables(runs: &[RunSeen]) -> (Vec<(&RunSeen, &TableRun)>, bool) {
    let mut newest: BTreeMap<(&str, &str, &str), (&RunSeen, &TableRun)> = BTreeMap::new();
    let by_weight = runs.iter().filter(|seen| seen.is_active()).chain(runs.iter().filter(|seen| !seen.is_active()));
    for seen in by_weight {
        for table in &seen.tables {
            let name = (table.config.source.as_str(), table.config.destination.as_str(), table.key.as_str());
            newest.entry(name).or_insert((seen, table));
        }
    }
    let cut = newest.len() > TABLES;
    (newest.into_values().take(TABLES).collect(), cut)
}

/// Reads what `scope` says.
///
/// # Errors
/// The store's. A record that cannot be read is logged and left out.
pub async fn read(app: &App, scope: Scope) -> Result<Overview, Error> {
    let places = app.state.each_place().await?.into_iter().map(readable).collect::<Result<Vec<_>, _>>()?;
    let ids = places.into_iter().flatten().map(|place| place.record.instance);
    let mut ids: Vec<InstanceId> = ids.take(ACTIVE_RUNS).collect();
    let mut listed: HashMap<InstanceId, Listed> = HashMap::new();
    let mut runs_cut = false;
    if scope == Scope::All {
        let (entries, more) = app.state.listed(&Stretch::default()).await?;
        runs_cut = more || entries.len() > RUNS;
        for Stored { record, .. } in entries.into_iter().take(RUNS) {
            if !ids.contains(&record.instance) {
                ids.push(record.instance.clone());
                listed.insert(record.instance.clone(), record);
            }
        }
    }
    let mut runs: Vec<RunSeen> = each(ids, |id| run(app, id)).await?;
    // An entry of the list counts while there is such a run, born then.
    runs.retain(|seen| match listed.get(&seen.run.id) {
        Some(entry) => entry.is_of(&seen.run),
        None => scope == Scope::All || seen.is_active(),
    });
    runs.sort_by(|a, b| (b.run.created, b.run.id.as_str()).cmp(&(a.run.created, a.run.id.as_str())));
    let (shown, tables_cut) = tables(&runs);
    let wanted: Vec<TableKey> = shown
        .into_iter()
        .filter(|(seen, table)| scope == Scope::All || seen.is_active() && table.started && table.result.is_none())
        .map(|(_, table)| table.key.clone())
        .collect();
    let heads: HashMap<TableKey, Head> = each(wanted, |key| head(app, key)).await?.into_iter().collect();
    let calls = app.state.call_use().await?;
    let (now, lease) = (app.state.now(), app.limits.lease());
    let mut overview = Overview {
        now,
        lease,
        scope,
        runs,
        runs_cut,
        tables_cut,
        heads,
        calls,
        windows: Vec::new(),
        windows_cut: false,
    };
    if scope == Scope::All {
        (overview.windows, overview.windows_cut) = failures::windows(app, &overview).await?;
    }
    Ok(overview)
}

async fn run(app: &App, id: InstanceId) -> Result<Option<RunSeen>, Error> {
    let Some(run) = readable(app.state.instance(&id).await)?.flatten() else { return Ok(None) };
    let run = run.record;
    // A run that begins again has no tables yet, whatever its former life left.
    let tables = match run.has_begun() {
        true => readable(app.state.tables(&id).await)?.unwrap_or_default(),
        false => Vec::new(),
    };
    Ok(Some(RunSeen { run, tables: tables.into_iter().map(|table| table.record).collect() }))
}

async fn head(app: &App, key: TableKey) -> Result<Option<(TableKey, Head)>, Error> {
    let head = readable(app.state.head(&key).await)?.flatten();
    Ok(head.map(|head| (key, head.record)))
}

/// Reads each of many, some at once, in their order; what is not there is left out.
async fn each<K, T, F: Future<Output = Result<Option<T>, Error>>>(
    keys: Vec<K>,
    read: impl Fn(K) -> F,
) -> Result<Vec<T>, Error> {
    let reads: Vec<F> = keys.into_iter().map(read).collect();
    let found: Vec<Option<T>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}
