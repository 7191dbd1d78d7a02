//! The embedded Functions host, and what an invocation does within the time that it gives. The checks share an app in a temporary
//! folder, a programmable handler, a plain HTTP client and a console that remembers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod app;
mod conformance;
mod deadlines;
mod handler;
mod health;
mod http;
#[path = "../support/one_table.rs"]
mod one_table;
mod process;
#[path = "../support/wiring.rs"]
mod wiring;

use adxingestor::host::{Console, Entry};
use std::future::Future;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long anything expected may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Remembers what the host says.
#[derive(Default)]
pub struct Lines(Mutex<Vec<Entry>>);

impl Lines {
    /// All that it said.
    pub fn all(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    /// Whether a line has this text.
    pub fn contain(&self, text: &str) -> bool {
        self.all().iter().any(|entry| entry.text.contains(text))
    }
}

impl Console for Lines {
    fn write(&self, entry: Entry) {
        self.0.lock().unwrap().push(entry);
    }
}
