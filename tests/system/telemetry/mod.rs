//! What a run tells of itself: log lines, and what arrives at a collector of OpenTelemetry over OTLP. The real binary, the
//! simulated cloud, and a collector at the network edge that reads the published messages.

mod collector;
mod export;
mod lines;

use crate::support::{Copied, Deployment, Store, cloud, table};

const TABLES: [&str; 2] = ["DeviceFileEvents", "DeviceProcessEvents"];

/// An app with two tables and these settings beside the usual.
async fn app(rows: u64, settings: &[(&str, &str)]) -> Deployment {
    let tables = TABLES.iter().map(|name| table(name, rows, 8)).collect();
    let copied = TABLES.map(Copied::incremental);
    Deployment::start_with(Store::sqlite(), cloud(tables), &copied, settings).await
}

/// The queries to ADX in docs/operations.md, in the simulated engine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_questions_to_adx_are_answered_after_a_run() {
    let app = app(500, &[]).await;
    app.completed().await;
    let document = include_str!("../../../docs/operations.md");
    let blocks = document.split("```kusto\n// ADX: ").skip(1).map(|block| block.split_once("\n```").unwrap().0);
    let answers: Vec<(&str, usize)> = blocks
        .map(|block| {
            let (what, query) = block.split_once('\n').unwrap();
            (what, app.adx(query).len())
        })
        .collect();
    // All is well; and on one day each table had rows.
    let expected = [
        ("tables whose proved part ends more than 26 hours ago", 0),
        ("no table came to its result for 26 hours", 0),
        ("tables whose last result of the day is a failure", 0),
        ("open failures by reason", 0),
        ("windows whose rows had left the source", 0),
        ("rows of each table by day", 2),
    ];
    assert_eq!(answers, expected);
}
