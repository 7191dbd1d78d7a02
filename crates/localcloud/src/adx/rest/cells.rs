//! Values and columns on the wire (dataexplorer-docs `api/rest/response.md`).

use crate::kql::{Column, Type, Value, json};
use serde_json::{Value as Json, json};

/// The .NET type's short name in v1 answers.
pub(super) fn data_type(ty: Type) -> &'static str {
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

/// Columns as v1 names them.
pub(super) fn columns_v1(columns: &[Column]) -> Json {
    columns
        .iter()
        .map(|column| {
            json!({ "ColumnName": column.name, "DataType": data_type(column.ty), "ColumnType": column.ty.name() })
        })
        .collect()
}

/// Columns as v2 names them.
pub(super) fn columns_v2(columns: &[Column]) -> Json {
    columns.iter().map(|column| json!({ "ColumnName": column.name, "ColumnType": column.ty.name() })).collect()
}

/// How bools are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bools {
    /// `true`
    Words,
    /// `1`
    Numbers,
}

/// Appends a row.
pub(super) fn write_row(columns: &[Column], row: &[Value], bools: Bools, out: &mut String) {
    out.push('[');
    for (index, (column, value)) in columns.iter().zip(row).enumerate() {
        if index > 0 {
            out.push(',');
        }
        match value {
            // A string is never null in an answer.
            Value::Null if column.ty == Type::String => out.push_str("\"\""),
            Value::Bool(value) if bools == Bools::Numbers => out.push(if *value { '1' } else { '0' }),
            other => json::write(other, out),
        }
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use uuid::Uuid;

    #[test]
    fn every_type_has_its_encoding() {
        let at = crate::kql::time::parse_datetime("2015-01-01T01:01:01.0000001Z").unwrap();
        let all = [
            (Type::Bool, Value::Bool(true), "true"),
            (Type::Int, Value::Int(-3), "-3"),
            (Type::Long, Value::Long(i64::MAX), "9223372036854775807"),
            (Type::Real, Value::Real(0.01), "0.01"),
            (Type::Real, Value::Real(f64::NAN), "\"NaN\""),
            (Type::Real, Value::Real(f64::NEG_INFINITY), "\"-Infinity\""),
            (Type::Decimal, Value::Decimal("2.00000000000001".into()), "\"2.00000000000001\""),
            (Type::String, Value::Null, "\"\""),
            (Type::Datetime, Value::Datetime(at), "\"2015-01-01T01:01:01.0000001Z\""),
            (Type::Timespan, Value::Timespan(-1_728_020_020_002 - 2), "\"-2.00:00:02.0020004\""),
            (Type::Timespan, Value::Timespan(0), "\"00:00:00\""),
            (Type::Guid, Value::Guid(Uuid::nil()), "\"00000000-0000-0000-0000-000000000000\""),
            (Type::Dynamic, Value::Dynamic(Arc::new(json!({ "a": [1] }))), r#"{"a":[1]}"#),
            (Type::Dynamic, Value::Null, "null"),
            (Type::Long, Value::Null, "null"),
        ];
        for (ty, value, expected) in all {
            let mut out = String::new();
            write_row(&[Column { name: "X".into(), ty }], std::slice::from_ref(&value), Bools::Words, &mut out);
            assert_eq!(out, format!("[{expected}]"), "{value:?}");
        }
        let mut out = String::new();
        write_row(&[Column { name: "X".into(), ty: Type::Bool }], &[Value::Bool(false)], Bools::Numbers, &mut out);
        assert_eq!(out, "[0]");
    }
}
