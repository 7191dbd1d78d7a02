//! Recording how the handling of a window ended: the window and the head of its table in one transaction.

use super::Job;
use crate::app::App;
use crate::orchestration::fan_in::{Ended, WindowEnd, end, take_names, wants_names};
use crate::orchestration::ids::TableKey;
use crate::orchestration::ledger::Head;
use crate::orchestration::message::{ChunkMessage, Debt};
use crate::orchestration::window::{Window, WindowState};
use crate::state::{Error, Stored, Transaction};
use crate::storage::ETag;
use std::time::Duration;

/// How much a new measurement of bytes per row counts against what was known.
const LEARNING: f64 = 0.3;

/// Ends the window and pays what that owes. Gives up without a word when somebody else changed the window.
///
/// # Errors
/// The state store's.
pub async fn commit_end(
    app: &App,
    message: &ChunkMessage,
    window: Stored<Window>,
    how: WindowEnd,
    bytes_per_row: Option<f64>,
) -> Result<(), Error> {
    let table = &message.table;
    let turn = app.state.turn(table).await;
    let owed = loop {
        // An old head is refused below, and then read.
        let Some(head) = app.state.recent_head(table, Duration::MAX).await? else { return Ok(()) };
        let mut known = head.record;
        refill(app, table, &mut known).await?;
        if let Some(measured) = bytes_per_row {
            known.bytes_per_row = Some(known.bytes_per_row.map_or(measured, |old| old + LEARNING * (measured - old)));
        }
        let ended = match end(table, &message.window, &known, &window.record, how.clone(), app.state.now(), &app.limits)
        {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "the end of a window was refused");
                return Ok(());
            }
        };
        match app.state.commit(written(message, &ended, &window.etag, &head.etag)?).await {
            Ok(_) => {
                log(&ended.window);
                break ended.window.owed;
            }
            Err(Error::Conflict) => match met(app, message, &window.etag, &head.etag).await? {
                Met::AnotherHead => {}
                Met::AnotherWindow(owed) => break owed,
            },
            Err(error) => return Err(error),
        }
    };
    drop(turn);
    app.state.pay(&owed).await
}

fn written(message: &ChunkMessage, ended: &Ended, window: &ETag, head: &ETag) -> Result<Transaction, Error> {
    let table = &message.table;
    let mut transaction = Transaction::new().window(table, &message.window, &ended.window, Some(window))?.head(
        table,
        &ended.head,
        Some(head),
    )?;
    for (name, child) in &ended.children {
        transaction = transaction.window(table, name, child, None)?;
    }
    Ok(transaction)
}

/// What an end that was refused met.
enum Met {
    /// The head has moved on: end again.
    AnotherHead,
    /// The window is no longer ours; its end may have left debts.
    AnotherWindow(Vec<Debt>),
}

async fn met(app: &App, message: &ChunkMessage, window: &ETag, head: &ETag) -> Result<Met, Error> {
    if app.state.head(&message.table).await?.is_some_and(|now| now.etag != *head) {
        return Ok(Met::AnotherHead);
    }
    match app.state.window(&message.table, &message.window).await? {
        // The head moved after it was read.
        Some(current) if current.etag == *window => Ok(Met::AnotherHead),
        Some(current) if !current.record.state.is_open() => {
            tracing::info!("the window has ended already");
            Ok(Met::AnotherWindow(current.record.owed))
        }
        _ => {
            tracing::info!("somebody else has the window");
            Ok(Met::AnotherWindow(Vec::new()))
        }
    }
}

fn log(window: &Window) {
    let id = window.id;
    match (window.state, &window.error, &window.seal) {
        (WindowState::Failed, Some(error), _) => tracing::error!(window.id = %id, error, "a window failed"),
        (WindowState::Submitted, _, Some(seal)) => {
            tracing::info!(window.id = %id, rows = seal.rows, raw_bytes = seal.raw_bytes, "a window was posted");
        }
        (state, _, _) => tracing::info!(window.id = %id, ?state, "a window ended"),
    }
}

/// Puts more names of planned windows into the head when they run out.
pub async fn refill(app: &App, table: &TableKey, head: &mut Head) -> Result<(), Error> {
    while wants_names(head, &app.limits) {
        let (windows, more) = app.state.windows_after(table, head.cursor.as_ref()).await?;
        take_names(head, windows.into_iter().map(|(name, window)| (name, window.record.state)), more);
    }
    Ok(())
}

/// Gives the claim back for another attempt after `pause`, or fails the window when its attempts are used up.
///
/// # Errors
/// The state store's.
pub async fn give_back(
    app: &App,
    job: Job,
    error: &str,
    own_fault: bool,
    pause: Option<Duration>,
) -> Result<(), Error> {
    let retried = match job.window.record.retried(error, own_fault, app.state.now()) {
        Ok(retried) => retried,
        Err(error) => {
            tracing::error!(%error, "a window could not be given back");
            return Ok(());
        }
    };
    let Some(window) = retried else {
        let reason = format!("{error} (attempt {})", job.window.record.attempts + 1);
        return commit_end(app, &job.message, job.window, WindowEnd::Failed(reason), None).await;
    };
    let pause = pause.unwrap_or_else(|| app.limits.retry_pause(window.attempts));
    tracing::warn!(error, own_fault, pause_s = pause.as_secs_f64(), "a window is tried again later");
    let again = Debt::chunk_later(&job.message.table, job.message.window.clone(), pause);
    let window = Window { owed: vec![again.clone()], ..window };
    let transaction =
        Transaction::new().window(&job.message.table, &job.message.window, &window, Some(&job.window.etag))?;
    match app.state.commit(transaction).await {
        Ok(_) => app.state.pay(&[again]).await,
        Err(Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}
