//! What of a row's JSON makes it that row. The engine packs keys in any order, leaves empty values out or not, and writes
//! one instant with more or fewer digits; and what an older API gave has nulls as `{}`, bools as numbers, sidecars beside
//! values, and the objects of an array as text (learn.microsoft.com "security: runHuntingQuery"). None of that tells rows apart.

use crate::timestamp::Timestamp;
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};
use std::io::Write;

/// What a row is told by: 128 bits of a SHA-256.
pub type RowHash = u128;

/// Written by us beside the columns of the source.
const CHUNK_ID: &str = "_ChunkId";
/// Whole numbers below this are written as such, however they were spelled.
const WHOLE: f64 = 1e30;

/// A text that is no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row is no JSON object")]
pub struct NotARow;

/// The hash of a row as text, but for the members that are named in `left_out`.
///
/// # Errors
/// [`NotARow`].
pub fn hash(row: &str, left_out: &[String]) -> Result<RowHash, NotARow> {
    let row: Value = serde_json::from_str(row).map_err(|_| NotARow)?;
    hash_of(&row, left_out)
}

/// The hash of a row, but for the members that are named in `left_out`.
///
/// # Errors
/// [`NotARow`].
pub fn hash_of(row: &Value, left_out: &[String]) -> Result<RowHash, NotARow> {
    let Value::Object(members) = row else { return Err(NotARow) };
    let mut text = Vec::with_capacity(1024);
    object(members, &mut text, |key| key == CHUNK_ID || left_out.iter().any(|name| name == key));
    let digest = Sha256::digest(&text);
    let (first, _) = digest.split_at(16);
    Ok(first.iter().fold(0, |hash, byte| hash << 8 | RowHash::from(*byte)))
}

/// Writes a value; gives whether there is anything in it.
fn value(value: &Value, out: &mut Vec<u8>) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => tagged(b'n', u8::from(*is).to_string().as_bytes(), out),
        Value::Number(one) => number(one, out),
        Value::String(text) => string(text, out),
        Value::Array(items) => array(items, out),
        Value::Object(members) => object(members, out, |_| false),
    }
}

/// With its length, so that no two sequences of values read the same.
fn tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) -> bool {
    out.push(tag);
    // Writing to a `Vec` does not fail.
    let _ = write!(out, "{}:", bytes.len());
    out.extend_from_slice(bytes);
    true
}

fn number(number: &Number, out: &mut Vec<u8>) -> bool {
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    let float = number.as_f64().unwrap_or(f64::NAN);
    let whole = whole.or_else(|| (float.fract() == 0.0 && float.abs() < WHOLE).then_some(float as i128));
    match whole {
        Some(whole) => tagged(b'n', whole.to_string().as_bytes(), out),
        None => tagged(b'f', &float.to_bits().to_be_bytes(), out),
    }
}

fn string(text: &str, out: &mut Vec<u8>) -> bool {
    match time(text) {
        _ if text.is_empty() => false,
        Some(at) => tagged(b't', &at.ticks().to_be_bytes(), out),
        None => tagged(b's', text.as_bytes(), out),
    }
}

/// An instant as the engine writes one.
fn time(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let looks_like_one = bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && bytes.ends_with(b"Z");
    looks_like_one.then(|| text.parse().ok()).flatten()
}

fn array(items: &[Value], out: &mut Vec<u8>) -> bool {
    if items.is_empty() {
        return false;
    }
    out.push(b'[');
    for item in items {
        let as_text = item.as_str().filter(|text| text.starts_with('{'));
        let read = as_text.and_then(|text| serde_json::from_str(text).ok()).filter(Value::is_object);
        // Places count, empty ones too.
        if !value(read.as_ref().unwrap_or(item), out) {
            out.push(b'_');
        }
    }
    out.push(b']');
    true
}

fn object(members: &Map<String, Value>, out: &mut Vec<u8>, is_left_out: impl Fn(&str) -> bool) -> bool {
    let start = out.len();
    let mut keys: Vec<(&String, &Value)> = members.iter().collect();
    keys.sort_by_key(|(key, _)| *key);
    out.push(b'{');
    let empty = out.len();
    for (key, member) in keys {
        if key.contains("@odata.") || is_left_out(key) {
            continue;
        }
        let before = out.len();
        tagged(b'k', key.as_bytes(), out);
        if !value(member, out) {
            out.truncate(before);
        }
    }
    if out.len() == empty {
        out.truncate(start);
        return false;
    }
    out.push(b'}');
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn same(one: &str, other: &str) -> bool {
        hash(one, &[]).unwrap() == hash(other, &[]).unwrap()
    }

    #[test]
    fn spellings_of_one_row_are_that_row() {
        for (one, other) in [
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
            (r#"{"a":1}"#, r#"{"a":1.0}"#),
            (r#"{"a":1}"#, r#"{"a":1e0}"#),
            (r#"{"a":1.5}"#, r#"{"a":15e-1}"#),
            (r#"{"a":true,"b":false}"#, r#"{"a":1,"b":0}"#),
            (r#"{"t":"2026-05-01T00:00:00Z"}"#, r#"{"t":"2026-05-01T00:00:00.0000000Z"}"#),
            (r#"{"t":"2026-05-01T00:00:00.12Z"}"#, r#"{"t":"2026-05-01T00:00:00.1200000Z"}"#),
            (r#"{"a":1}"#, r#"{"a":1,"b":null,"c":"","d":[],"e":{},"f":{"g":null}}"#),
            (r#"{"a":1}"#, r##"{"a":1,"a@odata.type":"#Int64","_ChunkId":"00ff"}"##),
            (r#"{"a":[{"x":1,"y":2}]}"#, r#"{"a":["{\"y\":2,\"x\":1}"]}"#),
            ("{\"a\":\"\\u00e9\"}", "{\"a\":\"é\"}"),
            (r#"{"a":{"b":{"c":1,"d":2}}}"#, r#"{"a":{"b":{"d":2,"c":1}}}"#),
        ] {
            assert!(same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn other_content_is_another_row() {
        for (one, other) in [
            (r#"{"a":1}"#, r#"{"a":2}"#),
            (r#"{"a":1}"#, r#"{"b":1}"#),
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#),
            (r#"{"a":18446744073709551615}"#, r#"{"a":18446744073709551614}"#),
            (r#"{"a":0.1}"#, r#"{"a":0.10000000000000002}"#),
            (r#"{"a":"x","b":"y"}"#, r#"{"a":"xk1:bs1:y"}"#),
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
            (r#"{"a":[null,1]}"#, r#"{"a":[1]}"#),
            (r#"{"a":{"b":1}}"#, r#"{"a":1,"b":1}"#),
            (r#"{"LogonId":1}"#, r#"{"LogonID":1}"#),
            (r#"{"t":"2026-05-01T00:00:00.0000001Z"}"#, r#"{"t":"2026-05-01T00:00:00Z"}"#),
            (r#"{"a":"{\"b\":1}"}"#, r#"{"a":{"b":1}}"#),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_object_is_no_row() {
        for text in ["", "1", "[]", "null", "{", r#"{"a":1} x"#] {
            assert_eq!(hash(text, &[]), Err(NotARow), "{text}");
        }
        assert_eq!(hash_of(&json!("x"), &[]), Err(NotARow));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9f64..1e9).prop_map(Value::from),
            "[a-c{}\"]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Writing a row again, with or without its empty members, in any order of the keys, does not make another row of it.
        #[test]
        fn a_row_is_the_same_however_it_is_written(members in prop::collection::btree_map("[a-f]{1,2}", any_value(), 0..6)) {
            let forth: Vec<String> = members.iter().map(|(key, value)| format!("{}:{value}", json!(key))).collect();
            let kept = members.iter().rev().filter(|(_, value)| !value.is_null());
            let back: Vec<String> = kept.map(|(key, value)| format!(" {} : {value:#}", json!(key))).collect();
            let (forth, back) = (format!("{{{}}}", forth.join(",")), format!("{{{}}}", back.join(",")));
            prop_assert!(same(&forth, &back), "{} {}", forth, back);
        }

        #[test]
        fn any_text_is_a_row_or_is_refused(text in "\\PC{0,40}") {
            let _ = hash(&text, &[]);
        }
    }
}
