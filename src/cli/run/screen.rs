//! What is seen while a run goes on, on standard error: a bar for each table on a terminal, a line every so often elsewhere. Log lines go
//! through it, so that they do not tear the bars.

use super::super::shown;
use super::told::{bytes, counted};
use adxingestor::host::{Console, Entry, Level};
use adxingestor::local_run::Onlooker;
use adxingestor::orchestration::ids::InstanceId;
use adxingestor::orchestration::instance::StartInput;
use adxingestor::printable::grouped;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

const TEMPLATE: &str = " {prefix:24} {bar:12} {msg}";
/// Between two looks at the run.
const DRAWN_EVERY: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(15);
/// The longest part of an error in a line of progress.
const ERROR_CHARS: usize = 60;

/// The target of what is told of a run where each line has to be an event of the log.
pub const TARGET: &str = "adxingestor::progress";

/// Standard error.
#[derive(Clone)]
pub struct Screen {
    bars: MultiProgress,
    is_live: bool,
    /// What is said is an event of the log, and nothing else is written.
    is_logged: bool,
}

impl Screen {
    /// Standard error, all of whose lines are events of the log if it `is_logged`.
    pub fn new(is_logged: bool) -> Self {
        Self { bars: MultiProgress::new(), is_live: !is_logged && std::io::stderr().is_terminal(), is_logged }
    }

    /// Whether it is a terminal.
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// Writes a line of its own.
    pub fn say(&self, line: &str) {
        if self.is_logged {
            return tracing::info!(target: TARGET, "{line}");
        }
        self.write_line(line);
    }

    /// Writes why a command came to nothing.
    pub fn fail(&self, line: &str) {
        if self.is_logged {
            return tracing::error!(target: TARGET, "{line}");
        }
        line.lines().for_each(|line| self.write_line(line));
    }

    fn write_line(&self, line: &str) {
        // A closed standard error is no reason to end.
        self.bars.suspend(|| drop(writeln!(std::io::stderr(), "{}", shown(line))));
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Screen {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.bars.suspend(|| std::io::stderr().write_all(text))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// What the listeners have to say goes into the log.
pub struct Logged;

impl Console for Logged {
    fn write(&self, Entry { level, text, .. }: Entry) {
        match level {
            Level::Information => tracing::info!("{text}"),
            Level::Warning => tracing::warn!("{text}"),
            Level::Error => tracing::error!("{text}"),
        }
    }
}

/// The progress of one run.
pub struct Progress {
    screen: Screen,
    tables: Vec<ProgressBar>,
    last: String,
}

impl Progress {
    /// Of a run that is about to begin.
    pub fn new(screen: &Screen) -> Self {
        Self { screen: screen.clone(), tables: Vec::new(), last: String::new() }
    }

    /// The bars stay as they are.
    pub fn done(self) {
        self.tables.iter().for_each(ProgressBar::abandon);
        if !self.tables.is_empty() {
            // The cursor stands behind the last bar.
            let _ = writeln!(std::io::stderr());
        }
    }

    fn draw(&mut self, tables: &[Value]) {
        for (index, table) in tables.iter().enumerate() {
            if self.tables.len() <= index {
                let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
                let name = table["table"].as_str().unwrap_or_default().to_owned();
                let bar = ProgressBar::new(1).with_style(style.progress_chars("##-")).with_prefix(name);
                self.tables.push(self.screen.bars.add(bar));
            }
            let (done, all) = share(table);
            let bar = &self.tables[index];
            bar.set_length(all);
            bar.set_position(done);
            bar.set_message(shown(&message(table)));
        }
    }
}

impl Onlooker for Progress {
    fn goes_on(&mut self, id: &InstanceId, before: Option<&StartInput>) {
        let of = |input: &StartInput| input.in_words().map(|words| format!(" ({words})")).unwrap_or_default();
        self.screen.say(&match before {
            None => format!("Run {id}"),
            Some(input) => {
                format!("Run {id}{} was begun before and is active: this goes on with it to its end", of(input))
            }
        });
    }

    fn sees(&mut self, status: &Value) {
        let Some(tables) = status["customStatus"]["tables"].as_array() else { return };
        if self.screen.is_live {
            return self.draw(tables);
        }
        let line = line(status, tables);
        if line != self.last {
            self.screen.say(&line);
            self.last = line;
        }
    }

    fn stops(&mut self, within: Duration) {
        self.screen.say(&format!(
            "Stopping: no new message is taken, and what is in hand has {} s to come to a safe end (again to end at once)",
            within.as_secs()
        ));
    }

    fn every(&self) -> Duration {
        if self.screen.is_live { DRAWN_EVERY } else { LINE_EVERY }
    }
}

fn number(table: &Value, name: &str) -> u64 {
    table[name].as_u64().unwrap_or_default()
}

/// Windows that have ended, and all; a table that is through is full.
fn share(table: &Value) -> (u64, u64) {
    let ended = ["windows_done", "windows_failed", "windows_expired"].map(|name| number(table, name)).iter().sum();
    let all = number(table, "windows").max(ended).max(1);
    match table["state"].as_str() {
        Some("done") => (all, all),
        _ => (ended, all),
    }
}

fn message(table: &Value) -> String {
    let state = table["state"].as_str().unwrap_or_default();
    let failed = number(table, "windows_failed");
    let mut text = format!(
        "{state:<9} {}/{}, {}, {}, {}",
        number(table, "windows_done"),
        counted(number(table, "windows"), "window"),
        counted(number(table, "rows"), "row"),
        bytes(number(table, "bytes")),
        counted(number(table, "calls"), "call"),
    );
    if failed > 0 {
        text.push_str(&format!(", {failed} failed"));
    }
    if let Some(until) = table["waiting_for_quota_until"].as_str() {
        let time: String = until.chars().skip(11).take(8).collect();
        text.push_str(&format!(", quota {time}"));
    }
    if let Some(error) = table["error"].as_str() {
        text.push_str(&format!(": {}", error.chars().take(ERROR_CHARS).collect::<String>()));
    }
    text
}

/// All tables in one line: the sums, and who is at what.
fn line(status: &Value, tables: &[Value]) -> String {
    let sum = |name: &str| tables.iter().map(|table| number(table, name)).sum::<u64>();
    let is_at_work = |table: &&Value| !matches!(table["state"].as_str(), Some("done" | "failed" | "waiting"));
    let at_work: Vec<String> = tables
        .iter()
        .filter(is_at_work)
        .map(|table| {
            format!("{} {}", table["state"].as_str().unwrap_or_default(), table["table"].as_str().unwrap_or_default())
        })
        .collect();
    let custom = &status["customStatus"];
    let mut line = format!(
        "{} of {} done, {} failed; {} of {}, {} of {} proved, {}, {}",
        number(custom, "tables_done"),
        counted(number(custom, "tables_total"), "table"),
        number(custom, "tables_failed"),
        grouped(sum("windows_done")),
        counted(sum("windows"), "window"),
        grouped(sum("rows")),
        counted(sum("planned_rows"), "row"),
        bytes(sum("bytes")),
        counted(sum("calls"), "call"),
    );
    if !at_work.is_empty() {
        line.push_str(&format!("; {}", at_work.join(", ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn copying() -> Value {
        json!({"table": "DeviceEvents", "state": "copying", "windows": 9, "windows_done": 3, "windows_failed": 1,
            "windows_expired": 0, "planned_rows": 5_000, "rows": 1_234, "bytes": 2_500_000, "calls": 7,
            "waiting_for_quota_until": "2026-05-01T10:00:30.0000000Z", "error": null})
    }

    #[test]
    fn a_bar_says_what_a_table_is_at() {
        assert_eq!(message(&copying()), "copying   3/9 windows, 1,234 rows, 2.5 MB, 7 calls, 1 failed, quota 10:00:30");
        assert_eq!(share(&copying()), (4, 9));
        assert_eq!(share(&json!({"state": "done", "windows": 0})), (1, 1), "nothing was to be done");
    }

    #[test]
    fn without_a_terminal_a_line_sums_up() {
        let done = json!({"table": "AlertInfo", "state": "done", "windows": 1, "windows_done": 1, "rows": 10, "planned_rows": 10});
        let status = json!({"customStatus": {"tables_total": 2, "tables_done": 1, "tables_failed": 0}});
        assert_eq!(
            line(&status, &[copying(), done]),
            "1 of 2 tables done, 0 failed; 4 of 10 windows, 1,244 of 5,010 rows proved, 2.5 MB, 7 calls; copying DeviceEvents"
        );
    }

    #[test]
    fn the_template_of_the_bars_is_sound() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
