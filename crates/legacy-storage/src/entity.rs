//! Rows as JSON of the table service. Whole numbers and floats carry their type, so that they come back as what they
//! were. Does no I/O.
//!
//! Source: rest-api-ref `Payload-Format-for-Table-Service-Operations`.

use crate::failure::Failure;
use adxingestor_ports::storage::{ETag, Error, Key, Properties, Row};
use serde_json::{Map, Value};

const TYPE: &str = "@odata.type";

/// The JSON of a row.
pub(crate) fn to_json(key: &Key, properties: &Properties) -> Map<String, Value> {
    let mut json = Map::new();
    json.insert("PartitionKey".to_owned(), key.partition().into());
    json.insert("RowKey".to_owned(), key.row().into());
    for (name, value) in properties {
        let value = match value {
            Value::Number(number) => {
                let whole = number.is_i64();
                json.insert(format!("{name}{TYPE}"), if whole { "Edm.Int64" } else { "Edm.Double" }.into());
                // 64 bits do not fit a number of JavaScript.
                if whole { number.to_string().into() } else { value.clone() }
            }
            other => other.clone(),
        };
        json.insert(name.clone(), value);
    }
    json
}

/// The row that stands in `json`, which holds its version unless `etag` does.
///
/// # Errors
/// [`Error::Unavailable`] when it is not one, [`Error::Invalid`] when no row of ours can have its key.
pub(crate) fn from_json(json: &Map<String, Value>, etag: Option<String>) -> Result<Row, Error> {
    let garbled = |what: &str| Error::Unavailable(Box::new(Failure::Garbled(format!("a row's `{what}`"))));
    let text = |name: &str| json.get(name).and_then(Value::as_str).ok_or_else(|| garbled(name));
    let key = Key::new(text("PartitionKey")?, text("RowKey")?)?;
    let etag = match etag {
        Some(etag) => etag,
        None => text("odata.etag")?.to_owned(),
    };
    let mut properties = Properties::new();
    for (name, value) in json {
        let system = matches!(name.as_str(), "PartitionKey" | "RowKey" | "Timestamp");
        if system || name.contains('@') || name.starts_with("odata.") {
            continue;
        }
        let kind = json.get(&format!("{name}{TYPE}")).and_then(Value::as_str);
        properties.insert(name.clone(), typed(value, kind).ok_or_else(|| garbled(name))?);
    }
    Ok(Row { key, properties, etag: ETag(etag) })
}

fn typed(value: &Value, kind: Option<&str>) -> Option<Value> {
    match kind {
        Some("Edm.Int64") => value.as_str()?.parse::<i64>().ok().map(Value::from),
        // A whole float may be written without a point.
        Some("Edm.Double") => serde_json::Number::from_f64(value.as_f64()?).map(Value::from),
        _ => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn numbers_go_out_with_their_type_and_come_back_as_they_were() {
        let properties = object(json!({"i": i64::MIN, "f": 1.0, "t": "12", "b": true}));
        let key = Key::new("p'", "r").unwrap();
        let mut sent = to_json(&key, &properties);
        assert_eq!(
            sent,
            object(
                json!({"PartitionKey": "p'", "RowKey": "r", "i": "-9223372036854775808", "i@odata.type": "Edm.Int64",
                "f": 1.0, "f@odata.type": "Edm.Double", "t": "12", "b": true})
            )
        );
        sent.extend(object(json!({"f": 1, "odata.etag": "W/\"1\"", "Timestamp": "2026-04-14T07:00:00Z",
            "Timestamp@odata.type": "Edm.DateTime"})));
        let row = from_json(&sent, None).unwrap();
        assert_eq!(row, Row { key, properties, etag: ETag("W/\"1\"".to_owned()) });
        assert!(row.properties["f"].is_f64());
    }

    #[test]
    fn a_row_that_is_none_is_an_error() {
        for json in [
            json!({}),
            json!({"PartitionKey": "p", "RowKey": "r"}),
            json!({"PartitionKey": "p", "RowKey": 1, "odata.etag": "1"}),
            json!({"PartitionKey": "p", "RowKey": "r", "odata.etag": "1", "n": 5, "n@odata.type": "Edm.Int64"}),
            json!({"PartitionKey": "p", "RowKey": "r", "odata.etag": "1", "n": "NaN", "n@odata.type": "Edm.Double"}),
        ] {
            assert!(matches!(from_json(&object(json.clone()), None), Err(Error::Unavailable(_))), "{json}");
        }
    }
}
