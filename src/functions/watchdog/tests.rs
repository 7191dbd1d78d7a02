//! Ticks over a store in memory that counts what it is asked for.

use super::*;
use crate::functions::control::{Started, Terminated, start, terminate};
use crate::functions::get_status::{Shows, status};
use crate::functions::http::Call;
use crate::functions::notes;
use crate::functions::testing::{Set, app};
use crate::orchestration::head::testing;
use crate::orchestration::instance::RuntimeStatus;
use crate::orchestration::instance::StartInput;
use crate::orchestration::ledger::{Head, TableState};
use crate::orchestration::limits::MOST_GIVEN_UP;
use crate::orchestration::message::ControlMessage;
use crate::orchestration::repairs::Kind;
use crate::orchestration::window::WindowState;
use crate::orchestration::write::Seen;
use crate::state::{CHUNK_QUEUE, CONTROL_QUEUE, Transaction};
use crate::storage::{
    Body, Continuation, Error as StorageError, Key, Message as QueueMessage, MessageQueue, Operation, Page, Range,
    Receipt, Row, Storage, TableStore, memory,
};
use crate::telemetry::json_lines::testing::Log;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
        start(&self.app, StartInput { force, ..StartInput::default() }, Value::Null).await.unwrap()
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
        for message in queues.receive(CONTROL_QUEUE, 32, Duration::from_secs(60)).await.unwrap() {
            queues.delete(CONTROL_QUEUE, &message.id, &message.receipt).await.unwrap();
            let Body::Bytes(body) = &message.body else { panic!("{message:?}") };
            if let ControlMessage::Start { instance, .. } = serde_json::from_slice(body).unwrap() {
                starts.push(instance);
            }
        }
        starts
    }

    /// Writes over the place of a run what none of us writes.
    async fn damage_the_active_place(&self) {
        let stored = self.app.state.active().await.unwrap().unwrap();
        let key = Key::new("run", "active").unwrap();
        let properties = [("instance".to_owned(), 5_i64.into())].into_iter().collect();
        let tables = &self.app.state.storage().tables;
        tables.commit(&[Operation::Replace(key, properties, stored.etag)]).await.unwrap();
    }

    async fn places(&self) -> Vec<InstanceId> {
        self.app.state.places().await.unwrap().into_iter().map(|place| place.record.instance).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_cannot_be_read_keeps_neither_other_runs_nor_poison_queues() {
    let world = world();
    world.started(false).await;
    let forced = world.started(true).await;
    world.damage_the_active_place().await;
    world.starts().await;
    world.poison(CONTROL_QUEUE, b"{}").await;
    world.clock.forward(3_600);
    let error = handle(&world.app).await.unwrap_err().to_string();
    assert!(error.contains("run/active") && error.contains("remove the row"), "{error}");
    assert_eq!((world.poisoned(CONTROL_QUEUE).await, world.starts().await), (0, vec![forced]));
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
    // The refused start has sent that of the active run again.
    assert_eq!(world.starts().await.len(), 3, "lost on the way");
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

impl World {
    /// Puts a message where the host puts what it gave up.
    async fn poison(&self, queue: &str, body: &[u8]) {
        let queues = &self.app.state.storage().queues;
        queues.send(&format!("{queue}-poison"), body, Duration::ZERO).await.unwrap();
    }

    async fn poisoned(&self, queue: &str) -> u64 {
        self.app.state.storage().queues.approximate_count(&format!("{queue}-poison")).await.unwrap()
    }

    async fn record(&self, id: &InstanceId) -> Instance {
        self.app.state.instance(id).await.unwrap().unwrap().record
    }
}

#[tokio::test]
async fn a_repair_stands_in_the_record_of_its_run_and_in_its_status() {
    let world = world();
    let id = world.started(false).await;
    assert_eq!(world.starts().await.len(), 1, "lost on the way");
    for ticks in 1..=12 {
        world.clock.forward(121);
        handle(&world.app).await.unwrap();
        assert_eq!(world.record(&id).await.repairs.count, ticks);
    }
    let run = world.record(&id).await;
    assert_eq!((run.status, run.updated), (RuntimeStatus::Pending, run.created), "a repair is no sign of life");
    let shows = Shows::asked(&Call::of("GET", "http://app/api/status/x"));
    let shown = status(&world.app, &run, shows).await.unwrap()["customStatus"]["repairs"].clone();
    assert_eq!((shown["count"].clone(), shown["last"].as_array().unwrap().len()), (12.into(), 10));
    assert_eq!(shown["last"][9]["kind"], "start_lost");
}

#[tokio::test]
async fn a_poisoned_start_fails_its_run_with_what_the_handler_met_and_under_the_id_that_the_host_logs() {
    let (world, log) = (world(), Log::keep());
    let id = world.started(false).await;
    let body = json!({"kind": "start", "instance": id, "attempt": 0});
    for delivery in 1..=9 {
        notes::leave(&world.app, &body, "the-host's-id", delivery, "the row is unreadable").await;
    }
    world.poison(CONTROL_QUEUE, body.to_string().as_bytes()).await;
    handle(&world.app).await.unwrap();
    let run = world.record(&id).await;
    let error = run.error.clone().unwrap();
    assert_eq!(run.status, RuntimeStatus::Failed);
    assert!(error.contains("the-host's-id") && error.contains("delivery 9 failed: the row is unreadable"), "{error}");
    assert_eq!(run.repairs.last[0].kind, Kind::StepPoisoned);
    assert_eq!((world.poisoned(CONTROL_QUEUE).await, world.places().await), (0, vec![]));
    assert_eq!(notes::find(&world.app, &body).await, None);
    // What an alert looks for (docs/operations.md, "A run failed").
    let told: Vec<Value> = log.lines().into_iter().filter(|line| line["level"] == "ERROR").collect();
    let [told] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&told["message"], &told["instance"]), (&json!("the run cannot begin"), &json!(id)), "{told}");
    assert_eq!(told["reason"], json!(error));
}

#[tokio::test]
async fn a_message_that_is_not_ours_leaves_the_poison_queue_and_stops_nothing() {
    let world = world();
    let id = world.started(false).await;
    for body in ["nonsense", "{}", "[1]"] {
        world.poison(CHUNK_QUEUE, body.as_bytes()).await;
        world.poison(CONTROL_QUEUE, body.as_bytes()).await;
    }
    world.poison(CONTROL_QUEUE, json!({"kind": "start", "instance": id}).to_string().as_bytes()).await;
    handle(&world.app).await.unwrap();
    assert_eq!((world.poisoned(CONTROL_QUEUE).await, world.poisoned(CHUNK_QUEUE).await), (0, 0));
    assert_eq!(world.record(&id).await.status, RuntimeStatus::Failed);
}

#[tokio::test]
async fn a_window_whose_message_was_given_up_fails_with_the_reason_and_its_lane_goes_on() {
    let world = world();
    let id = world.started(false).await;
    let (head, windows) = testing::running(&id, 2);
    let (key, state) = (testing::key(), &world.app.state);
    let mut insert = Transaction::new().head(&key, &head, None).unwrap();
    for seen in &windows {
        insert = insert.window(&key, &seen.name, &seen.window, None).unwrap();
    }
    state.commit(insert).await.unwrap();
    let body = json!({"table": key, "window": windows[0].name});
    notes::leave(&world.app, &body, "m-7", 9, "out of luck").await;
    world.poison(CHUNK_QUEUE, body.to_string().as_bytes()).await;
    handle(&world.app).await.unwrap();
    let window = state.window(&key, &windows[0].name).await.unwrap().unwrap().record;
    assert_eq!(window.state, WindowState::Failed);
    assert!(window.error.unwrap().contains("delivery 9 failed: out of luck"));
    assert_eq!(state.head(&key).await.unwrap().unwrap().record.out, [windows[1].name.clone()]);
    let repaired = world.record(&id).await.repairs.last[0].clone();
    assert_eq!((repaired.kind, repaired.table.as_deref()), (Kind::WindowPoisoned, Some("s")));
    assert_eq!(repaired.window, Some(window.id.to_string()));
}

#[tokio::test]
async fn a_run_that_cannot_be_read_keeps_no_other_from_being_watched() {
    let world = world();
    let (active, forced) = (world.started(false).await, world.started(true).await);
    assert_eq!(world.starts().await.len(), 2, "lost on the way");
    let tables = &world.app.state.storage().tables;
    let row = tables.get(&Key::new(format!("i:{active}"), "i").unwrap()).await.unwrap().unwrap();
    let spoilt =
        Operation::Replace(row.key, [("status".to_owned(), "Nonsense".into())].into_iter().collect(), row.etag);
    tables.commit(&[spoilt]).await.unwrap();
    world.clock.forward(121);
    handle(&world.app).await.unwrap_err();
    assert_eq!(world.starts().await, [forced]);
}

/// A run at a table with `head`, which is its own, and `windows`.
async fn at_a_table(world: &World, head: Head, windows: &[Seen<u64>]) -> InstanceId {
    let id = world.started(false).await;
    let (key, state) = (testing::key(), &world.app.state);
    let run = state.instance(&id).await.unwrap().unwrap();
    let running = Instance { status: RuntimeStatus::Running, tables_total: 1, ..run.record.clone() };
    assert!(swap_run(&world.app, &run, &running).await.unwrap());
    state.commit(Transaction::new().table(&id, &testing::table(), None).unwrap()).await.unwrap();
    let mut insert = Transaction::new().head(&key, &Head { run: Some(id.clone()), ..head }, None).unwrap();
    for seen in windows {
        insert = insert.window(&key, &seen.name, &seen.window, None).unwrap();
    }
    state.commit(insert).await.unwrap();
    world.starts().await;
    id
}

/// Writes nonsense into a row of the table's ledger.
async fn spoil(world: &World, row: &str) {
    let tables = &world.app.state.storage().tables;
    let row = tables.get(&Key::new(format!("t:{}", testing::key().as_str()), row).unwrap()).await.unwrap().unwrap();
    let spoilt = [("state".to_owned(), "nonsense".into())].into_iter().collect();
    tables.commit(&[Operation::Merge(row.key, spoilt, row.etag)]).await.unwrap();
}

impl World {
    /// Asserts that the run has ended with its table failed, and gives why.
    async fn failed_table(&self, id: &InstanceId) -> String {
        let run = self.record(id).await;
        assert_eq!(
            (run.status, run.tables_failed, self.places().await),
            (RuntimeStatus::Completed, 1, vec![]),
            "{run:?}"
        );
        assert_eq!((self.poisoned(CONTROL_QUEUE).await, self.poisoned(CHUNK_QUEUE).await), (0, 0));
        assert_eq!(run.repairs.last.last().map(|repair| repair.kind), Some(Kind::StepPoisoned));
        let result = self.app.state.table(id, &testing::key()).await.unwrap().unwrap().record.result.unwrap();
        assert_eq!((result.success, result.verified_up_to), (false, None));
        result.error.unwrap()
    }
}

#[tokio::test]
async fn a_count_that_the_host_gives_up_again_and_again_ends_its_table_and_the_run() {
    let world = world();
    let id = at_a_table(&world, testing::due(4), &[]).await;
    let body = json!({"kind": "verify", "table": testing::key(), "number": 4});
    for given_up in 1..=MOST_GIVEN_UP {
        let head = world.app.state.head(&testing::key()).await.unwrap().unwrap().record;
        assert_eq!((head.given_up, head.run), (given_up - 1, Some(id.clone())));
        notes::leave(&world.app, &body, "m-7", 9, "out of luck").await;
        world.poison(CONTROL_QUEUE, body.to_string().as_bytes()).await;
        handle(&world.app).await.unwrap();
    }
    assert!(world.failed_table(&id).await.contains("delivery 9 failed: out of luck"));
    let head = world.app.state.head(&testing::key()).await.unwrap().unwrap().record;
    assert_eq!((head.state, head.run, head.ended), (TableState::Idle, None, None));
    let next = world.started(false).await;
    assert_ne!(next, id, "the place is free");
}

#[tokio::test]
async fn a_run_whose_ledger_cannot_be_read_ends_whichever_record_it_is_and_whatever_message_tells() {
    let windows = [testing::seen(10, WindowState::Planned), testing::seen(20, WindowState::Planned)];
    let (spoilt, other) = (windows[0].name.as_str(), &windows[1].name);
    let chunk = |window| (CHUNK_QUEUE, json!({"table": testing::key(), "window": window}));
    let verify = (CONTROL_QUEUE, json!({"kind": "verify", "table": testing::key(), "number": 4}));
    for (row, (queue, body)) in
        [(spoilt, chunk(&windows[0].name)), ("h", chunk(&windows[0].name)), ("h", chunk(other)), ("h", verify)]
    {
        let world = world();
        let mut head = testing::due(4);
        head.counts.open = 2;
        let id = at_a_table(&world, head, &windows).await;
        spoil(&world, row).await;
        world.poison(queue, body.to_string().as_bytes()).await;
        handle(&world.app).await.unwrap();
        let error = world.failed_table(&id).await;
        assert!(error.contains(&format!("/{row} in the state store cannot be read")), "{row} {queue}: {error}");
    }
}

#[tokio::test]
async fn a_window_that_cannot_be_read_ends_no_table_that_nobody_is_at() {
    let world = world();
    let windows = [testing::seen(10, WindowState::Planned)];
    let id = at_a_table(&world, testing::head(TableState::Planning), &windows).await;
    spoil(&world, windows[0].name.as_str()).await;
    let body = json!({"table": testing::key(), "window": windows[0].name});
    world.poison(CHUNK_QUEUE, body.to_string().as_bytes()).await;
    handle(&world.app).await.unwrap();
    assert_eq!((world.record(&id).await.status, world.poisoned(CHUNK_QUEUE).await), (RuntimeStatus::Running, 0));
}

#[tokio::test]
async fn a_table_that_cannot_be_read_keeps_no_other_from_being_watched_and_comes_to_a_count_itself() {
    let world = world();
    let windows = [testing::seen(10, WindowState::Planned)];
    let mut head = testing::head(TableState::Running);
    head.counts.open = 1;
    let id = at_a_table(&world, head, &windows).await;
    let other = TableKey::new("t", "other", "c", "d", "x");
    let row = crate::orchestration::instance::TableRun { key: other.clone(), ordinal: 1, ..testing::table() };
    world.app.state.commit(Transaction::new().table(&id, &row, None).unwrap()).await.unwrap();
    spoil(&world, windows[0].name.as_str()).await;
    world.clock.forward(721);
    handle(&world.app).await.unwrap();
    let queues = &world.app.state.storage().queues;
    let sent = queues.receive(CONTROL_QUEUE, 32, Duration::from_secs(60)).await.unwrap();
    let sent: Vec<ControlMessage> = sent
        .into_iter()
        .map(|message| match message.body {
            Body::Bytes(body) => serde_json::from_slice(&body).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(sent.contains(&ControlMessage::Plan { instance: id, table: other, attempt: 0 }), "{sent:?}");
    let verify = world.app.state.head(&testing::key()).await.unwrap().unwrap().record.verify;
    assert_eq!(verify.map(|due| due.number), Some(1));
}
