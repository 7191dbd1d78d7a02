//! Writes one blob in blocks of 2 MiB, or at once when it fits one block. Each piece is kept until storage has
//! taken it, so a repetition sends the same bytes. Knows no row: bytes in, a committed blob out.

use super::super::Error;
use super::kept::Gathered;
use super::lookup::Found;
use super::requests::{Refusal, Request, send};
use super::resources::Resources;
use super::signed::{Signed, bare};
use super::way::Way;
use super::{BlobName, Ingestor, StoredBlob};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use md5::{Digest, Md5};
use reqwest::Method;
use reqwest::header::HeaderMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::Arc;
use tokio::time::Instant;
use url::Url;

/// The bytes of a block, and what is sent in one request at most.
pub const BLOCK_BYTES: usize = 2 * 1024 * 1024;
/// The most blocks of a blob (Azure Storage REST, Put Block).
const MAX_BLOCKS: usize = 50_000;
/// How gzip begins (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A blob that is being written.
pub struct Upload(Place);

/// Where to.
enum Place {
    /// A container that the cluster lends.
    Container(Box<Blocks>),
    /// The app's own store.
    Shelf(Gathered),
}

impl Upload {
    pub(super) fn begin(
        ingestor: Ingestor,
        resources: Arc<Resources>,
        name: BlobName,
        deadline: Instant,
    ) -> Result<Self, Error> {
        Ok(Self(match &resources.way {
            Way::Inline => Place::Shelf(Gathered::begin(&ingestor, name, deadline)?),
            _ => Place::Container(Box::new(Blocks::begin(ingestor, resources, name, deadline)?)),
        }))
    }

    /// Takes the next bytes of the gzip stream; sends a block whenever one is full.
    ///
    /// # Errors
    /// Storage failed for good or for too long; the upload is to be dropped.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Error> {
        match &mut self.0 {
            Place::Container(blocks) => blocks.write(piece).await,
            Place::Shelf(gathered) => gathered.write(&piece),
        }
    }

    /// Makes the blob visible, whole.
    ///
    /// # Errors
    /// Nothing was written, storage failed, or [`Error::OutcomeUnknown`]: the blob may be there; its name is this
    /// upload's own, so a new upload meets nothing of it.
    pub async fn commit(self) -> Result<StoredBlob, Error> {
        match self.0 {
            Place::Container(blocks) => blocks.commit().await,
            Place::Shelf(gathered) => gathered.commit().await,
        }
    }
}

/// A blob that is written in blocks.
struct Blocks {
    ingestor: Ingestor,
    resources: Arc<Resources>,
    container: Signed,
    /// Others to begin in, if this one fails.
    others: Vec<Signed>,
    name: BlobName,
    deadline: Instant,
    buffer: BytesMut,
    blocks: Vec<String>,
    bytes: u64,
    /// Of all bytes.
    hash: Md5,
    refreshed: bool,
}

impl Blocks {
    fn begin(ingestor: Ingestor, resources: Arc<Resources>, name: BlobName, deadline: Instant) -> Result<Self, Error> {
        let mut others = ingestor.storage.containers(&ingestor.client, &resources);
        if others.is_empty() {
            return Err(no_container());
        }
        let container = others.remove(0);
        let (buffer, blocks, hash) = (BytesMut::new(), Vec::new(), Md5::new());
        Ok(Self {
            ingestor,
            resources,
            container,
            others,
            name,
            deadline,
            buffer,
            blocks,
            bytes: 0,
            hash,
            refreshed: false,
        })
    }

    async fn write(&mut self, mut piece: Bytes) -> Result<(), Error> {
        while !piece.is_empty() {
            // A full buffer is sent when more comes, so that a blob of exactly one block is put at once.
            if self.buffer.len() == BLOCK_BYTES {
                self.put_block().await?;
            }
            let taken = piece.split_to(piece.len().min(BLOCK_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(&taken);
            self.hash.update(&taken);
            self.bytes += taken.len() as u64;
            let held = self.buffer.len().min(GZIP_MAGIC.len());
            if self.blocks.is_empty() && self.buffer[..held] != GZIP_MAGIC[..held] {
                return Err(Error::invalid(format!(
                    "blob {} is named gzip and its content is not",
                    self.name.as_str()
                )));
            }
        }
        Ok(())
    }

    async fn commit(mut self) -> Result<StoredBlob, Error> {
        if self.bytes <= GZIP_MAGIC.len() as u64 || (self.blocks.is_empty() && is_gzip_of_nothing(&self.buffer)) {
            return Err(Error::invalid(format!("blob {} would be empty", self.name.as_str())));
        }
        let hash = BASE64.encode(self.hash.clone().finalize());
        if self.blocks.is_empty() {
            self.put_blob(&hash).await?;
        } else {
            if !self.buffer.is_empty() {
                self.put_block().await?;
            }
            self.put_block_list(&hash).await?;
        }
        self.check(&hash).await?;
        let url = bare(&self.container.below(self.name.as_str()));
        Ok(StoredBlob { url, compressed_bytes: self.bytes })
    }

    async fn put_block(&mut self) -> Result<(), Error> {
        if self.blocks.len() == MAX_BLOCKS {
            return Err(Error::invalid(format!(
                "blob {} would have more than {MAX_BLOCKS} blocks",
                self.name.as_str()
            )));
        }
        let block = self.buffer.split().freeze();
        // All ids of a blob must have the same length.
        let id = BASE64.encode(format!("{:08}", self.blocks.len()));
        let query = [("comp", "block"), ("blockid", id.as_str())];
        let hash = md5(&block);
        self.request(Method::PUT, &query, &[("content-md5", &hash)], block).await?;
        self.blocks.push(id);
        Ok(())
    }

    /// Refuses what does not stand there as it was sent. Where storage does not let itself be looked at, that is left unknown: it
    /// has taken the pieces with their hashes, and the count proves the rest.
    async fn check(&mut self, hash: &str) -> Result<(), Error> {
        let found = match self.try_request(Method::HEAD, &[], &[], Bytes::new()).await {
            Ok(headers) => Found::read(&headers),
            Err((Refusal::Missing(error), _)) => return Err(error),
            Err((refusal, _)) => {
                tracing::debug!(error = %refusal.into_error(), blob = self.name.as_str(), "a blob cannot be looked at");
                return Ok(());
            }
        };
        if found.is(self.bytes, Some(hash)) {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "blob {} of {} bytes (MD5 {hash}) stands there with {} bytes (MD5 {})",
            self.name.as_str(),
            self.bytes,
            found.length.map_or("unknown".to_owned(), |length| length.to_string()),
            found.md5.unwrap_or_default(),
        )))
    }

    /// Safe to repeat: `Latest` finds the blocks committed already just as well.
    async fn put_block_list(&mut self, hash: &str) -> Result<(), Error> {
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for id in &self.blocks {
            // Writing to a String cannot fail; base64 needs no XML escape.
            let _ = write!(list, "<Latest>{id}</Latest>");
        }
        list.push_str("</BlockList>");
        let own_hash = md5(list.as_bytes());
        let headers = [
            ("content-type", "application/xml"),
            ("content-md5", own_hash.as_str()),
            ("x-ms-blob-content-type", "application/gzip"),
            ("x-ms-blob-content-md5", hash),
        ];
        self.request(Method::PUT, &[("comp", "blocklist")], &headers, list.into()).await?;
        Ok(())
    }

    async fn put_blob(&mut self, hash: &str) -> Result<(), Error> {
        let body = self.buffer.split().freeze();
        let headers = [
            ("x-ms-blob-type", "BlockBlob"),
            ("if-none-match", "*"),
            ("content-type", "application/gzip"),
            ("content-md5", hash),
        ];
        match self.try_request(Method::PUT, &[], &headers, body).await {
            Ok(_) => Ok(()),
            // An earlier attempt whose answer was lost has written it: the name is ours alone, and it is looked at next.
            Err((Refusal::Exists(_), true)) => Ok(()),
            Err((refusal, _)) => Err(refusal.into_error()),
        }
    }

    async fn request(
        &mut self,
        method: Method,
        query: &[(&str, &str)],
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<HeaderMap, Error> {
        self.try_request(method, query, headers, body).await.map_err(|(refusal, _)| refusal.into_error())
    }

    /// Sends until taken; with a refusal comes whether there was an attempt before it, which may have been taken.
    async fn try_request(
        &mut self,
        method: Method,
        query: &[(&str, &str)],
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<HeaderMap, (Refusal, bool)> {
        let client = self.ingestor.client.clone();
        let mut waits = client.pace().waits(client.seed());
        let mut attempted = false;
        loop {
            let now = client.clock().now();
            if !self.container.is_usable(now)
                && !self.refresh().await.map_err(|error| (Refusal::Other(error), attempted))?
            {
                let what = format!("a signature for the container {}", self.container.bare());
                return Err((Refusal::Stale(Error::NotFound { what }), attempted));
            }
            let changes = method != Method::HEAD;
            let request =
                Request { method: method.clone(), url: self.url(query), headers, body: body.clone(), changes };
            let sent = send(client.outbound(), client.clock(), request, self.deadline).await;
            let failed = matches!(&sent, Err(Refusal::Stale(_) | Refusal::Other(_)));
            // Whether it lets itself be looked at says nothing of an account.
            if changes {
                self.ingestor.storage.ranks.note(&self.container.account(), !failed, client.clock().now());
            }
            let refusal = match sent {
                Ok(headers) => return Ok(headers),
                Err(refusal) => refusal,
            };
            let wait = match &refusal {
                // To look at what is written is not worth new signatures.
                Refusal::Stale(_) if !self.refreshed && changes => {
                    self.refreshed = true;
                    if self.refresh().await.map_err(|error| (Refusal::Other(error), attempted))? {
                        continue;
                    }
                    None
                }
                Refusal::Other(
                    error @ (Error::OutcomeUnknown { .. } | Error::Unavailable { .. } | Error::Throttled { .. }),
                ) => {
                    attempted = true;
                    waits.next_after(error, self.deadline)
                }
                _ => None,
            };
            let Some(wait) = wait else { return Err((refusal, attempted)) };
            if self.blocks.is_empty() && method == Method::PUT {
                // Nothing stands there yet that has to stay together: another container may be in better health.
                if !self.others.is_empty() {
                    let other = self.others.remove(0);
                    self.others.push(std::mem::replace(&mut self.container, other));
                }
            }
            tracing::debug!(
                blob = self.name.as_str(),
                wait_ms = wait.as_millis() as u64,
                "storage request is repeated"
            );
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes a new signature: for the same container, or any while nothing has been written. False if the container
    /// is not lent any more.
    async fn refresh(&mut self) -> Result<bool, Error> {
        let set = self.ingestor.resources_after(&self.resources, self.deadline).await?;
        let here = self.container.below("x");
        let client = &self.ingestor.client;
        let mut others = self.ingestor.storage.containers(client, &set);
        let container = match set.container_of(&bare(&here), client.clock().now()) {
            Some((container, _)) => container.clone(),
            None if self.blocks.is_empty() && !others.is_empty() => others.remove(0),
            None => return Ok(false),
        };
        others.retain(|other| other.bare() != container.bare());
        self.others = others;
        self.container = container;
        self.resources = set;
        Ok(true)
    }

    fn url(&self, query: &[(&str, &str)]) -> Url {
        let mut url = self.container.below(self.name.as_str());
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

fn md5(bytes: &[u8]) -> String {
    BASE64.encode(Md5::digest(bytes))
}

/// Whether it unpacks to no byte, as the service refuses it; only what is tiny can.
fn is_gzip_of_nothing(content: &[u8]) -> bool {
    let mut first = [0; 1];
    content.len() <= 256 && matches!(MultiGzDecoder::new(content).read(&mut first), Ok(0))
}

fn no_container() -> Error {
    Error::corrupt("the service lends no container to upload to any more")
}
