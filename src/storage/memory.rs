//! The ports in memory, for tests in one process. Time is the clock handed in and nothing is random, so
//! the same calls in the same order give the same answers.

use super::limits::{self, MAX_PAGE_BYTES, MAX_PAGE_ROWS};
use super::{
    BlobStore, Continuation, ETag, Error, Key, Message, MessageQueue, Operation, Page, Properties, Range, Receipt, Row,
    Storage, TableStore, change, message,
};
use crate::timestamp::{Clock, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// Empty ports in memory whose time is `clock`.
pub fn memory(clock: Arc<dyn Clock>) -> Storage {
    let store = Arc::new(Memory { state: Mutex::default(), clock: Arc::clone(&clock) });
    Storage { tables: Arc::clone(&store) as _, queues: Arc::clone(&store) as _, blobs: store, clock }
}

struct Memory {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    /// Counts up over all versions, receipts and message ids, so that none is ever given twice.
    counter: u64,
    rows: BTreeMap<String, BTreeMap<String, Stored>>,
    queues: HashMap<String, Vec<Waiting>>,
    blobs: HashMap<String, Bytes>,
}

#[derive(Clone)]
struct Stored {
    properties: Properties,
    etag: ETag,
}

struct Waiting {
    id: String,
    text: String,
    inserted: Timestamp,
    visible: Timestamp,
    dequeue_count: u32,
    receipt: Option<Receipt>,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        // No call leaves the state half changed, so it is good even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, queue: &str, text: String, delay: Duration) {
        let now = self.clock.now();
        let mut state = self.state();
        let id = Uuid::from_u128(state.count().into()).to_string();
        let message = Waiting { id, text, inserted: now, visible: now + delay, dequeue_count: 0, receipt: None };
        state.queues.entry(queue.to_owned()).or_default().push(message);
    }
}

impl State {
    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn row(&self, key: &Key) -> Option<&Stored> {
        self.rows.get(key.partition())?.get(key.row())
    }

    /// A queue and the place in it of a message that `receipt` was given for last.
    fn received(&mut self, queue: &str, id: &str, receipt: &Receipt) -> Result<(&mut Vec<Waiting>, usize), Error> {
        let not_found = || Error::NotFound { what: format!("the message {id} of the queue {queue}") };
        let messages = self.queues.get_mut(queue).ok_or_else(not_found)?;
        let place = messages.iter().position(|message| message.id == id).ok_or_else(not_found)?;
        if messages[place].receipt.as_ref() == Some(receipt) {
            Ok((messages, place))
        } else {
            Err(Error::Conflict { index: 0 })
        }
    }
}

#[async_trait]
impl TableStore for Memory {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error> {
        Ok(self.state().row(key).map(|stored| Row {
            key: key.clone(),
            properties: stored.properties.clone(),
            etag: stored.etag.clone(),
        }))
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        limits::transaction(operations)?;
        let mut state = self.state();
        let mut changes = Vec::with_capacity(operations.len());
        for (index, operation) in operations.iter().enumerate() {
            let current = state.row(operation.key()).map(|stored| (&stored.properties, &stored.etag));
            changes.push(change::apply(index, operation, current)?);
        }
        let mut etags = Vec::with_capacity(operations.len());
        for (operation, change) in operations.iter().zip(changes) {
            let etag = ETag(format!("W/\"{:x}\"", state.count()));
            let partition = state.rows.entry(operation.key().partition().to_owned()).or_default();
            match change {
                Some(properties) => {
                    partition.insert(operation.key().row().to_owned(), Stored { properties, etag: etag.clone() });
                    etags.push(Some(etag));
                }
                None => {
                    partition.remove(operation.key().row());
                    etags.push(None);
                }
            }
        }
        Ok(etags)
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, Error> {
        let state = self.state();
        let mut page = Page { rows: Vec::new(), next: None };
        let Some(partition) = state.rows.get(&range.partition) else { return Ok(page) };
        let start = match after {
            Some(Continuation(last)) if *last >= range.from => Bound::Excluded(last.clone()),
            _ => Bound::Included(range.from.clone()),
        };
        let mut bytes = 0;
        for (row, stored) in partition.range((start, Bound::Unbounded)) {
            if range.to.as_ref().is_some_and(|to| row >= to) {
                break;
            }
            let key = Key::new(&range.partition, row)?;
            bytes += limits::entity_bytes(&key, &stored.properties);
            page.rows.push(Row { key, properties: stored.properties.clone(), etag: stored.etag.clone() });
            if page.rows.len() == MAX_PAGE_ROWS || bytes >= MAX_PAGE_BYTES {
                // Like the service, without a look whether there is more: the next page may be empty.
                page.next = Some(Continuation(row.clone()));
                break;
            }
        }
        Ok(page)
    }
}

#[async_trait]
impl MessageQueue for Memory {
    async fn send(&self, queue: &str, body: &[u8], delay: Duration) -> Result<(), Error> {
        limits::queue_name(queue)?;
        limits::message(body)?;
        limits::delay(delay)?;
        self.put(queue, message::to_text(body), delay);
        Ok(())
    }

    async fn send_foreign(&self, queue: &str, text: &str) -> Result<(), Error> {
        limits::queue_name(queue)?;
        limits::message_text(text)?;
        self.put(queue, text.to_owned(), Duration::ZERO);
        Ok(())
    }

    async fn receive(&self, queue: &str, max: u32, hide: Duration) -> Result<Vec<Message>, Error> {
        limits::queue_name(queue)?;
        limits::receive(max, hide)?;
        let now = self.clock.now();
        let mut guard = self.state();
        let state = &mut *guard;
        let mut visible: Vec<&mut Waiting> = state.queues.get_mut(queue).into_iter().flatten().collect();
        visible.retain(|message| message.visible <= now);
        visible.sort_by_key(|message| message.visible);
        visible.truncate(max as usize);
        let mut received = Vec::with_capacity(visible.len());
        for waiting in visible {
            state.counter += 1;
            let receipt = Receipt(state.counter.to_string());
            waiting.visible = now + hide;
            waiting.dequeue_count = waiting.dequeue_count.saturating_add(1);
            waiting.receipt = Some(receipt.clone());
            received.push(Message {
                id: waiting.id.clone(),
                body: message::from_text(waiting.text.clone()),
                dequeue_count: waiting.dequeue_count,
                receipt,
                inserted: waiting.inserted,
                expires: Timestamp::MAX,
                next_visible: waiting.visible,
            });
        }
        Ok(received)
    }

    async fn extend(&self, queue: &str, id: &str, receipt: &Receipt, hide: Duration) -> Result<Receipt, Error> {
        limits::queue_name(queue)?;
        limits::delay(hide)?;
        let now = self.clock.now();
        let mut state = self.state();
        let newer = Receipt(state.count().to_string());
        let (messages, place) = state.received(queue, id, receipt)?;
        messages[place].visible = now + hide;
        messages[place].receipt = Some(newer.clone());
        Ok(newer)
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &Receipt) -> Result<(), Error> {
        limits::queue_name(queue)?;
        let mut state = self.state();
        let (messages, place) = state.received(queue, id, receipt)?;
        messages.remove(place);
        Ok(())
    }

    async fn approximate_count(&self, queue: &str) -> Result<u64, Error> {
        limits::queue_name(queue)?;
        Ok(self.state().queues.get(queue).map_or(0, Vec::len) as u64)
    }
}

#[async_trait]
impl BlobStore for Memory {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        limits::blob_name(name)?;
        limits::blob(&content)?;
        self.state().blobs.insert(name.to_owned(), content);
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        limits::blob_name(name)?;
        Ok(self.state().blobs.get(name).cloned())
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        limits::blob_name(name)?;
        self.state().blobs.remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::SystemClock;
    use serde_json::json;

    #[tokio::test]
    async fn the_same_calls_give_the_same_versions_ids_and_receipts() {
        let mut runs = Vec::new();
        for _ in 0..2 {
            let store = memory(Arc::new(SystemClock));
            let properties = json!({"a": 1}).as_object().unwrap().clone();
            let insert = Operation::Insert(Key::new("p", "r").unwrap(), properties);
            let etags = store.tables.commit(&[insert]).await.unwrap();
            store.queues.send("queue", b"x", Duration::ZERO).await.unwrap();
            let message = store.queues.receive("queue", 1, Duration::from_secs(1)).await.unwrap().swap_remove(0);
            runs.push((etags, message.id, message.receipt));
        }
        assert_eq!(runs[0], runs[1]);
    }
}
