//! v2 answers: an array of frames. Tables come whole, or as header, fragments and completion where asked for.

use super::cells::{Bools, columns_v2, write_row};
use super::refusal::Asked;
use super::result::{Outcome, Pieces};
use crate::kql::{Column, Type};
use bytes::Bytes;
use serde_json::{Value as Json, json};

/// What `@ExtendedProperties` says of a query without `render`.
pub(super) const VISUALIZATION: &str = r#"{"Visualization":null,"Title":null,"XColumn":null,"Series":null,"YColumns":null,"AnomalyColumns":null,"XTitle":null,"YTitle":null,"XAxis":null,"YAxis":null,"Legend":null,"YSplit":null,"Accumulate":false,"IsQuerySorted":false,"Kind":null,"Ymin":"NaN","Ymax":"NaN","Xmin":null,"Xmax":null}"#;

/// Rows of a fragment.
const FRAGMENT_ROWS: usize = 10_000;

/// How the frames are to come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Frames {
    pub(super) fragmented: bool,
    pub(super) progressive: bool,
    pub(super) newlines: bool,
}

/// The answer to a query.
pub(super) fn query(outcome: &Outcome, asked: &Asked, frames: Frames) -> Vec<Bytes> {
    let problem = outcome.problem.as_ref();
    // Only the completion of a fragmented table has a place for an error of the table's own.
    let fragmented = frames.fragmented || frames.progressive || problem.is_some_and(|problem| problem.at_table_end);
    let between = if frames.newlines { "\n," } else { "," };
    let mut pieces = Pieces::default();
    pieces.push("[");
    let header = json!({ "FrameType": "DataSetHeader", "IsProgressive": frames.progressive, "Version": "v2.0", "IsFragmented": fragmented, "ErrorReportingPlacement": "InData" });
    pieces.push(&header.to_string());
    pieces.push(between);
    pieces.push(&properties().to_string());
    pieces.push(between);
    if fragmented {
        primary_in_fragments(outcome, asked, frames.progressive, between, &mut pieces);
    } else {
        let columns = columns_v2(&outcome.columns);
        pieces.push(&format!(
            r#"{{"FrameType":"DataTable","TableId":1,"TableKind":"PrimaryResult","TableName":"PrimaryResult","Columns":{columns},"Rows":["#
        ));
        rows(outcome, 0..outcome.rows.len(), asked, &mut pieces);
        pieces.push("]}");
    }
    pieces.push(between);
    pieces.push(&information(outcome, asked).to_string());
    pieces.push(between);
    let mut completion = json!({ "FrameType": "DataSetCompletion", "HasErrors": false, "Cancelled": false });
    if let Some(problem) = problem.filter(|problem| problem.at_end) {
        completion["HasErrors"] = true.into();
        completion["OneApiErrors"] = json!([problem.one_api(asked)]);
    }
    pieces.push(&completion.to_string());
    pieces.push("]");
    pieces.finish()
}

fn primary_in_fragments(outcome: &Outcome, asked: &Asked, progressive: bool, between: &str, pieces: &mut Pieces) {
    let header = json!({ "FrameType": "TableHeader", "TableId": 1, "TableKind": "PrimaryResult", "TableName": "PrimaryResult", "Columns": columns_v2(&outcome.columns) });
    pieces.push(&header.to_string());
    pieces.push(between);
    let total = outcome.rows.len();
    let mut from = 0;
    loop {
        let until = total.min(from + FRAGMENT_ROWS);
        pieces.push(&format!(
            r#"{{"FrameType":"TableFragment","TableFragmentType":"DataAppend","TableId":1,"FieldCount":{},"Rows":["#,
            outcome.columns.len()
        ));
        rows(outcome, from..until, asked, pieces);
        pieces.push("]}");
        pieces.push(between);
        if progressive {
            let done = if total == 0 { 100.0 } else { until as f64 / total as f64 * 100.0 };
            pieces.push(&json!({ "FrameType": "TableProgress", "TableId": 1, "TableProgress": done }).to_string());
            pieces.push(between);
        }
        from = until;
        if from == total {
            break;
        }
    }
    let mut completion = json!({ "FrameType": "TableCompletion", "TableId": 1, "RowCount": total });
    if let Some(problem) = outcome.problem.as_ref().filter(|problem| problem.at_table_end) {
        completion["OneApiErrors"] = json!([problem.one_api(asked)]);
    }
    pieces.push(&completion.to_string());
}

/// Rows of a range; an error among them comes after the last of all.
fn rows(outcome: &Outcome, range: std::ops::Range<usize>, asked: &Asked, pieces: &mut Pieces) {
    let (first, last) = (range.start, range.end == outcome.rows.len());
    for index in range.clone() {
        if index > first {
            pieces.push(",");
        }
        write_row(&outcome.columns, &outcome.rows[index], Bools::Words, pieces.tail());
    }
    if let Some(problem) = outcome.problem.as_ref().filter(|problem| problem.among_rows && last) {
        pieces.push(if range.is_empty() { "" } else { "," });
        pieces.push(&json!({ "OneApiErrors": [problem.one_api(asked)] }).to_string());
    }
}

fn properties() -> Json {
    let columns = [("TableId", Type::Int), ("Key", Type::String), ("Value", Type::Dynamic)];
    table(0, "QueryProperties", "@ExtendedProperties", &columns, &json!([[1, "Visualization", VISUALIZATION]]))
}

fn information(outcome: &Outcome, asked: &Asked) -> Json {
    let columns = [
        ("Timestamp", Type::Datetime),
        ("ClientRequestId", Type::String),
        ("ActivityId", Type::Guid),
        ("SubActivityId", Type::Guid),
        ("ParentActivityId", Type::Guid),
        ("Level", Type::Int),
        ("LevelName", Type::String),
        ("StatusCode", Type::Int),
        ("StatusCodeName", Type::String),
        ("EventType", Type::Int),
        ("EventTypeName", Type::String),
        ("Payload", Type::String),
    ];
    let id = &asked.activity_id;
    let row = |level: (i64, &str), status: (i64, &str), event: (i64, &str), payload: Json| {
        json!([
            asked.now,
            asked.client_request_id,
            id,
            id,
            id,
            level.0,
            level.1,
            status.0,
            status.1,
            event.0,
            event.1,
            payload.to_string()
        ])
    };
    let mut rows = Vec::new();
    match outcome.problem.as_ref().filter(|problem| problem.in_status) {
        Some(problem) => {
            let payload = json!({ "Count": 1, "Text": problem.error.message });
            rows.push(row((2, "Error"), (problem.status, problem.error.code), (4, "QueryInfo"), payload));
        }
        None => {
            let payload = json!({ "Count": 1, "Text": "Query completed successfully" });
            rows.push(row((4, "Info"), (0, "S_OK (0)"), (4, "QueryInfo"), payload));
        }
    }
    let statistics = json!({ "dataset_statistics": [{ "table_row_count": outcome.rows.len() }] });
    rows.push(row((6, "Stats"), (0, "S_OK (0)"), (0, "QueryResourceConsumption"), statistics));
    table(2, "QueryCompletionInformation", "QueryCompletionInformation", &columns, &Json::Array(rows))
}

fn table(id: i64, kind: &str, name: &str, columns: &[(&str, Type)], rows: &Json) -> Json {
    let columns: Vec<Column> = columns.iter().map(|(name, ty)| Column { name: (*name).to_owned(), ty: *ty }).collect();
    json!({ "FrameType": "DataTable", "TableId": id, "TableKind": kind, "TableName": name, "Columns": columns_v2(&columns), "Rows": rows })
}
