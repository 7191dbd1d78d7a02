//! The event *start request*: who may run. There is one active run; another one is refused, or, where that is asked for
//! in so many words, runs beside it.

use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::RuntimeStatus;
use crate::orchestration::limits::Limits;
use crate::orchestration::message::{ControlMessage, Debt};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A run that is going on: the active one, or one beside it. The watchdog finds runs by these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// Its id.
    pub instance: InstanceId,
    /// When it took the place.
    pub since: Timestamp,
}

/// The answer to a start request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Take the active place, at the version it was read at; if somebody was faster, ask again.
    Take(Active),
    /// Run beside the active one.
    Beside(Active),
    /// This run is active.
    Refused(InstanceId),
}

/// Decides on a start. `place` is who is active, `holder` the status of that run, `None` where there is no such run: it
/// may be that its start was broken off between the two writes, or that it is about to come.
pub fn enter(
    id: &InstanceId,
    force: bool,
    place: Option<&Active>,
    holder: Option<RuntimeStatus>,
    now: Timestamp,
    limits: &Limits,
) -> Entry {
    let own = Active { instance: id.clone(), since: now };
    match place {
        Some(active) if !is_over(active, holder, now, limits) => {
            if force {
                Entry::Beside(own)
            } else {
                Entry::Refused(active.instance.clone())
            }
        }
        _ => Entry::Take(own),
    }
}

/// Whether a place is held by a run that is over, or never came.
pub fn is_over(place: &Active, holder: Option<RuntimeStatus>, now: Timestamp, limits: &Limits) -> bool {
    match holder {
        Some(status) => status.is_final(),
        None => now.since(place.since) > limits.lost_after,
    }
}

/// The message that sets a pending run going.
pub fn start_debt(id: &InstanceId) -> Debt {
    Debt::control(ControlMessage::Start { instance: id.clone(), attempt: 0 }, Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, later, now};

    fn asked(force: bool, holder: Option<RuntimeStatus>, seconds: u64) -> Entry {
        let active = Active { instance: id(1), since: now() };
        enter(&id(2), force, Some(&active), holder, later(seconds), &Limits::scaled(1.0))
    }

    #[test]
    fn a_second_start_is_told_who_is_active_unless_it_is_forced() {
        for status in [RuntimeStatus::Pending, RuntimeStatus::Running, RuntimeStatus::Suspended] {
            assert_eq!(asked(false, Some(status), 999), Entry::Refused(id(1)));
            assert!(matches!(asked(true, Some(status), 999), Entry::Beside(own) if own.instance == id(2)));
        }
    }

    #[test]
    fn a_place_whose_run_is_over_or_never_came_is_taken() {
        assert!(matches!(asked(false, Some(RuntimeStatus::Failed), 0), Entry::Take(_)));
        assert!(matches!(asked(true, Some(RuntimeStatus::Completed), 0), Entry::Take(_)));
        assert_eq!(asked(false, None, 120), Entry::Refused(id(1)));
        assert!(matches!(asked(false, None, 121), Entry::Take(_)));
        assert!(matches!(enter(&id(2), false, None, None, now(), &Limits::scaled(1.0)), Entry::Take(_)));
    }
}
