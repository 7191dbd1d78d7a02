//! Operations of queued ingestion that clients ask about by id (dataexplorer-docs
//! `management/data-ingestion/queued-ingest-status-http.md`). They are as long-lived as the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// How one source of an operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is not done with.
    InProgress,
    /// It landed.
    Succeeded,
    /// It did not.
    Failed {
        /// `BadRequest_InvalidBlob`, …
        code: &'static str,
        /// `Permanent` or `Transient`.
        kind: &'static str,
        /// In words.
        details: String,
    },
}

/// A source of an operation.
#[derive(Debug, Clone)]
pub struct Source {
    /// What the client calls it.
    pub id: Uuid,
    /// Where it is, without a signature.
    pub address: String,
    /// How it is.
    pub state: State,
    /// When that was so, ticks.
    pub updated: i64,
}

/// An operation.
#[derive(Debug, Clone)]
pub struct Tracked {
    /// The database, as the client wrote it.
    pub database: String,
    /// The table.
    pub table: String,
    /// When it began, ticks.
    pub started: i64,
    /// Its sources in the order of their submission.
    pub sources: Vec<Source>,
}

/// All operations.
#[derive(Default)]
pub struct Operations(Mutex<BTreeMap<String, Tracked>>);

impl Operations {
    /// Begins an operation and gives its id, of three parts as the service's are.
    pub fn begin(&self, tracked: Tracked) -> String {
        let id = format!("{};{};{}", Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
        self.lock().insert(id.clone(), tracked);
        id
    }

    /// The operation of that id.
    pub fn get(&self, id: &str) -> Option<Tracked> {
        self.lock().get(id).cloned()
    }

    /// A source is done with.
    pub(super) fn end(&self, id: &str, source: Uuid, state: State, now: i64) {
        let mut operations = self.lock();
        let sources = operations.get_mut(id).map(|tracked| &mut tracked.sources);
        if let Some(source) = sources.into_iter().flatten().find(|other| other.id == source) {
            (source.state, source.updated) = (state, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Tracked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
