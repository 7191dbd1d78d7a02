//! Where time comes in. The parts are told what time it is.

use crate::source::ticks;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A clock in 100-ns ticks since 0001-01-01T00:00:00Z.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> i64;

    /// The present instant in whole seconds since 1970.
    fn unix_seconds(&self) -> i64 {
        (self.now() - ticks::UNIX_EPOCH).div_euclid(ticks::SECOND)
    }
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> i64 {
        let nanos = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
        i64::try_from(nanos / 100).unwrap_or(ticks::MAX - ticks::UNIX_EPOCH) + ticks::UNIX_EPOCH
    }
}

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `at`, in ticks.
    pub fn new(at: i64) -> Self {
        Self(AtomicI64::new(at))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(ticks::of(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}
