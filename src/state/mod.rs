//! The records of runs and ledgers in the state store: keys, versions, transactions and the two queues.
//! Knows how a record is stored and nothing of when it changes.

mod cache;
mod clock;
mod following;
mod list;
mod permits;
#[cfg(test)]
mod tests;
mod transaction;

pub use list::Stretch;
pub use permits::{CallUse, Tenant};
pub use transaction::Transaction;

use crate::orchestration::ids::{InstanceId, TableKey, WindowName};
use crate::orchestration::instance::{Instance, TableRun};
use crate::orchestration::ledger::Head;
use crate::orchestration::limits::READY_NAMES;
use crate::orchestration::message::{Debt, Message};
use crate::orchestration::run::place::Active;
use crate::orchestration::window::Window;
use crate::random::Random;
use crate::storage::entity::from_properties;
use crate::storage::{Continuation, ETag, Error as StorageError, Key, Operation, Range, Row, Storage, large_messages};
use crate::timestamp::Timestamp;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// The queue of the function `orchestrator`.
pub const CONTROL_QUEUE: &str = "adxingestor-control";
/// The queue of the function `chunk_worker`.
pub const CHUNK_QUEUE: &str = "adxingestor-chunks";

/// Heads take turns in this many rows.
const TURNS: usize = 16;
const RUN_PARTITION: &str = "run";
const ACTIVE_ROW: &str = "active";
/// The places of runs beside the active one; they sort after it.
const BESIDE_PREFIX: &str = "beside:";
/// `beside:` sorts before this, and what is in the list of runs behind it.
const AFTER_PLACES: &str = "beside;";
const INSTANCE_ROW: &str = "i";
const HEAD_ROW: &str = "h";
/// `t:` sorts before this and nothing of ours lies between.
const AFTER_TABLES: &str = "t;";
const TABLE_PREFIX: &str = "t:";
/// `w:` sorts before this.
const AFTER_WINDOWS: &str = "w;";

/// What reading or writing a record can end in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Someone else changed a record first: read again and decide again.
    #[error("a record was changed by someone else in the meantime")]
    Conflict,
    /// A stored record cannot be read: it was written by another version, or by hand.
    #[error("the record {key} in the state store cannot be read: {source}{}", remedy(.key))]
    Unreadable {
        /// Where it stands.
        key: String,
        /// Why.
        source: StorageError,
    },
    /// The store failed.
    #[error(transparent)]
    Storage(StorageError),
}

/// What to do with a record that cannot be read, where it is known.
fn remedy(key: &str) -> &'static str {
    match key.split_once('/') {
        Some((RUN_PARTITION, _)) => {
            ". No run begins while it stands: remove the row; a run that goes on has its records elsewhere, and holds its tables"
        }
        _ => "",
    }
}

impl Error {
    /// Whether it may pass by itself, so that the same again is worth a try.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Conflict | Self::Storage(StorageError::Throttled { .. } | StorageError::Unavailable(_)) => true,
            Self::Unreadable { .. } | Self::Storage(_) => false,
        }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Conflict { .. } | StorageError::Exists { .. } | StorageError::NotFound { .. } => {
                Self::Conflict
            }
            other => Self::Storage(other),
        }
    }
}

/// A record with the version it was read at.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<T> {
    /// The record.
    pub record: T,
    /// Its version.
    pub etag: ETag,
}

/// The records in a store.
#[derive(Clone)]
pub struct State {
    storage: Storage,
    random: Arc<dyn Random>,
    cache: Arc<cache::Cache>,
    shared: Arc<permits::Shared>,
    turns: Arc<[Mutex<()>; TURNS]>,
}

impl State {
    /// The records in `storage`, which repeats its requests itself ([`crate::storage::retrying`]). Messages may have any size
    /// there: see [`large_messages`].
    pub fn new(storage: Storage, random: Arc<dyn Random>, tenant: Tenant) -> Self {
        let storage = large_messages(storage, Arc::clone(&random));
        let shared = Arc::new(permits::Shared::new(tenant));
        let turns = Arc::new(std::array::from_fn(|_| Mutex::new(())));
        Self { storage, random, cache: Arc::default(), shared, turns }
    }

    /// The store's time.
    pub fn now(&self) -> Timestamp {
        self.storage.clock.now()
    }

    /// 128 fresh random bits.
    pub fn random(&self) -> u128 {
        self.random.bits()
    }

    /// The store itself.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The place that all starts race for.
    pub async fn active(&self) -> Result<Option<Stored<Active>>, Error> {
        self.get(key(RUN_PARTITION, ACTIVE_ROW)?).await
    }

    /// The place of a run beside the active one.
    pub async fn beside(&self, id: &InstanceId) -> Result<Option<Stored<Active>>, Error> {
        self.get(key(RUN_PARTITION, &beside_row(id))?).await
    }

    /// All runs that hold a place, the active one first: one page.
    pub async fn places(&self) -> Result<Vec<Stored<Active>>, Error> {
        self.each_place().await?.into_iter().collect()
    }

    /// The same, of which some may not be readable.
    pub async fn each_place(&self) -> Result<Vec<Result<Stored<Active>, Error>>, Error> {
        let to = Some(AFTER_PLACES.to_owned());
        let range = Range { partition: RUN_PARTITION.to_owned(), from: ACTIVE_ROW.to_owned(), to };
        Ok(self.all(&range).await?.iter().map(read).collect())
    }

    /// A run.
    pub async fn instance(&self, id: &InstanceId) -> Result<Option<Stored<Instance>>, Error> {
        self.get(key(&instance_partition(id), INSTANCE_ROW)?).await
    }

    /// A table in a run.
    pub async fn table(&self, id: &InstanceId, table: &TableKey) -> Result<Option<Stored<TableRun>>, Error> {
        self.get(key(&instance_partition(id), &format!("{TABLE_PREFIX}{}", table.as_str()))?).await
    }

    /// The tables of a run, by their place.
    pub async fn tables(&self, id: &InstanceId) -> Result<Vec<Stored<TableRun>>, Error> {
        let range = Range {
            partition: instance_partition(id),
            from: TABLE_PREFIX.to_owned(),
            to: Some(AFTER_TABLES.to_owned()),
        };
        let mut tables: Vec<Stored<TableRun>> = self.all(&range).await?.iter().map(read).collect::<Result<_, _>>()?;
        tables.sort_by_key(|t| t.record.ordinal);
        Ok(tables)
    }

    /// The head of a table's ledger.
    pub async fn head(&self, table: &TableKey) -> Result<Option<Stored<Head>>, Error> {
        self.get(key(&table_partition(table), HEAD_ROW)?).await
    }

    /// A window.
    pub async fn window(&self, table: &TableKey, name: &WindowName) -> Result<Option<Stored<Window>>, Error> {
        self.get(key(&table_partition(table), name.as_str())?).await
    }

    /// The head as this process last read or wrote it, at most `age` ago; else read. See the note on old rows in
    /// `state/cache.rs`.
    pub async fn recent_head(&self, table: &TableKey, age: Duration) -> Result<Option<Stored<Head>>, Error> {
        self.recent(key(&table_partition(table), HEAD_ROW)?, age).await
    }

    /// A window as this process last read or wrote it; else read.
    pub async fn recent_window(&self, table: &TableKey, name: &WindowName) -> Result<Option<Stored<Window>>, Error> {
        self.recent(key(&table_partition(table), name.as_str())?, Duration::MAX).await
    }

    /// Held while a head is swapped, so that the workers of this process do not refuse each other. It decides nothing:
    /// other processes do not wait for it.
    pub async fn turn(&self, table: &TableKey) -> MutexGuard<'_, ()> {
        let place = table.as_str().bytes().fold(0usize, |sum, byte| (sum * 31 + usize::from(byte)) % TURNS);
        self.turns[place].lock().await
    }

    /// All windows of a table, by range.
    pub async fn windows(&self, table: &TableKey) -> Result<Vec<(WindowName, Stored<Window>)>, Error> {
        let range = window_range(table, WindowName::PREFIX.to_owned());
        self.all(&range).await?.iter().map(named).collect()
    }

    /// Up to 1,000 windows behind `after`, and whether there may be more.
    pub async fn windows_after(
        &self,
        table: &TableKey,
        after: Option<&WindowName>,
    ) -> Result<(Vec<(WindowName, Stored<Window>)>, bool), Error> {
        let from = after.map_or_else(|| WindowName::PREFIX.to_owned(), |name| format!("{} ", name.as_str()));
        let range = window_range(table, from);
        let at = Instant::now();
        let (rows, more) = self.stretch(&range).await?;
        let windows = rows.iter().map(named).collect::<Result<_, _>>()?;
        for row in rows.into_iter().take(READY_NAMES) {
            self.cache.keep(row, at);
        }
        Ok((windows, more))
    }

    /// Writes all or nothing; gives the new version of each record in order.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a record has another version than it was read at.
    pub async fn commit(&self, transaction: Transaction) -> Result<Vec<Option<ETag>>, Error> {
        let at = Instant::now();
        let operations = transaction.into_operations();
        let written = self.storage.tables.commit(&operations).await;
        for (index, operation) in operations.into_iter().enumerate() {
            let etag = written.as_ref().ok().and_then(|etags| etags.get(index)?.clone());
            match (operation, etag) {
                (Operation::Insert(key, properties) | Operation::Replace(key, properties, _), Some(etag)) => {
                    self.cache.keep(Row { key, properties, etag }, at);
                }
                (other, _) => self.cache.forget(other.key()),
            }
        }
        Ok(written?)
    }

    /// Sends what a transition owes. Windows that can be pulled at once are sent with permits for their calls.
    pub async fn pay(&self, debts: &[Debt]) -> Result<(), Error> {
        for debt in &self.with_permits(debts).await? {
            self.send(debt).await?;
        }
        Ok(())
    }

    async fn send(&self, debt: &Debt) -> Result<(), Error> {
        let (queue, body) = match &debt.message {
            Message::Control(message) => (CONTROL_QUEUE, serde_json::to_vec(message)),
            Message::Chunk(message) => (CHUNK_QUEUE, serde_json::to_vec(message)),
        };
        let body = body.map_err(|error| Error::Storage(StorageError::Fatal(Box::new(error))))?;
        Ok(self.storage.queues.send(queue, &body, debt.delay).await?)
    }

    async fn get<T: DeserializeOwned>(&self, key: Key) -> Result<Option<Stored<T>>, Error> {
        let at = Instant::now();
        let row = self.storage.tables.get(&key).await?;
        let record = row.as_ref().map(read).transpose();
        match row {
            Some(row) => self.cache.keep(row, at),
            None => self.cache.forget(&key),
        }
        record
    }

    async fn recent<T: DeserializeOwned>(&self, key: Key, age: Duration) -> Result<Option<Stored<T>>, Error> {
        match self.cache.get(&key, age).map(|row| read(&row)) {
            Some(Ok(record)) => Ok(Some(record)),
            // One that could not be read may have been mended.
            Some(Err(_)) | None => self.get(key).await,
        }
    }

    /// The first rows of a range, and whether more may follow. A page may be empty although more follow: Azure ends one
    /// after five seconds, or where another server has the next rows (rest-api-ref "Query timeout and pagination").
    async fn stretch(&self, range: &Range) -> Result<(Vec<Row>, bool), Error> {
        let mut after: Option<Continuation> = None;
        loop {
            let page = self.storage.tables.page(range, after.as_ref()).await?;
            if !page.rows.is_empty() || page.next.is_none() {
                return Ok((page.rows, page.next.is_some()));
            }
            after = page.next;
        }
    }

    async fn all(&self, range: &Range) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        let mut after: Option<Continuation> = None;
        loop {
            let page = self.storage.tables.page(range, after.as_ref()).await?;
            rows.extend(page.rows);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(rows),
            }
        }
    }
}

/// `None`, and a line in the log, for a record that cannot be read: for whoever looks at many and is not to be kept from the
/// others by one.
///
/// # Errors
/// Any other.
pub fn readable<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(record) => Ok(Some(record)),
        Err(error @ Error::Unreadable { .. }) => {
            tracing::error!(%error, "a record is passed over");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn key(partition: &str, row: &str) -> Result<Key, Error> {
    Key::new(partition, row).map_err(Error::from)
}

fn beside_row(id: &InstanceId) -> String {
    format!("{BESIDE_PREFIX}{id}")
}

fn instance_partition(id: &InstanceId) -> String {
    format!("i:{id}")
}

fn table_partition(table: &TableKey) -> String {
    format!("t:{}", table.as_str())
}

fn window_range(table: &TableKey, from: String) -> Range {
    Range { partition: table_partition(table), from, to: Some(AFTER_WINDOWS.to_owned()) }
}

fn read<T: DeserializeOwned>(row: &Row) -> Result<Stored<T>, Error> {
    match from_properties(&row.properties) {
        Ok(record) => Ok(Stored { record, etag: row.etag.clone() }),
        Err(source) => Err(Error::Unreadable { key: row.key.to_string(), source }),
    }
}

fn named(row: &Row) -> Result<(WindowName, Stored<Window>), Error> {
    let name: WindowName = row.key.row().parse().map_err(|error: crate::orchestration::ids::MalformedId| {
        Error::Unreadable { key: row.key.to_string(), source: StorageError::Invalid(error.to_string()) }
    })?;
    Ok((name, read(row)?))
}
