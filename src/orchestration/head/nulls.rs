//! Rows that have no value on the cut axis. No range holds them: windows of their own do, all of them at once. Those that come
//! later are found by their number, and a repair brings what the destination does not hold.

use crate::orchestration::difference::Difference;
use crate::orchestration::head::handover::unmarked;
use crate::orchestration::ids::{WindowId, WindowName};
use crate::orchestration::ledger::{CutAxis, Head};
use crate::orchestration::plan::Piece;
use crate::orchestration::recount::name;
use crate::orchestration::window::{Window, WindowState};
use crate::timestamp::{Timestamp, ticks_of};
use std::time::Duration;

/// As many rows may have come as the source has let go of, and their number says nothing: they are compared again after
/// this, long before the source lets go of what came.
const COMPARED_AGAIN_AFTER: Duration = Duration::from_secs(7 * 86_400);

/// What becomes of such rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullRows {
    /// Windows that are there have them, or are about to.
    Copied,
    /// None was ever copied: they are to be planned.
    New,
    /// They may be others than when they were last compared.
    Changed,
}

/// Whether a plan up to `high` counts them. A row gets its arrival time from the engine: the first plan looks for rows from before
/// it did so, and one plan a week for those of days on which it was told not to, as the count reads when every row arrived. Those
/// that another app had copied it would not tell from these.
pub fn are_counted(head: &Head, high: Timestamp) -> bool {
    let Some(shape) = &head.shape else { return head.plan.is_none() };
    let is_another_week = || week(head, head.planned_to) != week(head, high);
    head.plan.is_none()
        || match shape.axis {
            CutAxis::Column(_) => true,
            CutAxis::ArrivalTime => shape.handover.is_none() && is_another_week(),
            CutAxis::Whole => false,
        }
}

/// The week of an instant; not that of other tables, which would all be counted in the same night.
fn week(head: &Head, at: Timestamp) -> u64 {
    let week = ticks_of(COMPARED_AGAIN_AFTER);
    let ours = head.source.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % week;
    at.ticks().saturating_add(ours) / week
}

/// Decides on `counted` rows at the source, given the windows of the ledger.
pub fn judge(ledger: &[Window], counted: u64, now: Timestamp) -> NullRows {
    let known = || ledger.iter().filter(|window| window.id.is_null_axis() && window.state != WindowState::Split);
    match known().map(|window| window.id.repair).max() {
        _ if counted == 0 => NullRows::Copied,
        None => NullRows::New,
        // It takes what it finds when it is pulled, or it is not all there yet.
        Some(_) if known().any(|window| !window.state.is_terminal()) => NullRows::Copied,
        Some(last) => {
            let compared = || known().filter(|window| window.id.repair == last);
            let rows: u64 = compared().map(shown).sum();
            let at = compared().map(|window| window.updated).max().unwrap_or(Timestamp::MIN);
            let is_same = rows == counted && now.since(at) <= COMPARED_AGAIN_AFTER;
            if is_same { NullRows::Copied } else { NullRows::Changed }
        }
    }
}

/// Rows that the source showed of a window when it was pulled.
fn shown(window: &Window) -> u64 {
    let compared = window.difference.as_ref().and_then(|difference| difference.compared);
    let copied =
        || if window.state == WindowState::Verified { window.seal.as_ref().map(|seal| seal.rows) } else { Some(0) };
    compared.or_else(copied).unwrap_or(window.planned_rows)
}

/// The repairs that bring what came since, one for each piece of all such rows.
pub fn repairs(
    head: &Head,
    draft: &str,
    ledger: &[Window],
    pieces: &[Piece],
    now: Timestamp,
) -> Vec<(WindowName, Window)> {
    let last = ledger.iter().filter(|window| window.id.is_null_axis()).map(|window| window.id.repair).max();
    let repair = last.unwrap_or(0).saturating_add(1);
    let repair = |piece: &Piece| {
        let (low, high, part) = (Timestamp::MIN, Timestamp::MIN, piece.part);
        let id = WindowId { ledger: head.ledger, low, high, part, generation: 0, repair };
        let axis = head.shape.as_ref().map(|shape| &shape.axis).filter(|_| !head.made_here);
        let unmarked = axis.and_then(|axis| unmarked(axis, None, low, high));
        // How many of them are new is not known; those that left may hide those that came.
        let difference = Some(Difference { unmarked, ..Difference::of(piece.rows) });
        let window = Window { difference, parting: head.parting(), ..Window::planned(id, draft, false, 0, now) };
        (name(&id), window)
    };
    pieces.iter().map(repair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, later, now, seen, shape};
    use crate::orchestration::ledger::{Shape, TableState};

    fn known(state: WindowState, repair: u16, compared: Option<u64>) -> Window {
        let mut window = seen(0, state).window;
        window.id = WindowId { high: Timestamp::MIN, repair, ..window.id };
        window.difference = (repair > 0).then(|| Difference { compared, ..Difference::of(9) });
        window
    }

    fn judged(ledger: &[Window], counted: u64) -> NullRows {
        judge(ledger, counted, later(60))
    }

    #[test]
    fn rows_that_came_after_the_others_were_copied_are_found_by_their_number() {
        use WindowState::{Empty, Split, Verified};
        let range = seen(10, Verified).window;
        let copied =
            [known(Verified, 0, None), known(Verified, 0, None), known(Empty, 0, None), known(Split, 0, None), range];
        assert_eq!(judged(&copied, 6), NullRows::Copied, "three rows are sealed in each");
        assert_eq!(judged(&copied, 8), NullRows::Changed);
        assert_eq!(judged(&copied, 5), NullRows::Changed, "what left the source may hide what came");
        assert_eq!(judged(&copied, 0), NullRows::Copied);
    }

    #[test]
    fn what_a_repair_compared_is_not_compared_again_until_it_changes_or_a_week_has_passed() {
        let compared = [known(WindowState::Verified, 0, None), known(WindowState::Empty, 1, Some(8))];
        assert_eq!(judged(&compared, 8), NullRows::Copied);
        assert_eq!(judged(&compared, 9), NullRows::Changed);
        assert_eq!(judge(&compared, 8, later(8 * 86_400)), NullRows::Changed);
    }

    #[test]
    fn what_is_still_to_be_pulled_or_counted_takes_what_came_late_or_is_waited_for() {
        for open in [WindowState::Planned, WindowState::Claimed, WindowState::Failed, WindowState::Submitted] {
            let ledger = [known(WindowState::Verified, 0, None), known(open, 1, None)];
            assert_eq!(judged(&ledger, 9), NullRows::Copied, "{open:?}");
        }
    }

    #[test]
    fn the_first_of_them_are_planned_whenever_they_come() {
        assert_eq!(judged(&[], 2), NullRows::New);
        assert_eq!(judged(&[], 0), NullRows::Copied);
    }

    #[test]
    fn the_repairs_of_pieces_have_one_number_that_was_not_given_before() {
        use crate::orchestration::ids::Part;
        let ledger = [known(WindowState::Verified, 0, None), known(WindowState::Empty, 1, Some(8))];
        let part = |index| Piece { part: Part { index, count: 2 }, ..Piece::whole(Timestamp::MIN, Timestamp::MIN, 5) };
        let made = repairs(&head(TableState::Planning), "draft", &ledger, &[part(0), part(1)], now());
        assert!(made.iter().all(|(_, window)| window.id.repair == 2 && window.id.is_null_axis()));
        assert_ne!(made[0].0, made[1].0);
    }

    #[test]
    fn every_plan_counts_them_where_a_column_is_the_axis_and_one_a_week_elsewhere() {
        let with = |axis, plan: Option<&str>| {
            let shape = Some(Shape { axis, ..shape() });
            let known = Head { shape, plan: plan.map(str::to_owned), planned_to: now(), ..head(TableState::Planning) };
            [3_600, 8 * 86_400].map(|seconds| are_counted(&known, later(seconds)))
        };
        let column = || CutAxis::Column("Timestamp".to_owned());
        assert_eq!([with(column(), None), with(column(), Some("p"))], [[true; 2]; 2]);
        assert_eq!(with(CutAxis::ArrivalTime, None), [true; 2]);
        assert_eq!(with(CutAxis::ArrivalTime, Some("p")), [false, true], "once a week");
        assert_eq!(with(CutAxis::Whole, Some("p")), [false; 2]);
    }
}
