//! `.execute database script`: commands one after another, not as one transaction.

use super::cursor::Cursor;
use super::{Command, Context, Error, ResultTable, run};
use crate::kql::{Type, Value};
use uuid::Uuid;

const COLUMNS: [(&str, Type); 5] = [
    ("OperationId", Type::Guid),
    ("CommandType", Type::String),
    ("CommandText", Type::String),
    ("Result", Type::String),
    ("Reason", Type::String),
];

pub(super) fn parse<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    for word in ["execute", "database", "script"] {
        cursor.expect(word)?;
    }
    let properties = cursor.properties(&["throwonerrors", "continueonerrors"])?;
    let is = |key: &str| properties.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let (throws, continues) = (is("throwonerrors"), is("continueonerrors"));
    if throws && continues {
        return Err(Error::bad_request("ContinueOnErrors and ThrowOnErrors exclude each other."));
    }
    let commands = split(cursor.input()?);
    Ok(Command::change("DatabaseScriptExecute", move |context| carry_out(context, &commands, throws, continues)))
}

fn carry_out(context: &Context<'_>, commands: &[&str], throws: bool, continues: bool) -> Result<ResultTable, Error> {
    let mut rows = Vec::new();
    for text in commands {
        let kind = text.split_whitespace().next().unwrap_or_default().trim_start_matches('.');
        let (result, reason) = if kind == "show" {
            ("Skipped", String::new())
        } else {
            match run(context, text) {
                Ok(_) => ("Completed", String::new()),
                Err(error) if throws => return Err(error),
                Err(error) => ("Failed", error.message),
            }
        };
        rows.push(vec![
            Value::Guid(Uuid::new_v4()),
            Value::text(kind),
            Value::text(*text),
            Value::text(result),
            Value::text(reason),
        ]);
        if result == "Failed" && !continues {
            break;
        }
    }
    Ok(ResultTable::new(&COLUMNS, rows))
}

/// A command begins at a line that begins with a point and a letter.
fn split(script: &str) -> Vec<&str> {
    let mut starts = Vec::new();
    let mut at = 0;
    for line in script.split_inclusive('\n') {
        let code = line.trim_start();
        if code.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic())) {
            starts.push(at + line.len() - code.len());
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([script.len()]);
    starts.iter().zip(ends).map(|(start, end)| script[*start..end].trim_end()).collect()
}
