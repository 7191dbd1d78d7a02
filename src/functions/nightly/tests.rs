//! What a tick starts, and what it forgets.

use super::*;
use crate::functions::testing::World;
use crate::functions::testing::{Set, app};
use crate::orchestration::head::testing;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::ids::TableKey;
use crate::orchestration::instance::TableRun;
use crate::orchestration::instance::{Instance, RuntimeStatus};
use crate::orchestration::run::listed::Listed;
use crate::orchestration::run::place::Active;
use crate::state::{Stretch, Transaction};
use crate::storage::{
    Continuation, ETag, Error as StorageError, Key, Operation, Page, Range, Row, Storage, TableStore, memory,
};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn tick(next: &str) -> Invocation {
    let status = json!({"Last": "2026-04-30T02:00:00+00:00", "Next": next, "LastUpdated": "2026-04-30T02:00:00+00:00"});
    let data = json!({"Data": {"timer": {"ScheduleStatus": status, "IsPastDue": true}}, "Metadata": {}});
    Invocation::parse(data.to_string().as_bytes()).unwrap()
}

async fn runs(world: &World) -> Vec<InstanceId> {
    let (entries, _) = world.app.state.listed(&Stretch::default()).await.unwrap();
    entries.into_iter().map(|entry| entry.record.instance).collect()
}

const DUE: &str = "2026-05-01T00:00:00+00:00";

#[tokio::test]
async fn a_timer_that_fires_again_after_a_crash_starts_nothing_twice() {
    let world = World::new();
    handle(&world.app, &tick(DUE)).await.unwrap();
    let started = runs(&world).await;
    assert_eq!(started.len(), 1);
    // The run is over before the host comes back and finds its timer past due.
    world.change(&started[0], |run| run.status = RuntimeStatus::Completed).await;
    world.clock.forward(1_000);
    handle(&world.app, &tick(DUE)).await.unwrap();
    assert_eq!(runs(&world).await, started);
    handle(&world.app, &tick("2026-05-01T00:10:00+00:00")).await.unwrap();
    assert_eq!(runs(&world).await.len(), 2, "the next occurrence is another run");
}

#[tokio::test]
async fn a_start_that_was_broken_off_between_its_writes_is_finished_by_the_next_tick() {
    let world = World::new();
    let id = run_of(DUE.parse().ok(), world.app.state.now(), world.app.limits.clock_margin).unwrap();
    let place = Active { instance: id.clone(), since: world.app.state.now(), life: 0 };
    let entry = Listed { instance: id.clone(), created: world.app.state.now() };
    world.app.state.commit(Transaction::new().active(&place, None).unwrap().listed(&entry).unwrap()).await.unwrap();
    world.clock.forward(5);
    handle(&world.app, &tick(DUE)).await.unwrap();
    assert_eq!(world.status(&id).await, Some(RuntimeStatus::Pending));
    assert_eq!(world.messages().await.len(), 1);
    // Broken off before its message.
    handle(&world.app, &tick(DUE)).await.unwrap();
    assert_eq!(world.messages().await.len(), 1);
}

#[tokio::test]
async fn a_timer_without_a_schedule_status_starts_a_run_each_time() {
    let world = World::new();
    let by_hand = Invocation::parse(br#"{"Data":{"timer":{"ScheduleStatus":null}}}"#).unwrap();
    for count in 1..3 {
        handle(&world.app, &by_hand).await.unwrap();
        let started = runs(&world).await;
        assert_eq!(started.len(), count);
        world.change(&started[0], |run| run.status = RuntimeStatus::Completed).await;
        world.clock.forward(60);
    }
}

#[tokio::test]
async fn runs_that_ended_longer_ago_than_the_history_are_forgotten_and_others_are_kept() {
    let world = World::new();
    let mut started = Vec::new();
    for day in 1..5 {
        handle(&world.app, &tick(&format!("2026-05-0{day}T00:00:00+00:00"))).await.unwrap();
        let id = runs(&world).await[0].clone();
        world.change(&id, |run| *run = run.terminated("x", run.created).unwrap()).await;
        started.push(id);
        world.clock.forward(86_400);
    }
    world.change(&started[0], |run| *run = Instance { status: RuntimeStatus::Suspended, ..run.clone() }).await;
    world.clock.forward(28 * 86_400);
    handle(&world.app, &tick("2026-06-02T00:00:00+00:00")).await.unwrap();
    let mut left = Vec::new();
    for id in &started {
        left.push(world.status(id).await.is_some());
    }
    assert_eq!(left, [true, false, true, true], "held, 31 days old, 30 days old, 29 days old");
}

/// A store that takes some transactions and then no more.
struct Breaking {
    inner: Storage,
    left: AtomicU64,
    most: AtomicU64,
}

#[async_trait::async_trait]
impl TableStore for Breaking {
    async fn get(&self, key: &Key) -> Result<Option<Row>, StorageError> {
        self.inner.tables.get(key).await
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, StorageError> {
        self.most.fetch_max(operations.len() as u64, Ordering::SeqCst);
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map_err(|_| StorageError::Unavailable("gone".into()))?;
        self.inner.tables.commit(operations).await
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, StorageError> {
        self.inner.tables.page(range, after).await
    }
}

#[tokio::test]
async fn a_purge_that_breaks_off_anywhere_goes_on_and_leaves_nothing_of_the_run() {
    let clock = Arc::new(Set::default());
    let inner = memory(Arc::clone(&clock) as _);
    let store = Arc::new(Breaking { inner: inner.clone(), left: AtomicU64::new(u64::MAX), most: AtomicU64::default() });
    let app = app(Storage { tables: Arc::clone(&store) as _, ..inner });
    let Started::New(id) = start(&app, StartInput::default(), Value::Null).await.unwrap() else { panic!("not new") };
    let read = app.state.instance(&id).await.unwrap().unwrap();
    let ended = read.record.terminated("x", app.state.now()).unwrap();
    app.state.commit(Transaction::new().instance(&ended, Some(&read.etag)).unwrap()).await.unwrap();
    for table in 0..250 {
        let key = TableKey::new("t", &table.to_string(), "c", "d", "x");
        let row = TableRun { key, ..testing::table() };
        app.state.commit(Transaction::new().table(&id, &row, None).unwrap()).await.unwrap();
    }
    clock.forward(31 * 86_400);
    let late = Instant::now();
    assert_eq!(purge_old(&app, late).await.unwrap(), 0, "no time is left");
    store.most.store(0, Ordering::SeqCst);
    let (mut gone, mut tries) = (0, 0);
    let listed = async || app.state.listed(&Stretch::default()).await.unwrap().0.len();
    while listed().await > 0 {
        tries += 1;
        store.left.store(1, Ordering::SeqCst);
        gone += purge_old(&app, late + Duration::from_secs(600)).await.unwrap_or(0);
    }
    assert_eq!(
        (gone, tries),
        (0, 5),
        "its place, two batches of rows, the last with the run, its entry: a transaction each"
    );
    assert!(app.state.instance(&id).await.unwrap().is_none() && app.state.tables(&id).await.unwrap().is_empty());
    assert!((90..=100).contains(&store.most.load(Ordering::SeqCst)), "{store:?}", store = store.most);
}
