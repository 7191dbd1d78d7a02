//! The emulator that the storage tests run on is what they take it for: apart, complete in its log, gone with its test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/azurite.rs"]
mod emulator;

use emulator::{Azurite, Service};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set for a child that starts an emulator and waits to be killed.
const ROLE: &str = "AZURITE_TEST_ROLE";

#[tokio::test]
async fn the_access_log_has_every_answered_request_and_its_service() {
    let Some(azurite) = Azurite::start() else { return };
    let http = client();
    for service in Service::ALL {
        let status =
            http.get(format!("{}x-{service:?}?a=b%20c", azurite.endpoint(service))).send().await.unwrap().status();
        let requests = azurite.requests();
        let last = requests.last().unwrap();
        assert_eq!((last.service, last.method.as_str(), last.query.as_str()), (Some(service), "GET", "a=b%20c"));
        assert_eq!(
            (last.path.as_str(), last.status),
            (&*format!("/devstoreaccount1/x-{service:?}"), Some(status.as_u16()))
        );
    }
    assert_eq!(azurite.requests().len(), 3);
}

#[test]
fn emulators_are_apart() {
    let (Some(one), Some(other)) = (Azurite::start(), Azurite::start()) else { return };
    for service in Service::ALL {
        assert_ne!(one.ports().of(service), other.ports().of(service));
    }
    assert!(one.requests().is_empty() && other.requests().is_empty());
}

#[test]
fn an_emulator_ends_with_a_killed_test() {
    if Azurite::shared().is_none() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "starts_and_waits", "--nocapture"])
        .env(ROLE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let port: u16 = lines.filter_map(|line| line.split_once("listens ")?.1.parse().ok()).next().unwrap();
    let is_up = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    assert!(is_up());
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while is_up() {
        assert!(Instant::now() < deadline, "it still listens");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A child of [`an_emulator_ends_with_a_killed_test`]; does nothing by itself.
#[test]
fn starts_and_waits() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    println!("\nlistens {}", Azurite::shared().unwrap().ports().table);
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap()
}
