//! Ingestion from a query: `.append`, `.set`, `.set-or-append`, `.set-or-replace`. Columns match by position and
//! type; an `ingestIfNotExists` that is met ingests nothing (dataexplorer-docs `management/extent-tags.md`).

use super::cursor::{Cursor, Properties};
use super::{Command, Context, Error, ResultTable, evaluate, table};
use crate::adx::database::{Content, Database};
use crate::adx::seen::Seen;
use crate::adx::table::ExtentInfo;
use crate::kql::{Catalog, Column, Type, Value, json};
use std::sync::Arc;
use uuid::Uuid;

const EXTENTS: [(&str, Type); 6] = [
    ("ExtentId", Type::Guid),
    ("OriginalSize", Type::Real),
    ("ExtentSize", Type::Real),
    ("CompressedSize", Type::Real),
    ("IndexSize", Type::Real),
    ("RowCount", Type::Long),
];

const PROPERTIES: [&str; 9] = [
    "tags",
    "ingestifnotexists",
    "folder",
    "docstring",
    "distributed",
    "extend_schema",
    "recreate_schema",
    "persistdetails",
    "policy_ingestiontime",
];

/// Tags to put on what is ingested, and tags that keep it out.
pub(super) struct Once {
    pub(super) tags: Vec<String>,
    unless: Vec<String>,
}

impl Once {
    /// Reads both lists, which are JSON arrays in strings.
    pub(super) fn read(properties: &Properties) -> Result<Self, Error> {
        let list = |key: &str| match properties.get(key) {
            None => Ok(Vec::new()),
            Some(text) => serde_json::from_str::<Vec<String>>(text)
                .map_err(|_| Error::bad_request(format!("The property '{key}' is not a JSON array of strings."))),
        };
        let unless = list("ingestifnotexists")?.into_iter().map(|key| format!("ingest-by:{key}")).collect();
        Ok(Self { tags: list("tags")?, unless })
    }

    /// The keys that keep it out.
    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        self.unless.iter().filter_map(|tag| tag.strip_prefix("ingest-by:")).map(str::to_owned)
    }

    /// Whether what is to be ingested has been ingested before.
    pub(super) fn is_done(&self, database: &Database, content: &Content, table: &str) -> bool {
        if !database.goes_by_tags() {
            return false;
        }
        content.tables.get(table).is_some_and(|entry| self.unless.iter().any(|tag| entry.data.has_tag(tag)))
    }
}

pub(super) fn parse<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    let verb = cursor.word()?;
    let detached = cursor.eat("async")?;
    let name = cursor.entity()?;
    let properties = cursor.properties(&PROPERTIES)?;
    let text = cursor.text();
    let query = cursor.input()?;
    let start = text.len() - query.len();
    let once = Once::read(&properties)?;
    for (unsupported, on) in [("recreate_schema", "true"), ("extend_schema", "true")] {
        if properties.get(unsupported).is_some_and(|value| value.eq_ignore_ascii_case(on)) {
            return Err(Error::bad_request(format!("The property '{unsupported}' is not supported here.")));
        }
    }
    let kind = match verb {
        "append" => "TableAppend",
        "set" => "TableSet",
        "set-or-replace" => "TableSetOrReplace",
        _ => "TableSetOrAppend",
    };
    let command = Command::change(kind, move |context| {
        {
            let content = context.database.read();
            match (verb, content.tables.contains_key(&name)) {
                ("append", false) => return Err(Error::not_found("Table", &name)),
                ("set", true) => return Err(Error::already_exists("Table", &name)),
                _ => {}
            }
            if once.is_done(context.database, &content, &name) {
                return Ok(nothing());
            }
        }
        let seen = Seen::by(context.database, Some(context.principal));
        let catalog: Arc<dyn Catalog> = seen.clone();
        // Blanks keep the places of errors what they are in the command.
        let blanks: String = text[..start].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        let found = evaluate(&format!("{blanks}{query}"), &catalog).map_err(|error| seen.error_of(error))?;
        store(context, verb, &name, found, once, &properties)
    });
    Ok(Command { detached, ..command })
}

fn store(
    context: &Context<'_>,
    verb: &str,
    name: &str,
    found: ResultTable,
    once: Once,
    properties: &Properties,
) -> Result<ResultTable, Error> {
    let mut content = context.database.write();
    match content.tables.get(name) {
        Some(entry) => fits(name, entry.data.columns(), &found.columns)?,
        None => {
            let mut entry = table::empty(context.database.new_table(name, found.columns.clone())?);
            entry.folder = properties.get("folder").cloned().unwrap_or_default();
            entry.docstring = properties.get("docstring").cloned().unwrap_or_default();
            content.tables.insert(name.to_owned(), entry);
            context.database.save(&content)?;
        }
    }
    if !content.keeps(name) {
        return Err(Error::bad_request(format!(
            "Table '{name}' has a retention of zero and no update policy reads it."
        )));
    }
    // Another caller may have been faster while the query ran.
    if once.is_done(context.database, &content, name) {
        return Ok(nothing());
    }
    if verb == "set-or-replace" {
        context.database.clear(&mut content, name)?;
    }
    append(context, &mut content, name, found.rows, once)
}

/// Appends rows that fit and answers with their extent; without rows there is none, and no tag either.
pub(super) fn append(
    context: &Context<'_>,
    content: &mut Content,
    name: &str,
    rows: Vec<Vec<Value>>,
    once: Once,
) -> Result<ResultTable, Error> {
    if rows.is_empty() {
        return Ok(nothing());
    }
    let size: usize = rows.iter().flatten().map(|value| json::to_text(value).len() + 1).sum();
    let info = context.database.append(content, name, rows, once.tags)?;
    let info = info.ok_or_else(|| Error::not_found("Table", name))?;
    Ok(ResultTable::new(&EXTENTS, vec![row(&info, size as f64)]))
}

/// The answer of an ingestion: its extent.
pub(super) fn told(info: &ExtentInfo) -> ResultTable {
    ResultTable::new(&EXTENTS, vec![row(info, info.original_size as f64)])
}

/// The answer of an ingestion that ingested nothing: an extent that is none.
pub(super) fn nothing() -> ResultTable {
    let none = ExtentInfo { id: Uuid::nil(), rows: 0, original_size: 0, created: 0, tags: Vec::new() };
    ResultTable::new(&EXTENTS, vec![row(&none, 0.0)])
}

fn row(info: &ExtentInfo, size: f64) -> Vec<Value> {
    vec![
        Value::Guid(info.id),
        Value::Real(size),
        Value::Real(size),
        Value::Real(size),
        Value::Real(0.0),
        Value::Long(info.rows as i64),
    ]
}

/// Whether a query's columns are those of the table by position and type; names do not matter.
fn fits(table: &str, held: &[Column], found: &[Column]) -> Result<(), Error> {
    let types = |columns: &[Column]| columns.iter().map(|column| column.ty.name()).collect::<Vec<_>>().join(",");
    if held.iter().map(|column| column.ty).eq(found.iter().map(|column| column.ty)) {
        return Ok(());
    }
    Err(Error::bad_request(format!(
        "Query schema does not match table schema. QuerySchema=('{}'), TableSchema=('{}'), Table='{table}'.",
        types(found),
        types(held)
    )))
}
