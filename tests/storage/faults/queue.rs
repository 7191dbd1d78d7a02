//! A queue of all writers: what was sent arrives, what was deleted stays away, and a message is there twice only if
//! the answer to its sending was lost.

use super::{Unknown, Way, is_unknown};
use adxingestor::storage::{Body, Error, Message};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Longer than most deletions take, short enough to wait for.
const HIDE: Duration = Duration::from_secs(6);

pub struct Queue {
    way: Way,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    sent: BTreeSet<String>,
    maybe_sent: BTreeSet<String>,
    /// The ids under which each body has come.
    came: BTreeMap<String, BTreeSet<String>>,
    deleted: BTreeSet<String>,
}

impl Queue {
    pub fn new(way: Way) -> Self {
        Self { way, book: Mutex::default() }
    }

    pub fn name(&self) -> String {
        format!("{}-queue", self.way.run)
    }

    pub async fn step(&self, random: &mut StdRng) -> Unknown {
        if random.random_bool(0.6) { self.send(random).await } else { self.receive(random).await }
    }

    async fn send(&self, random: &mut StdRng) -> Unknown {
        let body = uuid::Uuid::new_v4().to_string();
        let delay = Duration::from_secs(random.random_range(0..=2));
        let result = self.way.spoilt.queues.send(&self.name(), body.as_bytes(), delay).await;
        let mut book = self.book.lock().unwrap();
        match result {
            Ok(()) => book.sent.insert(body),
            Err(error) if is_unknown(&error) => return usize::from(book.maybe_sent.insert(body)),
            Err(error) => panic!("send: {error:?}"),
        };
        0
    }

    async fn receive(&self, random: &mut StdRng) -> Unknown {
        let (most, extend) = (random.random_range(1..=4), random.random_bool(0.3));
        let messages = match self.way.spoilt.queues.receive(&self.name(), most, HIDE).await {
            Ok(messages) => messages,
            Err(error) if is_unknown(&error) => return 1,
            Err(error) => panic!("receive: {error:?}"),
        };
        let mut unknown = 0;
        for message in messages {
            self.came(&message);
            unknown += self.finish(message, extend).await;
        }
        unknown
    }

    /// Deletes a message, after an extension or at once.
    async fn finish(&self, message: Message, extend: bool) -> Unknown {
        let (queues, mut receipt) = (&self.way.spoilt.queues, message.receipt);
        if extend {
            receipt = match queues.extend(&self.name(), &message.id, &receipt, HIDE).await {
                Ok(receipt) => receipt,
                // Late, or extended by a request whose answer was lost: it comes again.
                Err(Error::Conflict { .. } | Error::NotFound { .. }) => return 0,
                Err(error) if is_unknown(&error) => return 1,
                Err(error) => panic!("extend: {error:?}"),
            };
        }
        let result = queues.delete(&self.name(), &message.id, &receipt).await;
        let mut book = self.book.lock().unwrap();
        match result {
            Ok(()) => {
                book.deleted.insert(message.id);
            }
            Err(Error::Conflict { .. } | Error::NotFound { .. }) => {}
            Err(error) if is_unknown(&error) => return 1,
            Err(error) => panic!("delete: {error:?}"),
        }
        0
    }

    fn came(&self, message: &Message) {
        let Body::Bytes(body) = &message.body else { panic!("{message:?}") };
        let body = String::from_utf8(body.to_vec()).unwrap();
        let mut book = self.book.lock().unwrap();
        assert!(!book.deleted.contains(&message.id), "it was deleted: {message:?}");
        book.came.entry(body).or_default().insert(message.id.clone());
    }

    /// Receives what is left and panics unless all came that was sent.
    pub async fn check(&self) {
        let (queues, queue) = (&self.way.direct.queues, self.name());
        let deadline = Instant::now() + HIDE * 3;
        while queues.approximate_count(&queue).await.unwrap() > 0 {
            assert!(Instant::now() < deadline, "messages that never come");
            let messages = queues.receive(&queue, 32, HIDE).await.unwrap();
            if messages.is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            for message in messages {
                self.came(&message);
                queues.delete(&queue, &message.id, &message.receipt).await.unwrap();
            }
        }
        let book = self.book.lock().unwrap();
        for body in &book.sent {
            assert!(book.came.contains_key(body), "sent and never received: {body}");
        }
        for body in book.came.keys() {
            assert!(book.sent.contains(body) || book.maybe_sent.contains(body), "from nobody: {body}");
        }
    }

    /// How many messages there have been, and how many bodies.
    pub fn messages(&self) -> (usize, usize) {
        let book = self.book.lock().unwrap();
        (book.came.values().map(BTreeSet::len).sum(), book.came.len())
    }
}
