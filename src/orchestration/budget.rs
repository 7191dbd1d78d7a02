//! The tenant's quota of hunting calls as one record: who asks is given a send time. Knows no clock and no store;
//! `now` comes in, on the line that all processes of the tenant follow (`orchestration/line.rs`), and whoever stores the record swaps it.
//!
//! The minute is a pace: one call every 61/60 of its share, burst 1, so that calls up to a second late still keep to
//! the quota in any minute. The hour, where the service limits it, is a count of the permits of its minutes and not a
//! second pace (`docs/decisions/0003-the-hour-is-counted.md`).

use super::call_history::CallHistory;
use super::line::Said;
use super::response_cap::ResponseCap;
use crate::timestamp::{Timestamp, ticks_of};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A call may be sent this much after its permit's time.
pub const LATENESS: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// An hour and [`LATENESS`] touch at most this many minutes.
const HOUR_MINUTES: u64 = 62;
/// The first pause after a 429 that names none; it doubles while 429s follow each other.
const FIRST_BACKOFF: Duration = Duration::from_secs(15);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5 * 60);
/// A 429 this long after the last pause is a new one.
const BACKOFF_MEMORY: Duration = Duration::from_secs(2 * 60);

/// The calls that a tenant has (learn.microsoft.com "Advanced hunting quotas and usage parameters", and for the hour
/// "Advanced hunting API" of Defender for Endpoint).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// In any minute.
    pub per_minute: u32,
    /// In any hour, where that is limited too.
    pub per_hour: Option<u32>,
}

impl Quota {
    /// The part of it that this app is to use; others of the tenant have the rest. At least one call.
    #[must_use]
    pub fn share(self, share: f64) -> Self {
        let of = |calls: u32| ((f64::from(calls) * share) as u32).max(1);
        Self { per_minute: of(self.per_minute), per_hour: self.per_hour.map(of) }
    }

    /// The time between two permits.
    pub fn interval(self) -> Duration {
        // Rounded up to the resolution of a timestamp.
        let nanoseconds = (MINUTE + LATENESS).as_nanos().div_ceil(u128::from(self.per_minute.max(1)));
        Duration::from_nanos(u64::try_from(nanoseconds.next_multiple_of(100)).unwrap_or(u64::MAX))
    }
}

/// The state of the budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The next permit by the pace of the minute. It only ever grows.
    next: Timestamp,
    /// Permits before this are void. It only ever grows.
    blocked_until: Timestamp,
    /// The last pause that the service left to us.
    #[serde(default)]
    backoff_seconds: u64,
    /// Permits by minute, ascending, as far back as they count.
    #[serde(default)]
    minutes: Vec<(u64, u32)>,
    /// What its writer said of the line of its times; none before it is written for the first time.
    #[serde(default)]
    said: Option<Said>,
    /// What was learned of the size that answers may have. It stands here because every call looks at this record anyway.
    #[serde(default)]
    pub response_cap: Option<ResponseCap>,
    /// How many permits were given over the last day, for people to see.
    #[serde(default)]
    history: CallHistory,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            next: Timestamp::MIN,
            blocked_until: Timestamp::MIN,
            backoff_seconds: 0,
            minutes: Vec::new(),
            said: None,
            response_cap: None,
            history: CallHistory::default(),
        }
    }
}

impl Budget {
    /// The time of the next permit, not before `from`. An older state than the stored one gives an earlier time
    /// or the same, never a later one.
    pub fn opens(&self, quota: Quota, from: Timestamp) -> Timestamp {
        let mut at = self.next.max(from).max(self.blocked_until);
        let Some(per_hour) = quota.per_hour else { return at };
        loop {
            let minute = minute_of(at);
            let mut counting = self.minutes.iter().filter(|(then, _)| then + HOUR_MINUTES > minute).peekable();
            let oldest = counting.peek().map(|(then, _)| *then);
            let taken: u64 = counting.map(|(_, permits)| u64::from(*permits)).sum();
            match oldest {
                Some(oldest) if taken >= u64::from(per_hour.max(1)) => at = start_of(oldest + HOUR_MINUTES),
                _ => return at,
            }
        }
    }

    /// Takes the next permit, not before `from`: the time at which its call may be sent.
    pub fn take(&mut self, quota: Quota, from: Timestamp) -> Timestamp {
        let at = self.opens(quota, from);
        let minute = minute_of(at);
        self.next = at + quota.interval();
        self.history.count(at);
        self.minutes.retain(|(then, _)| then + HOUR_MINUTES > minute);
        match self.minutes.last_mut() {
            Some((last, permits)) if *last == minute => *permits += 1,
            _ => self.minutes.push((minute, 1)),
        }
        at
    }

    /// Takes the next permit if its call may be sent within `most`; else takes nothing and says how long it would be.
    ///
    /// # Errors
    /// The wait for the permit that was not taken.
    pub fn take_within(&mut self, quota: Quota, now: Timestamp, most: Duration) -> Result<Timestamp, Duration> {
        let wait = self.opens(quota, now).since(now);
        if wait > most { Err(wait) } else { Ok(self.take(quota, now)) }
    }

    /// The service asked for a pause, of `pause` if it said so: everyone keeps it, and permits before its end are
    /// void. Gives its end.
    pub fn block(&mut self, now: Timestamp, pause: Option<Duration>) -> Timestamp {
        let until = match pause {
            Some(pause) => {
                self.backoff_seconds = 0;
                now + pause
            }
            // Sent before the pause was known: the same 429, heard again.
            None if now < self.blocked_until => self.blocked_until,
            None => {
                let last = Duration::from_secs(self.backoff_seconds);
                let again = now.since(self.blocked_until) < BACKOFF_MEMORY && self.backoff_seconds > 0;
                let backoff = if again { (last * 2).min(LONGEST_BACKOFF) } else { FIRST_BACKOFF };
                self.backoff_seconds = backoff.as_secs();
                now + backoff
            }
        };
        self.blocked_until = self.blocked_until.max(until);
        self.next = self.next.max(until);
        self.blocked_until
    }

    /// Notes what its writer says of the line.
    pub fn say(&mut self, said: Said) {
        self.said = Some(said);
    }

    /// What its writer said of the line; none if it was never written.
    pub fn said(&self) -> Option<&Said> {
        self.said.as_ref()
    }

    /// Whether at `now` no call may be sent any more on a permit that was given.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.next + LATENESS
    }

    /// Whether a permit for that time can have been given: it was not, by another record that this one stands in the place of.
    pub fn has_given(&self, permit: Timestamp) -> bool {
        permit < self.next
    }

    /// Until when everyone was last asked to pause.
    pub fn blocked_until(&self) -> Timestamp {
        self.blocked_until
    }

    /// How many permits were given over the last day.
    pub fn history(&self) -> &CallHistory {
        &self.history
    }

    /// Whether a call may be sent at `now` on a permit for `permit`.
    pub fn allows(&self, permit: Timestamp, now: Timestamp) -> bool {
        now <= permit + LATENESS && self.blocked_until <= permit
    }
}

fn minute_of(at: Timestamp) -> u64 {
    at.ticks() / ticks_of(MINUTE)
}

fn start_of(minute: u64) -> Timestamp {
    Timestamp::from_ticks(minute.saturating_mul(ticks_of(MINUTE)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUOTA: Quota = Quota { per_minute: 45, per_hour: Some(1_500) };

    fn at(seconds: u64) -> Timestamp {
        at_ms(seconds * 1000)
    }

    fn at_ms(milliseconds: u64) -> Timestamp {
        Timestamp::from_ticks(638_000_000_000_000_000) + Duration::from_millis(milliseconds)
    }

    /// The most calls in any stretch of that length, ends included.
    fn most_within(calls: &[Timestamp], span: Duration) -> usize {
        let mut sorted = calls.to_vec();
        sorted.sort();
        let mut from = 0;
        let mut most = 0;
        for (index, last) in sorted.iter().enumerate() {
            while last.since(sorted[from]) >= span {
                from += 1;
            }
            most = most.max(index + 1 - from);
        }
        most
    }

    #[test]
    fn a_share_is_of_the_minute_and_of_the_hour_and_never_nothing() {
        assert_eq!(QUOTA.share(0.5), Quota { per_minute: 22, per_hour: Some(750) });
        assert_eq!(QUOTA.share(1.0), QUOTA);
        assert_eq!(QUOTA.share(0.01).per_minute, 1);
    }

    #[test]
    fn a_permit_that_comes_too_late_is_not_taken() {
        let mut budget = Budget::default();
        budget.block(at(0), Some(Duration::from_secs(15)));
        for _ in 0..10 {
            let refused = budget.take_within(QUOTA, at(0), Duration::from_secs(10));
            assert_eq!(refused, Err(Duration::from_secs(15)));
        }
        assert_eq!(budget.take_within(QUOTA, at(5), Duration::from_secs(10)), Ok(at(15)));
    }

    #[test]
    fn a_run_within_the_hours_quota_goes_at_the_pace_of_the_minute() {
        let mut budget = Budget::default();
        let last = (0..1_500).map(|_| budget.take(QUOTA, at(0))).last().unwrap();
        let bound = Duration::from_secs(1_500 * 60 / 45);
        assert!(last.since(at(0)) <= bound.mul_f64(1.05), "{:?}", last.since(at(0)));
    }

    #[test]
    fn a_long_run_uses_the_hours_quota_within_a_twentieth() {
        let mut budget = Budget::default();
        let last = (0..15_000).map(|_| budget.take(QUOTA, at(0))).last().unwrap();
        // Nine hours are full; the last 1,500 calls take what the minute allows.
        let bound = Duration::from_secs(9 * 3600 + 1_500 * 60 / 45);
        assert!(last.since(at(0)) <= bound.mul_f64(1.05), "{:?}", last.since(at(0)));
    }

    #[test]
    fn without_a_quota_of_the_hour_only_the_minute_counts() {
        let mut budget = Budget::default();
        let quota = Quota { per_hour: None, ..QUOTA };
        let last = (0..3_000).map(|_| budget.take(quota, at(0))).last().unwrap();
        assert_eq!(last, at(0) + quota.interval() * 2_999);
    }

    #[test]
    fn unused_time_is_not_saved_up() {
        let mut budget = Budget::default();
        budget.take(QUOTA, at(0));
        assert_eq!(budget.take(QUOTA, at(100)), at(100));
        assert!(budget.take(QUOTA, at(100)) > at(101));
    }

    #[test]
    fn a_pause_voids_what_was_given_before_it_and_holds_for_everyone() {
        let mut budget = Budget::default();
        let before = (budget.take(QUOTA, at(0)), budget.take(QUOTA, at(0)));
        assert!(budget.allows(before.1, before.1));
        budget.block(at(0), Some(Duration::from_secs(30)));
        assert!(!budget.allows(before.1, before.1));
        let after = budget.take(QUOTA, at(0));
        assert_eq!(after, at(30));
        assert!(budget.allows(after, after));
        budget.block(at(1), Some(Duration::from_secs(9)));
        assert!(budget.take(QUOTA, at(0)) > at(31), "a shorter pause takes nothing back");
    }

    #[test]
    fn a_permit_is_good_for_a_second_after_its_time() {
        let budget = Budget::default();
        assert!(budget.allows(at(10), at(9)) && budget.allows(at(10), at(11)));
        assert!(!budget.allows(at(10), at_ms(11_001)));
    }

    #[test]
    fn pauses_without_a_time_double_while_they_follow_each_other() {
        let mut budget = Budget::default();
        assert_eq!(budget.block(at(0), None), at(15));
        assert_eq!(budget.block(at(3), None), at(15), "the same 429, heard by another worker");
        assert_eq!(budget.block(at(16), None), at(46));
        assert_eq!(budget.block(at(50), None), at(110));
        assert_eq!(budget.block(at(1000), None), at(1015), "a new one");
    }

    #[test]
    fn the_record_stays_small() {
        let mut budget = Budget::default();
        let mut from = at(0);
        for _ in 0..5_000 {
            from = budget.take(QUOTA, from + Duration::from_secs(5));
        }
        assert!(budget.minutes.len() <= 62, "{}", budget.minutes.len());
        let bytes = serde_json::to_string(&budget).unwrap().len();
        assert!(bytes < 4_000, "{bytes}");
    }

    #[test]
    fn the_permits_of_the_last_day_are_counted() {
        let mut budget = Budget::default();
        for seconds in [0, 0, 50_000, 100_000] {
            budget.take(QUOTA, at(seconds));
        }
        assert_eq!(budget.history().spans().map(|(_, permits)| permits).collect::<Vec<_>>(), [1, 1]);
    }

    proptest! {
        /// Whoever takes when, and as late as a permit allows: no minute and no hour sees more than the quota.
        #[test]
        fn no_minute_and_no_hour_sees_more_calls_than_the_quota(
            per_minute in 1u32..90,
            per_hour in 1u32..400,
            steps in prop::collection::vec((0u64..40_000, 0u64..=1000, 1usize..12, prop::bool::weighted(0.02)), 1..250),
        ) {
            let quota = Quota { per_minute, per_hour: Some(per_hour) };
            let mut budget = Budget::default();
            let mut calls = Vec::new();
            let mut now = 0;
            for (pause, lateness, count, throttled) in steps {
                now += pause;
                if throttled {
                    budget.block(at_ms(now), None);
                }
                for _ in 0..count {
                    let permit = budget.take(quota, at_ms(now));
                    calls.push(permit + Duration::from_millis(lateness));
                }
            }
            prop_assert!(most_within(&calls, Duration::from_secs(60)) <= per_minute as usize);
            prop_assert!(most_within(&calls, Duration::from_secs(3600)) <= per_hour as usize);
        }

        /// What a process remembers may be old: it errs only to the early side, so a refusal from memory stands.
        #[test]
        fn an_older_state_never_opens_later(takes in 0usize..200, block in prop::option::of(1u64..500), now in 0u64..9000) {
            let mut budget = Budget::default();
            for _ in 0..20 {
                budget.take(QUOTA, at(0));
            }
            let old = budget.clone();
            for _ in 0..takes {
                budget.take(QUOTA, at(now / 2));
            }
            if let Some(pause) = block {
                budget.block(at(now / 2), Some(Duration::from_secs(pause)));
            }
            prop_assert!(old.opens(QUOTA, at(now)) <= budget.opens(QUOTA, at(now)));
        }
    }
}
