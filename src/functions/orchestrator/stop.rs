//! The step `terminate`: the tables of a terminated run take no new claims. What is sealed goes on to be counted.

use super::store;
use crate::app::App;
use crate::functions::control::mark_terminated;
use crate::orchestration::head::stop::stop;
use crate::orchestration::ids::InstanceId;
use crate::state::{Error, readable};
use crate::timestamp::Timestamp;

/// Handles the step: does again what the door does, so that a crash in between loses nothing, then stops
/// the tables.
///
/// # Errors
/// The state store's.
pub async fn handle(
    app: &App,
    instance: &InstanceId,
    life: u32,
    created: Option<Timestamp>,
    reason: &str,
) -> Result<(), Error> {
    if !mark_terminated(app, instance, life, created, reason).await? {
        return Ok(());
    }
    for table in app.state.tables(instance).await? {
        readable(store::move_head(app, &table.record.key, |head, now| stop(head, instance, life, now)).await)?;
    }
    Ok(())
}
