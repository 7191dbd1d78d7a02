//! The hunting API: Microsoft Graph's `runHuntingQuery`, and the two older endpoints that it replaces, with
//! their quotas, limits, errors and value encodings. Queries are evaluated, not recognised.

mod catalog;
mod door;
mod encode;
mod meter;
mod page;
mod quota;
mod refusal;
mod statistics;
mod timespan;

pub use door::router;
pub use statistics::{Call, Statistics};

use crate::clock::Clock;
use crate::entra::Tokens;
use crate::faults::Faults;
use crate::source::Source;
use quota::Quota;
use statistics::Recorder;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The limits of the API. The defaults are the documented ones, where they are documented.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Rows of an answer; more are cut off without a word.
    pub rows: u64,
    /// Bytes of an answer's result array as JSON; more are refused.
    pub result_bytes: u64,
    /// Calls of the tenant in any stretch of time.
    pub calls: Vec<CallLimit>,
    /// Evaluation time of the tenant per cycle; `None` for no limit.
    pub processing: Option<ProcessingLimit>,
    /// How long one query may run.
    pub run_time: Duration,
    /// Queries evaluated at once; others wait.
    pub at_once: usize,
    /// Values of rows that one query may read; one that reads more is preempted. `None`: any number.
    pub read: Option<u64>,
}

/// At most `calls` in any `period`.
#[derive(Debug, Clone, Copy)]
pub struct CallLimit {
    /// How many.
    pub calls: u32,
    /// In how long.
    pub period: Duration,
}

/// At most `budget` of evaluation time in each cycle. Cycles start at multiples of `cycle`.
#[derive(Debug, Clone, Copy)]
pub struct ProcessingLimit {
    /// Evaluation time per cycle.
    pub budget: Duration,
    /// Length of a cycle; 15 minutes at the service.
    pub cycle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: 100_000,
            result_bytes: 50_000_000,
            calls: vec![CallLimit { calls: 45, period: Duration::from_secs(60) }],
            processing: None,
            run_time: Duration::from_secs(180),
            at_once: 4,
            read: None,
        }
    }
}

/// How the API behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its limits.
    pub limits: Limits,
    /// Whether a 429 for too many calls says when to come back.
    pub retry_after: bool,
    /// Whether refused calls count as calls.
    pub refused_calls_count: bool,
    /// Whether `pack_all()` is refused, as by a service that does not know it.
    pub refuse_pack: bool,
    /// What else in a query is refused, by its words.
    pub refuse_words: Vec<String>,
    /// Whether `hash_xxhash64()` is refused, as by a service that does not know it.
    pub refuse_xxhash: bool,
    /// Tables of which `ingestion_time()` is refused, as of a view.
    pub refuse_arrival_time: Vec<String>,
    /// Whether a time span is refused, as by a service that does not know it.
    pub refuse_timespan: bool,
    /// Whether dynamic values come as JSON text.
    pub dynamic_as_text: bool,
    /// Whether the schema stands behind the rows.
    pub schema_last: bool,
    /// The stretch of event time before now that Graph clips a call to that names none; `None`: it clips nothing then. A row without
    /// an event time is in no stretch.
    pub default_timespan: Option<Duration>,
    /// Whether a stretch that holds every event time holds rows without one too.
    pub all_times_hold_nulls: bool,
    /// Whether answers are compressed for clients that accept it.
    pub gzip: bool,
    /// Whether answers carry their length instead of being chunked.
    pub content_length: bool,
    /// The application role that a caller through Graph needs.
    pub required_role: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            retry_after: true,
            refused_calls_count: false,
            refuse_pack: false,
            refuse_words: Vec::new(),
            refuse_xxhash: false,
            refuse_arrival_time: Vec::new(),
            refuse_timespan: false,
            dynamic_as_text: false,
            schema_last: false,
            default_timespan: None,
            all_times_hold_nulls: false,
            gzip: true,
            content_length: false,
            required_role: crate::entra::THREAT_HUNTING_READ_ALL.to_owned(),
        }
    }
}

/// The API over a tenant's tables.
pub struct Hunting {
    settings: Settings,
    source: Arc<Source>,
    tokens: Arc<Tokens>,
    faults: Arc<Faults>,
    clock: Arc<dyn Clock>,
    quota: Quota,
    slots: Arc<Semaphore>,
    recorder: Recorder,
}

impl Hunting {
    /// Serves `source` to holders of `tokens`.
    pub fn new(
        settings: Settings,
        source: Arc<Source>,
        tokens: Arc<Tokens>,
        faults: Arc<Faults>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let quota = Quota::new(&settings);
        let slots = Arc::new(Semaphore::new(settings.limits.at_once.max(1)));
        Self { settings, source, tokens, faults, clock, quota, slots, recorder: Recorder::default() }
    }

    /// What was asked and answered so far.
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.recorder.statistics();
        statistics.over_quota = self.quota.over();
        statistics
    }
}

#[cfg(test)]
mod tests;
