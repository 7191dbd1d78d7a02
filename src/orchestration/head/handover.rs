//! The first plan of a table that another app has copied. That one asked for rows above its watermark, so rows that came into
//! sight behind its last look with a watermark below are in nobody's range: those of the last hour before it, or where there
//! is no arrival time those of the look-back, are compared with what it has copied, and the rest is a window of its own.

use crate::orchestration::difference::{Difference, Unmarked};
use crate::orchestration::ids::{WindowId, WindowName};
use crate::orchestration::instance::TableConfig;
use crate::orchestration::ledger::{CutAxis, Head};
use crate::orchestration::limits::{Limits, SOURCE_KEPT};
use crate::orchestration::plan::Piece;
use crate::orchestration::recount::name;
use crate::orchestration::window::Window;
use crate::timestamp::Timestamp;
use std::time::Duration;

/// How long behind its arrival a row may have come into sight.
const BEHIND: Duration = Duration::from_secs(3_600);

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

/// What is doubtful of a table, if anything; its destination may hold rows of another app.
pub fn doubtful(head: &Head, config: &TableConfig, now: Timestamp, limits: &Limits) -> Option<Doubtful> {
    let shape = head.shape.as_ref()?;
    if head.plan.is_some() || head.made_here {
        return None;
    }
    let watermark = config.high_watermark?;
    let refreshed = config.last_refreshed.unwrap_or(watermark);
    let (low, high, after) = match (&shape.axis, &shape.handover) {
        (CutAxis::Whole, _) => return None,
        (CutAxis::Column(_), _) => (watermark - limits.look_back, watermark, Timestamp::MIN),
        (CutAxis::ArrivalTime, Some(handover)) => {
            let high = handover.refreshed;
            (high - BEHIND, high, high - BEHIND * 2)
        }
        (CutAxis::ArrivalTime, None) => {
            let high = watermark.min(refreshed);
            (high - BEHIND, high, high - BEHIND * 2)
        }
    };
    let low = low.max(now - SOURCE_KEPT);
    (low < high).then_some(Doubtful { low, high, ingested_after: after })
}

/// The windows of pieces of a doubtful range. `bounds` are the least and the greatest watermark of its rows, where the
/// watermark is not the axis.
pub fn windows(
    head: &Head,
    draft: &str,
    doubtful: &Doubtful,
    pieces: &[Piece],
    bounds: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Vec<(WindowName, Window)> {
    let window = |piece: &Piece| {
        let Piece { low, high, part, rows } = *piece;
        let id = WindowId { ledger: head.ledger, low, high, part, generation: 0, repair: WindowId::FIRST_HANDOVER };
        let (first, last) = bounds.unwrap_or((low, high));
        let unmarked = Some(Unmarked { first, last, after: doubtful.ingested_after });
        let difference = Some(Difference { unmarked, ..Difference::of(rows) });
        // How many of them are new is not known.
        (name(&id), Window { difference, parting: head.parting(), ..Window::planned(id, draft, true, 0, now) })
    };
    without_empty(pieces).iter().map(window).collect()
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
    use crate::orchestration::head::testing::{head, later, now, shape, table};
    use crate::orchestration::ledger::{Handover, RowFormat, Shape, TableState};

    fn taken_over(axis: CutAxis, handover: Option<Handover>) -> Head {
        let shape = Some(Shape { axis, row_format: RowFormat::Full, handover, ..shape() });
        Head { shape, ..head(TableState::Planning) }
    }

    fn range(head: &Head, watermark: u64, refreshed: u64, at: u64) -> Option<(Timestamp, Timestamp)> {
        let (high_watermark, last_refreshed) = (Some(later(watermark)), Some(later(refreshed)));
        let config = TableConfig { high_watermark, last_refreshed, ..table().config };
        doubtful(head, &config, later(at), &Limits::scaled(1.0)).map(|doubtful| (doubtful.low, doubtful.high))
    }

    #[test]
    fn what_may_have_come_behind_the_last_look_is_doubtful() {
        const DAY: u64 = 86_400;
        let handover = Some(Handover { watermark: later(5 * DAY), refreshed: later(6 * DAY) });
        let arrival = taken_over(CutAxis::ArrivalTime, handover);
        assert_eq!(range(&arrival, 5 * DAY, 6 * DAY, 7 * DAY), Some((later(6 * DAY - 3_600), later(6 * DAY))));
        let same_axis = taken_over(CutAxis::ArrivalTime, None);
        assert_eq!(range(&same_axis, 5 * DAY, 6 * DAY, 7 * DAY), Some((later(5 * DAY - 3_600), later(5 * DAY))));
        let column = taken_over(CutAxis::Column("Timestamp".into()), None);
        assert_eq!(range(&column, 5 * DAY, 6 * DAY, 7 * DAY), Some((later(3 * DAY), later(5 * DAY))));
        assert_eq!(
            range(&column, 5 * DAY, 6 * DAY, 34 * DAY),
            Some((later(4 * DAY), later(5 * DAY))),
            "no longer kept"
        );
        assert_eq!(range(&column, 5 * DAY, 6 * DAY, 36 * DAY), None);
    }

    #[test]
    fn a_destination_of_our_own_or_one_that_is_planned_holds_nothing_of_another_app() {
        let column = taken_over(CutAxis::Column("Timestamp".into()), None);
        assert_eq!(range(&Head { made_here: true, ..column.clone() }, 500_000, 600_000, 700_000), None);
        assert_eq!(range(&Head { plan: Some("p".into()), ..column }, 500_000, 600_000, 700_000), None);
    }

    #[test]
    fn their_windows_are_repairs_of_what_carries_no_window() {
        let column = taken_over(CutAxis::Column("Timestamp".into()), None);
        let doubtful = Doubtful { low: now(), high: later(20), ingested_after: Timestamp::MIN };
        let piece = |low, high, rows| Piece::whole(later(low), later(high), rows);
        let pieces = [piece(0, 4, 0), piece(4, 10, 3), piece(10, 12, 0), piece(12, 20, 7)];
        let made = windows(&column, "draft", &doubtful, &pieces, None, now());
        let range = |window: &Window| (window.id.low, window.id.high, window.expected_rows());
        let ranges: Vec<_> = made.iter().map(|(_, window)| range(window)).collect();
        assert_eq!(ranges, [(now(), later(12), 3), (later(12), later(20), 7)]);
        assert!(made.iter().all(|(_, window)| window.id.repair == WindowId::FIRST_HANDOVER));
        let unmarked = Unmarked { first: later(12), last: later(20), after: Timestamp::MIN };
        assert_eq!(made[1].1.difference.as_ref().unwrap().unmarked, Some(unmarked));
    }
}
