//! Rows that have no value in the watermark column: of tables that are cut by it, and of tables that are not.

use super::simulated;
use super::world::{SECOND, Setting, SimulatedTable, World};
use adxingestor::orchestration::instance::TableResult;
use localcloud::clock::Clock;
use localcloud::source::TableOptions;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const TABLE: &str = "IdentityInfo";

fn world(seed: u64, rows: u64) -> World {
    let mut setting = Setting::quiet(seed, vec![SimulatedTable { name: TABLE, rows, days: 2 }]);
    setting.options.has_arrival_time = Some(false);
    setting.options = TableOptions { null_timestamps_per_mille: 200, ..setting.options };
    setting.settings.push(("SETTLING_LAG_MINUTES", "0".to_owned()));
    World::new(&setting)
}

impl World {
    async fn copied(&mut self) -> TableResult {
        let id = self.start().await;
        let run = self.ended(&id, PATIENCE).await.unwrap();
        let result = self.records().tables(&run.id).await.unwrap().swap_remove(0).record.result.unwrap();
        assert!(result.success, "{result:?}");
        result
    }

    fn count(&self, filter: &str) -> u64 {
        self.adx(&format!("{TABLE} | {filter} | count"))[0][0].as_u64().unwrap()
    }

    /// More rows, whose times are later than those of what is there.
    async fn more(&mut self, rows: u64) {
        self.pass(Duration::from_secs(12 * 3_600)).await;
        let now = Clock::now(&self.clock);
        self.cloud.source().append(TABLE, rows, now - 3_600 * SECOND, now - 60 * SECOND).unwrap();
    }
}

#[test]
fn rows_without_a_value_on_the_axis_that_come_late_are_copied_once() {
    simulated(async || {
        let mut world = world(3, 40);
        world.copied().await;
        let nulls = world.count("where isnull(Timestamp)");
        assert!(nulls > 0 && world.count("where true") == 40, "{nulls}");
        for night in 1..4 {
            world.more(40).await;
            world.copied().await;
            assert_eq!(world.count("where true"), 40 + 40 * night);
            assert_eq!(world.count("distinct tostring(RawData)"), 40 + 40 * night);
        }
        assert!(world.count("where isnull(Timestamp)") > nulls);
        let calls = world.cloud.hunting_statistics().calls_by_status[&200];
        world.copied().await;
        assert_eq!(world.count("where true"), 160);
        assert_eq!(
            world.cloud.hunting_statistics().calls_by_status[&200],
            calls + 1,
            "nothing came, and nothing but the plan is asked"
        );
    });
}

#[test]
fn the_first_rows_without_a_value_on_the_axis_are_copied_whenever_they_come() {
    simulated(async || {
        let mut world = world(3, 1);
        world.copied().await;
        assert_eq!((world.count("where true"), world.count("where isnull(Timestamp)")), (1, 0), "choose another seed");
        world.more(40).await;
        assert_eq!(world.copied().await.warnings, Vec::<String>::new());
        assert!(world.count("where isnull(Timestamp)") > 0);
        assert_eq!(world.count("where true"), 41);
        assert_eq!(world.copied().await.warnings, Vec::<String>::new());
        assert_eq!(world.count("where true"), 41);
    });
}

#[test]
fn what_has_no_watermark_is_counted_for_many_windows_in_one_call() {
    simulated(async || {
        let mut setting = Setting::quiet(5, vec![SimulatedTable { name: "DeviceEvents", rows: 600, days: 2 }]);
        setting.options = TableOptions { null_timestamps_per_mille: 400, ..setting.options };
        setting.settings.push(("SETTLING_LAG_MINUTES", "0".to_owned()));
        let mut world = World::new(&setting);
        world.run_of("DeviceEvents").await;
        world.whole("DeviceEvents").await;
        let log = world.cloud.hunting_statistics().log;
        let asked = |what: &str| log.iter().filter(|call| call.query.contains(what)).count();
        let (windows, questions) = (asked("project Row"), asked("NoTime"));
        println!("{questions} questions for {windows} windows");
        assert!(windows >= 60 && questions > 0, "{windows} windows, {questions} questions");
        assert!(questions * 20 <= windows, "{questions} questions for {windows} windows");
    });
}
