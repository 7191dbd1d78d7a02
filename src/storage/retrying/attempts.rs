//! How often, how long and with which pauses one call is tried. Knows no request; time is the runtime's.

use crate::random::Random;
use crate::storage::Error;
use crate::telemetry::metrics;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long a call is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// The longest one attempt waits for its answer.
    attempt: Duration,
    /// The longest the call takes, pauses included: no attempt starts that could end later.
    total: Duration,
}

/// Rows and messages. A service answers them within milliseconds, so 10 s without an answer are a lost one. The call that
/// fails ends its invocation: 30 s leave the 4 minutes of an invocation alone, and more than one partition of Azure Storage
/// takes to move to another server.
pub(super) const SMALL: Policy = Policy { attempt: Duration::from_secs(10), total: Duration::from_secs(30) };
/// Blobs: the largest, 256 MiB, takes 30 s at 9 MB/s.
pub(super) const CONTENT: Policy = Policy { attempt: Duration::from_secs(30), total: Duration::from_secs(60) };

/// The longest that looking at a row takes between two attempts: it only helps.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// The ceiling of the first pause; each further one is twice that.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// No answer came in time; the request may have done its work.
#[derive(Debug, thiserror::Error)]
#[error("{operation} got no answer within {waited:.1?}")]
struct NoAnswer {
    operation: &'static str,
    waited: Duration,
}

/// The last of several failures.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed {attempts} times in {elapsed:.1?}, in the end because: {source}")]
struct GaveUp {
    operation: &'static str,
    attempts: u32,
    elapsed: Duration,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// What came of a request, for the count of requests.
fn outcome<T>(answered: &Result<T, Error>) -> &'static str {
    match answered {
        Ok(_) => "ok",
        Err(Error::Throttled { .. }) => "throttled",
        Err(Error::Unavailable(_)) => "failed",
        Err(_) => "refused",
    }
}

/// The attempts of one call.
pub(super) struct Attempts<'a> {
    operation: &'static str,
    policy: Policy,
    random: &'a dyn Random,
    started: Instant,
    made: u32,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(operation: &'static str, policy: Policy, random: &'a dyn Random) -> Self {
        Self { operation, policy, random, started: Instant::now(), made: 0 }
    }

    /// Whether an attempt failed in a way that leaves open whether it did its work.
    pub(super) fn in_doubt(&self) -> bool {
        self.made > 0
    }

    /// One attempt, bounded in time.
    pub(super) async fn once<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let waited = self.policy.attempt;
        let answered = timeout(waited, request)
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable(Box::new(NoAnswer { operation: self.operation, waited }))));
        metrics::storage_transaction(self.operation, outcome(&answered));
        answered
    }

    /// Further requests that the call needs to know how it ended, in what is left of its time.
    pub(super) async fn in_time<T>(&self, requests: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let end = self.started + self.policy.total;
        timeout_at(end, requests).await.unwrap_or_else(|_| {
            let waited = self.policy.total;
            Err(Error::Unavailable(Box::new(NoAnswer { operation: self.operation, waited })))
        })
    }

    /// Waits until it is time for the next attempt.
    ///
    /// # Errors
    /// `error` itself, when repeating does not help or there is no time left for what the service asks.
    pub(super) async fn pause_after(&mut self, error: Error) -> Result<(), Error> {
        let asked = match &error {
            Error::Unavailable(_) => Duration::ZERO,
            Error::Throttled { after } => after.unwrap_or_default(),
            _ => return Err(error),
        };
        // Full jitter on top of what was asked: callers that were turned away together come back apart.
        let pause = asked.saturating_add(self.jitter());
        self.made += 1;
        let elapsed = self.started.elapsed();
        if elapsed.saturating_add(pause) > self.policy.total - self.policy.attempt {
            return Err(self.give_up(error, elapsed));
        }
        self.log_repetition(pause, &error);
        metrics::waited(metrics::Wait::Store, pause);
        sleep(pause).await;
        Ok(())
    }

    /// Goes on to the next attempt without a pause, when something else has shown that the service answers.
    pub(super) fn repeat_at_once(&mut self, error: &Error) {
        self.made += 1;
        self.log_repetition(Duration::ZERO, error);
    }

    fn log_repetition(&self, pause: Duration, error: &Error) {
        let (operation, attempt, pause_ms) = (self.operation, self.made, pause.as_millis() as u64);
        tracing::debug!(operation, attempt, pause_ms, reason = %error, "a storage request is repeated");
    }

    /// From nothing to the ceiling of this pause.
    fn jitter(&self) -> Duration {
        let ceiling = FIRST_PAUSE.saturating_mul(1 << self.made.min(16)).min(LONGEST_PAUSE);
        let fraction = self.random.bits() >> 64;
        Duration::from_nanos(((ceiling.as_nanos() * fraction) >> 64) as u64)
    }

    fn give_up(&self, error: Error, elapsed: Duration) -> Error {
        tracing::debug!(operation = self.operation, attempts = self.made, ?elapsed, reason = %error, "a storage request is given up");
        match error {
            Error::Unavailable(source) if self.made > 1 => {
                Error::Unavailable(Box::new(GaveUp { operation: self.operation, attempts: self.made, elapsed, source }))
            }
            other => other,
        }
    }
}
