//! The events *suspend* and *resume*, as they reach a table. Held, it makes no new claims, and messages of its windows
//! end without effect; what is sealed goes on to be counted. When it goes on, everything that is still planned is
//! dispatched again, because nobody knows which of its messages have gone by.
//!
//! Both change the head whatever state it is in, so of a suspension and a resumption that meet, the later one wins.

use super::survey::is_draft;
use super::take::is_held;
use crate::orchestration::fan_in::{begin, make_ready};
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::Instance;
use crate::orchestration::ledger::Head;
use crate::orchestration::limits::Limits;
use crate::orchestration::message::Debt;
use crate::orchestration::window::WindowState;
use crate::orchestration::write::Seen;
use crate::timestamp::Timestamp;

/// The head once suspension `number` of run `id` has come to it; `None` when it holds the table no longer, or knows of
/// that or a later one.
pub fn hold(head: &Head, id: &InstanceId, number: u64, now: Timestamp) -> Option<Head> {
    let applies = head.run.as_ref() == Some(id) && head.hold < number;
    applies.then(|| Head { stop: true, hold: number, updated: now, ..head.clone() })
}

/// A head that goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct WentOn {
    /// It.
    pub head: Head,
    /// What to send once it is stored.
    pub owed: Vec<Debt>,
}

/// The head of a held table as it goes on after its run was resumed; `None` when the run does not go on, or the table
/// is not held by it. `windows` are all of the table. The debts stand where the plan's stood: the message that asks for
/// this is the plan's.
pub fn go_on<V>(
    key: &TableKey,
    head: &Head,
    windows: &[Seen<V>],
    run: &Instance,
    now: Timestamp,
    limits: &Limits,
) -> Option<WentOn> {
    if !run.goes_on() || !is_held(head, &run.id) {
        return None;
    }
    let number = run.holds;
    let with = |states: &'static [WindowState]| {
        windows.iter().filter(|seen| states.contains(&seen.window.state) && !is_draft(head, &seen.window))
    };
    // A worker may still be at these; their lanes are taken until they end.
    let held: Vec<Debt> = with(&[WindowState::Claimed, WindowState::Sealed])
        .map(|seen| {
            let lease = seen.window.lease_until.unwrap_or(now) + limits.clock_margin;
            Debt::chunk_later(key, seen.name.clone(), lease.since(now))
        })
        .collect();
    let mut head = Head {
        stop: false,
        hold: number,
        out: with(&[WindowState::Claimed, WindowState::Sealed]).map(|seen| seen.name.clone()).collect(),
        // The counts may have come to rest: they start again with the next window that is submitted.
        verify: None,
        moved: now,
        updated: now,
        ..head.clone()
    };
    let (failed, others): (Vec<_>, Vec<_>) = with(&[WindowState::Planned]).partition(|seen| seen.window.failures > 0);
    let names = |seen: Vec<&Seen<V>>| seen.into_iter().map(|seen| seen.name.clone()).collect();
    make_ready(&mut head, names(failed), names(others));
    let owed = begin(key, &mut head, format!("hold:{number}"), held, now, limits);
    Some(WentOn { head, owed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, id, key, later, now, seen};
    use crate::orchestration::instance::{RuntimeStatus, StartInput};
    use crate::orchestration::ledger::{Counts, TableState, VerifyDue};
    use crate::orchestration::message::{ControlMessage, Message};
    use serde_json::Value;
    use std::time::Duration;

    fn run(status: RuntimeStatus) -> Instance {
        Instance { status, holds: 2, ..Instance::pending(id(1), StartInput::default(), Value::Null, now()) }
    }

    fn limits() -> Limits {
        Limits { lanes: 3, ..Limits::scaled(1.0) }
    }

    fn held(open: u64, submitted: u64) -> Head {
        let counts = Counts { open, submitted, verified: 1, ..Counts::default() };
        let out = windows(&[WindowState::Planned; 3]).into_iter().map(|seen| seen.name).collect();
        let running = Head { counts, plan: Some("old".into()), out, ..head(TableState::Running) };
        hold(&running, &id(1), 1, later(1)).unwrap()
    }

    fn windows(states: &[WindowState]) -> Vec<Seen<u64>> {
        states.iter().zip(1..).map(|(state, low)| seen(low * 10, *state)).collect()
    }

    fn gone_on(head: &Head, states: &[WindowState]) -> WentOn {
        go_on(&key(), head, &windows(states), &run(RuntimeStatus::Running), later(10), &limits()).unwrap()
    }

    #[test]
    fn a_suspension_holds_the_tables_of_its_run_and_an_old_one_changes_nothing() {
        let held = held(2, 0);
        assert!(held.stop);
        assert_eq!(hold(&held, &id(1), 1, later(2)), None, "the same again");
        assert_eq!(hold(&head(TableState::Running), &id(9), 1, later(2)), None, "another run's");
        let on = gone_on(&held, &[WindowState::Planned, WindowState::Planned]).head;
        assert_eq!(hold(&on, &id(1), 1, later(2)), None, "older than the resumption");
        assert!(hold(&on, &id(1), 3, later(2)).is_some());
    }

    #[test]
    fn a_table_goes_on_only_if_its_run_does_and_once() {
        let goes_on = |head: &Head, status| {
            go_on(&key(), head, &windows(&[WindowState::Planned]), &run(status), later(10), &limits())
        };
        assert_eq!(goes_on(&held(1, 0), RuntimeStatus::Suspended), None);
        assert_eq!(goes_on(&held(1, 0), RuntimeStatus::Terminated), None);
        let on = goes_on(&held(1, 0), RuntimeStatus::Running).unwrap().head;
        assert_eq!(goes_on(&on, RuntimeStatus::Running), None);
    }

    #[test]
    fn everything_that_waits_is_dispatched_again_as_the_lanes_allow() {
        let states = [WindowState::Verified, WindowState::Planned, WindowState::Planned, WindowState::Planned];
        let WentOn { head, owed } = gone_on(&held(3, 0), &states);
        assert_eq!((head.stop, head.lanes(), owed.len(), head.ready.len()), (false, 3, 3, 0));
        assert_eq!(head.owed_plan.unwrap().messages, owed);
        assert_eq!(head.verify, None, "the first window that is submitted starts the counts");
    }

    #[test]
    fn what_a_worker_may_still_hold_keeps_its_lane_and_is_looked_at_after_its_lease() {
        let mut windows = windows(&[WindowState::Claimed, WindowState::Planned, WindowState::Planned]);
        windows[0].window.lease_until = Some(later(100));
        let run = run(RuntimeStatus::Running);
        let WentOn { head, owed } = go_on(&key(), &held(3, 0), &windows, &run, later(10), &limits()).unwrap();
        assert_eq!((head.lanes(), owed.len()), (3, 3));
        assert_eq!(owed[0].delay, Duration::from_secs(90) + limits().clock_margin);
    }

    #[test]
    fn more_windows_than_the_head_can_name_are_found_behind_its_cursor() {
        let states = vec![WindowState::Planned; 200];
        let WentOn { head, owed } = gone_on(&held(200, 0), &states);
        assert_eq!((owed.len(), head.more), (3, true));
        assert_eq!(head.cursor.as_ref(), head.ready.last());
    }

    #[test]
    fn the_count_of_what_is_submitted_starts_afresh() {
        let waiting =
            Head { verify: Some(VerifyDue { number: 7, at: now(), pause_ms: 60_000 }), verify_number: 7, ..held(0, 2) };
        let WentOn { head, owed } = gone_on(&waiting, &[WindowState::Submitted, WindowState::Submitted]);
        assert!(matches!(
            &owed[..],
            [Debt { message: Message::Control(ControlMessage::Verify { number: 8, .. }), .. }]
        ));
        assert_eq!(head.verify.unwrap().number, 8);
    }

    #[test]
    fn a_table_whose_windows_all_ended_while_it_was_held_goes_on_with_its_end() {
        let WentOn { head, owed } = gone_on(&held(0, 0), &[WindowState::Verified, WindowState::Empty]);
        assert_eq!((head.state, owed.len()), (TableState::Finishing, 0));
    }
}
