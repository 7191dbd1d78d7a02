//! Virtual time: that of the paused runtime, seen from a fixed beginning, for the app and for the cloud.

use adxingestor::timestamp::{Clock, Timestamp};
use localcloud::clock::Clock as CloudClock;
use std::time::Duration;
use tokio::time::Instant;

/// When every simulation begins.
const BEGINNING: &str = "2026-05-01T00:00:00Z";

/// A clock that may be wrong by some seconds.
#[derive(Clone, Copy)]
pub struct Virtual {
    started: Instant,
    ahead_seconds: i64,
}

impl Virtual {
    /// The true time, which begins now.
    pub fn start() -> Self {
        Self { started: Instant::now(), ahead_seconds: 0 }
    }

    /// The same clock, wrong.
    pub fn skewed(self, ahead_seconds: i64) -> Self {
        Self { ahead_seconds, ..self }
    }

    /// How long the simulation has gone on.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        let beginning: Timestamp = BEGINNING.parse().unwrap();
        let ticks = beginning.ticks() as i64 + (self.elapsed().as_nanos() / 100) as i64;
        Timestamp::from_ticks((ticks + self.ahead_seconds * 10_000_000) as u64)
    }
}

impl CloudClock for Virtual {
    fn now(&self) -> i64 {
        Clock::now(self).ticks() as i64
    }
}
