//! A queue whose messages are taken for a while and deleted by who took them (Azure Storage REST: Peek Messages, Get
//! Messages, Delete Message). Knows nothing of what messages mean.

use super::refusal::Refusal;
use crate::source::ticks;
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// How long a message is kept unless it is deleted.
pub(super) const KEPT: i64 = 7 * ticks::DAY;

/// A message as its readers see it.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub id: Uuid,
    pub text: String,
    pub inserted: i64,
    /// When it can be seen again.
    pub visible: i64,
    /// What deletes it; new each time that it is taken.
    pub receipt: Uuid,
    /// How often it was taken.
    pub taken: u32,
}

/// Messages in the order of their arrival.
#[derive(Default)]
pub(super) struct StatusQueue(Mutex<Vec<Message>>);

impl StatusQueue {
    pub fn put(&self, text: String, now: i64) -> Message {
        let message = Message::new(text, now);
        let mut messages = self.lock();
        messages.retain(|message| message.inserted + KEPT > now);
        messages.push(message.clone());
        message
    }

    /// At most `most` messages that can be seen, left as they are.
    pub fn peek(&self, most: usize, now: i64) -> Vec<Message> {
        self.lock().iter().filter(|message| message.is_visible(now)).take(most).cloned().collect()
    }

    /// At most `most` messages, which nobody else sees for `hidden` ticks.
    pub fn take(&self, most: usize, hidden: i64, now: i64) -> Vec<Message> {
        let mut messages = self.lock();
        let visible = messages.iter_mut().filter(|message| message.is_visible(now)).take(most);
        let taken = visible.map(|message| {
            message.visible = now + hidden;
            message.receipt = Uuid::new_v4();
            message.taken += 1;
            message.clone()
        });
        taken.collect()
    }

    /// Deletes the message that was taken last with `receipt`.
    pub fn delete(&self, id: Uuid, receipt: Option<Uuid>) -> Result<(), Refusal> {
        let mut messages = self.lock();
        let at = messages.iter().position(|message| message.id == id).ok_or(Refusal::MESSAGE_NOT_FOUND)?;
        if receipt != Some(messages[at].receipt) {
            return Err(Refusal::RECEIPT_MISMATCH);
        }
        messages.remove(at);
        Ok(())
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Message>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Message {
    /// One that was never taken.
    pub fn new(text: String, now: i64) -> Self {
        Self { id: Uuid::new_v4(), text, inserted: now, visible: now, receipt: Uuid::new_v4(), taken: 0 }
    }

    fn is_visible(&self, now: i64) -> bool {
        self.visible <= now && self.inserted + KEPT > now
    }
}
