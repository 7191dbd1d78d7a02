//! `historyEvents` of a run, as far as its records tell them: when it was accepted, what became of each table and when,
//! and how it ended. Names are those of Durable Functions. A run keeps no log of its events, so what leaves no trace in
//! the records (a suspension that is over, an attempt) is not in here.

use super::instance::{Instance, RuntimeStatus, TableRun};
use serde_json::{Value, json};

/// What the events show besides themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Details {
    /// What the run was started with.
    pub input: bool,
    /// What came of it and of its tables.
    pub results: bool,
}

/// The events in the order of their times. `output` is that of the run.
pub fn history(run: &Instance, tables: &[TableRun], output: &Value, shown: Details) -> Vec<Value> {
    let mut started = json!({
        "EventType": "ExecutionStarted",
        "Timestamp": run.created,
        "FunctionName": "start_orchestrator",
    });
    if shown.input {
        started["Input"] = run.raw_input.clone();
    }
    let mut events = vec![started];
    let mut ended: Vec<_> =
        tables.iter().filter_map(|table| table.result.as_ref().map(|result| (table, result))).collect();
    ended.sort_by_key(|(table, result)| (result.ended.unwrap_or(run.created), table.ordinal));
    for (table, result) in ended {
        let mut event = json!({
            "EventType": if result.success { "TaskCompleted" } else { "TaskFailed" },
            // What was refused as the run began has no end of its own.
            "Timestamp": result.ended.unwrap_or(run.created),
            "FunctionName": table.config.source,
        });
        if !result.success {
            event["Reason"] = json!(result.error);
        }
        if shown.results {
            event["Result"] = json!(result);
        }
        events.push(event);
    }
    let (name, status, reason) = match run.status {
        RuntimeStatus::Suspended => ("ExecutionSuspended", None, run.suspended_because.as_ref()),
        RuntimeStatus::Terminated => ("ExecutionTerminated", Some(run.status.name()), run.reason.as_ref()),
        RuntimeStatus::Completed | RuntimeStatus::Failed => ("ExecutionCompleted", Some(run.status.name()), None),
        RuntimeStatus::Pending | RuntimeStatus::Running => return events,
    };
    let mut event = json!({"EventType": name, "Timestamp": run.updated});
    if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
        event["Reason"] = json!(reason);
    }
    if let Some(status) = status {
        event["OrchestrationStatus"] = json!(status);
        if shown.results {
            event["Result"] = output.clone();
        }
    }
    events.push(event);
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{id, later, now, table};
    use crate::orchestration::instance::{StartInput, TableResult};

    fn run() -> Instance {
        Instance::pending(id(1), StartInput::default(), json!({"tables": ["A"]}), now())
    }

    fn types(events: &[Value]) -> Vec<&str> {
        events.iter().map(|event| event["EventType"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_history_tells_what_became_of_each_table_in_the_order_of_the_ends() {
        let ended = |seconds, success| TableRun {
            result: Some(TableResult { success, ended: Some(later(seconds)), ..TableResult::default() }),
            ..table()
        };
        let completed = Instance { status: RuntimeStatus::Completed, updated: later(9), ..run() };
        let events = history(&completed, &[ended(8, false), table(), ended(5, true)], &json!("x"), Details::default());
        assert_eq!(types(&events), ["ExecutionStarted", "TaskCompleted", "TaskFailed", "ExecutionCompleted"]);
        assert!(events.iter().all(|event| event.get("Result").is_none()));
        let all = Details { input: true, results: true };
        let shown = history(&completed, &[ended(5, true)], &json!("x"), all);
        assert_eq!((events[0].get("Input"), shown[0].get("Input")), (None, Some(&json!({"tables": ["A"]}))));
        assert_eq!((shown[1]["Result"]["success"].clone(), shown[2]["Result"].clone()), (json!(true), json!("x")));
    }

    #[test]
    fn a_run_that_goes_on_has_no_last_event() {
        assert_eq!(types(&history(&run(), &[], &Value::Null, Details::default())), ["ExecutionStarted"]);
        let held = run().suspended("why", later(1)).unwrap();
        let events = history(&held, &[], &Value::Null, Details::default());
        assert_eq!(types(&events), ["ExecutionStarted", "ExecutionSuspended"]);
        assert_eq!(events[1]["Reason"], "why");
        let stopped = held.terminated("enough", later(2)).unwrap();
        let events = history(&stopped, &[], &Value::Null, Details::default());
        assert_eq!(types(&events), ["ExecutionStarted", "ExecutionTerminated"]);
        assert_eq!(events[1]["Reason"], "enough", "not why it was held before");
    }
}
