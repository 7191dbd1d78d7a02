//! The data of the page as JSON. Knows what was read and nothing of the store; texts are cut and otherwise left as they are,
//! since whoever shows them escapes them.

use super::reading::{Overview, RunSeen, Scope};
use crate::app::App;
use crate::orchestration::call_history::SPAN;
use crate::orchestration::instance::{RuntimeStatus, TableRun};
use crate::orchestration::run::rewind;
use crate::orchestration::summary::{Shown, progress};
use crate::timestamp::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

/// Failures that are shown.
const FAILURES: usize = 50;
/// Characters of a text that are shown; `status` has all of it.
const TEXT: usize = 2_000;

#[derive(Serialize)]
struct Run<'o> {
    id: &'o str,
    status: &'static str,
    active: bool,
    created: Timestamp,
    updated: Timestamp,
    /// From its acceptance to its end, or until now.
    duration_seconds: u64,
    /// Proved.
    rows: u64,
    bytes: u64,
    calls: u64,
    tables_total: u32,
    tables_done: u32,
    tables_failed: u32,
    /// Why it failed, was ended, is held or does not begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Whether `rewind` takes up what failed in it.
    can_rewind: bool,
}

#[derive(Serialize)]
struct Table<'o> {
    key: &'o str,
    /// The run that the progress is of.
    run: &'o str,
    /// Whether that run goes on.
    active: bool,
    #[serde(flatten)]
    progress: Shown<'o>,
    /// A table that is loaded once does not fall behind.
    loaded_once: bool,
    /// Everything up to and including this is proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_up_to: Option<Timestamp>,
    /// How far that is behind now.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<u64>,
    /// When a run, of those shown, last proved everything up to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_proved: Option<Timestamp>,
    /// Windows that failed and are still to be copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_windows: Option<u64>,
    /// Windows that a run which began late has left for a later one.
    #[serde(skip_serializing_if = "Option::is_none")]
    later_windows: Option<u64>,
}

#[derive(Serialize)]
struct Failure<'o> {
    kind: &'static str,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<&'o str>,
    /// The range of a window: behind the first, up to the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[Timestamp; 2]>,
    error: String,
    /// Whether a later run got the table right.
    mended: bool,
}

/// The body.
pub fn shown(app: &App, overview: &Overview) -> Value {
    let mut body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": overview.now,
        "scope": if overview.scope == Scope::All { "all" } else { "active" },
        "settings_error": app.services.as_ref().err().map(|error| cut(error)),
        "runs": overview.runs.iter().map(|seen| run(overview, seen)).collect::<Vec<_>>(),
        "runs_cut": overview.runs_cut,
        "tables": tables(overview),
        "tables_cut": overview.tables_cut,
        "quota": quota(overview),
    });
    if overview.scope == Scope::All {
        let mut failures = failures(overview);
        body["failures_cut"] = (overview.windows_cut || failures.len() > FAILURES).into();
        failures.truncate(FAILURES);
        body["failures"] = json!(failures);
    }
    body
}

/// The progress of a table in a run.
fn progress_in<'o>(overview: &'o Overview, seen: &'o RunSeen, table: &'o TableRun) -> Shown<'o> {
    progress(&seen.run, table, overview.heads.get(&table.key), overview.calls.opens_at, overview.now, overview.lease)
}

fn run<'o>(overview: &'o Overview, seen: &'o RunSeen) -> Run<'o> {
    let run = &seen.run;
    let progress: Vec<Shown> = seen.tables.iter().map(|table| progress_in(overview, seen, table)).collect();
    let sum = |of: fn(&Shown) -> u64| progress.iter().map(of).sum();
    let end = if seen.is_active() { overview.now } else { run.updated };
    let held = match run.status {
        RuntimeStatus::Suspended => run.suspended_because.as_ref(),
        RuntimeStatus::Pending => run.pending_because.as_ref(),
        _ => None,
    };
    let note = run.error.as_ref().or(run.reason.as_ref()).or(held);
    Run {
        id: run.id.as_str(),
        status: run.status.name(),
        active: seen.is_active(),
        created: run.created,
        updated: run.updated,
        duration_seconds: end.since(run.created).as_secs(),
        rows: sum(|shown| shown.rows),
        bytes: sum(|shown| shown.bytes),
        calls: sum(|shown| shown.calls),
        tables_total: run.tables_total,
        tables_done: run.tables_done,
        tables_failed: run.tables_failed,
        note: note.filter(|text| !text.is_empty()).map(|text| cut(text)),
        can_rewind: rewind::request(Some(run), &seen.tables, overview.now).is_ok(),
    }
}

fn tables(overview: &Overview) -> Vec<Value> {
    overview.tables().into_iter().map(|(seen, table)| cut_texts(json!(row(overview, seen, table)))).collect()
}

fn row<'o>(overview: &'o Overview, seen: &'o RunSeen, table: &'o TableRun) -> Table<'o> {
    let head = overview.heads.get(&table.key);
    let results = || {
        let runs = overview.runs.iter().flat_map(|seen| &seen.tables);
        runs.filter(|other| other.key == table.key).filter_map(|other| other.result.as_ref())
    };
    let of_head = head.map(|head| head.verified_up_to).filter(|at| *at > Timestamp::MIN);
    let verified = of_head.or_else(|| results().filter_map(|result| result.verified_up_to).max());
    let loaded_once = table.config.is_loaded_once();
    Table {
        key: table.key.as_str(),
        run: seen.run.id.as_str(),
        active: seen.is_active(),
        progress: progress_in(overview, seen, table),
        loaded_once,
        verified_up_to: verified,
        lag_seconds: verified.filter(|_| !loaded_once).map(|at| overview.now.since(at).as_secs()),
        last_proved: results().filter(|result| result.success && result.skipped.is_none()).find_map(|r| r.ended),
        failed_windows: head.map(|head| head.counts.failed),
        later_windows: head.map(|head| head.counts.later),
    }
}

/// Newest first: runs that could not go on, tables that failed in one, windows that are still to be copied.
fn failures(overview: &Overview) -> Vec<Failure<'_>> {
    let mut failures = Vec::new();
    for (age, seen) in overview.runs.iter().enumerate() {
        let run = Some(seen.run.id.as_str());
        if let Some(error) = &seen.run.error {
            let none = Failure { kind: "run", at: seen.run.updated, run, ..Failure::of(error) };
            failures.push(none);
        }
        for table in &seen.tables {
            let Some(result) = &table.result else { continue };
            let Some(error) = &result.error else { continue };
            let later = overview.runs[..age].iter().flat_map(|seen| &seen.tables);
            let mended = later
                .filter(|other| other.key == table.key)
                .any(|other| other.result.as_ref().is_some_and(|result| result.success));
            failures.push(Failure {
                kind: "table",
                at: result.ended.unwrap_or(seen.run.created),
                run,
                table: Some(&table.config.source),
                destination: Some(&table.config.destination),
                mended,
                ..Failure::of(error)
            });
        }
    }
    failures.extend(overview.windows.iter().map(|window| Failure {
        kind: "window",
        at: window.at,
        table: Some(&window.table),
        destination: Some(&window.destination),
        range: Some([window.low, window.high]),
        ..Failure::of(window.error.as_deref().unwrap_or("the window failed, and no reason is on record"))
    }));
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.at));
    failures
}

impl Failure<'_> {
    fn of(error: &str) -> Self {
        Self {
            kind: "",
            at: Timestamp::MIN,
            run: None,
            table: None,
            destination: None,
            range: None,
            error: cut(error),
            mended: false,
        }
    }
}

fn quota(overview: &Overview) -> Value {
    let calls = &overview.calls;
    let ahead = |at: Timestamp| Some(at).filter(|at| *at > overview.now);
    json!({
        "calls_per_minute": calls.quota.per_minute,
        "calls_per_hour": calls.quota.per_hour,
        "next_call_at": ahead(calls.opens_at),
        "paused_until": ahead(calls.paused_until),
        "span_seconds": SPAN.as_secs(),
        "spans": calls.spans,
    })
}

/// Cuts the texts of an object.
fn cut_texts(mut object: Value) -> Value {
    for (_, value) in object.as_object_mut().into_iter().flatten() {
        if let Value::String(text) = value {
            *text = cut(text);
        }
    }
    object
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
