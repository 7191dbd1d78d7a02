//! Telling the tables that a run is at that it was stopped or held, at once: the message that does so may wait behind plans
//! for minutes, as they come from one queue.

use crate::app::App;
use crate::functions::orchestrator::move_head;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::ledger::Head;
use crate::state::{Error, readable};
use crate::timestamp::Timestamp;
use std::time::Duration;

/// How long a client waits for it at most. What is not told by then is left to the message.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does to the heads of the tables what the run's message will do again. The run has been swapped before: no other table
/// begins. A failure is no reason to refuse the client, whose message is on its way.
pub(super) async fn tell(app: &App, id: &InstanceId, rule: impl Fn(&Head, Timestamp) -> Option<Head>) {
    match tokio::time::timeout(PATIENCE, told(app, id, rule)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(instance = %id, %error, "tables of a run are told later that it stands still")
        }
        Err(_) => tracing::warn!(instance = %id, "not all tables of a run are told yet that it stands still"),
    }
}

async fn told(app: &App, id: &InstanceId, rule: impl Fn(&Head, Timestamp) -> Option<Head>) -> Result<(), Error> {
    let tables = app.state.tables(id).await?.into_iter().map(|table| table.record);
    for table in tables.filter(|table| table.started && table.result.is_none()) {
        readable(move_head(app, &table.key, &rule).await)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::functions::control::{Terminated, resume, suspend, terminate};
    use crate::functions::testing::World;
    use crate::orchestration::head::testing::table;
    use crate::orchestration::ids::InstanceId;
    use crate::orchestration::ledger::Head;
    use crate::state::Transaction;

    async fn takes_claims(world: &World) -> bool {
        !world.app.state.head(&table().key).await.unwrap().unwrap().record.stop
    }

    #[tokio::test]
    async fn a_table_takes_no_claims_once_a_termination_is_answered_however_long_its_message_waits() {
        let world = World::new();
        let id = world.at_a_table().await;
        assert!(takes_claims(&world).await);
        assert_eq!(terminate(&world.app, &id, "enough").await.unwrap(), Terminated::Now);
        assert!(!takes_claims(&world).await);
    }

    #[tokio::test]
    async fn a_table_takes_no_claims_once_a_suspension_is_answered_and_its_message_changes_nothing_any_more() {
        let world = World::new();
        let id = world.at_a_table().await;
        suspend(&world.app, &id, "a while").await.unwrap().unwrap();
        assert!(!takes_claims(&world).await);
        suspend(&world.app, &id, "a while").await.unwrap().unwrap();
        assert!(!takes_claims(&world).await);
        resume(&world.app, &id).await.unwrap().unwrap();
        assert!(!takes_claims(&world).await, "its plan message lets it go on");
    }

    #[tokio::test]
    async fn a_table_that_another_run_has_taken_goes_on() {
        let world = World::new();
        let id = world.at_a_table().await;
        let state = &world.app.state;
        let read = state.head(&table().key).await.unwrap().unwrap();
        let other = Head { run: Some(InstanceId::from_bits(77)), ..read.record };
        state.commit(Transaction::new().head(&table().key, &other, Some(&read.etag)).unwrap()).await.unwrap();
        assert_eq!(terminate(&world.app, &id, "enough").await.unwrap(), Terminated::Now);
        assert!(takes_claims(&world).await);
    }
}
