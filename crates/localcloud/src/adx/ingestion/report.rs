//! How a client hears of the end of its ingestion, as far as its message asks for that: by the queues that all clients
//! of the cluster share, by its own row of the status table, or by the operation that it is tracked in (dataexplorer-docs `api/netfx/kusto-ingest-client-rest.md`,
//! `api/netfx/kusto-ingest-client-status.md`). The client makes the row; here it is only changed.

use super::failure::Failure;
use super::operations::State;
use crate::adx::database::Database;
use crate::adx::storage::{Storage, without_query};
use crate::source::ticks;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

/// What a message says of reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reporting {
    pub source: Uuid,
    pub database: String,
    pub table: String,
    pub blob: String,
    level: u64,
    method: u64,
    row: Option<Row>,
    operation: Option<String>,
}

/// A row of the status table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    address: String,
    partition: String,
    row: String,
}

/// How an ingestion ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ended<'f> {
    Succeeded,
    /// Its `ingestIfNotExists` was met.
    Skipped,
    Failed(&'f Failure),
}

const FAILURES_ONLY: u64 = 0;
const FAILURES_AND_SUCCESSES: u64 = 2;
const BY_QUEUE: u64 = 0;
const BY_TABLE: u64 = 1;
const BY_BOTH: u64 = 2;

impl Reporting {
    /// Reads a message's fields. The level is failures only, and the method the queues, where it does not say.
    pub fn read(fields: &Map<String, Json>, source: Uuid) -> Result<Self, Failure> {
        let malformed = |what: &str| Failure::permanent("BadRequest_MalformedIngestionProperty", what);
        let number = |name: &str, most: u64| match fields.get(name) {
            None | Some(Json::Null) => Ok(0),
            Some(value) => value
                .as_u64()
                .filter(|number| *number <= most)
                .ok_or_else(|| malformed(&format!("{name} is no number up to {most}."))),
        };
        let text = |fields: &Map<String, Json>, name: &str| {
            fields.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
        };
        let row = match fields.get("IngestionStatusInTable") {
            None | Some(Json::Null) => None,
            Some(Json::Object(row)) => Some(Row {
                address: text(row, "TableConnectionString"),
                partition: text(row, "PartitionKey"),
                row: text(row, "RowKey"),
            }),
            Some(_) => return Err(malformed("IngestionStatusInTable is no object.")),
        };
        Ok(Self {
            source,
            database: text(fields, "DatabaseName"),
            table: text(fields, "TableName"),
            blob: text(fields, "BlobPath"),
            level: number("ReportLevel", FAILURES_AND_SUCCESSES)?,
            method: number("ReportMethod", 3)?,
            row,
            operation: fields.get("IngestionOperationId").and_then(Json::as_str).map(str::to_owned),
        })
    }

    /// Tells how it ended, where that was asked for.
    pub fn tell(&self, storage: &Storage, database: &Database, ended: Ended<'_>) {
        let now = database.now();
        if let Some(operation) = &self.operation {
            database.queued().end(operation, self.source, state(ended), now);
        }
        let wanted = match ended {
            Ended::Failed(_) => matches!(self.level, FAILURES_ONLY | FAILURES_AND_SUCCESSES),
            Ended::Succeeded | Ended::Skipped => self.level == FAILURES_AND_SUCCESSES,
        };
        if !wanted {
            return;
        }
        let operation = Uuid::new_v4();
        if matches!(self.method, BY_QUEUE | BY_BOTH) {
            let message = BASE64.encode(self.message(ended, operation, now).to_string());
            match ended {
                Ended::Succeeded => storage.tell_success(message),
                Ended::Skipped | Ended::Failed(_) => storage.tell_failure(message),
            }
        }
        if let Some(row) = self.row.as_ref().filter(|_| matches!(self.method, BY_TABLE | BY_BOTH)) {
            // A row that the client has not made, or has no right to, is nobody's to fill.
            storage.change_status(&row.address, &row.partition, &row.row, Self::changes(ended, operation, now));
        }
    }

    fn message(&self, ended: Ended<'_>, operation: Uuid, now: i64) -> Json {
        let mut message = json!({
            "OperationId": operation.to_string(),
            "Database": self.database,
            "Table": self.table,
            "IngestionSourceId": self.source.to_string(),
            "IngestionSourcePath": without_query(&self.blob),
            "RootActivityId": operation.to_string(),
        });
        if matches!(ended, Ended::Succeeded) {
            message["SucceededOn"] = ticks::format(now).into();
            return message;
        }
        let (code, status, details) = reason(ended);
        message["FailedOn"] = ticks::format(now).into();
        message["Details"] = details.into();
        message["ErrorCode"] = code.into();
        message["FailureStatus"] = status.into();
        message["OriginatesFromUpdatePolicy"] = false.into();
        message["ShouldRetry"] = (status == "Transient").into();
        message
    }

    fn changes(ended: Ended<'_>, operation: Uuid, now: i64) -> Map<String, Json> {
        let status = match ended {
            Ended::Succeeded => "Succeeded",
            Ended::Skipped => "Skipped",
            Ended::Failed(_) => "Failed",
        };
        let mut changes = Map::new();
        let mut set = |name: &str, value: Json| changes.insert(name.to_owned(), value);
        set("Status", status.into());
        set("UpdatedOn", ticks::format(now).into());
        set("UpdatedOn@odata.type", "Edm.DateTime".into());
        for name in ["OperationId", "ActivityId"] {
            set(name, operation.to_string().into());
            set(&format!("{name}@odata.type"), "Edm.Guid".into());
        }
        if !matches!(ended, Ended::Succeeded) {
            let (code, status, details) = reason(ended);
            set("ErrorCode", code.into());
            set("FailureStatus", status.into());
            set("Details", details.into());
            set("OriginatesFromUpdatePolicy", false.into());
        }
        changes
    }
}

fn state(ended: Ended<'_>) -> State {
    if matches!(ended, Ended::Succeeded) {
        return State::Succeeded;
    }
    let (code, kind, details) = reason(ended);
    State::Failed { code, kind, details }
}

/// Code, permanence and words of what is no success.
fn reason(ended: Ended<'_>) -> (&'static str, &'static str, String) {
    match ended {
        Ended::Failed(failure) => (failure.code, failure.kind(), failure.details.clone()),
        // The code of dataexplorer-docs `error-codes.md`.
        Ended::Succeeded | Ended::Skipped => {
            let details = "Another stream with the same ingest-by tag was already ingested.".to_owned();
            ("Skipped_IngestByTagAlreadyExists", "Permanent", details)
        }
    }
}
