//! HTTP `instances/{instanceId?}/{operation?}/{eventName?}`: the Durable Functions HTTP contract
//! (azure-functions-durable-extension `HttpApiHandler`), one operation, one file. Whatever is not an operation, or comes
//! with another method, is not found.

mod hold;
mod list;
mod purge;
mod query;
mod raise_event;
mod restart;
mod rewind;
mod status;
mod terminate;
#[cfg(test)]
mod tests;
mod wait;

pub use wait::{Wait, started};

use super::http::{Answer, Call};
use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::state::Error;
use axum::http::StatusCode;

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call) -> Result<Answer, Error> {
    let operation = call.route("operation").to_ascii_lowercase();
    let (id, event) = (call.route("instanceId"), call.route("eventName"));
    let operation = (call.method.as_str(), operation.as_str(), event);
    if id.is_empty() {
        return match operation {
            ("GET", "", "") => list::handle(app, call).await,
            ("DELETE", "", "") => purge::many(app, call).await,
            _ => Ok(not_found()),
        };
    }
    let Ok(id) = id.parse::<InstanceId>() else {
        let is_restart = operation == ("POST", "restart", "");
        return Ok(if is_restart { restart::unknown() } else { not_found() });
    };
    match operation {
        ("GET", "", "") => status::handle(app, call, &id).await,
        ("DELETE", "", "") => purge::one(app, &id).await,
        ("POST", "terminate", "") => terminate::handle(app, call, &id).await,
        ("POST", "suspend", "") => hold::suspend(app, call, &id).await,
        ("POST", "resume", "") => hold::resume(app, &id).await,
        ("POST", "rewind", "") => rewind::handle(app, call, &id).await,
        ("POST", "restart", "") => restart::handle(app, call, &id).await,
        ("POST", "raiseevent", name) if !name.is_empty() => raise_event::handle(app, call, &id).await,
        _ => Ok(not_found()),
    }
}

fn accepted() -> Answer {
    Answer::empty(StatusCode::ACCEPTED)
}

fn not_found() -> Answer {
    Answer::empty(StatusCode::NOT_FOUND)
}

fn gone() -> Answer {
    Answer::empty(StatusCode::GONE)
}
