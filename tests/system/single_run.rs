//! One nightly run for one night: a host that comes back from a crash finds its timer past due and fires it again.

use crate::support::{Copied, Deployment, Store, cloud, table};
use adxingestor::storage::sqlite;
use adxingestor::timestamp::{Clock, SystemClock};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;
use time::{Duration as Span, OffsetDateTime};

const TABLE: &str = "DeviceFileEvents";
const ROWS: u64 = 2_000;

/// A full minute, an hour ago or a little more.
fn an_hour_ago() -> OffsetDateTime {
    let now = OffsetDateTime::parse(&SystemClock.now().to_string(), &Rfc3339).unwrap();
    (now - Span::hours(1)).replace_second(0).unwrap().replace_nanosecond(0).unwrap()
}

/// What the host knows of the timer: it fired a day before `due`, and not since.
async fn forget_the_last_firing(file: &Path, due: OffsetDateTime) {
    let text = |at: OffsetDateTime| at.format(&Rfc3339).unwrap();
    let last = text(due - Span::days(1));
    let status = json!({"Last": last, "Next": text(due), "LastUpdated": last}).to_string();
    let store = sqlite(file, Arc::new(SystemClock)).unwrap();
    store.blobs.put("azure-webjobs-hosts/timers/nightly/status", status.into()).await.unwrap();
}

async fn runs(app: &Deployment) -> Vec<Value> {
    app.get("/api/instances").await.1.as_array().unwrap().clone()
}

async fn nightly_is_through(app: &Deployment, times: usize) {
    for _ in 0..1_200 {
        if app.log(0).matches("Executed 'Functions.nightly'").count() >= times {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the timer did not fire\n{}", app.tail());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_is_past_due_after_a_crash_starts_nothing_twice() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.db");
    let due = an_hour_ago();
    forget_the_last_firing(&file, due).await;
    let state = format!("sqlite:{}", file.display());
    let schedule = format!("0 {} {} * * *", due.minute(), due.hour());
    let settings = [
        ("NIGHTLY_SCHEDULE", schedule.as_str()),
        ("WEBSITE_TIME_ZONE", "UTC"),
        ("CHUNK_SIZE", "100"),
        ("HUNTING_CALLS_PER_MINUTE", "600"),
    ];
    let other = format!("sqlite:{}", directory.path().join("other.db").display());
    let store = Store::new(&[("STATE_STORE", state)], ("STATE_STORE", other), directory);
    let copied = [Copied::incremental(TABLE)];
    let mut app = Deployment::start_with(store, cloud(vec![table(TABLE, ROWS, 8)]), &copied, &settings).await;
    nightly_is_through(&app, 1).await;
    let first = runs(&app).await;
    assert_eq!((first.len(), &first[0]["input"]["trigger"]), (1, &json!("nightly")), "{first:#?}\n{}", app.tail());
    let id = first[0]["instanceId"].as_str().unwrap().to_owned();

    // The crash came before the host had put down that the timer fired; its run goes on.
    app.kill(0);
    forget_the_last_firing(&file, due).await;
    app.start_app(0).await;
    nightly_is_through(&app, 2).await;
    assert_eq!(runs(&app).await.len(), 1, "{}", app.tail());
    assert_eq!(app.ended(&id).await["runtimeStatus"], "Completed", "{}", app.tail());

    // Again, when the run is over and nothing stands in the way of another one.
    app.kill(0);
    forget_the_last_firing(&file, due).await;
    app.start_app(0).await;
    nightly_is_through(&app, 3).await;
    assert_eq!(runs(&app).await.len(), 1, "{}", app.tail());
    assert_eq!(app.rows(TABLE), ROWS);
    let (code, by_hand) = app.post("/api/adxingestor/start_orchestrator", "").await;
    assert_eq!(code, 202, "a person may start another: {by_hand}");
}
