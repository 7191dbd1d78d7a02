//! Whole-system scenarios through the public door: the real binary, the real function folders, the simulated cloud.
//! Each is told where the app keeps its state, and runs there like anywhere else.

mod adoption;
mod columns;
mod control;
mod destination;
mod formats;
mod hunting;
mod proof;
mod snapshots;
mod status;
mod ways;

pub use adoption::*;
pub use columns::*;
pub use control::*;
pub use destination::*;
pub use formats::*;
pub use hunting::*;
pub use proof::*;
pub use snapshots::*;
pub use status::*;
pub use ways::*;

use crate::support::{Copied, Deployment, Store, cloud, now, odd_table, only, table, ticks};
use serde_json::Value;
use std::time::Duration;

/// Makes a test of each scenario that a store may come out of otherwise than another; `$store` is an expression that opens a
/// [`Store`]. `and services` adds those that are about Defender and ADX alone.
macro_rules! system_tests {
    ($store:expr, and services) => {
        system_tests!($store);
        system_tests! {
            $store;
            rows_that_a_time_span_would_hide_are_copied,
            what_the_default_time_span_of_a_service_leaves_out_is_copied_from_tables_of_later_nights_too,
            rows_that_a_time_span_would_hide_are_copied_by_the_first_run_of_their_table_whatever_others_have_told,
            a_service_that_refuses_time_spans_is_told_none,
            a_source_that_refuses_arrival_times_is_cut_by_its_column_or_copied_whole,
            columns_that_are_told_as_text_are_told,
            dynamic_values_that_come_as_text_are_what_they_stand_for,
            a_schema_behind_the_rows_is_waited_for,
            a_service_that_stops_what_reads_too_much_is_asked_for_less_at_a_time,
            rows_without_an_event_time_are_copied,
            columns_that_change_between_runs_are_told_and_harm_nothing,
            a_service_without_the_named_hash_has_its_rows_parted_by_another,
            a_column_that_rows_are_parted_by_may_go,
            a_column_that_rows_are_parted_by_may_become_another,
            a_watermark_column_that_goes_is_told_by_each_run_and_rows_are_copied_without_it,
            rows_are_compact_in_tables_of_ours_and_full_in_those_that_are_taken_over,
            plain_rows_are_made_compact_or_full_like_packed_ones,
            a_row_that_is_too_large_is_refused_with_its_remedy_and_lands_after_it,
            the_id_of_its_window_may_stand_in_each_row_and_no_column_is_added,
            an_older_hunting_service_is_used_until_it_ends_and_each_run_says_when,
            the_oldest_hunting_service_is_used_until_it_ends_too,
            what_the_hunting_service_refuses_for_good_fails_its_table_with_the_reason_and_no_other,
            a_window_that_landed_twice_loses_its_younger_copy_by_the_command_that_is_said,
            a_window_of_which_a_half_landed_is_pulled_again_once_that_is_removed,
            a_permanent_failure_is_told_with_what_to_do_and_posted_once_in_each_run_until_it_is_mended,
            a_failure_before_the_engine_is_told_by_what_became_of_the_post,
            a_window_that_landed_twice_is_mended_by_the_app_where_it_may,
            a_snapshot_whose_source_changes_is_copied_again,
            a_table_that_never_stands_still_is_published_torn,
            a_table_without_a_time_says_that_it_can_be_copied_whole,
            a_destination_that_was_dropped_is_not_made_anew_and_what_is_lost_is_said,
            what_hides_or_drops_rows_is_named_before_any_is_sent,
            a_view_that_a_new_column_would_break_blocks_it_and_the_id_in_the_row_is_the_way_on,
            what_settings_ask_of_a_table_is_set_once,
            rows_that_are_hidden_while_they_are_counted_are_neither_sent_again_nor_called_missing,
            each_kind_of_cluster_is_copied_to_by_the_way_that_it_offers,
            a_way_that_a_setting_names_is_taken,
            a_cluster_that_announces_rest_and_does_not_have_it_is_copied_to_by_its_queues,
            a_cluster_that_takes_uploads_into_a_lake_alone_is_refused_with_what_to_set,
            windows_for_a_cluster_that_is_sent_rows_in_commands_are_as_small_as_those_take,
            posts_whose_answers_are_lost_land_once_by_every_way,
            storage_that_lets_only_write_turns_bits_and_refuses_messages_is_copied_through,
        }
    };
    ($store:expr) => {
        system_tests! {
            $store;
            a_tenant_is_copied_row_by_row_and_the_second_run_loads_only_what_is_new,
            an_answer_above_a_cap_is_split_and_never_ingested,
            rows_of_one_instant_are_split_by_a_hash,
            a_table_without_arrival_times_is_cut_by_its_watermark_column,
            what_is_wrong_with_one_table_is_said_and_the_others_go_on,
            a_run_that_is_killed_again_and_again_ends_equal_all_the_same,
            the_http_answers_are_those_of_the_python_app,
            a_table_that_cannot_be_looked_up_at_the_start_is_refused_by_the_run_without_an_audit_row,
            a_service_that_refuses_to_pack_rows_is_copied_from_all_the_same,
            a_plan_of_hundreds_of_windows_is_written_in_batches_and_wholly_dispatched,
            whatever_the_services_do_wrong_every_row_is_there_once,
            the_envelopes_of_a_host_that_does_not_forward_are_answered_too,
            a_suspended_run_stands_still_over_a_crash_and_goes_on_where_it_was,
            a_run_that_is_suspended_and_resumed_again_and_again_ends_equal_all_the_same,
            a_terminated_run_that_is_restarted_as_itself_copies_what_is_missing,
            a_run_that_could_not_begin_is_rewound_once_its_cause_is_gone,
            a_completed_run_is_rewound_with_the_windows_of_it_that_failed,
            a_window_that_a_person_removed_is_pulled_again_under_another_id,
            a_second_copy_that_lands_after_the_proof_is_found_by_the_next_run,
            a_client_of_the_durable_functions_api_starts_polls_terminates_lists_and_purges,
            a_watched_run_shows_each_table_grow_to_what_is_there_in_the_end,
            input_and_history_are_shown_as_they_are_asked_for,
            the_whole_output_of_a_run_of_many_tables_is_shown,
            a_forced_run_goes_beside_the_active_one_and_leaves_its_tables_alone,
            a_lost_state_store_is_rebuilt_from_the_destination_and_only_what_is_new_is_copied,
            a_store_that_is_lost_in_the_middle_of_a_run_leaves_gaps_that_the_next_run_fills,
            what_lands_twice_after_an_adoption_is_flagged_with_the_command_that_removes_it,
            windows_of_nobody_are_refused_and_adopted_with_their_missing_hash_parts,
            every_run_makes_a_snapshot_that_readers_see_whole,
            a_snapshot_that_is_cut_short_is_given_up_and_the_next_run_makes_a_new_one,
            a_snapshot_above_the_caps_is_split_and_carries_the_id_in_the_row_if_asked,
            a_lost_store_of_snapshots_is_adopted_and_readers_see_what_they_saw,
        }
    };
    ($store:expr; $($scenario:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                scenarios::$scenario($store).await;
            }
        )+
    };
}

pub async fn a_tenant_is_copied_row_by_row_and_the_second_run_loads_only_what_is_new(store: Store) {
    let tables = vec![
        table("DeviceProcessEvents", 9_000, 20),
        table("DeviceLogonEvents", 2_500, 10),
        table("EmailEvents", 800, 3),
    ];
    let copied = [
        Copied::incremental("DeviceProcessEvents"),
        Copied { destination: "Logons", ..Copied::incremental("DeviceLogonEvents") },
        Copied { watermark_column: "Watermark_IngestionTime", ..Copied::incremental("EmailEvents") },
    ];
    let app = Deployment::start_with(store, cloud(tables), &copied, &[("CHUNK_SIZE", "1000")]).await;

    let first = app.completed().await;
    assert_eq!(first["total_records_processed"], 12_300);
    for (source, destination) in [
        ("DeviceProcessEvents", "DeviceProcessEvents"),
        ("DeviceLogonEvents", "Logons"),
        ("EmailEvents", "EmailEvents"),
    ] {
        app.assert_equal(source, destination);
    }
    assert_eq!(app.rows("DeviceProcessEvents"), 9_000);

    let at = now();
    app.cloud.source().append("DeviceLogonEvents", 300, at - ticks(Duration::from_millis(500)), at).unwrap();
    let second = app.completed().await;
    assert_eq!(second["total_records_processed"], 300, "{second:#}");
    app.assert_equal("DeviceLogonEvents", "Logons");
    assert_eq!(app.rows("Logons"), 2_800);
}

pub async fn an_answer_above_a_cap_is_split_and_never_ingested(store: Store) {
    let mut cloud = cloud(vec![table("DeviceEvents", 6_000, 2)]);
    cloud.hunting.limits.result_bytes = 1_000_000;
    let app = Deployment::start(store, cloud, &[Copied::incremental("DeviceEvents")]).await;
    app.completed().await;
    app.assert_equal("DeviceEvents", "DeviceEvents");
    assert_eq!(app.rows("DeviceEvents"), 6_000);
}

pub async fn rows_of_one_instant_are_split_by_a_hash(store: Store) {
    let at = now() - ticks(Duration::from_secs(3600));
    let burst = localcloud::source::TableSettings::new("DeviceNetworkEvents", 4_000, at, at);
    let app = Deployment::start_with(
        store,
        cloud(vec![burst]),
        &[Copied::incremental("DeviceNetworkEvents")],
        &[("CHUNK_SIZE", "700")],
    )
    .await;
    app.completed().await;
    app.assert_equal("DeviceNetworkEvents", "DeviceNetworkEvents");
}

pub async fn a_table_without_arrival_times_is_cut_by_its_watermark_column(store: Store) {
    let options = localcloud::source::TableOptions { has_arrival_time: Some(false), ..Default::default() };
    let app = Deployment::start(
        store,
        cloud(vec![odd_table("IdentityInfo", 900, 5, options)]),
        &[Copied::incremental("IdentityInfo")],
    )
    .await;
    app.completed().await;
    assert!(app.rows("IdentityInfo") > 800);
}

pub async fn what_is_wrong_with_one_table_is_said_and_the_others_go_on(store: Store) {
    let app = Deployment::start(
        store,
        cloud(vec![table("DeviceInfo", 500, 5)]),
        &[
            Copied::incremental("DeviceInfo"),
            Copied { destination: "Licensed", ..Copied::incremental("NotLicensed") },
            Copied { destination: "X", load_type: "Weekly", ..Copied::incremental("DeviceEvents") },
            Copied { destination: "Y", ..Copied::incremental("DeviceEvents | take 1") },
            Copied { destination: "Z\"; .drop table DeviceInfo", ..Copied::incremental("EmailEvents") },
        ],
    )
    .await;
    let id = app.start_run().await;
    let status = app.ended(&id).await;
    assert_eq!(status["runtimeStatus"], "Completed", "{status:#}");
    let summary = &status["output"]["result"]["processing_summary"];
    assert_eq!(
        (summary["failed_tables"].as_u64(), summary["successful_tables"].as_u64()),
        (Some(4), Some(1)),
        "{summary:#}"
    );
    let exceptions = summary["exceptions"].to_string();
    for part in ["NotLicensed", "Failed to resolve table", "neither Full nor Incremental", "is not a Kusto name"] {
        assert!(exceptions.contains(part), "{part}: {exceptions}");
    }
    app.assert_equal("DeviceInfo", "DeviceInfo");
    let audits = app.adx("meta_MigrationAudit | summarize Rows=count() by success | order by success asc");
    assert_eq!(audits.iter().map(|row| row[1].as_u64().unwrap()).sum::<u64>(), 5, "{audits:?}");
}

pub async fn a_run_that_is_killed_again_and_again_ends_equal_all_the_same(store: Store) {
    let seed: u64 = 7;
    println!("seed {seed}");
    let tables = vec![table("DeviceFileEvents", 6_000, 8), table("DeviceRegistryEvents", 3_000, 8)];
    let copied = [Copied::incremental("DeviceFileEvents"), Copied::incremental("DeviceRegistryEvents")];
    let mut app = Deployment::start_with(
        store,
        cloud(tables),
        &copied,
        &[("CHUNK_SIZE", "500"), ("HUNTING_CALLS_PER_MINUTE", "600")],
    )
    .await;
    let id = app.start_run().await;
    for step in 0..5u64 {
        tokio::time::sleep(Duration::from_millis(150 + (seed * 7919 + step * 104_729) % 700)).await;
        app.kill(0);
        app.start_app(0).await;
    }
    let status = app.ended(&id).await;
    assert_eq!(status["runtimeStatus"], "Completed", "{status:#}\n{}", app.tail());
    assert_eq!(status["output"]["result"]["processing_summary"]["failed_tables"], 0, "{status:#}\n{}", app.tail());
    for (name, rows) in [("DeviceFileEvents", 6_000), ("DeviceRegistryEvents", 3_000)] {
        app.assert_equal(name, name);
        assert_eq!(app.rows(name), rows);
    }
}

pub async fn the_http_answers_are_those_of_the_python_app(store: Store) {
    let app = Deployment::start_with(
        store,
        cloud(vec![table("DeviceInfo", 3_000, 5)]),
        &[Copied::incremental("DeviceInfo")],
        &[("HUNTING_CALLS_PER_MINUTE", "20")],
    )
    .await;
    for id in ["00000000000000000000000000000000", "nonsense", "..%2F..", "%27%20or%20true"] {
        assert_eq!(app.get(&format!("/api/status/{id}")).await.0, 404, "{id}");
        assert_eq!(app.post(&format!("/api/terminate/{id}"), "").await.0, 404, "{id}");
        assert_eq!(app.get(&format!("/api/instances/{id}")).await.0, 404, "{id}");
    }
    assert_eq!(app.get("/api/nothing").await.0, 404);
    for body in ["{\"nonsense\":1}", "not json", "{\"tables\":[]}"] {
        assert_eq!(app.post("/api/adxingestor/start_orchestrator", body).await.0, 400, "{body}");
    }
    let (status, started) = app.get("/api/adxingestor/start_orchestrator?code=k%2B1").await;
    assert_eq!(status, 202);
    let id = started["id"].as_str().unwrap();
    let query = "taskHub=TaskHub&connection=AzureWebJobsStorage&code=k%2B1";
    assert!(started["statusQueryGetUri"].as_str().unwrap().ends_with(&format!("/api/instances/{id}?{query}")));
    let (status, refused) = app.post("/api/adxingestor/start_orchestrator", "").await;
    assert_eq!((status, refused["id"].as_str()), (409, Some(id)));
    let (status, body) = app.get(&format!("/api/instances/{id}")).await;
    assert_eq!(status, 202, "{body}");

    let (status, body) = app.post(&format!("/api/terminate/{id}?reason=enough"), "").await;
    assert_eq!(
        (status, body["message"].as_str(), body["reason"].as_str()),
        (200, Some(format!("Orchestration {id} terminated").as_str()), Some("enough"))
    );
    assert_eq!(app.post(&format!("/api/terminate/{id}"), "").await.0, 410);
    let (status, body) = app.get(&format!("/api/status/{id}")).await;
    assert_eq!((status, body["runtimeStatus"].as_str()), (200, Some("Terminated")));
    assert_eq!(app.get(&format!("/api/instances/{id}")).await.0, 200);

    // What was cut short is taken up by the next run.
    for start in ["adxingestor", "orchestrators"] {
        let body = only(&["DeviceInfo", "DevceInfo"]);
        let (status, refused) = app.post(&format!("/api/{start}/start_orchestrator"), &body).await;
        let error = refused["error"].as_str().unwrap_or_default();
        assert!(status == 400 && error.contains("did you mean DeviceInfo?"), "{status}: {refused}");
    }
    let (status, next) = app.post("/api/adxingestor/start_orchestrator", &only(&["DeviceInfo"])).await;
    assert_eq!(status, 202, "{next}");
    let ended = app.ended(next["id"].as_str().unwrap()).await;
    let summary: &Value = &ended["output"]["result"]["processing_summary"];
    assert_eq!(summary["successful_tables"].as_u64(), Some(1), "{summary:#}\n{}", app.tail());
    app.assert_equal("DeviceInfo", "DeviceInfo");
}

pub async fn a_table_that_cannot_be_looked_up_at_the_start_is_refused_by_the_run_without_an_audit_row(store: Store) {
    use localcloud::faults::{Area, Fault};
    let copied = [Copied::incremental("DeviceInfo")];
    let app = Deployment::start(store, cloud(vec![table("DeviceInfo", 100, 1)]), &copied).await;
    let start = async |tables: &[&str]| {
        // More than are asked within the time of a start.
        app.cloud.faults().script(Area::Queries, [Some(Fault::Unavailable); 6]);
        let began = std::time::Instant::now();
        let (status, started) = app.post("/api/adxingestor/start_orchestrator", &only(tables)).await;
        assert!(status == 202 && began.elapsed() < Duration::from_secs(8), "{status}: {started}");
        app.ended(started["id"].as_str().unwrap()).await
    };
    let failed = start(&["DeviceInf"]).await;
    let error = failed["output"]["message"].as_str().unwrap_or_default();
    assert!(failed["runtimeStatus"] == "Failed" && error.contains("did you mean DeviceInfo?"), "{failed:#}");
    let mixed = start(&["DeviceInf", "DeviceInfo"]).await;
    let summary = &mixed["output"]["result"]["processing_summary"];
    assert_eq!((&summary["successful_tables"], &summary["failed_tables"]), (&1.into(), &1.into()), "{mixed:#}");
    assert!(summary["exceptions"][0].as_str().unwrap().contains("did you mean DeviceInfo?"), "{mixed:#}");
    let audited = app.adx("meta_MigrationAudit | project ['table']");
    assert_eq!(audited, [[Value::from("DeviceInfo")]], "what is no table has no row");
}

pub async fn a_plan_of_hundreds_of_windows_is_written_in_batches_and_wholly_dispatched(store: Store) {
    let app = Deployment::start_with(
        store,
        cloud(vec![table("DeviceImageLoadEvents", 2_600, 25)]),
        &[Copied::incremental("DeviceImageLoadEvents")],
        &[("CHUNK_SIZE", "10")],
    )
    .await;
    let summary = app.completed().await;
    assert!(summary["total_chunks_processed"].as_u64().unwrap() > 200, "{summary:#}");
    app.assert_equal("DeviceImageLoadEvents", "DeviceImageLoadEvents");
    assert_eq!(app.rows("DeviceImageLoadEvents"), 2_600);
}

pub async fn whatever_the_services_do_wrong_every_row_is_there_once(store: Store) {
    use localcloud::adx::ingestion::Mishap;
    use localcloud::faults::{Area, Fault, Plan};
    let hunting = [
        Fault::Internal,
        Fault::Unavailable,
        Fault::GatewayTimeout,
        Fault::BadGateway,
        Fault::Preempted,
        Fault::CutBody,
        Fault::TruncatedBody,
        Fault::EmptyBody,
    ];
    let kusto = [Fault::Unavailable, Fault::ErrorAmongRows, Fault::ErrorAtEnd, Fault::CutBody];
    let mut cloud = cloud(vec![table("DeviceEvents", 3_000, 6), table("AlertInfo", 400, 6)]);
    cloud.faults = Plan { most: Some(25), ..Plan::default() }
        .with(Area::Hunting, hunting.map(|fault| (fault, 0.03)))
        .with(Area::Queries, kusto.map(|fault| (fault, 0.04)))
        .with(Area::Blobs, [(Fault::Internal, 0.1), (Fault::Preempted, 0.05), (Fault::GatewayTimeout, 0.05)])
        .with(Area::Queues, [(Fault::Unavailable, 0.1)]);
    cloud.ingestion.lateness = Duration::from_secs(4);
    cloud.ingestion.mishaps = vec![(Mishap::Late, 0.1), (Mishap::Lost, 0.1)];
    let copied = [Copied::incremental("DeviceEvents"), Copied::incremental("AlertInfo")];
    let app = Deployment::start_with(store, cloud, &copied, &[("CHUNK_SIZE", "200")]).await;
    let mut runs = 0;
    loop {
        let id = app.start_run().await;
        let status = app.ended(&id).await;
        runs += 1;
        // A window of which every post got lost fails, and the next run takes it up.
        if status["output"]["result"]["processing_summary"]["failed_tables"] == 0 {
            break;
        }
        assert!(runs < 3, "{status:#}");
    }
    for (name, rows) in [("DeviceEvents", 3_000), ("AlertInfo", 400)] {
        app.assert_equal(name, name);
        assert_eq!(app.rows(name), rows);
    }
    assert!(!app.cloud.faults().happened().is_empty());
}

pub async fn the_envelopes_of_a_host_that_does_not_forward_are_answered_too(store: Store) {
    let app = Deployment::start_with(
        store,
        cloud(vec![table("DeviceInfo", 100, 2)]),
        &[Copied::incremental("DeviceInfo")],
        &[("AzureFunctionsJobHost__customHandler__enableForwardingHttpRequest", "false")],
    )
    .await;
    assert_eq!(app.get("/api/status/00000000000000000000000000000000").await.0, 404);
    assert_eq!(app.post("/api/adxingestor/start_orchestrator", "{\"x\":1}").await.0, 400);
    app.completed().await;
    let again = "/api/orchestrators/start_orchestrator/By-Name.1?timeout=60&pollingInterval=0.1";
    let (code, output) = app.post(again, &only(&["DeviceInfo"])).await;
    assert_eq!((code, &output["result"]["processing_summary"]["failed_tables"]), (200, &0.into()), "{output:#}");
    assert_eq!(app.get("/api/status/By-Name.1").await.1["runtimeStatus"], "Completed");
    app.assert_equal("DeviceInfo", "DeviceInfo");
}
