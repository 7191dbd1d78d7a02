//! Windows that land twice or in part, and an app that may mend that by itself.

use super::crashes::Course;
use super::oracle::Copied;
use super::simulated;
use super::told::world_of;
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

/// How long after the first of them the second copies land.
const LATE: Duration = Duration::from_secs(5 * 3600);

/// A table whose windows are posted once, are all proved, and land again when `runs` more have been; the next one tells so. Gives what
/// it says, and whether `REPAIR=delete` was set.
async fn landed_again(load_type: &'static str, runs: u64, repair: bool) {
    let mut world = world_of(SimulatedTable { name: TABLE, rows: 60, days: 3 }, 10, |setting| {
        (setting.mishaps, setting.lateness, setting.load_type) = (vec![(Mishap::Again, 1.0)], LATE, load_type);
        if repair {
            setting.settings.push(("REPAIR", "delete".to_owned()));
        }
    });
    assert!(world.run_of(TABLE).await.result.success);
    world.cloud.ingestion().end_mishaps();
    for _ in 0..runs {
        world.more_of(TABLE, 20).await;
        assert!(world.run_of(TABLE).await.result.success);
    }
    let there = |world: &World| world.cloud.adx().identities(TABLE).len();
    let before = there(&world);
    world.pass(LATE + Duration::from_secs(600)).await;
    assert_eq!(there(&world), before + 60, "nothing has landed again");
    let told = world.run_of(TABLE).await;
    if !repair {
        let word = "but 10 were sent: it was loaded more than once. Remove the younger copy with `.delete table";
        assert!(told.output.contains(word) && told.audit.contains(word), "{load_type}, {runs}: {told:#?}");
        let commands: Vec<&str> = told.output.split('`').filter(|part| part.starts_with(".delete table")).collect();
        assert_eq!(commands.len(), 6, "{told:#?}");
        for command in commands {
            world.adx(command);
        }
    }
    assert_eq!(told.result.success, repair, "{told:#?}");
    let told = world.run_of(TABLE).await;
    assert!(told.result.success, "{load_type}, {runs}: {told:#?}");
    assert_eq!(there(&world), before, "{load_type}, {runs}");
}

#[test]
fn a_copy_of_a_window_that_lands_by_itself_after_the_proof_is_found_by_the_next_run() {
    for (load_type, runs) in [("Incremental", 0), ("Incremental", 2), ("Full", 0), ("Full", 1)] {
        for repair in [false, true] {
            simulated(async || landed_again(load_type, runs, repair).await);
        }
    }
}
