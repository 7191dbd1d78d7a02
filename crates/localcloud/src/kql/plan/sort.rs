//! `sort` and `top`. Rows of a table are sorted by their numbers, so that columns which are not keys are
//! read only when they are asked for.

use super::stream::{Runner, Source, Stream, deferred};
use crate::kql::ast::SortKey;
use crate::kql::compile::{Context, Scope};
use crate::kql::cx::Cx;
use crate::kql::error::Error;
use crate::kql::value::order;
use crate::kql::{Type, Value};
use std::cmp::Ordering;
use std::sync::Arc;

#[derive(Clone)]
struct Key {
    cx: Cx,
    ascending: bool,
    nulls_first: bool,
}

impl Context {
    /// The rows in order, at most `limit` of them.
    pub(super) fn sort(&self, mut stream: Stream, keys: &[SortKey], limit: Option<u64>) -> Result<Stream, Error> {
        let mut compiled = Vec::new();
        for key in keys {
            let typed = self.scalar(&key.expr, &mut Scope::rows(&mut stream))?;
            if typed.ty == Type::Dynamic {
                return Err(self.error(key.expr.at, "Values of type dynamic have no order. Try adding explicit casts"));
            }
            let cx = stream.keep(typed.cx);
            compiled.push(Key { cx, ascending: key.ascending, nulls_first: key.nulls_first });
        }
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let stages = stream.stages;
        let mut sorted = match stream.seekable() {
            Some(table) => {
                let (slots, columns, arrival) = (stream.slots.clone(), stream.columns.clone(), stream.arrival.clone());
                let pick = move || {
                    let rows = collect(stream, &compiled, |runner| runner.frame.row().unwrap_or(0))?;
                    Ok(in_order(rows, &compiled, limit))
                };
                let mut picked = Stream::scan(Arc::clone(&table), None);
                picked.source = Source::Picked(table, Box::new(pick));
                picked.slots = slots;
                picked.columns = columns;
                picked.arrival = arrival;
                picked.stages = stages + 1;
                picked
            }
            None => {
                let columns = stream.schema();
                let mut wanted: Vec<Cx> = stream.columns.iter().map(|column| column.cx.clone()).collect();
                wanted.push(stream.arrival.clone());
                let rows = deferred(move || {
                    let row = |runner: &Runner| wanted.iter().map(|cx| runner.eval(cx)).collect();
                    Ok(in_order(collect(stream, &compiled, row)?, &compiled, limit))
                });
                Stream::rows(columns, rows, true, stages)
            }
        };
        sorted.serialized = true;
        Ok(sorted)
    }
}

fn collect<T>(stream: Stream, keys: &[Key], row: impl Fn(&Runner) -> T) -> Result<Vec<(Vec<Value>, T)>, Error> {
    let mut rows = Vec::new();
    let mut runner = stream.start()?;
    while runner.advance()? {
        let values = keys.iter().map(|key| runner.eval(&key.cx)).collect();
        rows.push((values, row(&runner)));
    }
    Ok(rows)
}

fn in_order<T>(mut rows: Vec<(Vec<Value>, T)>, keys: &[Key], limit: usize) -> Vec<T> {
    rows.sort_by(|(a, _), (b, _)| {
        let pairs = keys.iter().zip(a.iter().zip(b));
        pairs.map(|(key, (a, b))| compare(key, a, b)).find(|o| *o != Ordering::Equal).unwrap_or(Ordering::Equal)
    });
    rows.truncate(limit);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Null and NaN go together to the end that the key names, null outermost
/// (dataexplorer-docs `query/sort-operator.md`).
fn compare(key: &Key, a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Real(number) if number.is_nan() => 1,
        _ => 2,
    };
    let ends = rank(a).cmp(&rank(b));
    if ends != Ordering::Equal {
        return if key.nulls_first { ends } else { ends.reverse() };
    }
    if key.ascending { order(a, b) } else { order(b, a) }
}
