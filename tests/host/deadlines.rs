//! Services that hang: no answer at all, an answer's head and then silence, a byte now and then for ever. Every
//! invocation that meets one ends before its own deadline, far from the host's `functionTimeout`, and the ledger says
//! what is to be done again. Times are those of the app, divided by [`TIME_SCALE`].

use crate::one_table::{self, id, key, pending, running, window};
use adxingestor::app::App;
use adxingestor::functions::router;
use adxingestor::orchestration::ids::WindowName;
use adxingestor::orchestration::ledger::{Head, RowFormat, VerifyDue};
use adxingestor::orchestration::window::{Seal, Window, WindowState};
use adxingestor::outbound::{Outbound, http_client, read_capped};
use adxingestor::state::{CHUNK_QUEUE, CONTROL_QUEUE, State, Transaction};
use adxingestor::timestamp::Timestamp;
use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::time::OffsetDateTime;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const TIME_SCALE: u32 = 60;
/// `functionTimeout` in `host.json`.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(300);

/// How a service hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hang {
    Silent,
    AfterHead,
    ByteByByte,
}

/// All services at one address, one request a connection. Requests that hold `stuck` in their first line or body hang.
struct Double {
    url: String,
    _tasks: JoinSet<()>,
}

impl Double {
    async fn start(stuck: &'static str, hang: Hang) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        let at = url.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.spawn(serve(socket, at.clone(), stuck, hang));
            }
        });
        Self { url, _tasks: tasks }
    }
}

async fn serve(mut socket: TcpStream, url: String, stuck: &'static str, hang: Hang) {
    let Some(request) = read(&mut socket).await else { return };
    if !request.contains(stuck) {
        let _ = socket.write_all(answer(&request, &url).as_bytes()).await;
        return;
    }
    if hang != Hang::Silent {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50000\r\n\r\n";
        let _ = socket.write_all(head.as_bytes()).await;
    }
    while hang == Hang::ByteByByte && socket.write_all(b" ").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1) / TIME_SCALE).await;
    }
    // Held open.
    std::future::pending::<()>().await;
}

/// The first line and the body of a request.
async fn read(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            // A compressed body is longer as bytes than it looks.
            if bytes.len() >= head.len() + 4 + length.unwrap_or(0usize) {
                return Some(format!("{}\n{body}", head.lines().next()?));
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn answer(request: &str, url: &str) -> String {
    let rows = json!([{"Row": "{\"a\":1}"}, {"Row": "{\"a\":2}"}]);
    let (status, body) = match request {
        _ if request.contains("/msi/token") => (200, json!({})),
        _ if request.contains("/runHuntingQuery") => {
            (200, json!({"schema": [{"name": "Row", "type": "String"}], "results": rows}))
        }
        _ => one_table::answer(url, request),
    };
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An identity whose tokens come from the double, and that waits for them as long as it is let.
#[derive(Debug)]
struct Identity {
    http: reqwest::Client,
    url: String,
}

#[async_trait]
impl TokenCredential for Identity {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let failed = |error: String| azure_core::Error::with_message(ErrorKind::Io, error);
        let response = self.http.get(&self.url).send().await.map_err(|error| failed(error.to_string()))?;
        let never = tokio::time::Instant::now() + FUNCTION_TIMEOUT;
        read_capped(response, 1 << 20, never).await.map_err(|error| failed(error.to_string()))?;
        Ok(AccessToken::new("t", OffsetDateTime::from_unix_timestamp(4_102_444_800).unwrap()))
    }
}

fn app(url: &str) -> App {
    let more = [("HUNTING_CALLS_PER_MINUTE", "6000".to_owned()), ("ADXINGESTOR_TIME_SCALE", TIME_SCALE.to_string())];
    let http = http_client().unwrap();
    let identity = Arc::new(Identity { http: http.clone(), url: format!("{url}/msi/token") });
    one_table::app(one_table::settings(url, &more), |trusted| Outbound::new(http, identity, trusted))
}

fn name() -> WindowName {
    WindowName::new(Timestamp::from_ticks(10), "0")
}

/// What an invocation begins with.
#[derive(Debug, Clone, Copy)]
enum Step {
    Start,
    Plan,
    Chunk,
    Verify,
}

impl Step {
    fn call(self) -> (&'static str, Value) {
        match self {
            Self::Start => ("orchestrator", json!({"kind": "start", "instance": id()})),
            Self::Plan => ("orchestrator", json!({"kind": "plan", "instance": id(), "table": key()})),
            Self::Chunk => ("chunk_worker", json!({"table": key(), "window": name()})),
            Self::Verify => ("orchestrator", json!({"kind": "verify", "table": key(), "number": 1})),
        }
    }

    async fn prepare(self, state: &State) {
        let now = state.now();
        let transaction = if matches!(self, Self::Start) {
            Transaction::new().instance(&pending(now), None)
        } else {
            let (run, table) = running(now);
            Transaction::new().table(&id(), &table, None).unwrap().instance(&run, None)
        };
        state.commit(transaction.unwrap()).await.unwrap();
        let window = match self {
            Self::Start | Self::Plan => return,
            Self::Chunk => WindowState::Planned,
            Self::Verify => WindowState::Submitted,
        };
        let (head, window) = ledger(window, now);
        let insert = Transaction::new().head(&key(), &head, None).unwrap();
        state.commit(insert.window(&key(), &name(), &window, None).unwrap()).await.unwrap();
    }
}

fn ledger(state: WindowState, now: Timestamp) -> (Head, Window) {
    let mut head = one_table::head(RowFormat::Compact, now);
    *head.counts.of(state) = 1;
    let mut window = Window { state, run: Some(id()), ..Window::planned(window(10, 20), "p", false, 2, now) };
    if state == WindowState::Submitted {
        head.verify = Some(VerifyDue { number: 1, at: now, pause_ms: 0 });
        head.verify_number = 1;
        window.seal = Some(Seal {
            blob: "b".into(),
            rows: 2,
            raw_bytes: 20,
            compressed_bytes: 9,
            longest_row_bytes: 10,
            sha256: String::new(),
        });
        (window.posts, window.last_post) = (1, Some(now));
    } else {
        head.out = vec![name()];
    }
    (head, window)
}

/// What stands in the store after an invocation: the run or the window, and messages on the two queues.
async fn left(step: Step, state: &State) -> String {
    let queues = &state.storage().queues;
    let control = queues.approximate_count(CONTROL_QUEUE).await.unwrap();
    let chunks = queues.approximate_count(CHUNK_QUEUE).await.unwrap();
    let record = match step {
        Step::Start => state.instance(&id()).await.unwrap().unwrap().record.status.name().to_owned(),
        Step::Plan => {
            let head = state.head(&key()).await.unwrap().unwrap().record;
            format!("{:?} {}", head.state, if head.plan_due.is_some() { "later" } else { "now" })
        }
        Step::Chunk | Step::Verify => {
            let window = state.window(&key(), &name()).await.unwrap().unwrap().record;
            format!("{:?} attempts {}", window.state, window.attempts)
        }
    };
    format!("{record}; control {control}, chunks {chunks}")
}

async fn meets(step: Step, stuck: &'static str, hang: Hang) -> String {
    let double = Double::start(stuck, hang).await;
    let app = app(&double.url);
    let (state, deadline) = (app.state.clone(), app.limits.invocation_deadline);
    step.prepare(&state).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (function, message) = step.call();
    let url = format!("http://{}/{function}", listener.local_addr().unwrap());
    let mut handler = JoinSet::new();
    handler.spawn(async move { axum::serve(listener, router(app)).await.unwrap() });
    let envelope = json!({"Data": {"message": message.to_string()}, "Metadata": {"Id": "m", "DequeueCount": 1}});
    let began = Instant::now();
    let answer = http_client().unwrap().post(url).body(envelope.to_string()).send().await.unwrap();
    let (status, took) = (answer.status(), began.elapsed());
    let limit = FUNCTION_TIMEOUT / TIME_SCALE;
    // At its deadline an invocation is cut off and answers 500.
    assert_eq!(status, 200, "{step:?}, {stuck}, {hang:?}: {took:?} of {deadline:?}");
    assert!(took < limit, "{step:?}, {stuck}, {hang:?}: {took:?} of {limit:?}");
    left(step, &state).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_hangs_is_given_up_in_time_and_what_it_was_for_is_done_again() {
    let again = "Planned attempts 1; control 0, chunks 1";
    let posted = "Submitted attempts 0; control 1, chunks 0";
    let counted_later = "Submitted attempts 0; control 1, chunks 0";
    let mut cases = JoinSet::new();
    for (step, stuck, silent, after_head) in [
        (Step::Chunk, "POST /v1.0/security/runHuntingQuery", again, again),
        (Step::Chunk, "GET /msi/token", again, again),
        (Step::Chunk, "GET /v1/rest/auth/metadata", again, again),
        (Step::Chunk, ".get ingestion resources", again, again),
        (Step::Chunk, ".get kusto identity token", again, again),
        // The head of an answer of storage says all.
        (Step::Chunk, "PUT /container/", again, posted),
        // It may have been posted: that is for the count.
        (Step::Chunk, "POST /queue/messages", posted, posted),
        (Step::Verify, "/v2/rest/query", counted_later, counted_later),
        (Step::Verify, "GET /msi/token", counted_later, counted_later),
        (Step::Start, "/v2/rest/query", "Pending; control 1, chunks 0", "Pending; control 1, chunks 0"),
        (Step::Start, "GET /msi/token", "Pending; control 1, chunks 0", "Pending; control 1, chunks 0"),
        (Step::Plan, "/v1/rest/mgmt", "Planning later; control 1, chunks 0", "Planning later; control 1, chunks 0"),
    ] {
        for (hang, expected) in [(Hang::Silent, silent), (Hang::AfterHead, after_head), (Hang::ByteByByte, after_head)]
        {
            cases.spawn(async move {
                assert_eq!(meets(step, stuck, hang).await, expected, "{step:?}, {stuck}, {hang:?}");
            });
        }
    }
    while let Some(ended) = cases.join_next().await {
        ended.unwrap();
    }
}
