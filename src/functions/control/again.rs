//! Beginning a run again under its own id, for rewind and restart (`orchestration::run::restart`): the place, the heads
//! that its former life holds, the run, its message.

use super::place::{give_back, take};
use crate::app::App;
use crate::functions::orchestrator::move_head;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::Instance;
use crate::orchestration::run::place::{repeated, start_debt};
use crate::orchestration::run::restart::{Again, let_go};
use crate::state::{Error, Transaction};
use crate::storage::ETag;

/// Begins a run again that was over when it was read at `etag`; gives the run that is active if that is refused, or
/// this one's id if somebody else was faster.
///
/// # Errors
/// The state store's.
pub async fn begin_again(app: &App, again: &Again, etag: &ETag) -> Result<Option<InstanceId>, Error> {
    let Again { run, place, listed } = again;
    if let Some(active) = take(app, place, listed.as_ref(), run.input.force).await? {
        return Ok(Some(active));
    }
    for table in app.state.tables(&run.id).await? {
        leave(app, &run.id, run.lives, &table.record.key).await?;
    }
    match app.state.commit(Transaction::new().instance(run, Some(etag))?).await {
        Ok(_) => {}
        Err(Error::Conflict) => {
            give_back(app, place).await?;
            return Ok(Some(run.id.clone()));
        }
        Err(error) => return Err(error),
    }
    app.state.pay(&[start_debt(&run.id)]).await?;
    tracing::info!(instance = %run.id, "a run begins again");
    Ok(None)
}

/// Sends the message of a run again that has not begun: who asked for the run may have got no answer because of a crash before
/// the message, and asks once more.
///
/// # Errors
/// The state store's.
pub async fn pay_again(app: &App, run: &Instance) -> Result<(), Error> {
    app.state.pay(&repeated(run)).await
}

/// Lets go of a table that the lives of the run before `life`, which are over, still hold.
///
/// # Errors
/// The state store's.
pub(super) async fn leave(app: &App, id: &InstanceId, life: u32, key: &TableKey) -> Result<(), Error> {
    move_head(app, key, |head, now| let_go(head, id, life, now)).await
}
