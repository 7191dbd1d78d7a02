//! The storage ports: a table with entity-group transactions, queues with visibility timeouts, blobs for
//! payloads. Adapters map their service into these types; no type of a service crosses. Knows nothing
//! of runs or windows.

pub mod limits;
pub mod message;

use crate::timestamp::{Clock, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The most operations of one entity-group transaction (Azure Table Storage).
pub const MAX_TRANSACTION_OPERATIONS: usize = 100;
/// The most bytes of one entity (Azure Table Storage).
pub const MAX_ENTITY_BYTES: usize = 1024 * 1024;
/// The most UTF-16 units of one text property (Azure Table Storage: 64 KiB).
pub const MAX_TEXT_UNITS: usize = 32 * 1024;
/// The most bytes of a message before base64 (Azure Queue Storage: 64 KiB encoded).
pub const MAX_MESSAGE_BYTES: usize = 48 * 1024;
/// The most messages of one receive.
pub const MAX_RECEIVE: u32 = 32;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a storage call can end in, cut by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The row, message or blob is not there (any more).
    #[error("{what} was not found")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// An insert met a row that is there already; `index` counts within the transaction.
    #[error("operation {index}: the row exists already")]
    Exists {
        /// Position of the refused operation in its transaction.
        index: usize,
    },
    /// An ETag or pop receipt is not the current one; `index` counts within the transaction, and is 0 for a message.
    #[error("operation {index}: the row or message was changed by someone else")]
    Conflict {
        /// Position of the refused operation in its transaction.
        index: usize,
    },
    /// Above a limit of the service; nothing was written.
    #[error("{what} is above the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// A key, name or request that no service accepts; nothing was written.
    #[error("{0}")]
    Invalid(String),
    /// The service asks to come back later.
    #[error("the storage service is throttling")]
    Throttled {
        /// When the service named a time.
        after: Option<Duration>,
    },
    /// The outcome is unknown or the service cannot be reached.
    #[error("the storage service is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// Repeating does not help.
    #[error("the storage service refused: {0}")]
    Fatal(#[source] BoxError),
}

/// The version of a stored row, opaque. Every write gives one that no row of its key ever had. Nothing stands for
/// "any version": `*` and an empty text are refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ETag(pub String);

/// Partition and row key. Checked: 1 to 1024 bytes, no control characters and none of `/ \ # ?`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    partition: String,
    row: String,
}

impl Key {
    /// Checks both parts.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the part and the rule it breaks.
    pub fn new(partition: impl Into<String>, row: impl Into<String>) -> Result<Self, Error> {
        let key = Self { partition: partition.into(), row: row.into() };
        for (name, part) in [("partition key", &key.partition), ("row key", &key.row)] {
            let refused = part.is_empty()
                || part.len() > 1024
                || part.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | '#' | '?'));
            if refused {
                return Err(Error::Invalid(format!(
                    "the {name} {part:?} must have 1 to 1024 bytes, without control characters and without any of / \\ # ?"
                )));
            }
        }
        Ok(key)
    }

    /// The partition key.
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// The row key.
    pub fn row(&self) -> &str {
        &self.row
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.row)
    }
}

/// The properties of a row: text, bool, whole number (i64), float or absent. Null, arrays and objects are
/// refused. Names are those of C# identifiers, without `PartitionKey`, `RowKey`, `Timestamp` and `odata.`.
pub type Properties = Map<String, Value>;

/// A row as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where it stands.
    pub key: Key,
    /// Its properties.
    pub properties: Properties,
    /// Its version.
    pub etag: ETag,
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// A new row; [`Error::Exists`] when there is one.
    Insert(Key, Properties),
    /// All properties replaced, if the version is still this one.
    Replace(Key, Properties, ETag),
    /// The named properties set, the others kept, if the version is still this one.
    Merge(Key, Properties, ETag),
    /// The row removed, if the version is still this one.
    Delete(Key, ETag),
}

impl Operation {
    /// The row it is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Insert(key, _) | Self::Replace(key, _, _) | Self::Merge(key, _, _) | Self::Delete(key, _) => key,
        }
    }
}

/// Which rows of a partition a page holds: `from <= row key < to`, in ascending order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The partition key.
    pub partition: String,
    /// The first row key wanted.
    pub from: String,
    /// The first row key not wanted; `None`: to the end of the partition.
    pub to: Option<String>,
}

/// Where the next page starts; opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation(pub String);

/// A page of rows. It may be empty although there is a next one.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The rows, ascending by row key.
    pub rows: Vec<Row>,
    /// The next page, if there is one.
    pub next: Option<Continuation>,
}

/// One table of rows in partitions.
#[async_trait]
pub trait TableStore: Send + Sync {
    /// The row at `key`, or `None`.
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error>;

    /// 1 to 100 operations on distinct rows of one partition, all or none. Gives the new version of each
    /// row, `None` for a deleted one.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Conflict`] and [`Error::NotFound`] (replace, merge or delete of a row that is
    /// not there) mean that nothing was written. After [`Error::Unavailable`] it may have been.
    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error>;

    /// Up to 1,000 rows of a range, those that stand there when the page is read. Rows that come and go between two
    /// pages take none of the others with them.
    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, Error>;
}

/// A message as received, hidden from others until its visibility timeout ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Stable over deliveries.
    pub id: String,
    /// What was sent, unless the stored text is not valid base64: then [`Body::Foreign`].
    pub body: Body,
    /// Which delivery this is, from 1.
    pub dequeue_count: u32,
    /// Proof of this delivery.
    pub receipt: Receipt,
    /// When it was put.
    pub inserted: Timestamp,
    /// When it expires; [`Timestamp::MAX`] if never.
    pub expires: Timestamp,
    /// When it is visible again.
    pub next_visible: Timestamp,
}

/// The content of a message. Queues of Azure hold text; ours is base64, as the Functions queue trigger expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The decoded bytes.
    Bytes(Bytes),
    /// The stored text, which is not base64: not a message of ours.
    Foreign(String),
}

/// A pop receipt, opaque. A newer delivery or extension makes it stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt(pub String);

/// Queues by name. A queue that does not exist is empty, and is made by the first send.
/// Names: 3 to 63 lower-case letters, digits and single dashes (Azure Queue Storage). Azure rounds times up to whole
/// seconds.
#[async_trait]
pub trait MessageQueue: Send + Sync {
    /// Puts a message that never expires, visible after `delay` (up to 7 days).
    async fn send(&self, queue: &str, body: &[u8], delay: Duration) -> Result<(), Error>;

    /// Puts a text as it is, without base64: for what another program put on the queue.
    async fn send_foreign(&self, queue: &str, text: &str) -> Result<(), Error>;

    /// Up to `max` (1 to 32) visible messages, hidden for `hide` (above zero, up to 7 days). Order is not promised.
    async fn receive(&self, queue: &str, max: u32, hide: Duration) -> Result<Vec<Message>, Error>;

    /// Hides a received message for `hide` (up to 7 days, or zero to let it go) from now; gives the new receipt. A
    /// receipt is good beyond its time, until the next delivery.
    ///
    /// # Errors
    /// [`Error::Conflict`] for a stale receipt, [`Error::NotFound`] when the message is gone.
    async fn extend(&self, queue: &str, id: &str, receipt: &Receipt, hide: Duration) -> Result<Receipt, Error>;

    /// Removes a received message.
    ///
    /// # Errors
    /// As [`MessageQueue::extend`].
    async fn delete(&self, queue: &str, id: &str, receipt: &Receipt) -> Result<(), Error>;

    /// How many messages the queue holds, hidden ones included; a hint.
    async fn approximate_count(&self, queue: &str) -> Result<u64, Error>;
}

/// Payloads too large for a row or a message. Names are paths: 1 to 1024 characters in segments between `/`, none of
/// them empty or ending in a dot.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Writes the whole blob, over an older one.
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error>;
    /// The whole blob, or `None`.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error>;
    /// Removes it; fine if it is not there.
    async fn delete(&self, name: &str) -> Result<(), Error>;
}

/// The ports of one state store, and its idea of the time.
#[derive(Clone)]
pub struct Storage {
    /// Rows.
    pub tables: Arc<dyn TableStore>,
    /// Messages.
    pub queues: Arc<dyn MessageQueue>,
    /// Payloads.
    pub blobs: Arc<dyn BlobStore>,
    /// The storage service's time: every process that shares the store shares it.
    pub clock: Arc<dyn Clock>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_1_to_1024_bytes_without_control_characters_and_separators() {
        let longest = "k".repeat(1024);
        for part in ["a", " ", "o'brien", "100%", "naïve 中文 \u{1F980}", &longest] {
            let key = Key::new(part, part).unwrap();
            assert_eq!((key.partition(), key.row()), (part, part));
        }
        let (long, wide) = ("k".repeat(1025), "ü".repeat(513));
        for part in ["", "a/b", "a\\b", "a#b", "a?b", "a\nb", "\u{7f}", "\u{85}", &long, &wide] {
            for (key, name) in [(Key::new(part, "a"), "partition key"), (Key::new("a", part), "row key")] {
                let error = key.unwrap_err().to_string();
                assert!(error.contains(name), "{part:?}: {error}");
            }
        }
    }
}
