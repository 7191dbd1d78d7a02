//! Whether queries name a span of event time. Graph takes the last 30 days where none is named (microsoft-graph-docs
//! `security-security-runhuntingquery`), and nothing says what becomes of rows whose `Timestamp` lies in the future or is
//! null. So it is tried: both are counted once in what arrived during the last day, with a span from 2000 to 2100 and
//! without any; whichever shows more rows is used from then on. Where neither shows such a row nothing is known, none is named,
//! and another try is made a week later. What was found is kept in a blob of the state store, for all workers and runs.

use super::{Error, Hunting};
use crate::defender::{Dialect, Error as HuntingError, Query, queries};
use crate::kql::Identifier;
use crate::storage::BlobStore;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// A span that no event of this tenant can lie out of.
const WIDE: &str = "2000-01-01T00:00:00Z/2100-01-01T00:00:00Z";
/// The column that a span is about.
const EVENT_TIME: &str = "Timestamp";
/// How long it takes until another try may show more.
const UNKNOWN_FOR: Duration = Duration::from_secs(7 * 86_400);
/// How long this process does not look again whether another one has found something.
const LOOKED_FOR: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Rule {
    /// It shows as many rows without a span, or more.
    Omit,
    /// It hides rows unless a span is named.
    Name,
    /// No row told.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    rule: Rule,
    at: Timestamp,
}

/// What this process knows, for all its invocations.
#[derive(Debug, Default)]
pub struct Known(Mutex<Option<Looked>>);

/// What stood in the state store when this process looked last.
#[derive(Debug, Clone, Copy)]
struct Looked {
    found: Option<Found>,
    at: Timestamp,
}

impl Known {
    /// What is known, unless another process may know more by now.
    fn get(&self, now: Timestamp) -> Option<Option<Found>> {
        let looked = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let is_settled = looked.found.is_some_and(|found| found.rule != Rule::Unknown);
        (is_settled || now.since(looked.at) < LOOKED_FOR).then_some(looked.found)
    }

    fn set(&self, found: Option<Found>, at: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Looked { found, at });
    }
}

/// Rows of one answer to the trial query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    ahead: u64,
    without: u64,
}

fn decide(by_default: Shown, wide: Option<Shown>) -> Rule {
    let all = |shown: Shown| shown.ahead + shown.without;
    match wide {
        // A span is refused.
        None => Rule::Omit,
        Some(wide) if all(wide) > all(by_default) => Rule::Name,
        Some(wide) if all(wide) < all(by_default) => Rule::Omit,
        Some(wide) if all(wide) == 0 => Rule::Unknown,
        Some(_) => Rule::Omit,
    }
}

impl Hunting<'_> {
    /// The span to name in a call.
    ///
    /// # Errors
    /// [`Error::Timespan`]: a call without a span that has to be named would not show all rows.
    pub(super) async fn timespan(&self) -> Result<Option<&'static str>, Error> {
        let found = self.found().await?;
        Ok(found.filter(|found| found.rule == Rule::Name).map(|_| WIDE))
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
        let now = self.app.state.now();
        if let Some(found) = self.found().await?
            && (found.rule != Rule::Unknown || now.since(found.at) < UNKNOWN_FOR)
        {
            return Ok(());
        }
        let trial = queries::odd_times(table);
        let by_default = shown(&self.ask(&Query::new(&trial)).await?);
        let wide = match self.ask(&Query { kql: &trial, timespan: Some(WIDE) }).await {
            Ok(rows) => Some(shown(&rows)),
            Err(Error::Call(HuntingError::Refused { message, .. })) => {
                tracing::warn!(message, "the hunting service refuses a time span; none is named");
                None
            }
            Err(error) => return Err(error),
        };
        let found = Found { rule: decide(by_default, wide), at: now };
        tracing::info!(table = %table, ?by_default, ?wide, rule = ?found.rule, "whether queries name a time span");
        self.keep(found).await?;
        self.services.timespan.set(Some(found), now);
        Ok(())
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
            Ok(Ok(())) => Ok(()),
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

fn shown(rows: &crate::defender::Rows) -> Shown {
    let number = |name: &str| rows.rows.first().and_then(|row| row.get(name)).and_then(Value::as_u64).unwrap_or(0);
    Shown { ahead: number("Ahead"), without: number("Without") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_way_shows_more_rows_is_used() {
        let shown = |ahead, without| Shown { ahead, without };
        for (by_default, wide, rule) in [
            (shown(0, 0), Some(shown(2, 0)), Rule::Name),
            (shown(2, 3), Some(shown(2, 0)), Rule::Omit),
            (shown(2, 0), Some(shown(2, 0)), Rule::Omit),
            (shown(0, 0), Some(shown(0, 0)), Rule::Unknown),
            (shown(0, 0), None, Rule::Omit),
        ] {
            assert_eq!(decide(by_default, wide), rule, "{by_default:?} {wide:?}");
        }
    }
}
