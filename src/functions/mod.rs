//! The doors: one file per function, and the routes of the custom handler in one place. The host either
//! forwards HTTP requests to `/api/…` or posts an envelope to `/<function>`; both are served.

mod adxingestor;
mod asked;
mod chunk_worker;
mod columns;
pub mod control;
mod dashboard;
mod envelope;
mod get_status;
mod http;
pub(crate) mod hunting;
mod instances;
pub mod local;
mod nightly;
mod notes;
mod orchestrator;
mod orchestrators;
mod planner;
mod posting;
mod source;
mod terminate_orchestration;
#[cfg(test)]
mod testing;
mod watchdog;

pub use asked::unknown_tables;
pub use orchestrator::adopt::{Error as AdoptError, adopt, adoptable, named};
pub use orchestrator::begin::configured;
pub(crate) use orchestrator::begin::validated;
pub use orchestrator::{Estimate, estimates};

pub use hunting::{KnownThrottling, KnownTimespan};

use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::limits::Limits;
use crate::state::Error as StateError;
use crate::storage::Error as StorageError;
use crate::telemetry::{ids, metrics};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use envelope::{Invocation, Malformed, Resolved, Unresolved};
use http::{Answer, Call};
use opentelemetry_http::HeaderExtractor;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// The largest body that the Functions host passes on.
const MAX_BODY_BYTES: usize = 100 * 1024 * 1024;

/// What names a trace and its parent span (W3C Trace Context).
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// Why an invocation failed; the host then delivers its message again.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// Not an envelope, or not a message of ours.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The state store failed; nothing can be recorded, not even "later".
    #[error(transparent)]
    State(#[from] StateError),
    /// The invocation outran its deadline.
    #[error("the invocation reached its deadline of {0} s and gives its message back")]
    Deadline(u64),
}

impl Failed {
    /// Whether the same call may go well when it is made again, as the host does with messages and the watchdog's ticks, and
    /// callers with theirs. The nightly timer waits for the next night.
    fn may_pass(&self, function: &str) -> bool {
        let passes = match self {
            Self::Malformed(_) => false,
            Self::State(error) => error.may_pass(),
            Self::Deadline(_) => true,
        };
        passes && function != "nightly"
    }
}

impl From<Unresolved> for Failed {
    fn from(error: Unresolved) -> Self {
        match error {
            Unresolved::Malformed(error) => error.into(),
            Unresolved::Storage(error) => Self::State(error.into()),
        }
    }
}

/// The routes of the custom handler: what the host forwards keeps the path as the client spelled it.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/", get(|| async { "adxingestor" }))
        .fallback(door)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(app))
}

type Shared = State<Arc<App>>;

/// The functions that envelopes are for, named as their folders.
const FUNCTIONS: [&str; 10] = [
    "adxingestor",
    "chunk_worker",
    "dashboard",
    "get_status",
    "instances",
    "nightly",
    "orchestrator",
    "orchestrators",
    "terminate_orchestration",
    "watchdog",
];

async fn door(State(app): Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return Answer::error(StatusCode::PAYLOAD_TOO_LARGE, "the body cannot be read or is too large").into_response();
    };
    let path = parts.uri.path().to_owned();
    let Some((function, route)) = route(&path) else {
        let function = path.trim_start_matches('/').to_owned();
        if parts.method == Method::POST && !function.is_empty() && !function.contains('/') {
            return invoke(app, function, &parts.headers, &body).await;
        }
        return Answer::error(StatusCode::NOT_FOUND, "there is no such function").into_response();
    };
    let call = http::from_request(&parts, route, &body);
    let span = span_of(function, &parts.headers);
    // In a task of its own, as in `invoke`: a start is more than one write.
    let work = async move {
        let deadline = app.limits.invocation_deadline;
        tokio::time::timeout(deadline, serve(&app, function, &call)).await.map(answer_of)
    };
    let worked = observed(
        function,
        &span,
        async { tokio::spawn(work.in_current_span()).await },
        |worked| matches!(worked, Ok(Ok(answer)) if !answer.status.is_server_error()),
    );
    match worked.await {
        Ok(Ok(answer)) => answer.into_response(),
        Ok(Err(_)) => Answer::error(StatusCode::SERVICE_UNAVAILABLE, "the state store is too slow; try again")
            .with("Retry-After", "10")
            .into_response(),
        Err(error) => {
            span.in_scope(|| tracing::error!(%error, "an HTTP call broke off"));
            Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the call broke off").into_response()
        }
    }
}

/// The HTTP function that a forwarded path is for, and its route values. Literals match in any case, as in the host.
fn route(path: &str) -> Option<(&'static str, HashMap<String, String>)> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (first, rest) = match segments.as_slice() {
        [prefix, first, rest @ ..] if prefix.eq_ignore_ascii_case("api") => (*first, rest),
        _ => return None,
    };
    let names: &[&str] = match (first.to_ascii_lowercase().as_str(), rest) {
        ("adxingestor", [start]) if start.eq_ignore_ascii_case("start_orchestrator") => {
            return Some(("adxingestor", HashMap::new()));
        }
        ("dashboard", []) => &[],
        ("status" | "terminate", [_]) => &["instanceId"],
        ("orchestrators", [_] | [_, _]) => &["functionName", "instanceId"],
        ("instances", rest) if rest.len() <= 3 => &["instanceId", "operation", "eventName"],
        _ => return None,
    };
    let function = match first.to_ascii_lowercase().as_str() {
        "dashboard" => "dashboard",
        "status" => "get_status",
        "terminate" => "terminate_orchestration",
        "orchestrators" => "orchestrators",
        _ => "instances",
    };
    let decoded = |text: &&str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let values = names.iter().zip(rest).map(|(name, value)| ((*name).to_owned(), decoded(value))).collect();
    Some((function, values))
}

async fn serve(app: &App, function: &str, call: &Call) -> Result<Answer, StateError> {
    if let Ok(id) = call.route("instanceId").parse::<InstanceId>() {
        ids::instance(&id);
    }
    match function {
        "adxingestor" => adxingestor::handle(app, call).await,
        "dashboard" => dashboard::handle(app, call).await,
        "get_status" => get_status::handle(app, call).await,
        "terminate_orchestration" => terminate_orchestration::handle(app, call).await,
        "orchestrators" => orchestrators::handle(app, call).await,
        _ => instances::handle(app, call).await,
    }
}

fn answer_of(result: Result<Answer, StateError>) -> Answer {
    result.unwrap_or_else(|error| {
        // Whoever called is asked to try again.
        match error.may_pass() {
            true => tracing::warn!(%error, "an HTTP call failed"),
            false => tracing::error!(%error, "an HTTP call failed"),
        }
        match error {
            StateError::Unreadable { .. } => Answer::error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            _ => {
                let text = format!("{error}; try again");
                Answer::error(StatusCode::SERVICE_UNAVAILABLE, text).with("Retry-After", "10")
            }
        }
    })
}

/// Does the work of a call in its span, and counts the call by whether what comes of it is `well`.
async fn observed<T>(
    function: &'static str,
    span: &tracing::Span,
    work: impl Future<Output = T>,
    well: impl FnOnce(&T) -> bool,
) -> T {
    let began = Instant::now();
    let came = work.instrument(span.clone()).await;
    let well = well(&came);
    ids::ended(span, well);
    metrics::invoked(function, well, began.elapsed());
    came
}

/// What names the trace of an envelope: headers of the host's own call, or else those of the request that is in the envelope, which a
/// host that does not forward has not made its own.
fn in_its_trace(headers: &HeaderMap, invocation: &Invocation) -> HeaderMap {
    let mut headers = headers.clone();
    if headers.contains_key(TRACE_HEADERS[0]) {
        return headers;
    }
    let call = http::from_envelope(invocation);
    for name in TRACE_HEADERS {
        if let Some(value) = call.header(name).and_then(|value| value.parse().ok()) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The span of a call, under the id that the host gives it where it gives one.
fn span_of(function: &str, headers: &HeaderMap) -> tracing::Span {
    let given = headers.get("x-azure-functions-invocationid").and_then(|id| id.to_str().ok()?.parse().ok());
    ids::invocation(function, &given.unwrap_or_else(uuid::Uuid::new_v4), &HeaderExtractor(headers))
}

async fn invoke(app: Arc<App>, function: String, headers: &HeaderMap, body: &[u8]) -> Response {
    let invocation = match Invocation::parse(body) {
        Ok(invocation) => invocation,
        Err(error) => return Answer::error(StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let Some(function) = FUNCTIONS.into_iter().find(|known| *known == function) else {
        return Answer::error(StatusCode::NOT_FOUND, "there is no such function").into_response();
    };
    let span = span_of(function, &in_its_trace(headers, &invocation));
    // In a task of its own: the work goes on to a safe end when the host drops the connection.
    let work = dispatch(app, function, invocation);
    let spawned = async { tokio::spawn(work.in_current_span()).await };
    let worked = observed(function, &span, spawned, |worked| matches!(worked, Ok(Ok(_)))).await;
    let _within = span.enter();
    match worked {
        Ok(Ok(value)) => Answer::json(StatusCode::OK, value).into_response(),
        Ok(Err(error)) => {
            match error.may_pass(function) {
                true => tracing::warn!(%error, "an invocation failed; the next one may go well"),
                false => tracing::error!(%error, "an invocation failed"),
            }
            Answer::error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an invocation broke off");
            Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the invocation broke off").into_response()
        }
    }
}

async fn dispatch(app: Arc<App>, function: &str, invocation: Invocation) -> Result<Value, Failed> {
    let deadline = app.limits.invocation_deadline;
    let work = async {
        match function {
            "orchestrator" | "chunk_worker" => on_message(&app, function, invocation).await?,
            "nightly" => nightly::handle(&app, &invocation).await?,
            "watchdog" => Box::pin(watchdog::handle(&app)).await?,
            _ => {
                let call = http::from_envelope(&invocation);
                return Ok(http::to_envelope(&answer_of(serve(&app, function, &call).await)));
            }
        }
        Ok(envelope::done())
    };
    // The functions end before their deadline by themselves (`Limits::working_time`); this is for a store that is slow to
    // record what they came to.
    match tokio::time::timeout(deadline, work).await {
        Ok(answer) => answer,
        Err(_) => Err(Failed::Deadline(deadline.as_secs())),
    }
}

/// Runs the function of a queue. The body of a message that was too large for it comes from its blob, which goes when the
/// function has succeeded: whatever the message was to bring about is on record then, and a later delivery that finds
/// no body, because the host could not delete the message, has nothing left to do.
async fn handle_message(app: &App, function: &str, invocation: Invocation) -> Result<(), Failed> {
    let blobs = &app.state.storage().blobs;
    let (invocation, reference) = match invocation.resolved("message", &**blobs).await? {
        Resolved::Whole(invocation, reference) => (invocation, reference),
        Resolved::Gone(reference) => {
            let blob = reference.blob();
            tracing::warn!(blob, "the body of a message is gone: an earlier delivery has done what it asks for");
            return Ok(());
        }
    };
    let handled = match function {
        "orchestrator" => orchestrator::handle(app, &invocation).await,
        _ => chunk_worker::handle(app, &invocation).await,
    };
    let (id, delivery) = (invocation.metadata("Id").unwrap_or_default(), invocation.dequeue_count());
    let message: Value = invocation.queue_message("message").unwrap_or_default();
    match &handled {
        Ok(()) => notes::remove(app, &message, delivery).await,
        Err(error) => {
            tracing::warn!(%error, "a message could not be handled");
            notes::leave(app, &message, &id, delivery, &error.to_string()).await;
        }
    }
    handled?;
    if let Some(reference) = reference
        && let Err(error) = blobs.delete(reference.blob()).await
    {
        tracing::warn!(blob = reference.blob(), %error, "the blob of a message that is done is left over");
    }
    Ok(())
}

/// Handles a message. Where the store is out of order, not even "later" can be put down: the invocation then waits before it
/// fails, as long as the store asks for, since the host hands a failed message out again at once and gives it up after ten
/// deliveries.
async fn on_message(app: &App, function: &str, invocation: Invocation) -> Result<(), Failed> {
    let (began, delivery) = (Instant::now(), invocation.dequeue_count());
    ids::message(&invocation.metadata("Id").unwrap_or_default(), delivery);
    let handled = handle_message(app, function, invocation).await;
    if let Err(Failed::State(StateError::Storage(error))) = &handled
        && let Some(pause) = store_pause(error, delivery, &app.limits)
    {
        let pause = pause.min(app.limits.working_time().saturating_sub(began.elapsed()));
        tracing::warn!(%error, pause_s = pause.as_secs_f64(), "the message is given back after a pause");
        metrics::waited(metrics::Wait::Store, pause);
        tokio::time::sleep(pause).await;
    }
    handled
}

fn store_pause(error: &StorageError, delivery: u32, limits: &Limits) -> Option<Duration> {
    match error {
        StorageError::Throttled { after } => Some(after.unwrap_or_default().max(limits.retry_pause(delivery))),
        // A denial may pass as well: an access rule that is being changed, a role that is not known everywhere yet.
        StorageError::Unavailable(_) | StorageError::Fatal(_) => Some(limits.retry_pause(delivery)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::message::{ControlMessage, Debt};
    use crate::random::SystemRandom;
    use crate::state::{CONTROL_QUEUE, State as Records, Tenant};
    use crate::storage::{
        Body, Continuation, ETag, Key, MAX_MESSAGE_BYTES, Operation, Page, Range, Row, Storage, TableStore, memory,
    };
    use crate::telemetry::json_lines::testing::Log;
    use crate::timestamp::SystemClock;
    use serde_json::json;

    #[tokio::test]
    async fn a_large_message_is_read_from_its_blob_which_goes_with_its_success_and_its_next_delivery_has_nothing_to_do()
    {
        let raw = memory(Arc::new(SystemClock));
        let tenant = Tenant::new("", &Limits::scaled(1.0));
        let state = Records::new(raw.clone(), Arc::new(SystemRandom), tenant);
        let app = App { state, limits: Limits::scaled(1.0), services: Err("none".to_owned()) };
        let reason = "because ".repeat(MAX_MESSAGE_BYTES / 8);
        let message = ControlMessage::Terminate { instance: InstanceId::from_bits(7), life: 0, created: None, reason };
        app.state.pay(&[Debt::control(message, Duration::ZERO)]).await.unwrap();
        // What a Functions host sees: it does not know of blobs.
        let seen = raw.queues.receive(CONTROL_QUEUE, 1, Duration::from_secs(30)).await.unwrap().swap_remove(0);
        let Body::Bytes(text) = seen.body else { panic!("{seen:?}") };
        let reference: Value = serde_json::from_slice(&text).unwrap();
        let blob = reference["bodyInBlob"].as_str().unwrap();
        let envelope = json!({"Data": {"message": reference.to_string()}, "Metadata": {"DequeueCount": "1"}});
        let invocation = Invocation::parse(envelope.to_string().as_bytes()).unwrap();
        on_message(&app, "orchestrator", invocation.clone()).await.unwrap();
        assert_eq!(raw.blobs.get(blob).await.unwrap(), None);
        on_message(&app, "orchestrator", invocation).await.unwrap();
    }

    /// A store that fails each time in the same way.
    struct Failing(fn() -> StorageError);

    #[async_trait::async_trait]
    impl TableStore for Failing {
        async fn get(&self, _: &Key) -> Result<Option<Row>, StorageError> {
            Err((self.0)())
        }

        async fn commit(&self, _: &[Operation]) -> Result<Vec<Option<ETag>>, StorageError> {
            Err((self.0)())
        }

        async fn page(&self, _: &Range, _: Option<&Continuation>) -> Result<Page, StorageError> {
            Err((self.0)())
        }
    }

    /// How long the delivery of a message of that count is held back by a store that fails so.
    async fn held_back(delivery: u32, failure: fn() -> StorageError) -> Duration {
        let message = json!({"kind": "start", "instance": InstanceId::from_bits(7)});
        let envelope =
            json!({"Data": {"message": message.to_string()}, "Metadata": {"DequeueCount": delivery.to_string()}});
        let app = testing::app(Storage { tables: Arc::new(Failing(failure)), ..memory(Arc::new(SystemClock)) });
        let invocation = Invocation::parse(envelope.to_string().as_bytes()).unwrap();
        let began = Instant::now();
        on_message(&app, "orchestrator", invocation).await.unwrap_err();
        began.elapsed()
    }

    fn throttled(seconds: u64) -> StorageError {
        StorageError::Throttled { after: Some(Duration::from_secs(seconds)) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_held_back_as_long_as_the_store_asks_for_and_no_longer_than_the_deadline() {
        assert_eq!(held_back(1, || throttled(60)).await, Duration::from_secs(60));
        assert_eq!(held_back(1, || throttled(3_600)).await, Limits::scaled(1.0).working_time());
    }

    #[tokio::test(start_paused = true)]
    async fn ten_deliveries_to_a_store_that_denies_or_does_not_answer_take_minutes() {
        for failure in [|| StorageError::Fatal("denied".into()), || StorageError::Unavailable("down".into())] {
            let mut held = Duration::ZERO;
            for delivery in 1..=10 {
                held += held_back(delivery, failure).await;
            }
            assert!(held > Duration::from_secs(180), "{held:?}");
        }
    }

    /// A store that takes a second for each write.
    struct Slow(Arc<dyn TableStore>);

    #[async_trait::async_trait]
    impl TableStore for Slow {
        async fn get(&self, key: &Key) -> Result<Option<Row>, StorageError> {
            self.0.get(key).await
        }

        async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, StorageError> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.0.commit(operations).await
        }

        async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, StorageError> {
            self.0.page(range, after).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_is_finished_although_its_caller_hangs_up_between_two_of_its_writes() {
        let raw = memory(Arc::new(SystemClock));
        let tables = Arc::new(Slow(Arc::clone(&raw.tables)));
        let app = Arc::new(testing::app(Storage { tables, ..raw }));
        let request = Request::post("/api/adxingestor/start_orchestrator").body(axum::body::Body::empty()).unwrap();
        let call = door(State(Arc::clone(&app)), request);
        assert!(tokio::time::timeout(Duration::from_millis(1_500), call).await.is_err());
        let place = app.state.active().await.unwrap().unwrap().record;
        assert!(app.state.instance(&place.instance).await.unwrap().is_none(), "half of it is done");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(app.state.instance(&place.instance).await.unwrap().is_some());
        let queues = &app.state.storage().queues;
        assert_eq!(queues.receive(CONTROL_QUEUE, 1, Duration::from_secs(30)).await.unwrap().len(), 1);
    }

    /// A store that never answers.
    struct Hung;

    #[async_trait::async_trait]
    impl TableStore for Hung {
        async fn get(&self, _: &Key) -> Result<Option<Row>, StorageError> {
            std::future::pending().await
        }

        async fn commit(&self, _: &[Operation]) -> Result<Vec<Option<ETag>>, StorageError> {
            std::future::pending().await
        }

        async fn page(&self, _: &Range, _: Option<&Continuation>) -> Result<Page, StorageError> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answers_ends_every_invocation_before_its_deadline() {
        let start = json!({"kind": "start", "instance": InstanceId::from_bits(7)});
        let chunk = json!({"table": "0", "window": "w:0000000000000001.0"});
        let deadline = Limits::scaled(1.0).invocation_deadline;
        for (function, message) in [
            ("orchestrator", start.clone()),
            ("chunk_worker", chunk),
            ("watchdog", Value::Null),
            ("nightly", Value::Null),
            ("get_status", Value::Null),
            ("dashboard", Value::Null),
        ] {
            for behind_retries in [true, false] {
                let mut storage = Storage { tables: Arc::new(Hung), ..memory(Arc::new(SystemClock)) };
                if behind_retries {
                    storage = crate::storage::retrying(storage, Arc::new(SystemRandom));
                }
                let app = Arc::new(testing::app(storage));
                let envelope = json!({"Data": {"message": message.to_string()}, "Metadata": {"DequeueCount": "9"}});
                let invocation = Invocation::parse(envelope.to_string().as_bytes()).unwrap();
                let began = Instant::now();
                let _ = dispatch(app, function, invocation).await;
                let took = began.elapsed();
                let most = if behind_retries { deadline * 3 / 4 } else { deadline };
                assert!(took <= most, "{function}: {took:?} of {most:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_failure_that_no_further_call_mends_is_an_error_in_the_log() {
        let unavailable = || StorageError::Unavailable("503".into());
        let fatal = || StorageError::Fatal("denied".into());
        let start = json!({"kind": "start", "instance": InstanceId::from_bits(7)}).to_string();
        let failing = |failure| Arc::new(Failing(failure)) as Arc<dyn TableStore>;
        for (function, message, tables, is_error) in [
            ("orchestrator", start.as_str(), failing(unavailable), false),
            ("orchestrator", &start, failing(|| throttled(1)), false),
            ("orchestrator", &start, Arc::new(Hung), false),
            ("orchestrator", &start, failing(fatal), true),
            ("orchestrator", "not ours", failing(unavailable), true),
            ("watchdog", "null", failing(unavailable), false),
            ("watchdog", "null", failing(fatal), true),
            ("nightly", "null", failing(unavailable), true),
        ] {
            let log = Log::keep();
            let app = Arc::new(testing::app(Storage { tables, ..memory(Arc::new(SystemClock)) }));
            let envelope = json!({"Data": {"message": message}, "Metadata": {"DequeueCount": "1"}}).to_string();
            let answer = invoke(app, function.to_owned(), &HeaderMap::new(), envelope.as_bytes()).await;
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR, "{function} {message}");
            let errors = log.at("ERROR");
            assert_eq!(!errors.is_empty(), is_error, "{function} {message}: {:?}", log.lines());
        }
        for (failure, is_error) in [(unavailable as fn() -> StorageError, false), (fatal, true)] {
            let log = Log::keep();
            let app = Arc::new(testing::app(Storage { tables: failing(failure), ..memory(Arc::new(SystemClock)) }));
            let path = format!("/api/status/{}", InstanceId::from_bits(7));
            let answer = door(State(app), Request::get(path).body(axum::body::Body::empty()).unwrap()).await;
            assert_eq!(answer.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(!log.at("ERROR").is_empty(), is_error, "{:?}", log.lines());
        }
    }

    #[test]
    fn an_envelope_is_a_part_of_the_hosts_trace_or_else_of_that_of_the_request_inside() {
        let request = json!({"Method": "GET", "Url": "http://x/api/status/1", "Headers": {"traceparent": ["inside"]}});
        let envelope = json!({"Data": {"req": request}, "Metadata": {}}).to_string();
        let invocation = Invocation::parse(envelope.as_bytes()).unwrap();
        let named = |headers: &HeaderMap| in_its_trace(headers, &invocation)["traceparent"].clone();
        assert_eq!(named(&HeaderMap::new()), "inside");
        let mut own = HeaderMap::new();
        own.insert("traceparent", "host".parse().unwrap());
        assert_eq!(named(&own), "host");
    }

    #[test]
    fn forwarded_paths_match_in_any_case_and_with_a_slash_at_the_end() {
        for (path, function) in [
            ("/api/adxingestor/start_orchestrator", "adxingestor"),
            ("/API/AdxIngestor/Start_Orchestrator/", "adxingestor"),
            ("/api/Status/7/", "get_status"),
            ("/api/terminate/7", "terminate_orchestration"),
            ("/api/Dashboard/", "dashboard"),
            ("/api/instances", "instances"),
            ("/api/instances/7/raiseEvent/go", "instances"),
            ("/api/Orchestrators/start_orchestrator", "orchestrators"),
            ("/api/orchestrators/start_orchestrator/7/", "orchestrators"),
        ] {
            assert_eq!(route(path).map(|(function, _)| function), Some(function), "{path}");
        }
        for path in [
            "/",
            "/api",
            "/api/status",
            "/api/orchestrators",
            "/orchestrator",
            "/api/status/7/8",
            "/status/7",
            "/dashboard",
        ] {
            assert!(route(path).is_none(), "{path}");
        }
        let (_, values) = route("/api/instances/a%20b/raiseEvent/go").unwrap();
        assert_eq!((values["instanceId"].as_str(), values["eventName"].as_str()), ("a b", "go"));
    }
}
