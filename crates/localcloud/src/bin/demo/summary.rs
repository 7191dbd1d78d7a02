//! The figures at the end, and the fewest hunting calls that the runs could have needed.

use indicatif::HumanCount;
use std::fmt::Write;
use std::time::Duration;

/// Rows that an answer of the hunting API can hold and be known to be whole.
const ROWS_PER_CALL: u64 = 99_999;
/// Bytes that an answer can hold.
const BYTES_PER_CALL: u64 = 50_000_000;
/// One query for the plan.
const CALLS_OF_A_PLAN: u64 = 1;
/// A probe and a sample.
const CALLS_OF_A_FIRST_RUN: u64 = 2;

/// The fewest calls that copy so many rows with so many packed bytes of a table in one run.
pub fn least_calls(rows: u64, bytes: u64, first_run: bool) -> u64 {
    let windows = rows.div_ceil(ROWS_PER_CALL).max(bytes.div_ceil(BYTES_PER_CALL));
    windows + CALLS_OF_A_PLAN + if first_run { CALLS_OF_A_FIRST_RUN } else { 0 }
}

/// What came of a table over all runs.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Rows at the source.
    pub source: u64,
    /// Rows at the destination.
    pub destination: u64,
    /// Rows that the destination lacks.
    pub missing: u64,
    /// Rows that the destination has too many.
    pub doubled: u64,
    /// Rows that the runs copied.
    pub copied: u64,
    /// Windows.
    pub windows: u64,
    /// Hunting calls that the API answered, however.
    pub calls: u64,
    /// The fewest calls possible.
    pub least_calls: u64,
    /// How long the table was worked on.
    pub busy: Duration,
}

/// The whole demo.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Its tables.
    pub tables: Vec<Table>,
    /// The sum of the runs' times.
    pub running: Duration,
    /// From the start of the cloud to the end of the comparison.
    pub total: Duration,
    /// The most memory that the handler had, in KiB.
    pub peak_memory_kib: Option<u64>,
}

impl Summary {
    /// The figures as text.
    pub fn render(&self) -> String {
        let heads =
            ["table", "source", "destination", "missing", "doubled", "windows", "calls", "least calls", "rows/s"];
        let mut lines = vec![heads.map(str::to_owned)];
        lines.extend(self.tables.iter().map(cells));
        lines.push(cells(&self.sum()));
        let mut widths = [0; 9];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.len().max(*width);
            }
        }
        let mut text = String::new();
        let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
        for (index, line) in lines.iter().enumerate() {
            if index == 1 || index == lines.len() - 1 {
                text.push_str(&rule);
                text.push('\n');
            }
            for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
                // Writing to a text cannot fail.
                let _ = match column {
                    0 => write!(text, "{cell:<width$}"),
                    _ => write!(text, "  {cell:>width$}"),
                };
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        let memory =
            self.peak_memory_kib.map_or_else(|| "unknown".to_owned(), |kib| format!("{} MiB", kib.div_ceil(1024)));
        let _ = write!(
            text,
            "runs {:.1} s, all in all {:.1} s; peak memory of the handler {memory}",
            self.running.as_secs_f64(),
            self.total.as_secs_f64()
        );
        text
    }

    fn sum(&self) -> Table {
        let sum = |of: fn(&Table) -> u64| self.tables.iter().map(of).sum::<u64>();
        Table {
            name: "all".to_owned(),
            source: sum(|table| table.source),
            destination: sum(|table| table.destination),
            missing: sum(|table| table.missing),
            doubled: sum(|table| table.doubled),
            copied: sum(|table| table.copied),
            windows: sum(|table| table.windows),
            calls: sum(|table| table.calls),
            least_calls: sum(|table| table.least_calls),
            busy: self.running,
        }
    }
}

fn cells(table: &Table) -> [String; 9] {
    let seconds = table.busy.as_secs_f64();
    let rate = if seconds > 0.0 { grouped((table.copied as f64 / seconds) as u64) } else { "-".to_owned() };
    [
        table.name.clone(),
        grouped(table.source),
        grouped(table.destination),
        grouped(table.missing),
        grouped(table.doubled),
        grouped(table.windows),
        grouped(table.calls),
        grouped(table.least_calls),
        rate,
    ]
}

/// `number` with its digits in groups of three.
pub fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_cap_sets_the_fewest_calls() {
        assert_eq!(least_calls(99_999, 50_000_000, false), 2);
        assert_eq!(least_calls(100_000, 50_000_000, false), 3);
        assert_eq!(least_calls(1, 50_000_001, false), 3);
        assert_eq!(least_calls(290_000, 80_000_000, true), 3 + 3);
        assert_eq!(least_calls(125_000, 233_000_000, true), 5 + 3);
        assert_eq!(least_calls(0, 0, false), 1);
    }

    #[test]
    fn the_summary_lines_up_and_sums() {
        let table = |name: &str, rows: u64, missing| Table {
            name: name.into(),
            source: rows,
            destination: rows - missing,
            missing,
            copied: rows,
            windows: 2,
            calls: 5,
            least_calls: 4,
            busy: Duration::from_secs(10),
            ..Table::default()
        };
        let summary = Summary {
            tables: vec![table("DeviceEvents", 120_000, 0), table("EmailEvents", 1_000, 7)],
            running: Duration::from_secs(20),
            total: Duration::from_millis(31_440),
            peak_memory_kib: Some(50_000),
        };
        let expected = "\
table          source  destination  missing  doubled  windows  calls  least calls  rows/s
-----------------------------------------------------------------------------------------
DeviceEvents  120,000      120,000        0        0        2      5            4  12,000
EmailEvents     1,000          993        7        0        2      5            4     100
-----------------------------------------------------------------------------------------
all           121,000      120,993        7        0        4     10            8   6,050
runs 20.0 s, all in all 31.4 s; peak memory of the handler 49 MiB";
        assert_eq!(summary.render(), expected);
    }
}
