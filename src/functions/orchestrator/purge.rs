//! Retention of windows: old ones leave the ledger of a table that no run holds (`orchestration::head::purge`). A run that has
//! planned a table does that at its end; where no plan comes of it, or the table is in no run any more, whoever ends it or
//! forgets its last run does.

use super::store;
use crate::app::App;
use crate::orchestration::head::purge::{is_at_rest, old_ones, purge};
use crate::orchestration::ids::TableKey;
use crate::orchestration::write::Seen;
use crate::state::{Error, Stored};
use crate::storage::ETag;
use tokio::time::Instant;

/// Removes old windows from a table unless a run holds it. What does not fit the time is for the next one who comes by.
///
/// # Errors
/// The state store's.
pub async fn purge_table(app: &App, key: &TableKey, deadline: Instant) -> Result<(), Error> {
    let head = app.state.head(key).await?;
    if !head.is_some_and(|head| is_at_rest(&head.record)) {
        return Ok(());
    }
    let windows = store::windows(app, key).await?;
    purge_windows(app, key, windows, deadline).await
}

/// The same where all windows of the table were read before.
///
/// # Errors
/// The state store's.
pub async fn purge_windows(
    app: &App,
    key: &TableKey,
    windows: Vec<Seen<ETag>>,
    deadline: Instant,
) -> Result<(), Error> {
    let now = app.state.now();
    let mut windows = old_ones(windows, now, &app.limits);
    if windows.is_empty() {
        return Ok(());
    }
    let Some(Stored { record: mut head, mut etag }) = app.state.head(key).await? else { return Ok(()) };
    while Instant::now() < deadline
        && let Some(write) = purge(&head, &mut windows, now, &app.limits)
    {
        match store::table(app, key, &write, &etag).await {
            Ok(next) => etag = next,
            // Another run has the table.
            Err(Error::Conflict) => break,
            Err(error) => return Err(error),
        }
        tracing::info!(
            table = head.source,
            windows = write.windows.len(),
            "windows older than HISTORY_DAYS are purged"
        );
        head = write.head;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;
    use crate::functions::control::{Started, start};
    use crate::functions::testing::World;
    use crate::orchestration::head::testing::{key, table};
    use crate::orchestration::instance::{RuntimeStatus, StartInput, TableRun};
    use crate::state::Transaction;
    use serde_json::json;
    use std::time::Duration;

    #[tokio::test]
    async fn old_windows_below_the_watermark_leave_the_store_and_stay_counted() {
        let world = World::new();
        let state = &world.app.state;
        world.long_copied().await;
        let deadline = Instant::now() + Duration::from_secs(60);
        let purge = async || {
            let windows = store::windows(&world.app, &key()).await.unwrap();
            purge_windows(&world.app, &key(), windows, deadline).await.unwrap();
            store::windows(&world.app, &key()).await.unwrap().len()
        };
        assert_eq!(purge().await, 200, "none is old yet");
        world.clock.forward(31 * 86_400);
        assert_eq!(purge().await, 50, "above the watermark they stay");
        assert_eq!(state.head(&key()).await.unwrap().unwrap().record.purged.verified, 150);
    }

    #[tokio::test]
    async fn old_windows_of_a_table_that_ends_without_a_plan_leave_the_store_too() {
        let world = World::new();
        let state = &world.app.state;
        world.long_copied().await;
        world.clock.forward(31 * 86_400);
        let Started::New(id) = start(&world.app, StartInput::default(), json!({})).await.unwrap() else { panic!() };
        world.change(&id, |run| (run.status, run.tables_total) = (RuntimeStatus::Running, 1)).await;
        let row = TableRun { started: true, ..table() };
        state.commit(Transaction::new().table(&id, &row, None).unwrap()).await.unwrap();
        plan::handle(&world.app, &id, &key(), 0, "m").await.unwrap();
        let said = state.table(&id, &key()).await.unwrap().unwrap().record.result.unwrap();
        assert_eq!(said.error.as_deref(), Some("no settings"));
        assert_eq!(store::windows(&world.app, &key()).await.unwrap().len(), 50, "those above the watermark stay");
    }

    #[tokio::test]
    async fn a_purge_of_windows_that_runs_out_of_time_goes_on_the_next_time() {
        let world = World::new();
        let state = &world.app.state;
        world.long_copied().await;
        world.clock.forward(31 * 86_400);
        let left = async |deadline| {
            let windows = store::windows(&world.app, &key()).await.unwrap();
            purge_windows(&world.app, &key(), windows, deadline).await.unwrap();
            store::windows(&world.app, &key()).await.unwrap().len()
        };
        assert_eq!(left(Instant::now()).await, 200, "no time is left");
        // Broken off after its first transaction.
        let mut seen = store::windows(&world.app, &key()).await.unwrap();
        let head = state.head(&key()).await.unwrap().unwrap();
        let first = purge(&head.record, &mut seen, state.now(), &world.app.limits).unwrap();
        store::table(&world.app, &key(), &first, &head.etag).await.unwrap();
        assert_eq!(left(Instant::now() + Duration::from_secs(60)).await, 50);
        assert_eq!(state.head(&key()).await.unwrap().unwrap().record.purged.verified, 150);
    }
}
