//! From the start of the process to its first answered request. Prints the median and the range of 20 starts.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use adxingestor::host::HOST_PID;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const STARTS: usize = 20;

fn main() {
    let state = tempfile::tempdir().unwrap();
    let mut times: Vec<Duration> = (0..STARTS).map(|_| start(state.path())).collect();
    times.sort();
    let [fastest, median, slowest] = [times[0], times[STARTS / 2], times[STARTS - 1]];
    println!("start to first answer: median {median:.1?}, range {fastest:.1?} to {slowest:.1?}, {STARTS} starts");
}

fn start(state: &std::path::Path) -> Duration {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let began = Instant::now();
    let mut handler = Command::new(env!("CARGO_BIN_EXE_adxingestor"))
        .arg("serve")
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
        // As the embedded host does: without it, a file is no place for the state.
        .env(HOST_PID, std::process::id().to_string())
        .env("STATE_STORE", format!("sqlite:{}", state.join("state.db").display()))
        .env("ADX_CLUSTER_URI", "https://cluster.westeurope.kusto.windows.net")
        .env("ADX_DATABASE", "Defender")
        .env("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token")
        .env("IDENTITY_HEADER", "x")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !answers(port) {
        assert!(began.elapsed() < Duration::from_secs(10), "no answer within 10 s");
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = began.elapsed();
    handler.kill().unwrap();
    handler.wait().unwrap();
    took
}

fn answers(port: u16) -> bool {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let sent = connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    sent.is_ok() && connection.read_to_end(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200")
}
