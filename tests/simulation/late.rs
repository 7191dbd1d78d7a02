//! Rows that come late, over several nights, and none of them lost or there twice in the end.

use super::crashes::{Played, broken_off_at_each};
use super::gate::Point;
use super::oracle::Copied;
use super::simulated;
use super::world::{SECOND, Setting, SimulatedTable, World};
use adxingestor::orchestration::instance::TableResult;
use adxingestor::orchestration::window::Window;
use localcloud::clock::Clock;
use localcloud::kql::Value;
use localcloud::source::{TableOptions, TimeShift};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const HOUR: i64 = 3_600 * SECOND;
const NIGHTS: usize = 5;

const TABLES: [SimulatedTable; 3] = [
    SimulatedTable { name: "DeviceEvents", rows: 400, days: 9 },
    SimulatedTable { name: "EmailEvents", rows: 90, days: 20 },
    SimulatedTable { name: "UrlClickEvents", rows: 0, days: 1 },
];

fn world(seed: u64, options: TableOptions) -> World {
    let mut setting = Setting::quiet(seed, TABLES.to_vec());
    setting.options = options;
    setting.settings = vec![("CHUNK_SIZE", "30".to_owned()), ("HUNTING_CALLS_PER_MINUTE", "600".to_owned())];
    World::new(&setting)
}

impl World {
    async fn night(&mut self) -> Vec<TableResult> {
        let id = self.start().await;
        let run = self.ended(&id, PATIENCE).await.unwrap();
        let tables = self.records().tables(&run.id).await.unwrap();
        let results: Vec<TableResult> = tables.into_iter().map(|table| table.record.result.unwrap()).collect();
        assert!(results.iter().all(|result| result.success), "{results:#?}");
        results
    }

    /// Rows that the destination lacks or has too many of.
    fn wrong(&self, table: &str) -> (usize, u64) {
        let found = self.cloud.source().compare(table, -1, i64::MAX, self.cloud.adx().identities(table)).unwrap();
        (found.missing.len(), found.surplus)
    }

    async fn windows(&self, table: &'static str) -> Vec<Window> {
        self.ledger(Copied::under_its_name(table)).await.unwrap().windows
    }
}

fn tables() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.name)
}

/// Plays five nights; gives the world as it is in the end, when everything that ever came had a night to be copied.
async fn nights(mut world: World, more: impl Fn(&World, usize, i64)) -> World {
    for night in 0..NIGHTS {
        world.night().await;
        world.stand_still(Duration::from_secs(24 * 3_600)).await;
        let now = Clock::now(&world.clock);
        for table in tables() {
            world.cloud.source().append(table, 60, now - 23 * HOUR, now - HOUR).unwrap();
        }
        more(&world, night, now);
        world.pass(Duration::from_secs(600)).await;
    }
    for _ in 0..2 {
        world.night().await;
        world.pass(Duration::from_secs(600)).await;
    }
    world
}

#[test]
fn rows_that_come_into_sight_behind_the_run_of_their_time_are_copied_once_by_a_later_one() {
    for seed in 0..6 {
        simulated(async || {
            let options = TableOptions { duplicates_per_mille: 100, rows_per_commit: 7, ..TableOptions::default() };
            let world = nights(world(seed, options), |world, night, now| {
                for (table, rows) in tables().zip([night as u64 * 9, 1, 3]) {
                    // Into the last run's range, and into that of the night before it.
                    let source = world.cloud.source();
                    source.append_unseen(table, rows, now - 30 * HOUR, now - 25 * HOUR, now).unwrap();
                    source.append_unseen(table, 1, now - 60 * HOUR, now - 60 * HOUR, now).unwrap();
                }
            })
            .await;
            for table in tables() {
                assert_eq!(world.wrong(table), (0, 0), "{table}, seed {seed}");
                assert!(world.windows(table).await.iter().any(|window| window.id.is_repair()), "{table}");
            }
            assert_eq!(world.seen.violations(), Vec::<String>::new());
        });
    }
}

#[test]
fn rows_without_an_arrival_time_are_copied_once_however_late_within_the_look_back_or_without_any_time() {
    for seed in 0..6 {
        simulated(async || {
            let options = TableOptions {
                has_arrival_time: Some(false),
                null_timestamps_per_mille: 40,
                duplicates_per_mille: 50,
                late: Some(TimeShift { per_mille: 300, up_to_seconds: 20 * 3_600 }),
                ..TableOptions::default()
            };
            let world = nights(world(seed, options), |_, _, _| {}).await;
            for table in tables() {
                assert_eq!(world.wrong(table), (0, 0), "{table}, seed {seed}");
            }
            assert_eq!(world.seen.violations(), Vec::<String>::new());
        });
    }
}

#[test]
fn rows_that_come_late_after_a_lost_store_are_copied_however_quiet_the_last_nights_were() {
    for has_arrival_time in [true, false] {
        simulated(async || {
            let options = TableOptions { has_arrival_time: Some(has_arrival_time), ..TableOptions::default() };
            let adopted = &TABLES[..2];
            let mut world = World::new(&Setting { options, ..Setting::quiet(7, adopted.to_vec()) });
            for _ in 0..3 {
                world.night().await;
                world.pass(Duration::from_secs(3_600)).await;
            }
            world.lose_the_store().await;
            for table in adopted {
                world.adopt(table.name).await.unwrap();
            }
            for hours in [50, 3] {
                world.night().await;
                world.pass(Duration::from_secs(600)).await;
                let (source, now) = (world.cloud.source(), Clock::now(&world.clock));
                for table in adopted {
                    source.append_unseen(table.name, 5, now - (hours + 1) * HOUR, now - hours * HOUR, now).unwrap();
                }
            }
            world.night().await;
            for table in adopted {
                let name = table.name;
                assert_eq!(world.wrong(name), (0, 0), "{name}, by arrival time: {has_arrival_time}");
            }
            assert_eq!(world.seen.violations(), Vec::<String>::new());
        });
    }
}

#[test]
fn where_nothing_came_late_a_night_asks_for_no_more_than_its_plan_and_its_windows() {
    simulated(async || {
        let mut world = world(1, TableOptions { duplicates_per_mille: 0, ..TableOptions::default() });
        world.night().await;
        for _ in 0..3 {
            world.stand_still(Duration::from_secs(24 * 3_600)).await;
            let now = Clock::now(&world.clock);
            world.cloud.source().append("DeviceEvents", 60, now - 23 * HOUR, now - HOUR).unwrap();
            let before = world.cloud.hunting_statistics().calls_by_status[&200];
            world.night().await;
            let (calls, windows) =
                (world.cloud.hunting_statistics().calls_by_status[&200] - before, world.windows("DeviceEvents").await);
            let pulled =
                windows.iter().filter(|window| Clock::now(&world.clock) - window.updated.ticks() as i64 <= HOUR);
            let pulled = pulled.filter(|window| window.seal.is_some()).count() as u64;
            assert!(calls <= pulled + 3 + 1, "{calls} calls for {pulled} windows of three tables");
            assert!(windows.iter().all(|window| !window.id.is_repair()));
        }
    });
}

#[test]
fn what_the_source_no_longer_keeps_is_reported_with_its_bounds_and_never_skipped_silently() {
    simulated(async || {
        let mut world = world(1, TableOptions::default());
        world.night().await;
        world.stand_still(Duration::from_secs(40 * 86_400)).await;
        let now = Clock::now(&world.clock);
        for table in tables() {
            world.cloud.source().append(table, 60, now - 20 * HOUR, now - HOUR).unwrap();
        }
        // The third table has not shown a row until now: it has its first load.
        for result in world.night().await.iter().take(2) {
            let said = result.warnings.join("\n");
            assert!(said.contains("the source keeps rows for 30 days") && result.windows_expired == 1, "{result:#?}");
        }
        for table in tables().take(2) {
            assert_eq!(world.wrong(table), (0, 0), "{table}");
            let gap = world.windows(table).await.into_iter().find(|window| window.error.is_some()).unwrap();
            let audited =
                world.adx(&format!("meta_MigrationAudit | where table == '{table}' | project tostring(chunk_results)"));
            assert!(
                audited.iter().any(|row| row[0].as_str().unwrap().contains(&gap.id.low.to_string())),
                "{audited:?}"
            );
        }
        assert!(world.night().await.iter().all(|result| result.warnings.is_empty()));
    });
}

/// Two nights of one table; between them rows come into sight that arrived before the first.
struct Repaired;

impl Repaired {
    fn setting(points: Vec<Point>) -> Setting {
        let mut setting = Setting::quiet(5, vec![SimulatedTable { name: "DeviceEvents", rows: 40, days: 3 }]);
        setting.options = TableOptions { duplicates_per_mille: 200, ..TableOptions::default() };
        setting.settings = vec![("CHUNK_SIZE", "10".to_owned()), ("HUNTING_CALLS_PER_MINUTE", "6000".to_owned())];
        setting.points = points;
        setting
    }

    async fn first_night(world: &mut World) {
        let id = world.start().await;
        world.ended(&id, PATIENCE).await.unwrap();
        world.settled(Duration::from_secs(1_800)).await;
        world.stand_still(Duration::from_secs(24 * 3_600)).await;
        let now = Clock::now(&world.clock);
        let source = world.cloud.source();
        source.append("DeviceEvents", 12, now - 20 * HOUR, now - HOUR).unwrap();
        source.append_unseen("DeviceEvents", 12, now - 60 * HOUR, now - 25 * HOUR, now).unwrap();
    }

    /// The second night, which plans and makes repairs, broken off; and another one.
    fn play(watched: bool, points: Vec<Point>) -> Played {
        simulated(async || {
            let is_whole = points.is_empty();
            let mut world = World::new(&Setting { watched, ..Self::setting(points) });
            Self::first_night(&mut world).await;
            let first = world.fate.effects();
            let id = world.start().await;
            if world.ended(&id, PATIENCE).await.is_none() {
                return Played::of(&world, vec![format!("the run {id} does not end")], first..first);
            }
            world.settled(Duration::from_secs(1_800)).await;
            let effects = first..world.fate.effects();
            let repairs = world.windows("DeviceEvents").await.iter().filter(|window| window.id.is_repair()).count();
            assert!(repairs > 1 || !is_whole, "{repairs}");
            world.pass(Duration::from_secs(600)).await;
            world.night().await;
            world.settled(Duration::from_secs(1_800)).await;
            let mut findings = world.check(&[Copied::under_its_name("DeviceEvents")]).await;
            if world.wrong("DeviceEvents") != (0, 0) {
                findings.push(format!("missing and too many: {:?}", world.wrong("DeviceEvents")));
            }
            Played::of(&world, findings, effects)
        })
    }
}

#[test]
fn a_crash_at_any_effect_of_a_night_with_repairs_loses_and_doubles_nothing() {
    broken_off_at_each(Repaired::play);
}

#[test]
fn rows_that_come_into_sight_out_of_order_while_runs_are_on_are_copied_once() {
    for seed in 0..4 {
        simulated(async || {
            let mut setting = Setting::quiet(seed, TABLES.to_vec());
            // Forty minutes behind their arrival at most, of which the settling lag waits for three.
            let seen_late = TableOptions { duplicates_per_mille: 100, rows_per_commit: 3, ..TableOptions::default() };
            setting.options = TableOptions { visibility_lag_seconds: 2_400, ..seen_late };
            // A run goes on for minutes: what its plan has counted is not what its windows bring.
            setting.settings = vec![("CHUNK_SIZE", "30".to_owned()), ("HUNTING_CALLS_PER_MINUTE", "10".to_owned())];
            let mut world = World::new(&setting);
            let mut grew = 0;
            for _ in 0..NIGHTS {
                let now = Clock::now(&world.clock);
                for table in tables() {
                    world.cloud.source().append(table, 400, now, now + 3 * HOUR).unwrap();
                }
                world.stand_still(Duration::from_secs(2 * 3_600)).await;
                let results = world.night().await;
                grew += results.iter().filter(|result| result.rows > result.planned_rows).count();
                for table in tables() {
                    assert_eq!(world.wrong(table).1, 0, "{table}, seed {seed}");
                }
                world.stand_still(Duration::from_secs(4 * 3_600)).await;
            }
            for _ in 0..2 {
                world.night().await;
                world.pass(Duration::from_secs(600)).await;
            }
            for table in tables() {
                assert_eq!(world.wrong(table), (0, 0), "{table}, seed {seed}");
                assert!(world.windows(table).await.iter().any(|window| window.id.is_repair()), "{table}, seed {seed}");
            }
            println!("seed {seed}: {grew} tables brought more than was planned");
            assert_eq!(world.seen.violations(), Vec::<String>::new());
        });
    }
}

#[test]
fn rows_of_clocks_that_run_days_ahead_are_copied_once_by_the_run_whose_range_reaches_them() {
    for seed in 0..4 {
        simulated(async || {
            let options = TableOptions {
                has_arrival_time: Some(false),
                duplicates_per_mille: 50,
                late: Some(TimeShift { per_mille: 200, up_to_seconds: 20 * 3_600 }),
                ahead: Some(TimeShift { per_mille: 200, up_to_seconds: 4 * 86_400 }),
                ..TableOptions::default()
            };
            let mut world = world(seed, options);
            let mut waited = 0;
            for night in 0..2 * NIGHTS {
                let now = Clock::now(&world.clock);
                world.night().await;
                for table in tables() {
                    let shown = world.cloud.source().at(now).table(table).unwrap();
                    let up_to = world.ledger(Copied::under_its_name(table)).await;
                    let up_to = up_to.map_or(0, |ledger| ledger.head.verified_up_to.ticks() as i64);
                    let is_due = |row: &u64| matches!(shown.value(*row, 0), Value::Datetime(at) if at <= up_to);
                    let due = (0..shown.row_count()).filter(is_due).count() as u64;
                    waited += shown.row_count() - due;
                    // All of the source's, and as many as lie in the range: exactly those.
                    let there = world.cloud.adx().identities(table).len() as u64;
                    assert_eq!((world.wrong(table).1, there), (0, due), "{table}, seed {seed}, night {night}");
                }
                world.stand_still(Duration::from_secs(24 * 3_600)).await;
                let now = Clock::now(&world.clock);
                for table in tables().filter(|_| night < NIGHTS) {
                    world.cloud.source().append(table, 60, now - 23 * HOUR, now - HOUR).unwrap();
                }
                world.pass(Duration::from_secs(600)).await;
            }
            assert!(waited > 50, "seed {seed}: {waited} rows lay in the future of a run");
            for table in tables() {
                assert_eq!(world.wrong(table), (0, 0), "{table}, seed {seed}");
            }
            assert_eq!(world.seen.violations(), Vec::<String>::new());
        });
    }
}
