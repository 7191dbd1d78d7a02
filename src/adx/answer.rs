//! Reads the bodies of `/v1/rest/…` and `/v2/rest/query`. A status of 200 says nothing: errors hide inside
//! rows, in completion frames, in status tables and beside the tables, and a body may simply stop. Only a
//! complete answer without any of these becomes a [`Table`].

use super::error::ServiceError;
use super::table::{Column, Row, Table, Type};
use serde::Deserialize;
use serde_json::Value;

/// Why a body is not an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The service reports an error inside the answer.
    Service(ServiceError),
    /// The body breaks the protocol or ends too early.
    Corrupt(String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawColumn {
    column_name: String,
    #[serde(default)]
    column_type: Option<String>,
    #[serde(default)]
    data_type: Option<String>,
}

impl RawColumn {
    fn read(self) -> Column {
        let named = self.column_type.filter(|name| !name.is_empty()).or(self.data_type);
        Column { name: self.column_name, ty: named.and_then(|name| Type::parse(&name)) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawTable {
    table_name: String,
    columns: Vec<RawColumn>,
    rows: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct V1 {
    tables: Vec<RawTable>,
    #[serde(default)]
    exceptions: Option<Vec<Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Frame {
    frame_type: String,
    table_id: Option<i64>,
    table_kind: String,
    table_name: String,
    columns: Vec<RawColumn>,
    rows: Vec<Value>,
    table_fragment_type: String,
    row_count: Option<u64>,
    one_api_errors: Option<Vec<Value>>,
    has_errors: Option<bool>,
    cancelled: Option<bool>,
}

struct Part {
    id: Option<i64>,
    kind: String,
    name: String,
    table: Table,
    complete: bool,
}

/// The one table of a command's answer, or the first result of a v1 query.
///
/// # Errors
/// [`Failure`], whatever else the body holds.
pub fn decode_v1(body: &[u8]) -> Result<Table, Failure> {
    let value = parse(body)?;
    let body: V1 = serde_json::from_value(value).map_err(|error| corrupt(format!("not a v1 answer: {error}")))?;
    first_error(body.exceptions.as_deref().unwrap_or_default())?;
    let mut tables = Vec::with_capacity(body.tables.len());
    for raw in body.tables {
        let columns = raw.columns.into_iter().map(RawColumn::read).collect();
        tables.push((raw.table_name, table(columns, raw.rows)?));
    }
    if tables.len() > 1 {
        for (_, table) in &tables {
            check_query_status(table)?;
        }
    }
    let first = primary_of_contents(&tables).unwrap_or(0);
    if first >= tables.len() {
        return Err(corrupt("the answer has no table"));
    }
    let from_cache = tables.iter().any(|(name, table)| name == "@ExtendedProperties" && mentions_cache(table));
    let (_, mut table) = tables.swap_remove(first);
    check_script(&table)?;
    table.from_cache = from_cache;
    Ok(table)
}

/// The first primary result of a v2 answer, whole, fragmented or progressive.
///
/// # Errors
/// [`Failure`], whatever else the body holds.
pub fn decode_v2(body: &[u8]) -> Result<Table, Failure> {
    let frames: Vec<Frame> =
        serde_json::from_value(parse(body)?).map_err(|error| corrupt(format!("not a v2 answer: {error}")))?;
    let mut parts: Vec<Part> = Vec::new();
    let mut completed = false;
    let mut failure = None;
    for frame in frames {
        if let Err(error) = take_frame(frame, &mut parts, &mut completed) {
            // The last error is often only a summary: the first is kept.
            failure.get_or_insert(error);
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    if !completed {
        return Err(corrupt("the answer ends without DataSetCompletion"));
    }
    for part in parts.iter().filter(|part| part.kind == "QueryCompletionInformation") {
        check_completion_information(&part.table)?;
    }
    let from_cache = parts
        .iter()
        .filter(|part| part.kind == "QueryProperties" || part.name == "@ExtendedProperties")
        .any(|part| mentions_cache(&part.table));
    let primary = parts.into_iter().find(|part| part.kind == "PrimaryResult");
    let Some(mut primary) = primary else { return Err(corrupt("the answer has no PrimaryResult")) };
    if !primary.complete {
        return Err(corrupt("the answer's PrimaryResult has no TableCompletion"));
    }
    primary.table.from_cache = from_cache;
    Ok(primary.table)
}

fn take_frame(frame: Frame, parts: &mut Vec<Part>, completed: &mut bool) -> Result<(), Failure> {
    if *completed {
        return Err(corrupt(format!("a frame {} follows DataSetCompletion", frame.frame_type)));
    }
    match frame.frame_type.as_str() {
        "DataTable" | "TableHeader" => {
            let columns = frame.columns.into_iter().map(RawColumn::read).collect();
            parts.push(Part {
                id: frame.table_id,
                kind: frame.table_kind,
                name: frame.table_name,
                table: table(columns, frame.rows)?,
                complete: frame.frame_type == "DataTable",
            });
        }
        "TableFragment" => {
            let part = open_part(parts, frame.table_id, &frame.frame_type)?;
            let fragment = rows(part.table.columns.len(), frame.rows)?;
            match frame.table_fragment_type.as_str() {
                "DataAppend" => part.table.rows.extend(fragment),
                "DataReplace" => part.table.rows = fragment,
                other => return Err(corrupt(format!("a fragment of unknown type `{other}`"))),
            }
        }
        "TableCompletion" => {
            first_error(frame.one_api_errors.as_deref().unwrap_or_default())?;
            let part = open_part(parts, frame.table_id, &frame.frame_type)?;
            part.complete = true;
            let held = part.table.rows.len() as u64;
            if let Some(said) = frame.row_count.filter(|said| *said != held) {
                return Err(corrupt(format!("table `{}` says {said} rows and holds {held}", part.name)));
            }
        }
        "DataSetCompletion" => {
            *completed = true;
            first_error(frame.one_api_errors.as_deref().unwrap_or_default())?;
            if frame.cancelled == Some(true) {
                return Err(service("Cancelled", "the query was cancelled"));
            }
            if frame.has_errors == Some(true) {
                return Err(service("HasErrors", "the service says that the answer has errors and names none"));
            }
        }
        _ => {}
    }
    Ok(())
}

fn open_part<'a>(parts: &'a mut [Part], id: Option<i64>, frame: &str) -> Result<&'a mut Part, Failure> {
    parts
        .iter_mut()
        .find(|part| part.id == id && !part.complete)
        .ok_or_else(|| corrupt(format!("a {frame} for table {id:?}, which is not open")))
}

fn parse(body: &[u8]) -> Result<Value, Failure> {
    let value: Value = serde_json::from_slice(body).map_err(|error| corrupt(format!("not JSON: {error}")))?;
    let error = value.as_object().filter(|object| object.contains_key("error") || object.contains_key("OneApiErrors"));
    if error.is_some() {
        error_row(&value)?;
    }
    Ok(value)
}

fn table(columns: Vec<Column>, raw: Vec<Value>) -> Result<Table, Failure> {
    let rows = rows(columns.len(), raw)?;
    Ok(Table { columns, rows, from_cache: false })
}

/// The rows, unless an object among them reports an error.
fn rows(width: usize, raw: Vec<Value>) -> Result<Vec<Vec<Value>>, Failure> {
    raw.into_iter()
        .map(|row| match row {
            Value::Array(cells) if cells.len() == width => Ok(cells),
            Value::Array(cells) => Err(corrupt(format!("a row of {} cells under {width} columns", cells.len()))),
            other => Err(error_row(&other).err().unwrap_or_else(|| corrupt("a row is neither array nor error"))),
        })
        .collect()
}

fn error_row(row: &Value) -> Result<(), Failure> {
    for key in ["OneApiErrors", "Exceptions"] {
        if let Some(errors) = row.get(key).and_then(Value::as_array) {
            first_error(errors)?;
            return Err(service(key, "the service reports an error and does not describe it"));
        }
    }
    first_error(std::slice::from_ref(row))
}

fn first_error(errors: &[Value]) -> Result<(), Failure> {
    let Some(first) = errors.first() else { return Ok(()) };
    Err(ServiceError::from_json(first)
        .map_or_else(|| service("Unknown", "the service reports an error and does not describe it"), Failure::Service))
}

/// v2: rows with `Level` below 4 report a problem unless their status is 0.
fn check_completion_information(table: &Table) -> Result<(), Failure> {
    let Some(level) = table.find("Level") else { return Ok(()) };
    for row in table.rows() {
        let severe = row.long(level).ok().flatten().is_some_and(|level| level < 4);
        let status = table.find("StatusCode").and_then(|at| row.long(at).ok().flatten());
        if severe && status != Some(0) {
            let payload = table.find("Payload").and_then(|at| row.dynamic(at).ok().flatten());
            let text = payload.as_deref().and_then(|value| value.get("Text")).and_then(Value::as_str);
            let whole = payload.as_deref().map(Value::to_string).unwrap_or_default();
            return Err(service("QueryCompletionInformation", text.unwrap_or(&whole)));
        }
    }
    Ok(())
}

/// v1: a `QueryStatus` row with `Severity` of 2 or less is a failure.
fn check_query_status(table: &Table) -> Result<(), Failure> {
    let (Some(severity), Some(text)) = (table.find("Severity"), table.find("StatusDescription")) else { return Ok(()) };
    for row in table.rows() {
        if row.long(severity).ok().flatten().is_some_and(|severity| severity <= 2) {
            return Err(service("QueryStatus", row.text(text).unwrap_or_default()));
        }
    }
    Ok(())
}

/// `.execute database script` answers with success whatever became of its commands: the row of each says (dataexplorer-docs
/// `management/execute-database-script.md`).
fn check_script(table: &Table) -> Result<(), Failure> {
    let columns = (table.find("CommandText"), table.find("Result"), table.find("Reason"));
    let (Some(command), Some(result), Some(reason)) = columns else { return Ok(()) };
    let failed = |row: &Row<'_>| row.text(result).is_ok_and(|result| result.eq_ignore_ascii_case("Failed"));
    match table.rows().find(failed) {
        None => Ok(()),
        Some(row) => {
            let command: String = row.text(command).unwrap_or_default().chars().take(200).collect();
            let reason = row.text(reason).unwrap_or_default();
            Err(service("ScriptCommandFailed", &format!("`{command}` of a script failed: {reason}")))
        }
    }
}

/// v1 queries end with a table of contents, which says where the first result is.
fn primary_of_contents(tables: &[(String, Table)]) -> Option<usize> {
    let (_, contents) = tables.last().filter(|_| tables.len() > 2)?;
    let (ordinal, kind) = (contents.find("Ordinal")?, contents.find("Kind")?);
    let row = contents.rows().find(|row| row.text(kind).is_ok_and(|kind| kind == "QueryResult"))?;
    row.long(ordinal).ok().flatten().and_then(|ordinal| usize::try_from(ordinal).ok())
}

/// `@ExtendedProperties` carries a key `ServerCache` when the answer comes from the results cache.
fn mentions_cache(table: &Table) -> bool {
    let Some(value) = table.find("Value") else { return false };
    let key = table.find("Key");
    table.rows().any(|row| {
        key.is_some_and(|key| row.text(key).is_ok_and(|key| key == "ServerCache"))
            || row.dynamic(value).ok().flatten().is_some_and(|value| value.get("ServerCache").is_some())
    })
}

fn corrupt(message: impl Into<String>) -> Failure {
    Failure::Corrupt(message.into())
}

fn service(code: &str, message: &str) -> Failure {
    let error = serde_json::json!({"code": code, "message": message});
    ServiceError::from_json(&error).map_or_else(|| corrupt(message), Failure::Service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn primary(rows: &Value) -> Value {
        json!({"FrameType": "DataTable", "TableId": 1, "TableKind": "PrimaryResult", "TableName": "PrimaryResult",
            "Columns": [{"ColumnName": "N", "ColumnType": "long"}], "Rows": rows})
    }

    fn header() -> Value {
        json!({"FrameType": "DataSetHeader", "IsProgressive": false, "Version": "v2.0"})
    }

    fn completion() -> Value {
        json!({"FrameType": "DataSetCompletion", "HasErrors": false, "Cancelled": false})
    }

    fn v2(frames: &Value) -> Result<Table, Failure> {
        decode_v2(frames.to_string().as_bytes())
    }

    fn numbers(table: &Table) -> Vec<i64> {
        let at = table.column("N").unwrap();
        table.rows().map(|row| row.long(at).unwrap().unwrap()).collect()
    }

    fn code(result: Result<Table, Failure>) -> String {
        match result.expect_err("an error was hidden in the answer") {
            Failure::Service(error) => error.code,
            Failure::Corrupt(message) => format!("corrupt: {message}"),
        }
    }

    fn limits() -> Value {
        json!({"error": {"code": "LimitsExceeded", "message": "Request is invalid", "@message": "Query result set has exceeded the internal record count limit",
            "@permanent": true, "innererror": {"code": "E_QUERY_RESULT_SET_TOO_LARGE"}}})
    }

    #[test]
    fn a_whole_answer_is_read() {
        let table = v2(&json!([header(), primary(&json!([[1], [2]])), completion()])).unwrap();
        assert_eq!(numbers(&table), [1, 2]);
        assert!(!table.is_from_cache());
    }

    #[test]
    fn fragments_are_put_together_and_replaced() {
        let open = json!({"FrameType": "TableHeader", "TableId": 1, "TableKind": "PrimaryResult", "TableName": "PrimaryResult",
            "Columns": [{"ColumnName": "N", "ColumnType": "long"}]});
        let part = |kind: &str, rows: Value| json!({"FrameType": "TableFragment", "TableId": 1, "FieldCount": 1, "TableFragmentType": kind, "Rows": rows});
        let progress = json!({"FrameType": "TableProgress", "TableId": 1, "TableProgress": 50.0});
        let close = |rows: u64| json!({"FrameType": "TableCompletion", "TableId": 1, "RowCount": rows});
        let append = v2(&json!([
            header(),
            open,
            part("DataAppend", json!([[1]])),
            progress,
            part("DataAppend", json!([[2]])),
            close(2),
            completion()
        ]));
        assert_eq!(numbers(&append.unwrap()), [1, 2]);
        let replace = v2(&json!([
            header(),
            open,
            part("DataReplace", json!([[9]])),
            part("DataReplace", json!([[3]])),
            close(1),
            completion()
        ]));
        assert_eq!(numbers(&replace.unwrap()), [3]);
        assert!(
            code(v2(&json!([header(), open, part("DataAppend", json!([[1]])), close(2), completion()])))
                .contains("says 2 rows")
        );
        assert!(
            code(v2(&json!([header(), open, part("DataAppend", json!([[1]])), completion()])))
                .contains("TableCompletion")
        );
        let errors = json!({"FrameType": "TableCompletion", "TableId": 1, "RowCount": 1, "OneApiErrors": [limits()]});
        assert_eq!(
            code(v2(&json!([header(), open, part("DataAppend", json!([[1]])), errors, completion()]))),
            "E_QUERY_RESULT_SET_TOO_LARGE"
        );
    }

    #[test]
    fn an_error_among_the_rows_voids_the_answer() {
        let rows = json!([[1], {"OneApiErrors": [limits()]}]);
        assert_eq!(code(v2(&json!([header(), primary(&rows), completion()]))), "E_QUERY_RESULT_SET_TOO_LARGE");
        let v1 = json!({"Tables": [{"TableName": "T", "Columns": [{"ColumnName": "N", "DataType": "Int64"}], "Rows": [[1], {"Exceptions": ["it broke"]}]}]});
        let failure = decode_v1(v1.to_string().as_bytes()).unwrap_err();
        assert!(matches!(&failure, Failure::Service(error) if error.message == "it broke"), "{failure:?}");
    }

    #[test]
    fn an_error_in_the_last_frame_voids_the_answer() {
        let named = json!({"FrameType": "DataSetCompletion", "HasErrors": true, "Cancelled": false, "OneApiErrors": [limits()]});
        assert_eq!(code(v2(&json!([header(), primary(&json!([[1]])), named]))), "E_QUERY_RESULT_SET_TOO_LARGE");
        let bare = json!({"FrameType": "DataSetCompletion", "HasErrors": true, "Cancelled": false});
        assert_eq!(code(v2(&json!([header(), primary(&json!([[1]])), bare]))), "HasErrors");
        let cancelled = json!({"FrameType": "DataSetCompletion", "HasErrors": false, "Cancelled": true});
        assert_eq!(code(v2(&json!([header(), primary(&json!([[1]])), cancelled]))), "Cancelled");
    }

    #[test]
    fn an_error_in_the_completion_information_voids_the_answer() {
        let information = |level: i64, status: i64| {
            json!({"FrameType": "DataTable", "TableId": 2, "TableKind": "QueryCompletionInformation", "TableName": "QueryCompletionInformation",
                "Columns": [{"ColumnName": "Level", "ColumnType": "int"}, {"ColumnName": "StatusCode", "ColumnType": "int"}, {"ColumnName": "Payload", "ColumnType": "string"}],
                "Rows": [[level, status, "{\"Text\":\"memory budget exceeded\"}"]]})
        };
        let answer =
            |level, status| v2(&json!([header(), primary(&json!([[1]])), information(level, status), completion()]));
        assert!(answer(4, 0).is_ok());
        assert!(answer(3, 0).is_ok());
        let failure = answer(2, -2_133_196_787).unwrap_err();
        assert!(
            matches!(&failure, Failure::Service(error) if error.message == "memory budget exceeded"),
            "{failure:?}"
        );
    }

    #[test]
    fn an_answer_that_stops_is_no_answer() {
        assert!(code(v2(&json!([header(), primary(&json!([[1]]))]))).contains("DataSetCompletion"));
        let whole = json!([header(), primary(&json!([[1]])), completion()]).to_string();
        for end in 0..whole.len() {
            assert!(decode_v2(&whole.as_bytes()[..end]).is_err(), "cut at {end}");
        }
        assert!(decode_v1(b"").is_err());
        assert!(decode_v1(b"{\"Tables\":[]}").is_err());
        assert!(v2(&json!([header(), completion()])).is_err());
    }

    #[test]
    fn rows_of_another_width_are_refused() {
        assert!(code(v2(&json!([header(), primary(&json!([[1, 2]])), completion()]))).contains("2 cells under 1"));
    }

    #[test]
    fn an_answer_from_the_results_cache_says_so() {
        let properties = |key: &str, value: &str| {
            json!({"FrameType": "DataTable", "TableId": 0, "TableKind": "QueryProperties", "TableName": "@ExtendedProperties",
                "Columns": [{"ColumnName": "TableId", "ColumnType": "int"}, {"ColumnName": "Key", "ColumnType": "string"}, {"ColumnName": "Value", "ColumnType": "dynamic"}],
                "Rows": [[1, key, value]]})
        };
        let answer =
            |key, value| v2(&json!([header(), properties(key, value), primary(&json!([[1]])), completion()])).unwrap();
        assert!(answer("ServerCache", "{\"OriginalClientRequestId\":\"x\"}").is_from_cache());
        assert!(answer("Properties", "{\"ServerCache\":{\"OriginalClientRequestId\":\"x\"}}").is_from_cache());
        assert!(!answer("Visualization", "{\"Title\":\"ServerCache\"}").is_from_cache());
    }

    #[test]
    fn v1_errors_beside_the_tables_and_in_the_status_table_void_the_answer() {
        let columns = json!([{"ColumnName": "N", "DataType": "Int64", "ColumnType": "long"}]);
        let beside = json!({"Tables": [{"TableName": "T", "Columns": columns, "Rows": [[1]]}], "Exceptions": ["Query execution has exceeded the allowed limits (80DA0003)"]});
        assert!(matches!(decode_v1(beside.to_string().as_bytes()), Err(Failure::Service(_))));
        let status = |severity: i64| {
            json!({"Tables": [
                {"TableName": "Table_0", "Columns": columns, "Rows": [[7]]},
                {"TableName": "Table_1", "Columns": [{"ColumnName": "Value", "DataType": "String"}], "Rows": [["{\"Visualization\":null}"]]},
                {"TableName": "Table_2", "Columns": [{"ColumnName": "Severity", "DataType": "Int32"}, {"ColumnName": "StatusDescription", "DataType": "String"}], "Rows": [[severity, "low memory"]]},
                {"TableName": "Table_3", "Columns": [{"ColumnName": "Ordinal", "DataType": "Int64"}, {"ColumnName": "Kind", "DataType": "String"}],
                    "Rows": [[0, "QueryResult"], [1, "QueryProperties"], [2, "QueryStatus"]]},
            ]})
        };
        assert_eq!(numbers(&decode_v1(status(4).to_string().as_bytes()).unwrap()), [7]);
        let failure = decode_v1(status(2).to_string().as_bytes()).unwrap_err();
        assert!(matches!(&failure, Failure::Service(error) if error.message == "low memory"), "{failure:?}");
    }

    #[test]
    fn a_command_of_a_script_that_failed_voids_its_answer() {
        let script = |result: &str| {
            let columns = ["CommandType", "CommandText", "Result", "Reason"];
            let columns: Vec<Value> =
                columns.iter().map(|name| json!({"ColumnName": name, "DataType": "String"})).collect();
            let rows = json!([
                ["TableCreate", ".create table T (a:int)", "Completed", ""],
                ["TableDrop", ".drop table X", result, "no table X"]
            ]);
            decode_v1(
                json!({"Tables": [{"TableName": "Table_0", "Columns": columns, "Rows": rows}]}).to_string().as_bytes(),
            )
        };
        assert!(script("Completed").is_ok() && script("Skipped").is_ok());
        let failure = script("Failed").unwrap_err();
        let Failure::Service(error) = &failure else { panic!("{failure:?}") };
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("ScriptCommandFailed", "`.drop table X` of a script failed: no table X")
        );
    }

    #[test]
    fn what_an_answer_leaves_open_is_no_error() {
        let mut primary = primary(&json!([[7]]));
        primary["OneApiErrors"] = Value::Null;
        let end = json!({"FrameType": "DataSetCompletion", "HasErrors": null, "Cancelled": null, "OneApiErrors": null});
        assert_eq!(v2(&json!([header(), primary, end])).unwrap().len(), 1);
    }

    #[test]
    fn an_error_object_instead_of_an_answer_is_an_error() {
        assert_eq!(code(decode_v1(limits().to_string().as_bytes())), "E_QUERY_RESULT_SET_TOO_LARGE");
        assert_eq!(code(decode_v2(limits().to_string().as_bytes())), "E_QUERY_RESULT_SET_TOO_LARGE");
    }
}
