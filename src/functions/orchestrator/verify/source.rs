//! What the source is asked while windows are judged: how many rows of one have a null watermark there.

use crate::app::{App, Services};
use crate::defender::Error as HuntingError;
use crate::functions::hunting::{Error as CallError, Hunting, number};
use crate::functions::planner::columns_of;
use crate::functions::source;
use crate::kql::{Identifier, InvalidName};
use crate::orchestration::ledger::{CutAxis, Head};
use crate::orchestration::window::Window;
use tokio::time::Instant;

/// The source, as far as its quota reaches.
pub struct Source<'a> {
    hunting: Hunting<'a>,
    is_used_up: bool,
}

impl<'a> Source<'a> {
    /// Nothing is asked yet.
    pub fn new(app: &'a App, services: &'a Services, deadline: Instant) -> Self {
        Self { hunting: Hunting::new(app, services, deadline), is_used_up: false }
    }
}

/// Why a number of the source is not known.
pub enum Unknown {
    /// The quota is used up: later, whatever the deadline.
    Later,
    /// Something failed.
    Failed(String),
}

/// Counts them.
///
/// # Errors
/// [`Unknown`].
pub async fn null_watermarks(asked: &mut Source<'_>, head: &Head, window: &Window) -> Result<u64, Unknown> {
    if asked.is_used_up {
        return Err(Unknown::Later);
    }
    let invalid = |error: InvalidName| Unknown::Failed(error.to_string());
    let Some(shape) = &head.shape else { return Err(Unknown::Failed("the ledger has no shape".to_owned())) };
    let all = window.seal.as_ref().map_or(0, |seal| seal.rows);
    if shape.axis == CutAxis::Whole {
        // Every post stamps them all.
        return Ok(0);
    }
    if head.no_watermark || shape.has_lost_the_part(window) {
        // Nobody can say any more how many there were.
        return Ok(all);
    }
    let source = source::of(head, shape, window.handover).map_err(invalid)?;
    let partition = source::partition(shape, window).map_err(invalid)?;
    let watermark = Identifier::new(&head.watermark_column).map_err(invalid)?;
    let query =
        crate::defender::queries::count_null_watermark(&source, &source::slice(window), partition.as_ref(), &watermark);
    let counted = match asked.hunting.rows(&query).await {
        Err(CallError::Call(error @ HuntingError::Refused { .. })) if !error.is_unknown(&source.table) => {
            match columns_of(&source.table, &mut asked.hunting).await {
                // It went while the run was on.
                Ok(Some(columns)) if !columns.contains_key(&head.watermark_column) => return Ok(all),
                Ok(_) => Err(error.into()),
                Err(other) => Err(other),
            }
        }
        counted => counted,
    };
    match counted {
        Ok(rows) => number(&rows, "NoTime").ok_or_else(|| Unknown::Failed("the answer holds no count".to_owned())),
        Err(error) if error.quota_pause().is_some() => {
            tracing::info!(%error, "null watermarks are counted later");
            asked.is_used_up = true;
            Err(Unknown::Later)
        }
        Err(error) => Err(Unknown::Failed(error.to_string())),
    }
}
