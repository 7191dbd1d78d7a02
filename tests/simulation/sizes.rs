//! Answers that are refused for their size: what is learned from them, and by whom.

use super::simulated;
use super::world::{SECOND, Setting, SimulatedTable, World};
use adxingestor::orchestration::instance::RuntimeStatus;
use localcloud::clock::Clock;
use localcloud::kql::Type;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Tables whose rows take more bytes than an answer may have.
fn world(answer_bytes: u64, tables: &[&'static str]) -> World {
    let tables = tables.iter().map(|name| SimulatedTable { name, rows: 1_500, days: 3 });
    let mut setting = Setting::quiet(11, tables.collect());
    setting.answer_bytes = answer_bytes;
    setting.settings = vec![("HUNTING_CALLS_PER_MINUTE", "600".to_owned()), ("MAX_CONCURRENT_TASKS", "1".to_owned())];
    setting.settings.push(("SETTLING_LAG_MINUTES", "0".to_owned()));
    World::new(&setting)
}

/// Copies all there is; gives the calls that were answered and those that were refused.
async fn copied(world: &mut World) -> (u64, u64) {
    let by_status = |world: &World, status| {
        let statistics = world.cloud.hunting_statistics();
        statistics.calls_by_status.get(&status).copied().unwrap_or_default()
    };
    let before = (by_status(world, 200), by_status(world, 400));
    let id = world.start().await;
    let run = world.ended(&id, PATIENCE).await.unwrap();
    let errors = || world.adx("meta_MigrationAudit | where not(success) | project table, error");
    assert_eq!((run.status, run.tables_failed), (RuntimeStatus::Completed, 0), "{:?}", errors());
    (by_status(world, 200) - before.0, by_status(world, 400) - before.1)
}

async fn more(world: &mut World, table: &str, rows: u64) {
    let now = Clock::now(&world.clock);
    world.cloud.source().append(table, rows, now, now + 3_600 * SECOND).unwrap();
    world.pass(Duration::from_secs(2 * 3_600)).await;
}

fn rows(world: &World, table: &str) -> u64 {
    world.adx(&format!("{table} | count"))[0][0].as_u64().unwrap()
}

#[test]
fn a_cap_that_the_documentation_does_not_tell_is_learned_for_all_tables() {
    simulated(async || {
        let mut world = world(200_000, &["DeviceEvents", "DeviceFileEvents"]);
        let (first, refused) = copied(&mut world).await;
        println!("{first} answers, {refused} refused for their size");
        assert!(refused > 0 && refused <= 24, "{refused} refusals");
        assert_eq!((rows(&world, "DeviceEvents"), rows(&world, "DeviceFileEvents")), (1_500, 1_500));
        // What was learned is known the next night.
        more(&mut world, "DeviceEvents", 1_000).await;
        let (second, refused) = copied(&mut world).await;
        println!("{second} answers, {refused} refused for their size");
        assert!(refused <= 2, "{refused} refusals in the second night");
        assert_eq!(rows(&world, "DeviceEvents"), 2_500);
    });
}

#[test]
fn a_tiny_table_is_weighed_whole_and_copied() {
    simulated(async || {
        let mut setting = Setting::quiet(12, vec![SimulatedTable { name: "DeviceEvents", rows: 1, days: 3 }]);
        setting.settings = vec![("HUNTING_CALLS_PER_MINUTE", "600".to_owned())];
        let mut world = World::new(&setting);
        // Probe, once for a tenant two trials of the time span, histogram, sample, window.
        assert_eq!(copied(&mut world).await, (6, 0));
        assert_eq!(rows(&world, "DeviceEvents"), 1);
        let sample = world.cloud.hunting_statistics().log;
        assert!(
            sample.iter().any(|call| call.query.contains("string_size(Row)") && !call.query.contains("hash_xxhash64"))
        );
    });
}

/// A table of 2,000 columns of all types.
fn wide(table: &'static str, refuse_pack: bool) -> World {
    let mut setting = Setting::quiet(13, vec![SimulatedTable { name: table, rows: 0, days: 3 }]);
    setting.refuse_pack = refuse_pack;
    let world = World::new(&setting);
    let (source, now) = (world.cloud.source(), Clock::now(&world.clock));
    let known = source.at(now).table(table).unwrap().columns().len();
    let types = [Type::String, Type::Long, Type::Datetime, Type::Bool, Type::Real, Type::Dynamic, Type::Guid];
    for (index, ty) in (known..2_000).zip(types.into_iter().cycle()) {
        source.add_column(table, &format!("Column{index}"), ty).unwrap();
    }
    source.append(table, 45, now - 40 * 3_600 * SECOND, now - 3_600 * SECOND).unwrap();
    world
}

#[test]
fn a_table_of_two_thousand_columns_is_copied_packed_plain_and_whole() {
    for (table, refuse_pack) in [("DeviceEvents", false), ("DeviceEvents", true), ("DeviceTvmInfoGatheringKB", false)] {
        simulated(async || {
            let mut world = wide(table, refuse_pack);
            copied(&mut world).await;
            let there = world.cloud.adx().identities(table);
            let found = world.cloud.source().compare(table, -1, i64::MAX, there).unwrap();
            assert!(found.is_exact() && found.matched == 45, "{table}, plain: {refuse_pack}: {found:?}");
            let log = world.cloud.hunting_statistics().log;
            let hashed = log.iter().map(|call| call.query.matches("tostring(Column").count()).max();
            let whole = table == "DeviceTvmInfoGatheringKB";
            assert_eq!(hashed.is_some_and(|columns| columns > 1_500), whole, "all but bags are hashed: {hashed:?}");
        });
    }
}
