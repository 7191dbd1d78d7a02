//! Kills while a run is being terminated, and after it.

use crate::support::blows::{Blow, falls, rounds};
use crate::support::{Deployment, Store};
use crate::{PROCESSES, TABLES, assert_copied, started, three_processes};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

pub async fn a_terminated_run_stays_terminated_and_counts_nothing_half_done(store: Store, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut app = three_processes(store, seed, &[("HUNTING_CALLS_PER_MINUTE", "400")]).await;
    let id = started(&app).await;
    let progress = random.random_range(1..5);
    app.until(&id, |status| {
        let windows = status["customStatus"]["tables"].as_array().into_iter().flatten();
        windows.filter_map(|table| table["windows_done"].as_u64()).sum::<u64>() >= progress
    })
    .await;
    terminated_at_last(&mut app, &id, &mut random).await;

    for _ in 0..rounds() {
        app.suffer(&falls(&mut random, 2, PROCESSES, 600, 50..500)).await;
        let (_, status) = app.insist(0, "GET", &format!("/api/status/{id}")).await;
        assert_eq!((status["runtimeStatus"].as_str(), status["output"].as_str()), (Some("Terminated"), Some("enough")));
    }
    // The next run begins at once, or when all that was under way has landed and is counted.
    let at_once = random.random_bool(0.5);
    let mut before = 0;
    if !at_once {
        app.drained().await;
        let proved = app.proved_rows(&id).await;
        for (table, proved) in &proved {
            // What is not proved may lie there, too: it was posted by a worker that was killed.
            assert!(*proved <= app.rows(table), "{table}: {proved}");
            before += proved;
        }
        for (table, audited) in audited(&app, &id) {
            assert_eq!(proved.get(&table).copied(), Some(audited), "{table}");
        }
    }
    let next = started(&app).await;
    let status = app.outlived(&next).await;
    let counted = app.assert_completed(&next, &status);
    let rows: u64 = TABLES.iter().map(|(_, rows)| rows).sum();
    println!("at once: {at_once}; the terminated run proved {before} rows, the next one counts {counted} of {rows}");
    // The first run did not go on to its end. What it proved without coming to the end of its table is counted by the next one.
    let ended: u64 = audited(&app, &id).into_iter().map(|(_, audited)| audited).sum();
    assert!(ended < rows, "{ended} of {rows}");
    assert_eq!(ended + counted, rows, "{status:#}");
    assert_copied(&app, 0);
    app.assert_settled(&next).await;
    let (_, status) = app.insist(0, "GET", &format!("/api/status/{id}")).await;
    assert_eq!(status["runtimeStatus"], "Terminated", "{status:#}");
}

/// What the audit counts for a run. A table of a run that was terminated may have come to its end all the same, if all of it
/// was posted.
fn audited(app: &Deployment, id: &str) -> Vec<(String, u64)> {
    let rows =
        app.adx(&format!("meta_MigrationAudit | where ingestion_id == '{id}' | project ['table'], records_processed"));
    rows.iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_u64().unwrap())).collect()
}

/// A client that asks until it is answered, while what it asks is killed.
async fn terminated_at_last(app: &mut Deployment, id: &str, random: &mut StdRng) {
    let path = format!("/api/terminate/{id}?reason=enough");
    for _ in 0..3 {
        let (process, blow) = (random.random_range(0..PROCESSES), Blow::draw(random));
        let patience = Duration::from_millis(random.random_range(0..15));
        let asked = tokio::spawn(app.ask(process, "POST", &path));
        tokio::time::sleep(patience).await;
        app.strike(process, blow);
        let answer = asked.await.unwrap();
        println!("{blow:?} of {process} after {patience:?}: {answer:?}");
        assert!(matches!(answer, None | Some((200 | 410 | 500.., _))), "{answer:?}");
        app.all_up().await;
    }
    let (status, body) = app.insist(0, "POST", &path).await;
    assert!(matches!(status, 200 | 410), "{status}: {body}");
}
