//! The messages that wait to be ingested, first in, first out. Whichever queue they were put into, one reader takes
//! them all.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Waiting messages.
#[derive(Default)]
pub(super) struct Queue {
    messages: Mutex<VecDeque<String>>,
    put: AtomicU64,
    arrived: Notify,
}

impl Queue {
    pub fn put(&self, message: String) {
        let mut messages = self.lock();
        messages.push_back(message);
        self.put.fetch_add(1, Ordering::SeqCst);
        drop(messages);
        self.arrived.notify_one();
    }

    /// How many messages were ever put.
    pub fn count(&self) -> u64 {
        self.put.load(Ordering::SeqCst)
    }

    pub async fn next(&self) -> String {
        loop {
            // A permit left by `notify_one` makes this return at once.
            if let Some(message) = self.lock().pop_front() {
                return message;
            }
            self.arrived.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
