//! What the service tells of itself and its work: operations, ingestion failures, the cluster, and what it lends for
//! ingestion.

use super::cursor::Cursor;
use super::{Command, Error, ResultTable, texts};
use crate::kql::{Type, Value};
use uuid::Uuid;

const OPERATIONS: [(&str, Type); 13] = [
    ("OperationId", Type::Guid),
    ("Operation", Type::String),
    ("NodeId", Type::String),
    ("StartedOn", Type::Datetime),
    ("LastUpdatedOn", Type::Datetime),
    ("Duration", Type::Timespan),
    ("State", Type::String),
    ("Status", Type::String),
    ("RootActivityId", Type::Guid),
    ("ShouldRetry", Type::Bool),
    ("Database", Type::String),
    ("Principal", Type::String),
    ("User", Type::String),
];

const FAILURES: [(&str, Type); 16] = [
    ("OperationId", Type::Guid),
    ("Database", Type::String),
    ("Table", Type::String),
    ("FailedOn", Type::Datetime),
    ("IngestionSourcePath", Type::String),
    ("Details", Type::String),
    ("FailureKind", Type::String),
    ("RootActivityId", Type::Guid),
    ("OperationKind", Type::String),
    ("OriginatesFromUpdatePolicy", Type::Bool),
    ("ErrorCode", Type::String),
    ("Principal", Type::String),
    ("User", Type::String),
    ("IngestionProperties", Type::String),
    ("NumberOfSources", Type::Int),
    ("ShouldRetry", Type::Bool),
];

const CLUSTER: [(&str, Type); 6] = [
    ("NodeId", Type::String),
    ("Address", Type::String),
    ("Name", Type::String),
    ("IsCurrent", Type::Bool),
    ("ProcessorCount", Type::Int),
    ("ProductVersion", Type::String),
];

const DATABASES: [(&str, Type); 6] = [
    ("DatabaseName", Type::String),
    ("PersistentStorage", Type::String),
    ("Version", Type::String),
    ("IsCurrent", Type::Bool),
    ("DatabaseAccessMode", Type::String),
    ("PrettyName", Type::String),
];

const VERSION: &str = concat!("localcloud ", env!("CARGO_PKG_VERSION"));

/// `.show …` of anything but tables and functions, after `show`.
pub(super) fn parse_show<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    match cursor.peek_word()?.unwrap_or_default() {
        "operations" => {
            cursor.word()?;
            // Not by its tokens: an id such as `91e2…` begins like a number and is none.
            let rest = cursor.text()[cursor.offset()..].trim_start();
            let wanted = if rest.is_empty() || rest.starts_with('|') { None } else { Some(id(cursor)?) };
            Ok(Command::show(move |context| Ok(operations(context, wanted))))
        }
        "ingestion" => {
            cursor.word()?;
            cursor.expect("failures")?;
            let properties = cursor.properties(&["operationid"])?;
            // Failures of queued ingestion carry no operation that a caller could know.
            let all = properties.is_empty();
            Ok(Command::show(move |context| Ok(if all { failures(context) } else { none(&FAILURES) })))
        }
        "cluster" => {
            cursor.word()?;
            Ok(Command::show(|_| {
                let mut row = texts(["KEngine000000", "", "KEngine000000"]);
                row.extend([Value::Bool(true), Value::Int(2), Value::text(VERSION)]);
                Ok(ResultTable::new(&CLUSTER, vec![row]))
            }))
        }
        "version" => {
            cursor.word()?;
            Ok(Command::show(|_| {
                let columns =
                    [("BuildVersion", Type::String), ("ServiceType", Type::String), ("ProductVersion", Type::String)];
                Ok(ResultTable::new(&columns, vec![texts([env!("CARGO_PKG_VERSION"), "Engine", VERSION])]))
            }))
        }
        "databases" => {
            cursor.word()?;
            Ok(databases())
        }
        _ => Err(cursor.unexpected("a known command")),
    }
}

/// `.show databases`
pub(super) fn databases<'a>() -> Command<'a> {
    Command::show(|context| {
        let mut row = texts([context.database.name(), "", "v1.0", "", "ReadWrite", ""]);
        row[3] = Value::Bool(true);
        Ok(ResultTable::new(&DATABASES, vec![row]))
    })
}

/// `.get ingestion resources`, `.get kusto identity token`.
pub(super) fn parse_get<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, Error> {
    cursor.expect("get")?;
    let start = cursor.offset();
    let text = cursor.text();
    // Without data management these commands do not exist.
    let lends_nothing = move || Error::syntax(text, start, "This cluster has no data management");
    if cursor.eat("ingestion")? {
        cursor.expect("resources")?;
        return Ok(Command::show(move |context| {
            let columns = [("ResourceTypeName", Type::String), ("StorageRoot", Type::String)];
            let lent = context.resources.filter(|_| context.lends).ok_or_else(lends_nothing)?.resources();
            Ok(ResultTable::new(&columns, lent.iter().map(|(kind, root)| texts([kind, root])).collect()))
        }));
    }
    for word in ["kusto", "identity", "token"] {
        cursor.expect(word)?;
    }
    Ok(Command::show(move |context| {
        let token = context.resources.filter(|_| context.lends).ok_or_else(lends_nothing)?.identity_token();
        Ok(ResultTable::new(&[("AuthorizationContext", Type::String)], vec![texts([&token])]))
    }))
}

fn id(cursor: &mut Cursor<'_>) -> Result<Uuid, Error> {
    let start = cursor.offset();
    let text = cursor.bare()?;
    Uuid::parse_str(text)
        .map_err(|_| Error::syntax(cursor.text(), start, format_args!("'{text}' is not the id of an operation")))
}

fn none(columns: &[(&str, Type)]) -> ResultTable {
    ResultTable::new(columns, Vec::new())
}

fn operations(context: &super::Context<'_>, wanted: Option<Uuid>) -> ResultTable {
    let held = context.database.operations();
    let shown = held.into_iter().filter(|operation| wanted.is_none_or(|wanted| wanted == operation.id));
    let rows = shown.map(|operation| {
        vec![
            Value::Guid(operation.id),
            Value::text(operation.kind),
            Value::text(""),
            Value::Datetime(operation.started),
            Value::Datetime(operation.ended),
            Value::Timespan(operation.ended - operation.started),
            Value::text(operation.state),
            Value::text(operation.status),
            Value::Guid(operation.id),
            Value::Bool(false),
            Value::text(context.database.name()),
            Value::text(operation.principal),
            Value::text(""),
        ]
    });
    ResultTable::new(&OPERATIONS, rows.collect())
}

fn failures(context: &super::Context<'_>) -> ResultTable {
    let content = context.database.read();
    let rows = content.failures.iter().map(|failure| {
        vec![
            Value::Guid(Uuid::nil()),
            Value::text(context.database.name()),
            Value::text(failure.table.as_str()),
            Value::Datetime(failure.failed_on),
            Value::text(failure.source_path.as_str()),
            Value::text(failure.details.as_str()),
            Value::text(failure.failure_kind.as_str()),
            Value::Guid(Uuid::nil()),
            Value::text("DataIngestPull"),
            Value::Bool(false),
            Value::text(failure.error_code.as_str()),
            Value::text(""),
            Value::text(""),
            Value::text(""),
            Value::Int(1),
            Value::Bool(failure.failure_kind == "Transient"),
        ]
    });
    ResultTable::new(&FAILURES, rows.collect())
}
