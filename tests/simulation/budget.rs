//! The tenant's quota in whole runs: used up, never more than that, and by all tables alike.

use super::world::{SECOND, Setting, SimulatedTable, World};
use super::{played, simulated};
use adxingestor::orchestration::instance::RuntimeStatus;
use localcloud::faults::{Area, Fault};
use std::iter::repeat_n;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const TABLES: [&str; 5] = ["DeviceEvents", "EmailEvents", "UrlClickEvents", "DeviceFileEvents", "DeviceLogonEvents"];
const CALLS: u32 = 45;

/// A tenant whose windows have ten rows each.
fn setting(seed: u64, rows: &[u64]) -> Setting {
    let tables = TABLES.iter().zip(rows).map(|(name, rows)| SimulatedTable { name, rows: *rows, days: 3 });
    let mut setting = Setting::quiet(seed, tables.collect());
    setting.processes = 3;
    setting.quota = Some(CALLS);
    setting.settings = vec![
        ("CHUNK_SIZE", "10".to_owned()),
        ("HUNTING_CALLS_PER_MINUTE", CALLS.to_string()),
        ("MAX_CONCURRENT_TASKS", "5".to_owned()),
        ("MAX_THREAD_WORKERS", "8".to_owned()),
    ];
    setting
}

/// Seconds from the first call to each, in order.
fn seconds(world: &World, table: Option<&str>) -> Vec<f64> {
    let log = world.cloud.hunting_statistics().log;
    let first = log.iter().map(|call| call.at).min().unwrap_or_default();
    let of_table = log.iter().filter(|call| table.is_none() || call.table.as_deref() == table);
    let mut seconds: Vec<f64> = of_table.map(|call| (call.at - first) as f64 / SECOND as f64).collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

/// Which part of the quota the calls used while there was enough to do: until nine tenths of them were made.
fn used(calls: &[f64]) -> f64 {
    let most = calls.len() * 9 / 10;
    most as f64 / (calls[most] * f64::from(CALLS) / 60.0)
}

/// Copies a tenant of five tables, of which processes with clocks two minutes apart crash so often.
async fn run(seed: u64, skew_seconds: i64, crashes: usize) -> (World, Duration) {
    let setting = Setting { skew_seconds, ..setting(seed, &[900; 5]) };
    let mut world = World::new(&setting);
    let began = world.clock.elapsed();
    let id = world.start().await;
    for crash in 0..crashes {
        world.pass(Duration::from_secs(100)).await;
        world.crash(crash % 3).await;
    }
    let run = world.ended(&id, PATIENCE).await.unwrap();
    assert_eq!((run.status, run.tables_failed), (RuntimeStatus::Completed, 0), "seed {seed}: {run:?}");
    let took = world.clock.elapsed() - began;
    (world, took)
}

#[test]
fn the_quota_is_used_and_kept_whatever_clocks_show_and_whoever_crashes() {
    println!("| clocks apart | crashes | calls | too many | quota used | run | ideal |\n|---|---|---|---|---|---|---|");
    for (seed, skew_seconds, crashes) in [(1, 0, 0), (2, 60, 0), (3, 0, 4), (4, 0, 4), (3, 60, 4), (4, 60, 4)] {
        simulated(async || {
            let (world, took) = run(seed, skew_seconds, crashes).await;
            let calls = seconds(&world, None);
            let over = world.cloud.hunting_statistics().over_quota;
            assert_eq!(over, 0, "seed {seed}: {over} calls were more than the quota");
            let ideal = calls.len() as f64 * 60.0 / f64::from(CALLS);
            let (part, took) = (used(&calls), took.as_secs_f64());
            println!(
                "| {} s | {crashes} | {} | {over} | {:.1} % | {took:.0} s | {ideal:.0} s |",
                2 * skew_seconds,
                calls.len(),
                100.0 * part
            );
            assert!(part >= 0.95, "seed {seed}: {part}");
            assert!(crashes > 0 || took <= ideal * 1.05 + 15.0, "seed {seed}: {took} s instead of {ideal} s");
        });
    }
}

#[test]
fn of_two_messages_that_carry_one_permit_one_sends_its_call() {
    // The answer to a message that was sent is lost, the message is sent again, and the answer to the call of the first breaks.
    assert_eq!(played(3_292), Vec::<String>::new());
}

#[test]
fn calls_that_are_repeated_with_another_token_keep_to_the_quota() {
    simulated(async || {
        let mut world = World::new(&setting(8, &[600; 5]));
        // Tokens end before their time again and again; of no call twice, as its second is sent before 42 others are.
        let script = repeat_n(None, 42).chain([Some(Fault::Unauthorized)]).cycle().take(10_000);
        world.cloud.faults().script(Area::Hunting, script);
        let id = world.start().await;
        let run = world.ended(&id, PATIENCE).await.unwrap();
        assert_eq!((run.status, run.tables_failed), (RuntimeStatus::Completed, 0), "{run:?}");
        let log = world.cloud.hunting_statistics().log;
        let refused = log.iter().filter(|call| call.status == 401).count();
        assert!(refused > 5, "{refused}");
        // The service counts calls before it looks at their token, for all that is known.
        let calls = seconds(&world, None);
        let most = calls
            .iter()
            .enumerate()
            .map(|(first, at)| calls[first..].iter().take_while(|later| **later < at + 60.0).count());
        let most = most.max().unwrap();
        assert!(most <= CALLS as usize, "{most} calls within a minute");
    });
}

#[test]
fn a_small_table_does_not_wait_for_one_with_hundreds_of_windows() {
    simulated(async || {
        let mut world = World::new(&setting(7, &[3_000, 60]));
        let id = world.start().await;
        world.ended(&id, PATIENCE).await.unwrap();
        let (large, small) = (seconds(&world, Some(TABLES[0])), seconds(&world, Some(TABLES[1])));
        let (large, small) = (large[large.len() - 1], small[small.len() - 1]);
        assert!(small < large / 8.0, "{small} s of {large} s");
    });
}

#[test]
fn a_night_of_repairs_takes_no_longer_than_its_calls() {
    simulated(async || {
        let mut world = World::new(&setting(9, &[300]));
        let first = world.start().await;
        world.ended(&first, PATIENCE).await.unwrap();
        let (made, now) = (seconds(&world, None).len(), localcloud::clock::Clock::now(&world.clock));
        let day = 86_400 * SECOND;
        world.cloud.source().append_unseen(TABLES[0], 90, now - 2 * day, now - day / 4, now).unwrap();
        world.pass(Duration::from_secs(60)).await;
        let began = world.clock.elapsed();
        let id = world.start().await;
        let run = world.ended(&id, PATIENCE).await.unwrap();
        assert_eq!((run.status, run.tables_failed), (RuntimeStatus::Completed, 0));
        let (calls, took) = (seconds(&world, None).len() - made, (world.clock.elapsed() - began).as_secs_f64());
        let ideal = calls as f64 * 60.0 / f64::from(CALLS);
        println!("{calls} calls in {took:.0} s, {ideal:.0} s ideally");
        assert!(calls > 15 && took <= ideal * 1.05 + 15.0, "{calls} calls in {took} s instead of {ideal} s");
        assert_eq!(world.adx(&format!("{} | count", TABLES[0]))[0][0], 390);
    });
}

#[test]
fn a_share_of_the_quota_leaves_the_rest_to_others() {
    simulated(async || {
        let mut setting = setting(8, &[900]);
        setting.quota = Some(CALLS / 3);
        setting.settings.push(("HUNTING_QUOTA_SHARE", "0.34".to_owned()));
        let mut world = World::new(&setting);
        let id = world.start().await;
        world.ended(&id, PATIENCE).await.unwrap();
        assert_eq!(world.cloud.hunting_statistics().over_quota, 0);
    });
}
