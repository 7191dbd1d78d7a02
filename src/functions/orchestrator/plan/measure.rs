//! What the rows of a table weigh, found out once by weighing some of them at the source as they will be packed: whether the
//! service packs rows, and how many of them an answer holds. Knows no plan.

use super::super::Step;
use super::learn::unknown_table;
use crate::app::Services;
use crate::defender::Error as HuntingError;
use crate::defender::queries::{self, FRAME_BYTES, Partition, Slice, Source};
use crate::functions::hunting::{Error, Hunting};
use crate::functions::source;
use crate::kql::Identifier;
use crate::orchestration::ids::{Part, WindowId};
use crate::orchestration::ledger::{ChunkIdPlace, Head, RowFormat, Shape};
use crate::orchestration::limits::{MAX_DYNAMIC_BYTES, SAMPLE_ROWS};
use crate::orchestration::sizing::{self, Sample};
use crate::timestamp::Timestamp;
use serde_json::Value;

/// By how much a sample is widened that held nothing, or narrowed that was too costly.
const STEP: u64 = 16;

/// Weighs some of the `rows` rows of a slice, and takes what they weigh into the head; nothing where there are none. Where the
/// format of rows is ours to choose and the service refuses ours, it is changed.
pub async fn weigh(
    services: &Services,
    head: Head,
    shape: Shape,
    (slice, rows): (Slice, u64),
    hunting: &mut Hunting<'_>,
) -> Step<Head> {
    let table = Identifier::new(&head.source).map_err(super::StepError::name)?;
    let mut sampling = Sampling { head: &head, slice, rows, hunting };
    let (sampled, shape) = match sampling.sample(&shape).await {
        Err(error) if may_be_packed_in_full(&error, services, &shape) => {
            tracing::warn!(%error, table = head.source, "the service refuses pack_all(true); rows are packed in full");
            let full = Shape { row_format: RowFormat::Full, ..shape };
            (sampling.sample(&full).await, full)
        }
        sampled => (sampled, shape),
    };
    let sampled = sampled.map_err(|error| unknown_table(&table, error))?;
    let head = Head { shape: Some(shape), ..head };
    Ok(match sampled {
        Some(sample) => sizing::sampled(head, sample, hunting.byte_cap()),
        None => head,
    })
}

/// Whether the query was refused while the format of the rows was ours to choose.
fn may_be_packed_in_full(error: &Error, services: &Services, shape: &Shape) -> bool {
    matches!(error, Error::Call(call @ HuntingError::Refused { .. }) if !call.is_unknown_table())
        && shape.row_format == RowFormat::Compact
        && services.settings.row_format.is_none()
}

struct Sampling<'h, 'a> {
    head: &'h Head,
    slice: Slice,
    rows: u64,
    hunting: &'h mut Hunting<'a>,
}

impl Sampling<'_, '_> {
    /// A sample of some [`SAMPLE_ROWS`] rows, by the hash that also divides windows: of more, should that part of them hold
    /// nothing, and of fewer, should they be too much for the service.
    async fn sample(&mut self, shape: &Shape) -> Result<Option<Sample>, Error> {
        let name = |error: crate::kql::InvalidName| HuntingError::Refused {
            code: "Name".to_owned(),
            message: error.to_string(),
        };
        let source = source::of(self.head, shape, shape.handover.is_some()).map_err(name)?;
        let columns = source::hash_columns(shape).map_err(name)?;
        let mut parts = u32::try_from(self.rows / SAMPLE_ROWS).unwrap_or(u32::MAX).max(1);
        let (mut widened, mut narrowed) = (false, false);
        // Every id is as long as this.
        let (low, high, part) = (Timestamp::MIN, Timestamp::MIN, Part::WHOLE);
        let id = WindowId { ledger: self.head.ledger, low, high, part, generation: 0 }.to_string();
        let chunk_id = (shape.chunk_id == ChunkIdPlace::Row).then_some(id.as_str());
        loop {
            let partition = (parts > 1).then(|| Partition { index: 0, count: parts, columns: columns.clone() });
            match self.weighed(&source, partition, chunk_id).await {
                Ok(Some(sample)) => return Ok(Some(sample)),
                Ok(None) if parts == 1 || narrowed => return Ok(None),
                Ok(None) => {
                    widened = true;
                    parts = (u64::from(parts) / STEP).max(1) as u32;
                }
                Err(Error::Call(error)) if is_too_much(&error) && !widened && u64::from(parts) < self.rows => {
                    narrowed = true;
                    parts = parts.saturating_mul(STEP as u32);
                }
                // All rows are in a few parts, each too much: the first answers will tell.
                Err(Error::Call(error)) if is_too_much(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The weight of a part of the rows.
    async fn weighed(
        &mut self,
        source: &Source,
        partition: Option<Partition>,
        chunk_id: Option<&str>,
    ) -> Result<Option<Sample>, Error> {
        let answer = self.hunting.rows(&queries::sample(source, &self.slice, partition.as_ref(), chunk_id)).await?;
        let value = |column: &str| answer.rows.first()?.get(column)?.as_f64();
        let rows = answer.rows.first().and_then(|row| row.get("Rows")).and_then(Value::as_u64).unwrap_or_default();
        let (Some(wire), Some(squares)) = (value("Wire").filter(|_| rows > 0), value("Squares")) else {
            return Ok(None);
        };
        let biggest = value("Biggest").unwrap_or_default();
        if biggest > MAX_DYNAMIC_BYTES as f64 {
            tracing::warn!(
                table = self.head.source,
                biggest_bytes = biggest,
                "there are rows above 1 MiB: see OVERSIZE_ROWS"
            );
        }
        // Each row is larger by its frame, and so are the squares.
        let (count, frame) = (rows as f64, FRAME_BYTES as f64);
        let (bytes, squares) = (wire + count * frame, squares + 2.0 * frame * wire + count * frame * frame);
        Ok(Some(Sample { rows, bytes, squares }))
    }
}

fn is_too_much(error: &HuntingError) -> bool {
    matches!(
        error,
        HuntingError::TooExpensive { .. }
            | HuntingError::TimedOut { .. }
            | HuntingError::ResultTooLarge { .. }
            | HuntingError::TooLarge { .. }
    )
}
