//! What the status shows of a run: its progress while it goes on and its output in the end. Field names are
//! those of the Python app, with more beside them.

use super::instance::{Instance, LoadType, RuntimeStatus, TableResult, TableRun};
use super::ledger::{Head, ProofFigures, TableState};
use crate::timestamp::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// `output` of a run that has ended, from its tables.
pub fn output(run: &Instance, tables: &[TableRun]) -> Value {
    if let Some(error) = &run.error {
        return json!({"status": "error", "message": error, "result": null});
    }
    if let Some(reason) = &run.reason {
        // A termination without a reason has no output.
        return if reason.is_empty() { Value::Null } else { Value::String(reason.clone()) };
    }
    let results: Vec<_> =
        tables.iter().filter_map(|table| table.result.as_ref().map(|result| (table, result))).collect();
    let exceptions: Vec<String> = results
        .iter()
        .filter_map(|(table, result)| result.error.as_ref().map(|error| format!("{}: {error}", table.config.source)))
        .collect();
    let detailed: Vec<Value> = results
        .iter()
        .map(|(table, result)| {
            let mut detail = json!({
                "source_table": table.config.source,
                "folder": table.config.folder,
                "table": table.config.destination,
                "success": result.success,
                "skipped": result.skipped,
                "records_processed": result.rows,
                "bytes_processed": result.bytes,
                "chunked": result.windows > 1,
                "chunks_processed": result.windows_done,
                "chunks_failed": result.windows_failed,
                "chunks_expired": expired(table, result),
                "hunting_calls": result.calls,
                "proof": proof(&result.proof),
                "high_watermark": result.verified_up_to,
                "warnings": result.warnings,
                "error": result.error,
            });
            if !result.snapshots.is_empty() {
                detail["snapshots"] = json!(result.snapshots);
            }
            detail
        })
        .collect();
    let mut output = of_tables(run, &results, exceptions, detailed);
    if !run.repairs.is_empty() {
        output["result"]["repairs"] = json!(run.repairs);
    }
    if !run.notes.is_empty() {
        output["result"]["notes"] = json!(run.notes);
    }
    output
}

fn of_tables(
    run: &Instance,
    results: &[(&TableRun, &TableResult)],
    exceptions: Vec<String>,
    detailed: Vec<Value>,
) -> Value {
    let sum = |of: fn(&TableResult) -> u64| results.iter().map(|(_, result)| of(result)).sum::<u64>();
    let failed = results.iter().filter(|(_, result)| !result.success).count();
    let leftovers = sum(|r| r.leftovers);
    let repaired = sum(|r| r.repaired);
    json!({
        "result": {
            "reprocessing_summary": {
                "total_chunks": leftovers,
                "successful_chunks": repaired,
                "failed_chunks": leftovers.saturating_sub(repaired),
            },
            "processing_summary": {
                "status": if failed == 0 { "success" } else { "completed with failed tables" },
                "total_tables": run.tables_total,
                "successful_tables": results.len() - failed,
                "failed_tables": failed,
                "total_records_processed": sum(|r| r.rows),
                "total_chunks_processed": sum(|r| r.windows_done),
                "total_chunks_failed": sum(|r| r.windows_failed),
                "total_chunks_expired": results.iter().map(|(table, result)| expired(table, result)).sum::<u64>(),
                "hunting_calls": sum(|r| r.calls),
                "execution_time_seconds": run.updated.since(run.created).as_secs_f64(),
                "chunking_enabled": true,
                "exceptions": exceptions,
                "detailed_results": detailed,
            },
        }
    })
}

/// Windows whose rows are lost: the source kept them no longer. Those of a snapshot that another one has replaced are not.
fn expired(table: &TableRun, result: &TableResult) -> u64 {
    if table.config.load_type == Some(LoadType::Snapshot) { 0 } else { result.windows_expired }
}

/// The progress of a table, as a row of its head or its result tells it: nothing is kept for it alone.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Shown<'t> {
    /// The source table.
    pub table: &'t str,
    /// The destination table.
    pub destination: &'t str,
    /// What it does, in a word.
    pub state: &'static str,
    /// Planned in this run or left by earlier ones.
    pub windows: u64,
    /// Proved, or found empty.
    pub windows_done: u64,
    /// Given up in this run.
    pub windows_failed: u64,
    /// Gone at the source.
    pub windows_expired: u64,
    /// Rows that its windows are to bring.
    pub planned_rows: u64,
    /// Rows posted.
    pub posted_rows: u64,
    /// Proved.
    pub rows: u64,
    /// Bytes posted.
    pub bytes: u64,
    /// Hunting calls.
    pub calls: u64,
    /// When its next call may be sent, if that is not now.
    pub waiting_for_quota_until: Option<Timestamp>,
    /// Why nothing was to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<&'t str>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'t str>,
}

/// The progress of a table of the run; `head` is that of its ledger, and a claim of its windows is over after `lease`.
pub fn progress<'t>(
    run: &Instance,
    table: &'t TableRun,
    head: Option<&Head>,
    calls_open_at: Timestamp,
    now: Timestamp,
    lease: Duration,
) -> Shown<'t> {
    let until = head.and_then(|head| waits_until(run, table, head, calls_open_at));
    Shown { waiting_for_quota_until: until.filter(|until| *until > now), ..shown(run, table, head, now, lease) }
}

/// `customStatus`: the live progress of each table; `heads` are those of the tables that have one. The tenant's next
/// hunting call may be sent at `calls_open_at`; a claim is over after `lease`.
pub fn custom_status(
    run: &Instance,
    tables: &[(TableRun, Option<Head>)],
    calls_open_at: Timestamp,
    now: Timestamp,
    lease: Duration,
) -> Value {
    let rows: Vec<Shown> =
        tables.iter().map(|(table, head)| progress(run, table, head.as_ref(), calls_open_at, now, lease)).collect();
    let mut status = json!({
        "tables_total": run.tables_total,
        "tables_done": run.tables_done,
        "tables_failed": run.tables_failed,
        "tables": rows,
    });
    if !run.repairs.is_empty() {
        status["repairs"] = json!(run.repairs);
    }
    if run.status == RuntimeStatus::Suspended {
        status["suspended_because"] = json!(run.suspended_because);
    }
    if let (RuntimeStatus::Pending, Some(reason)) = (run.status, &run.pending_because) {
        status["pending_because"] = json!(reason);
        status["start_tried_again"] = json!(run.start_due);
    }
    status
}

/// Whether a table of the run has calls to make.
pub fn waits_for_calls(run: &Instance, tables: &[(TableRun, Option<Head>)]) -> bool {
    let now = Timestamp::MIN;
    tables.iter().any(|(table, head)| head.as_ref().is_some_and(|head| waits_until(run, table, head, now).is_some()))
}

/// Until when a table waits that has calls to make; `None` for one that has none, or whose run does not go on.
fn waits_until(run: &Instance, table: &TableRun, head: &Head, calls_open_at: Timestamp) -> Option<Timestamp> {
    if run.status != RuntimeStatus::Running || table.result.is_some() || head.run.as_ref() != Some(&run.id) {
        return None;
    }
    match head.state {
        TableState::Planning => Some(head.plan_due.map_or(calls_open_at, |due| due.max(calls_open_at))),
        TableState::Running if head.counts.open > 0 => Some(calls_open_at),
        _ => None,
    }
}

fn shown<'t>(run: &Instance, table: &'t TableRun, head: Option<&Head>, now: Timestamp, lease: Duration) -> Shown<'t> {
    let named = Shown { table: &table.config.source, destination: &table.config.destination, ..Shown::default() };
    if let Some(result) = &table.result {
        return Shown {
            state: if result.success { "done" } else { "failed" },
            windows: result.windows,
            windows_done: result.windows_done,
            windows_failed: result.windows_failed,
            windows_expired: result.windows_expired,
            planned_rows: result.planned_rows,
            posted_rows: result.posted_rows,
            rows: result.rows,
            bytes: result.bytes,
            calls: result.calls,
            skipped: result.skipped.as_deref(),
            error: result.error.as_deref(),
            ..named
        };
    }
    // The counts of a head that another run holds are that run's.
    let Some(head) = head.filter(|head| head.run.as_ref() == Some(&run.id)) else {
        return Shown { state: if run.status.is_final() { "stopped" } else { "waiting" }, ..named };
    };
    let progress = &head.progress;
    Shown {
        state: state(run, head, now, lease),
        windows: progress.windows,
        windows_done: progress.verified + progress.empty,
        windows_failed: progress.failed,
        windows_expired: progress.expired,
        planned_rows: progress.planned_rows,
        posted_rows: progress.posted_rows,
        rows: progress.rows,
        bytes: progress.bytes,
        calls: progress.calls,
        ..named
    }
}

fn state(run: &Instance, head: &Head, now: Timestamp, lease: Duration) -> &'static str {
    let held = head.stop && run.status == RuntimeStatus::Suspended;
    match head.state {
        _ if run.status.is_final() && is_under_way(run, head, now, lease) => "stopping",
        _ if run.status.is_final() => "stopped",
        TableState::Planning | TableState::Running if held && head.counts.submitted == 0 => "suspended",
        TableState::Idle => "waiting",
        TableState::Planning => "planning",
        TableState::Running if head.counts.open == 0 => "verifying",
        TableState::Running => "copying",
        TableState::Finishing => "finishing",
    }
}

/// Whether something still becomes of windows of a table whose run is over: they are posted and not counted yet, or a worker may be at what
/// was handed out. No claim is made any more, so that is over with the last lease, although nothing takes their names off the head.
fn is_under_way(run: &Instance, head: &Head, now: Timestamp, lease: Duration) -> bool {
    let may_be_claimed = !head.out.is_empty() && now.since(run.updated) <= lease;
    matches!(head.state, TableState::Running | TableState::Finishing) && (head.counts.submitted > 0 || may_be_claimed)
}

/// What the proof of a table's windows took, in the words of the output.
pub fn proof(figures: &ProofFigures) -> Value {
    let mean = figures.total_ms.checked_div(figures.windows).unwrap_or_default();
    json!({
        "count_queries": figures.queries,
        "commands": figures.commands,
        "submit_to_verified_ms_mean": mean,
        "submit_to_verified_ms_longest": figures.longest_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing;
    use crate::orchestration::ids::{InstanceId, TableKey};
    use crate::orchestration::instance::{StartInput, TableConfig, TableResult};
    use crate::orchestration::ledger::{Counts, Progress};
    use crate::orchestration::repairs::{Kind, Repaired};

    const LEASE: Duration = Duration::from_secs(300);

    #[test]
    fn a_table_with_calls_to_make_says_until_when_it_waits_for_the_quota() {
        use testing::{head, id, later, now, table};
        let run = Instance {
            status: RuntimeStatus::Running,
            ..Instance::pending(id(1), StartInput::default(), Value::Null, now())
        };
        let shown = |run: &Instance, head: Head, opens: u64| {
            let tables = [(table(), Some(head))];
            let status = custom_status(run, &tables, later(opens), later(10), LEASE);
            (waits_for_calls(run, &tables), status["tables"][0]["waiting_for_quota_until"].clone())
        };
        let counts = Counts { open: 2, submitted: 1, ..Counts::default() };
        let copying = Head { counts, ..head(TableState::Running) };
        assert_eq!(shown(&run, copying.clone(), 30), (true, json!(later(30))));
        assert_eq!(shown(&run, copying.clone(), 5), (true, Value::Null), "it may call already");
        let planning = Head { plan_due: Some(later(50)), ..head(TableState::Planning) };
        assert_eq!(shown(&run, planning, 30), (true, json!(later(50))));
        let counting = Head { counts: Counts { open: 0, ..counts }, ..copying.clone() };
        assert_eq!(shown(&run, counting, 30), (false, Value::Null));
        assert_eq!(shown(&run.suspended("x", now()).unwrap(), copying, 30), (false, Value::Null));
    }

    #[test]
    fn a_run_whose_start_waits_says_why_and_until_when_as_long_as_it_does() {
        use testing::{id, later, now};
        let pending = Instance {
            start_due: Some(later(20)),
            pending_because: Some("no answer".to_owned()),
            ..Instance::pending(id(1), StartInput::default(), Value::Null, now())
        };
        let shown = |run: &Instance| {
            let status = custom_status(run, &[], now(), now(), LEASE);
            (status["pending_because"].clone(), status["start_tried_again"].clone())
        };
        assert_eq!(shown(&pending), (json!("no answer"), json!(later(20))));
        assert_eq!(shown(&pending.failed("no answer", later(30)).unwrap()), (Value::Null, Value::Null));
    }

    #[test]
    fn a_table_shows_the_same_members_before_while_and_after_it_is_copied() {
        use testing::{head, id, later, now, table};
        let run = Instance {
            status: RuntimeStatus::Running,
            ..Instance::pending(id(1), StartInput::default(), Value::Null, now())
        };
        let progress = Progress {
            windows: 9,
            verified: 3,
            empty: 1,
            failed: 2,
            planned_rows: 50,
            posted_rows: 40,
            rows: 30,
            bytes: 4_000,
            calls: 7,
            ..Progress::default()
        };
        let counts = Counts { submitted: 1, ..Counts::default() };
        let at_work = Head { progress, counts, ..head(TableState::Running) };
        let result = TableResult { success: true, windows: 9, windows_done: 9, rows: 50, ..TableResult::default() };
        let ended = TableRun { result: Some(result), ..table() };
        let elsewhere = Head { run: Some(id(2)), ..at_work.clone() };
        let tables = [(table(), None), (table(), Some(elsewhere)), (table(), Some(at_work)), (ended, None)];
        let status = custom_status(&run, &tables, later(0), later(0), LEASE);
        let shown = status["tables"].as_array().unwrap();
        let members = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert!(shown.iter().all(|table| members(table) == members(&shown[0])), "{status:#}");
        assert_eq!((&shown[0]["state"], &shown[0]["windows"]), (&json!("waiting"), &json!(0)));
        assert_eq!(shown[1], shown[0], "another run's counts are not this one's");
        for (name, value) in
            [("windows", 9), ("windows_done", 4), ("windows_failed", 2), ("rows", 30), ("bytes", 4_000), ("calls", 7)]
        {
            assert_eq!(shown[2][name], value, "{name}");
        }
        let over = run.terminated("enough", later(1)).unwrap();
        let states: Vec<Value> = custom_status(&over, &tables, later(0), later(0), LEASE)["tables"]
            .as_array()
            .unwrap()
            .iter()
            .map(|table| table["state"].clone())
            .collect();
        assert_eq!(states, ["stopped", "stopped", "stopping", "done"]);
        assert_eq!((&shown[3]["state"], &shown[3]["windows_done"]), (&json!("done"), &json!(9)));
    }

    #[test]
    fn a_table_of_a_run_that_was_terminated_has_stopped_unless_something_of_it_is_under_way() {
        use testing::{head, id, later, now, seen, table};
        let run = Instance::pending(id(1), StartInput::default(), Value::Null, now()).terminated("x", now()).unwrap();
        let shown = |head: &Head, seconds| {
            let tables = [(table(), Some(head.clone()))];
            custom_status(&run, &tables, later(0), later(seconds), LEASE)["tables"][0]["state"].clone()
        };
        for state in [TableState::Idle, TableState::Planning, TableState::Running, TableState::Finishing] {
            let still = Head { stop: true, ..head(state) };
            assert_eq!(shown(&still, 1), "stopped", "{state:?}");
            let is_at_work = matches!(state, TableState::Running | TableState::Finishing);
            let posted = Head { counts: Counts { submitted: 1, ..still.counts }, ..still.clone() };
            assert_eq!(shown(&posted, 9_999), if is_at_work { "stopping" } else { "stopped" }, "{state:?}");
        }
        let out = vec![seen(10, crate::orchestration::window::WindowState::Planned).name];
        let handed_out = Head { stop: true, out, ..head(TableState::Running) };
        assert_eq!((shown(&handed_out, 300), shown(&handed_out, 301)), (json!("stopping"), json!("stopped")));
    }

    #[test]
    fn a_failed_table_is_said_loudly() {
        let mut run = Instance::pending(InstanceId::from_bits(1), StartInput::default(), Value::Null, Timestamp::MIN);
        run.tables_total = 1;
        let table = TableRun {
            key: TableKey::new("", "", "", "", ""),
            ordinal: 0,
            config: TableConfig {
                source: "DeviceEvents".into(),
                folder: "f".into(),
                destination: "D".into(),
                watermark_column: "Timestamp".into(),
                load_type: None,
                last_refreshed: None,
                high_watermark: None,
            },
            high: Timestamp::MIN,
            started: true,
            result: Some(TableResult { error: Some("no licence".into()), ..TableResult::default() }),
            owed: vec![],
            auditor: None,
        };
        let result = &output(&run, &[table])["result"]["processing_summary"];
        assert_eq!(result["failed_tables"], 1);
        assert_eq!(result["status"], "completed with failed tables");
        assert_eq!(result["exceptions"][0], "DeviceEvents: no licence");
    }

    #[test]
    fn repairs_are_shown_while_the_run_goes_on_and_when_it_is_over() {
        let run = Instance::pending(InstanceId::from_bits(1), StartInput::default(), Value::Null, Timestamp::MIN);
        let shown = |run: &Instance| {
            let custom = custom_status(run, &[], Timestamp::MIN, Timestamp::MIN, LEASE)["repairs"].clone();
            (custom, output(run, &[])["result"]["repairs"].clone())
        };
        assert_eq!(shown(&run), (Value::Null, Value::Null));
        let made =
            Repaired { at: testing::now(), kind: Kind::CountLost, table: Some("DeviceEvents".into()), window: None };
        let both = json!({"count": 1, "last": [{"at": testing::now(), "kind": "count_lost", "table": "DeviceEvents"}]});
        assert_eq!(shown(&run.repaired(&[made])), (both.clone(), both));
    }

    #[test]
    fn a_failed_run_gives_its_error_and_a_terminated_one_its_reason() {
        let run = Instance::pending(InstanceId::from_bits(1), StartInput::default(), Value::Null, Timestamp::MIN);
        assert_eq!(output(&run.failed("no cluster", Timestamp::MIN).unwrap(), &[])["message"], "no cluster");
        assert_eq!(output(&run.terminated("enough", Timestamp::MIN).unwrap(), &[]), "enough");
        assert_eq!(output(&run.terminated("", Timestamp::MIN).unwrap(), &[]), Value::Null);
    }
}
