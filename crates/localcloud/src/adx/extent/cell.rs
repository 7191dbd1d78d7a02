//! A cell as text: compact JSON, which holds neither tabs nor line breaks; nothing at all for null.

use crate::kql::{Type, Value, json, time};
use serde_json::Value as Json;
use std::io;
use std::sync::Arc;
use uuid::Uuid;

/// Appends a cell.
pub(super) fn write(value: &Value, out: &mut Vec<u8>) -> io::Result<()> {
    match value {
        Value::Null => Ok(()),
        Value::Dynamic(json) => Ok(serde_json::to_writer(out, &**json)?),
        Value::String(text) => Ok(serde_json::to_writer(out, &**text)?),
        other => Ok(serde_json::to_writer(out, &json::to_serde(other))?),
    }
}

/// Reads a cell of a column of type `ty`.
pub(super) fn read(text: &[u8], ty: Type) -> io::Result<Value> {
    if text.is_empty() {
        return Ok(null_of(ty));
    }
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("a cell is no {}", ty.name()));
    let string = || serde_json::from_slice::<String>(text).map_err(io::Error::from);
    let value = match ty {
        Type::Dynamic => return Ok(Value::dynamic(serde_json::from_slice(text)?)),
        Type::String => return Ok(Value::text(string()?)),
        Type::Bool => Some(Value::Bool(serde_json::from_slice(text)?)),
        Type::Int => Some(Value::Int(serde_json::from_slice(text)?)),
        Type::Long => Some(Value::Long(serde_json::from_slice(text)?)),
        Type::Real => match serde_json::from_slice(text)? {
            // What JSON cannot write stands there by name.
            Json::String(name) => name.parse().ok().map(Value::Real),
            number => number.as_f64().map(Value::Real),
        },
        Type::Decimal => Some(Value::Decimal(Arc::from(string()?))),
        Type::Guid => Uuid::parse_str(&string()?).ok().map(Value::Guid),
        Type::Datetime => time::parse_datetime(&string()?).map(Value::Datetime),
        Type::Timespan => time::parse_timespan(&string()?).map(Value::Timespan),
    };
    value.ok_or_else(damaged)
}

/// Null, which for strings is the empty one.
pub(super) fn null_of(ty: Type) -> Value {
    if ty == Type::String { Value::text("") } else { Value::Null }
}
