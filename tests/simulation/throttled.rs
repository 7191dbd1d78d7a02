//! A service that has no calls to give.

use super::simulated;
use super::world::{Setting, SimulatedTable, World};
use adxingestor::orchestration::instance::TableResult;
use localcloud::faults::{Area, Fault};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

impl World {
    async fn run_of_one_table(&mut self, patience: Duration) -> TableResult {
        let id = self.start().await;
        let run = self.ended(&id, patience).await.unwrap_or_else(|| panic!("the run is still open after {patience:?}"));
        self.records().tables(&run.id).await.unwrap().swap_remove(0).record.result.unwrap()
    }
}

/// What the next run copies, once the service has calls again.
async fn goes_on(world: &mut World, rows: u64) {
    world.cloud.faults().never();
    world.pass(6 * HOUR).await;
    let result = world.run_of_one_table(6 * HOUR).await;
    assert!(result.success, "{result:?}");
    assert_eq!(world.adx("DeviceEvents | count")[0][0].as_u64(), Some(rows));
}

fn world(seed: u64) -> World {
    World::new(&Setting::quiet(seed, vec![SimulatedTable { name: "DeviceEvents", rows: 40, days: 2 }]))
}

#[test]
fn a_service_that_says_nothing_but_429_is_waited_for_a_day_and_asked_again_by_the_next_run() {
    simulated(async || {
        for fault in [Fault::ThrottledWithoutRetryAfter, Fault::CpuUsedUp] {
            let mut world = world(5);
            world.cloud.faults().always(Area::Hunting, &[], fault);
            let result = world.run_of_one_table(30 * HOUR).await;
            let error = result.error.unwrap_or_default();
            assert!(!result.success && error.contains("says 429 to all of them"), "{fault:?}: {error}");
            goes_on(&mut world, 40).await;
        }
    });
}

#[test]
fn windows_that_meet_nothing_but_429_are_not_waited_for_either() {
    simulated(async || {
        let mut world = world(5);
        world.cloud.faults().always(Area::Hunting, &["Squares"], Fault::Preempted);
        world.cloud.faults().always(Area::Hunting, &["pack_all(true)"], Fault::ThrottledWithoutRetryAfter);
        let result = world.run_of_one_table(30 * HOUR).await;
        assert!(!result.success && result.windows_failed > 0, "{result:?}");
        goes_on(&mut world, 40).await;
    });
}
