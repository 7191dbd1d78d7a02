//! A hunting service that is out of order for some minutes, asks to be left alone, or refuses everything: what waits for it, and how
//! many calls that takes.

use super::simulated;
use super::told::world_of;
use super::world::{SimulatedTable, World};
use adxingestor::orchestration::ids::InstanceId;
use localcloud::faults::{Area, Fault};
use std::time::Duration;

const TABLE: &str = "DeviceEvents";
const ROWS: u64 = 400;
const LANES: u64 = 4;

fn world() -> World {
    world_of(SimulatedTable { name: TABLE, rows: ROWS, days: 3 }, 10, |setting| {
        setting.settings.retain(|(name, _)| *name != "MAX_THREAD_WORKERS");
        setting.settings.push(("MAX_THREAD_WORKERS", LANES.to_string()));
    })
}

/// Calls that the service answered with a status.
fn answered(world: &World, status: u16) -> u64 {
    world.cloud.hunting_statistics().calls_by_status.get(&status).copied().unwrap_or_default()
}

/// Ends the outage after a time; the run is whole then, without a repair.
async fn outlives(mut world: World, id: &InstanceId, outage: Duration) {
    world.pass(outage).await;
    world.cloud.faults().never();
    let told = world.told(id, TABLE).await;
    assert!(told.result.success && told.result.windows_failed == 0, "{told:#?}");
    let run = world.records().instance(id).await.unwrap().unwrap().record;
    assert_eq!(run.repairs.count, 0, "{:?}", run.repairs);
    world.whole(TABLE).await;
}

#[test]
fn an_outage_of_ten_minutes_fails_neither_a_plan_nor_a_window_and_needs_no_repair() {
    for fault in [Fault::Unavailable, Fault::BadGateway, Fault::Page] {
        for posted in [0, 5] {
            simulated(async || {
                let mut world = world();
                if posted == 0 {
                    world.cloud.faults().always(Area::Hunting, &[TABLE], fault);
                }
                let id = world.start().await;
                world.posted(posted).await;
                world.cloud.faults().always(Area::Hunting, &[TABLE], fault);
                outlives(world, &id, Duration::from_secs(600)).await;
            });
        }
    }
}

#[test]
fn what_every_window_would_be_refused_for_costs_a_call_in_each_lane_and_one_in_the_next_run() {
    for (fault, status) in [(Fault::Forbidden, 403), (Fault::BadQuery, 400), (Fault::NotFound, 404)] {
        simulated(async || {
            let mut world = world();
            let id = world.start().await;
            world.posted(5).await;
            world.cloud.faults().always(Area::Hunting, &[TABLE], fault);
            let told = world.told(&id, TABLE).await;
            let refused = answered(&world, status);
            assert!((1..=LANES).contains(&refused) && told.result.windows_failed == refused, "{refused}: {told:#?}");
            let left = told.result.windows - told.result.windows_done - refused;
            assert!(left > 10, "{told:#?}");
            assert!(told.output.contains(&format!("{left} more were not begun")), "{told:#?}");

            let told = world.run_of(TABLE).await;
            assert!(!told.result.success && told.output.contains("nothing new could be planned"), "{told:#?}");
            let again = answered(&world, status) - refused;
            assert!(
                (1..=6).contains(&again) && told.result.windows_failed == 1,
                "{again} of a plan in all its forms and a window: {told:#?}"
            );

            world.cloud.faults().never();
            let told = world.run_of(TABLE).await;
            assert!(told.result.success, "{told:#?}");
            world.whole(TABLE).await;
        });
    }
}
