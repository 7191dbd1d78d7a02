//! Starting and stopping runs, for every door that does so.

use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, RuntimeStatus, StartInput};
use crate::orchestration::message::{ControlMessage, Debt};
use crate::state::{Active, Error, Stored, Transaction};
use serde_json::Value;
use std::time::Duration;

/// What became of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// A new run.
    New(InstanceId),
    /// Refused: this one is active.
    Active(InstanceId),
}

/// Starts a run unless one is active (or `input.force`).
///
/// # Errors
/// The state store's.
pub async fn start(app: &App, input: StartInput, raw_input: Value) -> Result<Started, Error> {
    let id = InstanceId::from_bits(app.state.random());
    while let Some(active) = try_to_become_active(app, &id).await? {
        if active != id && input.force {
            break;
        }
        if active != id {
            return Ok(Started::Active(active));
        }
    }
    let run = Instance::pending(id.clone(), input, raw_input, app.state.now());
    app.state.commit(Transaction::new().instance(&run, None)?).await?;
    app.state.pay(&[start_debt(&id)]).await?;
    tracing::info!(instance.id = %id, "a run was accepted");
    Ok(Started::New(id))
}

/// The message that sets a pending run going.
pub fn start_debt(id: &InstanceId) -> Debt {
    Debt::control(ControlMessage::Start { instance: id.clone(), attempt: 0 }, Duration::ZERO)
}

/// `None`: the place is ours. `Some(other)`: that run is active. `Some(id)` of our own: somebody was faster; look
/// again.
async fn try_to_become_active(app: &App, id: &InstanceId) -> Result<Option<InstanceId>, Error> {
    let now = app.state.now();
    let place = app.state.active().await?;
    if let Some(Stored { record, .. }) = &place {
        let run = app.state.instance(&record.instance).await?;
        let over = match run {
            Some(run) => run.record.status.is_final(),
            None => now.since(record.since) > app.limits.lost_after,
        };
        if !over {
            return Ok(Some(record.instance.clone()));
        }
    }
    let active = Active { instance: id.clone(), since: now };
    let swap = Transaction::new().active(&active, place.as_ref().map(|place| &place.etag))?;
    match app.state.commit(swap).await {
        Ok(_) => Ok(None),
        Err(Error::Conflict) => Ok(Some(id.clone())),
        Err(error) => Err(error),
    }
}

/// What became of a terminate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminated {
    /// The run is terminated.
    Now,
    /// It had ended before.
    TooLate,
    /// There is no such run.
    Unknown,
}

/// Terminates a run: the message that stops its tables first, then the run, so that a crash in between loses
/// nothing.
///
/// # Errors
/// The state store's.
pub async fn terminate(app: &App, id: &InstanceId, reason: &str) -> Result<Terminated, Error> {
    match status_of(app, id).await? {
        None => return Ok(Terminated::Unknown),
        Some(status) if status.is_final() => return Ok(Terminated::TooLate),
        Some(_) => {}
    }
    let message = ControlMessage::Terminate { instance: id.clone(), reason: reason.to_owned() };
    app.state.pay(&[Debt::control(message, Duration::ZERO)]).await?;
    mark_terminated(app, id, reason).await?;
    // The message's handler may have been faster; only another end is too late.
    Ok(match status_of(app, id).await? {
        Some(RuntimeStatus::Terminated) => Terminated::Now,
        _ => Terminated::TooLate,
    })
}

/// Swaps a run that has not ended to `Terminated`, and frees its place.
///
/// # Errors
/// The state store's.
pub async fn mark_terminated(app: &App, id: &InstanceId, reason: &str) -> Result<(), Error> {
    while let Some(Stored { record: run, etag }) = app.state.instance(id).await? {
        let Ok(terminated) = run.terminated(reason, app.state.now()) else { break };
        match app.state.commit(Transaction::new().instance(&terminated, Some(&etag))?).await {
            Ok(_) => {
                tracing::info!(instance.id = %id, reason, "a run was terminated");
                break;
            }
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    release(app, id).await
}

/// Frees the place of the active run if this one, now final, still holds it.
///
/// # Errors
/// The state store's.
pub async fn release(app: &App, id: &InstanceId) -> Result<(), Error> {
    let Some(Stored { record, etag }) = app.state.active().await? else { return Ok(()) };
    if record.instance != *id {
        return Ok(());
    }
    match app.state.commit(Transaction::new().release_active(&etag)?).await {
        Ok(_) | Err(Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The status of a run, `None` if there is no such run.
pub async fn status_of(app: &App, id: &InstanceId) -> Result<Option<RuntimeStatus>, Error> {
    Ok(app.state.instance(id).await?.map(|run| run.record.status))
}
