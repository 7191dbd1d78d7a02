//! What a worker does on what its process knows, while another process writes the same ledger.

use super::*;
use crate::orchestration::ids::{InstanceId, LedgerId, Part, WindowId, WindowName};
use crate::orchestration::ledger::TableState;
use crate::orchestration::limits::Limits;
use crate::orchestration::message::{ControlMessage, Debt};
use crate::orchestration::window::{Claim, WindowState};
use crate::random::SystemRandom;
use crate::state::{CHUNK_QUEUE, CONTROL_QUEUE, State, Tenant};
use crate::storage::{Storage, memory};
use crate::timestamp::{SystemClock, Timestamp};
use serde_json::json;
use std::time::Duration;

fn process(storage: &Storage) -> App {
    let limits = Limits::scaled(1.0);
    let state = State::new(storage.clone(), Arc::new(SystemRandom), Tenant::new("", &limits));
    App { state, limits, services: Err("no settings".to_owned()) }
}

fn table() -> TableKey {
    TableKey::new("t", "s", "c", "d", "x")
}

fn name() -> WindowName {
    WindowName::new(Timestamp::from_ticks(1), "0")
}

/// Stores a table with one planned window.
async fn planned(app: &App, state: TableState) {
    let now = app.state.now();
    let (low, high) = (Timestamp::from_ticks(1), Timestamp::from_ticks(2));
    let id = WindowId { ledger: LedgerId(1), low, high, part: Part::WHOLE, generation: 0, repair: 0 };
    let mut head = Head::new(LedgerId(1), "s", "x", "Timestamp", now);
    head.state = state;
    head.run = Some(InstanceId::from_bits(1));
    head.counts.open = 1;
    head.out = vec![name()];
    let window = Window::planned(id, "p", false, 1, now);
    let insert =
        Transaction::new().head(&table(), &head, None).unwrap().window(&table(), &name(), &window, None).unwrap();
    app.state.commit(insert).await.unwrap();
}

async fn deliver(app: &App) {
    deliver_again(app, 1).await;
}

async fn deliver_again(app: &App, delivery: u32) {
    deliver_as(app, "m", delivery).await;
}

async fn deliver_as(app: &App, id: &str, delivery: u32) {
    let message = json!({"table": table(), "window": name()}).to_string();
    let envelope = json!({"Data": {"message": message}, "Metadata": {"Id": id, "DequeueCount": delivery}});
    handle(app, &Invocation::parse(envelope.to_string().as_bytes()).unwrap()).await.unwrap();
}

async fn messages(app: &App) -> u64 {
    app.state.storage().queues.approximate_count(CHUNK_QUEUE).await.unwrap()
}

#[tokio::test]
async fn a_message_that_meets_the_plan_of_its_table_ends() {
    let app = process(&memory(Arc::new(SystemClock)));
    planned(&app, TableState::Planning).await;
    deliver(&app).await;
    let window = app.state.window(&table(), &name()).await.unwrap().unwrap().record;
    assert_eq!((messages(&app).await, window.state), (0, WindowState::Planned), "the plan hands the window out");
}

#[tokio::test]
async fn what_another_process_ended_is_not_ended_again_from_an_old_row() {
    let storage = memory(Arc::new(SystemClock));
    let (one, other) = (process(&storage), process(&storage));
    planned(&one, TableState::Running).await;
    deliver(&other).await;
    let after = |app: &App| {
        let state = app.state.clone();
        async move {
            let head = state.head(&table()).await.unwrap().unwrap().record;
            (head.counts.failed, head.counts.open, head.lanes(), head.progress.ended)
        }
    };
    assert_eq!(after(&other).await, (1, 0, 0, 1));
    deliver(&one).await;
    assert_eq!(after(&one).await, (1, 0, 0, 1));
}

#[tokio::test]
async fn a_copy_of_a_message_pays_nothing_for_a_window_that_another_one_ended() {
    let app = process(&memory(Arc::new(SystemClock)));
    planned(&app, TableState::Running).await;
    let paid = async || app.state.storage().queues.approximate_count(CONTROL_QUEUE).await.unwrap();
    let read = app.state.window(&table(), &name()).await.unwrap().unwrap();
    deliver(&app).await;
    assert_eq!(paid().await, 1, "the count of the last window");
    deliver_as(&app, "copy", 1).await;
    assert_eq!(paid().await, 1);
    let end = async |owner: &str| {
        let message = ChunkMessage { table: table(), window: name(), permit: None, turn: None, behind: None };
        let record = Window { owner: Some(owner.to_owned()), ..read.record.clone() };
        let late = Stored { record, etag: read.etag.clone() };
        commit_end(&app, &message, late, WindowEnd::Failed("late".to_owned()), None).await.unwrap();
        paid().await
    };
    assert_eq!(end("copy").await, 1, "it was overtaken");
    assert_eq!(end("m").await, 2, "the answer to its own end was lost");
}

#[tokio::test]
async fn a_table_that_another_process_stopped_takes_no_claim_from_an_old_head() {
    let storage = memory(Arc::new(SystemClock));
    let (one, other) = (process(&storage), process(&storage));
    planned(&one, TableState::Running).await;
    let head = other.state.head(&table()).await.unwrap().unwrap();
    let stopped = Head { stop: true, ..head.record };
    let swap = Transaction::new().head(&table(), &stopped, Some(&head.etag)).unwrap();
    other.state.commit(swap).await.unwrap();
    tokio::time::sleep(KNOWN_FOR + Duration::from_millis(20)).await;
    deliver(&one).await;
    let window = one.state.window(&table(), &name()).await.unwrap().unwrap().record;
    assert_eq!(window.state, WindowState::Planned);
}

#[tokio::test(start_paused = true)]
async fn what_was_pulled_is_not_sealed_once_another_process_has_stopped_the_table() {
    let storage = memory(Arc::new(SystemClock));
    let (one, other) = (process(&storage), process(&storage));
    planned(&one, TableState::Running).await;
    let swap = async |stop| {
        let head = other.state.head(&table()).await.unwrap().unwrap();
        let next = Head { stop, ..head.record };
        let swap = Transaction::new().head(&table(), &next, Some(&head.etag)).unwrap();
        other.state.commit(swap).await.unwrap();
    };
    assert!(is_wanted(&one, &table()).await.unwrap());
    swap(true).await;
    assert!(!is_wanted(&other, &table()).await.unwrap(), "the process that stopped it knows at once");
    tokio::time::advance(KNOWN_FOR + Duration::from_millis(1)).await;
    assert!(!is_wanted(&one, &table()).await.unwrap());
    swap(false).await;
    assert!(is_wanted(&one, &table()).await.unwrap(), "that it is stopped is never taken from memory");
}

#[tokio::test]
async fn debts_that_another_process_could_not_pay_are_paid_however_far_the_next_permit_is() {
    let storage = memory(Arc::new(SystemClock));
    let (one, other) = (process(&storage), process(&storage));
    planned(&one, TableState::Running).await;
    let read = other.state.window(&table(), &name()).await.unwrap().unwrap();
    let count = Debt::control(ControlMessage::Verify { table: table(), number: 1 }, Duration::ZERO);
    let (owner, owed) = (Some("m".to_owned()), vec![count]);
    let ended = Window { state: WindowState::Submitted, owner, delivery: 1, owed, ..read.record };
    let end = Transaction::new().window(&table(), &name(), &ended, Some(&read.etag)).unwrap();
    other.state.commit(end).await.unwrap();
    one.state.pause_calls(Some(Duration::from_secs(600))).await.unwrap();
    deliver_again(&one, 2).await;
    let paid = storage.queues.approximate_count(CONTROL_QUEUE).await.unwrap();
    assert_eq!((paid, messages(&one).await), (1, 0), "the window is not handed out again from an old row");
}

#[tokio::test]
async fn of_two_messages_that_carry_one_permit_the_second_goes_back_for_another() {
    let app = process(&memory(Arc::new(SystemClock)));
    planned(&app, TableState::Running).await;
    // The next permit is minutes away.
    let permit = app.state.take_permit(Duration::ZERO).await.unwrap().unwrap();
    while app.state.take_permit(Duration::from_secs(60)).await.unwrap().is_ok() {}
    let read = app.state.window(&table(), &name()).await.unwrap().unwrap();
    let called = Window { permit: Some(permit), ..read.record };
    let swap = Transaction::new().window(&table(), &name(), &called, Some(&read.etag)).unwrap();
    app.state.commit(swap).await.unwrap();
    let deliver = async |permit: Timestamp| {
        let message = json!({"table": table(), "window": name(), "permit": permit}).to_string();
        let envelope = json!({"Data": {"message": message}, "Metadata": {"Id": "m", "DequeueCount": 1}});
        handle(&app, &Invocation::parse(envelope.to_string().as_bytes()).unwrap()).await.unwrap();
        app.state.window(&table(), &name()).await.unwrap().unwrap().record
    };
    let window = deliver(permit).await;
    assert_eq!((window.state, window.turn), (WindowState::Planned, 1));
    let later = permit + Duration::from_millis(1);
    let window = deliver(later).await;
    // There are no settings to pull it with.
    assert_eq!((window.state, window.permit), (WindowState::Failed, Some(later)));
}

#[tokio::test]
async fn a_claim_of_its_own_that_comes_back_is_taken_over_however_far_the_next_permit_is() {
    let app = process(&memory(Arc::new(SystemClock)));
    planned(&app, TableState::Running).await;
    app.state.pause_calls(Some(Duration::from_secs(600))).await.unwrap();
    let read = app.state.window(&table(), &name()).await.unwrap().unwrap();
    let run = InstanceId::from_bits(1);
    let Claim::Claimed(claimed) = read.record.claim("m", 1, &run, app.state.now(), &app.limits) else { panic!() };
    let claim = Transaction::new().window(&table(), &name(), &claimed, Some(&read.etag)).unwrap();
    app.state.commit(claim).await.unwrap();
    deliver_again(&app, 2).await;
    let window = app.state.window(&table(), &name()).await.unwrap().unwrap().record;
    // There are no settings to pull it with: that it ended shows that it was taken over.
    assert_eq!(window.state, WindowState::Failed);
}
