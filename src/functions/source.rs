//! From the ledger's records to the typed input of the hunting queries.

use crate::defender::queries::{
    self, Axis, Copied, Handover, HashFunction, Hashing, Partition, Range, RowFormat, Slice, Source,
};
use crate::defender::{Dialect, Reader};
use crate::kql::{Identifier, InvalidName};
use crate::orchestration::ids::Part;
use crate::orchestration::ledger::{self, CutAxis, Head, PartedBy, Shape};
use crate::orchestration::window::Window;
use crate::timestamp::Timestamp;

pub use crate::defender::queries::ARRIVAL_COLUMN;

/// What every query of a table begins with.
///
/// # Errors
/// [`InvalidName`]: names in the ledger were checked when they came in, so this is a ledger changed by hand.
pub fn of(head: &Head, shape: &Shape, handover: bool) -> Result<Source, InvalidName> {
    let watermark_column = Identifier::new(&head.watermark_column)?;
    let axis = match &shape.axis {
        CutAxis::ArrivalTime => Axis::ArrivalTime,
        CutAxis::Column(column) => Axis::Column(Identifier::new(column)?),
        CutAxis::Whole => Axis::None,
    };
    let arrival_column = head.watermark_column == ARRIVAL_COLUMN;
    let handover = shape.handover.as_ref().filter(|_| handover).map(|handover| Handover {
        watermark_column: (!arrival_column).then(|| watermark_column.clone()),
        watermark: handover.watermark,
        refreshed: handover.refreshed,
        copied: Copied::LeftOut,
    });
    let row_format = if shape.row_format.is_compact() { RowFormat::Compact } else { RowFormat::Full };
    Ok(Source { table: Identifier::new(&head.source)?, axis, handover, arrival_column, row_format })
}

/// What the query of a window begins with.
///
/// # Errors
/// [`InvalidName`], as in [`of`].
pub fn of_window(head: &Head, shape: &Shape, window: &Window) -> Result<Source, InvalidName> {
    let mut source = of(head, shape, window.handover)?;
    let unmarked = window.difference.as_ref().and_then(|difference| difference.unmarked.as_ref());
    if let (Some(handover), Some(unmarked)) = (source.handover.as_mut(), unmarked) {
        let range = Range { low: unmarked.first.before(), high: unmarked.last };
        handover.copied = if unmarked.is_without() { Copied::Without } else { Copied::Alone(range) };
    }
    Ok(source)
}

/// The query that pulls a window's rows, packed or plain as the table's are, and what reads its answer from `dialect`.
pub fn pull(
    shape: &Shape,
    source: &Source,
    slice: &Slice,
    partition: Option<&Partition>,
    chunk_id: Option<&str>,
    dialect: Dialect,
) -> (String, Reader) {
    if shape.row_format.is_plain() {
        let query = queries::plain_window(source, slice, partition, chunk_id);
        return (query, Reader::plain(dialect, shape.row_format.is_compact()));
    }
    (queries::window(source, slice, partition, chunk_id), Reader::packed())
}

/// The rows that a window stands for, before its hash partition.
pub fn slice(window: &Window) -> Slice {
    slice_of(window.id.low, window.id.high)
}

/// The rows of `(low, high]`; both are the least instant for those whose cut axis is null.
pub fn slice_of(low: Timestamp, high: Timestamp) -> Slice {
    if high == Timestamp::MIN { Slice::NullAxis } else { Slice::Range(Range { low, high }) }
}

/// The hash partition that a window is; `None` for a whole. Windows may be parts by what the shape no longer has
/// ([`Shape::has_lost_the_part`]); of those nothing can be asked.
///
/// # Errors
/// [`InvalidName`], as in [`of`].
pub fn partition(shape: &Shape, window: &Window) -> Result<Option<Partition>, InvalidName> {
    let part = window.asked_part();
    if part == Part::WHOLE {
        return Ok(None);
    }
    let by = hashing_by(shape.divider(window).0)?;
    Ok(Some(Partition { index: u32::from(part.index), count: u32::from(part.count), by }))
}

/// What makes partitions from now on.
///
/// # Errors
/// [`InvalidName`], as in [`of`].
pub fn hashing(shape: &Shape) -> Result<Hashing, InvalidName> {
    hashing_by(&shape.parts)
}

/// The hash of some columns.
///
/// # Errors
/// [`InvalidName`], as in [`of`].
pub fn hashing_by(parts: &PartedBy) -> Result<Hashing, InvalidName> {
    let columns = parts.columns.iter().map(|column| Identifier::new(column)).collect::<Result<_, _>>()?;
    let function = match parts.function {
        ledger::HashFunction::Xxhash64 => HashFunction::Xxhash64,
        ledger::HashFunction::Hash => HashFunction::Hash,
    };
    Ok(Hashing { function, columns })
}
