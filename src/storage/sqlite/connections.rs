//! The connections of one process: one that writes, some that read. Calls wait for them in the executor and
//! use them outside it, each for a bounded time.

use super::OpenError;
use super::schema::{self, BUSY_TIMEOUT};
use crate::storage::Error;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::{task, time};

/// The longest a call takes, waiting for its connection included.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const READERS: usize = 3;

// A call that times out leaves its work behind, which must end by itself.
const _: () = assert!(BUSY_TIMEOUT.as_secs() < CALL_TIMEOUT.as_secs());

pub(super) struct Connections {
    writer: Arc<Mutex<Connection>>,
    readers: Vec<Arc<Mutex<Connection>>>,
    next_reader: AtomicUsize,
}

impl Connections {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let writer = Arc::new(Mutex::new(schema::open(path)?));
        let readers = (0..READERS).map(|_| Ok(Arc::new(Mutex::new(schema::open(path)?)))).collect::<Result<_, _>>()?;
        Ok(Self { writer, readers, next_reader: AtomicUsize::new(0) })
    }

    /// Does `work`, of single statements that only read, in its own snapshot of the file.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        with(&self.readers[turn], |connection| work(connection)).await
    }

    /// Does `work` in a transaction that is committed, and on disk, if it succeeds, and undone if not.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        with(&self.writer, |connection| {
            if !connection.is_autocommit() {
                // Left open by a failed rollback; nothing could begin behind it.
                connection.execute_batch("ROLLBACK").map_err(failure)?;
            }
            // Immediate: a transaction that only later became a writer could find its snapshot outdated.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failure)?;
            let result = work(&transaction)?;
            transaction.commit().map_err(failure)?;
            Ok(result)
        })
        .await
    }
}

async fn with<T: Send + 'static>(
    connection: &Arc<Mutex<Connection>>,
    work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let call = async {
        let mut connection = Arc::clone(connection).lock_owned().await;
        task::spawn_blocking(move || work(&mut connection)).await
    };
    match time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(result)) => result,
        Ok(Err(ended)) => Err(Error::Unavailable(Box::new(ended))),
        Err(elapsed) => Err(Error::Unavailable(Box::new(elapsed))),
    }
}

/// What an error of the database means to the caller.
pub(super) fn failure(error: rusqlite::Error) -> Error {
    if schema::is_busy(&error) {
        return Error::Throttled { after: None };
    }
    match error.sqlite_error_code() {
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::OutOfMemory
            | ErrorCode::CannotOpen
            | ErrorCode::FileLockingProtocolFailed,
        ) => Error::Unavailable(Box::new(error)),
        _ => Error::Fatal(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_file_asks_to_come_back_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        let (mut one, mut other) = (schema::open(&path).unwrap(), schema::open(&path).unwrap());
        let _writing = one.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        other.busy_timeout(Duration::ZERO).unwrap();
        let error = other.transaction_with_behavior(TransactionBehavior::Immediate).map(drop).unwrap_err();
        assert!(matches!(failure(error), Error::Throttled { after: None }));
    }

    #[tokio::test]
    async fn a_failed_write_leaves_nothing_behind_and_the_next_one_works() {
        let directory = tempfile::tempdir().unwrap();
        let connections = Connections::open(&directory.path().join("state.db")).unwrap();
        let write = |fail: bool| {
            connections.write(move |transaction| {
                transaction.execute("INSERT INTO blob VALUES (?1, x'00')", [fail.to_string()]).map_err(failure)?;
                if fail { transaction.execute("INSERT INTO missing VALUES (1)", []).map_err(failure) } else { Ok(0) }
            })
        };
        assert!(matches!(write(true).await, Err(Error::Fatal(_))));
        write(false).await.unwrap();
        let names = |connection: &Connection| {
            connection
                .query_row("SELECT group_concat(name) FROM blob", [], |row| row.get::<_, String>(0))
                .map_err(failure)
        };
        assert_eq!(connections.read(names).await.unwrap(), "false");
    }

    #[tokio::test]
    async fn a_transaction_left_open_is_undone_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let connections = Connections::open(&directory.path().join("state.db")).unwrap();
        connections.writer.lock().await.execute_batch("BEGIN; INSERT INTO blob VALUES ('a', x'00')").unwrap();
        let count = |transaction: &Transaction<'_>| {
            transaction.query_row("SELECT count(*) FROM blob", [], |row| row.get::<_, i64>(0)).map_err(failure)
        };
        assert_eq!(connections.write(count).await.unwrap(), 0);
    }
}
