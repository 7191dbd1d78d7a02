//! Writes one blob in blocks of 4 MiB, or at once when it fits one block. Each piece is kept until storage has
//! taken it, so a repetition sends the same bytes. Knows no row: bytes in, a committed blob out.

use super::super::Error;
use super::requests::{Refusal, Request, send};
use super::resources::{Resources, Signed};
use super::{BlobName, Ingestor, StoredBlob};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use reqwest::Method;
use reqwest::header::HeaderMap;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::time::Instant;
use url::Url;

/// The bytes of a block, and what is sent in one request at most.
pub const BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// The most blocks of a blob (Azure Storage REST, Put Block).
const MAX_BLOCKS: usize = 50_000;
/// How gzip begins (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A blob that is being written.
pub struct Upload {
    ingestor: Ingestor,
    resources: Arc<Resources>,
    container: Signed,
    name: BlobName,
    deadline: Instant,
    buffer: BytesMut,
    blocks: Vec<String>,
    bytes: u64,
    refreshed: bool,
}

impl Upload {
    pub(super) fn begin(
        ingestor: Ingestor,
        resources: Arc<Resources>,
        name: BlobName,
        deadline: Instant,
    ) -> Result<Self, Error> {
        let container = ingestor.storage.container(&resources);
        let (buffer, blocks) = (BytesMut::new(), Vec::new());
        Ok(Self { ingestor, resources, container, name, deadline, buffer, blocks, bytes: 0, refreshed: false })
    }

    /// Takes the next bytes of the gzip stream; sends a block whenever one is full.
    ///
    /// # Errors
    /// Storage failed for good or for too long; the upload is to be dropped.
    pub async fn write(&mut self, mut piece: Bytes) -> Result<(), Error> {
        while !piece.is_empty() {
            // A full buffer is sent when more comes, so that a blob of exactly one block is put at once.
            if self.buffer.len() == BLOCK_BYTES {
                self.put_block().await?;
            }
            let taken = piece.split_to(piece.len().min(BLOCK_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(&taken);
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

    /// Makes the blob visible, whole.
    ///
    /// # Errors
    /// Nothing was written, storage failed, or [`Error::OutcomeUnknown`]: the blob may be there; its name is this
    /// upload's own, so a new upload meets nothing of it.
    pub async fn commit(mut self) -> Result<StoredBlob, Error> {
        if self.bytes <= GZIP_MAGIC.len() as u64 {
            return Err(Error::invalid(format!("blob {} would be empty", self.name.as_str())));
        }
        if self.blocks.is_empty() {
            self.put_blob().await?;
        } else {
            if !self.buffer.is_empty() {
                self.put_block().await?;
            }
            self.put_block_list().await?;
        }
        let url = super::resources::bare(&self.container.below(self.name.as_str()));
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
        self.request(Method::PUT, &query, &[], block).await?;
        self.blocks.push(id);
        Ok(())
    }

    /// Safe to repeat: `Latest` finds the blocks committed already just as well.
    async fn put_block_list(&mut self) -> Result<(), Error> {
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for id in &self.blocks {
            // Writing to a String cannot fail; base64 needs no XML escape.
            let _ = write!(list, "<Latest>{id}</Latest>");
        }
        list.push_str("</BlockList>");
        let headers = [("content-type", "application/xml"), ("x-ms-blob-content-type", "application/gzip")];
        self.request(Method::PUT, &[("comp", "blocklist")], &headers, list.into()).await?;
        Ok(())
    }

    async fn put_blob(&mut self) -> Result<(), Error> {
        let body = self.buffer.split().freeze();
        let length = body.len() as u64;
        let headers = [("x-ms-blob-type", "BlockBlob"), ("if-none-match", "*"), ("content-type", "application/gzip")];
        match self.try_request(Method::PUT, &[], &headers, body).await {
            Ok(_) => Ok(()),
            Err((Refusal::Exists(error), true)) => {
                // An earlier attempt whose answer was lost has written it, if it has our length: the name is ours alone.
                let found = self.request(Method::HEAD, &[], &[], Bytes::new()).await?;
                let found = found.get("content-length").and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
                if found == Some(length) { Ok(()) } else { Err(error) }
            }
            Err((refusal, _)) => Err(refusal.into_error()),
        }
    }

    async fn request(
        &mut self,
        method: Method,
        query: &[(&str, &str)],
        headers: &[(&'static str, &'static str)],
        body: Bytes,
    ) -> Result<HeaderMap, Error> {
        self.try_request(method, query, headers, body).await.map_err(|(refusal, _)| refusal.into_error())
    }

    /// Sends until taken; with a refusal comes whether there was an attempt before it, which may have been taken.
    async fn try_request(
        &mut self,
        method: Method,
        query: &[(&str, &str)],
        headers: &[(&'static str, &'static str)],
        body: Bytes,
    ) -> Result<HeaderMap, (Refusal, bool)> {
        let client = self.ingestor.client.clone();
        let mut waits = client.pace().waits(client.seed());
        let mut attempted = false;
        loop {
            let request =
                Request { method: method.clone(), url: self.url(query), headers, body: body.clone(), changes: true };
            let refusal = match send(client.outbound(), client.clock(), request, self.deadline).await {
                Ok(headers) => return Ok(headers),
                Err(refusal) => refusal,
            };
            let wait = match &refusal {
                Refusal::Stale(_) if !self.refreshed => {
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
                self.container = self.ingestor.storage.container(&self.resources);
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
        let container = match set.container_of(&super::resources::bare(&here)) {
            Some((container, _)) => container.clone(),
            None if self.blocks.is_empty() => self.ingestor.storage.container(&set),
            None => return Ok(false),
        };
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
