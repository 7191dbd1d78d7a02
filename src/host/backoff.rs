//! How long a queue listener waits after finding nothing
//! (azure-sdk-for-net `RandomizedExponentialBackoffStrategy.cs`).

use crate::random::Random;
use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(100);
const JITTER: f64 = 0.2;

/// The waits of one listener.
#[derive(Debug)]
pub(crate) struct Backoff {
    longest: Duration,
    empty_polls: u32,
}

impl Backoff {
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest, empty_polls: 0 }
    }

    /// A message was found.
    pub(crate) fn reset(&mut self) {
        self.empty_polls = 0;
    }

    /// The wait after one more empty poll.
    pub(crate) fn next(&mut self, random: &dyn Random) -> Duration {
        let further = self.empty_polls;
        self.empty_polls = further.saturating_add(1);
        if further == 0 {
            return SHORTEST.min(self.longest);
        }
        let factor =
            (1.0 - JITTER + 2.0 * JITTER * unit(random)) * 2_f64.powi(i32::try_from(further - 1).unwrap_or(64).min(64));
        let longest = self.longest.as_secs_f64();
        Duration::from_secs_f64((SHORTEST.as_secs_f64() * (1.0 + factor)).min(longest))
    }
}

/// A number from 0 to below 1.
fn unit(random: &dyn Random) -> f64 {
    const FRACTION_BITS: u32 = 53;
    let bits = (random.bits() >> (u128::BITS - FRACTION_BITS)) as u64;
    bits as f64 / (1_u64 << FRACTION_BITS) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u128);

    impl Random for Fixed {
        fn bits(&self) -> u128 {
            self.0
        }
    }

    fn waits(random: u128) -> Vec<f64> {
        let mut backoff = Backoff::new(Duration::from_secs(2));
        (0..7).map(|_| (backoff.next(&Fixed(random)).as_secs_f64() * 1000.0).round()).collect()
    }

    #[test]
    fn the_wait_grows_from_a_tenth_of_a_second_to_the_longest() {
        assert_eq!(waits(1 << 127), [100.0, 200.0, 300.0, 500.0, 900.0, 1700.0, 2000.0]);
        assert_eq!(waits(0), [100.0, 180.0, 260.0, 420.0, 740.0, 1380.0, 2000.0]);
        assert_eq!(waits(u128::MAX), [100.0, 220.0, 340.0, 580.0, 1060.0, 2000.0, 2000.0]);
    }

    #[test]
    fn a_message_starts_it_over() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        backoff.next(&Fixed(0));
        backoff.next(&Fixed(0));
        backoff.reset();
        assert_eq!(backoff.next(&Fixed(0)), SHORTEST);
        for _ in 0..5_000 {
            assert!(backoff.next(&Fixed(u128::MAX)) <= Duration::from_secs(60));
        }
    }
}
