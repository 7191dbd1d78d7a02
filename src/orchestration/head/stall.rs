//! The event *nothing moved for long*: no worker holds a window, open ones are left, and no message seems to be on its
//! way. The hand-out begins anew from the ledger.

use crate::orchestration::fan_in::{fill_lanes, is_over, schedule_verify, take_names};
use crate::orchestration::ids::{TableKey, WindowName};
use crate::orchestration::ledger::Head;
use crate::orchestration::limits::Limits;
use crate::orchestration::message::Debt;
use crate::orchestration::window::WindowState;
use crate::timestamp::Timestamp;

/// The head with all lanes free and the first of `planned`, all windows that are planned in order, handed out; and what
/// to send *before* it is stored, so that a crash between the two repeats this. Where none may be handed out before one is
/// proved, what was out is free all the same, so that the proof finds its lane; and where none can be proved any more, the
/// count that ends the table is due. `None` where there is nothing to do.
pub fn dispatch_again(
    table: &TableKey,
    head: &Head,
    planned: impl IntoIterator<Item = WindowName>,
    now: Timestamp,
    limits: &Limits,
) -> Option<(Head, Vec<Debt>)> {
    let was_out = !head.out.is_empty() && !head.stop;
    let mut head = Head { out: Vec::new(), ready: Vec::new(), cursor: None, moved: now, updated: now, ..head.clone() };
    take_names(&mut head, planned.into_iter().map(|name| (name, WindowState::Planned)), false);
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

    fn limits() -> Limits {
        Limits { lanes: 2, ..Limits::scaled(1.0) }
    }

    #[test]
    fn lanes_of_messages_that_were_lost_are_free_again() {
        let mut stuck = head(TableState::Running);
        stuck.out = names(100)[90..92].to_vec();
        stuck.ready = names(100)[50..60].to_vec();
        let (next, debts) = dispatch_again(&key(), &stuck, names(100), later(9), &limits()).unwrap();
        assert_eq!((debts.len(), next.lanes(), next.moved), (2, 2, later(9)));
        assert_eq!(debts[0], Debt::chunk(&key(), names(1).remove(0)));
        assert_eq!((next.ready.len(), next.more, next.cursor), (READY_NAMES - 2, true, Some(names(64).remove(63))));
    }

    #[test]
    fn nothing_goes_out_where_nothing_may() {
        let stopped = Head { stop: true, ..head(TableState::Running) };
        assert_eq!(dispatch_again(&key(), &stopped, names(3), later(9), &limits()), None);
        assert_eq!(dispatch_again(&key(), &head(TableState::Running), names(0), later(9), &limits()), None);
    }

    #[test]
    fn a_lane_whose_message_was_lost_is_free_although_nothing_may_go_out_before_a_proof() {
        let mut shut = head(TableState::Running);
        shut.out = names(1);
        (shut.counts.open, shut.counts.submitted) = (3, 2);
        let (next, debts) = dispatch_again(&key(), &shut, names(3), later(9), &limits()).unwrap();
        assert_eq!((debts, next.out.clone(), next.ready.clone()), (vec![], vec![], names(3)));
        assert_eq!(dispatch_again(&key(), &next, names(3), later(99), &limits()), None, "once");
        shut.counts.submitted = 0;
        shut.progress.refuted = 2;
        let (next, debts) = dispatch_again(&key(), &shut, names(3), later(9), &limits()).unwrap();
        assert_eq!(debts.len(), 1);
        let end = ControlMessage::Verify { table: key(), number: next.verify_number };
        assert_eq!(debts[0].message, Message::Control(end), "nothing is left to prove");
        let stopped = Head { stop: true, ..shut };
        assert_eq!(dispatch_again(&key(), &stopped, names(3), later(9), &limits()), None);
    }
}
