//! DELETE `instances/{id}` and `instances?createdTimeFrom=&createdTimeTo=&runtimeStatus=`: forgets runs that are over.
//! One that goes on is never forgotten: a purge of it alone is refused with 412 (azure-functions-durable-extension pull
//! request 3311, "Add a runtime status check to purge requests"), a purge of many passes it over.

use super::list::{TOKEN, behind};
use super::not_found;
use super::query::{Unread, filter};
use crate::app::App;
use crate::functions::control::{Purged, Swept, purge, purge_matching};
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

/// Forgets those that the query names, as many as fit the time of a call. Where that is not all, the answer says so by the
/// member that the storage provider of Durable Functions has for it (durabletask `PurgeHistoryResult.IsComplete`), and by a
/// token with which another call goes on where this one ended.
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
    let after = match behind(call) {
        Ok(after) => after,
        Err(message) => return Ok(Answer::invalid(message)),
    };
    // The way back through a load balancer is closed after 230 s.
    let deadline = Instant::now() + app.limits.invocation_deadline * 3 / 4;
    Ok(answer(purge_matching(app, &filter, after, deadline).await?))
}

fn answer(swept: Swept) -> Answer {
    match swept {
        Swept { gone: 0, more: false, .. } => not_found(),
        Swept { gone, more: false, .. } => deleted(gone),
        Swept { gone, more: true, after } => {
            let answer = Answer::json(StatusCode::OK, json!({"instancesDeleted": gone, "isComplete": false}));
            after.into_iter().fold(answer, |answer, place| answer.with(TOKEN, place.to_string()))
        }
    }
}

fn deleted(count: u64) -> Answer {
    Answer::json(StatusCode::OK, json!({"instancesDeleted": count}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_that_ran_out_of_time_says_so_and_where_to_go_on() {
        let place = format!("{:016x}:{}", 7, InstanceId::from_bits(1));
        let after = place.parse().ok();
        for gone in [0, 3] {
            let said = answer(Swept { gone, more: true, after: after.clone() });
            assert_eq!(said.status, StatusCode::OK, "that none matches is not known");
            assert_eq!(said.body, Some(json!({"instancesDeleted": gone, "isComplete": false})));
            assert_eq!(said.headers, [(TOKEN, place.clone())]);
        }
        assert_eq!(answer(Swept { gone: 3, more: false, after: None }), deleted(3));
        assert_eq!(answer(Swept { gone: 0, more: false, after: None }), not_found());
    }
}
