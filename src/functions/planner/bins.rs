//! From the answers of count queries to bins. Asks nothing.

use super::super::columns::Columns;
use super::super::hunting::Error;
use crate::defender::Rows;
use crate::defender::queries::{FRAME_BYTES, Range};
use crate::orchestration::plan::Bin;
use crate::orchestration::sizing::Stretch;
use crate::timestamp::Timestamp;
use serde_json::{Map, Value};
use std::time::Duration;

const TICK: Duration = Duration::from_nanos(100);

/// A histogram's answer.
pub struct Counts {
    /// Bins with rows, in order.
    pub bins: Vec<Bin>,
    /// Rows whose cut axis is null.
    pub null_rows: u64,
    /// Bins of the range before it, in order.
    pub past: Vec<Bin>,
    /// How wide the bins were asked for.
    pub width: Duration,
}

/// Reads the answer to a histogram of `range` in bins of `width`. A bin whose first and last instant are named is as narrow
/// as they are.
pub fn counts(rows: &Rows, range: &Range, width: Duration) -> Result<Counts, Error> {
    let mut counts = Counts { bins: Vec::with_capacity(rows.rows.len()), null_rows: 0, past: Vec::new(), width };
    for row in &rows.rows {
        let rows = number(row, "Rows").ok_or_else(|| corrupt("a bin without a count".to_owned()))?;
        let Some(start) = instant(row, "Bin")? else {
            counts.null_rows += rows;
            continue;
        };
        if number(row, "New") == Some(0) {
            counts.past.push(Bin { start, width: TICK, rows, bytes: 0 });
            continue;
        }
        // Bins begin at multiples of their width, ranges do not.
        let first = instant(row, "First")?.unwrap_or(start).max(range.low + TICK).min(range.high);
        let end = instant(row, "Last")?.map_or(start + width, |last| last + TICK).min(range.high + TICK);
        let bytes = number(row, "Wire").map_or(0, |wire| wire + rows * FRAME_BYTES);
        counts.bins.push(Bin { start: first, width: end.since(first).max(TICK), rows, bytes });
    }
    counts.bins.sort_by_key(|bin| bin.start);
    Ok(counts)
}

/// Takes the table's columns out of an answer that tells them beside its counts, each as `Name type`.
pub fn take_columns(rows: &mut Rows) -> Option<Columns> {
    let told = |row: &Map<String, Value>| row.get("Columns").is_some_and(Value::is_array);
    let column = |text: &Value| text.as_str()?.rsplit_once(' ').map(|(name, ty)| (name.to_owned(), ty.to_owned()));
    let columns = rows
        .rows
        .iter()
        .find(|row| told(row))
        .and_then(|row| row.get("Columns")?.as_array()?.iter().map(column).collect());
    rows.rows.retain(|row| !told(row));
    columns
}

/// Bins with what their rows weigh, as `each` says of a stretch.
pub fn weighed_by(mut bins: Vec<Bin>, each: &impl Fn(Stretch) -> f64) -> Vec<Bin> {
    for bin in &mut bins {
        bin.bytes = (bin.rows as f64 * each((bin.start.before(), bin.end().before()))) as u64;
    }
    bins
}

/// Bins that others were divided into, with the bytes that those were measured to have, by rows.
pub fn weighed_like(mut finer: Vec<Bin>, before: &[Bin]) -> Vec<Bin> {
    let (rows, bytes) = before.iter().fold((0, 0), |all, bin| (all.0 + bin.rows, all.1 + bin.bytes));
    for bin in &mut finer {
        bin.bytes = (bin.rows as f64 / rows.max(1) as f64 * bytes as f64) as u64;
    }
    finer
}

/// The parts of an answer that counts by a hash, and their rows.
pub fn part_counts(rows: &Rows) -> impl Iterator<Item = (Option<u64>, Option<u64>)> {
    rows.rows.iter().map(|row| (number(row, "Part"), number(row, "Rows")))
}

fn number(row: &Map<String, Value>, column: &str) -> Option<u64> {
    row.get(column)?.as_u64()
}

fn instant(row: &Map<String, Value>, column: &str) -> Result<Option<Timestamp>, Error> {
    match row.get(column) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            text.parse().map(Some).map_err(|error| corrupt(format!("{column} of a bin is {error}")))
        }
        Some(other) => Err(corrupt(format!("{column} of a bin is {other}"))),
    }
}

/// An answer that cannot be.
pub fn corrupt(message: String) -> Error {
    crate::defender::Error::Corrupt { message }.into()
}
