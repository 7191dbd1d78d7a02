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
/// It only helps: nobody waits for the state store longer.
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
pub struct Known(Mutex<Option<Found>>);

impl Known {
    fn get(&self) -> Option<Found> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, found: Found) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
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
    pub(super) async fn timespan(&self) -> Option<&'static str> {
        let found = self.found().await?;
        (found.rule == Rule::Name).then_some(WIDE)
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
        if let Some(found) = self.found().await
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
        self.services.timespan.set(found);
        self.keep(found).await;
        Ok(())
    }

    async fn found(&self) -> Option<Found> {
        if self.services.defender.dialect() != Dialect::Graph {
            return None;
        }
        if let Some(found) = self.services.timespan.get() {
            return Some(found);
        }
        let stored = timeout(PATIENCE, self.blobs().get(&self.name())).await.ok()?.ok()??;
        let found = serde_json::from_slice(&stored).ok()?;
        self.services.timespan.set(found);
        Some(found)
    }

    async fn keep(&self, found: Found) {
        let Ok(record) = serde_json::to_vec(&found) else { return };
        if !matches!(timeout(PATIENCE, self.blobs().put(&self.name(), record.into())).await, Ok(Ok(()))) {
            tracing::warn!("what was found out about time spans could not be kept; it is found out again");
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
