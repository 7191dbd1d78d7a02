//! How many rows a window is planned for: below the row cap and the byte cap of an answer, with a margin that is learned from
//! how far windows were off. Knows no query: what was measured comes in.

use super::ledger::Head;
use super::limits::Limits;

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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// How many were looked at.
    pub rows: u64,
    /// Their bytes in an answer, all together.
    pub bytes: f64,
    /// The squares of the bytes of each, all together.
    pub squares: f64,
}

/// The most bytes a window is planned for where an answer may have `byte_cap`.
pub fn target_bytes(head: &Head, byte_cap: u64) -> u64 {
    (byte_cap as f64 * (1.0 - head.margin.unwrap_or(FIRST_MARGIN))) as u64
}

/// The most rows a window is planned for, from both caps of the API.
pub fn target_rows(head: &Head, limits: &Limits, byte_cap: u64) -> u64 {
    let each = head.bytes_per_row.filter(|each| *each >= 1.0);
    let by_bytes = each.map_or(u64::MAX, |each| (target_bytes(head, byte_cap) as f64 / each) as u64);
    limits.window_rows.min(by_bytes).max(1)
}

/// Whether so many rows are so surely above the byte cap that it is not worth a call to be told so.
pub fn is_hopeless(head: &Head, rows: u64, byte_cap: u64) -> bool {
    let expected = head.bytes_per_row.unwrap_or_default() * rows as f64;
    rows > 1 && expected > byte_cap as f64 * (1.0 + LEAST_MARGIN)
}

/// The head with what a sample tells: the bytes of a row, and as margin how far the sample and a window may be off by chance.
pub fn sampled(head: Head, sample: Sample, byte_cap: u64) -> Head {
    if sample.rows == 0 {
        return head;
    }
    let rows = sample.rows as f64;
    let each = sample.bytes / rows;
    let variance = (sample.squares / rows - each * each).max(0.0) / (each * each).max(1.0);
    let of_window = (byte_cap as f64 / each.max(1.0)).max(1.0);
    let error = (variance / rows + variance / of_window).sqrt();
    let margin = (LEAST_MARGIN + STANDARD_ERRORS * error).min(FIRST_MARGIN);
    Head { bytes_per_row: Some(each), margin: Some(margin), ..head }
}

/// The head with what was seen.
pub fn taken_in(head: Head, seen: Option<Seen>) -> Head {
    match seen {
        Some(Seen::Given(measured)) => learned(head, measured),
        Some(Seen::Refused(measured)) => refused(head, measured),
        None => head,
    }
}

/// The head with what an answer adds to what it knows: a window that was heavier than expected widens the margin at once,
/// others narrow it little by little.
pub fn learned(head: Head, measured: Measured) -> Head {
    if measured.rows < ROWS_TO_LEARN_FROM {
        return head;
    }
    let each = measured.each();
    let Some(known) = head.bytes_per_row else { return Head { bytes_per_row: Some(each), ..head } };
    let mut margin = head.margin;
    if measured.bytes as f64 >= measured.cap as f64 * SHARE_TO_LEARN_FROM {
        margin = Some(widened(margin.unwrap_or(FIRST_MARGIN), each / known - 1.0));
    }
    Head { bytes_per_row: Some(known + LEARNING * (each - known)), margin, ..head }
}

/// The head after an answer that was refused for its size and measured then.
pub fn refused(head: Head, measured: Measured) -> Head {
    if measured.rows == 0 {
        return head;
    }
    let (each, margin) = (measured.each(), head.margin.unwrap_or(FIRST_MARGIN));
    let known = head.bytes_per_row.unwrap_or(each);
    Head {
        bytes_per_row: Some(known + LEARNING * (each - known)),
        margin: Some(margin.max(widened(margin, each / known - 1.0))),
        ..head
    }
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
    use crate::orchestration::head::testing::head;
    use crate::orchestration::ledger::TableState;

    const CAP: u64 = 50_000_000;

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
        assert_eq!(learned(unknown.clone(), Measured { rows: 499, bytes: 998, cap: CAP }).bytes_per_row, None);
        assert_eq!(learned(unknown, full(10)).bytes_per_row, Some(10.0));
        assert_eq!(learned(known(10.0, 0.1), full(20)).bytes_per_row, Some(13.0));
    }

    #[test]
    fn the_margin_is_learned_down_to_three_hundredths_and_up_at_once() {
        let mut table = known(2_000.0, FIRST_MARGIN);
        for _ in 0..30 {
            table = learned(table, full(2_000));
        }
        let margin = table.margin.unwrap();
        assert!((LEAST_MARGIN..0.0301).contains(&margin), "{margin}");
        let heavier = learned(table.clone(), full(2_200));
        assert!(heavier.margin.unwrap() > 0.12, "{:?}", heavier.margin);
        let lighter = learned(table, full(1_000));
        assert!(lighter.margin.unwrap() < 0.0301, "{:?}", lighter.margin);
    }

    #[test]
    fn small_answers_say_nothing_about_the_margin() {
        let small = Measured { rows: 1_000, bytes: 1_000 * 3_000, cap: CAP };
        assert_eq!(learned(known(2_000.0, 0.05), small).margin, Some(0.05));
    }

    #[test]
    fn a_refusal_makes_the_next_plan_fit_what_was_refused() {
        let limits = Limits::scaled(1.0);
        let before = known(2_000.0, 0.03);
        let rows = target_rows(&before, &limits, CAP);
        let after = refused(before, Measured { rows, bytes: 51_000_000, cap: CAP });
        assert!(target_rows(&after, &limits, CAP) * 51_000_000 / rows < CAP);
        let wide = known(2_000.0, 0.3);
        assert_eq!(
            refused(wide, Measured { rows, bytes: 51_000_000, cap: CAP }).margin,
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
        let margin = |sample| sampled(head(TableState::Planning), sample, CAP).margin.unwrap();
        assert!(margin(sample(20_000, 2_000.0, 600.0)) < 0.04);
        assert_eq!(margin(sample(20_000, 2_000.0, 0.0)), LEAST_MARGIN);
        assert_eq!(margin(sample(50, 2_000.0, 2_000.0)), FIRST_MARGIN);
        assert_eq!(sampled(head(TableState::Planning), sample(0, 0.0, 0.0), CAP), head(TableState::Planning));
    }

    #[test]
    fn only_what_is_surely_too_large_is_not_even_asked_for() {
        assert!(is_hopeless(&known(2_000.0, 0.1), 26_000, CAP));
        assert!(!is_hopeless(&known(2_000.0, 0.1), 25_500, CAP));
        assert!(!is_hopeless(&known(9e9, 0.1), 1, CAP));
        assert!(!is_hopeless(&head(TableState::Running), 99_000, CAP));
    }
}
