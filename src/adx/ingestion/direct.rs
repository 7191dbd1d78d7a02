//! Commands that load rows while one waits: from a blob in a container that the cluster lends, or from the command
//! itself (dataexplorer-docs `management/data-ingestion/ingest-from-storage.md`, `…/ingest-inline.md`). A command whose outcome is
//! not known may have loaded them, and is not sent again.

use super::super::template::fill;
use super::super::{Effect, Error, Table, codes};
use super::message::mapping;
use super::resources::Resources;
use super::{Ingestor, Posted, Submission, kept};
use crate::kql::SingleQuoted;
use serde_json::json;
use std::fmt::Display;
use std::sync::Arc;
use tokio::time::Instant;

/// Has the engine load the blob from its container.
pub(super) async fn from_storage(
    ingestor: &Ingestor,
    resources: &Arc<Resources>,
    submission: &Submission<'_>,
    deadline: Instant,
) -> Result<Posted, Error> {
    let mut resources = Arc::clone(resources);
    let mut refreshed = false;
    loop {
        let (container, name) = ingestor.container_of(&resources, &submission.blob.url, deadline).await?;
        let source = container.below(&name);
        let file = include_str!("../../../kql/ingestion/into.kql");
        match command(ingestor, submission, file, &SingleQuoted(source.as_str()), deadline).await {
            // The engine may not read the blob, or that may be it: by another signature it may.
            Err(error) if !refreshed && may_be_of_its_signature(&error) => {
                refreshed = true;
                resources = ingestor.resources_after(&resources, deadline).await?;
            }
            done => return done,
        }
    }
}

/// Sends the rows of a blob of the app's own store.
pub(super) async fn inline(
    ingestor: &Ingestor,
    submission: &Submission<'_>,
    deadline: Instant,
) -> Result<Posted, Error> {
    let rows = kept::rows(ingestor, submission.blob, deadline).await?;
    let file = include_str!("../../../kql/ingestion/inline.kql");
    let posted = command(ingestor, submission, file, &rows, deadline).await?;
    // They are in the table, and counted there next; should they get lost before that, they are pulled again.
    kept::forget(ingestor, &submission.blob.url, deadline).await;
    Ok(posted)
}

async fn command(
    ingestor: &Ingestor,
    submission: &Submission<'_>,
    file: &str,
    source: &(dyn Display + Sync),
    deadline: Instant,
) -> Result<Posted, Error> {
    let tags = json!([format!("ingest-by:{}", submission.window_id)]).to_string();
    let keys = json!([submission.window_id]).to_string();
    let mapping = mapping(submission).to_string();
    let created = submission.created.map(|at| format!(", creationTime='{at}'")).unwrap_or_default();
    let values: [(&str, &(dyn Display + Sync)); 6] = [
        ("table", submission.table),
        ("source", source),
        ("mapping", &SingleQuoted(&mapping)),
        ("tags", &SingleQuoted(&tags)),
        ("keys", &SingleQuoted(&keys)),
        ("created", &created),
    ];
    let answer = ingestor.client.command(&fill(file, &values), Effect::Once, deadline).await;
    whole(&answer.map_err(|error| advised(ingestor, submission, error))?)?;
    Ok(Posted::default())
}

/// Whether nothing was loaded because the engine was kept from the blob.
fn may_be_of_its_signature(error: &Error) -> bool {
    match error {
        Error::Refused { code, .. } => code == codes::DOWNLOAD_FORBIDDEN,
        Error::Denied { .. } => true,
        _ => false,
    }
}

/// What was refused by a code of an ingestion, with what to do.
fn advised(ingestor: &Ingestor, submission: &Submission<'_>, error: Error) -> Error {
    let Error::Refused { code, message, permanent } = error else { return error };
    let client = &ingestor.client;
    let message = codes::with_advice(message, &code, submission.table, client.database(), client.application());
    Error::Refused { code, message, permanent }
}

/// Refuses an answer that tells of errors among what was loaded.
fn whole(answer: &Table) -> Result<(), Error> {
    let Some(failed) = answer.find("HasErrors") else { return Ok(()) };
    for row in answer.rows() {
        if row.bool(failed)? == Some(true) {
            let message = "the command says that there were errors, and not whether anything was loaded".to_owned();
            return Err(Error::OutcomeUnknown { after: None, message });
        }
    }
    Ok(())
}
