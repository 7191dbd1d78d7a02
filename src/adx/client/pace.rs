//! How often a request is repeated, and after which waits.

use crate::adx::Error;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;
use tokio::time::Instant;

/// How requests are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The wait before the first repetition; it doubles from there.
    pub first: Duration,
    /// The longest wait, unless the service asks for a longer one.
    pub most: Duration,
    /// How often a request is repeated.
    pub times: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), most: Duration::from_secs(30), times: 5 }
    }
}

impl Pace {
    /// Runs `attempt` until it succeeds, fails in a way that `again` does not take, or the deadline would pass
    /// during the wait. A time that the service names is waited out.
    pub(in crate::adx) async fn run<T, F, Fut>(
        &self,
        seed: u64,
        deadline: Instant,
        again: impl Fn(&Error) -> bool,
        mut attempt: F,
    ) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let mut waits = self.waits(seed);
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let Some(wait) = again(&error).then(|| waits.next_after(&error, deadline)).flatten() else {
                return Err(error);
            };
            tracing::debug!(%error, wait_ms = wait.as_millis() as u64, "a request is repeated");
            tokio::time::sleep(wait).await;
        }
    }

    /// The waits between the attempts of one request.
    pub(in crate::adx) fn waits(&self, seed: u64) -> Waits {
        let waits = ExponentialBuilder::default()
            .with_min_delay(self.first)
            .with_max_delay(self.most)
            .with_max_times(self.times)
            .with_jitter()
            .with_jitter_seed(seed);
        Waits(waits.build())
    }
}

/// The waits between the attempts of one request.
pub(in crate::adx) struct Waits(ExponentialBackoff);

impl Waits {
    /// How long to wait after `error`, or `None` when there is no attempt left, or no time before the deadline.
    pub fn next_after(&mut self, error: &Error, deadline: Instant) -> Option<Duration> {
        let wait = self.0.next()?.max(error.asked_pause().unwrap_or_default());
        Instant::now().checked_add(wait).is_some_and(|end| end < deadline).then_some(wait)
    }
}
