//! One blob into one table: read, mapped, written as an extent, and made visible at once or not at all. Blocks; to
//! be called where that is allowed.

use super::failure::Failure;
use super::mapping::Mapping;
use super::message::{MappingSource, Message};
use super::resolve::{Missing, mapping_for};
use super::rows::{self, Format};
use crate::adx::database::{Content, Database, Entry};
use crate::adx::extent::{ExtentWriter, Landing};
use crate::adx::storage::{Opened, Unreadable, without_query};
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

/// In ticks of 100 ns.
const MILLISECOND: i64 = 10_000;

/// How an ingestion is carried out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// Does not look at the tags.
    pub blind: bool,
    /// Loses every second row.
    pub half: bool,
    /// Leaves a column empty, as a mapping does that does not name it.
    pub unfilled: Option<&'static str>,
    /// Comes behind another landing of the same, at a time of its own.
    pub second: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Landed { rows: u64 },
    Skipped,
}

pub(super) fn land(
    database: &Database,
    message: &Message,
    manner: Manner,
    open: impl FnOnce(&str) -> Result<Opened, Unreadable>,
) -> Result<Outcome, Failure> {
    if !message.database.eq_ignore_ascii_case(database.name()) {
        let what = format!("Database '{}' does not exist.", message.database);
        return Err(Failure::permanent("BadRequest_DatabaseNotExist", what));
    }
    let (mut writer, mapping) = {
        let content = database.read();
        let entry = entry(&content, message)?;
        if database.asks_for_roles() && !content.may_ingest() {
            let what = format!("Access to table '{}' is denied.", message.table);
            return Err(Failure::permanent("BadRequest_TableAccessDenied", what));
        }
        if !content.keeps(&message.table) {
            let what = format!("Table '{}' keeps no rows, and no update policy reads them.", message.table);
            return Err(Failure::permanent("BadRequest_ZeroRetentionPolicyWithNoUpdatePolicy", what));
        }
        if !manner.blind && database.goes_by_tags() && is_there(entry, message) {
            return Ok(Outcome::Skipped);
        }
        let mut mapping = mapping_of(entry, message)?;
        let is_unfilled = |name: &str| manner.unfilled == Some(name);
        if let Some(column) = entry.data.columns().iter().position(|column| is_unfilled(&column.name)) {
            mapping.leave_out(column);
        }
        (entry.data.writer().map_err(Failure::internal)?, mapping)
    };
    let blob = open(&message.blob).map_err(|error| download(error, &message.blob))?;
    if blob.length == 0 {
        return Err(Failure::permanent("BadRequest_EmptyBlob", "The blob is empty."));
    }
    let original_size = fill(&mut writer, &mapping, message, blob.content, manner)?;
    let rows = writer.rows() as u64;
    let landing = Landing {
        arrived: database.now() + if manner.second { MILLISECOND } else { 0 },
        created: message.created,
        original_size,
        tags: message.tags.clone(),
    };
    let extent = Arc::new(writer.finish(landing).map_err(Failure::internal)?);
    let mut content = database.write();
    let Some(entry) = content.tables.get_mut(&message.table) else { return Err(no_table(message)) };
    if !manner.blind && database.goes_by_tags() && is_there(entry, message) {
        return Ok(Outcome::Skipped);
    }
    entry.data.append_extent(extent).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Failure::transient("General_TransientSchemaMismatch", error.to_string()),
        _ => Failure::internal(error),
    })?;
    Ok(Outcome::Landed { rows })
}

/// Whether the ingestion's tag is in its table.
pub(super) fn is_there_already(database: &Database, message: &Message) -> bool {
    let content = database.read();
    entry(&content, message).is_ok_and(|entry| is_there(entry, message))
}

fn entry<'c>(content: &'c Content, message: &Message) -> Result<&'c Entry, Failure> {
    content.tables.get(&message.table).ok_or_else(|| no_table(message))
}

fn no_table(message: &Message) -> Failure {
    Failure::permanent("BadRequest_TableNotExist", format!("Table '{}' does not exist.", message.table))
}

fn is_there(entry: &Entry, message: &Message) -> bool {
    message.if_not_exists.iter().any(|key| entry.data.has_tag(&format!("ingest-by:{key}")))
}

fn mapping_of(entry: &Entry, message: &Message) -> Result<Mapping, Failure> {
    let (inline, reference) = match &message.mapping {
        MappingSource::Identity => (None, None),
        MappingSource::Inline(text) => (Some(text.as_str()), None),
        MappingSource::Reference(name) => (None, Some(name.as_str())),
    };
    mapping_for(entry, message.format, inline, reference).map_err(|missing| match missing {
        Missing::Invalid(failure) => failure,
        Missing::Reference(name) => {
            let what = format!("Mapping '{name}' of table '{}' was not found.", message.table);
            Failure::permanent("BadRequest_MappingReferenceWasNotFound", what)
        }
    })
}

fn download(error: Unreadable, blob: &str) -> Failure {
    let code = match error {
        Unreadable::OtherAccount => "Download_AccountNotFound",
        Unreadable::Forbidden => "Download_Forbidden",
        Unreadable::NotFound => "Download_SourceNotFound",
    };
    Failure::permanent(code, format!("{error}: {}", without_query(blob)))
}

/// Writes all rows of a blob; gives the bytes before compression.
fn fill(
    writer: &mut ExtentWriter,
    mapping: &Mapping,
    message: &Message,
    content: impl Read,
    manner: Manner,
) -> Result<u64, Failure> {
    let invalid = |what: String| Failure::permanent("BadRequest_InvalidBlob", what);
    let mut content = BufReader::with_capacity(128 * 1024, content);
    let is_gzip = content.fill_buf().map_err(Failure::internal)?.starts_with(&[0x1f, 0x8b]);
    let named_gzip = without_query(&message.blob).to_ascii_lowercase().ends_with(".gz");
    let mut record = 0_u64;
    let mut take = |read| {
        record += 1;
        let header = message.ignore_first_record && message.format == Format::Csv && record == 1;
        if header || manner.half && record.is_multiple_of(2) {
            return Ok(());
        }
        writer.push(&mapping.row(read))
    };
    let (read, bytes) = match (named_gzip, is_gzip) {
        (true, true) => {
            let mut counted = Counted { inner: MultiGzDecoder::new(content), bytes: 0 };
            let read = rows::read(message.format, BufReader::with_capacity(128 * 1024, &mut counted), &mut take);
            (read, counted.bytes)
        }
        (false, false) => {
            let mut counted = Counted { inner: content, bytes: 0 };
            let read = rows::read(message.format, BufReader::with_capacity(128 * 1024, &mut counted), &mut take);
            (read, counted.bytes)
        }
        (true, false) => return Err(invalid("The blob is named gzip and its content is not.".to_owned())),
        (false, true) => return Err(invalid("The blob's content is gzip and its name does not say so.".to_owned())),
    };
    read.map_err(|error| match error {
        rows::Error::Malformed(what) => invalid(what),
        rows::Error::TooLarge => Failure::permanent("Stream_InputStreamTooLarge", error.to_string()),
        rows::Error::QuoteMissing => Failure::permanent("Stream_ClosingQuoteMissing", error.to_string()),
        rows::Error::Taking(error) => Failure::internal(error),
    })?;
    if bytes == 0 {
        return Err(Failure::permanent("BadRequest_EmptyBlob", "The blob is empty."));
    }
    if record == 0 {
        let what = "The blob holds no record of the format.";
        return Err(Failure::permanent("BadRequest_NoRecordsOrWrongFormat", what));
    }
    Ok(bytes)
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}
