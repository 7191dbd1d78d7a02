//! The event *nothing moved for long*: no worker holds a window, open ones are left, and no message seems to be on its
//! way. The hand-out begins anew from the ledger.

use crate::orchestration::fan_in::{fill_lanes, is_over, schedule_verify, take_names};
use crate::orchestration::ids::{TableKey, WindowName};
use crate::orchestration::ledger::Head;
use crate::orchestration::limits::Limits;
use crate::orchestration::message::Debt;
use crate::orchestration::window::WindowState;
use crate::timestamp::Timestamp;

/// All windows of a table that are planned, each in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Planned {
    /// Those whose own messages come back after a pause.
    pub waiting: Vec<WindowName>,
    /// All others.
    pub others: Vec<WindowName>,
}

/// The head with all lanes free but those of windows that wait, and the first others handed out; and what
/// to send *before* it is stored, so that a crash between the two repeats this. Where none may be handed out before one is
/// proved, what was out is free all the same, so that the proof finds its lane; and where none can be proved any more, the
/// count that ends the table is due. `None` where there is nothing to do.
pub fn dispatch_again(
    table: &TableKey,
    head: &Head,
    planned: Planned,
    now: Timestamp,
    limits: &Limits,
) -> Option<(Head, Vec<Debt>)> {
    let Planned { waiting, others } = planned;
    let was_out = !head.stop && head.out.iter().any(|name| !waiting.contains(name));
    let mut head = Head { out: waiting, ready: Vec::new(), cursor: None, moved: now, updated: now, ..head.clone() };
    take_names(&mut head, others.into_iter().map(|name| (name, WindowState::Planned)), false);
    let mut debts: Vec<Debt> = fill_lanes(&mut head, limits).into_iter().map(|name| Debt::chunk(table, name)).collect();
    if debts.is_empty() && was_out && is_over(&head, limits) {
        debts.push(schedule_verify(table, &mut head, limits.verify_first, now));
    }
    (was_out || !debts.is_empty()).then_some((head, debts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, key, later, seen};
    use crate::orchestration::ledger::TableState;
    use crate::orchestration::limits::READY_NAMES;
    use crate::orchestration::message::{ControlMessage, Message};

    fn names(count: u64) -> Vec<WindowName> {
        (0..count).map(|low| seen(low * 10, WindowState::Planned).name).collect()
    }

    fn all(count: u64) -> Planned {
        Planned { waiting: vec![], others: names(count) }
    }

    fn limits() -> Limits {
        Limits { lanes: 2, ..Limits::scaled(1.0) }
    }

    #[test]
    fn lanes_of_messages_that_were_lost_are_free_again() {
        let mut stuck = head(TableState::Running);
        stuck.out = names(100)[90..92].to_vec();
        stuck.ready = names(100)[50..60].to_vec();
        let (next, debts) = dispatch_again(&key(), &stuck, all(100), later(9), &limits()).unwrap();
        assert_eq!((debts.len(), next.lanes(), next.moved), (2, 2, later(9)));
        assert_eq!(debts[0], Debt::chunk(&key(), names(1).remove(0)));
        assert_eq!((next.ready.len(), next.more, next.cursor), (READY_NAMES - 2, true, Some(names(64).remove(63))));
    }

    #[test]
    fn a_window_that_waits_keeps_its_lane_and_is_not_sent_again() {
        let mut waits = head(TableState::Running);
        waits.out = names(2);
        let planned = Planned { waiting: names(1), others: names(4).split_off(1) };
        let (next, debts) = dispatch_again(&key(), &waits, planned, later(9), &limits()).unwrap();
        assert_eq!((&next.out, debts), (&names(2), vec![Debt::chunk(&key(), names(2).remove(1))]));
        let both = Planned { waiting: names(2), others: names(4).split_off(2) };
        assert_eq!(dispatch_again(&key(), &next, both, later(9), &limits()), None, "nothing was lost");
    }

    #[test]
    fn nothing_goes_out_where_nothing_may() {
        let stopped = Head { stop: true, ..head(TableState::Running) };
        assert_eq!(dispatch_again(&key(), &stopped, all(3), later(9), &limits()), None);
        assert_eq!(dispatch_again(&key(), &head(TableState::Running), all(0), later(9), &limits()), None);
    }

    #[test]
    fn a_lane_whose_message_was_lost_is_free_although_nothing_may_go_out_before_a_proof() {
        let mut shut = head(TableState::Running);
        shut.out = names(1);
        (shut.counts.open, shut.counts.submitted) = (3, 2);
        let (next, debts) = dispatch_again(&key(), &shut, all(3), later(9), &limits()).unwrap();
        assert_eq!((debts, next.out.clone(), next.ready.clone()), (vec![], vec![], names(3)));
        assert_eq!(dispatch_again(&key(), &next, all(3), later(99), &limits()), None, "once");
        shut.counts.submitted = 0;
        shut.progress.refuted = 2;
        let (next, debts) = dispatch_again(&key(), &shut, all(3), later(9), &limits()).unwrap();
        assert_eq!(debts.len(), 1);
        let end = ControlMessage::Verify { table: key(), number: next.verify_number };
        assert_eq!(debts[0].message, Message::Control(end), "nothing is left to prove");
        let stopped = Head { stop: true, ..shut };
        assert_eq!(dispatch_again(&key(), &stopped, all(3), later(9), &limits()), None);
    }
}
