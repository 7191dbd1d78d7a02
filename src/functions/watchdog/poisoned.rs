//! The poison queues: what the host gave up comes to an end that says why, and the message goes.

use super::{log, record};
use crate::app::App;
use crate::functions::chunk_worker::commit_end;
use crate::functions::notes;
use crate::functions::orchestrator::{end_unbegun, give_up, give_up_plan, runs_at, swap_head};
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::message::{ChunkMessage, ControlMessage};
use crate::orchestration::repairs::{Kind, Repaired};
use crate::orchestration::watchdog::poison::{self, Found, Note};
use crate::state::{CHUNK_QUEUE, CONTROL_QUEUE, Error, readable};
use crate::storage::{Body, Message as QueueMessage};
use crate::telemetry::ids;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument;

/// A message that was given up.
struct Dead<'a> {
    queue: &'static str,
    message: &'a QueueMessage,
    body: Value,
    note: Option<Note>,
}

/// Receives once from each poison queue and buries what comes, until `end`.
///
/// # Errors
/// The state store's.
pub async fn bury(app: &App, end: Instant) -> Result<(), Error> {
    let mut outcome = Ok(());
    for queue in [CHUNK_QUEUE, CONTROL_QUEUE] {
        let poison = format!("{queue}-poison");
        // Hidden for as long as this may take; if it is broken off, they come again.
        let received = app.state.storage().queues.receive(&poison, 32, app.limits.lease()).await;
        let messages = match received {
            Ok(messages) => messages,
            Err(error) => {
                outcome = Err(error.into());
                continue;
            }
        };
        for message in &messages {
            if Instant::now() >= end {
                tracing::info!(
                    "not all poisoned messages were dealt with in the time of one tick; a later one goes on"
                );
                return outcome;
            }
            // One that cannot be buried keeps none of the others.
            if let Err(error) = bury_one(app, queue, message).instrument(ids::part("bury")).await {
                match error.may_pass() {
                    true => {
                        tracing::warn!(queue, message_id = message.id, %error, "a poisoned message could not be dealt with; it comes again")
                    }
                    false => {
                        tracing::error!(queue, message_id = message.id, %error, "a poisoned message could not be dealt with; it comes again")
                    }
                }
                outcome = Err(error);
            }
        }
    }
    outcome
}

async fn bury_one(app: &App, queue: &'static str, message: &QueueMessage) -> Result<(), Error> {
    let read = match &message.body {
        Body::Bytes(bytes) => serde_json::from_slice::<Value>(bytes).ok(),
        Body::Foreign(_) => None,
    };
    if let Some(body) = read {
        let note = notes::find(app, &body).await;
        let dead = Dead { queue, message, body, note };
        let buried = match queue {
            CHUNK_QUEUE => bury_chunk(app, &dead).await,
            _ => bury_control(app, &dead).await.map(|()| true),
        };
        match buried {
            Ok(true) => {}
            // Not received again before its lease is over.
            Ok(false) => return Ok(()),
            Err(error @ Error::Unreadable { .. }) => bury_table(app, &dead, error).await?,
            Err(error) => return Err(error),
        }
        notes::remove(app, &dead.body, u32::MAX).await;
    } else {
        tracing::error!(queue, message_id = message.id, "a message that is not JSON was given up and is dropped");
    }
    forget(app, queue, message).await
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

impl Dead<'_> {
    fn decoded<T: DeserializeOwned>(&self) -> Option<T> {
        let Self { queue, message, note, .. } = self;
        match T::deserialize(&self.body) {
            Ok(decoded) => Some(decoded),
            Err(error) => {
                let reason = note.as_ref().map(|note| note.reason.as_str());
                tracing::error!(queue, message_id = message.id, reason, %error, "a message that is not of this app is dropped");
                None
            }
        }
    }

    /// The id under which the host and the handler log the message, if it is known.
    fn id(&self) -> Option<&str> {
        self.note.as_ref().map(|note| note.message.as_str())
    }
}

/// Ends the table that the message is about, in the run that is at it: a record of its ledger cannot be read, and no message that needs it
/// comes to anything. Nothing waits for the message of any other table.
///
/// # Errors
/// `error` itself where the message is about no table; the state store's.
async fn bury_table(app: &App, dead: &Dead<'_>, error: Error) -> Result<(), Error> {
    let Some(key) = table_of(&dead.body) else { return Err(error) };
    let head = readable(app.state.head(&key).await)?.map(|head| head.map(|head| head.record));
    let (table, runs) = match head {
        Some(head) => {
            (head.as_ref().map(|head| head.source.clone()), head.and_then(|head| head.run).into_iter().collect())
        }
        None => (None, runs_at(app, &key).await?),
    };
    for run in runs {
        give_up(app, &run, &key, &poison::unread(&error.to_string())).await?;
        let made = Repaired { at: app.state.now(), kind: Kind::StepPoisoned, table: table.clone(), window: None };
        log(Some(&run), &made, dead.id());
        record(app, Some(&run), &[made]).await?;
    }
    Ok(())
}

/// The table that a message of either queue is about, if it is about one.
fn table_of(body: &Value) -> Option<TableKey> {
    TableKey::deserialize(body.get("table")?).ok()
}

/// Gives whether the message can go.
async fn bury_chunk(app: &App, dead: &Dead<'_>) -> Result<bool, Error> {
    let Some(message) = dead.decoded::<ChunkMessage>() else { return Ok(true) };
    let Some(window) = app.state.window(&message.table, &message.window).await? else {
        tracing::info!(window = message.window.as_str(), "a poisoned message names a window that is gone");
        return Ok(true);
    };
    let head = app.state.head(&message.table).await?.map(|head| head.record);
    ids::window(&window.record.id, window.record.id.generation, window.record.posts);
    if let Some(head) = &head {
        ids::table(&head.source);
        if let Some(run) = &head.run {
            ids::instance(run);
        }
    }
    let made = Repaired {
        at: app.state.now(),
        kind: Kind::WindowPoisoned,
        table: head.as_ref().map(|head| head.source.clone()),
        window: Some(window.record.id.to_string()),
    };
    match poison::chunk(&window.record, head.as_ref(), dead.note.as_ref(), app.state.now(), &app.limits) {
        poison::Chunk::End(end) => commit_end(app, &message, window, end, None).await?,
        poison::Chunk::Pay(owed) => app.state.pay(&owed).await?,
        poison::Chunk::Wait => return Ok(false),
    }
    let run = head.and_then(|head| head.run);
    log(run.as_ref(), &made, dead.id());
    record(app, run.as_ref(), &[made]).await?;
    Ok(true)
}

async fn bury_control(app: &App, dead: &Dead<'_>) -> Result<(), Error> {
    let Some(message) = dead.decoded::<ControlMessage>() else { return Ok(()) };
    let (id, head) = match &message {
        ControlMessage::Verify { table, .. } => (None, app.state.head(table).await?),
        ControlMessage::Plan { instance, table, .. } => (Some(instance), app.state.head(table).await?),
        ControlMessage::Start { instance, .. }
        | ControlMessage::Terminate { instance, .. }
        | ControlMessage::Suspend { instance, .. }
        | ControlMessage::Resume { instance, .. } => (Some(instance), None),
    };
    let (head, version) = head.map(|head| (head.record, head.etag)).unzip();
    let id: Option<InstanceId> = id.cloned().or_else(|| head.as_ref().and_then(|head| head.run.clone()));
    let run = match &id {
        Some(id) => app.state.instance(id).await?,
        None => None,
    };
    let table = head.as_ref().map(|head| head.source.clone());
    let made = Repaired { at: app.state.now(), kind: Kind::StepPoisoned, table, window: None };
    let found = Found { run: run.as_ref().map(|run| &run.record), head: head.as_ref() };
    match (poison::control(message, found, dead.note.as_ref(), app.state.now(), &app.limits), &run) {
        (poison::Control::Fail(failed), Some(read)) => {
            ids::instance(&failed.id);
            end_unbegun(app, read, &failed).await?;
        }
        (poison::Control::GiveUpPlan(instance, table, error), _) => {
            give_up_plan(app, &instance, &table, &error).await?
        }
        (poison::Control::GiveUp(instance, table, error), _) => give_up(app, &instance, &table, &error).await?,
        (poison::Control::AgainWith(table, head, debt), _) => {
            match swap_head(app, &table, &head, version.as_ref()).await {
                // It moves after all.
                Ok(_) | Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
            app.state.pay(&[debt]).await?;
        }
        (poison::Control::Again(debt), _) => app.state.pay(&[debt]).await?,
        (poison::Control::Fail(_) | poison::Control::Drop, _) => {}
    }
    log(id.as_ref(), &made, dead.id());
    record(app, id.as_ref(), &[made]).await
}
