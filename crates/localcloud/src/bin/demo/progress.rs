//! The live progress of a run: a bar for each table on a terminal, plain lines elsewhere.

use crate::status::Table;
use crate::summary::grouped;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

const LINE_EVERY: Duration = Duration::from_secs(5);
/// With the message a line has less than 80 characters.
const TEMPLATE: &str = " {prefix:20} {bar:8} {msg}";

/// Where progress is shown.
pub enum Display {
    /// A terminal.
    Bars {
        /// All bars.
        all: MultiProgress,
        /// The bars of the run at hand, by table.
        tables: BTreeMap<String, ProgressBar>,
    },
    /// A file or a pipe.
    Lines {
        /// When the last line was due, within the run.
        next: Duration,
    },
}

impl Display {
    /// What fits standard output.
    pub fn for_stdout() -> Self {
        if std::io::stdout().is_terminal() {
            Self::Bars { all: new_bars(), tables: BTreeMap::new() }
        } else {
            Self::Lines { next: LINE_EVERY }
        }
    }

    /// Writes a line of its own.
    pub fn say(&self, line: &str) {
        match self {
            // A terminal that is gone cannot be written to in another way either.
            Self::Bars { all, .. } => all.println(line).unwrap_or_default(),
            Self::Lines { .. } => println!("{line}"),
        }
    }

    /// Shows the tables as they are, `elapsed` after the start of the run.
    pub fn show(&mut self, tables: &[Table], elapsed: Duration) {
        match self {
            Self::Bars { all, tables: bars } => {
                for table in tables {
                    let bar = bars.entry(table.table.clone()).or_insert_with(|| all.add(new_bar(&table.table)));
                    bar.set_length(table.planned_rows.max(table.rows).max(1));
                    // A table without new rows is full when it is done.
                    bar.set_position(if table.state == "done" { table.rows.max(1) } else { table.rows });
                    bar.set_message(message(table));
                }
            }
            Self::Lines { next } if elapsed >= *next => {
                *next = elapsed + LINE_EVERY;
                println!("{}", line(tables, elapsed));
            }
            Self::Lines { .. } => {}
        }
    }

    /// Ends the display of a run; the bars stay as they are.
    pub fn done(&mut self) {
        match self {
            Self::Bars { all, tables } => {
                std::mem::take(tables).into_values().for_each(|bar| bar.abandon());
                // The cursor stands behind the last bar.
                println!();
                // Bars of the next run begin below what is printed until then.
                *all = new_bars();
            }
            Self::Lines { next } => *next = LINE_EVERY,
        }
    }
}

fn new_bars() -> MultiProgress {
    MultiProgress::with_draw_target(ProgressDrawTarget::stdout())
}

fn new_bar(table: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(1).with_style(style.progress_chars("█▉▊▋▌▍▎▏ ")).with_prefix(table.to_owned())
}

fn message(table: &Table) -> String {
    format!(
        "{:<9} {}/{}, {}/{} windows, {} calls",
        table.state,
        grouped(table.rows),
        grouped(table.planned_rows),
        table.windows_done,
        table.windows,
        table.calls
    )
}

/// All tables in one line: the sums, and who is at what.
fn line(tables: &[Table], elapsed: Duration) -> String {
    let sum = |of: fn(&Table) -> u64| tables.iter().map(of).sum::<u64>();
    let mut by_state: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for table in tables.iter().filter(|table| table.state != "done") {
        by_state.entry(&table.state).or_default().push(&table.table);
    }
    let done = tables.iter().filter(|table| table.state == "done").count();
    let mut line = format!(
        "  {:>3} s: {} of {} rows proved, {} posted, {} of {} windows, {} calls, {done} of {} tables done",
        elapsed.as_secs(),
        grouped(sum(|table| table.rows)),
        grouped(sum(|table| table.planned_rows)),
        grouped(sum(|table| table.posted_rows)),
        sum(|table| table.windows_done),
        sum(|table| table.windows),
        sum(|table| table.calls),
        tables.len(),
    );
    for (state, names) in by_state {
        line.push_str(&format!("; {state}: {}", names.join(", ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_sums_up_and_names_the_tables_that_are_not_done() {
        let table = |name: &str, state: &str, rows| Table {
            table: name.into(),
            state: state.into(),
            rows,
            planned_rows: 2_000,
            windows: 4,
            windows_done: 1,
            calls: 3,
            ..Table::default()
        };
        let tables = [table("A", "done", 2_000), table("B", "copying", 500), table("C", "copying", 0)];
        assert_eq!(
            line(&tables, Duration::from_secs(7)),
            "    7 s: 2,500 of 6,000 rows proved, 0 posted, 3 of 12 windows, 9 calls, 1 of 3 tables done; copying: B, C"
        );
    }

    #[test]
    fn a_bar_fits_a_terminal_of_eighty_columns() {
        let table = Table {
            state: "verifying".into(),
            rows: 290_000,
            planned_rows: 290_000,
            windows: 9,
            windows_done: 9,
            calls: 12,
            ..Table::default()
        };
        assert_eq!(message(&table), "verifying 290,000/290,000, 9/9 windows, 12 calls");
        assert!(" ".len() + 20 + " ".len() + 8 + " ".len() + message(&table).len() <= 80);
    }

    #[test]
    fn the_bar_template_is_sound() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
