//! What the status shows of a run: its progress while it goes on and its output in the end. Field names are
//! those of the Python app, with more beside them.

use super::instance::{Instance, RuntimeStatus, TableResult, TableRun};
use super::ledger::{Head, TableState};
use crate::timestamp::Timestamp;
use serde_json::{Value, json};

/// `output` of a run that has ended, from its tables.
pub fn output(run: &Instance, tables: &[TableRun]) -> Value {
    if let Some(error) = &run.error {
        return json!({"status": "error", "message": error, "result": null});
    }
    if let Some(reason) = &run.reason {
        return Value::String(reason.clone());
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
            json!({
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
                "hunting_calls": result.calls,
                "high_watermark": result.verified_up_to,
                "warnings": result.warnings,
                "error": result.error,
            })
        })
        .collect();
    let mut output = of_tables(run, &results, exceptions, detailed);
    if !run.repairs.is_empty() {
        output["result"]["repairs"] = json!(run.repairs);
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
                "hunting_calls": sum(|r| r.calls),
                "execution_time_seconds": run.updated.since(run.created).as_secs_f64(),
                "chunking_enabled": true,
                "exceptions": exceptions,
                "detailed_results": detailed,
            },
        }
    })
}

/// `customStatus`: the live progress of each table; `heads` are those of the tables that have one. The tenant's next
/// hunting call may be sent at `calls_open_at`.
pub fn custom_status(
    run: &Instance,
    tables: &[(TableRun, Option<Head>)],
    calls_open_at: Timestamp,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = tables
        .iter()
        .map(|(table, head)| {
            let mut status = table_status(run, table, head.as_ref());
            let until = head.as_ref().and_then(|head| waits_until(run, table, head, calls_open_at));
            if let Some(until) = until.filter(|until| *until > now) {
                status["waiting_for_quota_until"] = json!(until);
            }
            status
        })
        .collect();
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

fn table_status(run: &Instance, table: &TableRun, head: Option<&Head>) -> Value {
    let mut status = json!({"table": table.config.source, "destination": table.config.destination});
    let Some(members) = status.as_object_mut() else { return status };
    if let Some(result) = &table.result {
        members.insert("state".into(), if result.success { "done" } else { "failed" }.into());
        members.insert("windows".into(), result.windows.into());
        members.insert("windows_done".into(), result.windows_done.into());
        members.insert("windows_failed".into(), result.windows_failed.into());
        members.insert("rows".into(), result.rows.into());
        members.insert("planned_rows".into(), result.rows.into());
        members.insert("bytes".into(), result.bytes.into());
        members.insert("calls".into(), result.calls.into());
        if let Some(error) = &result.error {
            members.insert("error".into(), error.clone().into());
        }
        return status;
    }
    let Some(head) = head.filter(|head| head.run.as_ref() == Some(&run.id)) else {
        members.insert("state".into(), "waiting".into());
        return status;
    };
    let held = head.stop && run.status == RuntimeStatus::Suspended;
    let state = match head.state {
        TableState::Planning | TableState::Running if held && head.counts.submitted == 0 => "suspended",
        TableState::Idle => "waiting",
        TableState::Planning => "planning",
        TableState::Running if head.counts.open == 0 => "verifying",
        TableState::Running => "copying",
        TableState::Finishing => "finishing",
    };
    let progress = &head.progress;
    members.insert("state".into(), state.into());
    members.insert("windows".into(), progress.windows.into());
    members.insert("windows_done".into(), progress.verified.into());
    members.insert("windows_failed".into(), progress.failed.into());
    members.insert("rows".into(), progress.rows.into());
    members.insert("posted_rows".into(), progress.posted_rows.into());
    members.insert("planned_rows".into(), progress.planned_rows.into());
    members.insert("bytes".into(), progress.bytes.into());
    members.insert("calls".into(), progress.calls.into());
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing;
    use crate::orchestration::ids::{InstanceId, TableKey};
    use crate::orchestration::instance::{StartInput, TableConfig};
    use crate::orchestration::ledger::Counts;
    use crate::orchestration::repairs::{Kind, Repaired};

    #[test]
    fn a_table_with_calls_to_make_says_until_when_it_waits_for_the_quota() {
        use testing::{head, id, later, now, table};
        let run = Instance {
            status: RuntimeStatus::Running,
            ..Instance::pending(id(1), StartInput::default(), Value::Null, now())
        };
        let shown = |run: &Instance, head: Head, opens: u64| {
            let tables = [(table(), Some(head))];
            let status = custom_status(run, &tables, later(opens), later(10));
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
            let custom = custom_status(run, &[], Timestamp::MIN, Timestamp::MIN)["repairs"].clone();
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
    }
}
