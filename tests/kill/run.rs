//! Kills in the midst of runs.

use crate::support::Store;
use crate::support::blows::{falls, rounds};
use crate::support::{now, ticks};
use crate::{PROCESSES, TABLES, UNHURRIED, assert_copied, started, three_processes};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::time::Duration;

const BLOWS: usize = 6;
/// Rows that arrive between two runs, in each table.
const NEW_ROWS: u64 = 1_000;

pub async fn every_row_arrives_once_whatever_is_killed(store: Store, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut app = three_processes(store, seed, &[UNHURRIED]).await;
    for round in 0..rounds() {
        if round > 0 {
            for (name, _) in TABLES {
                let at = now();
                app.cloud.source().append(name, NEW_ROWS, at - ticks(Duration::from_millis(500)), at).unwrap();
            }
        }
        let falls = falls(&mut random, BLOWS, PROCESSES, 6_000, 50..2_000);
        println!("round {round}: {falls:?}");
        let id = started(&app).await;
        app.suffer(&falls).await;
        let status = app.outlived(&id).await;
        let expected = if round == 0 { TABLES.iter().map(|(_, rows)| rows).sum() } else { NEW_ROWS * 2 };
        assert_eq!(app.assert_completed(&id, &status), expected, "{status:#}");
        assert_copied(&app, NEW_ROWS * round);
        app.assert_settled(&id).await;
    }
}
