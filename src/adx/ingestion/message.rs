//! The message that asks the service to ingest one blob (dataexplorer-docs
//! `api/netfx/kusto-ingest-client-rest.md`), and how it is put into a queue.

use super::super::Error;
use super::requests::{Refusal, Request, send};
use super::resources::Resources;
use super::signed::Signed;
use super::status_table;
use super::way::{Queues, Way};
use super::{Ingestor, Posted, StoredBlob};
use crate::kql::Identifier;
use crate::timestamp::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

/// The most bytes of a message text (Azure Queue Storage).
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// How rows learn the id of their window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkIdMode {
    /// The mapping writes it into the column `ChunkId` as a constant.
    Constant,
    /// The packed row holds `_ChunkId`, which the mapping copies into the column `ChunkId`.
    Copied,
    /// The packed row holds `_ChunkId`; the table has no column for it.
    InRow,
}

/// A request to ingest a blob.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// The destination.
    pub table: &'a Identifier,
    /// The id under which the rows land: tag and `ChunkId`.
    pub window_id: &'a str,
    /// Which post of the window this is; the first is 1.
    pub number: u32,
    /// What to ingest.
    pub blob: &'a StoredBlob,
    /// The bytes before compression; a wrong figure spoils the service's batching.
    pub raw_bytes: u64,
    /// The destination's datetime column; read from the row's member of the same name.
    pub watermark_column: &'a Identifier,
    /// The value of that column in all rows, which do not hold it then.
    pub stamp: Option<Timestamp>,
    /// How rows learn the window's id.
    pub chunk_id: ChunkIdMode,
    /// When the extent is to have been made, for the policies that go by its age; unset, when it is ingested.
    pub created: Option<Timestamp>,
}

/// The path of a member of the record: bracketed unless it is a plain name (dataexplorer-docs `management/json-mapping.md`).
pub(in super::super) fn json_path(member: &Identifier) -> String {
    let name = member.as_str();
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    // A name holds no quote and no backslash.
    if plain { format!("$.{name}") } else { format!("$['{name}']") }
}

/// The mapping that rows are read by.
pub(super) fn mapping(submission: &Submission<'_>) -> Value {
    let watermark = submission.watermark_column;
    let time = match submission.stamp {
        Some(at) => json!({"ConstValue": at}),
        None => json!({"Path": json_path(watermark)}),
    };
    let mut columns = vec![
        json!({"column": watermark.as_str(), "Properties": time}),
        json!({"column": "RawData", "Properties": {"Path": "$"}}),
    ];
    match submission.chunk_id {
        ChunkIdMode::Constant => {
            columns.push(json!({"column": "ChunkId", "Properties": {"ConstValue": submission.window_id}}));
        }
        ChunkIdMode::Copied => columns.push(json!({"column": "ChunkId", "Properties": {"Path": "$._ChunkId"}})),
        ChunkIdMode::InRow => {}
    }
    Value::Array(columns)
}

/// What changes from post to post.
struct Stamp<'a> {
    id: Uuid,
    created: Timestamp,
    database: &'a str,
    blob_path: &'a str,
    identity_token: &'a str,
    /// The row of the status table that tells how it ends, if there is one.
    row: Option<&'a Signed>,
}

fn message(submission: &Submission<'_>, stamp: &Stamp<'_>) -> Value {
    let mut message = json!({
        "Id": stamp.id.to_string(),
        "BlobPath": stamp.blob_path,
        "RawDataSize": submission.raw_bytes,
        "DatabaseName": stamp.database,
        "TableName": submission.table.as_str(),
        // Kept until the count proves that the rows are there: the same bytes may have to be posted again.
        "RetainBlobOnSuccess": true,
        "FlushImmediately": false,
        "IgnoreSizeLimit": false,
        // 1 = nothing, by 0 = queue: the status queues belong to all clients of the cluster, so a report there would be
        // litter for others.
        "ReportLevel": 1,
        "ReportMethod": 0,
        "SourceMessageCreationTime": stamp.created,
        "ApplicationForTracing": "adxingestor",
        "ClientVersionForTracing": concat!("adxingestor:", env!("CARGO_PKG_VERSION")),
        "AdditionalProperties": {
            "authorizationContext": stamp.identity_token,
            "format": "multijson",
            "ingestionMapping": mapping(submission).to_string(),
            "ingestionMappingType": "Json",
            "tags": json!([format!("ingest-by:{}", submission.window_id)]).to_string(),
            "ingestIfNotExists": json!([submission.window_id]).to_string(),
        },
    });
    if let Some(table) = stamp.row {
        // 2 = all, by 1 = the table: in a row of its own, which nobody else reads.
        message["ReportLevel"] = json!(2);
        message["ReportMethod"] = json!(1);
        message["IngestionStatusInTable"] = json!({
            "TableConnectionString": table.url().as_str(),
            "PartitionKey": submission.window_id,
            "RowKey": submission.number.to_string(),
        });
    }
    if let Some(created) = submission.created {
        message["AdditionalProperties"]["creationTime"] = json!(created);
    }
    message
}

/// Puts a message into one of the queues; into another one only after an answer that says that it was not taken.
pub(super) async fn post(
    ingestor: &Ingestor,
    resources: &Arc<Resources>,
    submission: &Submission<'_>,
    deadline: Instant,
) -> Result<Posted, Error> {
    let client = &ingestor.client;
    let mut waits = client.pace().waits(client.seed());
    let mut resources = Arc::clone(resources);
    let (mut refreshed, mut tracked) = (false, false);
    let id = client.ids().fresh();
    loop {
        let (container, name) = ingestor.container_of(&resources, &submission.blob.url, deadline).await?;
        let Way::Queued(Queues { queues, identity_token, status_table: table }) = &resources.way else {
            return Err(Error::unavailable(
                "the cluster has stopped to lend queues; the next attempt goes another way",
            ));
        };
        let blob_path = container.below(&name);
        if !tracked {
            tracked = status_table::begin(ingestor, table.as_ref(), submission, id, deadline).await;
        }
        let stamp = Stamp {
            id,
            created: client.clock().now(),
            database: client.database(),
            blob_path: blob_path.as_str(),
            identity_token: identity_token.expose(),
            row: table.as_ref().filter(|_| tracked),
        };
        let body = envelope(&message(submission, &stamp))?;
        let mut last = Refusal::Other(Error::unavailable("no queue was tried"));
        for queue in ingestor.storage.best(client, queues) {
            let request = Request {
                method: Method::POST,
                url: queue.below("messages"),
                headers: &[("content-type", "application/xml")],
                body: body.clone().into(),
                changes: true,
            };
            let sent = send(client.outbound(), client.clock(), request, deadline).await;
            ingestor.storage.ranks.note(&queue.account(), sent.is_ok(), client.clock().now());
            match sent {
                Ok(_) => return Ok(Posted::default()),
                // It may be in the queue: a second message would be a second post.
                Err(Refusal::Other(error @ Error::OutcomeUnknown { .. })) => return Err(error),
                Err(refusal) => last = refusal,
            }
        }
        match last {
            Refusal::Stale(_) if !refreshed => {
                refreshed = true;
                resources = ingestor.resources_after(&resources, deadline).await?;
            }
            Refusal::Other(error @ (Error::Unavailable { .. } | Error::Throttled { .. })) => {
                let Some(wait) = waits.next_after(&error, deadline) else { return Err(error) };
                tokio::time::sleep(wait).await;
            }
            refusal => return Err(refusal.into_error()),
        }
    }
}

fn envelope(message: &Value) -> Result<String, Error> {
    let text = BASE64.encode(message.to_string());
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(Error::invalid(format!(
            "an ingestion message of {} bytes is above the queue's limit of 64 KiB",
            text.len()
        )));
    }
    Ok(format!("<QueueMessage><MessageText>{text}</MessageText></QueueMessage>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_names_with_specials_are_bracketed() {
        for (name, path) in [
            ("Timestamp", "$.Timestamp"),
            ("_t1", "$._t1"),
            ("Log Level", "$['Log Level']"),
            ("a.b", "$['a.b']"),
            ("1st", "$['1st']"),
        ] {
            assert_eq!(json_path(&Identifier::new(name).unwrap()), path);
        }
    }

    #[test]
    fn a_message_above_the_limit_of_the_queue_is_refused() {
        assert!(envelope(&json!("a".repeat(49_000))).is_ok());
        assert!(matches!(envelope(&json!("a".repeat(50_000))), Err(Error::Refused { .. })));
    }
}
