//! POST `instances/{id}/suspend?reason=` and `instances/{id}/resume?reason=`.

use super::{accepted, gone, not_found};
use crate::app::App;
use crate::functions::control;
use crate::functions::http::{Answer, Call};
use crate::orchestration::ids::InstanceId;
use crate::orchestration::run::suspend::Refused;
use crate::state::Error;

/// Suspends a run.
///
/// # Errors
/// The state store's.
pub async fn suspend(app: &App, call: &Call, id: &InstanceId) -> Result<Answer, Error> {
    Ok(answer(control::suspend(app, id, call.query("reason").unwrap_or_default()).await?))
}

/// Resumes a run.
///
/// # Errors
/// The state store's.
pub async fn resume(app: &App, id: &InstanceId) -> Result<Answer, Error> {
    Ok(answer(control::resume(app, id).await?))
}

fn answer(result: Result<(), Refused>) -> Answer {
    match result {
        Ok(()) => accepted(),
        Err(Refused::TooLate) => gone(),
        Err(Refused::Unknown) => not_found(),
    }
}
