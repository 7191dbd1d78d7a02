//! A crash over the time at which the nightly timer was due, and more of them while it is made up for.

use crate::support::blows::{Blow, Fall, falls, rounds};
use crate::support::{Deployment, Store};
use crate::{PROCESSES, TABLES, assert_copied, three_processes};
use adxingestor::timestamp::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;
use std::time::Duration;

/// Where the Functions host keeps the status of a timer.
const STATUS: &str = "azure-webjobs-hosts/timers/nightly/status";
const HOUR: Duration = Duration::from_secs(3_600);

pub async fn a_past_due_nightly_timer_starts_nothing_twice(store: Store, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    // Half a day from now on, so that it fires for no other occurrence in this test's time.
    let missed = on_the_hour(12);
    let hour = &missed.to_string()[11..13];
    let mut app = three_processes(store, seed, &[("NIGHTLY_SCHEDULE", &format!("0 0 {hour} * * *"))]).await;
    for round in 0..=rounds() {
        for process in 0..PROCESSES {
            app.strike(process, Blow::Both);
        }
        // Nobody was there when it was due: neither a run nor the status of the timer says that it fired.
        missed_at(&app, missed).await;
        let falls = falls(&mut random, 3, PROCESSES, 400, 20..400);
        println!("round {round}: {falls:?}");
        all_at_once(&mut app, &falls).await;
        let began = nightly_runs(&app).await;
        assert_eq!(began.len(), 1, "round {round}: {began:?}\n{}", app.tail());
        let status = app.outlived(&began[0]).await;
        assert_eq!(app.assert_completed(&began[0], &status), TABLES.iter().map(|(_, rows)| rows).sum::<u64>());
        assert_copied(&app, 0);
        app.assert_settled(&began[0]).await;
    }
    assert_eq!(nightly_runs(&app).await.len(), 1, "{}", app.tail());
}

/// All processes are started together, so all of them find the timer past due.
async fn all_at_once(app: &mut Deployment, falls: &[Fall]) {
    for process in 0..PROCESSES {
        app.launch_app(process);
    }
    app.suffer(falls).await;
}

/// The runs there are, once there is one.
async fn nightly_runs(app: &Deployment) -> Vec<String> {
    for _ in 0..600 {
        let runs = app.runs().await;
        if !runs.is_empty() {
            return runs.into_iter().map(|run| run.id.to_string()).collect();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the missed occurrence is not made up for\n{}", app.tail());
}

/// The whole hour so many hours ago.
fn on_the_hour(hours_ago: u32) -> Timestamp {
    use adxingestor::timestamp::{Clock, SystemClock};
    const TICKS: u64 = 10_000_000 * 3_600;
    let now = SystemClock.now().ticks();
    Timestamp::from_ticks(now - now % TICKS) - HOUR * hours_ago
}

/// The status as the host would have left it a day before the occurrence that nobody saw.
async fn missed_at(app: &Deployment, missed: Timestamp) {
    let text = |at: Timestamp| format!("{}+00:00", &at.to_string()[..19]);
    let before = missed - HOUR * 24;
    let status = json!({"Last": text(before), "Next": text(missed), "LastUpdated": text(before)});
    app.state().storage().blobs.put(STATUS, status.to_string().into()).await.unwrap();
}
