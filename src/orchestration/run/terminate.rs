//! The event *terminate request*. The control message goes first, then the run is swapped, then the door answers; the
//! message's handler swaps it again and stops the tables, so a crash in between loses nothing.

use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::RuntimeStatus;
use crate::orchestration::message::{ControlMessage, Debt};
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
pub fn request(id: &InstanceId, status: Option<RuntimeStatus>, reason: &str) -> Result<Debt, Terminated> {
    match status {
        None => Err(Terminated::Unknown),
        Some(status) if status.is_final() => Err(Terminated::TooLate),
        Some(_) => {
            let message = ControlMessage::Terminate { instance: id.clone(), reason: reason.to_owned() };
            Ok(Debt::control(message, Duration::ZERO))
        }
    }
}

/// The answer once the run was swapped: its message's handler may have been faster, only another end is too late.
pub fn answer(status: Option<RuntimeStatus>) -> Terminated {
    if status == Some(RuntimeStatus::Terminated) { Terminated::Now } else { Terminated::TooLate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::id;

    #[test]
    fn only_a_run_that_goes_on_is_terminated() {
        assert_eq!(request(&id(1), None, "x"), Err(Terminated::Unknown));
        assert_eq!(request(&id(1), Some(RuntimeStatus::Terminated), "x"), Err(Terminated::TooLate));
        for status in [RuntimeStatus::Pending, RuntimeStatus::Running, RuntimeStatus::Suspended] {
            assert!(request(&id(1), Some(status), "x").is_ok());
        }
        assert_eq!(answer(Some(RuntimeStatus::Terminated)), Terminated::Now);
        assert_eq!(answer(Some(RuntimeStatus::Completed)), Terminated::TooLate);
    }
}
