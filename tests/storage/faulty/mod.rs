//! A store that loses requests and answers, for the decorator in front of it. What it loses is up to the test.

#![allow(dead_code, reason = "each test program uses its part")]

use adxingestor::random::Random;
use adxingestor::storage::{
    BlobStore, Continuation, ETag, Error, Key, Message, MessageQueue, Operation, Page, Range, Receipt, Row, Storage,
    TableStore,
};
use adxingestor::timestamp::{Clock, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// It is not applied.
    LoseRequest,
    /// It is applied, and nobody hears of it.
    LoseAnswer,
    Throttle(Option<Duration>),
    /// It is not applied, and there is no end.
    Hang,
    /// It is applied, and there is no end.
    HangApplied,
    /// It is applied later, and nobody hears of it.
    ApplyLater(Duration),
    Refuse,
}

/// Says what becomes of a request of this kind and how long each way takes.
pub type Plan = Box<dyn Fn(&'static str) -> (Fault, Duration) + Send + Sync>;

/// A transaction as it reached the rows, and the versions it made.
pub type Applied = (Vec<Operation>, Vec<Option<ETag>>);

pub struct Faulty {
    inner: Storage,
    plan: Plan,
    /// The requests so far, each with its time.
    pub requests: Mutex<Vec<(&'static str, Instant)>>,
    applied: Arc<Mutex<Vec<Applied>>>,
    /// How many commits were applied without an answer.
    unheard: AtomicUsize,
}

impl Faulty {
    pub fn new(inner: Storage, plan: Plan) -> (Arc<Self>, Storage) {
        let clock = Arc::clone(&inner.clock);
        let faulty = Arc::new(Self {
            inner,
            plan,
            requests: Mutex::default(),
            applied: Arc::default(),
            unheard: AtomicUsize::new(0),
        });
        let storage = Storage {
            tables: Arc::clone(&faulty) as _,
            queues: Arc::clone(&faulty) as _,
            blobs: Arc::clone(&faulty) as _,
            clock,
        };
        (faulty, storage)
    }

    /// The faults of `script` in turn, then none.
    pub fn scripted(inner: Storage, script: impl IntoIterator<Item = Fault>) -> (Arc<Self>, Storage) {
        let script = Mutex::new(script.into_iter().collect::<VecDeque<_>>());
        Self::new(inner, Box::new(move |_| (script.lock().unwrap().pop_front().unwrap_or(Fault::None), Duration::ZERO)))
    }

    /// Every transaction that was applied, in order.
    pub fn applied(&self) -> Vec<Applied> {
        self.applied.lock().unwrap().clone()
    }

    /// How many commits were applied and nobody heard of it.
    pub fn unheard(&self) -> usize {
        self.unheard.load(Ordering::Relaxed)
    }

    /// How often a request of this kind came.
    pub fn count(&self, kind: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|(request, _)| *request == kind).count()
    }

    async fn through<T>(&self, kind: &'static str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let planned = self.planned(kind);
        self.perform(planned, call).await
    }

    fn planned(&self, kind: &'static str) -> (Fault, Duration) {
        self.requests.lock().unwrap().push((kind, Instant::now()));
        (self.plan)(kind)
    }

    async fn perform<T>(
        &self,
        (fault, way): (Fault, Duration),
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if !way.is_zero() {
            sleep(way).await;
        }
        match fault {
            Fault::None => {
                let answer = call.await;
                if !way.is_zero() {
                    sleep(way).await;
                }
                answer
            }
            Fault::LoseRequest => Err(unavailable("the connection was refused")),
            Fault::LoseAnswer => {
                drop(call.await);
                Err(unavailable("the connection was closed before the answer"))
            }
            Fault::Throttle(after) => Err(Error::Throttled { after }),
            Fault::Hang => pending().await,
            Fault::HangApplied => {
                drop(call.await);
                pending().await
            }
            Fault::ApplyLater(_) => panic!("only a commit can be applied later"),
            Fault::Refuse => Err(Error::Fatal("no".into())),
        }
    }
}

fn unavailable(why: &str) -> Error {
    Error::Unavailable(why.into())
}

async fn apply(
    tables: Arc<dyn TableStore>,
    applied: Arc<Mutex<Vec<Applied>>>,
    operations: Vec<Operation>,
) -> Result<Vec<Option<ETag>>, Error> {
    let etags = tables.commit(&operations).await?;
    applied.lock().unwrap().push((operations, etags.clone()));
    Ok(etags)
}

#[async_trait]
impl TableStore for Faulty {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error> {
        self.through("get", self.inner.tables.get(key)).await
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        let call = apply(Arc::clone(&self.inner.tables), Arc::clone(&self.applied), operations.to_vec());
        match self.planned("commit") {
            (Fault::ApplyLater(after), _) => {
                tokio::spawn(async move {
                    sleep(after).await;
                    drop(call.await);
                });
                pending().await
            }
            planned @ (Fault::LoseAnswer | Fault::HangApplied, _) => {
                let counted = async {
                    let applied = call.await?;
                    self.unheard.fetch_add(1, Ordering::Relaxed);
                    Ok(applied)
                };
                self.perform(planned, counted).await
            }
            planned => self.perform(planned, call).await,
        }
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, Error> {
        self.through("page", self.inner.tables.page(range, after)).await
    }
}

#[async_trait]
impl MessageQueue for Faulty {
    async fn send(&self, queue: &str, body: &[u8], delay: Duration) -> Result<(), Error> {
        self.through("send", self.inner.queues.send(queue, body, delay)).await
    }

    async fn send_foreign(&self, queue: &str, text: &str) -> Result<(), Error> {
        self.through("send foreign", self.inner.queues.send_foreign(queue, text)).await
    }

    async fn receive(&self, queue: &str, max: u32, hide: Duration) -> Result<Vec<Message>, Error> {
        self.through("receive", self.inner.queues.receive(queue, max, hide)).await
    }

    async fn extend(&self, queue: &str, id: &str, receipt: &Receipt, hide: Duration) -> Result<Receipt, Error> {
        self.through("extend", self.inner.queues.extend(queue, id, receipt, hide)).await
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &Receipt) -> Result<(), Error> {
        self.through("delete message", self.inner.queues.delete(queue, id, receipt)).await
    }

    async fn approximate_count(&self, queue: &str) -> Result<u64, Error> {
        self.through("approximate count", self.inner.queues.approximate_count(queue)).await
    }
}

#[async_trait]
impl BlobStore for Faulty {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        self.through("blob put", self.inner.blobs.put(name, content)).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        self.through("blob get", self.inner.blobs.get(name)).await
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        self.through("blob delete", self.inner.blobs.delete(name)).await
    }
}

/// Random bits that a seed decides.
pub struct Seeded(Mutex<StdRng>);

impl Seeded {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    pub fn below(&self, end: u64) -> u64 {
        self.0.lock().unwrap().random_range(0..end)
    }
}

impl Random for Seeded {
    fn bits(&self) -> u128 {
        self.0.lock().unwrap().random()
    }
}

/// The time of the runtime, which a test may let stand still and jump.
pub struct RuntimeClock(Instant);

impl RuntimeClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        "2026-04-14T07:00:00Z".parse::<Timestamp>().unwrap() + self.0.elapsed()
    }
}
