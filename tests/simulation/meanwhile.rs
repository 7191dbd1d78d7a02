//! What becomes of a destination while a run is on: it is dropped, keeps nothing any more, or what reads it blocks it.

use super::oracle::{Copied, Findings};
use super::simulated;
use super::told::world_of;
use super::world::{SimulatedTable, World};

const TABLE: &str = "DeviceEvents";

fn world() -> World {
    world_of(SimulatedTable { name: TABLE, rows: 60, days: 3 }, 10, |_| {})
}

#[test]
fn a_destination_that_is_dropped_amid_a_run_is_told_and_no_row_is_called_proved_that_is_gone() {
    simulated(async || {
        let mut world = world();
        let id = world.start().await;
        world.posted(3).await;
        world.adx(&format!(".drop table {TABLE}"));
        let told = world.told(&id, TABLE).await;
        told.failed_saying(&["DeviceEvents"]);
        assert!(told.output.contains("BadRequest_TableNotExist") || told.output.contains("not found"), "{told:#?}");

        // What was proved is gone: a person decides.
        let told = world.run_of(TABLE).await;
        assert!(!told.result.success && told.output.contains("rows are gone that had been proved"), "{told:#?}");
        assert!(!world.has_table(TABLE), "nothing is made");
        let elsewhere =
            told.output.split('`').find(|text| text.starts_with(".set-or-append meta_MigrationConfiguration"));
        world.adx(elsewhere.unwrap_or_else(|| panic!("{told:#?}")));
        let told = world.run_of("DeviceEvents_2").await;
        assert!(told.result.success, "{told:#?}");
        let copy = Copied { source: TABLE, destination: "DeviceEvents_2" };
        assert_eq!(world.not_whole(copy).await, Findings::new());
    });
}

#[test]
fn a_retention_of_zero_amid_a_run_fails_what_it_drops_with_the_command_that_mends_it() {
    simulated(async || {
        let mut world = world();
        let id = world.start().await;
        world.posted(2).await;
        world.adx(&format!(".alter table {TABLE} policy retention '{{\"SoftDeletePeriod\":\"00:00:00\"}}'"));
        let told = world.told(&id, TABLE).await;
        told.failed_saying(&["BadRequest_ZeroRetentionPolicyWithNoUpdatePolicy (Permanent)", "keeps no rows: run `"]);
        for command in told.commands(".alter-merge table DeviceEvents policy retention") {
            world.adx(&command);
        }
        let told = world.run_of(TABLE).await;
        assert!(told.result.success, "{told:#?}");
        world.whole(TABLE).await;
    });
}

#[test]
fn metadata_tables_that_gain_columns_between_two_runs_take_rows_all_the_same() {
    simulated(async || {
        let mut world = world();
        assert!(world.run_of(TABLE).await.result.success);
        for table in ["meta_MigrationAudit", "meta_Ledger", "meta_MigrationConfiguration"] {
            world.adx(&format!(".alter-merge table {table} (['Owned by']:string, Added:datetime)"));
        }
        world.more_of(TABLE, 20).await;
        let told = world.run_of(TABLE).await;
        assert!(told.result.success && told.result.warnings.is_empty(), "{told:#?}");
        assert_eq!(world.adx("meta_MigrationAudit | count")[0][0], 2);
        world.whole(TABLE).await;
    });
}
