//! Counts that are too much for one query: of less at a time. What a service stops for its run time or its cost it stops again, but half
//! of it may be let through.

use super::super::hunting::Error;
use crate::defender::Error as HuntingError;
use crate::defender::queries::Range;
use crate::timestamp::{Timestamp, ticks_of};
use std::time::Duration;

/// How often what is counted is halved, all in all: each is a call that came to nothing.
const MOST_HALVINGS: u32 = 15;

/// Whether less may be let through: the query ran too long or was too expensive. Of a gateway that gives up the service says
/// nothing else either.
pub fn is_too_much(error: &Error) -> bool {
    matches!(
        error,
        Error::Call(
            HuntingError::TimedOut { .. } | HuntingError::TooExpensive { .. } | HuntingError::GatewayTimedOut { .. }
        )
    )
}

/// The ranges that are still to be asked for, in order.
pub struct Narrowing {
    open: Vec<Range>,
    /// Where the first range is expected to begin, where it has no lower end.
    from: Timestamp,
    left: u32,
}

impl Narrowing {
    /// A range, which is expected to cover a span.
    pub fn new(range: Range, span: Duration) -> Self {
        let from = Timestamp::from_ticks(range.high.ticks().saturating_sub(ticks_of(span)));
        Self { open: vec![range], from, left: MOST_HALVINGS }
    }

    /// The next range.
    pub fn take(&mut self) -> Option<Range> {
        self.open.pop()
    }

    /// Puts a range back, to be asked for in another way.
    pub fn again(&mut self, range: Range) {
        self.open.push(range);
    }

    /// Puts a range back in halves; gives whether that was possible.
    pub fn halve(&mut self, range: Range) -> bool {
        let Some(halves) = self.halves(range).filter(|_| self.left > 0) else { return false };
        self.left -= 1;
        self.open.extend(halves.into_iter().rev().flatten());
        true
    }

    fn halves(&self, range: Range) -> Option<[Option<Range>; 2]> {
        let low = range.low.max(self.from).ticks();
        let middle = Timestamp::from_ticks(low + range.high.ticks().checked_sub(low)? / 2);
        let is_inside = middle > range.low && middle < range.high;
        is_inside.then_some([Some(Range { high: middle, ..range }), Some(Range { low: middle, ..range })])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(low: u64, high: u64) -> Range {
        Range { low: Timestamp::from_ticks(low), high: Timestamp::from_ticks(high) }
    }

    #[test]
    fn a_range_without_a_lower_end_is_halved_where_its_rows_are_expected() {
        let mut narrowing = Narrowing::new(range(0, 1_000), Duration::from_nanos(40_000));
        let whole = narrowing.take().unwrap();
        assert!(narrowing.halve(whole));
        assert_eq!([narrowing.take(), narrowing.take()], [Some(range(0, 800)), Some(range(800, 1_000))]);
    }

    #[test]
    fn one_instant_is_not_halved_and_nothing_for_ever() {
        let mut instant = Narrowing::new(range(9, 10), Duration::from_nanos(100));
        let only = instant.take().unwrap();
        assert!(only == range(9, 10) && !instant.halve(only) && instant.take().is_none());
        let mut wide = Narrowing::new(range(0, 1 << 40), Duration::from_secs(3_600));
        let mut refused = 0;
        while let Some(range) = wide.take() {
            refused += u32::from(wide.halve(range));
        }
        assert_eq!(refused, MOST_HALVINGS);
    }

    proptest! {
        #![proptest_config(crate::testing::cases(64))]

        #[test]
        fn what_is_asked_for_tiles_the_range(
            low in 0u64..5_000,
            length in 1u64..5_000,
            halved in proptest::collection::vec(any::<bool>(), 40),
        ) {
            let mut narrowing = Narrowing::new(range(low, low + length), Duration::from_nanos(length * 100));
            let (mut at, mut halved) = (low, halved.into_iter());
            while let Some(next) = narrowing.take() {
                if halved.next() == Some(true) && narrowing.halve(next) {
                    continue;
                }
                prop_assert!(next.low.ticks() == at && next.high > next.low);
                at = next.high.ticks();
            }
            prop_assert_eq!(at, low + length);
        }
    }
}
