//! The tenant's quota: calls in any stretch of time, and evaluation time per cycle.

use super::{ProcessingLimit, Settings};
use crate::source::ticks;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Why a call is not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exhausted {
    /// Too many calls.
    Calls { limit: u32, period: Duration, retry_after: Duration },
    /// Too much evaluation time.
    Processing { retry_after: Duration },
}

pub(super) struct Quota {
    windows: Vec<(u32, i64)>,
    processing: Option<ProcessingLimit>,
    refused_calls_count: bool,
    over: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: VecDeque<i64>,
    cycle: i64,
    used: Duration,
}

impl Quota {
    pub(super) fn new(settings: &Settings) -> Self {
        let limits = &settings.limits;
        Self {
            windows: limits.calls.iter().map(|limit| (limit.calls, ticks::of(limit.period).max(1))).collect(),
            processing: limits.processing,
            refused_calls_count: settings.refused_calls_count,
            over: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// Lets a call through at `now`, in ticks, or says why not.
    pub(super) fn enter(&self, now: i64) -> Result<(), Exhausted> {
        let mut state = self.lock();
        let longest = self.windows.iter().map(|(_, period)| *period).max().unwrap_or(0);
        while state.calls.front().is_some_and(|call| *call <= now - longest) {
            state.calls.pop_front();
        }
        let refused = self.windows.iter().find_map(|(limit, period)| {
            // The call that must leave the window before another may enter.
            let oldest = state.calls.iter().rev().nth(limit.saturating_sub(1) as usize)?;
            let wait = *oldest + period - now;
            (wait > 0).then(|| Exhausted::Calls {
                limit: *limit,
                period: duration(*period),
                retry_after: duration(wait),
            })
        });
        if refused.is_none() || self.refused_calls_count {
            state.calls.push_back(now);
        }
        match refused {
            Some(refused) => {
                self.over.fetch_add(1, Ordering::Relaxed);
                Err(refused)
            }
            None => self.processing_left(&mut state, now),
        }
    }

    fn processing_left(&self, state: &mut State, now: i64) -> Result<(), Exhausted> {
        let Some(limit) = self.processing else { return Ok(()) };
        let cycle = ticks::of(limit.cycle).max(1);
        if state.cycle != now / cycle {
            *state = State { calls: std::mem::take(&mut state.calls), cycle: now / cycle, used: Duration::ZERO };
        }
        if state.used < limit.budget {
            return Ok(());
        }
        Err(Exhausted::Processing { retry_after: duration((now / cycle + 1) * cycle - now) })
    }

    /// How many calls were too many so far.
    pub(super) fn over(&self) -> u64 {
        self.over.load(Ordering::Relaxed)
    }

    /// Charges evaluation time.
    pub(super) fn charge(&self, time: Duration) {
        self.lock().used += time;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Times and sums stay usable whatever panicked while holding them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn duration(ticks: i64) -> Duration {
    Duration::from_nanos(u64::try_from(ticks).unwrap_or(0).saturating_mul(100))
}

#[cfg(test)]
mod tests {
    use super::super::{CallLimit, Limits};
    use super::*;

    fn quota(calls: &[(u32, u64)], processing: Option<ProcessingLimit>) -> Quota {
        let calls =
            calls.iter().map(|(calls, seconds)| CallLimit { calls: *calls, period: Duration::from_secs(*seconds) });
        let limits = Limits { calls: calls.collect(), processing, ..Limits::default() };
        Quota::new(&Settings { limits, ..Settings::default() })
    }

    #[test]
    fn the_window_slides_with_each_call() {
        let quota = quota(&[(3, 60)], None);
        let at = |second: i64| quota.enter(ticks::UNIX_EPOCH + second * ticks::SECOND);
        for second in [0, 10, 20] {
            assert_eq!(at(second), Ok(()));
        }
        let wait = Duration::from_secs(15);
        assert_eq!(at(45), Err(Exhausted::Calls { limit: 3, period: Duration::from_secs(60), retry_after: wait }));
        assert_eq!(at(60), Ok(()));
        assert!(at(69).is_err());
        assert_eq!(at(70), Ok(()));
    }

    #[test]
    fn the_longer_window_binds_too() {
        let quota = quota(&[(2, 1), (3, 3600)], None);
        let at = |second: i64| quota.enter(ticks::UNIX_EPOCH + second * ticks::SECOND);
        assert!(at(0).is_ok() && at(2).is_ok() && at(4).is_ok());
        assert!(matches!(at(6), Err(Exhausted::Calls { limit: 3, .. })));
    }

    #[test]
    fn used_up_processing_time_blocks_until_the_next_cycle() {
        let cycle = Duration::from_secs(900);
        let quota = quota(&[], Some(ProcessingLimit { budget: Duration::from_secs(10), cycle }));
        let at = |second: i64| quota.enter(ticks::UNIX_EPOCH + second * ticks::SECOND);
        assert_eq!(at(0), Ok(()));
        quota.charge(Duration::from_secs(10));
        assert_eq!(at(100), Err(Exhausted::Processing { retry_after: Duration::from_secs(800) }));
        assert_eq!(at(900), Ok(()));
    }
}
