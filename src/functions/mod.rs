//! The doors: one file per function, and the routes of the custom handler in one place. The host either
//! forwards HTTP requests to `/api/…` or posts an envelope to `/<function>`; both are served.

mod adxingestor;
mod chunk_worker;
pub mod control;
mod envelope;
mod get_status;
mod http;
mod hunting;
mod instances;
mod nightly;
mod orchestrator;
mod planner;
mod source;
mod terminate_orchestration;
mod watchdog;

use crate::app::App;
use crate::state::Error as StateError;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use envelope::{Invocation, Malformed};
use http::{Answer, Call};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use tracing::Instrument;

/// The largest body that the Functions host passes on.
const MAX_BODY_BYTES: usize = 100 * 1024 * 1024;

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

/// The routes of the custom handler.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/", get(|| async { "adxingestor" }))
        .route("/api/adxingestor/start_orchestrator", any(forwarded_start))
        .route("/api/status/{instanceId}", any(forwarded_status))
        .route("/api/terminate/{instanceId}", any(forwarded_terminate))
        .route("/api/instances/{instanceId}", any(forwarded_instances))
        .route("/api/instances/{instanceId}/{operation}", any(forwarded_instances))
        .route("/api/instances/{instanceId}/{operation}/{eventName}", any(forwarded_instances))
        .route("/{function}", post(invoke))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(app))
}

type Shared = State<Arc<App>>;

async fn call_of(params: RawPathParams, request: Request) -> Result<Call, Response> {
    let route: HashMap<String, String> =
        params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY_BYTES)
        .await
        .map_err(|error| Answer::error(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()).into_response())?;
    Ok(http::from_request(&parts, route, &body))
}

macro_rules! forwarded {
    ($name:ident, $door:path) => {
        async fn $name(State(app): Shared, params: RawPathParams, request: Request) -> Response {
            match call_of(params, request).await {
                Ok(call) => answer_of($door(&app, &call).await).into_response(),
                Err(refused) => refused,
            }
        }
    };
}

forwarded!(forwarded_start, adxingestor::handle);
forwarded!(forwarded_status, get_status::handle);
forwarded!(forwarded_terminate, terminate_orchestration::handle);
forwarded!(forwarded_instances, instances::handle);

fn answer_of(result: Result<Answer, StateError>) -> Answer {
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "an HTTP call failed");
        Answer::error(StatusCode::SERVICE_UNAVAILABLE, format!("{error}; try again")).with("Retry-After", "10")
    })
}

async fn invoke(State(app): Shared, Path(function): Path<String>, body: Bytes) -> Response {
    let invocation = match Invocation::parse(&body) {
        Ok(invocation) => invocation,
        Err(error) => return Answer::error(StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let id = uuid::Uuid::new_v4();
    let span = tracing::info_span!("invocation", function, id = %id);
    // In a task of its own: the work goes on to a safe end when the host drops the connection.
    let work = tokio::spawn(dispatch(app, function, invocation).instrument(span));
    match work.await {
        Ok(Some(Ok(value))) => Answer::json(StatusCode::OK, value).into_response(),
        Ok(Some(Err(error))) => {
            tracing::error!(%error, "an invocation failed");
            Answer::error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
        Ok(None) => Answer::error(StatusCode::NOT_FOUND, "there is no such function").into_response(),
        Err(error) => {
            tracing::error!(%error, "an invocation broke off");
            Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the invocation broke off").into_response()
        }
    }
}

/// `None` for a function that does not exist.
async fn dispatch(app: Arc<App>, function: String, invocation: Invocation) -> Option<Result<Value, Failed>> {
    let deadline = app.limits.invocation_deadline;
    let call = || http::from_envelope(&invocation);
    let work = async {
        Some(match function.as_str() {
            "adxingestor" => Ok(http::to_envelope(&answer_of(adxingestor::handle(&app, &call()).await))),
            "get_status" => Ok(http::to_envelope(&answer_of(get_status::handle(&app, &call()).await))),
            "terminate_orchestration" => {
                Ok(http::to_envelope(&answer_of(terminate_orchestration::handle(&app, &call()).await)))
            }
            "instances" => Ok(http::to_envelope(&answer_of(instances::handle(&app, &call()).await))),
            "orchestrator" => orchestrator::handle(&app, &invocation).await.map(|()| envelope::done()),
            "chunk_worker" => chunk_worker::handle(&app, &invocation).await.map(|()| envelope::done()),
            "nightly" => nightly::handle(&app).await.map(|()| envelope::done()).map_err(Failed::from),
            "watchdog" => watchdog::handle(&app).await.map(|()| envelope::done()).map_err(Failed::from),
            _ => return None,
        })
    };
    // The functions end before their deadline by themselves; this is for the await that somebody forgot.
    match tokio::time::timeout(deadline + deadline / 8, work).await {
        Ok(answer) => answer,
        Err(_) => Some(Err(Failed::Deadline(deadline.as_secs()))),
    }
}
