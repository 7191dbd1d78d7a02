//! Looks at the state store of a function app from outside and says whether everything in it has come to rest, and
//! rests right: places, runs, heads, windows, queues, and what the cluster holds beside it.

use super::{Deployment, PATIENCE};
use adxingestor::config::StateStore;
use adxingestor::orchestration::ids::{InstanceId, TableKey};
use adxingestor::orchestration::instance::{Instance, RuntimeStatus};
use adxingestor::orchestration::ledger::{Counts, Head, TableState};
use adxingestor::orchestration::limits::Limits;
use adxingestor::orchestration::window::{Window, WindowState};
use adxingestor::random::SystemRandom;
use adxingestor::state::{CHUNK_QUEUE, CONTROL_QUEUE, State, Stretch, Tenant};
use adxingestor::storage::{Connection, azure, retrying, sqlite};
use adxingestor::timestamp::{SystemClock, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Deployment {
    /// The app's records, through a door of one's own.
    pub fn state(&self) -> State {
        let lookup = |name: &str| self.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let clock = Arc::new(SystemClock);
        let storage = match StateStore::parse(&lookup, StateStore::Azure).unwrap() {
            StateStore::Sqlite(path) => sqlite(Path::new(&path), clock).unwrap(),
            StateStore::Azure => {
                azure(&Connection::parse(&lookup).unwrap(), &lookup, self.http.clone(), clock).unwrap().0
            }
        };
        let limits = Limits::scaled(self.time_scale);
        State::new(retrying(storage, Arc::new(SystemRandom)), Arc::new(SystemRandom), Tenant::new("", &limits))
    }

    /// Waits until no message is left, hidden ones included.
    pub async fn drained(&self) {
        let state = self.state();
        let began = Instant::now();
        loop {
            let mut left = BTreeMap::new();
            for queue in [CONTROL_QUEUE, CHUNK_QUEUE].map(str::to_owned) {
                for queue in [format!("{queue}-poison"), queue] {
                    let count = state.storage().queues.approximate_count(&queue).await.unwrap();
                    left.insert(queue, count);
                }
            }
            if left.values().all(|count| *count == 0) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "messages are left: {left:?}\n{}", self.tail());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// All runs on record, newest first. An entry counts only while its run says the same birth: its start may have
    /// been broken off, or another one of the same run was faster.
    pub async fn runs(&self) -> Vec<Instance> {
        let state = self.state();
        let (entries, more) = state.listed(&Stretch::default()).await.unwrap();
        assert!(!more, "more runs than one page");
        let mut runs = Vec::new();
        for entry in entries {
            let run = state.instance(&entry.record.instance).await.unwrap().map(|run| run.record);
            runs.extend(run.filter(|run| entry.record.is_of(run)));
        }
        runs
    }

    /// Rows that the ledgers hold for proved, by table key.
    pub async fn proved_rows(&self, run: &str) -> BTreeMap<String, u64> {
        let state = self.state();
        let id: InstanceId = run.parse().unwrap();
        let mut proved = BTreeMap::new();
        for table in state.tables(&id).await.unwrap() {
            let windows = windows(&state, &table.record.key).await;
            proved.insert(table.record.config.destination.clone(), sealed_rows(&verified(&windows)));
        }
        proved
    }

    /// Waits until the queues are empty; panics unless every run is in a final state, nobody holds a place, and the
    /// ledger of every table of `last`, a run that was completed, is at rest, without a gap or an overlap, counted right,
    /// and the same as what the cluster holds.
    pub async fn assert_settled(&self, last: &str) {
        self.drained().await;
        let state = self.state();
        for run in self.runs().await {
            assert!(run.status.is_final(), "{run:#?}\n{}", self.tail());
        }
        assert_eq!(state.places().await.unwrap(), [], "a run that is over holds a place\n{}", self.tail());
        let id: InstanceId = last.parse().unwrap();
        let tables = state.tables(&id).await.unwrap();
        assert!(!tables.is_empty());
        for table in tables {
            let table = table.record;
            let head = state.head(&table.key).await.unwrap().unwrap().record;
            let windows = windows(&state, &table.key).await;
            assert_eq!((head.state, &head.run), (TableState::Idle, &None), "{head:#?}");
            assert_eq!(head.planned_to, table.high, "{head:#?}");
            assert_eq!(head.verified_up_to, table.high, "{head:#?}");
            assert_counted(&head, &windows);
            assert_tiles(&head, &windows);
            self.assert_held(&table.config.destination, &verified(&windows));
        }
    }

    /// Panics unless the destination holds exactly the rows of these windows.
    pub fn assert_held(&self, destination: &str, windows: &[Window]) {
        let rows = self.adx(&format!("{destination} | summarize Rows=count() by ChunkId"));
        let held: BTreeMap<String, u64> =
            rows.iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_u64().unwrap())).collect();
        let sealed = windows.iter().map(|window| (window.id.to_string(), sealed_rows(std::slice::from_ref(window))));
        assert_eq!(held, sealed.collect(), "{destination}");
    }

    /// Panics unless the audit has one row for each table of a completed run, and says of it what the run's output says.
    /// Gives the rows that the run counted.
    pub fn assert_audited(&self, run: &str, output: &serde_json::Value) -> u64 {
        let rows = self.adx(&format!(
            "meta_MigrationAudit | where ingestion_id == '{run}' | project ['table'], ['success'], records_processed, chunks_failed"
        ));
        let mut audited: Vec<_> = rows
            .iter()
            .map(|row| (row[0].as_str().unwrap(), is_true(&row[1]), row[2].as_u64(), row[3].as_u64()))
            .collect();
        audited.sort();
        let said = output["result"]["processing_summary"]["detailed_results"].as_array().unwrap();
        let mut told: Vec<_> = said
            .iter()
            .map(|table| {
                let count = |name: &str| table[name].as_u64();
                let success = table["success"].as_bool().unwrap();
                (table["table"].as_str().unwrap(), success, count("records_processed"), count("chunks_failed"))
            })
            .collect();
        told.sort();
        assert_eq!(audited, told, "the audit of {run}\n{}", self.tail());
        let total = output["result"]["processing_summary"]["total_records_processed"].as_u64().unwrap();
        assert_eq!(told.iter().filter_map(|table| table.2).sum::<u64>(), total);
        total
    }

    /// Panics unless a run that has ended is `Completed` and no table failed in it. Gives the rows that it counted.
    pub fn assert_completed(&self, run: &str, status: &serde_json::Value) -> u64 {
        assert_eq!(status["runtimeStatus"], RuntimeStatus::Completed.name(), "{status:#}\n{}", self.tail());
        let summary = &status["output"]["result"]["processing_summary"];
        assert_eq!(summary["failed_tables"], 0, "{status:#}\n{}", self.tail());
        self.assert_audited(run, &status["output"])
    }
}

/// Kusto writes a truth value as such or as a number.
fn is_true(value: &serde_json::Value) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_u64() == Some(1))
}

async fn windows(state: &State, table: &TableKey) -> Vec<Window> {
    state.windows(table).await.unwrap().into_iter().map(|(_, window)| window.record).collect()
}

fn verified(windows: &[Window]) -> Vec<Window> {
    windows.iter().filter(|window| window.state == WindowState::Verified).cloned().collect()
}

fn sealed_rows(windows: &[Window]) -> u64 {
    windows.iter().map(|window| window.seal.as_ref().unwrap().rows).sum()
}

fn assert_counted(head: &Head, windows: &[Window]) {
    let mut counts = Counts::default();
    for window in windows {
        *counts.of(window.state) += 1;
    }
    assert_eq!(head.counts, counts, "the counts of {}", head.source);
    let left = counts.open + counts.submitted + counts.failed;
    assert_eq!(left, 0, "windows of {} are left: {counts:?}", head.source);
}

/// Every instant from the first window's begin to the end of the last plan lies in one window, or in all parts of one.
fn assert_tiles(head: &Head, windows: &[Window]) {
    let mut parts: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for window in windows.iter().filter(|window| window.state != WindowState::Split) {
        let id = window.id;
        assert!(parts.entry((id.low, id.high, id.part.count)).or_default().insert(id.part.index), "twice: {id}");
    }
    for ((low, high, count), found) in &parts {
        assert_eq!(found.len(), usize::from(*count), "parts of ({low}, {high}] are missing: {found:?}");
    }
    // Rows without a cut axis have windows of their own.
    let ranges: Vec<_> = parts.into_keys().filter(|(_, high, _)| *high > Timestamp::MIN).collect();
    for pair in ranges.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "a gap or an overlap in {}", head.source);
    }
    assert_eq!(ranges.last().unwrap().1, head.planned_to, "{}", head.source);
}
