//! The step `verify` of a table: counts its submitted windows in ADX, records what that proves, and goes on until
//! none is left.

mod acts;
mod judging;
mod looks;
mod source;

use super::finish::finish_table;
use super::store;
use crate::adx::catalog::Tally;
use crate::app::{App, Services};
use crate::orchestration::head::stop::stop_with;
use crate::orchestration::head::verify::{self as rules, Count, Look, Part, Recorded, Verdicts};
use crate::orchestration::ids::TableKey;
use crate::orchestration::ledger::{Head, ProofFigures};
use crate::orchestration::limits::TRANSACTION_WINDOWS;
use crate::orchestration::null_watermarks;
use crate::orchestration::verification::Verdict;
use crate::state::{Error, Stored};
use crate::storage::ETag;
use crate::telemetry::{ids, metrics};
use crate::timestamp::Timestamp;
use judging::Counting;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

type Judged = rules::Judged<ETag>;

/// Handles the step.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, key: &TableKey, asked: Count<'_>) -> Result<(), Error> {
    let Some(Stored { record: head, .. }) = app.state.head(key).await? else { return Ok(()) };
    ids::table(&head.source);
    if let Some(run) = &head.run {
        ids::instance(run);
    }
    let head = as_its_run_is(app, key, head, asked).await?;
    let services = match &app.services {
        Ok(services) => services,
        Err(reason) => {
            tracing::error!(reason, table = head.source, "the table cannot be counted with these settings");
            let pause = app.limits.verify_longest;
            store::move_head(app, key, |head, now| rules::postponed(key, head, asked, pause, now)).await?;
            return pay_for(app, key, asked).await;
        }
    };
    let run = match rules::look(&head, asked) {
        Look::Over => return Ok(()),
        Look::Again(owed) => return app.state.pay(&owed).await,
        Look::Finish(run) => return finish_table(app, services, &run, key, asked.message).await,
        Look::Count(run) => run,
    };
    let deadline = Instant::now() + app.limits.working_time();
    let (windows, now) = (store::windows(app, key).await?, app.state.now());
    let doubtful = rules::to_count_again(&head, &windows);
    let to_come = null_watermarks::to_come(&head, windows.iter().map(|seen| &seen.window));
    let Some(submitted) = rules::to_count(&head, windows, now, &app.limits) else { return Ok(()) };
    // What was found out has to be recorded in the same invocation.
    let judging = Instant::now() + app.limits.invocation_deadline / 2;
    let tally = Arc::new(Tally::default());
    let counting =
        Counting { app, services, catalog: services.catalog.tallied(&tally), head: &head, deadline: judging };
    let (mut judged, calls) = counting.judge_all(submitted, to_come).await;
    let again = counting.judge_all_again(doubtful).await;
    // Until what is removed of them is gone, they are counted again.
    let is_mended = |again: &Vec<Judged>| !again.iter().any(|judged| matches!(judged.verdict, Verdict::Remove(_)));
    let part = if again.as_ref().is_some_and(is_mended) { Part::LastWithAgain } else { Part::Last };
    judged.extend(again.into_iter().flatten());
    let proof = ProofFigures { queries: tally.queries(), commands: tally.commands(), ..ProofFigures::default() };
    match record(app, services, key, asked, CountOutcome { judged, part, took: Took { proof, calls } }, deadline)
        .await?
    {
        Some(through) if through => finish_table(app, services, &run, key, asked.message).await,
        Some(_) => Ok(()),
        None => count_again(app, key, asked, app.limits.verify_first).await,
    }
}

/// Sends what a message owes for putting its step off, if it was this one that did.
///
/// # Errors
/// The state store's.
pub async fn pay_for(app: &App, key: &TableKey, asked: Count<'_>) -> Result<(), Error> {
    let Some(head) = app.state.head(key).await? else { return Ok(()) };
    app.state.pay(&rules::owed_by(&head.record, asked)).await
}

/// The head, stopped if its run was terminated and the message that tells so was lost: one read for each count, which reads the whole
/// table besides.
async fn as_its_run_is(app: &App, key: &TableKey, head: Head, asked: Count<'_>) -> Result<Head, Error> {
    let Some(id) = head.run.as_ref().filter(|_| rules::is_current(&head, asked.number)) else { return Ok(head) };
    let Some(run) = app.state.instance(id).await? else { return Ok(head) };
    if stop_with(&head, &run.record, app.state.now()).is_none() {
        return Ok(head);
    }
    tracing::info!(instance = %run.record.id, table = head.source, "a table stops with its run, which was terminated");
    store::move_head(app, key, |head, now| stop_with(head, &run.record, now)).await?;
    Ok(app.state.head(key).await?.map_or(head, |read| read.record))
}

/// Sends the message of a count that came to nothing again, unless another one has taken over.
async fn count_again(app: &App, key: &TableKey, asked: Count<'_>, pause: Duration) -> Result<(), Error> {
    let head = app.state.head(key).await?;
    let again = head.and_then(|head| rules::again(key, &head.record, asked.number, pause));
    app.state.pay(again.as_slice()).await
}

/// What a count came to.
struct CountOutcome {
    judged: Vec<Judged>,
    part: Part,
    took: Took,
}

/// What a count asked for.
#[derive(Debug, Clone, Copy)]
struct Took {
    /// Of ADX.
    proof: ProofFigures,
    /// Of the source: hunting calls.
    calls: u64,
}

/// Stores the verdicts with the head, then does what they ask for. Gives whether the table is through; `None` where they could
/// not be stored.
async fn record(
    app: &App,
    services: &Services,
    key: &TableKey,
    asked: Count<'_>,
    outcome: CountOutcome,
    deadline: Instant,
) -> Result<Option<bool>, Error> {
    let CountOutcome { judged, part, took } = outcome;
    let proved = acts::blobs_of_proved(&judged);
    let Verdicts { batches, last } = rules::verdicts(judged);
    tracing::debug!(changed = batches.len() * TRANSACTION_WINDOWS + last.len(), "a count");
    let (mut posts, mut removals) = (Vec::new(), Vec::new());
    for batch in batches {
        let Some(recorded) = commit(app, key, asked, &batch, Part::Batch, took).await? else { return Ok(None) };
        posts.extend(recorded.posts);
        removals.extend(recorded.removals);
    }
    let Some(recorded) = commit(app, key, asked, &last, part, took).await? else { return Ok(None) };
    posts.extend(recorded.posts);
    removals.extend(recorded.removals);
    acts::remove(app, services, key, &recorded.write.head, &removals, deadline).await?;
    acts::post_again(app, services, key, &recorded.write.head, &posts, deadline).await?;
    acts::forget(services, &proved, deadline).await;
    app.state.pay(&recorded.owed).await?;
    Ok(Some(recorded.finish))
}

/// One transaction. Gives `None` when another count has taken over, or has judged one of the windows.
async fn commit(
    app: &App,
    key: &TableKey,
    asked: Count<'_>,
    batch: &[Judged],
    part: Part,
    took: Took,
) -> Result<Option<Recorded<ETag>>, Error> {
    let _turn = app.state.turn(key).await;
    // At first the head as this process knows it: the swap tells. That the count is overtaken is decided on a read.
    let mut stored = app.state.recent_head(key, Duration::MAX).await?;
    if stored.as_ref().is_some_and(|head| !rules::is_current(&head.record, asked.number)) {
        stored = app.state.head(key).await?;
    }
    while let Some(Stored { record: mut head, etag }) = stored {
        if part != Part::Batch && rules::is_current(&head, asked.number) {
            crate::functions::chunk_worker::refill(app, key, &mut head).await?;
            head.progress.proof.queries += took.proof.queries;
            head.progress.proof.commands += took.proof.commands;
            head.progress.calls += took.calls;
        }
        let recorded = match rules::record(key, &head, asked, batch, part, app.state.now(), &app.limits) {
            Ok(recorded) => recorded,
            Err(refused) => {
                tracing::info!(%refused, "a count could not be recorded");
                return Ok(None);
            }
        };
        match store::table(app, key, &recorded.write, &etag).await {
            Ok(_) => {
                tell(&recorded.write.head.source, batch, app.state.now());
                return Ok(Some(recorded));
            }
            Err(Error::Conflict) => stored = app.state.head(key).await?,
            Err(error) => return Err(error),
        }
        // A chunk that ended moved the head: take it in and try again. A window that moved is another count's.
        if stored.as_ref().is_some_and(|head| head.etag == etag) && !are_ours(app, key, batch).await? {
            return Ok(None);
        }
    }
    Ok(None)
}

/// What a count that is on record has come to.
fn tell(source: &str, batch: &[Judged], now: Timestamp) {
    for Judged { seen, verdict, .. } in batch {
        let window = &seen.window;
        match verdict {
            Verdict::Verified => {
                metrics::rows_verified(source, window.seal.as_ref().map_or(0, |seal| seal.rows));
                metrics::windows_ended(source, "verified", 1);
                if let Some(since) = window.counting_since {
                    metrics::waited(metrics::Wait::Proof, now.since(since));
                }
            }
            Verdict::Failed(_) => metrics::windows_ended(source, "failed", 1),
            _ => {}
        }
    }
}

/// Whether the windows still have the versions that they were judged at.
async fn are_ours(app: &App, key: &TableKey, batch: &[Judged]) -> Result<bool, Error> {
    for Judged { seen, .. } in batch {
        if app.state.window(key, &seen.name).await?.is_none_or(|window| window.etag != seen.version) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::testing::World;
    use crate::orchestration::head::testing::{due, key, run};
    use crate::orchestration::instance::{Instance, RuntimeStatus};
    use crate::orchestration::message::ControlMessage;
    use crate::state::Transaction;

    #[tokio::test]
    async fn a_count_that_comes_to_nothing_keeps_its_message_until_another_one_is_due() {
        let world = World::new();
        let state = &world.app.state;
        state.commit(Transaction::new().head(&key(), &due(4), None).unwrap()).await.unwrap();
        let came = async |number| {
            handle(&world.app, &key(), Count { number, message: "m" }).await.unwrap();
            let until = state.head(&key()).await.unwrap().unwrap().record.verify.unwrap().at;
            world.clock.forward(61);
            (world.messages().await, state.now().since(until).as_secs())
        };
        let next = |number| vec![ControlMessage::Verify { table: key(), number }];
        assert_eq!(came(4).await, (next(5), 1), "there are no settings to count with");
        assert_eq!(came(5).await, (next(6), 1));
        assert_eq!(came(4).await.0, [], "it was overtaken");
    }

    #[tokio::test]
    async fn a_count_stops_the_table_of_a_run_that_was_terminated_without_a_message() {
        let world = World::new();
        let state = &world.app.state;
        let terminated = Instance { status: RuntimeStatus::Terminated, ..run(1) };
        state.commit(Transaction::new().instance(&terminated, None).unwrap()).await.unwrap();
        state.commit(Transaction::new().head(&key(), &due(4), None).unwrap()).await.unwrap();
        handle(&world.app, &key(), Count { number: 4, message: "m" }).await.unwrap();
        assert!(state.head(&key()).await.unwrap().unwrap().record.stop);
    }
}
