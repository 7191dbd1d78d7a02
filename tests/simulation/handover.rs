//! Tables that another app has copied before, by its rules: rows with a watermark up to its last look, as far as they were in
//! sight then. What it has missed is copied, and what it has copied is not copied again.

use super::oracle::Copied;
use super::simulated;
use super::world::{SECOND, Setting, SimulatedTable, World};
use adxingestor::kql::Text;
use adxingestor::orchestration::ids::WindowId;
use adxingestor::orchestration::instance::TableResult;
use adxingestor::orchestration::window::Window;
use localcloud::clock::Clock;
use localcloud::kql::{Catalog, Table, Value, run};
use localcloud::source::{Snapshot, TableOptions, TimeShift};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const HOUR: i64 = 3_600 * SECOND;
const TABLE: &str = "DeviceEvents";

/// The source as the other app saw it.
struct Seen(Snapshot);

impl Catalog for Seen {
    fn table(&self, name: &str) -> Option<Arc<dyn Table>> {
        self.0.table(name)
    }

    fn function(&self, _: &str) -> Option<String> {
        None
    }

    fn now(&self) -> i64 {
        self.0.now()
    }
}

fn literal(ticks: i64) -> String {
    format!("datetime({})", adxingestor::timestamp::Timestamp::from_ticks(ticks as u64))
}

/// What another app has done before.
struct Before {
    /// How long ago it looked last.
    looked: i64,
    /// How long after its last look rows come into sight that had arrived in the hour before it.
    unseen_for: i64,
    /// Whether it has asked for all of the table at once, so that it has rows without a watermark, too.
    at_once: bool,
    /// Rows that arrived in its last hour.
    busy: u64,
    /// `CHUNK_SIZE`.
    chunk: u32,
}

impl Default for Before {
    fn default() -> Self {
        Self { looked: 5 * HOUR, unseen_for: HOUR, at_once: false, busy: 20, chunk: 40 }
    }
}

/// A world whose table was copied by another app that looked last 5 hours ago.
async fn taken_over(seed: u64, options: TableOptions) -> World {
    taken_over_after(seed, options, Before::default()).await
}

async fn taken_over_after(seed: u64, options: TableOptions, before: Before) -> World {
    let mut setting = Setting::quiet(seed, vec![SimulatedTable { name: TABLE, rows: 300, days: 4 }]);
    setting.options = options;
    setting.settings = vec![("CHUNK_SIZE", before.chunk.to_string()), ("HUNTING_CALLS_PER_MINUTE", "600".to_owned())];
    let mut world = World::new(&setting);
    // Of two config rows of one instant either is the latest.
    world.pass(Duration::from_secs(10)).await;
    let looked = Clock::now(&world.clock) - before.looked;
    let source = world.cloud.source();
    source.append(TABLE, before.busy, looked - HOUR, looked - 10 * SECOND).unwrap();
    let seen_at = looked + before.unseen_for;
    source.append_unseen(TABLE, 15, looked - HOUR + 60 * SECOND, looked - 300 * SECOND, seen_at).unwrap();
    world.adx(&format!(".create table {TABLE} (Timestamp:datetime, RawData:dynamic)"));
    let seen: Arc<dyn Catalog> = Arc::new(Seen(source.at(looked)));
    let which = if before.at_once { "true" } else { "isnotnull(Timestamp)" };
    let query = format!("{TABLE} | where {which} | extend Row = tostring(pack_all()) | project Row, Timestamp");
    let (mut rows, mut watermark) = (String::new(), 0);
    for row in run(&query, &seen).unwrap().rows {
        let row = row.unwrap();
        let Value::String(text) = &row[0] else { panic!("{row:?}") };
        let at = if let Value::Datetime(at) = &row[1] { *at } else { 0 };
        let time = if at == 0 { "datetime(null)".to_owned() } else { literal(at) };
        let _ = write!(rows, "{time}, {},", Text(text));
        watermark = watermark.max(at);
    }
    assert!(watermark > 0);
    world.adx(&format!(
        ".set-or-append {TABLE} <| datatable(Timestamp:datetime, Text:string)[{rows}] | project Timestamp, RawData = parse_json(Text)"
    ));
    world.adx(&format!(
        ".set-or-append meta_MigrationConfiguration <| print SourceTable='{TABLE}', DestinationFolder='Defender', \
         DestinationTable='{TABLE}', WatermarkColumn='Timestamp', LastRefreshedTime={}, HighWatermark={}, \
         LoadType='Incremental', IsActive=true",
        literal(looked),
        literal(watermark)
    ));
    world
}

async fn night(world: &mut World) -> TableResult {
    let id = world.start().await;
    let run = world.ended(&id, PATIENCE).await.unwrap();
    let result = world.records().tables(&run.id).await.unwrap().swap_remove(0).record.result.unwrap();
    assert!(result.success, "{result:#?}");
    world.pass(Duration::from_secs(600)).await;
    result
}

fn assert_whole(world: &World, why: &str) {
    let there = world.cloud.adx().identities(TABLE);
    let found = world.cloud.source().compare(TABLE, -1, i64::MAX, there).unwrap();
    assert_eq!((found.missing.len(), found.surplus), (0, 0), "{why}");
}

#[test]
fn what_came_into_sight_behind_the_last_look_of_the_other_app_is_copied_and_nothing_twice() {
    for seed in 0..6 {
        simulated(async || {
            let options =
                TableOptions { null_timestamps_per_mille: 30, duplicates_per_mille: 100, ..TableOptions::default() };
            let mut world = taken_over(seed, options).await;
            let copied = world.cloud.adx().identities(TABLE).len();
            assert!(copied > 100, "{copied}");
            night(&mut world).await;
            assert_whole(&world, &format!("seed {seed}"));
            night(&mut world).await;
            assert_whole(&world, &format!("seed {seed}, the second run"));
        });
    }
}

#[test]
fn by_a_column_too_and_rows_with_a_time_of_before_the_handover_are_looked_for_after_it() {
    for seed in 0..6 {
        simulated(async || {
            let options = TableOptions {
                has_arrival_time: Some(false),
                null_timestamps_per_mille: 30,
                duplicates_per_mille: 100,
                late: Some(TimeShift { per_mille: 300, up_to_seconds: 20 * 3_600 }),
                ..TableOptions::default()
            };
            let mut world = taken_over(seed, options).await;
            night(&mut world).await;
            let now = Clock::now(&world.clock);
            world.cloud.source().append(TABLE, 60, now - HOUR, now).unwrap();
            world.pass(Duration::from_secs(600)).await;
            night(&mut world).await;
            night(&mut world).await;
            assert_whole(&world, &format!("seed {seed}"));
        });
    }
}

#[test]
fn a_new_table_that_begins_at_a_watermark_gets_nothing_of_before_it() {
    simulated(async || {
        let mut world = taken_over(1, TableOptions { has_arrival_time: Some(false), ..TableOptions::default() }).await;
        world.adx(&format!(".drop table {TABLE}"));
        let began = world.adx("vw_meta_LatestMigrationConfiguration | project tostring(HighWatermark)");
        assert!(began[0][0].as_str().is_some_and(|at| at > "2026"), "{began:?}");
        let warnings = night(&mut world).await.warnings.join("\n");
        assert!(warnings.contains("begins behind HighWatermark") && warnings.contains("datetime(null)"), "{warnings}");
        let first = world.adx(&format!("{TABLE} | where isnotnull(Timestamp) | summarize tostring(min(Timestamp))"));
        assert!(first[0][0].as_str() > began[0][0].as_str(), "{first:?} {began:?}");
    });
}

#[test]
fn what_comes_into_sight_after_a_first_run_right_behind_the_other_app_is_copied_by_a_later_one() {
    for seed in 0..4 {
        simulated(async || {
            let before = Before { looked: 60 * SECOND, unseen_for: HOUR / 2, ..Before::default() };
            let options = TableOptions { duplicates_per_mille: 100, ..TableOptions::default() };
            let mut world = taken_over_after(seed, options, before).await;
            night(&mut world).await;
            world.pass(Duration::from_secs(2 * 3_600)).await;
            night(&mut world).await;
            assert_whole(&world, &format!("seed {seed}"));
            let now = Clock::now(&world.clock);
            world.cloud.source().append(TABLE, 60, now - HOUR, now).unwrap();
            world.pass(Duration::from_secs(600)).await;
            night(&mut world).await;
            assert_whole(&world, &format!("seed {seed}, the third run"));
        });
    }
}

#[test]
fn an_hour_of_more_rows_than_a_window_holds_is_compared_by_stretches_of_their_watermarks() {
    for seed in 0..4 {
        simulated(async || {
            let options = TableOptions { duplicates_per_mille: 300, rows_per_commit: 3, ..TableOptions::default() };
            let mut world = taken_over_after(seed, options, Before { chunk: 5, busy: 60, ..Before::default() }).await;
            night(&mut world).await;
            assert_whole(&world, &format!("seed {seed}"));
            let ledger = world.ledger(Copied::under_its_name(TABLE)).await.unwrap();
            let compared = |window: &&Window| window.id.repair >= WindowId::FIRST_HANDOVER;
            let compared: Vec<&Window> = ledger.windows.iter().filter(compared).collect();
            assert!(compared.len() > 2, "{compared:#?}");
            let bounds = |window: &&Window| window.difference.as_ref().unwrap().unmarked.clone().unwrap().first;
            let mut stretches: Vec<_> = compared.iter().map(bounds).collect();
            stretches.dedup();
            assert!(stretches.len() > 1, "{compared:#?}");
        });
    }
}

#[test]
fn rows_whose_time_lies_ahead_of_the_last_look_are_copied_once_and_so_are_those_that_come_below_them() {
    for (seed, has_arrival_time) in (0..6).flat_map(|seed| [(seed, true), (seed, false)]) {
        simulated(async || {
            let options = TableOptions {
                has_arrival_time: Some(has_arrival_time),
                duplicates_per_mille: 100,
                late: Some(TimeShift { per_mille: 200, up_to_seconds: 20 * 3_600 }),
                ahead: Some(TimeShift { per_mille: 100, up_to_seconds: 30 * 3_600 }),
                ..TableOptions::default()
            };
            let mut world = taken_over(seed, options).await;
            for _ in 0..4 {
                night(&mut world).await;
                let now = Clock::now(&world.clock);
                world.cloud.source().append(TABLE, 40, now - HOUR, now).unwrap();
                world.pass(Duration::from_secs(12 * 3_600)).await;
            }
            // Until the clock has passed all times.
            for _ in 0..3 {
                world.pass(Duration::from_secs(20 * 3_600)).await;
                night(&mut world).await;
            }
            assert_whole(&world, &format!("seed {seed}, arrival {has_arrival_time}"));
        });
    }
}

#[test]
fn what_came_after_a_last_look_of_long_ago_and_is_no_longer_kept_is_reported_with_its_bounds() {
    for has_arrival_time in [true, false] {
        simulated(async || {
            let options = TableOptions { has_arrival_time: Some(has_arrival_time), ..TableOptions::default() };
            let mut world = taken_over_after(1, options, Before::default()).await;
            world.stand_still(Duration::from_secs(40 * 86_400)).await;
            let now = Clock::now(&world.clock);
            world.cloud.source().append(TABLE, 60, now - 20 * HOUR, now - HOUR).unwrap();
            let result = night(&mut world).await;
            let said = result.warnings.join("\n");
            assert!(said.contains("the source keeps rows for 30 days") && result.windows_expired == 1, "{result:#?}");
            let whole = |from| {
                let there = world.cloud.adx().identities(TABLE);
                let found = world.cloud.source().compare(TABLE, from, i64::MAX, there).unwrap();
                (found.missing.len(), found.surplus)
            };
            assert_eq!(whole(now - 21 * HOUR).0, 0, "what is kept is there");
            assert_eq!(whole(-1).1, 0, "and nothing twice");
            let ledger = world.ledger(Copied::under_its_name(TABLE)).await.unwrap();
            let gap = ledger.windows.iter().find(|window| window.error.is_some()).unwrap();
            assert!(said.contains(&gap.id.low.to_string()) && said.contains(&gap.id.high.to_string()), "{said}");
            assert!(ledger.head.verified_up_to > gap.id.high, "{}", ledger.head.verified_up_to);
            assert_eq!(night(&mut world).await.warnings, Vec::<String>::new());
        });
    }
}

#[test]
fn rows_without_a_watermark_that_its_first_load_copied_are_not_copied_again_and_those_that_came_since_are() {
    for (seed, has_arrival_time) in (0..4).flat_map(|seed| [(seed, true), (seed, false)]) {
        simulated(async || {
            let options = TableOptions {
                has_arrival_time: Some(has_arrival_time),
                null_timestamps_per_mille: 200,
                duplicates_per_mille: 100,
                // Within the look-back.
                late: Some(TimeShift { per_mille: 200, up_to_seconds: 20 * 3_600 }),
                ..TableOptions::default()
            };
            let mut world = taken_over_after(seed, options, Before { at_once: true, ..Before::default() }).await;
            for round in 0..3 {
                let now = Clock::now(&world.clock);
                world.cloud.source().append(TABLE, 30, now - HOUR, now).unwrap();
                world.pass(Duration::from_secs(2 * 3_600)).await;
                night(&mut world).await;
                assert_whole(&world, &format!("seed {seed}, arrival {has_arrival_time}, run {round}"));
            }
        });
    }
}

#[test]
fn another_destination_begins_anew_though_its_row_keeps_the_watermark_of_the_one_before() {
    const ANOTHER: &str = "DeviceEventsAgain";
    for (load_type, has_arrival_time) in [("Incremental", true), ("Incremental", false), ("Full", true)] {
        simulated(async || {
            let options = TableOptions { has_arrival_time: Some(has_arrival_time), ..TableOptions::default() };
            let tables = vec![SimulatedTable { name: TABLE, rows: 60, days: 5 }];
            let mut world = World::new(&Setting { options, load_type, ..Setting::quiet(3, tables) });
            night(&mut world).await;
            world.adx(&format!(
                ".set-or-append meta_MigrationConfiguration <| vw_meta_LatestMigrationConfiguration | where SourceTable == '{TABLE}' \
                 | project SourceTable, DestinationFolder, DestinationTable='{ANOTHER}', WatermarkColumn, LastRefreshedTime, \
                 HighWatermark, LoadType, IsActive"
            ));
            for _ in 0..2 {
                let result = night(&mut world).await;
                assert_eq!(result.warnings, Vec::<String>::new());
                let there = world.cloud.adx().identities(ANOTHER);
                let found = world.cloud.source().compare(TABLE, -1, i64::MAX, there).unwrap();
                assert_eq!((found.missing.len(), found.surplus), (0, 0), "{load_type}, {has_arrival_time}");
            }
            let configured =
                world.adx("vw_meta_LatestMigrationConfiguration | project DestinationTable, tostring(HighWatermark)");
            let ledger = world.ledger(Copied { source: TABLE, destination: ANOTHER }).await.unwrap();
            assert_eq!(configured[0][0], ANOTHER);
            let watermark = configured[0][1].as_str().unwrap().parse::<adxingestor::timestamp::Timestamp>().unwrap();
            assert_eq!(watermark, ledger.head.verified_up_to);
        });
    }
}
