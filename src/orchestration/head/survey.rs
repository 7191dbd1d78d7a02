//! What a plan finds in the ledger: what earlier runs left, and the drafts of plans that never became valid.

use crate::orchestration::ids::WindowId;
use crate::orchestration::ledger::{Counts, Head, Others};
use crate::orchestration::limits::TRANSACTION_WINDOWS;
use crate::orchestration::verification::{doubted, is_doubtful};
use crate::orchestration::window::{Window, WindowState};
use crate::orchestration::write::{Seen, TableWrite, WindowWrite};
use crate::timestamp::Timestamp;
use std::collections::HashSet;

/// A look at all windows of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey<V> {
    /// Windows that are not terminal.
    pub left: Vec<Seen<V>>,
    /// All windows by state, drafts left out and purged ones included.
    pub counts: Counts,
    /// Whether there are proved windows that another post may have loaded again.
    pub doubtful: bool,
    /// All windows but the drafts.
    pub windows: Vec<Window>,
    /// From where on the plan that follows this one has to look back; it is the plan's to say.
    pub recount_from: Option<Timestamp>,
    /// What is left to be done about another app's rows once the plan is valid; it is the plan's to say.
    pub others: Option<Others>,
    /// The transactions that delete the drafts, one after the other. Each swaps the head too, so that a planner that
    /// was overtaken deletes nothing.
    pub deletions: Vec<TableWrite<V>>,
}

/// Tells leftovers from drafts.
pub fn survey<V>(head: &Head, seen: Vec<Seen<V>>) -> Survey<V> {
    let mut counts = head.purged;
    let (mut left, mut drafts, mut doubtful) = (Vec::new(), Vec::new(), false);
    let mut windows = Vec::with_capacity(seen.len());
    for seen in seen {
        if is_draft(head, &seen.window) {
            drafts.push(WindowWrite::Delete(seen.name, seen.version));
            continue;
        }
        *counts.of(seen.window.state) += 1;
        windows.push(seen.window.clone());
        doubtful |= is_doubtful(&seen.window);
        if !seen.window.state.is_terminal() {
            left.push(seen);
        }
    }
    let deletions = in_transactions(head, drafts);
    let (recount_from, others) = (head.recount_from, head.others.clone());
    Survey { left, counts, doubtful, windows, recount_from, others, deletions }
}

/// Marks proved windows to be counted again. Gives the transactions, each of which swaps the head.
pub fn doubt<V>(head: &Head, seen: Vec<Seen<V>>, again: &HashSet<WindowId>) -> Vec<TableWrite<V>> {
    let again = seen.into_iter().filter(|seen| again.contains(&seen.window.id));
    let marked = |seen: Seen<V>| Some(WindowWrite::Swap(seen.name, doubted(&seen.window)?, seen.version));
    in_transactions(head, again.filter_map(marked).collect())
}

fn in_transactions<V>(head: &Head, mut changes: Vec<WindowWrite<V>>) -> Vec<TableWrite<V>> {
    let mut writes = Vec::new();
    while !changes.is_empty() {
        let windows = changes.drain(..changes.len().min(TRANSACTION_WINDOWS)).collect();
        writes.push(TableWrite { head: head.clone(), windows });
    }
    writes
}

/// Whether a window belongs to a plan that was never completed. Windows of a completed plan begin below its end, and
/// what a run has taken up was dispatched: neither is ever a draft. Nor are those of rows without a value on the cut axis
/// once a plan was completed: they come with the transaction that completes theirs. Repairs begin anywhere: those of a
/// completed plan that nobody took up are taken up by the next plan, at least in name.
pub fn is_draft(head: &Head, window: &Window) -> bool {
    let is_ahead = window.id.is_repair() || window.id.low >= head.planned_to;
    window.run.is_none()
        && matches!(window.state, WindowState::Planned | WindowState::Empty | WindowState::Later)
        && (head.plan.is_none() || (head.plan.as_ref() != Some(&window.plan) && is_ahead))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, id, seen};
    use crate::orchestration::ledger::TableState;

    fn planned(plan: Option<&str>, to: u64) -> Head {
        Head { plan: plan.map(str::to_owned), planned_to: Timestamp::from_ticks(to), ..head(TableState::Planning) }
    }

    #[test]
    fn drafts_are_deleted_and_leftovers_never() {
        let mut taken_up = seen(300, WindowState::Planned);
        taken_up.window.run = Some(id(9));
        let windows = vec![
            seen(10, WindowState::Verified),
            seen(20, WindowState::Failed),
            seen(30, WindowState::Planned),
            seen(200, WindowState::Planned),
            seen(210, WindowState::Empty),
            taken_up,
        ];
        let found = survey(&planned(Some("p"), 100), windows);
        let left: Vec<u64> = found.left.iter().map(|seen| seen.version).collect();
        assert_eq!(left, [20, 30, 300]);
        assert_eq!((found.counts.open, found.counts.failed, found.counts.verified), (2, 1, 1));
        let deleted: Vec<_> = found.deletions.iter().flat_map(|write| &write.windows).collect();
        assert!(
            matches!(deleted.as_slice(), [WindowWrite::Delete(_, 200), WindowWrite::Delete(_, 210)]),
            "{deleted:?}"
        );
    }

    #[test]
    fn what_is_doubted_is_marked_in_transactions_that_swap_the_head() {
        let head = planned(Some("p"), 5_000);
        let windows: Vec<_> = (0..150).map(|low| seen(low * 10, WindowState::Verified)).collect();
        let again = windows.iter().skip(30).map(|seen| seen.window.id).collect();
        let writes = doubt(&head, windows, &again);
        assert_eq!(writes.iter().map(|write| write.windows.len()).collect::<Vec<_>>(), [99, 21]);
        let is_marked = |change: &WindowWrite<u64>| matches!(change, WindowWrite::Swap(_, window, _) if window.doubted);
        assert!(writes.iter().all(|write| write.head == head && write.windows.iter().all(is_marked)));
    }

    #[test]
    fn windows_that_were_purged_stay_counted() {
        let head = Head { purged: Counts { verified: 40, ..Counts::default() }, ..planned(Some("p"), 100) };
        assert_eq!(survey(&head, vec![seen(10, WindowState::Verified)]).counts.verified, 41);
    }

    #[test]
    fn windows_of_the_valid_plan_are_no_drafts_wherever_they_lie() {
        let head = planned(Some("old"), 100);
        assert!(!is_draft(&head, &seen(200, WindowState::Planned).window));
        assert!(is_draft(&planned(None, 0), &seen(200, WindowState::Planned).window), "no plan was ever completed");
    }

    #[test]
    fn repairs_of_a_plan_that_was_never_completed_are_drafts_although_they_begin_below_its_start() {
        let mut repair = seen(20, WindowState::Planned).window;
        repair.id.repair = 1;
        assert!(is_draft(&planned(Some("p"), 100), &repair) && !is_draft(&planned(Some("old"), 100), &repair));
        repair.run = Some(id(9));
        assert!(!is_draft(&planned(Some("p"), 100), &repair));
    }

    #[test]
    fn many_drafts_go_in_transactions_that_fit_the_store_and_each_swaps_the_head() {
        let drafts = (0..250).map(|low| seen(low * 10, WindowState::Planned)).collect();
        let found = survey(&planned(None, 0), drafts);
        let sizes: Vec<usize> = found.deletions.iter().map(|write| write.windows.len()).collect();
        assert_eq!(sizes, [99, 99, 52]);
        assert!(found.left.is_empty());
    }
}
