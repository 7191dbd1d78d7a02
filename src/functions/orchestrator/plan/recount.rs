//! Rows that came late: what the source shows of the last days is held against the ledger, and windows that have grown get
//! repairs. What is compared is decided in `orchestration::recount` and `orchestration::head::nulls`; here it is asked for.

use super::super::{Step, StepError};
use crate::defender::queries::{self, Hashing, Range as Stretch, Slice, Source};
use crate::defender::{Error as HuntingError, Rows};
use crate::functions::hunting::{Error, Hunting};
use crate::functions::planner::Histogram;
use crate::functions::source;
use crate::orchestration::ledger::{Head, Shape};
use crate::orchestration::recount::{Grown, Leaf, Past, Search, by_slice, edges, grown_parts};
use serde_json::Value;
use std::ops::Range;

/// The windows of the past that have grown, given what the plan's histogram counted there.
pub(super) async fn grown(
    head: &Head,
    shape: &Shape,
    past: &Past,
    counted: &Histogram,
    hunting: &mut Hunting<'_>,
) -> Step<Vec<Grown>> {
    let source = source::of(head, shape, past.is_before_handover(shape)).map_err(StepError::name)?;
    let mut search = Search::begin(past, &counted.past, counted.past_width);
    while let Some(slices) = search.ask() {
        let counts = count(&source, past, &slices, hunting).await?;
        search.answered(&slices, &counts);
    }
    let mut grown = Vec::new();
    for (leaf, shown) in search.found() {
        match leaf.windows.first() {
            Some(window) if leaf.is_whole() => grown.push(Grown { window: window.clone(), shown }),
            first => {
                let by = first.and_then(|first| shape.parted(first.parting)).unwrap_or(&shape.parts);
                let hashing = source::hashing_by(by).map_err(StepError::name)?;
                grown.extend(parts(&source, &hashing, leaf, hunting).await?);
            }
        }
    }
    if !grown.is_empty() {
        tracing::info!(table = head.source, windows = grown.len(), "rows came late into windows that were copied");
    }
    Ok(grown)
}

async fn count(source: &Source, past: &Past, slices: &[Range<usize>], hunting: &mut Hunting<'_>) -> Step<Vec<u64>> {
    let edges = edges(past, slices);
    let (Some(low), Some(high)) = (edges.first(), edges.last()) else { return Ok(Vec::new()) };
    let inner = edges.get(1..edges.len() - 1).unwrap_or_default();
    let query = queries::slices(source, &Stretch { low: *low, high: *high }, inner);
    let counts = numbered(&hunting.counts(&query).await?, "Slice")?;
    Ok(by_slice(past, slices, &edges, &counts))
}

async fn parts(source: &Source, hashing: &Hashing, leaf: &Leaf, hunting: &mut Hunting<'_>) -> Step<Vec<Grown>> {
    let slice = Slice::Range(Stretch { low: leaf.low, high: leaf.high });
    let query = queries::partition_counts(source, &slice, hashing, u32::from(leaf.finest()));
    Ok(grown_parts(leaf, &numbered(&hunting.counts(&query).await?, "Part")?))
}

/// The numbers of an answer, each with its rows.
fn numbered(rows: &Rows, column: &str) -> Result<Vec<(u64, u64)>, Error> {
    let number = |value: Option<&Value>| {
        let corrupt = || HuntingError::Corrupt { message: format!("a count by {column} without its numbers") };
        value.and_then(Value::as_u64).ok_or_else(|| Error::from(corrupt()))
    };
    rows.rows.iter().map(|row| Ok((number(row.get(column))?, number(row.get("Rows"))?))).collect()
}
