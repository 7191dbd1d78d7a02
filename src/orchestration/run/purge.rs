//! The event *purge*: a run that is over is forgotten, with all that is kept of it. What was copied, and the ledgers of
//! the tables, are not the run's: they stay.

use crate::orchestration::instance::Instance;
use crate::orchestration::limits::TRANSACTION_WINDOWS;
use crate::timestamp::Timestamp;
use std::time::Duration;

/// Whether a run may be forgotten: one that goes on may not.
pub fn may_go(run: &Instance) -> bool {
    run.status.is_final()
}

/// Whether a run is to be forgotten for its age: it ended longer ago than `history`.
pub fn is_old(run: &Instance, now: Timestamp, history: Duration) -> bool {
    may_go(run) && now.since(run.updated) > history
}

/// The rows of a run's tables in the transactions that remove them. The last one takes the run with it; each before it
/// swaps the run, so that a run that begins anew meanwhile keeps its rows.
pub fn batches<T>(mut rows: Vec<T>) -> (Vec<Vec<T>>, Vec<T>) {
    let mut before = Vec::new();
    while rows.len() > TRANSACTION_WINDOWS {
        before.push(rows.drain(..TRANSACTION_WINDOWS).collect());
    }
    (before, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, later, now};
    use crate::orchestration::instance::{RuntimeStatus, StartInput};
    use serde_json::Value;

    #[test]
    fn only_a_run_that_ended_long_ago_is_old() {
        let run = Instance::pending(id(1), StartInput::default(), Value::Null, now());
        let ended = run.terminated("x", later(50)).unwrap();
        let history = Duration::from_secs(100);
        assert!(!is_old(&ended, later(150), history));
        assert!(is_old(&ended, later(151), history));
        let held = Instance { status: RuntimeStatus::Suspended, ..run };
        assert!(!may_go(&held) && !is_old(&held, later(9_999), history));
    }

    #[test]
    fn a_run_of_many_tables_goes_in_transactions_that_fit_the_store() {
        let sizes = |count: u32| {
            let (before, last) = batches((0..count).collect());
            (before.iter().map(Vec::len).collect::<Vec<_>>(), last.len())
        };
        assert_eq!(sizes(0), (vec![], 0));
        assert_eq!(sizes(99), (vec![], 99));
        assert_eq!(sizes(230), (vec![99, 99], 32));
    }
}
