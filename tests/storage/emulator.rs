//! The emulator that the storage tests run on is what they take it for: apart, complete in its log, gone with its test.

use crate::azurite::{ACCOUNT, Azurite, KEY, Service};
use crate::grants::{account_sas, bearer_token};
use crate::proxy::{Fault, Plan, Proxy, When};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the table service has to answer in; the others leave it aside.
const ACCEPT: &str = "application/json;odata=nometadata";
/// Set for a child that starts an emulator and waits to be killed.
const ROLE: &str = "AZURITE_TEST_ROLE";

#[tokio::test]
async fn the_access_log_has_every_answered_request_and_its_service() {
    let Some(azurite) = Azurite::start() else { return };
    let http = client(None);
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

#[tokio::test]
async fn a_signature_lets_its_bearer_in_until_it_ends() {
    let Some(azurite) = Azurite::shared() else { return };
    for (expiry, status) in [("2099-01-01T00:00:00Z", 200), ("2020-01-01T00:00:00Z", 403)] {
        let signature = account_sas(ACCOUNT, KEY, "rwdlacup", "", expiry);
        for (service, list) in
            [(Service::Table, "Tables?"), (Service::Queue, "?comp=list&"), (Service::Blob, "?comp=list&")]
        {
            let url = format!("{}{list}{signature}", azurite.endpoint(service));
            let answer = client(None).get(url).header("accept", ACCEPT).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{service:?} until {expiry}");
        }
    }
}

#[tokio::test]
async fn a_token_lets_its_bearer_in_over_https() {
    let Some(azurite) = Azurite::start_with_tls() else { return };
    let http = client(azurite.authority());
    for (until, status) in [(4_000_000_000, 200), (1_600_000_001, 403)] {
        for (service, list) in
            [(Service::Table, "Tables"), (Service::Queue, "?comp=list"), (Service::Blob, "?comp=list")]
        {
            let url = format!("{}{list}", azurite.endpoint(service));
            let request = http
                .get(url)
                .header("x-ms-version", "2022-11-02")
                .header("accept", ACCEPT)
                .bearer_auth(bearer_token(1_600_000_000, until));
            assert_eq!(request.send().await.unwrap().status().as_u16(), status, "{service:?} until {until}");
        }
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the emulator's answers are small")]
async fn a_fault_takes_the_answer_and_only_one_before_it_takes_the_request() {
    let Some(azurite) = Azurite::shared() else { return };
    let (http, signature) = (client(None), account_sas(ACCOUNT, KEY, "rwdlacup", "", "2099-01-01T00:00:00Z"));
    let url = |base: &str, path: &str| format!("{base}{path}?{signature}");
    let direct = azurite.endpoint(Service::Table);
    let post = async |url: String, body: Value| {
        let answer = http.post(url).header("accept", ACCEPT).json(&body).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json::<Value>().await.ok()?))
    };
    post(url(&direct, "Tables"), json!({"TableName": "faults"})).await.unwrap();
    for (n, fault) in Fault::ALL.into_iter().enumerate() {
        let proxy = Proxy::start(azurite.ports(), Plan { seed: 1, percent: 100, faults: vec![fault] }).await;
        let spoilt = format!("http://127.0.0.1:{}/{ACCOUNT}/", proxy.ports().table);
        let answer = post(url(&spoilt, "faults"), json!({"PartitionKey": "p", "RowKey": n.to_string()})).await;
        let is_whole = answer.is_some_and(|(status, row)| status == 201 && row["RowKey"] == json!(n.to_string()));
        assert_eq!(is_whole, fault.is_harmless(), "{fault:?}");

        let row = http.get(url(&direct, &format!("faults(PartitionKey='p',RowKey='{n}')")));
        let is_there = row.header("accept", ACCEPT).send().await.unwrap().status() == 200;
        let is_before = format!("{fault:?}").contains(&format!("{:?}", When::Before));
        assert_eq!(is_there, !is_before, "{fault:?}");
        let log = proxy.log();
        assert_eq!((log[0].fault, log[0].status), (fault, is_there.then_some(201)));
    }
}

#[test]
fn an_emulator_ends_with_a_killed_test() {
    if Azurite::shared().is_none() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "emulator::starts_and_waits", "--nocapture"])
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

fn client(authority: Option<&Path>) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = reqwest::Client::builder().timeout(Duration::from_secs(20));
    if let Some(authority) = authority {
        let authority = reqwest::Certificate::from_pem(&std::fs::read(authority).unwrap()).unwrap();
        client = client.tls_certs_merge([authority]);
    }
    client.build().unwrap()
}
