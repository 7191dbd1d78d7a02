//! POST `instances/{id}/restart?restartWithNewInstanceId=`: a run with the same input, under a new id unless that is
//! declined. It may wait for the end of that run, as a start may.

use super::wait::{Wait, started};
use crate::app::App;
use crate::functions::adxingestor::{going_on, refused};
use crate::functions::control::{Started, begin_again, pay_again, start};
use crate::functions::http::{Answer, Call};
use crate::orchestration::ids::InstanceId;
use crate::orchestration::run::restart::request;
use crate::state::{Error, Stored};

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call, id: &InstanceId) -> Result<Answer, Error> {
    let Some(Stored { record: run, etag }) = app.state.instance(id).await? else { return Ok(unknown()) };
    let wait = match Wait::asked(call) {
        Ok(wait) => wait,
        Err(message) => return Ok(Answer::invalid(message)),
    };
    if call.flag("restartwithnewinstanceid") != Some(false) {
        return match start(app, run.input, run.raw_input).await? {
            Started::New(id) | Started::Before(id) => started(app, call, &id, wait).await,
            Started::Active(active) => Ok(refused(&active)),
        };
    }
    let Some(again) = request(&run, app.state.now()) else {
        pay_again(app, &run).await?;
        return Ok(going_on(id));
    };
    match begin_again(app, &again, &etag).await? {
        None => started(app, call, id, wait).await,
        Some(active) => Ok(refused(&active)),
    }
}

/// The answer for an id that no run has: in the contract an argument error, not a missing page.
pub fn unknown() -> Answer {
    Answer::invalid("InstanceId does not match a valid orchestration instance.")
}
