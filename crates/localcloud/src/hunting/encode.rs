//! Values on the wire. Graph re-encodes what the engine says: a bool is a number, a null is `{}`, and type
//! names stand as keys between the columns.

use crate::kql::time::write_timespan;
use crate::kql::{Column, Type, Value};
use crate::source::ticks;
use serde_json::Value as Json;
use std::io::Write;

/// Whose customs apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Microsoft Graph.
    Graph,
    /// The endpoints before it.
    Legacy,
}

const DYNAMIC: &str = "#microsoft.graph.security.dynamicColumnValue";

/// The type's name in the answer's schema.
pub(super) fn type_name(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "SByte",
        Type::Int => "Int32",
        Type::Long => "Int64",
        Type::Real => "Double",
        Type::Decimal => "SqlDecimal",
        Type::String => "String",
        Type::Datetime => "DateTime",
        Type::Timespan => "TimeSpan",
        Type::Guid => "Guid",
        Type::Dynamic => "Object",
    }
}

impl Dialect {
    /// Everything before the rows.
    pub(super) fn head(self, columns: &[Column], out: &mut Vec<u8>) {
        put(
            out,
            match self {
                Self::Graph => {
                    r#"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.security.huntingQueryResults","#
                }
                Self::Legacy => r#"{"Stats":{"ExecutionTime":0.0156,"resource_usage":{},"dataset_statistics":[]},"#,
            },
        );
        self.schema(columns, out);
        put(out, if self == Self::Graph { r#","results":"# } else { r#","Results":"# });
    }

    /// The member that describes the columns.
    pub(super) fn schema(self, columns: &[Column], out: &mut Vec<u8>) {
        let (name, ty) = if self == Self::Graph { ("name", "type") } else { ("Name", "Type") };
        let schema: Vec<Json> =
            columns.iter().map(|column| serde_json::json!({ name: column.name, ty: type_name(column.ty) })).collect();
        let member = if self == Self::Graph { "schema" } else { "Schema" };
        put(out, format_args!(r#""{member}":{}"#, Json::Array(schema)));
    }

    /// What stands before rows whose schema follows them.
    pub(super) fn rows_first(self) -> &'static [u8] {
        if self == Self::Graph { br#"{"results":"# } else { br#"{"Results":"# }
    }

    /// One row as an object.
    pub(super) fn row(self, columns: &[Column], values: &[Value], out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (column, value)) in columns.iter().zip(values).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.cell(&column.name, value, out);
        }
        out.push(b'}');
    }

    fn cell(self, name: &str, value: &Value, out: &mut Vec<u8>) {
        if self == Self::Graph
            && let Some(label) = label(value)
        {
            sidecar(name, label, out);
        }
        string(name, out);
        out.push(b':');
        match value {
            Value::Null => self.null(out),
            Value::Bool(value) => put(out, u8::from(*value)),
            Value::Int(value) => put(out, value),
            Value::Long(value) => put(out, value),
            Value::Real(value) => real(*value, out),
            Value::Decimal(text) | Value::String(text) => string(text, out),
            Value::Datetime(at) => string(&ticks::format(*at), out),
            Value::Timespan(span) => {
                let mut text = String::new();
                write_timespan(*span, &mut text);
                string(&text, out);
            }
            Value::Guid(guid) => put(out, format_args!("\"{guid}\"")),
            Value::Dynamic(json) if json.is_null() => self.null(out),
            Value::Dynamic(json) if self == Self::Graph => graph_json(json, out),
            Value::Dynamic(json) => put(out, json),
        }
    }

    fn null(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self == Self::Graph { b"{}" } else { b"null" });
    }
}

/// The type that stands beside the value, if any does.
fn label(value: &Value) -> Option<&'static str> {
    match value {
        Value::Bool(_) => Some("#SByte"),
        Value::Long(_) => Some("#Int64"),
        Value::Dynamic(json) => json_label(json),
        _ => None,
    }
}

fn json_label(json: &Json) -> Option<&'static str> {
    match json {
        Json::Array(items) if !items.is_empty() && items.iter().all(is_whole) => Some("#Collection(Int64)"),
        Json::Array(_) => Some("#Collection(String)"),
        Json::Number(_) if is_whole(json) => {
            json.as_i64().is_none_or(|n| i32::try_from(n).is_err()).then_some("#Int64")
        }
        _ => None,
    }
}

fn is_whole(json: &Json) -> bool {
    json.is_i64() || json.is_u64()
}

fn sidecar(name: &str, label: &str, out: &mut Vec<u8>) {
    string(&format!("{name}@odata.type"), out);
    put(out, format_args!(":\"{label}\","));
}

/// An object names its type at every level; objects inside arrays become JSON text.
fn graph_json(json: &Json, out: &mut Vec<u8>) {
    match json {
        Json::Object(members) => {
            put(out, format_args!(r#"{{"@odata.type":"{DYNAMIC}""#));
            for (name, member) in members {
                out.push(b',');
                if let Some(label) = json_label(member) {
                    sidecar(name, label, out);
                }
                string(name, out);
                out.push(b':');
                graph_json(member, out);
            }
            out.push(b'}');
        }
        Json::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                match item {
                    Json::Object(_) | Json::Array(_) => string(&item.to_string(), out),
                    scalar => put(out, scalar),
                }
            }
            out.push(b']');
        }
        scalar => put(out, scalar),
    }
}

fn real(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        put(out, Json::from(value));
    } else if value.is_nan() {
        string("NaN", out);
    } else {
        string(if value > 0.0 { "INF" } else { "-INF" }, out);
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    // Writing a string to memory cannot fail.
    let _ = serde_json::to_writer(&mut *out, text);
}

fn put(out: &mut Vec<u8>, text: impl std::fmt::Display) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn cell(dialect: Dialect, value: Value) -> String {
        let mut out = Vec::new();
        dialect.cell("X", &value, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn graph(value: Value) -> String {
        cell(Dialect::Graph, value)
    }

    #[test]
    fn graph_encodes_scalars_its_own_way() {
        let at = ticks::parse("2026-07-23T18:03:20.9280000Z").unwrap();
        for (value, text) in [
            (Value::Null, r#""X":{}"#),
            (Value::Bool(true), r##""X@odata.type":"#SByte","X":1"##),
            (Value::Int(-3), r#""X":-3"#),
            (Value::Long(639_199_803_770_463_703), r##""X@odata.type":"#Int64","X":639199803770463703"##),
            (Value::Real(0.5), r#""X":0.5"#),
            (Value::Real(7.0), r#""X":7.0"#),
            (Value::Real(f64::NEG_INFINITY), r#""X":"-INF""#),
            (Value::String("".into()), r#""X":"""#),
            (Value::String("a\"b\\c\n€".into()), r#""X":"a\"b\\c\n€""#),
            (Value::Datetime(at), r#""X":"2026-07-23T18:03:20.928Z""#),
            (Value::Timespan(-ticks::DAY - 15_000_000), r#""X":"-1.00:00:01.5000000""#),
        ] {
            assert_eq!(graph(value), text);
        }
    }

    #[test]
    fn graph_names_types_at_every_level_of_an_object() {
        let value = Value::Dynamic(Arc::new(json!({
            "displayName": "OpenAI, L.L.C.", "inner": { "deep": true, "big": 9_007_199_254_740_993_i64, "small": 5 }, "none": null,
        })));
        let text = r##""X":{"@odata.type":"#microsoft.graph.security.dynamicColumnValue","displayName":"OpenAI, L.L.C.","inner":{"@odata.type":"#microsoft.graph.security.dynamicColumnValue","big@odata.type":"#Int64","big":9007199254740993,"deep":true,"small":5},"none":null}"##;
        assert_eq!(graph(value), text);
    }

    #[test]
    fn objects_in_graph_arrays_are_text() {
        let permissions = Value::Dynamic(Arc::new(json!([{ "PermissionType": "Delegated" }])));
        let text = r##""X@odata.type":"#Collection(String)","X":["{\"PermissionType\":\"Delegated\"}"]"##;
        assert_eq!(graph(permissions), text);
        assert_eq!(
            graph(Value::Dynamic(Arc::new(json!([1, 2])))),
            r##""X@odata.type":"#Collection(Int64)","X":[1,2]"##
        );
        assert_eq!(graph(Value::Dynamic(Arc::new(Json::Null))), r#""X":{}"#);
    }

    #[test]
    fn the_older_endpoints_are_plain() {
        assert_eq!(cell(Dialect::Legacy, Value::Null), r#""X":null"#);
        assert_eq!(cell(Dialect::Legacy, Value::Bool(false)), r#""X":0"#);
        assert_eq!(cell(Dialect::Legacy, Value::Dynamic(Arc::new(json!([{ "a": 1 }])))), r#""X":[{"a":1}]"#);
    }
}
