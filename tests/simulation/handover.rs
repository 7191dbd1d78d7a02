//! Tables that another app has copied before, by its rules: rows with a watermark up to its last look, as far as they were in
//! sight then. What it has missed is copied, and what it has copied is not copied again.

use super::simulated;
use super::world::{SECOND, Setting, SimulatedTable, World};
use adxingestor::kql::Text;
use localcloud::clock::Clock;
use localcloud::kql::{Catalog, Table, Value, run};
use localcloud::source::{Late, Snapshot, TableOptions};
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

/// A world whose table was copied by another app that looked last 5 hours ago.
async fn taken_over(seed: u64, options: TableOptions) -> World {
    let mut setting = Setting::quiet(seed, vec![SimulatedTable { name: TABLE, rows: 300, days: 4 }]);
    setting.options = options;
    setting.settings = vec![("CHUNK_SIZE", "40".to_owned()), ("HUNTING_CALLS_PER_MINUTE", "600".to_owned())];
    let mut world = World::new(&setting);
    // Of two config rows of one instant either is the latest.
    world.pass(Duration::from_secs(10)).await;
    let looked = Clock::now(&world.clock) - 5 * HOUR;
    let source = world.cloud.source();
    source.append_unseen(TABLE, 15, looked - HOUR + 60 * SECOND, looked - 300 * SECOND, looked + HOUR).unwrap();
    world.adx(&format!(".create table {TABLE} (Timestamp:datetime, RawData:dynamic)"));
    let seen: Arc<dyn Catalog> = Arc::new(Seen(source.at(looked)));
    let query = format!(
        "{TABLE} | where Timestamp <= {} | extend Row = tostring(pack_all()) | project Row, Timestamp",
        literal(looked)
    );
    let (mut rows, mut watermark) = (String::new(), 0);
    for row in run(&query, &seen).unwrap().rows {
        let row = row.unwrap();
        let (Value::String(text), Value::Datetime(at)) = (&row[0], &row[1]) else { panic!("{row:?}") };
        let _ = write!(rows, "{}, {},", literal(*at), Text(text));
        watermark = watermark.max(*at);
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

async fn night(world: &mut World) {
    let id = world.start().await;
    let run = world.ended(&id, PATIENCE).await.unwrap();
    let result = world.records().tables(&run.id).await.unwrap().swap_remove(0).record.result.unwrap();
    assert!(result.success, "{result:#?}");
    world.pass(Duration::from_secs(600)).await;
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
                late: Some(Late { per_mille: 300, up_to_seconds: 20 * 3_600 }),
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
        night(&mut world).await;
        let first = world.adx(&format!("{TABLE} | where isnotnull(Timestamp) | summarize tostring(min(Timestamp))"));
        assert!(first[0][0].as_str() > began[0][0].as_str(), "{first:?} {began:?}");
    });
}
