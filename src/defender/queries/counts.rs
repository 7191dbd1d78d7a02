//! How many rows there are, and where they lie.

use super::{
    Hashing, Partition, Past, Range, Slice, Source, WIRE_BYTES, added_columns, arrival_column, handover, hash_of, line,
    packed, part_of, range_filter, slice_of,
};
use crate::kql::{Datetime, Identifier, Timespan};
use crate::timestamp::Timestamp;
use std::fmt;
use std::time::Duration;

/// Row hashes are below this: sums of them stay below 2^63 for two thousand million rows.
const ROW_HASHES: u64 = 1 << 32;

/// Counts of `rows` by something, with one more row that says how many they are in all (`Total`): an answer without it, or whose counts
/// come to less, was cut short. It reads no more than the filters do.
fn with_total(counts: &str, rows: &str) -> String {
    format!("{counts}\n| union ({rows}\n| summarize Total = count())")
}

/// Counts of `rows` that `summarize` makes of them, with their total.
fn counted(rows: &str, summarize: fmt::Arguments<'_>) -> String {
    let mut counts = rows.to_owned();
    line(&mut counts, summarize);
    with_total(&counts, rows)
}

/// A query for counts with their total as two queries, for a service that refuses the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apart<'a> {
    /// The counts alone.
    pub counts: &'a str,
    /// How many rows they are in all (`Total`).
    pub total: &'a str,
}

impl<'a> Apart<'a> {
    /// None where more is asked for beside them.
    pub fn of(query: &'a str) -> Option<Self> {
        let (counts, rest) = query.split_once("\n| union (")?;
        let total = rest.strip_suffix(')').filter(|total| total.ends_with("\n| summarize Total = count()"))?;
        Some(Self { counts, total })
    }
}

/// How many rows (`Rows`) lie in each bin of the cut axis (`Bin`), within `range`, and in all (`Total`), as in all counts by bins, slices
/// or parts. With `null_axis` the rows without a value there are counted too, under a null `Bin`.
pub fn histogram(source: &Source, range: &Range, null_axis: bool, bin: Duration) -> String {
    let axis = &source.axis;
    let mut filter = range_filter(axis, range);
    if null_axis {
        filter = format!("({filter}) or isnull({axis})");
    }
    let mut query = source.table.to_string();
    line(&mut query, format_args!("where {filter}"));
    handover(&mut query, source);
    counted(&query, format_args!("summarize Rows = count() by Bin = bin({axis}, {})", Timespan(bin)))
}

/// The same, with the rows of a range before it: `New` is 1 for those of `range`, and 0 for those of before.
pub fn histogram_with_past(source: &Source, range: &Range, null_axis: bool, bin: Duration, past: Past) -> String {
    let axis = &source.axis;
    let mut filter = range_filter(axis, &Range { low: past.low, high: range.high });
    if null_axis {
        filter = format!("({filter}) or isnull({axis})");
    }
    let mut query = source.table.to_string();
    line(&mut query, format_args!("where {filter}"));
    handover(&mut query, source);
    let (low, bin, wide) = (Datetime(range.low), Timespan(bin), Timespan(past.bin));
    counted(
        &query,
        format_args!(
            "summarize Rows = count() by Bin = iff({axis} > {low}, bin({axis}, {bin}), bin({axis}, {wide})), New = iff({axis} > {low}, 1, 0)"
        ),
    )
}

/// How many rows (`Rows`) of `range` lie above how many (`Slice`) of the `edges` in it.
pub fn slices(source: &Source, range: &Range, edges: &[Timestamp]) -> String {
    let axis = &source.axis;
    let rows = slice_of(source, &Slice::Range(*range), None);
    let above: Vec<String> = edges.iter().map(|edge| format!("iff({axis} > {}, 1, 0)", Datetime(*edge))).collect();
    let slice = if above.is_empty() { "0".to_owned() } else { above.join(" + ") };
    counted(&rows, format_args!("summarize Rows = count() by Slice = {slice}"))
}

/// How many rows of a slice have a value in a column (`Rows`), the least and the greatest of them (`First`, `Last`), and how many rows
/// have none (`Without`).
pub fn bounds(source: &Source, slice: &Slice, column: &Identifier) -> String {
    let mut query = slice_of(source, slice, None);
    arrival_column(&mut query, source);
    line(
        &mut query,
        format_args!(
            "summarize Rows = countif(isnotnull({column})), First = min({column}), Last = max({column}), Without = countif(isnull({column}))"
        ),
    );
    query
}

/// Where in `range` rows lie, closer than [`histogram`]: of each bin also the first and the last instant with a row (`First`,
/// `Last`).
pub fn close_histogram(source: &Source, range: &Range, bin: Duration) -> String {
    let axis = &source.axis;
    let rows = slice_of(source, &Slice::Range(*range), None);
    counted(
        &rows,
        format_args!(
            "summarize Rows = count(), First = min({axis}), Last = max({axis}) by Bin = bin({axis}, {})",
            Timespan(bin)
        ),
    )
}

/// [`close_histogram`] with the bytes that the packed rows of each bin take in an answer (`Wire`), as [`sample`](super::sample) reckons them.
/// It reads what [`window`](super::window) reads.
pub fn weighed_histogram(source: &Source, range: &Range, bin: Duration, chunk_id: Option<&str>) -> String {
    let axis = &source.axis;
    let mut query = slice_of(source, &Slice::Range(*range), None);
    let rows = query.clone();
    added_columns(&mut query, source, chunk_id);
    line(&mut query, format_args!("extend Row = {}", packed(source)));
    line(
        &mut query,
        format_args!(
            "summarize Rows = count(), Wire = sum({WIRE_BYTES}), First = min({axis}), Last = max({axis}) by Bin = bin({axis}, {})",
            Timespan(bin)
        ),
    );
    with_total(&query, &rows)
}

/// How many rows (`Rows`) [`window`](super::window) has to give.
pub fn count(source: &Source, slice: &Slice, partition: Option<&Partition>) -> String {
    let mut query = slice_of(source, slice, partition);
    line(&mut query, format_args!("summarize Rows = count()"));
    query
}

/// How many rows (`Rows`) each of `count` partitions (`Part`) of a slice holds; partitions without rows are not listed.
pub fn partition_counts(source: &Source, slice: &Slice, by: &Hashing, count: u32) -> String {
    let rows = slice_of(source, slice, None);
    counted(&rows, format_args!("summarize Rows = count() by Part = {}", part_of(by, count)))
}

/// How many rows (`Rows`) each of `count` partitions (`Part`) of a whole table holds, and what the hashes of `row_columns` of
/// its rows come to (`Sum`): another table hardly has the same of all partitions. Partitions without rows are not listed. With
/// `only`, of the rows of one coarser partition alone: of the others no more than its columns are read.
pub fn snapshot_counts(
    source: &Source,
    by: &Hashing,
    count: u32,
    row_columns: &[Identifier],
    only: Option<&Partition>,
) -> String {
    let mut query = source.table.to_string();
    if let Some(only) = only {
        line(&mut query, format_args!("where {only}"));
    }
    let (row, part) = (hash_of(by.function, row_columns, ROW_HASHES), part_of(by, count));
    counted(&query, format_args!("summarize Rows = count(), Sum = sum({row}) by Part = {part}"))
}

#[cfg(test)]
mod tests {
    use super::super::with_columns;
    use super::*;

    #[test]
    fn counts_and_their_total_are_told_apart_where_nothing_else_is_asked_for() {
        let (counts, rows) = ("T\n| summarize Rows = count() by Part = hash(Id, 4)", "T\n| where Id > 1");
        let query = with_total(counts, rows);
        let total = "T\n| where Id > 1\n| summarize Total = count()";
        assert_eq!(Apart::of(&query), Some(Apart { counts, total }));
        assert_eq!(Apart::of(&with_columns(&query, &Identifier::new("T").unwrap())), None);
        assert_eq!(Apart::of(counts), None);
    }
}
