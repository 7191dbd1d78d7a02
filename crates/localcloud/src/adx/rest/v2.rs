//! v2 answers: an array of frames. Tables come whole, or as header, fragments and completion where asked for.
//!
//! Clients that read while the answer comes rely on the order of a frame's members: `FrameType` first, `Columns` before
//! `Rows` (azure-kusto-python `data/streaming_response.py`).

use super::cells::{Bools, columns_v2, write_row};
use super::refusal::Asked;
use super::result::{Outcome, Pieces};
use crate::kql::{Column, Type};
use bytes::Bytes;
use serde::Serialize;
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

/// The frames that are not written piece by piece, in the order of dataexplorer-docs `api/rest/response-http-v2.md`.
#[derive(Serialize)]
#[serde(tag = "FrameType")]
enum Frame<'f> {
    #[serde(rename_all = "PascalCase")]
    DataSetHeader { is_progressive: bool, version: &'f str, is_fragmented: bool, error_reporting_placement: &'f str },
    #[serde(rename_all = "PascalCase")]
    TableHeader { table_id: i64, table_kind: &'f str, table_name: &'f str, columns: Json },
    #[serde(rename_all = "PascalCase")]
    TableProgress { table_id: i64, table_progress: f64 },
    #[serde(rename_all = "PascalCase")]
    TableCompletion {
        table_id: i64,
        row_count: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        one_api_errors: Option<Json>,
    },
    #[serde(rename_all = "PascalCase")]
    DataTable { table_id: i64, table_kind: &'f str, table_name: &'f str, columns: Json, rows: &'f Json },
    #[serde(rename_all = "PascalCase")]
    DataSetCompletion {
        has_errors: bool,
        cancelled: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        one_api_errors: Option<Json>,
    },
}

impl Frame<'_> {
    fn text(&self) -> String {
        // Strings, numbers and JSON values only, which cannot fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The answer to a query.
pub(super) fn query(outcome: &Outcome, asked: &Asked, frames: Frames) -> Vec<Bytes> {
    let problem = outcome.problem.as_ref();
    // Only the completion of a fragmented table has a place for an error of the table's own.
    let fragmented = frames.fragmented || frames.progressive || problem.is_some_and(|problem| problem.at_table_end);
    let between = if frames.newlines { "\n," } else { "," };
    let mut pieces = Pieces::default();
    pieces.push("[");
    let header = Frame::DataSetHeader {
        is_progressive: frames.progressive,
        version: "v2.0",
        is_fragmented: fragmented,
        error_reporting_placement: "InData",
    };
    pieces.push(&header.text());
    pieces.push(between);
    pieces.push(&properties(outcome));
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
    pieces.push(&information(outcome, asked));
    pieces.push(between);
    let errors = problem.filter(|problem| problem.at_end).map(|problem| json!([problem.one_api(asked)]));
    let completion =
        Frame::DataSetCompletion { has_errors: errors.is_some(), cancelled: false, one_api_errors: errors };
    pieces.push(&completion.text());
    pieces.push("]");
    pieces.finish()
}

fn primary_in_fragments(outcome: &Outcome, asked: &Asked, progressive: bool, between: &str, pieces: &mut Pieces) {
    let columns = columns_v2(&outcome.columns);
    let (table_id, table_kind, table_name) = (1, "PrimaryResult", "PrimaryResult");
    pieces.push(&Frame::TableHeader { table_id, table_kind, table_name, columns }.text());
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
            pieces.push(&Frame::TableProgress { table_id, table_progress: done }.text());
            pieces.push(between);
        }
        from = until;
        if from == total {
            break;
        }
    }
    let problem = outcome.problem.as_ref().filter(|problem| problem.at_table_end);
    let one_api_errors = problem.map(|problem| json!([problem.one_api(asked)]));
    pieces.push(&Frame::TableCompletion { table_id, row_count: total, one_api_errors }.text());
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

fn properties(outcome: &Outcome) -> String {
    let columns = [("TableId", Type::Int), ("Key", Type::String), ("Value", Type::Dynamic)];
    let mut rows = vec![json!([1, "Visualization", VISUALIZATION])];
    rows.extend(outcome.cache_note().map(|note| json!([1, "ServerCache", note.to_string()])));
    table(0, "QueryProperties", "@ExtendedProperties", &columns, &Json::Array(rows))
}

fn information(outcome: &Outcome, asked: &Asked) -> String {
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

fn table(id: i64, kind: &str, name: &str, columns: &[(&str, Type)], rows: &Json) -> String {
    let columns: Vec<Column> = columns.iter().map(|(name, ty)| Column { name: (*name).to_owned(), ty: *ty }).collect();
    Frame::DataTable { table_id: id, table_kind: kind, table_name: name, columns: columns_v2(&columns), rows }.text()
}
