//! Suspending and resuming a run. The message goes first, then the run is swapped, and of one that is suspended the tables
//! are told; the message's handler does all of that again.

use super::release;
use super::tell::tell;
use crate::app::App;
use crate::orchestration::head::hold::hold;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::Instance;
use crate::orchestration::run::suspend::{Asked, Move, Refused};
use crate::orchestration::run::{resume, suspend};
use crate::state::{Error, Stored, Transaction};
use crate::telemetry::metrics;
use crate::timestamp::Timestamp;

/// Suspends a run that has not ended.
///
/// # Errors
/// The state store's. The inner error says why the run is not suspended.
pub async fn suspend(app: &App, id: &InstanceId, reason: &str) -> Result<Result<(), Refused>, Error> {
    let run = app.state.instance(id).await?.map(|run| run.record);
    let Asked { number, created, debt } = match suspend::request(run.as_ref(), reason) {
        Ok(asked) => asked,
        Err(refused) => return Ok(Err(refused)),
    };
    app.state.pay(&[debt]).await?;
    if apply_suspension(app, id, number, Some(created), reason).await?.is_some() {
        tell(app, id, |head, now| hold(head, id, number, now)).await;
    }
    answer(app, id).await
}

/// Resumes a run; one that is not suspended goes on as it did.
///
/// # Errors
/// The state store's. The inner error says why the run cannot go on.
pub async fn resume(app: &App, id: &InstanceId) -> Result<Result<(), Refused>, Error> {
    let run = app.state.instance(id).await?.map(|run| run.record);
    let Asked { number, created, debt } = match resume::request(run.as_ref()) {
        Ok(Some(asked)) => asked,
        Ok(None) => return Ok(Ok(())),
        Err(refused) => return Ok(Err(refused)),
    };
    app.state.pay(&[debt]).await?;
    match apply_resumption(app, id, number, Some(created)).await? {
        // Completed by it, or going on.
        Some(_) => Ok(Ok(())),
        None => answer(app, id).await,
    }
}

/// The answer once the run was swapped, unless it came to its end first.
async fn answer(app: &App, id: &InstanceId) -> Result<Result<(), Refused>, Error> {
    Ok(match super::status_of(app, id).await? {
        None => Err(Refused::Unknown),
        Some(status) if status.is_final() => Err(Refused::TooLate),
        Some(_) => Ok(()),
    })
}

/// Swaps the run accepted at `created` for its suspension `number`; gives it if its tables are to be told.
///
/// # Errors
/// The state store's.
pub async fn apply_suspension(
    app: &App,
    id: &InstanceId,
    number: u64,
    created: Option<Timestamp>,
    reason: &str,
) -> Result<Option<Instance>, Error> {
    apply(app, id, |run, now| suspend::apply(run, number, created, reason, now)).await
}

/// Swaps the run accepted at `created` for its resumption `number`; gives it if its tables are to be told. A run that is
/// completed by it leaves its place.
///
/// # Errors
/// The state store's.
pub async fn apply_resumption(
    app: &App,
    id: &InstanceId,
    number: u64,
    created: Option<Timestamp>,
) -> Result<Option<Instance>, Error> {
    let run = apply(app, id, |run, now| resume::apply(run, number, created, now)).await?;
    if run.as_ref().is_some_and(|run| run.status.is_final()) {
        release(app, id).await?;
    }
    Ok(run)
}

async fn apply(
    app: &App,
    id: &InstanceId,
    rule: impl Fn(&Instance, Timestamp) -> Move,
) -> Result<Option<Instance>, Error> {
    while let Some(Stored { record: run, etag }) = app.state.instance(id).await? {
        let moved = match rule(&run, app.state.now()) {
            Move::Swap(moved) => moved,
            Move::Again => return Ok(Some(run)),
            Move::Old => return Ok(None),
        };
        match app.state.commit(Transaction::new().instance(&moved, Some(&etag))?).await {
            Ok(_) => {
                tracing::info!(instance = %id, status = moved.status.name(), "a run was suspended or resumed");
                if moved.status.is_final() {
                    metrics::run_ended(moved.status.name());
                }
                return Ok(Some(*moved));
            }
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
