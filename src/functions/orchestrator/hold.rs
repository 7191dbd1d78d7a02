//! The steps `suspend` and `resume`: do again what the door does, so that a crash in between loses nothing, then tell
//! the tables.

use super::store;
use crate::app::App;
use crate::functions::control::{apply_resumption, apply_suspension};
use crate::orchestration::head::hold::hold;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::run::resume::owed;
use crate::state::{Error, readable};
use crate::timestamp::Timestamp;

/// Handles a suspension: the tables take no new claims. What is sealed goes on to be counted.
///
/// # Errors
/// The state store's.
pub async fn suspend(
    app: &App,
    id: &InstanceId,
    number: u64,
    created: Option<Timestamp>,
    reason: &str,
) -> Result<(), Error> {
    let Some(run) = apply_suspension(app, id, number, created, reason).await? else { return Ok(()) };
    for table in app.state.tables(id).await? {
        readable(store::move_head(app, &table.record.key, |head, now| hold(head, id, run.holds, now)).await)?;
    }
    Ok(())
}

/// Handles a resumption: each table that was at work is sent one message, which dispatches what waits in it.
///
/// # Errors
/// The state store's.
pub async fn resume(app: &App, id: &InstanceId, number: u64, created: Option<Timestamp>) -> Result<(), Error> {
    let Some(run) = apply_resumption(app, id, number, created).await? else { return Ok(()) };
    let tables: Vec<_> = app.state.tables(id).await?.into_iter().map(|table| table.record).collect();
    app.state.pay(&owed(&run, &tables)).await
}
