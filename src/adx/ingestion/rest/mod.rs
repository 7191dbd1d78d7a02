//! Queued ingestion over REST: what a cluster is configured for, the request to ingest a blob, and how an operation
//! stands (dataexplorer-docs `management/data-ingestion/queued-ingest-use-http.md`). Names of fields are read in any case,
//! as the service and its description do not agree on it.

mod configuration;
mod status;
mod submit;

pub(super) use configuration::{Configuration, configuration};
pub(super) use status::status;
pub(super) use submit::submit;

use serde_json::Value;

/// A member of an object by its name in any case.
fn member<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    let members = object.as_object()?;
    members.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Its text; empty if it has none.
fn text<'v>(object: &'v Value, name: &str) -> &'v str {
    member(object, name).and_then(Value::as_str).unwrap_or_default()
}

/// Its elements.
fn elements<'v>(object: &'v Value, name: &str) -> &'v [Value] {
    member(object, name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
