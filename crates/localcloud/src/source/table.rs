//! A generated table as a query sees it: the rows that have arrived and have not expired, numbered from 0.

use super::cell::{Cell, Row};
use super::dice::Dice;
use super::identity::typed_row_identity;
use super::pool::Pools;
use super::segment::Segment;
use super::ticks::{DAY, HOUR, SECOND};
use super::{Shape, TableOptions};
use crate::kql::{Column, Table, Type, Value};
use serde_json::json;
use std::ops::Range;
use std::sync::Arc;

/// How a table's rows are made.
pub(crate) struct Layout {
    columns: Vec<Column>,
    cells: Vec<Cell>,
    /// A column that was added later is null in rows before this one.
    present_from: Vec<u64>,
    has_arrival_time: bool,
    options: TableOptions,
    dice: Dice,
    pools: Arc<Pools>,
    huge_column: Option<usize>,
}

impl Layout {
    pub(crate) fn new(name: &str, shape: &Shape, seed: Dice, pools: Arc<Pools>) -> Self {
        let columns: Vec<Column> = shape.columns.iter().map(|(column, _)| column.clone()).collect();
        let text = |column: &Column| matches!(column.ty, Type::String | Type::Dynamic);
        let huge_column = columns
            .iter()
            .position(|column| column.name == "AdditionalFields" && text(column))
            .or_else(|| columns.iter().rposition(text));
        Self {
            cells: columns.iter().map(|column| Cell::of_column(name, column)).collect(),
            present_from: shape.columns.iter().map(|(_, from)| *from).collect(),
            columns,
            has_arrival_time: shape.has_arrival_time,
            options: shape.options.clone(),
            dice: seed.named("table").named(name),
            pools,
            huge_column,
        }
    }

    /// The segment's row `offset` shows the content of this one: itself, or the row before it.
    fn shown(&self, segment: &Segment, offset: u64) -> u64 {
        let dice = self.dice.of(segment.first_row + offset).of(901);
        if offset > 0 && dice.chance(self.options.duplicates_per_mille.into()) { offset - 1 } else { offset }
    }

    fn cell(&self, segment: &Segment, offset: u64, column: usize) -> Value {
        let offset = self.shown(segment, offset);
        let row = segment.first_row + offset;
        if row < self.present_from[column] {
            return if self.columns[column].ty == Type::String { Value::String("".into()) } else { Value::Null };
        }
        if let Some(huge) = self.options.huge_cell
            && huge.row == row
            && self.huge_column == Some(column)
        {
            return huge_value(self.columns[column].ty, huge.bytes);
        }
        let dice = self.dice.of(row);
        let arrived = || segment.arrival(offset, self.dice);
        let happened = || {
            let without = dice.of(902).chance(self.options.null_timestamps_per_mille.into());
            (!without).then(|| event_time(dice.of(903), arrived(), &self.options))
        };
        self.cells[column].value(&Row { dice, pools: &self.pools, happened: &happened, arrived: &arrived })
    }
}

fn huge_value(ty: Type, bytes: usize) -> Value {
    let text = "x".repeat(bytes);
    if ty == Type::Dynamic { Value::Dynamic(Arc::new(json!({ "Blob": text }))) } else { Value::String(text.into()) }
}

/// Most events arrive within two minutes, some hours late, a few days late; a few clocks run ahead. Sensors
/// write times with different precision.
fn event_time(dice: Dice, arrived: i64, options: &TableOptions) -> i64 {
    let (late, ahead) = (options.late, options.ahead);
    let within = |limit: i64| dice.of(2).below(limit as u64) as i64;
    let ahead = ahead.filter(|ahead| dice.of(4).chance(ahead.per_mille.into()));
    let at = match dice.of(1).below(1000) {
        _ if ahead.is_some() => {
            arrived + within(ahead.map_or(1, |ahead| i64::from(ahead.up_to_seconds.max(1)) * SECOND))
        }
        place if late.is_some_and(|late| place < u64::from(late.per_mille)) => {
            arrived - within(late.map_or(1, |late| i64::from(late.up_to_seconds.max(1)) * SECOND))
        }
        _ if late.is_some() => arrived - within(120 * SECOND),
        0..900 => arrived - within(120 * SECOND),
        900..990 => arrived - 120 * SECOND - within(6 * HOUR),
        990..998 => arrived - 6 * HOUR - within(5 * DAY - 6 * HOUR),
        _ => arrived + SECOND + within(600 * SECOND),
    };
    let precision = match dice.of(3).below(100) {
        0..2 => SECOND,
        2..12 => SECOND / 1_000,
        12..17 => SECOND / 1_000_000,
        _ => 1,
    };
    at - at % precision
}

/// Consecutive rows of one segment.
struct Part {
    /// The number of the first of them in this table.
    start: u64,
    /// The place of the first of them in the segment.
    offset: u64,
    count: u64,
    segment: Segment,
}

/// A consistent view of a table at one instant.
pub(crate) struct Generated {
    layout: Arc<Layout>,
    parts: Vec<Part>,
    row_count: u64,
}

impl Generated {
    /// The rows with `after < arrival <= until`.
    pub(crate) fn arrived(layout: Arc<Layout>, segments: &[Segment], after: i64, until: i64) -> Self {
        let mut view = Self { layout, parts: Vec::with_capacity(segments.len()), row_count: 0 };
        for segment in segments {
            let first = segment.arrived(after, view.layout.dice);
            view.push(segment, first..segment.arrived(until, view.layout.dice));
        }
        view
    }

    /// The rows that arrived after `expired` and have come into sight by `now`.
    pub(crate) fn visible(layout: Arc<Layout>, segments: &[Segment], expired: i64, now: i64) -> Self {
        let lag = i64::from(layout.options.visibility_lag_seconds) * SECOND;
        let segments: Vec<Segment> = segments.iter().filter(|segment| segment.visible_from <= now).cloned().collect();
        if lag == 0 {
            return Self::arrived(layout, &segments, expired, now);
        }
        let dice = layout.dice;
        let mut view = Self { layout, parts: Vec::with_capacity(segments.len()), row_count: 0 };
        for segment in &segments {
            let first = segment.arrived(expired, dice);
            let settled = segment.arrived(now - lag, dice).max(first);
            view.push(segment, first..settled);
            let last = segment.arrived(now, dice);
            let mut commit = settled;
            while commit < last {
                let next = (commit / segment.rows_per_commit + 1) * segment.rows_per_commit;
                let delay = dice.of(segment.first_row + commit).of(904).below(lag as u64) as i64;
                if segment.arrival(commit, dice) + delay <= now {
                    view.push(segment, commit..next.min(last));
                }
                commit = next;
            }
        }
        view
    }

    fn push(&mut self, segment: &Segment, rows: Range<u64>) {
        if !rows.is_empty() {
            let count = rows.end - rows.start;
            self.parts.push(Part { start: self.row_count, offset: rows.start, count, segment: segment.clone() });
            self.row_count += count;
        }
    }

    /// The same rows, beginning at another of them.
    pub(crate) fn turned(self, turn: u64) -> Self {
        let pivot = Dice::new(turn).below(self.row_count);
        let mut turned = Self { layout: self.layout, parts: Vec::with_capacity(self.parts.len() + 1), row_count: 0 };
        for (from, to) in [(pivot, self.row_count), (0, pivot)] {
            for part in &self.parts {
                let first = from.max(part.start);
                let last = to.min(part.start + part.count).max(first);
                turned.push(&part.segment, part.offset + first - part.start..part.offset + last - part.start);
            }
        }
        turned
    }

    /// The part that holds `row`, and the row's place in its segment. `row` is below the row count.
    fn locate(&self, row: u64) -> (&Part, u64) {
        let part = &self.parts[self.parts.partition_point(|part| part.start <= row) - 1];
        (part, part.offset + row - part.start)
    }

    /// The number of each row among all that its table ever had.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let numbers = |part: &Part| {
            let first = part.segment.first_row + part.offset;
            first..first + part.count
        };
        self.parts.iter().flat_map(numbers).collect()
    }

    /// The identity of a row's content.
    pub(crate) fn identity(&self, row: u64) -> u64 {
        let (part, offset) = self.locate(row);
        typed_row_identity(&self.layout.columns, |column| self.layout.cell(&part.segment, offset, column))
    }

    /// When a row arrived, whether or not the table shows it.
    pub(crate) fn arrival(&self, row: u64) -> i64 {
        let (part, offset) = self.locate(row);
        part.segment.arrival(offset, self.layout.dice)
    }
}

impl Table for Generated {
    fn columns(&self) -> &[Column] {
        &self.layout.columns
    }

    fn row_count(&self) -> u64 {
        self.row_count
    }

    fn value(&self, row: u64, column: usize) -> Value {
        let (part, offset) = self.locate(row);
        self.layout.cell(&part.segment, offset, column)
    }

    fn ingestion_time(&self, row: u64) -> Option<i64> {
        self.layout.has_arrival_time.then(|| self.arrival(row))
    }

    fn arrived_within(&self, after: i64, until: i64) -> Vec<Range<u64>> {
        if !self.layout.has_arrival_time {
            return std::iter::once(0..self.row_count).collect();
        }
        let range = |part: &Part| {
            let place = |at| part.segment.arrived(at, self.layout.dice).clamp(part.offset, part.offset + part.count);
            let (low, high) = (place(after), place(until));
            (low < high).then(|| part.start + low - part.offset..part.start + high - part.offset)
        };
        self.parts.iter().filter_map(range).collect()
    }
}
