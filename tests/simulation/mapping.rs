//! Mappings that do not fill what they should, in whole runs.

use super::simulated;
use super::told::world_of;
use super::world::{SimulatedTable, World};
use localcloud::adx::ingestion::Mishap;
use serde_json::Value;

const TABLE: &str = "DeviceEvents";
const ROWS: u64 = 30;
/// Rows of a window.
const EACH: u64 = 10;

fn world(mishap: Option<Mishap>) -> World {
    world_of(SimulatedTable { name: TABLE, rows: ROWS, days: 3 }, EACH, |setting| {
        setting.mishaps = mishap.map(|mishap| (mishap, 1.0)).into_iter().collect();
    })
}

fn rows(world: &World) -> Value {
    world.adx(&format!("{TABLE} | count"))[0][0].clone()
}

#[test]
fn a_mapping_of_the_table_that_somebody_alters_is_not_what_rows_are_read_by() {
    simulated(async || {
        let mut world = world(None);
        let id = world.start().await;
        world.posted(1).await;
        let nothing = r#"[{"column":"RawData","Properties":{"Path":"$.Nothing"}}]"#;
        world.adx(&format!(".create-or-alter table {TABLE} ingestion json mapping 'RawDataMap' '{nothing}'"));
        let told = world.told(&id, TABLE).await;
        assert!(told.result.success, "{told:#?}");
        world.more_of(TABLE, 20).await;
        assert!(world.run_of(TABLE).await.result.success);
        world.whole(TABLE).await;
    });
}

#[test]
fn a_mapping_that_the_service_refuses_is_told_with_what_to_do_and_posted_once_in_each_run() {
    simulated(async || {
        let mut world = world(Some(Mishap::Unmapped));
        for run in 1..=2 {
            let told = world.run_of(TABLE).await;
            told.failed_saying(&[
                "BadRequest_InconsistentMapping (Permanent)",
                "isn't consistent with the existing table schema",
                "a column that the rows are written to is gone or has another type: bring it back",
            ]);
            assert_eq!(told.failures.len(), 1, "{told:#?}");
            assert_eq!((world.cloud.ingestion().statistics().messages, rows(&world)), (run, Value::from(0)));
        }
        world.cloud.ingestion().end_mishaps();
        let told = world.run_of(TABLE).await;
        assert!(told.result.success, "{told:#?}");
        world.whole(TABLE).await;
    });
}

#[test]
fn a_column_that_is_not_filled_fails_its_window_and_is_not_blamed_on_the_size_of_rows() {
    simulated(async || {
        let mut world = world(Some(Mishap::Unfilled));
        let told = world.run_of(TABLE).await;
        told.failed_saying(&[
            " of the rows of window",
            "landed in DeviceEvents without content",
            "did not fill RawData",
        ]);
        assert!(!told.output.contains("1 MiB"), "{told:#?}");
        assert_eq!(world.cloud.ingestion().statistics().messages, 1, "the first shows it, and no other is begun");
        world.cloud.ingestion().end_mishaps();
        let again = world.run_of(TABLE).await;
        assert!(!again.result.success && world.cloud.ingestion().statistics().skipped == 0, "{again:#?}");
        for command in again.commands(".delete table") {
            world.adx(&command);
        }
        let told = world.run_of(TABLE).await;
        assert!(told.result.success, "{told:#?}");
        world.whole(TABLE).await;
    });
}
