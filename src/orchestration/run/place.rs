//! The event *start request*: who may run. There is one active run; another one is refused, or, where that is asked for
//! in so many words, runs beside it.

use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, RuntimeStatus};
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
    /// Which of its lives the place is for.
    #[serde(default)]
    pub life: u32,
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

/// Decides on a start that wants `own`. `place` is who is active, `holder` that run, `None` where there is no such run: it
/// may be that its start was broken off between the two writes, or that it is about to come. A start that was broken
/// off and is repeated finds its own place.
pub fn enter(
    own: Active,
    force: bool,
    place: Option<&Active>,
    holder: Option<&Instance>,
    now: Timestamp,
    limits: &Limits,
) -> Entry {
    match place {
        Some(active) if active.instance != own.instance && !is_over(active, holder, now, limits) => {
            if force {
                Entry::Beside(own)
            } else {
                Entry::Refused(active.instance.clone())
            }
        }
        _ => Entry::Take(own),
    }
}

/// Whether a place is held by a run that is over, or never came. A run whose former life is over is about to begin again.
pub fn is_over(place: &Active, holder: Option<&Instance>, now: Timestamp, limits: &Limits) -> bool {
    let waited = now.since(place.since) > limits.lost_after;
    match holder {
        Some(run) => run.status.is_final() && (place.life <= run.lives || waited),
        None => waited,
    }
}

/// What a start is owed that finds its run there already: it may have been broken off before its message.
pub fn repeated(run: &Instance) -> Vec<Debt> {
    if run.status == RuntimeStatus::Pending { vec![start_debt(&run.id)] } else { Vec::new() }
}

/// The message that sets a pending run going.
pub fn start_debt(id: &InstanceId) -> Debt {
    Debt::control(ControlMessage::Start { instance: id.clone(), attempt: 0 }, Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, later, now};
    use crate::orchestration::instance::StartInput;
    use serde_json::Value;

    fn run(status: RuntimeStatus) -> Instance {
        Instance { status, ..Instance::pending(id(1), StartInput::default(), Value::Null, now()) }
    }

    fn at(bits: u128, seconds: u64) -> Active {
        Active { instance: id(bits), since: later(seconds), life: 0 }
    }

    fn asked(force: bool, holder: Option<RuntimeStatus>, seconds: u64) -> Entry {
        let holder = holder.map(run);
        let limits = Limits::scaled(1.0);
        enter(at(2, seconds), force, Some(&at(1, 0)), holder.as_ref(), later(seconds), &limits)
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
        assert!(matches!(enter(at(2, 0), false, None, None, now(), &Limits::scaled(1.0)), Entry::Take(_)));
    }

    #[test]
    fn a_start_that_was_broken_off_finds_its_own_place() {
        assert_eq!(
            enter(at(1, 1), false, Some(&at(1, 0)), None, later(1), &Limits::scaled(1.0)),
            Entry::Take(at(1, 1))
        );
    }

    #[test]
    fn a_start_that_is_repeated_pays_again_until_its_run_has_begun() {
        assert_eq!(repeated(&run(RuntimeStatus::Pending)), [start_debt(&id(1))]);
        assert!(repeated(&run(RuntimeStatus::Running)).is_empty());
    }

    #[test]
    fn a_run_that_is_about_to_begin_again_keeps_its_place_for_a_while() {
        let failed = run(RuntimeStatus::Failed);
        let place = Active { life: 1, ..at(1, 10) };
        let over = |seconds| is_over(&place, Some(&failed), later(seconds), &Limits::scaled(1.0));
        assert!(!over(10) && !over(130));
        assert!(over(131));
    }
}
