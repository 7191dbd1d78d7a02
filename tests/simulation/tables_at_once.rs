//! More tables at once than the quota has calls for.

use super::simulated;
use super::world::{SECOND, Setting, SimulatedTable, World};
use adxingestor::orchestration::instance::RuntimeStatus;
use std::time::Duration;

const CALLS: u32 = 45;

#[test]
fn no_count_is_overdue_while_the_plans_of_many_tables_wait_for_the_quota() {
    let documented = localcloud::source::documented().unwrap().into_iter();
    let timed = documented.filter(|(_, table)| table.columns.iter().any(|column| column.name == "Timestamp"));
    let tables: Vec<_> = timed.map(|(name, _)| SimulatedTable { name: &*name.leak(), rows: 60, days: 3 }).collect();
    assert!(tables.len() > CALLS as usize);
    simulated(async || {
        let mut setting = Setting::quiet(5, tables);
        setting.quota = Some(CALLS);
        setting.settings = vec![
            ("CHUNK_SIZE", "10".to_owned()),
            ("HUNTING_CALLS_PER_MINUTE", CALLS.to_string()),
            ("MAX_CONCURRENT_TASKS", "100".to_owned()),
        ];
        let mut world = World::new(&setting);
        let began = world.clock.elapsed();
        let id = world.start().await;
        let run = world.ended(&id, Duration::from_secs(24 * 3600)).await.unwrap();
        assert_eq!((run.status, run.tables_failed), (RuntimeStatus::Completed, 0), "{run:?}");
        assert_eq!(run.repairs.count, 0, "{:?}", run.repairs);
        let (took, statistics) = ((world.clock.elapsed() - began).as_secs_f64(), world.cloud.hunting_statistics());
        let ideal = statistics.log.len() as f64 * 60.0 / f64::from(CALLS);
        let first = statistics.log.iter().map(|call| call.at).min().unwrap();
        let pulls = statistics.log.iter().filter(|call| call.query.contains("project Row ="));
        let pulled = pulls.map(|call| call.at - first).min().unwrap() as f64 / SECOND as f64;
        println!(
            "{} tables: {took:.0} s, {ideal:.0} s ideally; the first window after {pulled:.0} s",
            run.tables_total
        );
        assert!(statistics.over_quota == 0 && took <= ideal * 1.05 + 15.0, "{took} s instead of {ideal} s");
    });
}
