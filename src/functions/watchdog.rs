//! Timer `watchdog`: the third line of defence. Finds what stopped moving and sends the lost message again; in normal
//! operation it repairs nothing, so every repair is a warning. Three storage transactions when idle.

use super::chunk_worker::commit_end;
use super::control::{release, start_debt};
use super::orchestrator::end_table;
use crate::app::App;
use crate::orchestration::fan_in::WindowEnd;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::{Instance, RuntimeStatus, TableResult, TableRun};
use crate::orchestration::ledger::{Head, TableState};
use crate::orchestration::message::{ChunkMessage, ControlMessage, Debt};
use crate::orchestration::window::WindowState;
use crate::state::{CHUNK_QUEUE, CONTROL_QUEUE, Error, Stored, Transaction};
use crate::storage::{Body, Message as QueueMessage};
use std::time::Duration;
use tokio::time::Instant;

/// How long a message from a poison queue stays hidden while it is dealt with.
const POISON_HIDE: Duration = Duration::from_secs(60);

/// Handles a tick.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App) -> Result<(), Error> {
    watch_active_run(app).await?;
    for message in poison(app, CHUNK_QUEUE).await? {
        bury_chunk(app, &message).await?;
        forget(app, CHUNK_QUEUE, &message).await?;
    }
    for message in poison(app, CONTROL_QUEUE).await? {
        bury_control(app, &message).await?;
        forget(app, CONTROL_QUEUE, &message).await?;
    }
    Ok(())
}

async fn watch_active_run(app: &App) -> Result<(), Error> {
    let Some(Stored { record: active, .. }) = app.state.active().await? else { return Ok(()) };
    let now = app.state.now();
    let Some(Stored { record: run, .. }) = app.state.instance(&active.instance).await? else {
        if now.since(active.since) > app.limits.lost_after {
            tracing::warn!(instance.id = %active.instance, "repair: the active run does not exist and is released");
            release(app, &active.instance).await?;
        }
        return Ok(());
    };
    match run.status {
        RuntimeStatus::Pending if now.since(run.updated) > app.limits.lost_after => {
            tracing::warn!(instance.id = %run.id, "repair: the run was never begun; its start is sent again");
            app.state.pay(&[start_debt(&run.id)]).await
        }
        RuntimeStatus::Running => watch_tables(app, &run).await,
        status if status.is_final() => {
            tracing::warn!(instance.id = %run.id, "repair: the run has ended and is released");
            release(app, &run.id).await
        }
        _ => Ok(()),
    }
}

async fn watch_tables(app: &App, run: &Instance) -> Result<(), Error> {
    for Stored { record: table, .. } in app.state.tables(&run.id).await? {
        if table.started && table.result.is_none() {
            watch_table(app, run, &table).await?;
        }
    }
    Ok(())
}

async fn watch_table(app: &App, run: &Instance, table: &TableRun) -> Result<(), Error> {
    let now = app.state.now();
    let limits = &app.limits;
    let head = app.state.head(&table.key).await?.map(|head| head.record);
    let Some(head) = head.filter(|head| head.run.as_ref() == Some(&run.id)) else {
        if now.since(run.updated) > limits.lease() + limits.lost_after {
            repair(table, "its plan is sent again");
            return send_plan(app, &run.id, &table.key).await;
        }
        return Ok(());
    };
    let quiet = now.since(head.plan_due.map_or(head.updated, |due| due.max(head.updated)));
    match head.state {
        TableState::Planning | TableState::Idle if quiet > limits.lease() + limits.clock_margin => {
            repair(table, "its plan is sent again");
            send_plan(app, &run.id, &table.key).await
        }
        TableState::Running => watch_windows(app, table, &head).await,
        TableState::Finishing if quiet > limits.lost_after => {
            repair(table, "its end is sent again");
            send_verify(app, &table.key, head.verify_number).await
        }
        _ => Ok(()),
    }
}

async fn watch_windows(app: &App, table: &TableRun, head: &Head) -> Result<(), Error> {
    let now = app.state.now();
    let limits = &app.limits;
    if let Some(due) = &head.verify
        && now.since(due.at) > limits.lost_after
    {
        repair(table, "its count is sent again");
        send_verify(app, &table.key, due.number).await?;
    }
    if head.counts.open == 0 || head.stop {
        return Ok(());
    }
    let mut held = 0;
    let mut planned = Vec::new();
    for (name, window) in app.state.windows(&table.key).await? {
        match window.record.state {
            WindowState::Claimed | WindowState::Sealed => {
                held += 1;
                if window.record.lease_until.is_none_or(|until| now > until + limits.clock_margin) {
                    repair(table, "a window whose worker is gone is sent again");
                    app.state.pay(&[Debt::chunk(&table.key, name)]).await?;
                }
            }
            WindowState::Planned => planned.push(name),
            _ => {}
        }
    }
    if held == 0 && now.since(head.moved) > limits.stall_after {
        repair(table, "it stands still; its next windows are sent again");
        let debts: Vec<Debt> =
            planned.into_iter().take(limits.lanes as usize).map(|name| Debt::chunk(&table.key, name)).collect();
        app.state.pay(&debts).await?;
    }
    Ok(())
}

fn repair(table: &TableRun, what: &'static str) {
    tracing::warn!(table = table.config.source, "repair: {what}");
}

async fn send_plan(app: &App, instance: &InstanceId, table: &TableKey) -> Result<(), Error> {
    let plan = ControlMessage::Plan { instance: instance.clone(), table: table.clone(), attempt: 0 };
    app.state.pay(&[Debt::control(plan, Duration::ZERO)]).await
}

async fn send_verify(app: &App, table: &TableKey, number: u64) -> Result<(), Error> {
    app.state.pay(&[Debt::control(ControlMessage::Verify { table: table.clone(), number }, Duration::ZERO)]).await
}

async fn poison(app: &App, queue: &str) -> Result<Vec<QueueMessage>, Error> {
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

const GAVE_UP: &str = "the host gave up its message after 10 deliveries; the handler's log says why";

async fn bury_chunk(app: &App, message: &QueueMessage) -> Result<(), Error> {
    let Some(message) = decoded::<ChunkMessage>(CHUNK_QUEUE, message) else { return Ok(()) };
    let Some(window) = app.state.window(&message.table, &message.window).await? else { return Ok(()) };
    tracing::warn!(window.id = %window.record.id, "repair: a window's message was poisoned");
    match window.record.state {
        WindowState::Planned | WindowState::Claimed => {
            commit_end(app, &message, window, WindowEnd::Failed(GAVE_UP.to_owned()), None).await
        }
        WindowState::Sealed => commit_end(app, &message, window, WindowEnd::Submitted, None).await,
        _ => app.state.pay(&window.record.owed).await,
    }
}

async fn bury_control(app: &App, message: &QueueMessage) -> Result<(), Error> {
    let Some(message) = decoded::<ControlMessage>(CONTROL_QUEUE, message) else { return Ok(()) };
    tracing::warn!(?message, "repair: a step's message was poisoned");
    match message {
        ControlMessage::Start { instance, .. } => {
            let Some(Stored { record, etag }) = app.state.instance(&instance).await? else { return Ok(()) };
            if record.status != RuntimeStatus::Pending {
                return Ok(());
            }
            let Ok(failed) = record.failed(&format!("the run could not begin: {GAVE_UP}"), app.state.now()) else {
                return Ok(());
            };
            app.state.commit(Transaction::new().instance(&failed, Some(&etag))?).await?;
            release(app, &instance).await
        }
        ControlMessage::Plan { instance, table, .. } => {
            let result = TableResult {
                error: Some(format!("the table could not be planned: {GAVE_UP}")),
                ..TableResult::default()
            };
            let services = app.services.as_ref().ok().map(|services| &**services);
            end_table(app, services, &instance, &table, result, &[], Instant::now() + app.limits.invocation_deadline)
                .await
        }
        again @ (ControlMessage::Verify { .. } | ControlMessage::Terminate { .. }) => {
            app.state.pay(&[Debt::control(again, app.limits.verify_longest)]).await
        }
    }
}
