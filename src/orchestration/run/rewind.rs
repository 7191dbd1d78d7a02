//! The event *rewind*: a run begins again from what failed, under its own id: one that could not go on with all its tables,
//! one that came to its end with those of its tables that failed. Its start reads the configuration afresh, and each
//! table's plan takes up first what is left in its ledger, windows that failed included.

use super::restart::Again;
use crate::orchestration::instance::{Instance, RuntimeStatus, TableRun};
use crate::timestamp::Timestamp;

/// Why a run is not rewound (azure-functions-durable-extension `HttpApiHandler`: 404, 410, and an argument error).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such run.
    Unknown,
    /// It came to its end, and no table of it failed; or a person ended it, and the next run takes up what its tables lack.
    TooLate,
    /// It goes on.
    NotFailed,
}

/// The run as it begins again; `tables` are those of it.
///
/// # Errors
/// Why not: nothing of it failed.
pub fn request(run: Option<&Instance>, tables: &[TableRun], now: Timestamp) -> Result<Again, Refused> {
    let run = run.ok_or(Refused::Unknown)?;
    let rewound = match run.status {
        // Which tables it had, if it came to that, is nothing to go by: its configuration may be what was wrong.
        RuntimeStatus::Failed => run.rewound.clone(),
        RuntimeStatus::Completed => Some(failed(tables).ok_or(Refused::TooLate)?),
        RuntimeStatus::Terminated => return Err(Refused::TooLate),
        RuntimeStatus::Pending | RuntimeStatus::Running | RuntimeStatus::Suspended => return Err(Refused::NotFailed),
    };
    let fresh = Instance::pending(run.id.clone(), run.input.clone(), run.raw_input.clone(), now);
    Ok(Again::new(run, Instance { created: run.created, rewound, ..fresh }, now))
}

/// The source tables that failed; `None` when there are none.
fn failed(tables: &[TableRun]) -> Option<Vec<String>> {
    let is_failed = |table: &&TableRun| table.result.as_ref().is_some_and(|result| !result.success);
    let failed: Vec<String> = tables.iter().filter(is_failed).map(|table| table.config.source.clone()).collect();
    (!failed.is_empty()).then_some(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, later, now, table};
    use crate::orchestration::instance::{StartInput, TableConfig, TableResult};
    use crate::orchestration::run::restart;
    use serde_json::Value;

    #[test]
    fn only_a_failed_run_is_rewound_and_keeps_its_age() {
        let run = Instance::pending(id(1), StartInput::default(), Value::Null, now());
        let failed = run.failed("no cluster", later(1)).unwrap();
        let again = request(Some(&failed), &[], later(9)).unwrap();
        assert_eq!((run.snapshot_time(later(2)), again.run.snapshot_time(later(10))), (now(), later(10)));
        assert_eq!((again.run.status, again.run.created, again.run.error), (RuntimeStatus::Pending, now(), None));
        assert_eq!(again.run.rewound, None, "with all its tables");
        for status in [RuntimeStatus::Completed, RuntimeStatus::Terminated] {
            assert_eq!(
                request(Some(&Instance { status, ..run.clone() }), &[of("a", true)], now()),
                Err(Refused::TooLate)
            );
        }
        for status in [RuntimeStatus::Pending, RuntimeStatus::Running, RuntimeStatus::Suspended] {
            let going = Instance { status, ..run.clone() };
            assert_eq!(request(Some(&going), &[of("a", false)], now()), Err(Refused::NotFailed));
        }
        assert_eq!(request(None, &[], now()), Err(Refused::Unknown));
    }

    fn of(source: &str, success: bool) -> TableRun {
        let config = TableConfig { source: source.into(), ..table().config };
        TableRun { config, ..table().with_result(TableResult { success, ..TableResult::default() }) }
    }

    #[test]
    fn a_run_of_which_tables_failed_begins_again_with_those_and_a_restart_with_all() {
        let run = Instance::pending(id(1), StartInput::default(), Value::Null, now());
        let completed = Instance { status: RuntimeStatus::Completed, ..run };
        let tables = [of("good", true), of("bad", false), of("worse", false)];
        let again = request(Some(&completed), &tables, later(9)).unwrap().run;
        assert_eq!(again.asked_for(), Some(&["bad".to_owned(), "worse".to_owned()][..]));
        assert_eq!((again.input.clone(), again.created), (completed.input, now()), "it is the same run");
        let failed = again.failed("no cluster", later(10)).unwrap();
        let once_more = request(Some(&failed), &tables, later(11)).unwrap().run;
        assert_eq!(once_more.asked_for(), again.asked_for());
        assert_eq!(restart::request(&failed, later(12)).unwrap().run.asked_for(), None);
    }

    #[test]
    fn a_run_that_a_person_ended_is_not_rewound_whatever_failed_in_it() {
        let run = Instance::pending(id(1), StartInput::default(), Value::Null, now());
        let terminated = run.terminated("enough", later(1)).unwrap();
        assert_eq!(request(Some(&terminated), &[of("a", false)], later(2)), Err(Refused::TooLate));
    }
}
