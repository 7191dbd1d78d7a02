//! The listener of a timer trigger: waits for the next occurrence, keeps the status that tells a missed one after a
//! restart (azure-webjobs-sdk-extensions `TimerListener.cs`, `ScheduleMonitor.cs`). A retry policy is used up before the
//! status moves. One process at a time is assumed to run an app's timers; there is no lease.

use super::console::{Console, Level, Say};
use super::envelope::Metadata;
use super::function_json::{Function, TimerTrigger, Trigger};
use super::invoke::Invoker;
use super::json::Json;
use super::schedule::Schedule;
use super::time::HostTime;
use crate::storage::{BlobStore, Error};
use crate::timestamp::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const STORAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// How far the clock that wrote a status may have been ahead of this one.
const MOST_AHEAD: Duration = Duration::from_secs(600);
/// Between two tries to read the status at the start.
const RETRY: Duration = Duration::from_secs(10);
/// The longest sleep at a stretch, on the storage's clock: after it the clock is looked at again, as a machine may have
/// slept.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What is known of a timer's last and next occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    last: Timestamp,
    next: Timestamp,
    last_updated: Timestamp,
}

/// The listener of one function.
pub(crate) struct TimerListener {
    pub(crate) function: Arc<Function>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) invoker: Arc<Invoker>,
    pub(crate) time: HostTime,
    pub(crate) console: Arc<dyn Console>,
    /// True: fires no more; a running call goes on.
    pub(crate) draining: watch::Receiver<bool>,
}

/// The timer as the function sees it. `status` is that before this occurrence, `None` when none is kept.
pub(crate) fn envelope_parts<'t>(
    trigger: &'t TimerTrigger,
    status: Option<&Status>,
    past_due: bool,
    metadata: Metadata,
) -> (&'t str, Json, Metadata) {
    let schedule = &trigger.schedule;
    let data = Json::object([
        ("Schedule", Json::object([("AdjustForDST", Json::Bool(schedule.adjusts_for_daylight_saving()))])),
        ("ScheduleStatus", status.map_or(Json::Null, |status| status.to_json(schedule))),
        ("IsPastDue", Json::Bool(past_due)),
    ]);
    (&trigger.binding, data, metadata)
}

impl TimerListener {
    /// Fires until the host drains. Occurrences never overlap: the next one waits for the end of the call.
    pub(crate) async fn run(self) {
        let Trigger::Timer(trigger) = &self.function.trigger else { return };
        let schedule = &trigger.schedule;
        let now = self.time.now();
        let monitored = trigger.use_monitor && !schedule.is_sub_minute(now);
        let (mut status, past_due) = if monitored {
            let Some(stored) = self.read_status().await else { return };
            let (status, changed) = check(stored, schedule, now);
            if changed {
                self.write_status(&status, schedule).await;
            }
            (status, now > status.next)
        } else {
            (Status { last: Timestamp::MIN, next: schedule.next(now), last_updated: Timestamp::MIN }, false)
        };
        if past_due || trigger.run_on_startup {
            let Some(after) = self.fire(trigger, status, monitored, past_due, true).await else { return };
            status = after;
        }
        while self.wait_until(status.next).await {
            let Some(after) = self.fire(trigger, status, monitored, false, false).await else { return };
            status = after;
        }
    }

    /// Runs the function, again where its retry policy has it so; gives the status after it. `None` when the host drains
    /// before a retry: the occurrence stays past due.
    async fn fire(
        &self,
        trigger: &TimerTrigger,
        status: Status,
        monitored: bool,
        past_due: bool,
        early: bool,
    ) -> Option<Status> {
        let started = self.time.now();
        let mut last = None;
        for retries in 0.. {
            let metadata = trigger.retry.map(|retry| retry.context(retries, last.as_ref())).unwrap_or_default();
            let parts = envelope_parts(trigger, monitored.then_some(&status), past_due, metadata);
            last = self.invoker.call(&self.function, parts, |_| Ok(())).await.err();
            // A failure is in the log; without a retry the schedule goes on.
            match trigger.retry.filter(|retry| last.is_some() && retry.allows(retries)) {
                None => break,
                Some(retry) if !self.wait_until(self.time.now() + retry.delay).await => return None,
                Some(_) => {}
            }
        }
        // A call that began a moment before its time counts as on time: the next one must not be the same.
        let at = if early { started } else { started.max(status.next) };
        let after = Status { last: at, next: trigger.schedule.next(at), last_updated: at };
        if monitored {
            self.write_status(&after, &trigger.schedule).await;
        }
        Some(after)
    }

    /// Waits for an instant; false when the host drains first.
    async fn wait_until(&self, at: Timestamp) -> bool {
        let mut draining = self.draining.clone();
        loop {
            if *draining.borrow() {
                return false;
            }
            let left = at.since(self.time.now());
            if left.is_zero() {
                return true;
            }
            let sleep = self.time.scaled(left).min(LONGEST_SLEEP);
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                _ = draining.wait_for(|draining| *draining) => {}
            }
        }
    }

    fn status_blob(&self) -> String {
        format!("azure-webjobs-hosts/timers/{}/status", self.function.name)
    }

    /// The stored status, once the storage gives an answer; `None` when the host drains before.
    async fn read_status(&self) -> Option<Option<Status>> {
        let mut draining = self.draining.clone();
        loop {
            let error = match timely(self.blobs.get(&self.status_blob())).await {
                Ok(None) => return Some(None),
                Ok(Some(content)) => match Status::from_bytes(&content) {
                    Some(status) => return Some(Some(status)),
                    None => {
                        let warning =
                            format!("the status of the timer {} is unreadable and starts over", self.function.name);
                        self.console.say(Level::Warning, warning);
                        return Some(None);
                    }
                },
                Err(error) => error,
            };
            let warning = format!("the status of the timer {} cannot be read yet: {error}", self.function.name);
            self.console.say(Level::Warning, warning);
            tokio::select! {
                () = self.time.sleep(RETRY) => {}
                _ = draining.wait_for(|draining| *draining) => return None,
            }
        }
    }

    async fn write_status(&self, status: &Status, schedule: &Schedule) {
        let content = status.to_json(schedule).compact().into();
        if let Err(error) = timely(self.blobs.put(&self.status_blob(), content)).await {
            let warning = format!("the status of the timer {} cannot be written: {error}", self.function.name);
            self.console.say(Level::Warning, warning);
        }
    }
}

/// The status to start with, and whether it differs from the stored one. A changed schedule starts over, so that it does
/// not count as past due, and so does a status of a clock that ran ahead: nothing would fire until it is caught up with.
fn check(stored: Option<Status>, schedule: &Schedule, now: Timestamp) -> (Status, bool) {
    let Some(status) = stored.filter(|status| status.last_updated <= now + MOST_AHEAD) else {
        return (Status { last: Timestamp::MIN, next: schedule.next(now), last_updated: now }, true);
    };
    let counted_from = [status.last, status.last_updated].into_iter().find(|&at| at != Timestamp::MIN).unwrap_or(now);
    let expected = schedule.next(counted_from);
    if status.next == expected {
        return (status, false);
    }
    let (next, last_updated) = if now > expected { (schedule.next(now), now) } else { (expected, counted_from) };
    (Status { last: Timestamp::MIN, next, last_updated }, true)
}

impl Status {
    fn to_json(self, schedule: &Schedule) -> Json {
        Json::object([
            ("Last", Json::String(schedule.local_text(self.last))),
            ("Next", Json::String(schedule.local_text(self.next))),
            ("LastUpdated", Json::String(schedule.local_text(self.last_updated))),
        ])
    }

    fn from_bytes(content: &[u8]) -> Option<Self> {
        let json: Json = serde_json::from_slice(content).ok()?;
        let instant = |name: &str| -> Option<Timestamp> {
            match json.member(name) {
                None | Some(Json::Null) => Some(Timestamp::MIN),
                Some(Json::String(text)) => text.parse().ok(),
                Some(_) => None,
            }
        };
        Some(Self { last: instant("Last")?, next: instant("Next")?, last_updated: instant("LastUpdated")? })
    }
}

async fn timely<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let result = tokio::time::timeout(STORAGE_TIMEOUT, call).await;
    result.unwrap_or_else(|elapsed| Err(Error::Unavailable(elapsed.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule(text: &str) -> Schedule {
        Schedule::parse(text, TimeZone::UTC).unwrap()
    }

    fn status(last: &str, next: &str, last_updated: &str) -> Status {
        Status { last: at(last), next: at(next), last_updated: at(last_updated) }
    }

    #[test]
    fn a_new_timer_records_its_next_occurrence_at_once() {
        let now = at("2026-01-01T00:00:30Z");
        let expected = status("0001-01-01T00:00:00Z", "2026-01-01T00:05:00Z", "2026-01-01T00:00:30Z");
        assert_eq!(check(None, &schedule("0 */5 * * * *"), now), (expected, true));
    }

    #[test]
    fn an_occurrence_missed_meanwhile_stays_in_the_status() {
        let stored = status("2026-01-01T00:00:00.1Z", "2026-01-01T00:05:00Z", "2026-01-01T00:00:00.1Z");
        assert_eq!(check(Some(stored), &schedule("0 */5 * * * *"), at("2026-01-01T03:00:00Z")), (stored, false));
    }

    #[test]
    fn a_changed_schedule_starts_over_instead_of_being_past_due() {
        let stored = status("2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z", "2026-01-01T00:00:00Z");
        let (status, changed) = check(Some(stored), &schedule("0 */7 * * * *"), at("2026-01-01T03:00:00Z"));
        assert!(changed);
        assert_eq!((status.next, status.last), (at("2026-01-01T03:07:00Z"), Timestamp::MIN));
    }

    #[test]
    fn a_status_of_a_clock_that_ran_ahead_starts_over() {
        let ahead = status("2026-01-01T05:00:00Z", "2026-01-01T05:05:00Z", "2026-01-01T05:00:00Z");
        let every_five = schedule("0 */5 * * * *");
        let over = status("0001-01-01T00:00:00Z", "2026-01-01T01:30:00Z", "2026-01-01T01:27:00Z");
        assert_eq!(check(Some(ahead), &every_five, at("2026-01-01T01:27:00Z")), (over, true));
        assert_eq!(
            check(Some(ahead), &every_five, at("2026-01-01T04:55:00Z")),
            (ahead, false),
            "a little is no matter"
        );
    }

    #[test]
    fn a_status_is_read_back_as_it_was_written() {
        let written = status("2026-01-01T00:00:00.0021Z", "2026-01-01T00:05:00Z", "2026-01-01T00:00:00.0021Z");
        let zone = Schedule::parse("00:05:00", TimeZone::fixed(jiff::tz::offset(2))).unwrap();
        let json = written.to_json(&zone).compact();
        assert!(json.contains(r#""Last":"2026-01-01T02:00:00.0021+02:00""#), "{json}");
        assert_eq!(Status::from_bytes(json.as_bytes()), Some(written));
    }
}
