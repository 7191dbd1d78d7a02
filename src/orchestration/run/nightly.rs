//! The event *nightly timer*: which run it stands for. A timer that fires again for the same occurrence, after a crash
//! or from a second host, asks for the same run.

use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::Instance;
use crate::timestamp::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// What the status shows as the input of a run that the timer began. No client can send it.
pub fn raw_input() -> Value {
    json!({"trigger": "nightly"})
}

/// Whether the timer began the run.
pub fn is_nightly(run: &Instance) -> bool {
    run.raw_input == raw_input()
}

/// The run of the occurrence that was due at `due`; `None` when the timer fires for none: it has no schedule status, or
/// was fired by hand before its time, within the margin of two clocks.
pub fn run_of(due: Option<Timestamp>, now: Timestamp, clock_margin: Duration) -> Option<InstanceId> {
    due.filter(|due| *due > Timestamp::MIN && *due <= now + clock_margin)
        .map(|due| InstanceId::named(&format!("nightly {due}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{later, now};

    #[test]
    fn an_occurrence_stands_for_one_run_whenever_the_timer_fires() {
        let run = |due, seconds| run_of(Some(later(due)), later(seconds), Duration::from_secs(60));
        assert!(run(100, 100).is_some());
        assert_eq!(run(100, 100), run(100, 9_999));
        assert_eq!(run(100, 100), run(100, 40), "a clock that is a little behind");
        assert_ne!(run(100, 100), run(200, 200));
    }

    #[test]
    fn a_timer_that_was_fired_by_hand_does_not_use_up_the_next_occurrence() {
        assert_eq!(run_of(Some(later(9_999)), now(), Duration::from_secs(60)), None);
        assert_eq!(run_of(Some(Timestamp::MIN), now(), Duration::from_secs(60)), None);
        assert_eq!(run_of(None, now(), Duration::from_secs(60)), None);
    }
}
