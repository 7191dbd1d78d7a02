//! What the status shows of runs while they go on, and who may run beside whom.

use crate::support::{Copied, Deployment, Store, cloud, only, table};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const LARGE: &str = "DeviceFileEvents";
const SMALL: &str = "AlertInfo";
const ROWS: u64 = 3_000;
/// What only ever grows while a table is copied.
const GROWING: [&str; 6] = ["windows", "windows_done", "posted_rows", "rows", "bytes", "calls"];

/// An app that takes some seconds for one of its tables and little for the other.
async fn app(store: Store) -> Deployment {
    let copied = [Copied::incremental(LARGE), Copied::incremental(SMALL)];
    let settings = [("CHUNK_SIZE", "100"), ("HUNTING_CALLS_PER_MINUTE", "600")];
    Deployment::start_with(store, cloud(vec![table(LARGE, ROWS, 8), table(SMALL, 100, 2)]), &copied, &settings).await
}

/// The progress of a table in a status, if it has got that far.
fn of<'s>(status: &'s Value, source: &str) -> Option<&'s Value> {
    status["customStatus"]["tables"].as_array()?.iter().find(|table| table["table"] == source)
}

fn number(table: &Value, name: &str) -> u64 {
    table[name].as_u64().unwrap_or_else(|| panic!("no {name}: {table:#}"))
}

/// Every status of a run that differs from the one before, to its end.
async fn watched(app: &Deployment, id: &str) -> Vec<Value> {
    let mut seen: Vec<Value> = Vec::new();
    loop {
        let (code, status) = app.get(&format!("/api/status/{id}")).await;
        assert_eq!(code, 200, "{status}");
        let over = !matches!(status["runtimeStatus"].as_str(), Some("Pending" | "Running"));
        if seen.last() != Some(&status) {
            seen.push(status);
        }
        assert!(seen.len() < 10_000, "it never ends\n{}", app.tail());
        if over {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn a_watched_run_shows_each_table_grow_to_what_is_there_in_the_end(store: Store) {
    let app = app(store).await;
    let id = app.start_run().await;
    let seen = watched(&app, &id).await;
    let large: Vec<&Value> = seen.iter().filter_map(|status| of(status, LARGE)).collect();
    for pair in large.windows(2) {
        for name in GROWING {
            assert!(number(pair[0], name) <= number(pair[1], name), "{name} shrank: {:#}\n{:#}", pair[0], pair[1]);
        }
    }
    for table in &large {
        let [done, failed, expired] = ["windows_done", "windows_failed", "windows_expired"].map(|n| number(table, n));
        assert!(done + failed + expired <= number(table, "windows"), "{table:#}");
        assert!(number(table, "rows") <= number(table, "posted_rows"), "{table:#}");
        assert!(number(table, "posted_rows") <= number(table, "planned_rows"), "{table:#}");
    }
    let between = |name: &str, end: u64| {
        large.iter().map(|table| number(table, name)).filter(|n| (1..end).contains(n)).collect::<BTreeSet<_>>().len()
    };
    let end = large[large.len() - 1];
    let windows = number(end, "windows");
    assert!(between("posted_rows", ROWS) > 3 && between("calls", number(end, "calls")) > 3, "{large:#?}");
    assert!(between("windows_done", windows) > 1 && between("rows", ROWS) > 1, "{large:#?}");
    let states: BTreeSet<&str> = large.iter().map(|table| table["state"].as_str().unwrap()).collect();
    assert!(states.is_superset(&BTreeSet::from(["copying", "done"])), "{states:?}");
    let waits = |status: &Value| of(status, LARGE)?["waiting_for_quota_until"].as_str().map(str::to_owned);
    let until: BTreeSet<String> = seen.iter().filter_map(waits).collect();
    assert!(until.len() > 3, "it waited for its calls all the time: {until:?}");

    assert_eq!(end["state"], "done", "{end:#}\n{}", app.tail());
    assert_eq!((number(end, "windows_done"), number(end, "windows_failed")), (windows, 0));
    for name in ["rows", "posted_rows", "planned_rows"] {
        assert_eq!(number(end, name), app.rows(LARGE), "{name}");
    }
    assert!(windows >= ROWS / 100 && number(end, "calls") >= windows && number(end, "bytes") > ROWS, "{end:#}");
    assert_eq!(end["waiting_for_quota_until"], Value::Null);
    let output = &seen[seen.len() - 1]["output"]["result"]["processing_summary"];
    assert_eq!(output["total_records_processed"], ROWS + 100);
    assert_eq!(output["detailed_results"][0]["chunks_processed"], windows);
    for status in &seen[..seen.len() - 1] {
        assert_eq!(status["output"], Value::Null, "there is no output before the end");
    }
}

pub async fn input_and_history_are_shown_as_they_are_asked_for(store: Store) {
    let app = app(store).await;
    let (code, payload) = app.post("/api/adxingestor/start_orchestrator", &only(&[SMALL])).await;
    assert_eq!(code, 202, "{payload}");
    let id = payload["id"].as_str().unwrap();
    app.ended(id).await;
    for door in ["status", "instances"] {
        let shown = async |query: &str| app.get(&format!("/api/{door}/{id}?{query}")).await.1;
        let plain = shown("").await;
        assert_eq!((&plain["input"], plain.get("historyEvents")), (&json!({"tables": [SMALL]}), None));
        assert_eq!(shown("showInput=false").await["input"], Value::Null);
        assert_eq!(shown("showInput=nonsense").await["input"], plain["input"]);
        let bare = shown("showHistory=true&showInput=False").await["historyEvents"].clone();
        let full = shown("SHOWHISTORY=True&showHistoryOutput=true").await["historyEvents"].clone();
        for (events, is_full) in [(bare, false), (full, true)] {
            let events = events.as_array().unwrap();
            let types: Vec<&str> = events.iter().map(|event| event["EventType"].as_str().unwrap()).collect();
            assert_eq!(types, ["ExecutionStarted", "TaskCompleted", "ExecutionCompleted"]);
            assert_eq!(events[0].get("Input").is_some(), is_full);
            assert_eq!(events[1].get("Result").is_some(), is_full);
            assert_eq!(events[2].get("Result"), is_full.then_some(&plain["output"]));
        }
    }
}

pub async fn the_whole_output_of_a_run_of_many_tables_is_shown(store: Store) {
    let app = app(store).await;
    // Not one of the rows of these tables is in order, and each result says so of a long name.
    let long = "Nowhere".repeat(60);
    app.adx(&format!(
        ".set-or-append meta_MigrationConfiguration <| range n from 0 to 149 step 1 | extend Name = strcat('{long}', n) | project \
         SourceTable=Name, DestinationFolder='Defender', DestinationTable=Name, WatermarkColumn='Timestamp', \
         LastRefreshedTime=datetime(null), HighWatermark=datetime(null), LoadType='Sometimes', IsActive=true"
    ));
    let names: Vec<String> = (0..150).map(|n| format!("{long}{n}")).collect();
    let body = json!({"tables": names}).to_string();
    let (code, payload) = app.post("/api/adxingestor/start_orchestrator", &body).await;
    assert_eq!(code, 202, "{payload}");
    let status = app.ended(payload["id"].as_str().unwrap()).await;
    let summary = &status["output"]["result"]["processing_summary"];
    assert_eq!((&summary["failed_tables"], &status["input"]["tables"]), (&json!(150), &json!(names)));
    assert_eq!(summary["exceptions"].as_array().unwrap().len(), 150);
    assert!(summary["exceptions"][149].as_str().unwrap().contains(&names[149]));
    assert!(status.to_string().len() > 200_000);
}

pub async fn a_forced_run_goes_beside_the_active_one_and_leaves_its_tables_alone(store: Store) {
    let app = app(store).await;
    let start = async |body: &str| {
        let (code, answer) = app.post("/api/adxingestor/start_orchestrator", body).await;
        (code, answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned())
    };
    let (code, first) = start(&only(&[LARGE])).await;
    assert_eq!(code, 202);
    app.until(&first, |status| of(status, LARGE).is_some_and(|table| number(table, "windows") > 0)).await;
    // It is still there when the other one has ended, however slow that is.
    assert_eq!(app.post(&format!("/api/instances/{first}/suspend"), "").await.0, 202);
    assert_eq!(start(&only(&[SMALL])).await, (409, first.clone()), "the id is that of the active run");
    let (code, second) = start(&json!({"force": true}).to_string()).await;
    assert_eq!(code, 202);
    assert_ne!(second, first);
    let ended = app.ended(&second).await;
    let (held, free) = (of(&ended, LARGE).unwrap(), of(&ended, SMALL).unwrap());
    assert_eq!((held["skipped"].as_str(), &held["state"]), (Some(&*format!("held by {first}")), &json!("failed")));
    assert_eq!((number(free, "rows"), &free["state"]), (100, &json!("done")));
    let (code, active) = start("").await;
    assert_eq!((code, active), (409, first.clone()), "the one that was there first still is");
    assert_eq!(app.post(&format!("/api/instances/{first}/resume"), "").await.0, 202);
    assert_eq!(app.ended(&first).await["runtimeStatus"], "Completed", "{}", app.tail());
    assert_eq!((app.rows(LARGE), app.rows(SMALL)), (ROWS, 100));
    assert_eq!(start("").await.0, 202, "and the place is free after it");
}
