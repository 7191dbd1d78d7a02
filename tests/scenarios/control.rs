//! Runs that are held, begun again, listed and purged, through the HTTP API that clients of Durable Functions speak.

use crate::support::{Copied, Deployment, Store, cloud, now, table, ticks};
use localcloud::faults::{Area, Fault};
use serde_json::{Value, json};
use std::time::Duration;

const TABLE: &str = "DeviceFileEvents";
const ROWS: u64 = 6_000;

/// An app that takes some seconds for its one table.
async fn slow(store: Store, rows: u64) -> Deployment {
    let copied = [Copied::incremental(TABLE)];
    let settings = [("CHUNK_SIZE", "100"), ("HUNTING_CALLS_PER_MINUTE", "900")];
    Deployment::start_with(store, cloud(vec![table(TABLE, rows, 8)]), &copied, &settings).await
}

fn progress<'v>(status: &'v Value, of: &str) -> &'v Value {
    &status["customStatus"]["tables"][0][of]
}

async fn control(app: &Deployment, id: &str, operation: &str) -> u16 {
    app.post(&format!("/api/instances/{id}/{operation}"), "").await.0
}

async fn assert_all_copied(app: &Deployment, id: &str, rows: u64) {
    let status = app.ended(id).await;
    assert_eq!(status["runtimeStatus"], "Completed", "{status:#}\n{}", app.tail());
    assert_eq!(status["output"]["result"]["processing_summary"]["failed_tables"], 0, "{status:#}\n{}", app.tail());
    app.assert_equal(TABLE, TABLE);
    assert_eq!(app.rows(TABLE), rows);
}

pub async fn a_suspended_run_stands_still_over_a_crash_and_goes_on_where_it_was(store: Store) {
    let mut app = slow(store, ROWS).await;
    let id = app.start_run().await;
    app.until(&id, |status| progress(status, "posted_rows").as_u64() > Some(0)).await;
    assert_eq!(control(&app, &id, "suspend?reason=lunch").await, 202);
    let (code, headers, held) = app.request("GET", &format!("/api/instances/{id}"), &[]).await;
    assert_eq!(
        (code, held["runtimeStatus"].as_str(), headers["retry-after"].to_str().unwrap()),
        (202, Some("Suspended"), "5")
    );
    assert_eq!(held["customStatus"]["suspended_because"], "lunch");

    // What was submitted is counted to its end, and nothing else is begun.
    let at_rest = app.until(&id, |status| progress(status, "state") == "suspended").await;
    assert_eq!(progress(&at_rest, "rows"), progress(&at_rest, "posted_rows"), "{at_rest:#}");
    app.kill(0);
    app.start_app(0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, later) = app.get(&format!("/api/status/{id}")).await;
    assert_eq!(later["customStatus"], at_rest["customStatus"], "{}", app.tail());
    assert!(app.rows(TABLE) < ROWS);
    assert_eq!(app.post("/api/adxingestor/start_orchestrator", "").await.0, 409, "it is still the active run");

    assert_eq!(control(&app, &id, "resume").await, 202);
    assert_all_copied(&app, &id, ROWS).await;
    let calls = progress(&app.get(&format!("/api/status/{id}")).await.1, "calls").as_u64().unwrap();
    assert!(calls < ROWS / 100 + 20, "{calls} calls: no window was pulled a second time");
    assert!(!app.log(0).contains("repair:"), "the watchdog had nothing to do\n{}", app.tail());
}

pub async fn a_run_that_is_suspended_and_resumed_again_and_again_ends_equal_all_the_same(store: Store) {
    let seed: u64 = 11;
    println!("seed {seed}");
    let mut app = slow(store, ROWS).await;
    let id = app.start_run().await;
    for step in 0..8u64 {
        let pause = |n: u64| Duration::from_millis((seed * 7_919 + (step * 3 + n) * 104_729) % 400);
        tokio::time::sleep(pause(0)).await;
        let code = control(&app, &id, "suspend").await;
        if code == 410 {
            break;
        }
        assert_eq!(code, 202);
        if step % 3 == 2 {
            app.kill(0);
            app.start_app(0).await;
        }
        tokio::time::sleep(pause(1)).await;
        assert_eq!(control(&app, &id, "resume").await, 202);
    }
    assert_all_copied(&app, &id, ROWS).await;
}

pub async fn a_terminated_run_that_is_restarted_as_itself_copies_what_is_missing(store: Store) {
    let app = slow(store, ROWS).await;
    let id = app.start_run().await;
    app.until(&id, |status| progress(status, "posted_rows").as_u64() > Some(0)).await;
    assert_eq!(control(&app, &id, "restart?restartWithNewInstanceId=false").await, 409);
    assert_eq!(control(&app, &id, "terminate?reason=enough").await, 202);
    let (code, body) = app.post(&format!("/api/instances/{id}/restart?restartWithNewInstanceId=false"), "").await;
    assert_eq!((code, body["id"].as_str()), (202, Some(id.as_str())));
    assert_all_copied(&app, &id, ROWS).await;
    let audits = app.adx("meta_MigrationAudit | where success | count");
    assert_eq!(audits[0][0], 1);
    let (code, body) = app.post(&format!("/api/instances/{id}/restart"), "").await;
    assert_eq!(code, 202);
    assert_ne!(body["id"].as_str(), Some(id.as_str()));
    assert_all_copied(&app, body["id"].as_str().unwrap(), ROWS).await;
}

pub async fn a_run_that_could_not_begin_is_rewound_once_its_cause_is_gone(store: Store) {
    let app = slow(store, 300).await;
    app.adx(".drop function vw_meta_LatestMigrationConfiguration");
    app.adx(".create-or-alter function vw_meta_LatestMigrationConfiguration() { print Wrong = 1 }");
    let id = app.start_run().await;
    let failed = app.ended(&id).await;
    assert_eq!(failed["runtimeStatus"], "Failed", "{failed:#}");
    app.adx(
        ".create-or-alter function with (view = true, folder = 'metadata_views') vw_meta_LatestMigrationConfiguration() { \
         meta_MigrationConfiguration | extend IngestionTime = ingestion_time() | summarize arg_max(IngestionTime, *) by SourceTable | where IsActive == true }",
    );
    assert_eq!(control(&app, &id, "rewind?reason=mended").await, 202);
    assert_all_copied(&app, &id, 300).await;
    assert_eq!(control(&app, &id, "rewind").await, 410);
}

pub async fn a_completed_run_is_rewound_with_the_windows_of_it_that_failed(store: Store) {
    const OTHER: &str = "EmailEvents";
    let copied = [Copied::incremental(TABLE), Copied::incremental(OTHER)];
    let app = Deployment::start(store, cloud(vec![table(TABLE, 300, 3), table(OTHER, 100, 3)]), &copied).await;
    app.completed().await;
    let at = now();
    app.cloud.source().append(TABLE, 40, at - ticks(Duration::from_millis(200)), at).unwrap();
    // A first run would pack rows to weigh them; of this one only the windows are refused.
    app.cloud.faults().always(Area::Hunting, &[TABLE, "pack_all"], Fault::Forbidden);
    let id = app.start_run().await;
    let first = app.ended(&id).await;
    let counts = |status: &Value| {
        let summary = &status["output"]["result"]["processing_summary"];
        ["successful_tables", "failed_tables"].map(|count| summary[count].as_u64())
    };
    assert_eq!((&first["runtimeStatus"], counts(&first)), (&json!("Completed"), [Some(1), Some(1)]), "{first:#}");
    assert_eq!(app.rows(TABLE), 300);

    app.cloud.faults().never();
    assert_eq!(control(&app, &id, "rewind?reason=granted").await, 202);
    let second = app.ended(&id).await;
    assert_eq!((&second["runtimeStatus"], counts(&second)), (&json!("Completed"), [Some(1), Some(0)]), "{second:#}");
    app.assert_equal(TABLE, TABLE);
    assert_eq!((app.rows(TABLE), app.rows(OTHER)), (340, 100));
    let repaired = app.adx("meta_ChunkIngestionFailures | where reprocess_success | count");
    assert_ne!(repaired[0][0], 0, "what had failed is dispatched again\n{}", app.tail());
    assert_eq!(control(&app, &id, "rewind").await, 410, "nothing failed any more");
}

pub async fn a_client_of_the_durable_functions_api_starts_polls_terminates_lists_and_purges(store: Store) {
    let app = slow(store, 400).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        let (code, headers, started) = app.request("GET", "/api/adxingestor/start_orchestrator", &[]).await;
        assert_eq!((code, headers["retry-after"].to_str().unwrap()), (202, "10"));
        let id = started["id"].as_str().unwrap().to_owned();
        let uri = headers["location"].to_str().unwrap();
        assert_eq!(uri, started["statusQueryGetUri"]);
        let path = uri.split_once("/api").map(|(_, path)| format!("/api{path}")).unwrap();
        while app.get(&path).await.0 == 202 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        runs.insert(0, id);
    }
    let page = async |token: &str| {
        let headers = [("x-ms-continuation-token", token)];
        let (code, headers, body) = app.request("GET", "/api/instances?top=2&showInput=false", &headers).await;
        assert_eq!(code, 200, "{body}");
        let ids: Vec<String> =
            body.as_array().unwrap().iter().map(|run| run["instanceId"].as_str().unwrap().to_owned()).collect();
        (ids, headers["x-ms-continuation-token"].to_str().unwrap().to_owned())
    };
    let (first, token) = page("").await;
    let (second, end) = page(&token).await;
    assert_eq!([first, second].concat(), runs);
    assert_eq!(end, "");

    let history = app.get(&format!("/api/instances/{}?showHistory=true&showHistoryOutput=true", runs[2])).await.1;
    let types: Vec<&str> =
        history["historyEvents"].as_array().unwrap().iter().map(|e| e["EventType"].as_str().unwrap()).collect();
    assert_eq!(types, ["ExecutionStarted", "TaskCompleted", "ExecutionCompleted"]);
    assert_eq!(history["historyEvents"][1]["Result"]["rows"], 400);

    for (method, path) in
        [("PUT", "/api/instances"), ("PATCH", "/api/instances/x"), ("GET", "/api/instances/x/suspend")]
    {
        assert_eq!(app.request(method, path, &[]).await.0, 404, "{method} {path}");
    }
    let (code, _, body) = app.request("DELETE", &format!("/api/instances/{}", runs[2]), &[]).await;
    assert_eq!((code, body), (200, json!({"instancesDeleted": 1})));
    let span = "/api/instances?createdTimeFrom=2020-01-01T00:00:00Z&runtimeStatus=Completed,Failed";
    let (code, _, body) = app.request("DELETE", span, &[]).await;
    assert_eq!((code, body), (200, json!({"instancesDeleted": 2})));
    assert_eq!(app.request("DELETE", span, &[]).await.0, 404);
    assert_eq!(app.request("GET", "/api/instances", &[]).await.2, json!([]));
    assert_eq!(app.rows(TABLE), 400, "what was copied stays");
}
