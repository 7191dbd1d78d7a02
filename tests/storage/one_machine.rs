//! The storage adapters of one machine against the promises of the ports.

use crate::conformance::{Harness, SettableClock, Time};
use crate::faulty::{Fault, Faulty, Seeded};
use adxingestor::random::SystemRandom;
use adxingestor::storage::{
    self, BlobStore, Continuation, ETag, Error, Key, Message, MessageQueue, Operation, Page, Range, Receipt, Row,
    Storage, TableStore,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

conformance_tests!(memory, crate::one_machine::memory());
conformance_tests!(sqlite, crate::one_machine::sqlite());
conformance_tests!(sqlite_shared, crate::one_machine::sqlite_shared());
conformance_tests!(retrying_memory, crate::one_machine::retrying(crate::one_machine::memory()));
conformance_tests!(retrying_sqlite, crate::one_machine::retrying(crate::one_machine::sqlite()));

// Not among them: what is refused although the rows are gone by then, or written 64 times while an answer is missing; doubt
// makes that a success or unknown.
conformance_tests! { faulty_rows_and_blobs, crate::one_machine::faulty_rows_and_blobs();
    blobs: a_missing_blob_is_none, a_blob_is_replaced_as_a_whole, a_deleted_blob_is_gone, concurrent_puts_never_mix;
    limits: an_entity_of_a_mebibyte_is_the_largest, a_merge_cannot_make_a_row_too_large,
        one_refused_operation_refuses_its_transaction;
    tables: a_replace_drops_the_other_properties, a_merge_keeps_the_other_properties, every_write_gives_a_new_version,
        a_stale_version_is_refused, an_insert_over_a_row_is_refused, many_rows_come_in_pages_in_the_order_of_their_bytes,
        pages_go_on_although_rows_come_and_go;
    transactions: from_1_to_100_operations, all_kinds_of_operations_go_together, a_refused_operation_undoes_the_others,
        the_last_of_a_hundred_undoes_the_others, one_of_many_writers_wins, one_of_many_inserts_wins,
        concurrent_transactions_do_not_mix;
}

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

/// A store that loses one in twenty requests or answers about rows and blobs, of which none must be seen.
fn faulty_rows_and_blobs() -> Harness {
    let clock = SettableClock::new();
    let random = Seeded::new(7);
    let plan = {
        let random = Arc::clone(&random);
        move |kind: &'static str| {
            let fault = match random.below(40) {
                0 => Fault::LoseRequest,
                1 => Fault::LoseAnswer,
                _ => Fault::None,
            };
            let exactly_once = matches!(kind, "get" | "page" | "commit" | "blob put" | "blob get" | "blob delete");
            (if exactly_once { fault } else { Fault::None }, Duration::ZERO)
        }
    };
    let (_, faulty) = Faulty::new(storage::memory(clock.clone()), Box::new(plan));
    Harness::new(storage::retrying(faulty, random), Time::Set(clock), ())
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
