//! The row of the status table that tells how a post ends: made before it, changed by the service, read by its keys
//! (dataexplorer-docs `api/netfx/kusto-ingest-client-status.md`; Azure Storage REST: Insert Entity, Query Entities). Nothing
//! depends on it: a post whose row cannot be made goes without, and a table that does not answer is left out for a while.

use super::super::Error;
use super::requests::{Refusal, Request, fetch, send};
use super::signed::Signed;
use super::status::{PostKey, Status, Told};
use super::{Ingestor, Submission};
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

/// The most time that a row may take from who makes or reads it.
const PATIENCE: Duration = Duration::from_secs(3);
/// From when on an answer is waited for too long.
const TOO_LONG: Duration = Duration::from_secs(2);
const PLAIN: [(&str, &str); 2] = [("accept", "application/json;odata=nometadata"), ("dataserviceversion", "3.0;NetFx")];

/// Makes the row of a post; whether it is there.
pub(super) async fn begin(
    ingestor: &Ingestor,
    table: Option<&Signed>,
    submission: &Submission<'_>,
    id: Uuid,
    deadline: Instant,
) -> bool {
    let client = &ingestor.client;
    let now = client.clock().now();
    let Some(table) = table.filter(|table| table.is_usable(now)) else { return false };
    if !(ingestor.storage.may_ask(now) && ingestor.storage.may_track(now)) {
        return false;
    }
    let row = json!({
        "PartitionKey": submission.window_id,
        "RowKey": submission.number.to_string(),
        "Status": "Pending",
        "IngestionSourceId": id.to_string(),
        "IngestionSourcePath": submission.blob.url,
        "Database": client.database(),
        "Table": submission.table.as_str(),
        "UpdatedOn": now,
        "UpdatedOn@odata.type": "Edm.DateTime",
    });
    let headers = [&PLAIN[..], &[("content-type", "application/json"), ("prefer", "return-no-content")]].concat();
    let request = Request {
        method: Method::POST,
        url: table.url().clone(),
        headers: &headers,
        body: row.to_string().into(),
        changes: true,
    };
    let began = Instant::now();
    match send(client.outbound(), client.clock(), request, deadline.min(began + PATIENCE)).await {
        // A post of that number was begun before, and cut short.
        Ok(_) | Err(Refusal::Exists(_)) => true,
        Err(refusal) => {
            let error = refusal.into_error();
            note(ingestor, began);
            tracing::debug!(%error, window = submission.window_id, "the end of a post will not be told");
            false
        }
    }
}

/// Reads the row of a post.
pub(super) async fn read(
    ingestor: &Ingestor,
    table: &Signed,
    post: &PostKey<'_>,
    deadline: Instant,
) -> Result<Status, Error> {
    let client = &ingestor.client;
    if !ingestor.storage.may_ask(client.clock().now()) {
        return Err(Error::unavailable("the status table of the ingestion did not answer lately and is left out"));
    }
    let url = row_url(table, post.window_id, post.number);
    let request = Request { method: Method::GET, url, headers: &PLAIN, body: Bytes::new(), changes: false };
    let began = Instant::now();
    let row = match fetch(client.outbound(), client.clock(), request, deadline.min(began + PATIENCE)).await {
        Ok(row) => row,
        // It was never made, or is gone.
        Err(Refusal::Missing(_) | Refusal::Stale(Error::NotFound { .. })) => return Ok(Status::Unknown),
        Err(refusal) => {
            note(ingestor, began);
            return Err(refusal.into_error());
        }
    };
    let row: Value = serde_json::from_slice(&row)
        .map_err(|error| Error::corrupt(format!("a row of the status table that is no JSON: {error}")))?;
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
    let (status, code) = (text("Status"), text("ErrorCode"));
    Ok(Told { status, code, failure: text("FailureStatus"), details: text("Details") }.read())
}

/// Keeps a table in mind that has let somebody wait for nothing. One that fails at once costs no time.
fn note(ingestor: &Ingestor, began: Instant) {
    if began.elapsed() >= TOO_LONG {
        ingestor.storage.is_silent(ingestor.client.clock().now());
    }
}

/// `<table>(PartitionKey='…',RowKey='…')`. A window's id holds no quote.
fn row_url(table: &Signed, window_id: &str, number: u32) -> Url {
    let mut url = table.url().clone();
    let window_id = window_id.replace('\'', "''");
    let path = format!("{}(PartitionKey='{window_id}',RowKey='{number}')", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}
