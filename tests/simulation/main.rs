//! Whole runs of the app in virtual time: its own functions and rules over a store in memory and a cloud in this process,
//! where whatever can go wrong does, from a seed that replays it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the seed comes from the environment")]

mod clock;
mod gate;
mod network;
mod process;
mod store;
mod world;

use std::time::{Duration, Instant};
use world::{Setting, SimulatedTable, World};

fn simulated<T>(work: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work())
}

#[test]
fn a_run_in_which_nothing_goes_wrong_copies_every_row() {
    let tables = vec![
        SimulatedTable { name: "DeviceEvents", rows: 60, days: 3 },
        SimulatedTable { name: "EmailEvents", rows: 25, days: 3 },
    ];
    let began = Instant::now();
    simulated(async || {
        let mut world = World::new(&Setting::quiet(1, tables));
        let id = world.start().await;
        let run = world.ended(&id, Duration::from_secs(7200)).await;
        for line in world.fate.lines() {
            println!("{line}");
        }
        println!("{:?} {} effects", world.clock.elapsed(), world.fate.effects());
        println!("{run:#?}");
    });
    println!("{:?}", began.elapsed());
}
