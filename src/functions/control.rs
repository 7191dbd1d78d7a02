//! Starting and stopping runs, for every door that does so. The rules are in `orchestration::run`.

use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, RuntimeStatus, StartInput};
use crate::orchestration::run::place::{Entry, enter, start_debt};
pub use crate::orchestration::run::terminate::Terminated;
use crate::orchestration::run::terminate::{answer, request};
use crate::state::{Error, Stored, Transaction};
use serde_json::Value;

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
    if let Some(active) = take_place(app, &id, input.force).await? {
        return Ok(Started::Active(active));
    }
    let run = Instance::pending(id.clone(), input, raw_input, app.state.now());
    app.state.commit(Transaction::new().instance(&run, None)?).await?;
    app.state.pay(&[start_debt(&id)]).await?;
    tracing::info!(instance.id = %id, "a run was accepted");
    Ok(Started::New(id))
}

/// Takes a place for the run; gives the run that is active if that is refused.
async fn take_place(app: &App, id: &InstanceId, force: bool) -> Result<Option<InstanceId>, Error> {
    loop {
        let place = app.state.active().await?;
        let holder = match &place {
            Some(place) => status_of(app, &place.record.instance).await?,
            None => None,
        };
        let active = place.as_ref().map(|place| &place.record);
        let swap = match enter(id, force, active, holder, app.state.now(), &app.limits) {
            Entry::Take(own) => Transaction::new().active(&own, place.as_ref().map(|place| &place.etag))?,
            Entry::Beside(own) => Transaction::new().beside(&own)?,
            Entry::Refused(active) => return Ok(Some(active)),
        };
        match app.state.commit(swap).await {
            Ok(_) => return Ok(None),
            // Somebody was faster: look again.
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Terminates a run: the message that stops its tables first, then the run, so that a crash in between loses
/// nothing.
///
/// # Errors
/// The state store's.
pub async fn terminate(app: &App, id: &InstanceId, reason: &str) -> Result<Terminated, Error> {
    match request(id, status_of(app, id).await?, reason) {
        Ok(debt) => app.state.pay(&[debt]).await?,
        Err(at_once) => return Ok(at_once),
    }
    mark_terminated(app, id, reason).await?;
    Ok(answer(status_of(app, id).await?))
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

/// Frees the place of a run that is over, if it still holds one.
///
/// # Errors
/// The state store's.
pub async fn release(app: &App, id: &InstanceId) -> Result<(), Error> {
    let free = match app.state.active().await? {
        Some(place) if place.record.instance == *id => Transaction::new().release_active(&place.etag)?,
        _ => match app.state.beside(id).await? {
            Some(place) => Transaction::new().release_beside(id, &place.etag)?,
            None => return Ok(()),
        },
    };
    match app.state.commit(free).await {
        Ok(_) | Err(Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The status of a run, `None` if there is no such run.
pub async fn status_of(app: &App, id: &InstanceId) -> Result<Option<RuntimeStatus>, Error> {
    Ok(app.state.instance(id).await?.map(|run| run.record.status))
}
