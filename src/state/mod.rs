//! The records of runs and ledgers in the state store: keys, versions, transactions and the two queues.
//! Knows how a record is stored and nothing of when it changes.

mod transaction;

pub use transaction::Transaction;

use crate::orchestration::ids::{InstanceId, TableKey, WindowName};
use crate::orchestration::instance::{Instance, TableRun};
use crate::orchestration::ledger::Head;
use crate::orchestration::message::{Debt, Message};
use crate::orchestration::run::place::Active;
use crate::orchestration::window::Window;
use crate::random::Random;
use crate::storage::entity::from_properties;
use crate::storage::{Continuation, ETag, Error as StorageError, Key, Range, Row, Storage};
use crate::timestamp::Timestamp;
use backon::{ExponentialBuilder, Retryable};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// The queue of the function `orchestrator`.
pub const CONTROL_QUEUE: &str = "adxingestor-control";
/// The queue of the function `chunk_worker`.
pub const CHUNK_QUEUE: &str = "adxingestor-chunks";

const RUN_PARTITION: &str = "run";
const ACTIVE_ROW: &str = "active";
/// The places of runs beside the active one; they sort after it.
const BESIDE_PREFIX: &str = "beside:";
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
    #[error("the record {key} in the state store cannot be read: {source}")]
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
}

impl State {
    /// The records in `storage`.
    pub fn new(storage: Storage, random: Arc<dyn Random>) -> Self {
        Self { storage, random }
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
        let range = Range { partition: RUN_PARTITION.to_owned(), from: ACTIVE_ROW.to_owned(), to: None };
        self.all(&range).await?.into_iter().map(read).collect()
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
        let mut tables: Vec<Stored<TableRun>> =
            self.all(&range).await?.into_iter().map(read).collect::<Result<_, _>>()?;
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

    /// All windows of a table, by range.
    pub async fn windows(&self, table: &TableKey) -> Result<Vec<(WindowName, Stored<Window>)>, Error> {
        let range = window_range(table, WindowName::PREFIX.to_owned());
        self.all(&range).await?.into_iter().map(named).collect()
    }

    /// Up to 1,000 windows behind `after`, and whether there may be more.
    pub async fn windows_after(
        &self,
        table: &TableKey,
        after: Option<&WindowName>,
    ) -> Result<(Vec<(WindowName, Stored<Window>)>, bool), Error> {
        let from = after.map_or_else(|| WindowName::PREFIX.to_owned(), |name| format!("{} ", name.as_str()));
        let range = window_range(table, from);
        let page = self.retry(|| self.storage.tables.page(&range, None)).await?;
        let more = page.next.is_some();
        Ok((page.rows.into_iter().map(named).collect::<Result<_, _>>()?, more))
    }

    /// Writes all or nothing; gives the new version of each record in order.
    ///
    /// An answer that was lost is told from a write that was lost: every row names the transaction that wrote it.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a record has another version than it was read at.
    pub async fn commit(&self, transaction: Transaction) -> Result<Vec<Option<ETag>>, Error> {
        let operation = format!("{:032x}", self.random());
        let operations = transaction.operations(&operation);
        let mut doubt = false;
        let mut pause = Duration::from_millis(100);
        loop {
            match self.storage.tables.commit(&operations).await {
                Ok(etags) => return Ok(etags),
                Err(StorageError::Unavailable(_) | StorageError::Throttled { .. })
                    if pause < Duration::from_secs(4) =>
                {
                    doubt = true;
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) if doubt => {
                    return match self.written_by(&operations, &operation).await? {
                        Some(etags) => Ok(etags),
                        None => Err(error.into()),
                    };
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn written_by(
        &self,
        operations: &[crate::storage::Operation],
        operation: &str,
    ) -> Result<Option<Vec<Option<ETag>>>, Error> {
        let mut etags = Vec::with_capacity(operations.len());
        for written in operations {
            let row = self.retry(|| self.storage.tables.get(written.key())).await?;
            etags.push(row.filter(|row| transaction::is_written_by(row, operation)).map(|row| row.etag));
        }
        // All or nothing: one row that says so proves the whole, even if others have moved on since.
        Ok(etags.iter().any(Option::is_some).then_some(etags))
    }

    /// Sends what a transition owes.
    pub async fn pay(&self, debts: &[Debt]) -> Result<(), Error> {
        for debt in debts {
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
        self.retry(|| self.storage.queues.send(queue, &body, debt.delay)).await
    }

    async fn get<T: DeserializeOwned>(&self, key: Key) -> Result<Option<Stored<T>>, Error> {
        self.retry(|| self.storage.tables.get(&key)).await?.map(read).transpose()
    }

    async fn all(&self, range: &Range) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        let mut after: Option<Continuation> = None;
        loop {
            let page = self.retry(|| self.storage.tables.page(range, after.as_ref())).await?;
            rows.extend(page.rows);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(rows),
            }
        }
    }

    /// Repeats what is safe to repeat: reads, and sends (a message may come twice).
    async fn retry<T, F: Future<Output = Result<T, StorageError>>>(&self, call: impl FnMut() -> F) -> Result<T, Error> {
        let policy =
            ExponentialBuilder::default().with_min_delay(Duration::from_millis(100)).with_max_times(5).with_jitter();
        call.retry(policy)
            .when(|error| matches!(error, StorageError::Unavailable(_) | StorageError::Throttled { .. }))
            .await
            .map_err(Error::from)
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

fn read<T: DeserializeOwned>(row: Row) -> Result<Stored<T>, Error> {
    match from_properties(&row.properties) {
        Ok(record) => Ok(Stored { record, etag: row.etag }),
        Err(source) => Err(Error::Unreadable { key: row.key.to_string(), source }),
    }
}

fn named(row: Row) -> Result<(WindowName, Stored<Window>), Error> {
    let name: WindowName = row.key.row().parse().map_err(|error: crate::orchestration::ids::MalformedId| {
        Error::Unreadable { key: row.key.to_string(), source: StorageError::Invalid(error.to_string()) }
    })?;
    Ok((name, read(row)?))
}
