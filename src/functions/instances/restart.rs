//! POST `instances/{id}/restart?restartWithNewInstanceId=`: a run with the same input, under a new id unless that is
//! declined.

use crate::app::App;
use crate::functions::adxingestor::{accepted, refused};
use crate::functions::control::{Started, begin_again, start};
use crate::functions::http::{Answer, Call};
use crate::orchestration::ids::InstanceId;
use crate::orchestration::run::restart::request;
use crate::state::{Error, Stored};
use axum::http::StatusCode;

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call, id: &InstanceId) -> Result<Answer, Error> {
    let Some(Stored { record: run, etag }) = app.state.instance(id).await? else { return Ok(unknown()) };
    if call.flag("restartwithnewinstanceid") != Some(false) {
        return Ok(match start(app, run.input, run.raw_input).await? {
            Started::New(id) | Started::Before(id) => accepted(call, &id),
            Started::Active(active) => refused(&active),
        });
    }
    let Some(again) = request(&run, app.state.now()) else { return Ok(refused(id)) };
    Ok(match begin_again(app, &again, &etag).await? {
        None => accepted(call, id),
        Some(active) => refused(&active),
    })
}

/// The answer for an id that no run has: in the contract an argument error, not a missing page.
pub fn unknown() -> Answer {
    Answer::error(StatusCode::BAD_REQUEST, "InstanceId does not match a valid orchestration instance.")
}
