//! POST `instances/{id}/raiseEvent/{name}`: answered by the contract and logged; no run waits for events.

use super::{accepted, gone, not_found};
use crate::app::App;
use crate::functions::control::status_of;
use crate::functions::http::{Answer, Call};
use crate::orchestration::ids::InstanceId;
use crate::state::Error;
use serde_json::Value;

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call, id: &InstanceId) -> Result<Answer, Error> {
    match status_of(app, id).await? {
        None => return Ok(not_found()),
        Some(status) if status.is_final() => return Ok(gone()),
        Some(_) => {}
    }
    let media_type = call.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Ok(Answer::invalid("Only application/json request content is supported"));
    }
    if serde_json::from_str::<Value>(&call.body).is_err() {
        return Ok(Answer::invalid("Invalid JSON content"));
    }
    tracing::info!(instance = %id, event = call.route("eventName"), "an event was raised; no run waits for events");
    Ok(accepted())
}
