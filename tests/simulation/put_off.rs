//! Plans that ask for more calls than an invocation has: they are put off and go on where they were.

use super::crashes::{Played, broken_off_by_turns};
use super::oracle::{Copied, Findings};
use super::simulated;
use super::world::{SECOND, Setting, SimulatedTable, World};
use adxingestor::orchestration::instance::{RuntimeStatus, TableResult};
use localcloud::clock::Clock;
use localcloud::source::TableOptions;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(48 * 3600);
const SETTLED: Duration = Duration::from_secs(1_800);
const TABLE: &str = "DeviceEvents";
const SNAPSHOT: &str = "DeviceTvmSoftwareInventory";

/// A tenant with so many calls a minute, of which half may be used.
fn setting(rows: u64, calls: u32) -> Setting {
    let mut setting = Setting::quiet(21, vec![SimulatedTable { name: TABLE, rows, days: 5 }]);
    setting.quota = Some(calls);
    setting.settings = vec![
        ("CHUNK_SIZE", "10".to_owned()),
        ("HUNTING_CALLS_PER_MINUTE", calls.to_string()),
        ("HUNTING_QUOTA_SHARE", "0.5".to_owned()),
    ];
    setting
}

/// What is wrong after a run of one table, and its result.
async fn copied(world: &mut World, crash_at: Option<Duration>) -> (TableResult, Findings) {
    let id = world.start().await;
    if let Some(time) = crash_at {
        world.pass(time).await;
        world.crash(0).await;
    }
    let Some(run) = world.ended(&id, PATIENCE).await else {
        return (TableResult::default(), vec!["the run does not end".to_owned()]);
    };
    world.settled(SETTLED).await;
    let copy = Copied::under_its_name(TABLE);
    let mut findings = world.check(&[copy]).await;
    findings.extend(world.check_metadata(copy).await);
    if run.status != RuntimeStatus::Completed || run.tables_failed > 0 {
        findings.push(format!("the run is {run:?}"));
    }
    let result = world.records().tables(&id).await.unwrap().swap_remove(0).record.result.unwrap_or_default();
    (result, findings)
}

fn calls(world: &World) -> u64 {
    world.cloud.hunting_statistics().log.len() as u64
}

#[test]
fn a_plan_of_more_calls_than_an_invocation_has_ends_and_asks_nothing_twice() {
    simulated(async || {
        let mut world = World::new(&setting(40, 1));
        let (result, findings) = copied(&mut world, None).await;
        assert_eq!(findings, Findings::new());
        let calls = calls(&world);
        println!("{calls} calls, {} windows", result.windows);
        // Probe, two trials of the time span, histogram, sample.
        assert_eq!((calls, result.calls), (5 + result.windows, calls));
        assert_eq!(world.cloud.hunting_statistics().over_quota, 0);
    });
}

#[test]
fn a_table_of_hundreds_of_separate_bursts_is_planned_by_several_invocations() {
    const BURSTS: u64 = 200;
    simulated(async || {
        let mut setting = setting(0, 45);
        setting.special = vec![(TABLE, TableOptions { rows_per_commit: 1, ..setting.options.clone() })];
        let mut world = World::new(&setting);
        let now = Clock::now(&world.clock);
        for burst in 0..BURSTS as i64 {
            let at = now - (5 * 86_400 - burst * 2_000) * SECOND;
            world.cloud.source().append(TABLE, 15, at, at + 20 * SECOND).unwrap();
        }
        let (result, findings) = copied(&mut world, None).await;
        assert_eq!(findings, Findings::new());
        let calls = calls(&world);
        println!("{calls} calls, {} windows", result.windows);
        let least = 5 + BURSTS + result.windows;
        assert!(calls <= least + least / 20, "{calls} calls instead of {least}");
        assert_eq!(result.calls, calls);
    });
}

#[test]
fn a_snapshot_that_is_counted_by_more_calls_than_an_invocation_has_is_compared_and_published() {
    simulated(async || {
        let mut setting = setting(0, 1);
        setting.tables = vec![SimulatedTable { name: SNAPSHOT, rows: 40, days: 2 }];
        // The whole is too much for one query, and a quarter is not.
        setting.values_read = Some(550);
        let mut world = World::new(&setting);
        let id = world.start().await;
        let run = world.ended(&id, PATIENCE).await.expect("the run does not end");
        assert_eq!((run.status, run.tables_failed), (RuntimeStatus::Completed, 0));
        let result = world.records().tables(&id).await.unwrap().swap_remove(0).record.result.unwrap();
        assert_eq!(world.latest(SNAPSHOT).len(), 40);
        // Probe and sample, and two counts of a whole and four quarters.
        assert_eq!((calls(&world), result.calls), (2 + 2 * 5 + result.windows, calls(&world)));
        assert_eq!(run.repairs.count, 0, "{:?}", run.repairs);
    });
}

/// Tables of so many separate bursts of rows, each of which is more than a window holds, in a tenant of so many calls a minute.
fn bursts_of(tables: &[(&'static str, i64)], calls: u32, processes: usize) -> World {
    let mut setting = setting(0, calls);
    setting.options = TableOptions { rows_per_commit: 1, ..setting.options };
    setting.tables = tables.iter().map(|(name, _)| SimulatedTable { name, rows: 0, days: 5 }).collect();
    setting.processes = processes;
    let world = World::new(&setting);
    let now = Clock::now(&world.clock);
    for (table, bursts) in tables {
        for burst in 0..*bursts {
            let at = now - (4 * 86_400 - burst * 8_000) * SECOND;
            world.cloud.source().append(table, 15, at, at + 20 * SECOND).unwrap();
        }
    }
    world
}

#[test]
fn tables_whose_plans_are_put_off_have_the_calls_in_turn_and_need_no_more_of_them() {
    const TABLES: [(&str, i64); 3] = [("DeviceEvents", 20), ("EmailEvents", 20), ("UrlClickEvents", 4)];
    for (a_minute, processes) in [(1, 1), (2, 1), (1, 3), (2, 3)] {
        simulated(async || {
            let mut world = bursts_of(&TABLES, 2 * a_minute, processes);
            let began = world.clock.elapsed();
            let id = world.start().await;
            let run = world.ended(&id, PATIENCE).await.expect("the run does not end");
            let took = (world.clock.elapsed() - began).as_secs_f64();
            assert_eq!((run.status, run.tables_failed), (RuntimeStatus::Completed, 0));
            world.settled(SETTLED).await;
            let copies = TABLES.map(|(name, _)| Copied::under_its_name(name));
            assert_eq!(world.check(&copies).await, Findings::new());
            let statistics = world.cloud.hunting_statistics();
            assert_eq!(statistics.over_quota, 0);
            let of = |name: &str| -> Vec<usize> {
                let calls = statistics.log.iter().enumerate();
                calls.filter(|(_, call)| call.table.as_deref() == Some(name)).map(|(place, _)| place).collect()
            };
            let [first, second, small] = TABLES.map(|(name, _)| of(name));
            // Probe, histogram, sample, a call for each burst and each window; two trials of the time span in all.
            let results = world.records().tables(&id).await.unwrap().into_iter().map(|row| row.record.result.unwrap());
            let windows: u64 = results.map(|result| result.windows).sum();
            let bursts: i64 = TABLES.iter().map(|(_, bursts)| bursts).sum();
            let least = 2 + 3 * 3 + bursts as u64 + windows;
            // A probe that was made before the span was known may be made again with it, by all tables but the one that tried.
            let calls = statistics.log.len() as u64;
            assert!((least..=least + 2).contains(&calls), "{calls} calls instead of {least}");
            let end = small[small.len() - 1];
            let before = |calls: &[usize]| calls.iter().filter(|place| **place < end).count();
            let ideal = statistics.log.len() as f64 * 60.0 / f64::from(a_minute);
            println!(
                "{a_minute} a minute, {processes} processes: {took:.0} s, {ideal:.0} s ideally; the small table ends with call {end} \
                 of {}, before it {} and {} of the others; {:?}",
                statistics.log.len(),
                before(&first),
                before(&second),
                run.repairs
            );
            assert!(before(&first) < 2 * before(&second) && before(&second) < 2 * before(&first));
            assert!(end < statistics.log.len() * 2 / 3, "the small table waits for the others");
            // Of several processes each has to be told what the time line shows, and with so few calls hardly any other is at work then.
            assert!(processes > 1 || (took <= ideal * 1.05 && run.repairs.count == 0), "{took} s, {:?}", run.repairs);
        });
    }
}

#[test]
fn a_plan_that_was_put_off_is_broken_off_anywhere_and_every_row_is_copied_once() {
    broken_off_by_turns(|watched, points| {
        simulated(async || {
            let mut world = World::new(&Setting { watched, points, ..setting(40, 1) });
            let (_, findings) = copied(&mut world, None).await;
            let effects = 0..world.fate.effects();
            Played::of(&world, findings, effects)
        })
    });
}

#[test]
fn a_process_that_ends_in_the_middle_of_a_plan_costs_no_more_than_its_own_calls() {
    simulated(async || {
        for minutes in [1, 5, 9, 14] {
            let mut world = World::new(&setting(40, 1));
            let (result, findings) = copied(&mut world, Some(Duration::from_secs(60 * minutes))).await;
            assert_eq!(findings, Findings::new(), "{minutes} minutes");
            let calls = calls(&world);
            println!("after {minutes} minutes: {calls} calls, {} windows", result.windows);
            assert!(calls <= 5 + result.windows + 2, "{minutes} minutes: {calls} calls");
        }
    });
}
