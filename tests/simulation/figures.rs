//! What the proof of a table costs when nothing goes wrong.

use super::simulated;
use super::world::{Setting, SimulatedTable, World};
use std::time::Duration;

const TABLE: &str = "DeviceEvents";

#[test]
fn a_hundred_windows_are_proved_by_fewer_than_twenty_queries_and_no_command() {
    simulated(async || {
        let mut setting = Setting::quiet(3, vec![SimulatedTable { name: TABLE, rows: 1_000, days: 5 }]);
        setting.settings = vec![("CHUNK_SIZE", "10".to_owned())];
        let mut world = World::new(&setting);
        let id = world.start().await;
        world.ended(&id, Duration::from_secs(6 * 3600)).await.unwrap();
        let result = world.records().tables(&id).await.unwrap().swap_remove(0).record.result.unwrap();
        let proof = result.proof;
        println!("{} windows: {proof:?}", result.windows);
        assert!(result.success && result.windows >= 100 && proof.windows == result.windows_done, "{result:?}");
        assert!(proof.queries > 0 && proof.queries * 5 < result.windows, "{proof:?}");
        assert_eq!(proof.commands, 0);
        assert!(proof.longest_ms >= proof.total_ms / proof.windows && proof.total_ms > 0, "{proof:?}");
    });
}
