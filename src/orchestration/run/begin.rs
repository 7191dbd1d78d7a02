//! The event *start message*: the configuration becomes the rows of the run, once. Plans are owed from these rows,
//! never from a second read.

use super::asked::{Places, Unknown};
use super::nightly::is_nightly;
use crate::orchestration::IllegalTransition;
use crate::orchestration::ids::TableKey;
use crate::orchestration::instance::{Instance, LoadType, RuntimeStatus, TableConfig, TableResult, TableRun};
use crate::orchestration::limits::{
    LONGEST_ASKED, Limits, NIGHTLY_START_ATTEMPTS, START_ATTEMPTS, TRANSACTION_WINDOWS,
};
use crate::orchestration::message::{ControlMessage, Debt};
use crate::orchestration::write::{RowWrite, RunWrite};
use crate::timestamp::Timestamp;
use std::collections::HashSet;
use std::time::Duration;

/// What a start message finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Read the configuration and begin.
    Begin,
    /// Begun already: send the plans again.
    Again,
    /// Suspended: its resumption sends the message again.
    Held,
    /// Over: leave the place.
    Over,
}

/// Looks at the run for a start message.
pub fn look(run: &Instance) -> Look {
    match run.status {
        RuntimeStatus::Pending => Look::Begin,
        RuntimeStatus::Running => Look::Again,
        RuntimeStatus::Suspended => Look::Held,
        RuntimeStatus::Completed | RuntimeStatus::Failed | RuntimeStatus::Terminated => Look::Over,
    }
}

/// The start message of another attempt, delayed, for as long as the service `asked` within reason; `None` when the attempts are used
/// up.
pub fn retry(run: &Instance, attempt: u32, asked: Option<Duration>, limits: &Limits) -> Option<Debt> {
    let attempts = if is_nightly(run) { NIGHTLY_START_ATTEMPTS } else { START_ATTEMPTS };
    let again = ControlMessage::Start { instance: run.id.clone(), attempt: attempt + 1 };
    let pause = limits.outage_pause(attempt + 1).max(asked.unwrap_or_default().min(LONGEST_ASKED));
    (attempt + 1 < attempts).then(|| Debt::control(again, pause))
}

/// The run while its start waits until `until`, for `reason`: until then nothing is to be repaired. `None` where it is not to begin
/// any more.
pub fn waiting(run: &Instance, until: Timestamp, reason: &str) -> Option<Instance> {
    let waiting = || Instance { start_due: Some(until), pending_because: Some(reason.to_owned()), ..run.clone() };
    (look(run) == Look::Begin).then(waiting)
}

/// An active row of the configuration and the first thing that is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// It.
    pub config: TableConfig,
    /// What is wrong.
    pub problem: Option<String>,
}

/// The tables of a run from the active rows. What is wrong with a row is that table's result and never the others'; a
/// table that was asked for and is not there is one more result. `wanted` are the source tables that were asked for, all where
/// none are named; `key` makes the key of a source and a destination.
pub fn tables(
    wanted: Option<&[String]>,
    rows: Vec<Row>,
    high: Timestamp,
    places: Places<'_>,
    key: impl Fn(&str, &str) -> TableKey,
) -> Vec<TableRun> {
    let mut tables: Vec<TableRun> = Vec::new();
    let mut seen = HashSet::new();
    let mut add = |own: TableKey, config: TableConfig, problem: Option<String>| {
        let result = problem.map(|error| TableResult { error: Some(error), ..TableResult::default() });
        let ordinal = u32::try_from(tables.len()).unwrap_or(u32::MAX);
        tables.push(TableRun {
            key: own,
            ordinal,
            config,
            high,
            started: false,
            result,
            owed: Vec::new(),
            auditor: None,
        });
    };
    let active: Vec<String> = rows.iter().map(|row| row.config.source.clone()).collect();
    let rows = alone_with_snapshots(rows);
    let mut sources = HashSet::new();
    let is_wanted = |row: &Row| wanted.is_none_or(|wanted| wanted.contains(&row.config.source));
    for (index, Row { config, mut problem }) in rows.into_iter().filter(is_wanted).enumerate() {
        sources.insert(config.source.clone());
        let mut own = key(&config.source, &config.destination);
        if !seen.insert(own.clone()) {
            // No Kusto name holds these characters: the key is this row's alone.
            own = key(&config.source, &format!("{}\u{0}{index}", config.destination));
            problem = Some(format!(
                "{} to {} stands twice in {}, which has to show the newest row of each SourceTable alone",
                config.source, config.destination, places.view
            ));
        }
        add(own, config, problem);
    }
    for name in wanted.into_iter().flatten() {
        if sources.insert(name.clone()) {
            let problem = Unknown::of(&[name], &active, places).to_string();
            add(key(name, "\u{0}"), unknown_table(name), Some(problem));
        }
    }
    tables
}

/// The rows, those that copy a snapshot to where another source is copied with that problem: what readers see of such a table is
/// one time of one source.
fn alone_with_snapshots(mut rows: Vec<Row>) -> Vec<Row> {
    let other = |row: &Row| {
        let TableConfig { source, destination, .. } = &row.config;
        let shares = |other: &&Row| other.config.destination == *destination && other.config.source != *source;
        let is_snapshot = row.config.load_type == Some(LoadType::Snapshot) && row.problem.is_none();
        rows.iter().find(shares).filter(|_| is_snapshot).map(|other| other.config.source.clone())
    };
    let others: Vec<Option<String>> = rows.iter().map(other).collect();
    for (row, other) in rows.iter_mut().zip(others) {
        if let Some(other) = other {
            let TableConfig { source, destination, .. } = &row.config;
            row.problem = Some(format!(
                "{source} and {other} both name the DestinationTable {destination}, and a Snapshot needs one of its own: give one \
                 of them another"
            ));
        }
    }
    rows
}

fn unknown_table(name: &str) -> TableConfig {
    TableConfig {
        source: name.to_owned(),
        folder: String::new(),
        destination: String::new(),
        watermark_column: String::new(),
        load_type: None,
        last_refreshed: None,
        high_watermark: None,
    }
}

/// How a run begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Begin<V> {
    /// Transactions before the last one, in order. Each swaps the run, which stays pending, so that of two deliveries
    /// that read different configurations only one goes on.
    pub before: Vec<RunWrite<V>>,
    /// The transaction that sets the run going.
    pub last: RunWrite<V>,
    /// What to send then.
    pub owed: Vec<Debt>,
    /// Whether the run is over with it: its place is left then.
    pub over: bool,
}

/// Begins a run with these tables. `old` are the rows that an earlier delivery, broken off, left behind.
///
/// # Errors
/// [`IllegalTransition`] unless the run is pending.
pub fn begin<V>(
    run: &Instance,
    mut tables: Vec<TableRun>,
    old: Vec<(TableRun, V)>,
    at_once: u32,
    now: Timestamp,
) -> Result<Begin<V>, IllegalTransition> {
    let begun = run.begun(&mut tables, at_once, now)?;
    let owed = begun.plans_owed(&tables);
    let over = begun.status.is_final();
    let mut rows: Vec<RowWrite<V>> = Vec::new();
    let mut versions: Vec<(TableKey, V)> = Vec::new();
    for (row, version) in old {
        if tables.iter().any(|table| table.key == row.key) {
            versions.push((row.key, version));
        } else {
            rows.push(RowWrite::Delete(row.key, version));
        }
    }
    for table in tables {
        let known = versions.iter().position(|(key, _)| *key == table.key).map(|index| versions.swap_remove(index));
        rows.push(match known {
            Some((_, version)) => RowWrite::Swap(table, version),
            None => RowWrite::Insert(table),
        });
    }
    let mut before = Vec::new();
    while rows.len() > TRANSACTION_WINDOWS {
        let batch = rows.drain(..TRANSACTION_WINDOWS).collect();
        before.push(RunWrite { run: Instance { updated: now, ..run.clone() }, rows: batch });
    }
    Ok(Begin { before, last: RunWrite { run: begun, rows }, owed, over })
}

#[cfg(test)]
mod tests {
    use super::super::nightly;
    use super::*;
    use crate::orchestration::head::testing::{id, later, now, table};
    use crate::orchestration::instance::StartInput;
    use serde_json::Value;

    const PLACES: Places<'static> = Places { view: "the_view", table: "the_table" };

    fn key(source: &str, destination: &str) -> TableKey {
        TableKey::new("t", source, "c", "d", destination)
    }

    fn row(source: &str) -> Row {
        Row { config: TableConfig { source: source.into(), ..table().config }, problem: None }
    }

    fn pending() -> Instance {
        Instance::pending(id(1), StartInput::default(), Value::Null, now())
    }

    fn of(names: std::ops::Range<u32>) -> Vec<TableRun> {
        tables(None, names.map(|n| row(&n.to_string())).collect(), now(), PLACES, key)
    }

    fn error(table: &TableRun) -> &str {
        table.result.as_ref().and_then(|result| result.error.as_deref()).unwrap_or_default()
    }

    #[test]
    fn what_is_wrong_with_one_row_is_no_other_tables_result() {
        let bad = Row { problem: Some("LoadType".into()), ..row("b") };
        let tables = tables(None, vec![row("a"), bad, row("a")], now(), PLACES, key);
        assert_eq!(
            tables.iter().map(error).collect::<Vec<_>>(),
            [
                "",
                "LoadType",
                "a to x stands twice in the_view, which has to show the newest row of each SourceTable alone"
            ]
        );
        assert_eq!(tables.iter().map(|table| table.ordinal).collect::<Vec<_>>(), [0, 1, 2]);
        assert_ne!(tables[0].key, tables[2].key);
    }

    #[test]
    fn a_snapshot_needs_a_destination_of_its_own_and_ranges_may_share_one() {
        let of = |source: &str, destination: &str, load_type| {
            let config =
                TableConfig { destination: destination.into(), load_type: Some(load_type), ..row(source).config };
            Row { config, problem: None }
        };
        let rows = vec![
            of("a", "x", LoadType::Snapshot),
            of("b", "x", LoadType::Incremental),
            of("c", "x", LoadType::Full),
            of("d", "y", LoadType::Snapshot),
        ];
        let wanted = ["a", "c", "d"].map(str::to_owned);
        let tables = tables(Some(&wanted), rows, now(), PLACES, key);
        assert!(error(&tables[0]).starts_with("a and b both name the DestinationTable x"), "{}", error(&tables[0]));
        assert_eq!([error(&tables[1]), error(&tables[2])], ["", ""]);
    }

    #[test]
    fn a_table_that_was_asked_for_and_is_not_there_is_said_once() {
        let names = ["b", "nowhere", "nowhere"].map(str::to_owned);
        let tables = tables(Some(&names), vec![row("a"), row("b")], now(), PLACES, key);
        assert_eq!(tables.iter().map(|table| table.config.source.as_str()).collect::<Vec<_>>(), ["b", "nowhere"]);
        assert!(error(&tables[1]).contains("add a row to the_table"));
    }

    #[test]
    fn up_to_99_tables_begin_in_one_transaction() {
        let Begin { before, last, owed, over } = begin::<u32>(&pending(), of(0..99), vec![], 5, later(1)).unwrap();
        assert_eq!((before.len(), last.rows.len(), owed.len(), over), (0, 99, 5, false));
        assert_eq!(last.run.tables_total, 99);
    }

    #[test]
    fn more_tables_are_written_while_the_run_is_pending_still() {
        let Begin { before, last, .. } = begin::<u32>(&pending(), of(0..230), vec![], 5, later(1)).unwrap();
        assert_eq!(before.iter().map(|write| write.rows.len()).collect::<Vec<_>>(), [99, 99]);
        assert!(before.iter().all(|write| write.run.status == RuntimeStatus::Pending));
        assert_eq!((last.rows.len(), last.run.status), (32, RuntimeStatus::Running));
    }

    #[test]
    fn rows_of_a_delivery_that_was_broken_off_are_replaced_as_a_whole() {
        let old: Vec<(TableRun, u32)> = of(0..3).into_iter().zip(10..).collect();
        let Begin { last, .. } = begin(&pending(), of(1..4), old, 5, later(1)).unwrap();
        let changes: Vec<String> = last
            .rows
            .iter()
            .map(|write| match write {
                RowWrite::Insert(table) => format!("+{}", table.config.source),
                RowWrite::Swap(table, version) => format!("={} {version}", table.config.source),
                RowWrite::Delete(_, version) => format!("- {version}"),
            })
            .collect();
        assert_eq!(changes, ["- 10", "=1 11", "=2 12", "+3"]);
    }

    #[test]
    fn a_run_without_tables_is_over_at_once_and_none_begins_twice() {
        let Begin { last, owed, over, .. } = begin::<u32>(&pending(), vec![], vec![], 5, later(1)).unwrap();
        assert!(over && owed.is_empty());
        assert_eq!(look(&last.run), Look::Over);
        let running = begin::<u32>(&pending(), of(0..1), vec![], 5, later(1)).unwrap().last.run;
        assert_eq!(look(&running), Look::Again);
        assert_eq!(look(&running.suspended("x", now()).unwrap()), Look::Held);
        assert!(begin::<u32>(&running, of(0..1), vec![], 5, later(1)).is_err());
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_tried_three_times() {
        let limits = Limits::scaled(1.0);
        let pause = |attempt, asked| retry(&pending(), attempt, asked, &limits).map(|again| again.delay);
        assert!(pause(0, None).is_some() && pause(1, None).is_some());
        assert_eq!(pause(2, None), None);
        assert_eq!(
            pause(0, Some(Duration::from_secs(50))),
            Some(Duration::from_secs(50)),
            "when the service asked for it"
        );
        assert_eq!(pause(0, Some(Duration::MAX)), Some(LONGEST_ASKED));
        let nightly = Instance { raw_input: nightly::raw_input(), ..pending() };
        let goes_on = |attempt| retry(&nightly, attempt, None, &limits).is_some();
        assert!(goes_on(8) && !goes_on(9), "the next night is a day later");
    }

    #[test]
    fn a_start_that_waits_says_until_when_and_one_that_has_begun_waits_for_nothing() {
        let waits = waiting(&pending(), later(90), "no answer").unwrap();
        assert_eq!((waits.start_due, waits.status, waits.updated), (Some(later(90)), RuntimeStatus::Pending, now()));
        let begun = begin::<u32>(&waits, of(0..1), vec![], 5, later(91)).unwrap().last.run;
        assert_eq!((begun.start_due, &begun.pending_because, waiting(&begun, later(99), "late")), (None, &None, None));
    }
}
