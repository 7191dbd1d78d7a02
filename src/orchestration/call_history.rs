//! How many hunting calls were given a send time over the last day, in spans of five minutes. Part of the budget's record,
//! which every permit swaps anyway, so that it costs no transaction of its own. Knows no clock: its time is that of the
//! permits, which never goes back whatever clocks show.

use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The length of a span.
pub const SPAN: Duration = Duration::from_secs(5 * 60);
/// How many are remembered: a day.
const SPANS: usize = 24 * 12;
/// A tick has 100 ns. What this cuts off of a span of minutes is nothing.
const SPAN_TICKS: u64 = (SPAN.as_nanos() / 100) as u64;

/// Permits by span.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallHistory {
    /// The number of the oldest span that is kept.
    first: u64,
    /// Permits of that one and of those behind it, one after the other.
    counts: Vec<u32>,
}

impl CallHistory {
    /// Counts a permit for `at`. One for a span before the oldest that is kept is too old to matter.
    pub fn count(&mut self, at: Timestamp) {
        let span = at.ticks() / SPAN_TICKS;
        if self.counts.is_empty() || span >= self.end().saturating_add(SPANS as u64) {
            *self = Self { first: span, counts: vec![1] };
            return;
        }
        // Less than two days of spans, or it had begun anew.
        let Some(index) = span.checked_sub(self.first).and_then(|index| usize::try_from(index).ok()) else { return };
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] = self.counts[index].saturating_add(1);
        self.forget();
    }

    /// The spans with permits, by their beginnings, oldest first.
    pub fn spans(&self) -> impl Iterator<Item = (Timestamp, u32)> {
        let begin = |index: usize| Timestamp::from_ticks((self.first + index as u64).saturating_mul(SPAN_TICKS));
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(move |(index, count)| (begin(index), *count))
    }

    fn end(&self) -> u64 {
        self.first + self.counts.len() as u64
    }

    /// Lets go of what is older than a day, and of empty spans before the first permit.
    fn forget(&mut self) {
        let surplus = self.counts.len().saturating_sub(SPANS);
        let empty = self.counts.iter().skip(surplus).take_while(|count| **count == 0).count();
        self.counts.drain(..surplus + empty);
        self.first += (surplus + empty) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Timestamp {
        // The beginning of a span.
        Timestamp::from_ticks(638_000_000_000_000_000 / SPAN_TICKS * SPAN_TICKS) + Duration::from_secs(seconds)
    }

    fn seen(history: &CallHistory) -> Vec<(Timestamp, u32)> {
        history.spans().collect()
    }

    #[test]
    fn permits_are_counted_by_five_minutes() {
        let mut history = CallHistory::default();
        for seconds in [0, 1, 299, 300, 1_000] {
            history.count(at(seconds));
        }
        assert_eq!(seen(&history), [(at(0), 3), (at(300), 1), (at(900), 1)]);
    }

    #[test]
    fn what_is_older_than_a_day_is_forgotten() {
        let mut history = CallHistory::default();
        history.count(at(0));
        history.count(at(7_200));
        history.count(at(86_399));
        assert_eq!(seen(&history).len(), 3);
        history.count(at(86_400));
        assert_eq!(seen(&history), [(at(7_200), 1), (at(86_100), 1), (at(86_400), 1)]);
        history.count(at(300_000));
        assert_eq!(seen(&history), [(at(300_000), 1)]);
    }

    #[test]
    fn a_permit_of_a_clock_that_is_days_ahead_leaves_the_record_whole() {
        let mut history = CallHistory::default();
        history.count(Timestamp::MAX);
        history.count(at(0));
        assert_eq!(history.spans().count(), 1);
        assert_eq!(serde_json::from_str::<CallHistory>(&serde_json::to_string(&history).unwrap()).unwrap(), history);
    }

    proptest! {
        /// Whatever comes in whichever order: a day of spans at most, in few bytes, none of them older than a day.
        #[test]
        fn it_stays_small_and_keeps_the_last_day(steps in prop::collection::vec(0u64..200_000, 1..400)) {
            let mut history = CallHistory::default();
            let mut permits = 0u64;
            for step in &steps {
                history.count(at(*step));
                permits += 1;
                prop_assert!(history.counts.len() <= SPANS);
            }
            let spans = seen(&history);
            prop_assert!(spans.iter().map(|(_, count)| u64::from(*count)).sum::<u64>() <= permits);
            prop_assert!(spans.last().unwrap().0.since(spans[0].0) < Duration::from_secs(86_400));
            prop_assert!(serde_json::to_string(&history).unwrap().len() < 2_000);
        }
    }
}
