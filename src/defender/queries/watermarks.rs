//! Rows without a value in the column of the watermark.

use super::{Partition, Slice, Source, arrival_column, line, slice_of};
use crate::kql::Identifier;

/// As what the values of a watermark column are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// As the times that they are.
    AsTheyAre,
    /// As the destination reads them, should the source have come to write text.
    AsTimes,
}

/// How many rows (`NoTime`) of those that [`window`] has to give have no value in `watermark_column`, which may be
/// [`ARRIVAL_COLUMN`] if the source adds it.
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

fn without(query: &mut String, watermark_column: &Identifier, values: Values) {
    match values {
        Values::AsTheyAre => line(query, format_args!("where isnull({watermark_column})")),
        Values::AsTimes => line(query, format_args!("where isnull(todatetime({watermark_column}))")),
    }
}
