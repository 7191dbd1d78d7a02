//! The hunting quota of a tenant as a GCRA: who asks is given a send time. Knows no clock; `now` comes in.

use crate::timestamp::Timestamp;
use std::time::Duration;

/// The state of the budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    interval: Duration,
    next: Timestamp,
    blocked_until: Timestamp,
}

impl Budget {
    /// A budget of `calls_per_minute`, burst 1. The pace is 60/61 of the quota, so that calls up to a second
    /// late still keep to the quota in any minute.
    pub fn new(calls_per_minute: u32) -> Self {
        let interval = Duration::from_secs(61) / calls_per_minute.max(1);
        Self { interval, next: Timestamp::MIN, blocked_until: Timestamp::MIN }
    }

    /// Takes the next permit: the time at which its call may be sent.
    pub fn take(&mut self, now: Timestamp) -> Timestamp {
        let at = self.next.max(now).max(self.blocked_until);
        self.next = at + self.interval;
        at
    }

    /// Takes the next permit if its call may be sent within `most`; else takes nothing and says how long it would be.
    ///
    /// # Errors
    /// The wait for the permit that was not taken.
    pub fn take_within(&mut self, now: Timestamp, most: Duration) -> Result<Timestamp, Duration> {
        let wait = self.next.max(now).max(self.blocked_until).since(now);
        if wait > most { Err(wait) } else { Ok(self.take(now)) }
    }

    /// The service asked everyone to pause until `until`.
    pub fn block(&mut self, until: Timestamp) {
        self.blocked_until = self.blocked_until.max(until);
        self.next = self.next.max(until);
    }

    /// Until when a permit taken before the block is void, if it is.
    pub fn blocked_until(&self) -> Timestamp {
        self.blocked_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ticks(638_000_000_000_000_000) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_permit_that_comes_too_late_is_not_taken() {
        let mut budget = Budget::new(60);
        budget.block(at(15));
        for _ in 0..10 {
            assert_eq!(budget.take_within(at(0), Duration::from_secs(10)), Err(Duration::from_secs(15)));
        }
        assert_eq!(budget.take_within(at(5), Duration::from_secs(10)), Ok(at(15)));
    }

    #[test]
    fn no_minute_sees_more_calls_than_the_quota_even_when_each_is_a_second_late() {
        let mut budget = Budget::new(45);
        let sent: Vec<Timestamp> = (0..200).map(|_| budget.take(at(0))).collect();
        for (index, first) in sent.iter().enumerate() {
            let late = *first + Duration::from_secs(1);
            let within = sent[index + 1..].iter().filter(|other| other.since(late) < Duration::from_secs(60)).count();
            assert!(within < 46, "{} calls in the minute after {late}", within + 1);
        }
        let minute = sent.iter().filter(|t| **t < at(60)).count();
        assert!((44..=45).contains(&minute), "{minute}");
    }

    #[test]
    fn unused_time_is_not_saved_up() {
        let mut budget = Budget::new(45);
        budget.take(at(0));
        assert_eq!(budget.take(at(100)), at(100));
        assert!(budget.take(at(100)) > at(101));
    }

    #[test]
    fn a_pause_holds_for_everyone() {
        let mut budget = Budget::new(45);
        budget.block(at(30));
        assert_eq!(budget.take(at(0)), at(30));
        budget.block(at(10));
        assert!(budget.take(at(0)) > at(31));
    }
}
