//! `/livez` and `/readyz`: what a service manager or container runtime is told, and what it costs the state store.

use crate::app::{App, Running, http_function};
use crate::eventually;
use crate::handler::{Handler, json};
use crate::http::{Answer, get, post};
use adxingestor::storage::{BlobStore, Error, Storage, memory};
use adxingestor::timestamp::SystemClock;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const OK: &str = r#"{"Outputs":{}}"#;
const SECRET: &str = "account-name-and-all";

/// Blobs that refuse while they are told to, and count the looks.
struct Refusing {
    inner: Arc<dyn BlobStore>,
    refuse: AtomicBool,
    looks: AtomicUsize,
}

impl Refusing {
    fn new(refuse: bool) -> (Arc<Self>, Storage) {
        let storage = memory(Arc::new(SystemClock));
        let inner = Arc::clone(&storage.blobs);
        let blobs = Arc::new(Self { inner, refuse: refuse.into(), looks: AtomicUsize::new(0) });
        (Arc::clone(&blobs), Storage { blobs, ..storage })
    }
}

#[async_trait]
impl BlobStore for Refusing {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        self.inner.put(name, content).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        if name != "adxingestor-probe" {
            return self.inner.get(name).await;
        }
        self.looks.fetch_add(1, Ordering::SeqCst);
        if self.refuse.load(Ordering::SeqCst) { Err(Error::Fatal(SECRET.into())) } else { self.inner.get(name).await }
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        self.inner.delete(name).await
    }
}

fn told(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body.trim_end())
}

async fn until(app: &Running, path: &str, status: u16, reason: &str) {
    eventually(&format!("{path}: {status} {reason}"), async || told(&get(&app.url, path).await) == (status, reason))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_in_order_is_alive_and_ready_for_callers_without_a_key() {
    let app = App::new().function("x", http_function()).keys(r#"{"master":"m"}"#).start(&Handler::always(OK)).await;
    until(&app, "/readyz", 200, "ok").await;
    let answer = get(&app.url, "/livez").await;
    assert_eq!(told(&answer), (200, "ok"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(get(&app.url, "/api/x").await.status, 401);
    assert_eq!(post(&app.url, "/livez", "").await.status, 404, "only GET");
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_starting_handler_is_alive_but_not_ready() {
    let handler = Handler::always(OK);
    *handler.listens_after.lock().unwrap() = None;
    let app = App::new().function("x", http_function()).scale(1.0).start(&handler).await;
    assert_eq!(told(&get(&app.url, "/livez").await), (200, "ok"));
    assert_eq!(told(&get(&app.url, "/readyz").await), (503, "the handler is starting"));
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_ended_for_good_is_not_alive() {
    let handler = Handler::always(OK);
    let app = App::new().function("x", http_function()).start(&handler).await;
    until(&app, "/livez", 200, "ok").await;
    until(&app, "/readyz", 200, "ok").await;
    // The host goes on dialling its port, so nothing but a new start of the whole helps.
    handler.exit(0);
    until(&app, "/livez", 503, "the handler does not answer").await;
    until(&app, "/readyz", 503, "the handler does not answer").await;
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_look_at_the_store_is_not_ready_and_told_without_its_text() {
    let (store, storage) = Refusing::new(true);
    let mut app = App::new().function("x", http_function());
    app.storage = storage;
    let app = app.start(&Handler::always(OK)).await;
    until(&app, "/readyz", 503, "the state store refused a look; the log says why").await;
    assert_eq!(get(&app.url, "/livez").await.status, 200, "a new start would not help");
    assert!(app.lines.contain(&format!(
        "not ready: the state store refused a look; the log says why: the storage service refused: {SECRET}"
    )));
    store.refuse.store(false, Ordering::SeqCst);
    until(&app, "/readyz", 200, "ok").await;
    assert!(app.lines.contain("ready again"));
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_cost_the_store_one_look() {
    let (store, storage) = Refusing::new(false);
    let mut app = App::new().function("x", http_function()).scale(1.0);
    app.storage = storage;
    let app = app.start(&Handler::always(OK)).await;
    until(&app, "/readyz", 200, "ok").await;
    let url = &app.url;
    let calls = (0..50).map(|_| async move { get(url, "/readyz").await.status });
    let statuses = futures_util::future::join_all(calls).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(store.looks.load(Ordering::SeqCst), 1);
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_with_that_route_comes_first() {
    let mut function = http_function();
    function["bindings"][0]["route"] = "livez".into();
    let handler = Handler::new(|_| async { json(r#"{"Outputs":{"res":{"body":"mine"}}}"#) });
    let app = App::new()
        .function("x", function)
        .host(&["extensions", "http"], serde_json::json!({"routePrefix": ""}))
        .start(&handler)
        .await;
    assert_eq!(get(&app.url, "/livez").await.body, "mine");
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_without_an_answer_ends() {
    struct Silent;

    #[async_trait]
    impl BlobStore for Silent {
        async fn put(&self, _: &str, _: Bytes) -> Result<(), Error> {
            std::future::pending().await
        }
        async fn get(&self, _: &str) -> Result<Option<Bytes>, Error> {
            std::future::pending().await
        }
        async fn delete(&self, _: &str) -> Result<(), Error> {
            std::future::pending().await
        }
    }

    let mut app = App::new().function("x", http_function());
    app.storage = Storage { blobs: Arc::new(Silent), ..app.storage };
    let app = app.start(&Handler::always(OK)).await;
    // A starting handler is alive: a call waits until it is there.
    assert_eq!(get(&app.url, "/api/x").await.status, 200);
    let looked = tokio::time::timeout(Duration::from_secs(14), get(&app.url, "/readyz")).await.unwrap();
    assert_eq!(told(&looked), (503, "the state store cannot be reached; the log says why"));
    app.host.stop().await;
}
