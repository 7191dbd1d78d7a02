//! HTTP `instances/{instanceId?}/{operation?}/{eventName?}`: the Durable Functions HTTP contract, as far as it
//! is built: status (202 while a run goes on), terminate, raise an event.

use super::control::{Terminated, status_of, terminate};
use super::get_status::status;
use super::http::{Answer, Call};
use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::state::Error;
use axum::http::StatusCode;
use serde_json::Value;

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call) -> Result<Answer, Error> {
    let operation = call.route("operation").to_ascii_lowercase();
    let Ok(id) = call.route("instanceId").parse::<InstanceId>() else {
        return Ok(Answer::empty(StatusCode::NOT_FOUND));
    };
    match (call.method.as_str(), operation.as_str()) {
        ("GET", "") => query(app, call, &id).await,
        ("POST", "terminate") => Ok(match terminate(app, &id, call.query("reason").unwrap_or_default()).await? {
            Terminated::Now => Answer::empty(StatusCode::ACCEPTED),
            Terminated::TooLate => Answer::empty(StatusCode::GONE),
            Terminated::Unknown => Answer::empty(StatusCode::NOT_FOUND),
        }),
        ("POST", "raiseevent") => raise_event(app, call, &id).await,
        ("POST", "suspend" | "resume" | "rewind" | "restart") | ("DELETE", "") => Ok(Answer::error(
            StatusCode::NOT_IMPLEMENTED,
            "this operation is not part of this version; start another run, which takes up what is missing",
        )),
        _ => Ok(Answer::empty(StatusCode::NOT_FOUND)),
    }
}

async fn query(app: &App, call: &Call, id: &InstanceId) -> Result<Answer, Error> {
    let Some((run, mut body)) = status(app, id.as_str(), call.query("showinput") != Some("false")).await? else {
        return Ok(Answer::empty(StatusCode::NOT_FOUND));
    };
    if let Value::Object(members) = &mut body {
        members.insert("name".to_owned(), "start_orchestrator".into());
    }
    if !run.status.is_final() {
        return Ok(Answer::json(StatusCode::ACCEPTED, body)
            .with("Location", call.url.clone())
            .with("Retry-After", "5"));
    }
    let as_error = run.error.is_some() && call.query("returninternalservererroronfailure") == Some("true");
    Ok(Answer::json(if as_error { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }, body))
}

async fn raise_event(app: &App, call: &Call, id: &InstanceId) -> Result<Answer, Error> {
    if !call.body.trim().is_empty() && serde_json::from_str::<Value>(&call.body).is_err() {
        return Ok(Answer::error(StatusCode::BAD_REQUEST, "the body is not JSON"));
    }
    Ok(match status_of(app, id).await? {
        None => Answer::empty(StatusCode::NOT_FOUND),
        Some(status) if status.is_final() => Answer::empty(StatusCode::GONE),
        Some(_) => {
            tracing::info!(instance.id = %id, event = call.route("eventName"), "an event was raised; no run waits for events");
            Answer::empty(StatusCode::ACCEPTED)
        }
    })
}
