//! A source that gives nothing new any more, and windows that an earlier run left.

use super::oracle::Copied;
use super::simulated;
use super::told::{Told, world_of};
use super::world::{Setting, SimulatedTable, World};
use adxingestor::orchestration::instance::RuntimeStatus;
use adxingestor::orchestration::ledger::CutAxis;
use localcloud::adx::ingestion::Mishap;
use localcloud::faults::{Area, Fault};
use std::collections::BTreeMap;
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

/// What a first run of a table tells, where the service does not take `words`: its warnings, and the calls that were refused.
async fn first_run(table: &'static str, words: &str, answer_bytes: u64) -> (Vec<String>, u64) {
    let mut world = world_of(SimulatedTable { name: table, rows: 600, days: 3 }, 400, |setting| {
        setting.refuse_words = vec![words.to_owned()];
        setting.answer_bytes = answer_bytes;
    });
    let told = world.run_of(table).await;
    assert!(told.result.success, "{words}: {told:?}");
    let there = world.cloud.adx().identities(table);
    let found = world.cloud.source().compare(table, -1, i64::MAX, there).unwrap();
    assert!(found.is_exact() && found.matched == 600, "{words}: {found:?}");
    let refused = world.cloud.hunting_statistics().calls_by_status.get(&400).copied();
    (told.result.warnings, refused.unwrap_or_default())
}

#[test]
fn rows_are_packed_by_a_service_that_refuses_to_weigh_them() {
    for table in [TABLE, "DeviceTvmSoftwareInventory"] {
        simulated(async || {
            assert_eq!(first_run(table, "string_size", 50_000_000).await, (Vec::new(), 1), "{table}");
        });
    }
    // Nor are windows weighed that are too large.
    simulated(async || {
        let (warnings, refused) = first_run(TABLE, "string_size", 200_000).await;
        assert!(warnings.is_empty() && refused > 2, "{refused}: {warnings:?}");
    });
}

#[test]
fn a_table_that_has_a_time_is_copied_from_a_service_that_refuses_every_hash() {
    simulated(async || {
        let (warnings, refused) = first_run(TABLE, "hash", 50_000_000).await;
        assert!(warnings.len() == 1 && warnings[0].contains("would be parted"), "{warnings:?}");
        assert_eq!(refused, 4);
    });
}

#[test]
fn rows_that_are_packed_in_full_because_the_service_leaves_nothing_out_are_told() {
    for table in [TABLE, "DeviceTvmSoftwareInventory"] {
        simulated(async || {
            let (warnings, refused) = first_run(table, "pack_all(true)", 50_000_000).await;
            assert!(
                refused == 2 && warnings.len() == 1 && warnings[0].contains("packed in full"),
                "{refused}: {warnings:?}"
            );
        });
    }
}

#[test]
fn rows_that_are_not_packed_at_all_are_told_of_every_table() {
    for table in [TABLE, "DeviceTvmSoftwareInventory"] {
        simulated(async || {
            let (warnings, _) = first_run(table, "pack_all", 50_000_000).await;
            assert!(warnings.len() == 1 && warnings[0].contains("refuses to pack rows"), "{warnings:?}");
        });
    }
}

/// A first run of a table some of whose rows have no watermark, where the service does not take `words`; with the calls of each status.
async fn first_run_with_nulls(words: &[&str]) -> (Told, BTreeMap<u16, u64>) {
    let mut world = world_of(SimulatedTable { name: TABLE, rows: 60, days: 3 }, 20, |setting| {
        setting.options.null_timestamps_per_mille = 500;
        setting.refuse_words = words.iter().map(|words| (*words).to_owned()).collect();
    });
    let told = world.run_of(TABLE).await;
    (told, world.cloud.hunting_statistics().calls_by_status)
}

#[test]
fn rows_without_a_watermark_are_counted_in_plain_words_and_the_calls_for_it_are_told() {
    simulated(async || {
        let (told, calls) = first_run_with_nulls(&["todatetime", "countif(isnull"]).await;
        assert!(told.result.success, "{told:#?}");
        assert_eq!(told.result.calls, calls.values().sum::<u64>(), "{calls:?}");
    });
}

#[test]
fn a_count_of_rows_without_a_watermark_that_is_refused_fails_its_windows_at_once() {
    simulated(async || {
        let (told, calls) = first_run_with_nulls(&["NoTime"]).await;
        told.failed_saying(&["landed with a null Timestamp", "could not be asked"]);
        assert!(calls[&400] <= 4, "one for each window: {calls:?}");
    });
}

#[test]
fn a_table_is_cut_by_arrival_times_where_only_another_part_of_the_question_is_refused() {
    for (word, expected) in
        [("isnotnull", CutAxis::ArrivalTime), ("ingestion_time", CutAxis::Column("Timestamp".to_owned()))]
    {
        simulated(async || {
            let mut world = world_of(SimulatedTable { name: TABLE, rows: 60, days: 3 }, 20, |setting| {
                setting.refuse_words = vec![word.to_owned()];
            });
            let told = world.run_of(TABLE).await;
            let shape = world.ledger(Copied::under_its_name(TABLE)).await.unwrap().head.shape.unwrap();
            assert_eq!(shape.axis, expected, "{word}: {told:#?}");
            let is_told = told.result.warnings.iter().any(|warning| warning.contains("is cut by Timestamp and not by"));
            assert_eq!(is_told, expected != CutAxis::ArrivalTime, "{word}: {told:#?}");
        });
    }
}

/// Why a run does not begin that has its audit in `audit`.
async fn not_begun(audit: &str, before: &str) -> String {
    let mut world = world_of(SimulatedTable { name: TABLE, rows: 60, days: 3 }, 100, |setting| {
        setting.settings.push(("AUDIT_TABLE", audit.to_owned()));
    });
    world.adx(before);
    let id = world.start().await;
    let run = world.ended(&id, PATIENCE).await.unwrap();
    assert_eq!(run.status, RuntimeStatus::Failed, "{run:?}");
    assert!(!world.has_table(TABLE) && world.cloud.ingestion().statistics().messages == 0);
    if world.has_table(audit) {
        assert_eq!(world.adx(&format!("{audit} | getschema | count"))[0][0], 2, "it is left as it is");
    }
    run.error.unwrap()
}

#[test]
fn a_run_whose_records_would_go_into_a_table_of_something_else_does_not_begin() {
    simulated(async || {
        let reason = not_begun("Somebodys", ".create table Somebodys (Timestamp: datetime, RawData: dynamic)").await;
        assert!(reason.contains("Somebodys") && reason.contains("set AUDIT_TABLE to a name that is free"), "{reason}");
    });
    simulated(async || {
        let reason = not_begun(TABLE, "print 1").await;
        assert!(
            reason.contains("DeviceEvents is copied to DeviceEvents") && reason.contains("AUDIT_TABLE"),
            "{reason}"
        );
    });
}
