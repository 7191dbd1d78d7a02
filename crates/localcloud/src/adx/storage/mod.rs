//! The storage that ingestion goes through: temporary containers, queues for its messages, and the queues and the table
//! that tell how it ended, each reached with a signature in the query. Speaks Azure Storage's REST as far as clients of ingestion use it; knows no table and
//! nothing of what messages mean.
//!
//! Faults of [`Area::Blobs`](crate::faults::Area), `Area::Queues` and `Area::Tables` mean here: throttled and
//! unavailable, 503 `ServerBusy`; internal, 500; bad gateway, 502; preempted, 403 as if the signature were stale; cut
//! body, the connection ends in the middle of the request and nothing is done; garbled, a bit of the request's body turns on its way; gateway timeout, 500
//! `OperationTimedOut` after the work is done; truncated body, the work is done and no answer comes.

mod blobs;
mod door;
mod entities;
mod messages;
mod piece;
mod queue;
mod refusal;
mod signature;
mod status_queue;
mod table;
#[cfg(test)]
mod tests;
mod xml;

pub use blobs::{Opened, Unreadable};
pub use door::router;
pub use piece::Unread;

use crate::clock::Clock;
use crate::faults::Faults;
use crate::source::{Dice, guid, ticks};
use blobs::Blobs;
use entities::Entities;
use queue::Queue;
use refusal::Refusal;
use serde_json::{Map, Value as Json};
use signature::{QUEUE, Signer, TABLE};
use status_queue::StatusQueue;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// How the storage is to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address it is reached at, without a slash at the end.
    pub base_url: String,
    /// From which the signatures' secret is made.
    pub seed: u64,
    /// How many containers are lent.
    pub containers: usize,
    /// How many queues are lent.
    pub queues: usize,
    /// What signatures for containers allow: `r` to read, `w` to write, `d` to delete. The service reads its own storage whatever
    /// it lends.
    pub container_permissions: String,
    /// How long a signature lasts.
    pub signature_lifetime: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_url: "http://127.0.0.1".to_owned(),
            seed: 0,
            containers: 4,
            queues: 4,
            container_permissions: "rwd".to_owned(),
            signature_lifetime: Duration::from_secs(24 * 3_600),
        }
    }
}

const SUCCESSES: &str = "/queue/successful-ingestions";
const FAILURES: &str = "/queue/failed-ingestions";
const STATUS_TABLE: &str = "/table/ingestionsstatus";

/// A queue by what it is for.
enum Named<'s> {
    /// What is put into it is to be ingested.
    Ready(&'s Queue),
    /// It takes nothing.
    Closed,
    /// It tells how ingestions ended.
    Status(&'s StatusQueue),
}

/// Containers, queues and the table with what is in them. The blobs go with it.
pub struct Storage {
    settings: Settings,
    clock: Arc<dyn Clock>,
    faults: Arc<Faults>,
    signer: Signer,
    blobs: Blobs,
    queue: Queue,
    successes: StatusQueue,
    failures: StatusQueue,
    entities: Entities,
    refused: AtomicU32,
    /// How many of the queues take no message.
    closed: AtomicUsize,
}

impl Storage {
    /// Empty storage in a temporary directory.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, faults: Arc<Faults>) -> io::Result<Self> {
        let signer = Signer::new(settings.seed);
        let (blobs, queue) = (Blobs::new()?, Queue::default());
        let (successes, failures, entities) = (StatusQueue::default(), StatusQueue::default(), Entities::default());
        let (refused, closed) = (AtomicU32::new(0), AtomicUsize::new(0));
        Ok(Self { settings, clock, faults, signer, blobs, queue, successes, failures, entities, refused, closed })
    }

    /// What `.get ingestion resources` gives: resource types and addresses with fresh signatures.
    pub fn resources(&self) -> Vec<(&'static str, String)> {
        let mut resources = Vec::new();
        for number in 0..self.settings.queues {
            resources.push(("SecuredReadyForAggregationQueue", self.signed(&queue_path(number), QUEUE, "a")));
        }
        for number in 0..self.settings.containers {
            resources
                .push(("TempStorage", self.signed(&container_path(number), "c", &self.settings.container_permissions)));
        }
        for (kind, name) in [("SuccessfulIngestionsQueue", SUCCESSES), ("FailedIngestionsQueue", FAILURES)] {
            resources.push((kind, self.signed(name, QUEUE, "rap")));
        }
        resources.push(("IngestionsStatusTable", self.signed(STATUS_TABLE, TABLE, "rau")));
        resources
    }

    /// What `.get kusto identity token` gives; a message has to carry it.
    pub fn identity_token(&self) -> String {
        let id = guid(Dice::new(self.settings.seed).named("identity token"));
        format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.{}.", id.simple())
    }

    /// Ends every signature given so far.
    pub fn expire_all(&self) {
        self.signer.expire_all();
    }

    /// Refuses the next `count` requests with 403, whatever their signature.
    pub fn refuse_next(&self, count: u32) {
        self.refused.store(count, Ordering::SeqCst);
    }

    /// From now on the first `count` queues for ingestion refuse each message with 403, whatever its signature.
    pub fn close_queues(&self, count: usize) {
        self.closed.store(count, Ordering::SeqCst);
    }

    /// Tells the readers of the queue of successes.
    pub fn tell_success(&self, message: String) {
        self.successes.put(message, self.clock.now());
    }

    /// Tells the readers of the queue of failures.
    pub fn tell_failure(&self, message: String) {
        self.failures.put(message, self.clock.now());
    }

    /// Changes a row of the status table. Whether it is there, and `address` lets its bearer do that.
    pub fn change_status(&self, address: &str, partition: &str, row: &str, changes: Map<String, Json>) -> bool {
        let rest = address.strip_prefix(&self.settings.base_url).and_then(|rest| rest.strip_prefix(STATUS_TABLE));
        let query = rest.and_then(|rest| rest.strip_prefix('?'));
        query.is_some_and(|query| self.check(STATUS_TABLE, query, 'u').is_ok())
            && self.entities.merge(partition, row, changes, self.clock.now())
    }

    /// Puts a message for ingestion into a queue.
    pub fn post(&self, message: String) {
        self.queue.put(message);
    }

    /// How many messages were ever posted.
    pub fn posted(&self) -> u64 {
        self.queue.count()
    }

    /// The next ingestion message, as soon as there is one.
    pub async fn next_message(&self) -> String {
        self.queue.next().await
    }

    /// Opens the blob at a signed address to read it from its beginning.
    ///
    /// # Errors
    /// The address is of another account, its signature is not accepted, or there is no such blob.
    pub fn open_blob(&self, address: &str) -> Result<Opened, Unreadable> {
        let (container, name, query) = self.locate(address)?;
        let permission = if self.settings.container_permissions.contains('r') { 'r' } else { 'w' };
        self.check(&container_of(&container), &query, permission).map_err(|_| Unreadable::Forbidden)?;
        self.blobs.open(&container, &name)
    }

    /// Removes the blob that was ingested and is not to be retained.
    pub fn remove_blob(&self, address: &str) {
        if let Ok((container, name, _)) = self.locate(address) {
            self.blobs.remove(&container, &name);
        }
    }

    /// Loses every blob, as a lifecycle rule may.
    pub fn lose_blobs(&self) {
        self.blobs.clear();
    }

    /// Has another content of the same length stand where each blob does.
    ///
    /// # Errors
    /// The system's.
    pub fn spoil_blobs(&self) -> io::Result<()> {
        self.blobs.spoil()
    }

    /// How many blobs there are.
    pub fn blob_count(&self) -> usize {
        self.blobs.count()
    }

    /// Container, blob name and query of an address.
    fn locate(&self, address: &str) -> Result<(String, String, String), Unreadable> {
        let rest = address.strip_prefix(&self.settings.base_url).ok_or(Unreadable::OtherAccount)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let inside = path.strip_prefix("/storage/").and_then(|path| path.split_once('/'));
        let (container, name) = inside.ok_or(Unreadable::NotFound)?;
        Ok((container.to_owned(), door::decoded(name).ok_or(Unreadable::NotFound)?, query.to_owned()))
    }

    fn check(&self, path: &str, query: &str, permission: char) -> Result<(), Refusal> {
        if self.refused.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Refusal::authentication_failed("The signature was refused on purpose."));
        }
        self.signer.check(path, query, permission, self.clock.now())
    }

    fn signed(&self, path: &str, kind: &str, permissions: &str) -> String {
        let until = self.clock.now() + ticks::of(self.settings.signature_lifetime);
        format!("{}{path}?{}", self.settings.base_url, self.signer.query(path, kind, permissions, until))
    }

    fn has_container(&self, name: &str) -> bool {
        (0..self.settings.containers).any(|number| container_path(number) == container_of(name))
    }

    fn queue_named(&self, name: &str) -> Option<Named<'_>> {
        match format!("/queue/{name}").as_str() {
            SUCCESSES => Some(Named::Status(&self.successes)),
            FAILURES => Some(Named::Status(&self.failures)),
            path => {
                let number = (0..self.settings.queues).find(|number| queue_path(*number) == path)?;
                let closed = number < self.closed.load(Ordering::SeqCst);
                Some(if closed { Named::Closed } else { Named::Ready(&self.queue) })
            }
        }
    }
}

/// An address without its signature.
pub fn without_query(address: &str) -> &str {
    address.split_once('?').map_or(address, |(address, _)| address)
}

fn container_of(name: &str) -> String {
    format!("/storage/{name}")
}

fn container_path(number: usize) -> String {
    container_of(&format!("ingest-temp-{number}"))
}

fn queue_path(number: usize) -> String {
    format!("/queue/readyforaggregation-secured-{number}")
}

#[cfg(test)]
impl Storage {
    /// Puts a blob past the door and gives its signed address.
    pub(crate) fn put_for_test(&self, name: &str, content: &[u8]) -> String {
        let mut piece = self.blobs.new_piece();
        piece.push(content).unwrap();
        let key = ("ingest-temp-0".to_owned(), name.to_owned());
        let about = blobs::About { content_type: String::new(), now: self.clock.now(), md5: None };
        self.blobs.put(key, piece.finish(), false, about).unwrap();
        self.signed(&container_path(0), "c", "rwd").replacen('?', &format!("/{name}?"), 1)
    }

    /// All that is told of successes, and of failures.
    pub(crate) fn told_for_test(&self) -> (Vec<String>, Vec<String>) {
        let all = |queue: &StatusQueue| {
            queue.peek(usize::MAX, self.clock.now()).into_iter().map(|message| message.text).collect()
        };
        (all(&self.successes), all(&self.failures))
    }
}
