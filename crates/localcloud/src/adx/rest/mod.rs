//! The REST endpoints of a cluster: queries in both versions, management commands, authentication metadata. Engine
//! and data management answer at the same address.

mod cells;
mod door;
mod evaluate;
mod kind;
mod queued;
mod refusal;
mod request;
mod result;
mod rights;
mod stale;
mod streaming;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

pub use door::router;
pub use kind::Kind;
pub use queued::QueuedRest;
pub use stale::{Alike, StaleAnswers};

use super::commands::{self, Context, Error, ResourceProvider, ResultTable};
use super::database::Database;
use super::seen::Seen;
use crate::entra::Tokens;
use crate::faults::Faults;
use crate::kql::Catalog;
use stale::Stale;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

/// The limits of the engine. The defaults are the documented ones (dataexplorer-docs `concepts/query-limits.md`).
#[derive(Debug, Clone)]
pub struct Limits {
    /// Rows of an answer; more are a partial failure.
    pub rows: u64,
    /// Bytes of an answer; more are a partial failure.
    pub bytes: u64,
    /// How long a query may run unless it asks for longer.
    pub query_time: Duration,
    /// How long a command may run unless it asks for longer.
    pub command_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: 500_000,
            bytes: 64 * 1024 * 1024,
            query_time: Duration::from_secs(240),
            command_time: Duration::from_secs(600),
        }
    }
}

/// A cluster with one database.
pub struct Adx {
    /// The database.
    pub database: Arc<Database>,
    tokens: Arc<Tokens>,
    faults: Arc<Faults>,
    /// What tokens may be for: the resource that every cluster accepts, and the cluster's own addresses.
    audiences: Vec<String>,
    limits: Limits,
    queued_rest: QueuedRest,
    kind: Kind,
    resources: OnceLock<Arc<dyn ResourceProvider>>,
    /// Whether callers are not shown who has which role.
    hides_roles: AtomicBool,
    stale: Stale,
    /// Words of texts that callers are denied.
    denied: RwLock<Vec<String>>,
}

impl Adx {
    /// Serves `database` to holders of `tokens` for any Kusto cluster or for one of the addresses in `own`.
    pub fn new(database: Arc<Database>, tokens: Arc<Tokens>, faults: Arc<Faults>, own: Vec<String>) -> Self {
        let mut audiences = vec![crate::entra::KUSTO.to_owned(), "https://api.kusto.windows.net".to_owned()];
        audiences.extend(own);
        let (limits, queued_rest) = (Limits::default(), QueuedRest::default());
        let kind = Kind::default();
        let (resources, hides_roles, stale) = (OnceLock::new(), AtomicBool::new(false), Stale::default());
        let denied = RwLock::default();
        Self { database, tokens, faults, audiences, limits, queued_rest, kind, resources, hides_roles, stale, denied }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same with queued ingestion over REST or without.
    #[must_use]
    pub fn with_queued_rest(self, queued_rest: QueuedRest) -> Self {
        Self { queued_rest, ..self }
    }

    /// The same as a service of that kind.
    #[must_use]
    pub fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Lends from now on what `provider` has. The first provider stays.
    pub fn lend(&self, provider: Arc<dyn ResourceProvider>) {
        // A second provider would leave clients with resources that nobody reads.
        let _ = self.resources.set(provider);
    }

    /// From now on callers from outside may do only what their roles in the database let them; before, everybody may do all.
    pub fn ask_for_roles(&self) {
        self.database.ask_for_roles();
    }

    /// From now on `ingestIfNotExists` keeps nothing out: what is ingested again is there again.
    pub fn ignore_tags(&self) {
        self.database.ignore_tags();
    }

    /// From now on callers from outside are denied what has one of these words in it.
    pub fn deny(&self, words: &[&str]) {
        let words = words.iter().map(|words| (*words).to_owned()).collect();
        *self.denied.write().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// From now on queries that do not ask for strong consistency see what was there so long ago.
    pub fn answer_weakly(&self, behind: Duration) {
        self.stale.weaken(behind);
    }

    /// From now on answers to queries are kept, and given again for so long.
    pub fn answer_from_cache(&self, longest: Duration, alike: Alike) {
        self.stale.cache(longest, alike);
    }

    /// Every answer is of its moment again.
    pub fn answer_at_once(&self) {
        self.stale.end();
    }

    /// How many answers were not of their moment.
    pub fn stale_answers(&self) -> StaleAnswers {
        self.stale.answers()
    }

    /// From now on callers from outside are not shown who has which role, nor their own.
    pub fn hide_roles(&self) {
        self.hides_roles.store(true, Ordering::SeqCst);
    }

    /// Carries out a command or a query in this process, without limits.
    ///
    /// # Errors
    /// What the service would refuse it with.
    pub fn run(&self, csl: &str) -> Result<ResultTable, Error> {
        if commands::is_command(csl) {
            return self.command(csl, false, "localcloud");
        }
        let catalog: Arc<dyn Catalog> = Seen::by(&self.database, None);
        commands::evaluate(csl, &catalog)
    }

    /// The identities of the rows of a table's big ingestions, as often as they are there; none for a table that is
    /// not there.
    pub fn identities(&self, table: &str) -> Vec<u64> {
        let content = self.database.read();
        content
            .tables
            .get(table)
            .map_or_else(Vec::new, |entry| entry.data.identities().map(|(identity, _)| identity).collect())
    }

    fn command(&self, text: &str, read_only: bool, principal: &str) -> Result<ResultTable, Error> {
        let resources = self.resources.get().map(|provider| &**provider);
        let lends = self.kind.has_queues();
        let by_roles = self.database.asks_for_roles();
        commands::run(&Context { database: &self.database, resources, lends, read_only, principal, by_roles }, text)
    }
}
