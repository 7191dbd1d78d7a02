//! The event *a table has its result*: it is counted once, the next table starts in its place, and the last one ends
//! the run.

use crate::orchestration::ids::TableKey;
use crate::orchestration::instance::{Instance, TableResult, TableRun};
use crate::orchestration::message::Debt;
use crate::orchestration::write::{RowWrite, RunWrite};
use crate::timestamp::Timestamp;

/// What to do with a table's result.
#[derive(Debug, Clone, PartialEq)]
pub enum Counting<V> {
    /// The run has no such table.
    Unknown,
    /// It was counted before: send again what it owes, and leave the place if the run is over.
    Before {
        /// What it owes.
        owed: Vec<Debt>,
        /// Whether the run has ended.
        over: bool,
    },
    /// Write the audit of this table, then store this.
    Now {
        /// The table with its result and what its end owes.
        table: Box<TableRun>,
        /// The transaction.
        write: Box<RunWrite<V>>,
        /// What to send once it is stored.
        owed: Vec<Debt>,
        /// Whether the run ends with it: its place is left then.
        over: bool,
    },
}

/// Counts the result of a table. `rows` are all tables of the run. The row is told from that of another life of the run
/// by the end of its range: work that was begun for one is not counted for the other.
pub fn count<V: Clone>(
    run: &Instance,
    rows: &[(TableRun, V)],
    key: &TableKey,
    high: Timestamp,
    result: &TableResult,
    now: Timestamp,
) -> Counting<V> {
    // The rows that a former life left behind stand until the next one begins.
    if !run.has_begun() {
        return Counting::Unknown;
    }
    let Some((table, version)) = rows.iter().find(|(table, _)| table.key == *key && table.high == high) else {
        return Counting::Unknown;
    };
    let next = rows.iter().find(|(table, _)| !table.started && table.result.is_none());
    let Ok((counted, ended, started)) = run.table_ended(table, result.clone(), next.map(|(next, _)| next), now) else {
        return Counting::Before { owed: table.owed.clone(), over: run.status.is_final() };
    };
    let owed = ended.owed.clone();
    let over = counted.status.is_final();
    let mut writes = vec![RowWrite::Swap(ended.clone(), version.clone())];
    if let (Some(started), Some((_, version))) = (started, next) {
        writes.push(RowWrite::Swap(started, version.clone()));
    }
    Counting::Now { table: Box::new(ended), write: Box::new(RunWrite { run: counted, rows: writes }), owed, over }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, key, later, now, table};
    use crate::orchestration::instance::{RuntimeStatus, StartInput};
    use serde_json::Value;

    fn running() -> (Instance, Vec<(TableRun, u32)>) {
        let other = TableRun { key: TableKey::new("t", "other", "c", "d", "x"), ordinal: 1, ..table() };
        let mut tables = [TableRun { started: false, ..table() }, TableRun { started: false, ..other }];
        let run = Instance::pending(id(1), StartInput::default(), Value::Null, now());
        let run = run.begun(&mut tables, 1, now()).unwrap();
        (run, tables.into_iter().zip(0..).collect())
    }

    fn done() -> TableResult {
        TableResult { success: true, ..TableResult::default() }
    }

    #[test]
    fn the_next_table_starts_in_the_place_of_the_one_that_ended() {
        let (run, rows) = running();
        let Counting::Now { write, owed, over, .. } = count(&run, &rows, &key(), table().high, &done(), later(1))
        else {
            panic!("not counted")
        };
        assert_eq!((write.rows.len(), owed.len(), over), (2, 1, false));
        assert!(matches!(&write.rows[1], RowWrite::Swap(next, 1) if next.started));
    }

    #[test]
    fn a_result_is_counted_once_and_a_repeat_pays_again() {
        let (run, rows) = running();
        let Counting::Now { table: ended, write, owed, .. } =
            count(&run, &rows, &key(), table().high, &done(), later(1))
        else {
            panic!("not counted")
        };
        let rows = vec![(*ended, 9), rows[1].clone()];
        assert_eq!(
            count(&write.run, &rows, &key(), table().high, &done(), later(2)),
            Counting::Before { owed, over: false }
        );
    }

    #[test]
    fn work_that_was_begun_in_a_former_life_is_not_counted() {
        let (run, rows) = running();
        assert_eq!(count(&run, &rows, &key(), Timestamp::from_ticks(9), &done(), later(1)), Counting::Unknown);
        let rewound = Instance::pending(run.id.clone(), run.input.clone(), Value::Null, later(2));
        assert_eq!(count(&rewound, &rows, &key(), table().high, &done(), later(3)), Counting::Unknown);
    }

    #[test]
    fn the_last_table_ends_the_run() {
        let (run, mut rows) = running();
        rows.pop();
        let run = Instance { tables_total: 1, ..run };
        let Counting::Now { write, over, .. } =
            count(&run, &rows, &key(), table().high, &TableResult::default(), later(1))
        else {
            panic!("not counted")
        };
        assert_eq!((write.run.status, write.run.tables_failed, over), (RuntimeStatus::Completed, 1, true));
        assert_eq!(count(&run, &[] as &[(TableRun, u32)], &key(), table().high, &done(), later(1)), Counting::Unknown);
    }
}
