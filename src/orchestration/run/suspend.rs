//! The event *suspend*. As with terminate, the control message goes first, then the run is swapped, then the door
//! answers; the message's handler swaps it again and holds the tables, so a crash in between loses nothing. The message
//! carries the number that the run has once it is suspended: after a resumption it is old and changes nothing.
//!
//! What is so already is asked for under the next number all the same, without a message: an opposite that was asked for before, and whose
//! message is out and has not come about yet, is old from then on. Of two that meet the later wins.

use crate::orchestration::IllegalTransition;
use crate::orchestration::instance::{Instance, RuntimeStatus};
use crate::orchestration::message::{ControlMessage, Debt};
use crate::timestamp::Timestamp;
use std::time::Duration;

/// Why a run is neither suspended nor resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such run.
    Unknown,
    /// It has ended.
    TooLate,
}

/// A suspension or a resumption that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// The run is to become so.
    For {
        /// Which one of the run it is.
        number: u64,
        /// When the run was accepted.
        created: Timestamp,
        /// The message to send first.
        debt: Debt,
    },
    /// It is so: swap it to this.
    Already(Box<Instance>),
}

/// What the message of a suspension or a resumption does to the run.
#[derive(Debug, Clone, PartialEq)]
pub enum Move {
    /// Swap it to this, then tell its tables.
    Swap(Box<Instance>),
    /// It is so already: tell its tables again.
    Again,
    /// The message is old: nothing.
    Old,
}

/// Asks for a suspension.
///
/// # Errors
/// The answer to give at once.
pub fn request(run: Option<&Instance>, reason: &str) -> Result<Asked, Refused> {
    let run = run.ok_or(Refused::Unknown)?;
    match run.status {
        status if status.is_final() => return Err(Refused::TooLate),
        RuntimeStatus::Suspended => return Ok(Asked::Already(Box::new(run.numbered_on()))),
        _ => {}
    }
    let (number, created) = (run.holds + 1, run.created);
    let (instance, reason) = (run.id.clone(), reason.to_owned());
    let message = ControlMessage::Suspend { instance, number, created: Some(created), reason };
    Ok(Asked::For { number, created, debt: Debt::control(message, Duration::ZERO) })
}

/// What suspension `number` of the run accepted at `created` does to the run.
pub fn apply(run: &Instance, number: u64, created: Option<Timestamp>, reason: &str, now: Timestamp) -> Move {
    if !run.is_of(created) {
        return Move::Old;
    }
    // The same, or the run was numbered on since.
    if number <= run.holds && run.status == RuntimeStatus::Suspended {
        return Move::Again;
    }
    if run.holds + 1 != number {
        return Move::Old;
    }
    run.suspended(reason, now).map_or(Move::Old, |suspended| Move::Swap(Box::new(suspended)))
}

impl Instance {
    /// The run as it is, under the next number of its suspensions and resumptions.
    pub(super) fn numbered_on(&self) -> Self {
        Self { holds: self.holds + 1, ..self.clone() }
    }

    /// Holds the run.
    ///
    /// # Errors
    /// [`IllegalTransition`] unless it is pending or running.
    pub fn suspended(&self, reason: &str, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self.status {
            RuntimeStatus::Pending | RuntimeStatus::Running => Ok(Self {
                status: RuntimeStatus::Suspended,
                holds: self.holds + 1,
                suspended_because: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
                updated: now,
                ..self.clone()
            }),
            _ => Err(self.illegal("be suspended")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, later, now};
    use crate::orchestration::instance::StartInput;
    use crate::orchestration::run::resume;
    use serde_json::Value;

    fn run(status: RuntimeStatus, holds: u64) -> Instance {
        Instance { status, holds, ..Instance::pending(id(1), StartInput::default(), Value::Null, now()) }
    }

    fn number(run: &Instance) -> u64 {
        let Asked::For { number, .. } = request(Some(run), "why").unwrap() else { panic!("it is suspended") };
        number
    }

    #[test]
    fn what_has_not_ended_is_suspended_whether_it_has_begun_or_not() {
        for status in [RuntimeStatus::Pending, RuntimeStatus::Running] {
            let before = run(status, 4);
            assert_eq!(number(&before), 5);
            let Move::Swap(after) = apply(&before, 5, Some(now()), "why", later(1)) else { panic!("not suspended") };
            assert_eq!((after.status, after.holds), (RuntimeStatus::Suspended, 5));
            assert_eq!(after.suspended_because.as_deref(), Some("why"));
        }
        assert_eq!(request(None, ""), Err(Refused::Unknown));
        for status in [RuntimeStatus::Completed, RuntimeStatus::Failed, RuntimeStatus::Terminated] {
            assert_eq!(request(Some(&run(status, 0)), ""), Err(Refused::TooLate));
            assert_eq!(apply(&run(status, 0), 1, None, "", now()), Move::Old);
        }
    }

    #[test]
    fn a_second_suspension_makes_a_resumption_old_that_has_not_come_about_and_not_the_first_suspension() {
        let held = run(RuntimeStatus::Suspended, 5);
        let Asked::Already(again) = request(Some(&held), "").unwrap() else { panic!("it is suspended") };
        assert_eq!((again.holds, &*again), (6, &Instance { holds: 6, ..held.clone() }));
        assert!(matches!(resume::apply(&held, 6, None, now()), Move::Swap(_)));
        assert_eq!(resume::apply(&again, 6, None, now()), Move::Old);
        assert_eq!(apply(&again, 5, None, "", now()), Move::Again, "its tables may not have been told yet");
        assert!(matches!(resume::apply(&again, 7, None, now()), Move::Swap(_)));
    }

    #[test]
    fn a_suspension_that_comes_after_the_resumption_changes_nothing() {
        for holds in [5, 6] {
            assert_eq!(apply(&run(RuntimeStatus::Running, holds), 5, None, "", now()), Move::Old);
        }
    }

    #[test]
    fn the_suspension_of_a_run_does_not_hold_another_one_of_its_id() {
        for (status, holds) in [(RuntimeStatus::Pending, 0), (RuntimeStatus::Suspended, 1)] {
            assert_eq!(apply(&run(status, holds), 1, Some(later(1)), "", later(2)), Move::Old);
            assert_ne!(apply(&run(status, holds), 1, Some(now()), "", later(2)), Move::Old);
        }
    }
}
