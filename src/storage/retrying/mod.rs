//! The one place that repeats storage requests: a decorator over the three ports. Adapters and their SDKs repeat nothing,
//! callers need not. Knows no adapter and nothing of runs or windows.
//!
//! A request is repeated after [`Error::Unavailable`], after [`Error::Throttled`] and when it got no answer in time. From
//! then on it is in doubt: it may have done its work although no answer came. What that means for each request:
//!
//! | request | when repeated |
//! |---|---|
//! | get, page, approximate count, blob get | only reads |
//! | commit | its own write is recognised: see [`commit`](self::commit) |
//! | send, send foreign | at least once: the message may be there twice |
//! | receive | messages of a lost answer stay hidden until their time ends, and have one delivery more |
//! | extend | in doubt, a refusal stays one: the extension may be what made the receipt stale, and its new receipt is unknown |
//! | delete a message | in doubt, a message that is not there counts as deleted; a stale receipt stays refused |
//! | blob put, blob delete | the same again; of writers at the same time the last one to be heard wins |
//!
//! All writers of a store are expected to go through here: a write that goes past it cannot be told from a lost one of ours.
//! Every call ends by the total of its [`Policy`](attempts::Policy), with the last error: [`Error::Unavailable`] then says
//! how often and how long was tried, [`Error::Throttled`] has no room for it.

mod attempts;
mod commit;
mod mark;

use super::{
    BlobStore, Continuation, ETag, Error, Key, Message, MessageQueue, Operation, Page, Range, Receipt, Row, Storage,
    TableStore,
};
use crate::random::Random;
use async_trait::async_trait;
use attempts::{Attempts, CONTENT, Policy, SMALL};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// The ports of `storage`, each request repeated as far as that is safe. Nothing else changes, but that the name
/// `last_operation` is taken: rows read here do not show that property, and rows written here must not have it.
///
/// Its bookkeeping counts towards a transaction's request, not towards an entity. `random` names operations and spreads
/// pauses.
pub fn retrying(storage: Storage, random: Arc<dyn Random>) -> Storage {
    let clock = Arc::clone(&storage.clock);
    let store = Arc::new(Retrying { inner: storage, random });
    Storage { tables: Arc::clone(&store) as _, queues: Arc::clone(&store) as _, blobs: store, clock }
}

struct Retrying {
    inner: Storage,
    random: Arc<dyn Random>,
}

impl Retrying {
    fn attempts(&self, operation: &'static str, policy: Policy) -> Attempts<'_> {
        Attempts::new(operation, policy, self.random.as_ref())
    }

    /// What `call` gives in the end; for requests that mean the same when they come twice.
    async fn repeat<T, F: Future<Output = Result<T, Error>>>(
        &self,
        operation: &'static str,
        policy: Policy,
        call: impl Fn() -> F,
    ) -> Result<T, Error> {
        let mut attempts = self.attempts(operation, policy);
        loop {
            match attempts.once(call()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => attempts.pause_after(error).await?,
            }
        }
    }
}

#[async_trait]
impl TableStore for Retrying {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error> {
        let row = self.repeat("get", SMALL, || self.inner.tables.get(key)).await?;
        Ok(row.map(mark::hidden))
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        self.commit_once(operations).await
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, Error> {
        let page = self.repeat("page", SMALL, || self.inner.tables.page(range, after)).await?;
        Ok(Page { rows: page.rows.into_iter().map(mark::hidden).collect(), next: page.next })
    }
}

#[async_trait]
impl MessageQueue for Retrying {
    async fn send(&self, queue: &str, body: &[u8], delay: Duration) -> Result<(), Error> {
        self.repeat("send", SMALL, || self.inner.queues.send(queue, body, delay)).await
    }

    async fn send_foreign(&self, queue: &str, text: &str) -> Result<(), Error> {
        self.repeat("send foreign", SMALL, || self.inner.queues.send_foreign(queue, text)).await
    }

    async fn receive(&self, queue: &str, max: u32, hide: Duration) -> Result<Vec<Message>, Error> {
        self.repeat("receive", SMALL, || self.inner.queues.receive(queue, max, hide)).await
    }

    async fn extend(&self, queue: &str, id: &str, receipt: &Receipt, hide: Duration) -> Result<Receipt, Error> {
        self.repeat("extend", SMALL, || self.inner.queues.extend(queue, id, receipt, hide)).await
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &Receipt) -> Result<(), Error> {
        let mut attempts = self.attempts("delete a message", SMALL);
        loop {
            match attempts.once(self.inner.queues.delete(queue, id, receipt)).await {
                Ok(()) => return Ok(()),
                Err(Error::NotFound { .. }) if attempts.in_doubt() => return Ok(()),
                Err(error) => attempts.pause_after(error).await?,
            }
        }
    }

    async fn approximate_count(&self, queue: &str) -> Result<u64, Error> {
        self.repeat("approximate count", SMALL, || self.inner.queues.approximate_count(queue)).await
    }
}

#[async_trait]
impl BlobStore for Retrying {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        self.repeat("blob put", CONTENT, || self.inner.blobs.put(name, content.clone())).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        self.repeat("blob get", CONTENT, || self.inner.blobs.get(name)).await
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        self.repeat("blob delete", CONTENT, || self.inner.blobs.delete(name)).await
    }
}
