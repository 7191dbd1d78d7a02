//! The step `plan` of a table: leftovers of earlier runs first, then the new range. What is decided is in
//! `orchestration::head`; here it is loaded, asked for and stored.

mod asked;
mod estimate;
mod handover;
pub(super) mod kept;
pub(super) mod learn;
mod measure;
pub(super) mod ownership;
mod range;
mod recount;
pub(super) mod snapshot;
#[cfg(test)]
mod tests;

use super::finish::finish_table;
use super::{Step, StepError, store};
use crate::app::{App, Services};
use crate::functions::columns;
use crate::functions::control::status_of;
use crate::functions::hunting::{Answers, Hunting, jittered};
use crate::kql::Identifier;
use crate::orchestration::adoption::watch::{self, doubted};
use crate::orchestration::head::hold::{WentOn, go_on};
use crate::orchestration::head::merge::{Terms, merged};
use crate::orchestration::head::narrow;
use crate::orchestration::head::plan::{self, Completed, Content, Pause, Retry, Scope, Tried};
use crate::orchestration::head::survey::{Survey, doubt, survey};
use crate::orchestration::head::take::{Take, held_by};
use crate::orchestration::ids::{InstanceId, TableKey, WindowId};
use crate::orchestration::instance::{TableResult, TableRun};
use crate::orchestration::ledger::{Head, PutOff};
use crate::orchestration::message::{ControlMessage, Debt};
use crate::orchestration::window::Window;
use crate::state::{Error, Stored};
use crate::storage::ETag;
use crate::telemetry::metrics;
use crate::timestamp::Timestamp;
use asked::{Asked, Taken};
pub use estimate::{Estimate, estimates};
use kept::Of;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// Handles the step.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, id: &InstanceId, key: &TableKey, attempt: u32, message: &str) -> Result<(), Error> {
    let Some((asked, taken)) = Asked::take(app, id, key, message).await? else { return Ok(()) };
    match taken {
        Taken::Ours(head) => match &app.services {
            Ok(services) => {
                let deadline = Instant::now() + app.limits.working_time();
                let calls_before = head.record.progress.calls;
                let table = &asked.table;
                let planning = Planning { app, services, asked: &asked, table, deadline, attempt, calls_before };
                planning.attempt(*head).await
            }
            Err(reason) => asked.fail(head.record.draft.as_deref(), reason, 0).await,
        },
        Taken::Not(Take::HeldBy(other)) => asked.count(held_by(&other)).await,
        Taken::Not(Take::Ended(result)) => asked.count(*result).await,
        Taken::Not(Take::Again(owed)) => app.state.pay(&owed).await,
        Taken::Not(Take::GoOn) => go_on_with(app, id, key, message).await,
        Taken::Not(_) => finish(app, id, key, message).await,
    }
}

/// Ends a table whose plan message was given up, with `error`. Where a plan of it stands, that is left alone: its message is
/// sent once more, for what it may still owe.
///
/// # Errors
/// The state store's.
pub async fn give_up(app: &App, id: &InstanceId, key: &TableKey, error: &str) -> Result<(), Error> {
    let Some((asked, taken)) = Asked::take(app, id, key, &format!("{:032x}", app.state.random())).await? else {
        return Ok(());
    };
    match taken {
        Taken::Ours(head) => asked.fail(head.record.draft.as_deref(), error, 0).await,
        Taken::Not(Take::HeldBy(other)) => asked.count(held_by(&other)).await,
        Taken::Not(Take::Ended(result)) => asked.count(*result).await,
        Taken::Not(_) => {
            let again = ControlMessage::Plan { instance: id.clone(), table: key.clone(), attempt: 0 };
            app.state.pay(&[Debt::control(again, app.limits.verify_longest)]).await
        }
    }
}

/// The end of a table whose windows have all ended.
async fn finish(app: &App, id: &InstanceId, key: &TableKey, message: &str) -> Result<(), Error> {
    match &app.services {
        Ok(services) => finish_table(app, services, id, key, message).await,
        Err(reason) => {
            tracing::error!(reason, "the table cannot come to its end with these settings; the watchdog tries again");
            Ok(())
        }
    }
}

/// Dispatches again what waits in a table that was held. The head is read before the run: if that is suspended once
/// more, its message finds the head as it was read or changes it, and then the swap here is refused.
async fn go_on_with(app: &App, id: &InstanceId, key: &TableKey, message: &str) -> Result<(), Error> {
    while let Some(head) = app.state.head(key).await? {
        let Some(run) = app.state.instance(id).await?.map(|run| run.record) else { break };
        let windows = store::windows(app, key).await?;
        let went_on = go_on(key, &head.record, &windows, &run, app.state.now(), &app.limits);
        let Some(WentOn { head: next, owed }) = went_on else { break };
        match store::head(app, key, &next, Some(&head.etag)).await {
            Ok(_) => {
                tracing::info!(table = next.source, owed = owed.len(), "a table goes on");
                app.state.pay(&owed).await?;
                return finish(app, id, key, message).await;
            }
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What becomes of windows that earlier runs left when the plan comes to nothing.
enum Leftovers {
    /// They wait too: the destination is not in order, or not ours, so nothing is sent there, and no count proves anything.
    Wait,
    /// They go on: only the source has nothing new to give.
    GoOn {
        /// What the destination holds twice.
        doubts: Vec<String>,
    },
}

/// What a plan begins with.
struct Prepared {
    head: Stored<Head>,
    found: Survey<ETag>,
    scope: Scope,
}

/// Says that a plan goes on later. For the quota that is nothing that has to be seen to.
fn log_put_off(error: &str, attempt: u32, is_for_quota: bool) {
    match is_for_quota {
        true => tracing::info!(error, attempt, "a plan waits for the quota"),
        false => tracing::warn!(error, attempt, "a plan is put off"),
    }
}

/// Why a table ends whose plan the quota had nothing for.
fn waited_too_long(error: &str, since: Timestamp) -> String {
    format!(
        "{error}; its plan has come no further since {since}: see what else uses the tenant's hunting quota, or raise \
         HUNTING_QUOTA_SHARE; the next run plans anew"
    )
}

/// One run's plan of one table.
#[derive(Clone, Copy)]
struct Planning<'a> {
    app: &'a App,
    services: &'a Services,
    asked: &'a Asked<'a>,
    /// The table, as its ledger sees the configuration.
    table: &'a TableRun,
    deadline: Instant,
    /// How many attempts came to nothing before this one, one after the other.
    attempt: u32,
    /// Hunting calls of the attempts before this one.
    calls_before: u64,
}

impl Planning<'_> {
    fn key(&self) -> &TableKey {
        self.asked.key()
    }

    fn table(&self) -> &TableRun {
        self.table
    }

    async fn attempt(&self, head: Stored<Head>) -> Result<(), Error> {
        let (app, key) = (self.app, self.key());
        let taken = head.record.clone();
        let answers = match taken.put_off {
            Some(put_off) => kept::answers(app, key, &taken, Of::Plan, put_off.began).await,
            None => Answers::since(app.state.now()),
        };
        let mut hunting = Hunting::going_on(app, self.services, self.deadline, answers);
        let planned = self.plan(head, &mut hunting).await;
        let (calls, mut answers) = (self.calls(&hunting), hunting.into_answers());
        let Err((error, leftovers)) = planned else {
            self.is_over(&taken).await;
            return Ok(());
        };
        let (before, now) = (taken.put_off.map_or(answers.began(), |before| before.moved), app.state.now());
        let came_further = answers.end_attempt(!matches!(error, StepError::State(_)));
        let put_off = PutOff { began: answers.began(), moved: if came_further { now } else { before } };
        let tried = Tried { attempt: self.attempt, came_further, waited: now.since(put_off.moved) };
        let is_refused = matches!(error, StepError::Failed(_));
        let again = match error {
            StepError::State(Error::Conflict) => {
                // A late worker of an earlier run moved the head: look again.
                Ok((self.attempt, self.spread(app.limits.retry_first)))
            }
            StepError::State(error) => return Err(error),
            StepError::Failed(error) => Err(error),
            StepError::Later { error, pause } => self.put_off(tried, put_off, error, pause),
        };
        match again {
            Ok((attempt, pause)) => {
                kept::keep(app, key, &taken, Of::Plan, &answers).await;
                self.again(&taken, put_off, calls, attempt, pause).await
            }
            Err(error) => {
                self.is_over(&taken).await;
                self.without_plan(taken.draft.as_deref(), leftovers, (&error, is_refused), calls).await
            }
        }
    }

    /// The number of the next attempt and the pause before it, or the error that the table ends with.
    fn put_off(&self, tried: Tried, since: PutOff, error: String, pause: Pause) -> Result<(u32, Duration), String> {
        let is_for_quota = matches!(pause, Pause::Quota(_));
        match plan::retry(tried, pause, &self.app.limits) {
            Retry::Later { attempt, pause } => {
                log_put_off(&error, attempt, is_for_quota);
                // For the quota everyone has a permit of his own to wait for.
                Ok((attempt, if is_for_quota { pause } else { self.spread(pause) }))
            }
            Retry::GiveUp => Err(error),
            Retry::WaitedTooLong => Err(waited_too_long(&error, since.moved)),
        }
    }

    /// Makes the plan, as far as the time goes.
    async fn plan(&self, head: Stored<Head>, hunting: &mut Hunting<'_>) -> Result<(), (StepError, Leftovers)> {
        let table = self.configured(&head.record).await.map_err(|error| (error, Leftovers::Wait))?;
        Planning { table: &table, ..*self }.plan_as_configured(head, hunting).await
    }

    /// The table as its configuration says, but for a `HighWatermark` that is another destination's: this one begins anew.
    async fn configured(&self, head: &Head) -> Step<TableRun> {
        let (table, config) = (self.table, &self.table.config);
        let (Some(watermark), None) = (config.high_watermark, &head.shape) else { return Ok(table.clone()) };
        let (source, destination, catalog) = (&config.source, &config.destination, &self.services.catalog);
        let other = catalog.watermark_inherited_from(source, destination, watermark, self.deadline).await?;
        let Some(other) = other else { return Ok(table.clone()) };
        tracing::info!(
            table = source,
            destination,
            other,
            "HighWatermark is that of another destination: this one begins anew"
        );
        Ok(table.begun_anew())
    }

    async fn plan_as_configured(
        &self,
        head: Stored<Head>,
        hunting: &mut Hunting<'_>,
    ) -> Result<(), (StepError, Leftovers)> {
        let prepared = match self.prepare(head).await {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return Ok(()),
            Err(error) => return Err((error, Leftovers::Wait)),
        };
        let doubts = prepared.head.record.doubts.clone();
        // What is left of an earlier snapshot is for nobody.
        let leftovers = if self.is_snapshot() { Leftovers::Wait } else { Leftovers::GoOn { doubts } };
        self.load(prepared, hunting).await.map_err(|error| (error, leftovers))
    }

    /// Removes what is kept of a plan that is not put off again.
    async fn is_over(&self, taken: &Head) {
        if taken.put_off.is_some() {
            kept::forget(self.app, self.key(), Of::Plan).await;
        }
    }

    /// Hunting calls of the plan so far.
    fn calls(&self, hunting: &Hunting<'_>) -> u64 {
        self.calls_before + hunting.calls()
    }

    /// A pause that is not that of all tables that met the same failure.
    fn spread(&self, pause: Duration) -> Duration {
        jittered(pause, self.app.state.random())
    }

    /// Sends the message of another attempt, unless the plan was taken over, and tells the watchdog until when it waits.
    /// Whoever moves the head meanwhile knows better.
    async fn again(
        &self,
        taken: &Head,
        put_off: PutOff,
        calls: u64,
        attempt: u32,
        pause: Duration,
    ) -> Result<(), Error> {
        let app = self.app;
        let Some(head) = self.asked.being_made(taken.draft.as_deref()).await? else { return Ok(()) };
        let waiting = plan::waiting(&head.record, put_off, calls, app.state.now() + pause);
        let again = ControlMessage::Plan { instance: self.asked.id().clone(), table: self.key().clone(), attempt };
        match store::head(app, self.key(), &waiting, Some(&head.etag)).await {
            Ok(_) | Err(Error::Conflict) => app.state.pay(&[Debt::control(again, pause)]).await,
            Err(error) => Err(error),
        }
    }

    /// Goes on with what earlier runs left, or ends the table: nothing new can be planned, for an error that another attempt would
    /// meet, too, if it `is_refused`. One window tries first whether all others would.
    async fn without_plan(
        &self,
        draft: Option<&str>,
        leftovers: Leftovers,
        (error, is_refused): (&str, bool),
        calls: u64,
    ) -> Result<(), Error> {
        while let Leftovers::GoOn { doubts } = &leftovers
            && let Some(mut head) = self.asked.being_made(draft).await?
        {
            let found = match self.survey(&mut head).await {
                Err(Error::Conflict) => continue,
                found => found?,
            };
            if found.left.is_empty() {
                break;
            }
            tracing::error!(
                error,
                left = found.left.len(),
                "a table goes on with what is left: no plan comes of the rest"
            );
            head.record.plan_error = Some(error.to_owned());
            head.record.doubts.clone_from(doubts);
            head.record.progress.calls = calls;
            let lanes = u64::from(self.app.limits.lanes);
            head.record.progress.refused = if is_refused { lanes.saturating_sub(1) } else { 0 };
            match self.write(head, Content { found, planned: Vec::new(), end: None }).await {
                Err(StepError::State(Error::Conflict)) => {}
                Err(StepError::State(error)) => return Err(error),
                Err(StepError::Failed(_) | StepError::Later { .. }) => break,
                Ok(()) => return Ok(()),
            }
        }
        self.asked.fail(draft, error, calls).await
    }

    /// Surveys the ledger and sees to the destination. Gives `None` when nothing is to be loaded.
    async fn prepare(&self, mut head: Stored<Head>) -> Step<Option<Prepared>> {
        let (app, services, table) = (self.app, self.services, self.table());
        let mut found = self.survey(&mut head).await?;
        let more = plan::asks_for_more(&head.record, &found, app.state.now(), &app.limits);
        let mut scope = plan::scope(table, &head.record, more);
        if scope == Scope::Nothing && self.has_landed_again(&mut head, &mut found).await? {
            scope = Scope::Leftovers;
        }
        if scope == Scope::Nothing {
            self.nothing_to_do(&head, "a Full table that is loaded already", self.calls_before).await?;
            return Ok(None);
        }
        if let Some(refused) = narrow::refused(table, scope, &self.asked.run.input) {
            return Err(StepError::Failed(refused));
        }
        if !learn::destination(services, table, &mut head.record, &found.windows, self.deadline).await? {
            let shown = self.look_at_destination(&head.record, &found.windows).await?;
            head.record = doubted(head.record, shown.doubts);
            self.doubt(&mut head, &mut found, &shown.again).await?;
        }
        // It may bound what a window holds.
        services.ingestor.find_way(self.deadline).await?;
        Ok(Some(Prepared { head, found, scope }))
    }

    async fn look_at_destination(&self, head: &Head, windows: &[Window]) -> Step<ownership::Shown> {
        let (app, services) = (self.app, self.services);
        ownership::check(services, head, windows, app.state.now(), &app.limits, self.deadline).await
    }

    /// Looks whether windows of a table that is loaded have landed again, for as long as they may. Nothing else is asked of it, so that a
    /// look that cannot be made is left to the next run.
    async fn has_landed_again(&self, head: &mut Stored<Head>, found: &mut Survey<ETag>) -> Step<bool> {
        if !watch::may_land_again(&found.windows, self.app.state.now(), &self.app.limits) {
            return Ok(false);
        }
        match self.look_at_destination(&head.record, &found.windows).await {
            Ok(shown) => self.doubt(head, found, &shown.again).await?,
            Err(StepError::Failed(error) | StepError::Later { error, .. }) => {
                tracing::warn!(
                    error,
                    table = head.record.source,
                    "whether a loaded table has landed again is not known"
                );
            }
            Err(error) => return Err(error),
        }
        Ok(found.doubtful)
    }

    /// Has proved windows counted again by this run.
    async fn doubt(
        &self,
        head: &mut Stored<Head>,
        found: &mut Survey<ETag>,
        again: &HashSet<WindowId>,
    ) -> Result<(), Error> {
        if again.is_empty() {
            return Ok(());
        }
        tracing::warn!(table = head.record.source, windows = again.len(), "proved windows may have landed again");
        let seen = store::windows(self.app, self.key()).await?;
        for write in doubt(&head.record, seen, again) {
            head.etag = store::table(self.app, self.key(), &write, &head.etag).await?;
        }
        found.doubtful = true;
        Ok(())
    }

    /// Asks the source for what is new, and writes the plan.
    async fn load(&self, prepared: Prepared, hunting: &mut Hunting<'_>) -> Step<()> {
        if self.is_snapshot() {
            return self.load_snapshot(prepared, hunting).await;
        }
        let Prepared { mut head, mut found, scope } = prepared;
        let (app, services, table) = (self.app, self.services, self.table());
        if head.record.shape.is_none() {
            if !learn::shape(services, table, &mut head.record, hunting).await? {
                // Nothing to learn from. The next run is a first run again.
                let calls = self.calls(hunting);
                return Ok(self.nothing_to_do(&head, "the source shows no rows yet", calls).await?);
            }
            // Not to be found out again, should the rest of the plan have to wait.
            head.record.progress.calls = self.calls(hunting);
            head.etag = store::head(app, self.key(), &head.record, Some(&head.etag)).await?;
        } else if let Some(shape) = &head.record.shape {
            let source = Identifier::new(&head.record.source).map_err(StepError::name)?;
            hunting.try_timespan_again(&source, shape).await?;
        }
        let (planned, look) = match scope {
            Scope::NewRange => self.new_windows(&mut head.record, &mut found, hunting).await?,
            Scope::Leftovers | Scope::Nothing => (Vec::new(), None),
        };
        head.record.progress.calls = self.calls(hunting);
        if head.record.plan.is_none() {
            // Of two ledgers that claim at once, each may have read its own claim alone. By now both are to be read.
            ownership::refuse_foreign(services, &head.record, self.deadline).await?;
        }
        self.merge(&mut head, &mut found, hunting.byte_cap()).await?;
        let end = plan::end(scope, table, &head.record);
        self.write(head, Content { found, planned, end }).await?;
        if let Some(look) = look {
            columns::remember(self.app, self.key(), &look).await;
        }
        Ok(())
    }

    async fn nothing_to_do(&self, head: &Stored<Head>, why: &str, calls: u64) -> Result<(), Error> {
        let skipped = Some(why.to_owned());
        let warnings = head.record.advice.clone();
        let result = TableResult { success: true, skipped, warnings, calls, ..TableResult::default() };
        self.asked.conclude(head, result).await
    }

    /// Looks at all windows of the table and deletes drafts.
    async fn survey(&self, head: &mut Stored<Head>) -> Result<Survey<ETag>, Error> {
        let found = survey(&head.record, store::windows(self.app, self.key()).await?);
        for deletion in &found.deletions {
            head.etag = store::table(self.app, self.key(), deletion, &head.etag).await?;
        }
        Ok(found)
    }

    /// Replaces windows of earlier runs by larger ones, where that saves calls or nobody can ask for them any more.
    async fn merge(&self, head: &mut Stored<Head>, found: &mut Survey<ETag>, byte_cap: u64) -> Step<()> {
        let (run, now, limits) = (self.asked.id(), self.app.state.now(), &self.app.limits);
        let terms = Terms { run, byte_cap, now, limits };
        let writes = merged(&head.record, &found.left, &found.windows, terms);
        if writes.is_empty() {
            return Ok(());
        }
        let windows: usize = writes.iter().map(|write| write.windows.len() - 1).sum();
        tracing::info!(table = head.record.source, windows, merged = writes.len(), "windows that were left are merged");
        metrics::windows_ended(&head.record.source, "merged", windows as u64);
        for write in writes {
            head.etag = store::table(self.app, self.key(), &write, &head.etag).await?;
            head.record.counts = write.head.counts;
        }
        let again = self.survey(head).await?;
        *found = Survey { recount_from: found.recount_from, others: found.others.take(), ..again };
        Ok(())
    }

    /// Writes the plan; only the last transaction makes it valid, and owes its messages.
    async fn write(&self, head: Stored<Head>, content: Content<ETag>) -> Step<()> {
        let (app, key) = (self.app, self.key());
        let mut etag = head.etag;
        let draft = plan::lay_out(key, self.asked.id(), head.record, content, app.state.now(), &app.limits)
            .map_err(|error| StepError::Failed(error.to_string()))?;
        for batch in &draft.batches {
            #[cfg(feature = "mutants")]
            if mutated!(PlanCheckedTooEarly) {
                store::windows_alone(app, key, batch).await?;
                continue;
            }
            etag = store::table(app, key, batch, &etag).await?;
        }
        let status = status_of(app, self.asked.id()).await?;
        let Completed { write, owed } = draft.complete(key, status, app.state.now(), &app.limits);
        store::table(app, key, &write, &etag).await?;
        let progress = &write.head.progress;
        metrics::windows_ended(&write.head.source, "empty", progress.empty);
        metrics::windows_ended(&write.head.source, "expired", progress.expired);
        tracing::info!(
            table = write.head.source,
            windows = progress.windows,
            leftovers = progress.leftovers,
            rows = progress.planned_rows,
            calls = progress.calls,
            "a table is planned"
        );
        app.state.pay(&owed).await?;
        if write.head.is_through() {
            finish_table(app, self.services, self.asked.id(), key, &self.asked.by).await?;
        }
        Ok(())
    }
}
