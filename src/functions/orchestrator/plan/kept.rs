//! Where the answers of a plan are kept that was put off, and those of the last count of a snapshot: in one blob of the table for
//! each, which says of what plan or snapshot they are. They only save calls: what cannot be kept, or read, is asked again.

use crate::app::App;
use crate::functions::hunting::Answers;
use crate::orchestration::ids::{LedgerId, TableKey};
use crate::orchestration::ledger::Head;
use crate::timestamp::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::timeout;

/// The part of an invocation's time that the blob may take when it is over.
const SHARE: u32 = 32;
const PATIENCE: Duration = Duration::from_secs(5);

/// Whose answers they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A plan's, by when it began.
    Plan,
    /// Those of the count that ends a snapshot, by the snapshot's time.
    LastCount,
}

impl Of {
    fn blob(self, table: &TableKey) -> String {
        let place = match self {
            Self::Plan => "plans",
            Self::LastCount => "counts",
        };
        format!("{place}/{}", table.as_str())
    }
}

/// What the blob holds.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    ledger: LedgerId,
    /// Which life of which run they are of.
    tenure: u64,
    answers: Cow<'a, Answers>,
}

/// The answers so far of what began then in a head's tenure.
pub async fn answers(app: &App, table: &TableKey, head: &Head, of: Of, began: Timestamp) -> Answers {
    let none = Answers::since(began);
    let kept = match timeout(PATIENCE, app.state.storage().blobs.get(&of.blob(table))).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(error)) => {
            tracing::warn!(?of, %error, "answers that were kept could not be read and are asked for again");
            None
        }
        Err(_) => None,
    };
    let read = kept.and_then(|kept| serde_json::from_slice::<Record<'_>>(&kept).ok());
    let is_ours = |record: &Record<'_>| {
        (record.ledger, record.tenure, record.answers.began()) == (head.ledger, head.tenure, began)
    };
    read.filter(is_ours).map_or(none, |record| record.answers.into_owned().begin_attempt())
}

/// Keeps the answers of what is put off.
pub async fn keep(app: &App, table: &TableKey, head: &Head, of: Of, answers: &Answers) {
    if !answers.is_changed() {
        return;
    }
    let record = Record { ledger: head.ledger, tenure: head.tenure, answers: Cow::Borrowed(answers) };
    let Ok(record) = serde_json::to_vec(&record) else { return };
    let (bytes, patience) = (record.len(), app.limits.invocation_deadline / SHARE);
    match timeout(patience, app.state.storage().blobs.put(&of.blob(table), Bytes::from(record))).await {
        Ok(Ok(())) => tracing::info!(?of, bytes, "what was answered is kept for the next attempt"),
        Ok(Err(error)) => {
            tracing::warn!(?of, %error, bytes, "what was answered could not be kept and is asked for again")
        }
        Err(_) => tracing::warn!(?of, bytes, "what was answered could not be kept in time and is asked for again"),
    }
}

/// Removes the answers of what was put off and is no more. What stays is of nothing that goes on.
pub async fn forget(app: &App, table: &TableKey, of: Of) {
    let _ = timeout(PATIENCE, app.state.storage().blobs.delete(&of.blob(table))).await;
}
