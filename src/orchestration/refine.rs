//! Which bins of a histogram are worth counting again in narrower ones: those that are too much for one answer, and, where
//! bins are large parts of a window, so many that the windows would stay well below what they may hold. Knows no query.

use super::plan::{Bin, Caps};
use std::time::Duration;

/// What share of a window a bin may be: windows are then packed to within this of what they may hold.
pub const FINE: f64 = 0.02;
/// The resolution of the cut axis.
const TICK: Duration = Duration::from_nanos(100);
/// Bins that are too much are counted together with at most so many of their like: each is to become many.
const TOGETHER: usize = 20;

/// Neighbouring bins to be counted again by one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The first of them.
    pub first: usize,
    /// How many they are.
    pub count: usize,
}

/// How many bins a range with so many rows wants, for windows below `caps`: twice what [`FINE`] asks for, as bins differ.
pub fn bins_wanted(rows: f64, caps: Caps) -> u32 {
    (rows / caps.rows as f64 * 2.0 / FINE).ceil() as u32
}

/// The stretches that must be refined, or that it pays to: where `coarse` is asked for, the calls that bins of that size would
/// waste are more than those that it takes to refine them. Each is to be counted in `most` bins, as many as an answer may have.
/// Bins are in order.
pub fn stretches(bins: &[Bin], caps: Caps, most: u32, coarse: bool) -> Vec<Stretch> {
    let mut found = Vec::new();
    for run in runs(bins, 0..bins.len(), |bin| caps.share(bin) > FINE) {
        let shares = || bins[run.clone()].iter().map(|bin| caps.share(bin));
        let wanted = shares().sum::<f64>() * 2.0 / FINE;
        // On average the last bin of a window is left out half the time it would fit.
        let wasted: f64 = shares().map(|share| share.min(1.0).powi(2) / 2.0).sum();
        // Widths come in steps, so that there may be half as many bins as asked for.
        let most = f64::from(most) / 2.0;
        if coarse && wasted > 1.0 + wanted / most {
            found.extend(queries(bins, run, caps, most));
        } else {
            for run in runs(bins, run, |bin| caps.share(bin) > 1.0) {
                let together = |first| Stretch { first, count: TOGETHER.min(run.end - first) };
                found.extend(run.clone().step_by(TOGETHER).map(together));
            }
        }
    }
    found
}

/// Maximal runs of bins that follow each other, can be cut and are as asked. Between those that were narrowed to their rows
/// there are small gaps.
fn runs(bins: &[Bin], range: std::ops::Range<usize>, asked: impl Fn(&Bin) -> bool) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for index in range {
        let bin = &bins[index];
        if bin.width <= TICK || !asked(bin) {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == index && follows(&bins[index - 1], bin) => run.end += 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

fn follows(before: &Bin, bin: &Bin) -> bool {
    bin.start.since(before.end()) < before.width.max(bin.width)
}

/// A run in stretches that each want at most `most` bins.
fn queries(bins: &[Bin], run: std::ops::Range<usize>, caps: Caps, most: f64) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut wanted = 0.0;
    for index in run {
        let share = caps.share(&bins[index]) * 2.0 / FINE;
        match stretches.last_mut() {
            Some(stretch) if wanted + share <= most => {
                stretch.count += 1;
                wanted += share;
            }
            _ => {
                stretches.push(Stretch { first: index, count: 1 });
                wanted = share;
            }
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    const WIDTH: Duration = Duration::from_secs(600);
    const CAPS: Caps = Caps { rows: 1_000, bytes: u64::MAX };

    fn bins(rows: &[u64]) -> Vec<Bin> {
        let start = Timestamp::from_ticks(6_000_000_000);
        let bin =
            |(i, rows): (usize, &u64)| Bin { start: start + WIDTH * i as u32, width: WIDTH, rows: *rows, bytes: 0 };
        rows.iter().enumerate().map(bin).collect()
    }

    fn found(bins: &[Bin], coarse: bool) -> Vec<(usize, usize)> {
        stretches(bins, CAPS, 10_000, coarse).iter().map(|stretch| (stretch.first, stretch.count)).collect()
    }

    #[test]
    fn neighbouring_bins_that_are_too_full_are_refined_together() {
        assert_eq!(found(&bins(&[500, 5_000, 6_000, 500, 7_000]), false), [(1, 2), (4, 1)]);
        assert_eq!(found(&bins(&[2_000; 45]), false), [(0, 20), (20, 20), (40, 5)]);
    }

    #[test]
    fn bins_that_are_apart_are_refined_apart() {
        let mut apart = bins(&[5_000, 5_000]);
        apart[1].start = apart[1].start + WIDTH;
        assert_eq!(found(&apart, false), [(0, 1), (1, 1)]);
    }

    #[test]
    fn what_no_time_can_cut_is_left_alone() {
        let mut ties = bins(&[5_000]);
        ties[0].width = TICK;
        assert_eq!(found(&ties, true), []);
    }

    #[test]
    fn coarse_bins_are_refined_where_that_saves_more_calls_than_it_takes() {
        // A fifth of a window each: a tenth of some 900 windows is at stake, for 18 calls.
        let many = stretches(&bins(&vec![200; 4_464]), CAPS, 10_000, true);
        assert_eq!(many.iter().map(|stretch| stretch.count).sum::<usize>(), 4_464);
        assert!((18..20).contains(&many.len()), "{}", many.len());
        assert!(many.iter().all(|stretch| 10_000 >= 20 * stretch.count));
        assert_eq!(found(&bins(&[200; 20]), true), [], "four windows and a bit");
        assert_eq!(found(&bins(&vec![15; 4_464]), true), [], "less than a fiftieth of a window each");
        assert_eq!(found(&bins(&vec![200; 4_464]), false), []);
    }

    #[test]
    fn as_many_bins_are_asked_for_as_make_each_a_hundredth_of_a_window() {
        assert_eq!(bins_wanted(50_000.0, CAPS), 5_000);
    }
}
