//! The rows of windows, and samples of them.

use super::{Axis, Partition, Slice, Source, WIRE_BYTES, added_columns, line, packed, slice_of};
use crate::kql::Timespan;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

/// What the packed rows of a slice, or of one partition of it, weigh: how many they are (`Rows`), their bytes (`Bytes`), their
/// bytes as text of a JSON answer (`Wire`) and the sum of the squares of those (`Squares`), and the largest (`Biggest`); of a
/// range by the hour in which they lie (`Bin`).
///
/// `estimate_data_size` would not do: it knows neither names, quotes nor escapes (dataexplorer-docs
/// `query/estimate-data-size-function.md`).
pub fn sample(source: &Source, slice: &Slice, partition: Option<&Partition>, chunk_id: Option<&str>) -> String {
    let mut query = slice_of(source, slice, partition);
    added_columns(&mut query, source, chunk_id);
    line(&mut query, format_args!("extend Row = {}", packed(source)));
    let axis = &source.axis;
    let has_times = matches!(slice, Slice::Range(_)) && *axis != Axis::None;
    if has_times {
        line(&mut query, format_args!("extend Bin = bin({axis}, {})", Timespan(HOUR)));
    }
    let (bin, by) = if has_times { (", Bin", " by Bin") } else { ("", "") };
    line(&mut query, format_args!("project Bytes = string_size(Row), Wire = {WIRE_BYTES}{bin}"));
    line(
        &mut query,
        format_args!(
            "summarize Rows = count(), Bytes = sum(Bytes), Wire = sum(Wire), Squares = sum(1.0 * Wire * Wire), Biggest = max(Bytes){by}"
        ),
    );
    query
}

/// All rows of a slice, or of one partition of it, packed: one column `Row`, a JSON object as text. With `chunk_id`
/// each row holds it as `_ChunkId`.
pub fn window(source: &Source, slice: &Slice, partition: Option<&Partition>, chunk_id: Option<&str>) -> String {
    let mut query = plain_window(source, slice, partition, chunk_id);
    pack(&mut query, source);
    query
}

/// The rows of [`window`] as the service writes them, for one that refuses to pack.
pub fn plain_window(source: &Source, slice: &Slice, partition: Option<&Partition>, chunk_id: Option<&str>) -> String {
    let mut query = slice_of(source, slice, partition);
    added_columns(&mut query, source, chunk_id);
    query
}

/// Up to `take` rows of a slice as the service writes them, whichever it likes.
pub fn plain_sample(source: &Source, slice: &Slice, take: u32, chunk_id: Option<&str>) -> String {
    let mut query = slice_of(source, slice, None);
    added_columns(&mut query, source, chunk_id);
    line(&mut query, format_args!("take {take}"));
    query
}

/// Up to `take` rows of a slice packed, whichever the service likes.
pub fn packed_sample(source: &Source, slice: &Slice, take: u32, chunk_id: Option<&str>) -> String {
    let mut query = plain_sample(source, slice, take, chunk_id);
    pack(&mut query, source);
    query
}

fn pack(query: &mut String, source: &Source) {
    line(query, format_args!("project Row = {}", packed(source)));
}
