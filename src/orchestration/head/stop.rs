//! The event *terminate*, as it reaches a table: no new claims. What is sealed goes on to be counted.

use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, RuntimeStatus};
use crate::orchestration::ledger::Head;
use crate::timestamp::Timestamp;

/// The head once life `life` of `id`, which was terminated, is to stop there; `None` when it holds the table no longer. Written again where
/// the table is stopped already: whoever is about to resume it has read an older version then.
pub fn stop(head: &Head, id: &InstanceId, life: u32, now: Timestamp) -> Option<Head> {
    (head.run.as_ref() == Some(id) && head.life <= life).then(|| Head { stop: true, updated: now, ..head.clone() })
}

/// The same where a count finds that the run was terminated and nobody told the table: that message was lost, and the run has left
/// its place, so that the watchdog looks at it no more.
pub fn stop_with(head: &Head, run: &Instance, now: Timestamp) -> Option<Head> {
    if run.status != RuntimeStatus::Terminated || head.stop {
        return None;
    }
    stop(head, &run.id, run.lives, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, id, later, run};
    use crate::orchestration::ledger::TableState;

    #[test]
    fn only_the_run_that_holds_a_table_stops_it_held_or_not() {
        let running = head(TableState::Running);
        let stopped = stop(&running, &id(1), 0, later(1)).unwrap();
        assert!(stopped.stop);
        assert!(stop(&stopped, &id(1), 0, later(2)).unwrap().stop, "a resumption under way must meet a newer version");
        assert_eq!(stop(&running, &id(2), 0, later(1)), None);
        let next = Head { life: 1, ..running };
        assert_eq!(stop(&next, &id(1), 0, later(1)), None, "it began again meanwhile");
        assert!(stop(&next, &id(1), 1, later(1)).is_some());
    }

    #[test]
    fn a_table_that_nobody_told_stops_with_its_run() {
        let running = head(TableState::Running);
        let terminated = Instance { status: RuntimeStatus::Terminated, ..run(1) };
        let stopped = stop_with(&running, &terminated, later(1)).unwrap();
        assert!(stopped.stop);
        assert_eq!(stop_with(&stopped, &terminated, later(2)), None, "once");
        assert_eq!(stop_with(&running, &Instance { status: RuntimeStatus::Running, ..run(1) }, later(1)), None);
        assert_eq!(stop_with(&Head { life: 1, ..running }, &terminated, later(1)), None, "it began again meanwhile");
    }
}
