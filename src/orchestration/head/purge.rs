//! Retention: windows that nothing asks for any more. Only terminal ones go, wholly below the watermark and old, and none that
//! the next plan looks back on, or that one which is still to be pulled is compared with; the head keeps counting them.

use crate::orchestration::difference::meet;
use crate::orchestration::ids::WindowId;
use crate::orchestration::ledger::{Head, TableState};
use crate::orchestration::limits::{Limits, TRANSACTION_WINDOWS};
use crate::orchestration::recount::may_ask_for;
use crate::orchestration::verification::is_doubtful;
use crate::orchestration::window::Window;
use crate::orchestration::write::{Seen, TableWrite, WindowWrite};
use crate::timestamp::Timestamp;

/// The next transaction that removes old windows from a table that no run holds; `None` when there is nothing to
/// remove. It takes them out of `windows`.
pub fn purge<V>(head: &Head, windows: &mut Vec<Seen<V>>, now: Timestamp, limits: &Limits) -> Option<TableWrite<V>> {
    if !is_at_rest(head) {
        return None;
    }
    let mut next = Head { updated: now, ..head.clone() };
    let mut removed = Vec::new();
    let old = windows.extract_if(.., |seen| is_old(head, &seen.window, now, limits));
    for Seen { name, window, version } in old.take(TRANSACTION_WINDOWS) {
        *next.purged.of(window.state) += 1;
        removed.push(WindowWrite::Delete(name, version));
    }
    (!removed.is_empty()).then_some(TableWrite { head: next, windows: removed })
}

/// Whether no run is at the table: nothing is removed while one is.
pub fn is_at_rest(head: &Head) -> bool {
    head.run.is_none() && head.state == TableState::Idle
}

/// Those of a table's windows that are old, and that no other one is compared with which is not over; whether they may go is for
/// their head to say.
pub fn old_ones<V>(windows: Vec<Seen<V>>, now: Timestamp, limits: &Limits) -> Vec<Seen<V>> {
    let open = windows.iter().map(|seen| &seen.window).filter(|window| !window.state.is_terminal());
    let open: Vec<Window> = open.cloned().collect();
    let is_asked_for = |window: &Window| open.iter().any(|open| meet(open, window));
    let may_go = |seen: &Seen<V>| may_be_old(&seen.window, now, limits) && !is_asked_for(&seen.window);
    windows.into_iter().filter(may_go).collect()
}

/// Whether a window is terminal and old. Those of rows without a value on the cut
/// axis stay: they say how many such rows were copied, and no watermark does. So do those of which a second copy may be there.
fn may_be_old(window: &Window, now: Timestamp, limits: &Limits) -> bool {
    let is_over = window.state.is_terminal() && !is_doubtful(window);
    is_over && !window.id.is_null_axis() && now.since(window.updated) > limits.history
}

fn is_old(head: &Head, window: &Window, now: Timestamp, limits: &Limits) -> bool {
    // What is compared with another app's rows once more is held against these, too.
    let is_of_others = head.others.is_some() && window.id.repair >= WindowId::FIRST_HANDOVER;
    may_be_old(window, now, limits)
        && !is_of_others
        && (window.id.high <= head.verified_up_to || mutated!(PurgeAboveWatermark))
        && !may_ask_for(head, window.id.high, limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, later, now, seen};
    use crate::orchestration::window::WindowState;
    use std::time::Duration;

    fn limits() -> Limits {
        let none = Duration::ZERO;
        Limits { history: Duration::from_secs(1_000), recount: none, look_back: none, ..Limits::scaled(1.0) }
    }

    fn idle(verified_up_to: u64) -> Head {
        Head { verified_up_to: Timestamp::from_ticks(verified_up_to), ..head(TableState::Idle) }
    }

    fn removed(head: &Head, windows: Vec<Seen<u64>>, seconds: u64) -> Vec<u64> {
        let mut windows = windows;
        let write = purge(head, &mut windows, later(seconds), &limits());
        let writes = write.map(|write| write.windows).unwrap_or_default();
        let version = |write| match write {
            WindowWrite::Delete(_, version) => version,
            other => panic!("{other:?}"),
        };
        writes.into_iter().map(version).collect()
    }

    #[test]
    fn windows_of_rows_without_a_value_on_the_axis_stay() {
        let mut nulls = seen(0, WindowState::Verified);
        nulls.window.id.high = Timestamp::MIN;
        assert!(removed(&idle(90), vec![nulls], 9_999).is_empty());
    }

    #[test]
    fn windows_of_which_a_second_copy_may_be_there_stay() {
        let mut twice = seen(10, WindowState::Verified);
        twice.window.posts = 2;
        assert!(removed(&idle(90), vec![twice.clone()], 9_999).is_empty());
        twice.window.settled = true;
        assert_eq!(removed(&idle(90), vec![twice], 9_999), [10]);
    }

    #[test]
    fn windows_go_when_they_are_terminal_old_and_wholly_below_the_watermark() {
        let all = || {
            vec![
                seen(10, WindowState::Verified),
                seen(20, WindowState::Empty),
                seen(30, WindowState::Split),
                seen(40, WindowState::Failed),
                seen(50, WindowState::Submitted),
                seen(60, WindowState::Planned),
                seen(70, WindowState::Verified),
            ]
        };
        assert_eq!(removed(&idle(75), all(), 1_001), [10, 20, 30], "(70, 80] reaches above the watermark");
        assert_eq!(removed(&idle(80), all(), 1_001), [10, 20, 30, 70]);
        assert!(removed(&idle(80), all(), 1_000).is_empty(), "not old enough");
    }

    #[test]
    fn windows_that_the_next_plan_counts_again_stay_however_old_they_are() {
        let ticks = |low: u64| low * 10_000_000;
        let head = Head { planned_to: Timestamp::from_ticks(ticks(90)), ..idle(ticks(90)) };
        let mut windows: Vec<_> = [30, 60].map(|low| seen(ticks(low), WindowState::Verified)).to_vec();
        let limits = Limits { recount: Duration::from_secs(50), ..limits() };
        let write = purge(&head, &mut windows, later(9_999), &limits).unwrap();
        assert!(matches!(&write.windows[..], [WindowWrite::Delete(_, version)] if *version == ticks(30)));
    }

    #[test]
    fn windows_of_another_apps_rows_stay_until_those_are_compared_for_the_last_time() {
        use crate::orchestration::ledger::Others;
        let mut of_others = seen(10, WindowState::Verified);
        of_others.window.id.repair = WindowId::FIRST_HANDOVER;
        let others = Some(Others { watermark: now(), refreshed: now(), compared: true });
        assert!(removed(&Head { others, ..idle(90) }, vec![of_others.clone()], 9_999).is_empty());
        assert_eq!(removed(&idle(90), vec![of_others], 9_999), [10]);
    }

    #[test]
    fn windows_that_a_repair_which_is_not_over_is_compared_with_stay_however_old_they_are() {
        let left = |state| {
            let mut repair = seen(10, state);
            repair.window.id.repair = 1;
            let all = vec![seen(10, WindowState::Verified), seen(20, WindowState::Verified), repair];
            let left = old_ones(all, later(1_001), &limits());
            left.iter().map(|seen| (seen.version, seen.window.id.repair)).collect::<Vec<_>>()
        };
        for open in [WindowState::Planned, WindowState::Failed, WindowState::Submitted] {
            assert_eq!(left(open), [(20, 0)], "{open:?}");
        }
        assert_eq!(left(WindowState::Verified), [(10, 0), (20, 0), (10, 1)]);
    }

    #[test]
    fn a_table_that_a_run_holds_is_left_alone() {
        let held = Head { verified_up_to: Timestamp::MAX, ..head(TableState::Running) };
        assert!(removed(&held, vec![seen(10, WindowState::Verified)], 9_999).is_empty());
    }

    #[test]
    fn many_go_in_transactions_that_fit_the_store_and_stay_counted() {
        let mut head = idle(u64::MAX);
        let mut windows: Vec<_> = (0..250).map(|low| seen(low * 10, WindowState::Verified)).collect();
        let mut sizes = Vec::new();
        while let Some(write) = purge(&head, &mut windows, later(9_999), &limits()) {
            sizes.push(write.windows.len());
            head = write.head;
        }
        assert_eq!((sizes, head.purged.verified, head.verified_up_to), (vec![99, 99, 52], 250, Timestamp::MAX));
        assert!(now() < head.updated);
    }
}
