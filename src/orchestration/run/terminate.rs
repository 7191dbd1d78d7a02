//! The event *terminate request*. The control message goes first, then the run is swapped, then the door answers; the
//! message's handler swaps it again and stops the tables, so a crash in between loses nothing.

use crate::orchestration::instance::{Instance, RuntimeStatus};
use crate::orchestration::message::{ControlMessage, Debt};
use crate::timestamp::Timestamp;
use std::time::Duration;

/// What becomes of a request to terminate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminated {
    /// The run is terminated.
    Now,
    /// It had ended before.
    TooLate,
    /// There is no such run.
    Unknown,
}

/// What to send first; without it the answer stands already.
///
/// # Errors
/// The answer to give at once.
pub fn request(run: Option<&Instance>, reason: &str) -> Result<Debt, Terminated> {
    match run {
        None => Err(Terminated::Unknown),
        Some(run) if run.status.is_final() => Err(Terminated::TooLate),
        Some(run) => {
            let (instance, life, created) = (run.id.clone(), run.lives, Some(run.created));
            let message = ControlMessage::Terminate { instance, life, created, reason: reason.to_owned() };
            Ok(Debt::control(message, Duration::ZERO))
        }
    }
}

/// Whether a message that ends life `life` of the run accepted at `created` is about the run as it is: one that began
/// again since goes on, and so does another one that was given its id.
pub fn is_meant(run: &Instance, life: u32, created: Option<Timestamp>) -> bool {
    run.lives == life && run.is_of(created)
}

/// The answer once the run was swapped: its message's handler may have been faster, only another end is too late.
pub fn answer(status: Option<RuntimeStatus>) -> Terminated {
    if status == Some(RuntimeStatus::Terminated) { Terminated::Now } else { Terminated::TooLate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, later, now};
    use crate::orchestration::instance::StartInput;
    use crate::orchestration::run::restart;
    use serde_json::Value;

    #[test]
    fn the_message_that_ended_a_run_does_not_end_its_next_life() {
        let run = Instance::pending(id(1), StartInput::default(), Value::Null, now());
        let ended = run.terminated("enough", later(1)).unwrap();
        let again = restart::request(&ended, later(2)).unwrap().run;
        let born = Some(run.created);
        assert!(is_meant(&ended, run.lives, born) && !is_meant(&again, run.lives, born));
    }

    #[test]
    fn the_message_that_ended_a_run_does_not_end_another_one_of_its_id() {
        let run = Instance::pending(id(1), StartInput::default(), Value::Null, now());
        let other = Instance::pending(id(1), StartInput::default(), Value::Null, later(1));
        assert!(is_meant(&run, 0, Some(run.created)) && !is_meant(&other, 0, Some(run.created)));
        assert!(is_meant(&other, 0, None));
    }

    #[test]
    fn only_a_run_that_goes_on_is_terminated() {
        let run = |status| Instance { status, ..Instance::pending(id(1), StartInput::default(), Value::Null, now()) };
        assert_eq!(request(None, "x"), Err(Terminated::Unknown));
        assert_eq!(request(Some(&run(RuntimeStatus::Terminated)), "x"), Err(Terminated::TooLate));
        for status in [RuntimeStatus::Pending, RuntimeStatus::Running, RuntimeStatus::Suspended] {
            assert!(request(Some(&run(status)), "x").is_ok());
        }
        assert_eq!(answer(Some(RuntimeStatus::Terminated)), Terminated::Now);
        assert_eq!(answer(Some(RuntimeStatus::Completed)), Terminated::TooLate);
    }
}
