//! How a process comes to follow the line that the budget's times are of. Knows when it asks and when it answers; what follows from what
//! it reads is in `orchestration/line.rs`.

use super::permits::Known;
use super::{Error, State};
use crate::orchestration::budget::Budget;
use crate::orchestration::line::Said;
use crate::timestamp::Timestamp;
use std::time::Duration;

/// How long a process that asks for the line waits before it asks again. What it is told is known but for about so much more than it is known to
/// the one that answers, so that lines live on through several processes that learn them from each other.
const ANSWERED_WITHIN: Duration = Duration::from_millis(125);
/// In ticks.
const MILLISECOND: u64 = 10_000;

impl State {
    /// The time by which permits are reckoned: that of the line which all processes follow, at least. Processes whose clocks are apart
    /// would otherwise send their calls at once, each at its own time for them.
    pub fn permit_time(&self) -> Timestamp {
        self.shared.line.least().unwrap_or_else(|| self.now())
    }

    /// Follows the line, so that calls may be sent: where others are at work one of them has to write behind a write of this process.
    /// To be called before each call, with the permit that the call may have; if it has none and cannot have one within `most`, that
    /// ends with how long it would be.
    ///
    /// # Errors
    /// The store's.
    pub async fn follow_line(&self, carried: Option<Timestamp>, most: Duration) -> Result<Result<(), Duration>, Error> {
        let line = &self.shared.line;
        if line.follows() {
            self.answer().await;
            return Ok(Ok(()));
        }
        let _turn = line.asking.lock().await;
        loop {
            let Known { budget, .. } = self.lately_known().await?;
            if line.may_reckon(&budget) {
                return Ok(Ok(()));
            }
            let now = self.permit_time();
            let wait = budget.opens(self.shared.tenant.quota, now).since(now);
            if wait > most && carried.is_none_or(|permit| !budget.allows(permit, now)) {
                return Ok(Err(wait));
            }
            let ask = |_: &mut Budget, _| if line.follows() { Err(Duration::ZERO) } else { Ok(()) };
            match self.move_budget(ask).await {
                // Others are at work, so it will be told.
                Ok(_) | Err(Error::Conflict) if line.follows() => {}
                Ok(_) | Err(Error::Conflict) => tokio::time::sleep(ANSWERED_WITHIN).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Says what the line shows, if somebody has asked.
    async fn answer(&self) {
        let asked = |budget: &Budget| budget.said().is_some_and(Said::asks);
        if !self.shared.known().as_ref().is_some_and(|known| asked(&known.budget)) {
            return;
        }
        let answer = |budget: &mut Budget, _| if asked(budget) { Ok(()) } else { Err(Duration::ZERO) };
        if let Err(error) = self.move_budget(answer).await {
            tracing::debug!(%error, "nobody is told what the time line of the quota shows");
        }
    }

    /// What this process's clock shows at a time of permits that `budget` has.
    pub(super) fn own_time(&self, budget: &Budget, at: Timestamp) -> Timestamp {
        let line = &self.shared.line;
        if at == Timestamp::MIN {
            return at;
        }
        let (Some(least), true) = (line.least(), line.follows()) else {
            return budget.said().map_or(at, |said| said.by_its_clock(at));
        };
        let shown = if at >= least { self.now() + at.since(least) } else { self.now() - least.since(at) };
        // The two times are not read at once.
        Timestamp::from_ticks(shown.ticks().saturating_add(MILLISECOND / 2) / MILLISECOND * MILLISECOND)
    }
}
