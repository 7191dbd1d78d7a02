//! A run as its clients see it, and its tables. States and names are those of Durable Functions.

use super::IllegalTransition;
use super::auditor::Auditor;
use super::ids::{InstanceId, TableKey};
use super::ledger::ProofFigures;
use super::message::{ControlMessage, Debt};
use super::repairs::Repairs;
use super::snapshot::result::SnapshotResult;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeStatus {
    /// Accepted, not begun.
    Pending,
    /// At work.
    Running,
    /// Held by a person.
    Suspended,
    /// Ended; its output says what came of every table.
    Completed,
    /// The run itself could not go on.
    Failed,
    /// Stopped by a person.
    Terminated,
}

impl RuntimeStatus {
    /// Whether it never changes again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Terminated)
    }

    /// The name as the status API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Suspended => "Suspended",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Terminated => "Terminated",
        }
    }
}

/// What a run was started with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartInput {
    /// Only these source tables; all active ones if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<String>>,
    /// Start although another run is active.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Where a table that was never copied begins; what is behind this of another is left for later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Where the run's range ends at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl StartInput {
    /// What it asks for besides a run of all tables; `None` when that is all.
    pub fn in_words(&self) -> Option<String> {
        let tables = self.tables.as_ref().map(|tables| format!("tables {}", tables.join(", ")));
        let since = self.since.map(|since| format!("since {since}"));
        let until = self.until.map(|until| format!("until {until}"));
        let words: Vec<String> = [tables, since, until].into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// The range that it asks for has something in it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_range(&self) -> Result<(), String> {
        match (self.since, self.until) {
            (Some(since), Some(until)) if since >= until => {
                Err(format!("`since` ({since}) is not before `until` ({until}), so that nothing lies between them"))
            }
            _ => Ok(()),
        }
    }

    /// At `now`, something of the range that it asks for is over.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_begin(&self, now: Timestamp) -> Result<(), String> {
        match self.since.filter(|since| *since >= now) {
            Some(since) => {
                Err(format!("`since` ({since}) lies in the future (it is {now}), where there is nothing to copy"))
            }
            None => Ok(()),
        }
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its state.
    pub status: RuntimeStatus,
    /// What it was started with.
    pub input: StartInput,
    /// What the client sent, as the status shows it.
    #[serde(default)]
    pub raw_input: Value,
    /// When it was accepted.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// When its start is tried again, if it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_due: Option<Timestamp>,
    /// Why it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_because: Option<String>,
    /// Tables in it.
    pub tables_total: u32,
    /// Tables that ended well.
    pub tables_done: u32,
    /// Tables that did not.
    pub tables_failed: u32,
    /// Why it was terminated.
    #[serde(default)]
    pub reason: Option<String>,
    /// Why the run itself failed.
    #[serde(default)]
    pub error: Option<String>,
    /// How often it began again under its own id. A message that ends a run says which life it means.
    #[serde(default)]
    pub lives: u32,
    /// The source tables that it began again with, where it was rewound from those that had failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewound: Option<Vec<String>>,
    /// How often it was suspended or resumed. The message of each carries its number, so an old one changes nothing.
    #[serde(default)]
    pub holds: u64,
    /// Why it is suspended.
    #[serde(default)]
    pub suspended_because: Option<String>,
    /// What was repaired of it.
    #[serde(default, skip_serializing_if = "Repairs::is_empty")]
    pub repairs: Repairs,
    /// What a person is to know of it besides, such as that its hunting endpoint will end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How much a run loads of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadType {
    /// Once.
    Full,
    /// What is new in each run.
    Incremental,
    /// Whole, in each run anew.
    Snapshot,
}

/// A row of the configuration, as read when the run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableConfig {
    /// The Defender table.
    pub source: String,
    /// The folder of the ADX table.
    pub folder: String,
    /// The ADX table.
    pub destination: String,
    /// The watermark column.
    pub watermark_column: String,
    /// How much to load.
    pub load_type: Option<LoadType>,
    /// When the last load ended.
    pub last_refreshed: Option<Timestamp>,
    /// Everything up to and including this is there.
    pub high_watermark: Option<Timestamp>,
}

impl TableConfig {
    /// Whether the configuration has such a row. A table that a start has named and that no row is for has a name alone.
    pub fn is_configured(&self) -> bool {
        let Self { folder, destination, watermark_column, load_type, .. } = self;
        load_type.is_some() || [folder, destination, watermark_column].iter().any(|text| !text.is_empty())
    }

    /// Whether it is loaded once, and never what is new.
    pub fn is_loaded_once(&self) -> bool {
        self.load_type == Some(LoadType::Full)
    }
}

/// What came of a table in a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TableResult {
    /// Whether everything up to the run's end is proved.
    pub success: bool,
    /// Why nothing was to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Rows proved that no audit row counts yet: those of this run, and of runs before it that were stopped.
    pub rows: u64,
    /// Rows in the plan.
    #[serde(default)]
    pub planned_rows: u64,
    /// Rows posted.
    #[serde(default)]
    pub posted_rows: u64,
    /// Bytes posted.
    pub bytes: u64,
    /// Windows of this run.
    pub windows: u64,
    /// Windows proved or found empty.
    pub windows_done: u64,
    /// Windows whose rows had left the source.
    #[serde(default)]
    pub windows_expired: u64,
    /// Windows failed.
    pub windows_failed: u64,
    /// Windows that earlier runs had left.
    pub leftovers: u64,
    /// Of these, proved now.
    pub repaired: u64,
    /// Hunting calls.
    pub calls: u64,
    /// What the proof of its windows took.
    #[serde(default)]
    pub proof: ProofFigures,
    /// The attempts of a table that is copied whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotResult>,
    /// Everything up to and including this is proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_up_to: Option<Timestamp>,
    /// When it was counted in its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

/// A table in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableRun {
    /// Its key.
    pub key: TableKey,
    /// Its place among the run's tables.
    pub ordinal: u32,
    /// Its configuration.
    pub config: TableConfig,
    /// The end of the run's range, frozen at its start.
    pub high: Timestamp,
    /// Whether its plan was put.
    #[serde(default)]
    pub started: bool,
    /// What came of it, once it has ended.
    #[serde(default)]
    pub result: Option<TableResult>,
    /// Messages that its end owes.
    #[serde(default)]
    pub owed: Vec<Debt>,
    /// Who writes its audit, where it has none of its windows to say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auditor: Option<Auditor>,
}

impl TableRun {
    /// The table as it is once this result of it is counted.
    pub fn with_result(&self, result: TableResult) -> Self {
        Self { result: Some(result), ..self.clone() }
    }

    /// The table as it is while one message writes its audit.
    pub fn audited_by(&self, auditor: Auditor) -> Self {
        Self { auditor: Some(auditor), ..self.clone() }
    }

    /// The table as a first load sees it, whatever watermark its configuration has.
    pub fn begun_anew(&self) -> Self {
        let config = TableConfig { high_watermark: None, last_refreshed: None, ..self.config.clone() };
        Self { config, ..self.clone() }
    }
}

impl Instance {
    /// A run as it is accepted.
    pub fn pending(id: InstanceId, input: StartInput, raw_input: Value, now: Timestamp) -> Self {
        Self {
            id,
            status: RuntimeStatus::Pending,
            input,
            raw_input,
            created: now,
            updated: now,
            start_due: None,
            pending_because: None,
            tables_total: 0,
            tables_done: 0,
            tables_failed: 0,
            reason: None,
            error: None,
            lives: 0,
            rewound: None,
            holds: 0,
            suspended_because: None,
            repairs: Repairs::default(),
            notes: Vec::new(),
        }
    }

    /// Whether it is the run that a message means which was put for the one accepted then: a run that was forgotten may
    /// have left a message to another one of the same id.
    pub fn is_of(&self, created: Option<Timestamp>) -> bool {
        created.is_none_or(|created| created == self.created)
    }

    /// The time of the snapshots that it makes first, if it begins at `now`: when it was started; or, where it begins again, now, as a
    /// rewound one keeps its birth.
    pub fn snapshot_time(&self, now: Timestamp) -> Timestamp {
        if self.lives == 0 { self.created } else { now }
    }

    /// The source tables that it is about; all active ones where none are named.
    pub fn asked_for(&self) -> Option<&[String]> {
        self.rewound.as_deref().or(self.input.tables.as_deref())
    }

    /// Whether its tables are planned and dispatched.
    pub fn goes_on(&self) -> bool {
        self.status == RuntimeStatus::Running
    }

    /// Whether its tables stand: a run without any ends as it begins.
    pub fn has_begun(&self) -> bool {
        self.tables_total > 0
    }

    /// Whether every table has its result.
    pub fn is_through(&self) -> bool {
        self.has_begun() && self.tables_done + self.tables_failed == self.tables_total
    }

    /// Sets the run going with these tables; those that validation refused have their result already. Marks the
    /// first `at_once` others as started: their plans are owed ([`Instance::plans_owed`]).
    ///
    /// # Errors
    /// [`IllegalTransition`] unless the run is pending.
    pub fn begun(&self, tables: &mut [TableRun], at_once: u32, now: Timestamp) -> Result<Self, IllegalTransition> {
        if self.status != RuntimeStatus::Pending {
            return Err(self.illegal("begin"));
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let results: Vec<&TableResult> = tables.iter().filter_map(|table| table.result.as_ref()).collect();
        let failed = results.iter().filter(|result| !result.success).count();
        let done = results.len() - failed;
        let runnable = tables.len() - results.len();
        for table in tables.iter_mut().filter(|table| table.result.is_none()).take(at_once as usize) {
            table.started = true;
        }
        Ok(Self {
            status: if runnable == 0 { RuntimeStatus::Completed } else { RuntimeStatus::Running },
            tables_total: count(tables.len()),
            tables_failed: count(failed),
            tables_done: count(done),
            start_due: None,
            pending_because: None,
            updated: now,
            ..self.clone()
        })
    }

    /// The plans of all tables that are started and have no result.
    pub fn plans_owed(&self, tables: &[TableRun]) -> Vec<Debt> {
        tables.iter().filter(|t| t.started && t.result.is_none()).map(|t| self.plan_debt(&t.key)).collect()
    }

    /// Counts a table's result and starts `next`, the first table that is not started, in its place. Gives the run,
    /// the table with what its end owes, and the next table.
    ///
    /// # Errors
    /// [`IllegalTransition`] once the table has its result: it is counted already.
    pub fn table_ended(
        &self,
        table: &TableRun,
        result: TableResult,
        next: Option<&TableRun>,
        now: Timestamp,
    ) -> Result<(Self, TableRun, Option<TableRun>), IllegalTransition> {
        if table.result.is_some() {
            return Err(self.illegal("count a table twice"));
        }
        if !self.has_begun() {
            return Err(self.illegal("count a table"));
        }
        let mut run = Self { updated: now, ..self.clone() };
        if result.success {
            run.tables_done += 1;
        } else {
            run.tables_failed += 1;
        }
        let next = next.filter(|_| !run.status.is_final()).map(|next| TableRun { started: true, ..next.clone() });
        let owed = next.iter().map(|next| run.plan_debt(&next.key)).collect();
        // A suspended run is completed by its resumption.
        if run.status == RuntimeStatus::Running && run.is_through() {
            run.status = RuntimeStatus::Completed;
        }
        let result = Some(TableResult { ended: Some(now), ..result });
        Ok((run, TableRun { result, owed, auditor: None, ..table.clone() }, next))
    }

    /// Stops the run.
    ///
    /// # Errors
    /// [`IllegalTransition`] when it has ended already.
    pub fn terminated(&self, reason: &str, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.ended(RuntimeStatus::Terminated, now).map(|run| Self { reason: Some(reason.to_owned()), ..run })
    }

    /// The run with what is to be said at its end whatever comes of it.
    #[must_use]
    pub fn with_notes(&self, notes: impl IntoIterator<Item = String>) -> Self {
        Self { notes: notes.into_iter().collect(), ..self.clone() }
    }

    /// Ends the run with an error of its own.
    ///
    /// # Errors
    /// [`IllegalTransition`] when it has ended already.
    pub fn failed(&self, error: &str, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.ended(RuntimeStatus::Failed, now).map(|run| Self { error: Some(error.to_owned()), ..run })
    }

    fn ended(&self, status: RuntimeStatus, now: Timestamp) -> Result<Self, IllegalTransition> {
        if self.status.is_final() {
            return Err(self.illegal("end"));
        }
        Ok(Self { status, updated: now, ..self.clone() })
    }

    fn plan_debt(&self, table: &TableKey) -> Debt {
        let message = ControlMessage::Plan { instance: self.id.clone(), table: table.clone(), attempt: 0 };
        Debt::control(message, Duration::ZERO)
    }

    pub(super) fn illegal(&self, event: &'static str) -> IllegalTransition {
        IllegalTransition { what: format!("instance {}", self.id), event, state: self.status.name().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-05-01T00:00:00Z".parse().unwrap()
    }

    fn pending() -> Instance {
        Instance::pending(InstanceId::from_bits(1), StartInput::default(), Value::Null, now())
    }

    fn tables(count: u32) -> Vec<TableRun> {
        (0..count)
            .map(|ordinal| TableRun {
                key: TableKey::new("t", &ordinal.to_string(), "c", "d", "x"),
                ordinal,
                config: TableConfig {
                    source: ordinal.to_string(),
                    folder: String::new(),
                    destination: "x".into(),
                    watermark_column: "Timestamp".into(),
                    load_type: Some(LoadType::Incremental),
                    last_refreshed: None,
                    high_watermark: None,
                },
                high: now(),
                started: false,
                result: None,
                owed: Vec::new(),
                auditor: None,
            })
            .collect()
    }

    fn ok() -> TableResult {
        TableResult { success: true, ..TableResult::default() }
    }

    #[test]
    fn no_more_tables_are_planned_at_once_than_the_setting_allows() {
        let mut tables = tables(7);
        let run = pending().begun(&mut tables, 5, now()).unwrap();
        assert_eq!(run.plans_owed(&tables).len(), 5);
        let (_, ended, next) = run.table_ended(&tables[0], ok(), Some(&tables[5]), now()).unwrap();
        assert_eq!(ended.owed.len(), 1);
        assert!(next.unwrap().started);
    }

    #[test]
    fn the_last_result_completes_the_run_and_is_counted_once() {
        let mut tables = tables(2);
        let run = pending().begun(&mut tables, 5, now()).unwrap();
        let (run, first, _) = run.table_ended(&tables[0], ok(), None, now()).unwrap();
        assert_eq!(run.status, RuntimeStatus::Running);
        assert!(run.table_ended(&first, ok(), None, now()).is_err());
        let (run, ..) = run.table_ended(&tables[1], TableResult::default(), None, now()).unwrap();
        assert_eq!((run.status, run.tables_done, run.tables_failed), (RuntimeStatus::Completed, 1, 1));
    }

    #[test]
    fn a_run_without_tables_is_completed_at_once() {
        assert_eq!(pending().begun(&mut [], 5, now()).unwrap().status, RuntimeStatus::Completed);
        let mut refused = tables(1);
        refused[0].result = Some(TableResult::default());
        let run = pending().begun(&mut refused, 5, now()).unwrap();
        assert_eq!((run.status, run.tables_failed, run.plans_owed(&refused).len()), (RuntimeStatus::Completed, 1, 0));
    }

    #[test]
    fn a_final_run_never_changes_its_state() {
        let run = Instance { tables_total: 2, ..pending() }.terminated("enough", now()).unwrap();
        assert_eq!(run.reason.as_deref(), Some("enough"));
        assert!(run.terminated("again", now()).is_err() && run.failed("x", now()).is_err());
        let tables = tables(1);
        let (late, ended, next) = run.table_ended(&tables[0], ok(), Some(&tables[0]), now()).unwrap();
        assert_eq!((late.status, ended.owed.len(), next), (RuntimeStatus::Terminated, 0, None));
    }

    #[test]
    fn unknown_fields_of_the_start_body_are_refused() {
        assert!(serde_json::from_str::<StartInput>(r#"{"table":["x"]}"#).is_err());
        let input: StartInput = serde_json::from_str(r#"{"tables":["A"],"force":true}"#).unwrap();
        assert!(input.force && input.tables == Some(vec!["A".to_owned()]));
    }
}
