//! Commands that make, widen, describe and remove tables.

use super::cursor::Cursor;
use super::policy::Entity;
use super::{Command, Error, ResultTable, SCHEMA, delete, function, mapping, policy, role, texts, view};
use crate::adx::database::{Database, Entry};
use crate::adx::table::TableData;
use crate::kql::{Column, Type};
use serde_json::json;
use std::collections::BTreeMap;

/// The rest of `.create[-merge] table T`, `.alter-merge table T`.
pub(super) fn parse_definition<'a>(cursor: &mut Cursor<'a>, verb: &'a str, name: String) -> Result<Command<'a>, Error> {
    let columns = cursor.columns()?;
    let properties = cursor.properties(&["folder", "docstring"])?;
    Ok(Command::change("TableCreate", move |context| {
        context.database.change(|content| {
            let folder = properties.get("folder").cloned();
            let docstring = properties.get("docstring").cloned();
            match content.tables.get_mut(&name) {
                // Creating a table that is there changes nothing and succeeds.
                Some(entry) if verb == "create" => Ok(describe(context.database, &name, entry)),
                Some(entry) => {
                    let new = missing(&name, entry.data.columns(), columns)?;
                    if !new.is_empty() {
                        entry.data.add_columns(new);
                    }
                    entry.folder = folder.unwrap_or_else(|| entry.folder.clone());
                    entry.docstring = docstring.unwrap_or_else(|| entry.docstring.clone());
                    Ok(describe(context.database, &name, entry))
                }
                None if verb == "alter-merge" => Err(Error::not_found("Table", &name)),
                None => {
                    let mut entry = empty(context.database.new_table(&name, columns)?);
                    entry.folder = folder.unwrap_or_default();
                    entry.docstring = docstring.unwrap_or_default();
                    let described = describe(context.database, &name, &entry);
                    content.tables.insert(name, entry);
                    Ok(described)
                }
            }
        })
    }))
}

/// A table without rows.
pub(super) fn empty(data: TableData) -> Entry {
    Entry {
        folder: String::new(),
        docstring: String::new(),
        data,
        json_mappings: BTreeMap::new(),
        csv_mappings: BTreeMap::new(),
        policies: BTreeMap::new(),
    }
}

/// The columns that a table lacks. Those that it has must have their types.
fn missing(table: &str, held: &[Column], wanted: Vec<Column>) -> Result<Vec<Column>, Error> {
    let mut new = Vec::new();
    for column in wanted {
        match held.iter().find(|other| other.name == column.name) {
            Some(other) if other.ty != column.ty => {
                return Err(Error::bad_request(format!(
                    "Table '{table}' has a column '{}' of type {}, which cannot be merged with type {}.",
                    column.name,
                    other.ty.name(),
                    column.ty.name()
                )));
            }
            Some(_) => {}
            None => new.push(column),
        }
    }
    Ok(new)
}

/// The rest of `.alter table T folder|docstring "…"`.
pub(super) fn parse_words<'a>(cursor: &mut Cursor<'a>, name: String) -> Result<Command<'a>, Error> {
    let folder = cursor.word()? == "folder";
    let text = cursor.string()?;
    Ok(Command::change("TableAlter", move |context| {
        context.database.change(|content| {
            let entry = content.tables.get_mut(&name).ok_or_else(|| Error::not_found("Table", &name))?;
            if folder {
                entry.folder = text;
            } else {
                entry.docstring = text;
            }
            Ok(describe(context.database, &name, entry))
        })
    }))
}

/// `.drop table`, `.drop function`, `.clear table T data`, `.delete table T policy`.
pub(super) fn parse_removal<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    let verb = cursor.word()?;
    if verb == "drop" && cursor.eat("function")? {
        return function::parse_drop(cursor);
    }
    match (verb, cursor.peek_word()?) {
        ("drop", Some("materialized-view")) => return view::parse_drop(cursor),
        ("drop", Some("database")) => return role::parse_change(cursor, false),
        ("delete", Some("database")) => {
            cursor.word()?;
            let name = cursor.name()?;
            return policy::parse_delete(cursor, Entity::Database(name));
        }
        _ => cursor.expect("table")?,
    }
    let name = cursor.entity()?;
    match verb {
        "clear" => {
            cursor.expect("data")?;
            Ok(Command::change("TableClear", move |context| {
                let mut content = context.database.write();
                if !content.tables.contains_key(&name) {
                    return Err(Error::not_found("Table", &name));
                }
                context.database.clear(&mut content, &name)?;
                let columns = [("TableName", Type::String), ("Status", Type::String)];
                Ok(ResultTable::new(&columns, vec![texts([&name, "Success"])]))
            }))
        }
        "delete" if cursor.eat("records")? => delete::parse(cursor, name),
        "delete" => policy::parse_delete(cursor, Entity::Table(name)),
        _ if cursor.peek_word()? == Some("ingestion") => mapping::parse_drop(cursor, name),
        _ => {
            let if_exists = cursor.eat("ifexists")?;
            Ok(Command::change("TableDrop", move |context| drop_table(context.database, &name, if_exists)))
        }
    }
}

fn drop_table(database: &Database, name: &str, if_exists: bool) -> Result<ResultTable, Error> {
    database.change(|content| {
        if !content.tables.contains_key(name) && !if_exists {
            return Err(Error::not_found("Table", name));
        }
        database.clear(content, name)?;
        content.tables.remove(name);
        let rows = content.tables.iter().map(|(name, entry)| listed(database, name, entry)).collect();
        Ok(ResultTable::new(&LISTED, rows))
    })
}

/// The columns of `.show tables`.
pub(super) const LISTED: [(&str, Type); 4] = [
    ("TableName", Type::String),
    ("DatabaseName", Type::String),
    ("Folder", Type::String),
    ("DocString", Type::String),
];

/// A row of `.show tables`.
pub(super) fn listed(database: &Database, name: &str, entry: &Entry) -> Vec<crate::kql::Value> {
    texts([name, database.name(), &entry.folder, &entry.docstring])
}

/// A table with its schema as JSON.
pub(super) fn describe(database: &Database, name: &str, entry: &Entry) -> ResultTable {
    let columns: Vec<_> = entry
        .data
        .columns()
        .iter()
        .map(|column| json!({ "Name": column.name, "Type": column.ty.dotnet_name(), "CslType": column.ty.name() }))
        .collect();
    let schema = json!({ "Name": name, "OrderedColumns": columns }).to_string();
    let row = texts([name, &schema, database.name(), &entry.folder, &entry.docstring]);
    ResultTable::new(&SCHEMA, vec![row])
}

/// A table with its schema as it would be written in a command.
pub(super) fn describe_csl(database: &Database, name: &str, entry: &Entry) -> ResultTable {
    let columns: Vec<_> =
        entry.data.columns().iter().map(|column| format!("{}:{}", quoted(&column.name), column.ty.name())).collect();
    let row = texts([name, &columns.join(","), database.name(), &entry.folder, &entry.docstring]);
    ResultTable::new(&SCHEMA, vec![row])
}

/// A name as KQL writes it: in brackets unless it is a plain word.
fn quoted(name: &str) -> String {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return name.to_owned();
    }
    format!("['{}']", name.replace('\\', "\\\\").replace('\'', "\\'"))
}
