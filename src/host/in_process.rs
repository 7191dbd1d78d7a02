//! Queue triggers without a handler process: functions of this program run for the messages of their queues, with the renewal,
//! pauses and poison queues of a host. Knows nothing of what they do.

use super::console::Console;
use super::host_json::QueueOptions;
use super::queue_trigger::{Deliver, QueueListener};
use super::time::HostTime;
use crate::random::Random;
use crate::storage::{Message, Storage};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// Deliveries of a message before it goes to the poison queue, and the longest pause between two polls: those of the `host.json`
/// that the function app ships.
const MOST_DELIVERIES: u32 = 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A message for a function.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The same for all deliveries of the message.
    pub id: String,
    /// Which delivery this is, from 1.
    pub count: u32,
    /// What was sent.
    pub content: Bytes,
}

/// A function that is run for messages.
#[async_trait]
pub trait Function: Send + Sync {
    /// Handles a message. Where that fails, the function has said why, and the message is delivered again. Dropped at any await,
    /// the message is delivered again, too.
    async fn run(&self, delivery: Delivery) -> Result<(), ()>;
}

/// A queue, and what is run for its messages.
pub struct Queue {
    /// Its name.
    pub name: String,
    /// The function.
    pub function: Arc<dyn Function>,
    /// The most messages at once.
    pub at_once: u32,
}

/// What the listeners need.
pub struct Surroundings {
    /// The queues and the clock.
    pub storage: Storage,
    /// At least 1: the listeners' own times are divided by it.
    pub time_scale: f64,
    /// For waits.
    pub random: Arc<dyn Random>,
    /// Takes what the listeners have to say.
    pub console: Arc<dyn Console>,
}

/// Listeners at work. Dropping them ends all at once; messages in hand are then hidden for some minutes.
pub struct Listeners {
    draining: watch::Sender<bool>,
    giving_up: watch::Sender<bool>,
    running: JoinSet<()>,
}

impl Listeners {
    /// Begins to listen.
    pub fn start(queues: Vec<Queue>, around: &Surroundings) -> Self {
        let (draining, drained) = watch::channel(false);
        let (giving_up, given_up) = watch::channel(false);
        let time = HostTime::new(around.storage.clock.clone(), around.time_scale);
        let mut running = JoinSet::new();
        for Queue { name, function, at_once } in queues {
            // A listener that works on as many messages as its threshold takes one more batch.
            let batch_size = at_once.div_ceil(2).clamp(1, 32);
            let listener = QueueListener {
                queue: name,
                options: QueueOptions {
                    batch_size,
                    new_batch_threshold: at_once.saturating_sub(batch_size) as usize,
                    max_dequeue_count: MOST_DELIVERIES,
                    max_polling_interval: LONGEST_PAUSE,
                    visibility_timeout: Duration::ZERO,
                    base64: true,
                },
                queues: around.storage.queues.clone(),
                function: Arc::new(Here { function, given_up: given_up.clone() }),
                time: time.clone(),
                random: around.random.clone(),
                console: around.console.clone(),
                wake: Arc::new(Notify::new()),
                draining: drained.clone(),
            };
            running.spawn(Arc::new(listener).run());
        }
        Self { draining, giving_up, running }
    }

    /// Takes no more messages; those in hand go on.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Drops what is still done for the messages in hand, which are visible again at once. To be called while draining.
    pub fn give_up(&self) {
        self.giving_up.send_replace(true);
    }

    /// Waits until no message is in hand any more: after [`Listeners::drain`]. The caller bounds the time.
    pub async fn finished(&mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

/// The way to a function of this program.
struct Here {
    function: Arc<dyn Function>,
    given_up: watch::Receiver<bool>,
}

#[async_trait]
impl Deliver for Here {
    async fn deliver(&self, message: &Message, content: &[u8]) -> Result<(), ()> {
        let count = message.dequeue_count;
        let delivery = Delivery { id: message.id.clone(), count, content: Bytes::copy_from_slice(content) };
        let mut given_up = self.given_up.clone();
        tokio::select! {
            result = self.function.run(delivery) => result,
            _ = given_up.wait_for(|given_up| *given_up) => Err(()),
        }
    }

    fn wake(&self, _: &str) {
        // Nobody listens to a poison queue here.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Entry, Level};
    use crate::random::SystemRandom;
    use crate::storage::memory;
    use crate::timestamp::SystemClock;
    use std::sync::Mutex;
    use tokio::sync::mpsc;

    #[derive(Default)]
    struct Quiet(Mutex<Vec<String>>);

    impl Console for Quiet {
        fn write(&self, entry: Entry) {
            if entry.level > Level::Information {
                self.0.lock().unwrap().push(entry.text);
            }
        }
    }

    /// Tells of each delivery, and then ends as it is told.
    struct Told(mpsc::UnboundedSender<u32>, Option<Result<(), ()>>);

    #[async_trait]
    impl Function for Told {
        async fn run(&self, delivery: Delivery) -> Result<(), ()> {
            self.0.send(delivery.count).unwrap();
            match self.1 {
                Some(result) => result,
                None => std::future::pending().await,
            }
        }
    }

    async fn listening(end: Option<Result<(), ()>>) -> (Storage, Listeners, mpsc::UnboundedReceiver<u32>) {
        let storage = memory(Arc::new(SystemClock));
        storage.queues.send("work", b"{}", Duration::ZERO).await.unwrap();
        let around = Surroundings {
            storage: storage.clone(),
            time_scale: 1.0,
            random: Arc::new(SystemRandom),
            console: Arc::new(Quiet::default()),
        };
        let (tell, told) = mpsc::unbounded_channel();
        let queue = Queue { name: "work".into(), function: Arc::new(Told(tell, end)), at_once: 3 };
        (storage, Listeners::start(vec![queue], &around), told)
    }

    async fn visible(storage: &Storage, queue: &str) -> usize {
        storage.queues.receive(queue, 32, Duration::from_secs(30)).await.unwrap().len()
    }

    #[tokio::test]
    async fn a_message_that_is_handled_is_gone() {
        let (storage, mut listeners, mut told) = listening(Some(Ok(()))).await;
        assert_eq!(told.recv().await, Some(1));
        listeners.drain();
        listeners.finished().await;
        assert_eq!(storage.queues.approximate_count("work").await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_message_that_is_given_up_is_there_for_the_next_one_at_once() {
        let (storage, mut listeners, mut told) = listening(None).await;
        assert_eq!(told.recv().await, Some(1));
        assert_eq!(visible(&storage, "work").await, 0);
        listeners.drain();
        listeners.give_up();
        listeners.finished().await;
        assert_eq!(visible(&storage, "work").await, 1);
    }

    #[tokio::test]
    async fn a_message_that_always_fails_goes_to_the_poison_queue() {
        let (storage, listeners, mut told) = listening(Some(Err(()))).await;
        for delivery in 1..=MOST_DELIVERIES {
            assert_eq!(told.recv().await, Some(delivery));
        }
        while visible(&storage, "work-poison").await == 0 {
            tokio::task::yield_now().await;
        }
        drop(listeners);
    }
}
