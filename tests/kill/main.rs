//! The whole system with `kill -9`: three processes on one state store, their hosts, their handlers or both killed at
//! moments that a seed names, again and again, while the services fail now and then. Afterwards every row is at its
//! destination once, and everything that the app and the cluster have on record agrees.
//!
//! A failed test shows its seed. `ADXINGESTOR_SEED` lets the same blows fall at the same times; what they meet depends on
//! the machine, too. `ADXINGESTOR_KILLS` repeats each scenario's runs so many times.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nightly;
mod run;
mod start;
#[path = "../support/mod.rs"]
mod support;
mod terminate;

use localcloud::adx::ingestion::Mishap;
use localcloud::cloud::Settings as CloudSettings;
use localcloud::faults::{Area, Fault, Plan};
use std::time::Duration;
use support::azurite::Azurite;
use support::{Copied, Deployment, Store, table};
use tokio::sync::Semaphore;

/// A message in the hands of a host that was killed comes back after 10 seconds: 10 minutes, so much faster.
const TIME_SCALE: f64 = 60.0;
const PROCESSES: usize = 3;
/// Scenarios at once: each is six processes that are killed and started again, and they have to get their work done in time.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Makes a test of each scenario: on a SQLite file and on Azurite at the same time, with the same seed.
macro_rules! on_both_stores {
    ($($of:ident::$scenario:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                let _turn = TURNS.acquire().await.unwrap();
                let seed = support::blows::seed();
                let on_azurite = async {
                    if let Some(store) = azurite() {
                        $of::$scenario(store, seed).await;
                    }
                };
                tokio::join!($of::$scenario(Store::sqlite(), seed), on_azurite);
            }
        )+
    };
}

on_both_stores! {
    run::every_row_arrives_once_whatever_is_killed,
    start::a_start_that_is_killed_begins_one_run_or_none,
    terminate::a_terminated_run_stays_terminated_and_counts_nothing_half_done,
    nightly::a_past_due_nightly_timer_starts_nothing_twice,
}

fn azurite() -> Option<Store> {
    let settings = [("STATE_STORE", "azure".to_owned()), ("AzureWebJobsStorage", Azurite::fresh_account()?)];
    Some(Store::new(&settings, ("STATE_TABLE", "elsewhere".to_owned()), ()))
}

/// Two tables, by their names and rows.
const TABLES: [(&str, u64); 2] = [("DeviceFileEvents", 3_000), ("DeviceRegistryEvents", 1_500)];

/// So many hunting calls a minute that the tables are pulled in 5 seconds and more.
const UNHURRIED: (&str, &str) = ("HUNTING_CALLS_PER_MINUTE", "600");

/// Three processes and a cloud that is not quite well; the tables make some 50 windows.
async fn three_processes(store: Store, seed: u64, more: &[(&str, &str)]) -> Deployment {
    let copied = TABLES.map(|(name, _)| Copied::incremental(name));
    let mut settings = vec![("CHUNK_SIZE", "100")];
    settings.extend_from_slice(more);
    let mut app = Deployment::start_scaled(TIME_SCALE, store, unwell(seed), &copied, &settings).await;
    // Not by odds: the end of a table repeats its commands for 2 seconds at this time scale, so never two in a row.
    for (area, fault) in [(Area::Identity, Fault::Unavailable), (Area::Commands, Fault::Internal)] {
        let every_eighth = (1..=160).map(|asked| (asked % 8 == 0).then_some(fault));
        app.cloud.faults().script(area, every_eighth);
    }
    for _ in 1..PROCESSES {
        app.add_app().await;
    }
    app
}

/// Services that throttle and fail, and ingestion that lands late.
fn unwell(seed: u64) -> CloudSettings {
    let mut cloud = support::cloud(TABLES.map(|(name, rows)| table(name, rows, 8)).into());
    cloud.source.seed = seed;
    let failing = [(Fault::Internal, 0.02), (Fault::Unavailable, 0.02), (Fault::Throttled, 0.02)];
    cloud.faults = Plan { most: Some(12), ..Plan::default() }
        .with(Area::Hunting, [(Fault::Throttled, 0.02), (Fault::Internal, 0.02), (Fault::CutBody, 0.02)])
        .with(Area::Queries, failing)
        .with(Area::Blobs, failing)
        .with(Area::Queues, failing);
    cloud.ingestion.seed = seed;
    cloud.ingestion.delay = Duration::from_millis(500);
    cloud.ingestion.lateness = Duration::from_secs(3);
    cloud.ingestion.mishaps = vec![(Mishap::Late, 0.1)];
    cloud
}

/// Panics unless every row of the source is at its destination once.
fn assert_copied(app: &Deployment, appended: u64) {
    for (name, rows) in TABLES {
        app.assert_equal(name, name);
        assert_eq!(app.rows(name), rows + appended, "{name}");
    }
}

const START: &str = "/api/adxingestor/start_orchestrator";

/// The run that a client starts who asks until he is answered; an earlier try may have started it.
async fn started(app: &Deployment) -> String {
    let (status, body) = app.insist(0, "POST", START).await;
    assert!(matches!(status, 202 | 409), "{status}: {body}");
    id_of(&body)
}

fn id_of(body: &serde_json::Value) -> String {
    body["id"].as_str().unwrap().to_owned()
}
