//! The limits and name rules of Azure Table, Queue and Blob Storage, checked before anything is sent or written, so that
//! every adapter refuses the same requests with the same error. Knows no adapter.
//!
//! Sources: azure-docs `storage/tables/scalability-targets.md`, rest-api-ref `Understanding-the-Table-Service-Data-Model`,
//! `Performing-Entity-Group-Transactions`, `Put-Message`, `Get-Messages`, `Naming-Queues-and-Metadata`,
//! `Naming-and-Referencing-Containers--Blobs--and-Metadata`.

use super::{
    ETag, Error, Key, MAX_ENTITY_BYTES, MAX_MESSAGE_BYTES, MAX_RECEIVE, MAX_TEXT_UNITS, MAX_TRANSACTION_OPERATIONS,
    Operation, Properties,
};
use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;

/// The most properties of an entity, the three of the system not counted.
pub const MAX_PROPERTIES: usize = 252;
/// The most characters of a property's name.
pub const MAX_PROPERTY_NAME: usize = 255;
/// The most bytes of a transaction's request.
pub const MAX_TRANSACTION_BYTES: usize = 4 * 1024 * 1024;
/// The most rows of a page.
pub const MAX_PAGE_ROWS: usize = 1000;
/// A page ends with the row that reaches this many bytes.
pub const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes of a message's text, base64 or foreign.
pub const MAX_MESSAGE_TEXT_BYTES: usize = 64 * 1024;
/// The longest delay or visibility timeout.
pub const MAX_DELAY: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The most bytes of a blob. Ours: payloads are held in memory as a whole.
pub const MAX_BLOB_BYTES: usize = 256 * 1024 * 1024;
/// The most characters of a blob's name.
pub const MAX_BLOB_NAME: usize = 1024;

/// 1 to 100 operations on distinct rows of one partition, each within the limits of an entity.
///
/// # Errors
/// [`Error::Invalid`] or [`Error::TooLarge`], naming the row.
pub fn transaction(operations: &[Operation]) -> Result<(), Error> {
    let Some(first) = operations.first() else {
        return Err(Error::Invalid("a transaction needs at least one operation".to_owned()));
    };
    at_most(operations.len(), MAX_TRANSACTION_OPERATIONS, "operations", || "a transaction".to_owned())?;
    let mut rows = HashSet::with_capacity(operations.len());
    let mut bytes = 0;
    for operation in operations {
        let key = operation.key();
        if key.partition() != first.key().partition() {
            return Err(Error::Invalid(format!(
                "a transaction stays in one partition, but this one has the rows {} and {key}; commit them one by one",
                first.key()
            )));
        }
        if !rows.insert(key.row()) {
            return Err(Error::Invalid(format!(
                "a transaction changes a row once, but this one changes {key} twice; join the changes"
            )));
        }
        match operation {
            Operation::Insert(_, properties) => entity(key, properties)?,
            Operation::Replace(_, properties, etag) | Operation::Merge(_, properties, etag) => {
                version(key, etag)?;
                entity(key, properties)?;
            }
            Operation::Delete(_, etag) => version(key, etag)?,
        }
        bytes += request_bytes(operation);
    }
    at_most(bytes, MAX_TRANSACTION_BYTES, "bytes", || "a transaction's request".to_owned())
}

/// The names, types, number and size of a row's properties.
///
/// # Errors
/// [`Error::Invalid`] or [`Error::TooLarge`], naming the row and the property.
pub fn entity(key: &Key, properties: &Properties) -> Result<(), Error> {
    at_most(properties.len(), MAX_PROPERTIES, "properties", || format!("the row {key}"))?;
    for (name, value) in properties {
        property_name(key, name)?;
        let refused = match value {
            Value::String(text) => {
                at_most(units(text), MAX_TEXT_UNITS, "UTF-16 units", || {
                    format!("the property `{name}` of the row {key}")
                })?;
                continue;
            }
            Value::Bool(_) => continue,
            Value::Number(number) if number.is_i64() || number.is_f64() => continue,
            Value::Number(number) => number.to_string(),
            Value::Null => "null".to_owned(),
            Value::Array(_) => "an array".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        return Err(Error::Invalid(format!(
            "the property `{name}` of the row {key} is {refused}; only text, bool, whole numbers up to {} and floats can be stored",
            i64::MAX
        )));
    }
    at_most(entity_bytes(key, properties), MAX_ENTITY_BYTES, "bytes", || format!("the row {key}"))
}

/// The size of a row as the service counts it: two bytes a UTF-16 unit of keys, names and text, and some for each property.
pub fn entity_bytes(key: &Key, properties: &Properties) -> usize {
    let size = |value: &Value| match value {
        Value::String(text) => 4 + 2 * units(text),
        Value::Bool(_) => 1,
        _ => 8,
    };
    let properties: usize = properties.iter().map(|(name, value)| 8 + 2 * units(name) + size(value)).sum();
    4 + 2 * (units(key.partition()) + units(key.row())) + properties
}

/// 3 to 63 ASCII letters and digits, the first a letter, and not `tables`.
///
/// # Errors
/// [`Error::Invalid`] names the table.
pub fn table_name(table: &str) -> Result<(), Error> {
    let letters = table.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let first = table.starts_with(|c: char| c.is_ascii_alphabetic());
    if letters && first && (3..=63).contains(&table.len()) && !table.eq_ignore_ascii_case("tables") {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the table name {table:?} must have 3 to 63 letters and digits, begin with a letter, and not be `tables`"
    )))
}

/// 3 to 63 lower-case letters, digits and dashes; dashes only singly and between the others.
///
/// # Errors
/// [`Error::Invalid`] names the queue.
pub fn queue_name(queue: &str) -> Result<(), Error> {
    let letters = queue.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let dashes = queue.starts_with('-') || queue.ends_with('-') || queue.contains("--");
    if letters && !dashes && (3..=63).contains(&queue.len()) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the queue name {queue:?} must have 3 to 63 lower-case letters, digits and single dashes between them"
    )))
}

/// The size of a message before base64.
///
/// # Errors
/// [`Error::TooLarge`].
pub fn message(body: &[u8]) -> Result<(), Error> {
    at_most(body.len(), MAX_MESSAGE_BYTES, "bytes", || "a message".to_owned())
}

/// The size and characters of a message's text: what XML can hold.
///
/// # Errors
/// [`Error::TooLarge`] or [`Error::Invalid`].
pub fn message_text(text: &str) -> Result<(), Error> {
    at_most(text.len(), MAX_MESSAGE_TEXT_BYTES, "bytes", || "a message's text".to_owned())?;
    let refused = |c: &char| matches!(c, '\0'..='\x08' | '\x0B' | '\x0C' | '\x0E'..='\x1F' | '\u{FFFE}' | '\u{FFFF}');
    match text.chars().find(refused) {
        Some(c) => Err(Error::Invalid(format!("a message's text must not hold the character {c:?}; send it as bytes"))),
        None => Ok(()),
    }
}

/// 1 to 32 messages at once.
///
/// # Errors
/// [`Error::Invalid`].
pub fn receive(max: u32, hide: Duration) -> Result<(), Error> {
    if max == 0 || max > MAX_RECEIVE {
        return Err(Error::Invalid(format!("a receive asks for 1 to {MAX_RECEIVE} messages, not {max}")));
    }
    if hide.is_zero() {
        return Err(Error::Invalid("a received message must be hidden for some time".to_owned()));
    }
    delay(hide)
}

/// Up to seven days.
///
/// # Errors
/// [`Error::Invalid`].
pub fn delay(delay: Duration) -> Result<(), Error> {
    if delay > MAX_DELAY {
        return Err(Error::Invalid(format!("a message can be hidden for up to 7 days, not {delay:?}")));
    }
    Ok(())
}

/// A path of segments, none of them empty or of dots at the end.
///
/// # Errors
/// [`Error::Invalid`] names the blob.
pub fn blob_name(name: &str) -> Result<(), Error> {
    let segment = |segment: &str| !segment.is_empty() && !segment.ends_with('.');
    let characters = name.chars().all(|c| !c.is_control() && c != '\\');
    if characters && name.split('/').all(segment) && name.chars().count() <= MAX_BLOB_NAME {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the blob name {name:?} must have 1 to {MAX_BLOB_NAME} characters in segments between `/`, none of them empty or ending in a dot, without control characters and `\\`"
    )))
}

/// The size of a blob.
///
/// # Errors
/// [`Error::TooLarge`].
pub fn blob(content: &[u8]) -> Result<(), Error> {
    at_most(content.len(), MAX_BLOB_BYTES, "bytes", || "a blob".to_owned())
}

/// Names of C# identifiers that the system does not use itself.
fn property_name(key: &Key, name: &str) -> Result<(), Error> {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|c| c.is_alphabetic() || c == '_');
    let taken = matches!(name, "PartitionKey" | "RowKey" | "Timestamp");
    if first && !taken && characters.all(|c| c.is_alphanumeric() || c == '_') && units(name) <= MAX_PROPERTY_NAME {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the property name {name:?} of the row {key} must be an identifier of up to {MAX_PROPERTY_NAME} letters, digits and `_`, and none of PartitionKey, RowKey and Timestamp"
    )))
}

/// `*` and nothing are versions to no adapter, though a service may take them for "whatever there is".
fn version(key: &Key, etag: &ETag) -> Result<(), Error> {
    if etag.0.is_empty() || etag.0 == "*" {
        return Err(Error::Invalid(format!("{:?} is no version of the row {key}; pass the one that was read", etag.0)));
    }
    Ok(())
}

/// No less than what the operation takes in a request: part headers, a URL with each byte of the keys quoted, and JSON with a
/// type beside every property.
fn request_bytes(operation: &Operation) -> usize {
    let properties: usize = match operation {
        Operation::Insert(_, properties)
        | Operation::Replace(_, properties, _)
        | Operation::Merge(_, properties, _) => {
            properties.iter().map(|(name, value)| 2 * name.len() + json_bytes(value) + 40).sum()
        }
        Operation::Delete(..) => 0,
    };
    1024 + 4 * (operation.key().partition().len() + operation.key().row().len()) + properties
}

fn json_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().map(escaped_bytes).sum::<usize>() + 2,
        _ => 26,
    }
}

/// Beyond ASCII as an escape for each UTF-16 unit, as adapters may write it.
fn escaped_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        '\0'..' ' => 6,
        ' '..='\x7f' => 1,
        beyond => 6 * beyond.len_utf16(),
    }
}

fn units(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(char::len_utf16).sum() }
}

fn at_most(found: usize, limit: usize, unit: &str, what: impl FnOnce() -> String) -> Result<(), Error> {
    if found > limit {
        return Err(Error::TooLarge {
            what: format!("{} of {found} {unit}", what()),
            limit: format!("{limit} {unit}"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(row: &str) -> Key {
        Key::new("p", row).unwrap()
    }

    fn properties(value: Value) -> Properties {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn property_names_are_identifiers_that_the_system_does_not_use() {
        for name in ["a", "_a1", "Größe", "timestamp", &"n".repeat(255)] {
            assert!(entity(&key("r"), &properties(json!({name: 1}))).is_ok(), "{name}");
        }
        for name in
            ["", "1a", "a-b", "a.b", "odata.etag", "a b", "PartitionKey", "RowKey", "Timestamp", &"n".repeat(256)]
        {
            let error = entity(&key("r"), &properties(json!({name: 1}))).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{name}: {error}");
        }
    }

    #[test]
    fn blob_names_are_paths() {
        for name in ["a", "a/b.json", "a b/ü", ".a", &"n".repeat(1024)] {
            assert!(blob_name(name).is_ok(), "{name}");
        }
        for name in ["", "/a", "a/", "a//b", "a/../b", ".", "a.", "a.b./c", "a\\b", "a\nb", &"n".repeat(1025)] {
            assert!(matches!(blob_name(name), Err(Error::Invalid(_))), "{name}");
        }
    }

    #[test]
    fn a_request_is_measured_no_smaller_than_its_json() {
        let values = properties(
            json!({"a": "\u{1}\"\\\n\t\r é \u{1F980}", "b": i64::MIN, "c": -1.234_567_890_123_456_7e-300, "d": false}),
        );
        let json = serde_json::to_string(&values).unwrap();
        assert!(request_bytes(&Operation::Insert(key("r"), values)) >= json.len() + 1024);
        let text = json!("\u{1}\"\\\n\t\r\u{8}\u{c}\u{7f}é\u{1F980}");
        assert!(json_bytes(&text) >= text.to_string().len());
    }
}
