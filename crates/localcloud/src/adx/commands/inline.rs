//! `.ingest inline`: rows inside the command, read as those of a blob are.

use super::append::{Once, append, nothing};
use super::cursor::Cursor;
use super::{Command, Error};
use crate::adx::database::Entry;
use crate::adx::ingestion::rows::{self, Format};
use crate::adx::ingestion::{Mapping, Missing, mapping_for};
use crate::kql::Value;

const PROPERTIES: [&str; 6] =
    ["format", "tags", "ingestifnotexists", "ingestionmapping", "ingestionmappingreference", "ignorefirstrecord"];

pub(super) fn parse<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    for word in ["ingest", "inline", "into", "table"] {
        cursor.expect(word)?;
    }
    let name = cursor.entity()?;
    let properties = cursor.properties(&PROPERTIES)?;
    let once = Once::read(&properties)?;
    let format = properties.get("format").map_or("csv", String::as_str).to_ascii_lowercase();
    let format = Format::from_name(&format)
        .ok_or_else(|| Error::bad_request(format!("Data of format '{format}' is not supported here.")))?;
    let skip = properties.get("ignorefirstrecord").is_some_and(|value| value.eq_ignore_ascii_case("true"));
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
        if once.is_done(&content, &name) {
            return Ok(nothing());
        }
        append(context, &mut content, &name, rows, once)
    }))
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
