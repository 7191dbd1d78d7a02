//! v1 answers: an object of tables. Commands have one; queries have three more that describe the first.

use super::cells::{Bools, columns_v1, write_row};
use super::refusal::Asked;
use super::result::{Outcome, Pieces};
use crate::kql::{Column, Type};
use bytes::Bytes;
use serde_json::{Value as Json, json};

/// The answer to a command.
pub(super) fn command(outcome: &Outcome) -> Vec<Bytes> {
    let mut pieces = Pieces::default();
    pieces.push(r#"{"Tables":["#);
    result(outcome, Bools::Words, &mut pieces);
    pieces.push("]");
    exceptions(outcome, true, &mut pieces);
    pieces.push("}");
    pieces.finish()
}

/// The answer to a query.
pub(super) fn query(outcome: &Outcome, asked: &Asked) -> Vec<Bytes> {
    let mut pieces = Pieces::default();
    pieces.push(r#"{"Tables":["#);
    result(outcome, Bools::Numbers, &mut pieces);
    let mut properties = vec![json!([super::v2::VISUALIZATION])];
    properties.extend(outcome.cache_note().map(|note| json!([json!({ "ServerCache": note }).to_string()])));
    let properties = Json::Array(properties);
    for other in [table("Table_1", &[("Value", Type::String)], &properties), status(outcome, asked), contents(asked)] {
        pieces.push(",");
        pieces.push(&other.to_string());
    }
    pieces.push("]");
    exceptions(outcome, false, &mut pieces);
    pieces.push("}");
    pieces.finish()
}

fn result(outcome: &Outcome, bools: Bools, pieces: &mut Pieces) {
    let mut columns = columns_v1(&outcome.columns);
    if bools == Bools::Words {
        for column in columns.as_array_mut().into_iter().flatten() {
            if column["DataType"] == "SByte" {
                column["DataType"] = "Boolean".into();
            }
        }
    }
    pieces.push(&format!(r#"{{"TableName":"Table_0","Columns":{columns},"Rows":["#));
    for (index, row) in outcome.rows.iter().enumerate() {
        if index > 0 {
            pieces.push(",");
        }
        write_row(&outcome.columns, row, bools, pieces.tail());
    }
    if let Some(problem) = outcome.problem.as_ref().filter(|problem| problem.among_rows) {
        pieces.push(if outcome.rows.is_empty() { "" } else { "," });
        pieces.push(&json!({ "Exceptions": [problem.error.message] }).to_string());
    }
    pieces.push("]}");
}

/// Errors beside the tables. Where there is no status table, they are here too.
fn exceptions(outcome: &Outcome, no_status: bool, pieces: &mut Pieces) {
    let told =
        |problem: &&super::result::Problem| problem.at_end || problem.at_table_end || problem.in_status && no_status;
    if let Some(problem) = outcome.problem.as_ref().filter(told) {
        pieces.push(&format!(r#","Exceptions":{}"#, json!([problem.error.message])));
    }
}

fn status(outcome: &Outcome, asked: &Asked) -> Json {
    let columns = [
        ("Timestamp", Type::Datetime),
        ("Severity", Type::Int),
        ("SeverityName", Type::String),
        ("StatusCode", Type::Int),
        ("StatusDescription", Type::String),
        ("Count", Type::Int),
        ("RequestId", Type::Guid),
        ("ActivityId", Type::Guid),
        ("SubActivityId", Type::Guid),
        ("ClientActivityId", Type::String),
    ];
    let row = |severity: i64, name: &str, code: i64, text: &str| {
        let id = &asked.activity_id;
        json!([asked.now, severity, name, code, text, 1, id, id, id, asked.client_request_id])
    };
    let row = match outcome.problem.as_ref().filter(|problem| problem.in_status) {
        Some(problem) => row(2, "Error", problem.status, &problem.error.message),
        None => row(4, "Info", 0, "Query completed successfully"),
    };
    table("Table_2", &columns, &json!([row]))
}

fn contents(asked: &Asked) -> Json {
    let columns = [
        ("Ordinal", Type::Long),
        ("Kind", Type::String),
        ("Name", Type::String),
        ("Id", Type::String),
        ("PrettyName", Type::String),
    ];
    let rows = json!([
        [0, "QueryResult", "PrimaryResult", asked.activity_id, ""],
        [1, "QueryProperties", "@ExtendedProperties", asked.activity_id, ""],
        [2, "QueryStatus", "QueryStatus", "00000000-0000-0000-0000-000000000000", ""],
    ]);
    table("Table_3", &columns, &rows)
}

fn table(name: &str, columns: &[(&str, Type)], rows: &Json) -> Json {
    let columns: Vec<Column> = columns.iter().map(|(name, ty)| Column { name: (*name).to_owned(), ty: *ty }).collect();
    json!({ "TableName": name, "Columns": columns_v1(&columns), "Rows": rows })
}
