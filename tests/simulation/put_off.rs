//! Plans that ask for more calls than an invocation has: they are put off and go on where they were.

use super::crashes::{VERDICTS, points};
use super::gate::Point;
use super::oracle::{Copied, Findings};
use super::world::{SECOND, Setting, SimulatedTable, World};
use super::{each, simulated};
use adxingestor::orchestration::instance::{RuntimeStatus, TableResult};
use localcloud::clock::Clock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(48 * 3600);
const SETTLED: Duration = Duration::from_secs(1_800);
const TABLE: &str = "DeviceEvents";

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
        setting.special =
            vec![(TABLE, localcloud::source::TableOptions { rows_per_commit: 1, ..setting.options.clone() })];
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
fn a_plan_that_was_put_off_is_broken_off_anywhere_and_every_row_is_copied_once() {
    let whole = |points: Vec<Point>| {
        simulated(async || {
            let mut setting = setting(40, 1);
            setting.noted = points.is_empty();
            setting.points = points;
            let mut world = World::new(&setting);
            let (_, findings) = copied(&mut world, None).await;
            (world.fate.sites(), findings)
        })
    };
    let (sites, findings) = whole(Vec::new());
    assert_eq!(findings, Findings::new());
    println!("{} effects", sites.len());
    let in_turn = sites.into_iter().zip(VERDICTS.into_iter().cycle());
    let points = in_turn.flat_map(|(site, verdict)| points([site], verdict)).collect();
    let found = each(points, |point: &Point| {
        let played = catch_unwind(AssertUnwindSafe(|| whole(vec![point.clone()]).1));
        let findings = played.unwrap_or_else(|_| vec!["it panicked".to_owned()]);
        (!findings.is_empty()).then(|| format!("{point:?}: {findings:#?}"))
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
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
