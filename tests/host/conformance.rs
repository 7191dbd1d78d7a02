//! The embedded Functions host against the behaviour of the real one: processes, HTTP, queues and timers, seen from the
//! handler, the caller and the storage. Times are shrunk by the host's time scale.

use crate::app::{App, Running, http_function, queue_function, timer_function};
use crate::handler::{Call, Handler, json};
use crate::http::{get, post, raw, send};
use crate::process::{PLAYER, ROLE, arguments, program};
use crate::{PATIENCE, eventually};
use adxingestor::host::{Error, Host, Level, ProcessLauncher, Settings, StandardOutput, Stopped};
use adxingestor::random::SystemRandom;
use adxingestor::storage::{Body, Message, MessageQueue, Receipt, Storage, memory};
use adxingestor::timestamp::SystemClock;
use async_trait::async_trait;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const OK: &str = r#"{"Outputs":{}}"#;

/// An app with one HTTP function, passed on or in an envelope.
fn http_app(forwarding: bool) -> App {
    App::new().function("x", http_function()).host(&["customHandler", "enableForwardingHttpRequest"], forwarding.into())
}

/// An app whose handler is this executable in the role `role`.
fn process_app(role: &str) -> App {
    let mut app = http_app(true).scale(10.0);
    app.program = program();
    app.environment = vec![(ROLE.to_owned(), role.to_owned())];
    let mut function = http_function();
    function["bindings"][0]["route"] = json!("{*rest}");
    app.host(&["customHandler", "description", "arguments"], arguments().to_vec().into()).function("all", function)
}

async fn start_process(app: App) -> Running {
    app.start_with(Arc::new(ProcessLauncher::new(Vec::new()).unwrap())).await
}

/// The calls that a handler got of a function on the queue `jobs` that was sent `text`.
async fn deliver(text: &str) -> Call {
    let handler = Handler::always(OK);
    let app = App::new().function("Worker", queue_function()).start(&handler).await;
    app.put("jobs", text).await;
    app.until_empty("jobs").await;
    app.host.stop().await;
    assert_eq!(handler.call_count(), 1);
    handler.calls().remove(0)
}

/// What arrives on the queue `results` when the output `out` has this value.
async fn output(value: &'static str, count: usize) -> Vec<Vec<u8>> {
    let handler = Handler::new(move |_| async move { json(format!(r#"{{"Outputs":{{"out":{value}}}}}"#)) });
    let app = App::new().function("Worker", queue_function()).start(&handler).await;
    app.put("jobs", "go").await;
    app.until_empty("jobs").await;
    assert_eq!(app.count("results").await, count as u64);
    let mut messages = Vec::new();
    for _ in 0..count {
        messages.push(app.next_bytes("results").await);
    }
    app.host.stop().await;
    messages
}

// Processes.

#[test]
fn the_process_plays_the_role_it_was_given() {
    assert_eq!(PLAYER, "conformance::the_process_plays_the_role_it_was_given");
    crate::process::play();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_waits_for_the_handler_and_gets_through_soon_after_it_listens() {
    let handler = Handler::always(OK);
    *handler.listens_after.lock().unwrap() = Some(Duration::from_millis(300));
    let app = http_app(false).scale(10.0).start(&handler).await;
    let answer = get(&app.url, "/api/x").await;
    assert_eq!(answer.status, 200);
    let waited = handler.calls()[0].at.duration_since(handler.listening_since.lock().unwrap().unwrap());
    // One probe takes 25 ms; the rest is for a busy machine.
    assert!(waited < Duration::from_millis(500), "{waited:?}");
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_never_listens_counts_as_crashed() {
    let handler = Handler::always(OK);
    *handler.listens_after.lock().unwrap() = None;
    let mut app = http_app(false).start(&handler).await;
    let Stopped::HandlerFailed { reasons } = app.host.stopped().await else { panic!() };
    assert_eq!(reasons.len(), 3);
    assert!(reasons.iter().all(|reason| reason.contains("did not answer on 127.0.0.1")), "{reasons:?}");
    assert_eq!(handler.launch_count(), 3);
    let answer = get(&app.url, "/api/x").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "Function host is not running."));
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_third_crash_ends_the_host_and_the_output_is_relayed() {
    let mut app = start_process(process_app("crashing handler")).await;
    let stopped = app.host.stopped().await;
    assert_eq!(stopped, Stopped::HandlerFailed { reasons: vec!["exit code 1".to_owned(); 3] });
    let level = |text: &str| app.lines.all().into_iter().find(|line| line.text == text).map(|line| line.level);
    assert_eq!(level("about to crash"), Some(Level::Information));
    assert_eq!(level("a Warning first"), Some(Level::Warning));
    assert_eq!(level("then a failure"), Some(Level::Error));
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_code_200_restarts_any_number_of_times_and_exit_code_0_never() {
    let app = start_process(process_app("handler")).await;
    let mut pids = std::collections::BTreeSet::new();
    for _ in 0..4 {
        pids.insert(get(&app.url, "/api/pid").await.body);
        assert_eq!(get(&app.url, "/api/exit/200").await.status, 500);
        // The end of the process may be seen after the end of its connection.
        let asked = pids.len();
        eventually("a restart", async || {
            let restarts = app.lines.all().iter().filter(|line| line.text.contains("asked for a restart")).count();
            restarts == asked
        })
        .await;
    }
    assert_eq!(get(&app.url, "/api/environment/EXTRA").await.body, "extra");
    assert_eq!(pids.len(), 4);
    assert_eq!(get(&app.url, "/api/exit/0").await.status, 500);
    eventually("the end", async || app.lines.contain("is not started again")).await;
    assert_eq!(get(&app.url, "/api/pid").await.status, 500);
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handler_gets_the_documented_environment() {
    let app = start_process(process_app("handler")).await;
    let mut values = Vec::new();
    for name in [
        "FUNCTIONS_CUSTOMHANDLER_PORT",
        "FUNCTIONS_HTTPWORKER_PORT",
        "FUNCTIONS_APP_ROOT_PATH",
        "directory",
        "FUNCTIONS_CUSTOMHANDLER_WORKER_ID",
        "FUNCTIONS_HTTPWORKER_ID",
        "AZURE_FUNCTIONS_ENVIRONMENT",
        ROLE,
    ] {
        values.push(get(&app.url, &format!("/api/environment/{name}")).await.body);
    }
    let root = app.root.path().display().to_string();
    assert_eq!(values[0], values[1]);
    assert!(values[0].parse::<u16>().is_ok(), "{}", values[0]);
    assert_eq!(values[2..4], [root.clone(), root]);
    assert_eq!(values[4], values[5]);
    assert_eq!(values[4].len(), 36);
    assert_eq!(values[6..], ["Development", "handler"]);
    app.host.stop().await;
}

#[cfg(target_os = "linux")]
async fn until_gone(pid: &str) {
    let status = format!("/proc/{pid}/status");
    eventually("the end of the handler", async || {
        // One that is dead but not yet waited for counts as gone.
        std::fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"))
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_the_host_kills_the_handler_and_its_message_comes_back() {
    let app = start_process(process_app("handler").scale(50.0).function("Worker", queue_function())).await;
    let pid = get(&app.url, "/api/pid").await.body;
    app.put("jobs", "hangs").await;
    eventually("a delivery", async || app.lines.contain("asked for /Worker")).await;
    let storage = app.storage.clone();
    app.host.stop().await;
    until_gone(&pid).await;
    let message = storage.queues.receive("jobs", 1, Duration::from_secs(1)).await.unwrap().pop().unwrap();
    assert_eq!(message.body, Body::Bytes("hangs".into()));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handler_dies_with_a_killed_host() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let mut host = tokio::process::Command::new(program())
        .args(arguments())
        .env(ROLE, "host")
        .env("PID_FILE", &file)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually("the handler's start", async || std::fs::read_to_string(&file).is_ok_and(|pid| !pid.is_empty())).await;
    let pid = std::fs::read_to_string(&file).unwrap();
    host.kill().await.unwrap();
    until_gone(&pid).await;
}

// Queues: the envelope.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_message_arrives_encoded_twice_with_its_metadata() {
    let call = deliver("hi").await;
    assert_eq!((call.method.as_str(), call.uri.as_str()), ("POST", "/Worker"));
    let body = call.json();
    assert_eq!(body["Data"], json!({"msg": "\"hi\""}));
    assert_eq!(body["Metadata"]["DequeueCount"], "1");
    assert_eq!(body["Metadata"]["ExpirationTime"], "9999-12-31T23:59:59+00:00");
    assert_eq!(body["Metadata"]["sys"]["MethodName"], "Worker");
    let names: Vec<&String> = body["Metadata"].as_object().unwrap().keys().collect();
    let known = ["DequeueCount", "ExpirationTime", "Id", "InsertionTime", "NextVisibleTime", "PopReceipt", "sys"];
    assert_eq!(names, known);
    assert_eq!(call.header("content-type").unwrap(), "application/json; charset=utf-8");
    assert_eq!(call.header("transfer-encoding").unwrap(), "chunked");
    assert_eq!(call.header("user-agent").unwrap(), "Azure-Functions-Host/4.1036.1.1");
    assert_eq!(call.header("x-azure-functions-hostversion").unwrap(), "4.1036.1.1");
    assert!(call.header("accept").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_an_object_message_are_added_to_the_metadata() {
    assert_eq!(deliver(r#"{"n":2,"myTrigger":1}"#).await.metadata("n"), "\"2\"");
    let call = deliver(r#"{"id":"x"}"#).await;
    assert_eq!((call.metadata("Id"), call.metadata("id")), (json!("\"x\""), Value::Null));
    let call = deliver("[1,2]").await;
    assert_eq!(call.json()["Metadata"].as_object().unwrap().len(), 7);
    let metadata = deliver(r#"{"aTRIGGER":1,"queueTrigger":"x"}"#).await.json()["Metadata"].clone();
    assert!(metadata.as_object().unwrap().keys().all(|name| !name.to_lowercase().ends_with("trigger")));
}

// Queues: the listener.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_not_base64_goes_to_the_poison_queue_as_it_is() {
    let handler = Handler::always(OK);
    let app = App::new().function("Worker", queue_function()).start(&handler).await;
    app.storage.queues.send_foreign("jobs", "no base64!").await.unwrap();
    app.until_empty("jobs").await;
    assert_eq!(app.next_message("jobs-poison").await.body, Body::Foreign("no base64!".to_owned()));
    assert_eq!(handler.call_count(), 0);
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fifth_failure_moves_a_message_to_the_poison_queue() {
    let handler = Handler::new(|_| async { StatusCode::INTERNAL_SERVER_ERROR.into_response() });
    let app = App::new().function("Worker", queue_function()).start(&handler).await;
    app.put("jobs", "poisonous").await;
    assert_eq!(app.next_text("jobs-poison").await, "poisonous");
    app.until_empty("jobs").await;
    let counts: Vec<Value> = handler.calls().iter().map(|call| call.metadata("DequeueCount")).collect();
    assert_eq!(counts, ["1", "2", "3", "4", "5"]);
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_message_waits_for_the_visibility_timeout() {
    let handler = Handler::new(|_| async { StatusCode::INTERNAL_SERVER_ERROR.into_response() });
    let app = App::new()
        .function("Worker", queue_function())
        .scale(100.0)
        .host(&["extensions", "queues", "visibilityTimeout"], "00:00:30".into())
        .start(&handler)
        .await;
    app.put("jobs", "again").await;
    eventually("a second delivery", async || handler.call_count() >= 2).await;
    let calls = handler.calls();
    let waited = calls[1].at.duration_since(calls[0].at);
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_a_poison_queue_stays_hidden_after_a_failure() {
    let handler = Handler::new(|_| async { StatusCode::INTERNAL_SERVER_ERROR.into_response() });
    let mut function = queue_function();
    function["bindings"][0]["queueName"] = "jobs-poison".into();
    let app = App::new()
        .function("Worker", function)
        .scale(2000.0)
        .host(&["customHandler", "initializationTimeout"], "02:00:00".into())
        .start(&handler)
        .await;
    app.put("jobs-poison", "again").await;
    // Ten minutes at this scale are 300 ms.
    eventually("a second delivery", async || handler.call_count() >= 2).await;
    let calls = handler.calls();
    assert!(calls[1].at.duration_since(calls[0].at) >= Duration::from_millis(250));
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_answer_hangs_until_the_timeout_which_restarts_the_handler() {
    let asked = AtomicUsize::new(0);
    let handler = Handler::new(move |_| {
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { StatusCode::OK.into_response() } else { json(OK) } }
    });
    let app = App::new()
        .function("Worker", queue_function())
        .host(&["functionTimeout"], "00:05:00".into())
        .start(&handler)
        .await;
    app.put("jobs", "hang").await;
    app.until_empty("jobs").await;
    let calls = handler.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls[1].at.duration_since(calls[0].at) >= Duration::from_millis(500));
    assert_eq!((calls[1].metadata("DequeueCount"), handler.launch_count()), (json!("2"), 2));
    assert!(app.lines.contain("timeout value of 300s exceeded"));
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_fails_every_other_call_in_flight() {
    let handler = Handler::new(|_| async { std::future::pending().await });
    let app = http_app(true).host(&["functionTimeout"], "00:05:00".into()).start(&handler).await;
    let url = app.url.clone();
    let first = tokio::spawn(async move { get(&url, "/api/x").await });
    eventually("the first call", async || handler.call_count() == 1).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    let started = Instant::now();
    assert_eq!(get(&app.url, "/api/x").await.status, 500);
    assert_eq!(first.await.unwrap().status, 500);
    // Its own time would have been 500 ms.
    assert!(started.elapsed() < Duration::from_millis(450), "{:?}", started.elapsed());
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_a_batch_and_the_threshold_are_in_flight() {
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (inside, highest) = (now.clone(), most.clone());
    let handler = Handler::new(move |call: Call| {
        let (now, most) = (inside.clone(), highest.clone());
        // They end one by one, so that the next batch comes while half of the one before runs.
        let number: u64 = call.json()["Data"]["msg"].as_str().unwrap().trim_matches('"').parse().unwrap();
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20 + 20 * (number % 16))).await;
            now.fetch_sub(1, Ordering::SeqCst);
            json(OK)
        }
    });
    let queues = json!({"batchSize": 16, "newBatchThreshold": 8});
    let app = App::new().function("Worker", queue_function()).host(&["extensions", "queues"], queues).scale(20.0);
    for index in 0..40 {
        app.storage.queues.send("jobs", format!("{index}").as_bytes(), Duration::ZERO).await.unwrap();
    }
    let app = app.start(&handler).await;
    app.until_empty("jobs").await;
    assert_eq!(handler.call_count(), 40);
    let most = most.load(Ordering::SeqCst);
    assert!((17..=24).contains(&most), "{most}");
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_stays_hidden_while_its_call_runs_longer_than_ten_minutes() {
    let handler = Handler::new(|_| async {
        tokio::time::sleep(Duration::from_secs(12 * 60) / 300).await;
        json(OK)
    });
    let app = App::new().function("Worker", queue_function()).scale(300.0).start(&handler).await;
    app.put("jobs", "long").await;
    app.until_empty("jobs").await;
    // The message was still the listener's own, or the deletion would have failed and it would come again.
    assert_eq!(handler.call_count(), 1);
    app.host.stop().await;
}

/// Remembers when a queue was polled.
struct Watched {
    inner: Arc<dyn MessageQueue>,
    polls: Mutex<Vec<Instant>>,
}

#[async_trait]
impl MessageQueue for Watched {
    async fn send(&self, queue: &str, body: &[u8], delay: Duration) -> Result<(), adxingestor::storage::Error> {
        self.inner.send(queue, body, delay).await
    }

    async fn send_foreign(&self, queue: &str, text: &str) -> Result<(), adxingestor::storage::Error> {
        self.inner.send_foreign(queue, text).await
    }

    async fn receive(
        &self,
        queue: &str,
        max: u32,
        hide: Duration,
    ) -> Result<Vec<Message>, adxingestor::storage::Error> {
        self.polls.lock().unwrap().push(Instant::now());
        self.inner.receive(queue, max, hide).await
    }

    async fn extend(
        &self,
        queue: &str,
        id: &str,
        receipt: &Receipt,
        hide: Duration,
    ) -> Result<Receipt, adxingestor::storage::Error> {
        self.inner.extend(queue, id, receipt, hide).await
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &Receipt) -> Result<(), adxingestor::storage::Error> {
        self.inner.delete(queue, id, receipt).await
    }

    async fn approximate_count(&self, queue: &str) -> Result<u64, adxingestor::storage::Error> {
        self.inner.approximate_count(queue).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_queue_is_polled_less_and_less_until_a_message_comes() {
    let handler = Handler::always(OK);
    let mut app = App::new()
        .function("Worker", queue_function())
        .scale(5.0)
        .host(&["extensions", "queues", "maxPollingInterval"], "00:00:02".into());
    let watched = Arc::new(Watched { inner: app.storage.queues.clone(), polls: Mutex::default() });
    app.storage = Storage { queues: watched.clone(), ..app.storage };
    let app = app.start(&handler).await;
    let polls = || watched.polls.lock().unwrap().clone();
    eventually("ten polls", async || polls().len() >= 10).await;
    let gaps: Vec<Duration> = polls().windows(2).map(|pair| pair[1] - pair[0]).collect();
    // A fifth of 100 ms, then of 100 ms + 2^(n-1) * 80 ms at least, and of two seconds at the end.
    for (gap, least) in gaps.iter().zip([20, 36, 52, 84, 148, 276, 400, 400, 400]) {
        assert!(*gap >= Duration::from_millis(least), "{gaps:?}");
    }
    assert!(gaps[0] < Duration::from_millis(300), "{gaps:?}");
    app.put("jobs", "wake up").await;
    app.until_empty("jobs").await;
    let before = polls().len();
    eventually("two polls", async || polls().len() >= before + 2).await;
    let gap = polls()[before + 1] - polls()[before];
    assert!(gap < Duration::from_millis(300), "{gap:?}");
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_wakes_the_listener_of_its_queue() {
    let handler = Handler::always(r#"{"Outputs":{"out":["next"]}}"#);
    let mut function = http_function();
    let queue = json!({"type": "queue", "name": "out", "direction": "out", "queueName": "jobs"});
    function["bindings"].as_array_mut().unwrap().push(queue);
    let mut app = App::new()
        .function("x", function)
        .function("Worker", queue_function())
        .scale(5.0)
        .host(&["extensions", "queues", "maxPollingInterval"], "00:10:00".into());
    let watched = Arc::new(Watched { inner: app.storage.queues.clone(), polls: Mutex::default() });
    app.storage = Storage { queues: watched.clone(), ..app.storage };
    let app = app.start(&handler).await;
    eventually("eight polls", async || watched.polls.lock().unwrap().len() >= 8).await;
    // By itself the listener would wait for another second at least.
    let asked = Instant::now();
    get(&app.url, "/api/x").await;
    app.until_empty("jobs").await;
    assert!(asked.elapsed() < Duration::from_millis(700), "{:?}", asked.elapsed());
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_host_lets_a_running_call_end() {
    let handler = Handler::new(|_| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        json(OK)
    });
    let app = App::new().function("Worker", queue_function()).scale(2.0).start(&handler).await;
    app.put("jobs", "short").await;
    eventually("a call", async || handler.call_count() == 1).await;
    let storage = app.storage.clone();
    app.host.stop().await;
    assert_eq!(storage.queues.approximate_count("jobs").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_encoding_messages_are_texts() {
    let handler = Handler::always(r#"{"Outputs":{"out":["no base64!"]}}"#);
    let app = App::new()
        .function("Worker", queue_function())
        .host(&["extensions", "queues", "messageEncoding"], "none".into())
        .start(&handler)
        .await;
    for text in ["plain text", "test"] {
        app.storage.queues.send_foreign("jobs", text).await.unwrap();
    }
    app.until_empty("jobs").await;
    let mut seen: Vec<Value> = handler.calls().iter().map(|call| call.json()["Data"]["msg"].clone()).collect();
    seen.sort_by_key(Value::to_string);
    assert_eq!(seen, ["\"plain text\"", "\"test\""]);
    assert_eq!(app.next_message("results").await.body, Body::Foreign("no base64!".to_owned()));
    app.host.stop().await;
}

// Queues: outputs.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_output_is_decoded_as_base64_where_it_can_be() {
    assert_eq!(output(r#""test""#, 1).await, [[0xb5, 0xeb, 0x2d]]);
    assert_eq!(output(r#"["test"]"#, 1).await, [b"test"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_output_is_indented_and_a_list_is_a_message_per_element() {
    assert_eq!(output(r#"{"a":1}"#, 1).await, [b"{\n  \"a\": 1\n}"]);
    assert_eq!(output(r#""[1,2]""#, 2).await, [b"1", b"2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_cannot_be_written_fails_the_call() {
    let handler = Handler::always(r#"{"Outputs":{"out":"{broken}"}}"#);
    let app = App::new().function("Worker", queue_function()).start(&handler).await;
    app.put("jobs", "go").await;
    assert_eq!(app.next_text("jobs-poison").await, "go");
    assert_eq!(handler.call_count(), 5);
    app.host.stop().await;
}

// Timers.

/// Where the host keeps the status of the timer `Tick`.
const STATUS: &str = "azure-webjobs-hosts/timers/Tick/status";
/// One by which an occurrence was missed.
const MISSED: &str = r#"{"Last":"2026-01-01T02:00:00.0021+00:00","Next":"2026-01-02T02:00:00+00:00","LastUpdated":"2026-01-01T02:00:00.0021+00:00"}"#;

async fn status(app: &Running) -> Option<Value> {
    let blob = app.storage.blobs.get(STATUS).await.unwrap()?;
    Some(serde_json::from_slice(&blob).unwrap())
}

/// Waits until the missed occurrence is made up for.
async fn the_status_moves(app: &Running) {
    let moved = async || status(app).await.is_some_and(|status| status["Next"] != "2026-01-02T02:00:00+00:00");
    eventually("the status moves", moved).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missed_occurrence_fires_once_at_the_start() {
    let handler = Handler::always(OK);
    let app = App::new().function("Tick", timer_function("0 0 2 * * *")).scale(1.0);
    app.storage.blobs.put(STATUS, MISSED.into()).await.unwrap();
    let app = app.start(&handler).await;
    the_status_moves(&app).await;
    app.host.stop().await;
    assert_eq!(handler.call_count(), 1);
    let body = handler.calls()[0].json();
    let expected = json!({"timer": {
        "Schedule": {"AdjustForDST": true},
        "ScheduleStatus": serde_json::from_str::<Value>(MISSED).unwrap(),
        "IsPastDue": true}});
    assert_eq!(body["Data"], expected);
    assert_eq!(body["Metadata"].as_object().unwrap().keys().collect::<Vec<_>>(), ["sys"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_below_a_minute_has_no_status() {
    let handler = Handler::always(OK);
    let app = App::new().function("Tick", timer_function("*/30 * * * * *")).start(&handler).await;
    eventually("a call", async || handler.call_count() >= 1).await;
    let data = handler.calls()[0].json()["Data"]["timer"].clone();
    assert_eq!((&data["ScheduleStatus"], &data["IsPastDue"]), (&Value::Null, &Value::Bool(false)));
    assert!(status(&app).await.is_none());
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_timer_fires_again_and_its_status_advances() {
    let handler = Handler::new(|_| async { StatusCode::INTERNAL_SERVER_ERROR.into_response() });
    let app = App::new()
        .function("Tick", timer_function("0 */5 * * * *"))
        .scale(3000.0)
        .host(&["customHandler", "initializationTimeout"], "02:00:00".into())
        .start(&handler)
        .await;
    eventually("a status", async || status(&app).await.is_some()).await;
    let first = status(&app).await.unwrap();
    eventually("two calls", async || handler.call_count() >= 2).await;
    eventually("a newer status", async || status(&app).await.unwrap()["Next"] != first["Next"]).await;
    let next = |call: &Call| call.json()["Data"]["timer"]["ScheduleStatus"]["Next"].clone();
    let calls = handler.calls();
    assert_eq!(next(&calls[0]), first["Next"]);
    assert_ne!(next(&calls[1]), first["Next"]);
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_with_a_retry_policy_is_called_again_before_its_status_moves() {
    let calls = Arc::new(AtomicUsize::new(0));
    let handler = Handler::new(move |_| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move { if call < 2 { StatusCode::INTERNAL_SERVER_ERROR.into_response() } else { json(OK) } }
    });
    let mut function = timer_function("0 0 2 * * *");
    function["retry"] = json!({"strategy": "fixedDelay", "maxRetryCount": 5, "delayInterval": "00:00:30"});
    let app = App::new().function("Tick", function).scale(60.0);
    app.storage.blobs.put(STATUS, MISSED.into()).await.unwrap();
    let app = app.start(&handler).await;
    the_status_moves(&app).await;
    app.host.stop().await;
    let calls: Vec<Value> = handler.calls().iter().map(Call::json).collect();
    let told: Vec<&Value> = calls.iter().map(|call| &call["Metadata"]["RetryContext"]["RetryCount"]).collect();
    assert_eq!(told, [0, 1, 2]);
    assert!(calls.iter().all(|call| call["Data"] == calls[0]["Data"]), "{calls:#?}");
    assert_eq!(calls[0]["Metadata"]["RetryContext"], json!({"RetryCount": 0, "MaxRetryCount": 5, "Exception": null}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_stops_before_a_retry_leaves_the_timer_past_due() {
    let handler = Handler::new(|_| async { StatusCode::INTERNAL_SERVER_ERROR.into_response() });
    let mut function = timer_function("0 0 2 * * *");
    function["retry"] = json!({"strategy": "fixedDelay", "maxRetryCount": -1, "delayInterval": "01:00:00"});
    let app = App::new().function("Tick", function).scale(1.0);
    let blobs = app.storage.blobs.clone();
    blobs.put(STATUS, MISSED.into()).await.unwrap();
    let app = app.start(&handler).await;
    eventually("a call", async || handler.call_count() == 1).await;
    app.host.stop().await;
    let left = blobs.get(STATUS).await.unwrap().unwrap();
    assert_eq!((handler.call_count(), left.as_ref()), (1, MISSED.as_bytes()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_on_startup_fires_once_at_the_start() {
    let handler = Handler::always(OK);
    let mut function = timer_function("0 0 2 * * *");
    function["bindings"][0]["runOnStartup"] = true.into();
    let app = App::new().function("Tick", function).scale(1.0).start(&handler).await;
    eventually("a call", async || handler.call_count() == 1).await;
    assert_eq!(handler.calls()[0].json()["Data"]["timer"]["IsPastDue"], false);
    app.host.stop().await;
}

// HTTP.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_routes_and_wrong_methods_are_not_found_and_the_home_page_is() {
    let handler = Handler::always(OK);
    let app = http_app(false).start(&handler).await;
    assert_eq!(get(&app.url, "/api/nope").await.status, 404);
    assert_eq!(send(&app.url, "DELETE", "/api/x", &[], None).await.status, 404);
    assert_eq!(get(&app.url, "/").await.status, 200);
    assert_eq!(get(&app.url, "/API/X").await.status, 200);
    assert_eq!(handler.call_count(), 1);
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_asked_for_where_there_are_any() {
    let handler = Handler::always(OK);
    let keys = r#"{"master":"m","host":{"default":"h"},"functions":{"x":{"default":"f"}}}"#;
    let app = http_app(false).keys(keys).start(&handler).await;
    let refused = get(&app.url, "/api/x").await;
    assert_eq!((refused.status, refused.body.as_str()), (401, ""));
    assert_eq!(get(&app.url, "/api/x?code=wrong").await.status, 401);
    assert_eq!(get(&app.url, "/api/x?code=f").await.status, 200);
    assert_eq!(send(&app.url, "GET", "/api/x?code=wrong", &[("x-functions-key", "h")], None).await.status, 200);
    assert_eq!(post(&app.url, "/admin/functions/x?code=h", "").await.status, 401);
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_pages_of_other_sites_are_refused_and_with_keys_these_decide() {
    let handler = Handler::always(OK);
    let from = [("Origin", "https://evil.example")];
    let app = http_app(false).start(&handler).await;
    for (method, path) in [("POST", "/api/x"), ("POST", "/admin/functions/x"), ("GET", "/")] {
        let refused = send(&app.url, method, path, &from, None).await;
        assert_eq!(refused.status, 403, "{path}");
        assert!(refused.body.contains("--keys"), "{}", refused.body);
    }
    assert_eq!(handler.call_count(), 0);
    app.host.stop().await;
    let app = http_app(false).keys(r#"{"master":"m"}"#).start(&handler).await;
    assert_eq!(send(&app.url, "POST", "/api/x?code=m", &from, None).await.status, 200);
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handlers_500_is_empty_from_an_envelope_and_itself_when_passed_on() {
    let fails = || Handler::new(|_| async { (StatusCode::INTERNAL_SERVER_ERROR, "why").into_response() });
    let app = http_app(false).start(&fails()).await;
    let answer = get(&app.url, "/api/x").await;
    assert_eq!((answer.status, answer.body.as_str()), (500, ""));
    app.host.stop().await;
    let app = http_app(true).start(&fails()).await;
    let answer = get(&app.url, "/api/x").await;
    assert_eq!((answer.status, answer.body.as_str()), (500, "why"));
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_passed_on_with_its_path_headers_and_body() {
    let handler = Handler::new(|_| async {
        (StatusCode::FOUND, [("location", "/elsewhere"), ("x-mine", "1")], "there").into_response()
    });
    let app = http_app(true).start(&handler).await;
    let headers =
        [("User-Agent", "tester/1"), ("Content-Type", "text/plain"), ("Content-Encoding", "gzip"), ("X-A", "b")];
    let answer = send(&app.url, "POST", "/api/x?a=1&a=2&b=x%26y", &headers, Some("text")).await;
    assert_eq!((answer.status, answer.body.as_str()), (302, "there"));
    assert_eq!((answer.header("location"), answer.header("x-mine")), (Some("/elsewhere"), Some("1")));
    let call = &handler.calls()[0];
    assert_eq!((call.method.as_str(), call.uri.as_str()), ("POST", "/api/x?a=1,2&b=x%26y"));
    assert_eq!(call.body, "text");
    let header = |name: &str| call.header(name);
    assert_eq!(header("host").as_deref(), Some("example.test:99"));
    assert_eq!(header("user-agent").as_deref(), Some("tester/1 Azure-Functions-Host/4.1036.1.1"));
    assert_eq!(header("x-azure-functions-invocationid").map(|id| id.len()), Some(36));
    assert_eq!((header("x-a").as_deref(), header("content-type").as_deref()), (Some("b"), Some("text/plain")));
    assert_eq!((header("content-length").as_deref(), header("content-encoding")), (Some("4"), None));
    assert!(header("accept").is_none());
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_binding_means_an_envelope_although_requests_are_passed_on() {
    let handler = Handler::always(r#"{"Outputs":{"res":{"body":"ok"},"out":["m"]}}"#);
    let mut function = http_function();
    let queue = json!({"type": "queue", "name": "out", "direction": "out", "queueName": "results"});
    function["bindings"].as_array_mut().unwrap().push(queue);
    function["bindings"][0]["route"] = "orders/{id:int}/{part?}".into();
    let app = App::new()
        .function("Order", function)
        .host(&["customHandler", "enableForwardingHttpRequest"], true.into())
        .start(&handler)
        .await;
    let answer = post(&app.url, "/api/orders/7?name=Jo", r#"{"n":1}"#).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert_eq!(get(&app.url, "/api/orders/seven").await.status, 404);
    assert_eq!(app.next_text("results").await, "m");
    let call = &handler.calls()[0];
    assert_eq!(call.uri, "/Order");
    let body = call.json();
    let request = &body["Data"]["req"];
    assert_eq!(request["Url"], "http://example.test:99/api/orders/7?name=Jo");
    assert_eq!((&request["Method"], &request["Body"]), (&json!("POST"), &json!(r#"{"n":1}"#)));
    assert_eq!((&request["Query"], &request["Params"]), (&json!({"name": "Jo"}), &json!({"id": "7", "part": null})));
    assert_eq!(request["Headers"]["Content-Type"], json!(["application/json"]));
    let metadata = &body["Metadata"];
    assert_eq!(
        (&metadata["id"], &metadata["name"], &metadata["n"]),
        (&json!("\"7\""), &json!("\"Jo\""), &json!("\"1\""))
    );
    assert_eq!(metadata["Headers"]["Host"], "example.test:99");
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_res_output_becomes_the_response() {
    let handler = Handler::new(|call: Call| async move {
        let answer = match call.json()["Data"]["req"]["Query"]["case"].as_str().unwrap() {
            "object" => r#"{"Outputs":{"res":{"body":{"a":1}}}}"#,
            "text" => r#"{"Outputs":{"res":{"statusCode":"201","body":"x","headers":{"Content-Type":"text/css"}}}}"#,
            "number" => r#"{"Outputs":{"res":{"statusCode":201}}}"#,
            "missing" => r#"{"Outputs":{}}"#,
            "none" => "{}",
            _ => r#"{"Outputs":{"res":"text"}}"#,
        };
        json(answer)
    });
    let app = http_app(false).start(&handler).await;
    let ask = async |case: &str| get(&app.url, &format!("/api/x?case={case}")).await;
    let object = ask("object").await;
    assert_eq!((object.status, object.body.as_str()), (200, "{\n  \"a\": 1\n}"));
    assert_eq!(object.header("content-type"), Some("text/plain; charset=utf-8"));
    let text = ask("text").await;
    assert_eq!((text.status, text.header("content-type"), text.body.as_str()), (201, Some("text/css"), "x"));
    assert_eq!(ask("number").await.status, 201);
    let missing = ask("missing").await;
    assert_eq!((missing.status, missing.body.as_str()), (200, "{}"));
    assert_eq!(ask("none").await.status, 204);
    assert_eq!(ask("broken").await.status, 500);
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_in_chunks_is_passed_on_and_not_taken_for_none() {
    let request = |body: &str| {
        format!(
            "POST /api/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: text/plain\r\n\
             Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    for forwarding in [false, true] {
        let handler = Handler::always(OK);
        let mut app = http_app(forwarding);
        app.environment.push(("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT".to_owned(), "100".to_owned()));
        let app = app.start(&handler).await;
        assert_eq!(raw(&app.url, &request("text")).await.status, 200);
        let call = &handler.calls()[0];
        if forwarding {
            assert_eq!((&call.body[..], call.header("content-type").as_deref()), (&b"text"[..], Some("text/plain")));
        } else {
            assert_eq!(call.json()["Data"]["req"]["Body"], "text");
        }
        assert_eq!(raw(&app.url, &request(&"x".repeat(101))).await.status, 413);
        assert_eq!(handler.call_count(), 1);
        app.host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxied_request_keeps_its_chunked_body_and_its_user_agent() {
    let handler = Handler::always("{}");
    let app = http_app(true).host(&["customHandler", "enableProxyingHttpRequest"], true.into()).start(&handler).await;
    let request = "POST /api/x?a=1&a=2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\nUser-Agent: t\r\nContent-Encoding: gzip\r\n\
        Transfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n0\r\n\r\n";
    assert_eq!(raw(&app.url, request).await.status, 200);
    let call = &handler.calls()[0];
    assert_eq!((call.uri.as_str(), &call.body[..]), ("/api/x?a=1&a=2", &b"text"[..]));
    assert_eq!(
        (call.header("user-agent").unwrap(), call.header("content-encoding").unwrap()),
        ("t".into(), "gzip".into())
    );
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_above_the_limit_are_turned_away() {
    let handler = Handler::new(|_| async {
        tokio::time::sleep(PATIENCE).await;
        json(OK)
    });
    let app = http_app(false).host(&["extensions", "http"], json!({"maxOutstandingRequests": 1})).start(&handler).await;
    let url = app.url.clone();
    let first = tokio::spawn(async move { get(&url, "/api/x").await });
    eventually("the first call", async || handler.call_count() == 1).await;
    assert_eq!(get(&app.url, "/api/x").await.status, 429);
    first.abort();
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_followed_for_an_envelope() {
    let handler = Handler::new(|call: Call| async move {
        if call.uri == "/x" {
            (StatusCode::TEMPORARY_REDIRECT, [("location", "/moved")]).into_response()
        } else {
            json(r#"{"Outputs":{"res":{"body":"moved"}}}"#)
        }
    });
    let app = http_app(false).start(&handler).await;
    assert_eq!(get(&app.url, "/api/x").await.body, "moved");
    assert_eq!(handler.calls()[1].json()["Data"]["req"]["Method"], "GET");
    app.host.stop().await;
}

// Logs and running by hand.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_logs_of_a_successful_answer_are_printed_with_its_id() {
    let handler = Handler::new(|call: Call| async move {
        let logs = r#"{"Outputs":{"res":{}},"Logs":["line 1"]}"#;
        let status = if call.json()["Data"]["req"]["Query"].get("fail").is_some() { 500 } else { 200 };
        (StatusCode::from_u16(status).unwrap(), json(logs)).into_response()
    });
    let app = http_app(false).start(&handler).await;
    assert_eq!(get(&app.url, "/api/x?fail=1").await.status, 500);
    assert!(!app.lines.contain("line 1"));
    assert_eq!(get(&app.url, "/api/x").await.status, 200);
    let line = app.lines.all().into_iter().find(|line| line.text == "line 1").unwrap();
    assert_eq!((line.level, line.category.as_str()), (Level::Information, "Function.x.User"));
    let id = handler.calls()[1].header("x-azure-functions-invocationid").unwrap();
    assert_eq!(line.invocation.unwrap().to_string(), id);
    let executed = app.lines.all().into_iter().filter(|line| line.text.starts_with("Executed 'Functions.x'"));
    assert_eq!(executed.map(|line| line.text.contains("Succeeded")).collect::<Vec<_>>(), [false, true]);
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_without_http_can_be_run_by_hand() {
    let handler = Handler::always(OK);
    let app = http_app(false)
        .function("Worker", queue_function())
        .function("Tick", timer_function("0 0 2 * * *"))
        .scale(1.0)
        .start(&handler)
        .await;
    assert_eq!(post(&app.url, "/admin/functions/worker", r#"{"input":"by hand"}"#).await.status, 202);
    eventually("a call", async || handler.call_count() == 1).await;
    assert_eq!(handler.calls()[0].json()["Data"]["msg"], "\"by hand\"");
    assert_eq!(post(&app.url, "/admin/functions/Tick", "").await.status, 202);
    eventually("a call", async || handler.call_count() == 2).await;
    assert_eq!(post(&app.url, "/admin/functions/nope", "").await.status, 404);
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_functions_are_listed_at_the_start() {
    let app = http_app(false).function("Worker", queue_function()).start(&Handler::always(OK)).await;
    let port = app.url.rsplit(':').next().unwrap().to_owned();
    let lines: Vec<String> =
        app.lines.all().into_iter().map(|line| line.text).filter(|line| !line.is_empty()).collect();
    let http = format!("\tx: [GET,POST] http://localhost:{port}/api/x");
    assert_eq!(lines[..3], ["Functions:".to_owned(), "\tWorker: queueTrigger".to_owned(), http]);
    app.host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_app_is_refused_with_all_that_is_wrong() {
    let app = App::new()
        .function("a", json!({"bindings": [{"type": "blobTrigger", "name": "b"}]}))
        .function("b", json!({"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "%UNSET%"}]}));
    std::fs::write(app.root.path().join("host.json"), r#"{"version":"2.0"}"#).unwrap();
    let clock = Arc::new(SystemClock);
    let settings = Settings {
        app_root: app.root.path().to_owned(),
        bind: ([127, 0, 0, 1], 0).into(),
        storage: memory(clock.clone()),
        time_scale: 1.0,
        environment: Vec::new(),
        keys: None,
        own_executable: program(),
        extra_child_environment: Vec::new(),
        random: Arc::new(SystemRandom),
        console: Arc::new(StandardOutput::new(clock)),
        launcher: Arc::new(ProcessLauncher::new(Vec::new()).unwrap()),
    };
    let Err(error @ Error::App { .. }) = Host::start(settings).await else { panic!() };
    let message = error.to_string();
    for expected in [
        "host.json: `customHandler.description.defaultExecutablePath` must name",
        "a/function.json: `bindings[0].type` is not supported",
        "b/function.json: `bindings[0].schedule` `%UNSET%` needs the setting `UNSET`",
    ] {
        assert!(message.contains(expected), "{message}");
    }
}
