//! A source that gives nothing new any more, and windows that an earlier run left.

use super::oracle::Copied;
use super::simulated;
use super::world::{Setting, SimulatedTable, World};
use localcloud::adx::ingestion::Mishap;
use localcloud::faults::{Area, Fault};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const TABLE: &str = "DeviceEvents";

#[test]
fn what_is_left_is_proved_although_nothing_new_can_be_planned() {
    simulated(async || {
        let mut setting = Setting::quiet(7, vec![SimulatedTable { name: TABLE, rows: 25, days: 2 }]);
        setting.mishaps = vec![(Mishap::Lost, 1.0)];
        let mut world = World::new(&setting);
        let first = world.start().await;
        let first = world.ended(&first, PATIENCE).await.unwrap();
        let left = world.ledger(Copied::under_its_name(TABLE)).await.unwrap().head;
        assert!(first.tables_failed == 1 && left.counts.failed > 0, "{:?}", left.counts);

        world.cloud.ingestion().end_mishaps();
        world.cloud.faults().script(Area::Hunting, vec![Some(Fault::Internal); 1_000]);
        let second = world.start().await;
        let second = world.ended(&second, PATIENCE).await.unwrap();
        let result = world.records().tables(&second.id).await.unwrap().swap_remove(0).record.result.unwrap();
        assert!(!result.success, "{result:?}");
        let error = result.error.as_deref().unwrap_or_default();
        assert!(error.starts_with("nothing new could be planned"), "{error}");
        assert_eq!((result.verified_up_to, result.repaired), (Some(left.planned_to), left.counts.failed));
        let after = world.ledger(Copied::under_its_name(TABLE)).await.unwrap().head;
        assert_eq!((after.verified_up_to, after.planned_to, after.run), (left.planned_to, left.planned_to, None));
        assert_eq!(world.check(&[Copied::under_its_name(TABLE)]).await, Vec::<String>::new());
    });
}
