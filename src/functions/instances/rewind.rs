//! POST `instances/{id}/rewind?reason=`: a failed run begins again from what failed. The contract has no word for a run that
//! is completed although tables of it failed: those of it are begun again, and any other completed run is gone, as
//! there (docs/decisions/0010).

use super::{accepted, not_found};
use crate::app::App;
use crate::functions::adxingestor::refused;
use crate::functions::control::{begin_again, pay_again};
use crate::functions::http::{Answer, Call};
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{RuntimeStatus, TableRun};
use crate::orchestration::run::rewind::{Refused, request};
use crate::state::{Error, Stored};
use axum::http::StatusCode;

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call, id: &InstanceId) -> Result<Answer, Error> {
    let Some(Stored { record: run, etag }) = app.state.instance(id).await? else { return Ok(not_found()) };
    let tables: Vec<TableRun> = match run.status {
        RuntimeStatus::Completed => app.state.tables(id).await?.into_iter().map(|table| table.record).collect(),
        _ => Vec::new(),
    };
    let again = match request(Some(&run), &tables, app.state.now()) {
        Ok(again) => again,
        Err(Refused::Unknown) => return Ok(not_found()),
        Err(Refused::TooLate) => {
            return Ok(Answer::error(
                StatusCode::GONE,
                format!(
                    "Instance {id} is {}, and only a failed run is rewound, or one with failed tables. What other tables lack is taken up first by the next run: restart it, or start another",
                    run.status.name()
                ),
            ));
        }
        Err(Refused::NotFailed) => {
            pay_again(app, &run).await?;
            let message = format!("Instance {id} is {}; only a failed run is rewound", run.status.name());
            return Ok(Answer::invalid(message));
        }
    };
    tracing::info!(instance = %id, reason = call.query("reason"), "a rewind is asked for");
    Ok(match begin_again(app, &again, &etag).await? {
        None => accepted(),
        Some(active) => refused(&active),
    })
}
