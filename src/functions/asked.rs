//! The tables that a start names are looked up in the configuration before there is a run.

use super::http::Answer;
use super::orchestrator::begin::unknown;
use crate::adx;
use crate::adx::catalog::config_rows;
use crate::app::{App, Services};
use crate::orchestration::instance::StartInput;
use crate::orchestration::run::asked::Unknown;
use std::time::Duration;
use tokio::time::Instant;

/// How long the answer to a start waits for the configuration.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the configuration; gives the tables of a start that no active row of it is for.
///
/// # Errors
/// It cannot be read now. [`adx::Error::NotFound`]: it was never made, which a run does.
pub async fn unknown_tables(
    services: &Services,
    input: &StartInput,
    deadline: Instant,
) -> Result<Option<Unknown>, adx::Error> {
    let rows = config_rows(&services.catalog.config_answer(deadline).await?)?;
    Ok(unknown(&services.settings, input.tables.as_deref(), &rows))
}

/// The refusal of a start that names a table which is not configured. Where the cluster does not say in time, the run is
/// started, and its first step looks again; a start that names no table asks nothing.
pub(super) async fn refusal(app: &App, input: &StartInput) -> Option<Answer> {
    input.tables.as_ref()?;
    let services = app.services.as_ref().ok()?;
    match unknown_tables(services, input, Instant::now() + PATIENCE).await {
        Ok(unknown) => unknown.map(|unknown| Answer::invalid(unknown.to_string())),
        Err(error) => {
            tracing::warn!(%error, "the tables of a start could not be looked up in time; the run looks again");
            None
        }
    }
}
