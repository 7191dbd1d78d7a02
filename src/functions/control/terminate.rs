//! Terminating a run.

use super::{release, status_of};
use crate::app::App;
use crate::orchestration::ids::InstanceId;
pub use crate::orchestration::run::terminate::Terminated;
use crate::orchestration::run::terminate::{answer, request};
use crate::state::{Error, Stored, Transaction};

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
