//! The tables in ADX that the product reads and keeps: its metadata tables and views, the destinations, the ledger
//! of who owns them, and the proof that rows have landed. Every text sent is a file under `kql/`. Knows no run.

mod append;
mod audit;
mod blockers;
mod chunks;
mod destination;
mod failures;
mod held;
mod inspect;
mod latest;
mod ledger;
mod look;
mod metadata;
mod policies;
mod proof;
mod removal;
mod setup;

pub use append::Appended;
pub use audit::{AuditRow, FailureRow};
pub use chunks::{Chunk, Stopped};
pub use destination::{Destination, DestinationError, Missing, Readiness, Ready, add_columns};
pub use failures::IngestionFailure;
pub use held::{Held, HeldSize, Page};
pub use inspect::{HeldRole, TableLook, named};
pub use ledger::{Claim, LedgerEntry, LedgerOwner, WatermarkMove};
pub use look::Hidden;
pub use metadata::{ConfigRow, config_rows};
pub use policies::{Encoding, Policies, Tags};
pub use proof::{Counts, MAX_IDS};
pub use removal::{Removed, WindowRows};
pub use setup::{Configured, Found, Principals};

use super::{Client, Effect, Error, Options, Table};
use crate::kql::Identifier;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// The names of the metadata tables and views, from settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// `CONFIG_TABLE`
    pub config_table: Identifier,
    /// `CONFIG_VIEW`
    pub config_view: Identifier,
    /// `AUDIT_TABLE`
    pub audit_table: Identifier,
    /// `CHUNK_AUDIT_TABLE`
    pub chunk_audit_table: Identifier,
    /// `CHUNK_AUDIT_VIEW`
    pub chunk_audit_view: Identifier,
    /// Where ledgers claim destinations: `meta_Ledger`.
    pub ledger_table: Identifier,
}

/// The catalog of one database; cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    client: Client,
    names: std::sync::Arc<Names>,
    tally: Option<std::sync::Arc<Tally>>,
    /// Whether a refused look has been told of.
    refused: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

/// How often a catalog has asked: queries and commands.
#[derive(Debug, Default)]
pub struct Tally {
    queries: AtomicU64,
    commands: AtomicU64,
}

impl Tally {
    /// Queries so far.
    pub fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// Commands so far.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }
}

/// What came of a look.
enum Looked {
    /// This is there.
    Shown(Table),
    /// The service shows nothing, or not this, and says why.
    Unseen(String),
}

/// How everything here is asked: nothing is decided on what may be out of date.
const EXACT: Options = Options { strong_consistency: true, read_only: true };

impl Catalog {
    /// The catalog of the client's database under `names`. Nothing is sent yet.
    pub fn new(client: Client, names: Names) -> Self {
        Self { client, names: std::sync::Arc::new(names), tally: None, refused: std::sync::Arc::default() }
    }

    /// The same, with what it asks counted.
    #[must_use]
    pub fn tallied(&self, tally: &std::sync::Arc<Tally>) -> Self {
        Self { tally: Some(tally.clone()), ..self.clone() }
    }

    fn count(&self, of: impl Fn(&Tally) -> &AtomicU64) {
        if let Some(tally) = &self.tally {
            of(tally).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The names in use.
    pub fn names(&self) -> &Names {
        &self.names
    }

    async fn query(&self, csl: &str, deadline: Instant) -> Result<Table, Error> {
        self.count(|tally| &tally.queries);
        self.client.query(csl, EXACT, deadline).await
    }

    async fn show(&self, csl: &str, deadline: Instant) -> Result<Table, Error> {
        self.count(|tally| &tally.commands);
        self.client.command(csl, Effect::Read, deadline).await
    }

    /// As [`Catalog::show`], where the service may have nothing to show or refuse the command for good, as one without the
    /// feature does. What is denied stays an error: there may be something that cannot be seen.
    async fn look(&self, csl: &str, deadline: Instant) -> Result<Looked, Error> {
        match self.show(csl, deadline).await {
            Err(Error::NotFound { what }) => {
                tracing::debug!(command = csl, %what, "nothing to show");
                Ok(Looked::Unseen(format!("not found: {what}")))
            }
            Err(Error::Refused { code, message, permanent: true }) => {
                // Once, not for every table of every run.
                if !self.refused.swap(true, Ordering::Relaxed) {
                    tracing::info!(
                        command = csl, %code, reason = %message,
                        "the destination does not offer every command; what such a command would show is taken for not there"
                    );
                }
                Ok(Looked::Unseen(format!("{code}: {message}")))
            }
            other => other.map(Looked::Shown),
        }
    }

    /// The same with `None` for what cannot be seen, which is taken for none.
    async fn show_if_known(&self, csl: &str, deadline: Instant) -> Result<Option<Table>, Error> {
        Ok(match self.look(csl, deadline).await? {
            Looked::Shown(table) => Some(table),
            Looked::Unseen(_) => None,
        })
    }

    async fn change(&self, csl: &str, deadline: Instant) -> Result<Table, Error> {
        self.count(|tally| &tally.commands);
        self.client.command(csl, Effect::Idempotent, deadline).await
    }
}
