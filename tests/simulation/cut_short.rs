//! A service that gives fewer rows than it is documented to give, and says nothing of it: counts that come back cut short.

use super::simulated;
use super::told::world_of;
use super::world::{SimulatedTable, World};

/// Windows of a hundred rows of a table, where an answer has at most so many.
fn world(name: &'static str, answer_rows: u64, refused: Option<&str>) -> World {
    world_of(SimulatedTable { name, rows: 1_500, days: 20 }, 100, |setting| {
        setting.answer_rows = answer_rows;
        setting.refuse_words.extend(refused.map(str::to_owned));
    })
}

#[test]
fn rows_are_lost_by_no_count_that_comes_back_without_some_of_its_bins() {
    // By a service that refuses it beside the counts, the total is told by itself.
    for refused in [None, Some("| union (")] {
        simulated(async || {
            let mut world = world("DeviceEvents", 400, refused);
            let told = world.run_of("DeviceEvents").await;
            assert!(told.result.success, "{told:?}");
            world.whole("DeviceEvents").await;
            // Late rows are found by the same counts.
            world.more_of("DeviceEvents", 500).await;
            let told = world.run_of("DeviceEvents").await;
            assert!(told.result.success, "{told:?}");
            world.whole("DeviceEvents").await;
        });
    }
}

#[test]
fn a_snapshot_whose_count_comes_back_without_some_of_its_parts_is_counted_in_slices() {
    const INVENTORY: &str = "DeviceTvmSoftwareInventory";
    simulated(async || {
        let mut world = world(INVENTORY, 500, None);
        let told = world.run_of(INVENTORY).await;
        assert!(told.result.success && told.result.warnings.is_empty(), "{told:?}");
        assert_eq!(world.adx(&format!("{INVENTORY} | count"))[0][0], 1_500);
    });
}

#[test]
fn a_table_whose_counts_are_always_cut_short_fails_and_says_so() {
    for table in ["DeviceEvents", "DeviceTvmSoftwareInventory"] {
        simulated(async || {
            let mut world = world(table, 1, None);
            let told = world.run_of(table).await;
            let error = told.result.error.clone().unwrap_or_default();
            assert!(!told.result.success && error.contains("cut short"), "{table}: {told:?}");
            assert_eq!(world.adx(&format!("{table} | count"))[0][0], 0);
        });
    }
}
