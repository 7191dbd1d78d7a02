//! The step `terminate`: the tables of a terminated run take no new claims. What is sealed goes on to be counted.

use crate::app::App;
use crate::functions::control::mark_terminated;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::ledger::Head;
use crate::state::{Error, Stored, Transaction};

/// Handles the step: does again what the door does, so that a crash in between loses nothing, then stops
/// the tables.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, instance: &InstanceId, reason: &str) -> Result<(), Error> {
    mark_terminated(app, instance, reason).await?;
    for table in app.state.tables(instance).await? {
        loop {
            let Some(Stored { record: head, etag }) = app.state.head(&table.record.key).await? else { break };
            if head.run.as_ref() != Some(instance) || head.stop {
                break;
            }
            let stopped = Head { stop: true, updated: app.state.now(), ..head };
            match app.state.commit(Transaction::new().head(&table.record.key, &stopped, Some(&etag))?).await {
                Ok(_) => break,
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
