//! The aggregation functions: what is kept per group, how a row changes it and what comes out. Nulls count
//! for nothing except in `count()` (dataexplorer-docs `query/summarize-operator.md`).

use super::cx::{Cx, Frame};
use super::value::{Cell, order};
use super::{Type, Value, json};
use serde_json::Value as Json;
use std::cmp::Ordering;
use std::collections::HashSet;

/// What `make_list` and `make_set` hold when no limit is given.
const DEFAULT_LIST_LIMIT: usize = 1_048_576;

/// One aggregation of a `summarize`.
pub(super) struct Aggregate {
    pub kind: Kind,
    pub arguments: Vec<Cx>,
    /// Only rows that pass are looked at.
    pub when: Option<Cx>,
}

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Count,
    Sum(Type),
    Average(Type),
    Extreme(Ordering),
    DistinctCount,
    Set(usize),
    List(usize),
    /// Some row's values, rather one that is not empty.
    Any,
    /// The values of the row whose first one is the last in this order; it is among them.
    ArgExtreme(Ordering),
}

/// An aggregation function by name: its kind for the type of its argument, and what it gives.
pub(super) struct Found {
    pub kind: Kind,
    pub gives: Type,
    /// What a column is called after: `sum` gives `sum_X`; empty gives `X`.
    pub prefix: &'static str,
    /// Whether the last argument is a condition.
    pub conditional: bool,
    /// How many arguments besides the condition there may be.
    pub takes: std::ops::RangeInclusive<usize>,
}

/// The function of that name. `argument` is the type of its first argument; `Err` names the types it takes.
pub(super) fn find(name: &str, argument: Option<Type>, limit: Option<usize>) -> Option<Result<Found, &'static str>> {
    let ty = argument.unwrap_or(Type::Dynamic);
    let (base, conditional) = match name {
        "countif" => ("countif", true),
        "sumif" => ("sum", true),
        "minif" => ("min", true),
        "maxif" => ("max", true),
        "avgif" => ("avg", true),
        "dcountif" => ("dcount", true),
        "count_distinctif" => ("count_distinct", true),
        "make_set_if" => ("make_set", true),
        "make_list_if" => ("make_list", true),
        "take_anyif" => ("take_any", true),
        other => (other, false),
    };
    let limit = limit.unwrap_or(DEFAULT_LIST_LIMIT);
    let (kind, gives, prefix, takes) = match base {
        "count" => (Kind::Count, Type::Long, "count", 0..=0),
        "countif" => (Kind::Count, Type::Long, "countif", 0..=0),
        "sum" => match ty {
            Type::Int | Type::Long => (Kind::Sum(Type::Long), Type::Long, "sum", 1..=1),
            Type::Timespan => (Kind::Sum(ty), ty, "sum", 1..=1),
            Type::Real | Type::Decimal | Type::Dynamic => (Kind::Sum(Type::Real), Type::Real, "sum", 1..=1),
            _ => return Some(Err("a number or a timespan")),
        },
        "avg" => match ty {
            Type::Timespan | Type::Datetime => (Kind::Average(ty), ty, "avg", 1..=1),
            Type::Int | Type::Long | Type::Real | Type::Decimal | Type::Dynamic => {
                (Kind::Average(Type::Real), Type::Real, "avg", 1..=1)
            }
            _ => return Some(Err("a number, a timespan or a datetime")),
        },
        "min" => (Kind::Extreme(Ordering::Less), ty, "min", 1..=1),
        "max" => (Kind::Extreme(Ordering::Greater), ty, "max", 1..=1),
        // The accuracy that the second argument asks for is exceeded: counts are exact.
        "dcount" => (Kind::DistinctCount, Type::Long, "dcount", 1..=2),
        "count_distinct" => (Kind::DistinctCount, Type::Long, "count_distinct", 1..=1),
        "make_set" | "makeset" => (Kind::Set(limit), Type::Dynamic, "set", 1..=2),
        "make_list" | "makelist" => (Kind::List(limit), Type::Dynamic, "list", 1..=2),
        "any" => (Kind::Any, ty, "any", 1..=1),
        "take_any" => (Kind::Any, ty, "", 1..=1),
        _ => return None,
    };
    let prefix = if conditional { conditional_prefix(name, prefix) } else { prefix };
    Some(Ok(Found { kind, gives, prefix, conditional, takes }))
}

fn conditional_prefix(name: &str, plain: &'static str) -> &'static str {
    match name {
        "sumif" => "sumif",
        "minif" => "minif",
        "maxif" => "maxif",
        "avgif" => "avgif",
        "dcountif" => "dcountif",
        "count_distinctif" => "count_distinctif",
        _ => plain,
    }
}

/// Whether a function of that name aggregates, those with several results included.
pub(super) fn is_aggregate(name: &str) -> bool {
    matches!(name, "arg_max" | "arg_min" | "argmax" | "argmin") || find(name, None, None).is_some()
}

/// What is kept for one group.
pub(super) enum State {
    Whole(i64, bool),
    Real(f64, i64),
    Value(Value),
    Set(HashSet<Cell>),
    Ordered(HashSet<Cell>, Vec<Json>),
    List(Vec<Json>),
    Row(Option<Vec<Value>>),
}

impl Aggregate {
    /// The state before any row.
    pub fn start(&self) -> State {
        match self.kind {
            Kind::Count | Kind::Sum(Type::Long | Type::Timespan) => State::Whole(0, false),
            Kind::Sum(_) | Kind::Average(_) => State::Real(0.0, 0),
            Kind::Extreme(_) => State::Value(Value::Null),
            Kind::DistinctCount => State::Set(HashSet::new()),
            Kind::Set(_) => State::Ordered(HashSet::new(), Vec::new()),
            Kind::List(_) => State::List(Vec::new()),
            Kind::Any | Kind::ArgExtreme(_) => State::Row(None),
        }
    }

    /// Takes in a row.
    pub fn add(&self, state: &mut State, frame: &Frame, slots: &[Cx]) {
        if self.when.as_ref().is_some_and(|when| !when.holds(frame, slots)) {
            return;
        }
        if let (Kind::Count, State::Whole(count, _)) = (self.kind, &mut *state) {
            *count += 1;
            return;
        }
        let value = self.arguments[0].eval(frame, slots);
        match (state, self.kind) {
            (State::Row(best), kind) => self.add_row(best, kind, value, frame, slots),
            (_, _) if value == Value::Null => {}
            (State::Whole(sum, overflowed), _) => match sum.checked_add(value.as_i64().unwrap_or(0)) {
                Some(total) => *sum = total,
                None => *overflowed = true,
            },
            (State::Real(sum, count), _) => {
                if let Some(number) = value.as_f64().or_else(|| value.as_i64().map(|ticks| ticks as f64)) {
                    *sum += number;
                    *count += 1;
                }
            }
            (State::Value(best), Kind::Extreme(wanted)) if *best == Value::Null || order(&value, best) == wanted => {
                *best = value;
            }
            (State::Set(seen), _) => _ = seen.insert(Cell(value)),
            (State::Ordered(seen, items), Kind::Set(limit)) => {
                // Elements of arrays are elements of the set.
                let elements: Vec<Value> = match &value {
                    Value::Dynamic(json) => match json.as_array() {
                        Some(inner) => inner.iter().map(|item| Value::dynamic(item.clone())).collect(),
                        None => vec![value],
                    },
                    _ => vec![value],
                };
                for element in elements {
                    if items.len() < limit && seen.insert(Cell(element.clone())) {
                        items.push(json::to_serde(&element));
                    }
                }
            }
            (State::List(items), Kind::List(limit)) if items.len() < limit => items.push(json::to_serde(&value)),
            _ => {}
        }
    }

    fn add_row(&self, best: &mut Option<Vec<Value>>, kind: Kind, first: Value, frame: &Frame, slots: &[Cx]) {
        let better = match (&*best, kind) {
            (None, _) => true,
            (Some(row), Kind::ArgExtreme(wanted)) => {
                first != Value::Null && (row[0] == Value::Null || order(&first, &row[0]) == wanted)
            }
            // One value may come from any row; several must come from the same.
            (Some(row), _) => row.len() == 1 && row[0].is_empty() && !first.is_empty(),
        };
        if better {
            let rest = self.arguments[1..].iter().map(|argument| argument.eval(frame, slots));
            *best = Some(std::iter::once(first).chain(rest).collect());
        }
    }

    /// Appends the results of a group.
    pub fn finish(&self, state: State, out: &mut Vec<Value>) {
        out.push(match (state, self.kind) {
            (State::Whole(_, true), _) => Value::Null,
            (State::Whole(total, _), Kind::Sum(Type::Timespan)) => Value::Timespan(total),
            (State::Whole(total, _), _) => Value::Long(total),
            (State::Real(sum, _), Kind::Sum(_)) => Value::Real(sum),
            (State::Real(_, 0), _) => Value::Null,
            (State::Real(sum, count), Kind::Average(ty)) => match ty {
                Type::Timespan => Value::Timespan((sum / count as f64).round() as i64),
                Type::Datetime => Value::Datetime((sum / count as f64).round() as i64),
                _ => Value::Real(sum / count as f64),
            },
            (State::Real(sum, _), _) => Value::Real(sum),
            (State::Value(value), _) => value,
            (State::Set(seen), _) => Value::Long(seen.len() as i64),
            (State::Ordered(_, items) | State::List(items), _) => Value::dynamic(items.into()),
            (State::Row(Some(row)), _) => return out.extend(row),
            (State::Row(None), _) => return out.extend(self.arguments.iter().map(|_| Value::Null)),
        });
    }
}
