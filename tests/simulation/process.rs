//! One process of the function app with its Functions host: the app's own router, fed by a loop that plays the queue
//! triggers and timers as the host does.

use super::clock::Virtual;
use super::gate::{Death, Fate, Gate};
use super::identity::Identity;
use super::network::Network;
use super::observe::Seen;
use super::store::through;
use super::wiring::wired;
use adxingestor::adx::FreshIds;
use adxingestor::app::App;
use adxingestor::config::Settings;
use adxingestor::functions::{self, adoptable, named, router};
use adxingestor::outbound::{Outbound, TrustedHosts};
use adxingestor::random::Random;
use adxingestor::state::{CHUNK_QUEUE, CONTROL_QUEUE};
use adxingestor::storage::{Body, Message, Storage, retrying};
use axum::Router;
use axum::body::Body as HttpBody;
use axum::http::Request;
use localcloud::entra::Tokens;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tower::ServiceExt;
use uuid::Uuid;

/// `batchSize` and `newBatchThreshold` of `host.json`.
const BATCH: u32 = 4;
const AT_ONCE: usize = 8;
/// `maxDequeueCount` of `host.json`.
const DELIVERIES: u32 = 10;
/// How long the Functions host hides a message that it handles.
const HIDDEN: Duration = Duration::from_secs(600);
const FIRST_POLL: Duration = Duration::from_millis(100);
const LONGEST_POLL: Duration = Duration::from_secs(2);
/// The schedule of the function `watchdog`.
const WATCH_EVERY: Duration = Duration::from_secs(120);
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Numbers that depend on the seed alone.
pub struct Dice(Mutex<StdRng>);

impl Dice {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(StdRng::seed_from_u64(seed))))
    }
}

impl Random for Dice {
    fn bits(&self) -> u128 {
        self.0.lock().unwrap().random()
    }
}

impl FreshIds for Dice {
    fn fresh(&self) -> Uuid {
        Uuid::from_u128(self.bits())
    }
}

/// What all processes share.
#[derive(Clone)]
pub struct Surroundings {
    pub store: Storage,
    pub cloud: Router,
    pub tokens: Arc<Tokens>,
    pub settings: Arc<BTreeMap<String, String>>,
    pub http: reqwest::Client,
    pub fate: Arc<Fate>,
    pub seen: Arc<Seen>,
    pub clock: Virtual,
    /// How many messages of a thousand are delivered again although their function has succeeded.
    pub repeated: u32,
    /// Whether the timer of the watchdog fires.
    pub watched: bool,
}

/// A process of the app.
pub struct Process {
    pub gate: Arc<Gate>,
    router: Router,
    _host: JoinSet<()>,
}

impl Process {
    /// Starts one with a clock that is `ahead_seconds` wrong.
    pub fn start(name: String, around: &Surroundings, ahead_seconds: i64, seed: u64) -> Self {
        let gate = Gate::new(name, Arc::clone(&around.fate));
        let router = router(app(around, &gate, ahead_seconds, seed));
        let mut host = JoinSet::new();
        let dice = Dice::new(seed ^ 0x4057);
        for (queue, function) in [(CONTROL_QUEUE, "orchestrator"), (CHUNK_QUEUE, "chunk_worker")] {
            let trigger = Trigger {
                queue,
                function,
                around: around.clone(),
                router: router.clone(),
                gate: Arc::clone(&gate),
                dice: Arc::clone(&dice),
            };
            host.spawn(listen(Arc::new(trigger)));
        }
        if around.watched {
            let (router, gate) = (router.clone(), Arc::clone(&gate));
            host.spawn(async move {
                while gate.death().is_none() {
                    tokio::time::sleep(WATCH_EVERY).await;
                    let _ = call(&router, "POST", "/watchdog", &json!({"Data": {"timer": {}}, "Metadata": {}})).await;
                }
            });
        }
        Self { gate, router, _host: host }
    }

    /// An HTTP call of a client; `None` if the process ended before its answer.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        tokio::select! {
            biased;
            answer = call(&self.router, method, path, body) => Some(answer),
            _ = self.gate.died() => None,
        }
    }
}

/// What `adxingestor adopt` says of a table, run by hand beside the processes; `None` if it ended before its end.
pub async fn adopt(around: &Surroundings, name: String, seed: u64, table: &str) -> Option<Result<(), String>> {
    let gate = Gate::new(name, Arc::clone(&around.fate));
    let app = app(around, &gate, 0, seed);
    let adopted = async {
        let row = named(&app, &adoptable(&app).await?, table)?.clone();
        functions::adopt(&app, row, None, false).await
    };
    tokio::select! {
        biased;
        report = adopted => Some(report.map(drop).map_err(|error| error.to_string())),
        _ = gate.died() => None,
    }
}

/// The app as `serve` makes it, on the shared store and cloud.
fn app(around: &Surroundings, gate: &Arc<Gate>, ahead_seconds: i64, seed: u64) -> App {
    let clock = Arc::new(around.clock.skewed(ahead_seconds));
    let storage = through(around.store.clone(), Arc::clone(gate), clock);
    let storage = retrying(storage, Dice::new(seed ^ 0x5704));
    let lookup = |name: &str| around.settings.get(name).cloned();
    let settings = Settings::parse(&lookup).unwrap();
    let identity = Arc::new(Identity(Arc::clone(&around.tokens)));
    let trusted = TrustedHosts::new(settings.trusted_hosts.clone());
    let network = Network { cloud: around.cloud.clone(), gate: Arc::clone(gate), seen: Arc::clone(&around.seen) };
    let outbound = Outbound::new(around.http.clone(), identity, trusted).through(Arc::new(network));
    wired(settings, storage, outbound, Dice::new(seed ^ 0x57a7e), Dice::new(seed ^ 0x1d5))
}

async fn call(router: &Router, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { HttpBody::empty() } else { HttpBody::from(body.to_string()) };
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json").body(body);
    let response = router.clone().oneshot(request.unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), MAX_ANSWER_BYTES).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// The queue trigger of one function.
struct Trigger {
    queue: &'static str,
    function: &'static str,
    around: Surroundings,
    router: Router,
    gate: Arc<Gate>,
    dice: Arc<Dice>,
}

async fn listen(trigger: Arc<Trigger>) {
    let mut running = JoinSet::new();
    let mut wait = FIRST_POLL;
    while trigger.gate.death().is_none() {
        while running.try_join_next().is_some() {}
        if running.len() > AT_ONCE - BATCH as usize {
            running.join_next().await;
            continue;
        }
        let messages = trigger.around.store.queues.receive(trigger.queue, BATCH, HIDDEN).await.unwrap();
        if messages.is_empty() && trigger.around.store.queues.approximate_count(trigger.queue).await.unwrap() == 0 {
            // The host polls on; nothing can come before something is sent.
            trigger.gate.sent_or_dead(trigger.around.fate.sent()).await;
            wait = FIRST_POLL;
        } else if messages.is_empty() {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_POLL);
        } else {
            wait = FIRST_POLL;
        }
        for message in messages {
            running.spawn(deliver(Arc::clone(&trigger), message));
        }
    }
    // The rest end as the process did.
    while running.join_next().await.is_some() {}
}

async fn deliver(trigger: Arc<Trigger>, message: Message) {
    let Body::Bytes(body) = &message.body else { panic!("{message:?}") };
    let text = String::from_utf8_lossy(body).into_owned();
    let metadata = json!({"Id": message.id, "DequeueCount": message.dequeue_count});
    let envelope = json!({"Data": {"message": text}, "Metadata": metadata});
    let path = format!("/{}", trigger.function);
    // A process that stands still renews no lease: another one gets its messages while its functions are still at them.
    let lost = async {
        trigger.gate.stands_still().await;
        let _ = trigger.around.store.queues.extend(trigger.queue, &message.id, &message.receipt, Duration::ZERO).await;
        std::future::pending().await
    };
    let fate = &trigger.around.fate;
    // The permit of a window is another one each time.
    let mut about = text.as_str();
    for field in [",\"permit\"", ",\"turn\""] {
        about = about.split_once(field).map_or(about, |(about, _)| about);
    }
    trigger.gate.begins(about);
    let done = tokio::select! {
        biased;
        death = trigger.gate.died() => match death {
            Death::Handler => false,
            // Nobody gives the message back.
            Death::Host => return,
        },
        (status, _) = call(&trigger.router, "POST", &path, &envelope) => status == 200,
        () = lost => false,
    };
    trigger.gate.ends(about);
    let queues = &trigger.around.store.queues;
    fate.note(|| format!("{} {} of {text} ended: {done}", trigger.function, message.dequeue_count));
    if done && trigger.dice.bits() % 1000 >= u128::from(trigger.around.repeated) {
        let _ = queues.delete(trigger.queue, &message.id, &message.receipt).await;
    } else if !done && message.dequeue_count >= DELIVERIES {
        let poison = format!("{}-poison", trigger.queue);
        queues.send(&poison, body, Duration::ZERO).await.unwrap();
        let _ = queues.delete(trigger.queue, &message.id, &message.receipt).await;
    } else {
        let _ = queues.extend(trigger.queue, &message.id, &message.receipt, Duration::ZERO).await;
    }
}
