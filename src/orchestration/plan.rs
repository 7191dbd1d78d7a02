//! Cutting a range into windows from a count histogram. Knows no query: bins come in, pieces go out.

use super::ids::Part;
use crate::timestamp::Timestamp;
use std::time::Duration;

/// One bin of a histogram: `[start, start + width)` on the cut axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin {
    /// Its first instant.
    pub start: Timestamp,
    /// How long it is.
    pub width: Duration,
    /// Its rows.
    pub rows: u64,
    /// What they take in an answer; 0 where that was not measured.
    pub bytes: u64,
}

impl Bin {
    /// The first instant behind it.
    pub fn end(&self) -> Timestamp {
        self.start + self.width
    }
}

/// The most of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Rows.
    pub rows: u64,
    /// Bytes, of those that were measured.
    pub bytes: u64,
}

impl Caps {
    /// So many rows, whatever they take.
    pub fn of_rows(rows: u64) -> Self {
        Self { rows: rows.max(1), bytes: u64::MAX }
    }

    /// What share of a piece a bin is by whatever binds: more than 1 is too much.
    pub fn share(&self, bin: &Bin) -> f64 {
        (bin.rows as f64 / self.rows as f64).max(bin.bytes as f64 / self.bytes as f64)
    }

    fn hold(&self, rows: u64, bytes: u64) -> bool {
        rows <= self.rows && bytes <= self.bytes
    }
}

/// How a piece that is too much is to be divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aim {
    /// The most of each part.
    pub most: Caps,
    /// In how many at least: there is a reason why it is too much, whatever its rows are.
    pub parts: u64,
}

/// Even parts may be this much larger, so that nothing is left over because of where bins end.
const UNEVEN: f64 = 0.03;

impl Aim {
    /// Into as few pieces below `most` as there may be.
    pub fn below(most: Caps) -> Self {
        Self { most, parts: 1 }
    }

    /// What each of the parts may hold, given what is to be divided: parts are as even as they can be.
    pub fn caps(&self, rows: u64, bytes: u64) -> Caps {
        let parts = self.parts.max(rows.div_ceil(self.most.rows)).max(bytes.div_ceil(self.most.bytes));
        let even = |all: u64| all.div_ceil(parts) + (all.div_ceil(parts) as f64 * UNEVEN) as u64;
        Caps { rows: even(rows).clamp(1, self.most.rows), bytes: if bytes == 0 { u64::MAX } else { even(bytes) } }
    }
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

/// Packs bins into pieces below `caps` that tile `(low, high]` without gap or overlap. A bin above them stands alone: no
/// time cuts it further, or the caller refines it. A range without rows is one piece of none.
///
/// Bins are half open at the top, pieces at the bottom: a piece ends one tick before the next bin, and ticks
/// are the finest that the axis has, so both cover the same rows.
pub fn pack(low: Timestamp, high: Timestamp, bins: &[Bin], caps: Caps) -> Vec<Piece> {
    let mut bins: Vec<Bin> = bins.iter().copied().filter(|bin| bin.rows > 0).collect();
    bins.sort_by_key(|bin| bin.start);
    let mut pieces = Vec::new();
    let (mut from, mut rows, mut bytes) = (low, 0u64, 0u64);
    let mut cut = |from: &mut Timestamp, rows: &mut u64, bytes: &mut u64, at: Timestamp| {
        if at > *from && at < high {
            pieces.push(Piece::whole(*from, at, *rows));
            (*from, *rows, *bytes) = (at, 0, 0);
        }
    };
    for (index, bin) in bins.iter().enumerate() {
        let alone = !caps.hold(bin.rows, bin.bytes);
        // The empty stretch before the very first row is a piece of its own: windows then have real bounds.
        if (index == 0 && low == Timestamp::MIN) || !caps.hold(rows + bin.rows, bytes + bin.bytes) || alone {
            cut(&mut from, &mut rows, &mut bytes, bin.start.before());
        }
        rows += bin.rows;
        bytes += bin.bytes;
        if alone {
            cut(&mut from, &mut rows, &mut bytes, bin.end().before());
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

/// Joins small neighbours: those that are below `caps` together. What is at the beginning of time is left as it is: windows
/// then have real bounds.
pub fn joined(pieces: Vec<Piece>, caps: Caps) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match joined.last_mut() {
            Some(last)
                if last.high == piece.low
                    && !last.is_part()
                    && !piece.is_part()
                    && last.low != Timestamp::MIN
                    // Their bytes are not known apart.
                    && (caps.bytes == u64::MAX || last.rows == 0 || piece.rows == 0)
                    && last.rows + piece.rows <= caps.rows =>
            {
                (last.high, last.rows) = (piece.high, last.rows + piece.rows);
            }
            _ => joined.push(piece),
        }
    }
    joined
}

/// Into how many hash partitions `rows` are divided: at least `parts`, and enough to bring each to `most` rows, with room
/// for uneven ones; a power of two. At most [`MAX_PARTS`]: what is too much still is split again.
pub fn parts_for(rows: u64, most: u64, parts: u64) -> u16 {
    let wanted = (rows.saturating_mul(5) / 4).div_ceil(most.max(1)).max(parts).max(2);
    wanted.checked_next_power_of_two().and_then(|wanted| u16::try_from(wanted).ok()).unwrap_or(MAX_PARTS).min(MAX_PARTS)
}

/// How many partitions bring the fullest of `parts` to `most` rows, where more are possible.
pub fn more_parts(parts: u16, fullest: u64, most: u64) -> Option<u16> {
    let times = parts_for(fullest, most, 2);
    (fullest > most && parts < MAX_PARTS).then(|| parts.saturating_mul(times).min(MAX_PARTS))
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
        let bin = |(i, rows): (usize, &u64)| Bin { start: at(60 * i as u64), width: WIDTH, rows: *rows, bytes: 0 };
        rows.iter().enumerate().map(bin).collect()
    }

    fn counts(pieces: &[Piece]) -> Vec<u64> {
        pieces.iter().map(|p| p.rows).collect()
    }

    #[test]
    fn bins_are_packed_up_to_the_target() {
        let pieces = pack(at(0).before(), at(1000), &bins(&[40, 40, 40, 10, 90, 0, 5]), Caps::of_rows(100));
        assert_eq!(counts(&pieces), [80, 50, 95]);
        assert_eq!(pieces[0].high, at(120).before());
    }

    #[test]
    fn a_bin_above_the_target_stands_alone() {
        let pieces = pack(at(0).before(), at(1000), &bins(&[10, 500, 10]), Caps::of_rows(100));
        assert_eq!(counts(&pieces), [10, 500, 10]);
        assert_eq!((pieces[1].low, pieces[1].high), (at(60).before(), at(120).before()));
    }

    #[test]
    fn the_stretch_before_the_first_row_is_a_piece_of_its_own() {
        let pieces = pack(Timestamp::MIN, at(1000), &bins(&[10]), Caps::of_rows(100));
        assert_eq!(counts(&pieces), [0, 10]);
        assert_eq!(pieces[0].high, at(0).before());
        assert_eq!(counts(&pack(Timestamp::MIN, at(1000), &[], Caps::of_rows(100))), [0]);
    }

    #[test]
    fn bytes_that_were_measured_bound_a_piece_too() {
        let mut bins = bins(&[10; 4]);
        for (bin, bytes) in bins.iter_mut().zip([10, 90, 10, 10]) {
            bin.bytes = bytes;
        }
        let caps = Caps { rows: 25, bytes: 100 };
        assert_eq!(counts(&pack(at(0).before(), at(1000), &bins, caps)), [20, 20]);
        bins[1].bytes = 101;
        assert_eq!(counts(&pack(at(0).before(), at(1000), &bins, caps)), [10, 10, 20]);
    }

    #[test]
    fn what_is_too_much_is_divided_evenly() {
        let most = Caps { rows: 100, bytes: 1_000 };
        let halves = Aim { most, parts: 2 };
        assert_eq!(halves.caps(80, 0), Caps { rows: 41, bytes: u64::MAX });
        assert_eq!(halves.caps(250, 0).rows, 86);
        assert_eq!(halves.caps(80, 2_100).bytes, 721);
        assert_eq!(Aim::below(most).caps(80, 0).rows, 82);
        assert_eq!((halves.caps(0, 0).rows, halves.caps(2, 0).rows), (1, 1));
        for (rows, expected) in [(100, 2), (101, 2), (1_000, 10)] {
            let bins = bins(&vec![1; rows]);
            let caps = Aim { most, parts: 2 }.caps(rows as u64, 0);
            assert_eq!(pack(at(0).before(), at(100_000), &bins, caps).len(), expected, "{rows}");
        }
    }

    #[test]
    fn a_month_is_counted_in_ten_minutes_and_a_day_in_half_minutes() {
        assert_eq!(bin_width(Duration::from_secs(31 * 86_400), 5_000), Duration::from_secs(600));
        assert_eq!(bin_width(Duration::from_secs(86_400), 5_000), Duration::from_secs(30));
        assert_eq!(bin_width(Duration::from_nanos(100), 5_000), Duration::from_nanos(100));
    }

    #[test]
    fn joined_pieces_cover_what_they_covered() {
        let pieces = pack(at(0).before(), at(3600), &bins(&[9; 60]), Caps::of_rows(9));
        let joined = at_most(pieces.clone(), 7);
        assert_eq!(joined.len(), 7);
        assert_eq!(joined.iter().map(|p| p.rows).sum::<u64>(), 540);
        assert_eq!((joined[0].low, joined[6].high), (pieces[0].low, at(3600)));
        assert!(joined.windows(2).all(|pair| pair[0].high == pair[1].low));
        let parts: Vec<Piece> = (0..4).map(|index| Piece { part: Part { index, count: 4 }, ..pieces[0] }).collect();
        assert_eq!(at_most(parts.clone(), 2), parts);
    }

    #[test]
    fn small_neighbours_are_joined() {
        let caps = Caps::of_rows(100);
        let pieces = |rows: &[u64]| -> Vec<Piece> {
            let piece = |(i, rows): (usize, &u64)| Piece::whole(at(60 * i as u64), at(60 * i as u64 + 60), *rows);
            rows.iter().enumerate().map(piece).collect()
        };
        let joined_rows = |rows: &[u64], caps| counts(&joined(pieces(rows), caps));
        assert_eq!(joined_rows(&[40, 60, 1, 0, 500, 0, 7], caps), [100, 1, 500, 7]);
        let weighed = Caps { bytes: 1_000, ..caps };
        assert_eq!(joined_rows(&[0, 40, 60, 0], weighed), [40, 60]);
        let mut from_the_start = pieces(&[0, 40]);
        from_the_start[0].low = Timestamp::MIN;
        assert_eq!(joined(from_the_start.clone(), caps), from_the_start);
        let part = |index| Piece { part: Part { index, count: 2 }, ..Piece::whole(at(0), at(60), 1) };
        assert_eq!(joined(vec![part(0), part(1)], caps).len(), 2);
    }

    #[test]
    fn parts_that_are_too_full_still_become_more() {
        assert_eq!(
            (more_parts(2, 100, 100), more_parts(2, 101, 100), more_parts(4, 500, 100)),
            (None, Some(4), Some(32))
        );
        assert_eq!((more_parts(32, 900, 100), more_parts(64, 900, 100)), (Some(64), None));
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
            let pieces = pack(low, high, &bins, Caps::of_rows(target));
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
            let parts = parts_for(rows, target, 2);
            prop_assert!(parts.is_power_of_two() && parts >= 2);
            prop_assert!(u64::from(parts) * target >= rows || parts == MAX_PARTS);
        }
    }
}
