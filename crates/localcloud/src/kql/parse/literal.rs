//! Literals: numbers, typed literals, dynamic values and `datatable`.

use super::Parser;
use crate::kql::ast::Source;
use crate::kql::error::Error;
use crate::kql::lexer::TokenKind;
use crate::kql::{Column, Type, Value, json, time};
use serde_json::Value as Json;
use uuid::Uuid;

impl Parser<'_> {
    /// A literal, with a sign before a number.
    pub(super) fn literal_value(&mut self) -> Result<(Value, Type), Error> {
        let negative = self.eat_sign("-") || {
            self.eat_sign("+");
            false
        };
        let start = self.next;
        match self.literal(negative)? {
            Some((value, ty)) if negative => match value {
                Value::Long(number) => Ok((Value::Long(number.wrapping_neg()), ty)),
                Value::Real(number) => Ok((Value::Real(-number), ty)),
                Value::Timespan(ticks) => Ok((Value::Timespan(ticks.wrapping_neg()), ty)),
                _ => {
                    self.next = start;
                    Err(self.unexpected("a number"))
                }
            },
            Some(literal) => Ok(literal),
            None => Err(self.unexpected("a literal")),
        }
    }

    /// The literal that comes next, if one does. `negated`: a minus sign stands before it, so that the
    /// lowest long is in range.
    pub(super) fn literal(&mut self, negated: bool) -> Result<Option<(Value, Type)>, Error> {
        let token = self.peek().clone();
        let text = token.text(self.text);
        let literal = match &token.kind {
            TokenKind::Long => {
                let number = match text.get(2..).filter(|_| text.starts_with("0x") || text.starts_with("0X")) {
                    Some(hex) => u64::from_str_radix(hex, 16).map(|bits| bits as i64).ok(),
                    None => text
                        .parse::<i64>()
                        .ok()
                        .or_else(|| (negated && text == "9223372036854775808").then_some(i64::MIN)),
                };
                let number = number.ok_or_else(|| Error::syntax(token.start, "The number does not fit into a long"))?;
                (Value::Long(number), Type::Long)
            }
            TokenKind::Real => {
                let number = text.parse().map_err(|_| Error::syntax(token.start, "Malformed number"))?;
                (Value::Real(number), Type::Real)
            }
            TokenKind::Timespan(ticks) => (Value::Timespan(*ticks), Type::Timespan),
            TokenKind::String(text) => (Value::text(text.as_str()), Type::String),
            TokenKind::Typed { name, text } => {
                if name == "datetime" && text.is_empty() {
                    return Ok(None);
                }
                typed(name, text).ok_or_else(|| {
                    Error::syntax(token.start, format_args!("'{text}' is not a literal of type {name}"))
                })?
            }
            TokenKind::Name if text == "true" || text == "false" => (Value::Bool(text == "true"), Type::Bool),
            TokenKind::Name if text == "dynamic" && self.peek_at(1).is_sign("(") => {
                self.next += 2;
                let json = self.json()?;
                self.expect_sign(")")?;
                return Ok(Some((Value::dynamic(json), Type::Dynamic)));
            }
            _ => return Ok(None),
        };
        self.next += 1;
        Ok(Some(literal))
    }

    /// JSON whose strings and scalars are KQL literals.
    fn json(&mut self) -> Result<Json, Error> {
        self.enter()?;
        let json = if self.eat_sign("[") {
            let mut items = Vec::new();
            while !self.eat_sign("]") {
                items.push(self.json()?);
                if !self.eat_sign(",") {
                    self.expect_sign("]")?;
                    break;
                }
            }
            Json::Array(items)
        } else if self.eat_sign("{") {
            let mut members = serde_json::Map::new();
            while !self.eat_sign("}") {
                let TokenKind::String(key) = self.peek().kind.clone() else { return Err(self.unexpected("a key")) };
                self.next += 1;
                self.expect_sign(":")?;
                members.insert(key, self.json()?);
                if !self.eat_sign(",") {
                    self.expect_sign("}")?;
                    break;
                }
            }
            Json::Object(members)
        } else if self.eat_word("null") {
            Json::Null
        } else {
            json::to_serde(&self.literal_value()?.0)
        };
        self.leave();
        Ok(json)
    }

    /// `(name:type, …) [value, …]` after `datatable`.
    pub(super) fn datatable(&mut self) -> Result<Source, Error> {
        self.expect_sign("(")?;
        let columns = self.comma_list(|parser| {
            let name = parser.name()?.text.to_string();
            parser.expect_sign(":")?;
            Ok(Column { name, ty: parser.type_name()? })
        })?;
        self.expect_sign(")")?;
        self.expect_sign("[")?;
        let mut values = Vec::new();
        while !self.peek().is_sign("]") {
            let at = self.at();
            let (value, ty) = self.literal_value()?;
            let wanted = columns[values.len() % columns.len()].ty;
            let fits =
                ty == wanted || value == Value::Null || ty.is_number() && wanted.is_number() || wanted == Type::Dynamic;
            if !(fits || ty == Type::String && wanted != Type::Bool) {
                return Err(Error::semantic(
                    at,
                    format_args!(
                        "'datatable' operator: a {} value stands where {} is declared",
                        ty.name(),
                        wanted.name()
                    ),
                ));
            }
            values.push(value.convert(wanted));
            if !self.eat_sign(",") {
                break;
            }
        }
        let end = self.at();
        self.expect_sign("]")?;
        if values.len() % columns.len() != 0 {
            let detail = "Incorrect number of data values. The values should appear in multiples of";
            return Err(Error::semantic(end, format_args!("'datatable' operator: {detail} {}", columns.len())));
        }
        let rows = values.chunks(columns.len()).map(<[Value]>::to_vec).collect();
        Ok(Source::Datatable(columns, rows))
    }
}

/// The value of `name(text)`.
fn typed(name: &str, text: &str) -> Option<(Value, Type)> {
    let ty = Type::from_name(name)?;
    if text == "null" {
        return Some((Value::null_of(ty), ty));
    }
    let whole = || match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let value = match ty {
        Type::Bool => Value::Bool(match text.to_ascii_lowercase().as_str() {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return None,
        }),
        Type::Int => Value::Int(whole()?.try_into().ok()?),
        Type::Long => Value::Long(whole()?),
        Type::Real => Value::Real(match text {
            "nan" | "NaN" => f64::NAN,
            "+inf" | "inf" => f64::INFINITY,
            "-inf" => f64::NEG_INFINITY,
            number => number.parse().ok()?,
        }),
        Type::Decimal => Value::Decimal(text.parse::<f64>().ok().map(|_| text)?.into()),
        Type::String => Value::text(text),
        Type::Datetime => Value::Datetime(time::parse_datetime(text)?),
        Type::Timespan => Value::Timespan(time::parse_timespan(text)?),
        Type::Guid => Value::Guid(Uuid::parse_str(text).ok()?),
        Type::Dynamic => return None,
    };
    Some((value, ty))
}
