//! An installation of the Python app, as it makes one, is looked at and taken over.

use crate::support::{Deployment, Store, cloud, table};
use serde_json::Value;

/// The metadata of the Python app, its rows for three tables, and two destinations with rows.
async fn python_app() -> Deployment {
    let tables = ["DeviceLogonEvents", "EmailEvents", "AlertInfo"].map(|name| table(name, 300, 3));
    let app = Deployment::start(Store::sqlite(), cloud(tables.to_vec()), &[]).await;
    app.adx(
        ".create table meta_MigrationAudit (ingestion_id:string, ingestion_timestamp:datetime, ['folder']:string, ['table']:string, \
         ['success']:bool, records_processed:long, ['chunked']:bool, chunks_processed:int, chunks_failed:int, chunk_results:dynamic, ['error']:string)",
    );
    app.adx(
        ".create table meta_ChunkIngestionFailures (ingestion_id:string, ingestion_timestamp:datetime, ['folder']:string, ['table']:string, \
         chunk_id:int, ['success']:bool, records_count:int, records_processed:int, low_watermark:datetime, high_watermark:datetime, \
         ['error']:string, reprocess_success:bool)",
    );
    for name in ["DeviceLogonEvents", "EmailEvents"] {
        app.adx(&format!(".create table {name} (Timestamp:datetime, RawData:dynamic) with (folder='Defender')"));
        app.adx(&format!(
            ".create table {name} ingestion json mapping 'RawDataMap' '[{{\"column\":\"Timestamp\",\"Properties\":{{\"Path\":\"$.Timestamp\"}}}},{{\"column\":\"RawData\",\"Properties\":{{\"Path\":\"$\"}}}}]'"
        ));
        app.adx(&format!(".set-or-append {name} <| range I from 1 to 5 step 1 | project Timestamp = ago(20d), RawData = bag_pack('I', I)"));
        configure(&app, name, "Incremental", "ago(1d)", true);
    }
    app
}

fn configure(app: &Deployment, name: &str, load_type: &str, watermark: &str, active: bool) {
    app.adx(&format!(
        ".set-or-append meta_MigrationConfiguration <| print SourceTable='{name}', DestinationFolder='Defender', DestinationTable='{name}', \
         WatermarkColumn='Timestamp', LastRefreshedTime={watermark}, HighWatermark={watermark}, LoadType='{load_type}', IsActive={active}"
    ));
}

/// Everything that there is, but for what is said to be added.
fn content(app: &Deployment) -> Vec<Vec<Value>> {
    let mut all = app.adx("meta_MigrationConfiguration");
    all.extend(app.adx("DeviceLogonEvents | project Timestamp, RawData"));
    all.extend(app.adx("EmailEvents | project Timestamp, RawData"));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_of_the_python_app_is_told_what_stays_and_what_is_added_and_nothing_is_lost() {
    let app = python_app().await;
    let before = content(&app);
    let columns = |table: &str| app.adx(&format!(".show table {table} cslschema"))[0][1].clone();
    let (success, report) = app.command(&["setup", "--from-python-app"]).await;
    assert!(success, "{report}");
    for said in [
        "kept   the table meta_MigrationConfiguration",
        "kept   the view vw_meta_LatestMigrationConfiguration",
        "added  the table meta_Ledger",
        "added  the view vw_meta_LatestChunkIngestionFailures",
        "kept   5 rows, and the mapping RawDataMap",
        "added  column ChunkId, at the end",
        "changes over from Timestamp to arrival times",
        "A first run can take over.",
    ] {
        assert!(report.contains(said), "{said}\n{report}");
    }
    assert_eq!(columns("EmailEvents"), "Timestamp:datetime,RawData:dynamic", "looking changes nothing");
    assert_eq!(app.adx(".show tables").len(), 5);

    let (success, done) = app.command(&["setup", "--from-python-app", "--apply"]).await;
    assert!(success && done.contains("Done: 4 commands."), "{done}");
    assert_eq!(columns("EmailEvents"), "Timestamp:datetime,RawData:dynamic,ChunkId:string");
    assert_eq!(content(&app), before);
    let (success, again) = app.command(&["setup", "--from-python-app", "--apply"]).await;
    assert!(success && again.contains("Nothing was left to do."), "{again}");
    app.completed().await;
    assert!(app.rows("EmailEvents") >= 5, "its rows are there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_first_run_would_refuse_is_told_with_what_to_do() {
    let app = python_app().await;
    app.adx(".create materialized-view LastLogon on table DeviceLogonEvents { DeviceLogonEvents | summarize arg_max(Timestamp, *) by tostring(RawData.I) }");
    configure(&app, "AlertInfo", "Sometimes", "datetime(null)", true);
    configure(&app, "NotLicensed", "Incremental", "datetime(null)", true);
    configure(&app, "Old", "Incremental", "datetime(null)", false);
    let before = content(&app);
    let (success, report) = app.command(&["setup", "--from-python-app", "--apply"]).await;
    assert!(!success, "{report}");
    for said in [
        "needs  table `DeviceLogonEvents` lacks the column `ChunkId`, and adding it could break the materialized view `LastLogon`",
        "CHUNK_ID=row",
        "needs  LoadType: `Sometimes` is neither",
        "needs  NotLicensed is not a table that this identity can query",
        "kept   not copied, as so far: Old",
        "3 things have to be mended",
    ] {
        assert!(report.contains(said), "{said}\n{report}");
    }
    assert_eq!(content(&app), before, "what is not in order is left alone");
    let columns = app.adx(".show table DeviceLogonEvents cslschema")[0][1].clone();
    assert_eq!(columns, "Timestamp:datetime,RawData:dynamic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_is_missing_is_made_before_the_tables_can_be_looked_at() {
    let app = python_app().await;
    app.adx(".drop function vw_meta_LatestMigrationConfiguration");
    let (success, report) = app.command(&["setup", "--from-python-app"]).await;
    assert!(!success && report.contains("once the view vw_meta_LatestMigrationConfiguration is there"), "{report}");
    assert!(!report.contains("Switched off"), "{report}");
    let (success, done) = app.command(&["setup", "--from-python-app", "--apply"]).await;
    assert!(!success && done.contains("Done: 3 commands."), "{done}");
    let (success, report) = app.command(&["setup", "--from-python-app"]).await;
    assert!(success && report.contains("EmailEvents -> EmailEvents"), "{report}");
}
