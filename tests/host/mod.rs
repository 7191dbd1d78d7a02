//! What the conformance checks of the Functions host share: an app in a temporary folder, a programmable handler, a
//! plain HTTP client and a console that remembers.

#![allow(dead_code, reason = "each check uses its part")]

pub mod app;
pub mod handler;
pub mod http;
pub mod process;

use adxingestor::host::{Console, Entry};
use std::future::Future;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long anything expected may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(15);

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
    pub fn all(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    pub fn contain(&self, text: &str) -> bool {
        self.all().iter().any(|entry| entry.text.contains(text))
    }
}

impl Console for Lines {
    fn write(&self, entry: Entry) {
        self.0.lock().unwrap().push(entry);
    }
}
