//! Are the rows of a window all there? The ledger that knew how many were sent is lost, so the source is asked: for as long a
//! stretch of windows at once as there is, and window by window only where the sums differ.
//!
//! Only an arrival time makes the numbers comparable: on any other axis rows come later.

use super::Landed;
use super::coverage::gaps;
use crate::orchestration::ids::WindowId;
use crate::orchestration::ledger::CutAxis;
use crate::orchestration::limits::SOURCE_KEPT;
use crate::timestamp::Timestamp;

/// Windows that together stand for all rows of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Exclusive lower end.
    pub low: Timestamp,
    /// Inclusive upper end.
    pub high: Timestamp,
    /// Rows of them in the destination.
    pub rows: u64,
    /// Them.
    pub windows: Vec<WindowId>,
}

/// The ranges that are to be counted at the source, each with the smallest ranges in it. What is proved, and what the source
/// does not keep, is not compared.
pub fn stretches(adopted: &[Landed], axis: &CutAxis, proved: Timestamp, now: Timestamp) -> Vec<Vec<Stretch>> {
    if *axis != CutAxis::ArrivalTime {
        return Vec::new();
    }
    let oldest = proved.max(now - SOURCE_KEPT);
    let mut due: Vec<&Landed> = adopted.iter().filter(|one| one.id.low >= oldest && !one.id.is_null_axis()).collect();
    due.sort_by_key(|one| (one.id.low, one.id.high));
    let ranges = due.chunk_by(|a, b| (a.id.low, a.id.high) == (b.id.low, b.id.high)).map(|range| {
        let windows = range.iter().map(|one| one.id).collect();
        Stretch { low: range[0].id.low, high: range[0].id.high, rows: range.iter().map(|one| one.rows).sum(), windows }
    });
    // Missing hash parts are counted one by one, and those beside them with them.
    let is_whole = |range: &Stretch| {
        gaps(&range.windows, range.low, range.high).is_ok_and(|gaps| gaps.iter().all(|gap| gap.is_null_axis()))
    };
    let whole: Vec<Stretch> = ranges.filter(is_whole).collect();
    whole.chunk_by(|a, b| a.high == b.low).map(<[Stretch]>::to_vec).collect()
}

/// The range that a run of stretches covers, and its rows.
pub fn sum(stretches: &[Stretch]) -> Option<(Timestamp, Timestamp, u64)> {
    let (first, last) = (stretches.first()?, stretches.last()?);
    Some((first.low, last.high, stretches.iter().map(|stretch| stretch.rows).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{later, now};
    use crate::orchestration::ids::{LedgerId, Part};

    fn landed(low: u64, high: u64, index: u16, count: u16) -> Landed {
        let part = Part { index, count };
        let id = WindowId { ledger: LedgerId(1), low: later(low), high: later(high), part, generation: 0, repair: 0 };
        Landed { id, rows: 5, first: now(), last: now() }
    }

    #[test]
    fn neighbours_are_counted_together_and_what_is_not_whole_by_itself() {
        let adopted = [
            landed(20, 30, 1, 2),
            landed(10, 20, 0, 1),
            landed(20, 30, 0, 2),
            landed(30, 40, 0, 2),
            landed(40, 50, 0, 1),
        ];
        let compared = |axis, proved| stretches(&adopted, &axis, proved, later(100));
        let found = compared(CutAxis::ArrivalTime, now());
        let sums: Vec<_> = found.iter().map(|some| sum(some).unwrap()).collect();
        assert_eq!(sums, [(later(10), later(30), 15), (later(40), later(50), 5)]);
        assert_eq!(compared(CutAxis::ArrivalTime, later(20)).len(), 2);
        assert_eq!(sum(&compared(CutAxis::ArrivalTime, later(20))[0]), Some((later(20), later(30), 10)));
        assert!(compared(CutAxis::Column("Timestamp".into()), now()).is_empty());
        assert!(stretches(&adopted, &CutAxis::ArrivalTime, now(), later(31 * 86_400)).is_empty(), "not kept");
    }
}
