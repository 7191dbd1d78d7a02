//! What the rows of a table weigh, found out once by weighing some of them at the source as they will be packed: whether the
//! service packs rows, and how many of them an answer holds. A service that refuses to weigh them is asked for some. Knows no plan.

use super::super::Step;
use super::learn::unknown_table;
use crate::app::Services;
use crate::defender::queries::{self, FRAME_BYTES, Partition, Slice, Source};
use crate::defender::{Dialect, Error as HuntingError, Reader};
use crate::functions::hunting::{Error, Hunting};
use crate::functions::source;
use crate::kql::Identifier;
use crate::orchestration::ids::{Part, WindowId};
use crate::orchestration::ledger::{ChunkIdPlace, Head, RowFormat, Shape};
use crate::orchestration::limits::{MAX_DYNAMIC_BYTES, SAMPLE_ROWS};
use crate::orchestration::sizing::{self, Sample};
use crate::timestamp::Timestamp;
use serde_json::{Map, Value};

/// The most rows of a sample that is not weighed at the source.
const MEASURED_ROWS: u32 = 1_000;
/// What is said of a table for whose rows the service leaves nothing out.
const PACKED_IN_FULL: &str = "the hunting service refuses pack_all(true), which leaves out empty values, so rows are packed in full from now \
    on: the same content in larger answers, and more calls";
/// By how much a sample is widened that held nothing, or narrowed that was too costly.
const STEP: u64 = 16;

/// Weighs some of the `rows` rows of a slice, and takes what they weigh into the head; nothing where there are none, or where that
/// is known. Where the format of rows is ours to choose and the service refuses ours, it is changed.
pub async fn weigh(
    services: &Services,
    head: &mut Head,
    (slice, rows): (Slice, u64),
    hunting: &mut Hunting<'_>,
) -> Step<()> {
    let unknown = |_: &Shape| head.bytes_per_row.is_none() && rows > 0;
    let Some(mut shape) = head.shape.clone().filter(unknown) else { return Ok(()) };
    let table = Identifier::new(&head.source).map_err(super::StepError::name)?;
    let mut sampling = Sampling { head, slice, rows, dialect: services.defender.dialect(), hunting };
    let wanted = shape.row_format;
    let sampled = loop {
        match sampling.sample(&shape).await {
            Ok(sampled) => break sampled,
            Err(error) => {
                let next =
                    next_format(&table, &error, wanted, shape.row_format, services.settings.row_format.is_none());
                let Some(next) = next else { return Err(unknown_table(&table, error)) };
                tracing::warn!(%error, table = head.source, format = ?next, "the service refuses to pack rows so; another way is tried");
                shape.row_format = next;
            }
        }
    };
    let is_fuller = wanted == RowFormat::Compact && shape.row_format == RowFormat::Full;
    *head = sizing::sampled(head.clone(), shape, &sampled, hunting.byte_cap());
    head.notes.extend(is_fuller.then(|| PACKED_IN_FULL.to_owned()));
    Ok(())
}

/// What to try where the query was refused for the way in which rows are packed: in full, where the format is ours to choose, then
/// plain and packed here.
fn next_format(
    table: &Identifier,
    error: &Error,
    wanted: RowFormat,
    tried: RowFormat,
    ours_to_choose: bool,
) -> Option<RowFormat> {
    match tried {
        _ if !is_refused(table, error) => None,
        RowFormat::Compact if ours_to_choose => Some(RowFormat::Full),
        RowFormat::Compact | RowFormat::Full => Some(wanted.plain()),
        RowFormat::PlainCompact | RowFormat::PlainFull => None,
    }
}

/// Whether the service does not take a query of a table that it has.
fn is_refused(table: &Identifier, error: &Error) -> bool {
    matches!(error, Error::Call(call @ HuntingError::Refused { .. }) if !call.is_unknown(table))
}

/// A sample, by where parts of it lie; empty where there are no rows, or too many to be weighed.
type Parts = Vec<(Timestamp, Sample)>;

struct Sampling<'h, 'a> {
    head: &'h Head,
    slice: Slice,
    rows: u64,
    dialect: Dialect,
    hunting: &'h mut Hunting<'a>,
}

impl Sampling<'_, '_> {
    /// A sample of some [`SAMPLE_ROWS`] rows, by the hash that also divides windows: of more, should that part of them hold
    /// nothing, and of fewer, should they be too much for the service.
    async fn sample(&mut self, shape: &Shape) -> Result<Parts, Error> {
        let name = |error: crate::kql::InvalidName| HuntingError::Refused {
            code: "Name".to_owned(),
            message: error.to_string(),
        };
        let source = source::of(self.head, shape, shape.handover.is_some()).map_err(name)?;
        let by = source::hashing(shape).map_err(name)?;
        let mut parts = u32::try_from(self.rows / SAMPLE_ROWS).unwrap_or(u32::MAX).max(1);
        let (mut widened, mut narrowed) = (false, false);
        // Every id is as long as this.
        let (low, high, part) = (Timestamp::MIN, Timestamp::MIN, Part::WHOLE);
        let id = WindowId { ledger: self.head.ledger, low, high, part, generation: 0, repair: 0 }.to_string();
        let chunk_id = (shape.chunk_id == ChunkIdPlace::Row).then_some(id.as_str());
        if shape.row_format.is_plain() {
            return self.measured(&source, chunk_id, shape.row_format).await;
        }
        loop {
            let partition = (parts > 1).then(|| Partition { index: 0, count: parts, by: by.clone() });
            match self.weighed(&source, partition, chunk_id).await {
                Ok(sample) if !sample.is_empty() || parts == 1 || narrowed => return Ok(sample),
                Ok(_) => {
                    widened = true;
                    parts = (u64::from(parts) / STEP).max(1) as u32;
                }
                Err(Error::Call(error)) if is_too_much(&error) && !widened && u64::from(parts) < self.rows => {
                    narrowed = true;
                    parts = parts.saturating_mul(STEP as u32);
                }
                // All rows are in a few parts, each too much: the first answers will tell.
                Err(Error::Call(error)) if is_too_much(&error) => return Ok(Parts::new()),
                // It may be the weighing that is refused, and not the packing.
                Err(error) if is_refused(&source.table, &error) => {
                    tracing::warn!(%error, table = %source.table, "the service refuses to weigh rows");
                    return self.measured(&source, chunk_id, shape.row_format).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The weight of rows that the service does not weigh, by the answer that holds some of them: fewer, where they are large.
    async fn measured(&mut self, source: &Source, chunk_id: Option<&str>, format: RowFormat) -> Result<Parts, Error> {
        let mut take = MEASURED_ROWS;
        let scan = loop {
            let (query, reader) = match format.is_plain() {
                true => (
                    queries::plain_sample(source, &self.slice, take, chunk_id),
                    Reader::plain(self.dialect, format.is_compact()),
                ),
                false => (queries::packed_sample(source, &self.slice, take, chunk_id), Reader::packed()),
            };
            match self.hunting.scan(&query, reader).await {
                Err(Error::Call(error)) if is_too_much(&error) && take > 1 => take /= 10,
                Err(Error::Call(error)) if is_too_much(&error) => return Ok(Parts::new()),
                Err(error) => return Err(error),
                Ok(scan) => break scan,
            }
        };
        let (rows, bytes) = (scan.rows as f64, scan.response_bytes as f64);
        // How the rows vary is not known: as much as they weigh.
        let sample = Sample { rows: scan.rows, bytes, squares: 2.0 * bytes * bytes / rows.max(1.0) };
        Ok((scan.rows > 0).then_some((Timestamp::MIN, sample)).into_iter().collect())
    }

    /// The weight of a part of the rows, by the hours in which they lie.
    async fn weighed(
        &mut self,
        source: &Source,
        partition: Option<Partition>,
        chunk_id: Option<&str>,
    ) -> Result<Parts, Error> {
        let answer = self.hunting.rows(&queries::sample(source, &self.slice, partition.as_ref(), chunk_id)).await?;
        let value = |row: &Map<String, Value>, column: &str| row.get(column).and_then(Value::as_f64);
        let biggest = answer.rows.iter().filter_map(|row| value(row, "Biggest")).fold(0.0, f64::max);
        if biggest > MAX_DYNAMIC_BYTES as f64 {
            tracing::warn!(
                table = self.head.source,
                biggest_bytes = biggest,
                "there are rows above 1 MiB: see OVERSIZE_ROWS"
            );
        }
        let part = |row: &Map<String, Value>| {
            let rows = row.get("Rows").and_then(Value::as_u64).filter(|rows| *rows > 0)?;
            let (wire, squares) = (value(row, "Wire")?, value(row, "Squares")?);
            let at = row.get("Bin").and_then(Value::as_str).and_then(|at| at.parse().ok()).unwrap_or(Timestamp::MIN);
            // Each row is larger by its frame, and so are the squares.
            let (count, frame) = (rows as f64, FRAME_BYTES as f64);
            let (bytes, squares) = (wire + count * frame, squares + 2.0 * frame * wire + count * frame * frame);
            Some((at, Sample { rows, bytes, squares }))
        };
        Ok(answer.rows.iter().filter_map(part).collect())
    }
}

fn is_too_much(error: &HuntingError) -> bool {
    matches!(
        error,
        HuntingError::TooExpensive { .. }
            | HuntingError::TimedOut { .. }
            | HuntingError::GatewayTimedOut { .. }
            | HuntingError::ResultTooLarge { .. }
            | HuntingError::TooLarge { .. }
    )
}
