//! Queued ingestion by the classic protocol: a blob in a container of the service, then a message in one of
//! its queues (dataexplorer-docs `api/netfx/kusto-ingest-client-rest.md`). Puts bytes where they belong and asks for
//! them to be loaded; whether they were is for the proof query to say. Knows nothing of what the rows are.

mod blob;
mod lookup;
mod message;
mod requests;
mod resources;
mod upload;

pub use blob::{BlobName, StoredBlob};
pub use message::{ChunkIdMode, Submission};
pub use upload::Upload;

use super::{Client, Error};
use resources::{Resources, Storage};
use std::sync::Arc;
use tokio::time::Instant;

/// A path of JSONPath to a member of the record, as ingestion mappings write it.
pub(super) use message::json_path;

/// Uploads blobs and posts them for ingestion; cheap to clone.
#[derive(Clone)]
pub struct Ingestor {
    client: Client,
    storage: Arc<Storage>,
}

impl Ingestor {
    /// An ingestor into the client's database. Nothing is sent yet.
    pub fn new(client: Client) -> Self {
        Self { client, storage: Arc::default() }
    }

    /// Opens a blob to write to. Nothing is visible before [`Upload::commit`]; an upload that is dropped leaves
    /// nothing behind but blocks that the service forgets within a week. All of it has to be done by `deadline`.
    ///
    /// # Errors
    /// What asking for the service's containers can end in.
    pub async fn begin(&self, name: BlobName, deadline: Instant) -> Result<Upload, Error> {
        let resources = self.resources(deadline).await?;
        Upload::begin(self.clone(), resources, name, deadline)
    }

    /// Asks the service to ingest a committed blob, alone, under its window's id.
    ///
    /// The message is sent once. It is repeated, in another queue if need be, only after an answer that says that
    /// it was not taken.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`]: it may be in the queue; count before asking again.
    pub async fn post(&self, submission: &Submission<'_>, deadline: Instant) -> Result<(), Error> {
        message::post(self, submission, deadline).await
    }

    /// Whether a committed blob is still there. Asks once.
    ///
    /// # Errors
    /// Storage did not say: it is out of order, or the blob's container is not lent any more.
    pub async fn has(&self, url: &str, deadline: Instant) -> Result<bool, Error> {
        lookup::has(self, url, deadline).await
    }

    async fn resources(&self, deadline: Instant) -> Result<Arc<Resources>, Error> {
        self.storage.current(&self.client, deadline).await
    }

    /// Another set than `stale`, which storage refuses.
    async fn resources_after(&self, stale: &Arc<Resources>, deadline: Instant) -> Result<Arc<Resources>, Error> {
        self.storage.refreshed(&self.client, stale, deadline).await
    }
}
