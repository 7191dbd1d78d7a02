//! Small answers as values: what the services do to a row on its way out, undone as far as it can be.
//!
//! Graph writes a null as `{}` and a bool as 0 or 1, and puts a sidecar `X@odata.type` beside values; the older services
//! write their envelope with capitals. The schema of the answer itself drives the decoding, so a column that the
//! documentation does not know is no surprise. Objects inside an array, which Graph turns into JSON text, stay text: an
//! array of texts looks the same. Rows to be copied do not come this way (see [`super::scanner`]).

use super::error::{Error, member};
use serde_json::{Map, Value};

/// An answer with its schema.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// The columns, as the answer names and types them.
    pub columns: Vec<Column>,
    /// The rows. A column may be missing in a row; that means null.
    pub rows: Vec<Map<String, Value>>,
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, with its own case.
    pub name: String,
    /// Its type in the service's words, such as `DateTime`, `Int64`, `SByte` (bool) or `Object` (dynamic).
    pub ty: String,
}

/// Reads a whole answer.
pub(super) fn decode(body: &[u8]) -> Result<Rows, Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(corrupt("it is empty"));
    }
    // Neither serde_json's message nor ours quotes the body: it holds rows.
    let mut answer: Value =
        serde_json::from_slice(body).map_err(|error| corrupt(&format!("it is not JSON: {error}")))?;
    let columns = match member(&answer, "schema") {
        Some(Value::Array(columns)) => columns.iter().map(column).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let columns = columns.ok_or_else(|| corrupt("it has no list of columns under `schema`"))?;
    let results = match answer.as_object_mut().and_then(|members| {
        members.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case("results")).map(|(_, value)| value.take())
    }) {
        Some(Value::Array(results)) => results,
        _ => return Err(corrupt("it has no list of rows under `results`")),
    };
    let rows = results
        .into_iter()
        .map(|row| match row {
            Value::Object(row) => Ok(decode_row(row, &columns)),
            _ => Err(corrupt("a row is not an object")),
        })
        .collect::<Result<_, _>>()?;
    Ok(Rows { columns, rows })
}

fn corrupt(message: &str) -> Error {
    Error::Corrupt { message: message.to_owned() }
}

fn column(described: &Value) -> Option<Column> {
    let text = |name: &str| member(described, name)?.as_str().map(str::to_owned);
    Some(Column { name: text("name")?, ty: text("type")? })
}

fn decode_row(row: Map<String, Value>, columns: &[Column]) -> Map<String, Value> {
    row.into_iter()
        .filter(|(key, _)| !is_sidecar(key))
        .map(|(key, value)| {
            let ty = columns.iter().find(|column| column.name == key).map_or("", |column| column.ty.as_str());
            let value = decode_value(value, ty);
            (key, value)
        })
        .collect()
}

fn decode_value(mut value: Value, ty: &str) -> Value {
    drop_sidecars(&mut value);
    match value {
        // A null of any type; an empty dynamic bag looks the same and is told as null too.
        Value::Object(members) if members.is_empty() => Value::Null,
        Value::Number(number) if is_bool(ty) => Value::Bool(number.as_f64() != Some(0.0)),
        value => value,
    }
}

fn is_bool(ty: &str) -> bool {
    ["SByte", "Boolean", "Bool"].iter().any(|name| ty.eq_ignore_ascii_case(name))
}

fn is_sidecar(key: &str) -> bool {
    key.contains("@odata.")
}

/// Takes the services' annotations out of a value at every depth; the parser has bounded the depth.
fn drop_sidecars(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|key, _| !is_sidecar(key));
            members.values_mut().for_each(drop_sidecars);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_sidecars),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(answer: &str) -> Value {
        Value::Object(decode(answer.as_bytes()).unwrap().rows.remove(0))
    }

    #[test]
    fn graph_values_are_decoded_by_the_schema() {
        let answer = r##"{"@odata.context":"x","schema":[
            {"name":"Timestamp","type":"DateTime"},{"name":"Permissions","type":"Object"},{"name":"IsAdmin","type":"SByte"},
            {"name":"Off","type":"SByte"},{"name":"NoBool","type":"SByte"},{"name":"Score","type":"Int32"},{"name":"Count","type":"Int32"},
            {"name":"ReportId","type":"Int64"},{"name":"Publisher","type":"Object"},{"name":"Bag","type":"Object"},
            {"name":"LogonId","type":"Int64"},{"name":"LogonID","type":"Int64"},{"name":"Text","type":"String"}],
            "results":[{"Timestamp":"2026-07-23T18:03:20.928Z","Permissions@odata.type":"#Collection(String)",
            "Permissions":["{\"A\":1}"],"IsAdmin@odata.type":"#SByte","IsAdmin":1,"Off":0,"NoBool":{},"Score":1,"Count":{},
            "ReportId@odata.type":"#Int64","ReportId":639199803770463703,
            "Publisher":{"@odata.type":"#microsoft.graph.security.dynamicColumnValue","a":{"@odata.type":"x","b":[{"c@odata.type":"x"}]}},
            "Bag":{"@odata.type":"#x"},"LogonId":1,"LogonID":2,"Text":"","New":{}}]}"##;
        assert_eq!(
            row(answer),
            json!({"Timestamp": "2026-07-23T18:03:20.928Z", "Permissions": ["{\"A\":1}"], "IsAdmin": true, "Off": false,
                "NoBool": null, "Score": 1, "Count": null, "ReportId": 639_199_803_770_463_703_i64,
                "Publisher": {"a": {"b": [{}]}}, "Bag": null, "LogonId": 1, "LogonID": 2, "Text": "", "New": null})
        );
    }

    #[test]
    fn the_older_services_envelope_is_read_too() {
        let answer = r#"{"Stats":{},"Schema":[{"Name":"A","Type":"SByte"},{"Name":"B","Type":"Int32"}],"Results":[{"A":true,"B":null}]}"#;
        let rows = decode(answer.as_bytes()).unwrap();
        assert_eq!(rows.columns[0], Column { name: "A".to_owned(), ty: "SByte".to_owned() });
        assert_eq!(Value::Object(rows.rows[0].clone()), json!({"A": true, "B": null}));
    }

    #[test]
    fn what_is_no_answer_is_corrupt_and_not_quoted() {
        for answer in [
            "",
            "  ",
            "<html>secret</html>",
            "[]",
            "{}",
            r#"{"schema":[],"results":{}}"#,
            r#"{"schema":[],"results":["secret"]}"#,
            r#"{"schema":[{"name":"A"}],"results":[]}"#,
            r#"{"results":[]}"#,
            r#"{"schema":[],"results":[{"A":"secret"}"#,
        ] {
            let error = decode(answer.as_bytes()).unwrap_err();
            assert!(
                matches!(error, Error::Corrupt { .. }) && !error.to_string().contains("secret"),
                "{answer}: {error}"
            );
        }
    }
}
