//! Before a table is planned: does its destination belong to this ledger, and does it hold what the ledger says. What is
//! decided is in `orchestration::adoption::watch`.

use super::super::{Step, StepError};
use crate::adx::Error;
use crate::adx::catalog::Chunk;
use crate::adx::ingestion::ChunkIdMode;
use crate::app::Services;
use crate::kql::Identifier;
use crate::orchestration::adoption::Landed;
use crate::orchestration::adoption::watch;
use crate::orchestration::ids::{LedgerId, WindowId};
use crate::orchestration::ledger::Head;
use crate::orchestration::limits::Limits;
use crate::orchestration::removal::Place;
use crate::orchestration::window::Window;
use crate::timestamp::Timestamp;
use std::collections::HashSet;
use tokio::time::Instant;

/// What a look at a destination shows against its ledger.
#[derive(Debug, Default)]
pub struct Shown {
    /// What is there twice under different ids, for a person.
    pub doubts: Vec<String>,
    /// Proved windows that are to be counted again.
    pub again: HashSet<WindowId>,
}

/// Refuses a destination that another ledger owns, or that holds windows of the same source which this one does not know. Gives
/// what else the look shows.
pub async fn check(
    services: &Services,
    head: &Head,
    windows: &[Window],
    now: Timestamp,
    limits: &Limits,
    deadline: Instant,
) -> Step<Shown> {
    refuse_foreign(services, head, deadline).await?;
    let Some(place) = Place::of(head) else {
        return Err(StepError::Failed(format!("`{}` in the ledger is not a name of a table", head.destination)));
    };
    let after = watch::look_after(head, now, limits);
    let copy = CopyOf { source: &head.source, table: &place.table, chunk_id: services.chunk_id_mode(head) };
    let landed = landed(services, copy, Some(head.ledger), after, deadline).await?;
    let doubts = watch::examine(head, windows, &landed.of_this, now, limits)
        .map_err(|unknown| StepError::Failed(unknown.to_string()))?;
    for doubt in &doubts {
        tracing::error!(table = head.source, doubt, "rows are in the destination twice");
    }
    Ok(Shown { doubts, again: watch::landed_again(windows, &landed.of_this, limits) })
}

/// Refuses a destination that another ledger owns.
pub async fn refuse_foreign(services: &Services, head: &Head, deadline: Instant) -> Step<()> {
    let owner = services.catalog.ledger_owner(&head.source, &head.destination, deadline).await?;
    let now = services.settings.told_apart_by();
    watch::foreign(head, owner.as_ref().map(|owner| owner.ledger_id.as_str()), &now)
        .map_or(Ok(()), |foreign| Err(StepError::Failed(foreign.to_string())))
}

/// A destination as the copy of one source.
pub struct CopyOf<'a> {
    /// The table of the source.
    pub source: &'a str,
    /// The destination.
    pub table: &'a Identifier,
    /// Where its rows have their window's id.
    pub chunk_id: ChunkIdMode,
}

/// What a destination holds of windows.
#[derive(Default)]
pub struct Found {
    /// Those of this source.
    pub of_this: Vec<Landed>,
    /// The rows of those of other sources that are copied to it.
    pub rows_of_other_sources: u64,
}

/// The windows that a destination holds of what was ingested after `after`. `ours` is the ledger in this store, if there is one.
pub async fn landed(
    services: &Services,
    CopyOf { source, table, chunk_id }: CopyOf<'_>,
    ours: Option<LedgerId>,
    after: Timestamp,
    deadline: Instant,
) -> Result<Found, Error> {
    let chunks = services.catalog.chunks(table, chunk_id, after, deadline).await?;
    let read = |chunk: Chunk| Landed::read(&chunk.id, chunk.rows, chunk.first, chunk.last);
    let found: Vec<Landed> = chunks.into_iter().filter_map(read).collect();
    if found.iter().all(|one| Some(one.id.ledger) == ours) {
        return Ok(Found { of_this: found, rows_of_other_sources: 0 });
    }
    // After the windows: whoever has posted one has claimed before.
    let others = services.catalog.ledgers_of_others(source, table.as_str(), deadline).await?;
    let (of_others, of_this): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|one| others.contains(&one.id.ledger.to_string()));
    Ok(Found { of_this, rows_of_other_sources: of_others.iter().map(|one| one.rows).sum() })
}
