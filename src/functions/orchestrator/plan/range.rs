//! The plan of a table that is copied range by range: the windows of the new range, from one histogram and one more where bins
//! are too full; and the repairs of windows of before, whose rows the same histogram counts again. What is decided is in
//! `orchestration::head` and `orchestration::recount`.

use super::super::{Step, StepError};
use super::handover::Taking;
use super::{Planning, learn, measure, recount};
use crate::defender::queries::{Range, Slice, Source};
use crate::functions::columns::{self, Look};
use crate::functions::hunting::Hunting;
use crate::functions::planner::{Histogram, Planner};
use crate::functions::source;
use crate::orchestration::head::nulls::{self, NullRows};
use crate::orchestration::head::plan;
use crate::orchestration::head::survey::Survey;
use crate::orchestration::head::{gap, handover, narrow};
use crate::orchestration::ids::{Part, WindowId, WindowName};
use crate::orchestration::ledger::{Head, Shape};
use crate::orchestration::limits::ROW_CAP;
use crate::orchestration::plan::{Aim, Caps, Piece};
use crate::orchestration::recount::{Past, repairs};
use crate::orchestration::refine::bins_wanted;
use crate::orchestration::sizing;
use crate::orchestration::window::Window;
use crate::storage::ETag;
use crate::timestamp::Timestamp;

/// Windows of a plan, by their names.
type Windows = Vec<(WindowName, Window)>;

/// A new range, counted.
struct Counted {
    /// What is left of it for a later run.
    later: Option<Histogram>,
    /// The rest.
    counted: Histogram,
    /// The table's columns, where the service told them.
    look: Option<Look>,
}

impl Planning<'_> {
    /// The windows of the new range and the repairs of those before it.
    pub(super) async fn new_windows(
        &self,
        head: &mut Head,
        found: &mut Survey<ETag>,
        hunting: &mut Hunting<'_>,
    ) -> Step<(Windows, Option<Look>)> {
        // What is asked must not change from attempt to attempt.
        let (limits, now) = (&self.app.limits, hunting.time());
        *head = narrow::began(handover::began(head.clone(), now), self.table(), now);
        let Some((low, high)) = plan::new_range(self.table(), head) else {
            head.notes.extend(narrow::nothing_asked(head, &self.asked.run.input));
            return Ok((Vec::new(), None));
        };
        if head.others.is_some() && !Taking::has_rows(self.services, head, hunting).await? {
            (head.others, found.others) = (None, None);
        }
        let gap = gap::end(low, high, now);
        let past = Past::of(head, &found.windows, limits).filter(|_| gap.is_none());
        let range = Range { low: gap.unwrap_or(low), high };
        let Counted { later, counted, look } = self.count_all(head, range, past.as_ref(), hunting).await?;
        // By now it is known whether rows are parted by something else.
        let past = past.and_then(|_| Past::of(head, &found.windows, limits));
        let range = Range { low: later.as_ref().map_or(range.low, Histogram::high), high };
        let source = self.weigh(head, &counted, range, hunting).await?;
        let byte_cap = hunting.byte_cap();
        let target = sizing::target_rows(head, limits, byte_cap);
        let judged = nulls::judge(&found.windows, counted.null_rows, now);
        let null_rows = if judged == NullRows::Copied { 0 } else { counted.null_rows };
        let histograms = (later, counted, null_rows);
        let (mut pieces, nulls) = self.cut(head, &found.windows, &source, &histograms, look.as_ref(), hunting).await?;
        let first = histograms.0.as_ref().unwrap_or(&histograms.1);
        let mut windows = self.came_late(head, found, past.as_ref(), first, hunting).await?;
        let (shape, draft) = (shape_of(head)?, draft_of(head)?);
        let taking = Taking { head, shape, ledger: &found.windows, draft, now, limits };
        windows.extend(taking.windows(target, hunting).await?);
        match judged {
            NullRows::Changed => windows.extend(nulls::repairs(head, draft, &found.windows, &nulls, now)),
            _ => pieces.extend(nulls),
        }
        windows.extend(plan::windows_of(head, pieces, now).map_err(|error| StepError::Failed(error.to_string()))?);
        if let Some(end) = gap {
            tracing::error!(table = head.source, from = %low, to = %end, "rows are missing: the source no longer keeps them");
            windows.push(gap::window(head, draft, self.asked.id(), (low, end), now));
        }
        found.others = handover::left(head, high, now);
        found.recount_from = past.as_ref().map_or(found.recount_from, |past| past.open_from(now));
        Ok((windows, look))
    }

    /// Cuts what was counted into pieces, and the rows without a place on the axis into others. Where the hash leaves more rows
    /// together than an answer has, now or in a window of before, rows are parted by all columns from then on.
    async fn cut(
        &self,
        head: &mut Head,
        ledger: &[Window],
        source: &Source,
        (later, counted, null_rows): &(Option<Histogram>, Histogram, u64),
        look: Option<&Look>,
        hunting: &mut Hunting<'_>,
    ) -> Step<(Vec<Piece>, Vec<Piece>)> {
        let byte_cap = hunting.byte_cap();
        let target = sizing::target_rows(head, &self.app.limits, byte_cap);
        let whole = Piece::whole(Timestamp::MIN, Timestamp::MIN, *null_rows);
        let mut is_stuck = ledger.iter().any(is_stuck);
        loop {
            let hashing = source::hashing(shape_of(head)?).map_err(StepError::name)?;
            let mut planner = Planner::new(hunting, source, &hashing);
            let mut pieces = Vec::new();
            {
                let (caps, each) = sizing::caps(head, &self.app.limits, byte_cap);
                for histogram in later.iter().chain([counted]) {
                    pieces.extend(planner.cut_below(histogram.clone(), caps, &each).await?);
                }
            }
            let nulls = match whole.rows {
                0 => Vec::new(),
                rows if rows > target => planner.divide(whole, Aim::below(Caps::of_rows(target)), None).await?.pieces,
                _ => vec![whole],
            };
            is_stuck |= pieces.iter().chain(&nulls).any(|piece| piece.rows >= ROW_CAP);
            let shape = shape_of(head)?;
            let wider = look.filter(|_| is_stuck).and_then(|look| learn::wider(shape, look.columns()));
            let (Some(wider), Some(shape)) = (wider, head.shape.as_mut()) else { return Ok((pieces, nulls)) };
            tracing::warn!(table = head.source, parts = %shape.parts, "rows are not told apart and are parted by all columns from now on");
            shape.widen(wider);
        }
    }

    /// Counts the range, and by itself what is left of it for a later run; the past with what comes first.
    async fn count_all(
        &self,
        head: &mut Head,
        range: Range,
        past: Option<&Past>,
        hunting: &mut Hunting<'_>,
    ) -> Step<Counted> {
        let edge = narrow::edge(head, range.low, range.high);
        let Some(edge) = edge else {
            let (counted, look) = self.count(head, range, past, hunting).await?;
            head.notes.extend(narrow::note(head));
            return Ok(Counted { later: None, counted, look });
        };
        let (later, _) = self.count(head, Range { low: range.low, high: edge }, past, hunting).await?;
        let (counted, look) = self.count(head, Range { low: edge, high: range.high }, None, hunting).await?;
        Ok(Counted { later: Some(later), counted, look })
    }

    /// Counts the range and the past before it by one histogram; what that tells of the table's columns and growth goes into the
    /// head.
    async fn count(
        &self,
        head: &mut Head,
        range: Range,
        past: Option<&Past>,
        hunting: &mut Hunting<'_>,
    ) -> Step<(Histogram, Option<Look>)> {
        let shape = shape_of(head)?.clone();
        let handover = plan::is_handover(head) || past.is_some_and(|past| past.is_before_handover(&shape));
        let source = source::of(head, &shape, handover).map_err(StepError::name)?;
        let hashing = source::hashing(&shape).map_err(StepError::name)?;
        let target = sizing::target_rows(head, &self.app.limits, hunting.byte_cap());
        let days = range.high.since(range.low).as_secs_f64() / 86_400.0;
        let wanted = bins_wanted(head.rows_per_day.unwrap_or_default() * days, Caps::of_rows(target));
        let nulls = nulls::are_counted(head, range.high);
        let mut planner = Planner::new(hunting, &source, &hashing).asking_for_columns();
        let counted = planner.count(range.low, range.high, wanted, nulls, past.map(Past::low)).await?;
        let columns = planner.take_columns();
        head.rows_per_day = counted.rows_per_day().or(head.rows_per_day);
        let mut look = None;
        if let Some(columns) = columns {
            let (notes, seen) = columns::changes(self.app, self.key(), columns).await;
            part_anew(head, &seen);
            head.compare_without(seen.gone().iter().chain(seen.changed()).cloned());
            head.no_watermark =
                head.watermark_column != source::ARRIVAL_COLUMN && !seen.columns().contains_key(&head.watermark_column);
            (head.notes, look) = (notes, Some(seen));
            head.notes.extend(head.no_watermark.then(|| without_watermark(head)));
        }
        Ok((counted, look))
    }

    /// The repairs of windows into which rows came late.
    async fn came_late(
        &self,
        head: &mut Head,
        found: &Survey<ETag>,
        past: Option<&Past>,
        counted: &Histogram,
        hunting: &mut Hunting<'_>,
    ) -> Step<Windows> {
        let Some(past) = past else { return Ok(Vec::new()) };
        let grown = recount::grown(head, shape_of(head)?, past, counted, hunting).await?;
        Ok(repairs(head, draft_of(head)?, &found.windows, &grown, self.app.state.now()))
    }

    /// Weighs some of the rows where it is not known yet what they weigh; gives the source as rows are packed then.
    async fn weigh(
        &self,
        head: &mut Head,
        counted: &Histogram,
        range: Range,
        hunting: &mut Hunting<'_>,
    ) -> Step<Source> {
        let rows = match (counted.rows(), counted.null_rows) {
            (0, nulls) => (Slice::NullAxis, nulls),
            (rows, _) => (Slice::Range(range), rows),
        };
        measure::weigh(self.services, head, rows, hunting).await?;
        source::of(head, shape_of(head)?, plan::is_handover(head)).map_err(StepError::name)
    }
}

/// Whether a window of before has more rows of one instant than an answer, which nothing has divided.
fn is_stuck(window: &Window) -> bool {
    let WindowId { low, high, part, .. } = window.id;
    let rows = window.expected_rows();
    part == Part::WHOLE
        && !window.state.is_terminal()
        && rows >= ROW_CAP
        && Piece::whole(low, high, rows).is_single_tick()
}

fn without_watermark(head: &Head) -> String {
    let Head { source, destination, watermark_column, .. } = head;
    format!(
        "{source} has no column {watermark_column} any more, which is its WatermarkColumn: new rows have a null {watermark_column} in \
         {destination}. For rows with a time, copy the table to another DestinationTable with another WatermarkColumn"
    )
}

/// Where what rows are parted by is gone, they are parted by something else from now on.
fn part_anew(head: &mut Head, look: &Look) {
    let Some(shape) = head.shape.as_mut() else { return };
    let is_there = |column: &String| look.columns().contains_key(column) && !look.changed().contains(column);
    shape.narrower.retain(|(_, parts)| parts.columns.iter().all(is_there));
    if let Some(parts) = learn::parted_anew(shape, look.columns(), look.changed()) {
        tracing::warn!(table = head.source, before = %shape.parts, now = %parts, "rows are parted by other columns");
        shape.part_by(parts);
    }
}

fn shape_of(head: &Head) -> Step<&Shape> {
    let none = || StepError::Failed(format!("the ledger of {} has no shape; start another run", head.source));
    head.shape.as_ref().ok_or_else(none)
}

fn draft_of(head: &Head) -> Step<&str> {
    plan::draft_of(head).map_err(|error| StepError::Failed(error.to_string()))
}
