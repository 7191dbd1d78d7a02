//! Kills while a run is being started, before its client is answered and right after.

use crate::support::Store;
use crate::support::blows::{Blow, rounds, seed};
use crate::{PROCESSES, assert_copied, ended, three_processes};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::time::Duration;

const START: &str = "/api/adxingestor/start_orchestrator";
const STARTS: usize = 6;

pub async fn a_start_that_is_killed_begins_one_run_or_none(store: Store) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut app = three_processes(store, seed, &[]).await;
    for _ in 0..rounds() {
        let mut accepted = BTreeSet::new();
        for start in 0..STARTS {
            let (process, blow) = (random.random_range(0..PROCESSES), Blow::draw(&mut random));
            let patience = Duration::from_millis(random.random_range(0..30));
            let asked = tokio::spawn(app.ask(process, "POST", START));
            // Every other client hears its answer, and nobody after it.
            if start % 2 == 0 {
                tokio::time::sleep(patience).await;
            } else {
                while !asked.is_finished() {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
            app.strike(process, blow);
            let answer = asked.await.unwrap();
            println!("start {start}: {blow:?} of {process} after {patience:?}: {answer:?}");
            match answer {
                Some((202, body)) => {
                    accepted.insert(body["id"].as_str().unwrap().to_owned());
                }
                None | Some((409 | 500.., _)) => {}
                other => panic!("{other:?}"),
            }
            app.all_up().await;
        }
        // A client that was not answered asks again: there is a run, or it starts one.
        let (status, body) = app.insist(0, "POST", START).await;
        assert!(matches!(status, 202 | 409), "{status}: {body}");
        let last = last_of(&app, &body).await;
        accepted.insert(last.clone());
        for id in &accepted {
            let status = ended(&app, id).await;
            app.assert_completed(id, &status);
        }
        assert_copied(&app, 0);
        app.assert_settled(&last).await;
        // One after the other: each began when the one before it had ended.
        let mut runs = app.runs().await;
        runs.sort_by_key(|run| run.created);
        for pair in runs.windows(2) {
            assert!(pair[0].updated <= pair[1].created, "two runs at once: {pair:#?}");
        }
    }
}

/// The run that is going on: the one of the answer, or, where that start was broken off, the one that takes its place.
async fn last_of(app: &crate::support::Deployment, body: &serde_json::Value) -> String {
    let mut id = body["id"].as_str().unwrap().to_owned();
    for _ in 0..600 {
        if app.ask(0, "GET", &format!("/api/status/{id}")).await.is_some_and(|(status, _)| status == 200) {
            return id;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        id = app.insist(0, "POST", START).await.1["id"].as_str().unwrap().to_owned();
    }
    panic!("a start that was broken off is never made good\n{}", app.tail());
}
