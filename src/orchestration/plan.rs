//! Cutting a range into windows from a count histogram. Knows no query: bins come in, pieces go out.

use super::ids::Part;
use crate::timestamp::Timestamp;
use std::time::Duration;

/// One bin of a histogram: `[start, start + width)` on the cut axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin {
    /// Its first instant.
    pub start: Timestamp,
    /// Its rows.
    pub rows: u64,
}

/// A piece of the range, `(low, high]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Exclusive lower end.
    pub low: Timestamp,
    /// Inclusive upper end.
    pub high: Timestamp,
    /// Hash partition of it.
    pub part: Part,
    /// Its rows.
    pub rows: u64,
}

impl Piece {
    /// The whole of `(low, high]`.
    pub fn whole(low: Timestamp, high: Timestamp, rows: u64) -> Self {
        Self { low, high, part: Part::WHOLE, rows }
    }

    /// Whether it is one of several hash partitions.
    pub fn is_part(&self) -> bool {
        self.part != Part::WHOLE
    }

    /// Whether it stands for the rows whose cut axis is null.
    pub fn is_null_axis(&self) -> bool {
        self.high == Timestamp::MIN
    }

    /// Whether no time can cut it further: a single tick.
    pub fn is_single_tick(&self) -> bool {
        self.high.since(self.low) <= Duration::from_nanos(100)
    }
}

/// The most rows a window is planned for, from both caps of the API.
pub fn target_rows(window_rows: u64, window_bytes: u64, bytes_per_row: Option<f64>) -> u64 {
    let by_bytes = bytes_per_row.filter(|b| *b >= 1.0).map_or(u64::MAX, |b| (window_bytes as f64 / b) as u64);
    window_rows.min(by_bytes).max(1)
}

/// The widths that histograms are counted in: each divides the next, and a day.
const WIDTHS: [Duration; 20] = [
    Duration::from_nanos(100),
    Duration::from_micros(1),
    Duration::from_micros(10),
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(600),
    Duration::from_secs(1_800),
    Duration::from_secs(3_600),
    Duration::from_secs(21_600),
    Duration::from_secs(86_400),
    Duration::from_secs(7 * 86_400),
    Duration::from_secs(28 * 86_400),
];

/// The narrowest width that cuts `span` into at most `most_bins` bins.
pub fn bin_width(span: Duration, most_bins: u32) -> Duration {
    let narrowest = span / most_bins.max(1);
    WIDTHS.into_iter().find(|width| *width >= narrowest).unwrap_or(WIDTHS[WIDTHS.len() - 1])
}

/// Packs bins into pieces of at most `target` rows that tile `(low, high]` without gap or overlap. A bin above
/// the target stands alone: the caller refines it. A range without rows is one piece of none.
///
/// Bins are half open at the top, pieces at the bottom: a piece ends one tick before the next bin, and ticks
/// are the finest that the axis has, so both cover the same rows.
pub fn pack(low: Timestamp, high: Timestamp, bins: &[Bin], width: Duration, target: u64) -> Vec<Piece> {
    let mut bins: Vec<Bin> = bins.iter().copied().filter(|bin| bin.rows > 0).collect();
    bins.sort_by_key(|bin| bin.start);
    let mut pieces = Vec::new();
    let (mut from, mut rows) = (low, 0u64);
    let mut cut = |from: &mut Timestamp, rows: &mut u64, at: Timestamp| {
        if at > *from && at < high {
            pieces.push(Piece::whole(*from, at, *rows));
            (*from, *rows) = (at, 0);
        }
    };
    for (index, bin) in bins.iter().enumerate() {
        let alone = bin.rows > target;
        // The empty stretch before the very first row is a piece of its own: windows then have real bounds.
        if (index == 0 && low == Timestamp::MIN) || rows + bin.rows > target || alone {
            cut(&mut from, &mut rows, bin.start.before());
        }
        rows += bin.rows;
        if alone {
            cut(&mut from, &mut rows, (bin.start + width).before());
        }
    }
    if high > from {
        pieces.push(Piece::whole(from, high, rows));
    }
    pieces
}

/// Joins neighbours, smallest first, until at most `most` pieces are left; parts are never joined.
pub fn at_most(mut pieces: Vec<Piece>, most: usize) -> Vec<Piece> {
    while pieces.len() > most {
        let joinable = (1..pieces.len()).filter(|i| {
            let (left, right) = (&pieces[i - 1], &pieces[*i]);
            left.part == Part::WHOLE && right.part == Part::WHOLE && left.high == right.low
        });
        let Some(index) = joinable.min_by_key(|i| pieces[i - 1].rows + pieces[*i].rows) else { break };
        let right = pieces.remove(index);
        pieces[index - 1].high = right.high;
        pieces[index - 1].rows += right.rows;
    }
    pieces
}

/// How many hash partitions bring `rows` below `target`: the next power of two, with room for uneven parts.
/// At most [`MAX_PARTS`]: what is too much still is split again.
pub fn parts_for(rows: u64, target: u64) -> u16 {
    let wanted = (rows.saturating_mul(5) / 4).div_ceil(target.max(1)).max(2);
    u16::try_from(wanted.next_power_of_two()).unwrap_or(MAX_PARTS).min(MAX_PARTS)
}

/// The most hash partitions of one split: with parent and head they fit one transaction.
pub const MAX_PARTS: u16 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: u64 = 638_000_000_000_000_000;
    const WIDTH: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ticks(BASE - BASE % 600_000_000) + Duration::from_secs(seconds)
    }

    fn bins(rows: &[u64]) -> Vec<Bin> {
        rows.iter().enumerate().map(|(i, rows)| Bin { start: at(60 * i as u64), rows: *rows }).collect()
    }

    fn counts(pieces: &[Piece]) -> Vec<u64> {
        pieces.iter().map(|p| p.rows).collect()
    }

    #[test]
    fn bins_are_packed_up_to_the_target() {
        let pieces = pack(at(0).before(), at(1000), &bins(&[40, 40, 40, 10, 90, 0, 5]), WIDTH, 100);
        assert_eq!(counts(&pieces), [80, 50, 95]);
        assert_eq!(pieces[0].high, at(120).before());
    }

    #[test]
    fn a_bin_above_the_target_stands_alone() {
        let pieces = pack(at(0).before(), at(1000), &bins(&[10, 500, 10]), WIDTH, 100);
        assert_eq!(counts(&pieces), [10, 500, 10]);
        assert_eq!((pieces[1].low, pieces[1].high), (at(60).before(), at(120).before()));
    }

    #[test]
    fn the_stretch_before_the_first_row_is_a_piece_of_its_own() {
        let pieces = pack(Timestamp::MIN, at(1000), &bins(&[10]), WIDTH, 100);
        assert_eq!(counts(&pieces), [0, 10]);
        assert_eq!(pieces[0].high, at(0).before());
        assert_eq!(counts(&pack(Timestamp::MIN, at(1000), &[], WIDTH, 100)), [0]);
    }

    #[test]
    fn both_caps_bound_a_window() {
        assert_eq!(target_rows(99_000, 47_500_000, None), 99_000);
        assert_eq!(target_rows(99_000, 47_500_000, Some(950.0)), 50_000);
        assert_eq!(target_rows(99_000, 47_500_000, Some(1e9)), 1);
    }

    #[test]
    fn a_month_is_counted_in_ten_minutes_and_a_day_in_half_minutes() {
        assert_eq!(bin_width(Duration::from_secs(31 * 86_400), 5_000), Duration::from_secs(600));
        assert_eq!(bin_width(Duration::from_secs(86_400), 5_000), Duration::from_secs(30));
        assert_eq!(bin_width(Duration::from_nanos(100), 5_000), Duration::from_nanos(100));
    }

    #[test]
    fn joined_pieces_cover_what_they_covered() {
        let pieces = pack(at(0).before(), at(3600), &bins(&[9; 60]), WIDTH, 9);
        let joined = at_most(pieces.clone(), 7);
        assert_eq!(joined.len(), 7);
        assert_eq!(joined.iter().map(|p| p.rows).sum::<u64>(), 540);
        assert_eq!((joined[0].low, joined[6].high), (pieces[0].low, at(3600)));
        assert!(joined.windows(2).all(|pair| pair[0].high == pair[1].low));
        let parts: Vec<Piece> = (0..4).map(|index| Piece { part: Part { index, count: 4 }, ..pieces[0] }).collect();
        assert_eq!(at_most(parts.clone(), 2), parts);
    }

    proptest! {
        #[test]
        fn pieces_tile_the_range_and_hold_every_row(
            rows in prop::collection::vec(0u64..300, 0..60),
            target in 1u64..400,
            unbounded: bool,
            cut_low in 0u64..100,
        ) {
            let low = if unbounded { Timestamp::MIN } else { at(0).before() - Duration::from_secs(cut_low) };
            let high = at(60 * 61);
            let bins = bins(&rows);
            let pieces = pack(low, high, &bins, WIDTH, target);
            prop_assert_eq!(pieces.first().map(|p| p.low), Some(low));
            prop_assert_eq!(pieces.last().map(|p| p.high), Some(high));
            for pair in pieces.windows(2) {
                prop_assert_eq!(pair[0].high, pair[1].low);
            }
            for piece in &pieces {
                prop_assert!(piece.high > piece.low);
                let inside: u64 = bins.iter().filter(|b| b.start > piece.low && b.start <= piece.high).map(|b| b.rows).sum();
                prop_assert_eq!(inside, piece.rows);
                let filled = bins.iter().filter(|b| b.rows > 0 && b.start > piece.low && b.start <= piece.high).count();
                prop_assert!(piece.rows <= target || filled == 1, "{piece:?}");
            }
        }

        #[test]
        fn parts_are_a_power_of_two_that_fits(rows in 1u64..10_000_000, target in 1u64..100_000) {
            let parts = parts_for(rows, target);
            prop_assert!(parts.is_power_of_two() && parts >= 2);
            prop_assert!(u64::from(parts) * target >= rows || parts == MAX_PARTS);
        }
    }
}
