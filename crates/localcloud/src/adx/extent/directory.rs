//! Where a table's extents are: a directory of its own, kept or temporary, and the blocks read last.

use super::payload::Cache;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use uuid::Uuid;

/// A directory of extents.
pub struct Directory {
    path: PathBuf,
    temporary: Option<TempDir>,
    pub(super) cache: Cache,
}

impl Directory {
    /// One that is kept; made if it is not there.
    ///
    /// # Errors
    /// What the system says.
    pub fn kept(path: &Path) -> io::Result<Arc<Self>> {
        fs::create_dir_all(path)?;
        Ok(Arc::new(Self { path: path.to_owned(), temporary: None, cache: Cache::default() }))
    }

    /// One that goes with its last extent.
    ///
    /// # Errors
    /// What the system says.
    pub fn temporary() -> io::Result<Arc<Self>> {
        let temporary = tempfile::Builder::new().prefix("extents-").tempdir()?;
        let path = temporary.path().to_owned();
        Ok(Arc::new(Self { path, temporary: Some(temporary), cache: Cache::default() }))
    }

    /// Whether extents outlive the process.
    pub fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The files of one extent. Removed when dropped, unless published in a directory that is kept.
pub(super) struct Files {
    pub directory: Arc<Directory>,
    pub id: Uuid,
    /// Whether any was made.
    made: AtomicBool,
    keep: AtomicBool,
}

impl Files {
    pub fn new(directory: Arc<Directory>, id: Uuid) -> Self {
        Self { directory, id, made: AtomicBool::new(false), keep: AtomicBool::new(false) }
    }

    /// Of an extent that was published before.
    pub fn published(directory: Arc<Directory>, id: Uuid) -> Self {
        Self { directory, id, made: AtomicBool::new(true), keep: AtomicBool::new(true) }
    }

    pub fn create_payload(&self) -> io::Result<File> {
        self.made.store(true, Ordering::SeqCst);
        File::create_new(self.payload())
    }

    pub fn payload(&self) -> PathBuf {
        self.path("gz")
    }

    pub fn index(&self) -> PathBuf {
        self.path("index")
    }

    pub fn unpublished_index(&self) -> PathBuf {
        self.path("index.tmp")
    }

    /// From here on the extent is found when its directory is opened again.
    pub fn publish(&self) -> io::Result<()> {
        if self.directory.is_kept() && !self.keep.load(Ordering::SeqCst) {
            fs::rename(self.unpublished_index(), self.index())?;
            self.keep.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    pub fn discard(&self) {
        self.keep.store(false, Ordering::SeqCst);
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.directory.path.join(format!("{}.{extension}", self.id))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.made.load(Ordering::SeqCst) && !self.keep.load(Ordering::SeqCst) {
            // The index first: a payload without one is no extent. Files that stay are cleared at the next opening.
            for path in [self.index(), self.unpublished_index(), self.payload()] {
                let _ = fs::remove_file(path);
            }
        }
    }
}
