//! HTTP POST `terminate/{instanceId}`: asks a run to stop.

use super::control::{Terminated, terminate};
use super::http::{Answer, Call};
use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::state::Error;
use axum::http::StatusCode;
use serde_json::json;

const DEFAULT_REASON: &str = "Terminated via HTTP request";

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call) -> Result<Answer, Error> {
    let reason = call.query("reason").unwrap_or(DEFAULT_REASON);
    let Ok(id) = call.route("instanceId").parse::<InstanceId>() else { return Ok(unknown()) };
    Ok(match terminate(app, &id, reason).await? {
        Terminated::Now => {
            Answer::json(StatusCode::OK, json!({"message": format!("Orchestration {id} terminated"), "reason": reason}))
        }
        Terminated::TooLate => Answer::error(StatusCode::GONE, format!("Instance {id} has ended already")),
        Terminated::Unknown => unknown(),
    })
}

fn unknown() -> Answer {
    Answer::error(StatusCode::NOT_FOUND, "Instance not found")
}
