//! Where the answers of a plan are kept that was put off: in one blob of its table, which says of what plan they are. They only save
//! calls: what cannot be kept, or read, is asked again.

use crate::app::App;
use crate::functions::hunting::Answers;
use crate::orchestration::ids::{LedgerId, TableKey};
use crate::orchestration::ledger::{Head, PutOff};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::timeout;

/// The part of an invocation's time that the blob may take when it is over.
const SHARE: u32 = 32;
const PATIENCE: Duration = Duration::from_secs(5);

/// What the blob holds.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    ledger: LedgerId,
    /// Which life of which run the plan is of.
    tenure: u64,
    answers: Cow<'a, Answers>,
}

/// The answers that the plan of a head has so far, which was put off.
pub async fn answers(app: &App, table: &TableKey, head: &Head, PutOff { began, .. }: PutOff) -> Answers {
    let none = Answers::since(began);
    let kept = match timeout(PATIENCE, app.state.storage().blobs.get(&name(table))).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the answers of a plan could not be read and are asked for again");
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

/// Keeps the answers of a plan that is put off.
pub async fn keep(app: &App, table: &TableKey, head: &Head, answers: &Answers) {
    if !answers.is_changed() {
        return;
    }
    let record = Record { ledger: head.ledger, tenure: head.tenure, answers: Cow::Borrowed(answers) };
    let Ok(record) = serde_json::to_vec(&record) else { return };
    let (bytes, patience) = (record.len(), app.limits.invocation_deadline / SHARE);
    match timeout(patience, app.state.storage().blobs.put(&name(table), Bytes::from(record))).await {
        Ok(Ok(())) => tracing::info!(bytes, "what a plan was answered is kept for its next attempt"),
        Ok(Err(error)) => {
            tracing::warn!(%error, bytes, "what a plan was answered could not be kept and is asked for again")
        }
        Err(_) => tracing::warn!(bytes, "what a plan was answered could not be kept in time and is asked for again"),
    }
}

/// Removes the answers of a plan that was put off and is no more. What stays is of no plan.
pub async fn forget(app: &App, table: &TableKey) {
    let _ = timeout(PATIENCE, app.state.storage().blobs.delete(&name(table))).await;
}

fn name(table: &TableKey) -> String {
    format!("plans/{}", table.as_str())
}
