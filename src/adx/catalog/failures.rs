//! What the engine has noted of ingestions that failed (dataexplorer-docs `management/ingestion-failures.md`). Nothing found
//! proves nothing: what fails before the engine's own stage is not there.

use super::super::codes;
use super::super::error::clean;
use super::super::template::fill;
use super::{Catalog, Error};
use crate::kql::{Datetime, Identifier, Text};
use crate::timestamp::Timestamp;
use tokio::time::Instant;

/// An ingestion that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestionFailure {
    /// The blob, without its signature.
    pub source: String,
    /// When.
    pub at: Timestamp,
    /// Whether another one will fail too, until somebody changes something.
    pub permanent: bool,
    /// What happened, and what to do.
    pub words: String,
}

impl Catalog {
    /// The failures of ingestions into a table after an instant, and of the update policies that read it; the newest first.
    ///
    /// # Errors
    /// Those of a look.
    pub async fn ingestion_failures(
        &self,
        table: &Identifier,
        since: Timestamp,
        deadline: Instant,
    ) -> Result<Vec<IngestionFailure>, Error> {
        let file = include_str!("../../../kql/proof/failures.kql");
        let csl = fill(file, &[("since", &Datetime(since)), ("table", &Text(table.as_str()))]);
        let answer = self.show(&csl, deadline).await?;
        let (at, source) = (answer.column("FailedOn")?, answer.column("IngestionSourcePath")?);
        let (code, kind, details) =
            (answer.column("ErrorCode")?, answer.column("FailureKind")?, answer.column("Details")?);
        let (policy, retry) = (answer.column("OriginatesFromUpdatePolicy")?, answer.column("ShouldRetry")?);
        let mut failures = Vec::with_capacity(answer.len());
        for row in answer.rows() {
            let Some(at) = row.datetime(at)? else { continue };
            let (code, kind) = (row.text(code)?, row.text(kind)?);
            let permanent = row.bool(retry)? != Some(true) && is_permanent(kind, code);
            let policy = if row.bool(policy)? == Some(true) { ", in an update policy" } else { "" };
            let (kind, details) = (if kind.is_empty() { "of no kind" } else { kind }, clean(row.text(details)?));
            let said = format!("{} ({}{policy}) at {at}: {details}", clean(code), clean(kind));
            let words = codes::with_advice(said, code, table, self.client.database(), self.client.application());
            failures.push(IngestionFailure { source: clean(row.text(source)?), at, permanent, words });
        }
        Ok(failures)
    }
}

/// What the service says, and where it says nothing, what the code is documented as.
fn is_permanent(kind: &str, code: &str) -> bool {
    match kind {
        "Permanent" => true,
        "" | "Unknown" => codes::is_permanent(code).unwrap_or(false),
        _ => false,
    }
}
