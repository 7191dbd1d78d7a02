//! The `Timespan` of a call: a stretch of event time that every table is clipped to, besides what the query
//! itself says.

use crate::kql::{Column, Table, Value};
use crate::source::ticks::{self, DAY, HOUR, SECOND};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Event times from `start` to `end`, both included, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timespan {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Timespan {
    /// What lies before an instant.
    pub(super) fn before(now: i64, span: std::time::Duration) -> Self {
        Self { start: now - ticks::of(span), end: now }
    }

    /// Whether no event time of the generated rows lies out of it.
    pub(super) fn holds_every_time(self) -> bool {
        self.start <= 0 && self.end >= ticks::MAX - 2 * SECOND
    }

    /// Reads `start/end`, `P30D/end`, `start/P30D`, `P30D` (back from now) or one date-time (until now).
    pub(super) fn parse(text: &str, now: i64) -> Option<Self> {
        let (start, end) = match text.split_once('/') {
            Some((first, second)) => match (moment(first), moment(second)) {
                (Some(start), Some(end)) => (start, end),
                (None, Some(end)) => (end - duration(first)?, end),
                (Some(start), None) => (start, start + duration(second)?),
                (None, None) => return None,
            },
            None => match moment(text) {
                Some(start) => (start, now),
                None => (now - duration(text)?, now),
            },
        };
        (start <= end).then_some(Self { start, end })
    }
}

fn moment(text: &str) -> Option<i64> {
    ticks::parse(text)
}

/// An ISO 8601 duration in ticks; a month counts 30 days, a year 365.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text.trim().strip_prefix('P')?;
    let (mut total, mut in_time, mut parts) = (0_i64, false, 0);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            (rest, in_time) = (after, true);
            continue;
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let count: f64 = rest[..digits].parse().ok()?;
        let unit = match (rest[digits..].chars().next()?, in_time) {
            ('Y', false) => 365 * DAY,
            ('M', false) => 30 * DAY,
            ('W', false) => 7 * DAY,
            ('D', false) => DAY,
            ('H', true) => HOUR,
            ('M', true) => 60 * SECOND,
            ('S', true) => SECOND,
            _ => return None,
        };
        total = total.checked_add((count * unit as f64) as i64)?;
        parts += 1;
        rest = &rest[digits + 1..];
    }
    (parts > 0 && total <= ticks::MAX).then_some(total)
}

/// A table's rows within a time span. A table without event time is not clipped.
pub(super) struct Clipped {
    table: Arc<dyn Table>,
    span: Timespan,
    time_column: usize,
    /// The rows that are in, found when first asked for.
    rows: OnceLock<Vec<u64>>,
}

impl Clipped {
    pub(super) fn table(table: Arc<dyn Table>, span: Timespan) -> Arc<dyn Table> {
        match table.columns().iter().position(|column| column.name == "Timestamp") {
            None => table,
            Some(time_column) => Arc::new(Self { table, span, time_column, rows: OnceLock::new() }),
        }
    }

    fn rows(&self) -> &[u64] {
        self.rows.get_or_init(|| (0..self.table.row_count()).filter(|row| self.holds(*row)).collect())
    }

    fn holds(&self, row: u64) -> bool {
        matches!(self.table.value(row, self.time_column), Value::Datetime(at) if (self.span.start..=self.span.end).contains(&at))
    }
}

impl Table for Clipped {
    fn columns(&self) -> &[Column] {
        self.table.columns()
    }

    fn row_count(&self) -> u64 {
        self.rows().len() as u64
    }

    fn value(&self, row: u64, column: usize) -> Value {
        self.table.value(self.rows()[row as usize], column)
    }

    fn ingestion_time(&self, row: u64) -> Option<i64> {
        self.table.ingestion_time(self.rows()[row as usize])
    }

    fn arrived_within(&self, after: i64, until: i64) -> Vec<Range<u64>> {
        let place = |row: u64| self.rows().partition_point(|kept| *kept < row) as u64;
        let ranges = self.table.arrived_within(after, until).into_iter();
        ranges.map(|range| place(range.start)..place(range.end)).filter(|range| !range.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Settings, Source, TableSettings};

    const NOW: i64 = ticks::UNIX_EPOCH + 20_000 * DAY;

    #[test]
    fn all_documented_forms_are_read() {
        let at = |text| ticks::parse(text).unwrap();
        let span = |start, end| Some(Timespan { start, end });
        let (first, last) = (at("2026-01-02T00:00:00Z"), at("2026-02-01T00:00:00Z"));
        for (text, wanted) in [
            ("2026-01-02T00:00:00Z/2026-02-01T00:00:00Z", span(first, last)),
            ("2026-01-02/2026-02-01", span(first, last)),
            ("P30D/2026-02-01T00:00:00Z", span(first, last)),
            ("2026-01-02T00:00:00Z/P30D", span(first, last)),
            ("2026-01-02T00:00:00/2026-02-01T00:00:00", span(first, last)),
            ("P1DT12H", span(NOW - DAY - 12 * HOUR, NOW)),
            ("PT90M", span(NOW - 90 * 60 * SECOND, NOW)),
            ("2020-01-01T00:00:00Z", span(at("2020-01-01"), NOW)),
            ("2026-02-01/2026-01-02", None),
            ("30 days", None),
            ("P", None),
            ("PT", None),
            ("P3H", None),
            ("", None),
        ] {
            assert_eq!(Timespan::parse(text, NOW), wanted, "{text}");
        }
    }

    #[test]
    fn a_clipped_table_has_the_rows_of_its_span_only() {
        let tables = vec![TableSettings::new("DeviceEvents", 2_000, NOW - 10 * DAY, NOW)];
        let source = Source::new(&Settings { seed: 1, tables, ..Settings::default() }).unwrap();
        let table = source.at(NOW).table("DeviceEvents").unwrap();
        let span = Timespan { start: NOW - 5 * DAY, end: NOW - 4 * DAY };
        let clipped = Clipped::table(table.clone(), span);
        let within = |value: &Value| matches!(value, Value::Datetime(at) if (span.start..=span.end).contains(at));
        let wanted: Vec<u64> = (0..2_000).filter(|row| within(&table.value(*row, 0))).collect();
        assert_eq!(clipped.row_count(), wanted.len() as u64);
        let (after, until) = (NOW - 9 * DAY / 2, NOW);
        let found: Vec<i64> = clipped
            .arrived_within(after, until)
            .into_iter()
            .flatten()
            .filter_map(|row| clipped.ingestion_time(row))
            .collect();
        let arrived = |row: &u64| table.ingestion_time(*row).filter(|at| *at > after && *at <= until);
        assert_eq!(found, wanted.iter().filter_map(arrived).collect::<Vec<_>>());
    }
}
