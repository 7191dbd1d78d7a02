//! Hunting calls within the tenant's quota: a permit before each call, and a pause for everyone after a 429.

use crate::app::{App, Services};
use crate::defender::{Error as HuntingError, Packed, Rows};
use crate::timestamp::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// The pause after a 429 that names none.
const DEFAULT_PAUSE: Duration = Duration::from_secs(15);
/// A longer `Retry-After` is not believed: the call is tried again after this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// CPU quota is handed out by the quarter hour (learn.microsoft.com "Advanced hunting quotas").
const CPU_CYCLE: Duration = Duration::from_secs(15 * 60);
/// The part of an invocation's time that a call itself is left when its permit is waited for.
const SHARE_OF_A_CALL: u32 = 8;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The quota has no permit within this invocation's time.
    #[error("the tenant's hunting quota is used up for the next {} s", .0.as_secs())]
    NoPermit(Duration),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] HuntingError),
}

impl Error {
    /// The pause after which the call is worth repeating, where it failed for the quota and not by itself.
    pub fn quota_pause(&self) -> Option<Duration> {
        match self {
            Self::NoPermit(pause) => Some(*pause),
            Self::Call(HuntingError::Throttled { after, .. }) => {
                Some(after.unwrap_or(DEFAULT_PAUSE).min(LONGEST_PAUSE))
            }
            Self::Call(_) => None,
        }
    }
}

impl Error {
    /// Whether repeating the call in a later invocation may do.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoPermit(_) => true,
            Self::Call(HuntingError::Outbound(error)) => error.is_transient(),
            Self::Call(error) => !matches!(
                error,
                HuntingError::Refused { .. } | HuntingError::Forbidden { .. } | HuntingError::NotFound { .. }
            ),
        }
    }

    /// The pause that a service which is out of order asked for.
    pub fn service_pause(&self) -> Option<Duration> {
        match self {
            Self::Call(HuntingError::Unavailable { after, .. }) => after.map(|after| after.min(LONGEST_PAUSE)),
            _ => None,
        }
    }
}

/// The way to the hunting API of one invocation.
pub struct Hunting<'a> {
    app: &'a App,
    services: &'a Services,
    deadline: Instant,
    calls: u64,
}

impl<'a> Hunting<'a> {
    /// Calls until `deadline`.
    pub fn new(app: &'a App, services: &'a Services, deadline: Instant) -> Self {
        Self { app, services, deadline, calls: 0 }
    }

    /// Calls made so far; asking resets it.
    pub fn take_calls(&mut self) -> u64 {
        std::mem::take(&mut self.calls)
    }

    /// Until when calls may take.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// A small answer.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rows(&mut self, query: &str) -> Result<Rows, Error> {
        self.permit().await?;
        self.services.defender.rows(query, self.deadline).await.map_err(|error| self.failed(error))
    }

    /// An answer of packed rows.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn packed(&mut self, query: &str) -> Result<Packed, Error> {
        self.permit().await?;
        self.services.defender.packed(query, self.deadline).await.map_err(|error| self.failed(error))
    }

    async fn permit(&mut self) -> Result<(), Error> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let most = left.saturating_sub(self.app.limits.invocation_deadline / SHARE_OF_A_CALL);
            let at = self.services.permit(self.app.state.now(), most).map_err(Error::NoPermit)?;
            tokio::time::sleep(at.since(self.app.state.now())).await;
            if !self.services.is_void(at) {
                self.calls += 1;
                return Ok(());
            }
        }
    }

    fn failed(&self, error: HuntingError) -> Error {
        if let HuntingError::Throttled { after, cpu, .. } = &error {
            let now = self.app.state.now();
            let until = match (after, cpu) {
                (Some(after), _) => now + (*after).min(LONGEST_PAUSE),
                (None, true) => next_cpu_cycle(now),
                (None, false) => now + DEFAULT_PAUSE,
            };
            tracing::warn!(%error, until = %until, "the hunting API asked for a pause; all workers keep it");
            self.services.pause_until(until);
        }
        error.into()
    }
}

/// A number in the only row of an answer.
pub fn number(rows: &Rows, column: &str) -> Option<u64> {
    rows.rows.first()?.get(column)?.as_u64()
}

fn next_cpu_cycle(now: Timestamp) -> Timestamp {
    let cycle = u64::try_from(CPU_CYCLE.as_nanos() / 100).unwrap_or(u64::MAX);
    Timestamp::from_ticks((now.ticks() / cycle + 1) * cycle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_quota_comes_back_at_the_quarter_hour() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(next_cpu_cycle(at("2026-05-01T10:07:12Z")), at("2026-05-01T10:15:00Z"));
        assert_eq!(next_cpu_cycle(at("2026-05-01T10:45:00Z")), at("2026-05-01T11:00:00Z"));
    }
}
