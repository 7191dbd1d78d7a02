//! `.ingest`: rows of blobs, or inside the command, which are in the table when it is answered (dataexplorer-docs
//! `management/data-ingestion/ingest-from-storage.md`, `…/ingest-inline.md`).

use super::append::{Once, nothing, told};
use super::cursor::{Cursor, Properties};
use super::{Command, Error, ResultTable};
use crate::adx::database::{Content, Entry};
use crate::adx::extent::Landing;
use crate::adx::ingestion::rows::{self, Format};
use crate::adx::ingestion::{Mapping, Missing, Order, load, mapping_for};
use crate::adx::storage::without_query;
use crate::kql::{Type, Value};
use crate::source::ticks;
use std::sync::Arc;
use uuid::Uuid;

const PROPERTIES: [&str; 7] = [
    "format",
    "tags",
    "ingestifnotexists",
    "ingestionmapping",
    "ingestionmappingreference",
    "ignorefirstrecord",
    "creationtime",
];

const LOADED: [(&str, Type); 5] = [
    ("ExtentId", Type::Guid),
    ("ItemLoaded", Type::String),
    ("Duration", Type::Timespan),
    ("HasErrors", Type::Bool),
    ("OperationId", Type::Guid),
];

/// `.ingest …`
pub(super) fn parse<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    cursor.expect("ingest")?;
    if cursor.eat("inline")? { parse_inline(cursor) } else { parse_into(cursor) }
}

/// `into table T (h'…', …) with (…)`
fn parse_into<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    for word in ["into", "table"] {
        cursor.expect(word)?;
    }
    let name = cursor.entity()?;
    let mut sources = Vec::new();
    cursor.sign("(")?;
    while !cursor.eat_sign(")")? {
        sources.push(cursor.one_string()?);
        if !cursor.peek()?.is_sign(")") {
            cursor.sign(",")?;
        }
    }
    let properties = cursor.properties(&PROPERTIES)?;
    let (format, created, skip) = (format(&properties)?, created(&properties)?, skips(&properties));
    Once::read(&properties)?;
    Ok(Command::change("DataIngestPull", move |context| {
        let mut rows = Vec::new();
        for source in sources {
            let once = Once::read(&properties)?;
            let order = Order {
                blob: source.clone(),
                table: name.clone(),
                format,
                inline: properties.get("ingestionmapping").cloned(),
                reference: properties.get("ingestionmappingreference").cloned(),
                if_not_exists: once.keys().collect(),
                tags: once.tags,
                created,
                ignore_first_record: skip,
            };
            let open = |blob: &str| match context.resources {
                Some(lent) => lent.open(blob),
                None => Err(crate::adx::storage::Unreadable::OtherAccount),
            };
            let landed = load(context.database, order, open)
                .map_err(|failure| Error::ingestion(failure.code, failure.permanent, failure.to_string()))?;
            rows.push(vec![
                Value::Guid(if landed == 0 { Uuid::nil() } else { Uuid::new_v4() }),
                Value::text(without_query(&source)),
                Value::Timespan(ticks::SECOND),
                Value::Bool(false),
                Value::Guid(Uuid::new_v4()),
            ]);
        }
        Ok(ResultTable::new(&LOADED, rows))
    }))
}

fn format(properties: &Properties) -> Result<Format, Error> {
    let format = properties.get("format").map_or("csv", String::as_str).to_ascii_lowercase();
    Format::from_name(&format)
        .ok_or_else(|| Error::bad_request(format!("Data of format '{format}' is not supported here.")))
}

fn created(properties: &Properties) -> Result<Option<i64>, Error> {
    let Some(text) = properties.get("creationtime") else { return Ok(None) };
    let at = ticks::parse(text);
    at.map(Some).ok_or_else(|| Error::bad_request(format!("creationTime '{text}' is no datetime.")))
}

fn skips(properties: &Properties) -> bool {
    properties.get("ignorefirstrecord").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// `into table T with (…) <| …`
fn parse_inline<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    for word in ["into", "table"] {
        cursor.expect(word)?;
    }
    let name = cursor.entity()?;
    let properties = cursor.properties(&PROPERTIES)?;
    let once = Once::read(&properties)?;
    let (format, created, skip) = (format(&properties)?, created(&properties)?, skips(&properties));
    let text = cursor.input()?;
    // The line of the command itself is no data.
    let text = text.trim_start_matches([' ', '\t']);
    let text = text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n')).unwrap_or(text);
    Ok(Command::change("DataIngestInline", move |context| {
        let mut content = context.database.write();
        let entry = content.tables.get(&name).ok_or_else(|| Error::not_found("Table", &name))?;
        let inline = properties.get("ingestionmapping").map(String::as_str);
        let reference = properties.get("ingestionmappingreference").map(String::as_str);
        let mapping = mapping(entry, format, inline, reference)?;
        let rows = read(&mapping, format, text, skip)?;
        if once.is_done(context.database, &content, &name) {
            return Ok(nothing());
        }
        let original_size = text.len() as u64;
        let landing = Landing { arrived: context.database.now(), created, original_size, tags: once.tags };
        store(&mut content, &name, &rows, landing)
    }))
}

fn store(content: &mut Content, table: &str, rows: &[Vec<Value>], landing: Landing) -> Result<ResultTable, Error> {
    if rows.is_empty() {
        return Ok(nothing());
    }
    let failed = |error: std::io::Error| Error::internal(error.to_string());
    let entry = content.tables.get_mut(table).ok_or_else(|| Error::not_found("Table", table))?;
    let mut writer = entry.data.writer().map_err(failed)?;
    for row in rows {
        writer.push(row).map_err(failed)?;
    }
    let extent = Arc::new(writer.finish(landing).map_err(failed)?);
    let info = extent.info().clone();
    entry.data.append_extent(extent).map_err(failed)?;
    Ok(told(&info))
}

fn mapping(entry: &Entry, format: Format, inline: Option<&str>, reference: Option<&str>) -> Result<Mapping, Error> {
    if inline.is_some() && reference.is_some() {
        return Err(Error::bad_request("A mapping is given inline or by reference, not both."));
    }
    mapping_for(entry, format, inline, reference).map_err(|missing| match missing {
        Missing::Reference(name) => Error::not_found("MappingPersistent", &name),
        Missing::Invalid(failure) => Error::bad_request(format!("{}: {}", failure.code, failure.details)),
    })
}

fn read(mapping: &Mapping, format: Format, text: &str, skip: bool) -> Result<Vec<Vec<Value>>, Error> {
    let mut rows = Vec::new();
    let mut take = |record| {
        rows.push(mapping.row(record));
        Ok(())
    };
    rows::read(format, text.as_bytes(), &mut take)
        .map_err(|error| Error::bad_request(format!("The inline data cannot be read: {error}.")))?;
    rows.drain(..usize::from(skip).min(rows.len()));
    Ok(rows)
}
