//! A result table and its cells, read by name and type. Every encoding of dataexplorer-docs
//! `api/rest/response.md` and of the SDKs' fixtures is taken; what fits none is an error, not a guess.

use super::Error;
use crate::timestamp::Timestamp;
use serde_json::Value;
use std::borrow::Cow;

/// A Kusto scalar type as an answer names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `long`
    Long,
    /// `real`
    Real,
    /// `decimal`
    Decimal,
    /// `string`
    String,
    /// `datetime`
    Datetime,
    /// `timespan`
    Timespan,
    /// `guid`
    Guid,
    /// `dynamic`
    Dynamic,
}

impl Type {
    /// Reads a Kusto type name, one of its aliases, or a .NET name (`System.` or not).
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        Some(match name.strip_prefix("system.").unwrap_or(&name) {
            "bool" | "boolean" | "sbyte" => Self::Bool,
            "int" | "int32" => Self::Int,
            "long" | "int64" => Self::Long,
            "real" | "double" | "float" | "single" => Self::Real,
            "decimal" | "sqldecimal" | "data.sqltypes.sqldecimal" => Self::Decimal,
            "string" => Self::String,
            "datetime" | "date" => Self::Datetime,
            "timespan" | "time" => Self::Timespan,
            "guid" | "uuid" | "uniqueid" => Self::Guid,
            "dynamic" | "object" => Self::Dynamic,
            _ => return None,
        })
    }

    /// As it is declared.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Long => "long",
            Self::Real => "real",
            Self::Decimal => "decimal",
            Self::String => "string",
            Self::Datetime => "datetime",
            Self::Timespan => "timespan",
            Self::Guid => "guid",
            Self::Dynamic => "dynamic",
        }
    }
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, case-sensitive.
    pub name: String,
    /// Its type, if the answer says one that is known.
    pub ty: Option<Type>,
}

/// The rows of an answer, complete and without errors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Value>>,
    pub(super) from_cache: bool,
}

/// Where a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnIndex(usize);

/// A row of a [`Table`].
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    columns: &'a [Column],
    cells: &'a [Value],
}

impl Table {
    /// The columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Where `name` stands.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: there is no such column.
    pub fn column(&self, name: &str) -> Result<ColumnIndex, Error> {
        self.find(name).ok_or_else(|| Error::corrupt(format!("there is no column `{name}` in the answer")))
    }

    /// Where `name` stands, if it is there.
    pub fn find(&self, name: &str) -> Option<ColumnIndex> {
        self.columns.iter().position(|column| column.name == name).map(ColumnIndex)
    }

    /// The rows in order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { columns: &self.columns, cells })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether the service says that it answered from its query results cache: no proof of anything.
    pub fn is_from_cache(&self) -> bool {
        self.from_cache
    }
}

impl<'a> Row<'a> {
    fn cell(&self, at: ColumnIndex) -> (&'a Value, Option<Type>) {
        (self.cells.get(at.0).unwrap_or(&Value::Null), self.columns.get(at.0).and_then(|column| column.ty))
    }

    fn mismatch(&self, at: ColumnIndex, wanted: &str) -> Error {
        let name = self.columns.get(at.0).map_or("?", |column| column.name.as_str());
        let (cell, ty) = self.cell(at);
        let seen: String = cell.to_string().chars().take(60).collect();
        Error::corrupt(format!("column `{name}` ({ty:?}) holds {seen}, which is no {wanted}"))
    }

    /// A string, decimal, guid, or any other cell that is sent as text. Null reads as the empty text.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a cell of another kind, here and in the methods below.
    pub fn text(&self, at: ColumnIndex) -> Result<&'a str, Error> {
        match self.cell(at).0 {
            Value::Null => Ok(""),
            Value::String(text) => Ok(text),
            _ => Err(self.mismatch(at, "text")),
        }
    }

    /// A whole number, exact over all of `i64`; also as text, as services write what is beyond the numbers of a browser.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn long(&self, at: ColumnIndex) -> Result<Option<i64>, Error> {
        match self.cell(at).0 {
            Value::Null => Ok(None),
            Value::Number(number) => number.as_i64().map(Some).ok_or_else(|| self.mismatch(at, "long")),
            Value::String(text) => text.trim().parse().map(Some).map_err(|_| self.mismatch(at, "long")),
            _ => Err(self.mismatch(at, "long")),
        }
    }

    /// A floating-point number; `NaN` and the infinities come as text.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn real(&self, at: ColumnIndex) -> Result<Option<f64>, Error> {
        match self.cell(at).0 {
            Value::Null => Ok(None),
            Value::Number(number) => Ok(number.as_f64()),
            Value::String(text) => match text.as_str() {
                "NaN" => Ok(Some(f64::NAN)),
                "Infinity" => Ok(Some(f64::INFINITY)),
                "-Infinity" => Ok(Some(f64::NEG_INFINITY)),
                other => other.parse().map(Some).map_err(|_| self.mismatch(at, "real")),
            },
            _ => Err(self.mismatch(at, "real")),
        }
    }

    /// A truth value, which v1 may send as 0 or 1, and a view that formats it as text.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn bool(&self, at: ColumnIndex) -> Result<Option<bool>, Error> {
        match self.cell(at).0 {
            Value::Null => Ok(None),
            Value::Bool(value) => Ok(Some(*value)),
            Value::Number(number) => match number.as_i64() {
                Some(0) => Ok(Some(false)),
                Some(1) => Ok(Some(true)),
                _ => Err(self.mismatch(at, "bool")),
            },
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "" if self.cell(at).1 == Some(Type::String) => Ok(None),
                "true" | "1" => Ok(Some(true)),
                "false" | "0" => Ok(Some(false)),
                _ => Err(self.mismatch(at, "bool")),
            },
            _ => Err(self.mismatch(at, "bool")),
        }
    }

    /// An instant; without a zone it is UTC, and `yyyy-MM-dd HH:mm:ss.fffffff` is one, as views format it. The empty
    /// text is null in a column of type `string`.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn datetime(&self, at: ColumnIndex) -> Result<Option<Timestamp>, Error> {
        let (Value::String(text), ty) = self.cell(at) else {
            return if self.cell(at).0.is_null() { Ok(None) } else { Err(self.mismatch(at, "datetime")) };
        };
        if ty == Some(Type::String) && text.is_empty() {
            return Ok(None);
        }
        let joined = text.trim().replacen(' ', "T", 1);
        let parsed = joined.parse().or_else(|_| format!("{joined}Z").parse());
        parsed.map(Some).map_err(|_| self.mismatch(at, "datetime"))
    }

    /// A time span in ticks of 100 ns: `[-][d.]hh:mm:ss[.fffffff]`, or a number of ticks.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn timespan(&self, at: ColumnIndex) -> Result<Option<i64>, Error> {
        match self.cell(at).0 {
            Value::Null => Ok(None),
            Value::Number(ticks) => ticks.as_i64().map(Some).ok_or_else(|| self.mismatch(at, "timespan")),
            Value::String(text) => timespan_ticks(text).map(Some).ok_or_else(|| self.mismatch(at, "timespan")),
            _ => Err(self.mismatch(at, "timespan")),
        }
    }

    /// A guid.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn guid(&self, at: ColumnIndex) -> Result<Option<uuid::Uuid>, Error> {
        match self.text(at)? {
            "" => Ok(None),
            text => uuid::Uuid::parse_str(text).map(Some).map_err(|_| self.mismatch(at, "guid")),
        }
    }

    /// A dynamic value, which is sent as itself or as text that holds JSON; both occur in one column.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn dynamic(&self, at: ColumnIndex) -> Result<Option<Cow<'a, Value>>, Error> {
        Ok(match self.cell(at).0 {
            Value::Null => None,
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => match serde_json::from_str(text) {
                Ok(Value::Null) => None,
                Ok(value) => Some(Cow::Owned(value)),
                // A plain string inside dynamic.
                Err(_) => Some(Cow::Owned(Value::String(text.clone()))),
            },
            value => Some(Cow::Borrowed(value)),
        })
    }
}

/// The ticks of `[-][d.]hh:mm:ss[.fffffff]`.
pub fn timespan_ticks(text: &str) -> Option<i64> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let mut parts = text.split(':');
    let (head, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let number = |digits: &str| {
        (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse::<i64>().ok()).flatten()
    };
    let (days, hours) = head.split_once('.').map_or((Some(0), head), |(days, hours)| (number(days), hours));
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    if fraction.len() > 7 {
        return None;
    }
    let whole_seconds = days?
        .checked_mul(24)?
        .checked_add(number(hours)?)?
        .checked_mul(60)?
        .checked_add(number(minutes)?)?
        .checked_mul(60)?
        .checked_add(number(whole)?)?;
    let ticks = number(&format!("{fraction:0<7}"))?;
    whole_seconds.checked_mul(10_000_000)?.checked_add(ticks)?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(ty: &str, cell: Value) -> Table {
        let column = Column { name: "c".to_owned(), ty: Type::parse(ty) };
        Table { columns: vec![column], rows: vec![vec![cell]], from_cache: false }
    }

    macro_rules! reads {
        ($method:ident, $ty:expr, $cell:expr) => {{
            let table = one($ty, $cell);
            let at = table.column("c").unwrap();
            let row = table.rows().next().unwrap();
            row.$method(at).map(|value| format!("{value:?}")).map_err(|error| error.to_string())
        }};
    }

    #[test]
    fn every_cell_encoding_is_read() {
        assert_eq!(reads!(bool, "bool", json!(true)).unwrap(), "Some(true)");
        assert_eq!(reads!(bool, "SByte", json!(1)).unwrap(), "Some(true)");
        assert_eq!(reads!(bool, "boolean", json!(0)).unwrap(), "Some(false)");
        assert!(reads!(bool, "bool", json!(2)).is_err());
        for (written, read) in
            [("true", "Some(true)"), ("False", "Some(false)"), ("1", "Some(true)"), (" 0", "Some(false)")]
        {
            assert_eq!(reads!(bool, "string", json!(written)).unwrap(), read, "{written}");
        }
        assert_eq!(reads!(bool, "string", json!("")).unwrap(), "None");
        assert!(reads!(bool, "bool", json!("")).is_err());
        assert!(reads!(bool, "string", json!("perhaps")).is_err());
        assert_eq!(reads!(long, "int", json!(-3)).unwrap(), "Some(-3)");
        assert_eq!(reads!(long, "long", json!(i64::MAX)).unwrap(), "Some(9223372036854775807)");
        assert_eq!(reads!(long, "long", json!(i64::MIN)).unwrap(), "Some(-9223372036854775808)");
        assert!(reads!(long, "long", json!(u64::MAX)).is_err());
        assert!(reads!(long, "long", json!(1.5)).is_err());
        assert_eq!(reads!(long, "long", json!("-9223372036854775808")).unwrap(), "Some(-9223372036854775808)");
        for wrong in ["", "1.5", "one", "9223372036854775808"] {
            assert!(reads!(long, "long", json!(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(reads!(real, "real", json!(1.5)).unwrap(), "Some(1.5)");
        assert_eq!(reads!(real, "double", json!("NaN")).unwrap(), "Some(NaN)");
        assert_eq!(reads!(real, "float", json!("-Infinity")).unwrap(), "Some(-inf)");
        assert_eq!(reads!(real, "real", json!("Infinity")).unwrap(), "Some(inf)");
        assert_eq!(reads!(real, "real", json!("2.25")).unwrap(), "Some(2.25)");
        assert_eq!(reads!(text, "decimal", json!("2.00000000000001")).unwrap(), "\"2.00000000000001\"");
        assert_eq!(reads!(text, "string", json!(null)).unwrap(), "\"\"");
        assert!(reads!(text, "string", json!(1)).is_err());
        assert_eq!(
            reads!(datetime, "datetime", json!("2015-01-01T01:01:01.0000001Z")).unwrap(),
            "Some(2015-01-01T01:01:01.0000001Z)"
        );
        for (written, read) in [
            ("2026-01-31 08:00:00", "Some(2026-01-31T08:00:00.0000000Z)"),
            ("2026-01-31T08:00:00", "Some(2026-01-31T08:00:00.0000000Z)"),
            ("2026-01-31 08:00:00.5Z", "Some(2026-01-31T08:00:00.5000000Z)"),
            ("2026-01-31 08:00:00+01:00", "Some(2026-01-31T07:00:00.0000000Z)"),
        ] {
            assert_eq!(reads!(datetime, "datetime", json!(written)).unwrap(), read, "{written}");
        }
        assert!(reads!(datetime, "datetime", json!("yesterday")).is_err());
        assert!(reads!(datetime, "datetime", json!("")).is_err());
        assert_eq!(reads!(timespan, "timespan", json!("1.00:00:01.0010001")).unwrap(), "Some(864010010001)");
        assert_eq!(reads!(timespan, "time", json!("-2.00:00:02.0020002")).unwrap(), "Some(-1728020020002)");
        assert_eq!(reads!(timespan, "timespan", json!("00:00:00")).unwrap(), "Some(0)");
        assert_eq!(reads!(timespan, "timespan", json!(12)).unwrap(), "Some(12)");
        assert!(reads!(timespan, "timespan", json!("1:2")).is_err());
        assert!(reads!(timespan, "timespan", json!("--1:00:00")).is_err());
        let guid = "74be27de-1e4e-49d9-b579-fe0b331d3642";
        assert_eq!(reads!(guid, "uniqueid", json!(guid)).unwrap(), format!("Some({guid})"));
        assert_eq!(reads!(dynamic, "dynamic", json!({"a": 1})).unwrap(), format!("Some({:?})", json!({"a": 1})));
        assert_eq!(reads!(dynamic, "object", json!("{\"a\":1}")).unwrap(), format!("Some({:?})", json!({"a": 1})));
        assert_eq!(reads!(dynamic, "dynamic", json!("plain")).unwrap(), format!("Some({:?})", json!("plain")));
        assert_eq!(reads!(dynamic, "dynamic", json!("")).unwrap(), "None");
        for method in ["bool", "long", "real", "datetime", "timespan", "guid", "dynamic"] {
            let read = match method {
                "bool" => reads!(bool, "bool", json!(null)),
                "long" => reads!(long, "long", json!(null)),
                "real" => reads!(real, "real", json!(null)),
                "datetime" => reads!(datetime, "datetime", json!(null)),
                "timespan" => reads!(timespan, "timespan", json!(null)),
                "guid" => reads!(guid, "guid", json!(null)),
                _ => reads!(dynamic, "dynamic", json!(null)),
            };
            assert_eq!(read.unwrap(), "None", "{method}");
        }
    }

    #[test]
    fn every_name_of_a_type_is_known() {
        // Kusto's name, its aliases, and the .NET names of answers that say no other.
        for (ty, names) in [
            (Type::Bool, &["bool", "boolean", "SByte", "System.SByte", "System.Boolean"][..]),
            (Type::Int, &["int", "Int32", "System.Int32"]),
            (Type::Long, &["long", "Int64", "System.Int64"]),
            (Type::Real, &["real", "double", "float", "Double", "System.Double", "System.Single"]),
            (Type::Decimal, &["decimal", "SqlDecimal", "System.Data.SqlTypes.SqlDecimal"]),
            (Type::String, &["string", "String", "System.String"]),
            (Type::Datetime, &["datetime", "date", "DateTime", "System.DateTime"]),
            (Type::Timespan, &["timespan", "time", "TimeSpan", "System.TimeSpan"]),
            (Type::Guid, &["guid", "uuid", "uniqueid", "System.Guid"]),
            (Type::Dynamic, &["dynamic", "Object", "System.Object"]),
        ] {
            for name in names {
                assert_eq!(Type::parse(name), Some(ty), "{name}");
            }
            assert_eq!(Type::parse(ty.word()), Some(ty));
        }
        assert_eq!(Type::parse("blob"), None);
    }

    #[test]
    fn a_datetime_that_a_view_has_formatted_is_read() {
        let read = reads!(datetime, "string", json!("2025-09-01 10:20:30.1234567")).unwrap();
        assert_eq!(read, "Some(2025-09-01T10:20:30.1234567Z)");
        assert_eq!(reads!(datetime, "string", json!("")).unwrap(), "None");
    }

    #[test]
    fn a_missing_column_is_named() {
        assert!(one("int", json!(1)).column("Rows").unwrap_err().to_string().contains("`Rows`"));
    }
}
