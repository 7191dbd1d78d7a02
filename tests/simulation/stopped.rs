//! Workers that are in the middle of their pulls when their run is stopped: what they pull is not sealed, so it is not ingested.

use super::oracle::{Copied, Ledger};
use super::simulated;
use super::world::{Setting, SimulatedTable, World};
use adxingestor::orchestration::ids::InstanceId;
use adxingestor::orchestration::instance::RuntimeStatus;
use adxingestor::orchestration::window::WindowState;
use localcloud::faults::{Area, Fault};
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2 * 3600);
const COPY: Copied<'static> = Copied { source: "DeviceEvents", destination: "DeviceEvents" };
/// How long an answer takes: longer than what a process knows of a head is good for.
const SLOW: Duration = Duration::from_secs(90);

/// How long an answer takes that comes while all processes know the head: each has ended a window a moment ago.
const SHORT: Duration = Duration::from_secs(8);
/// What a process may know of a head for, and how long a permit and a write take.
const MOMENT: Duration = Duration::from_secs(3);

/// A run of which workers have claimed windows, whose answers come in slowly; and the windows that are sealed by now.
async fn amid_its_pulls() -> (World, InstanceId, usize) {
    let mut setting = Setting::quiet(3, vec![SimulatedTable { name: COPY.source, rows: 60, days: 3 }]);
    setting.faults.slow_body = SLOW;
    setting.processes = 3;
    // A permit each six seconds: the plan is seen before its windows are asked for.
    setting.settings = vec![("CHUNK_SIZE", "10".to_owned()), ("HUNTING_CALLS_PER_MINUTE", "10".to_owned())];
    let mut world = World::new(&setting);
    let id = world.start().await;
    until(&mut world, WindowState::Planned, 1).await;
    world.cloud.faults().script(Area::Hunting, vec![Some(Fault::SlowBody); 1_000]);
    until(&mut world, WindowState::Claimed, 2).await;
    // The first answers to come slowly are under way, and nobody knows a head that is younger than that.
    world.pass(Duration::from_secs(40)).await;
    let sealed = sealed(&world).await;
    (world, id, sealed)
}

/// Waits until so many windows are in that state.
async fn until(world: &mut World, state: WindowState, wanted: usize) {
    for _ in 0..1_200 {
        if count(world, |found| found == state).await >= wanted {
            return;
        }
        world.pass(Duration::from_millis(250)).await;
    }
    let states = ledger(world).await.map(|ledger| ledger.windows.iter().map(|window| window.state).collect::<Vec<_>>());
    panic!("no {wanted} windows are {state:?}: {states:?}");
}

async fn ledger(world: &World) -> Option<Ledger> {
    world.ledger(COPY).await
}

async fn count(world: &World, of: impl Fn(WindowState) -> bool) -> usize {
    ledger(world).await.map_or(0, |ledger| ledger.windows.iter().filter(|window| of(window.state)).count())
}

async fn sealed(world: &World) -> usize {
    ledger(world).await.map_or(0, |ledger| ledger.windows.iter().filter(|window| window.seal.is_some()).count())
}

async fn asked(world: &mut World, id: &InstanceId, operation: &str) {
    let (status, body) = world.call("POST", &format!("/api/instances/{id}/{operation}?reason=x"), &Value::Null).await;
    assert_eq!(status, 202, "{body}");
}

async fn all_is_copied(world: &mut World, id: &InstanceId) {
    let run = world.ended(id, PATIENCE).await.unwrap();
    assert_eq!((run.status, run.tables_failed), (RuntimeStatus::Completed, 0), "{run:?}");
    world.settled(PATIENCE).await;
    assert_eq!(world.check(&[COPY]).await, Vec::<String>::new());
    assert_eq!(world.adx("DeviceEvents | count")[0][0], 60);
}

#[test]
fn what_is_being_pulled_when_a_run_is_terminated_is_not_ingested_and_the_next_run_copies_it() {
    simulated(async || {
        let (mut world, id, before) = amid_its_pulls().await;
        assert!(count(&world, |state| state == WindowState::Claimed).await >= 2);
        asked(&mut world, &id, "terminate").await;
        world.pass(3 * SLOW).await;
        assert_eq!(sealed(&world).await, before);
        assert_eq!(count(&world, |state| state == WindowState::Claimed).await, 0, "they let go");
        world.cloud.faults().end();
        let next = world.start().await;
        all_is_copied(&mut world, &next).await;
    });
}

#[test]
fn what_is_being_pulled_when_a_run_is_suspended_is_pulled_again_when_it_goes_on() {
    simulated(async || {
        let (mut world, id, before) = amid_its_pulls().await;
        asked(&mut world, &id, "suspend").await;
        world.pass(3 * SLOW).await;
        assert_eq!(sealed(&world).await, before);
        assert_eq!(count(&world, |state| state == WindowState::Claimed).await, 0, "they let go");
        world.cloud.faults().end();
        asked(&mut world, &id, "resume").await;
        all_is_copied(&mut world, &id).await;
    });
}

/// A run of many windows on two processes whose answers take some seconds each, once windows have ended on both.
async fn amid_short_pulls() -> (World, InstanceId) {
    let mut setting = Setting::quiet(3, vec![SimulatedTable { name: COPY.source, rows: 60, days: 3 }]);
    setting.faults.slow_body = SHORT;
    setting.processes = 2;
    setting.settings = vec![("CHUNK_SIZE", "1".to_owned()), ("HUNTING_CALLS_PER_MINUTE", "60".to_owned())];
    let mut world = World::new(&setting);
    let id = world.start().await;
    until(&mut world, WindowState::Planned, 1).await;
    world.cloud.faults().script(Area::Hunting, vec![Some(Fault::SlowBody); 1_000]);
    until(&mut world, WindowState::Verified, 12).await;
    (world, id)
}

#[test]
fn what_comes_in_soon_after_a_termination_or_a_suspension_was_answered_is_not_ingested_by_another_process() {
    for operation in ["terminate", "suspend"] {
        simulated(async || {
            let (mut world, id) = amid_short_pulls().await;
            assert!(count(&world, |state| state == WindowState::Claimed).await >= 4);
            asked(&mut world, &id, operation).await;
            world.pass(MOMENT).await;
            let before = sealed(&world).await;
            world.pass(3 * SHORT).await;
            assert_eq!(sealed(&world).await, before, "{operation}");
            assert_eq!(count(&world, |state| state == WindowState::Claimed).await, 0, "they let go");
            world.cloud.faults().end();
            let next = if operation == "suspend" {
                asked(&mut world, &id, "resume").await;
                id
            } else {
                world.start().await
            };
            all_is_copied(&mut world, &next).await;
        });
    }
}
