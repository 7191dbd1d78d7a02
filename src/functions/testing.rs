//! An app over a store in memory whose clock stands until it is moved, for the tests of the functions. It has no
//! settings: a run that begins fails with that reason.

use super::control::{Started, start};
use crate::app::App;
use crate::orchestration::head::testing::{head, key, long_copied, table};
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, RuntimeStatus, StartInput, TableRun};
use crate::orchestration::ledger::{Head, TableState};
use crate::orchestration::limits::Limits;
use crate::orchestration::message::ControlMessage;
use crate::random::Random;
use crate::state::{CONTROL_QUEUE, State, Tenant, Transaction};
use crate::storage::{Body, Storage, memory};
use crate::timestamp::{Clock, Timestamp};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A clock that is set.
pub(super) struct Set(Mutex<Timestamp>);

impl Default for Set {
    fn default() -> Self {
        Self(Mutex::new("2026-05-01T00:00:00Z".parse().unwrap()))
    }
}

impl Set {
    pub fn forward(&self, seconds: u64) {
        let mut now = self.0.lock().unwrap();
        *now = *now + Duration::from_secs(seconds);
    }
}

impl Clock for Set {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct Counting(AtomicU64);

impl Random for Counting {
    fn bits(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

pub(super) fn app(storage: Storage) -> App {
    let limits = Limits::scaled(1.0);
    let state = State::new(storage, Arc::new(Counting(AtomicU64::new(1))), Tenant::new("", &limits));
    App { state, limits, services: Err("no settings".to_owned()) }
}

/// An app, its clock and its queue.
pub(super) struct World {
    pub app: App,
    pub clock: Arc<Set>,
}

impl World {
    pub fn new() -> Self {
        let clock = Arc::new(Set::default());
        Self { app: app(memory(Arc::clone(&clock) as _)), clock }
    }

    /// A run that is at a table, and has no message under way.
    pub async fn at_a_table(&self) -> InstanceId {
        let Started::New(id) = start(&self.app, StartInput::default(), json!({})).await.unwrap() else { panic!() };
        self.change(&id, |run| (run.status, run.tables_total) = (RuntimeStatus::Running, 1)).await;
        let state = &self.app.state;
        let row = TableRun { started: true, ..table() };
        state.commit(Transaction::new().table(&id, &row, None).unwrap()).await.unwrap();
        let head = Head { run: Some(id.clone()), ..head(TableState::Running) };
        state.commit(Transaction::new().head(&table().key, &head, None).unwrap()).await.unwrap();
        self.messages().await;
        id
    }

    /// Stores the ledger of a table that has been copied for long.
    pub async fn long_copied(&self) {
        let state = &self.app.state;
        let (idle, windows) = long_copied();
        state.commit(Transaction::new().head(&key(), &idle, None).unwrap()).await.unwrap();
        for made in windows {
            let write = Transaction::new().window(&key(), &made.name, &made.window, None).unwrap();
            state.commit(write).await.unwrap();
        }
    }

    /// The run as it is stored.
    pub async fn run(&self, id: &InstanceId) -> Option<Instance> {
        self.app.state.instance(id).await.unwrap().map(|run| run.record)
    }

    pub async fn status(&self, id: &InstanceId) -> Option<RuntimeStatus> {
        self.run(id).await.map(|run| run.status)
    }

    /// Changes a run as nobody else does.
    pub async fn change(&self, id: &InstanceId, change: impl FnOnce(&mut Instance)) {
        let mut run = self.app.state.instance(id).await.unwrap().unwrap();
        change(&mut run.record);
        self.app.state.commit(Transaction::new().instance(&run.record, Some(&run.etag)).unwrap()).await.unwrap();
    }

    /// Takes all messages off the control queue.
    pub async fn messages(&self) -> Vec<ControlMessage> {
        let queues = &self.app.state.storage().queues;
        let mut messages = Vec::new();
        for message in queues.receive(CONTROL_QUEUE, 32, Duration::from_secs(60)).await.unwrap() {
            queues.delete(CONTROL_QUEUE, &message.id, &message.receipt).await.unwrap();
            let Body::Bytes(bytes) = message.body else { panic!("not ours") };
            messages.push(serde_json::from_slice(&bytes).unwrap());
        }
        messages
    }
}
