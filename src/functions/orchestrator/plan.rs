//! The step `plan` of a table: leftovers of earlier runs first, then the new range. An interrupted plan is thrown
//! away whole: nothing of it was dispatched.

mod learn;

use super::finish::{end_table, finish_table};
use super::{Step, StepError};
use crate::app::{App, Services};
use crate::functions::hunting::Hunting;
use crate::functions::planner::{Cut, Planner};
use crate::functions::source;
use crate::orchestration::fan_in::{fill_lanes, schedule_verify};
use crate::orchestration::ids::{InstanceId, LedgerId, Part, TableKey, WindowId, WindowName};
use crate::orchestration::instance::{LoadType, TableResult, TableRun};
use crate::orchestration::ledger::{Counts, Head, HeadDebts, Progress, TableState};
use crate::orchestration::limits::{PLAN_ATTEMPTS, READY_NAMES, TRANSACTION_WINDOWS};
use crate::orchestration::message::{ControlMessage, Debt};
use crate::orchestration::plan::target_rows;
use crate::orchestration::window::{Window, WindowState};
use crate::state::{Error, Stored, Transaction};
use crate::timestamp::Timestamp;
use tokio::time::Instant;

/// Handles the step.
///
/// # Errors
/// The state store's.
#[tracing::instrument(skip_all, fields(instance.id = %id, table = key.as_str()))]
pub async fn handle(app: &App, id: &InstanceId, key: &TableKey, attempt: u32) -> Result<(), Error> {
    let (Some(run), Some(table)) = (app.state.instance(id).await?, app.state.table(id, key).await?) else {
        return Ok(());
    };
    if let Some(_result) = &table.record.result {
        return app.state.pay(&table.record.owed).await;
    }
    if run.record.status.is_final() {
        return Ok(());
    }
    let table = table.record;
    let services = match &app.services {
        Ok(services) => services,
        Err(reason) => return end_with_error(app, None, id, &table, reason.clone()).await,
    };
    let deadline = Instant::now() + app.limits.invocation_deadline;
    match take(app, id, key, &table).await? {
        Taken::HeldBy(other) => {
            let result = TableResult {
                skipped: Some(format!("held by {other}")),
                error: Some(format!("skipped: held by {other}")),
                ..TableResult::default()
            };
            end_table(app, Some(services), id, key, result, &[], deadline).await
        }
        Taken::UnderWay(head) => resume(app, services, id, key, *head).await,
        Taken::Ours(head) => {
            let draft = head.record.draft.clone();
            match plan(app, services, id, &table, *head, deadline).await {
                Ok(()) => Ok(()),
                Err(StepError::State(Error::Conflict)) => {
                    if app.state.head(key).await?.is_none_or(|now| now.record.draft != draft) {
                        tracing::info!("another delivery took the plan over");
                        return Ok(());
                    }
                    // A late worker of an earlier run moved the head: look again.
                    let again = ControlMessage::Plan { instance: id.clone(), table: key.clone(), attempt };
                    app.state.pay(&[Debt::control(again, app.limits.retry_first)]).await
                }
                Err(StepError::State(error)) => Err(error),
                Err(StepError::Later { error, pause }) if attempt + 1 < PLAN_ATTEMPTS || pause.is_some() => {
                    tracing::warn!(error, attempt, "a plan is tried again later");
                    let attempt = attempt + u32::from(pause.is_none());
                    let again = ControlMessage::Plan { instance: id.clone(), table: key.clone(), attempt };
                    let pause = pause.unwrap_or_else(|| app.limits.retry_pause(attempt));
                    wait(app, key, app.state.now() + pause).await?;
                    app.state.pay(&[Debt::control(again, pause)]).await
                }
                Err(StepError::Later { error, .. } | StepError::Failed(error)) => {
                    end_with_error(app, Some(services), id, &table, error).await
                }
            }
        }
    }
}

/// Tells the watchdog until when the plan waits. Whoever moves the head meanwhile knows better.
async fn wait(app: &App, key: &TableKey, until: Timestamp) -> Result<(), Error> {
    let Some(head) = app.state.head(key).await? else { return Ok(()) };
    let waiting = Head { plan_due: Some(until), ..head.record };
    match app.state.commit(Transaction::new().head(key, &waiting, Some(&head.etag))?).await {
        Ok(_) | Err(Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn end_with_error(
    app: &App,
    services: Option<&Services>,
    id: &InstanceId,
    table: &TableRun,
    error: String,
) -> Result<(), Error> {
    tracing::error!(table = table.config.source, error, "a table failed before its windows were planned");
    let deadline = Instant::now() + app.limits.invocation_deadline / 4;
    let result = TableResult { error: Some(error), ..TableResult::default() };
    end_table(app, services, id, &table.key, result, &[], deadline).await
}

enum Taken {
    Ours(Box<Stored<Head>>),
    HeldBy(InstanceId),
    UnderWay(Box<Head>),
}

/// Takes the table for this run: a run that has ended lets go of what it held.
async fn take(app: &App, id: &InstanceId, key: &TableKey, table: &TableRun) -> Result<Taken, Error> {
    loop {
        let now = app.state.now();
        let stored = app.state.head(key).await?;
        let (head, etag) = match stored {
            Some(Stored { record, etag }) => (record, Some(etag)),
            None => {
                let ledger = LedgerId((app.state.random() >> 64) as u64);
                let config = &table.config;
                (Head::new(ledger, &config.source, &config.destination, &config.watermark_column, now), None)
            }
        };
        if let Some(holder) = head.run.as_ref() {
            if holder == id && matches!(head.state, TableState::Running | TableState::Finishing) {
                return Ok(Taken::UnderWay(Box::new(head)));
            }
            if holder != id && app.state.instance(holder).await?.is_some_and(|run| !run.record.status.is_final()) {
                return Ok(Taken::HeldBy(holder.clone()));
            }
        }
        let draft = format!("{:016x}", app.state.random() as u64);
        let taken = Head {
            run: Some(id.clone()),
            state: TableState::Planning,
            stop: false,
            draft: Some(draft),
            verify: None,
            verify_number: head.verify_number + 1,
            progress: Progress::default(),
            updated: now,
            ..head
        };
        match app.state.commit(Transaction::new().head(key, &taken, etag.as_ref())?).await {
            Ok(etags) => {
                let etag = etags.into_iter().next().flatten().ok_or(Error::Conflict)?;
                return Ok(Taken::Ours(Box::new(Stored { record: taken, etag })));
            }
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A plan message that comes again: pays again.
async fn resume(app: &App, services: &Services, id: &InstanceId, key: &TableKey, head: Head) -> Result<(), Error> {
    if head.state == TableState::Finishing {
        return finish_table(app, services, id, key).await;
    }
    match &head.owed_plan {
        Some(debts) => app.state.pay(&debts.messages).await,
        None => Ok(()),
    }
}

async fn plan(
    app: &App,
    services: &Services,
    id: &InstanceId,
    table: &TableRun,
    mut head: Stored<Head>,
    deadline: Instant,
) -> Step<()> {
    let key = &table.key;
    let mut hunting = Hunting::new(app, services, deadline);
    let found = survey(app, key, &mut head).await?;
    let load_new = !is_loaded_full_table(table, &head.record);
    if !load_new && found.left.is_empty() && table.config.high_watermark.is_some() {
        let result = TableResult {
            success: true,
            skipped: Some("a Full table that is loaded already".to_owned()),
            ..TableResult::default()
        };
        release_head(app, key, head).await?;
        return Ok(end_table(app, Some(services), id, key, result, &[], deadline).await?);
    }
    if !learn::destination(services, table, &mut head.record, deadline).await? {
        learn::ownership(services, &head.record, deadline).await?;
    }
    let learned = head.record.shape.is_none();
    if learned && !learn::shape(services, table, &mut head.record, &mut hunting).await? {
        // Nothing to learn from: the source shows no row. The next run is a first run again.
        let result = TableResult {
            success: true,
            skipped: Some("the source shows no rows yet".to_owned()),
            calls: hunting.take_calls(),
            ..TableResult::default()
        };
        release_head(app, key, head).await?;
        return Ok(end_table(app, Some(services), id, key, result, &[], deadline).await?);
    }
    if learned {
        // Not to be found out again, should the rest of the plan have to wait.
        head.record.progress.calls += hunting.take_calls();
        let swap = Transaction::new().head(key, &head.record, Some(&head.etag))?;
        head.etag = first(app.state.commit(swap).await?)?;
    }
    let planned = if load_new { new_windows(app, table, &mut head.record, &mut hunting).await? } else { Vec::new() };
    head.record.progress.calls += hunting.take_calls();
    let end = load_new.then_some(table.high);
    write(app, services, id, key, head, found, planned, end).await
}

/// A `Full` table is loaded once.
fn is_loaded_full_table(table: &TableRun, head: &Head) -> bool {
    table.config.load_type == Some(LoadType::Full) && (table.config.high_watermark.is_some() || head.plan.is_some())
}

async fn release_head(app: &App, key: &TableKey, head: Stored<Head>) -> Result<(), Error> {
    let idle = Head { run: None, state: TableState::Idle, draft: None, updated: app.state.now(), ..head.record };
    app.state.commit(Transaction::new().head(key, &idle, Some(&head.etag))?).await.map(drop)
}

/// What a plan finds in the ledger.
struct Survey {
    /// Windows that are not terminal.
    left: Vec<(WindowName, Stored<Window>)>,
    /// All windows by state.
    counts: Counts,
}

/// Looks at all windows of the table. Drafts of plans that were never completed are deleted, every deletion together
/// with a swap of the head, so that a planner that was overtaken deletes nothing.
async fn survey(app: &App, key: &TableKey, head: &mut Stored<Head>) -> Result<Survey, Error> {
    let mut found = Survey { left: Vec::new(), counts: Counts::default() };
    let mut drafts = Vec::new();
    for (name, window) in app.state.windows(key).await? {
        if is_draft(&head.record, &window.record) {
            drafts.push((name, window.etag));
            continue;
        }
        *found.counts.of(window.record.state) += 1;
        if !window.record.state.is_terminal() {
            found.left.push((name, window));
        }
    }
    for batch in drafts.chunks(TRANSACTION_WINDOWS) {
        let mut transaction = Transaction::new().head(key, &head.record, Some(&head.etag))?;
        for (name, etag) in batch {
            transaction = transaction.delete_window(key, name, etag)?;
        }
        head.etag = first(app.state.commit(transaction).await?)?;
    }
    Ok(found)
}

/// Windows of a completed plan begin below its end.
fn is_draft(head: &Head, window: &Window) -> bool {
    window.run.is_none()
        && matches!(window.state, WindowState::Planned | WindowState::Empty)
        && (head.plan.is_none() || (head.plan.as_ref() != Some(&window.plan) && window.id.low >= head.planned_to))
}

fn first(etags: Vec<Option<crate::storage::ETag>>) -> Result<crate::storage::ETag, Error> {
    etags.into_iter().next().flatten().ok_or(Error::Conflict)
}

/// The windows of the new range, from one histogram and one more for each bin that is too full.
async fn new_windows(
    app: &App,
    table: &TableRun,
    head: &mut Head,
    hunting: &mut Hunting<'_>,
) -> Step<Vec<(WindowName, Window)>> {
    let (Some(shape), Some(draft)) = (head.shape.clone(), head.draft.clone()) else {
        return Err(StepError::Failed(format!("the ledger of {} has no shape; start another run", head.source)));
    };
    let first_load = head.plan.is_none();
    let low = head.planned_to;
    if table.high <= low {
        return Ok(Vec::new());
    }
    let handover = first_load && shape.handover.is_some();
    let source = source::of(head, &shape, handover).map_err(StepError::name)?;
    let columns = source::hash_columns(&shape).map_err(StepError::name)?;
    let target = target_rows(app.limits.window_rows, app.limits.window_bytes, head.bytes_per_row);
    let mut planner = Planner::new(hunting, &source, &columns);
    let Cut { mut pieces, null_rows } = planner.cut(low, table.high, target, first_load).await?;
    if null_rows > 0 {
        let whole = crate::orchestration::plan::Piece::whole(Timestamp::MIN, Timestamp::MIN, null_rows);
        pieces.extend(if null_rows > target { planner.divide(whole, target).await? } else { vec![whole] });
    }
    let now = app.state.now();
    let windows = pieces.into_iter().enumerate().map(|(index, piece)| {
        let id = WindowId { ledger: head.ledger, low: piece.low, high: piece.high, part: piece.part, generation: 0 };
        let path = match (id.is_null_axis(), piece.part) {
            (false, Part::WHOLE) => "0".to_owned(),
            (false, part) => format!("p{:04x}", part.index),
            (true, _) => format!("n{index:04x}"),
        };
        let mut window = Window::planned(id, &draft, handover, piece.rows, now);
        if piece.rows == 0 {
            // The histogram is a complete answer: nothing is to be pulled.
            window.state = WindowState::Empty;
        }
        (WindowName::new(piece.low, &path), window)
    });
    Ok(windows.collect())
}

/// Writes the plan in transactions that each swap the head; only the last one makes it valid, and owes its messages.
#[allow(clippy::too_many_arguments, reason = "the parts of one plan; it is called once")]
async fn write(
    app: &App,
    services: &Services,
    id: &InstanceId,
    key: &TableKey,
    mut head: Stored<Head>,
    found: Survey,
    planned: Vec<(WindowName, Window)>,
    end: Option<Timestamp>,
) -> Step<()> {
    let now = app.state.now();
    let mut names: Vec<WindowName> = Vec::new();
    let mut lanes = 0;
    let mut messages: Vec<Debt> = Vec::new();
    let mut writes: Vec<(WindowName, Window, Option<crate::storage::ETag>)> = Vec::new();
    let mut counts = found.counts;
    for (name, stored) in found.left {
        let taken = stored.record.taken_up(now, &app.limits);
        let state = taken.as_ref().map_or(stored.record.state, |taken| taken.state);
        if let Some(taken) = taken {
            counts.moved(stored.record.state, taken.state);
            writes.push((name.clone(), Window { run: Some(id.clone()), ..taken }, Some(stored.etag)));
        }
        match state {
            WindowState::Planned => names.push(name),
            WindowState::Claimed | WindowState::Sealed => {
                lanes += 1;
                let lease = stored.record.lease_until.unwrap_or(now) + app.limits.clock_margin;
                messages.push(Debt::chunk_later(key, name, lease.since(now)));
            }
            _ => {}
        }
        head.record.progress.windows += 1;
        head.record.progress.leftovers += 1;
        head.record.progress.planned_rows += stored.record.planned_rows;
    }
    for (name, window) in planned {
        *counts.of(window.state) += 1;
        if window.state == WindowState::Planned {
            names.push(name.clone());
            head.record.progress.windows += 1;
            head.record.progress.planned_rows += window.planned_rows;
        }
        writes.push((name, window, None));
    }
    names.sort();

    let plan = head.record.draft.clone().unwrap_or_default();
    while writes.len() > TRANSACTION_WINDOWS {
        let batch: Vec<_> = writes.drain(..TRANSACTION_WINDOWS).collect();
        head.etag = first(commit_batch(app, key, &head.record, &head.etag, &batch).await?)?;
    }
    let mut next =
        Head { planned_to: head.record.planned_to.max(end.unwrap_or(Timestamp::MIN)), counts, ..head.record.clone() };
    next.plan = Some(plan.clone());
    next.draft = None;
    next.state = TableState::Running;
    next.lanes = lanes;
    next.more = names.len() > READY_NAMES;
    names.truncate(READY_NAMES);
    next.cursor = names.last().cloned();
    next.ready = names;
    next.updated = now;
    next.moved = now;
    next.plan_due = None;
    let stop = app.state.instance(id).await?.is_none_or(|run| run.record.status.is_final());
    next.stop = stop;
    messages.extend(fill_lanes(&mut next, &app.limits).into_iter().map(|name| Debt::chunk(key, name)));
    if next.is_through() {
        next.state = TableState::Finishing;
    } else if next.counts.submitted > 0 {
        messages.push(schedule_verify(key, &mut next, app.limits.verify_first, now));
    }
    next.owed_plan = Some(HeadDebts { step: format!("plan:{plan}"), messages: messages.clone() });
    commit_batch(app, key, &next, &head.etag, &writes).await?;
    tracing::info!(
        table = next.source,
        windows = next.progress.windows,
        leftovers = next.progress.leftovers,
        rows = next.progress.planned_rows,
        calls = next.progress.calls,
        "a table is planned"
    );
    if next.state == TableState::Finishing {
        return Ok(finish_table(app, services, id, key).await?);
    }
    Ok(app.state.pay(&messages).await?)
}

async fn commit_batch(
    app: &App,
    key: &TableKey,
    head: &Head,
    etag: &crate::storage::ETag,
    writes: &[(WindowName, Window, Option<crate::storage::ETag>)],
) -> Result<Vec<Option<crate::storage::ETag>>, Error> {
    let mut transaction = Transaction::new().head(key, head, Some(etag))?;
    for (name, window, etag) in writes {
        transaction = transaction.window(key, name, window, etag.as_ref())?;
    }
    app.state.commit(transaction).await
}
