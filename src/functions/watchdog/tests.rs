//! Ticks over a store in memory that counts what it is asked for.

use super::*;
use crate::functions::control::{Started, Terminated, start, terminate};
use crate::functions::testing::{Set, app};
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::StartInput;
use crate::storage::{
    Continuation, ETag, Error as StorageError, Key, MessageQueue, Operation, Page, Range, Receipt, Row, Storage,
    TableStore, memory,
};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Stored<T> = Result<T, StorageError>;

/// Counts transactions on their way to `inner`.
struct Counted {
    inner: Storage,
    asked: Arc<AtomicU64>,
}

impl Counted {
    fn inner(&self) -> &Storage {
        self.asked.fetch_add(1, Ordering::SeqCst);
        &self.inner
    }
}

#[async_trait]
impl TableStore for Counted {
    async fn get(&self, key: &Key) -> Stored<Option<Row>> {
        self.inner().tables.get(key).await
    }

    async fn commit(&self, operations: &[Operation]) -> Stored<Vec<Option<ETag>>> {
        self.inner().tables.commit(operations).await
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Stored<Page> {
        self.inner().tables.page(range, after).await
    }
}

#[async_trait]
impl MessageQueue for Counted {
    async fn send(&self, queue: &str, body: &[u8], delay: Duration) -> Stored<()> {
        self.inner().queues.send(queue, body, delay).await
    }

    async fn send_foreign(&self, queue: &str, text: &str) -> Stored<()> {
        self.inner().queues.send_foreign(queue, text).await
    }

    async fn receive(&self, queue: &str, max: u32, hide: Duration) -> Stored<Vec<QueueMessage>> {
        self.inner().queues.receive(queue, max, hide).await
    }

    async fn extend(&self, queue: &str, id: &str, receipt: &Receipt, hide: Duration) -> Stored<Receipt> {
        self.inner().queues.extend(queue, id, receipt, hide).await
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &Receipt) -> Stored<()> {
        self.inner().queues.delete(queue, id, receipt).await
    }

    async fn approximate_count(&self, queue: &str) -> Stored<u64> {
        self.inner().queues.approximate_count(queue).await
    }
}

struct World {
    app: App,
    clock: Arc<Set>,
    asked: Arc<AtomicU64>,
}

fn world() -> World {
    let clock = Arc::new(Set::default());
    let asked = Arc::<AtomicU64>::default();
    let inner = memory(Arc::clone(&clock) as _);
    let counted = Arc::new(Counted { inner: inner.clone(), asked: Arc::clone(&asked) });
    let app = app(Storage { tables: Arc::clone(&counted) as _, queues: counted, ..inner });
    World { app, clock, asked }
}

impl World {
    async fn start(&self, force: bool) -> Started {
        start(&self.app, StartInput { tables: None, force }, Value::Null).await.unwrap()
    }

    async fn started(&self, force: bool) -> InstanceId {
        match self.start(force).await {
            Started::New(id) => id,
            other => panic!("{other:?}"),
        }
    }

    /// Takes all messages off the control queue; the runs that their starts are for.
    async fn starts(&self) -> Vec<InstanceId> {
        let mut starts = Vec::new();
        let queues = &self.app.state.storage().queues;
        for message in queues.receive(CONTROL_QUEUE, 32, POISON_HIDE).await.unwrap() {
            queues.delete(CONTROL_QUEUE, &message.id, &message.receipt).await.unwrap();
            if let Some(ControlMessage::Start { instance, .. }) = decoded(CONTROL_QUEUE, &message) {
                starts.push(instance);
            }
        }
        starts
    }

    async fn places(&self) -> Vec<InstanceId> {
        self.app.state.places().await.unwrap().into_iter().map(|place| place.record.instance).collect()
    }
}

#[tokio::test]
async fn an_idle_tick_costs_three_transactions() {
    let world = world();
    handle(&world.app).await.unwrap();
    assert_eq!(world.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_run_that_was_forced_beside_another_is_watched_too() {
    let world = world();
    let (active, forced) = (world.started(false).await, world.started(true).await);
    assert_eq!(world.start(false).await, Started::Active(active.clone()));
    assert_eq!(world.places().await, [active.clone(), forced.clone()]);
    assert_eq!(
        world.starts().await.len(),
        3,
        "the refused one sends that of the active run again; all are lost on the way"
    );
    world.clock.forward(119);
    handle(&world.app).await.unwrap();
    assert!(world.starts().await.is_empty());
    world.clock.forward(2);
    handle(&world.app).await.unwrap();
    assert_eq!(world.starts().await, [active, forced]);
}

#[tokio::test]
async fn a_forced_run_that_is_over_leaves_its_own_place_alone() {
    let world = world();
    let (active, forced) = (world.started(false).await, world.started(true).await);
    assert_eq!(terminate(&world.app, &forced, "enough").await.unwrap(), Terminated::Now);
    assert_eq!(world.places().await, [active]);
}

#[tokio::test]
async fn a_place_that_a_run_left_behind_is_freed() {
    let world = world();
    let (active, forced) = (world.started(false).await, world.started(true).await);
    for id in [&active, &forced] {
        let run = world.app.state.instance(id).await.unwrap().unwrap();
        let failed = run.record.failed("killed before it left its place", world.app.state.now()).unwrap();
        assert!(swap_run(&world.app, &run, &failed).await.unwrap());
    }
    world.clock.forward(121);
    handle(&world.app).await.unwrap();
    assert!(world.places().await.is_empty());
}
