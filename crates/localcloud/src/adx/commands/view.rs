//! Materialized views: kept by their query, computed when they are asked. One whose columns have changed with its source is
//! not healthy, unless it follows (dataexplorer-docs `management/materialized-views/materialized-views-limitations.md`).

use super::cursor::Cursor;
use super::{Command, Error, ResultTable};
use crate::adx::database::View;
use crate::adx::seen::columns_of;
use crate::kql::{Type, Value};

const COLUMNS: [(&str, Type); 13] = [
    ("Name", Type::String),
    ("SourceTable", Type::String),
    ("Query", Type::String),
    ("MaterializedTo", Type::Datetime),
    ("LastRun", Type::Datetime),
    ("LastRunResult", Type::String),
    ("IsHealthy", Type::Bool),
    ("IsEnabled", Type::Bool),
    ("Folder", Type::String),
    ("DocString", Type::String),
    ("AutoUpdateSchema", Type::Bool),
    ("EffectiveDateTime", Type::Datetime),
    ("Lookback", Type::Timespan),
];

const PROPERTIES: [&str; 8] = [
    "backfill",
    "effectivedatetime",
    "updateextentscreationtime",
    "lookback",
    "autoupdateschema",
    "dimensiontables",
    "folder",
    "docstring",
];

/// The rest of `.create materialized-view [with (…)] V on table T { … }`.
pub(super) fn parse_definition<'a>(cursor: &mut Cursor<'a>, verb: &'a str) -> Result<Command<'a>, Error> {
    cursor.expect("materialized-view")?;
    let properties = cursor.properties(&PROPERTIES)?;
    let name = cursor.name()?;
    cursor.expect("on")?;
    cursor.expect("table")?;
    let source = cursor.entity()?;
    let body = cursor.bracketed("{", "}")?;
    let text = |key: &str| properties.get(key).cloned().unwrap_or_default();
    let mut view = View {
        source,
        query: body[1..body.len() - 1].trim().to_owned(),
        folder: text("folder"),
        docstring: text("docstring"),
        follows: text("autoupdateschema").eq_ignore_ascii_case("true"),
        columns: Vec::new(),
    };
    Ok(Command::change("MaterializedViewCreateOrAlter", move |context| {
        if !context.database.read().tables.contains_key(&view.source) {
            return Err(Error::not_found("Table", &view.source));
        }
        view.columns = columns_of(context.database, &view)?;
        context.database.change(|content| {
            if verb == "create" && content.views.contains_key(&name) {
                return Err(Error::already_exists("MaterializedView", &name));
            }
            content.views.insert(name.clone(), view.clone());
            Ok(())
        })?;
        Ok(ResultTable::new(&COLUMNS, vec![row(context, &name, &view)]))
    }))
}

/// `.show materialized-views`, after `show`.
pub(super) fn parse_show<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    cursor.expect("materialized-views")?;
    Ok(Command::show(|context| {
        let views = context.database.read().views.clone();
        let rows = views.iter().map(|(name, view)| row(context, name, view)).collect();
        Ok(ResultTable::new(&COLUMNS, rows))
    }))
}

/// `.drop materialized-view V`, after `drop`.
pub(super) fn parse_drop<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    cursor.expect("materialized-view")?;
    let name = cursor.name()?;
    Ok(Command::change("MaterializedViewDrop", move |context| {
        context.database.change(|content| {
            content.views.remove(&name).ok_or_else(|| Error::not_found("MaterializedView", &name))?;
            Ok(ResultTable::new(&[("Name", Type::String)], vec![vec![Value::text(name)]]))
        })
    }))
}

fn row(context: &super::Context<'_>, name: &str, view: &View) -> Vec<Value> {
    let healthy = view.follows || columns_of(context.database, view).is_ok_and(|columns| columns == view.columns);
    let now = Value::Datetime(context.database.now());
    vec![
        Value::text(name),
        Value::text(view.source.as_str()),
        Value::text(view.query.as_str()),
        now.clone(),
        now,
        Value::text(if healthy { "Completed" } else { "SourceTableSchemaChange" }),
        Value::Bool(healthy),
        Value::Bool(healthy),
        Value::text(view.folder.as_str()),
        Value::text(view.docstring.as_str()),
        Value::Bool(view.follows),
        Value::Null,
        Value::Null,
    ]
}
