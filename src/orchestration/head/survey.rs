//! What a plan finds in the ledger: what earlier runs left, and the drafts of plans that never became valid.

use super::nulls::NullWindows;
use crate::orchestration::ledger::{Counts, Head};
use crate::orchestration::limits::TRANSACTION_WINDOWS;
use crate::orchestration::verification::is_doubtful;
use crate::orchestration::window::{Window, WindowState};
use crate::orchestration::write::{Seen, TableWrite, WindowWrite};
use crate::timestamp::Timestamp;

/// A look at all windows of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey<V> {
    /// Windows that are not terminal.
    pub left: Vec<Seen<V>>,
    /// All windows by state, drafts left out and purged ones included.
    pub counts: Counts,
    /// Whether there are proved windows that another post may have loaded again.
    pub doubtful: bool,
    /// Windows of rows without a value on the cut axis.
    pub nulls: NullWindows,
    /// The transactions that delete the drafts, one after the other. Each swaps the head too, so that a planner that
    /// was overtaken deletes nothing.
    pub deletions: Vec<TableWrite<V>>,
}

/// Tells leftovers from drafts.
pub fn survey<V>(head: &Head, windows: Vec<Seen<V>>, now: Timestamp) -> Survey<V> {
    let mut counts = head.purged;
    let (mut left, mut drafts, mut doubtful) = (Vec::new(), Vec::new(), false);
    let mut nulls = NullWindows::default();
    for seen in windows {
        if is_draft(head, &seen.window) {
            drafts.push(WindowWrite::Delete(seen.name, seen.version));
            continue;
        }
        *counts.of(seen.window.state) += 1;
        nulls.add(&seen.window, now);
        doubtful |= is_doubtful(&seen.window);
        if !seen.window.state.is_terminal() {
            left.push(seen);
        }
    }
    let mut deletions = Vec::new();
    while !drafts.is_empty() {
        let windows = drafts.drain(..drafts.len().min(TRANSACTION_WINDOWS)).collect();
        deletions.push(TableWrite { head: head.clone(), windows });
    }
    Survey { left, counts, doubtful, nulls, deletions }
}

/// Whether a window belongs to a plan that was never completed. Windows of a completed plan begin below its end, and
/// what a run has taken up was dispatched: neither is ever a draft. Nor are those of rows without a value on the cut axis
/// once a plan was completed: they come with the transaction that completes theirs.
pub fn is_draft(head: &Head, window: &Window) -> bool {
    window.run.is_none()
        && matches!(window.state, WindowState::Planned | WindowState::Empty)
        && (head.plan.is_none() || (head.plan.as_ref() != Some(&window.plan) && window.id.low >= head.planned_to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, id, now, seen};
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
        let found = survey(&planned(Some("p"), 100), windows, now());
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
    fn windows_that_were_purged_stay_counted() {
        let head = Head { purged: Counts { verified: 40, ..Counts::default() }, ..planned(Some("p"), 100) };
        assert_eq!(survey(&head, vec![seen(10, WindowState::Verified)], now()).counts.verified, 41);
    }

    #[test]
    fn windows_of_the_valid_plan_are_no_drafts_wherever_they_lie() {
        let head = planned(Some("old"), 100);
        assert!(!is_draft(&head, &seen(200, WindowState::Planned).window));
        assert!(is_draft(&planned(None, 0), &seen(200, WindowState::Planned).window), "no plan was ever completed");
    }

    #[test]
    fn many_drafts_go_in_transactions_that_fit_the_store_and_each_swaps_the_head() {
        let drafts = (0..250).map(|low| seen(low * 10, WindowState::Planned)).collect();
        let found = survey(&planned(None, 0), drafts, now());
        let sizes: Vec<usize> = found.deletions.iter().map(|write| write.windows.len()).collect();
        assert_eq!(sizes, [99, 99, 52]);
        assert!(found.left.is_empty());
    }
}
