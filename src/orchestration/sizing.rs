//! How many rows a window is planned for: below the row cap and the byte cap of an answer, with a margin that is learned from
//! how far windows were off. Knows no query: what was measured comes in.

mod hours;

use super::ledger::{Head, Shape};
use super::limits::Limits;
use super::plan::Caps;
use crate::timestamp::Timestamp;
pub use hours::Hours;

/// The part of the byte cap that is always left free.
pub const LEAST_MARGIN: f64 = 0.03;
/// What is left free while nothing is known of how rows differ, and at most at the start.
pub const FIRST_MARGIN: f64 = 0.10;
const MOST_MARGIN: f64 = 0.50;
/// How much a new measurement of bytes per row counts against what was known.
const LEARNING: f64 = 0.3;
/// How much of a margin that was too wide is given back with each window.
const GIVEN_BACK: f64 = 0.2;
/// Answers with fewer rows say little about the bytes per row.
const ROWS_TO_LEARN_FROM: u64 = 500;
/// Answers below this share of the byte cap say little about how far a full one may be off.
const SHARE_TO_LEARN_FROM: f64 = 0.125;
/// The margin after a sample covers so many standard errors of a window's bytes.
const STANDARD_ERRORS: f64 = 3.0;

/// The rows of an answer, and what they took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Its rows.
    pub rows: u64,
    /// Its bytes, of the response.
    pub bytes: u64,
    /// How many answers may have, as far as is known.
    pub cap: u64,
}

impl Measured {
    fn each(&self) -> f64 {
        self.bytes as f64 / self.rows as f64
    }
}

/// What was seen of the size of answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Seen {
    /// An answer takes so much, as it was given or as its rows were weighed.
    Given(Measured),
    /// An answer would have taken so much, and was refused for that.
    Refused(Measured),
}

/// A sample of a table's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// How many were looked at.
    pub rows: u64,
    /// Their bytes in an answer, all together.
    pub bytes: f64,
    /// The squares of the bytes of each, all together.
    pub squares: f64,
}

impl Sample {
    /// All of them together.
    pub fn of<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        parts.fold(Self::default(), |mut all, part| {
            all.add(part);
            all
        })
    }

    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.squares += other.squares;
    }

    /// What a row of it weighs.
    fn each(&self) -> f64 {
        self.bytes / self.rows.max(1) as f64
    }

    /// The squares of what each row is off, all together.
    fn deviations(&self) -> f64 {
        (self.squares - self.bytes * self.each()).max(0.0)
    }
}

/// A stretch of the cut axis, `(low, high]`.
pub type Stretch = (Timestamp, Timestamp);

/// What a row in `stretch` is expected to weigh, where that is known.
fn expected_each(head: &Head, (low, high): Stretch) -> Option<f64> {
    head.bytes_per_row.filter(|each| *each >= 1.0).map(|each| each * head.hours.factor(low, high))
}

/// The most bytes a window is planned for where an answer may have `byte_cap`.
pub fn target_bytes(head: &Head, byte_cap: u64) -> u64 {
    (byte_cap as f64 * (1.0 - head.margin.unwrap_or(FIRST_MARGIN))) as u64
}

/// The same where the bytes were measured and are not expected.
pub fn measured_bytes(byte_cap: u64) -> u64 {
    (byte_cap as f64 * (1.0 - LEAST_MARGIN)) as u64
}

/// The most rows a window is planned for, from both caps of the API, wherever it lies.
pub fn target_rows(head: &Head, limits: &Limits, byte_cap: u64) -> u64 {
    target_rows_in(head, limits, byte_cap, (Timestamp::MIN, Timestamp::MIN))
}

/// The most rows a window in `stretch` is planned for.
pub fn target_rows_in(head: &Head, limits: &Limits, byte_cap: u64, stretch: Stretch) -> u64 {
    let by_bytes = |each: f64| (target_bytes(head, byte_cap) as f64 / each) as u64;
    limits.window_rows.min(expected_each(head, stretch).map_or(u64::MAX, by_bytes)).max(1)
}

/// What windows are planned below, and what a row in a stretch counts for. Where all hours are alike that is a number of rows.
pub fn caps<'h>(head: &'h Head, limits: &Limits, byte_cap: u64) -> (Caps, impl Fn(Stretch) -> f64 + 'h) {
    let each = head.bytes_per_row.filter(|each| *each >= 1.0 && head.hours.differ());
    let caps = match each {
        // One row is never too much for a window.
        Some(each) => {
            let heaviest = (each * head.hours.most()).ceil() as u64;
            Caps { rows: limits.window_rows.max(1), bytes: target_bytes(head, byte_cap).max(heaviest) }
        }
        None => Caps::of_rows(target_rows(head, limits, byte_cap)),
    };
    (caps, move |(low, high)| each.map_or(0.0, |each| each * head.hours.factor(low, high)))
}

/// Whether so many rows in `stretch` are so surely above the byte cap that it is not worth a call to be told so.
pub fn is_hopeless(head: &Head, rows: u64, stretch: Stretch, byte_cap: u64) -> bool {
    let expected = expected_each(head, stretch).unwrap_or_default() * rows as f64;
    rows > 1 && expected > byte_cap as f64 * (1.0 + LEAST_MARGIN)
}

/// The head with how its rows are packed, as a sample proved it, and with what that tells, if it held rows: the bytes of a row,
/// by the hour where hours differ, and as margin how far the sample and a window may be off by chance. The parts of the sample
/// are given by where they lie.
pub fn sampled(head: Head, shape: Shape, sample: &[(Timestamp, Sample)], byte_cap: u64) -> Head {
    let head = Head { shape: Some(shape), ..head };
    let whole = Sample::of(sample.iter().map(|(_, part)| part));
    if whole.rows == 0 {
        return head;
    }
    let (rows, each, hours) = (whole.rows as f64, whole.each(), Hours::sampled(sample));
    // Where hours differ, each of them is known by its own rows.
    let (deviations, known_by) = match hours.differ() {
        true => (sample.iter().map(|(_, part)| part.deviations()).sum(), rows / 24.0),
        false => (whole.deviations(), rows),
    };
    let variance = deviations / rows / (each * each).max(1.0);
    let of_window = (byte_cap as f64 / each.max(1.0)).max(1.0);
    let error = (variance / known_by + variance / of_window).sqrt();
    let margin = (STANDARD_ERRORS * error).clamp(LEAST_MARGIN, FIRST_MARGIN);
    Head { bytes_per_row: Some(each), hours, margin: Some(margin), ..head }
}

/// The head with what was seen of a window's rows in `stretch`.
pub fn taken_in(head: Head, seen: Option<Seen>, stretch: Stretch) -> Head {
    match seen {
        Some(Seen::Given(measured)) => learned(head, measured, stretch),
        Some(Seen::Refused(measured)) => refused(head, measured, stretch),
        None => head,
    }
}

/// The head with what an answer adds to what it knows: a window that was heavier than expected widens the margin at once,
/// others narrow it little by little.
pub fn learned(head: Head, measured: Measured, stretch: Stretch) -> Head {
    if measured.rows < ROWS_TO_LEARN_FROM {
        return head;
    }
    let Some(known) = expected_each(&head, stretch) else {
        return Head { bytes_per_row: Some(measured.each()), ..head };
    };
    let mut margin = head.margin;
    if measured.bytes as f64 >= measured.cap as f64 * SHARE_TO_LEARN_FROM {
        margin = Some(widened(margin.unwrap_or(FIRST_MARGIN), measured.each() / known - 1.0));
    }
    Head { margin, ..weighed(head, measured, known, stretch) }
}

/// The head after an answer that was refused for its size and measured then.
pub fn refused(head: Head, measured: Measured, stretch: Stretch) -> Head {
    if measured.rows == 0 {
        return head;
    }
    let (each, margin) = (measured.each(), head.margin.unwrap_or(FIRST_MARGIN));
    let known = expected_each(&head, stretch).unwrap_or(each);
    let margin = Some(margin.max(widened(margin, each / known - 1.0)));
    Head { margin, ..weighed(head, measured, known, stretch) }
}

/// The head with what rows in `stretch` weigh that were expected to weigh `known` each: partly all rows do, partly those hours.
fn weighed(head: Head, measured: Measured, known: f64, stretch: Stretch) -> Head {
    let (low, high) = stretch;
    let (each, factor) = (measured.each(), head.hours.factor(low, high));
    let average = head.bytes_per_row.unwrap_or(each);
    let hours = match measured.bytes as f64 >= measured.cap as f64 * SHARE_TO_LEARN_FROM {
        true => head.hours.learned(low, high, each / average),
        false => head.hours,
    };
    Head { bytes_per_row: Some(average + LEARNING * (each - known) / factor), hours, ..head }
}

fn widened(margin: f64, heavier_by: f64) -> f64 {
    // What is `d` heavier than expected fits where d / (1 + d) of the cap was left free.
    let heavier_by = heavier_by.max(0.0);
    let needed = LEAST_MARGIN + heavier_by / (1.0 + heavier_by);
    let margin = if needed > margin { needed } else { margin + GIVEN_BACK * (needed - margin) };
    margin.clamp(LEAST_MARGIN, MOST_MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, shape};
    use crate::orchestration::ledger::TableState;

    const CAP: u64 = 50_000_000;
    /// Too long to say anything of the hours in it.
    const LONG: Stretch = (Timestamp::MIN, Timestamp::MAX);

    fn known(bytes_per_row: f64, margin: f64) -> Head {
        Head { bytes_per_row: Some(bytes_per_row), margin: Some(margin), ..head(TableState::Running) }
    }

    fn full(each: u64) -> Measured {
        Measured { rows: 20_000, bytes: 20_000 * each, cap: CAP }
    }

    #[test]
    fn both_caps_bound_a_window() {
        let limits = Limits { window_rows: 99_000, ..Limits::scaled(1.0) };
        assert_eq!(target_rows(&head(TableState::Planning), &limits, CAP), 99_000);
        assert_eq!(target_rows(&known(970.0, 0.03), &limits, CAP), 50_000);
        assert_eq!(target_rows(&known(1e9, 0.03), &limits, CAP), 1);
    }

    #[test]
    fn bytes_per_row_are_learned_slowly_and_from_enough_rows() {
        let unknown = head(TableState::Running);
        assert_eq!(learned(unknown.clone(), Measured { rows: 499, bytes: 998, cap: CAP }, LONG).bytes_per_row, None);
        assert_eq!(learned(unknown, full(10), LONG).bytes_per_row, Some(10.0));
        assert_eq!(learned(known(10.0, 0.1), full(20), LONG).bytes_per_row, Some(13.0));
    }

    #[test]
    fn the_margin_is_learned_down_to_three_hundredths_and_up_at_once() {
        let mut table = known(2_000.0, FIRST_MARGIN);
        for _ in 0..30 {
            table = learned(table, full(2_000), LONG);
        }
        let margin = table.margin.unwrap();
        assert!((LEAST_MARGIN..0.0301).contains(&margin), "{margin}");
        let heavier = learned(table.clone(), full(2_200), LONG);
        assert!(heavier.margin.unwrap() > 0.12, "{:?}", heavier.margin);
        let lighter = learned(table, full(1_000), LONG);
        assert!(lighter.margin.unwrap() < 0.0301, "{:?}", lighter.margin);
    }

    #[test]
    fn small_answers_say_nothing_about_the_margin() {
        let small = Measured { rows: 1_000, bytes: 1_000 * 3_000, cap: CAP };
        assert_eq!(learned(known(2_000.0, 0.05), small, LONG).margin, Some(0.05));
    }

    #[test]
    fn a_refusal_makes_the_next_plan_fit_what_was_refused() {
        let limits = Limits::scaled(1.0);
        let before = known(2_000.0, 0.03);
        let rows = target_rows(&before, &limits, CAP);
        let after = refused(before, Measured { rows, bytes: 51_000_000, cap: CAP }, LONG);
        assert!(target_rows(&after, &limits, CAP) * 51_000_000 / rows < CAP);
        let wide = known(2_000.0, 0.3);
        assert_eq!(
            refused(wide, Measured { rows, bytes: 51_000_000, cap: CAP }, LONG).margin,
            Some(0.3),
            "it is not narrowed"
        );
    }

    #[test]
    fn a_sample_of_many_like_rows_leaves_little_margin_and_one_of_few_leaves_more() {
        let sample = |rows: u64, each: f64, spread: f64| Sample {
            rows,
            bytes: rows as f64 * each,
            squares: rows as f64 * (each * each + spread * spread),
        };
        let seen = |sample| sampled(head(TableState::Planning), shape(), &[(Timestamp::MIN, sample)], CAP);
        let margin = |sample| seen(sample).margin.unwrap();
        assert!(margin(sample(20_000, 2_000.0, 600.0)) < 0.04);
        assert_eq!(margin(sample(20_000, 2_000.0, 0.0)), LEAST_MARGIN);
        assert_eq!(margin(sample(50, 2_000.0, 2_000.0)), FIRST_MARGIN);
        let nothing = Head { shape: Some(shape()), ..head(TableState::Planning) };
        assert_eq!(seen(sample(0, 0.0, 0.0)), nothing);
        assert_eq!(sampled(head(TableState::Planning), shape(), &[], CAP), nothing);
    }

    #[test]
    fn windows_of_heavy_hours_hold_fewer_rows() {
        let midnight: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let hour = |hour: u32| midnight + std::time::Duration::from_secs(3_600) * hour;
        let part = |at: u32, each: f64| {
            (hour(at), Sample { rows: 1_000, bytes: 1_000.0 * each, squares: 1_000.0 * each * each })
        };
        let parts: Vec<_> = (0..24).map(|at| part(at, if at < 6 { 2_100.0 } else { 1_400.0 })).collect();
        let table = sampled(head(TableState::Planning), shape(), &parts, CAP);
        assert_eq!((table.bytes_per_row, table.margin), (Some(1_575.0), Some(LEAST_MARGIN)));
        let limits = Limits::scaled(1.0);
        let rows = |from, to| target_rows_in(&table, &limits, CAP, (hour(from), hour(to)));
        assert_eq!((rows(1, 2), rows(10, 11)), (48_500_000 / 2_100, 48_500_000 / 1_400));
        assert_eq!(target_rows(&table, &limits, CAP), 48_500_000 / 1_575);
        assert!(is_hopeless(&table, 30_000, (hour(1), hour(2)), CAP));
        assert!(!is_hopeless(&table, 30_000, (hour(10), hour(11)), CAP));
        let (caps, each) = caps(&table, &limits, CAP);
        assert_eq!((caps.bytes, each((hour(1), hour(2))).round()), (48_500_000, 2_100.0));
        let as_expected = Measured { rows: 23_000, bytes: 23_000 * 2_100, cap: CAP };
        let after = learned(table.clone(), as_expected, (hour(1), hour(2)));
        assert!(
            (after.bytes_per_row.unwrap() - 1_575.0).abs() < 0.01 && after.margin == Some(LEAST_MARGIN),
            "{after:?}"
        );
    }

    #[test]
    fn only_what_is_surely_too_large_is_not_even_asked_for() {
        assert!(is_hopeless(&known(2_000.0, 0.1), 26_000, LONG, CAP));
        assert!(!is_hopeless(&known(2_000.0, 0.1), 25_500, LONG, CAP));
        assert!(!is_hopeless(&known(9e9, 0.1), 1, LONG, CAP));
        assert!(!is_hopeless(&head(TableState::Running), 99_000, LONG, CAP));
    }
}
