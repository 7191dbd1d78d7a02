//! Stored functions. Bodies are checked by the engine unless the caller asks otherwise.

use super::cursor::Cursor;
use super::{Command, Error, ResultTable, texts};
use crate::adx::database::Function;
use crate::kql::{self, Catalog, Type, Value};
use std::sync::Arc;

const COLUMNS: [(&str, Type); 5] = [
    ("Name", Type::String),
    ("Parameters", Type::String),
    ("Body", Type::String),
    ("Folder", Type::String),
    ("DocString", Type::String),
];

/// `function [ifnotexists] [with (…)] F(…) { … }` after the verb.
pub(super) fn parse_definition<'a>(cursor: &mut Cursor<'a>, verb: &'a str) -> Result<Command<'a>, Error> {
    if !matches!(verb, "create" | "create-or-alter" | "alter") {
        return Err(cursor.unexpected("'table'"));
    }
    cursor.expect("function")?;
    let if_not_exists = verb == "create" && cursor.eat("ifnotexists")?;
    let properties = cursor.properties(&["folder", "docstring", "view", "skipvalidation"])?;
    let name = cursor.name()?;
    let parameters = cursor.bracketed("(", ")")?;
    let body = cursor.bracketed("{", "}")?;
    let text = |key: &str| properties.get(key).cloned().unwrap_or_default();
    let function = Function {
        parameters: parameters.to_owned(),
        body: body[1..body.len() - 1].trim().to_owned(),
        folder: text("folder"),
        docstring: text("docstring"),
    };
    if is_true(&text("view")) && !function.takes_nothing() {
        return Err(Error::bad_request(format!("The function '{name}' has parameters and cannot be a view.")));
    }
    let check = !is_true(&text("skipvalidation"));
    Ok(Command::change("FunctionCreateOrAlter", move |context| {
        if check && function.takes_nothing() {
            let catalog: Arc<dyn Catalog> = context.database.clone();
            kql::run(&function.body, &catalog)?;
        }
        context.database.change(|content| {
            match (verb, content.functions.get(&name)) {
                ("create", Some(held)) if if_not_exists => {
                    return Ok(ResultTable::new(&COLUMNS, vec![row(&name, held)]));
                }
                ("create", Some(_)) => return Err(Error::already_exists("Function", &name)),
                ("alter", None) => return Err(Error::not_found("Function", &name)),
                _ => {}
            }
            let shown = ResultTable::new(&COLUMNS, vec![row(&name, &function)]);
            content.functions.insert(name, function);
            Ok(shown)
        })
    }))
}

/// `.show functions`, `.show function F`, after `show`.
pub(super) fn parse_show<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    let wanted = if cursor.word()? == "function" { Some(cursor.name()?) } else { None };
    Ok(Command::show(move |context| {
        let content = context.database.read();
        let rows = match &wanted {
            None => content.functions.iter().map(|(name, function)| row(name, function)).collect(),
            Some(name) => {
                let function = content.functions.get(name).ok_or_else(|| Error::not_found("Function", name))?;
                vec![row(name, function)]
            }
        };
        Ok(ResultTable::new(&COLUMNS, rows))
    }))
}

/// `.drop function F [ifexists]`, after `function`.
pub(super) fn parse_drop<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    let name = cursor.name()?;
    let if_exists = cursor.eat("ifexists")?;
    Ok(Command::change("FunctionDrop", move |context| {
        context.database.change(|content| {
            if content.functions.remove(&name).is_none() && !if_exists {
                return Err(Error::not_found("Function", &name));
            }
            Ok(ResultTable::new(&[("Name", Type::String)], vec![texts([&name])]))
        })
    }))
}

fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

fn row(name: &str, function: &Function) -> Vec<Value> {
    let body = format!("{{ {} }}", function.body);
    texts([name, &function.parameters, &body, &function.folder, &function.docstring])
}
