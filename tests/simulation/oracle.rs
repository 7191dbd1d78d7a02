//! What must hold once everything is quiet, whatever went wrong before.

use super::world::World;
use adxingestor::orchestration::adoption::watch::rows;
use adxingestor::orchestration::head::survey::is_draft;
use adxingestor::orchestration::ids::TableKey;
use adxingestor::orchestration::ledger::{Counts, CutAxis, Head};
use adxingestor::orchestration::window::{Window, WindowState};
use adxingestor::timestamp::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// What was found wrong, in words.
pub type Findings = Vec<String>;

/// A table and where it is copied to.
#[derive(Debug, Clone, Copy)]
pub struct Copied<'a> {
    pub source: &'a str,
    pub destination: &'a str,
}

impl<'a> Copied<'a> {
    /// Under its own name.
    pub fn under_its_name(source: &'a str) -> Self {
        Self { source, destination: source }
    }
}

/// A copied table as the ledger has it.
pub struct Ledger {
    pub head: Head,
    pub windows: Vec<Window>,
    /// Whether the last run at it gave it up, and left its watermark to the next one.
    given_up: bool,
}

impl World {
    /// The ledger of a copy; `None` if there is none.
    pub async fn ledger(&self, copy: Copied<'_>) -> Option<Ledger> {
        let records = self.records();
        let settings = self.settings();
        let Copied { source, destination } = copy;
        let key = TableKey::new(&settings.tenant, source, &settings.cluster_name(), &settings.database, destination);
        let head = records.head(&key).await.unwrap()?.record;
        let windows = records.windows(&key).await.unwrap().into_iter().map(|(_, window)| window.record).collect();
        Some(Ledger { head, windows, given_up: self.seen.is_given_up(&key) })
    }

    /// What holds at any time when no message is under way: nothing twice, and every row up to the watermark.
    pub async fn check(&self, copies: &[Copied<'_>]) -> Findings {
        let mut findings: Findings = self.seen.violations();
        for copy in copies {
            // A run that was stopped at once made none.
            let Some(ledger) = self.ledger(*copy).await else { continue };
            let found = tiling(&ledger).into_iter().chain(self.rows(*copy, &ledger)).chain(self.told_watermarks(*copy));
            findings.extend(found.map(|finding| format!("{}: {finding}", copy.destination)));
        }
        findings.extend(self.quiet().await);
        findings
    }

    /// The watermarks that the metadata tables have told, one after the other: none of a ledger is below one before it.
    fn told_watermarks(&self, copy: Copied<'_>) -> Findings {
        let Copied { source, destination } = copy;
        let told = |table: &str, ledger: &str, watermark: &str| {
            // A run that was stopped at once has not made the table.
            let rows = self.cloud.adx().run(&format!(
                "{table} | where SourceTable == '{source}' and DestinationTable == '{destination}' and isnotnull({watermark}) \
                 | project Ledger = {ledger}, At = tostring(ingestion_time()), UpTo = tostring({watermark})"
            ));
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let mut rows: Vec<Vec<String>> = rows
                .map(|rows| rows.json_rows().iter().map(|row| row.iter().map(text).collect()).collect())
                .unwrap_or_default();
            rows.sort();
            let back = rows.windows(2).find(|pair| pair[0][0] == pair[1][0] && pair[0][2] > pair[1][2]);
            back.map(|pair| format!("{table} said {} and then {}", pair[0][2], pair[1][2]))
        };
        let ledger = told("meta_Ledger", "LedgerId", "VerifiedUpTo");
        ledger.into_iter().chain(told("meta_MigrationConfiguration", "''", "HighWatermark")).collect()
    }

    /// Messages that nobody will ever take.
    async fn quiet(&self) -> Findings {
        let mut findings = Findings::new();
        for queue in self.emptied_queues() {
            let count = self.store.queues.approximate_count(&queue).await.unwrap();
            if count > 0 {
                findings.push(format!("{count} messages are left in {queue}"));
            }
        }
        findings
    }

    /// The destination against the source: every row up to the watermark, none twice.
    fn rows(&self, copy: Copied<'_>, ledger: &Ledger) -> Findings {
        let mut findings = Findings::new();
        let Copied { source, destination } = copy;
        let there = || self.cloud.adx().identities(destination);
        let from = ledger.head.begins_after.map_or(i64::MIN, |begins| begins.ticks() as i64);
        let copied = |until: i64| self.cloud.source().compare(source, from, until, there()).unwrap();
        let whole = copied(i64::MAX);
        if whole.surplus > 0 {
            findings.push(format!("{} rows too many at the destination", whole.surplus));
        }
        // Rows without a time hold no watermark back: a failed window of theirs is reported, and may lack any of them.
        let timeless = |window: &Window| window.id.is_null_axis() && window.state == WindowState::Failed;
        let told = whole.missing.is_empty() || ledger.windows.iter().any(timeless);
        // Where no row is missing, none is up to the watermark.
        let up_to = ledger.head.verified_up_to.ticks() as i64;
        let missing = if told { Vec::new() } else { copied(up_to).missing };
        let missing = missing.len() - self.in_gaps(source, ledger, (from, up_to), &missing);
        if missing > 0 {
            findings.push(format!("{missing} rows up to the watermark {} are missing", ledger.head.verified_up_to));
        }
        // A run that was stopped at once has not made the table.
        let counted = self.cloud.adx().run(&format!("{destination} | summarize count() by ChunkId"));
        let counted = counted.map(|counted| counted.json_rows()).unwrap_or_default();
        let counted: BTreeMap<String, u64> =
            counted.into_iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_u64().unwrap())).collect();
        for window in ledger.windows.iter().filter(|window| window.state == WindowState::Verified) {
            let (id, sealed) = (window.id.to_string(), rows(window));
            let found = counted.get(&id).copied().unwrap_or(0);
            // One whose second copy was found says so.
            if found != sealed && window.error.is_none() {
                findings.push(format!("window {id} is verified with {sealed} rows, and {found} are there"));
            }
        }
        findings
    }

    /// How many of the rows that are missing in a range lie in gaps that are told, wherever the cut axis has them.
    fn in_gaps(&self, source: &str, ledger: &Ledger, (from, until): (i64, i64), missing: &[u64]) -> usize {
        if missing.is_empty() {
            return 0;
        }
        // What the source no longer keeps is reported, and not asked for; what came late waits for as long as its repair fails.
        let is_gap = |window: &&Window| {
            window.state == WindowState::Expired || (window.id.is_repair() && window.state == WindowState::Failed)
        };
        let gaps: Vec<&Window> = ledger.windows.iter().filter(is_gap).collect();
        let axis = match ledger.head.shape.as_ref().map(|shape| &shape.axis) {
            Some(CutAxis::Column(column)) => Some(column.as_str()),
            _ => None,
        };
        let times = self.cloud.source().times_within(source, axis, from, until).unwrap();
        let is_in = |gap: &&Window, at: i64| at > gap.id.low.ticks() as i64 && at <= gap.id.high.ticks() as i64;
        let is_told = |row: &&u64| times[**row as usize].is_some_and(|at| gaps.iter().any(|gap| is_in(gap, at)));
        missing.iter().filter(is_told).count()
    }

    /// What the metadata tables say against the ledger, once a run without anything wrong has ended.
    pub async fn check_metadata(&self, copy: Copied<'_>) -> Findings {
        let Copied { source, destination } = copy;
        let mut findings = Findings::new();
        let Some(ledger) = self.ledger(copy).await else { return vec![format!("{destination} has no ledger")] };
        let up_to = ledger.head.verified_up_to;
        let configured = self.adx(&format!(
            "vw_meta_LatestMigrationConfiguration | where SourceTable == '{source}' | project tostring(HighWatermark)"
        ));
        let configured = configured[0][0].as_str().unwrap_or_default().parse::<Timestamp>().ok();
        if configured != Some(up_to) {
            findings.push(format!("{destination}: HighWatermark is {configured:?}, and {up_to} is verified"));
        }
        let audit = self.adx(&format!(
            "meta_MigrationAudit | where table == '{destination}' \
             | summarize Rows = count(), Processed = sum(records_processed), Once = max(records_processed) by ingestion_id"
        ));
        // Where the service goes by no tags, rows are appended again by whoever looked for them before they had landed.
        let again = |table: &str, run: &Value| {
            let words = [table, &format!("\\\"{destination}\\\""), run.as_str().unwrap_or_default()];
            if self.ignores_tags() { self.seen.overtaken(&words) } else { 0 }
        };
        let once =
            |row: &Vec<Value>| if again("meta_MigrationAudit", &row[0]) > 0 { &row[3] } else { &row[2] }.as_u64();
        let processed: u64 = audit.iter().filter_map(once).sum();
        let there = self.adx(&format!("{destination} | count"))[0][0].as_u64().unwrap();
        if processed != there {
            findings.push(format!("{destination}: the audit counts {processed} rows, and {there} are there"));
        }
        let most = |table: &str, run: &Value| Some(1 + again(table, run));
        if let Some(twice) = audit.iter().find(|row| row[1].as_u64() > most("meta_MigrationAudit", &row[0])) {
            findings.push(format!("{destination}: {} audit rows of the run {}", twice[1], twice[0]));
        }
        let failures = self.adx(&format!(
            "meta_ChunkIngestionFailures | where table == '{destination}' \
             | summarize Rows = count() by ingestion_id, chunk_id, low_watermark, high_watermark | where Rows > 1"
        ));
        if let Some(twice) = failures.iter().find(|row| row[4].as_u64() > most("meta_ChunkIngestionFailures", &row[0]))
        {
            findings.push(format!(
                "{destination}: {} failure rows of the window {} of the run {}",
                twice[4], twice[1], twice[0]
            ));
        }
        let told = self.adx(&format!(
            "meta_ChunkIngestionFailures | where table == '{destination}' and success | summarize count()"
        ));
        let repaired =
            ledger.windows.iter().filter(|window| window.failures > 0 && window.state == WindowState::Verified);
        let (told, repaired) = (told[0][0].as_u64().unwrap(), repaired.count() as u64);
        // What a run did is told by times, so that clocks that are apart may leave a window to no run.
        if told < repaired && self.clocks_agree() {
            findings.push(format!(
                "{destination}: {told} failure rows tell of a repair, and {repaired} windows were repaired"
            ));
        }
        findings
    }
}

fn common_multiple(left: u64, right: u64) -> u64 {
    let (mut divisor, mut rest) = (left, right);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    left / divisor * right
}

/// Windows tile the planned range, the counts are true, and the watermark is the end of the longest prefix that is done.
fn tiling(ledger: &Ledger) -> Findings {
    let mut findings = Findings::new();
    let head = &ledger.head;
    let mut counts = head.purged;
    // A plan that was not completed counts for nothing; the next one removes it.
    for window in ledger.windows.iter().filter(|window| !is_draft(head, window)) {
        *counts.of(window.state) += 1;
    }
    if counts != head.counts {
        findings.push(format!("the head counts {:?}, and there are {counts:?}", head.counts));
    }
    // Leaves: what is split is covered by its children; partitions of a stretch count once all are there.
    let mut leaves: BTreeMap<(Timestamp, Timestamp), Vec<&Window>> = BTreeMap::new();
    // Below the watermark, some may be purged and others not yet.
    let purged = head.purged != Counts::default();
    let planned = |window: &&Window| {
        let stays = !purged || window.id.high > head.verified_up_to;
        window.state != WindowState::Split && !window.id.is_null_axis() && !window.id.is_repair() && stays
    };
    for window in ledger.windows.iter().filter(planned) {
        if window.id.low < head.planned_to {
            leaves.entry((window.id.low, window.id.high)).or_default().push(window);
        }
    }
    let mut end = if purged { Some(head.verified_up_to) } else { head.begins_after };
    let (mut done, mut prefix) = (true, end);
    for ((low, high), windows) in &leaves {
        if end.is_some_and(|end| end != *low) {
            findings.push(format!("the windows leave ({}, {low}] out or cover it twice", end.unwrap()));
        }
        end = Some(*high);
        // A partition that was split is covered by finer ones.
        let counts = windows.iter().map(|window| u64::from(window.id.part.count));
        let parts = counts.clone().fold(1, common_multiple);
        let covered: u64 = counts.map(|count| parts / count).sum();
        if covered != parts {
            findings.push(format!("({low}, {high}] has {covered} of {parts} partitions"));
        }
        done &= windows.iter().all(|window| window.state.is_terminal());
        if done {
            prefix = Some(*high);
        }
    }
    if !leaves.is_empty() && end != Some(head.planned_to) {
        findings.push(format!("the windows end at {end:?}, and {} is planned", head.planned_to));
    }
    if let Some(prefix) = prefix.filter(|_| !leaves.is_empty()) {
        let up_to = head.verified_up_to;
        if prefix < up_to {
            findings.push(format!("verified up to {up_to}, and only what is up to {prefix} is done"));
        }
        // A run that is still at the table moves it when it lets go. Of a snapshot it is what readers see, which `snapshots` looks at.
        let is_whole = head.shape.as_ref().is_some_and(|shape| shape.axis == CutAxis::Whole);
        if prefix > up_to && head.run.is_none() && !ledger.given_up && !is_whole {
            findings.push(format!("verified up to {up_to}, although all up to {prefix} is done"));
        }
    }
    findings
}
