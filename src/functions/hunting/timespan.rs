//! Whether queries name a span of event time. Graph takes the last 30 days where none is named (microsoft-graph-docs
//! `security-security-runhuntingquery`), and nothing says what becomes of rows whose `Timestamp` lies in the future or is
//! null. So it is tried: what arrived in the days that the source keeps is counted once without a span and once with one that holds
//! every time, and whichever shows more rows is used from then on. Where both show the same it is the span: it contains the default as that
//! is documented, and other tables may have rows that the default hides. Until a row that has no event time at all has told, another try
//! is made a week later. What was found is kept in a blob of the state store, for all workers and runs.

use super::{Error, Hunting, SHARE_OF_A_CALL, number};
use crate::defender::queries::{self, Range};
use crate::defender::{Dialect, Error as HuntingError, Query, Rows};
use crate::functions::planner::is_too_much;
use crate::kql::Identifier;
use crate::orchestration::ledger::{CutAxis, Shape};
use crate::orchestration::limits::SOURCE_KEPT;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as Turn;
use tokio::time::{timeout, timeout_at};

/// A span that no event time lies out of: some tools write 1601, others the last instant that there is.
const WIDE: &str = "0001-01-01T00:00:00Z/9999-12-31T23:59:59.9999999Z";
/// What is counted. Both calls show all of it, although the service may have let go of another day by the second.
const COUNTED: Duration = Duration::from_secs(SOURCE_KEPT.as_secs() - 86_400);
/// What is counted where all that has arrived is too much for the service.
const A_DAY: Duration = Duration::from_secs(86_400);
/// The column that a span is about.
const EVENT_TIME: &str = "Timestamp";
/// How long it takes until another try may show more.
const UNKNOWN_FOR: Duration = Duration::from_secs(7 * 86_400);
/// How much longer it takes for a table that has tried since others did: time for two nightly plans of these.
const TURN: Duration = Duration::from_secs(2 * 86_400);
/// How long this process does not look again whether another one has found something.
const LOOKED_FOR: Duration = Duration::from_secs(60);
/// How long others leave a try to the one that has begun it.
const TRIED_WITHIN: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    /// Whether a span is named.
    named: bool,
    /// Whether a row without an event time has told. Until then another try may.
    settled: bool,
    at: Timestamp,
    /// The tables that have had their turn at trying.
    #[serde(default)]
    tried: BTreeSet<String>,
}

impl Found {
    /// Whether another try may show more, by a table.
    fn is_due(found: Option<&Self>, table: &Identifier, now: Timestamp) -> bool {
        found.is_none_or(|found| {
            let turn = if found.tried.contains(table.as_str()) { TURN } else { Duration::ZERO };
            !found.settled && now.since(found.at) >= UNKNOWN_FOR + turn
        })
    }

    /// Which tables have had their turn once this one has: where it had it before, a new round begins.
    fn turns(found: Option<&Self>, table: &Identifier) -> BTreeSet<String> {
        let mut tried = found.map(|found| found.tried.clone()).unwrap_or_default();
        if !tried.insert(table.to_string()) {
            tried = BTreeSet::from([table.to_string()]);
        }
        tried
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
#[derive(Debug, Clone)]
struct Looked {
    found: Option<Found>,
    at: Timestamp,
}

impl Known {
    /// What is known, unless another process may know more by now.
    fn get(&self, now: Timestamp) -> Option<Option<Found>> {
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let is_settled = looked.found.as_ref().is_some_and(|found| found.settled);
        (is_settled || now.since(looked.at) < LOOKED_FOR).then_some(looked.found)
    }

    fn set(&self, found: Option<Found>, at: Timestamp) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Looked { found, at });
    }
}

/// Rows of one answer to the trial query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    rows: u64,
    without: u64,
}

/// Whether a span is to be named, and whether that is settled; `wide` is `None` where the service refuses a span. Where both show the
/// same, nothing is hidden either way by now, and of rows to come the default is the one that is documented to hide some.
fn decide(by_default: Shown, wide: Option<Shown>) -> (bool, bool) {
    let Some(wide) = wide else { return (false, false) };
    match wide.rows.cmp(&by_default.rows) {
        Ordering::Equal => (true, false),
        order => (order == Ordering::Greater, by_default.without + wide.without > 0),
    }
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
    pub async fn try_timespan(
        &mut self,
        table: &Identifier,
        has_arrival: bool,
        columns: &[(&str, &str)],
    ) -> Result<(), Error> {
        let has_event_time =
            columns.iter().any(|(name, ty)| *name == EVENT_TIME && ty.eq_ignore_ascii_case("datetime"));
        if self.services.defender.dialect() != Dialect::Graph || !has_event_time {
            return Ok(());
        }
        if !Found::is_due(self.found().await?.as_ref(), table, self.app.state.now()) {
            return Ok(());
        }
        // Of the tables that are planned at once one tries, and the others wait for what it finds.
        let services = self.services;
        let until = self.deadline - self.app.limits.invocation_deadline / SHARE_OF_A_CALL;
        let Ok(_turn) = timeout_at(until, services.timespan.trying.lock()).await else {
            return Err(Error::Timespan("another table is still at finding it out".to_owned()));
        };
        let (found, now) = (self.found().await?, self.app.state.now());
        if !Found::is_due(found.as_ref(), table, now) {
            return Ok(());
        }
        let tried = Found::turns(found.as_ref(), table);
        match self.try_spans(table, has_arrival, &tried, now).await {
            // Such a service is asked as it is: what it does not show is found by a later try, as rows that come late are.
            Err(error) if is_too_much(&error) || is_refused(&error) => {
                tracing::warn!(%error, table = %table, "whether queries have to name a time span cannot be found out");
                self.keep(Found { named: false, settled: false, at: now, tried }).await
            }
            ended => ended,
        }
    }

    /// Tries again by a table that has been copied before, where another try may show more. Of the tables that are planned at once
    /// one tries; one that cannot be asked for it now is planned all the same.
    ///
    /// # Errors
    /// [`Error`], of a hunting call only for the quota.
    pub async fn try_timespan_again(&mut self, table: &Identifier, shape: &Shape) -> Result<(), Error> {
        // A hash that parts rows has their event time in it, where they have one.
        let tells = shape.axis != CutAxis::Whole && shape.parts.columns.iter().any(|column| column == EVENT_TIME);
        if self.services.defender.dialect() != Dialect::Graph || !tells {
            return Ok(());
        }
        let (found, now) = (self.found().await?, self.app.state.now());
        if !Found::is_due(found.as_ref(), table, now) {
            return Ok(());
        }
        let tried = Found::turns(found.as_ref(), table);
        let named = found.is_some_and(|found| found.named);
        let at = now - UNKNOWN_FOR + TRIED_WITHIN;
        self.keep(Found { named, settled: false, at, tried: tried.clone() }).await?;
        match self.try_spans(table, shape.axis == CutAxis::ArrivalTime, &tried, now).await {
            Err(Error::Call(error)) => {
                tracing::warn!(%error, table = %table, "whether queries have to name a time span could not be tried");
                Ok(())
            }
            ended => ended,
        }
    }

    async fn try_spans(
        &mut self,
        table: &Identifier,
        has_arrival: bool,
        tried: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<(), Error> {
        // Both calls count what had settled before the first, whichever attempt makes it.
        let high = self.time() - self.app.limits.settling_lag;
        let since = |kept| queries::shown(table, has_arrival, &Range { low: high - kept, high });
        let (by_default, wide) = match self.shown_both_ways(&since(COUNTED)).await {
            Err(error) if is_too_much(&error) => self.shown_both_ways(&since(A_DAY)).await?,
            shown => shown?,
        };
        let (named, settled) = decide(by_default, wide);
        let (rows, without) = (by_default.rows, by_default.without);
        let (wide_rows, wide_without) = (wide.map(|shown| shown.rows), wide.map(|shown| shown.without));
        tracing::info!(table = %table, rows, without, wide_rows, wide_without, named, settled, "whether queries name a time span");
        self.keep(Found { named, settled, at: now, tried: tried.clone() }).await
    }

    /// What a trial query shows without a span and with one; `None` where the service refuses one.
    async fn shown_both_ways(&mut self, trial: &str) -> Result<(Shown, Option<Shown>), Error> {
        let by_default = shown(&self.ask(&Query::new(trial)).await?)?;
        match self.ask(&Query { kql: trial, timespan: Some(WIDE) }).await {
            Ok(rows) => Ok((by_default, Some(shown(&rows)?))),
            Err(Error::Call(HuntingError::Refused { message, .. })) => {
                tracing::warn!(message, "the hunting service refuses a time span; none is named");
                Ok((by_default, None))
            }
            Err(error) => Err(error),
        }
    }

    async fn found(&self) -> Result<Option<Found>, Error> {
        if self.services.defender.dialect() != Dialect::Graph {
            return Ok(None);
        }
        let now = self.app.state.now();
        if let Some(found) = self.services.timespan.get(now) {
            return Ok(found);
        }
        let found = match timeout(PATIENCE, self.blobs().get(&self.name("timespan"))).await {
            // What cannot be read is found out again.
            Ok(Ok(stored)) => stored.and_then(|stored| serde_json::from_slice(&stored).ok()),
            Ok(Err(error)) => return Err(Error::Timespan(error.to_string())),
            Err(_) => return Err(Error::Timespan(format!("no answer for {} s", PATIENCE.as_secs()))),
        };
        self.services.timespan.set(found.clone(), now);
        Ok(found)
    }

    /// For the other processes: what this one alone knows would not hold for all windows.
    async fn keep(&self, found: Found) -> Result<(), Error> {
        let record = serde_json::to_vec(&found).map_err(|error| Error::Timespan(error.to_string()))?;
        match timeout(PATIENCE, self.blobs().put(&self.name("timespan"), record.into())).await {
            Ok(Ok(())) => {
                self.services.timespan.set(Some(found), self.app.state.now());
                Ok(())
            }
            Ok(Err(error)) => Err(Error::Timespan(error.to_string())),
            Err(_) => Err(Error::Timespan(format!("no answer for {} s", PATIENCE.as_secs()))),
        }
    }
}

fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Call(HuntingError::Refused { .. }))
}

fn shown(rows: &Rows) -> Result<Shown, HuntingError> {
    let number = |name| {
        let missing = || HuntingError::Corrupt { message: format!("it has no number under {name}") };
        number(rows, name).ok_or_else(missing)
    };
    Ok(Shown { rows: number("Rows")?, without: number("Without")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_named_unless_it_shows_less_and_that_is_settled_once_a_row_without_an_event_time_has_told() {
        let shown = |rows, without| Shown { rows, without };
        for (by_default, wide, expected) in [
            (shown(0, 0), Some(shown(2, 0)), (true, false)),
            (shown(7, 3), Some(shown(7, 3)), (true, false)),
            (shown(7, 0), Some(shown(7, 0)), (true, false)),
            (shown(4, 0), Some(shown(7, 3)), (true, true)),
            (shown(7, 3), Some(shown(4, 0)), (false, true)),
            (shown(7, 0), None, (false, false)),
        ] {
            assert_eq!(decide(by_default, wide), expected, "{by_default:?} {wide:?}");
        }
    }

    #[test]
    fn until_a_row_without_an_event_time_has_told_another_try_follows_a_week_later() {
        let at: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let table = Identifier::new("DeviceEvents").unwrap();
        let due = |settled, days: u64| {
            let found = Found { named: true, settled, at, tried: BTreeSet::new() };
            Found::is_due(Some(&found), &table, at + Duration::from_secs(days * 86_400))
        };
        assert!(Found::is_due(None, &table, at) && due(false, 7));
        assert!(!due(false, 6) && !due(true, 7));
    }

    #[test]
    fn tables_take_turns_at_trying() {
        let at: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let [first, second] = ["AlertInfo", "DeviceEvents"].map(|name| Identifier::new(name).unwrap());
        let after = |found: &Found, table| Found { tried: Found::turns(Some(found), table), ..found.clone() };
        let due = |found: &Found, table, days: u64| {
            Found::is_due(Some(found), table, at + Duration::from_secs(days * 86_400))
        };
        let tried = Found::turns(None, &first);
        let found = Found { named: true, settled: false, at, tried };
        assert!(due(&found, &second, 7) && !due(&found, &first, 8) && due(&found, &first, 9));
        let both = after(&found, &second);
        assert!(!due(&both, &second, 8) && !due(&both, &first, 8) && due(&both, &first, 9));
        assert!(due(&after(&both, &first), &second, 7), "a new round");
    }
}
