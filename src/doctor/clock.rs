//! How far this machine's clock is from those of the services, by the header `Date` of their answers (RFC 9110, section
//! 6.6.1). It has whole seconds and may be on its way for a while, so it bounds the difference. Asks nobody by itself.

use super::{Area, Finding};
use crate::outbound::{Exchange, Unanswered, service_time};
use crate::timestamp::{Clock, Timestamp};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

const ID: &str = "clock";
const MILLISECOND: i64 = 10_000;
const SECOND: i64 = 1_000 * MILLISECOND;
/// More than this is told.
const TOLD_SECONDS: i64 = 30;
/// Processes whose clocks are further apart than this are not sure of each other's leases.
const MOST_SECONDS: i64 = 120;
const REMEDY: &str =
    "set this machine's clock by a time server: `sudo timedatectl set-ntp true` on Linux, `w32tm /resync` on Windows";

/// Sends requests and notes what time the services say it is.
pub(super) struct Dates {
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
    /// By host: how many ticks the service is ahead of this machine, at least.
    seen: Mutex<BTreeMap<String, i64>>,
}

impl Dates {
    pub fn new(http: reqwest::Client, clock: Arc<dyn Clock>) -> Self {
        Self { http, clock, seen: Mutex::default() }
    }

    fn note(&self, host: String, date: Timestamp, sent: Timestamp, received: Timestamp) {
        let ahead = ahead(date, sent, received);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.entry(host).or_insert(ahead);
        if ahead.abs() < known.abs() {
            *known = ahead;
        }
    }

    /// What the clock is by all answers so far, and by the clock of a storage account, which learns from its own.
    pub fn finding(&self, storage: Option<&dyn Clock>) -> Finding {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(storage) = storage {
            seen.insert("the storage account".to_owned(), ticks(storage.now()) - ticks(self.clock.now()));
        }
        judged(&seen)
    }
}

fn judged(seen: &BTreeMap<String, i64>) -> Finding {
    let Some((host, ahead)) = seen.iter().max_by_key(|(_, ahead)| ahead.abs()) else {
        return Finding::skip(Area::Clock, ID, "the lack of any answer that says the time");
    };
    let off = (ahead.abs() + SECOND / 2) / SECOND;
    let way = if *ahead > 0 { "behind" } else { "ahead of" };
    if off > MOST_SECONDS {
        let what = format!(
            "this machine's clock is {off} s {way} that of {host}; leases, signatures and the end of a run's range go wrong \
             beyond {MOST_SECONDS} s"
        );
        return Finding::fail(Area::Clock, ID, what, REMEDY);
    }
    if off > TOLD_SECONDS {
        return Finding::warn(Area::Clock, ID, format!("this machine's clock is {off} s {way} that of {host}"), REMEDY);
    }
    let hosts: Vec<&str> = seen.keys().map(String::as_str).collect();
    Finding::pass(Area::Clock, ID, format!("within {off} s of {}", hosts.join(", ")))
}

#[async_trait]
impl Exchange for Dates {
    async fn exchange(&self, request: reqwest::Request) -> Result<reqwest::Response, Unanswered> {
        let url = request.url();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = format!("{}{port}", url.host_str().unwrap_or_default());
        let sent = self.clock.now();
        let response = self.http.exchange(request).await?;
        if let Some(date) = service_time(response.headers()) {
            self.note(host, date, sent, self.clock.now());
        }
        Ok(response)
    }
}

/// By how many ticks a service that said `date` is ahead, at least; negative when it is behind, 0 when it may be right.
fn ahead(date: Timestamp, sent: Timestamp, received: Timestamp) -> i64 {
    let least = ticks(date) - ticks(received);
    let most = ticks(date) + SECOND - ticks(sent);
    if least > 0 { least } else { most.min(0) }
}

fn ticks(at: Timestamp) -> i64 {
    // The last instant is below 2^62.
    i64::try_from(at.ticks()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;
    use std::time::Duration;

    fn found(seconds: i64) -> Finding {
        judged(&BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), seconds * SECOND)]))
    }

    #[test]
    fn a_date_bounds_the_difference() {
        let now: Timestamp = "2026-11-06T08:49:37.9Z".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let later = now + Duration::from_secs(2);
        assert_eq!(ahead(at("2026-11-06T08:49:37Z"), now, later), 0, "its second");
        assert_eq!(ahead(at("2026-11-06T08:49:39Z"), now, later), 0, "while it was on its way");
        assert_eq!(ahead(at("2026-11-06T08:54:39.9Z"), now, later), 300 * SECOND);
        assert_eq!(ahead(at("2026-11-06T08:44:36.9Z"), now, later), -300 * SECOND);
    }

    #[test]
    fn half_a_minute_is_told_and_two_fail() {
        for (seconds, status) in [
            (0, Status::Pass),
            (30, Status::Pass),
            (-31, Status::Warn),
            (120, Status::Warn),
            (121, Status::Fail),
            (-3_600, Status::Fail),
        ] {
            assert_eq!(found(seconds).status, status, "{seconds}");
        }
        assert!(found(300).what.contains("300 s behind that of b"), "{}", found(300).what);
        assert!(found(-300).what.contains("300 s ahead of that of b"));
        assert_eq!(judged(&BTreeMap::new()).status, Status::Skip);
    }
}
