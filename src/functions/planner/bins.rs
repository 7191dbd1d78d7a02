//! From the answers of count queries to bins. Asks nothing.

use super::super::columns::Columns;
use super::super::hunting::Error;
use crate::defender::Rows;
use crate::defender::queries::{FRAME_BYTES, Range};
use crate::orchestration::plan::Bin;
use crate::orchestration::sizing::Stretch;
use crate::timestamp::{Timestamp, ticks_of};
use serde_json::{Map, Value};
use std::time::Duration;

const TICK: Duration = Duration::from_nanos(100);

/// A histogram's answer.
#[derive(Default)]
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

impl Counts {
    /// Takes in what was counted of the range that follows.
    pub fn add(&mut self, next: Self) {
        self.bins.extend(next.bins);
        self.null_rows += next.null_rows;
        self.past.extend(next.past);
        self.width = self.width.max(next.width);
    }
}

/// Bins of a range before the one that is planned, where those of `width` were counted by themselves: rows of one that were counted
/// in two answers are in one bin again.
pub fn past(counted: Vec<Bin>, width: Duration) -> Vec<Bin> {
    let ticks = ticks_of(width).max(1);
    let mut past: Vec<Bin> = Vec::with_capacity(counted.len());
    for bin in counted {
        let start = Timestamp::from_ticks(bin.start.ticks() / ticks * ticks);
        match past.last_mut().filter(|last| last.start == start) {
            Some(last) => last.rows += bin.rows,
            None => past.push(Bin { start, width: TICK, rows: bin.rows, bytes: 0 }),
        }
    }
    past
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

/// Takes the table's columns out of an answer that tells them beside its counts, each as `Name type`: a list, or one as JSON
/// text, as a service may write what is dynamic.
pub fn take_columns(rows: &mut Rows) -> Option<Columns> {
    let column = |text: &Value| text.as_str()?.rsplit_once(' ').map(|(name, ty)| (name.to_owned(), ty.to_owned()));
    let mut told = None;
    rows.rows.retain(|row| match row.get("Columns").and_then(list) {
        Some(columns) => {
            told.get_or_insert(columns);
            false
        }
        None => true,
    });
    told?.iter().map(column).collect()
}

fn list(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items.clone()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_taken_out_of_the_counts_however_a_list_is_written() {
        let bin = json!({"Bin": "2026-05-01T00:00:00Z", "Rows": 7, "Columns": null});
        for columns in [json!(["A long", "B dynamic"]), json!("[\"A long\",\"B dynamic\"]")] {
            let told = json!({"Bin": null, "Rows": null, "Columns": columns});
            let rows = [&bin, &told].map(|row| row.as_object().unwrap().clone()).to_vec();
            let mut rows = Rows { columns: Vec::new(), rows };
            let columns = take_columns(&mut rows).unwrap();
            assert_eq!(columns, [("A", "long"), ("B", "dynamic")].map(|(a, b)| (a.to_owned(), b.to_owned())).into());
            assert_eq!(rows.rows, [bin.as_object().unwrap().clone()], "{told}");
        }
    }
}
