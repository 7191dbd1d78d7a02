//! A tenant that is copied while everything goes wrong at every step: each kind of fault strikes each step, and is counted. What
//! can be mended by itself is; what cannot is told in the output, the audit and the rows of failed windows, in words that a
//! person does; and in the end every row is there once.
//!
//! `ADXINGESTOR_ROWS` says how many rows the tenant has.

use super::gate::{Odds, On};
use super::oracle::{Copied, Ledger};
use super::told::Told;
use super::world::{Setting, SimulatedTable, World};
use super::{setting, simulated};
use adxingestor::orchestration::ids::InstanceId;
use adxingestor::orchestration::instance::RuntimeStatus;
use adxingestor::orchestration::ledger::ProofFigures;
use adxingestor::orchestration::window::WindowState;
use localcloud::adx::ingestion::Mishap;
use localcloud::faults::{Area, Fault};
use localcloud::source::{HugeCell, TableOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(48 * 3600);
/// Rows that `cargo test` copies.
const ROWS: u64 = 50_000;
/// One by which each kind of fault strikes.
const SEED: u64 = 12;
/// Windows of the tables of which rows land wrong.
const WINDOWS: u64 = 400;
/// Windows of each table that somebody does something to.
const FEW: u64 = 3;
/// Runs until all is there, with what a person does between them.
const MOST_RUNS: usize = 6;

/// Tables of which rows land wrong, with their parts of a hundred.
const BIG: [(&str, u64); 6] = [
    ("DeviceEvents", 30),
    ("DeviceProcessEvents", 25),
    ("EmailEvents", 15),
    ("UrlClickEvents", 10),
    ("IdentityLogonEvents", 10),
    ("DeviceFileEvents", 10),
];
/// Row level security is switched on once its first rows are posted.
const HIDDEN: &str = "AlertInfo";
/// It is dropped once its first rows are posted.
const DROPPED: &str = "AlertEvidence";
/// A view reads it that a new column would break.
const VIEWED: &str = "CloudAppEvents";
/// It has a row above 1 MiB.
const HUGE: &str = "EmailUrlInfo";
const MEDDLED: [&str; 4] = [HIDDEN, DROPPED, VIEWED, HUGE];

const HUNTING: [Fault; 16] = [
    Fault::Throttled,
    Fault::ThrottledWithoutRetryAfter,
    Fault::CpuUsedUp,
    Fault::Internal,
    Fault::BadGateway,
    Fault::Unavailable,
    Fault::GatewayTimeout,
    Fault::Preempted,
    Fault::Unauthorized,
    Fault::Page,
    Fault::WrongType,
    Fault::Reset,
    Fault::CutBody,
    Fault::TruncatedBody,
    Fault::EmptyBody,
    Fault::OtherSchema,
];
const KUSTO: [Fault; 13] = [
    Fault::Throttled,
    Fault::ThrottledWithoutRetryAfter,
    Fault::Internal,
    Fault::Unavailable,
    Fault::GatewayTimeout,
    Fault::BadGateway,
    Fault::CutBody,
    Fault::TruncatedBody,
    Fault::EmptyBody,
    Fault::Reset,
    Fault::ErrorAmongRows,
    Fault::ErrorAtEnd,
    Fault::ErrorInStatus,
];
const STORAGE: [Fault; 8] = [
    Fault::Throttled,
    Fault::Internal,
    Fault::Unavailable,
    Fault::BadGateway,
    // 403, as by a signature that has ended.
    Fault::Preempted,
    Fault::CutBody,
    // Done, and the answer is an error or lost.
    Fault::GatewayTimeout,
    Fault::TruncatedBody,
];
/// The steps that requests are of, what happens to them, and how many pass between two of these.
const STEPS: [(Area, &[Fault], usize); 6] = [
    (Area::Hunting, &HUNTING, 6),
    (Area::Blobs, &STORAGE, 8),
    (Area::Queues, &STORAGE, 6),
    (Area::Tables, &STORAGE, 5),
    (Area::Queries, &KUSTO, 4),
    (Area::Commands, &KUSTO, 4),
];
const MISHAPS: [(Mishap, f64); 9] = [
    (Mishap::Late, 0.02),
    (Mishap::Twice, 0.02),
    (Mishap::Lost, 0.02),
    (Mishap::Half, 0.02),
    (Mishap::Transient, 0.02),
    (Mishap::Permanent, 0.015),
    (Mishap::Unmapped, 0.015),
    (Mishap::Unfilled, 0.015),
    (Mishap::Undelivered, 0.015),
];
/// What windows that failed may say, of which each says one: the cause, and what to do.
const WORDS: [(&str, &str); 12] = [
    ("BadRequest_InvalidBlob (Permanent)", "start another run"),
    ("BadRequest_InconsistentMapping (Permanent)", "bring it back"),
    ("Download_SourceNotFound (Permanent)", "pulls the window again"),
    // By a signature that had ended between the post and the reading.
    ("Download_Forbidden (Permanent)", "check the network rules"),
    ("it was loaded more than once", "`.delete table"),
    ("BadRequest_TableNotExist (Permanent)", "bring it back"),
    ("without content", "remove the window's rows with `.delete table"),
    (" of the ", "`.delete table"),
    // Whether the last post was taken is not known, or the service says nothing of it.
    (" of the ", "Start another run: it counts again, and posts the window again"),
    ("has row level security", "switch it off with `"),
    ("could not be found out", ""),
    ("above 1048576 bytes it would land in EmailUrlInfo as null", "Raise the limit with `.alter column"),
];

fn windows_of_rows(rows: u64) -> u64 {
    (rows / WINDOWS).max(1)
}

fn tenant(rows: u64) -> World {
    let seed = setting("ADXINGESTOR_SEED").unwrap_or(SEED);
    println!("ADXINGESTOR_SEED={seed}");
    let each = windows_of_rows(rows);
    let big = BIG.map(|(name, part)| SimulatedTable { name, rows: rows * part / 100, days: 20 });
    let meddled = MEDDLED.map(|name| SimulatedTable { name, rows: FEW * each, days: 5 });
    let mut setting = Setting::quiet(seed, big.into_iter().chain(meddled).collect());
    let huge = TableOptions { huge_cell: Some(HugeCell { row: 5, bytes: 1_200_000 }), ..setting.options.clone() };
    setting.special = vec![(HUGE, huge)];
    setting.devices = 100;
    setting.processes = 3;
    setting.repeated = 20;
    setting.odds =
        Odds { die: 1, lose_answer: 5, refuse: 4, throttle: 2, hang: 1, delay: 6, drop: 5, double: 8, stall: 0 };
    setting.mishaps = MISHAPS.to_vec();
    setting.lateness = Duration::from_secs(900);
    setting.settings = vec![
        ("CHUNK_SIZE", each.to_string()),
        ("HUNTING_CALLS_PER_MINUTE", "600".to_owned()),
        ("REPAIR", "delete".to_owned()),
    ];
    let world = World::new(&setting);
    for (area, kinds, stride) in STEPS {
        let strikes = (0..).map(move |at| (at % stride == stride - 1).then(|| kinds[at / stride % kinds.len()]));
        world.cloud.faults().script(area, strikes.take(30_000));
    }
    world.adx(&format!(".create table {VIEWED} (Timestamp:datetime, RawData:dynamic)"));
    world.adx(&format!(
        ".create materialized-view Latest on table {VIEWED} {{ {VIEWED} | summarize arg_max(Timestamp, *) by Id = tostring(RawData.DeviceId) }}"
    ));
    world
}

fn tables() -> impl Iterator<Item = &'static str> {
    BIG.into_iter().map(|(name, _)| name).chain(MEDDLED)
}

/// Does to some tables what is done to them, as soon as their first rows are posted.
async fn meddled_with(world: &mut World, id: &InstanceId) {
    let mut left = vec![
        (HIDDEN, format!(".alter table {HIDDEN} policy row_level_security enable \"{HIDDEN} | where false\"")),
        (DROPPED, format!(".drop table {DROPPED}")),
    ];
    let end = world.clock.elapsed() + PATIENCE;
    while !left.is_empty() {
        assert!(world.clock.elapsed() < end, "nothing is posted: {left:?}");
        for (table, command) in std::mem::take(&mut left) {
            let ledger = world.ledger(Copied::under_its_name(table)).await;
            let posted = ledger
                .is_some_and(|Ledger { head, .. }| head.run.as_ref() == Some(id) && head.progress.posted_rows > 0);
            if posted {
                world.adx(&command);
            } else {
                left.push((table, command));
            }
        }
        world.pass(Duration::from_millis(200)).await;
    }
    world.cloud.storage().expire_all();
}

/// That each kind of fault has struck at each step.
fn everything_struck(world: &World) {
    let (happened, mishaps) = (world.cloud.faults().happened(), world.cloud.ingestion().statistics().mishaps);
    println!("{happened:?}\n{mishaps:?}\n{:?}", world.fate.happened());
    let of_requests = STEPS.iter().flat_map(|(area, kinds, _)| kinds.iter().map(move |kind| (*area, *kind)));
    let spared: Vec<_> = of_requests.filter(|kind| !happened.contains_key(kind)).collect();
    assert!(spared.is_empty(), "these never struck: {spared:?}");
    let spared: Vec<_> = MISHAPS.iter().filter(|(mishap, _)| !mishaps.contains_key(mishap)).collect();
    assert!(spared.is_empty(), "nothing landed so: {spared:?}");
    let effects = world.fate.happened();
    let everywhere =
        ["dies before", "dies after", "loses the answer", "is refused", "is throttled", "hangs", "is late"];
    let kinds = [On::Store, On::Network].into_iter().flat_map(|on| everywhere.map(|kind| (on, kind)));
    let kinds = kinds.chain([(On::Message, "is lost"), (On::Message, "comes twice")]);
    let spared: Vec<_> = kinds.filter(|kind| !effects.contains_key(kind)).collect();
    assert!(spared.is_empty(), "no effect met this: {spared:?}");
}

/// What is at the destination under windows that are proved is what the source has, each row once; gives how many.
async fn exact_as_far_as_proved(world: &World, table: &'static str) -> u64 {
    let Some(Ledger { windows, .. }) = world.ledger(Copied::under_its_name(table)).await else { return 0 };
    let proved = windows.iter().filter(|window| window.state == WindowState::Verified);
    let proved: BTreeMap<String, u64> =
        proved.map(|window| (window.id.to_string(), window.seal.as_ref().map_or(0, |seal| seal.rows))).collect();
    let mut there = Vec::new();
    if let Some(entry) = world.cloud.adx().database.read().tables.get(table) {
        there.extend(entry.data.identities().filter(|(_, window)| proved.contains_key(&**window)).map(|(row, _)| row));
    }
    let rows: u64 = proved.values().sum();
    let found = world.cloud.source().compare(table, i64::MIN, i64::MAX, there).unwrap();
    assert_eq!((found.matched, found.surplus), (rows, 0), "{table}");
    rows
}

/// That what failed is told: once for each window in the rows of failed windows, each in words for a person.
async fn failures_are_told(world: &World, table: &'static str, told: &Told) -> usize {
    let failed = world
        .ledger(Copied::under_its_name(table))
        .await
        .map_or(0, |ledger| ledger.windows.iter().filter(|window| window.state == WindowState::Failed).count());
    assert_eq!(told.failures.len(), failed, "{table}: {told:#?}");
    for failure in &told.failures {
        let is_told = WORDS.iter().any(|(cause, remedy)| failure.contains(cause) && failure.contains(remedy));
        assert!(is_told, "{table}: this tells nobody what to do: {failure}");
    }
    failed
}

/// Does what the rows of failed windows say.
fn does_what_is_said(world: &World, told: &[(&'static str, Told)]) {
    let begins = [".delete table", ".alter column", ".alter-merge table"];
    let commands = told.iter().flat_map(|(_, told)| begins.iter().flat_map(|begin| told.commands(begin)));
    let commands: BTreeSet<String> = commands.collect();
    for command in commands {
        println!("{command}");
        world.adx(&command);
    }
}

async fn a_run(world: &mut World, meddles: bool) -> Vec<(&'static str, Told)> {
    let id = world.start().await;
    if meddles {
        meddled_with(world, &id).await;
    }
    let run = world.ended(&id, PATIENCE).await.unwrap_or_else(|| panic!("the run does not end"));
    assert_eq!(run.status, RuntimeStatus::Completed, "{run:?}");
    let mut told = Vec::new();
    for table in tables() {
        told.push((table, world.told(&id, table).await));
    }
    told
}

async fn figures(world: &World, told: &[(&'static str, Told)], took: Duration) {
    let mut all = ProofFigures::default();
    let (mut windows, mut bytes, mut uploaded) = (0, 0, 0);
    for (table, Told { result, .. }) in told {
        windows += result.windows;
        bytes += result.bytes;
        let sealed = world.ledger(Copied::under_its_name(table)).await.map_or_else(Vec::new, |ledger| ledger.windows);
        uploaded +=
            sealed.iter().filter_map(|window| window.seal.as_ref()).map(|seal| seal.compressed_bytes).sum::<u64>();
        all.queries += result.proof.queries;
        all.commands += result.proof.commands;
        all.windows += result.proof.windows;
        all.total_ms += result.proof.total_ms;
        all.longest_ms = all.longest_ms.max(result.proof.longest_ms);
    }
    let each = |figure: u64| figure as f64 / all.windows.max(1) as f64;
    println!(
        "{windows} windows, {} proved; {} posts; {bytes} bytes of rows posted in blobs of {uploaded}; {:.2} count queries and {:.2} other looks for each proved window; \
         from submit to proof {:.1} s on average, {:.0} s at most; {took:?}",
        all.windows,
        world.cloud.ingestion().statistics().messages,
        each(all.queries),
        each(all.commands),
        each(all.total_ms) / 1000.0,
        all.longest_ms as f64 / 1000.0
    );
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown").to_owned()
}

#[test]
fn whatever_goes_wrong_at_every_step_every_row_is_there_once_in_the_end_and_what_failed_is_told() {
    let rows = setting("ADXINGESTOR_ROWS").unwrap_or(ROWS);
    simulated(async || {
        let began = Instant::now();
        let mut world = tenant(rows);
        println!("{rows} rows made in {:?}", began.elapsed());
        let first = a_run(&mut world, true).await;
        figures(&world, &first, began.elapsed()).await;
        everything_struck(&world);
        let by_name = |name: &str| &first.iter().find(|(table, _)| *table == name).unwrap().1;
        for (table, words) in [
            (HIDDEN, "has row level security"),
            (VIEWED, "the materialized view `Latest`"),
            (HUGE, "it would land in EmailUrlInfo as null"),
            (DROPPED, DROPPED),
        ] {
            let told = by_name(table);
            assert!(
                !told.result.success && told.output.contains(words) && told.audit.contains(words),
                "{table}: {told:#?}"
            );
        }
        let (mut failed, mut proved) = (0, 0);
        world.adx(&format!(".delete table {HIDDEN} policy row_level_security"));
        for (table, told) in &first {
            failed += failures_are_told(&world, table, told).await;
            proved += exact_as_far_as_proved(&world, table).await;
        }
        println!("{failed} windows failed and are told, {proved} rows are proved");
        assert!(failed > 10 && proved > rows / 2, "{failed} windows failed, {proved} rows are proved");

        // A person reads it.
        world.adx(".drop materialized-view Latest");
        world.cloud.ingestion().end_mishaps();
        let (mut told, mut runs) = (first, 1);
        while told.iter().any(|(_, told)| !told.result.success) {
            assert!(runs < MOST_RUNS, "{told:#?}");
            does_what_is_said(&world, &told);
            told = a_run(&mut world, false).await;
            runs += 1;
            for (table, told) in &told {
                failures_are_told(&world, table, told).await;
            }
        }
        world.fate.calm();
        for (area, ..) in STEPS {
            world.cloud.faults().unscript(area);
        }
        let last = a_run(&mut world, false).await;
        assert!(last.iter().all(|(_, told)| told.result.success), "{last:#?}");
        for table in tables() {
            world.whole(table).await;
        }
        println!("exact after {runs} runs and a quiet one; {:?}; {}", began.elapsed(), peak_memory());
    });
}
