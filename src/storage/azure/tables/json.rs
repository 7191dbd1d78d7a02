//! Rows as the table service reads and writes them in JSON. Knows no request.
//!
//! Rows are read with `odata=minimalmetadata`, although `nometadata` is shorter (660 and 470 bytes for a window of the
//! ledger): only the former says which texts are whole numbers (`Edm.Int64` is text in JSON), and only it has the ETags
//! of the rows of a page.
//!
//! | value | as |
//! |---|---|
//! | text, bool | itself |
//! | whole number of 32 bits | itself (`Edm.Int32`) |
//! | larger whole number | text, typed `Edm.Int64` |
//! | float with a fraction | itself |
//! | whole float | itself, typed `Edm.Double`: to a reader of numbers it looks like an `Edm.Int32` |
//! | -0.0 | its eight bytes, typed `Edm.Binary`: Azurite makes 0.0 of the number, and no page promises its sign |
//!
//! Sources: rest-api-ref `Payload-Format-for-Table-Service-Operations`, `Understanding-the-Table-Service-Data-Model`.

use crate::storage::{ETag, Error, Key, Properties, Row};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::ser::Formatter;
use std::{fmt, io};

/// What answers with rows are asked for as.
pub(super) const ACCEPT_ROWS: &str = "application/json;odata=minimalmetadata";
/// What answers without rows are asked for as.
pub(super) const ACCEPT: &str = "application/json;odata=nometadata";

const TYPE: &str = "@odata.type";

/// The body of a write: the row in one line of ASCII.
pub(super) fn write(key: &Key, properties: &Properties) -> Result<String, Error> {
    let mut json = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, Ascii);
    Entity { key, properties }.serialize(&mut serializer).map_err(|error| Error::Fatal(error.into()))?;
    String::from_utf8(json).map_err(|error| Error::Fatal(error.into()))
}

/// The row that is the whole of `body`.
pub(super) fn read_row(body: &[u8]) -> Result<Row, Error> {
    serde_json::from_slice::<Fields>(body).map_err(garbled)?.into_row()
}

/// The rows of a page.
pub(super) fn read_rows(body: &[u8]) -> Result<Vec<Row>, Error> {
    #[derive(Deserialize)]
    struct Rows {
        value: Vec<Fields>,
    }
    let rows: Rows = serde_json::from_slice(body).map_err(garbled)?;
    rows.value.into_iter().map(Fields::into_row).collect()
}

struct Entity<'a> {
    key: &'a Key,
    properties: &'a Properties,
}

impl Serialize for Entity<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("PartitionKey", self.key.partition())?;
        map.serialize_entry("RowKey", self.key.row())?;
        for (name, value) in self.properties {
            let (kind, value) = typed(value);
            if let Some(kind) = kind {
                map.serialize_entry(&format!("{name}{TYPE}"), kind)?;
            }
            match value {
                Written::Value(value) => map.serialize_entry(name, value)?,
                Written::Text(text) => map.serialize_entry(name, &text)?,
            }
        }
        map.end()
    }
}

enum Written<'a> {
    Value(&'a Value),
    Text(String),
}

/// How a value is written, and the type that must stand beside it.
fn typed(value: &Value) -> (Option<&'static str>, Written<'_>) {
    let Value::Number(number) = value else { return (None, Written::Value(value)) };
    match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) if i32::try_from(whole).is_ok() => (None, Written::Value(value)),
        (Some(whole), _) => (Some("Edm.Int64"), Written::Text(whole.to_string())),
        (None, Some(float)) if float == 0.0 && float.is_sign_negative() => {
            (Some("Edm.Binary"), Written::Text(STANDARD.encode(float.to_be_bytes())))
        }
        (None, Some(float)) if float.fract() == 0.0 => (Some("Edm.Double"), Written::Value(value)),
        (None, _) => (None, Written::Value(value)),
    }
}

/// JSON in ASCII. Azurite spoils a character whose bytes come in two reads, and its reader of batches ends a line at
/// U+2028 and U+2029, too.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if c.is_ascii() {
                writer.write_all(&[c as u8])?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

/// What stands in the JSON of a row, sorted while it is read.
#[derive(Default)]
struct Fields {
    partition: Option<String>,
    row: Option<String>,
    etag: Option<String>,
    properties: Properties,
    /// The types of properties by their names.
    kinds: Vec<(String, Value)>,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some((name, value)) = object.next_entry()? {
                    fields.add(name, value);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Fields {
    fn add(&mut self, mut name: String, value: Value) {
        match (name.as_str(), value) {
            ("PartitionKey", Value::String(text)) => self.partition = Some(text),
            ("RowKey", Value::String(text)) => self.row = Some(text),
            ("odata.etag", Value::String(text)) => self.etag = Some(text),
            ("Timestamp" | "Timestamp@odata.type", _) | (_, Value::Null) => {}
            (system, _) if system.starts_with("odata.") => {}
            (of, kind) if of.ends_with(TYPE) => {
                name.truncate(name.len() - TYPE.len());
                self.kinds.push((name, kind));
            }
            (_, value) => {
                self.properties.insert(name, value);
            }
        }
    }

    fn into_row(self) -> Result<Row, Error> {
        let Self { partition: Some(partition), row: Some(row), etag: Some(etag), mut properties, kinds } = self else {
            return Err(garbled("a row without PartitionKey, RowKey and odata.etag"));
        };
        let key = Key::new(partition, row)?;
        for (name, kind) in kinds {
            let Some(value) = properties.get_mut(&name) else { continue };
            // One of a type that is never written here stays as it came: it is for the reader of its record to say what is wrong,
            // and no other row of the page depends on that.
            if let Some(typed) = read_typed(kind.as_str().unwrap_or_default(), value) {
                *value = typed;
            }
        }
        Ok(Row { key, properties, etag: ETag(etag) })
    }
}

/// The value of a property that has a type beside it, unless it is none that [`typed`] writes.
fn read_typed(kind: &str, value: &Value) -> Option<Value> {
    match (kind, value) {
        ("Edm.String", Value::String(_)) | ("Edm.Boolean", Value::Bool(_)) => Some(value.clone()),
        ("Edm.Int32" | "Edm.Int64", Value::Number(number)) => number.as_i64().map(Value::from),
        ("Edm.Int64", Value::String(text)) => text.parse::<i64>().ok().map(Value::from),
        ("Edm.Double", Value::Number(number)) => float(number.as_f64()?),
        ("Edm.Double", Value::String(text)) => float(text.parse().ok()?),
        ("Edm.Binary", Value::String(text)) => {
            let bytes = STANDARD.decode(text).ok()?;
            float(f64::from_be_bytes(bytes.try_into().ok()?))
        }
        _ => None,
    }
}

fn float(float: f64) -> Option<Value> {
    serde_json::Number::from_f64(float).map(Value::Number)
}

/// What came is no answer of the service: cut, or someone else's.
fn garbled(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unavailable(format!("the answer is not the JSON of rows: {}", why.into()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn properties(value: Value) -> Properties {
        value.as_object().unwrap().clone()
    }

    fn written(value: Value) -> String {
        write(&Key::new("p", "r").unwrap(), &properties(value)).unwrap()
    }

    /// What the service gives back for a row that was written, by the documented rules of the format.
    fn answered(written: &str) -> String {
        format!(
            r#"{{"odata.metadata":"http://x/$metadata#t/@Element","odata.etag":"W/\"1\"","Timestamp":"2026-04-14T07:00:00Z",{}"#,
            &written[1..]
        )
    }

    #[test]
    fn a_row_is_one_line_of_typed_properties() {
        assert_eq!(
            written(json!({
                "a": i64::MAX, "b": 7, "c": -1.5, "d": 1.0, "e": -0.0, "f": true, "g": "12\r\n\u{2028}ü\u{1F980}x", "h": 1e300
            })),
            concat!(
                r#"{"PartitionKey":"p","RowKey":"r","a@odata.type":"Edm.Int64","a":"9223372036854775807","b":7,"c":-1.5,"#,
                r#""d@odata.type":"Edm.Double","d":1.0,"e@odata.type":"Edm.Binary","e":"gAAAAAAAAAA=","f":true,"#,
                r#""g":"12\r\n\u2028\u00fc\ud83e\udd80x","h@odata.type":"Edm.Double","h":1e+300}"#
            )
        );
    }

    #[test]
    fn a_page_of_azurite_is_read() {
        let body = r#"{"odata.metadata":"http://127.0.0.1:10002/devstoreaccount1/$metadata#Tables/@Element","value":[{"odata.etag":"W/\"datetime'2026-11-21T14%3A29%3A43.6094951Z'\"","PartitionKey":"p","RowKey":"r","a@odata.type":"Edm.Int64","a":"9007199254740993","i":7,"d":1.0,"e":1e+300,"t":"12","dt":"2026-04-14T07:00:00Z","b":true,"Timestamp":"2026-11-21T14:29:43.6094951Z"}]}"#;
        let rows = read_rows(body.as_bytes()).unwrap();
        let expected = json!({
            "a": 9_007_199_254_740_993_i64, "i": 7, "d": 1.0, "e": 1e300, "t": "12", "dt": "2026-04-14T07:00:00Z", "b": true
        });
        assert_eq!(rows[0].properties, properties(expected));
        assert_eq!(rows[0].key, Key::new("p", "r").unwrap());
        assert_eq!(rows[0].etag.0, "W/\"datetime'2026-11-21T14%3A29%3A43.6094951Z'\"");
        assert_eq!(rows.len(), 1);
    }

    #[test]
    fn answers_that_are_not_rows_leave_the_outcome_open() {
        for body in ["", "{", "<html>", "[]", r#"{"PartitionKey":"p","RowKey":"r"}"#, r#"{"odata.etag":"x"}"#, "null"] {
            assert!(matches!(read_row(body.as_bytes()), Err(Error::Unavailable(_))), "{body}");
            assert!(matches!(read_rows(body.as_bytes()), Err(Error::Unavailable(_))), "{body}");
        }
    }

    #[test]
    fn a_property_of_a_foreign_type_stays_as_it_came() {
        for (kind, value) in [
            ("Edm.Guid", r#""00000000-0000-0000-0000-000000000000""#),
            ("Edm.DateTime", r#""2026-04-14T07:00:00Z""#),
            ("Edm.Binary", r#""AAAA""#),
            ("Edm.Double", r#""NaN""#),
            ("Edm.Int64", r#""x""#),
        ] {
            let body = answered(&format!(r#"{{"PartitionKey":"p","RowKey":"r","v@odata.type":"{kind}","v":{value}}}"#));
            let row = read_row(body.as_bytes()).unwrap();
            assert_eq!(row.properties["v"].to_string(), value, "{kind}");
        }
    }

    #[test]
    fn the_sign_of_zero_comes_back() {
        let row = read_row(answered(&written(json!({"v": -0.0, "w": 0.0}))).as_bytes()).unwrap();
        assert!(row.properties["v"].as_f64().unwrap().is_sign_negative());
        assert!(row.properties["w"].as_f64().unwrap().is_sign_positive());
    }

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            (proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO)
                .prop_map(Value::from),
            any::<i32>().prop_map(|whole| Value::from(f64::from(whole))),
            any::<bool>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn values_come_back_as_they_were(values in proptest::collection::btree_map("[A-Za-z_][A-Za-z0-9_]{0,9}", values(), 0..8)) {
            let mut properties: Properties = values.into_iter().collect();
            for taken in ["PartitionKey", "RowKey", "Timestamp"] {
                properties.remove(taken);
            }
            let key = Key::new("p'", "\u{1F980}").unwrap();
            let json = write(&key, &properties).unwrap();
            prop_assert!(json.is_ascii() && !json.contains(['\r', '\n']));
            let row = read_row(answered(&json).as_bytes()).unwrap();
            prop_assert_eq!(row.key, key);
            // As text, because -0.0 equals 0.0.
            prop_assert_eq!(serde_json::to_string(&row.properties).unwrap(), serde_json::to_string(&properties).unwrap());
        }
    }
}
