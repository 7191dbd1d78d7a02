//! The listener of a queue trigger: polls, runs the function for each message, renews its invisibility, and deletes,
//! releases or poisons it (azure-sdk-for-net `QueueListener.cs`, `QueueProcessor.cs`).

use super::backoff::Backoff;
use super::console::{Console, Level, Say};
use super::envelope::{Metadata, date, number, text};
use super::function_json::Function;
use super::host_json::QueueOptions;
use super::invoke::Invoker;
use super::json::Json;
use super::time::HostTime;
use crate::random::Random;
use crate::storage::{Body, Error, Message, MessageQueue, Receipt};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

/// How long a message is hidden while its function runs.
const HIDDEN: Duration = Duration::from_secs(10 * 60);
const RENEWAL: Duration = Duration::from_secs(5 * 60);
const FASTEST_RENEWAL: Duration = Duration::from_secs(60);
const POISON_SUFFIX: &str = "-poison";
/// The storage's own time, not scaled.
const STORAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The way from a message to its function.
#[async_trait]
pub(crate) trait Deliver: Send + Sync {
    /// Runs the function for a message with this content. A failure has been said already.
    async fn deliver(&self, message: &Message, content: &[u8]) -> Result<(), ()>;

    /// Something was put on the queue of that name.
    fn wake(&self, queue: &str);
}

/// The way over HTTP, in an envelope.
pub(crate) struct ToHandler {
    pub(crate) function: Arc<Function>,
    pub(crate) binding: String,
    pub(crate) binary: bool,
    pub(crate) invoker: Arc<Invoker>,
}

#[async_trait]
impl Deliver for ToHandler {
    async fn deliver(&self, message: &Message, content: &[u8]) -> Result<(), ()> {
        let parts = envelope_parts(&self.binding, self.binary, message, content);
        self.invoker.call(&self.function, parts, |_| Ok(())).await.map_err(drop)
    }

    fn wake(&self, queue: &str) {
        if let Some(listener) = self.invoker.outputs.wakers.get(queue) {
            listener.notify_one();
        }
    }
}

/// The listener of one function.
pub(crate) struct QueueListener {
    pub(crate) queue: String,
    pub(crate) options: QueueOptions,
    pub(crate) queues: Arc<dyn MessageQueue>,
    pub(crate) function: Arc<dyn Deliver>,
    pub(crate) time: HostTime,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) console: Arc<dyn Console>,
    /// Told when this host has put a message on the queue.
    pub(crate) wake: Arc<Notify>,
    /// True: no more polls; running calls go on.
    pub(crate) draining: watch::Receiver<bool>,
}

/// The message as the function sees it: the binding's name, its data, and the metadata.
pub(crate) fn envelope_parts<'b>(
    binding: &'b str,
    binary: bool,
    message: &Message,
    content: &[u8],
) -> (&'b str, Json, Metadata) {
    let payload = String::from_utf8_lossy(content);
    let data = if binary { Json::String(STANDARD.encode(content)) } else { text(&payload) };
    let mut metadata = Metadata::default();
    metadata.set("DequeueCount", number(message.dequeue_count));
    metadata.set("ExpirationTime", date(message.expires));
    metadata.set("Id", text(&message.id));
    metadata.set("InsertionTime", date(message.inserted));
    metadata.set("NextVisibleTime", date(message.next_visible));
    metadata.set("PopReceipt", text(&message.receipt.0));
    metadata.add_payload(&payload);
    (binding, data, metadata)
}

impl QueueListener {
    /// Polls until the host drains, then waits for the running calls.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut draining = self.draining.clone();
        let mut backoff = Backoff::new(self.options.max_polling_interval);
        let mut running = JoinSet::new();
        while !*draining.borrow() {
            while running.try_join_next().is_some() {}
            if running.len() > self.options.new_batch_threshold {
                tokio::select! {
                    _ = running.join_next() => {}
                    _ = draining.wait_for(|draining| *draining) => {}
                }
                continue;
            }
            let hide = self.time.scaled(HIDDEN);
            match timely(self.queues.receive(&self.queue, self.options.batch_size, hide)).await {
                Ok(messages) if !messages.is_empty() => {
                    backoff.reset();
                    for message in messages {
                        running.spawn(Arc::clone(&self).process(message));
                    }
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    let queue = &self.queue;
                    self.console.say(Level::Warning, format!("the queue {queue} cannot be polled: {error}"));
                }
            }
            let wait = backoff.next(self.random.as_ref());
            tokio::select! {
                () = self.time.sleep(wait) => {}
                () = self.wake.notified() => {}
                _ = draining.wait_for(|draining| *draining) => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    async fn process(self: Arc<Self>, message: Message) {
        let content = match (&message.body, self.options.base64) {
            (Body::Bytes(bytes), true) => bytes.clone(),
            (Body::Bytes(bytes), false) => STANDARD.encode(bytes).into(),
            (Body::Foreign(text), false) => text.clone().into(),
            (Body::Foreign(text), true) => {
                let warning =
                    format!("a message on the queue {} is not base64 and goes to its poison queue", self.queue);
                self.console.say(Level::Warning, warning);
                return self.poison(&message, &message.receipt, &Content::Foreign(text)).await;
            }
        };
        let content = Content::Own(content);
        if message.dequeue_count > self.options.max_dequeue_count && self.poison_queue().is_some() {
            return self.poison(&message, &message.receipt, &content).await;
        }
        let (result, receipt) = self.call(&message, &content).await;
        let settled = match result {
            Ok(()) => timely(self.queues.delete(&self.queue, &message.id, &receipt)).await,
            // The host's own end is not the message's fault.
            Err(()) if *self.draining.borrow() => self.release(&message, &receipt, Duration::ZERO).await,
            Err(()) if message.dequeue_count >= self.options.max_dequeue_count => {
                return self.poison(&message, &receipt, &content).await;
            }
            // A poison queue has none of its own: its failed messages stay hidden.
            Err(()) if self.poison_queue().is_none() => Ok(()),
            Err(()) => self.release(&message, &receipt, self.options.visibility_timeout).await,
        };
        self.report(&message, settled);
    }

    /// Runs the function, renewing the message's invisibility meanwhile. Gives the newest receipt.
    async fn call(&self, message: &Message, content: &Content<'_>) -> (Result<(), ()>, Receipt) {
        let (finished, finish) = oneshot::channel::<()>();
        let running = async {
            let result = self.function.deliver(message, content.bytes()).await;
            // The renewal may have ended before.
            let _ = finished.send(());
            result
        };
        // Both run to their end: a renewal under way must give its receipt before the message is settled.
        tokio::join!(running, self.renew(message, finish))
    }

    async fn renew(&self, message: &Message, mut finish: oneshot::Receiver<()>) -> Receipt {
        let mut receipt = message.receipt.clone();
        let mut interval = RENEWAL;
        loop {
            tokio::select! {
                _ = &mut finish => return receipt,
                () = self.time.sleep(interval) => {}
            }
            let hide = self.time.scaled(HIDDEN);
            match timely(self.queues.extend(&self.queue, &message.id, &receipt, hide)).await {
                Ok(newer) => {
                    receipt = newer;
                    interval = RENEWAL;
                }
                Err(Error::Conflict { .. } | Error::NotFound { .. }) => {
                    let warning =
                        format!("the message {} was taken by someone else while it was worked on", message.id);
                    self.console.say(Level::Warning, warning);
                    let _ = finish.await;
                    return receipt;
                }
                Err(_) => interval = (interval / 2).max(FASTEST_RENEWAL),
            }
        }
    }

    async fn release(&self, message: &Message, receipt: &Receipt, after: Duration) -> Result<(), Error> {
        let hide = self.time.scaled(after);
        timely(self.queues.extend(&self.queue, &message.id, receipt, hide)).await.map(drop)
    }

    /// Copies the message to the poison queue and deletes it. Without a poison queue it stays hidden.
    async fn poison(&self, message: &Message, receipt: &Receipt, content: &Content<'_>) {
        let Some(poison) = self.poison_queue() else { return };
        let copied = match content {
            Content::Foreign(text) => timely(self.queues.send_foreign(&poison, text)).await,
            Content::Own(bytes) if self.options.base64 => {
                timely(self.queues.send(&poison, bytes, Duration::ZERO)).await
            }
            Content::Own(bytes) => timely(self.queues.send_foreign(&poison, &String::from_utf8_lossy(bytes))).await,
        };
        if copied.is_ok() {
            self.console.say(Level::Error, format!("the message {} was moved to the queue {poison}", message.id));
            self.function.wake(&poison);
        }
        let settled = match copied {
            Ok(()) => timely(self.queues.delete(&self.queue, &message.id, receipt)).await,
            Err(error) => Err(error),
        };
        self.report(message, settled);
    }

    fn poison_queue(&self) -> Option<String> {
        (!self.queue.ends_with(POISON_SUFFIX)).then(|| format!("{}{POISON_SUFFIX}", self.queue))
    }

    /// A message that someone else has taken is theirs; anything else is worth a line.
    fn report(&self, message: &Message, settled: Result<(), Error>) {
        match settled {
            Ok(()) | Err(Error::Conflict { .. } | Error::NotFound { .. }) => {}
            Err(error) => {
                let warning = format!("the message {} of the queue {} is not settled: {error}", message.id, self.queue);
                self.console.say(Level::Warning, warning);
            }
        }
    }
}

/// What a message holds.
enum Content<'m> {
    /// What the function is given.
    Own(Bytes),
    /// A text that is not base64 although the queue's messages are.
    Foreign(&'m str),
}

impl Content<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Foreign(text) => text.as_bytes(),
        }
    }
}

async fn timely<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let result = tokio::time::timeout(STORAGE_TIMEOUT, call).await;
    result.unwrap_or_else(|elapsed| Err(Error::Unavailable(elapsed.into())))
}
