//! GET `instances/{id}`: the status of a run, 202 while it goes on.

use super::not_found;
use crate::app::App;
use crate::functions::get_status::{Shows, status};
use crate::functions::http::{Answer, Call};
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::RuntimeStatus;
use crate::state::Error;
use axum::http::StatusCode;

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call, id: &InstanceId) -> Result<Answer, Error> {
    let Some(run) = app.state.instance(id).await?.map(|run| run.record) else { return Ok(not_found()) };
    let body = status(app, &run, Shows { name: true, ..Shows::asked(call) }).await?;
    if !run.status.is_final() {
        return Ok(Answer::json(StatusCode::ACCEPTED, body)
            .with("Location", call.url.clone())
            .with("Retry-After", "5"));
    }
    let as_error = run.status == RuntimeStatus::Failed && call.flag("returninternalservererroronfailure") == Some(true);
    Ok(Answer::json(if as_error { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }, body))
}
