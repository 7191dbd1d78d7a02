//! Payloads in one container of Azure Blob Storage, by the official client (rest-api-ref `Put-Blob`, `Get-Blob`,
//! `Delete-Blob`). Knows nothing of what a payload means, and repeats nothing.

use super::account::Service;
use super::client::{Failure, VERSION, base, timely};
use super::header::header;
use crate::storage::limits::{self, MAX_BLOB_BYTES};
use crate::storage::{BlobStore, Error};
use async_trait::async_trait;
use azure_core::http::headers::HeaderName;
use azure_storage_blob::models::{
    BlobClientDeleteOptions, BlobClientDownloadOptions, BlobClientDownloadResult, BlobClientUploadOptions,
    DeleteSnapshotsOptionType,
};
use azure_storage_blob::{BlobClient, BlobContainerClient, BlobServiceClient, BlobServiceClientOptions};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::num::NonZero;
use std::time::Duration;

/// How long a request may take besides the time for its payload.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The slowest transfer that is waited for.
const BYTES_PER_SECOND: usize = 1024 * 1024;
/// The metadata value with the hash of the content as it was put.
const CONTENT_HASH: &str = "sha256";
const CONTENT_RANGE: HeaderName = HeaderName::from_static("content-range");
const NO_BLOB: &str = "BlobNotFound";
const NO_CONTAINER: &str = "ContainerNotFound";

/// The blobs of a container.
pub(super) struct Blobs {
    container: BlobContainerClient,
}

impl Blobs {
    /// The blobs of `container`, which is made by the first put.
    ///
    /// # Errors
    /// [`Error::Fatal`] when the endpoint is no base URL.
    pub(super) fn new(service: Service, container: &str) -> Result<Self, Error> {
        let options = BlobServiceClientOptions { client_options: service.options, version: VERSION.to_owned() };
        let service = BlobServiceClient::new(base(service.endpoint), None, Some(options)).map_err(Failure::from)?;
        Ok(Self { container: service.blob_container_client(container) })
    }

    /// Names are encoded by the client, `/` included, which the service takes for the same.
    fn client(&self, name: &str) -> Result<BlobClient, Error> {
        limits::blob_name(name)?;
        Ok(self.container.blob_client(name))
    }

    /// Makes the container; fine if someone else just has.
    async fn create(&self) -> Result<(), Error> {
        match timely(TIMEOUT, self.container.create(None)).await {
            Err(failure) if failure.is("ContainerAlreadyExists") => Ok(()),
            created => created.map(drop).map_err(Error::from),
        }
    }
}

#[async_trait]
impl BlobStore for Blobs {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        limits::blob(&content)?;
        let client = self.client(name)?;
        let hash = hash(&content);
        match upload(&client, content.clone(), &hash).await {
            Err(failure) if failure.is(NO_CONTAINER) => {
                self.create().await?;
                upload(&client, content, &hash).await.map_err(Error::from)
            }
            uploaded => uploaded.map_err(Error::from),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        let client = self.client(name)?;
        // One request for the largest allowed blob: its content is of one version, and none of it is held twice.
        let options = BlobClientDownloadOptions { partition_size: NonZero::new(MAX_BLOB_BYTES), ..Default::default() };
        match timely(TIMEOUT, client.download(Some(options))).await {
            Ok(answer) => {
                let bytes = size(name, &answer)?;
                let content = timely(TIMEOUT + transfer(bytes), collect(name, bytes, answer)).await?;
                Ok(Some(content))
            }
            Err(failure) if failure.is(NO_BLOB) || failure.is(NO_CONTAINER) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let client = self.client(name)?;
        // An account may be set to take snapshots, and a blob that has some is only deleted together with them.
        let options = BlobClientDeleteOptions {
            delete_snapshots: Some(DeleteSnapshotsOptionType::Include),
            ..Default::default()
        };
        match timely(TIMEOUT, client.delete(Some(options))).await {
            Err(failure) if !failure.is(NO_BLOB) && !failure.is(NO_CONTAINER) => Err(failure.into()),
            _ => Ok(()),
        }
    }
}

/// Puts the whole content in one request: blocks of two writers at once would be in each other's way.
async fn upload(client: &BlobClient, content: Bytes, hash: &str) -> Result<(), Failure> {
    let options = BlobClientUploadOptions {
        partition_size: Some(NonZero::<u64>::MAX),
        metadata: Some(HashMap::from([(CONTENT_HASH.to_owned(), hash.to_owned())])),
        ..Default::default()
    };
    let time = TIMEOUT + transfer(content.len());
    timely(time, client.upload(content.into(), Some(options))).await.map(drop)
}

/// The size of the blob that an answer brings, which is no larger than any that was put.
fn size(name: &str, answer: &BlobClientDownloadResult) -> Result<usize, Error> {
    let all = match header(&answer.headers, &CONTENT_RANGE) {
        // `bytes 0-9/10`
        Some(range) => range.rsplit_once('/').and_then(|(_, all)| all.parse().ok()),
        None => answer.properties.content_length,
    };
    let all: u64 = all.ok_or_else(|| Failure::lacks("the answer with a blob", "content-length"))?;
    match usize::try_from(all) {
        Ok(bytes) if bytes <= MAX_BLOB_BYTES => Ok(bytes),
        _ => Err(Error::TooLarge {
            what: format!("the blob {name} of {all} bytes"),
            limit: format!("{MAX_BLOB_BYTES} bytes"),
        }),
    }
}

/// The content, if it is all there and the one that was put.
async fn collect(name: &str, bytes: usize, answer: BlobClientDownloadResult) -> Result<Bytes, Failure> {
    let mut body = answer.body;
    let mut content = BytesMut::with_capacity(bytes);
    while let Some(part) = body.next().await {
        content.extend_from_slice(&part?);
        if content.len() > bytes {
            break;
        }
    }
    if content.len() != bytes {
        let found = content.len();
        return Err(Failure::Odd(format!("the blob {name} came with {found} bytes or more instead of {bytes}")));
    }
    match (answer.properties.metadata.get(CONTENT_HASH), &answer.properties.blob_type) {
        (Some(put), _) if *put != hash(&content) => {
            Err(Failure::Odd(format!("the blob {name} came with other content than was put")))
        }
        // Another program may have put it.
        (Some(_), _) | (None, Some(_)) => Ok(content.freeze()),
        (None, None) => Err(Failure::lacks("the answer with a blob", "x-ms-blob-type")),
    }
}

fn hash(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

fn transfer(bytes: usize) -> Duration {
    Duration::from_secs((bytes / BYTES_PER_SECOND) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::client::canned::{Answer, Canned, refusal};
    use super::*;
    use std::sync::Arc;

    fn blobs(answers: impl IntoIterator<Item = Answer>) -> (Arc<Canned>, Blobs) {
        let canned = Canned::new(answers);
        let blobs = Blobs::new(canned.service(), "container").unwrap();
        (canned, blobs)
    }

    fn content(put: &str, came: &str) -> Answer {
        let headers = vec![
            ("content-range", format!("bytes 0-{}/{}", put.len() - 1, put.len())),
            ("content-length", put.len().to_string()),
            ("x-ms-blob-type", "BlockBlob".to_owned()),
            ("x-ms-meta-sha256", hash(put.as_bytes())),
        ];
        (206, headers, came.into())
    }

    #[tokio::test]
    async fn the_first_put_makes_the_container() {
        let done = || (201, Vec::new(), Vec::new());
        for created in [done(), refusal(409, "ContainerAlreadyExists")] {
            let (canned, blobs) = blobs([refusal(404, NO_CONTAINER), created, done()]);
            blobs.put("a b/ü%", "x".into()).await.unwrap();
            let put = "PUT /account/container/a%20b%2F%C3%BC%25 2025-11-05";
            assert_eq!(canned.asked(), [put, "PUT /account/container?restype=container 2025-11-05", put]);
        }
    }

    #[tokio::test]
    async fn a_container_that_is_being_deleted_is_unavailable() {
        for answers in [
            vec![refusal(409, "ContainerBeingDeleted")],
            vec![refusal(404, NO_CONTAINER), refusal(409, "ContainerBeingDeleted")],
        ] {
            let error = blobs(answers).1.put("a", "x".into()).await.unwrap_err();
            assert!(matches!(error, Error::Unavailable(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_none_and_can_be_deleted() {
        for code in [NO_BLOB, NO_CONTAINER] {
            assert_eq!(blobs([refusal(404, code)]).1.get("a").await.unwrap(), None);
            blobs([refusal(404, code)]).1.delete("a").await.unwrap();
        }
        let other = || refusal(404, "ResourceNotFound");
        assert!(blobs([other()]).1.get("a").await.is_err());
        assert!(blobs([other()]).1.delete("a").await.is_err());
    }

    #[tokio::test]
    async fn only_the_content_that_was_put_is_given() {
        assert_eq!(blobs([content("0123456789", "0123456789")]).1.get("a").await.unwrap(), Some("0123456789".into()));
        for damaged in ["", "012345678", "01234567890", "0123456780"] {
            let error = blobs([content("0123456789", damaged)]).1.get("a").await.unwrap_err();
            assert!(matches!(error, Error::Unavailable(_)), "{damaged}: {error}");
        }
        let garbage = (200, vec![("content-length", "7".to_owned())], b"garbage".to_vec());
        let error = blobs([garbage]).1.get("a").await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
    }

    #[tokio::test]
    async fn a_blob_above_the_limit_is_not_read() {
        let (status, mut headers, body) = content("0123456789", "");
        headers[0].1 = format!("bytes 0-{}/{}", MAX_BLOB_BYTES - 1, MAX_BLOB_BYTES + 1);
        let error = blobs([(status, headers, body)]).1.get("a").await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
}
