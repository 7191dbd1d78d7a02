//! Timer `nightly`: starts a run unless one is going on, and forgets old ones. A past-due timer after a crash starts
//! nothing twice: it asks for the same run again.

use super::control::{Started, purge_old, start, start_as};
use super::envelope::{Invocation, member};
use crate::app::App;
use crate::orchestration::instance::StartInput;
use crate::orchestration::run::nightly::{raw_input, run_of};
use crate::state::Error;
use crate::timestamp::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

/// Handles a tick.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, invocation: &Invocation) -> Result<(), Error> {
    let deadline = Instant::now() + app.limits.invocation_deadline / 2;
    let (input, raw) = (StartInput::default(), raw_input());
    let started = match run_of(due(invocation), app.state.now(), app.limits.clock_margin) {
        Some(id) => start_as(app, id, input, raw).await?,
        None => start(app, input, raw).await?,
    };
    match started {
        Started::New(_) => {}
        Started::Before(id) => tracing::info!(instance = %id, "the nightly run was started before"),
        Started::Active(active) => {
            tracing::warn!(instance = %active, "the nightly run was not started: this run is still active");
        }
    }
    let gone = purge_old(app, deadline).await?;
    if gone > 0 {
        tracing::info!(gone, "runs older than HISTORY_DAYS are forgotten");
    }
    Ok(())
}

/// When this occurrence was due: the status is that before it. A time without an offset is the host's local one, which
/// is not known here.
fn due(invocation: &Invocation) -> Option<Timestamp> {
    let object = |value: &Value, name: &str| member(value.as_object()?, name).cloned();
    let timer = match invocation.trigger("timer")? {
        Value::String(text) => serde_json::from_str(text).ok()?,
        other => other.clone(),
    };
    object(&object(&timer, "ScheduleStatus")?, "Next")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests;
