//! Answers that go wrong at the network's edge, in whole runs: once costs another call and no row, for ever ends what was asked for,
//! after a number of calls that does not grow with the rows.

use super::oracle::Copied;
use super::world::{SECOND, Setting, SimulatedTable, World};
use super::{each, simulated};
use adxingestor::orchestration::instance::{RuntimeStatus, TableResult};
use adxingestor::state::{State, Tenant};
use localcloud::clock::Clock;
use localcloud::faults::{Area, Fault};
use localcloud::kql::Type;
use std::iter::repeat_n;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const TABLE: &str = "DeviceEvents";
const DAY: Duration = Duration::from_secs(86_400);

/// The calls of a first run of two windows: probe, two trials of the time span, histogram, sample, windows.
const CALLS: usize = 7;
/// What a call may meet once, and the next one no more.
const PASSING: [Fault; 16] = [
    Fault::Unauthorized,
    Fault::Throttled,
    Fault::CpuUsedUp,
    Fault::Internal,
    Fault::BadGateway,
    Fault::Unavailable,
    Fault::GatewayTimeout,
    Fault::Preempted,
    Fault::Page,
    Fault::WrongType,
    Fault::Reset,
    Fault::CutBody,
    Fault::TruncatedBody,
    Fault::EmptyBody,
    Fault::EndlessBody,
    Fault::OtherSchema,
];

fn world(rows: u64, chunk_size: u64) -> World {
    world_that(true, rows, chunk_size)
}

/// With the watchdog, or without.
fn world_that(watched: bool, rows: u64, chunk_size: u64) -> World {
    let mut setting = Setting::quiet(21, vec![SimulatedTable { name: TABLE, rows, days: 3 }]);
    setting.settings = vec![("CHUNK_SIZE", chunk_size.to_string()), ("HUNTING_CALLS_PER_MINUTE", "600".to_owned())];
    setting.settings.push(("SETTLING_LAG_MINUTES", "0".to_owned()));
    setting.watched = watched;
    World::new(&setting)
}

/// What comes of the table in a run.
async fn run(world: &mut World) -> TableResult {
    let id = world.start().await;
    let run = world.ended(&id, PATIENCE).await.unwrap();
    assert_eq!(run.status, RuntimeStatus::Completed);
    world.settled(Duration::from_secs(1800)).await;
    world.records().tables(&id).await.unwrap().swap_remove(0).record.result.unwrap()
}

async fn more(world: &mut World, rows: u64) {
    let now = Clock::now(&world.clock);
    world.cloud.source().append(TABLE, rows, now, now + 3_600 * SECOND).unwrap();
    world.pass(Duration::from_secs(2 * 3_600)).await;
}

fn calls(world: &World) -> usize {
    world.cloud.hunting_statistics().log.len()
}

fn rows(world: &World) -> u64 {
    world.adx(&format!("{TABLE} | count"))[0][0].as_u64().unwrap()
}

async fn wrong(world: &World) -> Vec<String> {
    let copy = Copied::under_its_name(TABLE);
    [world.check(&[copy]).await, world.check_metadata(copy).await].concat()
}

#[test]
fn a_call_that_goes_wrong_once_costs_another_call_and_no_row() {
    let cases: Vec<(Fault, usize)> = PASSING.iter().flat_map(|fault| (0..CALLS).map(|call| (*fault, call))).collect();
    let found = each(cases, |(fault, call)| {
        simulated(async || {
            let mut world = world(40, 20);
            world.cloud.faults().script(Area::Hunting, repeat_n(None, *call).chain([Some(*fault)]));
            let result = run(&mut world).await;
            let happened = world.cloud.faults().happened().get(&(Area::Hunting, *fault)).copied();
            let mut findings = wrong(&world).await;
            if !result.success || happened != Some(1) || rows(&world) != 40 {
                findings.push(format!("{happened:?} times, {} rows, {result:?}", rows(&world)));
            }
            (!findings.is_empty()).then(|| format!("{fault:?} at call {call}: {findings:#?}"))
        })
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_answer_without_an_end_teaches_nothing_of_the_size_that_the_service_gives() {
    simulated(async || {
        let mut world = world(400, 1_000);
        assert!(run(&mut world).await.success);
        more(&mut world, 300).await;
        let before = calls(&world);
        // The plan's histogram, then the window twice.
        world.cloud.faults().script(Area::Hunting, [None, Some(Fault::EndlessBody), Some(Fault::EndlessBody)]);
        let result = run(&mut world).await;
        assert!(result.success && wrong(&world).await.is_empty(), "{result:?}");
        // The counts by which it is halved, and the halves.
        assert_eq!(calls(&world) - before, 6);
        assert_eq!(rows(&world), 700);
        let settings = world.settings();
        let endpoint = format!("{}{}", settings.hunting.host_str().unwrap(), settings.hunting.path()).to_lowercase();
        let tenant = Tenant::new(&settings.tenant, &settings.limits);
        let state = State::new(world.store.clone(), super::process::Dice::new(1), tenant);
        assert_ne!(state.calls().await.unwrap().opens_at, adxingestor::timestamp::Timestamp::MIN);
        assert_eq!(state.response_cap(&endpoint, 50_000_000), 50_000_000);
    });
}

#[test]
fn a_window_that_is_never_answered_is_not_divided_down_to_its_rows() {
    for (fault, most) in [(Fault::Preempted, 420), (Fault::EmptyBody, 420), (Fault::Internal, 6)] {
        simulated(async || {
            let mut world = world(200, 1_000);
            assert!(run(&mut world).await.success);
            more(&mut world, 900).await;
            let before = calls(&world);
            world.cloud.faults().always(Area::Hunting, &[TABLE, "pack_all"], fault);
            let result = run(&mut world).await;
            let made = calls(&world) - before;
            println!("{fault:?}: {made} calls");
            assert!(!result.success && made <= most, "{fault:?}: {made} calls, {result:?}");
            world.cloud.faults().never();
            let result = run(&mut world).await;
            assert!(result.success && wrong(&world).await.is_empty(), "{result:?}");
            assert_eq!(rows(&world), 1_100);
        });
    }
}

/// A run of which every window fails, and nobody watches.
pub fn all_given_up() {
    simulated(async || {
        let mut world = world_that(false, 200, 100);
        // A first plan packs a sample of the rows too.
        assert!(run(&mut world).await.success);
        more(&mut world, 300).await;
        world.cloud.faults().always(Area::Hunting, &[TABLE, "pack_all"], Fault::Internal);
        assert!(!run(&mut world).await.success);
        world.cloud.faults().never();
        assert!(run(&mut world).await.success);
        assert_eq!((rows(&world), wrong(&world).await), (500, Vec::new()));
    });
}

#[test]
fn a_run_of_which_every_window_fails_ends_without_the_watchdog() {
    all_given_up();
}

#[test]
fn one_row_that_is_never_answered_costs_few_calls_and_no_other_row() {
    simulated(async || {
        let mut world = world(200, 1_000);
        assert!(run(&mut world).await.success);
        more(&mut world, 300).await;
        world.cloud.faults().script(Area::Hunting, [None].into_iter().chain(repeat_n(Some(Fault::Preempted), 5)));
        let result = run(&mut world).await;
        assert!(result.success, "{result:?}");
        assert_eq!(rows(&world), 500);
    });
}

#[test]
fn a_column_that_appears_while_a_run_is_on_harms_nothing() {
    simulated(async || {
        let mut world = world(60, 5);
        let id = world.start().await;
        while rows_so_far(&world) == 0 {
            world.pass(Duration::from_secs(1)).await;
        }
        world.cloud.source().add_column(TABLE, "BrandNew", Type::Dynamic).unwrap();
        let run = world.ended(&id, PATIENCE).await.unwrap();
        assert_eq!((run.status, run.tables_failed), (RuntimeStatus::Completed, 0));
        assert_eq!((rows(&world), wrong(&world).await), (60, Vec::new()));
    });
}

fn rows_so_far(world: &World) -> u64 {
    world.cloud.adx().run(&format!("{TABLE} | count")).map_or(0, |counted| counted.json_rows()[0][0].as_u64().unwrap())
}

#[test]
fn a_service_that_does_not_answer_the_trial_of_time_spans_is_copied_from() {
    for fault in [Fault::BadQuery, Fault::Preempted] {
        simulated(async || {
            let mut world = world(60, 100);
            world.cloud.faults().always(Area::Hunting, &[TABLE, "countif(isnull(Timestamp))"], fault);
            let result = run(&mut world).await;
            assert!(result.success && rows(&world) == 60, "{fault:?}: {result:?}");
            assert_eq!(wrong(&world).await, Vec::<String>::new());
        });
    }
}

#[test]
fn what_a_time_span_hides_is_tried_again_a_week_later_until_a_row_without_a_time_tells() {
    simulated(async || {
        let mut world = world(60, 100);
        let tried = |world: &World| {
            let log = world.cloud.hunting_statistics().log;
            log.iter().filter(|call| call.query.ends_with("Without = countif(isnull(Timestamp))")).count()
        };
        assert!(run(&mut world).await.success);
        assert_eq!(tried(&world), 2);
        // A table that has tried leaves two days to others, of which there are none.
        for (days, expected) in [(1, 2), (5, 2), (2, 2), (1, 4), (7, 4), (2, 6)] {
            world.stand_still(DAY * days).await;
            more(&mut world, 20).await;
            assert!(run(&mut world).await.success);
            assert_eq!(tried(&world), expected, "{days} days later");
        }
        assert_eq!(wrong(&world).await, Vec::<String>::new());
    });
}
