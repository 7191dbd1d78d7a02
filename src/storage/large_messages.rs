//! Messages above the limit of a queue: the body goes to a blob, and the message carries a reference to it. Works over
//! every adapter, and is for those who send and receive by the port. A Functions host hands the reference to its handler
//! as it stands in the queue, and deletes the message itself: the handler resolves it by [`Reference`] and removes the
//! blob when its function has succeeded.
//!
//! A blob is left over when a process dies between the blob and the message, or between the message's end and the
//! blob's. Nothing refers to it any more; on Azure a lifecycle rule for the prefix `messages/` deletes such blobs
//! (azure-docs `storage/blobs/lifecycle-management-overview.md`), with an age above that of the oldest message.

use super::{BlobStore, Body, Error, MAX_MESSAGE_BYTES, Message, MessageQueue, Receipt, Storage, limits};
use crate::random::Random;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const PREFIX: &str = "messages/";
/// Hexadecimal digits of a blob's own part of its name.
const DIGITS: usize = 32;

/// `storage` with queues that take messages up to the size of a blob.
pub fn large_messages(storage: Storage, random: Arc<dyn Random>) -> Storage {
    let Storage { tables, queues, blobs, clock } = storage;
    let queues = Arc::new(LargeMessages { queues, blobs: Arc::clone(&blobs), random });
    Storage { tables, queues, blobs, clock }
}

/// What stands in a message in place of a body that is too large for it: `{"bodyInBlob":"messages/…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    #[serde(rename = "bodyInBlob")]
    blob: String,
}

impl Reference {
    fn new(random: &dyn Random) -> Self {
        Self { blob: format!("{PREFIX}{:032x}", random.bits()) }
    }

    /// The reference that a message is, if it is one. A name that no reference of ours has is none: whoever can write to a
    /// queue must not choose which blob is read and deleted.
    pub fn of(message: &Value) -> Option<Self> {
        let reference = Self::deserialize(message).ok()?;
        is_name(&reference.blob).then_some(reference)
    }

    /// The blob with the body.
    pub fn blob(&self) -> &str {
        &self.blob
    }

    fn of_body(body: &[u8]) -> Option<Self> {
        // Much shorter than most messages, so that those need no parsing.
        if body.len() > 128 {
            return None;
        }
        Self::of(&serde_json::from_slice(body).ok()?)
    }

    fn to_body(&self) -> String {
        serde_json::json!({"bodyInBlob": self.blob}).to_string()
    }
}

fn is_name(blob: &str) -> bool {
    let digits = blob.strip_prefix(PREFIX).unwrap_or_default();
    digits.len() == DIGITS && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

struct LargeMessages {
    queues: Arc<dyn MessageQueue>,
    blobs: Arc<dyn BlobStore>,
    random: Arc<dyn Random>,
}

impl LargeMessages {
    /// The message with its body, or `None` while that cannot be read: it comes again.
    async fn resolved(&self, queue: &str, mut message: Message) -> Option<Message> {
        let Body::Bytes(body) = &message.body else { return Some(message) };
        let Some(reference) = Reference::of_body(body) else { return Some(message) };
        let blob = reference.blob();
        match self.blobs.get(blob).await {
            Ok(Some(body)) => message.body = Body::Bytes(body),
            Ok(None) => {
                tracing::error!(
                    queue,
                    message_id = message.id,
                    blob,
                    "the blob with a message's body is gone; the message is no use"
                );
                message.body = Body::Foreign(reference.to_body());
            }
            Err(error) => {
                tracing::warn!(queue, message_id = message.id, blob, %error, "the blob with a message's body cannot be read now");
                return None;
            }
        }
        message.receipt = joined(blob, message.receipt);
        Some(message)
    }

    async fn remove(&self, blob: &str) {
        if let Err(error) = self.blobs.delete(blob).await {
            tracing::warn!(blob, %error, "the blob of a message that is gone is left over");
        }
    }
}

/// A receipt that remembers the blob, so that the end of a message needs no memory of its delivery.
fn joined(blob: &str, receipt: Receipt) -> Receipt {
    Receipt(format!("{blob} {}", receipt.0))
}

fn split(receipt: &Receipt) -> (Option<&str>, Receipt) {
    match receipt.0.split_once(' ') {
        Some((blob, inner)) if is_name(blob) => (Some(blob), Receipt(inner.to_owned())),
        _ => (None, receipt.clone()),
    }
}

#[async_trait]
impl MessageQueue for LargeMessages {
    async fn send(&self, queue: &str, body: &[u8], delay: Duration) -> Result<(), Error> {
        // A body that looks like a reference is sent by one, so that it comes back as it was.
        if body.len() <= MAX_MESSAGE_BYTES && Reference::of_body(body).is_none() {
            return self.queues.send(queue, body, delay).await;
        }
        limits::queue_name(queue)?;
        limits::delay(delay)?;
        let reference = Reference::new(self.random.as_ref());
        self.blobs.put(reference.blob(), Bytes::copy_from_slice(body)).await?;
        let sent = self.queues.send(queue, reference.to_body().as_bytes(), delay).await;
        // After any other error the message may be on the queue all the same: one of several attempts may have arrived.
        if matches!(sent, Err(Error::Invalid(_) | Error::TooLarge { .. })) {
            self.remove(reference.blob()).await;
        }
        sent
    }

    async fn send_foreign(&self, queue: &str, text: &str) -> Result<(), Error> {
        self.queues.send_foreign(queue, text).await
    }

    async fn receive(&self, queue: &str, max: u32, hide: Duration) -> Result<Vec<Message>, Error> {
        let mut messages = Vec::new();
        for message in self.queues.receive(queue, max, hide).await? {
            messages.extend(self.resolved(queue, message).await);
        }
        Ok(messages)
    }

    async fn extend(&self, queue: &str, id: &str, receipt: &Receipt, hide: Duration) -> Result<Receipt, Error> {
        let (blob, receipt) = split(receipt);
        let newer = self.queues.extend(queue, id, &receipt, hide).await?;
        Ok(match blob {
            Some(blob) => joined(blob, newer),
            None => newer,
        })
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &Receipt) -> Result<(), Error> {
        let (blob, receipt) = split(receipt);
        self.queues.delete(queue, id, &receipt).await?;
        if let Some(blob) = blob {
            self.remove(blob).await;
        }
        Ok(())
    }

    async fn approximate_count(&self, queue: &str) -> Result<u64, Error> {
        self.queues.approximate_count(queue).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory;
    use crate::timestamp::SystemClock;
    use serde_json::json;
    use std::sync::atomic::{AtomicU64, Ordering};

    const QUEUE: &str = "queue";
    const HIDE: Duration = Duration::from_secs(30);
    /// The name of the first reference.
    const FIRST: &str = "messages/00000000000000000000000000000000";

    #[derive(Default)]
    struct Counting(AtomicU64);

    impl Random for Counting {
        fn bits(&self) -> u128 {
            self.0.fetch_add(1, Ordering::SeqCst).into()
        }
    }

    /// A store, and the same with large messages.
    fn stores() -> (Storage, Storage) {
        let raw = memory(Arc::new(SystemClock));
        (raw.clone(), large_messages(raw, Arc::new(Counting::default())))
    }

    async fn receive(storage: &Storage) -> Message {
        storage.queues.receive(QUEUE, 1, HIDE).await.unwrap().swap_remove(0)
    }

    #[tokio::test]
    async fn a_large_body_comes_back_and_its_blob_goes_with_the_message() {
        let (raw, large) = stores();
        let body = vec![7; MAX_MESSAGE_BYTES + 1];
        large.queues.send(QUEUE, &body, Duration::ZERO).await.unwrap();
        let message = receive(&large).await;
        assert_eq!(message.body, Body::Bytes(body.into()));
        assert!(raw.blobs.get(FIRST).await.unwrap().is_some());
        let receipt = large.queues.extend(QUEUE, &message.id, &message.receipt, HIDE).await.unwrap();
        let stale = large.queues.delete(QUEUE, &message.id, &message.receipt).await;
        assert!(matches!(stale, Err(Error::Conflict { .. })), "{stale:?}");
        assert!(raw.blobs.get(FIRST).await.unwrap().is_some(), "a refused delete must leave the body");
        large.queues.delete(QUEUE, &message.id, &receipt).await.unwrap();
        assert_eq!(raw.blobs.get(FIRST).await.unwrap(), None);
        assert_eq!(large.queues.approximate_count(QUEUE).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_body_within_the_limit_is_in_its_message() {
        let (raw, large) = stores();
        let body = vec![7; MAX_MESSAGE_BYTES];
        large.queues.send(QUEUE, &body, Duration::ZERO).await.unwrap();
        assert_eq!(raw.blobs.get(FIRST).await.unwrap(), None);
        let message = receive(&large).await;
        assert_eq!(message.body, Body::Bytes(body.into()));
        large.queues.delete(QUEUE, &message.id, &message.receipt).await.unwrap();
    }

    #[tokio::test]
    async fn the_message_itself_is_json_that_names_the_blob() {
        let (raw, large) = stores();
        large.queues.send(QUEUE, &vec![7; MAX_MESSAGE_BYTES + 1], Duration::ZERO).await.unwrap();
        let Body::Bytes(body) = receive(&raw).await.body else { panic!("it is base64") };
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body, json!({"bodyInBlob": FIRST}));
        assert_eq!(Reference::of(&body).unwrap().blob(), FIRST);
    }

    #[tokio::test]
    async fn a_body_that_looks_like_a_reference_comes_back_as_it_was() {
        let (_, large) = stores();
        let body = json!({"bodyInBlob": "messages/ffffffffffffffffffffffffffffffff"}).to_string();
        large.queues.send(QUEUE, body.as_bytes(), Duration::ZERO).await.unwrap();
        assert_eq!(receive(&large).await.body, Body::Bytes(body.into()));
    }

    #[tokio::test]
    async fn a_reference_without_its_blob_is_no_message_of_ours_and_can_be_deleted() {
        let (raw, large) = stores();
        large.queues.send(QUEUE, &vec![7; MAX_MESSAGE_BYTES + 1], Duration::ZERO).await.unwrap();
        raw.blobs.delete(FIRST).await.unwrap();
        let message = receive(&large).await;
        assert_eq!(message.body, Body::Foreign(json!({"bodyInBlob": FIRST}).to_string()));
        large.queues.delete(QUEUE, &message.id, &message.receipt).await.unwrap();
    }

    #[tokio::test]
    async fn a_reference_to_any_other_blob_is_none() {
        let (raw, large) = stores();
        raw.blobs.put("other", "secret".into()).await.unwrap();
        let long = format!("{FIRST}0");
        for blob in ["other", "messages/..", "messages/", &FIRST.to_uppercase(), &long, "messages/zz"] {
            let body = json!({"bodyInBlob": blob});
            assert_eq!(Reference::of(&body), None);
            raw.queues.send(QUEUE, body.to_string().as_bytes(), Duration::ZERO).await.unwrap();
            let message = receive(&large).await;
            assert_eq!(message.body, Body::Bytes(body.to_string().into()));
            large.queues.delete(QUEUE, &message.id, &message.receipt).await.unwrap();
        }
        assert_eq!(Reference::of(&json!({"bodyInBlob": FIRST, "more": 1})), None);
        assert!(raw.blobs.get("other").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_refused_send_leaves_no_blob() {
        let (raw, large) = stores();
        let body = vec![7; MAX_MESSAGE_BYTES + 1];
        let week = Duration::from_secs(8 * 24 * 60 * 60);
        assert!(large.queues.send("Not A Queue", &body, Duration::ZERO).await.is_err());
        assert!(large.queues.send(QUEUE, &body, week).await.is_err());
        assert_eq!(raw.blobs.get(FIRST).await.unwrap(), None);
    }
}
