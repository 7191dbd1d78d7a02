//! Terminating a run.

use super::tell::tell;
use super::{release, status_of};
use crate::app::App;
use crate::orchestration::head::stop::stop;
use crate::orchestration::ids::InstanceId;
pub use crate::orchestration::run::terminate::Terminated;
use crate::orchestration::run::terminate::{answer, is_meant, request};
use crate::state::{Error, Stored, Transaction};
use crate::telemetry::metrics;
use crate::timestamp::Timestamp;

/// Terminates a run: the message that stops its tables first, then the run, so that a crash in between loses
/// nothing; then its tables, which the message stops again.
///
/// # Errors
/// The state store's.
pub async fn terminate(app: &App, id: &InstanceId, reason: &str) -> Result<Terminated, Error> {
    let run = app.state.instance(id).await?.map(|run| run.record);
    match request(run.as_ref(), reason) {
        Ok(debt) => app.state.pay(&[debt]).await?,
        Err(at_once) => return Ok(at_once),
    }
    let (life, created) = run.map_or((0, None), |run| (run.lives, Some(run.created)));
    if mark_terminated(app, id, life, created, reason).await? {
        tell(app, id, |head, now| stop(head, id, life, now)).await;
    }
    Ok(answer(status_of(app, id).await?))
}

/// Swaps a run that has not ended to `Terminated`, and frees its place. Gives false when there is nothing to stop: this
/// life of the run is over and another one goes on, or the run accepted at `created` is forgotten.
///
/// # Errors
/// The state store's.
pub async fn mark_terminated(
    app: &App,
    id: &InstanceId,
    life: u32,
    created: Option<Timestamp>,
    reason: &str,
) -> Result<bool, Error> {
    loop {
        let Some(Stored { record: run, etag }) = app.state.instance(id).await? else { return Ok(false) };
        if !is_meant(&run, life, created) {
            return Ok(false);
        }
        let Ok(terminated) = run.terminated(reason, app.state.now()) else { break };
        match app.state.commit(Transaction::new().instance(&terminated, Some(&etag))?).await {
            Ok(_) => {
                tracing::info!(instance = %id, reason, "a run was terminated");
                metrics::run_ended(terminated.status.name());
                break;
            }
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    release(app, id).await?;
    Ok(true)
}
