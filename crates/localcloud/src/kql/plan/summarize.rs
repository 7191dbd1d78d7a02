//! `summarize`: groups in the order in which they are first met.

use super::operators::free_name;
use super::stream::{Stream, StreamColumn, deferred};
use crate::kql::aggregate::{Aggregate, State};
use crate::kql::ast::Named;
use crate::kql::compile::{Context, Scope, result_name};
use crate::kql::cx::Cx;
use crate::kql::error::Error;
use crate::kql::value::Cell;
use crate::kql::{Type, Value};
use std::collections::HashMap;

impl Context {
    pub(super) fn summarize(&self, mut stream: Stream, items: &[Named], by: &[Named]) -> Result<Stream, Error> {
        let mut columns: Vec<StreamColumn> = Vec::new();
        let mut keys = Vec::new();
        let mut unnamed = 0;
        let mut add = |name: Option<String>, ty: Type, cx: Cx, depth: usize| {
            let taken = |columns: &[StreamColumn], name: &str| columns.iter().any(|column| column.name == name);
            let name = match name {
                Some(name) => free_name(name, |name| taken(&columns, name)),
                None => {
                    unnamed += 1;
                    free_name(format!("Column{unnamed}"), |name| taken(&columns, name))
                }
            };
            columns.push(StreamColumn { name, ty, cx, depth });
        };
        let mut by_names = Vec::new();
        for item in by {
            let typed = self.scalar(&item.expr, &mut Scope::rows(&mut stream))?;
            let name = own_name(item).or_else(|| result_name(&item.expr));
            by_names.extend(item.expr.as_name().map(|name| name.to_string()));
            add(name, typed.ty, Cx::Column(keys.len()), 1);
            keys.push(stream.keep(typed.cx));
        }
        let mut aggregates: Vec<Aggregate> = Vec::new();
        let mut computed = Vec::new();
        for item in items {
            if let Some((aggregate, given)) = self.wide_aggregate(&item.expr, &mut stream, &by_names)? {
                let first = keys.len() + aggregates.iter().map(Aggregate::width).sum::<usize>();
                let mut own = own_name(item);
                for (index, (name, ty)) in given.into_iter().enumerate() {
                    add(Some(own.take().unwrap_or(name)), ty, Cx::Column(first + index), 1);
                }
                aggregates.push(aggregate);
                continue;
            }
            let before = aggregates.len();
            let mut scope = Scope::rows(&mut stream);
            scope.keys = keys.len();
            scope.aggregates = Some(&mut aggregates);
            let typed = self.scalar(&item.expr, &mut scope)?;
            if aggregates.len() == before && typed.cx.constant().is_none() {
                return Err(self.error(item.expr.at, "The expression is not an aggregation"));
            }
            let cx = match typed.cx {
                cx @ (Cx::Column(_) | Cx::Const(_)) => cx,
                other => {
                    computed.push(other);
                    Cx::Slot(computed.len() - 1)
                }
            };
            add(own_name(item).or_else(|| result_name(&item.expr)), typed.ty, cx, typed.depth);
        }
        let stages = stream.stages;
        let rows = deferred(move || group(stream, &keys, &aggregates));
        let mut grouped = Stream::rows(Vec::new(), rows, false, stages);
        grouped.columns = columns;
        grouped.slots = computed;
        Ok(grouped)
    }
}

fn own_name(item: &Named) -> Option<String> {
    item.name.as_ref().map(|name| name.text.to_string())
}

fn group(stream: Stream, keys: &[Cx], aggregates: &[Aggregate]) -> Result<Vec<Vec<Value>>, Error> {
    let mut index: HashMap<Vec<Cell>, usize> = HashMap::new();
    let mut groups: Vec<Vec<State>> = Vec::new();
    let start = || aggregates.iter().map(Aggregate::start).collect::<Vec<_>>();
    if keys.is_empty() {
        index.insert(Vec::new(), 0);
        groups.push(start());
    }
    let mut runner = stream.start()?;
    let mut key: Vec<Cell> = Vec::with_capacity(keys.len());
    // Rows of one group often follow each other: a bin of the arrival, for one.
    let mut last: Option<(Vec<Cell>, usize)> = None;
    while runner.advance()? {
        key.clear();
        key.extend(keys.iter().map(|cx| Cell(runner.eval(cx))));
        let number = match &last {
            Some((same, number)) if *same == key => *number,
            _ => {
                let number = match index.get(&key) {
                    Some(number) => *number,
                    None => {
                        index.insert(key.clone(), groups.len());
                        groups.push(start());
                        groups.len() - 1
                    }
                };
                last = Some((key.clone(), number));
                number
            }
        };
        for (aggregate, state) in aggregates.iter().zip(&mut groups[number]) {
            aggregate.add(state, &runner.frame, &runner.slots);
        }
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new(); groups.len()];
    for (key, number) in index {
        rows[number].extend(key.into_iter().map(|cell| cell.0));
    }
    for (row, states) in rows.iter_mut().zip(groups) {
        for (aggregate, state) in aggregates.iter().zip(states) {
            aggregate.finish(state, row);
        }
    }
    Ok(rows)
}
