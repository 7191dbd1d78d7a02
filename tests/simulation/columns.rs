//! Columns that go or become others between nights, where rows of before come late.

use super::oracle::Copied;
use super::simulated;
use super::world::{SECOND, Setting, SimulatedTable, World};
use adxingestor::orchestration::instance::TableResult;
use adxingestor::orchestration::window::WindowState;
use localcloud::clock::Clock;
use localcloud::faults::{Area, Fault};
use localcloud::kql::Type;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const HOUR: i64 = 3_600 * SECOND;
const TABLE: &str = "DeviceEvents";

impl World {
    async fn night_of(&mut self) -> TableResult {
        let id = self.start().await;
        let run = self.ended(&id, PATIENCE).await.unwrap();
        let result = self.records().tables(&run.id).await.unwrap().swap_remove(0).record.result.unwrap();
        assert!(result.success, "{result:#?}");
        self.pass(Duration::from_secs(600)).await;
        result
    }

    /// Rows that are in the destination, and how many of them differ by what told them apart before and still does.
    fn there(&self) -> (u64, u64) {
        let told = "tostring(RawData.Timestamp), tostring(RawData.DeviceId), tostring(RawData.ProcessCommandLine), \
                    tostring(RawData.FileName)";
        let count = |what: &str| self.adx(&format!("{TABLE} | {what}count"))[0][0].as_u64().unwrap();
        (count(""), count(&format!("distinct {told} | ")))
    }
}

#[test]
fn rows_that_come_late_after_a_column_went_or_became_another_double_nothing() {
    let changes: [fn(&World); 2] = [
        |world| world.cloud.source().drop_column(TABLE, "ActionType").unwrap(),
        |world| world.cloud.source().retype_column(TABLE, "ReportId", Type::String).unwrap(),
    ];
    for (change, what) in changes.into_iter().zip(["gone", "another"]) {
        simulated(async || {
            let mut setting = Setting::quiet(5, vec![SimulatedTable { name: TABLE, rows: 200, days: 1 }]);
            setting.settings = vec![("CHUNK_SIZE", "30".to_owned()), ("HUNTING_CALLS_PER_MINUTE", "600".to_owned())];
            let mut world = World::new(&setting);
            world.pass(Duration::from_secs(600)).await;
            world.night_of().await;
            assert_eq!(world.there(), (200, 200), "choose another seed");
            change(&world);
            let mut rows = 200;
            // Late rows of two nights: the change is told once, and holds for all that was copied before it.
            for night in 0..2 {
                let now = Clock::now(&world.clock);
                world.cloud.source().append_unseen(TABLE, 9, now - 12 * HOUR, now - 8 * HOUR, now).unwrap();
                world.cloud.source().append(TABLE, 20, now, now + HOUR).unwrap();
                world.pass(Duration::from_secs(3 * 3_600)).await;
                let result = world.night_of().await;
                assert_eq!(result.warnings.is_empty(), night > 0, "{:?}", result.warnings);
                rows += 29;
                assert_eq!(world.there(), (rows, rows), "{what}, night {night}");
            }
        });
    }
}

#[test]
fn what_is_left_of_an_instant_in_parts_is_copied_once_after_a_column_that_parted_it_went() {
    simulated(async || {
        let mut setting = Setting::quiet(7, vec![SimulatedTable { name: TABLE, rows: 120, days: 1 }]);
        setting.options.rows_per_commit = 120;
        setting.settings = vec![("CHUNK_SIZE", "30".to_owned()), ("HUNTING_CALLS_PER_MINUTE", "600".to_owned())];
        setting.settings.push(("MAX_THREAD_WORKERS", "1".to_owned()));
        let mut world = World::new(&setting);
        world.pass(Duration::from_secs(600)).await;
        let id = world.start().await;
        let mut copied = 0;
        while copied == 0 {
            world.pass(Duration::from_millis(250)).await;
            let ledger = world.ledger(Copied::under_its_name(TABLE)).await;
            let is_copied = |state| matches!(state, WindowState::Submitted | WindowState::Verified);
            let parts = ledger.iter().flat_map(|ledger| &ledger.windows).filter(|window| window.id.part.count > 1);
            copied = parts.filter(|window| is_copied(window.state)).count();
        }
        world.cloud.faults().always(Area::Hunting, &[], Fault::Internal);
        assert_eq!(world.ended(&id, PATIENCE).await.unwrap().tables_failed, 1);
        world.cloud.faults().never();
        let before = world.there().0;
        assert!(0 < before && before < 120, "{before}: choose another seed");
        world.cloud.source().drop_column(TABLE, "ReportId").unwrap();
        world.pass(Duration::from_secs(600)).await;
        let result = world.night_of().await;
        assert!(result.leftovers > 0, "{result:?}");
        assert_eq!(world.there(), (120, 120));
        let found = world.check(&[]).await;
        assert!(found.is_empty(), "{found:?}");
    });
}
