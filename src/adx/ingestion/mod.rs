//! Ingestion: a blob, then whatever asks the service to load it, which is the way that the cluster offers or a setting
//! names (dataexplorer-docs `ingest-data-overview.md`). Puts bytes where they belong and asks for them to be loaded; whether
//! they were is for the proof query to say. Knows nothing of what the rows are.

mod blob;
mod classic;
mod direct;
mod kept;
mod lookup;
mod message;
mod rank;
mod requests;
mod resources;
mod rest;
mod route;
mod signed;
mod status;
mod status_table;
mod upload;
mod way;

pub use blob::{BlobName, StoredBlob};
pub use kept::{MAX_INLINE_BYTES, Shelf};
pub use message::{ChunkIdMode, Submission};
pub use status::{Ended, PostKey, Status};
pub use upload::Upload;
pub use way::Choice;

use super::{Client, Error};
use resources::{Resources, Storage};
use signed::Signed;
use std::sync::Arc;
use tokio::time::Instant;
use way::Way;

/// A path of JSONPath to a member of the record, as ingestion mappings write it.
pub(super) use message::json_path;

/// Uploads blobs and posts them for ingestion; cheap to clone.
#[derive(Clone)]
pub struct Ingestor {
    client: Client,
    storage: Arc<Storage>,
    shelf: Option<Arc<dyn Shelf>>,
}

/// A post that was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Posted {
    /// What the service calls it, where it gives it a name.
    pub operation: Option<String>,
}

impl Ingestor {
    /// An ingestor into the client's database. Nothing is sent yet.
    pub fn new(client: Client, choice: Choice) -> Self {
        Self { client, storage: Arc::new(Storage::new(choice)), shelf: None }
    }

    /// The same with a place for the blobs of a cluster that lends none.
    #[must_use]
    pub fn keeping(self, shelf: Arc<dyn Shelf>) -> Self {
        Self { shelf: Some(shelf), ..self }
    }

    /// Finds out how rows get into the database, if that is not known. What may pass is for the first blob to meet.
    ///
    /// # Errors
    /// Why no blob could be ingested before a person does something: [`Error::needs_a_person`].
    pub async fn find_way(&self, deadline: Instant) -> Result<(), Error> {
        match self.resources(deadline).await {
            Err(error) if error.needs_a_person() => Err(error),
            Err(error) => {
                tracing::warn!(%error, "how blobs are ingested is not known yet");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// The most bytes of rows that a blob may hold, where the way that was found has a bound.
    pub fn most_bytes(&self) -> Option<u64> {
        self.storage.held().filter(|set| matches!(set.way, Way::Inline)).map(|_| MAX_INLINE_BYTES)
    }

    /// The way that would be taken now, and why, in words. Asks for what the cluster lends, uses nothing of it and keeps nothing.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn way(&self, deadline: Instant) -> Result<(&'static str, String), Error> {
        let route = route::find(&self.client, self.storage.choice(), deadline).await?;
        Ok((route.way.told(), route.reason))
    }

    /// Opens a blob to write to. Nothing is visible before [`Upload::commit`]; an upload that is dropped leaves
    /// nothing behind but blocks that the service forgets within a week. All of it has to be done by `deadline`.
    ///
    /// # Errors
    /// What finding out what the service lends can end in.
    pub async fn begin(&self, name: BlobName, deadline: Instant) -> Result<Upload, Error> {
        let resources = self.resources(deadline).await?;
        Upload::begin(self.clone(), resources, name, deadline)
    }

    /// Asks the service to ingest a committed blob, alone, under its window's id.
    ///
    /// Whatever the way, this is asked once, and again only after an answer that says that it was not taken.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`]: it may have been taken; count before asking again. A blob that is posted again, and is not
    /// of the length that it had, is refused.
    pub async fn post(&self, submission: &Submission<'_>, deadline: Instant) -> Result<Posted, Error> {
        if submission.raw_bytes == 0 || submission.blob.compressed_bytes == 0 {
            return Err(Error::invalid(format!("blob {} is empty; there is nothing to ingest", submission.blob.url)));
        }
        let posted = self.post_on_its_way(submission, deadline).await;
        if matches!(posted, Ok(_) | Err(Error::OutcomeUnknown { .. })) {
            self.storage.posts(self.client.clock().now());
        }
        posted
    }

    async fn post_on_its_way(&self, submission: &Submission<'_>, deadline: Instant) -> Result<Posted, Error> {
        if submission.number > 1 {
            lookup::check(self, submission.blob, deadline).await?;
        }
        if kept::is_kept(&submission.blob.url) {
            return direct::inline(self, submission, deadline).await;
        }
        let resources = self.resources(deadline).await?;
        match &resources.way {
            Way::Queued(_) => message::post(self, &resources, submission, deadline).await,
            Way::Rest => match rest::submit(self, &resources, submission, deadline).await {
                // Nothing of it was taken, so that another way is no second post.
                Err(Error::NotOffered { what }) => {
                    let queues = self.storage.without_rest(&self.client, &resources, &what, deadline).await?;
                    message::post(self, &queues, submission, deadline).await
                }
                done => done,
            },
            Way::Direct => direct::from_storage(self, &resources, submission, deadline).await,
            Way::Inline => Err(Error::NotFound {
                what: format!("the container of {}: the cluster lends none any more", submission.blob.url),
            }),
        }
    }

    /// Whether a committed blob is still there. Asks once.
    ///
    /// # Errors
    /// Storage did not say: it is out of order, or the blob's container is not lent any more.
    pub async fn has(&self, url: &str, deadline: Instant) -> Result<bool, Error> {
        lookup::has(self, url, deadline).await
    }

    /// Whether a committed blob is still there and holds what was sealed, of which `sha256` is the SHA-256 in hex. Content that storage
    /// does not show is taken for it if it has the length.
    ///
    /// # Errors
    /// As [`Ingestor::has`].
    pub async fn holds(&self, blob: &StoredBlob, sha256: &str, deadline: Instant) -> Result<bool, Error> {
        lookup::holds(self, blob, sha256, deadline).await
    }

    /// Removes a blob of the app's own store whose rows are proved. Others go with the containers that they were lent.
    pub async fn forget(&self, url: &str, deadline: Instant) {
        if kept::is_kept(url) {
            kept::forget(self, url, deadline).await;
        }
    }

    /// How a post stands, as far as the service tells. Asks once.
    ///
    /// # Errors
    /// The service did not answer; that says nothing of the post.
    pub async fn status(&self, post: &PostKey<'_>, deadline: Instant) -> Result<Status, Error> {
        status::status(self, post, deadline).await
    }

    /// How a post has failed and what to do, if the service tells that it has. Asks once.
    ///
    /// # Errors
    /// The service did not answer; that says nothing of the post.
    pub async fn failure(&self, post: &PostKey<'_>, deadline: Instant) -> Result<Option<Ended>, Error> {
        Ok(status::failure(&self.client, post.table, self.status(post, deadline).await?))
    }

    async fn resources(&self, deadline: Instant) -> Result<Arc<Resources>, Error> {
        self.storage.current(&self.client, deadline).await
    }

    /// Another set than `stale`, which storage refuses.
    async fn resources_after(&self, stale: &Arc<Resources>, deadline: Instant) -> Result<Arc<Resources>, Error> {
        self.storage.refreshed(&self.client, stale, deadline).await
    }

    /// The container that a blob is in, by another set if this one lends it no more, and the blob's name there.
    async fn container_of(
        &self,
        resources: &Arc<Resources>,
        blob: &str,
        deadline: Instant,
    ) -> Result<(Signed, String), Error> {
        let now = self.client.clock().now();
        let found = |set: &Resources| set.container_of(blob, now).map(|(found, name)| (found.clone(), name.to_owned()));
        if let Some(found) = found(resources) {
            return Ok(found);
        }
        let refreshed = self.resources_after(resources, deadline).await?;
        found(&refreshed).ok_or_else(|| Error::NotFound {
            what: format!("the container of {blob} among those that the service lends"),
        })
    }
}
