//! The official Kusto clients for Python, unchanged, at the simulated cloud: it is held to what somebody else wrote. Queries,
//! management commands, streaming and queued ingestion, status by queue and by table, and the clients' own retries.

use crate::support::azurite::installed;
use localcloud::cloud::{Cloud, Settings};
use localcloud::faults::{Area, Fault};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LOCKED: [(&str, &str); 1] = [("requirements.txt", include_str!("../kusto_sdk/requirements.txt"))];
const CHECKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kusto_sdk");
/// The longest that the checks of one file take.
const PATIENCE: Duration = Duration::from_secs(300);

/// The interpreter of an environment of its own.
fn python() -> Option<PathBuf> {
    let home = installed::from_pip("kusto-sdk", "the tests with the Kusto clients for Python", &LOCKED)?;
    Some(installed::interpreter(&home))
}

fn cloud() -> Cloud {
    let mut settings = Settings::default();
    settings.ingestion.delay = Duration::from_millis(100);
    Cloud::start(settings).unwrap()
}

/// Runs checks against a cloud: those of a file, or one of them.
fn check(cloud: &Cloud, checks: &str) {
    let Some(python) = python() else { return };
    let said = tempfile::NamedTempFile::new().unwrap();
    let output = || Stdio::from(said.reopen().unwrap());
    let mut run = Command::new(python)
        // Nothing is written beside the checks; what the clients say of themselves is not looked at.
        .args(["-B", "-W", "ignore", "-m", "unittest", "--verbose", checks])
        .current_dir(CHECKS)
        .envs(cloud.product_settings())
        .stdin(Stdio::null())
        .stdout(output())
        .stderr(output())
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = run.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > until {
            run.kill().unwrap();
            run.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let said = std::fs::read_to_string(said.path()).unwrap_or_default();
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{said}");
}

#[test]
fn queries_are_answered_as_the_clients_expect() {
    check(&cloud(), "test_queries");
}

#[test]
fn commands_are_answered_as_the_clients_expect() {
    check(&cloud(), "test_commands");
}

#[test]
fn streamed_rows_are_there_at_once() {
    check(&cloud(), "test_streaming");
}

#[test]
fn queued_blobs_land_and_tell_how_it_went() {
    check(&cloud(), "test_queued");
}

/// The same with faults that come to the first requests of an area, in order.
fn check_with(check_name: &str, plans: &[(Area, &[Option<Fault>])]) {
    let cloud = cloud();
    for (area, faults) in plans {
        cloud.faults().script(*area, faults.iter().copied());
    }
    check(&cloud, &format!("test_faults.Faults.{check_name}"));
}

#[test]
fn a_failure_is_found_wherever_it_stands() {
    let faults = [Fault::ErrorAmongRows, Fault::ErrorInStatus, Fault::Throttled, Fault::Unavailable].map(Some);
    check_with("test_a_failure_is_found_wherever_it_stands", &[(Area::Queries, &faults)]);
}

#[test]
fn a_stream_that_is_turned_away_is_queued() {
    let busy = Some(Fault::Throttled);
    let faults = [Some(Fault::Unavailable), None, busy, busy, busy, Some(Fault::GatewayTimeout)];
    check_with("test_a_stream_that_is_turned_away_is_queued", &[(Area::Streaming, &faults)]);
}

#[test]
fn a_queue_that_refuses_is_gone_round() {
    // Throttled is what asks for the resources, after the four commands for the check's own table. Containers are left
    // alone: the client sends what is left of its stream to the next one (azure-kusto-python `ingest/ingest_client.py`).
    let throttled = [None, None, None, None, Some(Fault::Throttled)];
    let plans: [(Area, &[Option<Fault>]); 2] =
        [(Area::Commands, &throttled), (Area::Queues, &[Some(Fault::Preempted)])];
    check_with("test_a_queue_that_refuses_is_gone_round", &plans);
}
