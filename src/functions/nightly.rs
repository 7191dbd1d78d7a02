//! Timer `nightly`: starts a run unless one is going on. A past-due timer after a crash starts nothing twice.

use super::control::{Started, start};
use crate::app::App;
use crate::orchestration::instance::StartInput;
use crate::state::Error;
use serde_json::json;

/// Handles a tick.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App) -> Result<(), Error> {
    if let Started::Active(active) = start(app, StartInput::default(), json!({"trigger": "nightly"})).await? {
        tracing::warn!(instance.id = %active, "the nightly run was not started: this run is still active");
    }
    Ok(())
}
