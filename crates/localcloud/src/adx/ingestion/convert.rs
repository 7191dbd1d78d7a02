//! A JSON value as a value of a column. What does not fit becomes null and nobody is told, as in the service
//! (dataexplorer-docs `ingest-invalid-data.md`).

use crate::kql::{Type, Value};
use serde_json::Value as Json;
use std::io::{self, Write};
use std::sync::Arc;

/// The largest string and dynamic value of a column without an encoding policy.
pub(super) const VALUE_CAP: usize = 1024 * 1024;

/// `json` as a `ty`; `cap` is the most bytes of a string or dynamic value.
pub(super) fn value(json: &Json, ty: Type, cap: usize) -> Value {
    match (ty, json) {
        (Type::String, Json::Null) => Value::text(""),
        (Type::String, Json::String(text)) => Value::text(cut(text, cap)),
        (Type::String, other) => Value::text(cut(&other.to_string(), cap)),
        (_, Json::Null) => Value::Null,
        (Type::Dynamic, json) if fits(json, cap) => Value::dynamic(json.clone()),
        (Type::Dynamic, _) => Value::Null,
        (_, Json::String(text)) => Value::text(text.as_str()).convert(ty),
        (Type::Bool, Json::Bool(value)) => Value::Bool(*value),
        (Type::Bool, Json::Number(number)) => number.as_i64().map_or(Value::Null, |number| Value::Bool(number != 0)),
        (Type::Int | Type::Long, Json::Number(number)) => whole(number).map_or(Value::Null, |n| fit(n, ty)),
        (Type::Real, Json::Number(number)) => number.as_f64().map_or(Value::Null, Value::Real),
        (Type::Decimal, Json::Number(number)) => Value::Decimal(Arc::from(number.to_string())),
        _ => Value::Null,
    }
}

/// Whether a JSON value has at most `cap` bytes as text.
pub(super) fn fits(json: &Json, cap: usize) -> bool {
    serde_json::to_writer(Room(cap), json).is_ok()
}

fn whole(number: &serde_json::Number) -> Option<i64> {
    let real = || number.as_f64().filter(|real| real.fract() == 0.0 && real.abs() < 9.0e15).map(|real| real as i64);
    number.as_i64().or_else(real)
}

fn fit(number: i64, ty: Type) -> Value {
    match ty {
        Type::Int => i32::try_from(number).map_or(Value::Null, Value::Int),
        _ => Value::Long(number),
    }
}

fn cut(text: &str, cap: usize) -> &str {
    let mut end = cap.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Takes so many bytes and no more.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kql::time::SECOND;
    use serde_json::json;

    #[test]
    fn what_fits_is_converted_and_the_rest_is_null() {
        let at = 639_199_803_770_000_000 / SECOND * SECOND;
        let mut text = String::new();
        crate::kql::time::write_datetime(at, &mut text);
        let seconds = text.trim_end_matches("0000000Z").trim_end_matches('.');
        let checks = [
            (json!(format!("{seconds}Z")), Type::Datetime, Value::Datetime(at)),
            (json!(format!("{seconds}.5Z")), Type::Datetime, Value::Datetime(at + SECOND / 2)),
            (json!(format!("{seconds}.0000001Z")), Type::Datetime, Value::Datetime(at + 1)),
            (json!(1_700_000_000), Type::Datetime, Value::Null),
            (json!("yesterday"), Type::Datetime, Value::Null),
            (json!(i64::MAX), Type::Long, Value::Long(i64::MAX)),
            (json!(1.5), Type::Long, Value::Null),
            (json!(u64::MAX), Type::Long, Value::Null),
            (json!("12"), Type::Long, Value::Long(12)),
            (json!(3_000_000_000_i64), Type::Int, Value::Null),
            (json!(true), Type::Bool, Value::Bool(true)),
            (json!("False"), Type::Bool, Value::Bool(false)),
            (json!(2), Type::Real, Value::Real(2.0)),
            (json!({"a": 1}), Type::Real, Value::Null),
            (json!("no guid"), Type::Guid, Value::Null),
            (json!({"a": 1}), Type::String, Value::text("{\"a\":1}")),
            (json!(null), Type::String, Value::text("")),
            (json!([1, null]), Type::Dynamic, Value::dynamic(json!([1, null]))),
            (json!("{\"a\":1}"), Type::Dynamic, Value::dynamic(json!("{\"a\":1}"))),
        ];
        for (json, ty, expected) in checks {
            assert_eq!(value(&json, ty, VALUE_CAP), expected, "{json} as {}", ty.name());
        }
    }

    #[test]
    fn long_strings_are_cut_and_large_dynamic_values_are_null() {
        let long = json!("é".repeat(VALUE_CAP));
        let Value::String(text) = value(&long, Type::String, VALUE_CAP) else { panic!("no string") };
        assert_eq!(text.len(), VALUE_CAP);
        let bag = |length: usize| json!({"a": "x".repeat(length - 8)});
        assert_ne!(value(&bag(VALUE_CAP), Type::Dynamic, VALUE_CAP), Value::Null);
        assert_eq!(value(&bag(VALUE_CAP + 1), Type::Dynamic, VALUE_CAP), Value::Null);
        assert_ne!(value(&bag(VALUE_CAP + 1), Type::Dynamic, 32 * VALUE_CAP), Value::Null);
    }
}
