//! The plans of a table that another app has copied. That one asked for rows above its watermark, so rows that came into
//! sight behind its last look with a watermark below are in nobody's range: those of the last hour before it, or where there
//! is no arrival time those of the look-back, are compared with what it has copied, and the rest is a window of its own.
//!
//! Where a column is the axis, its watermark may lie ahead of the clock, by a row that names a time in the future. Rows that come
//! later with a time below are as new as any: windows begin where it looked last, and up to its watermark they are compared with
//! what it has copied.

use crate::orchestration::difference::{Difference, Unmarked};
use crate::orchestration::ids::{WindowId, WindowName};
use crate::orchestration::ledger::{CutAxis, Head, Others};
use crate::orchestration::limits::{Limits, SOURCE_KEPT};
use crate::orchestration::plan::Piece;
use crate::orchestration::recount::name;
use crate::orchestration::window::Window;
use crate::timestamp::Timestamp;
use std::time::Duration;

/// How long behind its arrival a row may have come into sight.
const BEHIND: Duration = Duration::from_secs(3_600);
/// The resolution of the cut axis.
const TICK: Duration = Duration::from_nanos(100);

/// Rows at the source that another app may have missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubtful {
    /// Exclusive lower end on the cut axis.
    pub low: Timestamp,
    /// Inclusive upper end.
    pub high: Timestamp,
    /// What the other app had copied of them it has ingested after this.
    pub ingested_after: Timestamp,
}

/// What is doubtful, cut into pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pieces {
    /// On the cut axis: equal rows are in one piece.
    OnAxis(Vec<Piece>),
    /// On the watermark, where that is another axis: equal rows may have arrived at any time, and what was copied of them is found
    /// by their watermarks.
    ByWatermark {
        /// Those that have one.
        some: Vec<Piece>,
        /// All that had arrived by the last look and have none, on the cut axis: the first load of the other app asked for all rows, and
        /// no later one for these.
        without: Vec<Piece>,
    },
}

/// Where the first plan begins that knows how long the source keeps rows: what the other app saw last may be gone, and so may what
/// came after that.
pub fn began(head: Head, now: Timestamp) -> Head {
    let handover = head.shape.as_ref().and_then(|shape| shape.handover.as_ref());
    let looked = handover.map(|handover| handover.refreshed).filter(|looked| *looked < now - SOURCE_KEPT);
    match looked {
        Some(looked) if head.plan.is_none() && head.planned_to < looked => {
            Head { planned_to: looked, verified_up_to: looked, ..head }
        }
        _ => head,
    }
}

/// When the other app looked last, as far as that is on an axis of arrival times.
fn looked(head: &Head, others: &Others) -> Timestamp {
    let handover = head.shape.as_ref().and_then(|shape| shape.handover.as_ref());
    handover.map_or(others.watermark.min(others.refreshed), |handover| handover.refreshed)
}

/// Whether rows that had arrived by the other app's last look may still come into sight.
fn is_settled(head: &Head, others: &Others, now: Timestamp) -> bool {
    now >= looked(head, others) + BEHIND
}

/// What is doubtful of a table for the plan that is being made, if anything. Where rows have arrival times, no later plan counts that
/// range again: so it is compared once more when all that had arrived is in sight.
pub fn doubtful(head: &Head, now: Timestamp, limits: &Limits) -> Option<Doubtful> {
    let (shape, others) = (head.shape.as_ref()?, head.others.as_ref()?);
    let (low, high, after) = match shape.axis {
        CutAxis::Whole => return None,
        CutAxis::Column(_) if head.plan.is_some() => return None,
        CutAxis::Column(_) => (head.planned_to - limits.look_back, head.planned_to, Timestamp::MIN),
        CutAxis::ArrivalTime if others.compared && !is_settled(head, others, now) => return None,
        CutAxis::ArrivalTime => {
            let high = looked(head, others);
            (high - BEHIND, high, high - BEHIND * 2)
        }
    };
    let low = low.max(now - SOURCE_KEPT);
    (low < high).then_some(Doubtful { low, high, ingested_after: after })
}

/// What is left to be done about the other app's rows after the plan that is being made, which ends at `high`.
pub fn left(head: &Head, high: Timestamp, now: Timestamp) -> Option<Others> {
    let others = head.others.as_ref()?;
    let is_done = match head.shape.as_ref()?.axis {
        CutAxis::Whole => true,
        CutAxis::Column(_) => high >= others.watermark,
        CutAxis::ArrivalTime => is_settled(head, others, now),
    };
    (!is_done).then(|| Others { compared: true, ..others.clone() })
}

/// What the other app may have copied of a new range `(low, high]`, or of the rows without a value on the axis: its first load asked
/// for all rows, and nothing tells later whether there were such.
pub fn unmarked(axis: &CutAxis, others: Option<&Others>, low: Timestamp, high: Timestamp) -> Option<Unmarked> {
    if high == Timestamp::MIN {
        return matches!(axis, CutAxis::Column(_)).then_some(Unmarked::WITHOUT);
    }
    let watermark = others?.watermark;
    let may_be = matches!(axis, CutAxis::Column(_)) && low < watermark;
    may_be.then(|| Unmarked { first: low + TICK, last: high.min(watermark), after: Timestamp::MIN })
}

/// The windows of pieces of a doubtful range, given all windows of the `ledger`.
pub fn windows(
    head: &Head,
    draft: &str,
    ledger: &[Window],
    doubtful: &Doubtful,
    pieces: Pieces,
    now: Timestamp,
) -> Vec<(WindowName, Window)> {
    let taken = ledger.iter().map(|window| window.id.repair).filter(|repair| *repair >= WindowId::FIRST_HANDOVER);
    let first = taken.max().map_or(WindowId::FIRST_HANDOVER, |last| last.saturating_add(1));
    let window = |piece: &Piece, low, high, repair| {
        let id = WindowId { ledger: head.ledger, low, high, part: piece.part, generation: 0, repair };
        let unmarked = Some(Unmarked { first: piece.low + TICK, last: piece.high, after: doubtful.ingested_after });
        let difference = Some(Difference { unmarked, ..Difference::of(piece.rows) });
        // How many of them are new is not known.
        (name(&id), Window { difference, parting: head.parting(), ..Window::planned(id, draft, true, 0, now) })
    };
    match pieces {
        Pieces::OnAxis(pieces) => {
            without_empty(&pieces).iter().map(|piece| window(piece, piece.low, piece.high, first)).collect()
        }
        Pieces::ByWatermark { mut some, without } => {
            some.retain(|piece| piece.rows > 0);
            let without = without.iter().filter(|piece| piece.rows > 0).map(|piece| {
                let (name, window) = window(piece, piece.low, piece.high, first);
                let difference = Difference { unmarked: Some(Unmarked::WITHOUT), ..Difference::of(piece.rows) };
                (name, Window { difference: Some(difference), ..window })
            });
            // The ranges of the others are the same: each stretch of watermarks has a number of its own.
            let stretches = some.chunk_by(|a, b| a.high == b.high).zip(first.saturating_add(1)..);
            let of_stretch = |(pieces, repair): (&[Piece], u16)| {
                let of_piece = |piece| window(piece, doubtful.low, doubtful.high, repair);
                pieces.iter().map(of_piece).collect::<Vec<_>>()
            };
            without.chain(stretches.flat_map(of_stretch)).collect()
        }
    }
}

/// The same pieces, with those without rows joined to their neighbours: later plans count all of the range again.
fn without_empty(pieces: &[Piece]) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if (last.rows == 0 || piece.rows == 0) && !last.is_part() && !piece.is_part() => {
                last.high = piece.high;
                last.rows += piece.rows;
            }
            _ => joined.push(*piece),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, later, now, seen, shape};
    use crate::orchestration::ids::Part;
    use crate::orchestration::ledger::{Handover, RowFormat, Shape, TableState};
    use crate::orchestration::window::WindowState;

    const DAY: u64 = 86_400;

    fn taken_over(axis: CutAxis, handover: Option<Handover>, watermark: u64, refreshed: u64) -> Head {
        let shape = Some(Shape { axis, row_format: RowFormat::Full, handover, ..shape() });
        let others = Some(Others { watermark: later(watermark), refreshed: later(refreshed), compared: false });
        Head { shape, others, ..head(TableState::Planning) }
    }

    fn by_column(watermark: u64, refreshed: u64) -> Head {
        let planned_to = later(watermark.min(refreshed));
        Head { planned_to, ..taken_over(CutAxis::Column("Timestamp".into()), None, watermark, refreshed) }
    }

    fn by_arrival() -> Head {
        let handover = Some(Handover { watermark: later(5 * DAY), refreshed: later(6 * DAY) });
        taken_over(CutAxis::ArrivalTime, handover, 5 * DAY, 6 * DAY)
    }

    fn range(head: &Head, at: u64) -> Option<(Timestamp, Timestamp)> {
        doubtful(head, later(at), &Limits::scaled(1.0)).map(|doubtful| (doubtful.low, doubtful.high))
    }

    #[test]
    fn what_may_have_come_behind_the_last_look_is_doubtful() {
        assert_eq!(range(&by_arrival(), 7 * DAY), Some((later(6 * DAY - 3_600), later(6 * DAY))));
        let same_axis = taken_over(CutAxis::ArrivalTime, None, 5 * DAY, 6 * DAY);
        assert_eq!(range(&same_axis, 7 * DAY), Some((later(5 * DAY - 3_600), later(5 * DAY))));
        let column = by_column(5 * DAY, 6 * DAY);
        assert_eq!(range(&column, 7 * DAY), Some((later(3 * DAY), later(5 * DAY))));
        assert_eq!(range(&column, 34 * DAY), Some((later(4 * DAY), later(5 * DAY))), "no longer kept");
        assert_eq!(range(&column, 36 * DAY), None);
    }

    #[test]
    fn a_watermark_ahead_of_the_last_look_moves_no_doubt_into_the_future() {
        let ahead = by_column(9 * DAY, 6 * DAY);
        assert_eq!(range(&ahead, 7 * DAY), Some((later(4 * DAY), later(6 * DAY))));
        let axis = CutAxis::Column("Timestamp".into());
        let copied = |low, high| unmarked(&axis, ahead.others.as_ref(), later(low), later(high));
        let told = copied(6 * DAY, 7 * DAY).unwrap();
        assert_eq!((told.first, told.last), (later(6 * DAY) + TICK, later(7 * DAY)));
        assert_eq!(copied(8 * DAY, 10 * DAY).unwrap().last, later(9 * DAY));
        assert_eq!(copied(9 * DAY, 10 * DAY), None, "none of it was copied");
        assert_eq!(unmarked(&axis, None, Timestamp::MIN, Timestamp::MIN), Some(Unmarked::WITHOUT));
        assert_eq!(unmarked(&CutAxis::ArrivalTime, ahead.others.as_ref(), later(0), later(9)), None);
        let planned = Head { plan: Some("p".into()), ..ahead.clone() };
        assert_eq!(range(&planned, 8 * DAY), None, "the first plan has compared it, and later ones count it again");
        assert!(left(&planned, later(8 * DAY), later(8 * DAY)).is_some());
        assert_eq!(left(&planned, later(9 * DAY), later(9 * DAY)), None);
    }

    #[test]
    fn what_was_compared_before_all_of_it_was_in_sight_is_compared_once_more() {
        let (head, hour) = (by_arrival(), 3_600);
        let at_once = 6 * DAY + 60;
        let others = left(&head, later(at_once), later(at_once));
        let first = Head { plan: Some("p".into()), others, ..head.clone() };
        assert!(range(&head, at_once).is_some());
        assert_eq!(range(&first, at_once + 60), None, "not yet");
        assert_eq!(range(&first, 6 * DAY + hour), range(&head, at_once));
        assert_eq!(left(&first, later(7 * DAY), later(6 * DAY + hour)), None);
        assert_eq!(left(&head, later(7 * DAY), later(6 * DAY + hour)), None, "once is enough");
    }

    #[test]
    fn a_destination_of_our_own_holds_nothing_of_another_app() {
        assert_eq!(range(&Head { others: None, ..by_column(5 * DAY, 6 * DAY) }, 7 * DAY), None);
    }

    #[test]
    fn what_came_after_a_last_look_that_is_long_over_and_is_gone_is_a_gap() {
        let head = by_arrival();
        assert_eq!(began(head.clone(), later(36 * DAY)), head, "the source keeps all that came since");
        let begun = began(head.clone(), later(37 * DAY));
        assert_eq!((begun.planned_to, begun.verified_up_to), (later(6 * DAY), later(6 * DAY)));
        let planned = Head { plan: Some("p".into()), planned_to: later(40 * DAY), ..head };
        assert_eq!(began(planned.clone(), later(99 * DAY)), planned);
    }

    #[test]
    fn their_windows_are_repairs_of_what_carries_no_window() {
        let column = by_column(20, 20);
        let doubtful = Doubtful { low: now(), high: later(20), ingested_after: Timestamp::MIN };
        let piece = |low, high, rows| Piece::whole(later(low), later(high), rows);
        let pieces = Pieces::OnAxis(vec![piece(0, 4, 0), piece(4, 10, 3), piece(10, 12, 0), piece(12, 20, 7)]);
        let made = windows(&column, "draft", &[], &doubtful, pieces, now());
        let range = |window: &Window| (window.id.low, window.id.high, window.expected_rows());
        let ranges: Vec<_> = made.iter().map(|(_, window)| range(window)).collect();
        assert_eq!(ranges, [(now(), later(12), 3), (later(12), later(20), 7)]);
        assert!(made.iter().all(|(_, window)| window.id.repair == WindowId::FIRST_HANDOVER));
        let unmarked = Unmarked { first: later(12) + TICK, last: later(20), after: Timestamp::MIN };
        assert_eq!(made[1].1.difference.as_ref().unwrap().unmarked, Some(unmarked));
    }

    #[test]
    fn each_stretch_of_watermarks_is_compared_with_what_was_copied_of_it_alone() {
        let doubtful = Doubtful { low: later(100), high: later(200), ingested_after: now() };
        let part = |index| Piece { part: Part { index, count: 2 }, ..Piece::whole(later(7), later(8), 4) };
        let whole = |low, high, rows| Piece::whole(later(low), later(high), rows);
        let some = vec![whole(0, 5, 3), whole(5, 7, 0), part(0), part(1), whole(8, 150, 2)];
        let without = |rows| vec![Piece::whole(Timestamp::MIN, later(200), rows)];
        let pieces = || Pieces::ByWatermark { some: some.clone(), without: without(0) };
        let made = |ledger: &[Window]| windows(&by_arrival(), "draft", ledger, &doubtful, pieces(), now());
        let first = made(&[]);
        let pieces = Pieces::ByWatermark { some: Vec::new(), without: without(2) };
        let (_, of_two) = windows(&by_arrival(), "draft", &[], &doubtful, pieces, now()).remove(0);
        assert_eq!(
            (of_two.id.low, of_two.id.high, of_two.id.repair),
            (Timestamp::MIN, later(200), WindowId::FIRST_HANDOVER)
        );
        assert!(of_two.difference.unwrap().unmarked.unwrap().is_without());
        assert!(first.iter().all(|(_, window)| (window.id.low, window.id.high) == (later(100), later(200))));
        let told = |(_, window): &(WindowName, Window)| {
            let unmarked = window.difference.as_ref().unwrap().unmarked.as_ref().unwrap();
            (window.id.repair - WindowId::FIRST_HANDOVER, window.id.part.index, unmarked.last)
        };
        let numbers: Vec<_> = first.iter().map(told).collect();
        assert_eq!(numbers, [(1, 0, later(5)), (2, 0, later(8)), (2, 1, later(8)), (3, 0, later(150))]);
        let mut ledger = vec![seen(10, WindowState::Verified).window, first[3].1.clone()];
        ledger.swap(0, 1);
        assert_eq!(made(&ledger)[0].1.id.repair, WindowId::FIRST_HANDOVER + 5, "another comparison");
    }
}
