//! What the program's status says of a run.

use serde::Deserialize;
use serde_json::Value;

/// The answer of `GET /api/status/{id}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `Pending`, `Running`, …
    pub runtime_status: String,
    /// The tables' progress.
    #[serde(default)]
    pub custom_status: Option<Progress>,
    /// What the run says in the end.
    #[serde(default)]
    pub output: Value,
}

/// The progress of a run.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Progress {
    /// That of each table.
    #[serde(default)]
    pub tables: Vec<Table>,
}

/// The progress of a table. What the program does not say yet is zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Table {
    /// The source table.
    pub table: String,
    /// `waiting`, `planning`, `copying`, `verifying`, `finishing`, `done` or `failed`.
    pub state: String,
    /// Windows of this run.
    pub windows: u64,
    /// Windows proved.
    pub windows_done: u64,
    /// Rows proved to be in the destination.
    pub rows: u64,
    /// Rows on their way.
    pub posted_rows: u64,
    /// Rows that the plan counted.
    pub planned_rows: u64,
    /// Bytes of packed rows.
    pub bytes: u64,
    /// Hunting calls.
    pub calls: u64,
    /// What is wrong.
    pub error: Option<String>,
}

impl Status {
    /// Whether the run goes on.
    pub fn is_active(&self) -> bool {
        matches!(self.runtime_status.as_str(), "Pending" | "Running" | "Suspended")
    }

    /// The tables' progress.
    pub fn tables(&self) -> &[Table] {
        self.custom_status.as_ref().map_or(&[], |progress| &progress.tables)
    }

    /// Why a run that has ended is no success; `None` if it is one.
    pub fn failure(&self) -> Option<String> {
        let summary = &self.output["result"]["processing_summary"];
        if self.runtime_status == "Completed" && summary["failed_tables"] == 0 {
            return None;
        }
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let exceptions = texts(&summary["exceptions"]);
        if !exceptions.is_empty() {
            return Some(exceptions.join("; "));
        }
        let message = self.output["message"].as_str().or(self.output.as_str());
        Some(message.map_or_else(|| self.output.to_string(), str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(body: Value) -> Status {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn a_run_that_goes_on_tells_its_progress() {
        let table = json!({"table": "DeviceEvents", "destination": "D", "state": "copying", "rows": 7, "calls": 3});
        let status = status(json!({
            "instanceId": "1", "runtimeStatus": "Running", "customStatus": {"tables_total": 1, "tables": [table]},
            "output": null,
        }));
        assert!(status.is_active());
        assert_eq!((status.tables()[0].rows, status.tables()[0].planned_rows), (7, 0));
    }

    #[test]
    fn only_a_completed_run_without_failed_tables_is_a_success() {
        let output =
            |failed: u64| json!({"result": {"processing_summary": {"failed_tables": failed, "exceptions": ["D: no"]}}});
        let ended = |status_name: &str, output: Value| status(json!({"runtimeStatus": status_name, "output": output}));
        assert_eq!(ended("Completed", output(0)).failure(), None);
        assert_eq!(ended("Completed", output(1)).failure().unwrap(), "D: no");
        assert_eq!(ended("Failed", json!({"message": "no cluster"})).failure().unwrap(), "no cluster");
        assert_eq!(ended("Terminated", json!("enough")).failure().unwrap(), "enough");
        assert!(ended("Completed", Value::Null).failure().is_some());
    }
}
