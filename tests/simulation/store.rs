//! The state store as one process sees it: the shared one in memory, through the process's gate.

use super::gate::{Gate, On, Verdict};
use adxingestor::storage::{
    BlobStore, Continuation, ETag, Error, Key, Message, MessageQueue, Operation, Page, Range, Receipt, Row, Storage,
    TableStore,
};
use adxingestor::timestamp::Clock;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Rows of a transaction that may be slow.
const MANY: usize = 50;

/// `store` through `gate`, with a clock of its own.
pub fn through(store: Storage, gate: Arc<Gate>, clock: Arc<dyn Clock>) -> Storage {
    let gated = Arc::new(Gated { store, gate });
    Storage { tables: Arc::clone(&gated) as _, queues: Arc::clone(&gated) as _, blobs: gated, clock }
}

struct Gated {
    store: Storage,
    gate: Arc<Gate>,
}

fn spoilt(verdict: Verdict) -> Error {
    match verdict {
        Verdict::Throttle => Error::Throttled { after: Some(Duration::from_secs(3)) },
        other => Error::Unavailable(format!("as it happens: {other:?}").into()),
    }
}

impl Gated {
    async fn pass<T, F: Future<Output = Result<T, Error>>>(
        &self,
        what: impl FnOnce() -> String,
        effect: impl Fn() -> F,
    ) -> Result<T, Error> {
        self.gate.pass(On::Store, what, effect, spoilt, None).await
    }
}

/// What a transaction does, for the trace.
fn described(operations: &[Operation]) -> String {
    let each = operations.iter().take(3).map(|operation| {
        let verb = match operation {
            Operation::Insert(..) => "insert",
            Operation::Replace(..) => "replace",
            Operation::Merge(..) => "merge",
            Operation::Delete(..) => "delete",
        };
        format!("{verb} {}", operation.key())
    });
    format!("commit {}: {}", operations.len(), each.collect::<Vec<_>>().join(", "))
}

#[async_trait]
impl TableStore for Gated {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error> {
        self.pass(|| format!("get {key}"), || self.store.tables.get(key)).await
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        let on = if operations.len() > MANY { On::Batch } else { On::Store };
        let commit = || self.store.tables.commit(operations);
        self.gate.pass(on, || described(operations), commit, spoilt, None).await
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, Error> {
        self.pass(|| format!("page {}", range.partition), || self.store.tables.page(range, after)).await
    }
}

#[async_trait]
impl MessageQueue for Gated {
    async fn send(&self, queue: &str, body: &[u8], delay: Duration) -> Result<(), Error> {
        let what = || format!("send {queue} after {delay:?}: {}", String::from_utf8_lossy(body));
        let send = || async {
            let sent = self.store.queues.send(queue, body, delay).await;
            self.gate.has_sent();
            sent
        };
        self.gate.pass(On::Message, what, send, spoilt, Some(())).await
    }

    async fn send_foreign(&self, queue: &str, text: &str) -> Result<(), Error> {
        self.pass(|| format!("send foreign {queue}"), || self.store.queues.send_foreign(queue, text)).await
    }

    async fn receive(&self, queue: &str, max: u32, hide: Duration) -> Result<Vec<Message>, Error> {
        self.pass(|| format!("receive {queue}"), || self.store.queues.receive(queue, max, hide)).await
    }

    async fn extend(&self, queue: &str, id: &str, receipt: &Receipt, hide: Duration) -> Result<Receipt, Error> {
        self.pass(|| format!("extend {queue}"), || self.store.queues.extend(queue, id, receipt, hide)).await
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &Receipt) -> Result<(), Error> {
        self.pass(|| format!("delete {queue}"), || self.store.queues.delete(queue, id, receipt)).await
    }

    async fn approximate_count(&self, queue: &str) -> Result<u64, Error> {
        self.pass(|| format!("count {queue}"), || self.store.queues.approximate_count(queue)).await
    }
}

#[async_trait]
impl BlobStore for Gated {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        self.pass(|| format!("put {name}"), || self.store.blobs.put(name, content.clone())).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        self.pass(|| format!("get {name}"), || self.store.blobs.get(name)).await
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        self.pass(|| format!("delete {name}"), || self.store.blobs.delete(name)).await
    }
}
