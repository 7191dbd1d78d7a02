//! What this process knows of the line that permits are reckoned by, with its own time: that since it began, which no setting of a
//! clock moves. Knows nothing of the record's place; the rules are in `orchestration/line.rs`.

use crate::orchestration::budget::Budget;
use crate::orchestration::line::{Follower, Said};
use crate::timestamp::Timestamp;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The line as this process knows it.
pub(super) struct LineClock {
    /// Of those who ask for it, one does.
    pub asking: tokio::sync::Mutex<()>,
    began: Instant,
    follower: Mutex<Follower>,
}

impl LineClock {
    pub fn new() -> Self {
        Self { asking: tokio::sync::Mutex::default(), began: Instant::now(), follower: Mutex::default() }
    }

    fn follower(&self) -> MutexGuard<'_, Follower> {
        // Each change of it is whole, so it is good even after a panic elsewhere.
        self.follower.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.began)
    }

    fn own_range(&self, taken: Range<Instant>) -> Range<Duration> {
        self.own(taken.start)..self.own(taken.end)
    }

    /// Takes in a record that was read, or that there is none.
    pub fn read(&self, said: Option<&Said>, taken: Range<Instant>, clock: Timestamp) {
        self.follower().read(said, self.own_range(taken), clock);
    }

    /// What is to be said in a write of the record that begins `now`.
    pub fn say(&self, budget: &Budget, fresh: u32, now: Instant, clock: Timestamp) -> Said {
        self.follower().say(budget, fresh, self.own(now), clock)
    }

    /// The write that said this was stored.
    pub fn wrote(&self, said: &Said, taken: Range<Instant>) {
        self.follower().wrote(said, self.own_range(taken));
    }

    pub fn follows(&self) -> bool {
        self.follower().follows(self.own(Instant::now()))
    }

    pub fn may_reckon(&self, budget: &Budget) -> bool {
        self.follower().may_reckon(budget, self.own(Instant::now()))
    }

    pub fn least(&self) -> Option<Timestamp> {
        self.follower().least(self.own(Instant::now()))
    }

    pub fn may_send(&self, budget: &Budget, permit: Timestamp) -> bool {
        self.follower().may_send(budget, permit, self.own(Instant::now()))
    }

    pub fn most(&self) -> Option<Timestamp> {
        self.follower().most(self.own(Instant::now()))
    }
}
