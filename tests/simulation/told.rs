//! What a run tells of a table: in its output, in the audit and in the rows of failed windows.

use super::oracle::{Copied, Findings};
use super::world::{SECOND, Setting, SimulatedTable, World};
use adxingestor::orchestration::ids::InstanceId;
use adxingestor::orchestration::instance::{RuntimeStatus, TableResult};
use localcloud::clock::Clock;
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// What is told of a table in a run.
#[derive(Debug)]
pub struct Told {
    pub result: TableResult,
    /// The exceptions in the output of the run.
    pub output: String,
    /// What the audit says went wrong; empty if there is no row.
    pub audit: String,
    /// What the rows of failed windows say.
    pub failures: Vec<String>,
}

impl Told {
    /// Asserts that the table has failed, with all of `parts` in its output, its audit and at least one row of a failed window.
    pub fn failed_saying(&self, parts: &[&str]) {
        assert!(!self.result.success, "{self:#?}");
        for part in parts {
            assert!(self.output.contains(part), "the output does not say `{part}`: {self:#?}");
            assert!(self.audit.contains(part), "the audit does not say `{part}`: {self:#?}");
            let is_told = self.failures.iter().any(|failure| failure.contains(part));
            assert!(is_told, "no row of a failed window says `{part}`: {self:#?}");
        }
    }

    /// The commands that the rows of failed windows ask for, beginning so.
    pub fn commands(&self, begin: &str) -> Vec<String> {
        let spans = self.failures.iter().flat_map(|failure| failure.split('`').skip(1).step_by(2));
        let mut commands: Vec<String> = spans.filter(|span| span.starts_with(begin)).map(str::to_owned).collect();
        commands.dedup();
        commands
    }
}

/// A world of one table, whose windows have so many rows, a permit a second and one lane, so that things can happen between two
/// of them.
pub fn world_of(table: SimulatedTable, chunk_size: u64, change: impl FnOnce(&mut Setting)) -> World {
    let mut setting = Setting::quiet(31, vec![table]);
    setting.settings = vec![
        ("CHUNK_SIZE", chunk_size.to_string()),
        ("HUNTING_CALLS_PER_MINUTE", "60".to_owned()),
        ("MAX_THREAD_WORKERS", "1".to_owned()),
    ];
    change(&mut setting);
    World::new(&setting)
}

impl World {
    /// A whole run; gives what it tells of `table`.
    pub async fn run_of(&mut self, table: &str) -> Told {
        let id = self.start().await;
        self.told(&id, table).await
    }

    /// Waits for the end of a run; gives what it tells of `table`.
    pub async fn told(&mut self, id: &InstanceId, table: &str) -> Told {
        let run = self.ended(id, PATIENCE).await.unwrap_or_else(|| panic!("the run {id} does not end"));
        assert_eq!(run.status, RuntimeStatus::Completed, "{run:?}");
        self.settled(Duration::from_secs(3600)).await;
        let rows = self.records().tables(id).await.unwrap();
        let row = rows.into_iter().find(|row| row.record.config.destination == table);
        let result = row.and_then(|row| row.record.result).unwrap_or_else(|| panic!("{table} has no result"));
        let (status, body) = self.call("GET", &format!("/api/instances/{id}"), &Value::Null).await;
        assert_eq!(status, 200, "{body}");
        let exceptions = body["output"]["result"]["processing_summary"]["exceptions"].as_array().cloned();
        let output = exceptions.unwrap_or_default().iter().map(said).collect::<Vec<_>>().join("\n");
        let texts = |from: &str| -> Vec<String> {
            let rows =
                self.adx(&format!("{from} | where ingestion_id == '{id}' and table == '{table}' | project error"));
            rows.iter().map(|row| said(&row[0])).collect()
        };
        let failed = "meta_ChunkIngestionFailures | where not(success)";
        let failures = if self.has_table("meta_ChunkIngestionFailures") { texts(failed) } else { Vec::new() };
        Told { result, output, audit: texts("meta_MigrationAudit").join("\n"), failures }
    }

    pub fn has_table(&self, table: &str) -> bool {
        self.adx(&format!(".show tables | where TableName == '{table}' | count"))[0][0] != 0
    }

    /// Waits until so many windows were posted.
    pub async fn posted(&mut self, messages: u64) {
        for _ in 0..36_000 {
            if self.cloud.ingestion().statistics().messages >= messages {
                return;
            }
            self.pass(Duration::from_millis(100)).await;
        }
        panic!("{messages} windows are not posted: {:?}", self.cloud.ingestion().statistics());
    }

    /// Rows come to a table, and some time goes by.
    pub async fn more_of(&mut self, table: &str, rows: u64) {
        let now = Clock::now(&self.clock);
        self.cloud.source().append(table, rows, now, now + 600 * SECOND).unwrap();
        self.pass(Duration::from_secs(1_200)).await;
    }

    /// What is wrong with a copy that should be whole: every row there once, and audit and failure rows as the ledger has it.
    pub async fn not_whole(&self, copy: Copied<'_>) -> Findings {
        let there = self.cloud.adx().identities(copy.destination);
        let found = self.cloud.source().compare(copy.source, i64::MIN, i64::MAX, there).unwrap();
        let mut findings = self.check(&[copy]).await;
        findings.extend(self.check_metadata(copy).await);
        if !found.missing.is_empty() || found.surplus > 0 {
            let (missing, surplus) = (found.missing.len(), found.surplus);
            findings.push(format!("{}: {missing} rows are missing and {surplus} too many", copy.destination));
        }
        findings
    }

    /// Asserts that a copy is whole.
    pub async fn whole(&self, table: &str) {
        assert_eq!(self.not_whole(Copied::under_its_name(table)).await, Findings::new());
    }
}

/// A text as it is, or what a value is written as.
fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string().replace("\\\"", "\""), str::to_owned)
}
