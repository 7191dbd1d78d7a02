//! Every number of the protocol, each with its source or reason. Tests and the demo shrink the times together.

use super::budget::Quota;
use std::time::Duration;

/// The most rows that a hunting answer is planned to hold: below the API's 100,000, where an answer is cut
/// without a word (learn.microsoft.com "Advanced hunting quotas and usage parameters").
pub const MAX_ROWS: u64 = 99_000;
/// An answer with this many rows is taken as cut.
pub const ROW_CAP: u64 = 100_000;
/// The most bytes of an answer (learn.microsoft.com "Advanced hunting quotas and usage parameters").
pub const MAX_RESPONSE_BYTES: u64 = 50_000_000;
/// About how many packed rows a table's first run weighs to learn its bytes per row.
pub const SAMPLE_ROWS: u64 = 20_000;
/// What a process knows of a row that it only looks at (the budget before a call, the head before a claim and before a seal) counts
/// as read for this long: the host's longest polling interval, which a message may wait for its worker anyway.
pub const KNOWN_FOR: Duration = Duration::from_secs(2);
/// Attempts of a window, counted in its row; then it has failed for this run.
pub const WINDOW_ATTEMPTS: u32 = 5;
/// How often a window is divided for answers that came to nothing, itself and then its parts, before the part that is left has
/// failed for this run: a 256th of it. So many in each lane, one after the other without an answer between them, and no window
/// of the table is divided for now.
pub const MOST_SPLITS: u32 = 8;
/// Attempts of a start before its error is the run's: each repeats its requests by itself.
pub const START_ATTEMPTS: u32 = 3;
/// The same of a run that the timer began, for which nobody waits: those of an hour. The next one is begun a day later.
pub const NIGHTLY_START_ATTEMPTS: u32 = 10;
/// Attempts of a plan before its error is the table's result.
pub const PLAN_ATTEMPTS: u32 = 5;
/// How often in a row the host may give up the message of a count, or of a table's end, before the table comes to its result
/// without it. Each stands for ten deliveries that failed.
pub const MOST_GIVEN_UP: u32 = 3;
/// What a plan was answered is of no use any more when nothing came to it for this long: as much as tables wait for each other with
/// the smallest quota that can be set, or longer.
pub const ANSWERS_KEPT: Duration = Duration::from_secs(86_400);
/// A service that asks to be left alone for longer is not believed: it is tried again after this.
pub const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// Window ids in one count query.
pub const COUNT_BATCH: usize = 500;
/// Windows of which the source is asked in one call how many rows have no watermark: a hundredth of the calls, and a query of 20 kB.
pub const ASKED_AT_ONCE: usize = 100;
/// Row operations beside the head in one transaction of 100.
pub const TRANSACTION_WINDOWS: usize = 99;
/// Window names that the head keeps ready for dispatch.
pub const READY_NAMES: usize = 64;
/// A dynamic value above this size lands as null (dataexplorer-docs `management/alter-encoding-policy.md`).
pub const MAX_DYNAMIC_BYTES: u64 = 1024 * 1024;
/// Window results that an audit row lists.
pub const AUDIT_WINDOWS: usize = 500;

/// How long the source keeps rows (learn.microsoft.com "Advanced hunting overview", data freshness and retention).
pub const SOURCE_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// The times of the protocol, and the settings that shape a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// An invocation gives up its work this long after it began.
    pub invocation_deadline: Duration,
    /// Allowance for clocks that differ, added to every lease.
    pub clock_margin: Duration,
    /// How long after a post of unknown outcome the same blob may be posted again.
    pub resubmit_after: Duration,
    /// How long after it was put a post may still be taken up: a message that names no lifetime is gone after 7 days
    /// (rest-api-ref Put-Message). Rows that land later are not reckoned with anywhere.
    pub post_lifetime: Duration,
    /// How long an ingestion that has read its blob may go on: no management command runs longer than an hour
    /// (dataexplorer-docs `concepts/query-limits.md`).
    pub ingestion_longest: Duration,
    /// How long after its submission a window may take to be counted.
    pub verify_deadline: Duration,
    /// The first pause between two counts of a table.
    pub verify_first: Duration,
    /// The longest pause between two counts of a table.
    pub verify_longest: Duration,
    /// How long a hunting service that says nothing but 429 is waited for.
    pub throttled_longest: Duration,
    /// A table with open windows and none claimed for this long is dispatched again.
    pub stall_after: Duration,
    /// A pending instance or a due count is put again after this.
    pub lost_after: Duration,
    /// The first pause before a failed attempt is repeated; it doubles, and before what an outage may have ended it quadruples.
    pub retry_first: Duration,
    /// The longest pause between two attempts that an outage may have ended, where the service names none.
    pub outage_longest: Duration,
    /// How far behind the clock the end of a run's range lies.
    pub settling_lag: Duration,
    /// Tables at once.
    pub tables_at_once: u32,
    /// Windows of a table at once.
    pub lanes: u32,
    /// The most rows of a window.
    pub window_rows: u64,
    /// The most bytes of an answer, as documented.
    pub response_bytes: u64,
    /// The tenant's hunting calls.
    pub quota: Quota,
    /// How far back windows of a table with arrival times are counted again: rows come into sight behind the settling lag.
    pub recount: Duration,
    /// The same where windows are cut by a column: rows come with a time of before.
    pub look_back: Duration,
    /// How long a run that has ended is remembered, and a window wholly below the watermark. Not below a week.
    pub history: Duration,
    /// How long a visible message may lie until the host polls its queue (`maxPollingInterval` in `host.json`).
    pub pickup: Duration,
}

impl Limits {
    /// The numbers as the protocol has them, host times divided by `time_scale`. Times of the data
    /// (the settling lag, the history) and the tenant's quota are not scaled.
    pub fn scaled(time_scale: f64) -> Self {
        let scaled = |seconds: f64| Duration::from_secs_f64(seconds / time_scale);
        Self {
            invocation_deadline: scaled(240.0),
            clock_margin: scaled(60.0),
            resubmit_after: scaled(600.0),
            post_lifetime: scaled(7.0 * 86_400.0),
            ingestion_longest: scaled(3600.0),
            verify_deadline: scaled(1800.0),
            verify_first: scaled(2.0).max(Duration::from_millis(200)),
            verify_longest: scaled(60.0),
            throttled_longest: scaled(86_400.0),
            stall_after: scaled(720.0),
            lost_after: scaled(120.0),
            retry_first: scaled(2.0),
            outage_longest: scaled(600.0),
            settling_lag: Duration::from_secs(600),
            recount: Duration::from_secs(3 * 86_400),
            look_back: Duration::from_secs(48 * 3_600),
            tables_at_once: 5,
            lanes: 8,
            window_rows: MAX_ROWS,
            response_bytes: MAX_RESPONSE_BYTES,
            quota: Quota { per_minute: 45, per_hour: None },
            history: Duration::from_secs(30 * 86_400),
            pickup: scaled(2.0),
        }
    }

    /// How long a claim is held: the invocation's own deadline and a margin, never renewed.
    pub fn lease(&self) -> Duration {
        self.invocation_deadline + self.clock_margin
    }

    /// How long the permits of all lanes together last: nothing but a pause makes a window wait longer for its call.
    pub fn longest_queue(&self) -> Duration {
        let hour = if self.quota.per_hour.is_some() { Duration::from_secs(3600) } else { Duration::ZERO };
        self.quota.interval() * self.lanes.saturating_mul(self.tables_at_once) + hour
    }

    /// How long after a post something of it may land.
    pub fn landing_longest(&self) -> Duration {
        self.post_lifetime + self.ingestion_longest + self.clock_margin
    }

    /// How long the work of an invocation may take: what it came to has to be recorded before its deadline.
    pub fn working_time(&self) -> Duration {
        self.invocation_deadline - self.invocation_deadline / 16
    }

    /// How long a plan is put off for the quota that comes no further by it: longer than a service that says nothing but 429 is
    /// waited for.
    pub fn put_off_longest(&self) -> Duration {
        self.throttled_longest * 2
    }

    /// The pause before attempt `attempt + 1`.
    pub fn retry_pause(&self, attempt: u32) -> Duration {
        self.retry_first * 2u32.saturating_pow(attempt.min(6))
    }

    /// The same where a service may be out of order for some minutes: the pauses of five attempts come to more than ten.
    pub fn outage_pause(&self, attempt: u32) -> Duration {
        (self.retry_first * 4u32.saturating_pow(attempt.min(6))).min(self.outage_longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_of_ten_minutes_costs_neither_a_plan_nor_a_window_and_one_of_an_hour_no_night() {
        let limits = Limits::scaled(1.0);
        let pauses = |attempts| (1..attempts).map(|attempt| limits.outage_pause(attempt)).sum::<Duration>();
        assert!(pauses(WINDOW_ATTEMPTS.min(PLAN_ATTEMPTS)) > Duration::from_secs(600));
        assert!(pauses(NIGHTLY_START_ATTEMPTS) > Duration::from_secs(3_600));
    }

    #[test]
    fn times_shrink_together_and_data_times_do_not() {
        let (normal, fast) = (Limits::scaled(1.0), Limits::scaled(60.0));
        assert_eq!(normal.resubmit_after, Duration::from_secs(600));
        assert_eq!(fast.resubmit_after, Duration::from_secs(10));
        assert_eq!(normal.settling_lag, fast.settling_lag);
        assert_eq!(normal.lease(), Duration::from_secs(300));
    }
}
