//! `.ingest inline`: rows as CSV inside the command. Other formats are refused.

use super::append::{Once, append, nothing};
use super::cursor::Cursor;
use super::{Command, Error};
use crate::kql::{Type, Value};

pub(super) fn parse<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    for word in ["ingest", "inline", "into", "table"] {
        cursor.expect(word)?;
    }
    let name = cursor.entity()?;
    let properties =
        cursor.properties(&["format", "tags", "ingestifnotexists", "creationtime", "ignorefirstrecord"])?;
    let once = Once::read(&properties)?;
    if let Some(format) = properties.get("format").filter(|format| !format.eq_ignore_ascii_case("csv")) {
        return Err(Error::bad_request(format!("Inline data of format '{format}' is not supported here: use csv.")));
    }
    let skip = properties.get("ignorefirstrecord").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let text = cursor.input()?;
    let text = text.trim_start_matches([' ', '\t']);
    let text = text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n')).unwrap_or(text);
    Ok(Command::change("DataIngestInline", move |context| {
        let mut content = context.database.write();
        let entry = content.tables.get(&name).ok_or_else(|| Error::not_found("Table", &name))?;
        let columns = entry.data.columns().to_vec();
        let mut rows = Vec::new();
        for record in records(text)?.into_iter().skip(usize::from(skip)) {
            if record.len() > columns.len() {
                return Err(Error::bad_request(format!(
                    "Stream_WrongNumberOfFields: a record has {} fields, the table has {} columns.",
                    record.len(),
                    columns.len()
                )));
            }
            let mut fields = record.into_iter();
            rows.push(columns.iter().map(|column| cell(column.ty, fields.next().unwrap_or_default())).collect());
        }
        if once.is_done(&content, &name) {
            return Ok(nothing());
        }
        append(context, &mut content, &name, rows, once)
    }))
}

/// A field as a value; what does not fit its type is null.
fn cell(ty: Type, field: String) -> Value {
    match ty {
        Type::String => Value::text(field),
        _ if field.is_empty() => Value::Null,
        Type::Dynamic => Value::dynamic(serde_json::from_str(&field).unwrap_or(serde_json::Value::String(field))),
        _ => Value::text(field).convert(ty),
    }
}

/// Records of RFC 4180; empty lines are none.
fn records(text: &str) -> Result<Vec<Vec<String>>, Error> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut field = String::new();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    let mut began = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            c if quoted => field.push(c),
            '"' if field.is_empty() => (quoted, began) = (true, true),
            ',' => {
                record.push(std::mem::take(&mut field));
                began = true;
            }
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                if began || !field.is_empty() {
                    record.push(std::mem::take(&mut field));
                    records.push(std::mem::take(&mut record));
                }
                began = false;
            }
            c => field.push(c),
        }
    }
    if quoted {
        return Err(Error::bad_request("Stream_ClosingQuoteMissing: a quoted field has no end."));
    }
    if began || !field.is_empty() {
        record.push(field);
        records.push(record);
    }
    Ok(records)
}
