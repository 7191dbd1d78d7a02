//! The ports in one SQLite file, for one machine. Several processes may share the file; a network file
//! system cannot hold it, because its processes would not see each other's locks and memory.
//!
//! A committed change survives a killed process and a power cut: the log is synced before a call returns. Knows
//! nothing of what the rows mean.

mod blobs;
mod connections;
mod queues;
mod schema;
mod tables;

use super::Storage;
use crate::timestamp::{Clock, Timestamp};
use connections::Connections;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read or written, or its directory is not there.
    #[error("the state store {} cannot be opened: {reason}; check that its directory exists, is on a local disk and may be written", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the operating system or the database said.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is there and holds something else.
    #[error("{} is no state store of adxingestor; name another file, or move this one away to start with an empty store", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error("the state store {} has version {found}, and this program knows versions up to {known}; run the newer program, or name another file", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of the file.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
}

/// Opens the store in the file `path`, which is made if it is missing. Blocks for as long as another process is
/// making it; meant for the start of a program.
///
/// # Errors
/// See [`OpenError`].
pub fn sqlite(path: &Path, clock: Arc<dyn Clock>) -> Result<Storage, OpenError> {
    let store = Arc::new(Sqlite { connections: Connections::open(path)?, clock: Arc::clone(&clock) });
    Ok(Storage { tables: Arc::clone(&store) as _, queues: Arc::clone(&store) as _, blobs: store, clock })
}

struct Sqlite {
    connections: Connections,
    clock: Arc<dyn Clock>,
}

/// A time as it is stored.
fn ticks(at: Timestamp) -> i64 {
    // The last instant is below 2^62.
    i64::try_from(at.ticks()).unwrap_or(i64::MAX)
}

/// A stored time.
fn timestamp(ticks: i64) -> Timestamp {
    Timestamp::from_ticks(u64::try_from(ticks).unwrap_or(0))
}
