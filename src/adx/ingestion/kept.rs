//! Blobs in the app's own store, for a cluster that lends no storage and is sent rows inside commands. They are as
//! small as a command may be, so each is in memory whole.

use super::super::Error;
use super::{BlobName, Ingestor, StoredBlob};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use std::io::Read as _;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// The most bytes of rows in a command: what a service takes in one request, with what its escapes add, is not told, and an
/// emulator's memory is small.
pub const MAX_INLINE_BYTES: u64 = 4 * 1024 * 1024;
/// How the address of such a blob begins.
const SCHEME: &str = "state:";
/// Where they are in the store.
const FOLDER: &str = "ingestion/";

/// The app's own store of blobs.
#[async_trait]
pub trait Shelf: Send + Sync {
    /// Writes a whole blob.
    ///
    /// # Errors
    /// In words.
    async fn put(&self, name: &str, content: Bytes) -> Result<(), String>;

    /// A whole blob, or `None`.
    ///
    /// # Errors
    /// In words.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, String>;

    /// Removes a blob; fine if it is not there.
    ///
    /// # Errors
    /// In words.
    async fn delete(&self, name: &str) -> Result<(), String>;
}

/// Whether a blob is in the app's own store.
pub(super) fn is_kept(url: &str) -> bool {
    url.starts_with(SCHEME)
}

/// A blob that is being gathered.
pub(super) struct Gathered {
    shelf: Arc<dyn Shelf>,
    name: BlobName,
    content: BytesMut,
    deadline: Instant,
}

impl Gathered {
    pub fn begin(ingestor: &Ingestor, name: BlobName, deadline: Instant) -> Result<Self, Error> {
        Ok(Self { shelf: shelf(ingestor)?, name, content: BytesMut::new(), deadline })
    }

    pub fn write(&mut self, piece: &Bytes) -> Result<(), Error> {
        // Compressed, it is not larger than its rows but for a few bytes.
        if self.content.len() as u64 + piece.len() as u64 > MAX_INLINE_BYTES {
            return Err(too_large(None));
        }
        self.content.extend_from_slice(piece);
        Ok(())
    }

    pub async fn commit(self) -> Result<StoredBlob, Error> {
        let content = self.content.freeze();
        unpacked(&content)?;
        let compressed_bytes = content.len() as u64;
        let name = format!("{FOLDER}{}", self.name.as_str());
        stored(timeout_at(self.deadline, self.shelf.put(&name, content)).await)?;
        Ok(StoredBlob { url: format!("{SCHEME}{name}"), compressed_bytes })
    }
}

/// The rows of a blob.
pub(super) async fn rows(ingestor: &Ingestor, blob: &StoredBlob, deadline: Instant) -> Result<String, Error> {
    let what = || Error::NotFound { what: format!("the blob {}", blob.url) };
    unpacked(&content(ingestor, &blob.url, deadline).await?.ok_or_else(what)?)
}

/// Whether a blob is there.
pub(super) async fn content(ingestor: &Ingestor, url: &str, deadline: Instant) -> Result<Option<Bytes>, Error> {
    let name = url.strip_prefix(SCHEME).unwrap_or(url);
    stored(timeout_at(deadline, shelf(ingestor)?.get(name)).await)
}

/// Removes a blob that is not needed any more; one that stays takes room and does no harm.
pub(super) async fn forget(ingestor: &Ingestor, url: &str, deadline: Instant) {
    let name = url.strip_prefix(SCHEME).unwrap_or(url);
    let Ok(shelf) = shelf(ingestor) else { return };
    if let Err(error) = stored(timeout_at(deadline, shelf.delete(name)).await) {
        tracing::debug!(%error, blob = name, "a blob that was ingested stays in the app's store");
    }
}

fn shelf(ingestor: &Ingestor) -> Result<Arc<dyn Shelf>, Error> {
    ingestor.shelf.clone().ok_or_else(|| {
        Error::invalid("the cluster lends no storage, and the app has no store of its own to keep blobs in".to_owned())
    })
}

fn stored<T>(done: Result<Result<T, String>, tokio::time::error::Elapsed>) -> Result<T, Error> {
    let told = |what: String| Error::unavailable(format!("the app's own store of blobs: {what}"));
    done.map_err(|_| told("no answer in time".to_owned()))?.map_err(told)
}

/// The rows, if they fit a command.
fn unpacked(content: &Bytes) -> Result<String, Error> {
    let broken = |what: String| Error::invalid(format!("a blob for a command cannot be unpacked: {what}"));
    let mut rows = String::new();
    let mut unpacked = MultiGzDecoder::new(content.as_ref()).take(MAX_INLINE_BYTES + 1);
    unpacked.read_to_string(&mut rows).map_err(|error| broken(error.to_string()))?;
    if rows.len() as u64 > MAX_INLINE_BYTES {
        return Err(too_large(Some(content.len())));
    }
    if rows.trim().is_empty() {
        return Err(broken("it holds no row".to_owned()));
    }
    Ok(rows)
}

fn too_large(compressed: Option<usize>) -> Error {
    let packed = compressed.map(|bytes| format!(" ({bytes} bytes compressed)")).unwrap_or_default();
    let message = format!(
        "the rows of a window are more than the {MAX_INLINE_BYTES} bytes{packed} that are sent inside one command to a cluster that lends \
         no storage; set CHUNK_SIZE lower, such as 1000, or use a cluster with an ingestion endpoint (ADX_INGEST_URI)"
    );
    Error::TooLarge { message }
}
