//! Tables without a time, which are copied whole: what readers get, run after run, whatever happens in between.

use crate::support::{Copied, Deployment, Store, cloud, now, table, ticks};
use localcloud::source::{TableSettings, row_identity};
use serde_json::Value;
use std::time::Duration;

const INVENTORY: &str = "DeviceTvmSoftwareInventory";
const NODES: &str = "ExposureGraphNodes";

fn snapshot(source: &str) -> Copied<'_> {
    Copied { watermark_column: "", load_type: "Snapshot", ..Copied::incremental(source) }
}

impl Deployment {
    /// Panics unless readers see every row that the source shows now, once.
    pub(super) fn assert_latest(&self, source: &str, destination: &str) {
        let seen = self.adx(&format!("{destination}_latest | project RawData"));
        let seen = seen.iter().map(|row| row_identity(row[0].as_object().expect("a bag")));
        let comparison = self.cloud.source().compare(source, i64::MIN, now(), seen).unwrap();
        let (missing, surplus) = (comparison.missing.len(), comparison.surplus);
        assert!(comparison.is_exact(), "{source}: {missing} missing, {surplus} surplus\n{}", self.tail());
    }

    /// The times of all snapshots of which there are rows, and how many rows.
    fn snapshots(&self, destination: &str) -> Vec<(String, u64)> {
        let rows = self.adx(&format!(
            "{destination} | summarize Rows = count() by Time = tostring(SnapshotTime) | order by Time asc"
        ));
        rows.iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_u64().unwrap())).collect()
    }

    fn published(&self, source: &str) -> String {
        let rows = self.adx(&format!(
            "vw_meta_LatestMigrationConfiguration | where SourceTable == \"{source}\" | project tostring(HighWatermark)"
        ));
        rows[0][0].as_str().unwrap().to_owned()
    }

    /// What the latest audit row of a table says of snapshots: time, published, torn.
    fn audited(&self, destination: &str) -> Vec<(String, bool, bool)> {
        let rows = self.adx(&format!(
            "meta_MigrationAudit | where ['table'] == \"{destination}\" | top 1 by ingestion_timestamp desc | project chunk_results"
        ));
        let told = rows[0][0].as_array().unwrap().iter().filter(|told| !told["snapshot_time"].is_null());
        let truth = |value: &Value| value.as_bool().unwrap();
        told.map(|told| {
            (told["snapshot_time"].as_str().unwrap().to_owned(), truth(&told["published"]), truth(&told["torn"]))
        })
        .collect()
    }
}

fn detail<'v>(summary: &'v Value, source: &str) -> &'v Value {
    let details = summary["detailed_results"].as_array().unwrap();
    details.iter().find(|detail| detail["source_table"] == source).unwrap()
}

pub async fn every_run_makes_a_snapshot_that_readers_see_whole(store: Store) {
    let tables = vec![table(INVENTORY, 3_000, 20), table(NODES, 700, 9), table("DeviceTvmInfoGatheringKB", 1, 1)];
    let copied = [
        snapshot(INVENTORY),
        Copied { destination: "Nodes", watermark_column: "SnapshotTime", load_type: "snapshot", ..snapshot(NODES) },
        snapshot("DeviceTvmInfoGatheringKB"),
    ];
    let app = Deployment::start_with(store, cloud(tables), &copied, &[("CHUNK_SIZE", "700")]).await;
    let id = app.start_run().await;
    let first = app.ended(&id).await;
    let summary = &first["output"]["result"]["processing_summary"];
    assert_eq!(
        (&summary["failed_tables"], &summary["total_records_processed"]),
        (&0.into(), &3_701.into()),
        "{first:#}"
    );
    for (source, destination) in [(INVENTORY, INVENTORY), (NODES, "Nodes")] {
        app.assert_latest(source, destination);
        assert_eq!(detail(summary, source)["snapshots"][0]["published"], true, "{summary:#}");
    }
    let begun = app.snapshots(INVENTORY);
    assert_eq!(begun.len(), 1);
    let created = first["createdTime"].as_str().unwrap();
    assert_eq!(begun[0].0[..19], created[..19], "the time of a snapshot is the start of its run");
    assert_eq!(app.published(INVENTORY)[..], begun[0].0);
    assert_eq!(app.audited(INVENTORY), [(begun[0].0.clone(), true, false)]);

    let at = now();
    app.cloud.source().append(INVENTORY, 40, at - ticks(Duration::from_millis(500)), at).unwrap();
    let second = app.completed().await;
    app.assert_latest(INVENTORY, INVENTORY);
    let both = app.snapshots(INVENTORY);
    assert_eq!(both.iter().map(|(_, rows)| *rows).collect::<Vec<_>>(), [3_000, 3_040]);
    assert_eq!(app.published(INVENTORY), both[1].0);
    let inventory = detail(&second, INVENTORY);
    assert_eq!(inventory["chunks_processed"], 5, "as few windows as hold it: {inventory:#}");
    assert_eq!(inventory["hunting_calls"], 5 + 2, "a plan before and a count after: {inventory:#}");
    assert_eq!(app.adx(&format!("{INVENTORY} | summarize count() by ChunkId | count"))[0][0], 5 + 5);
}

pub async fn a_snapshot_whose_source_changes_is_copied_again(store: Store) {
    let copied = [snapshot(INVENTORY)];
    let settings = [("CHUNK_SIZE", "100"), ("HUNTING_CALLS_PER_MINUTE", "900")];
    let app = Deployment::start_with(store, cloud(vec![table(INVENTORY, 3_000, 20)]), &copied, &settings).await;
    let id = app.start_run().await;
    app.until(&id, |status| status["customStatus"]["tables"][0]["posted_rows"].as_u64() > Some(0)).await;
    let at = now();
    app.cloud.source().append(INVENTORY, 5, at - ticks(Duration::from_millis(500)), at).unwrap();
    let ended = app.ended(&id).await;
    let summary = &ended["output"]["result"]["processing_summary"];
    assert_eq!(summary["failed_tables"], 0, "{ended:#}\n{}", app.tail());
    app.assert_latest(INVENTORY, INVENTORY);
    let [torn, whole] = &app.snapshots(INVENTORY)[..] else { panic!("{:?}", app.snapshots(INVENTORY)) };
    assert_eq!((whole.1, app.published(INVENTORY)), (3_005, whole.0.clone()));
    assert_eq!(app.audited(INVENTORY), [(torn.0.clone(), false, true), (whole.0.clone(), true, false)]);
    let warnings = detail(summary, INVENTORY)["warnings"].to_string();
    assert!(warnings.contains(&torn.0), "{warnings}");
    assert_eq!(summary["total_records_processed"], app.rows(INVENTORY), "what is there is counted, seen or not");
}

pub async fn a_table_that_never_stands_still_is_published_torn(store: Store) {
    let at = now();
    let (from, to) = (at - ticks(Duration::from_secs(20)), at + ticks(Duration::from_secs(600)));
    let growing = TableSettings::new(INVENTORY, 124_000, from, to);
    let app = Deployment::start(store, cloud(vec![growing]), &[snapshot(INVENTORY)]).await;
    let id = app.start_run().await;
    let ended = app.ended(&id).await;
    let summary = &ended["output"]["result"]["processing_summary"];
    assert_eq!(summary["failed_tables"], 0, "{ended:#}\n{}", app.tail());
    let attempts = app.snapshots(INVENTORY);
    assert_eq!(attempts.len(), 3, "{attempts:?}");
    let told: Vec<_> = attempts.iter().enumerate().map(|(index, one)| (one.0.clone(), index == 2, true)).collect();
    assert_eq!(app.audited(INVENTORY), told);
    assert_eq!(app.published(INVENTORY), attempts[2].0);
    assert_eq!(app.adx(&format!("{INVENTORY}_latest | count"))[0][0], attempts[2].1);
    let warnings = detail(summary, INVENTORY)["warnings"].to_string();
    assert!(warnings.contains("is published torn"), "{warnings}");
}

pub async fn a_snapshot_that_is_cut_short_is_given_up_and_the_next_run_makes_a_new_one(store: Store) {
    let copied = [snapshot(INVENTORY)];
    let settings = [("CHUNK_SIZE", "100"), ("HUNTING_CALLS_PER_MINUTE", "600")];
    let mut app = Deployment::start_with(store, cloud(vec![table(INVENTORY, 4_000, 20)]), &copied, &settings).await;
    let posted = |status: &Value| status["customStatus"]["tables"][0]["posted_rows"].as_u64() > Some(0);
    let id = app.start_run().await;
    app.until(&id, posted).await;
    app.kill(0);
    app.start_app(0).await;
    let survived = app.ended(&id).await;
    assert_eq!(survived["output"]["result"]["processing_summary"]["failed_tables"], 0, "{survived:#}\n{}", app.tail());
    app.assert_latest(INVENTORY, INVENTORY);
    let first = app.published(INVENTORY);

    let id = app.start_run().await;
    app.until(&id, posted).await;
    app.post(&format!("/api/terminate/{id}"), "").await;
    app.ended(&id).await;
    assert_eq!(app.published(INVENTORY), first, "readers see what they saw");
    app.assert_latest(INVENTORY, INVENTORY);

    app.cloud.source().append(INVENTORY, 7, now() - ticks(Duration::from_millis(500)), now()).unwrap();
    let summary = app.completed().await;
    app.assert_latest(INVENTORY, INVENTORY);
    let [given_up, whole] = &app.audited(INVENTORY)[..] else { panic!("{:?}", app.audited(INVENTORY)) };
    assert_eq!((given_up.1, given_up.2, whole.1, whole.2), (false, false, true, false));
    assert_eq!(whole.0, app.published(INVENTORY));
    let warnings = detail(&summary, INVENTORY)["warnings"].to_string();
    assert!(warnings.contains(&given_up.0) && warnings.contains("never finished"), "{warnings}");
    let open = app.adx("meta_MigrationAudit | top 1 by ingestion_timestamp desc | where tostring(chunk_results) has \"superseded\" | count");
    assert_eq!(open[0][0], 1, "its windows are named");
}

pub async fn a_snapshot_above_the_caps_is_split_and_carries_the_id_in_the_row_if_asked(store: Store) {
    let mut cloud = cloud(vec![table(NODES, 4_000, 2)]);
    cloud.hunting.limits.result_bytes = 400_000;
    let app = Deployment::start_with(store, cloud, &[snapshot(NODES)], &[("CHUNK_ID", "row")]).await;
    let summary = app.completed().await;
    assert!(detail(&summary, NODES)["chunks_processed"].as_u64() > Some(1), "{summary:#}");
    app.assert_latest(NODES, NODES);
    assert_eq!(app.adx(&format!("{NODES} | getschema | count"))[0][0], 2);
}

pub async fn a_table_without_a_time_says_that_it_can_be_copied_whole(store: Store) {
    let tables = vec![table(INVENTORY, 100, 2), table(NODES, 100, 2), table("DeviceInfo", 50, 2)];
    let copied = [
        Copied::incremental(INVENTORY),
        Copied { load_type: "Full", watermark_column: "Watermark_IngestionTime", ..Copied::incremental(NODES) },
        Copied { load_type: "Snapshot", ..Copied::incremental("DeviceInfo") },
    ];
    let app = Deployment::start(store, cloud(tables), &copied).await;
    let id = app.start_run().await;
    let ended = app.ended(&id).await;
    let summary = &ended["output"]["result"]["processing_summary"];
    assert_eq!(summary["failed_tables"], 3, "{ended:#}");
    for source in [INVENTORY, NODES, "DeviceInfo"] {
        let error = detail(summary, source)["error"].as_str().unwrap();
        assert!(error.contains("Snapshot"), "{error}");
    }
}

pub async fn a_lost_store_of_snapshots_is_adopted_and_readers_see_what_they_saw(store: Store) {
    let copied = [snapshot(INVENTORY)];
    let settings = [("CHUNK_SIZE", "400")];
    let mut app = Deployment::start_with(store, cloud(vec![table(INVENTORY, 3_000, 20)]), &copied, &settings).await;
    app.completed().await;
    app.completed().await;
    let before = app.published(INVENTORY);
    app.lose_the_store().await;
    let id = app.start_run().await;
    let refused = app.ended(&id).await["output"]["result"]["processing_summary"]["exceptions"].to_string();
    assert!(refused.contains("adxingestor adopt"), "{refused}");
    let (adopted, said) = app.command(&["adopt", "--table", INVENTORY]).await;
    assert!(adopted, "{said}");
    assert_eq!(app.published(INVENTORY), before);
    app.assert_latest(INVENTORY, INVENTORY);
    app.completed().await;
    app.assert_latest(INVENTORY, INVENTORY);
    assert_eq!(app.snapshots(INVENTORY).len(), 3);
}
