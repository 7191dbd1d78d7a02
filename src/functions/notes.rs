//! Notes on messages whose handling fails again and again. The host copies a message that it gives up to another queue,
//! under another id and without a word why; the note, found by the message's body, has both.

use crate::app::App;
use crate::orchestration::watchdog::poison::Note;
use crate::storage::BlobStore;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::time::timeout;

/// Most messages that fail once succeed the next time.
const FIRST_NOTED: u32 = 3;
/// A note only helps: nobody waits for it longer.
const PATIENCE: Duration = Duration::from_secs(5);
const PREFIX: &str = "failed/";
const REASON_CHARS: usize = 1_000;

/// Writes down why delivery `delivery` of a message failed, where that is not the first time.
pub async fn leave(app: &App, message: &Value, id: &str, delivery: u32, reason: &str) {
    if delivery < FIRST_NOTED {
        return;
    }
    let reason = reason.chars().take(REASON_CHARS).collect();
    let Ok(note) = serde_json::to_vec(&Note { message: id.to_owned(), delivery, reason }) else { return };
    let name = name(message);
    if !matches!(timeout(PATIENCE, blobs(app).put(&name, note.into())).await, Ok(Ok(()))) {
        tracing::warn!(message_id = id, delivery, "it could not be noted why a message failed");
    }
}

/// The note on a message, if there is one.
pub async fn find(app: &App, message: &Value) -> Option<Note> {
    let found = timeout(PATIENCE, blobs(app).get(&name(message))).await;
    serde_json::from_slice(&found.ok()?.ok()??).ok()
}

/// Removes the note on a message that was handled after all, or is buried.
pub async fn remove(app: &App, message: &Value, delivery: u32) {
    if delivery > FIRST_NOTED {
        // What is left over says nothing to anybody.
        let _ = timeout(PATIENCE, blobs(app).delete(&name(message))).await;
    }
}

fn blobs(app: &App) -> &dyn BlobStore {
    &*app.state.storage().blobs
}

fn name(message: &Value) -> String {
    let digest = Sha256::digest(message.to_string());
    format!("{PREFIX}{digest:x}")
}
