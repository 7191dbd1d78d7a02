//! POST `instances/{id}/terminate?reason=`.

use super::{accepted, gone, not_found};
use crate::app::App;
use crate::functions::control::{Terminated, terminate};
use crate::functions::http::{Answer, Call};
use crate::orchestration::ids::InstanceId;
use crate::state::Error;

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call, id: &InstanceId) -> Result<Answer, Error> {
    Ok(match terminate(app, id, call.query("reason").unwrap_or_default()).await? {
        Terminated::Now => accepted(),
        Terminated::TooLate => gone(),
        Terminated::Unknown => not_found(),
    })
}
