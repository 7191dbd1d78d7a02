//! The message that asks the service to ingest one blob (dataexplorer-docs
//! `api/netfx/kusto-ingest-client-rest.md`), and how it is put into a queue.

use super::super::Error;
use super::requests::{Refusal, Request, send};
use super::{Ingestor, StoredBlob};
use crate::kql::Identifier;
use crate::timestamp::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

/// The most bytes of a message text (Azure Queue Storage).
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// How many queues are tried.
const MAX_QUEUES: usize = 3;

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

fn mapping(submission: &Submission<'_>) -> Value {
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
        // litter for others, and no report is proof. The count is; the reason of a failure comes from the engine.
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
    if let Some(created) = submission.created {
        message["AdditionalProperties"]["creationTime"] = json!(created);
    }
    message
}

pub(super) async fn post(ingestor: &Ingestor, submission: &Submission<'_>, deadline: Instant) -> Result<(), Error> {
    if submission.raw_bytes == 0 || submission.blob.compressed_bytes == 0 {
        return Err(Error::invalid(format!("blob {} is empty; there is nothing to ingest", submission.blob.url)));
    }
    let client = &ingestor.client;
    let mut waits = client.pace().waits(client.seed());
    let mut resources = ingestor.resources(deadline).await?;
    let mut refreshed = false;
    loop {
        let Some((container, name)) = resources.container_of(&submission.blob.url) else {
            if refreshed {
                return Err(Error::NotFound {
                    what: format!("the container of {} among those that the service lends", submission.blob.url),
                });
            }
            refreshed = true;
            resources = ingestor.resources_after(&resources, deadline).await?;
            continue;
        };
        let blob_path = container.below(name);
        let stamp = Stamp {
            id: client.ids().fresh(),
            created: client.clock().now(),
            database: client.database(),
            blob_path: blob_path.as_str(),
            identity_token: resources.identity_token.expose(),
        };
        let body = envelope(&message(submission, &stamp))?;
        let mut last = Refusal::Other(Error::unavailable("no queue was tried"));
        for queue in ingestor.storage.queues(&resources).iter().take(MAX_QUEUES) {
            let request = Request {
                method: Method::POST,
                url: queue.below("messages"),
                headers: &[("content-type", "application/xml")],
                body: body.clone().into(),
                changes: true,
            };
            match send(client.outbound(), client.clock(), request, deadline).await {
                Ok(_) => return Ok(()),
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
