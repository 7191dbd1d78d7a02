//! What a hunting service does in a way of its own.

use crate::support::{Copied, Deployment, Store, cloud, now, odd_table, table, ticks};
use localcloud::faults::{Area, Fault};
use localcloud::kql::Type;
use localcloud::source::{TableOptions, TableSettings, TimeShift};
use serde_json::Value;
use std::time::Duration;

pub(super) fn warnings(summary: &Value, table: &str) -> String {
    let tables = summary["detailed_results"].as_array().unwrap();
    let found = tables.iter().find(|row| row["source_table"] == table).unwrap();
    found["warnings"].to_string()
}

pub async fn a_service_that_refuses_to_pack_rows_is_copied_from_all_the_same(store: Store) {
    let mut cloud = cloud(vec![table("DeviceProcessEvents", 3_000, 5), table("CloudAppEvents", 500, 5)]);
    cloud.hunting.refuse_pack = true;
    let copied = [
        Copied { watermark_column: "Watermark_IngestionTime", ..Copied::incremental("DeviceProcessEvents") },
        Copied::incremental("CloudAppEvents"),
    ];
    let app = Deployment::start_with(store, cloud, &copied, &[("CHUNK_SIZE", "1000")]).await;
    let first = app.completed().await;
    for table in ["DeviceProcessEvents", "CloudAppEvents"] {
        app.assert_equal(table, table);
        assert!(warnings(&first, table).contains("refuses to pack rows"), "{first:#}");
    }
    let at = now();
    app.cloud.source().append("CloudAppEvents", 50, at - ticks(Duration::from_millis(200)), at).unwrap();
    let second = app.completed().await;
    app.assert_equal("CloudAppEvents", "CloudAppEvents");
    assert!(warnings(&second, "CloudAppEvents").contains("refuses to pack rows"), "it stays so: {second:#}");
}

pub async fn rows_that_a_time_span_would_hide_are_copied(store: Store) {
    let until = now() - ticks(Duration::from_secs(2));
    let recent = |options| {
        let from = until - ticks(Duration::from_secs(120));
        TableSettings::new("DeviceEvents", 20_000, from, until).with(options)
    };
    // By default this service shows what happened before now: some clocks run ahead.
    let mut hiding = cloud(vec![recent(TableOptions::default())]);
    hiding.hunting.default_timespan = Some(Duration::from_secs(30 * 86_400));
    let app = Deployment::start(store, hiding, &[Copied::incremental("DeviceEvents")]).await;
    app.completed().await;
    app.assert_equal("DeviceEvents", "DeviceEvents");
    assert_eq!(app.rows("DeviceEvents"), 20_000);
}

pub async fn what_the_default_time_span_of_a_service_leaves_out_is_copied_from_tables_of_later_nights_too(
    store: Store,
) {
    let mut hiding =
        cloud(vec![odd_table("DeviceEvents", 600, 3, of_all_times()), odd_table("AlertInfo", 0, 1, of_all_times())]);
    hiding.hunting.default_timespan = Some(Duration::from_secs(30 * 86_400));
    let copied = [Copied::incremental("DeviceEvents"), Copied::incremental("AlertInfo")];
    let app = Deployment::start(store, hiding, &copied).await;
    app.completed().await;
    app.assert_equal("DeviceEvents", "DeviceEvents");
    // One table has told. Now rows of another come that happened long ago, or have not yet.
    let at = now();
    app.cloud.source().append("AlertInfo", 400, at - ticks(Duration::from_millis(500)), at).unwrap();
    app.completed().await;
    app.assert_equal("AlertInfo", "AlertInfo");
    assert_eq!(app.rows("AlertInfo"), 400);
    for time in ["< ago(31d)", "> now()"] {
        let rows = app.adx(&format!("AlertInfo | where Timestamp {time} | count"));
        assert!(rows[0][0].as_u64().unwrap() > 20, "{time}: {rows:?}");
    }
}

pub async fn rows_that_a_time_span_would_hide_are_copied_by_the_first_run_of_their_table_whatever_others_have_told(
    store: Store,
) {
    let plain = TableOptions { null_timestamps_per_mille: 0, ..TableOptions::default() };
    let ahead = TableOptions { ahead: of_all_times().ahead, ..plain };
    let mut hiding = cloud(vec![odd_table("DeviceEvents", 300, 3, plain), odd_table("AlertInfo", 0, 1, ahead)]);
    hiding.hunting.default_timespan = Some(Duration::from_secs(30 * 86_400));
    let copied = [Copied::incremental("DeviceEvents"), Copied::incremental("AlertInfo")];
    let app = Deployment::start(store, hiding, &copied).await;
    app.completed().await;
    app.assert_equal("DeviceEvents", "DeviceEvents");
    let at = now();
    app.cloud.source().append("AlertInfo", 400, at - ticks(Duration::from_millis(500)), at).unwrap();
    app.completed().await;
    app.assert_equal("AlertInfo", "AlertInfo");
    let rows = app.adx("AlertInfo | where Timestamp > now() | count");
    assert!(rows[0][0].as_u64().unwrap() > 20, "{rows:?}");
}

/// Some rows tell of a time of 40 days ago and more, others of one that is to come.
fn of_all_times() -> TableOptions {
    let shift = |days: u32| Some(TimeShift { per_mille: 300, up_to_seconds: days * 86_400 });
    TableOptions { late: shift(80), ahead: shift(10), ..TableOptions::default() }
}

pub async fn a_service_that_refuses_time_spans_is_told_none(store: Store) {
    let mut refusing = cloud(vec![table("DeviceEvents", 500, 3)]);
    refusing.hunting.refuse_timespan = true;
    let app = Deployment::start(store, refusing, &[Copied::incremental("DeviceEvents")]).await;
    app.completed().await;
    app.assert_equal("DeviceEvents", "DeviceEvents");
    let refused = app.cloud.hunting_statistics().calls_by_status.get(&400).copied();
    app.completed().await;
    assert_eq!(app.cloud.hunting_statistics().calls_by_status.get(&400).copied(), refused, "it is tried once");
}

pub async fn a_source_that_refuses_arrival_times_is_cut_by_its_column_or_copied_whole(store: Store) {
    const VIEWS: [&str; 2] = ["IdentityInfo", "ExposureGraphNodes"];
    let mut refusing = cloud(vec![table("IdentityInfo", 900, 5), table("ExposureGraphNodes", 700, 4)]);
    refusing.hunting.refuse_arrival_time = VIEWS.map(str::to_owned).to_vec();
    let nodes = Copied { watermark_column: "", load_type: "Snapshot", ..Copied::incremental("ExposureGraphNodes") };
    let app = Deployment::start(store, refusing, &[Copied::incremental("IdentityInfo"), nodes]).await;
    let first = app.completed().await;
    assert_eq!(app.rows("ExposureGraphNodes"), 700, "{first:#}");
    assert_eq!(app.rows("IdentityInfo"), 900, "{first:#}");
    let second = app.completed().await;
    assert_eq!(app.rows("IdentityInfo"), 900, "{second:#}");
    assert_eq!(app.rows("ExposureGraphNodes"), 1_400);
}

pub async fn columns_that_are_told_as_text_are_told(store: Store) {
    are_what_they_stand_for(store, false).await;
}

pub async fn dynamic_values_that_come_as_text_are_what_they_stand_for(store: Store) {
    are_what_they_stand_for(store, true).await;
}

async fn are_what_they_stand_for(store: Store, refuse_pack: bool) {
    let mut cloud = cloud(vec![table("CloudAppEvents", 500, 5)]);
    (cloud.hunting.dynamic_as_text, cloud.hunting.refuse_pack) = (true, refuse_pack);
    let app = Deployment::start(store, cloud, &[Copied::incremental("CloudAppEvents")]).await;
    app.completed().await;
    app.assert_equal("CloudAppEvents", "CloudAppEvents");
    app.cloud.source().add_column("CloudAppEvents", "BrandNew", Type::Dynamic).unwrap();
    let at = now();
    app.cloud.source().append("CloudAppEvents", 50, at - ticks(Duration::from_millis(200)), at).unwrap();
    let second = app.completed().await;
    assert!(warnings(&second, "CloudAppEvents").contains("BrandNew (dynamic)"), "{second:#}");
    app.assert_equal("CloudAppEvents", "CloudAppEvents");
}

pub async fn a_schema_behind_the_rows_is_waited_for(store: Store) {
    let mut cloud = cloud(vec![table("CloudAppEvents", 500, 5)]);
    (cloud.hunting.schema_last, cloud.hunting.refuse_pack) = (true, true);
    let app = Deployment::start(store, cloud, &[Copied::incremental("CloudAppEvents")]).await;
    app.completed().await;
    app.assert_equal("CloudAppEvents", "CloudAppEvents");
}

pub async fn a_service_that_stops_what_reads_too_much_is_asked_for_less_at_a_time(store: Store) {
    let tables = vec![table("AlertInfo", 4_000, 6), table("ExposureGraphNodes", 700, 4)];
    let mut stingy = cloud(tables);
    // A fraction of what one count of all rows reads, and more than a look for rows without an arrival time does.
    stingy.hunting.limits.read = Some(6_000);
    let nodes = Copied { watermark_column: "", load_type: "Snapshot", ..Copied::incremental("ExposureGraphNodes") };
    let copied = [Copied::incremental("AlertInfo"), nodes];
    let app = Deployment::start_with(store, stingy, &copied, &[("CHUNK_SIZE", "150")]).await;
    let first = app.completed().await;
    app.assert_equal("AlertInfo", "AlertInfo");
    assert_eq!((app.rows("AlertInfo"), app.rows("ExposureGraphNodes")), (4_000, 700), "{first:#}");
    let at = now();
    app.cloud.source().append("AlertInfo", 60, at - ticks(Duration::from_millis(500)), at).unwrap();
    app.completed().await;
    app.assert_equal("AlertInfo", "AlertInfo");
}

pub async fn rows_without_an_event_time_are_copied(store: Store) {
    let options = TableOptions { null_timestamps_per_mille: 100, ..TableOptions::default() };
    // A service that clips nothing by default would hide them if a span was named.
    let app = Deployment::start(
        store,
        cloud(vec![odd_table("DeviceEvents", 2_000, 1, options)]),
        &[Copied { watermark_column: "Watermark_IngestionTime", ..Copied::incremental("DeviceEvents") }],
    )
    .await;
    app.completed().await;
    app.assert_equal("DeviceEvents", "DeviceEvents");
    assert_eq!(app.rows("DeviceEvents"), 2_000);
}

pub async fn columns_that_change_between_runs_are_told_and_harm_nothing(store: Store) {
    let app =
        Deployment::start(store, cloud(vec![table("DeviceEvents", 500, 2)]), &[Copied::incremental("DeviceEvents")])
            .await;
    let first = app.completed().await;
    assert_eq!(warnings(&first, "DeviceEvents"), "[]");
    app.cloud.source().add_column("DeviceEvents", "BrandNew", Type::Dynamic).unwrap();
    let at = now();
    app.cloud.source().append("DeviceEvents", 50, at - ticks(Duration::from_millis(200)), at).unwrap();
    let second = app.completed().await;
    assert!(
        warnings(&second, "DeviceEvents")
            .contains("have appeared at the source since the last run: BrandNew (dynamic)"),
        "{second:#}"
    );
    app.assert_equal("DeviceEvents", "DeviceEvents");
    let third = app.completed().await;
    assert_eq!(warnings(&third, "DeviceEvents"), "[]", "{third:#}");
}

/// What is refused for good, and what a person has to be told of it.
const REFUSED: [(Fault, &str); 5] = [
    (Fault::Unauthorized, "check that DEFENDER_RESOURCE_URI belongs to DEFENDER_HUNTING_API_URL and AZURE_TENANT_ID"),
    (Fault::Forbidden, "grant it the application permission ThreatHunting.Read.All of Microsoft Graph"),
    (Fault::NotFound, "(404); check DEFENDER_HUNTING_API_URL"),
    (Fault::BadQuery, "Failed to resolve scalar expression named 'Nowhere'"),
    (Fault::Page, "what answered is not the hunting service: its content type is `text/html`"),
];

pub async fn what_the_hunting_service_refuses_for_good_fails_its_table_with_the_reason_and_no_other(store: Store) {
    const IN_PLANS: [&str; 5] =
        ["DeviceEvents", "DeviceFileEvents", "DeviceLogonEvents", "DeviceNetworkEvents", "AlertInfo"];
    const IN_WINDOWS: [&str; 5] =
        ["EmailEvents", "UrlClickEvents", "DeviceProcessEvents", "DeviceRegistryEvents", "DeviceImageLoadEvents"];
    let names = || IN_PLANS.into_iter().chain(IN_WINDOWS).chain(["DeviceInfo"]);
    let copied: Vec<Copied<'_>> = names().map(Copied::incremental).collect();
    let app = Deployment::start(store, cloud(names().map(|name| table(name, 60, 3)).collect()), &copied).await;
    // Whatever is asked of some tables in the first run, and the rows of the others in the second.
    for (tables, part) in [(IN_PLANS, ""), (IN_WINDOWS, "pack_all")] {
        for (name, (fault, _)) in tables.into_iter().zip(REFUSED) {
            app.cloud.faults().always(Area::Hunting, &[name, part], fault);
        }
        let id = app.start_run().await;
        let status = app.ended(&id).await;
        let summary = &status["output"]["result"]["processing_summary"];
        let counts = ["failed_tables", "successful_tables"].map(|count| summary[count].as_u64());
        assert_eq!(counts, [Some(5), Some(6)], "{summary:#}\n{}", app.tail());
        let audited = app.adx("meta_MigrationAudit | where not(success) | project ['table'], error");
        for (name, (fault, words)) in tables.into_iter().zip(REFUSED) {
            let exceptions = summary["exceptions"].as_array().unwrap();
            let said = exceptions.iter().filter_map(Value::as_str).find(|said| said.contains(name)).unwrap();
            assert!(said.contains(words), "{fault:?}: {said}");
            let audited = audited.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name}: {audited:?}"));
            assert!(audited[1].as_str().unwrap().contains(words), "{fault:?}: {audited:?}");
        }
        app.cloud.faults().never();
        let at = now();
        for name in IN_WINDOWS {
            app.cloud.source().append(name, 40, at - ticks(Duration::from_millis(200)), at).unwrap();
        }
    }
    // Whoever meets one of these asks again.
    let passing = [
        Fault::Reset,
        Fault::EndlessBody,
        Fault::Unauthorized,
        Fault::WrongType,
        Fault::OtherSchema,
        Fault::CutBody,
        Fault::PageOfBadRequest,
        Fault::PageOfForbidden,
        Fault::PageOfNotFound,
    ];
    app.cloud.faults().script(Area::Hunting, passing.map(Some));
    app.completed().await;
    assert!(passing.iter().all(|fault| app.cloud.faults().happened().contains_key(&(Area::Hunting, *fault))));
    for name in names() {
        app.assert_equal(name, name);
    }
}

pub async fn an_older_hunting_service_is_used_until_it_ends_and_each_run_says_when(store: Store) {
    is_used_until_it_ends(store, "/api/advancedhunting/run", "https://api.security.microsoft.com").await;
}

pub async fn the_oldest_hunting_service_is_used_until_it_ends_too(store: Store) {
    is_used_until_it_ends(store, "/api/advancedqueries/run", "https://api.securitycenter.microsoft.com").await;
}

async fn is_used_until_it_ends(store: Store, path: &str, resource: &str) {
    let cloud = cloud(vec![table("DeviceEvents", 500, 2), table("EmailEvents", 30, 2)]);
    let copied = [Copied::incremental("DeviceEvents"), Copied::incremental("EmailEvents")];
    let url = format!("{{cloud}}{path}");
    let older =
        [("DEFENDER_HUNTING_API_URL", url.as_str()), ("DEFENDER_RESOURCE_URI", resource), ("CHUNK_SIZE", "200")];
    let app = Deployment::start_with(store, cloud, &copied, &older).await;
    let id = app.start_run().await;
    let status = app.ended(&id).await;
    let notes = status["output"]["result"]["notes"].to_string();
    assert!(notes.contains("1 February 2027") && notes.contains("runHuntingQuery"), "{status:#}");
    assert_eq!(status["output"]["result"]["processing_summary"]["failed_tables"], 0, "{status:#}\n{}", app.tail());
    for (table, rows) in [("DeviceEvents", 500), ("EmailEvents", 30)] {
        app.assert_equal(table, table);
        assert_eq!(app.rows(table), rows);
    }
    let at = now();
    app.cloud.source().append("EmailEvents", 20, at - ticks(Duration::from_millis(200)), at).unwrap();
    let second = app.completed().await;
    assert_eq!(second["total_records_processed"], 20, "{second:#}");
    app.assert_equal("EmailEvents", "EmailEvents");
}
