//! Windows that land twice or in part, and an app that may mend that by itself.

use super::crashes::Course;
use super::oracle::Copied;
use super::simulated;
use super::world::{Setting, SimulatedTable, World};
use localcloud::adx::ingestion::Mishap;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const TABLE: &str = "DeviceEvents";

#[test]
fn a_crash_at_any_effect_of_a_repair_takes_one_of_two_copies_and_no_more() {
    let tables = [SimulatedTable { name: TABLE, rows: 18, days: 3 }];
    let course = Course { mishap: Some(Mishap::Twice), ..Course::of(&tables, 10) };
    course.broken_off_at_each();
}

/// A run in which some windows land in part; gives whether all is there, and how many rows were removed.
async fn halved(seed: u64) -> (bool, u64) {
    let mut setting = Setting::quiet(seed, vec![SimulatedTable { name: TABLE, rows: 60, days: 4 }]);
    setting.mishaps = vec![(Mishap::Half, 0.2)];
    setting.settings.push(("REPAIR", "delete".to_owned()));
    let mut world = World::new(&setting);
    let id = world.start().await;
    let run = world.ended(&id, PATIENCE).await.unwrap();
    world.settled(Duration::from_secs(1800)).await;
    let copy = Copied::under_its_name(TABLE);
    let mut findings = world.check(&[copy]).await;
    findings.extend(world.check_metadata(copy).await);
    // Rows of a window that failed stay, and the audit counts none of them.
    findings.retain(|finding| run.tables_failed == 0 || !finding.contains("the audit counts"));
    assert_eq!(findings, Vec::<String>::new(), "seed {seed}");
    let windows = world.ledger(copy).await.unwrap().windows;
    let removed = windows.iter().filter_map(|window| window.removal.as_ref()).map(|removal| removal.rows).sum();
    (run.tables_failed == 0, removed)
}

#[test]
fn rows_of_a_window_that_landed_in_part_are_removed_and_pulled_again() {
    let played: Vec<(bool, u64)> = (0..12).map(|seed| simulated(async || halved(seed).await)).collect();
    println!("{played:?}");
    let mended = played.iter().filter(|(whole, removed)| *whole && *removed > 0).count();
    assert!(mended >= 2, "{played:?}");
}
