//! How the weight of a table's rows differs by the hour of the day: by nothing, as far as is known, until a sample or the
//! answers say otherwise. What is kept is a factor for each hour, of what rows weigh on average. Knows no query.

use super::Sample;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

const HOURS: usize = 24;
/// An hour in ticks; the first tick of all is a midnight.
const HOUR: u64 = 3_600 * 10_000_000;
/// A longer range says nothing of the hours in it.
const LONGEST: u64 = HOUR * 12;
/// Fewer rows of an hour say nothing of it.
const ROWS_TO_TELL: u64 = 50;
/// So many standard errors are no chance, and less than such a part of a row is not worth it.
const STANDARD_ERRORS: f64 = 4.0;
const PART: f64 = 0.02;
/// How much an answer counts against what was known of its hours.
const LEARNING: f64 = 0.5;
/// No hour is taken to be lighter or heavier than this.
const BOUNDS: (f64, f64) = (0.2, 5.0);

/// The factor of each hour of the day, in UTC.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hours(Vec<f64>);

impl Hours {
    /// What a sample tells, given by the instants at which parts of it lie: an hour differs where that is no chance.
    pub fn sampled(parts: &[(Timestamp, Sample)]) -> Self {
        let mut hours = [Sample::default(); HOURS];
        for (at, part) in parts {
            hours[hour(at.ticks())].add(part);
        }
        let whole = Sample::of(parts.iter().map(|(_, part)| part));
        let within: f64 = hours.iter().map(Sample::deviations).sum::<f64>() / whole.rows.max(1) as f64;
        let factor = |sample: &Sample| {
            let off = sample.each() - whole.each();
            let by_chance = STANDARD_ERRORS * (within / sample.rows.max(1) as f64).sqrt();
            let differs = sample.rows >= ROWS_TO_TELL && off.abs() > by_chance.max(PART * whole.each());
            if differs { bounded(sample.each() / whole.each()) } else { 1.0 }
        };
        let factors: Vec<f64> = hours.iter().map(factor).collect();
        Self(if factors.iter().all(|factor| *factor == 1.0) { Vec::new() } else { factors })
    }

    /// Whether hours differ.
    pub fn differ(&self) -> bool {
        !self.0.is_empty()
    }

    /// The factor of rows in `(low, high]`, if they are as many at any time of it.
    pub fn factor(&self, low: Timestamp, high: Timestamp) -> f64 {
        match shares(low, high).filter(|_| self.differ()) {
            Some(shares) => shares.iter().zip(&self.0).map(|(share, factor)| share * factor).sum(),
            None => 1.0,
        }
    }

    /// The factor of the heaviest hour.
    pub fn most(&self) -> f64 {
        self.0.iter().copied().fold(1.0, f64::max)
    }

    /// The hours after an answer with rows in `(low, high]` that weighed so many times what rows weigh on average.
    #[must_use]
    pub fn learned(mut self, low: Timestamp, high: Timestamp, seen: f64) -> Self {
        let Some(shares) = shares(low, high) else { return self };
        if !self.differ() {
            self.0 = vec![1.0; HOURS];
        }
        let missed = seen - self.factor(low, high);
        // Of several hours it says of each as much as of the others.
        let most = shares.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        for (factor, share) in self.0.iter_mut().zip(shares) {
            *factor = bounded(*factor + LEARNING * share / most * missed);
        }
        self
    }
}

fn bounded(factor: f64) -> f64 {
    factor.clamp(BOUNDS.0, BOUNDS.1)
}

fn hour(ticks: u64) -> usize {
    (ticks / HOUR % HOURS as u64) as usize
}

/// What part of a range lies in each hour of the day.
fn shares(low: Timestamp, high: Timestamp) -> Option<[f64; HOURS]> {
    let (mut at, to) = (low.ticks(), high.ticks());
    let span = to.saturating_sub(at);
    if low == Timestamp::MIN || span == 0 || span > LONGEST {
        return None;
    }
    let mut shares = [0.0; HOURS];
    while at < to {
        let end = ((at / HOUR + 1) * HOUR).min(to);
        shares[hour(at)] += (end - at) as f64 / span as f64;
        at = end;
    }
    Some(shares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(hours: f64) -> Timestamp {
        "2026-05-01T00:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs_f64(3_600.0 * hours)
    }

    fn sample(rows: u64, each: f64, spread: f64) -> Sample {
        let count = rows as f64;
        Sample { rows, bytes: count * each, squares: count * (each * each + spread * spread) }
    }

    fn days(each: impl Fn(u32) -> f64, rows: u64, spread: f64) -> Hours {
        let parts = (0..240).map(|hour| (at(f64::from(hour)), sample(rows, each(hour % 24), spread)));
        Hours::sampled(&parts.collect::<Vec<_>>())
    }

    #[test]
    fn hours_whose_rows_are_heavier_are_told_from_chance() {
        let uneven = days(|hour| if (6..12).contains(&hour) { 2_100.0 } else { 1_400.0 }, 80, 600.0);
        assert_eq!(uneven.factor(at(30.0), at(31.0)), 2_100.0 / 1_575.0);
        assert_eq!(uneven.factor(at(24.5), at(25.0)), 1_400.0 / 1_575.0);
        let at_the_edge = uneven.factor(at(29.0), at(31.0));
        assert!((at_the_edge - 1_750.0 / 1_575.0).abs() < 1e-9, "{at_the_edge}");
        let by_chance = |hour: u32| 1_500.0 + 40.0 * f64::from(hour % 3);
        assert!(!days(by_chance, 80, 600.0).differ());
        assert!(!days(|_| 1_500.0, 1_000, 0.0).differ() && !Hours::sampled(&[]).differ());
        assert!(!days(|hour| if hour == 3 { 9_000.0 } else { 1_500.0 }, 4, 10.0).differ(), "of 40 rows");
    }

    #[test]
    fn what_spans_many_hours_is_as_the_average() {
        let uneven = days(|hour| if hour < 6 { 3_000.0 } else { 1_000.0 }, 80, 0.0);
        for (low, high) in [(at(0.0), at(13.0)), (Timestamp::MIN, at(1.0)), (at(1.0), at(1.0))] {
            assert_eq!(uneven.factor(low, high), 1.0);
            assert_eq!(uneven.clone().learned(low, high, 9.0), uneven);
        }
        assert_eq!((uneven.most(), Hours::default().most()), (2.0, 1.0));
    }

    #[test]
    fn answers_teach_what_hours_weigh() {
        let mut hours = Hours::default();
        for day in 0..10 {
            for (hour, seen) in [(2.0, 0.9), (9.0, 1.4), (10.0, 1.4)] {
                let low = f64::from(day) * 24.0 + hour;
                hours = hours.learned(at(low), at(low + 1.0), seen);
            }
        }
        assert!(
            (hours.factor(at(9.0), at(11.0)) - 1.4).abs() < 0.02 && (hours.factor(at(2.0), at(3.0)) - 0.9).abs() < 0.01
        );
        assert_eq!(hours.factor(at(15.0), at(16.0)), 1.0);
        let text = serde_json::to_string(&hours).unwrap();
        assert_eq!(serde_json::from_str::<Hours>(&text).unwrap(), hours);
        assert_eq!(hours.learned(at(15.0), at(16.0), 100.0).most(), BOUNDS.1);
    }
}
