//! `to…()`, null tests and hashes.

use super::Gives::First;
use super::Naming;
use super::Signature;
use super::Takes::{Any, Text, Whole};
use crate::kql::Type;
use crate::kql::Value;
use crate::kql::json;
use crate::kql::value::from_json;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::Arc;
use xxhash_rust::xxh64::xxh64;

macro_rules! conversion {
    ($name:literal, $ty:ident) => {
        Signature::new($name, &[Any], Type::$ty, |values| values[0].convert(Type::$ty)).named(Naming::First)
    };
}

pub(super) const TABLE: &[Signature] = &[
    conversion!("tostring", String),
    conversion!("tolong", Long),
    conversion!("toint", Int),
    conversion!("todouble", Real),
    conversion!("toreal", Real),
    conversion!("tobool", Bool),
    conversion!("toboolean", Bool),
    conversion!("todatetime", Datetime),
    conversion!("totimespan", Timespan),
    conversion!("totime", Timespan),
    conversion!("toguid", Guid),
    conversion!("todecimal", Decimal),
    Signature::new("todynamic", &[Any], Type::Dynamic, parse_json).named(Naming::First),
    Signature::new("parse_json", &[Any], Type::Dynamic, parse_json).named(Naming::First),
    Signature::new("parsejson", &[Any], Type::Dynamic, parse_json).named(Naming::First),
    Signature::new("dynamic_to_json", &[Any], Type::String, |values| Value::text(json::to_text(&values[0]))),
    Signature::new("isnull", &[Any], Type::Bool, |values| Value::Bool(values[0] == Value::Null)),
    Signature::new("isnotnull", &[Any], Type::Bool, |values| Value::Bool(values[0] != Value::Null)),
    Signature::new("notnull", &[Any], Type::Bool, |values| Value::Bool(values[0] != Value::Null)),
    Signature::new("isempty", &[Any], Type::Bool, |values| Value::Bool(values[0].is_empty())),
    Signature::new("isnotempty", &[Any], Type::Bool, |values| Value::Bool(!values[0].is_empty())),
    Signature::new("notempty", &[Any], Type::Bool, |values| Value::Bool(!values[0].is_empty())),
    Signature::new("gettype", &[Any], Type::String, |values| Value::text(type_of(&values[0]))),
    Signature::new("hash", &[Any, Whole], Type::Long, hash).least(1),
    Signature::new("hash_xxhash64", &[Any, Whole], Type::Long, hash).least(1),
    Signature::new("hash_sha256", &[Any], Type::String, |values| {
        let mut text = String::with_capacity(64);
        for byte in Sha256::digest(values[0].to_text().as_bytes()) {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Value::text(text)
    }),
    Signature::new("passthrough", &[Any], Type::Dynamic, |values| values[0].clone()).gives(First),
    Signature::new("strcmp", &[Text, Text], Type::Long, |values| {
        Value::Long(values[0].to_text().cmp(&values[1].to_text()) as i64)
    }),
];

/// Text that is not JSON becomes a dynamic string, as in the service.
fn parse_json(values: &[Value]) -> Value {
    match &values[0] {
        Value::String(text) if text.is_empty() => Value::Null,
        Value::String(text) => match serde_json::from_str(text) {
            Ok(json) => Value::dynamic(json),
            Err(_) => Value::Dynamic(Arc::new(serde_json::Value::from(&**text))),
        },
        other => other.convert(Type::Dynamic),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Long(_) => "long",
        Value::Real(_) => "real",
        Value::Decimal(_) => "decimal",
        Value::String(_) => "string",
        Value::Datetime(_) => "datetime",
        Value::Timespan(_) => "timespan",
        Value::Guid(_) => "guid",
        Value::Dynamic(json) if json.is_array() => "array",
        Value::Dynamic(json) if json.is_object() => "dictionary",
        Value::Dynamic(json) => from_json(json).map_or("null", |value| type_of(&value)),
    }
}

/// xxHash64 with seed 0 of a string's bytes or of a number's eight bytes, low byte first
/// (dataexplorer-docs `query/hash-xxhash64-function.md`).
fn hash(values: &[Value]) -> Value {
    let hash = match &values[0] {
        Value::Bool(value) => xxh64(&[u8::from(*value)], 0),
        Value::Int(value) => xxh64(&value.to_le_bytes(), 0),
        Value::Long(value) | Value::Datetime(value) | Value::Timespan(value) => xxh64(&value.to_le_bytes(), 0),
        Value::Real(value) => xxh64(&value.to_le_bytes(), 0),
        Value::Guid(guid) => xxh64(&guid.to_bytes_le(), 0),
        other => xxh64(other.to_text().as_bytes(), 0),
    };
    match values.get(1) {
        None => Value::Long(hash as i64),
        Some(modulus) => match modulus.as_i64() {
            Some(modulus) if modulus > 0 => Value::Long((hash % modulus as u64) as i64),
            _ => Value::Null,
        },
    }
}
