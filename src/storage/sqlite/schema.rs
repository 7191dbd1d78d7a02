//! Opening a file: its settings, its tables and their version.

use super::OpenError;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How long a call waits for the writer of another process.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// SQLite does not wait by itself for every lock that the first opening of a file takes.
const OPEN_ATTEMPTS: u32 = 1000;
const OPEN_PAUSE: Duration = Duration::from_millis(10);

/// The version that [`TABLES`] makes.
const VERSION: i64 = 1;
const TABLES: &str = "
    CREATE TABLE adxingestor_store (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        version INTEGER NOT NULL,
        -- Counts every write of a row, so that no row version is ever given twice.
        writes INTEGER NOT NULL
    ) STRICT;
    INSERT INTO adxingestor_store VALUES (1, 1, 0);
    CREATE TABLE entity (
        partition_key TEXT NOT NULL,
        row_key TEXT NOT NULL,
        written INTEGER NOT NULL,
        properties TEXT NOT NULL,
        PRIMARY KEY (partition_key, row_key)
    ) STRICT;
    CREATE TABLE message (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        id TEXT NOT NULL UNIQUE,
        text TEXT NOT NULL,
        inserted INTEGER NOT NULL,
        visible INTEGER NOT NULL,
        dequeue_count INTEGER NOT NULL,
        -- Counts deliveries and extensions: what makes the last receipt the only good one.
        receipts INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX message_visible ON message (queue, visible, sequence);
    CREATE TABLE blob (
        name TEXT PRIMARY KEY,
        content BLOB NOT NULL
    ) STRICT;
";

/// A connection to the file at `path`, whose tables are there and of the version this program knows.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    // Without this, SQLite takes an empty name and `:memory:` for stores without a file.
    let path = std::path::absolute(path)
        .map_err(|error| OpenError::Unusable { path: path.to_owned(), reason: Box::new(error) })?;
    let mut attempt = 1;
    loop {
        match try_open(&path) {
            Err(Failure::Sqlite(error)) if is_busy(&error) && attempt < OPEN_ATTEMPTS => {
                attempt += 1;
                thread::sleep(OPEN_PAUSE);
            }
            result => return result.map_err(|failure| failure.at(path)),
        }
    }
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

enum Failure {
    Sqlite(rusqlite::Error),
    Foreign,
    Newer(i64),
    Unusable(&'static str),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Failure {
    fn at(self, path: PathBuf) -> OpenError {
        match self {
            Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
                OpenError::Foreign { path }
            }
            Self::Sqlite(error) => OpenError::Unusable { path, reason: Box::new(error) },
            Self::Foreign => OpenError::Foreign { path },
            Self::Newer(found) => OpenError::Newer { path, found, known: VERSION },
            Self::Unusable(reason) => OpenError::Unusable { path, reason: reason.into() },
        }
    }
}

fn try_open(path: &Path) -> Result<Connection, Failure> {
    // Without URI names, so that a path is a path whatever it holds.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Before the first write, so that a file of another program stays as it is.
    if is_foreign(&connection)? {
        return Err(Failure::Foreign);
    }
    if connection.is_readonly("main")? {
        return Err(Failure::Unusable("the file may not be written"));
    }
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Failure::Unusable("the file system does not take a write-ahead log"));
    }
    connection.pragma_update(None, "synchronous", "full")?;
    // Only macOS needs to be told to sync past the disk's cache.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    // What a large blob added to the log is given back to the disk.
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    make_tables(&mut connection)?;
    Ok(connection)
}

fn is_foreign(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT count(*) > 0 AND coalesce(sum(name = 'adxingestor_store'), 0) = 0 FROM sqlite_schema",
        [],
        |row| row.get(0),
    )
}

fn make_tables(connection: &mut Connection) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if is_foreign(&transaction)? {
        return Err(Failure::Foreign);
    }
    let made: bool = transaction.query_row("SELECT count(*) > 0 FROM sqlite_schema", [], |row| row.get(0))?;
    if !made {
        transaction.execute_batch(TABLES)?;
        transaction.commit()?;
        return Ok(());
    }
    let found: Option<i64> =
        transaction.query_row("SELECT version FROM adxingestor_store", [], |row| row.get(0)).optional()?;
    match found {
        Some(VERSION) => Ok(()),
        Some(found) if found > VERSION => Err(Failure::Newer(found)),
        _ => Err(Failure::Foreign),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_is_synced_to_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let connection = open(&directory.path().join("state.db")).unwrap();
            let setting = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
            assert_eq!((setting("synchronous"), setting("fullfsync")), (2, 1));
            let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
    }

    #[test]
    fn all_that_open_a_new_file_together_get_it() {
        for round in 0..60 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("state.db");
            let barrier = std::sync::Barrier::new(12);
            thread::scope(|scope| {
                for _ in 0..12 {
                    scope.spawn(|| {
                        barrier.wait();
                        if let Err(error) = open(&path) {
                            panic!("round {round}: {error}");
                        }
                    });
                }
            });
        }
    }
}
