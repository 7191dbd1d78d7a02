//! DELETE `instances/{id}` and `instances?createdTimeFrom=&createdTimeTo=&runtimeStatus=`: forgets runs that are over.
//! One that goes on is never forgotten: a purge of it alone is refused with 412 (azure-functions-durable-extension pull
//! request 3311, "Add a runtime status check to purge requests"), a purge of many passes it over.

use super::not_found;
use super::query::{Unread, filter};
use crate::app::App;
use crate::functions::control::{Purged, purge, purge_matching};
use crate::functions::http::{Answer, Call};
use crate::orchestration::ids::InstanceId;
use crate::state::Error;
use axum::http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

/// Forgets one run.
///
/// # Errors
/// The state store's.
pub async fn one(app: &App, id: &InstanceId) -> Result<Answer, Error> {
    Ok(match purge(app, id).await? {
        Purged::Now => deleted(1),
        Purged::GoesOn => Answer::error(
            StatusCode::PRECONDITION_FAILED,
            format!("Instance {id} has not ended, and only one that has is purged; wait for it or terminate it"),
        ),
        Purged::Unknown => not_found(),
    })
}

/// Forgets those that the query names, as many as fit the time of a call.
///
/// # Errors
/// The state store's.
pub async fn many(app: &App, call: &Call) -> Result<Answer, Error> {
    let filter = match filter(call, Unread::Refused) {
        Ok(filter) if filter.created_from.is_some() => filter,
        Ok(_) => {
            let message = "Please provide value for 'createdTimeFrom' parameter.";
            return Ok(Answer::json(StatusCode::BAD_REQUEST, json!(message)));
        }
        Err(message) => return Ok(Answer::invalid(message)),
    };
    let deadline = Instant::now() + app.limits.invocation_deadline / 4;
    Ok(match purge_matching(app, &filter, deadline).await? {
        0 => not_found(),
        count => deleted(count),
    })
}

fn deleted(count: u64) -> Answer {
    Answer::json(StatusCode::OK, json!({"instancesDeleted": count}))
}
