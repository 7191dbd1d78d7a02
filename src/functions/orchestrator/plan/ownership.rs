//! Before a table is planned: does its destination belong to this ledger, and does it hold what the ledger says. What is
//! decided is in `orchestration::adoption::watch`.

use super::super::{Step, StepError};
use crate::adx::catalog::Chunk;
use crate::app::Services;
use crate::orchestration::adoption::Landed;
use crate::orchestration::adoption::watch;
use crate::orchestration::ledger::Head;
use crate::orchestration::limits::Limits;
use crate::orchestration::removal::Place;
use crate::orchestration::window::Window;
use crate::timestamp::Timestamp;
use tokio::time::Instant;

/// Refuses a destination that another ledger owns, or that holds windows which this one does not know. Gives what is there
/// twice.
pub async fn check(
    services: &Services,
    head: &Head,
    windows: &[Window],
    now: Timestamp,
    limits: &Limits,
    deadline: Instant,
) -> Step<Vec<String>> {
    refuse_foreign(services, head, deadline).await?;
    let Some(place) = Place::of(head) else {
        return Err(StepError::Failed(format!("`{}` in the ledger is not a name of a table", head.destination)));
    };
    let after = watch::look_after(head, now, limits);
    let chunks = services.catalog.chunks(&place.table, services.chunk_id_mode(head), after, deadline).await?;
    let landed: Vec<Landed> = chunks.into_iter().filter_map(landed).collect();
    let doubts = watch::examine(head, windows, &landed, now, limits)
        .map_err(|unknown| StepError::Failed(unknown.to_string()))?;
    for doubt in &doubts {
        tracing::error!(table = head.source, doubt, "rows are in the destination twice");
    }
    Ok(doubts)
}

/// Refuses a destination that another ledger owns.
pub async fn refuse_foreign(services: &Services, head: &Head, deadline: Instant) -> Step<()> {
    let owner = services.catalog.ledger_owner(&head.source, &head.destination, deadline).await?;
    watch::foreign(head, owner.as_ref().map(|owner| owner.ledger_id.as_str()))
        .map_or(Ok(()), |foreign| Err(StepError::Failed(foreign.to_string())))
}

/// What the destination says of a window.
pub fn landed(chunk: Chunk) -> Option<Landed> {
    Landed::read(&chunk.id, chunk.rows, chunk.first, chunk.last)
}
