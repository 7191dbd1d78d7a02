//! Rows without a value in the column of the watermark.

use super::{Partition, Range, Slice, Source, arrival_column, line, range_filter, slice_of};
use crate::kql::Identifier;
use crate::timestamp::Timestamp;

/// As what the values of a watermark column are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// As the times that they are.
    AsTheyAre,
    /// As the destination reads them, should the source have come to write text.
    AsTimes,
}

/// How many rows (`NoTime`) of those that [`window`](super::window) has to give have no value in `watermark_column`, which may be
/// [`ARRIVAL_COLUMN`](super::ARRIVAL_COLUMN) if the source adds it.
pub fn count_null_watermark(
    source: &Source,
    slice: &Slice,
    partition: Option<&Partition>,
    watermark_column: &Identifier,
    values: Values,
) -> String {
    let mut query = slice_of(source, slice, partition);
    arrival_column(&mut query, source);
    without(&mut query, watermark_column, values);
    line(&mut query, format_args!("summarize NoTime = count()"));
    query
}

/// The same for each of many ranges, which need neither be disjoint nor in order: the first under `NoTime0`, and so on. It reads from the
/// beginning of the first to the end of the last.
pub fn count_null_watermarks(
    source: &Source,
    ranges: &[Range],
    watermark_column: &Identifier,
    values: Values,
) -> String {
    let low = ranges.iter().map(|range| range.low).min().unwrap_or(Timestamp::MIN);
    let high = ranges.iter().map(|range| range.high).max().unwrap_or(Timestamp::MIN);
    let mut query = slice_of(source, &Slice::Range(Range { low, high }), None);
    arrival_column(&mut query, source);
    without(&mut query, watermark_column, values);
    let axis = &source.axis;
    let counts = ranges.iter().enumerate();
    let counts = counts.map(|(index, range)| format!("NoTime{index} = countif({})", range_filter(axis, range)));
    line(&mut query, format_args!("summarize {}", counts.collect::<Vec<_>>().join(", ")));
    query
}

fn without(query: &mut String, watermark_column: &Identifier, values: Values) {
    match values {
        Values::AsTheyAre => line(query, format_args!("where isnull({watermark_column})")),
        Values::AsTimes => line(query, format_args!("where isnull(todatetime({watermark_column}))")),
    }
}
