//! Whole runs of the app in virtual time: its own functions and rules over a store in memory and a cloud in this process,
//! where whatever can go wrong does, from a seed that replays it.
//!
//! `ADXINGESTOR_SCHEDULES` says how many schedules are played, `ADXINGESTOR_SEED` which one alone, `ADXINGESTOR_TRACE` prints
//! what happened in it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "what to play comes from the environment")]

mod clock;
mod gate;
mod network;
mod nulls;
mod observe;
mod oracle;
mod process;
mod refused;
mod schedule;
mod store;
mod world;

use schedule::Schedule;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Schedules that `cargo test` plays.
const SCHEDULES: u64 = 300;
/// Threads that play them.
const PLAYERS: usize = 2;

/// Runs `work` in virtual time, each step in the same order every time.
fn simulated<T>(work: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work())
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// What was found wrong in a schedule, and the number that stands for all that happened.
fn played(seed: u64) -> (Vec<String>, u64) {
    let play = || {
        simulated(async || {
            let (findings, world) = Schedule::of(seed).play().await;
            for line in world.fate.lines() {
                println!("{line}");
            }
            (findings, world.fate.hash())
        })
    };
    catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|_| (vec!["it panicked".to_owned()], 0))
}

/// Plays the schedules and gives those with findings.
fn all_played(seeds: std::ops::Range<u64>) -> Vec<(u64, Vec<String>)> {
    let (next, found) = (AtomicU64::new(seeds.start), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let (findings, _) = played(seed);
                    if !findings.is_empty() {
                        println!("ADXINGESTOR_SEED={seed}: {findings:#?} in {:?}", Schedule::of(seed));
                        found.lock().unwrap().push((seed, findings));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
    found.sort();
    found
}

#[test]
fn whatever_goes_wrong_every_row_is_copied_once_and_every_run_ends() {
    let seeds = match setting("ADXINGESTOR_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("ADXINGESTOR_SCHEDULES").unwrap_or(SCHEDULES),
    };
    let (began, count) = (Instant::now(), seeds.end - seeds.start);
    let found = all_played(seeds);
    let each_second = count as f64 / began.elapsed().as_secs_f64();
    println!("{count} schedules in {:?}, {each_second:.0} a second", began.elapsed());
    let seeds: Vec<u64> = found.iter().map(|(seed, _)| *seed).collect();
    assert!(found.is_empty(), "{} of {count} schedules fail; replay one with ADXINGESTOR_SEED: {seeds:?}", seeds.len());
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..20 {
        assert_eq!(played(seed), played(seed), "ADXINGESTOR_SEED={seed}");
    }
}
