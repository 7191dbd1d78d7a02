//! What another app may have missed of a table that is taken over from it. What that is is decided in
//! `orchestration::head::handover`; here it is counted.

use super::super::{Step, StepError};
use crate::app::Services;
use crate::defender::queries::{self, Axis, Copied, Range, Slice, Source};
use crate::defender::{Error as HuntingError, Rows};
use crate::functions::hunting::{Error, Hunting, number};
use crate::functions::planner::Planner;
use crate::functions::source;
use crate::kql::Identifier;
use crate::orchestration::head::handover::{Doubtful, Pieces, doubtful, windows};
use crate::orchestration::ids::WindowName;
use crate::orchestration::ledger::{CutAxis, Head, Shape};
use crate::orchestration::limits::Limits;
use crate::orchestration::plan::{Caps, Piece};
use crate::orchestration::window::Window;
use crate::timestamp::Timestamp;
use serde_json::Value;

/// A table that is being planned.
pub(super) struct Taking<'a> {
    pub head: &'a Head,
    pub shape: &'a Shape,
    pub ledger: &'a [Window],
    pub draft: &'a str,
    pub now: Timestamp,
    pub limits: &'a Limits,
}

impl Taking<'_> {
    /// Whether the destination holds rows. A watermark in the configuration is no sign of another app: a person may begin a new table
    /// with one.
    pub async fn has_rows(services: &Services, head: &Head, hunting: &Hunting<'_>) -> Step<bool> {
        let destination = Identifier::new(&head.destination).map_err(StepError::name)?;
        let size = services.catalog.size(&destination, hunting.deadline()).await?;
        Ok(size.is_some_and(|(rows, _)| rows > 0))
    }

    /// The windows of rows that the other app may have missed, of at most `target` rows.
    pub async fn windows(&self, target: u64, hunting: &mut Hunting<'_>) -> Step<Vec<(WindowName, Window)>> {
        let Self { head, now, limits, .. } = *self;
        let Some(doubtful) = doubtful(head, now, limits) else { return Ok(Vec::new()) };
        let pieces = match (&self.shape.axis, &self.shape.handover) {
            (CutAxis::Whole, _) => return Ok(Vec::new()),
            (CutAxis::ArrivalTime, Some(_)) => self.by_watermark(&doubtful, target, hunting).await?,
            (CutAxis::ArrivalTime | CutAxis::Column(_), _) => {
                Pieces::OnAxis(self.on_axis(&doubtful, target, hunting).await?)
            }
        };
        let windows = windows(head, self.draft, self.ledger, &doubtful, pieces, now);
        let rows: u64 = windows.iter().map(|(_, window)| window.expected_rows()).sum();
        tracing::info!(table = head.source, rows, "rows of before the handover are compared with what was copied");
        Ok(windows)
    }

    async fn on_axis(&self, doubtful: &Doubtful, target: u64, hunting: &mut Hunting<'_>) -> Step<Vec<Piece>> {
        let source = source::of(self.head, self.shape, false).map_err(StepError::name)?;
        let hashing = source::hashing(self.shape).map_err(StepError::name)?;
        let mut planner = Planner::new(hunting, &source, &hashing);
        let counted = planner.count(doubtful.low, doubtful.high, 0, false, None).await?;
        Ok(planner.cut(counted, target).await?)
    }

    async fn by_watermark(&self, doubtful: &Doubtful, target: u64, hunting: &mut Hunting<'_>) -> Step<Pieces> {
        let mut source = source::of(self.head, self.shape, true).map_err(StepError::name)?;
        let watermark = Identifier::new(&self.head.watermark_column).map_err(StepError::name)?;
        let hashing = source::hashing(self.shape).map_err(StepError::name)?;
        let all = Range { low: Timestamp::MIN, high: doubtful.high };
        read(&mut source, Copied::Missed(doubtful.low));
        let answer = hunting.rows(&queries::bounds(&source, &Slice::Range(all), &watermark)).await?;
        let corrupt = || Error::from(HuntingError::Corrupt { message: "bounds without their numbers".to_owned() });
        let rows = number(&answer, "Rows").ok_or_else(corrupt)?;
        let whole = Piece::whole(all.low, all.high, number(&answer, "Without").ok_or_else(corrupt)?);
        let bounds = match rows {
            0 => None,
            _ => Some(instant(&answer, "First").zip(instant(&answer, "Last")).ok_or_else(corrupt)?),
        };
        read(&mut source, Copied::Without);
        let mut planner = Planner::new(hunting, &source, &hashing);
        let without =
            if whole.rows > target { planner.divide_at_once(whole, Caps::of_rows(target)).await? } else { vec![whole] };
        let Some((first, last)) = bounds else { return Ok(Pieces::ByWatermark { some: Vec::new(), without }) };
        let whole = Piece::whole(first.before(), last, rows);
        if rows <= target {
            return Ok(Pieces::ByWatermark { some: vec![whole], without });
        }
        source.axis = Axis::Column(watermark);
        read(&mut source, Copied::Arrived(Range { low: doubtful.low, ..all }));
        let mut planner = Planner::new(hunting, &source, &hashing);
        let counted = planner.count(whole.low, whole.high, 0, false, None).await?;
        Ok(Pieces::ByWatermark { some: planner.cut(counted, target).await?, without })
    }
}

fn read(source: &mut Source, what: Copied) {
    if let Some(handover) = source.handover.as_mut() {
        handover.copied = what;
    }
}

fn instant(rows: &Rows, column: &str) -> Option<Timestamp> {
    rows.rows.first()?.get(column).and_then(Value::as_str)?.parse().ok()
}
