//! Starting a run: its place and its entry in the list in one transaction, then the run, then its message.

use super::again::pay_again;
use super::place::take;
use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, StartInput};
use crate::orchestration::run::listed::Listed;
use crate::orchestration::run::place::{Active, start_debt};
use crate::state::{Error, Transaction};
use serde_json::Value;

/// What became of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// A new run.
    New(InstanceId),
    /// This run was started before, by the same request.
    Before(InstanceId),
    /// Refused: this one is active.
    Active(InstanceId),
}

/// Starts a run unless one is active (or `input.force`).
///
/// # Errors
/// The state store's.
pub async fn start(app: &App, input: StartInput, raw_input: Value) -> Result<Started, Error> {
    start_as(app, InstanceId::from_bits(app.state.random()), input, raw_input).await
}

/// Starts the run of that id, once: whoever may ask again for the same run gives it an id that says so.
///
/// # Errors
/// The state store's.
pub async fn start_as(app: &App, id: InstanceId, input: StartInput, raw_input: Value) -> Result<Started, Error> {
    if let Some(before) = before(app, &id).await? {
        return Ok(before);
    }
    let run = Instance::pending(id.clone(), input, raw_input, app.state.now());
    let place = Active { instance: id.clone(), since: run.created, life: run.lives };
    if let Some(active) = take(app, &place, Some(&Listed::of(&run)), run.input.force).await? {
        // Its start may have broken off before it sent its message, and then its client asks once more.
        before(app, &active).await?;
        return Ok(Started::Active(active));
    }
    match app.state.commit(Transaction::new().instance(&run, None)?).await {
        Ok(_) => {}
        // The same request, at the same time.
        Err(Error::Conflict) => return Ok(before(app, &id).await?.unwrap_or(Started::Before(id))),
        Err(error) => return Err(error),
    }
    app.state.pay(&[start_debt(&id)]).await?;
    tracing::info!(instance = %id, "a run was accepted");
    Ok(Started::New(id))
}

/// A start that is repeated pays again; `None` when there is no such run yet.
async fn before(app: &App, id: &InstanceId) -> Result<Option<Started>, Error> {
    let Some(run) = app.state.instance(id).await? else { return Ok(None) };
    pay_again(app, &run.record).await?;
    Ok(Some(Started::Before(id.clone())))
}
