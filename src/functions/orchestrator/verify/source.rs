//! What the source is asked while windows are judged: how many rows of them have a null watermark there.

use crate::app::{App, Services};
use crate::defender::queries::{self, Range, Values};
use crate::defender::{Error as HuntingError, Rows};
use crate::functions::hunting::{Error as CallError, Hunting, number};
use crate::functions::planner::{columns_of, is_too_much};
use crate::functions::source;
use crate::kql::{Identifier, InvalidName};
use crate::orchestration::ids::WindowId;
use crate::orchestration::ledger::{CutAxis, Head, Shape};
use crate::orchestration::limits::ASKED_AT_ONCE;
use crate::orchestration::null_watermarks::{Waiting, is_a_range};
use crate::orchestration::window::Window;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use tokio::time::Instant;

/// Under which a count of one window stands.
const NO_TIME: &str = "NoTime";

/// The source, as far as its quota reaches.
pub struct Source<'a> {
    hunting: Hunting<'a>,
    is_used_up: bool,
    /// Whether the column of the watermark is not there any more.
    has_lost_it: bool,
}

/// Why a number of the source is not known.
#[derive(Debug, Clone)]
pub enum Unknown {
    /// The quota is used up: later, whatever the deadline.
    Later,
    /// The service does not take the question, and would not the next time either.
    Refused(String),
    /// Something failed.
    Failed(String),
}

/// What the source said of windows, or why it did not.
pub type NullWatermarks = HashMap<WindowId, Result<u64, Unknown>>;

impl<'a> Source<'a> {
    /// Nothing is asked yet.
    pub fn new(app: &'a App, services: &'a Services, deadline: Instant) -> Self {
        Self { hunting: Hunting::new(app, services, deadline), is_used_up: false, has_lost_it: false }
    }

    /// Calls made so far.
    pub fn calls(&self) -> u64 {
        self.hunting.calls()
    }

    /// Counts the rows of windows that have a null watermark; where they may be fewer than landed so, also those whose text is no time.
    pub async fn null_watermarks(&mut self, head: &Head, windows: &[Waiting<'_>]) -> NullWatermarks {
        let Some(shape) = &head.shape else {
            let unknown = Unknown::Failed("the ledger has no shape".to_owned());
            return windows.iter().map(|waiting| (waiting.window.id, Err(unknown.clone()))).collect();
        };
        let mut told = NullWatermarks::new();
        for handover in [false, true] {
            let is_one = |waiting: &&Waiting<'_>| {
                let window = waiting.window;
                window.handover == handover && is_a_range(window) && told_by_the_ledger(head, shape, window).is_none()
            };
            let ranges: Vec<Waiting<'_>> = windows.iter().filter(is_one).copied().collect();
            for ranges in ranges.chunks(ASKED_AT_ONCE).filter(|ranges| ranges.len() > 1) {
                told.extend(self.of_ranges(head, shape, handover, ranges).await);
            }
        }
        for Waiting { window, landed } in windows {
            if let Entry::Vacant(unasked) = told.entry(window.id) {
                unasked.insert(self.of_window(head, shape, window, *landed).await);
            }
        }
        told
    }

    /// Of ranges in one call; nothing where the service may answer for each by itself.
    async fn of_ranges(
        &mut self,
        head: &Head,
        shape: &Shape,
        handover: bool,
        ranges: &[Waiting<'_>],
    ) -> NullWatermarks {
        let unknown = |unknown: &Unknown| -> NullWatermarks {
            ranges.iter().map(|of| (of.window.id, Err(unknown.clone()))).collect()
        };
        if self.is_used_up {
            return unknown(&Unknown::Later);
        }
        let source = source::of(head, shape, handover);
        let (Ok(source), Ok(watermark)) = (source, Identifier::new(&head.watermark_column)) else {
            return NullWatermarks::new();
        };
        let counted = async {
            let mut counted = self.in_ranges(&source, &watermark, ranges, Values::AsTheyAre).await?;
            let is_fewer = |of: &&Waiting<'_>| counted.get(&of.window.id).is_some_and(|counted| *counted < of.landed);
            let fewer: Vec<Waiting<'_>> = ranges.iter().filter(is_fewer).copied().collect();
            if !fewer.is_empty() {
                counted.extend(self.in_ranges(&source, &watermark, &fewer, Values::AsTimes).await?);
            }
            Ok::<_, CallError>(counted)
        };
        match counted.await {
            Ok(counted) => counted.into_iter().map(|(id, counted)| (id, Ok(counted))).collect(),
            Err(error) if is_of_the_question(&error) => {
                tracing::warn!(%error, "null watermarks are counted for each window by itself");
                NullWatermarks::new()
            }
            Err(error) => unknown(&self.unknown(error)),
        }
    }

    async fn in_ranges(
        &mut self,
        source: &queries::Source,
        watermark: &Identifier,
        ranges: &[Waiting<'_>],
        values: Values,
    ) -> Result<HashMap<WindowId, u64>, CallError> {
        let bounds: Vec<Range> =
            ranges.iter().map(|of| Range { low: of.window.id.low, high: of.window.id.high }).collect();
        let rows = self.hunting.rows(&queries::count_null_watermarks(source, &bounds, watermark, values)).await?;
        let count = |(index, of): (usize, &Waiting<'_>)| {
            count_in(&rows, &format!("NoTime{index}")).map(|counted| (of.window.id, counted))
        };
        ranges.iter().enumerate().map(count).collect()
    }

    async fn of_window(&mut self, head: &Head, shape: &Shape, window: &Window, landed: u64) -> Result<u64, Unknown> {
        if self.is_used_up {
            return Err(Unknown::Later);
        }
        if let Some(told) = told_by_the_ledger(head, shape, window) {
            return Ok(told);
        }
        if self.has_lost_it {
            return Ok(all(window));
        }
        let invalid = |error: InvalidName| Unknown::Refused(error.to_string());
        let source = source::of(head, shape, window.handover).map_err(invalid)?;
        let partition = source::partition(shape, window).map_err(invalid)?;
        let watermark = Identifier::new(&head.watermark_column).map_err(invalid)?;
        let slice = source::slice(window);
        let query = |values| queries::count_null_watermark(&source, &slice, partition.as_ref(), &watermark, values);
        let hunting = &mut self.hunting;
        let counted = match hunting.rows(&query(Values::AsTheyAre)).await {
            Ok(rows) if count_in(&rows, NO_TIME).is_ok_and(|counted| counted < landed) => {
                hunting.rows(&query(Values::AsTimes)).await
            }
            Err(CallError::Call(error @ HuntingError::Refused { .. })) if !error.is_unknown(&source.table) => {
                match columns_of(&source.table, hunting).await {
                    // It went while the run was on.
                    Ok(Some(columns)) if !columns.contains_key(&head.watermark_column) => {
                        self.has_lost_it = true;
                        return Ok(all(window));
                    }
                    Ok(_) => Err(error.into()),
                    Err(other) => Err(other),
                }
            }
            counted => counted,
        };
        counted.and_then(|rows| count_in(&rows, NO_TIME)).map_err(|error| self.unknown(error))
    }

    fn unknown(&mut self, error: CallError) -> Unknown {
        if error.quota_pause().is_some() {
            tracing::info!(%error, "null watermarks are counted later");
            self.is_used_up = true;
            return Unknown::Later;
        }
        match error {
            CallError::Call(HuntingError::Refused { .. }) => Unknown::Refused(error.to_string()),
            error => Unknown::Failed(error.to_string()),
        }
    }
}

/// How many it has, where that needs no call.
fn told_by_the_ledger(head: &Head, shape: &Shape, window: &Window) -> Option<u64> {
    if shape.axis == CutAxis::Whole {
        // Every post stamps them all.
        return Some(0);
    }
    // Nobody can say any more how many there were.
    (head.no_watermark || shape.has_lost_the_part(window)).then(|| all(window))
}

fn all(window: &Window) -> u64 {
    window.seal.as_ref().map_or(0, |seal| seal.rows)
}

/// Whether the service may take a smaller question.
fn is_of_the_question(error: &CallError) -> bool {
    is_too_much(error) || matches!(error, CallError::Call(HuntingError::Refused { .. } | HuntingError::Corrupt { .. }))
}

fn count_in(rows: &Rows, column: &str) -> Result<u64, CallError> {
    let missing = || HuntingError::Corrupt { message: format!("it has no number under {column}") };
    Ok(number(rows, column).ok_or_else(missing)?)
}
