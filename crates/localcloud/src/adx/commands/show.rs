//! `.show …`: what there is. Changes nothing.

use super::cursor::Cursor;
use super::policy::Entity;
use super::{Command, Error, ResultTable, diagnostics, extents, function, mapping, policy, role, table, view};

pub(super) fn parse<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    cursor.expect("show")?;
    match cursor.peek_word()?.unwrap_or_default() {
        "tables" => {
            cursor.word()?;
            let details = cursor.eat("details")?;
            Ok(Command::show(move |context| {
                let content = context.database.read();
                if details {
                    return Ok(extents::details(context.database, content.tables.iter()));
                }
                let rows = content.tables.iter().map(|(name, entry)| table::listed(context.database, name, entry));
                Ok(ResultTable::new(&table::LISTED, rows.collect()))
            }))
        }
        "table" => {
            cursor.word()?;
            if cursor.eat_sign("*")? {
                return policy::parse_show(cursor, Entity::Tables);
            }
            let name = cursor.entity()?;
            of_table(cursor, name)
        }
        "functions" | "function" => function::parse_show(cursor),
        "materialized-views" => view::parse_show(cursor),
        "principal" => role::parse_show_own(cursor),
        "column" => {
            cursor.word()?;
            let column = Entity::column(cursor)?;
            policy::parse_show(cursor, column)
        }
        "database" => {
            cursor.word()?;
            if cursor.is_at_end()? {
                return Ok(diagnostics::databases());
            }
            let name = cursor.name()?;
            if cursor.peek_word()? == Some("principals") {
                return role::parse_show_all(cursor, name);
            }
            policy::parse_show(cursor, Entity::Database(name))
        }
        _ => diagnostics::parse_show(cursor),
    }
}

fn of_table<'a>(cursor: &mut Cursor<'a>, name: String) -> Result<Command<'a>, Error> {
    match cursor.peek_word()?.unwrap_or_default() {
        "cslschema" => {
            cursor.word()?;
            Ok(Command::show(move |context| {
                let content = context.database.read();
                let entry = content.tables.get(&name).ok_or_else(|| Error::not_found("Table", &name))?;
                Ok(table::describe_csl(context.database, &name, entry))
            }))
        }
        "schema" => {
            cursor.word()?;
            cursor.expect("as")?;
            cursor.expect("json")?;
            Ok(Command::show(move |context| {
                let content = context.database.read();
                let entry = content.tables.get(&name).ok_or_else(|| Error::not_found("Table", &name))?;
                Ok(table::describe(context.database, &name, entry))
            }))
        }
        "details" => {
            cursor.word()?;
            Ok(Command::show(move |context| {
                let content = context.database.read();
                let entry = content.tables.get(&name).ok_or_else(|| Error::not_found("Table", &name))?;
                Ok(extents::details(context.database, std::iter::once((&name, entry))))
            }))
        }
        "extents" => extents::parse_show(cursor, name),
        "ingestion" => mapping::parse_show(cursor, name),
        "policy" => policy::parse_show(cursor, Entity::Table(name)),
        _ => Err(cursor.unexpected("a known command")),
    }
}
