//! The step `verify` of a table: counts its submitted windows in ADX, records what that proves, and goes on until
//! none is left.

use super::finish::finish_table;
use super::store;
use crate::app::{App, Services};
use crate::functions::hunting::{Hunting, number};
use crate::functions::source;
use crate::kql::Identifier;
use crate::orchestration::head::verify::{self as rules, Count, Look, Part, Recorded, Verdicts};
use crate::orchestration::ids::TableKey;
use crate::orchestration::ledger::Head;
use crate::orchestration::limits::{COUNT_BATCH, Limits, TRANSACTION_WINDOWS};
use crate::orchestration::renewal::{Blob, before_repost};
use crate::orchestration::verification::{Found, Landing, Verdict, judge, uncounted};
use crate::orchestration::window::Window;
use crate::orchestration::write::Seen;
use crate::state::{Error, Stored};
use crate::storage::ETag;
use crate::timestamp::Timestamp;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

type Judged = rules::Judged<ETag>;

/// Handles the step.
///
/// # Errors
/// The state store's.
#[tracing::instrument(skip_all, fields(table = key.as_str(), number = asked.number))]
pub async fn handle(app: &App, key: &TableKey, asked: Count<'_>) -> Result<(), Error> {
    let Some(Stored { record: head, .. }) = app.state.head(key).await? else { return Ok(()) };
    let services = match &app.services {
        Ok(services) => services,
        Err(reason) => {
            tracing::error!(reason, table = head.source, "the table cannot be counted with these settings");
            return Ok(());
        }
    };
    let run = match rules::look(&head, asked) {
        Look::Over => return Ok(()),
        Look::Again(owed) => return app.state.pay(&owed).await,
        Look::Finish(run) => return finish_table(app, services, &run, key).await,
        Look::Count(run) => run,
    };
    let deadline = Instant::now() + app.limits.working_time();
    let windows = store::windows(app, key).await?;
    let Some(submitted) = rules::to_count(&head, windows, app.state.now(), &app.limits) else { return Ok(()) };
    // What was found out has to be recorded in the same invocation.
    let judging = Instant::now() + app.limits.invocation_deadline / 2;
    let judged = judge_all(app, services, &head, submitted, judging).await;
    let through = record(app, services, key, asked, judged, deadline).await?;
    if through { finish_table(app, services, &run, key).await } else { Ok(()) }
}

async fn judge_all(
    app: &App,
    services: &Services,
    head: &Head,
    submitted: Vec<Seen<ETag>>,
    deadline: Instant,
) -> Vec<Judged> {
    let mut judged = Vec::with_capacity(submitted.len());
    let mut hunting = Hunting::new(app, services, deadline);
    for batch in submitted.chunks(COUNT_BATCH) {
        let ids: Vec<String> = batch.iter().map(|seen| seen.window.id.to_string()).collect();
        // A re-post is judged by a count made after this instant.
        let now = app.state.now();
        let counted = count(services, head, &ids, deadline).await;
        for seen in batch {
            let counting = Counting { services, head, limits: &app.limits, now, deadline };
            let (window, verdict) = match &counted {
                Ok(counts) => {
                    let found = counts.get(&seen.window.id.to_string()).copied().unwrap_or_default();
                    counting.judge(&mut hunting, &seen.window, found).await
                }
                // Without a count nothing is proved and nothing is posted again; after the deadline a person is told.
                Err(error) => (seen.window.clone(), counting.uncounted(&seen.window, error)),
            };
            judged.push(Judged { seen: Seen { window, ..seen.clone() }, verdict });
        }
    }
    judged
}

/// What the windows of one count are judged by.
struct Counting<'a> {
    services: &'a Services,
    head: &'a Head,
    limits: &'a Limits,
    /// Before the count.
    now: Timestamp,
    deadline: Instant,
}

impl Counting<'_> {
    /// The verdict, and the window with what was found out about it.
    async fn judge(&self, hunting: &mut Hunting<'_>, window: &Window, found: Found) -> (Window, Verdict) {
        let mut window = window.clone();
        let mut verdict = self.verdict(&window, found);
        if verdict == Verdict::CountNullWatermarks {
            verdict = match null_watermarks(hunting, self.head, &window).await {
                Ok(counted) => {
                    window.null_watermarks = Some(counted);
                    self.verdict(&window, found)
                }
                Err(error) => self.uncounted(&window, &error),
            };
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
        (window, verdict)
    }

    fn verdict(&self, window: &Window, found: Found) -> Verdict {
        let Head { destination, watermark_column, .. } = self.head;
        let chunk_id = self.services.chunk_id_place(self.head);
        judge(Landing { destination, watermark_column, chunk_id }, window, found, self.now, self.limits)
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
        .map(|(id, c)| (id, Found { rows: c.rows, without_content: c.no_row, without_watermark: c.no_time }))
        .collect())
}

async fn null_watermarks(hunting: &mut Hunting<'_>, head: &Head, window: &Window) -> Result<u64, String> {
    let Some(shape) = &head.shape else { return Err("the ledger has no shape".to_owned()) };
    let source = source::of(head, shape, window.handover).map_err(|error| error.to_string())?;
    let partition = source::partition(shape, window.id.part).map_err(|error| error.to_string())?;
    let watermark = Identifier::new(&head.watermark_column).map_err(|error| error.to_string())?;
    let query =
        crate::defender::queries::count_null_watermark(&source, &source::slice(window), partition.as_ref(), &watermark);
    let rows = hunting.rows(&query).await.map_err(|error| error.to_string())?;
    number(&rows, "NoTime").ok_or_else(|| "the answer holds no count".to_owned())
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

/// Stores the verdicts with the head, then does what they ask for. Gives whether the table is through.
async fn record(
    app: &App,
    services: &Services,
    key: &TableKey,
    asked: Count<'_>,
    judged: Vec<Judged>,
    deadline: Instant,
) -> Result<bool, Error> {
    let Verdicts { batches, last } = rules::verdicts(judged);
    tracing::debug!(changed = batches.len() * TRANSACTION_WINDOWS + last.len(), "a count");
    let mut posts = Vec::new();
    for batch in batches {
        let Some(recorded) = commit(app, key, asked, &batch, Part::Batch).await? else { return Ok(false) };
        posts.extend(recorded.posts);
    }
    let Some(recorded) = commit(app, key, asked, &last, Part::Last).await? else { return Ok(false) };
    posts.extend(recorded.posts);
    for window in &posts {
        let Some(seal) = &window.seal else { continue };
        tracing::warn!(window.id = %window.id, posts = window.posts, "a window is posted again");
        if let Err(error) = services.post(&recorded.write.head, window, seal, deadline).await {
            tracing::warn!(%error, "posting a window again failed; the count will tell");
        }
    }
    app.state.pay(&recorded.owed).await?;
    Ok(recorded.finish)
}

/// One transaction. Gives `None` when another count has taken over.
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
                tracing::info!(%refused, "another count has taken over");
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
