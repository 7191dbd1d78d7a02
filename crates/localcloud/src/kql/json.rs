//! Values as the engine's own JSON, the text that `tostring(pack_all())` gives
//! (dataexplorer-docs `query/scalar-data-types/dynamic.md`). Written straight into the output; what JSON
//! cannot say becomes a string.

use super::Value;
use super::time::{write_datetime, write_timespan};
use serde_json::Value as Json;
use std::fmt::Write;

/// Appends a value.
pub fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => write_integer(i64::from(*value), out),
        Value::Long(value) => write_integer(*value, out),
        Value::Real(value) => write_real(*value, out),
        Value::Decimal(text) => write_string(text, out),
        Value::String(text) => write_string(text, out),
        Value::Datetime(ticks) => {
            out.push('"');
            write_datetime(*ticks, out);
            out.push('"');
        }
        Value::Timespan(ticks) => {
            out.push('"');
            write_timespan(*ticks, out);
            out.push('"');
        }
        // Writing to a String does not fail.
        Value::Guid(guid) => _ = write!(out, "\"{guid}\""),
        Value::Dynamic(json) => write_json(json, out),
    }
}

/// Appends a dynamic value.
pub fn write_json(json: &Json, out: &mut String) {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => _ = write!(out, "{number}"),
        Json::String(text) => write_string(text, out),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json(item, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (index, (key, item)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write_json(item, out);
            }
            out.push('}');
        }
    }
}

/// Appends a JSON string literal.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut clean = 0;
    for (index, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[clean..index]);
        clean = index + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            8 => out.push_str("\\b"),
            12 => out.push_str("\\f"),
            other => _ = write!(out, "\\u{other:04x}"),
        }
    }
    out.push_str(&text[clean..]);
    out.push('"');
}

/// A value as text.
pub fn to_text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// A value as a member of a dynamic one.
pub fn to_serde(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Long(value) => Json::from(*value),
        Value::Real(value) => serde_json::Number::from_f64(*value).map_or_else(|| name_of(*value).into(), Json::Number),
        Value::Decimal(text) | Value::String(text) => Json::from(&**text),
        Value::Datetime(ticks) => {
            let mut text = String::with_capacity(28);
            write_datetime(*ticks, &mut text);
            Json::from(text)
        }
        Value::Timespan(ticks) => {
            let mut text = String::new();
            write_timespan(*ticks, &mut text);
            Json::from(text)
        }
        Value::Guid(guid) => Json::from(guid.to_string()),
        Value::Dynamic(json) => Json::clone(json),
    }
}

fn write_integer(number: i64, out: &mut String) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push('-');
    }
    out.extend(digits[at..].iter().map(|&b| char::from(b)));
}

fn write_real(number: f64, out: &mut String) {
    if number.is_finite() {
        let _ = write!(out, "{number:?}");
    } else {
        write_string(name_of(number), out);
    }
}

/// How a number that has no digits is called.
pub(super) fn name_of(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}
