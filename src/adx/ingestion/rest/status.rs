//! How an operation stands (dataexplorer-docs `management/data-ingestion/queued-ingest-status-http.md`). It has one
//! source, as each is submitted alone.

use super::super::super::{Client, Error};
use super::super::status::{Status, Told};
use super::{elements, member, text};
use crate::kql::Identifier;
use serde_json::Value;
use tokio::time::Instant;

/// Asks for it; one that is not known any more is of no status.
pub(in super::super) async fn status(
    client: &Client,
    table: &Identifier,
    operation: &str,
    deadline: Instant,
) -> Result<Status, Error> {
    let path = ["queued", client.database(), table.as_str(), operation];
    match client.dm_get(&path, Some("details=true"), deadline).await {
        Ok(answer) => Ok(read(&answer)),
        Err(Error::NotFound { .. } | Error::NotOffered { .. }) => Ok(Status::Unknown),
        Err(error) => Err(error),
    }
}

fn read(answer: &Value) -> Status {
    if let Some(detail) = elements(answer, "details").first() {
        let status = text(detail, "status");
        // Here it is the status of what has not begun.
        let status = if status.eq_ignore_ascii_case("Queued") { "InProgress" } else { status };
        let (code, failure, details) =
            (text(detail, "errorCode"), text(detail, "failureStatus"), text(detail, "details"));
        return Told { status, code, failure, details }.read();
    }
    // Without details, the numbers say it of the one source.
    let counted = |name| member(answer, "status").and_then(|counts| member(counts, name)).and_then(Value::as_u64);
    let names = ["Failed", "Canceled", "Succeeded", "InProgress"];
    match names.into_iter().find(|name| counted(name).is_some_and(|count| count > 0)) {
        Some(status) => Told { status, code: "", failure: "", details: "" }.read(),
        None if member(answer, "status").is_some() => Status::Pending,
        None => Status::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_operation_is_read_in_both_spellings() {
        let failed =
            Status::Failed { code: "BadRequest_InvalidBlob".to_owned(), permanent: true, details: "no".to_owned() };
        let detail = json!({
            "sourceId": "x", "status": "Failed", "errorCode": "BadRequest_InvalidBlob", "failureStatus": "Permanent", "details": "no",
        });
        let pascal = json!({"Status": "Failed", "ErrorCode": "BadRequest_InvalidBlob", "FailureStatus": "Permanent", "Details": "no"});
        for (answer, expected) in [
            (json!({"status": {"Failed": 1}, "details": [detail]}), failed.clone()),
            (json!({"Status": {"failed": 1}, "Details": [pascal]}), failed),
            (json!({"status": {"succeeded": 1}, "details": [{"status": "Succeeded"}]}), Status::Succeeded),
            (json!({"status": {"inProgress": 1}, "details": [{"status": "Queued"}]}), Status::Pending),
            (json!({"status": {"Succeeded": 1, "Failed": 0, "InProgress": 0}}), Status::Succeeded),
            (json!({"status": {"Succeeded": 0, "Failed": 0, "InProgress": 1}, "details": []}), Status::Pending),
            (json!({"status": {"Succeeded": 0, "Failed": 0, "InProgress": 0}, "details": []}), Status::Pending),
            (json!({}), Status::Unknown),
            (json!("what?"), Status::Unknown),
        ] {
            assert_eq!(read(&answer), expected, "{answer}");
        }
    }
}
