//! Whether a blob that was written is still there, and still what was written (Azure Storage REST: Get Blob Properties).

use super::super::Error;
use super::requests::{Refusal, Request, digest, send};
use super::{Ingestor, StoredBlob, kept};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderMap;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// What storage tells of a blob; nothing of it where it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub length: Option<u64>,
    /// In base64.
    pub md5: Option<String>,
}

impl Found {
    /// From the headers of an answer, if they are a blob's and not of whatever else answers there.
    pub fn read(headers: &HeaderMap) -> Self {
        if !headers.contains_key("x-ms-blob-type") {
            return Self { length: None, md5: None };
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            length: text("content-length").and_then(|text| text.parse().ok()),
            md5: text("content-md5").map(str::to_owned),
        }
    }

    /// Whether it can be a blob of this length and hash.
    pub fn is(&self, length: u64, md5: Option<&str>) -> bool {
        let same = |found: &Option<String>| found.as_deref().zip(md5).is_none_or(|(found, own)| found == own);
        self.length.is_none_or(|found| found == length) && same(&self.md5)
    }
}

/// Whether a blob is there.
pub(super) async fn has(ingestor: &Ingestor, url: &str, deadline: Instant) -> Result<bool, Error> {
    Ok(find(ingestor, url, deadline).await?.is_some())
}

/// Whether a blob is there, with the content that it was stored with. One whose content storage does not show is taken for it: it has
/// the length at least.
pub(super) async fn holds(
    ingestor: &Ingestor,
    blob: &StoredBlob,
    sha256: &str,
    deadline: Instant,
) -> Result<bool, Error> {
    let Some(found) = find(ingestor, &blob.url, deadline).await? else { return Ok(false) };
    let told = |length: u64, hash: &str| {
        tracing::warn!(
            blob = blob.url,
            length,
            sha256 = hash,
            sealed_length = blob.compressed_bytes,
            sealed_sha256 = sha256,
            "a blob holds another content than was sealed: what was sealed is gone"
        );
        Ok(false)
    };
    if !found.is(blob.compressed_bytes, None) {
        return told(found.length.unwrap_or_default(), "not read");
    }
    match content(ingestor, blob, deadline).await {
        Ok((length, hash)) if (length, hash.as_str()) != (blob.compressed_bytes, sha256) => told(length, &hash),
        Ok(_) => Ok(true),
        Err(error) => {
            tracing::debug!(%error, blob = blob.url, "the content of a blob is not shown");
            Ok(true)
        }
    }
}

/// Length and SHA-256 of what is there.
async fn content(ingestor: &Ingestor, blob: &StoredBlob, deadline: Instant) -> Result<(u64, String), Error> {
    let missing = || Error::NotFound { what: format!("the blob {}", blob.url) };
    if kept::is_kept(&blob.url) {
        let content = kept::content(ingestor, &blob.url, deadline).await?.ok_or_else(missing)?;
        return Ok((content.len() as u64, format!("{:x}", Sha256::digest(&content))));
    }
    let client = &ingestor.client;
    let resources = ingestor.resources(deadline).await?;
    let (container, name) = resources.container_of(&blob.url, client.clock().now()).ok_or_else(missing)?;
    let request =
        Request { method: Method::GET, url: container.below(name), headers: &[], body: Bytes::new(), changes: false };
    let read = digest(client.outbound(), client.clock(), request, blob.compressed_bytes, deadline).await;
    read.map_err(Refusal::into_error)
}

/// Refuses a blob that is not what was stored. One that storage says nothing of is left to the service.
pub(super) async fn check(ingestor: &Ingestor, blob: &StoredBlob, deadline: Instant) -> Result<(), Error> {
    match find(ingestor, &blob.url, deadline).await {
        Ok(Some(found)) if !found.is(blob.compressed_bytes, None) => Err(Error::invalid(format!(
            "blob {} has {} bytes and was stored with {}: it is not posted again",
            blob.url,
            found.length.unwrap_or_default(),
            blob.compressed_bytes
        ))),
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Error::NotFound { what: format!("the blob {}", blob.url) }),
        Err(error) => {
            tracing::debug!(%error, "what is left of a blob is not known; it is posted all the same");
            Ok(())
        }
    }
}

async fn find(ingestor: &Ingestor, url: &str, deadline: Instant) -> Result<Option<Found>, Error> {
    if kept::is_kept(url) {
        let content = kept::content(ingestor, url, deadline).await?;
        return Ok(content.map(|content| Found { length: Some(content.len() as u64), md5: None }));
    }
    let client = &ingestor.client;
    let mut resources = ingestor.resources(deadline).await?;
    let mut refreshed = false;
    loop {
        let refusal = match resources.container_of(url, client.clock().now()) {
            None => Refusal::Stale(Error::NotFound {
                what: format!("the container of {url} among those that the service lends"),
            }),
            Some((container, name)) => {
                let (url, body) = (container.below(name), Bytes::new());
                let request = Request { method: Method::HEAD, url, headers: &[], body, changes: false };
                match send(client.outbound(), client.clock(), request, deadline).await {
                    Ok(headers) => return Ok(Some(Found::read(&headers))),
                    Err(Refusal::Missing(_)) => return Ok(None),
                    Err(refusal) => refusal,
                }
            }
        };
        match refusal {
            Refusal::Stale(_) if !refreshed => {
                refreshed = true;
                resources = ingestor.resources_after(&resources, deadline).await?;
            }
            // The service has let go of the container, and nobody can read the blob any more.
            Refusal::Stale(Error::NotFound { .. }) => return Ok(None),
            refusal => return Err(refusal.into_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_the_same_as_far_as_storage_tells() {
        let found = |length, md5: Option<&str>| Found { length, md5: md5.map(str::to_owned) };
        for (found, same) in [
            (found(Some(7), Some("h")), true),
            (found(Some(7), None), true),
            (found(None, None), true),
            (found(Some(8), Some("h")), false),
            (found(Some(7), Some("g")), false),
            (found(None, Some("g")), false),
        ] {
            assert_eq!(found.is(7, Some("h")), same, "{found:?}");
        }
        assert!(found(Some(7), Some("g")).is(7, None));
    }
}
