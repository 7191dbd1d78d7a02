//! The messages that wait to be ingested, first in, first out. Whichever queue they were put into, one reader takes
//! them all.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Waiting messages.
#[derive(Default)]
pub(super) struct Queue {
    messages: Mutex<VecDeque<String>>,
    arrived: Notify,
}

impl Queue {
    pub fn put(&self, message: String) {
        self.lock().push_back(message);
        self.arrived.notify_one();
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
