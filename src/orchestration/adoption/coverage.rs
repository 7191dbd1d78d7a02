//! What windows cover, as their ids spell it: which of them stand for the same rows, and which rows none stands for.
//! A window covers a stretch of time, and in it the rows whose hash falls into its part.

use crate::orchestration::ids::{Part, WindowId};
use crate::orchestration::plan::Piece;
use crate::timestamp::Timestamp;

/// Parts whose numbers have no common multiple that an id can spell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the windows in ({low}, {high}] are hash parts of counts that do not fit together: they were not written by one ledger"
)]
pub struct Entangled {
    low: Timestamp,
    high: Timestamp,
}

/// Whether an id stands for rows at all; one that somebody made up may not.
pub fn is_sound(id: &WindowId) -> bool {
    id.part.index < id.part.count && (id.low < id.high || (id.is_null_axis() && id.low == id.high))
}

/// Pairs of windows, by their places, that stand for the same rows. A repair holds none of the rows of the windows before
/// it.
pub fn overlaps(windows: &[WindowId]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..windows.len()).collect();
    order.sort_by_key(|at| (!windows[*at].is_null_axis(), windows[*at].low, windows[*at].high));
    let (mut pairs, mut open): (Vec<(usize, usize)>, Vec<usize>) = (Vec::new(), Vec::new());
    for next in order {
        let window = &windows[next];
        open.retain(|at| {
            let other = &windows[*at];
            other.is_null_axis() == window.is_null_axis() && (other.is_null_axis() || other.high > window.low)
        });
        pairs.extend(
            open.iter()
                .filter(|at| windows[**at].repair == window.repair && meet(windows[**at].part, window.part))
                .map(|at| (*at, next)),
        );
        open.push(next);
    }
    pairs
}

/// Whether a row can be in both parts.
fn meet(left: Part, right: Part) -> bool {
    let common = gcd(left.count.into(), right.count.into());
    u64::from(left.index) % common == u64::from(right.index) % common
}

/// Whether `windows` together stand for all rows of `id`, repairs or not.
pub fn covers(windows: &[WindowId], id: &WindowId) -> bool {
    let missed = gaps_in_time(windows, id.low, id.high);
    missed.is_ok_and(|missed| missed.iter().all(|piece| !meet(piece.part, id.part)))
}

/// What of `(low, high]`, and of the rows without a time, no window stands for: a repair holds only what came later. Pieces
/// of no known rows.
///
/// # Errors
/// [`Entangled`].
pub fn gaps(windows: &[WindowId], low: Timestamp, high: Timestamp) -> Result<Vec<Piece>, Entangled> {
    let mut pieces = holes(windows, low, high)?;
    let is_null = |id: &&WindowId| id.is_null_axis() && !id.is_repair();
    let nulls: Vec<Part> = windows.iter().filter(is_null).map(|id| id.part).collect();
    let missing = missing(&nulls).ok_or(Entangled { low: Timestamp::MIN, high: Timestamp::MIN })?;
    pieces.extend(missing.into_iter().map(|part| piece(Timestamp::MIN, Timestamp::MIN, part)));
    Ok(pieces)
}

/// What of `(low, high]` no window stands for, repairs aside, as pieces without rows. Each has the range of the windows beside it.
///
/// # Errors
/// [`Entangled`].
pub fn holes(windows: &[WindowId], low: Timestamp, high: Timestamp) -> Result<Vec<Piece>, Entangled> {
    let windows: Vec<WindowId> = windows.iter().filter(|id| !id.is_repair()).copied().collect();
    gaps_in_time(&windows, low, high)
}

/// The gaps, cut at the ends of `windows`. Hash parts are left as they are: those that are there have the same range.
pub fn cut_at(gaps: Vec<Piece>, windows: &[WindowId]) -> Vec<Piece> {
    let mut ends: Vec<Timestamp> = windows.iter().flat_map(|id| [id.low, id.high]).collect();
    ends.sort_unstable();
    ends.dedup();
    let cut = |gap: Piece| {
        let inside = ends.iter().copied().filter(|at| gap.low < *at && *at < gap.high && !gap.is_part());
        let cuts: Vec<Timestamp> = [gap.low].into_iter().chain(inside).chain([gap.high]).collect();
        cuts.windows(2).map(|ends| Piece { low: ends[0], high: ends[1], ..gap }).collect::<Vec<_>>()
    };
    gaps.into_iter().flat_map(cut).collect()
}

fn piece(low: Timestamp, high: Timestamp, part: Part) -> Piece {
    Piece { part, ..Piece::whole(low, high, 0) }
}

fn gaps_in_time(windows: &[WindowId], low: Timestamp, high: Timestamp) -> Result<Vec<Piece>, Entangled> {
    let mut windows: Vec<&WindowId> = windows.iter().filter(|id| id.high > low && id.low < high).collect();
    windows.sort_by_key(|id| id.low);
    let mut cuts: Vec<Timestamp> = windows.iter().flat_map(|id| [id.low, id.high]).chain([low, high]).collect();
    cuts.retain(|at| (low..=high).contains(at));
    cuts.sort_unstable();
    cuts.dedup();
    let (mut next, mut open): (usize, Vec<&WindowId>) = (0, Vec::new());
    let mut stretches: Vec<(Timestamp, Timestamp, Vec<Part>)> = Vec::new();
    for stretch in cuts.windows(2) {
        let (from, to) = (stretch[0], stretch[1]);
        open.retain(|id| id.high > from);
        while let Some(id) = windows.get(next).filter(|id| id.low <= from) {
            open.push(id);
            next += 1;
        }
        let parts: Vec<Part> = open.iter().map(|id| id.part).collect();
        let missing = missing(&parts).ok_or(Entangled { low: from, high: to })?;
        match stretches.last_mut() {
            Some((_, end, same)) if *end == from && *same == missing && is_whole(same) => *end = to,
            _ => stretches.push((from, to, missing)),
        }
    }
    let pieces = stretches.iter().flat_map(|(from, to, parts)| parts.iter().map(|part| piece(*from, *to, *part)));
    Ok(pieces.collect())
}

fn is_whole(parts: &[Part]) -> bool {
    parts == [Part::WHOLE]
}

/// The parts that are missing beside `parts` for all rows to be in one; `None` where no number of parts can tell.
fn missing(parts: &[Part]) -> Option<Vec<Part>> {
    if parts.is_empty() {
        return Some(vec![Part::WHOLE]);
    }
    let all = parts.iter().try_fold(1u64, |all, part| {
        let count = u64::from(part.count);
        Some(all / gcd(all, count) * count).filter(|all| *all <= u64::from(u16::MAX))
    });
    let count = u16::try_from(all?).ok()?;
    let covered = |index: u16| parts.iter().any(|part| index % part.count == part.index);
    Some((0..count).filter(|index| !covered(*index)).map(|index| Part { index, count }).collect())
}

fn gcd(left: u64, right: u64) -> u64 {
    if right == 0 { left } else { gcd(right, left % right) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::ids::LedgerId;
    use proptest::prelude::*;

    fn id(low: u64, high: u64, index: u16, count: u16) -> WindowId {
        let at = Timestamp::from_ticks;
        WindowId {
            ledger: LedgerId(1),
            low: at(low),
            high: at(high),
            part: Part { index, count },
            generation: 0,
            repair: 0,
        }
    }

    fn missed(windows: &[WindowId], low: u64, high: u64) -> Vec<(u64, u64, u16, u16)> {
        let gaps = gaps(windows, Timestamp::from_ticks(low), Timestamp::from_ticks(high)).unwrap();
        gaps.iter().map(|p| (p.low.ticks(), p.high.ticks(), p.part.index, p.part.count)).collect()
    }

    #[test]
    fn what_lies_between_windows_is_a_gap_and_so_are_rows_without_a_time() {
        let windows = [id(20, 30, 0, 1), id(10, 15, 0, 1), id(0, 0, 0, 1)];
        assert_eq!(missed(&windows, 5, 40), [(5, 10, 0, 1), (15, 20, 0, 1), (30, 40, 0, 1)]);
        assert_eq!(missed(&windows[..2], 10, 15), [(0, 0, 0, 1)]);
        assert_eq!(missed(&[id(0, 0, 1, 2)], 0, 0), [(0, 0, 0, 2)]);
    }

    #[test]
    fn a_hash_part_that_is_not_there_is_a_gap_of_its_own() {
        let nulls = id(0, 0, 0, 1);
        assert_eq!(missed(&[nulls, id(10, 20, 0, 4), id(10, 20, 1, 2)], 10, 20), [(10, 20, 2, 4)]);
        assert_eq!(missed(&[nulls, id(10, 20, 0, 2), id(10, 20, 1, 2)], 10, 20), []);
        let entangled: Vec<WindowId> = [251, 257, 263].map(|count| id(10, 20, 0, count)).to_vec();
        assert!(gaps(&entangled, Timestamp::from_ticks(10), Timestamp::from_ticks(20)).is_err());
    }

    #[test]
    fn windows_overlap_when_a_row_can_be_in_both() {
        let windows = [id(10, 20, 0, 2), id(10, 20, 1, 2), id(20, 30, 0, 1), id(15, 16, 2, 4), id(0, 0, 0, 1)];
        assert_eq!(overlaps(&windows), [(0, 3)]);
        assert_eq!(overlaps(&[id(0, 0, 0, 1), id(0, 5, 0, 1), id(0, 0, 1, 3)]), [(0, 2)]);
        assert_eq!(overlaps(&[id(10, 50, 0, 1), id(20, 30, 0, 1), id(40, 60, 0, 1)]), [(0, 1), (0, 2)]);
    }

    #[test]
    fn a_repair_stands_beside_the_window_whose_late_rows_it_holds_and_in_its_place_it_does_not() {
        let repair = |repair| WindowId { repair, ..id(10, 20, 0, 1) };
        assert_eq!(overlaps(&[id(10, 20, 0, 1), repair(1), repair(2)]), []);
        assert_eq!(overlaps(&[repair(1), repair(2), repair(1)]), [(0, 2)]);
        assert_eq!(missed(&[id(0, 0, 0, 1), repair(1)], 10, 20), [(10, 20, 0, 1)]);
    }

    #[test]
    fn an_id_that_covers_nothing_is_none_of_ours() {
        assert!(is_sound(&id(10, 20, 1, 2)) && is_sound(&id(0, 0, 0, 1)));
        for bad in [id(10, 10, 0, 1), id(20, 10, 0, 1), id(10, 20, 2, 2), id(10, 20, 0, 0), id(5, 0, 0, 1)] {
            assert!(!is_sound(&bad), "{bad}");
        }
    }

    fn any_window() -> impl Strategy<Value = WindowId> {
        (0u64..40, 1u64..15, prop::sample::select(vec![1u16, 2, 4, 8]), 0u16..8)
            .prop_map(|(low, span, count, index)| id(low, low + span, index % count, count))
    }

    proptest! {
        /// Row by row: what the windows and the gaps cover together is everything, and no gap meets a window.
        #[test]
        fn windows_and_gaps_tile_the_range(windows in prop::collection::vec(any_window(), 0..12), low in 0u64..30, span in 0u64..30) {
            let (from, to) = (Timestamp::from_ticks(low), Timestamp::from_ticks(low + span));
            let found = gaps(&windows, from, to).unwrap();
            for tick in low + 1..=low + span {
                for hash in 0..8u16 {
                    let at = Timestamp::from_ticks(tick);
                    let holds = |low: Timestamp, high: Timestamp, part: Part| low < at && at <= high && hash % part.count == part.index;
                    let windows = windows.iter().filter(|id| holds(id.low, id.high, id.part)).count();
                    let gaps = found.iter().filter(|piece| holds(piece.low, piece.high, piece.part)).count();
                    prop_assert_eq!(gaps, usize::from(windows == 0), "tick {} hash {}", tick, hash);
                }
            }
        }

        #[test]
        fn every_overlap_is_found(windows in prop::collection::vec(any_window(), 0..10)) {
            let mut found: Vec<_> = overlaps(&windows).into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
            found.sort_unstable();
            let mut wanted = Vec::new();
            for (a, left) in windows.iter().enumerate() {
                for (b, right) in windows.iter().enumerate().skip(a + 1) {
                    let share = left.low < right.high && right.low < left.high
                        && (0..8u16).any(|hash| hash % left.part.count == left.part.index && hash % right.part.count == right.part.index);
                    if share {
                        wanted.push((a, b));
                    }
                }
            }
            prop_assert_eq!(found, wanted);
        }
    }
}
