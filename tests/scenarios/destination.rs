//! What stands between a table and its first row, whole: each is named, nothing is sent, and the other tables go on.

use crate::support::{Copied, Deployment, Store, cloud, now, table, ticks};
use serde_json::Value;
use std::time::Duration;

const TABLE: &str = "DeviceEvents";
const OTHER: &str = "EmailEvents";
/// The managed identity of the simulated cloud.
const IDENTITY: &str = "0d9c8b7a-1111-4222-8333-444455556666";

/// A run in which one table fails and the other goes on; gives what is said of it.
async fn fails_alone(app: &Deployment) -> String {
    let id = app.start_run().await;
    let status = app.ended(&id).await;
    assert_eq!(status["runtimeStatus"], "Completed", "{status:#}\n{}", app.tail());
    let summary: &Value = &status["output"]["result"]["processing_summary"];
    let (failed, done) = (summary["failed_tables"].as_u64(), summary["successful_tables"].as_u64());
    assert_eq!((failed, done), (Some(1), Some(1)), "{status:#}\n{}", app.tail());
    let audited = app.adx(&format!("meta_MigrationAudit | where table == \"{TABLE}\" and success == false | count"));
    assert_ne!(audited[0][0], 0);
    summary["exceptions"].to_string().replace("\\\"", "\"")
}

async fn two_tables(store: Store) -> Deployment {
    let copied = [Copied::incremental(TABLE), Copied::incremental(OTHER)];
    let tables = vec![table(TABLE, 400, 3), table(OTHER, 100, 3)];
    Deployment::start_with(store, cloud(tables), &copied, &[("AZURE_CLIENT_ID", IDENTITY)]).await
}

fn more(app: &Deployment) {
    let at = now();
    for name in [TABLE, OTHER] {
        app.cloud.source().append(name, 20, at - ticks(Duration::from_millis(500)), at).unwrap();
    }
}

/// The command that begins so in a text for a person.
fn command<'a>(said: &'a str, begin: &str) -> &'a str {
    let from = said.find(&format!("`{begin}")).unwrap_or_else(|| panic!("no {begin}: {said}")) + 1;
    said[from..].split('`').next().unwrap()
}

pub async fn a_destination_that_was_dropped_is_not_made_anew_and_what_is_lost_is_said(store: Store) {
    let app = two_tables(store).await;
    app.completed().await;
    let watermark = app.watermark(TABLE);
    app.adx(&format!(".drop table {TABLE}"));
    more(&app);
    for _ in 0..2 {
        let said = fails_alone(&app).await;
        assert!(said.contains("400 rows are gone that had been proved, all up to 20"), "{said}");
        assert_eq!(
            app.adx(&format!(".show tables | where TableName == \"{TABLE}\" | count"))[0][0],
            0,
            "nothing is made"
        );
        assert_eq!(app.watermark(TABLE), watermark);
        more(&app);
    }
    app.assert_equal(OTHER, OTHER);

    // A person decides: what is gone is gone.
    let said = fails_alone(&app).await;
    app.adx(command(&said, ".create-merge table"));
    app.completed().await;
    assert!(app.rows(TABLE) >= 20 && app.rows(TABLE) < 400, "{}", app.rows(TABLE));

    // Or all that the source still has, elsewhere.
    app.adx(command(&said, ".set-or-append meta_MigrationConfiguration"));
    app.completed().await;
    app.assert_equal(TABLE, "DeviceEvents_2");
}

pub async fn what_hides_or_drops_rows_is_named_before_any_is_sent(store: Store) {
    let app = two_tables(store).await;
    app.completed().await;
    let policy = |change: &str| app.adx(&format!(".alter table {TABLE} policy {change}"));
    for (change, part, mend) in [
        ("row_level_security enable \"DeviceEvents | where false\"", "has row level security", ".delete table"),
        ("restricted_view_access true", "has restricted view access", ".add database"),
        ("retention '{\"SoftDeletePeriod\":\"00:00:00\"}'", "retention of zero", ".alter-merge table"),
    ] {
        let rows = app.rows(TABLE);
        policy(change);
        more(&app);
        let posted = app.cloud.ingestion().statistics().messages;
        let said = fails_alone(&app).await;
        assert!(said.contains(part), "{part}: {said}");
        assert_eq!(app.cloud.ingestion().statistics().messages, posted + 1, "of the other table alone");
        assert_eq!(app.rows(TABLE), if part.contains("level") { 0 } else { rows }, "a query sees what it may");
        let command = command(&said, mend);
        app.adx(command);
        if mend == ".add database" {
            app.completed().await;
        }
        app.adx(&format!(".delete table {TABLE} policy restricted_view_access"));
    }
    app.completed().await;
    app.assert_equal(TABLE, TABLE);
}

pub async fn a_view_that_a_new_column_would_break_blocks_it_and_the_id_in_the_row_is_the_way_on(store: Store) {
    let copied = [Copied::incremental(TABLE), Copied::incremental(OTHER)];
    let mut app = Deployment::start(store, cloud(vec![table(TABLE, 300, 3), table(OTHER, 100, 3)]), &copied).await;
    app.adx(&format!(".create table {TABLE} (Timestamp:datetime, RawData:dynamic)"));
    app.adx(&format!(
        ".create materialized-view Latest on table {TABLE} {{ {TABLE} | summarize arg_max(Timestamp, *) by Id = tostring(RawData.DeviceId) }}"
    ));
    let said = fails_alone(&app).await;
    assert!(said.contains("the materialized view `Latest`") && said.contains("CHUNK_ID=row"), "{said}");
    assert_eq!(app.rows(TABLE), 0);

    app.set("CHUNK_ID", "row").await;
    app.completed().await;
    app.assert_equal(TABLE, TABLE);
    let view = app.adx(".show materialized-views | project IsHealthy");
    assert_eq!(view, [[true]]);
}

pub async fn what_settings_ask_of_a_table_is_set_once(store: Store) {
    let settings = [
        ("TABLE_RETENTION", "365d"),
        ("TABLE_RETENTION__EmailEvents", "90d"),
        ("TABLE_CACHING", "7d"),
        ("TABLE_FOLDER__EmailEvents", "Mail"),
        ("TABLE_BATCHING", "{\"MaximumBatchingTimeSpan\":\"00:01:00\"}"),
        ("TABLE_ENCODING", "BigObject32"),
        ("CREATION_TIME", "window"),
        ("CHUNK_SIZE", "50"),
    ];
    let copied = [Copied::incremental(TABLE), Copied::incremental(OTHER)];
    let tables = vec![table(TABLE, 200, 3), table(OTHER, 100, 3)];
    let app = Deployment::start_with(store, cloud(tables), &copied, &settings).await;
    app.completed().await;
    let policy = |table: &str, policy: &str| {
        app.adx(&format!(".show table {table} policy {policy} | project Policy"))[0][0].as_str().unwrap().to_owned()
    };
    assert!(policy(TABLE, "retention").contains("365.00:00:00"));
    assert!(policy(OTHER, "retention").contains("90.00:00:00"));
    assert!(policy(OTHER, "ingestionbatching").contains("00:01:00"));
    assert!(policy(TABLE, "extent_tags_retention").contains("60.00:00:00"));
    let folders = app.adx(
        ".show tables | where TableName in ('DeviceEvents', 'EmailEvents') | order by TableName asc | project Folder",
    );
    assert_eq!(folders, [["Defender"], ["Mail"]]);
    let encoding = app.adx(&format!(".show column {TABLE}.RawData policy encoding | project Policy"));
    assert!(encoding[0][0].as_str().unwrap().contains("BigObject32"));
    let changes = || {
        let operations = app.adx(".show operations | where Operation in ('PolicyAlter', 'TableAlter') | count");
        operations[0][0].as_u64().unwrap()
    };
    let before = changes();
    app.completed().await;
    assert_eq!(changes(), before, "what is as it has to be is not altered again");
    let backdated = format!(".show table {TABLE} extents | where MaxCreatedOn < ago(1h) | count");
    assert_ne!(app.adx(&backdated)[0][0], 0, "extents are as old as their rows");
}

pub async fn rows_that_are_hidden_while_they_are_counted_are_neither_sent_again_nor_called_missing(store: Store) {
    const TIME_SCALE: f64 = 60.0;
    let mut cloud = cloud(vec![table(TABLE, 300, 3)]);
    cloud.ingestion.delay = Duration::from_secs(3);
    let app = Deployment::start_scaled(TIME_SCALE, store, cloud, &[Copied::incremental(TABLE)], &[]).await;
    let id = app.start_run().await;
    app.until(&id, |_| app.cloud.ingestion().statistics().messages > 0).await;
    app.adx(&format!(".alter table {TABLE} policy row_level_security enable \"{TABLE} | where false\""));
    let status = app.ended(&id).await;
    let said = status["output"]["result"]["processing_summary"]["exceptions"].to_string();
    assert!(said.contains("has row level security"), "{status:#}\n{}", app.tail());
    assert_eq!(app.cloud.ingestion().statistics().messages, 1, "nothing is posted again");
    app.adx(&format!(".delete table {TABLE} policy row_level_security"));
    app.completed().await;
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), 300);
}
