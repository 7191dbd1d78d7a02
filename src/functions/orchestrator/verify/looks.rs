//! What ADX is asked besides the count, where a window is to be posted or pulled again or fails: whether the count can have seen
//! rows that are there, and which failures the service has noted: those of the engine, asked once for all windows of a count, and
//! what became of a post before it came to the engine. Never asked where every window is proved or waits.

use crate::adx::catalog::{Catalog, IngestionFailure};
use crate::adx::ingestion::{Ingestor, PostKey};
use crate::kql::Identifier;
use crate::orchestration::ledger::Head;
use crate::orchestration::limits::Limits;
use crate::orchestration::outcome::Failure;
use crate::orchestration::window::Window;
use crate::orchestration::write::Seen;
use crate::timestamp::Timestamp;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// The most time that asking for one post may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The looks of one count.
pub struct Looks<'a> {
    catalog: &'a Catalog,
    ingestor: &'a Ingestor,
    head: &'a Head,
    /// What happened before is of no window of the count.
    since: Timestamp,
    deadline: Instant,
    hidden: OnceCell<Result<Option<String>, String>>,
    failures: OnceCell<Result<Vec<IngestionFailure>, String>>,
}

impl<'a> Looks<'a> {
    /// Those of a count of some windows. Nothing is asked yet.
    pub fn new<V>(
        catalog: &'a Catalog,
        ingestor: &'a Ingestor,
        head: &'a Head,
        windows: &[Seen<V>],
        limits: &Limits,
        deadline: Instant,
    ) -> Self {
        let posted = windows.iter().filter_map(|seen| seen.window.last_post);
        let since = posted.min().map_or(Timestamp::MIN, |first| first - limits.clock_margin);
        Self { catalog, ingestor, head, since, deadline, hidden: OnceCell::new(), failures: OnceCell::new() }
    }

    /// Why the count may not have seen rows that are there, if that is so.
    pub async fn hidden(&self) -> &Result<Option<String>, String> {
        let look = async || {
            let table = Identifier::new(&self.head.destination).map_err(|error| error.to_string())?;
            let hidden = self.catalog.hides_rows(&table, self.deadline).await;
            let hidden = hidden.map_err(|error| format!("whether {table} hides rows is not known: {error}"))?;
            Ok(hidden.map(|hidden| hidden.to_string()))
        };
        self.hidden.get_or_init(look).await
    }

    /// The newest failure that the service has noted of a window.
    pub async fn failure(&self, window: &Window) -> Result<Option<Failure>, String> {
        match self.of_the_engine(window).await {
            Ok(Some(failure)) => Ok(Some(failure)),
            // What fails before the engine, or may not be read there, is told with the post alone.
            nothing => self.of_the_post(window).await.map_or(nothing, |failure| Ok(Some(failure))),
        }
    }

    /// How the last post of a window has failed, if that is told. Nothing depends on it.
    async fn of_the_post(&self, window: &Window) -> Option<Failure> {
        let table = Identifier::new(&self.head.destination).ok()?;
        let (id, operation) = (window.id.to_string(), window.outcome.operation.as_deref());
        let post = PostKey { table: &table, window_id: &id, number: window.posts.max(1), operation };
        let deadline = self.deadline.min(Instant::now() + PATIENCE);
        match self.ingestor.failure(&post, deadline).await {
            Ok(failed) => {
                let at = window.last_post.unwrap_or(window.updated);
                failed.map(|failed| Failure { at, permanent: failed.permanent, words: failed.words })
            }
            Err(error) => {
                tracing::warn!(%error, window = %window.id, "what became of a post could not be read");
                None
            }
        }
    }

    async fn of_the_engine(&self, window: &Window) -> Result<Option<Failure>, String> {
        let Some(seal) = &window.seal else { return Ok(None) };
        let look = async || {
            let table = Identifier::new(&self.head.destination).map_err(|error| error.to_string())?;
            let failures = self.catalog.ingestion_failures(&table, self.since, self.deadline).await;
            failures.map_err(|error| {
                tracing::warn!(%error, destination = %table, "the ingestion failures could not be read");
                format!("the ingestion failures could not be read: {error}")
            })
        };
        let failures = self.failures.get_or_init(look).await.as_ref().map_err(Clone::clone)?;
        // The last part of a blob's name holds the window's id and one of the claim.
        let name = seal.blob.rsplit('/').next().unwrap_or(&seal.blob);
        let newest = failures.iter().filter(|failure| failure.source.contains(name)).max_by_key(|failure| failure.at);
        Ok(newest.map(|failure| Failure { at: failure.at, permanent: failure.permanent, words: failure.words.clone() }))
    }
}
