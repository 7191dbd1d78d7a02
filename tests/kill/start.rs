//! Kills while a run is being started, before its client is answered and right after.

use crate::support::blows::{Blow, rounds};
use crate::support::{Deployment, Store};
use crate::{PROCESSES, START, UNHURRIED, assert_copied, id_of, started, three_processes};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

const STARTS: u64 = 8;

pub async fn a_start_that_is_killed_begins_one_run_or_none(store: Store, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut app = three_processes(store, seed, &[UNHURRIED]).await;
    let starts = STARTS * rounds();
    for start in 1..=starts {
        // Every other client hears its answer, and nobody after it.
        let accepted = killed(&mut app, &mut random, start % 2 == 0).await;
        let begun = begun(&app).await;
        if let Some(accepted) = &accepted {
            assert_eq!(*accepted, begun, "the run that was accepted is the one that goes on");
        }
        let going_on = app.runs().await.into_iter().filter(|run| !run.status.is_final()).count();
        assert_eq!(going_on, 1, "runs at once\n{}", app.tail());
        if start < starts {
            let (status, body) = app.insist(0, "POST", &format!("/api/terminate/{begun}?reason=another")).await;
            assert_eq!(status, 200, "{body}");
            continue;
        }
        let status = app.outlived(&begun).await;
        app.assert_completed(&begun, &status);
        assert_copied(&app, 0);
        app.assert_settled(&begun).await;
    }
    let runs = app.runs().await;
    let completed = runs.iter().filter(|run| run.status.name() == "Completed").count();
    assert_eq!((runs.len() as u64, completed), (starts, 1), "{runs:#?}");
}

/// A start of which a process is killed; gives the run if the client was told of it.
async fn killed(app: &mut Deployment, random: &mut StdRng, answered: bool) -> Option<String> {
    let (process, blow) = (random.random_range(0..PROCESSES), Blow::draw(random));
    let patience = Duration::from_micros(random.random_range(0..10_000));
    let asked = tokio::spawn(app.ask(process, "POST", START));
    if answered {
        while !asked.is_finished() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    } else {
        tokio::time::sleep(patience).await;
    }
    app.strike(process, blow);
    let answer = asked.await.unwrap();
    println!("{blow:?} of {process}, answered {answered}, else after {patience:?}: {answer:?}");
    app.all_up().await;
    match answer {
        Some((202, body)) => Some(id_of(&body)),
        None | Some((500.., _)) if !answered => None,
        other => panic!("{other:?}\n{}", app.tail()),
    }
}

/// The run that goes on, or that a client starts who asks again: where a start was broken off halfway, once it no
/// longer holds the place.
async fn begun(app: &Deployment) -> String {
    for _ in 0..600 {
        let id = started(app).await;
        if app.insist(0, "GET", &format!("/api/status/{id}")).await.0 == 200 {
            return id;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a start that was broken off is never made good\n{}", app.tail());
}
