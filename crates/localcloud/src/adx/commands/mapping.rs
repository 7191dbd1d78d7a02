//! Ingestion mappings of tables, for JSON and for CSV. Their meaning is for ingestion to know; here only their shape is checked.

use super::cursor::Cursor;
use super::{Command, Error, ResultTable, texts};
use crate::adx::database::MappingKind;
use crate::kql::{Type, Value};
use serde_json::Value as Json;

const COLUMNS: [(&str, Type); 6] = [
    ("Name", Type::String),
    ("Kind", Type::String),
    ("Mapping", Type::String),
    ("LastUpdatedOn", Type::Datetime),
    ("Database", Type::String),
    ("Table", Type::String),
];

/// `ingestion json|csv mapping "M" '[…]'` after `.create[-or-alter] table T` or `.alter table T`.
pub(super) fn parse_definition<'a>(
    cursor: &mut Cursor<'a>,
    verb: &'a str,
    table: String,
) -> Result<Command<'a>, Error> {
    let kind = kind(cursor)?;
    cursor.expect("mapping")?;
    // Adjacent literals are one literal, which would join the name with the mapping.
    let name = cursor.one_string()?;
    let mapping = cursor.string()?;
    check(&name, &mapping)?;
    Ok(Command::change("IngestionMappingCreate", move |context| {
        context.database.change(|content| {
            let entry = content.tables.get_mut(&table).ok_or_else(|| Error::not_found("Table", &table))?;
            match (verb, entry.mappings(kind).contains_key(&name)) {
                ("create", true) => return Err(Error::already_exists("MappingPersistent", &name)),
                ("alter", false) => return Err(Error::not_found("MappingPersistent", &name)),
                _ => {}
            }
            entry.mappings_mut(kind).insert(name.clone(), mapping.clone());
            Ok(ResultTable::new(&COLUMNS, vec![row(kind, &name, &mapping, context.database.name(), &table)]))
        })
    }))
}

/// `ingestion json|csv mappings` or `ingestion json|csv mapping "M"` after `.show table T`.
pub(super) fn parse_show<'a>(cursor: &mut Cursor<'a>, table: String) -> Result<Command<'a>, Error> {
    let kind = kind(cursor)?;
    let wanted = if cursor.eat("mappings")? {
        None
    } else {
        cursor.expect("mapping")?;
        Some(cursor.string()?)
    };
    Ok(Command::show(move |context| {
        let content = context.database.read();
        let entry = content.tables.get(&table).ok_or_else(|| Error::not_found("Table", &table))?;
        if let Some(wanted) = &wanted
            && !entry.mappings(kind).contains_key(wanted)
        {
            return Err(Error::not_found("MappingPersistent", wanted));
        }
        let held = entry.mappings(kind).iter().filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted == *name));
        let rows = held.map(|(name, mapping)| row(kind, name, mapping, context.database.name(), &table));
        Ok(ResultTable::new(&COLUMNS, rows.collect()))
    }))
}

/// `ingestion json|csv mapping "M"` after `.drop table T`.
pub(super) fn parse_drop<'a>(cursor: &mut Cursor<'a>, table: String) -> Result<Command<'a>, Error> {
    let kind = kind(cursor)?;
    cursor.expect("mapping")?;
    let name = cursor.string()?;
    Ok(Command::change("IngestionMappingDrop", move |context| {
        context.database.change(|content| {
            let entry = content.tables.get_mut(&table).ok_or_else(|| Error::not_found("Table", &table))?;
            entry.mappings_mut(kind).remove(&name).ok_or_else(|| Error::not_found("MappingPersistent", &name))?;
            Ok(ResultTable::new(&COLUMNS, Vec::new()))
        })
    }))
}

fn kind(cursor: &mut Cursor<'_>) -> Result<MappingKind, Error> {
    cursor.expect("ingestion")?;
    if cursor.eat("csv")? {
        return Ok(MappingKind::Csv);
    }
    cursor.expect("json")?;
    Ok(MappingKind::Json)
}

fn row(kind: MappingKind, name: &str, mapping: &str, database: &str, table: &str) -> Vec<Value> {
    let mut row = texts([name, kind.name(), mapping, "", database, table]);
    // When a mapping changed is not kept.
    row[3] = Value::Null;
    row
}

/// An array of objects that name their columns, each once.
fn check(name: &str, mapping: &str) -> Result<(), Error> {
    let invalid = |detail: &str| Error::bad_request(format!("The ingestion mapping '{name}' is not valid: {detail}."));
    let Ok(Json::Array(elements)) = serde_json::from_str(mapping) else { return Err(invalid("it is no JSON array")) };
    let mut seen: Vec<String> = Vec::new();
    for element in elements {
        let members = element.as_object().ok_or_else(|| invalid("an element is no object"))?;
        let column = members.iter().find(|(key, _)| key.eq_ignore_ascii_case("column"));
        let column = column.and_then(|(_, value)| value.as_str()).ok_or_else(|| invalid("an element has no column"))?;
        if seen.iter().any(|other| other == column) {
            return Err(invalid("a column is there twice"));
        }
        seen.push(column.to_owned());
    }
    Ok(())
}
