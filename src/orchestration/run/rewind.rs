//! The event *rewind*: a run that could not go on begins again, under its own id. Its start reads the configuration
//! afresh, and each table's plan takes up first what is left in its ledger, windows that failed included.

use super::restart::Again;
use crate::orchestration::instance::{Instance, RuntimeStatus};
use crate::timestamp::Timestamp;

/// Why a run is not rewound (azure-functions-durable-extension `HttpApiHandler`: 404, 410, and an argument error).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such run.
    Unknown,
    /// It came to its end. What its tables lack, the next run takes up.
    TooLate,
    /// It goes on.
    NotFailed,
}

/// The run as it begins again.
///
/// # Errors
/// Why not: only a failed run can be rewound.
pub fn request(run: Option<&Instance>, now: Timestamp) -> Result<Again, Refused> {
    let run = run.ok_or(Refused::Unknown)?;
    match run.status {
        RuntimeStatus::Failed => {}
        RuntimeStatus::Completed | RuntimeStatus::Terminated => return Err(Refused::TooLate),
        RuntimeStatus::Pending | RuntimeStatus::Running | RuntimeStatus::Suspended => return Err(Refused::NotFailed),
    }
    let fresh = Instance::pending(run.id.clone(), run.input.clone(), run.raw_input.clone(), now);
    Ok(Again::new(run, Instance { created: run.created, ..fresh }, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, later, now};
    use crate::orchestration::instance::StartInput;
    use serde_json::Value;

    #[test]
    fn only_a_failed_run_is_rewound_and_keeps_its_age() {
        let run = Instance::pending(id(1), StartInput::default(), Value::Null, now());
        let failed = run.failed("no cluster", later(1)).unwrap();
        let again = request(Some(&failed), later(9)).unwrap();
        assert_eq!((again.run.status, again.run.created, again.run.error), (RuntimeStatus::Pending, now(), None));
        for status in [RuntimeStatus::Completed, RuntimeStatus::Terminated] {
            assert_eq!(request(Some(&Instance { status, ..run.clone() }), now()), Err(Refused::TooLate));
        }
        for status in [RuntimeStatus::Pending, RuntimeStatus::Running, RuntimeStatus::Suspended] {
            assert_eq!(request(Some(&Instance { status, ..run.clone() }), now()), Err(Refused::NotFailed));
        }
        assert_eq!(request(None, now()), Err(Refused::Unknown));
    }
}
