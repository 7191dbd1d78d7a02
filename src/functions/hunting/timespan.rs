//! Whether queries name a span of event time. Graph takes the last 30 days where none is named (microsoft-graph-docs
//! `security-security-runhuntingquery`), and nothing says what becomes of rows whose `Timestamp` lies in the future or is
//! null. So it is tried: both are counted once in what arrived during the last day, with a span from 2000 to 2100 and
//! without any; whichever shows more rows is used from then on. Until a row that has no event time at all has told, another try
//! is made a week later. What was found is kept in a blob of the state store, for all workers and runs.

use super::{Error, Hunting, SHARE_OF_A_CALL, number};
use crate::defender::{Dialect, Error as HuntingError, Query, Rows, queries};
use crate::kql::Identifier;
use crate::orchestration::ledger::{CutAxis, Shape};
use crate::storage::BlobStore;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as Turn;
use tokio::time::{timeout, timeout_at};

/// A span that no event of this tenant can lie out of.
const WIDE: &str = "2000-01-01T00:00:00Z/2100-01-01T00:00:00Z";
/// The column that a span is about.
const EVENT_TIME: &str = "Timestamp";
/// How long it takes until another try may show more.
const UNKNOWN_FOR: Duration = Duration::from_secs(7 * 86_400);
/// How long this process does not look again whether another one has found something.
const LOOKED_FOR: Duration = Duration::from_secs(60);
/// How long others leave a try to the one that has begun it.
const TRIED_WITHIN: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    /// Whether it hides rows unless a span is named.
    named: bool,
    /// Whether a row without an event time has told. Rows of the future tell nothing of those: until then another try may.
    settled: bool,
    at: Timestamp,
}

impl Found {
    /// Whether another try may show more.
    fn is_due(found: Option<Self>, now: Timestamp) -> bool {
        found.is_none_or(|found| !found.settled && now.since(found.at) >= UNKNOWN_FOR)
    }
}

/// What this process knows, for all its invocations.
#[derive(Debug, Default)]
pub struct Known {
    looked: Mutex<Option<Looked>>,
    /// Held by the invocation that tries.
    trying: Turn<()>,
}

/// What stood in the state store when this process looked last.
#[derive(Debug, Clone, Copy)]
struct Looked {
    found: Option<Found>,
    at: Timestamp,
}

impl Known {
    /// What is known, unless another process may know more by now.
    fn get(&self, now: Timestamp) -> Option<Option<Found>> {
        let looked = (*self.looked.lock().unwrap_or_else(PoisonError::into_inner))?;
        let is_settled = looked.found.is_some_and(|found| found.settled);
        (is_settled || now.since(looked.at) < LOOKED_FOR).then_some(looked.found)
    }

    fn set(&self, found: Option<Found>, at: Timestamp) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Looked { found, at });
    }
}

/// Rows of one answer to the trial query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    ahead: u64,
    without: u64,
}

/// Whether a span is to be named, and whether that is settled, where so far it was `named`; `wide` is `None` where the service
/// refuses a span.
fn decide(named: bool, by_default: Shown, wide: Option<Shown>) -> (bool, bool) {
    let Some(wide) = wide else { return (false, true) };
    let all = |shown: Shown| shown.ahead + shown.without;
    let named = match all(wide).cmp(&all(by_default)) {
        Ordering::Greater => true,
        Ordering::Less => false,
        // Nothing is hidden either way, now.
        Ordering::Equal => named,
    };
    (named, by_default.without + wide.without > 0)
}

impl Hunting<'_> {
    /// The span to name in a call.
    ///
    /// # Errors
    /// [`Error::Timespan`]: a call without a span that has to be named would not show all rows.
    pub(super) async fn timespan(&self) -> Result<Option<&'static str>, Error> {
        let found = self.found().await?;
        Ok(found.filter(|found| found.named).map(|_| WIDE))
    }

    /// Finds out by a table whether a span has to be named, unless that is known.
    ///
    /// # Errors
    /// [`Error`] of a hunting call.
    pub async fn try_timespan(&mut self, table: &Identifier, columns: &[(&str, &str)]) -> Result<(), Error> {
        let has_event_time =
            columns.iter().any(|(name, ty)| *name == EVENT_TIME && ty.eq_ignore_ascii_case("datetime"));
        if self.services.defender.dialect() != Dialect::Graph || !has_event_time {
            return Ok(());
        }
        if !Found::is_due(self.found().await?, self.app.state.now()) {
            return Ok(());
        }
        // Of the tables that are planned at once one tries, and the others wait for what it finds.
        let services = self.services;
        let until = self.deadline - self.app.limits.invocation_deadline / SHARE_OF_A_CALL;
        let Ok(_turn) = timeout_at(until, services.timespan.trying.lock()).await else {
            return Err(Error::Timespan("another table is still at finding it out".to_owned()));
        };
        let (found, now) = (self.found().await?, self.app.state.now());
        if Found::is_due(found, now) { self.try_spans(table, found, now).await } else { Ok(()) }
    }

    /// Tries again by a table that has been copied before, where another try may show more. Of the tables that are planned at once
    /// one tries; one that cannot be asked for it now is planned all the same.
    ///
    /// # Errors
    /// [`Error`], of a hunting call only for the quota.
    pub async fn try_timespan_again(&mut self, table: &Identifier, shape: &Shape) -> Result<(), Error> {
        let tells = shape.axis == CutAxis::ArrivalTime && shape.parts.columns.iter().any(|column| column == EVENT_TIME);
        if self.services.defender.dialect() != Dialect::Graph || !tells {
            return Ok(());
        }
        let (found, now) = (self.found().await?, self.app.state.now());
        if !Found::is_due(found, now) {
            return Ok(());
        }
        let before = found.unwrap_or(Found { named: false, settled: false, at: now });
        let trying = Found { at: now - UNKNOWN_FOR + TRIED_WITHIN, ..before };
        self.keep(trying).await?;
        match self.try_spans(table, found, now).await {
            Err(Error::Call(error)) => {
                tracing::warn!(%error, table = %table, "whether queries have to name a time span could not be tried");
                Ok(())
            }
            tried => tried,
        }
    }

    async fn try_spans(&mut self, table: &Identifier, found: Option<Found>, now: Timestamp) -> Result<(), Error> {
        let trial = queries::odd_times(table);
        let by_default = shown(&self.ask(&Query::new(&trial)).await?)?;
        let wide = match self.ask(&Query { kql: &trial, timespan: Some(WIDE) }).await {
            Ok(rows) => Some(shown(&rows)?),
            Err(Error::Call(HuntingError::Refused { message, .. })) => {
                tracing::warn!(message, "the hunting service refuses a time span; none is named");
                None
            }
            Err(error) => return Err(error),
        };
        let (named, settled) = decide(found.is_some_and(|found| found.named), by_default, wide);
        tracing::info!(table = %table, ?by_default, ?wide, named, settled, "whether queries name a time span");
        self.keep(Found { named, settled, at: now }).await
    }

    async fn found(&self) -> Result<Option<Found>, Error> {
        if self.services.defender.dialect() != Dialect::Graph {
            return Ok(None);
        }
        let now = self.app.state.now();
        if let Some(found) = self.services.timespan.get(now) {
            return Ok(found);
        }
        let found = match timeout(PATIENCE, self.blobs().get(&self.name())).await {
            // What cannot be read is found out again.
            Ok(Ok(stored)) => stored.and_then(|stored| serde_json::from_slice(&stored).ok()),
            Ok(Err(error)) => return Err(Error::Timespan(error.to_string())),
            Err(_) => return Err(Error::Timespan(format!("no answer for {} s", PATIENCE.as_secs()))),
        };
        self.services.timespan.set(found, now);
        Ok(found)
    }

    /// For the other processes: what this one alone knows would not hold for all windows.
    async fn keep(&self, found: Found) -> Result<(), Error> {
        let record = serde_json::to_vec(&found).map_err(|error| Error::Timespan(error.to_string()))?;
        match timeout(PATIENCE, self.blobs().put(&self.name(), record.into())).await {
            Ok(Ok(())) => {
                self.services.timespan.set(Some(found), self.app.state.now());
                Ok(())
            }
            Ok(Err(error)) => Err(Error::Timespan(error.to_string())),
            Err(_) => Err(Error::Timespan(format!("no answer for {} s", PATIENCE.as_secs()))),
        }
    }

    fn blobs(&self) -> &dyn BlobStore {
        &*self.app.state.storage().blobs
    }

    fn name(&self) -> String {
        let settings = &self.services.settings;
        let digest = Sha256::digest(format!("{}\n{}", settings.tenant, settings.hunting));
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("timespan/{hex}")
    }
}

fn shown(rows: &Rows) -> Result<Shown, HuntingError> {
    let number = |name| {
        let missing = || HuntingError::Corrupt { message: format!("it has no number under {name}") };
        number(rows, name).ok_or_else(missing)
    };
    Ok(Shown { ahead: number("Ahead")?, without: number("Without")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_way_shows_more_rows_is_used() {
        let shown = |ahead, without| Shown { ahead, without };
        for (by_default, wide, expected) in [
            (shown(0, 0), Some(shown(2, 0)), (true, false)),
            (shown(0, 3), Some(shown(2, 3)), (true, true)),
            (shown(2, 3), Some(shown(2, 0)), (false, true)),
            (shown(0, 3), Some(shown(0, 3)), (false, true)),
            (shown(2, 0), Some(shown(2, 0)), (false, false)),
            (shown(0, 0), Some(shown(0, 0)), (false, false)),
            (shown(0, 0), None, (false, true)),
        ] {
            assert_eq!(decide(false, by_default, wide), expected, "{by_default:?} {wide:?}");
        }
    }

    #[test]
    fn a_try_that_shows_no_such_row_takes_back_nothing_and_another_one_follows_a_week_later() {
        let nothing = Shown { ahead: 0, without: 0 };
        assert_eq!(decide(true, nothing, Some(nothing)), (true, false));
        let at: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let due = |settled, days: u64| {
            Found::is_due(Some(Found { named: true, settled, at }), at + Duration::from_secs(days * 86_400))
        };
        assert!(Found::is_due(None, at) && due(false, 7));
        assert!(!due(false, 6) && !due(true, 7));
    }
}
