//! Management commands: text in, one table out. A command is parsed to its end before anything of it is done; what
//! is not known here is refused, never guessed.

mod append;
mod cursor;
mod delete;
mod diagnostics;
mod error;
mod extents;
mod function;
mod inline;
mod mapping;
mod policy;
mod result;
mod role;
mod script;
mod show;
mod table;
#[cfg(test)]
mod tests;
mod view;

pub use error::{Error, Inner};
pub use result::ResultTable;

use crate::adx::database::{Database, Operation};
use crate::adx::storage::{Opened, Unreadable};
use crate::kql::{self, Catalog, MemoryTable, Table, Type, Value};
use cursor::Cursor;
use policy::Entity;
use std::sync::Arc;
use uuid::Uuid;

/// What the data management service lends for queued ingestion.
pub trait ResourceProvider: Send + Sync {
    /// Types, such as `TempStorage`, and URLs with their signatures.
    fn resources(&self) -> Vec<(String, String)>;
    /// The token that goes into every ingestion message.
    fn identity_token(&self) -> String;
    /// The content of a blob that was lent.
    ///
    /// # Errors
    /// The address is not one of a lent blob, or lets its bearer not read it.
    fn open(&self, address: &str) -> Result<Opened, Unreadable>;
    /// Queues a message for ingestion.
    fn post(&self, message: String);
}

/// What a command works on.
pub(super) struct Context<'a> {
    pub(super) database: &'a Arc<Database>,
    pub(super) resources: Option<&'a dyn ResourceProvider>,
    /// Whether a command may ask for what is lent.
    pub(super) lends: bool,
    /// Whether only looking is allowed.
    pub(super) read_only: bool,
    /// Who asks, for the record.
    pub(super) principal: &'a str,
    /// Whether callers have no other roles than those that they were given.
    pub(super) by_roles: bool,
}

type Action<'a> = Box<dyn FnOnce(&Context<'_>) -> Result<ResultTable, Error> + 'a>;

/// A command that was understood.
struct Command<'a> {
    /// As in `.show operations`.
    kind: &'static str,
    writes: bool,
    /// Whether the caller wants an operation's id instead of the answer.
    detached: bool,
    action: Action<'a>,
}

impl<'a> Command<'a> {
    fn show(action: impl FnOnce(&Context<'_>) -> Result<ResultTable, Error> + 'a) -> Self {
        Self { kind: "Show", writes: false, detached: false, action: Box::new(action) }
    }

    fn change(kind: &'static str, action: impl FnOnce(&Context<'_>) -> Result<ResultTable, Error> + 'a) -> Self {
        Self { kind, writes: true, detached: false, action: Box::new(action) }
    }
}

/// Whether a text is a command: its first token is a point.
pub(super) fn is_command(text: &str) -> bool {
    Cursor::new(text).peek().is_ok_and(|token| token.is_sign("."))
}

/// Carries out one command.
pub(super) fn run(context: &Context<'_>, text: &str) -> Result<ResultTable, Error> {
    let mut cursor = Cursor::new(text);
    let command = parse(&mut cursor)?;
    let pipeline = if cursor.peek()?.is_sign("|") { Some(cursor.peek()?.start) } else { None };
    if pipeline.is_none() && cursor.peek()?.kind != kql::lexer::TokenKind::End {
        return Err(cursor.unexpected("the end of the command"));
    }
    if command.writes && context.read_only {
        return Err(Error::read_only());
    }
    let (kind, writes, detached) = (command.kind, command.writes, command.detached);
    let (id, started) = (Uuid::new_v4(), context.database.now());
    let outcome = (command.action)(context);
    if writes {
        let (state, status) = match &outcome {
            Ok(_) => ("Completed", String::new()),
            Err(error) => ("Failed", error.message.clone()),
        };
        let ended = context.database.now();
        let operation = Operation {
            id,
            kind: kind.to_owned(),
            started,
            ended,
            state,
            status,
            principal: context.principal.to_owned(),
        };
        context.database.record(operation);
    }
    let table = if detached {
        // It has run already; how it went is for `.show operations` to say.
        ResultTable::new(&[("OperationId", Type::Guid)], vec![vec![Value::Guid(id)]])
    } else {
        outcome?
    };
    match pipeline {
        Some(offset) => pipe(context, table, text, offset),
        None => Ok(table),
    }
}

fn parse<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    cursor.sign(".")?;
    match cursor.peek_word()?.unwrap_or_default() {
        "show" => show::parse(cursor),
        verb @ ("create" | "create-merge" | "create-or-alter" | "alter" | "alter-merge") => {
            cursor.word()?;
            define(cursor, verb)
        }
        "drop" | "clear" | "delete" => table::parse_removal(cursor),
        "add" => {
            cursor.word()?;
            role::parse_change(cursor, true)
        }
        "set" | "append" | "set-or-append" | "set-or-replace" => append::parse(cursor),
        "ingest" => inline::parse(cursor),
        "execute" => script::parse(cursor),
        "get" => diagnostics::parse_get(cursor),
        _ => Err(cursor.unexpected("a known command")),
    }
}

/// `.create …` and its kin, after the verb.
fn define<'a>(cursor: &mut Cursor<'a>, verb: &'a str) -> Result<Command<'a>, Error> {
    match cursor.peek_word()? {
        Some("function") => function::parse_definition(cursor, verb),
        Some("materialized-view") if matches!(verb, "create" | "create-or-alter") => {
            view::parse_definition(cursor, verb)
        }
        Some("database") if matches!(verb, "alter" | "alter-merge") => {
            cursor.word()?;
            let name = cursor.name()?;
            policy::parse_alter(cursor, verb, Entity::Database(name))
        }
        Some("column") if verb == "alter" => {
            cursor.word()?;
            let column = Entity::column(cursor)?;
            policy::parse_alter(cursor, verb, column)
        }
        Some("table") => {
            cursor.word()?;
            let name = cursor.entity()?;
            match (verb, cursor.peek_word()?) {
                ("create" | "create-or-alter" | "alter", Some("ingestion")) => {
                    mapping::parse_definition(cursor, verb, name)
                }
                ("alter" | "alter-merge", Some("policy")) => policy::parse_alter(cursor, verb, Entity::Table(name)),
                ("alter", Some("folder" | "docstring")) => table::parse_words(cursor, name),
                ("create" | "create-merge" | "alter-merge", _) => table::parse_definition(cursor, verb, name),
                _ => Err(cursor.unexpected("a known command")),
            }
        }
        _ => Err(cursor.unexpected("a known command")),
    }
}

/// Runs what follows a command's pipe over its answer. Places in the text stay what they are.
fn pipe(context: &Context<'_>, table: ResultTable, text: &str, offset: usize) -> Result<ResultTable, Error> {
    /// No text can name it otherwise: commands are longer than it.
    const NAME: &str = "$r";
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    let command: String = text[..offset].chars().skip(NAME.len()).map(blank).collect();
    let query = format!("{NAME}{command}{}", &text[offset..]);
    let answer = MemoryTable::new(table.columns, table.rows);
    let catalog: Arc<dyn Catalog> =
        Arc::new(Piped { database: context.database.clone(), name: NAME, table: Arc::new(answer) });
    evaluate(&query, &catalog)
}

/// A whole query, in memory.
pub(super) fn evaluate(query: &str, catalog: &Arc<dyn Catalog>) -> Result<ResultTable, Error> {
    let answer = kql::run(query, catalog)?;
    let rows = answer.rows.collect::<Result<Vec<_>, _>>()?;
    Ok(ResultTable { columns: answer.columns, rows })
}

struct Piped {
    database: Arc<Database>,
    name: &'static str,
    table: Arc<MemoryTable>,
}

impl Catalog for Piped {
    fn table(&self, name: &str) -> Option<Arc<dyn Table>> {
        if name == self.name { Some(self.table.clone()) } else { self.database.table(name) }
    }

    fn function(&self, name: &str) -> Option<String> {
        self.database.function(name)
    }

    fn now(&self) -> i64 {
        Catalog::now(&*self.database)
    }
}

/// The columns of commands that answer with a table's schema.
const SCHEMA: [(&str, Type); 5] = [
    ("TableName", Type::String),
    ("Schema", Type::String),
    ("DatabaseName", Type::String),
    ("Folder", Type::String),
    ("DocString", Type::String),
];

fn texts<const N: usize>(cells: [&str; N]) -> Vec<Value> {
    cells.into_iter().map(Value::text).collect()
}
