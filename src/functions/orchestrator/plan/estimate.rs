//! The plans that a run would make now, by the same questions and rules, with nothing stored and nothing changed in ADX. What is
//! asked of the source is taken from the tenant's quota; what its answers tell of the service (`functions/hunting/timespan.rs`) is
//! kept, so that it is not asked again.

use super::super::begin::planned_tables;
use super::super::{Step, StepError, store};
use super::asked::Asked;
use super::{Content, Planning, learn, log_put_off, ownership, waited_too_long};
use crate::app::{App, Services};
use crate::functions::control::status_of;
use crate::functions::hunting::{Answers, Hunting};
use crate::kql::Identifier;
use crate::orchestration::head::merge::{Terms, merged};
use crate::orchestration::head::plan::{self, Pause, Retry, Scope, Tried};
use crate::orchestration::head::survey::{Survey, survey};
use crate::orchestration::head::take::{Fresh, Take, held_by, other_holder, take};
use crate::orchestration::head::{learn as rules, narrow};
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, StartInput, TableResult, TableRun};
use crate::orchestration::ledger::Head;
use crate::orchestration::plan::Piece;
use crate::orchestration::snapshot::Snapshots;
use crate::orchestration::snapshot::plan::{supersede, time_of};
use crate::orchestration::write::{Seen, WindowWrite};
use crate::storage::ETag;
use crate::timestamp::Timestamp;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

/// What a run would do with a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// The source table.
    pub table: String,
    /// The destination.
    pub destination: String,
    /// The lower end of what is new, exclusive; none where all that the source keeps is.
    pub from: Option<Timestamp>,
    /// Its upper end.
    pub to: Option<Timestamp>,
    /// Rows that would be pulled.
    pub rows: u64,
    /// Their bytes, where it is known what a row weighs.
    pub bytes: Option<u64>,
    /// Windows that would be pulled or counted.
    pub windows: u64,
    /// Of these, left by earlier runs.
    pub leftovers: u64,
    /// Windows that would be left for a later run.
    pub windows_left: u64,
    /// Hunting calls of the plan.
    pub plan_calls: u64,
    /// All hunting calls, those of the plan included; more where an answer turns out to be too large.
    pub calls: u64,
    /// Why nothing would be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Why the table would fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What a person should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Estimate {
    fn of(table: &TableRun) -> Self {
        let config = &table.config;
        Self { table: config.source.clone(), destination: config.destination.clone(), ..Self::default() }
    }

    fn ended(table: &TableRun, result: TableResult) -> Self {
        let TableResult { skipped, error, warnings, .. } = result;
        Self { skipped: skipped.filter(|_| error.is_none()), error, warnings, ..Self::of(table) }
    }
}

/// The plans of all tables that a run with this input would copy, in their order.
///
/// # Errors
/// Why such a run could not begin.
pub async fn estimates(app: &App, input: &StartInput) -> Result<Vec<Estimate>, String> {
    let services = app.services.as_ref().map_err(Clone::clone)?;
    let id = InstanceId::from_bits(app.state.random());
    let run = Instance::pending(id, input.clone(), Value::Null, app.state.now());
    let deadline = Instant::now() + app.limits.working_time();
    let rows = services.catalog.read_config(deadline).await;
    let cluster = &services.settings.cluster;
    let rows = rows.map_err(|error| format!("the configuration cannot be read from {cluster}: {error}"))?;
    let tables = planned_tables(services, &run, rows, (run.created - app.limits.settling_lag, run.created));
    let (run, at_once) = (&run, app.limits.tables_at_once as usize);
    let estimated = stream::iter(tables.iter().map(|table| patiently(app, services, run, table))).buffered(at_once);
    Ok(estimated.collect().await)
}

/// Estimates a table as often as its plan would be tried.
async fn patiently(app: &App, services: &Services, run: &Instance, table: &TableRun) -> Estimate {
    if let Some(result) = &table.result {
        return Estimate::ended(table, result.clone());
    }
    let (mut attempt, mut calls_before, mut moved) = (0, 0, app.state.now());
    let mut answers = Answers::since(moved);
    loop {
        let deadline = Instant::now() + app.limits.working_time();
        let asked = Asked { app, run: run.clone(), table: table.clone(), by: String::new() };
        let planning = Planning { app, services, asked: &asked, table, deadline, attempt, calls_before };
        let failed = |error: String| TableResult { error: Some(error), ..TableResult::default() };
        let mut hunting = Hunting::going_on(app, services, deadline, answers.begin_attempt());
        let (error, pause) = match planning.estimate(&mut hunting).await {
            Ok(estimate) => return estimate,
            Err(StepError::Failed(error)) => return Estimate::ended(table, failed(error)),
            Err(StepError::State(error)) => (error.to_string(), Pause::Unknown),
            Err(StepError::Later { error, pause }) => (error, pause),
        };
        calls_before = planning.calls(&hunting);
        answers = hunting.into_answers();
        let (came_further, now) = (answers.end_attempt(true), app.state.now());
        moved = if came_further { now } else { moved };
        let is_for_quota = matches!(pause, Pause::Quota(_));
        match plan::retry(Tried { attempt, came_further, waited: now.since(moved) }, pause, &app.limits) {
            Retry::GiveUp => return Estimate::ended(table, failed(error)),
            Retry::WaitedTooLong => return Estimate::ended(table, failed(waited_too_long(&error, moved))),
            Retry::Later { attempt: next, pause } => {
                log_put_off(&error, attempt, is_for_quota);
                attempt = next;
                tokio::time::sleep(pause).await;
            }
        }
    }
}

impl Planning<'_> {
    async fn estimate(&self, hunting: &mut Hunting<'_>) -> Step<Estimate> {
        let (app, table, run) = (self.app, self.table(), &self.asked.run);
        let stored = app.state.head(self.key()).await?.map(|head| head.record);
        let holder = match other_holder(stored.as_ref(), &run.id) {
            Some(other) => status_of(app, other).await?,
            None => None,
        };
        let fresh = Fresh::from_bits(app.state.random());
        let head = match take(stored.as_ref(), table, run, holder, fresh, app.state.now()) {
            Take::Ours(head) => *head,
            Take::HeldBy(other) => return Ok(Estimate::ended(table, held_by(&other))),
            // A run that nobody knows holds nothing.
            _ => return Err(StepError::Failed("the ledger names a run that has not begun".to_owned())),
        };
        let table = self.configured(&head).await?;
        Planning { table: &table, ..*self }.estimate_as_configured(head, hunting).await
    }

    async fn estimate_as_configured(&self, mut head: Head, hunting: &mut Hunting<'_>) -> Step<Estimate> {
        let (app, table, run) = (self.app, self.table(), &self.asked.run);
        let mut found = survey(&head, store::windows(app, self.key()).await?);
        let more = plan::asks_for_more(&head, &found, app.state.now(), &app.limits);
        let scope = plan::scope(table, &head, more);
        let skipped = |why: &str| TableResult { skipped: Some(why.to_owned()), ..TableResult::default() };
        if scope == Scope::Nothing {
            return Ok(Estimate::ended(table, skipped("a Full table that is loaded already")));
        }
        if let Some(refused) = narrow::refused(table, scope, &run.input) {
            return Err(StepError::Failed(refused));
        }
        let doubts = self.looked_at_destination(&mut head, &found).await?;
        // It may bound what a window holds.
        self.services.ingestor.find_way(self.deadline).await?;
        if head.shape.is_none() && !learn::found_out(self.services, table, &mut head, hunting).await? {
            return Ok(Estimate::ended(table, skipped("the source shows no rows yet")));
        }
        let (content, range) = match scope {
            _ if self.is_snapshot() => self.snapshot_content(&mut head, found, hunting).await?,
            Scope::NewRange => {
                let (planned, _) = self.new_windows(&mut head, &mut found, hunting).await?;
                let range = plan::new_range(table, &head);
                self.merged_here(&mut head, &mut found, hunting.byte_cap());
                (Content { found, planned, end: plan::end(scope, table, &head) }, range)
            }
            Scope::Leftovers | Scope::Nothing => (Content { found, planned: Vec::new(), end: None }, None),
        };
        head.doubts = doubts;
        self.laid_out(head, content, range, self.calls(hunting))
    }

    /// What a look at the destination tells, where there is one; gives what it holds twice.
    async fn looked_at_destination(&self, head: &mut Head, found: &Survey<ETag>) -> Step<Vec<String>> {
        let (services, config) = (self.services, &self.table().config);
        rules::agree(head, config).map_err(|error| StepError::Failed(error.to_string()))?;
        let destination = Identifier::new(&config.destination).map_err(StepError::name)?;
        let is_there = services.catalog.size(&destination, self.deadline).await?.is_some();
        *head = rules::has_destination(head.clone(), config, !is_there);
        if !is_there {
            return Ok(Vec::new());
        }
        let (now, limits) = (self.app.state.now(), &self.app.limits);
        Ok(ownership::check(services, head, &found.windows, now, limits, self.deadline).await?.doubts)
    }

    /// The windows of earlier runs with those put together that the plan would replace by larger ones.
    fn merged_here(&self, head: &mut Head, found: &mut Survey<ETag>, byte_cap: u64) {
        let (run, now, limits) = (self.asked.id(), self.app.state.now(), &self.app.limits);
        let writes = merged(head, &found.left, &found.windows, Terms { run, byte_cap, now, limits });
        for write in writes {
            (head.counts, found.counts) = (write.head.counts, write.head.counts);
            for change in write.windows {
                match change {
                    WindowWrite::Insert(name, window) => {
                        found.left.push(Seen { name, window, version: ETag(String::new()) });
                    }
                    WindowWrite::Swap(name, ..) | WindowWrite::Delete(name, _) => {
                        found.left.retain(|seen| seen.name != name);
                    }
                }
            }
        }
    }

    async fn snapshot_content(
        &self,
        head: &mut Head,
        found: Survey<ETag>,
        hunting: &mut Hunting<'_>,
    ) -> Step<(Content<ETag>, Option<(Timestamp, Timestamp)>)> {
        if head.snapshots.is_none() {
            let probed = learn::probe(&self.table().config, hunting).await?;
            head.snapshots = probed.map(|probe| Box::new(Snapshots::new(probe.row_columns)));
        }
        let (pieces, _) = self.pieces(head, hunting).await?;
        let now = self.app.state.now();
        let (found, _) = supersede(head, found, self.asked.id(), now);
        let time = time_of(self.table(), head, now);
        let low = head.planned_to;
        let pieces = pieces.into_iter().map(|piece| Piece { low, high: time, ..piece }).collect();
        let planned = plan::windows_of(head, pieces, now).map_err(|error| StepError::Failed(error.to_string()))?;
        Ok((Content { found, planned, end: Some(time) }, None))
    }

    /// What the plan comes to, as the head counts it.
    fn laid_out(
        &self,
        head: Head,
        content: Content<ETag>,
        range: Option<(Timestamp, Timestamp)>,
        plan_calls: u64,
    ) -> Step<Estimate> {
        let (app, key) = (self.app, self.key());
        let weight = head.bytes_per_row;
        // As in the result of a run, which copies what it can all the same.
        let error = (!head.doubts.is_empty()).then(|| head.doubts.join("; "));
        let from = range.map(|(low, high)| narrow::edge(&head, low, high).unwrap_or(low));
        let draft = plan::lay_out(key, self.asked.id(), head, content, app.state.now(), &app.limits)
            .map_err(|error| StepError::Failed(error.to_string()))?;
        // Nobody dispatches anything of it.
        let head = draft.complete(key, None, app.state.now(), &app.limits).write.head;
        let rows = head.progress.planned_rows;
        Ok(Estimate {
            from: from.filter(|low| *low != Timestamp::MIN),
            to: range.map(|(_, high)| high),
            rows,
            bytes: weight.map(|weight| (rows as f64 * weight) as u64),
            windows: head.progress.windows,
            leftovers: head.progress.leftovers,
            windows_left: head.counts.later,
            plan_calls,
            calls: plan_calls + head.counts.open,
            error,
            warnings: head.notes,
            ..Estimate::of(self.table())
        })
    }
}
