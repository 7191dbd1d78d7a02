//! Recording how the handling of a window ended: the window and the head of its table in one transaction.

use super::Job;
use crate::app::App;
use crate::functions::hunting::jittered;
use crate::orchestration::chunk::{self, GivenBack, Later};
use crate::orchestration::fan_in::{Ended, WindowEnd, end, take_names, wants_names};
use crate::orchestration::ids::TableKey;
use crate::orchestration::ledger::Head;
use crate::orchestration::message::{ChunkMessage, Debt};
use crate::orchestration::sizing::{self, Seen};
use crate::orchestration::window::Window;
use crate::state::{Error, Stored, Transaction};
use crate::storage::ETag;
use crate::telemetry::metrics;
use std::time::Duration;

/// Ends the window and pays what that owes. Gives up without a word when somebody else changed the window.
///
/// # Errors
/// The state store's.
pub async fn commit_end(
    app: &App,
    message: &ChunkMessage,
    window: Stored<Window>,
    how: WindowEnd,
    seen: Option<Seen>,
) -> Result<(), Error> {
    let table = &message.table;
    let turn = app.state.turn(table).await;
    let owed = loop {
        // An old head is refused below, and then read.
        let Some(head) = app.state.recent_head(table, Duration::MAX).await? else { return Ok(()) };
        let mut known = head.record;
        refill(app, table, &mut known).await?;
        let known = sizing::taken_in(known, seen, (window.record.id.low, window.record.id.high));
        let ended = match end(table, &message.window, &known, &window.record, how.clone(), app.state.now(), &app.limits)
        {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "the end of a window was refused");
                return Ok(());
            }
        };
        #[cfg(feature = "mutants")]
        if mutated!(FanInOutsideTransaction) {
            let alone = Transaction::new().window(table, &message.window, &ended.window, Some(&window.etag))?;
            app.state.commit(alone).await?;
            app.state.commit(Transaction::new().head(table, &ended.head, Some(&head.etag))?).await?;
            break ended.window.owed;
        }
        match app.state.commit(written(message, &ended, &window.etag, &head.etag)?).await {
            Ok(_) => {
                log(&ended.window, &how);
                tell(&ended.head.source, &how);
                if mutated!(DebtInHead) {
                    break ended.head.owed_plan.map(|debts| debts.messages).unwrap_or_default();
                }
                break ended.window.owed;
            }
            Err(Error::Conflict) => match met(app, message, &window, &head.etag).await? {
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
    /// The window has moved on; if it was this one's end whose answer was lost, it left debts.
    AnotherWindow(Vec<Debt>),
}

async fn met(app: &App, message: &ChunkMessage, window: &Stored<Window>, head: &ETag) -> Result<Met, Error> {
    if app.state.head(&message.table).await?.is_some_and(|now| now.etag != *head) {
        return Ok(Met::AnotherHead);
    }
    match app.state.window(&message.table, &message.window).await? {
        // The head moved after it was read.
        Some(current) if current.etag == window.etag => Ok(Met::AnotherHead),
        Some(current) if !current.record.state.is_open() => {
            tracing::info!("the window has ended already");
            let is_own = current.record.owner == window.record.owner;
            Ok(Met::AnotherWindow(if is_own { current.record.owed } else { Vec::new() }))
        }
        _ => {
            tracing::info!("somebody else has the window");
            Ok(Met::AnotherWindow(Vec::new()))
        }
    }
}

fn tell(source: &str, how: &WindowEnd) {
    let end = match how {
        // It has still to be proved.
        WindowEnd::Submitted => return,
        WindowEnd::Empty => "empty",
        WindowEnd::Split(_) => "split",
        WindowEnd::Expired(_) => "expired",
        WindowEnd::Failed(_) | WindowEnd::Refused(_) => "failed",
    };
    metrics::windows_ended(source, end, 1);
}

fn log(window: &Window, how: &WindowEnd) {
    let id = window.id;
    match (how, &window.seal) {
        (WindowEnd::Failed(error) | WindowEnd::Refused(error), _) => {
            tracing::error!(window = %id, error, "a window failed")
        }
        (WindowEnd::Submitted, Some(seal)) => {
            tracing::info!(window = %id, rows = seal.rows, raw_bytes = seal.raw_bytes, "a window was posted");
        }
        _ => tracing::info!(window = %id, state = ?window.state, "a window ended"),
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

/// The same with a pause that is not that of all others who met the same failure. Waiting for the quota is no pause: a permit
/// has its own time.
fn spread(app: &App, later: Later, attempts: u32) -> Later {
    let next = if later.own_fault { attempts + 1 } else { attempts };
    let pause = later.pause.unwrap_or_else(|| app.limits.outage_pause(next));
    Later { pause: Some(jittered(pause, app.state.random())), ..later }
}

/// Gives the claim back for another attempt, or ends the window when its attempts are used up.
///
/// # Errors
/// The state store's.
pub async fn give_back(app: &App, job: Job, later: Later) -> Result<(), Error> {
    let Job { message, window: read, .. } = job;
    let (table, name) = (&message.table, &message.window);
    let waits_for_quota = !later.own_fault && later.pause == Some(Duration::ZERO);
    let later = spread(app, later, read.record.attempts);
    let window = match chunk::give_back(table, name, &read.record, &later, app.state.now(), &app.limits) {
        Ok(GivenBack::Again(window)) => window,
        Ok(GivenBack::Failed(end)) => return commit_end(app, &message, read, end, None).await,
        Err(error) => {
            tracing::error!(%error, "a window could not be given back");
            return Ok(());
        }
    };
    let Later { error, own_fault, pause, .. } = later;
    if waits_for_quota {
        tracing::info!(error, "a window waits for its turn");
    } else {
        let pause_s = pause.unwrap_or_default().as_secs_f64();
        tracing::warn!(error, own_fault, pause_s, "a window is tried again later");
    }
    let transaction = Transaction::new().window(table, name, &window, Some(&read.etag))?;
    match app.state.commit(transaction).await {
        Ok(_) => app.state.pay(&window.owed).await,
        Err(Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}
