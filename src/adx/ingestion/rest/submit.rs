//! The request to ingest one blob (dataexplorer-docs `management/data-ingestion/queued-ingest-use-http.md`). The
//! properties of a request are those of all its blobs, so that one with a tag of its own is sent alone.

use super::super::super::Error;
use super::super::message::mapping;
use super::super::resources::Resources;
use super::super::{Ingestor, Posted, Submission};
use super::text;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;

/// Sends it, once unless the answer says that it was not taken.
pub(in super::super) async fn submit(
    ingestor: &Ingestor,
    resources: &Arc<Resources>,
    submission: &Submission<'_>,
    deadline: Instant,
) -> Result<Posted, Error> {
    let client = &ingestor.client;
    let (container, name) = ingestor.container_of(resources, &submission.blob.url, deadline).await?;
    let body = body(ingestor, submission, container.below(&name).as_str());
    let path = ["queued", client.database(), submission.table.as_str()];
    let answer = client.dm_post(&path, &body, deadline).await?;
    // Empty where the service does not track.
    let operation = text(&answer, "ingestionOperationId");
    Ok(Posted { operation: (!operation.is_empty()).then(|| operation.to_owned()) })
}

fn body(ingestor: &Ingestor, submission: &Submission<'_>, url: &str) -> Value {
    let client = &ingestor.client;
    let mut properties = json!({
        "format": "multijson",
        "enableTracking": true,
        "tags": [format!("ingest-by:{}", submission.window_id)],
        "ingestIfNotExists": [submission.window_id],
        "ingestionMapping": mapping(submission).to_string(),
        // Kept until the count proves that the rows are there: the same bytes may have to be posted again.
        "deleteAfterDownload": false,
        "skipBatching": false,
    });
    if let Some(created) = submission.created {
        properties["creationTime"] = json!(created);
    }
    json!({
        "timestamp": client.clock().now(),
        "blobs": [{"url": url, "sourceId": client.ids().fresh().to_string(), "rawSize": submission.raw_bytes}],
        "properties": properties,
    })
}
