//! The hunting queries: the only place that writes KQL for the source. Everything in a query is typed input put through
//! the writers of [`crate::kql`]; no text from a table, a setting or a URL is spliced in. Knows no HTTP and no plan.
//!
//! Two rules of the engine shape the texts. `ingestion_time()` has a value only where the rows still come straight from the
//! table, so it stands before any operator that makes new rows (dataexplorer-docs `query/ingestion-time-function.md`). And
//! `pack_all()` packs every column that there is, so what has to be in a row is added just before it.

mod counts;
mod probes;
mod pulls;
mod watermarks;

use crate::kql::{Datetime, Identifier, Text};
use crate::timestamp::Timestamp;
use std::fmt::{self, Display, Write};
use std::time::Duration;

pub use counts::{
    Apart, bounds, close_histogram, count, histogram, histogram_with_past, partition_counts, slices, snapshot_counts,
    weighed_histogram,
};
pub use probes::{arrival, columns, probe, probe_arrival, shown, visible, with_columns};
pub use pulls::{packed_sample, plain_sample, plain_window, sample, window};
pub use watermarks::{Values, count_null_watermark, count_null_watermarks};

/// What the windows of a table are cut on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Axis {
    /// When a row became part of the table: `ingestion_time()`.
    ArrivalTime,
    /// A datetime column.
    Column(Identifier),
    /// Nothing, as with tables without a time: every range of it is the whole table, as it is when it is asked.
    None,
}

/// `(low, high]` on the cut axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Not in the range; [`Timestamp::MIN`] means no lower bound.
    pub low: Timestamp,
    /// In the range.
    pub high: Timestamp,
}

/// Which rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    /// Those in a range of the cut axis.
    Range(Range),
    /// Those that have no value on the cut axis, which no range holds.
    NullAxis,
}

/// The function that hashes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashFunction {
    /// `hash_xxhash64()`, which names its algorithm: the same values in every query.
    Xxhash64,
    /// `hash()`, for a service that refuses the other. Its algorithm, the same today, may change (dataexplorer-docs
    /// `query/hash-function.md`).
    Hash,
}

/// What tells rows apart where no time does: a hash of some of their columns. They should be few, scalar and well spread: they
/// are the only ones read of rows that are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashing {
    /// The function.
    pub function: HashFunction,
    /// The columns.
    pub columns: Vec<Identifier>,
}

/// One of `count` parts of a slice by a hash. Equal rows are in the same part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Which part, from 0.
    pub index: u32,
    /// How many parts there are.
    pub count: u32,
    /// What is hashed.
    pub by: Hashing,
}

/// What an earlier copier of this table has copied already, which is left out.
///
/// It kept a watermark on a column and a time up to which rows had arrived: rows above the watermark, or arrived later, are not
/// copied yet. Rows without one it copied if its first load came after them, and never again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// The column of the watermark; `None`: it was the arrival time.
    pub watermark_column: Option<Identifier>,
    /// Copied up to and including.
    pub watermark: Timestamp,
    /// When the earlier copier looked last.
    pub refreshed: Timestamp,
    /// What of that is read.
    pub copied: Copied,
}

/// What of a table is read that an earlier copier should have copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// Nothing: it is left out.
    LeftOut,
    /// Nothing else, and of that what has these watermarks.
    Alone(Range),
    /// Nothing else, and of that what has no watermark.
    Without,
    /// What has no watermark, and what has arrived after this with one that was copied.
    Missed(Timestamp),
    /// Nothing else, and of that what had arrived in this range. The watermark is what windows are cut on.
    Arrived(Range),
}

/// A range before that of a histogram which is counted with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Its lower end, exclusive; it ends where the histogram's own range begins.
    pub low: Timestamp,
    /// The width of its bins.
    pub bin: Duration,
}

/// How rows are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// Without null and empty values.
    Compact,
    /// With all columns.
    Full,
}

/// A table as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The table.
    pub table: Identifier,
    /// What its windows are cut on.
    pub axis: Axis,
    /// What is left out because it was copied before.
    pub handover: Option<Handover>,
    /// Whether packed rows get a column `Watermark_IngestionTime` with their arrival time.
    pub arrival_column: bool,
    /// How rows are packed.
    pub row_format: RowFormat,
}

/// The column that a packed row gets if [`Source::arrival_column`] is set.
pub const ARRIVAL_COLUMN: &str = "Watermark_IngestionTime";

/// What an answer holds of each packed row beside the row: `{"Row":""},`.
pub const FRAME_BYTES: u64 = 11;

const ARRIVAL_TIME: &str = "ingestion_time()";
/// A text in a JSON answer, where quotes and backslashes take two bytes; what frames it comes on top ([`FRAME_BYTES`]).
const WIRE_BYTES: &str = r#"string_size(Row) + countof(Row, '"') + countof(Row, '\\')"#;
/// Kusto's functions take at most 64 arguments; each column of a hash but the last brings a separator.
const COLUMNS_PER_STRCAT: usize = 32;

/// The table and its filters: what the service can use to skip data first, the partition last.
fn slice_of(source: &Source, slice: &Slice, partition: Option<&Partition>) -> String {
    let mut query = source.table.to_string();
    let axis = &source.axis;
    match slice {
        _ if *axis == Axis::None => {}
        Slice::Range(range) => line(&mut query, format_args!("where {}", range_filter(axis, range))),
        Slice::NullAxis => line(&mut query, format_args!("where isnull({axis})")),
    }
    handover(&mut query, source);
    if let Some(partition) = partition {
        line(&mut query, format_args!("where {partition}"));
    }
    query
}

fn range_filter(axis: &Axis, range: &Range) -> String {
    let below = format!("{axis} <= {}", Datetime(range.high));
    if range.low == Timestamp::MIN { below } else { format!("{axis} > {} and {below}", Datetime(range.low)) }
}

fn handover(query: &mut String, source: &Source) {
    let Some(Handover { watermark_column, watermark, refreshed, copied }) = &source.handover else { return };
    let axis = watermark_column.clone().map_or(Axis::ArrivalTime, Axis::Column);
    match copied {
        Copied::LeftOut => {}
        Copied::Alone(range) => return line(query, format_args!("where {}", range_filter(&axis, range))),
        Copied::Without => return line(query, format_args!("where isnull({axis})")),
        Copied::Missed(after) => {
            return line(
                query,
                format_args!(
                    "where isnull({axis}) or ({ARRIVAL_TIME} > {} and {axis} <= {})",
                    Datetime(*after),
                    Datetime(*watermark)
                ),
            );
        }
        Copied::Arrived(range) => {
            return line(query, format_args!("where {}", range_filter(&Axis::ArrivalTime, range)));
        }
    }
    line(query, format_args!("where ({axis} > {} or {ARRIVAL_TIME} > {})", Datetime(*watermark), Datetime(*refreshed)));
}

fn arrival_column(query: &mut String, source: &Source) {
    if source.arrival_column {
        line(query, format_args!("extend {ARRIVAL_COLUMN} = {ARRIVAL_TIME}"));
    }
}

/// What a row has besides the table's own columns.
fn added_columns(query: &mut String, source: &Source, chunk_id: Option<&str>) {
    arrival_column(query, source);
    if let Some(id) = chunk_id {
        line(query, format_args!("extend _ChunkId = {}", Text(id)));
    }
}

fn packed(source: &Source) -> &'static str {
    match source.row_format {
        RowFormat::Compact => "tostring(pack_all(true))",
        RowFormat::Full => "tostring(pack_all())",
    }
}

fn line(query: &mut String, text: fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = write!(query, "\n| {text}");
}

impl Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ArrivalTime => f.write_str(ARRIVAL_TIME),
            Self::Column(column) => column.fmt(f),
            // No row has an instant on it.
            Self::None => f.write_str("datetime(null)"),
        }
    }
}

impl Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} == {}", part_of(&self.by, self.count), self.index)
    }
}

impl Display for HashFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xxhash64 => "hash_xxhash64",
            Self::Hash => "hash",
        })
    }
}

/// Which of `count` partitions a row is in.
fn part_of(by: &Hashing, count: u32) -> String {
    hash_of(by.function, &by.columns, u64::from(count))
}

/// A number below `below` that equal values of the columns share (dataexplorer-docs `query/hash-xxhash64-function.md`).
fn hash_of(function: HashFunction, columns: &[Identifier], below: u64) -> String {
    let texts = columns.iter().map(|column| format!("tostring({column})")).collect();
    format!("{function}({}, {below})", joined(texts))
}

/// One text out of many, with a separator, so that `a`, `bc` and `ab`, `c` differ.
fn joined(mut texts: Vec<String>) -> String {
    while texts.len() > 1 {
        texts = texts
            .chunks(COLUMNS_PER_STRCAT)
            .map(|group| match group {
                [one] => one.clone(),
                several => format!("strcat({})", several.join(", \"|\", ")),
            })
            .collect();
    }
    texts.pop().unwrap_or_else(|| "\"\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_columns_are_hashed_within_the_limit_of_arguments() {
        let columns: Vec<Identifier> = (0..70).map(|index| Identifier::new(&format!("C_{index}")).unwrap()).collect();
        let by = Hashing { function: HashFunction::Xxhash64, columns };
        let written = Partition { index: 0, count: 2, by }.to_string();
        assert_eq!(written.matches("tostring(").count(), 70);
        assert_eq!(written.matches("strcat(").count(), 4);
        assert!(written.starts_with("hash_xxhash64(strcat(strcat(tostring(C_0), \"|\", tostring(C_1)"), "{written}");
    }
}
