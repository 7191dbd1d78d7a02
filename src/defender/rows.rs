//! Small answers as values, decoded by the same rules as rows to be copied (see [`super::plain`]).

use super::client::Dialect;
use super::error::Error;
use super::plain::Decoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An answer with its schema.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Rows {
    /// The columns, as the answer names and types them.
    pub columns: Vec<Column>,
    /// The rows. A column may be missing in a row; that means null.
    pub rows: Vec<Map<String, Value>>,
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, with its own case.
    pub name: String,
    /// Its type in the service's words, such as `DateTime`, `Int64`, `SByte` (bool) or `Object` (dynamic).
    pub ty: String,
}

/// Reads a whole answer.
pub(super) fn decode(body: &[u8], dialect: Dialect) -> Result<Rows, Error> {
    let mut decoder = Decoder::of_whole(body, dialect);
    let mut rows = Vec::new();
    let mut unread = None;
    decoder.feed_each(body, |row| match serde_json::from_slice(row) {
        Ok(row) => rows.push(row),
        // Neither serde_json's message nor ours quotes the body: it holds rows.
        Err(error) => unread = Some(error.to_string()),
    })?;
    let (_, columns) = decoder.finish()?;
    match unread {
        None => Ok(Rows { columns, rows }),
        Some(error) => Err(Error::Corrupt { message: format!("a row holds what no value can be made of: {error}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(answer: &str) -> Value {
        Value::Object(decode(answer.as_bytes(), Dialect::Graph).unwrap().rows.remove(0))
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
            json!({"Timestamp": "2026-07-23T18:03:20.9280000Z", "Permissions": [{"A": 1}], "IsAdmin": true, "Off": false,
                "NoBool": null, "Score": 1, "Count": null, "ReportId": 639_199_803_770_463_703_i64,
                "Publisher": {"a": {"b": [{}]}}, "Bag": {}, "LogonId": 1, "LogonID": 2, "Text": "", "New": null})
        );
    }

    #[test]
    fn the_older_services_envelope_is_read_too() {
        let answer = r#"{"Stats":{},"Schema":[{"Name":"A","Type":"SByte"},{"Name":"B","Type":"Int32"}],"Results":[{"A":true,"B":null}]}"#;
        let rows = decode(answer.as_bytes(), Dialect::Xdr).unwrap();
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
            let error = decode(answer.as_bytes(), Dialect::Graph).unwrap_err();
            assert!(
                matches!(error, Error::Corrupt { .. }) && !error.to_string().contains("secret"),
                "{answer}: {error}"
            );
        }
    }
}
