//! Arithmetic, rounding and bins. Whole numbers wrap nowhere: what does not fit is null.

use super::Gives::{First, Widest};
use super::Naming;
use super::Signature;
use super::Takes::{Any, Number, Whole};
use crate::kql::ast::BinaryOp;
use crate::kql::time::checked;
use crate::kql::value::order;
use crate::kql::{Type, Value};
use std::cmp::Ordering;

/// The code of an operation.
type Code = fn(&[Value]) -> Value;

pub(super) const TABLE: &[Signature] = &[
    Signature::new("abs", &[Any], Type::Long, |values| match &values[0] {
        Value::Int(value) => value.checked_abs().map_or(Value::Null, Value::Int),
        Value::Long(value) => value.checked_abs().map_or(Value::Null, Value::Long),
        Value::Timespan(value) => value.checked_abs().map_or(Value::Null, Value::Timespan),
        other => other.as_f64().map_or(Value::Null, |value| Value::Real(value.abs())),
    })
    .gives(First)
    .named(Naming::First),
    Signature::new("ceiling", &[Number], Type::Real, |values| real(&values[0], f64::ceil)).named(Naming::First),
    Signature::new("sqrt", &[Number], Type::Real, |values| real(&values[0], f64::sqrt)).named(Naming::First),
    Signature::new("exp", &[Number], Type::Real, |values| real(&values[0], f64::exp)).named(Naming::First),
    Signature::new("log", &[Number], Type::Real, |values| real(&values[0], f64::ln)).named(Naming::First),
    Signature::new("log10", &[Number], Type::Real, |values| real(&values[0], f64::log10)).named(Naming::First),
    Signature::new("log2", &[Number], Type::Real, |values| real(&values[0], f64::log2)).named(Naming::First),
    Signature::new("pow", &[Number, Number], Type::Real, |values| match (values[0].as_f64(), values[1].as_f64()) {
        (Some(base), Some(exponent)) => Value::Real(base.powf(exponent)),
        _ => Value::Null,
    })
    .named(Naming::First),
    Signature::new("round", &[Number, Whole], Type::Real, round).least(1).named(Naming::First),
    Signature::new("sign", &[Number], Type::Long, |values| match values[0].as_f64() {
        Some(value) if value > 0.0 => Value::Long(1),
        Some(value) if value < 0.0 => Value::Long(-1),
        Some(_) => Value::Long(0),
        None => Value::Null,
    }),
    Signature::new("isnan", &[Number], Type::Bool, |values| Value::Bool(values[0].as_f64().is_some_and(f64::is_nan))),
    Signature::new("isfinite", &[Number], Type::Bool, |v| Value::Bool(v[0].as_f64().is_some_and(f64::is_finite))),
    Signature::new("isinf", &[Number], Type::Bool, |v| Value::Bool(v[0].as_f64().is_some_and(f64::is_infinite))),
    Signature::new("min_of", &[Any], Type::Long, |values| extreme(values, Ordering::Less)).open(1).gives(Widest),
    Signature::new("max_of", &[Any], Type::Long, |values| extreme(values, Ordering::Greater)).open(1).gives(Widest),
];

fn real(value: &Value, function: fn(f64) -> f64) -> Value {
    value.as_f64().map_or(Value::Null, |number| Value::Real(function(number)))
}

fn round(values: &[Value]) -> Value {
    let digits = values.get(1).map_or(Some(0), Value::as_i64);
    match (values[0].as_f64(), digits) {
        (Some(number), Some(digits)) => {
            let scale = 10f64.powi(digits.clamp(-300, 300) as i32);
            let scaled = number * scale;
            // Halves go to the even neighbour, as .NET rounds.
            Value::Real(if scaled.is_finite() { scaled.round_ties_even() / scale } else { number })
        }
        _ => Value::Null,
    }
}

/// The first or last value in order; values go before null.
fn extreme(values: &[Value], wanted: Ordering) -> Value {
    let values = values.iter().filter(|value| **value != Value::Null);
    values.reduce(|best, value| if order(value, best) == wanted { value } else { best }).cloned().unwrap_or(Value::Null)
}

/// What arithmetic on these types gives; `None` where it is not defined.
pub(in crate::kql) fn arithmetic(op: BinaryOp, a: Type, b: Type) -> Option<(Type, Code)> {
    use BinaryOp::{Add, Divide, Modulo, Multiply, Subtract};
    use Type::{Datetime, Dynamic, Real, Timespan};
    let (a, b) = match (a, b) {
        // A dynamic operand counts as what stands on the other side.
        (Dynamic, Dynamic) => (Real, Real),
        (Dynamic, other) => (other, other),
        (other, Dynamic) => (other, other),
        both => both,
    };
    Some(match (op, a, b) {
        (_, a, b) if a.is_whole() && b.is_whole() => match op {
            Add => (Type::Long, |v| whole(v, i64::checked_add)),
            Subtract => (Type::Long, |v| whole(v, i64::checked_sub)),
            Multiply => (Type::Long, |v| whole(v, i64::checked_mul)),
            Divide => (Type::Long, |v| whole(v, i64::checked_div)),
            Modulo => (Type::Long, |v| whole(v, i64::checked_rem_euclid)),
            _ => return None,
        },
        (_, a, b) if a.is_number() && b.is_number() => match op {
            Add => (Real, |v| reals(v, |a, b| a + b)),
            Subtract => (Real, |v| reals(v, |a, b| a - b)),
            Multiply => (Real, |v| reals(v, |a, b| a * b)),
            Divide => (Real, |v| reals(v, |a, b| a / b)),
            Modulo => (Real, |v| reals(v, f64::rem_euclid)),
            _ => return None,
        },
        (Add, Timespan, Timespan) => (Timespan, |v| span(whole(v, i64::checked_add))),
        (Subtract, Timespan, Timespan) | (Subtract, Datetime, Datetime) => {
            (Timespan, |v| span(whole(v, i64::checked_sub)))
        }
        (Add, Datetime, Timespan) | (Add, Timespan, Datetime) => (Datetime, |v| moment(whole(v, i64::checked_add))),
        (Subtract, Datetime, Timespan) => (Datetime, |v| moment(whole(v, i64::checked_sub))),
        (Multiply, Timespan, b) if b.is_number() => (Timespan, scaled),
        (Multiply, a, Timespan) if a.is_number() => (Timespan, |v| scaled(&[v[1].clone(), v[0].clone()])),
        (Divide, Timespan, Timespan) => (Real, |v| match (v[0].as_i64(), v[1].as_i64()) {
            (Some(a), Some(b)) => Value::Real(a as f64 / b as f64),
            _ => Value::Null,
        }),
        (Divide, Timespan, b) if b.is_number() => (Timespan, |v| match v[1].as_f64() {
            Some(divisor) if divisor != 0.0 => scaled(&[v[0].clone(), Value::Real(1.0 / divisor)]),
            _ => Value::Null,
        }),
        (Modulo, Timespan, Timespan) | (Modulo, Datetime, Timespan) => {
            (Timespan, |v| span(whole(v, i64::checked_rem_euclid)))
        }
        _ => return None,
    })
}

fn whole(values: &[Value], operation: fn(i64, i64) -> Option<i64>) -> Value {
    match (values[0].as_i64(), values[1].as_i64()) {
        (Some(a), Some(b)) => operation(a, b).map_or(Value::Null, Value::Long),
        _ => Value::Null,
    }
}

fn reals(values: &[Value], operation: fn(f64, f64) -> f64) -> Value {
    match (values[0].as_f64(), values[1].as_f64()) {
        (Some(a), Some(b)) => Value::Real(operation(a, b)),
        _ => Value::Null,
    }
}

fn span(ticks: Value) -> Value {
    ticks.as_i64().map_or(Value::Null, Value::Timespan)
}

fn moment(ticks: Value) -> Value {
    ticks.as_i64().and_then(checked).map_or(Value::Null, Value::Datetime)
}

fn scaled(values: &[Value]) -> Value {
    match (values[0].as_i64(), &values[1]) {
        (Some(ticks), Value::Int(_) | Value::Long(_)) => {
            let factor = values[1].as_i64().unwrap_or(0);
            ticks.checked_mul(factor).map_or(Value::Null, Value::Timespan)
        }
        (Some(ticks), factor) => match factor.as_f64().map(|factor| ticks as f64 * factor) {
            Some(product) if product.abs() < 9.2e18 => Value::Timespan(product.round() as i64),
            _ => Value::Null,
        },
        _ => Value::Null,
    }
}

/// What `bin()` of these types gives; `None` where it is not defined. A size that is not positive gives
/// null (dataexplorer-docs `query/bin-function.md`).
pub(in crate::kql) fn bin(value: Type, size: Type) -> Option<(Type, Code)> {
    use Type::{Datetime, Dynamic, Int, Long, Real, Timespan};
    let value = if value == Dynamic { size } else { value };
    Some(match (value, size) {
        (Int, Int) => (Int, |v| bin_whole(v).convert(Int)),
        (Int | Long, Int | Long) => (Long, bin_whole),
        (a, b) if a.is_number() && b.is_number() => (Real, |v| match (v[0].as_f64(), v[1].as_f64()) {
            (Some(value), Some(size)) if size > 0.0 => Value::Real((value / size).floor() * size),
            _ => Value::Null,
        }),
        (Datetime, Timespan) => (Datetime, |v| moment(bin_whole(v))),
        (Timespan, Timespan) => (Timespan, |v| span(bin_whole(v))),
        _ => return None,
    })
}

fn bin_whole(values: &[Value]) -> Value {
    match (values[0].as_i64(), values[1].as_i64()) {
        (Some(value), Some(size)) if size > 0 => {
            value.checked_sub(value.rem_euclid(size)).map_or(Value::Null, Value::Long)
        }
        _ => Value::Null,
    }
}
