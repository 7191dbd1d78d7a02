//! What runs in which nothing goes wrong ask of the state account, by what it is for: what a window costs, what a table, and what the
//! watchdog.

use super::world::{Setting, SimulatedTable, World};
use super::{each, setting, simulated};
use adxingestor::orchestration::instance::RuntimeStatus;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;

const TABLES: [&str; 3] = ["DeviceEvents", "EmailEvents", "UrlClickEvents"];
/// Shapes of a tenant that `cargo test` looks at.
const SHAPES: u64 = 200;
/// For the calls of its plan.
const PERMITS_OF_A_TABLE: u64 = 6;
/// Of a table, and for each minute of its run: its plan, its counts and its end.
const STEPS: (u64, u64) = (7, 2);
/// A head is looked at before a seal once in two seconds at most.
const LOOKS: (u64, u64) = (6, 15);
const REST: (u64, u64) = (40, 10);
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum For {
    /// The message of a window.
    Message,
    /// A claim or a seal.
    Window,
    /// The end of a window, with the counts of its table.
    End,
    /// A permit, read or taken.
    Permit,
    /// The windows of a plan.
    Plan,
    /// What a table's head is looked at for.
    Look,
    /// A message about a table or the run.
    Step,
    /// The counts at the destination, the run, the watchdog.
    Rest,
}

/// What an effect is for, if it is one on the state account.
fn purpose(effect: &str) -> Option<For> {
    let (verb, on) = effect.split_once(' ')?;
    let is = |row: &str| on.contains(row);
    Some(match verb {
        "send" if is("adxingestor-chunks ") => For::Message,
        "send" => For::Step,
        "commit" | "get" if is("q:") => For::Permit,
        "commit" if on.starts_with("1: replace") && is("/w:") => For::Window,
        "commit" if on.starts_with("2: replace") && on.contains("/w:") && on.ends_with("/h") => For::End,
        "commit" if is(", insert t:") && is("/w:") => For::Plan,
        "get" if on.ends_with("/h") => For::Look,
        "commit" | "get" | "page" | "put" | "delete" | "receive" | "count" | "extend" => For::Rest,
        _ => return None,
    })
}

/// A tenant, and how it is copied.
fn shape(seed: u64) -> Setting {
    let mut dice = StdRng::seed_from_u64(seed);
    let dice = &mut dice;
    let tables = TABLES.iter().take(dice.random_range(1..=3));
    let tables =
        tables.map(|name| SimulatedTable { name, rows: dice.random_range(0..400), days: dice.random_range(1..6) });
    let mut setting = Setting::quiet(seed, tables.collect());
    setting.noted = true;
    let calls = *[45, 600].choose(dice).unwrap();
    setting.quota = Some(calls);
    setting.settings = vec![
        ("CHUNK_SIZE", dice.random_range(5..20u32).to_string()),
        ("MAX_THREAD_WORKERS", dice.random_range(1..=8u32).to_string()),
        ("MAX_CONCURRENT_TASKS", dice.random_range(1..=3u32).to_string()),
        ("HUNTING_CALLS_PER_MINUTE", calls.to_string()),
    ];
    setting
}

/// How many transactions of a run are for what, and its windows.
struct Cost {
    of: BTreeMap<For, u64>,
    windows: u64,
    tables: u64,
    took: Duration,
}

impl Cost {
    async fn of_a_run(setting: &Setting) -> Self {
        let mut world = World::new(setting);
        let began = world.clock.elapsed();
        let id = world.start().await;
        let run = world.ended(&id, PATIENCE).await.unwrap();
        assert_eq!((run.status, run.tables_failed), (RuntimeStatus::Completed, 0), "{run:?}");
        let results = world.records().tables(&id).await.unwrap();
        let windows = results.iter().map(|table| table.record.result.as_ref().unwrap().windows);
        let mut of = BTreeMap::new();
        for line in world.fate.lines() {
            // The time and the process stand before it.
            let effect = line.splitn(3, ' ').nth(2).and_then(|effect| effect.strip_suffix(" Pass"));
            if let Some(purpose) = effect.and_then(purpose) {
                *of.entry(purpose).or_default() += 1;
            }
        }
        let took = world.clock.elapsed() - began;
        Self { of, windows: windows.sum(), tables: results.len() as u64, took }
    }

    fn of(&self, purpose: For) -> u64 {
        self.of.get(&purpose).copied().unwrap_or_default()
    }

    /// All of them: the host receives and deletes each message once.
    fn all(&self) -> u64 {
        self.of.values().sum::<u64>() + 2 * (self.of(For::Message) + self.of(For::Step))
    }

    /// What is more than it may be where one process is at work.
    fn excess(&self) -> Vec<String> {
        let Self { windows, tables, .. } = *self;
        let minutes = self.took.as_secs() / 60 + 1;
        let of_tables = |(each, a_minute): (u64, u64)| tables * (each + a_minute * minutes);
        let most = [
            (For::Message, windows),
            // One claim, one seal.
            (For::Window, 2 * windows),
            (For::End, windows),
            (For::Permit, 2 * windows + PERMITS_OF_A_TABLE * tables),
            // Two transactions for a hundred windows.
            (For::Plan, tables + windows / 99),
            (For::Step, of_tables(STEPS)),
            (For::Look, of_tables(LOOKS)),
            (For::Rest, of_tables(REST)),
        ];
        let over = most.into_iter().filter(|(purpose, most)| self.of(*purpose) > *most);
        over.map(|(purpose, most)| format!("{} for {purpose:?} instead of {most}", self.of(purpose))).collect()
    }
}

#[test]
fn what_a_window_and_a_table_cost_stands_whatever_the_tenant_looks_like() {
    let shapes = setting("ADXINGESTOR_SHAPES").unwrap_or(SHAPES);
    let found = each((0..shapes).collect(), |seed| {
        let cost = simulated(async || Cost::of_a_run(&shape(*seed)).await);
        let Cost { of, windows, tables, took } = &cost;
        println!("{seed}: {windows} windows of {tables} tables in {took:?}: {} transactions, {of:?}", cost.all());
        Some(cost.excess()).filter(|excess| !excess.is_empty()).map(|excess| (*seed, excess))
    });
    assert!(found.is_empty(), "{found:#?}");
}
