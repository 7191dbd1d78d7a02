//! A table without a time, copied whole again and again: whatever goes wrong, readers see one whole snapshot or the one
//! before.

use super::crashes::{Played, broken_off_by_turns};
use super::gate::Point;
use super::oracle::Copied;
use super::schedule::Schedule;
use super::world::{SECOND, Setting, SimulatedTable, World};
use super::{each, setting, simulated};
use adxingestor::orchestration::instance::RuntimeStatus;
use localcloud::clock::Clock;
use localcloud::source::row_identity;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const TABLE: &str = "DeviceTvmSoftwareInventory";
const COPY: Copied<'static> = Copied { source: TABLE, destination: TABLE };
/// Schedules that `cargo test` plays.
const SCHEDULES: u64 = 60;
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const SETTLED: Duration = Duration::from_secs(2 * 3600);

impl World {
    /// The identities of the rows that readers see.
    pub fn latest(&self, table: &str) -> Vec<u64> {
        // A run that was stopped at once has not made the function.
        let seen = self.cloud.adx().run(&format!("{table}_latest | project RawData"));
        let seen = seen.map(|seen| seen.json_rows()).unwrap_or_default();
        seen.iter().map(|row| row_identity(row[0].as_object().unwrap())).collect()
    }

    /// Whether readers see what the source showed at `at`, in ticks.
    fn shows(&self, at: i64) -> bool {
        self.cloud.source().compare(TABLE, i64::MIN, at, self.latest(TABLE)).unwrap().is_exact()
    }

    fn more_rows(&self, rows: u64) {
        let now = Clock::now(&self.clock);
        self.cloud.source().append(TABLE, rows, now - 2 * SECOND, now - SECOND).unwrap();
    }

    /// Waits until a part of a snapshot is pulled, unless that never comes.
    async fn is_under_way(&mut self) {
        for _ in 0..600 {
            let ledger = self.ledger(COPY).await;
            if ledger.is_some_and(|ledger| ledger.head.progress.posted_rows > 0) {
                return;
            }
            self.pass(Duration::from_millis(100)).await;
        }
    }

    async fn checked(&self) -> Vec<String> {
        let mut findings = self.check(&[COPY]).await;
        // Snapshots before the last one are there too, and none is of the time in its name to the second.
        findings.retain(|finding| !finding.contains("rows too many") && !finding.contains("rows up to the watermark"));
        if let Some(ledger) = self.ledger(COPY).await {
            let published = self.adx(&format!(
                "vw_meta_LatestMigrationConfiguration | where SourceTable == '{TABLE}' | where isnotnull(HighWatermark) \
                 | project tostring(HighWatermark)"
            ));
            let published = published.first().map(|row| row[0].as_str().unwrap().to_owned());
            let proved = ledger.head.verified_up_to;
            if published.is_some_and(|published| published != proved.to_string()) {
                findings
                    .push(format!("readers see another snapshot than {proved}, which is the last one that is proved"));
            }
        }
        findings
    }
}

/// What goes wrong in the schedule of a seed, and what people do, as for any other table.
async fn play(seed: u64) -> Vec<String> {
    let Schedule { mut setting, hopeless, .. } = Schedule::of(seed);
    if hopeless {
        return Vec::new();
    }
    let rows = seed % 7 * 20;
    setting.tables = vec![SimulatedTable { name: TABLE, rows, days: 2 }];
    setting.load_type = "Snapshot";
    setting.faults.most = setting.faults.most.map(|most| most.min(40));
    let mut world = World::new(&setting);
    let before = Clock::now(&world.clock);
    let id = world.start().await;
    if seed.is_multiple_of(5) {
        world.is_under_way().await;
    } else {
        world.pass(Duration::from_secs(seed % 30)).await;
    }
    match seed % 5 {
        0 => world.more_rows(5),
        1 => drop(world.call("POST", &format!("/api/instances/{id}/terminate"), &Value::Null).await),
        2 => world.restart_all(),
        _ => {}
    }
    if world.ended(&id, PATIENCE).await.is_none() {
        return vec![format!("the run {id} does not end")];
    }
    world.fate.calm();
    world.cloud.faults().end();
    world.settled(SETTLED).await;
    let mut findings = world.checked().await;
    let now = Clock::now(&world.clock);
    if !world.latest(TABLE).is_empty() && !world.shows(before) && !world.shows(now) {
        findings.push("readers see a part of a snapshot, or more than one".to_owned());
    }
    world.cloud.ingestion().end_mishaps();
    for round in 0..2 {
        world.more_rows(3);
        world.pass(Duration::from_secs(60)).await;
        let id = world.start().await;
        let Some(run) = world.ended(&id, PATIENCE).await else {
            findings.push(format!("the quiet run {round} does not end"));
            return findings;
        };
        if run.status != RuntimeStatus::Completed || run.tables_failed > 0 {
            let tables = world.records().tables(&run.id).await.unwrap();
            let said: Vec<_> = tables.iter().map(|table| &table.record.result).collect();
            findings.push(format!("the quiet run {round} is {:?}: {said:?}", run.status));
        }
        if !world.shows(Clock::now(&world.clock)) {
            findings.push(format!("readers do not see the snapshot of the quiet run {round}"));
        }
    }
    world.settled(SETTLED).await;
    findings.extend(world.checked().await);
    for line in world.fate.lines() {
        println!("{line}");
    }
    findings
}

#[test]
fn whatever_goes_wrong_readers_see_one_whole_snapshot() {
    let seeds = match setting("ADXINGESTOR_SEED") {
        Some(seed) => seed..seed + 1,
        // One for twenty of those of all tables.
        None => 0..setting("ADXINGESTOR_SCHEDULES").map_or(SCHEDULES, |all| all / 20),
    };
    let found = each(seeds.collect(), |seed| {
        let played = catch_unwind(AssertUnwindSafe(|| simulated(async || play(*seed).await)));
        let findings = played.unwrap_or_else(|_| vec!["it panicked".to_owned()]);
        if !findings.is_empty() {
            println!("ADXINGESTOR_SEED={seed}: {findings:#?}");
        }
        (!findings.is_empty()).then_some(*seed)
    });
    assert!(found.is_empty(), "replay one with ADXINGESTOR_SEED: {found:?}");
}

/// Two snapshots, the second of them broken off while rows come; then a third.
fn broken_at(watched: bool, points: Vec<Point>) -> Played {
    simulated(async || {
        let mut setting = Setting::quiet(3, vec![SimulatedTable { name: TABLE, rows: 25, days: 2 }]);
        setting.load_type = "Snapshot";
        (setting.watched, setting.points) = (watched, points);
        let mut world = World::new(&setting);
        let mut findings = Vec::new();
        let mut effects = 0..0;
        for round in 0..3 {
            let (before, first) = (Clock::now(&world.clock), world.fate.effects());
            let id = world.start().await;
            if round == 1 {
                world.is_under_way().await;
                world.more_rows(5);
            }
            match world.ended(&id, PATIENCE).await {
                Some(run) if run.status == RuntimeStatus::Completed && run.tables_failed == 0 => {}
                run => findings.push(format!("run {round} is {run:?}")),
            }
            world.settled(SETTLED).await;
            if round == 1 {
                effects = first..world.fate.effects();
            }
            if !world.shows(before) && !world.shows(Clock::now(&world.clock)) {
                findings.push(format!("readers see no whole snapshot after run {round}"));
            }
            world.more_rows(3);
            world.pass(Duration::from_secs(60)).await;
        }
        findings.extend(world.checked().await);
        Played::of(&world, findings, effects)
    })
}

#[test]
fn a_crash_at_any_effect_of_a_snapshot_shows_readers_a_whole_one() {
    broken_off_by_turns(broken_at);
}
