//! The step `verify` of a table: counts its submitted windows in ADX, records what that proves, and goes on until
//! none is left.

use super::finish::finish_table;
use super::store;
use crate::app::{App, Services};
use crate::defender::Error as HuntingError;
use crate::functions::hunting::{Error as CallError, Hunting, number};
use crate::functions::planner::columns_of;
use crate::functions::source;
use crate::kql::{Identifier, InvalidName};
use crate::orchestration::head::stop::stop_with;
use crate::orchestration::head::verify::{self as rules, Count, Look, Part, Recorded, Verdicts};
use crate::orchestration::ids::TableKey;
use crate::orchestration::ledger::{CutAxis, Head};
use crate::orchestration::limits::{COUNT_BATCH, Limits, TRANSACTION_WINDOWS};
use crate::orchestration::removal::Place;
use crate::orchestration::renewal::{Blob, before_repost};
use crate::orchestration::verification::{Found, Landing, Verdict, judge, judge_again, uncounted, with_landed};
use crate::orchestration::window::Window;
use crate::orchestration::write::Seen;
use crate::state::{Error, Stored};
use crate::storage::ETag;
use crate::timestamp::Timestamp;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

type Judged = rules::Judged<ETag>;

/// Handles the step.
///
/// # Errors
/// The state store's.
#[tracing::instrument(skip_all, fields(table = key.as_str(), number = asked.number))]
pub async fn handle(app: &App, key: &TableKey, asked: Count<'_>) -> Result<(), Error> {
    let Some(Stored { record: head, .. }) = app.state.head(key).await? else { return Ok(()) };
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
    let Some(submitted) = rules::to_count(&head, windows, now, &app.limits) else { return Ok(()) };
    // What was found out has to be recorded in the same invocation.
    let judging = Instant::now() + app.limits.invocation_deadline / 2;
    let mut judged = judge_all(app, services, &head, submitted, judging).await;
    let again = judge_all_again(app, services, &head, doubtful, judging).await;
    let part = if again.is_some() { Part::LastWithAgain } else { Part::Last };
    judged.extend(again.into_iter().flatten());
    match record(app, services, key, asked, judged, part, deadline).await? {
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
    tracing::info!(instance.id = %run.record.id, table = head.source, "a table stops with its run, which was terminated");
    store::move_head(app, key, |head, now| stop_with(head, &run.record, now)).await?;
    Ok(app.state.head(key).await?.map_or(head, |read| read.record))
}

/// Sends the message of a count that came to nothing again, unless another one has taken over.
async fn count_again(app: &App, key: &TableKey, asked: Count<'_>, pause: Duration) -> Result<(), Error> {
    let head = app.state.head(key).await?;
    let again = head.and_then(|head| rules::again(key, &head.record, asked.number, pause));
    app.state.pay(again.as_slice()).await
}

async fn judge_all(
    app: &App,
    services: &Services,
    head: &Head,
    submitted: Vec<Seen<ETag>>,
    deadline: Instant,
) -> Vec<Judged> {
    let mut judged = Vec::with_capacity(submitted.len());
    let mut source = Source { hunting: Hunting::new(app, services, deadline), is_used_up: false };
    for batch in submitted.chunks(COUNT_BATCH) {
        let ids: Vec<String> = batch.iter().map(|seen| seen.window.id.to_string()).collect();
        // A re-post is judged by a count made after this instant.
        let now = app.state.now();
        let counted = count(services, head, &ids, deadline).await;
        let hidden = OnceCell::new();
        for seen in batch {
            let counting = Counting { services, head, limits: &app.limits, now, deadline, hidden: &hidden };
            let (window, verdict) = match &counted {
                Ok(counts) => {
                    let found = counts.get(&seen.window.id.to_string()).copied().unwrap_or_default();
                    counting.judge(&mut source, &seen.window, found).await
                }
                // Without a count nothing is proved and nothing is posted again; after the deadline a person is told.
                Err(error) => (seen.window.clone(), counting.uncounted(&seen.window, error)),
            };
            let learned = window.null_watermarks != seen.window.null_watermarks;
            judged.push(Judged { seen: Seen { window, ..seen.clone() }, learned, verdict });
        }
    }
    judged
}

/// Counts proved windows that another post may have loaded again; `None` when they could not be counted.
async fn judge_all_again(
    app: &App,
    services: &Services,
    head: &Head,
    doubtful: Vec<Seen<ETag>>,
    deadline: Instant,
) -> Option<Vec<Judged>> {
    if doubtful.is_empty() {
        return Some(Vec::new());
    }
    let place = Place::of(head)?;
    let ids: Vec<String> = doubtful.iter().map(|seen| seen.window.id.to_string()).collect();
    let now = app.state.now();
    let counts = match count(services, head, &ids, deadline).await {
        Ok(counts) => counts,
        Err(error) => {
            tracing::warn!(error, table = head.source, "windows that were posted more than once are not counted again");
            return None;
        }
    };
    let judged = doubtful.into_iter().zip(&ids).map(|(seen, id)| {
        let found = counts.get(id).copied().unwrap_or_default();
        let verdict = judge_again(&place, &seen.window, found, now, &app.limits);
        if let Verdict::Doubled(reason) = &verdict {
            tracing::error!(window.id = id, reason, "a proved window is there more than once");
        }
        Judged { seen, learned: false, verdict }
    });
    Some(judged.collect())
}

/// The source, as far as its quota reaches.
struct Source<'a> {
    hunting: Hunting<'a>,
    is_used_up: bool,
}

/// Why a number of the source is not known.
enum Unknown {
    /// The quota is used up: later, whatever the deadline.
    Later,
    /// Something failed.
    Failed(String),
}

/// What the windows of one count are judged by.
struct Counting<'a> {
    services: &'a Services,
    head: &'a Head,
    limits: &'a Limits,
    /// Before the count.
    now: Timestamp,
    deadline: Instant,
    /// Why no rows may have been seen, if that is so; looked at only where none were.
    hidden: &'a OnceCell<Result<Option<String>, String>>,
}

impl Counting<'_> {
    /// The verdict, and the window with what was found out about it.
    async fn judge(&self, source: &mut Source<'_>, window: &Window, found: Found) -> (Window, Verdict) {
        let mut window = window.clone();
        let mut verdict = self.verdict(&window, found);
        if verdict == Verdict::CountNullWatermarks {
            verdict = match null_watermarks(source, self.head, &window).await {
                Ok(counted) => {
                    window.null_watermarks = Some(counted);
                    self.verdict(&window, found)
                }
                Err(Unknown::Later) => Verdict::Wait,
                Err(Unknown::Failed(error)) => self.uncounted(&window, &error),
            };
        }
        if found.rows == 0 && matches!(verdict, Verdict::Repost | Verdict::Renew | Verdict::Failed(_)) {
            match (self.hidden.get_or_init(|| self.hides_rows()).await, &verdict) {
                (Ok(None), _) | (Err(_), Verdict::Failed(_)) => {}
                // They may be there all the same: nothing is sent again.
                (Ok(Some(reason)) | Err(reason), _) => verdict = self.uncounted(&window, reason),
            }
        }
        if verdict == Verdict::Repost
            && let Some(seal) = &window.seal
        {
            let blob = match self.services.ingestor.has(&seal.blob, self.deadline).await {
                Ok(true) => Blob::There,
                Ok(false) => Blob::Gone,
                Err(error) => Blob::Unknown(error.to_string()),
            };
            tracing::warn!(window.id = %window.id, ?blob, "nothing of a window has landed");
            (window, verdict) = before_repost(&window, &blob, self.now, self.limits);
        }
        let verdict = explained(self.services, self.head, &window, verdict, self.deadline).await;
        (with_landed(window, &verdict, found), verdict)
    }

    fn verdict(&self, window: &Window, found: Found) -> Verdict {
        match Place::of(self.head) {
            Some(place) => judge(&place, &self.head.watermark_column, window, found, self.now, self.limits),
            None => self.uncounted(window, "the name of its destination in the ledger is not the name of a table"),
        }
    }

    /// Why the count may not have seen rows that are there, if that is so.
    async fn hides_rows(&self) -> Result<Option<String>, String> {
        let table = Identifier::new(&self.head.destination).map_err(|error| error.to_string())?;
        let hidden = self.services.catalog.hides_rows(&table, self.deadline).await;
        let hidden = hidden.map_err(|error| format!("whether {table} hides rows is not known: {error}"))?;
        Ok(hidden.map(|hidden| hidden.to_string()))
    }

    fn uncounted(&self, window: &Window, error: &str) -> Verdict {
        tracing::warn!(window.id = %window.id, error, "a window could not be judged");
        uncounted(window, error, self.now, self.limits)
    }
}

async fn count(
    services: &Services,
    head: &Head,
    ids: &[String],
    deadline: Instant,
) -> Result<HashMap<String, Found>, String> {
    let table = Identifier::new(&head.destination).map_err(|error| error.to_string())?;
    let watermark = Identifier::new(&head.watermark_column).map_err(|error| error.to_string())?;
    let counts = services
        .catalog
        .counts(&table, &watermark, services.chunk_id_mode(head), ids, deadline)
        .await
        .map_err(|error| error.to_string())?;
    Ok(counts
        .into_iter()
        .map(|(id, c)| {
            let first = c.first.map(|(at, rows)| Landing { at, rows });
            (id, Found { rows: c.rows, without_content: c.no_row, without_watermark: c.no_time, first })
        })
        .collect())
}

async fn null_watermarks(asked: &mut Source<'_>, head: &Head, window: &Window) -> Result<u64, Unknown> {
    if asked.is_used_up {
        return Err(Unknown::Later);
    }
    let invalid = |error: InvalidName| Unknown::Failed(error.to_string());
    let Some(shape) = &head.shape else { return Err(Unknown::Failed("the ledger has no shape".to_owned())) };
    let all = window.seal.as_ref().map_or(0, |seal| seal.rows);
    if shape.axis == CutAxis::Whole {
        // Every post stamps them all.
        return Ok(0);
    }
    if head.no_watermark || shape.has_lost_the_part(window) {
        // Nobody can say any more how many there were.
        return Ok(all);
    }
    let source = source::of(head, shape, window.handover).map_err(invalid)?;
    let partition = source::partition(shape, window.id.part).map_err(invalid)?;
    let watermark = Identifier::new(&head.watermark_column).map_err(invalid)?;
    let query =
        crate::defender::queries::count_null_watermark(&source, &source::slice(window), partition.as_ref(), &watermark);
    let counted = match asked.hunting.rows(&query).await {
        Err(CallError::Call(error @ HuntingError::Refused { .. })) if !error.is_unknown_table() => {
            match columns_of(&source.table, &mut asked.hunting).await {
                // It went while the run was on.
                Ok(Some(columns)) if !columns.contains_key(&head.watermark_column) => return Ok(all),
                Ok(_) => Err(error.into()),
                Err(other) => Err(other),
            }
        }
        counted => counted,
    };
    match counted {
        Ok(rows) => number(&rows, "NoTime").ok_or_else(|| Unknown::Failed("the answer holds no count".to_owned())),
        Err(error) if error.quota_pause().is_some() => {
            tracing::info!(%error, "null watermarks are counted later");
            asked.is_used_up = true;
            Err(Unknown::Later)
        }
        Err(error) => Err(Unknown::Failed(error.to_string())),
    }
}

/// Adds what ADX says about a window that did not land.
async fn explained(services: &Services, head: &Head, window: &Window, verdict: Verdict, deadline: Instant) -> Verdict {
    let Verdict::Failed(reason) = verdict else { return verdict };
    let Ok(table) = Identifier::new(&head.destination) else { return Verdict::Failed(reason) };
    match services.catalog.explain_missing(&table, &window.id.to_string(), deadline).await {
        Some(explanation) => Verdict::Failed(format!("{reason}. ADX says: {explanation}")),
        None => Verdict::Failed(reason),
    }
}

/// Stores the verdicts with the head, then does what they ask for. Gives whether the table is through; `None` where they could
/// not be stored.
async fn record(
    app: &App,
    services: &Services,
    key: &TableKey,
    asked: Count<'_>,
    judged: Vec<Judged>,
    part: Part,
    deadline: Instant,
) -> Result<Option<bool>, Error> {
    let Verdicts { batches, last } = rules::verdicts(judged);
    tracing::debug!(changed = batches.len() * TRANSACTION_WINDOWS + last.len(), "a count");
    let mut posts = Vec::new();
    for batch in batches {
        let Some(recorded) = commit(app, key, asked, &batch, Part::Batch).await? else { return Ok(None) };
        posts.extend(recorded.posts);
    }
    let Some(recorded) = commit(app, key, asked, &last, part).await? else { return Ok(None) };
    posts.extend(recorded.posts);
    for window in &posts {
        let Some(seal) = &window.seal else { continue };
        tracing::warn!(window.id = %window.id, posts = window.posts, "a window is posted again");
        if let Err(error) = services.post(&recorded.write.head, window, seal, deadline).await {
            tracing::warn!(%error, "posting a window again failed; the count will tell");
        }
    }
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
        }
        let recorded = match rules::record(key, &head, asked, batch, part, app.state.now(), &app.limits) {
            Ok(recorded) => recorded,
            Err(refused) => {
                tracing::info!(%refused, "a count could not be recorded");
                return Ok(None);
            }
        };
        match store::table(app, key, &recorded.write, &etag).await {
            Ok(_) => return Ok(Some(recorded)),
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
