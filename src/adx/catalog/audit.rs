//! Rows of the audit table and of the table of failed windows. What comes from outside, such as an error's text, is
//! data here: it goes through the literal writers and is cut when it is too long.

use super::super::template::Listed;
use super::append::{Appended, tag_of};
use super::{Catalog, Error};
use crate::kql::{Identifier, Literal, Text};
use crate::timestamp::Timestamp;
use serde_json::Value;
use std::fmt::Display;
use tokio::time::Instant;

/// The most characters of a text in a row: more than an error carries of a service's own words.
const MAX_TEXT_CHARS: usize = 8 * 1024;
/// The most bytes of a text as it is written: so many as those of any script have, all of them escaped; only what lies beyond the
/// first plane, such as emoji, takes twice as many.
const MAX_TEXT_BYTES: usize = 6 * MAX_TEXT_CHARS;
/// The most bytes of a dynamic value in a row; above 1 MiB the engine would store null.
const MAX_DYNAMIC_BYTES: usize = 128 * 1024;
/// The rows of one command. Parts are cut by their number, never by their size: a repetition whose texts are longer cuts where the
/// first one did, or its tags would stand for other rows.
const ROWS_OF_A_COMMAND: usize = 20;

/// A row about a table's part in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    /// The run.
    pub ingestion_id: String,
    /// When the table was finished.
    pub ingestion_timestamp: Timestamp,
    /// The destination's folder.
    pub folder: String,
    /// The destination.
    pub table: String,
    /// Whether nothing is missing.
    pub success: bool,
    /// Rows proven to be in the destination.
    pub records_processed: u64,
    /// Whether there was more than one window.
    pub chunked: bool,
    /// Windows that ended well.
    pub chunks_processed: u64,
    /// Windows that failed.
    pub chunks_failed: u64,
    /// What there is to say of single windows.
    pub chunk_results: Value,
    /// Why it failed; empty if it did not.
    pub error: String,
}

/// A row about a window that failed, or was repaired.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureRow {
    /// The run.
    pub ingestion_id: String,
    /// When it failed.
    pub ingestion_timestamp: Timestamp,
    /// The destination's folder.
    pub folder: String,
    /// The destination.
    pub table: String,
    /// The window's number.
    pub chunk_id: u32,
    /// Whether it ended well.
    pub success: bool,
    /// Rows that were planned.
    pub records_count: u64,
    /// Rows proven to be in the destination.
    pub records_processed: u64,
    /// After this.
    pub low_watermark: Option<Timestamp>,
    /// Up to and including this.
    pub high_watermark: Option<Timestamp>,
    /// Why it failed.
    pub error: String,
    /// Whether it was repaired later.
    pub reprocess_success: bool,
}

const AUDIT_COLUMNS: &[(&str, &str)] = &[
    ("ingestion_id", "string"),
    ("ingestion_timestamp", "datetime"),
    ("folder", "string"),
    ("table", "string"),
    ("success", "bool"),
    ("records_processed", "long"),
    ("chunked", "bool"),
    ("chunks_processed", "int"),
    ("chunks_failed", "int"),
    ("chunk_results", "dynamic"),
    ("error", "string"),
];

const FAILURE_COLUMNS: &[(&str, &str)] = &[
    ("ingestion_id", "string"),
    ("ingestion_timestamp", "datetime"),
    ("folder", "string"),
    ("table", "string"),
    ("chunk_id", "int"),
    ("success", "bool"),
    ("records_count", "int"),
    ("records_processed", "int"),
    ("low_watermark", "datetime"),
    ("high_watermark", "datetime"),
    ("error", "string"),
    ("reprocess_success", "bool"),
];

impl AuditRow {
    fn literals(&self) -> Vec<Literal> {
        vec![
            text(&self.ingestion_id),
            Literal::Datetime(Some(self.ingestion_timestamp)),
            text(&self.folder),
            text(&self.table),
            Literal::Bool(Some(self.success)),
            Literal::Long(Some(i64::try_from(self.records_processed).unwrap_or(i64::MAX))),
            Literal::Bool(Some(self.chunked)),
            int(self.chunks_processed),
            int(self.chunks_failed),
            Literal::Dynamic(bounded(&self.chunk_results)),
            text(&self.error),
        ]
    }
}

impl FailureRow {
    fn literals(&self) -> Vec<Literal> {
        vec![
            text(&self.ingestion_id),
            Literal::Datetime(Some(self.ingestion_timestamp)),
            text(&self.folder),
            text(&self.table),
            int(u64::from(self.chunk_id)),
            Literal::Bool(Some(self.success)),
            int(self.records_count),
            int(self.records_processed),
            Literal::Datetime(self.low_watermark),
            Literal::Datetime(self.high_watermark),
            text(&self.error),
            Literal::Bool(Some(self.reprocess_success)),
        ]
    }
}

impl Catalog {
    /// Appends audit rows, once per `tag`: the same rows are to be asked for again under the same tag.
    ///
    /// # Errors
    /// What the requests can end in. Some of the rows may be there then; asking again adds the others.
    pub async fn append_audit(&self, rows: &[AuditRow], tag: &str, deadline: Instant) -> Result<(), Error> {
        let rows = rows.iter().map(AuditRow::literals).collect();
        self.append_rows(&self.names().audit_table, AUDIT_COLUMNS, rows, tag, deadline).await
    }

    /// Appends rows about windows that failed, once per `tag`.
    ///
    /// # Errors
    /// As [`Catalog::append_audit`].
    pub async fn append_failures(&self, rows: &[FailureRow], tag: &str, deadline: Instant) -> Result<(), Error> {
        let rows = rows.iter().map(FailureRow::literals).collect();
        self.append_rows(&self.names().chunk_audit_table, FAILURE_COLUMNS, rows, tag, deadline).await
    }

    async fn append_rows(
        &self,
        table: &Identifier,
        columns: &[(&str, &str)],
        rows: Vec<Vec<Literal>>,
        tag: &str,
        deadline: Instant,
    ) -> Result<(), Error> {
        let known: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let columns: Result<Vec<String>, _> =
            columns.iter().map(|(name, ty)| Identifier::new(name).map(|name| format!("{name}:{ty}"))).collect();
        let columns = Listed(columns.map_err(|error| Error::invalid(error.to_string()))?);
        for (part, batch) in rows.chunks(ROWS_OF_A_COMMAND).map(written).enumerate() {
            let tag = tag_of("audit", &[table.as_str(), tag, &part.to_string()]);
            // People count these: also where the service does not go by `ingestIfNotExists` they are there once.
            if self.is_seen(table, &tag, deadline).await? {
                continue;
            }
            let values: [(&str, &(dyn Display + Sync)); 3] =
                [("table", table), ("columns", &columns), ("rows", &batch)];
            let file = include_str!("../../../kql/audit/append.kql");
            if self.append_once_to(table, &known, &tag, file, &values, deadline).await? == Appended::Nothing {
                return Err(Error::corrupt(format!("{table} took rows and does not have them")));
            }
        }
        Ok(())
    }
}

/// Rows as text.
fn written(rows: &[Vec<Literal>]) -> String {
    let rows: Vec<String> = rows.iter().map(|row| format!("    {}", Listed(row.iter().collect()))).collect();
    rows.join(",\n")
}

fn text(value: &str) -> Literal {
    Literal::Text(cut(value))
}

fn cut(value: &str) -> String {
    const MARK: &str = " … (cut)";
    let room = (MAX_TEXT_CHARS - MARK.chars().count(), MAX_TEXT_BYTES - length(MARK));
    let (mut end, mut bytes) = (0, 0);
    for (number, (at, c)) in value.char_indices().enumerate() {
        bytes += length(c.encode_utf8(&mut [0; 4]));
        if number < room.0 && bytes <= room.1 {
            end = at + c.len_utf8();
        }
        if number >= MAX_TEXT_CHARS || bytes > MAX_TEXT_BYTES {
            return format!("{}{MARK}", &value[..end]);
        }
    }
    value.to_owned()
}

/// The bytes of a text as it is written, without its quotes.
fn length(text: &str) -> usize {
    Text(text).to_string().len() - 2
}

fn int(value: u64) -> Literal {
    Literal::Int(Some(i32::try_from(value).unwrap_or(i32::MAX)))
}

/// The value if it is small enough; of an array as many items as fit and how many are left out.
fn bounded(value: &Value) -> Value {
    let whole = value.to_string().len();
    if whole <= MAX_DYNAMIC_BYTES {
        return value.clone();
    }
    let mut kept = Vec::new();
    let mut size = 0;
    for item in value.as_array().map_or(&[][..], Vec::as_slice) {
        size += item.to_string().len() + 1;
        if size > MAX_DYNAMIC_BYTES {
            break;
        }
        kept.push(item.clone());
    }
    let omitted = value.as_array().map_or(1, |items| items.len() - kept.len());
    kept.push(serde_json::json!({"omitted": omitted}));
    Value::Array(kept)
}

#[cfg(test)]
mod tests {
    use super::super::super::error::MAX_MESSAGE_CHARS;
    use super::*;
    use serde_json::json;

    #[test]
    fn long_texts_are_cut_between_characters() {
        for script in ["x", "é", "試", "😀"] {
            let cut = cut(&script.repeat(10_000));
            assert!(cut.chars().count() <= MAX_TEXT_CHARS && cut.ends_with("… (cut)"), "{}", cut.len());
            assert!(length(&cut) <= MAX_TEXT_BYTES, "{script}: {}", length(&cut));
            // What an error carries of a service's words, and its own words around them.
            let error = script.repeat(2 * MAX_MESSAGE_CHARS - 100);
            assert_eq!(super::cut(&error), error, "{script}");
        }
        assert_eq!(super::cut("short"), "short");
    }

    #[test]
    fn long_lists_say_how_much_is_left_out() {
        let list: Value = (0..1000).map(|_| json!("x".repeat(1000))).collect();
        let kept = bounded(&list);
        let items = kept.as_array().unwrap();
        assert!(kept.to_string().len() <= MAX_DYNAMIC_BYTES + 100);
        assert_eq!(items.last().unwrap()["omitted"].as_u64().unwrap() as usize, 1000 - (items.len() - 1));
        assert_eq!(bounded(&json!([1])), json!([1]));
    }

    #[test]
    fn a_command_is_small_whatever_its_rows_say() {
        for text in ["x", "\u{0}", "é", "😀", "\"\\"] {
            let rows: Vec<Vec<Literal>> =
                (0..ROWS_OF_A_COMMAND).map(|_| vec![super::text(&text.repeat(20_000))]).collect();
            let length = written(&rows).len();
            assert!(length <= ROWS_OF_A_COMMAND * (MAX_TEXT_BYTES + 8), "{text}: {length}");
        }
    }

    #[test]
    fn counts_above_an_int_are_held_to_it() {
        assert_eq!(int(u64::MAX), Literal::Int(Some(i32::MAX)));
    }
}
