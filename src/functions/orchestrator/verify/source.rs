//! What the source is asked while windows are judged: how many rows of one have a null watermark there.

use crate::app::{App, Services};
use crate::defender::queries::{self, Values};
use crate::defender::{Error as HuntingError, Rows};
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

    /// Calls made so far.
    pub fn calls(&self) -> u64 {
        self.hunting.calls()
    }
}

/// Why a number of the source is not known.
pub enum Unknown {
    /// The quota is used up: later, whatever the deadline.
    Later,
    /// The service does not take the question, and would not the next time either.
    Refused(String),
    /// Something failed.
    Failed(String),
}

/// Counts them; where the answer may be fewer than `landed`, also those whose text is no time.
///
/// # Errors
/// [`Unknown`].
pub async fn null_watermarks(
    asked: &mut Source<'_>,
    head: &Head,
    window: &Window,
    landed: u64,
) -> Result<u64, Unknown> {
    if asked.is_used_up {
        return Err(Unknown::Later);
    }
    let invalid = |error: InvalidName| Unknown::Refused(error.to_string());
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
    let slice = source::slice(window);
    let query = |values| queries::count_null_watermark(&source, &slice, partition.as_ref(), &watermark, values);
    let hunting = &mut asked.hunting;
    let counted = match hunting.rows(&query(Values::AsTheyAre)).await {
        Ok(rows) if count_in(&rows).is_some_and(|counted| counted < landed) => {
            hunting.rows(&query(Values::AsTimes)).await
        }
        Err(CallError::Call(error @ HuntingError::Refused { .. })) if !error.is_unknown(&source.table) => {
            match columns_of(&source.table, hunting).await {
                // It went while the run was on.
                Ok(Some(columns)) if !columns.contains_key(&head.watermark_column) => return Ok(all),
                Ok(_) => Err(error.into()),
                Err(other) => Err(other),
            }
        }
        counted => counted,
    };
    match counted {
        Ok(rows) => count_in(&rows).ok_or_else(|| Unknown::Failed("the answer holds no count".to_owned())),
        Err(error) if error.quota_pause().is_some() => {
            tracing::info!(%error, "null watermarks are counted later");
            asked.is_used_up = true;
            Err(Unknown::Later)
        }
        Err(error @ CallError::Call(HuntingError::Refused { .. })) => Err(Unknown::Refused(error.to_string())),
        Err(error) => Err(Unknown::Failed(error.to_string())),
    }
}

fn count_in(rows: &Rows) -> Option<u64> {
    number(rows, "NoTime")
}
