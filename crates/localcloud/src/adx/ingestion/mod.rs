//! Queued ingestion: takes messages from storage and lands each one's blob in its table some time later, at least
//! once, unless its `ingestIfNotExists` is met. Nobody is answered; what failed is on record in the database, and how it
//! ended is told where the message asks for that.

mod convert;
mod direct;
mod failure;
mod landing;
mod mapping;
mod message;
mod mishap;
mod operations;
mod report;
mod resolve;
pub mod rows;
#[cfg(test)]
mod tests;

pub(super) use direct::{Order, load};
pub use failure::Failure;
pub use mapping::Mapping;
pub use mishap::Mishap;
pub use operations::{Operations, Source, State, Tracked};
pub(super) use resolve::{Missing, mapping_for};

use super::database::{Database, IngestionFailure};
use super::storage::without_query;
use super::storage::{Opened, Storage};
use crate::blocking::off_executor;
use landing::{Manner, Outcome, land};
use message::Message;
use mishap::Mishaps;
use report::{Ended, Reporting};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

/// How many blobs are parsed at once.
const PARSED_AT_ONCE: usize = 2;

/// How ingestion behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long after its message a blob lands.
    pub delay: Duration,
    /// How much later a late one lands, or a second time what lands again.
    pub lateness: Duration,
    /// Whether a late one looks at the tags only when it is taken up, so that two of one tag do not exclude each other.
    pub late_is_blind: bool,
    /// From which mishaps are drawn.
    pub seed: u64,
    /// Mishaps with their probabilities, which add up to at most 1.
    pub mishaps: Vec<(Mishap, f64)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(2),
            lateness: Duration::from_secs(60),
            late_is_blind: false,
            seed: 0,
            mishaps: Vec::new(),
        }
    }
}

/// What ingestion did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Messages taken.
    pub messages: u64,
    /// Messages that are done with, however it ended.
    pub finished: u64,
    /// Extents that landed.
    pub landed: u64,
    /// Rows in them.
    pub rows: u64,
    /// Ingestions skipped because their tag was there.
    pub skipped: u64,
    /// Failures on record.
    pub failed: u64,
    /// Messages lost on purpose.
    pub lost: u64,
    /// Mishaps that happened.
    pub mishaps: BTreeMap<Mishap, u64>,
}

/// The ingestion of one database. Ends when dropped; what is being written then never lands.
pub struct Ingestion {
    shared: Arc<Shared>,
    runner: JoinHandle<()>,
}

struct Shared {
    database: Arc<Database>,
    storage: Arc<Storage>,
    settings: Settings,
    mishaps: Mishaps,
    statistics: Mutex<Statistics>,
    parsers: Semaphore,
}

impl Ingestion {
    /// Starts it on the threads behind `handle`.
    pub fn start(database: Arc<Database>, storage: Arc<Storage>, settings: Settings, handle: &Handle) -> Self {
        let mishaps = Mishaps::new(settings.seed, settings.mishaps.clone());
        let (statistics, parsers) = (Mutex::default(), Semaphore::new(PARSED_AT_ONCE));
        let shared = Arc::new(Shared { database, storage, settings, mishaps, statistics, parsers });
        let runner = handle.spawn(run(shared.clone()));
        Self { shared, runner }
    }

    /// What happens to the next ingestions of `window`, the value of their `ingestIfNotExists` or `ingest-by:` tag.
    pub fn script(&self, window: &str, mishaps: impl IntoIterator<Item = Option<Mishap>>) {
        self.shared.mishaps.script(window, mishaps);
    }

    /// From now on only what a script says goes wrong.
    pub fn end_mishaps(&self) {
        self.shared.mishaps.end();
    }

    /// Whether it is done with everything that was posted.
    pub fn is_idle(&self) -> bool {
        self.shared.storage.posted() == self.shared.count().finished
    }

    /// What it did so far.
    pub fn statistics(&self) -> Statistics {
        let mishaps = self.shared.mishaps.happened();
        Statistics { mishaps, ..self.shared.count().clone() }
    }
}

impl Drop for Ingestion {
    fn drop(&mut self) {
        self.runner.abort();
    }
}

async fn run(shared: Arc<Shared>) {
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            text = shared.storage.next_message() => {
                shared.count().messages += 1;
                under_way.spawn(ingest(shared.clone(), text));
            }
            Some(_) = under_way.join_next() => {}
        }
    }
}

async fn ingest(shared: Arc<Shared>, text: String) {
    match message::read(&text, &shared.storage.identity_token()) {
        Err(invalid) => {
            tokio::time::sleep(shared.settings.delay).await;
            shared.fail(&invalid.failure, &invalid.reporting);
        }
        Ok(message) => {
            let tags = message.tags.iter().filter_map(|tag| tag.strip_prefix("ingest-by:"));
            let windows = message.if_not_exists.iter().map(String::as_str).chain(tags);
            let mishap = shared.mishaps.roll(windows);
            suffer(&shared, Arc::new(message), mishap).await;
        }
    }
    shared.count().finished += 1;
}

async fn suffer(shared: &Arc<Shared>, message: Arc<Message>, mishap: Option<Mishap>) {
    // What is late to land was read in time: it comes even if the blob goes.
    let is_late = matches!(mishap, Some(Mishap::Late | Mishap::Again));
    let opened = is_late.then(|| shared.storage.open_blob(&message.blob).ok()).flatten();
    let there_before = landing::is_there_already(&shared.database, &message);
    let lateness = if mishap == Some(Mishap::Late) { shared.settings.lateness } else { Duration::ZERO };
    tokio::time::sleep(shared.settings.delay + lateness).await;
    let whole = Manner::default();
    match mishap {
        Some(Mishap::Lost) => shared.count().lost += 1,
        Some(Mishap::Transient) => {
            shared.fail(&Failure::internal("The operation was aborted on purpose."), &message.reporting);
        }
        Some(Mishap::Permanent) => {
            let failure = Failure::permanent("BadRequest_InvalidBlob", "The blob was refused on purpose.");
            shared.fail(&failure, &message.reporting);
        }
        Some(Mishap::Unmapped) => {
            let what = "Supplied ingestion mapping isn't consistent with the existing table schema, on purpose.";
            shared.fail(&Failure::permanent("BadRequest_InconsistentMapping", what), &message.reporting);
        }
        Some(Mishap::Unfilled) => {
            work(shared, message, vec![Manner { unfilled: Some("RawData"), ..whole }], None).await;
        }
        Some(Mishap::Undelivered) => {
            let failure = Failure::permanent("Download_SourceNotFound", "The blob was not found on purpose.");
            shared.fail(&failure, &message.reporting);
        }
        Some(Mishap::Half) => work(shared, message, vec![Manner { half: true, ..whole }], None).await,
        Some(Mishap::Twice) => {
            work(shared, message, vec![whole, Manner { blind: true, second: true, ..whole }], None).await
        }
        Some(Mishap::Again) => {
            work(shared, message.clone(), vec![whole], None).await;
            tokio::time::sleep(shared.settings.lateness).await;
            work(shared, message, vec![Manner { blind: true, second: true, ..whole }], opened).await;
        }
        Some(Mishap::Late) => {
            let blind = shared.settings.late_is_blind && !there_before;
            work(shared, message, vec![Manner { blind, ..whole }], opened).await;
        }
        None => work(shared, message, vec![whole], None).await,
    }
}

/// Lands a blob, once in each manner.
async fn work(shared: &Arc<Shared>, message: Arc<Message>, manners: Vec<Manner>, mut opened: Option<Opened>) {
    // The semaphore is never closed.
    let _permit = shared.parsers.acquire().await;
    let (mut whole, mut first) = (true, true);
    for manner in manners {
        let (own, asked, opened) = (shared.clone(), message.clone(), opened.take());
        let landing = move || {
            let open = |blob: &str| opened.map_or_else(|| own.storage.open_blob(blob), Ok);
            land(&own.database, &asked, manner, open)
        };
        let outcome = off_executor(landing).await;
        match outcome.unwrap_or_else(|error| Err(Failure::internal(error))) {
            Ok(outcome) => {
                shared.land(outcome);
                // The service itself takes a second landing for none.
                if first {
                    let ended = if outcome == Outcome::Skipped { Ended::Skipped } else { Ended::Succeeded };
                    message.reporting.tell(&shared.storage, &shared.database, ended);
                }
            }
            Err(failure) => {
                whole = false;
                shared.fail(&failure, &message.reporting);
            }
        }
        first = false;
    }
    if whole && !message.retain_blob {
        shared.storage.remove_blob(&message.blob);
    }
}

impl Shared {
    fn land(&self, outcome: Outcome) {
        let mut statistics = self.count();
        match outcome {
            Outcome::Landed { rows } => {
                statistics.landed += 1;
                statistics.rows += rows;
            }
            Outcome::Skipped => statistics.skipped += 1,
        }
    }

    /// Puts a failure on record, if it is one of the engine, and tells it.
    fn fail(&self, failure: &Failure, reporting: &Reporting) {
        if failure.is_of_the_engine() {
            let failed_on = self.database.now();
            self.database.write().failures.push(IngestionFailure {
                table: reporting.table.clone(),
                failed_on,
                source_path: without_query(&reporting.blob).to_owned(),
                details: failure.details.clone(),
                error_code: failure.code.to_owned(),
                failure_kind: failure.kind().to_owned(),
            });
        }
        self.count().failed += 1;
        reporting.tell(&self.storage, &self.database, Ended::Failed(failure));
    }

    fn count(&self) -> MutexGuard<'_, Statistics> {
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
