//! Rows as JSON of the table service. Whole numbers and floats carry their type, so that they come back as what they
//! were. Does no I/O.
//!
//! Source: rest-api-ref `Payload-Format-for-Table-Service-Operations`.

use crate::failure::Failure;
use adxingestor_ports::storage::{ETag, Error, Key, Properties, Row};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

const TYPE: &str = "@odata.type";

/// Which characters of a row's JSON are written as `\uXXXX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escaped {
    /// All that are not ASCII: Azurite joins a body out of chunks that it decodes one by one, which breaks a
    /// character that stands in two of them.
    NonAscii,
    /// U+2028 and U+2029 only: Azurite ends an operation of a transaction at them.
    LineEnds,
}

/// The JSON text of a row.
pub(crate) fn to_json(key: &Key, properties: &Properties, escaped: Escaped) -> Result<Box<RawValue>, Failure> {
    let unwritable = |_| Failure::Garbled("a row that is no JSON".to_owned());
    let json = serde_json::to_string(&with_types(key, properties)).map_err(unwritable)?;
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() || (escaped == Escaped::LineEnds && !matches!(c, '\u{2028}' | '\u{2029}')) {
            text.push(c);
        } else {
            // Outside of ASCII, JSON has characters in texts and names only.
            text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    RawValue::from_string(text).map_err(unwritable)
}

fn with_types(key: &Key, properties: &Properties) -> Map<String, Value> {
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
        let mut sent = with_types(&key, &properties);
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
    fn characters_that_the_emulator_breaks_are_escaped() {
        let key = Key::new("é", "r").unwrap();
        let properties = object(json!({"Größe": "\"a\u{2028}\u{1F980}"}));
        let json = |escaped| to_json(&key, &properties, escaped).unwrap();
        assert_eq!(
            json(Escaped::NonAscii).get(),
            r#"{"Gr\u00f6\u00dfe":"\"a\u2028\ud83e\udd80","PartitionKey":"\u00e9","RowKey":"r"}"#
        );
        assert_eq!(
            json(Escaped::LineEnds).get(),
            "{\"Größe\":\"\\\"a\\u2028\u{1F980}\",\"PartitionKey\":\"é\",\"RowKey\":\"r\"}"
        );
        for escaped in [Escaped::NonAscii, Escaped::LineEnds] {
            let read: Map<String, Value> = serde_json::from_str(json(escaped).get()).unwrap();
            assert_eq!(read, with_types(&key, &properties));
        }
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
