//! What must hold once everything is quiet, whatever went wrong before.

use super::world::World;
use adxingestor::orchestration::ids::TableKey;
use adxingestor::orchestration::ledger::{Counts, Head};
use adxingestor::orchestration::window::{Window, WindowState};
use adxingestor::state::{CHUNK_QUEUE, CONTROL_QUEUE};
use adxingestor::timestamp::Timestamp;
use std::collections::BTreeMap;

/// What was found wrong, in words.
pub type Findings = Vec<String>;

/// A copied table as the ledger has it.
pub struct Ledger {
    pub head: Head,
    pub windows: Vec<Window>,
}

impl World {
    /// The ledger of a table; `None` if there is none.
    pub async fn ledger(&self, table: &str) -> Option<Ledger> {
        let records = self.records();
        let key = self.key(table);
        let head = records.head(&key).await.unwrap()?.record;
        let windows = records.windows(&key).await.unwrap().into_iter().map(|(_, window)| window.record).collect();
        Some(Ledger { head, windows })
    }

    fn key(&self, table: &str) -> TableKey {
        let settings = self.settings();
        TableKey::new(&settings.tenant, table, &settings.cluster_name(), &settings.database, table)
    }

    /// What holds at any time when no message is under way: nothing twice, and every row up to the watermark.
    pub async fn check(&self, tables: &[&str]) -> Findings {
        let mut findings: Findings = self.seen.violations();
        for name in tables {
            // A run that was stopped at once made none.
            let Some(ledger) = self.ledger(name).await else { continue };
            findings.extend(tiling(&ledger).into_iter().map(|finding| format!("{name}: {finding}")));
            findings.extend(self.rows(name, &ledger).into_iter().map(|finding| format!("{name}: {finding}")));
        }
        findings.extend(self.quiet().await);
        findings
    }

    /// Messages that nobody will ever take.
    async fn quiet(&self) -> Findings {
        let mut findings = Findings::new();
        for queue in [CONTROL_QUEUE, CHUNK_QUEUE] {
            for queue in [queue.to_owned(), format!("{queue}-poison")] {
                let count = self.store.queues.approximate_count(&queue).await.unwrap();
                if count > 0 {
                    findings.push(format!("{count} messages are left in {queue}"));
                }
            }
        }
        findings
    }

    /// The destination against the source: every row up to the watermark, none twice.
    fn rows(&self, table: &str, ledger: &Ledger) -> Findings {
        let mut findings = Findings::new();
        let source = self.cloud.source();
        let copied = |until: i64| source.compare(table, i64::MIN, until, self.cloud.adx().identities(table)).unwrap();
        let whole = copied(i64::MAX);
        if whole.surplus > 0 {
            findings.push(format!("{} rows too many at the destination", whole.surplus));
        }
        let verified = copied(ledger.head.verified_up_to.ticks() as i64);
        if !verified.missing.is_empty() {
            let missing = verified.missing.len();
            findings.push(format!("{missing} rows up to the watermark {} are missing", ledger.head.verified_up_to));
        }
        // A run that was stopped at once has not made the table.
        let counted = self.cloud.adx().run(&format!("{table} | summarize count() by ChunkId"));
        let counted = counted.map(|counted| counted.json_rows()).unwrap_or_default();
        let counted: BTreeMap<String, u64> =
            counted.into_iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_u64().unwrap())).collect();
        for window in ledger.windows.iter().filter(|window| window.state == WindowState::Verified) {
            let (id, sealed) = (window.id.to_string(), window.seal.as_ref().map_or(0, |seal| seal.rows));
            let found = counted.get(&id).copied().unwrap_or(0);
            if found != sealed {
                findings.push(format!("window {id} is verified with {sealed} rows, and {found} are there"));
            }
        }
        findings
    }

    /// What the metadata tables say against the ledger, once a run without anything wrong has ended.
    pub async fn check_metadata(&self, table: &str) -> Findings {
        let mut findings = Findings::new();
        let Some(ledger) = self.ledger(table).await else { return vec![format!("{table} has no ledger")] };
        let up_to = ledger.head.verified_up_to;
        let configured = self.adx(&format!(
            "vw_meta_LatestMigrationConfiguration | where SourceTable == '{table}' | project tostring(HighWatermark)"
        ));
        let configured = configured[0][0].as_str().unwrap_or_default().parse::<Timestamp>().ok();
        if configured != Some(up_to) {
            findings.push(format!("{table}: HighWatermark is {configured:?}, and {up_to} is verified"));
        }
        let audit = self.adx(&format!(
            "meta_MigrationAudit | where table == '{table}' | summarize Rows = count(), Processed = sum(records_processed) by ingestion_id"
        ));
        let processed: u64 = audit.iter().map(|row| row[2].as_u64().unwrap()).sum();
        let there = self.adx(&format!("{table} | count"))[0][0].as_u64().unwrap();
        if processed != there {
            findings.push(format!("{table}: the audit counts {processed} rows, and {there} are there"));
        }
        if let Some(twice) = audit.iter().find(|row| row[1] != 1) {
            findings.push(format!("{table}: {} audit rows of the run {}", twice[1], twice[0]));
        }
        findings
    }
}

/// Windows tile the planned range, the counts are true, and the watermark is the end of the longest prefix that is done.
fn tiling(ledger: &Ledger) -> Findings {
    let mut findings = Findings::new();
    let head = &ledger.head;
    let mut counts = head.purged;
    for window in &ledger.windows {
        *counts.of(window.state) += 1;
    }
    if counts != head.counts {
        findings.push(format!("the head counts {:?}, and there are {counts:?}", head.counts));
    }
    // Leaves: what is split is covered by its children; partitions of a stretch count once all are there.
    let mut leaves: BTreeMap<(Timestamp, Timestamp), Vec<&Window>> = BTreeMap::new();
    let planned = |window: &&Window| window.state != WindowState::Split && !window.id.is_null_axis();
    for window in ledger.windows.iter().filter(planned) {
        if window.id.low < head.planned_to {
            leaves.entry((window.id.low, window.id.high)).or_default().push(window);
        }
    }
    let mut end: Option<Timestamp> = (head.purged == Counts::default()).then_some(head.began_at).flatten();
    let (mut done, mut prefix) = (true, head.began_at);
    for ((low, high), windows) in &leaves {
        if end.is_some_and(|end| end != *low) {
            findings.push(format!("the windows leave ({}, {low}] out or cover it twice", end.unwrap()));
        }
        end = Some(*high);
        let parts: u32 = u32::from(windows[0].id.part.count);
        if windows.len() as u32 != parts {
            findings.push(format!("({low}, {high}] has {} of {parts} partitions", windows.len()));
        }
        done &= windows.iter().all(|window| window.state.is_terminal());
        if done {
            prefix = Some(*high);
        }
    }
    if !leaves.is_empty() && end != Some(head.planned_to) {
        findings.push(format!("the windows end at {end:?}, and {} is planned", head.planned_to));
    }
    if prefix.is_some_and(|prefix| prefix < head.verified_up_to) && !leaves.is_empty() {
        findings.push(format!("verified up to {}, and only {prefix:?} is done", head.verified_up_to));
    }
    findings
}
