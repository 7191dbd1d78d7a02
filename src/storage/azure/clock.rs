//! The storage service's time: this machine's clock, set right by the `Date` of each answer. Every process that shares
//! an account so shares a clock. Knows no request.
//!
//! A `Date` has whole seconds and may be on its way for a while, so it bounds the service's time and does not tell it. What
//! this clock says changes only if the bounds say so, and then no further than they say: a machine whose clock is right
//! keeps its clock, and a wrong one comes nearer with every answer, without going to and fro.

use super::error::{self, DATE};
use super::header::header;
use crate::timestamp::{Clock, Timestamp};
use azure_core::http::headers::Headers;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const TICKS_PER_SECOND: i64 = 10_000_000;
/// Half of what the service allows a signed request to be off (rest-api-ref `Authorize-with-Shared-Key`: 15 minutes).
pub(super) const TOLERATED: Duration = Duration::from_secs(7 * 60 + 30);

/// The clock of a storage account.
pub(super) struct ServiceClock {
    local: Arc<dyn Clock>,
    /// By how many ticks the service is ahead of this machine; `None` before the first answer.
    ahead: Mutex<Option<i64>>,
    warned: AtomicBool,
    /// The last `Date` and what it says: answers of one second bear the same, and reading it takes longer than the rest.
    date: Mutex<Option<(String, Timestamp)>>,
}

impl ServiceClock {
    /// A clock that has heard of no answer yet.
    pub(super) fn new(local: Arc<dyn Clock>) -> Self {
        Self { local, ahead: Mutex::new(None), warned: AtomicBool::new(false), date: Mutex::new(None) }
    }

    /// The time of this machine.
    pub(super) fn local(&self) -> Timestamp {
        self.local.now()
    }

    /// What the service says the time is.
    pub(super) fn date(&self, headers: &Headers) -> Option<Timestamp> {
        let text = header(headers, &DATE)?;
        let mut last = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((same, date)) if same == text => Some(*date),
            _ => {
                let date = error::date(headers)?;
                *last = Some((text.to_owned(), date));
                Some(date)
            }
        }
    }

    /// Takes in the `Date` of an answer to a request that was sent and answered at these times of this machine.
    pub(super) fn learn(&self, date: Timestamp, sent: Timestamp, received: Timestamp) {
        let least = ticks(date) - ticks(received);
        let most = ticks(date) + TICKS_PER_SECOND - ticks(sent);
        // This machine's clock was set in between.
        if least > most || received < sent {
            return;
        }
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        *ahead = Some(match *ahead {
            None if (least..=most).contains(&0) => 0,
            None => least.midpoint(most),
            Some(known) => known.clamp(least, most),
        });
    }

    /// Whether nobody has been told of a wrong clock yet.
    pub(super) fn is_first_warning(&self) -> bool {
        !self.warned.swap(true, Ordering::Relaxed)
    }
}

impl Clock for ServiceClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(0);
        let local = self.local.now();
        let by = Duration::from_nanos(ahead.unsigned_abs().saturating_mul(100));
        if ahead < 0 { local - by } else { local + by }
    }
}

impl std::fmt::Debug for ServiceClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceClock").field("ahead", &self.ahead).finish_non_exhaustive()
    }
}

fn ticks(at: Timestamp) -> i64 {
    // The last instant is below 2^62.
    i64::try_from(at.ticks()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Hands(Mutex<Timestamp>);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    /// A service whose time is `ahead_ms` before that of this machine, asked at each of `offsets_ms` with answers that take
    /// 10 ms; gives by how many milliseconds the clock is off after each.
    fn off_after(ahead_ms: i64, offsets_ms: &[u64]) -> Vec<i64> {
        let start: Timestamp = "2026-04-14T07:00:00Z".parse().unwrap();
        let hands = Arc::new(Hands(Mutex::new(start)));
        let clock = ServiceClock::new(hands.clone());
        let service = |local: Timestamp| Timestamp::from_ticks((ticks(local) + ahead_ms * 10_000).unsigned_abs());
        let mut off = Vec::new();
        for offset in offsets_ms {
            let sent = start + Duration::from_millis(*offset);
            let received = sent + Duration::from_millis(10);
            let date: Timestamp = service(sent + Duration::from_millis(5)).to_seconds().parse().unwrap();
            clock.learn(date, sent, received);
            *hands.0.lock().unwrap() = received;
            off.push((ticks(clock.now()) - ticks(service(received))) / 10_000);
        }
        off
    }

    #[test]
    fn before_the_first_answer_it_is_the_clock_of_this_machine() {
        let at: Timestamp = "2026-04-14T07:00:00Z".parse().unwrap();
        assert_eq!(ServiceClock::new(Arc::new(Hands(Mutex::new(at)))).now(), at);
    }

    #[test]
    fn a_right_clock_is_left_alone() {
        let offsets: Vec<u64> = (0..200).map(|n| n * 137).collect();
        assert!(off_after(0, &offsets).iter().all(|off| *off == 0));
    }

    #[test]
    fn a_wrong_clock_is_right_within_half_a_second_at_once_and_comes_nearer() {
        let offsets: Vec<u64> = (0..200).map(|n| n * 137).collect();
        for ahead in [-3_600_123, -1_234, 1_500, 86_400_777] {
            let off: Vec<i64> = off_after(ahead, &offsets).into_iter().map(i64::abs).collect();
            assert!(off[0] <= 510, "{ahead}: {off:?}");
            assert!(off.windows(2).all(|pair| pair[1] <= pair[0]), "{ahead}: {off:?}");
            assert!(off[199] <= 15, "{ahead}: {off:?}");
        }
    }

    #[test]
    fn the_date_of_an_answer_is_its_own() {
        let clock = ServiceClock::new(Arc::new(Hands(Mutex::new("2026-04-14T07:00:00Z".parse().unwrap()))));
        let dated = |text: &'static str| {
            let mut headers = Headers::new();
            headers.insert(DATE, text);
            clock.date(&headers).map(Timestamp::to_seconds)
        };
        for second in [7, 7, 8, 7] {
            let text = if second == 7 { "Tue, 14 Apr 2026 07:00:07 GMT" } else { "Tue, 14 Apr 2026 07:00:08 GMT" };
            assert_eq!(dated(text), Some(format!("2026-04-14T07:00:0{second}Z")));
        }
        assert_eq!(dated("soon"), None);
        assert_eq!(clock.date(&Headers::new()), None);
    }

    #[test]
    fn a_clock_that_is_set_is_followed() {
        let (start, second) = ("2026-04-14T07:00:00Z".parse::<Timestamp>().unwrap(), Duration::from_secs(1));
        let hands = Arc::new(Hands(Mutex::new(start)));
        let clock = ServiceClock::new(hands.clone());
        clock.learn(start, start, start);
        // This machine was set back by an hour; then a request during which it was set gives nothing.
        let back = start - second * 3600;
        *hands.0.lock().unwrap() = back;
        clock.learn(start, start, back);
        assert_eq!(clock.now(), back);
        clock.learn(start, back, back);
        assert_eq!(clock.now(), start);
    }
}
