//! Timer `watchdog`: finds what stopped moving and carries out its repairs (`orchestration::watchdog` decides). Three
//! storage transactions when idle: the page of places, and a receive on each poison queue.

#[cfg(test)]
mod tests;

use super::chunk_worker::commit_end;
use super::control::release;
use super::orchestrator::{give_up_plan, swap_head, swap_run};
use crate::app::App;
use crate::orchestration::ids::TableKey;
use crate::orchestration::message::{ChunkMessage, ControlMessage};
use crate::orchestration::run::place::Active;
use crate::orchestration::watchdog::{self, Action, Repair, Sight, poison};
use crate::state::{CHUNK_QUEUE, CONTROL_QUEUE, Error, Stored};
use crate::storage::{Body, ETag, Message as QueueMessage};
use std::collections::HashMap;
use std::time::Duration;

/// How long a message from a poison queue stays hidden while it is dealt with.
const POISON_HIDE: Duration = Duration::from_secs(60);

/// Handles a tick.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App) -> Result<(), Error> {
    for Stored { record: place, .. } in app.state.places().await? {
        watch(app, &place).await?;
    }
    for message in received(app, CHUNK_QUEUE).await? {
        bury_chunk(app, &message).await?;
        forget(app, CHUNK_QUEUE, &message).await?;
    }
    for message in received(app, CONTROL_QUEUE).await? {
        bury_control(app, &message).await?;
        forget(app, CONTROL_QUEUE, &message).await?;
    }
    Ok(())
}

async fn watch(app: &App, place: &Active) -> Result<(), Error> {
    let run = app.state.instance(&place.instance).await?;
    let record = run.as_ref().map(|run| &run.record);
    let (tables, heads) = if watchdog::needs_tables(record) { sights(app, place).await? } else { Default::default() };
    for repair in watchdog::diagnose(place, record, &tables, app.state.now(), &app.limits) {
        let Repair { what, instance, table, action } = repair;
        tracing::warn!(instance.id = %instance, table, "repair: {what}");
        match (action, &run) {
            (Action::Send(debts), _) => app.state.pay(&debts).await?,
            (Action::Dispatch { table, head, debts }, _) => {
                app.state.pay(&debts).await?;
                match swap_head(app, &table, &head, heads.get(&table)).await {
                    // It moves after all.
                    Ok(_) | Err(Error::Conflict) => {}
                    Err(error) => return Err(error),
                }
            }
            (Action::End(ended), Some(read)) => {
                if swap_run(app, read, &ended).await? {
                    release(app, &instance).await?;
                }
            }
            (Action::End(_), None) | (Action::Leave, _) => release(app, &instance).await?,
        }
    }
    Ok(())
}

/// The tables of a run, and the versions of their heads.
async fn sights(app: &App, place: &Active) -> Result<(Vec<Sight>, HashMap<TableKey, ETag>), Error> {
    let (mut sights, mut versions) = (Vec::new(), HashMap::new());
    for Stored { record: table, .. } in app.state.tables(&place.instance).await? {
        let stored = if watchdog::needs_head(&table) { app.state.head(&table.key).await? } else { None };
        let head = stored.map(|stored| {
            versions.insert(table.key.clone(), stored.etag);
            stored.record
        });
        let windows = if watchdog::needs_windows(&place.instance, head.as_ref()) {
            app.state.windows(&table.key).await?.into_iter().map(|(name, window)| (name, window.record)).collect()
        } else {
            Vec::new()
        };
        sights.push(Sight { table, head, windows });
    }
    Ok((sights, versions))
}

async fn received(app: &App, queue: &str) -> Result<Vec<QueueMessage>, Error> {
    Ok(app.state.storage().queues.receive(&format!("{queue}-poison"), 32, POISON_HIDE).await?)
}

async fn forget(app: &App, queue: &str, message: &QueueMessage) -> Result<(), Error> {
    match app.state.storage().queues.delete(&format!("{queue}-poison"), &message.id, &message.receipt).await {
        Ok(()) => Ok(()),
        Err(error) => match Error::from(error) {
            Error::Conflict => Ok(()),
            error => Err(error),
        },
    }
}

fn decoded<T: serde::de::DeserializeOwned>(queue: &str, message: &QueueMessage) -> Option<T> {
    let decoded = match &message.body {
        Body::Bytes(bytes) => serde_json::from_slice(bytes).ok(),
        Body::Foreign(_) => None,
    };
    if decoded.is_none() {
        tracing::error!(queue, message.id, "a message that is not of this app was on the queue and is dropped");
    }
    decoded
}

async fn bury_chunk(app: &App, message: &QueueMessage) -> Result<(), Error> {
    let Some(message) = decoded::<ChunkMessage>(CHUNK_QUEUE, message) else { return Ok(()) };
    let Some(window) = app.state.window(&message.table, &message.window).await? else { return Ok(()) };
    tracing::warn!(window.id = %window.record.id, "repair: a window's message was poisoned");
    match poison::chunk(&window.record) {
        poison::Chunk::End(end) => commit_end(app, &message, window, end, None).await,
        poison::Chunk::Pay(owed) => app.state.pay(&owed).await,
    }
}

async fn bury_control(app: &App, message: &QueueMessage) -> Result<(), Error> {
    let Some(message) = decoded::<ControlMessage>(CONTROL_QUEUE, message) else { return Ok(()) };
    tracing::warn!(?message, "repair: a step's message was poisoned");
    let run = match &message {
        ControlMessage::Start { instance, .. } => app.state.instance(instance).await?,
        _ => None,
    };
    let record = run.as_ref().map(|run| &run.record);
    match (poison::control(message, record, app.state.now(), &app.limits), &run) {
        (poison::Control::Fail(failed), Some(read)) => {
            if swap_run(app, read, &failed).await? {
                release(app, &failed.id).await?;
            }
            Ok(())
        }
        (poison::Control::EndTable(instance, table, result), _) => {
            give_up_plan(app, &instance, &table, result.error.as_deref().unwrap_or_default()).await
        }
        (poison::Control::Again(debt), _) => app.state.pay(&[debt]).await,
        (poison::Control::Fail(_) | poison::Control::Drop, _) => Ok(()),
    }
}
