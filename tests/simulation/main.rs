//! Whole runs of the app in virtual time: its own functions and rules over a store in memory and a cloud in this process,
//! where whatever can go wrong does, from a seed that replays it.
//!
//! `ADXINGESTOR_CRASH_POINTS=1` breaks every run that is to be broken off in every way at every effect, with and without the
//! watchdog; otherwise the effects of the longer ones have one of the six ways in turn.
//! `ADXINGESTOR_SCHEDULES` says how many schedules are played, `ADXINGESTOR_FIRST` from which on, `ADXINGESTOR_SEED` which one
//! alone, `ADXINGESTOR_TRACE` prints what happened in it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "what to play comes from the environment")]

mod answers;
mod at_once;
mod audits;
mod budget;
mod clock;
mod columns;
mod controlled;
mod crashes;
mod cut_short;
mod denied;
mod edge;
mod figures;
mod gate;
mod handover;
mod hidden;
#[path = "../support/identity.rs"]
mod identity;
mod late;
mod mapping;
mod meanwhile;
mod millions;
#[cfg(feature = "mutants")]
mod mutants;
mod network;
mod nulls;
mod observe;
mod oracle;
mod outages;
mod process;
mod put_off;
mod refused;
mod repair;
mod schedule;
mod sizes;
mod snapshots;
mod stopped;
mod store;
mod tables_at_once;
mod tenant;
mod throttled;
mod told;
mod transactions;
mod unreadable;
mod whole_tables;
#[path = "../support/wiring.rs"]
mod wiring;
mod world;

use crashes::{Before, Course, Played, VERDICTS, broken_off_at_all, is_wanted, points};
use gate::Verdict::LoseAnswer;
use schedule::Schedule;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use world::SimulatedTable;

/// Schedules that `cargo test` plays.
const SCHEDULES: u64 = 300;
/// Effects between two points of a long run. Nearer to each other, some windows are not proved within the half hour that a count waits
/// for one: a host that dies hides its messages for ten minutes of it.
const APART: usize = 100;

/// Runs `work` in virtual time, each step in the same order every time.
fn simulated<T>(work: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work())
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// What was found wrong in the schedule of a seed.
fn played(seed: u64) -> Vec<String> {
    played_as(&Schedule::of(seed))
}

fn played_as(schedule: &Schedule) -> Vec<String> {
    let play = || {
        simulated(async || {
            let (findings, world) = schedule.play().await;
            for line in world.fate.lines() {
                println!("{line}");
            }
            if !findings.is_empty() && setting("ADXINGESTOR_SEED").is_some() {
                println!("{schedule:?}");
            }
            findings
        })
    };
    catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|_| vec!["it panicked".to_owned()])
}

/// Does `work` for each of `items` on as many threads as there are cores; gives what it found, in no particular order.
fn each<T: Sync, F: Send>(items: Vec<T>, work: impl Fn(&T) -> Option<F> + Sync) -> Vec<F> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Some(finding) = work(item) {
                        found.lock().unwrap().push(finding);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn whatever_goes_wrong_every_row_is_copied_once_and_every_run_ends() {
    let seeds = match setting("ADXINGESTOR_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = setting("ADXINGESTOR_FIRST").unwrap_or(0);
            first..first + setting("ADXINGESTOR_SCHEDULES").unwrap_or(SCHEDULES)
        }
    };
    let (began, count) = (Instant::now(), seeds.end - seeds.start);
    let found = each(seeds.collect(), |seed| {
        let findings = played(*seed);
        if !findings.is_empty() {
            println!("ADXINGESTOR_SEED={seed}: {findings:#?}");
        }
        (!findings.is_empty()).then_some(*seed)
    });
    let each_second = count as f64 / began.elapsed().as_secs_f64();
    println!("{count} schedules in {:?}, {each_second:.0} a second", began.elapsed());
    assert!(found.is_empty(), "{} of {count} schedules fail; replay one with ADXINGESTOR_SEED: {found:?}", found.len());
}

#[test]
fn a_seed_replays_exactly() {
    let happened = |seed| {
        let mut schedule = Schedule::of(seed);
        schedule.setting.noted = true;
        simulated(async || {
            let (findings, world) = schedule.play().await;
            (findings, world.fate.lines())
        })
    };
    for seed in 0..20 {
        let ((once, first), (again, second)) = (happened(seed), happened(seed));
        if let Some(at) = first.iter().zip(&second).position(|(first, second)| first != second) {
            panic!("ADXINGESTOR_SEED={seed} goes apart at effect {at}: {} or {}", first[at], second[at]);
        }
        assert_eq!((once, first.len()), (again, second.len()), "ADXINGESTOR_SEED={seed}");
        assert!(!first.is_empty());
    }
}

#[test]
fn an_audit_that_was_overtaken_on_its_way_may_be_there_twice_where_no_tag_keeps_it_out() {
    // A count is sent twice, and the first of the two ends of the table has its audit on its way for 19 s.
    assert_eq!(played(12_387), Vec::<String>::new());
}

/// Fewer than the rows of a planned window take.
const SPLIT_BYTES: u64 = 40_000;
const SMALL: [SimulatedTable; 2] = [
    SimulatedTable { name: "DeviceEvents", rows: 60, days: 3 },
    SimulatedTable { name: "EmailEvents", rows: 9, days: 3 },
];

#[test]
fn a_crash_at_any_effect_of_a_run_loses_and_doubles_nothing() {
    Course::of(&SMALL, 10).broken_off_at_each();
}

#[test]
fn a_crash_at_any_effect_of_a_run_over_a_cluster_that_goes_by_no_tags_loses_and_doubles_nothing() {
    Course { ignores_tags: true, ..Course::of(&SMALL[..1], 30) }.broken_off_at_each();
}

#[test]
fn a_crash_at_any_effect_of_a_run_without_tables_leaves_it_to_end() {
    Course::of(&[], 10).broken_off_at_each();
}

#[test]
fn a_crash_at_any_effect_of_a_run_that_finds_nothing_new_loses_and_doubles_nothing() {
    Course { before: Before::ARun, ..Course::of(&SMALL, 60) }.broken_off_at_each();
}

#[test]
fn a_crash_at_any_effect_of_a_run_of_what_is_newest_and_the_one_behind_it_loses_and_doubles_nothing() {
    Course { before: Before::APart, ..Course::of(&SMALL[..1], 20) }.broken_off_at_each();
    Course { before: Before::ABeginning, ..Course::of(&SMALL[1..], 10) }.broken_off_at_each();
}

#[test]
fn a_crash_at_any_effect_of_a_run_whose_last_window_is_split_loses_and_doubles_nothing() {
    let course = Course { answer_bytes: SPLIT_BYTES, ..Course::of(&SMALL[..1], 30) };
    assert!(course.play(Vec::new()).windows > 3, "nothing was split");
    course.broken_off_at_each();
}

#[test]
fn a_crash_at_any_effect_of_an_adoption_and_the_run_after_it_loses_and_doubles_nothing() {
    Course { before: Before::ALostStore, ..Course::of(&SMALL, 30) }.broken_off_at_each();
}

#[test]
fn a_crash_at_any_effect_of_a_long_plan_loses_and_doubles_nothing() {
    let tables = [
        SimulatedTable { name: "DeviceEvents", rows: 256, days: 20 },
        SimulatedTable { name: "EmailEvents", rows: 6, days: 3 },
    ];
    for watched in [true, false] {
        let course = Course { watched, ..Course::of(&tables, 1) };
        let Played { findings, sites, windows, .. } = course.play(Vec::new());
        assert!(findings.is_empty() && windows > 250, "{windows} windows: {findings:#?}");
        let effects = sites.len();
        let each_way = VERDICTS.map(|verdict| points(sites.clone(), verdict));
        let runs: usize = (0..VERDICTS.len())
            .map(|way| {
                let wanted = (0..effects).filter(|at| is_wanted(*at, way, watched));
                let points = wanted.map(|at| (at, each_way[way][at].clone())).collect();
                // An answer that is lost ends no process.
                let apart = if VERDICTS[way] == LoseAnswer { APART / 4 } else { APART };
                broken_off_at_all(|points| course.play(points), points, apart)
            })
            .sum();
        println!("{effects} effects, {windows} windows, {runs} runs, watchdog: {watched}");
    }
}
