//! The storage adapters of one machine against the promises of the ports.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod conformance;

use adxingestor::random::SystemRandom;
use adxingestor::storage::{
    self, BlobStore, Continuation, ETag, Error, Key, Message, MessageQueue, Operation, Page, Range, Receipt, Row,
    Storage, TableStore,
};
use async_trait::async_trait;
use bytes::Bytes;
use conformance::{Harness, SettableClock, Time};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

conformance_tests!(memory, crate::memory());
conformance_tests!(sqlite, crate::sqlite());
conformance_tests!(sqlite_shared, crate::sqlite_shared());
conformance_tests!(retrying_memory, crate::retrying(crate::memory()));
conformance_tests!(retrying_sqlite, crate::retrying(crate::sqlite()));

fn memory() -> Harness {
    let clock = SettableClock::new();
    Harness::new(storage::memory(clock.clone()), Time::Set(clock), ())
}

fn sqlite() -> Harness {
    let (clock, directory) = (SettableClock::new(), tempfile::tempdir().unwrap());
    let storage = storage::sqlite(&directory.path().join("state.db"), clock.clone()).unwrap();
    Harness::new(storage, Time::Set(clock), directory)
}

/// Two handles on one file, which take the calls in turn: what one writes, the other reads.
fn sqlite_shared() -> Harness {
    let (clock, directory) = (SettableClock::new(), tempfile::tempdir().unwrap());
    let open = || storage::sqlite(&directory.path().join("state.db"), clock.clone()).unwrap();
    let turns = Arc::new(Turns { one: open(), other: open(), turn: AtomicBool::new(false) });
    let storage = Storage {
        tables: Arc::clone(&turns) as _,
        queues: Arc::clone(&turns) as _,
        blobs: turns,
        clock: clock.clone(),
    };
    Harness::new(storage, Time::Set(clock), directory)
}

/// The same store behind the decorator that repeats requests, which must change no promise.
fn retrying(harness: Harness) -> Harness {
    harness.map(|storage| storage::retrying(storage, Arc::new(SystemRandom)))
}

struct Turns {
    one: Storage,
    other: Storage,
    turn: AtomicBool,
}

impl Turns {
    fn next(&self) -> &Storage {
        if self.turn.fetch_xor(true, Ordering::Relaxed) { &self.one } else { &self.other }
    }
}

#[async_trait]
impl TableStore for Turns {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error> {
        self.next().tables.get(key).await
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        self.next().tables.commit(operations).await
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, Error> {
        self.next().tables.page(range, after).await
    }
}

#[async_trait]
impl MessageQueue for Turns {
    async fn send(&self, queue: &str, body: &[u8], delay: Duration) -> Result<(), Error> {
        self.next().queues.send(queue, body, delay).await
    }

    async fn send_foreign(&self, queue: &str, text: &str) -> Result<(), Error> {
        self.next().queues.send_foreign(queue, text).await
    }

    async fn receive(&self, queue: &str, max: u32, hide: Duration) -> Result<Vec<Message>, Error> {
        self.next().queues.receive(queue, max, hide).await
    }

    async fn extend(&self, queue: &str, id: &str, receipt: &Receipt, hide: Duration) -> Result<Receipt, Error> {
        self.next().queues.extend(queue, id, receipt, hide).await
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &Receipt) -> Result<(), Error> {
        self.next().queues.delete(queue, id, receipt).await
    }

    async fn approximate_count(&self, queue: &str) -> Result<u64, Error> {
        self.next().queues.approximate_count(queue).await
    }
}

#[async_trait]
impl BlobStore for Turns {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        self.next().blobs.put(name, content).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        self.next().blobs.get(name).await
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        self.next().blobs.delete(name).await
    }
}
