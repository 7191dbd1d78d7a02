//! The hunting queries: the only place that writes KQL for the source. Everything in a query is typed input put through
//! the writers of [`crate::kql`]; no text from a table, a setting or a URL is spliced in. Knows no HTTP and no plan.
//!
//! Two rules of the engine shape the texts. `ingestion_time()` has a value only where the rows still come straight from the
//! table, so it stands before any operator that makes new rows (dataexplorer-docs `query/ingestion-time-function.md`). And
//! `pack_all()` packs every column that there is, so what has to be in a row is added just before it.

use crate::kql::{Datetime, Identifier, Text, Timespan};
use crate::timestamp::Timestamp;
use std::fmt::{self, Display, Write};
use std::time::Duration;

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

/// Row hashes are below this: sums of them stay below 2^63 for two thousand million rows.
const ROW_HASHES: u64 = 1 << 32;
const COLUMNS: &str = r#"getschema | summarize Columns = make_list(strcat(ColumnName, " ", ColumnType))"#;
const HOUR: Duration = Duration::from_secs(3_600);
const ARRIVAL_TIME: &str = "ingestion_time()";
/// A text in a JSON answer, where quotes and backslashes take two bytes; what frames it comes on top ([`FRAME_BYTES`]).
const WIRE_BYTES: &str = r#"string_size(Row) + countof(Row, '"') + countof(Row, '\\')"#;
/// Kusto's functions take at most 64 arguments; each column of a hash but the last brings a separator.
const COLUMNS_PER_STRCAT: usize = 32;

/// One row of the table as plain columns. A service that has no such hash function refuses; the filter lets every row through.
pub fn probe(table: &Identifier, function: HashFunction) -> String {
    format!("{table}\n| where {function}(\"\", 1) == 0\n| take 1")
}

/// The same with the time of arrival (`ArrivedAt`), and beside it a row that has one, where there is any: it may be that only some
/// have.
pub fn probe_arrival(table: &Identifier, function: HashFunction) -> String {
    let arrived = format!("extend ArrivedAt = {ARRIVAL_TIME}");
    format!(
        "{table}\n| {arrived}\n| where {function}(\"\", 1) == 0 and isnotnull(ArrivedAt)\n| take 1\n\
         | union ({table} | {arrived} | take 1)"
    )
}

/// The time at which a row arrived (`ArrivedAt`), if one has it, and nothing else of it: for a service that does not take
/// [`probe_arrival`].
pub fn arrival(table: &Identifier) -> String {
    let low = Datetime(Timestamp::MIN);
    format!(
        "{table}\n| where {ARRIVAL_TIME} > {low}\n| extend ArrivedAt = {ARRIVAL_TIME}\n| take 1\n| project ArrivedAt"
    )
}

/// Whether tables are there: no row of them is read, and where one is not there the service refuses and names it.
pub fn visible(tables: &[Identifier]) -> String {
    match tables {
        [table] => format!("{table}\n| take 0"),
        // Without their columns, of which all tables together have many.
        tables => {
            let none = |table: &Identifier| format!("{table} | take 0 | summarize Rows = count()");
            format!("union\n({})", tables.iter().map(none).collect::<Vec<_>>().join("),\n("))
        }
    }
}

/// How many rows arrived within a range (`Rows`), and how many of them have no event time (`Without`); of a table without
/// arrival times those with such an event time, or none. Of few rows one column is read.
pub fn shown(table: &Identifier, has_arrival: bool, range: &Range) -> String {
    let (low, high) = (Datetime(range.low), Datetime(range.high));
    let filter = match has_arrival {
        true => format!("{ARRIVAL_TIME} > {low} and {ARRIVAL_TIME} <= {high}"),
        false => format!("isnull(Timestamp) or (Timestamp > {low} and Timestamp <= {high})"),
    };
    format!("{table}\n| where {filter}\n| summarize Rows = count(), Without = countif(isnull(Timestamp))")
}

/// A query with one more row at its end: the table's columns as a list under `Columns`, each as its name, a space and its KQL
/// type. It reads no data (dataexplorer-docs `query/getschema-operator.md`).
pub fn with_columns(query: &str, table: &Identifier) -> String {
    format!("{query}\n| union ({table} | {COLUMNS})")
}

/// That row alone.
pub fn columns(table: &Identifier) -> String {
    format!("{table}\n| {COLUMNS}")
}

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

/// [`close_histogram`] with the bytes that the packed rows of each bin take in an answer (`Wire`), as [`sample`] reckons them.
/// It reads what [`window`] reads.
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

/// How many rows (`Rows`) [`window`] has to give.
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
    match values {
        Values::AsTheyAre => line(&mut query, format_args!("where isnull({watermark_column})")),
        Values::AsTimes => line(&mut query, format_args!("where isnull(todatetime({watermark_column}))")),
    }
    line(&mut query, format_args!("summarize NoTime = count()"));
    query
}

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

fn pack(query: &mut String, source: &Source) {
    line(query, format_args!("project Row = {}", packed(source)));
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
    fn counts_and_their_total_are_told_apart_where_nothing_else_is_asked_for() {
        let (counts, rows) = ("T\n| summarize Rows = count() by Part = hash(Id, 4)", "T\n| where Id > 1");
        let query = with_total(counts, rows);
        let total = "T\n| where Id > 1\n| summarize Total = count()";
        assert_eq!(Apart::of(&query), Some(Apart { counts, total }));
        assert_eq!(Apart::of(&with_columns(&query, &Identifier::new("T").unwrap())), None);
        assert_eq!(Apart::of(counts), None);
    }

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
