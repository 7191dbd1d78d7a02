//! What makes two rows the same: a hash of their content that does not depend on key order, on whether
//! empty values were left out, or on how a date's fraction was written.

use super::ticks;
use crate::kql::{Column, Value};
use serde_json::{Map, Value as Json};
use xxhash_rust::xxh64::Xxh64;

/// The identity of a packed row.
///
/// Nulls, empty strings, empty arrays and empty bags count as absent at the top level, so that
/// `pack_all()` and `pack_all(true)` of a row agree. What whoever copied the row added to it is left out:
/// keys that begin with `_` and the arrival time as `Watermark_IngestionTime`. No documented column is
/// named so.
pub fn row_identity(content: &Map<String, Json>) -> u64 {
    let mut identity = Identity::default();
    for (name, value) in content.iter().filter(|(name, _)| !is_of_the_copy(name)) {
        let empty = match value {
            Json::Null => true,
            Json::String(text) => text.is_empty(),
            other => is_empty(other),
        };
        if !empty {
            identity.cell(name, |hasher| match value {
                Json::String(text) => hash_text(text, hasher),
                other => hash_json(other, hasher),
            });
        }
    }
    identity.finish()
}

/// The identity of a row that is still typed.
pub(crate) fn typed_row_identity(columns: &[Column], value: impl Fn(usize) -> Value) -> u64 {
    let mut identity = Identity::default();
    for (index, column) in columns.iter().enumerate() {
        let name = &column.name;
        match value(index) {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => identity.cell(name, |hasher| hash_text(&text, hasher)),
            Value::Bool(value) => identity.cell(name, |hasher| hash_json(&Json::Bool(value), hasher)),
            Value::Int(value) => identity.cell(name, |hasher| hash_number(&value.to_string(), hasher)),
            Value::Long(value) => identity.cell(name, |hasher| hash_number(&value.to_string(), hasher)),
            Value::Real(value) if value.is_finite() => identity.cell(name, |hasher| hash_real(value, hasher)),
            Value::Real(value) => {
                let text = if value.is_nan() {
                    "NaN"
                } else if value > 0.0 {
                    "Infinity"
                } else {
                    "-Infinity"
                };
                identity.cell(name, |hasher| hash_text(text, hasher));
            }
            Value::Decimal(text) => identity.cell(name, |hasher| hash_text(&text, hasher)),
            Value::Datetime(at) => identity.cell(name, |hasher| hash_text(&ticks::format(at), hasher)),
            Value::Timespan(span) => identity.cell(name, |hasher| hash_number(&span.to_string(), hasher)),
            Value::Guid(guid) => identity.cell(name, |hasher| hash_text(&guid.to_string(), hasher)),
            Value::Dynamic(json) if json.is_null() || is_empty(&json) => {}
            Value::Dynamic(json) => identity.cell(name, |hasher| match json.as_ref() {
                Json::String(text) => hash_text(text, hasher),
                other => hash_json(other, hasher),
            }),
        }
    }
    identity.finish()
}

fn is_of_the_copy(name: &str) -> bool {
    name.starts_with('_') || name == "Watermark_IngestionTime"
}

/// A sum of cell hashes: the same in any order.
#[derive(Default)]
struct Identity(u64);

impl Identity {
    fn cell(&mut self, name: &str, value: impl FnOnce(&mut Xxh64)) {
        let mut hasher = Xxh64::new(0);
        hasher.update(name.as_bytes());
        hasher.update(&[0]);
        value(&mut hasher);
        self.0 = self.0.wrapping_add(hasher.digest());
    }

    fn finish(self) -> u64 {
        xxhash_rust::xxh64::xxh64(&self.0.to_le_bytes(), 1)
    }
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
        Json::String(text) => text.is_empty(),
        _ => false,
    }
}

/// A text of the top level; one that is a UTC date-time is brought to its shortest form.
fn hash_text(text: &str, hasher: &mut Xxh64) {
    hasher.update(b"s");
    let bytes = text.as_bytes();
    let dated = (20..=28).contains(&bytes.len()) && bytes[10] == b'T' && bytes[bytes.len() - 1] == b'Z';
    match dated.then(|| ticks::parse(text)).flatten() {
        Some(at) => hasher.update(ticks::format(at).as_bytes()),
        None => hasher.update(bytes),
    }
    hasher.update(&[0]);
}

fn hash_json(value: &Json, hasher: &mut Xxh64) {
    match value {
        Json::Null => hasher.update(b"0"),
        Json::Bool(value) => hasher.update(if *value { b"t" } else { b"f" }),
        Json::Number(number) => match number.as_f64() {
            Some(real) if number.is_f64() => hash_real(real, hasher),
            _ => hash_number(&number.to_string(), hasher),
        },
        Json::String(text) => {
            hasher.update(b"s");
            hasher.update(text.as_bytes());
            hasher.update(&[0]);
        }
        Json::Array(items) => {
            hasher.update(b"[");
            items.iter().for_each(|item| hash_json(item, hasher));
            hasher.update(b"]");
        }
        Json::Object(members) => {
            hasher.update(b"{");
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            for (name, value) in members {
                hasher.update(name.as_bytes());
                hasher.update(&[0]);
                hash_json(value, hasher);
            }
            hasher.update(b"}");
        }
    }
}

/// A real without a fraction is the same number as the integer: writers differ in `7.0` and `7`.
fn hash_real(value: f64, hasher: &mut Xxh64) {
    if value.fract() == 0.0 && value.abs() < 9.0e15 {
        hash_number(&(value as i64).to_string(), hasher);
    } else {
        hash_number(&value.to_string(), hasher);
    }
}

fn hash_number(text: &str, hasher: &mut Xxh64) {
    hasher.update(b"n");
    hasher.update(text.as_bytes());
    hasher.update(&[0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn identity(row: Json) -> u64 {
        row_identity(row.as_object().unwrap())
    }

    #[test]
    fn empty_values_key_order_and_date_digits_do_not_matter() {
        let compact = identity(json!({"Timestamp": "2026-07-23T18:03:20.928Z", "A": 7, "B": {"x": 1, "y": null}}));
        let full = r#"{"B":{"y":null,"x":1},"_ChunkId":"c","A":7.0,"Timestamp":"2026-07-23T18:03:20.9280000Z",
            "C":null,"D":"","E":[],"F":{}}"#;
        assert_eq!(compact, identity(serde_json::from_str(full).unwrap()));
    }

    #[test]
    fn what_the_copy_added_does_not_matter() {
        let row = json!({"A": 7});
        let copied = json!({"A": 7, "_ChunkId": "00ff", "Watermark_IngestionTime": "2026-07-23T18:03:20.928Z"});
        assert_eq!(identity(copied), identity(row.clone()));
        assert_ne!(identity(json!({"A": 7, "Watermark": "2026-07-23T18:03:20.928Z"})), identity(row));
    }

    #[test]
    fn content_matters() {
        let rows = [
            json!({"A": 639_199_803_770_463_703_i64}),
            json!({"A": 639_199_803_770_463_704_i64}),
            json!({"A": "639199803770463703"}),
            json!({"A": true}),
            json!({"A": 1}),
            json!({"A": [1, 2]}),
            json!({"A": [2, 1]}),
            json!({"A": {"x": null}}),
            json!({"B": 1}),
            json!({"A": 1, "B": 1}),
            json!({"A": " "}),
            json!({"A": "1"}),
            json!({}),
        ];
        let identities: std::collections::HashSet<u64> = rows.iter().cloned().map(identity).collect();
        assert_eq!(identities.len(), rows.len());
    }
}
