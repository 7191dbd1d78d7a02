//! The step `plan` of a table: leftovers of earlier runs first, then the new range. What is decided is in
//! `orchestration::head`; here it is loaded, asked for and stored.

mod learn;

use super::finish::{end_again, end_table, finish_table};
use super::{Step, StepError, store};
use crate::app::{App, Services};
use crate::functions::control::status_of;
use crate::functions::hunting::Hunting;
use crate::functions::planner::{Cut, Planner};
use crate::functions::source;
use crate::orchestration::head::hold::{WentOn, go_on};
use crate::orchestration::head::plan::{self, Completed, Content, Retry, Scope};
use crate::orchestration::head::survey::{Survey, survey};
use crate::orchestration::head::take::{Fresh, Take, held_by, other_holder, take};
use crate::orchestration::ids::{InstanceId, TableKey, WindowName};
use crate::orchestration::instance::{TableResult, TableRun};
use crate::orchestration::ledger::Head;
use crate::orchestration::message::{ControlMessage, Debt};
use crate::orchestration::plan::{Piece, target_rows};
use crate::orchestration::window::Window;
use crate::state::{Error, Stored};
use crate::storage::ETag;
use crate::timestamp::Timestamp;
use tokio::time::Instant;

/// One run's plan of one table.
struct Planning<'a> {
    app: &'a App,
    services: &'a Services,
    id: &'a InstanceId,
    table: &'a TableRun,
    deadline: Instant,
}

/// Handles the step.
///
/// # Errors
/// The state store's.
#[tracing::instrument(skip_all, fields(instance.id = %id, table = key.as_str()))]
pub async fn handle(app: &App, id: &InstanceId, key: &TableKey, attempt: u32) -> Result<(), Error> {
    let (Some(run), Some(table)) = (app.state.instance(id).await?, app.state.table(id, key).await?) else {
        return Ok(());
    };
    if table.record.result.is_some() {
        return end_again(app, id, &table.record).await;
    }
    // A run that is suspended sends the message again when it goes on; one that begins again has other messages.
    if !run.record.goes_on() {
        return Ok(());
    }
    let table = table.record;
    let services = match &app.services {
        Ok(services) => services,
        Err(reason) => return end_with_error(app, None, id, &table, reason.clone()).await,
    };
    let deadline = Instant::now() + app.limits.working_time();
    let planning = Planning { app, services, id, table: &table, deadline };
    match planning.take().await? {
        Taken::Ours(head) => planning.attempt(*head, attempt).await,
        Taken::Not(Take::HeldBy(other)) => planning.end(held_by(&other)).await,
        Taken::Not(Take::Again(owed)) => app.state.pay(&owed).await,
        Taken::Not(Take::GoOn) => planning.go_on().await,
        Taken::Not(_) => finish_table(app, services, id, key).await,
    }
}

/// What became of taking a table.
enum Taken {
    /// It is ours, as it is stored now.
    Ours(Box<Stored<Head>>),
    /// Something else is to be done.
    Not(Take),
}

async fn end_with_error(
    app: &App,
    services: Option<&Services>,
    id: &InstanceId,
    table: &TableRun,
    error: String,
) -> Result<(), Error> {
    tracing::error!(table = table.config.source, error, "a table failed before its windows were planned");
    let result = TableResult { error: Some(error), ..TableResult::default() };
    end_table(app, services, id, table, result).await?;
    Ok(())
}

impl Planning<'_> {
    fn key(&self) -> &TableKey {
        &self.table.key
    }

    async fn end(&self, result: TableResult) -> Result<(), Error> {
        end_table(self.app, Some(self.services), self.id, self.table, result).await?;
        Ok(())
    }

    async fn take(&self) -> Result<Taken, Error> {
        let app = self.app;
        loop {
            let stored = app.state.head(self.key()).await?;
            let (head, etag) = stored.map_or((None, None), |stored| (Some(stored.record), Some(stored.etag)));
            let holder = match other_holder(head.as_ref(), self.id) {
                Some(other) => status_of(app, other).await?,
                None => None,
            };
            let fresh = Fresh::from_bits(app.state.random());
            let taken = match take(head.as_ref(), self.table, self.id, holder, fresh, app.state.now()) {
                Take::Ours(taken) => *taken,
                other => return Ok(Taken::Not(other)),
            };
            match store::head(app, self.key(), &taken, etag.as_ref()).await {
                Ok(etag) => return Ok(Taken::Ours(Box::new(Stored { record: taken, etag }))),
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Dispatches again what waits in a table that was held. The head is read before the run: if that is suspended once
    /// more, its message finds the head as it was read or changes it, and then the swap here is refused.
    async fn go_on(&self) -> Result<(), Error> {
        let (app, key) = (self.app, self.key());
        while let Some(head) = app.state.head(key).await? {
            let Some(run) = app.state.instance(self.id).await?.map(|run| run.record) else { break };
            let windows = store::windows(app, key).await?;
            let went_on = go_on(key, &head.record, &windows, &run, app.state.now(), &app.limits);
            let Some(WentOn { head: next, owed }) = went_on else { break };
            match store::head(app, key, &next, Some(&head.etag)).await {
                Ok(_) => {
                    tracing::info!(table = next.source, owed = owed.len(), "a table goes on");
                    app.state.pay(&owed).await?;
                    return finish_table(app, self.services, self.id, key).await;
                }
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn attempt(&self, head: Stored<Head>, attempt: u32) -> Result<(), Error> {
        let app = self.app;
        let draft = head.record.draft.clone();
        let (error, pause) = match self.plan(head).await {
            Ok(()) => return Ok(()),
            Err(StepError::State(Error::Conflict)) => {
                if app.state.head(self.key()).await?.is_none_or(|now| now.record.draft != draft) {
                    tracing::info!("another delivery took the plan over");
                    return Ok(());
                }
                // A late worker of an earlier run moved the head: look again.
                let again = ControlMessage::Plan { instance: self.id.clone(), table: self.key().clone(), attempt };
                return app.state.pay(&[Debt::control(again, app.limits.retry_first)]).await;
            }
            Err(StepError::State(error)) => return Err(error),
            Err(StepError::Failed(error)) => {
                return end_with_error(app, Some(self.services), self.id, self.table, error).await;
            }
            Err(StepError::Later { error, pause }) => (error, pause),
        };
        match plan::retry(self.id, self.key(), attempt, pause, &app.limits) {
            Retry::GiveUp => end_with_error(app, Some(self.services), self.id, self.table, error).await,
            Retry::Later { again, pause } => {
                tracing::warn!(error, attempt, "a plan is tried again later");
                self.wait(app.state.now() + pause).await?;
                app.state.pay(&[Debt::control(again, pause)]).await
            }
        }
    }

    /// Tells the watchdog until when the plan waits. Whoever moves the head meanwhile knows better.
    async fn wait(&self, until: Timestamp) -> Result<(), Error> {
        let Some(head) = self.app.state.head(self.key()).await? else { return Ok(()) };
        let waiting = plan::waiting(&head.record, until);
        match store::head(self.app, self.key(), &waiting, Some(&head.etag)).await {
            Ok(_) | Err(Error::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn plan(&self, mut head: Stored<Head>) -> Step<()> {
        let (app, services, table) = (self.app, self.services, self.table);
        let mut hunting = Hunting::new(app, services, self.deadline);
        let found = self.survey(&mut head).await?;
        let scope = plan::scope(table, &head.record, !found.left.is_empty());
        if scope == Scope::Nothing {
            return self.nothing_to_do(head, "a Full table that is loaded already", 0).await;
        }
        if !learn::destination(services, table, &mut head.record, self.deadline).await? {
            learn::ownership(services, &head.record, self.deadline).await?;
        }
        if head.record.shape.is_none() {
            if !learn::shape(services, table, &mut head.record, &mut hunting).await? {
                // Nothing to learn from. The next run is a first run again.
                let calls = hunting.take_calls();
                return self.nothing_to_do(head, "the source shows no rows yet", calls).await;
            }
            // Not to be found out again, should the rest of the plan have to wait.
            head.record.progress.calls += hunting.take_calls();
            head.etag = store::head(app, self.key(), &head.record, Some(&head.etag)).await?;
        }
        let planned = match scope {
            Scope::NewRange => self.new_windows(&head.record, &mut hunting).await?,
            Scope::Leftovers | Scope::Nothing => Vec::new(),
        };
        head.record.progress.calls += hunting.take_calls();
        let end = (scope == Scope::NewRange).then_some(table.high);
        self.write(head, Content { found, planned, end }).await
    }

    async fn nothing_to_do(&self, head: Stored<Head>, why: &str, calls: u64) -> Step<()> {
        let idle = plan::let_go(&head.record, self.app.state.now());
        store::head(self.app, self.key(), &idle, Some(&head.etag)).await?;
        let skipped = Some(why.to_owned());
        Ok(self.end(TableResult { success: true, skipped, calls, ..TableResult::default() }).await?)
    }

    /// Looks at all windows of the table and deletes drafts.
    async fn survey(&self, head: &mut Stored<Head>) -> Result<Survey<ETag>, Error> {
        let found = survey(&head.record, store::windows(self.app, self.key()).await?);
        for deletion in &found.deletions {
            head.etag = store::table(self.app, self.key(), deletion, &head.etag).await?;
        }
        Ok(found)
    }

    /// The windows of the new range, from one histogram and one more for each bin that is too full.
    async fn new_windows(&self, head: &Head, hunting: &mut Hunting<'_>) -> Step<Vec<(WindowName, Window)>> {
        let limits = &self.app.limits;
        let Some(shape) = &head.shape else {
            return Err(StepError::Failed(format!("the ledger of {} has no shape; start another run", head.source)));
        };
        let Some((low, high)) = plan::new_range(self.table, head) else { return Ok(Vec::new()) };
        let source = source::of(head, shape, plan::is_handover(head)).map_err(StepError::name)?;
        let columns = source::hash_columns(shape).map_err(StepError::name)?;
        let target = target_rows(limits.window_rows, limits.window_bytes, head.bytes_per_row);
        let mut planner = Planner::new(hunting, &source, &columns);
        let Cut { mut pieces, null_rows } = planner.cut(low, high, target, head.plan.is_none()).await?;
        if null_rows > 0 {
            let whole = Piece::whole(Timestamp::MIN, Timestamp::MIN, null_rows);
            pieces.extend(if null_rows > target { planner.divide(whole, target).await? } else { vec![whole] });
        }
        plan::windows_of(head, pieces, self.app.state.now()).map_err(|error| StepError::Failed(error.to_string()))
    }

    /// Writes the plan; only the last transaction makes it valid, and owes its messages.
    async fn write(&self, head: Stored<Head>, content: Content<ETag>) -> Step<()> {
        let (app, key) = (self.app, self.key());
        let mut etag = head.etag;
        let draft = plan::lay_out(key, self.id, head.record, content, app.state.now(), &app.limits)
            .map_err(|error| StepError::Failed(error.to_string()))?;
        for batch in &draft.batches {
            etag = store::table(app, key, batch, &etag).await?;
        }
        let status = status_of(app, self.id).await?;
        let Completed { write, owed } = draft.complete(key, status, app.state.now(), &app.limits);
        store::table(app, key, &write, &etag).await?;
        let progress = &write.head.progress;
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
            finish_table(app, self.services, self.id, key).await?;
        }
        Ok(())
    }
}
