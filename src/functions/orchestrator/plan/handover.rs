//! What another app may have missed of a table that is taken over from it. What that is is decided in
//! `orchestration::head::handover`; here it is counted.

use super::super::{Step, StepError};
use crate::app::Services;
use crate::defender::queries::{self, Range, Slice};
use crate::defender::{Error as HuntingError, Rows};
use crate::functions::hunting::{Error, Hunting, number};
use crate::functions::planner::Planner;
use crate::functions::source;
use crate::kql::Identifier;
use crate::orchestration::head::handover::{Doubtful, doubtful, windows};
use crate::orchestration::ids::WindowName;
use crate::orchestration::instance::TableConfig;
use crate::orchestration::ledger::{CutAxis, Head, Shape};
use crate::orchestration::limits::Limits;
use crate::orchestration::plan::{Caps, Piece};
use crate::orchestration::window::Window;
use crate::timestamp::Timestamp;
use serde_json::Value;

/// A table that is being planned.
pub(super) struct Taking<'a> {
    pub services: &'a Services,
    pub head: &'a Head,
    pub shape: &'a Shape,
    pub config: &'a TableConfig,
    pub draft: &'a str,
    pub now: Timestamp,
    pub limits: &'a Limits,
}

impl Taking<'_> {
    /// The windows of rows that the other app may have missed, of at most `target` rows.
    pub async fn windows(&self, target: u64, hunting: &mut Hunting<'_>) -> Step<Vec<(WindowName, Window)>> {
        let Self { head, now, limits, .. } = *self;
        let Some(doubtful) = doubtful(head, self.config, now, limits) else { return Ok(Vec::new()) };
        // A watermark in the configuration is no sign of another app: a person may begin a new table with one.
        let destination = Identifier::new(&head.destination).map_err(StepError::name)?;
        let size = self.services.catalog.size(&destination, hunting.deadline()).await?;
        if size.is_none_or(|(rows, _)| rows == 0) {
            return Ok(Vec::new());
        }
        let (pieces, bounds) = match self.shape.axis {
            CutAxis::Whole => return Ok(Vec::new()),
            CutAxis::Column(_) => (self.by_time(&doubtful, target, hunting).await?, None),
            CutAxis::ArrivalTime => match self.by_hash(&doubtful, target, hunting).await? {
                Some((pieces, bounds)) => (pieces, Some(bounds)),
                None => return Ok(Vec::new()),
            },
        };
        let rows: u64 = pieces.iter().map(|piece| piece.rows).sum();
        tracing::info!(table = head.source, rows, "rows of before the handover are compared with what was copied");
        Ok(windows(head, self.draft, &doubtful, &pieces, bounds, now))
    }

    /// Where the watermark is the axis, equal rows are in the same piece of time.
    async fn by_time(&self, doubtful: &Doubtful, target: u64, hunting: &mut Hunting<'_>) -> Step<Vec<Piece>> {
        let source = source::of(self.head, self.shape, false).map_err(StepError::name)?;
        let hashing = source::hashing(self.shape).map_err(StepError::name)?;
        let mut planner = Planner::new(hunting, &source, &hashing);
        let counted = planner.count(doubtful.low, doubtful.high, 0, false, None).await?;
        Ok(planner.cut(counted, target).await?)
    }

    /// Otherwise equal rows may have come at any time; and what was copied is found by their watermarks.
    async fn by_hash(
        &self,
        doubtful: &Doubtful,
        target: u64,
        hunting: &mut Hunting<'_>,
    ) -> Step<Option<(Vec<Piece>, (Timestamp, Timestamp))>> {
        let mut source = source::of(self.head, self.shape, true).map_err(StepError::name)?;
        if let Some(handover) = source.handover.as_mut() {
            handover.only_copied = true;
        }
        let hashing = source::hashing(self.shape).map_err(StepError::name)?;
        let watermark = Identifier::new(&self.head.watermark_column).map_err(StepError::name)?;
        let slice = Slice::Range(Range { low: doubtful.low, high: doubtful.high });
        let answer = hunting.rows(&queries::bounds(&source, &slice, &watermark)).await?;
        let corrupt = || Error::from(HuntingError::Corrupt { message: "bounds without their numbers".to_owned() });
        let rows = number(&answer, "Rows").ok_or_else(corrupt)?;
        if rows == 0 {
            return Ok(None);
        }
        let bounds = instant(&answer, "First").zip(instant(&answer, "Last")).ok_or_else(corrupt)?;
        let whole = Piece::whole(doubtful.low, doubtful.high, rows);
        if rows <= target {
            return Ok(Some((vec![whole], bounds)));
        }
        let mut planner = Planner::new(hunting, &source, &hashing);
        Ok(Some((planner.divide_at_once(whole, Caps::of_rows(target)).await?, bounds)))
    }
}

fn instant(rows: &Rows, column: &str) -> Option<Timestamp> {
    rows.rows.first()?.get(column).and_then(Value::as_str)?.parse().ok()
}
