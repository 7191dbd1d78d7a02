//! What values have in common: type names, order, grouping equality and conversions. Conversions that
//! fail give null, as in the service.

use super::time::{parse_datetime, parse_timespan, write_datetime, write_timespan};
use super::{Type, Value, json};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use uuid::Uuid;

impl Type {
    /// The name in KQL.
    pub fn name(self) -> &'static str {
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

    /// The type of that name or one of its older spellings.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "bool" | "boolean" => Self::Bool,
            "int" => Self::Int,
            "long" => Self::Long,
            "real" | "double" => Self::Real,
            "decimal" => Self::Decimal,
            "string" => Self::String,
            "datetime" | "date" => Self::Datetime,
            "timespan" | "time" => Self::Timespan,
            "guid" | "uuid" | "uniqueid" => Self::Guid,
            "dynamic" => Self::Dynamic,
            _ => return None,
        })
    }

    /// The .NET type that schemas give.
    pub fn dotnet_name(self) -> &'static str {
        match self {
            Self::Bool => "System.SByte",
            Self::Int => "System.Int32",
            Self::Long => "System.Int64",
            Self::Real => "System.Double",
            Self::Decimal => "System.Data.SqlTypes.SqlDecimal",
            Self::String => "System.String",
            Self::Datetime => "System.DateTime",
            Self::Timespan => "System.TimeSpan",
            Self::Guid => "System.Guid",
            Self::Dynamic => "System.Object",
        }
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Long | Self::Real | Self::Decimal)
    }

    pub(super) fn is_whole(self) -> bool {
        matches!(self, Self::Int | Self::Long)
    }
}

impl Value {
    /// A string value.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// A dynamic value; JSON null is the null value.
    pub fn dynamic(json: Json) -> Self {
        if json.is_null() { Self::Null } else { Self::Dynamic(Arc::new(json)) }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Dynamic(json) => json.as_bool(),
            _ => None,
        }
    }

    pub(super) fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(i64::from(*value)),
            Self::Long(value) => Some(*value),
            Self::Datetime(ticks) | Self::Timespan(ticks) => Some(*ticks),
            Self::Dynamic(json) => json.as_i64(),
            _ => None,
        }
    }

    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(f64::from(*value)),
            Self::Long(value) => Some(*value as f64),
            Self::Real(value) => Some(*value),
            Self::Decimal(text) => text.parse().ok(),
            Self::Dynamic(json) => json.as_f64(),
            _ => None,
        }
    }

    /// What `tostring()` gives; null gives the empty string.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Null => Cow::Borrowed(""),
            Self::String(text) | Self::Decimal(text) => Cow::Borrowed(text),
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Real(value) if !value.is_finite() => Cow::Borrowed(json::name_of(*value)),
            Self::Real(value) => Cow::Owned(real_text(*value)),
            Self::Dynamic(json) => match &**json {
                Json::String(text) => Cow::Borrowed(text),
                Json::Null => Cow::Borrowed(""),
                other => {
                    let mut out = String::new();
                    json::write_json(other, &mut out);
                    Cow::Owned(out)
                }
            },
            other => {
                let mut out = String::new();
                match other {
                    Self::Datetime(ticks) => write_datetime(*ticks, &mut out),
                    Self::Timespan(ticks) => write_timespan(*ticks, &mut out),
                    // Writing to a String does not fail.
                    Self::Guid(guid) => _ = write!(out, "{guid}"),
                    whole => json::write(whole, &mut out),
                }
                Cow::Owned(out)
            }
        }
    }

    /// Whether it is null or the empty string.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::String(text) => text.is_empty(),
            Self::Dynamic(json) => json.is_null() || json.as_str() == Some(""),
            _ => false,
        }
    }

    /// The value as another type, as the `to…()` functions convert it; null where it does not fit.
    pub fn convert(&self, ty: Type) -> Self {
        if let Self::Dynamic(json) = self {
            if ty == Type::Dynamic {
                return self.clone();
            }
            return from_json(json).map_or(Self::null_of(ty), |value| value.convert(ty));
        }
        let converted = match ty {
            Type::String => return Self::text(self.to_text()),
            Type::Dynamic => match self {
                Self::Null => None,
                other => Some(Self::dynamic(json::to_serde(other))),
            },
            Type::Bool => self.to_bool().map(Self::Bool),
            Type::Int => self.to_whole().and_then(|v| i32::try_from(v).ok()).map(Self::Int),
            Type::Long => self.to_whole().map(Self::Long),
            Type::Real => self.to_real().map(Self::Real),
            Type::Decimal => self.to_real().map(|_| Self::Decimal(self.to_text().into())),
            Type::Datetime => self.to_datetime().map(Self::Datetime),
            Type::Timespan => self.to_timespan().map(Self::Timespan),
            Type::Guid => match self {
                Self::Guid(guid) => Some(Self::Guid(*guid)),
                Self::String(text) => Uuid::parse_str(text.trim()).ok().map(Self::Guid),
                _ => None,
            },
        };
        converted.unwrap_or(Self::Null)
    }

    /// Null, which for strings is the empty one.
    pub(super) fn null_of(ty: Type) -> Self {
        if ty == Type::String { Self::text("") } else { Self::Null }
    }

    fn to_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                other => other.parse::<i64>().ok().map(|n| n != 0),
            },
            other => other.as_f64().map(|n| n != 0.0),
        }
    }

    fn to_whole(&self) -> Option<i64> {
        match self {
            Self::Bool(value) => Some(i64::from(*value)),
            Self::Real(value) => (value.is_finite() && value.abs() < 9.3e18).then_some(*value as i64),
            Self::Decimal(text) => text.parse::<f64>().ok().map(|v| v as i64),
            Self::String(text) => {
                let text = text.trim();
                match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                    Some(hex) => u64::from_str_radix(hex, 16).ok().map(|bits| bits as i64),
                    None => text.parse().ok(),
                }
            }
            other => other.as_i64(),
        }
    }

    fn to_real(&self) -> Option<f64> {
        match self {
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            Self::String(text) => text.trim().parse().ok(),
            Self::Datetime(ticks) | Self::Timespan(ticks) => Some(*ticks as f64),
            other => other.as_f64(),
        }
    }

    fn to_datetime(&self) -> Option<i64> {
        match self {
            Self::Datetime(ticks) => Some(*ticks),
            Self::Int(_) | Self::Long(_) => self.as_i64().and_then(super::time::checked),
            Self::String(text) => parse_datetime(text),
            _ => None,
        }
    }

    fn to_timespan(&self) -> Option<i64> {
        match self {
            Self::Timespan(ticks) => Some(*ticks),
            Self::Int(_) | Self::Long(_) => self.as_i64(),
            Self::String(text) => parse_timespan(text),
            _ => None,
        }
    }
}

/// The shortest text that reads back as the number; whole numbers without a point.
fn real_text(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-5..1e15).contains(&magnitude) {
        let text = format!("{number:E}");
        return match text.split_once('E') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}E+{exponent:0>2}"),
            Some((digits, exponent)) => format!("{digits}E-{:0>2}", &exponent[1..]),
            None => text,
        };
    }
    format!("{number}")
}

/// The scalar inside a dynamic value; arrays and bags stay dynamic, null is nothing.
pub(super) fn from_json(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Long(whole),
            None => Value::Real(number.as_f64()?),
        },
        Json::String(text) => Value::text(text.as_str()),
        other => Value::String(other.to_string().into()),
    })
}

/// The order of two values of one type; null, then NaN, come before all others. Numbers of different
/// types compare by amount.
pub(super) fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Datetime(a), Value::Datetime(b)) | (Value::Timespan(a), Value::Timespan(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Guid(a), Value::Guid(b)) => a.cmp(b),
        (Value::Dynamic(a), Value::Dynamic(b)) => match (from_json(a), from_json(b)) {
            (Some(a), Some(b)) => order(&a, &b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        },
        _ => match (whole(a), whole(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => real_order(a, b),
                _ => a.to_text().cmp(&b.to_text()),
            },
        },
    }
}

fn real_order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(value) => Some(i64::from(*value)),
        Value::Long(value) => Some(*value),
        _ => None,
    }
}

/// A value as a key of groups and sets: null equals null, NaN equals NaN, 1 equals 1.0.
#[derive(Debug, Clone)]
pub(super) struct Cell(pub(super) Value);

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Value::Datetime(a), Value::Datetime(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Dynamic(a), Value::Dynamic(b)) => a == b,
            (a, b) => {
                std::mem::discriminant(a) == std::mem::discriminant(b) && order(a, b) == Ordering::Equal
                    || whole(a).is_some() && whole(a) == whole(b)
            }
        }
    }
}

impl Eq for Cell {}

impl Hash for Cell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Value::Null => state.write_u8(0),
            Value::Bool(value) => value.hash(state),
            Value::Int(value) => i64::from(*value).hash(state),
            Value::Long(value) | Value::Datetime(value) | Value::Timespan(value) => value.hash(state),
            Value::Real(value) if value.is_nan() => state.write_u8(1),
            // Both zeros are one key.
            Value::Real(value) => (value + 0.0).to_bits().hash(state),
            Value::Decimal(text) | Value::String(text) => text.hash(state),
            Value::Guid(guid) => guid.hash(state),
            Value::Dynamic(json) => json.to_string().hash(state),
        }
    }
}
