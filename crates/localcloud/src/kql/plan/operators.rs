//! The operators that work row by row.

use super::stream::{Step, Stream, StreamColumn, deferred};
use super::{of_rows, sources};
use crate::kql::ast::{MvExpand, Name, Named, Operator, OperatorKind};
use crate::kql::compile::{Context, Scope, Typed, check_bool, result_name};
use crate::kql::cx::Cx;
use crate::kql::error::Error;
use crate::kql::value::Cell;
use crate::kql::{Column, MemoryTable, Rows, Type, Value, json};
use serde_json::Value as Json;
use std::collections::{HashSet, VecDeque};

impl Context {
    pub(super) fn operator(&self, mut stream: Stream, operator: &Operator) -> Result<Stream, Error> {
        match &operator.kind {
            OperatorKind::Where(condition) => {
                let typed = self.scalar(condition, &mut Scope::rows(&mut stream))?;
                check_bool(self, condition.at, typed.ty)?;
                stream.filter(typed.cx);
                Ok(stream)
            }
            OperatorKind::Extend(items) | OperatorKind::Serialize(items) => {
                stream.serialized |= matches!(operator.kind, OperatorKind::Serialize(_));
                self.extend(stream, items)
            }
            OperatorKind::Project(items) => self.project(stream, items),
            OperatorKind::ProjectAway(patterns) => {
                self.check_patterns(&stream, patterns)?;
                stream.columns.retain(|column| !patterns.iter().any(|p| matches(&p.text, &column.name)));
                Ok(stream)
            }
            OperatorKind::ProjectKeep(patterns) => {
                self.check_patterns(&stream, patterns)?;
                stream.columns.retain(|column| patterns.iter().any(|p| matches(&p.text, &column.name)));
                Ok(stream)
            }
            OperatorKind::ProjectReorder(patterns) => {
                self.check_patterns(&stream, patterns)?;
                let rank = |name: &str| patterns.iter().position(|p| matches(&p.text, name)).unwrap_or(patterns.len());
                stream.columns.sort_by_key(|column| rank(&column.name));
                Ok(stream)
            }
            OperatorKind::ProjectRename(renames) => self.rename(stream, renames),
            OperatorKind::Take(count) => {
                stream.steps.push(Step::Take(self.count(count)?));
                Ok(stream)
            }
            OperatorKind::Count(name) => {
                let name = name.as_ref().map_or_else(|| "Count".to_owned(), |name| name.text.to_string());
                let stages = stream.stages;
                let rows = deferred(move || {
                    let mut runner = stream.start()?;
                    let mut count = 0;
                    while runner.advance()? {
                        count += 1;
                    }
                    Ok(vec![vec![Value::Long(count)]])
                });
                Ok(Stream::rows(vec![Column { name, ty: Type::Long }], rows, false, stages))
            }
            OperatorKind::Summarize { aggregates, by } => self.summarize(stream, aggregates, by),
            OperatorKind::Sort(keys) => self.sort(stream, keys, None),
            OperatorKind::Top { count, key } => {
                let count = self.count(count)?;
                self.sort(stream, std::slice::from_ref(key), Some(count))
            }
            OperatorKind::Distinct(items) => self.distinct(stream, items),
            OperatorKind::Join(join) => self.join(stream, join),
            OperatorKind::GetSchema => Ok(schema_table(&stream)),
            OperatorKind::MvExpand(expand) => self.mv_expand(stream, expand),
            OperatorKind::Union(union) => self.union(Some(stream), union),
            // Handled where the pipeline is known.
            OperatorKind::As(_) => Ok(stream),
        }
    }

    fn extend(&self, mut stream: Stream, items: &[Named]) -> Result<Stream, Error> {
        let mut added = Vec::new();
        for item in items {
            // All items see the columns as they were before the operator.
            let typed = self.scalar(&item.expr, &mut Scope::rows(&mut stream))?;
            let name = match item.name.as_ref().map(|name| name.text.to_string()).or_else(|| result_name(&item.expr)) {
                Some(name) => name,
                None => unused(&stream, &added),
            };
            let cx = stream.keep(typed.cx);
            added.push(StreamColumn { name, ty: typed.ty, cx, depth: typed.depth });
        }
        for column in added {
            match stream.columns.iter_mut().find(|old| old.name == column.name) {
                Some(old) => *old = column,
                None => stream.columns.push(column),
            }
        }
        Ok(stream)
    }

    fn project(&self, mut stream: Stream, items: &[Named]) -> Result<Stream, Error> {
        let mut columns: Vec<StreamColumn> = Vec::new();
        for item in items {
            let typed = self.scalar(&item.expr, &mut Scope::rows(&mut stream))?;
            let own = item.name.as_ref().map(|name| name.text.to_string());
            let declared = own.or_else(|| item.expr.as_name().map(|name| name.to_string()));
            if let Some(name) = &declared
                && columns.iter().any(|column| column.name == *name)
            {
                let detail = format_args!("A column with the name '{name}' is already declared");
                return Err(self.error(item.expr.at, detail));
            }
            let name = declared.or_else(|| result_name(&item.expr)).unwrap_or_else(|| unused(&stream, &columns));
            add_column(&mut columns, &mut stream, name, typed);
        }
        stream.columns = columns;
        Ok(stream)
    }

    fn check_patterns(&self, stream: &Stream, patterns: &[Name]) -> Result<(), Error> {
        match patterns.iter().find(|p| !p.text.contains('*') && stream.column(&p.text).is_none()) {
            Some(name) => Err(self.unresolved(name)),
            None => Ok(()),
        }
    }

    fn unresolved(&self, name: &Name) -> Error {
        self.error(name.at, format_args!("Failed to resolve scalar expression named '{}'", name.text))
    }

    fn rename(&self, mut stream: Stream, renames: &[(Name, Name)]) -> Result<Stream, Error> {
        let before = stream.columns.clone();
        for (new, old) in renames {
            let Some(index) = before.iter().position(|column| *column.name == *old.text) else {
                return Err(self.unresolved(old));
            };
            stream.columns[index].name = new.text.to_string();
        }
        let mut seen = HashSet::new();
        if let Some(column) = stream.columns.iter().find(|column| !seen.insert(column.name.as_str())) {
            let detail = format_args!("A column with the name '{}' is already declared", column.name);
            return Err(self.error(renames.first().map_or(0, |(new, _)| new.at), detail));
        }
        Ok(stream)
    }

    fn distinct(&self, mut stream: Stream, items: &[Named]) -> Result<Stream, Error> {
        let all = matches!(items, [Named { expr, .. }] if matches!(expr.kind, crate::kql::ast::ExprKind::Star));
        if !all {
            stream = self.project(stream, items)?;
        }
        let (columns, stages) = (stream.schema(), stream.stages);
        let mut seen: HashSet<Vec<Cell>> = HashSet::new();
        let rows = stream.into_rows(false).filter(move |row| match row {
            Ok(row) => seen.insert(row.iter().cloned().map(Cell).collect()),
            Err(_) => true,
        });
        Ok(Stream::rows(columns, Box::new(rows), false, stages))
    }

    fn mv_expand(&self, mut stream: Stream, expand: &MvExpand) -> Result<Stream, Error> {
        let limit = expand.limit.as_ref().map(|limit| self.count(limit)).transpose()?.unwrap_or(u64::MAX);
        let mut expanded = Vec::new();
        for (item, ty) in &expand.items {
            let typed = self.scalar(&item.expr, &mut Scope::rows(&mut stream))?;
            if typed.ty != Type::Dynamic {
                let detail = format_args!("Only dynamic values can be expanded; this is a {}", typed.ty.name());
                return Err(self.error(item.expr.at, detail));
            }
            let own = item.name.as_ref().map(|name| name.text.to_string());
            let Some(name) = own.or_else(|| result_name(&item.expr)) else {
                return Err(self.error(item.expr.at, "The expanded expression needs a name"));
            };
            let cx = stream.keep(typed.cx);
            let column = StreamColumn { name, ty: Type::Dynamic, cx, depth: typed.depth };
            let index = match stream.columns.iter().position(|old| old.name == column.name) {
                Some(index) => {
                    stream.columns[index] = column;
                    index
                }
                None => {
                    stream.columns.push(column);
                    stream.columns.len() - 1
                }
            };
            expanded.push((index, ty.unwrap_or(Type::Dynamic)));
        }
        let mut columns = stream.schema();
        for (index, ty) in &expanded {
            columns[*index].ty = *ty;
        }
        let stages = stream.stages;
        let numbered = expand.index.is_some();
        // The arrival stays the last value, behind the number.
        columns.extend(expand.index.iter().map(|name| Column { name: name.text.to_string(), ty: Type::Long }));
        let pairs = expand.pairs;
        let rows = stream.into_rows(true);
        let rows = expand_rows(rows, move |row| expand_row(row, &expanded, pairs, numbered, limit));
        Ok(Stream::rows(columns, rows, true, stages))
    }
}

fn expand_rows(mut rows: Rows, expand: impl Fn(Vec<Value>) -> Vec<Vec<Value>> + Send + 'static) -> Rows {
    let mut ready = VecDeque::new();
    Box::new(std::iter::from_fn(move || {
        while ready.is_empty() {
            match rows.next()? {
                Ok(row) => ready.extend(expand(row)),
                Err(error) => return Some(Err(error)),
            }
        }
        ready.pop_front().map(Ok)
    }))
}

/// The rows that one becomes: arrays and bags side by side, missing elements null.
fn expand_row(row: Vec<Value>, expanded: &[(usize, Type)], pairs: bool, numbered: bool, limit: u64) -> Vec<Vec<Value>> {
    let lists: Vec<Vec<Json>> = expanded.iter().map(|(index, _)| elements(&row[*index], pairs)).collect();
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    let count = longest.min(usize::try_from(limit).unwrap_or(usize::MAX));
    (0..count)
        .map(|number| {
            let mut made = row.clone();
            for ((index, ty), list) in expanded.iter().zip(&lists) {
                let element = list.get(number).cloned().unwrap_or(Json::Null);
                made[*index] = Value::dynamic(element).convert(*ty);
            }
            if numbered {
                made.insert(made.len() - 1, Value::Long(number as i64));
            }
            made
        })
        .collect()
}

fn elements(value: &Value, pairs: bool) -> Vec<Json> {
    match value {
        Value::Dynamic(json) => match &**json {
            Json::Array(items) => items.clone(),
            Json::Object(members) if pairs => {
                members.iter().map(|(key, value)| Json::from(vec![Json::from(key.as_str()), value.clone()])).collect()
            }
            Json::Object(members) => {
                members.iter().map(|(key, value)| Json::from_iter([(key.clone(), value.clone())])).collect()
            }
            scalar => vec![scalar.clone()],
        },
        other => vec![json::to_serde(other)],
    }
}

/// Adds a column under its name or, if that is taken, the name and a number.
pub(super) fn add_column(columns: &mut Vec<StreamColumn>, stream: &mut Stream, name: String, typed: Typed) {
    let cx = if matches!(typed.cx, Cx::Pack(_)) { typed.cx } else { stream.keep(typed.cx) };
    let name = free_name(name, |name| columns.iter().any(|column| column.name == name));
    columns.push(StreamColumn { name, ty: typed.ty, cx, depth: typed.depth });
}

/// `name`, or the first of `name1`, `name2`, … that is free.
pub(super) fn free_name(name: String, taken: impl Fn(&str) -> bool) -> String {
    if !taken(&name) {
        return name;
    }
    let mut number = 1;
    loop {
        let candidate = format!("{name}{number}");
        if !taken(&candidate) {
            return candidate;
        }
        number += 1;
    }
}

/// `Column1`, or the next that is free.
fn unused(stream: &Stream, added: &[StreamColumn]) -> String {
    let taken = |name: &str| stream.column(name).is_some() || added.iter().any(|column| column.name == name);
    let mut number = 1;
    while taken(&format!("Column{number}")) {
        number += 1;
    }
    format!("Column{number}")
}

/// Whether a name fits a pattern in which `*` stands for any characters.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// One row per column (dataexplorer-docs `query/getschema-operator.md`).
fn schema_table(stream: &Stream) -> Stream {
    let columns = sources::SCHEMA.iter().map(|(name, ty)| Column { name: (*name).to_owned(), ty: *ty }).collect();
    let rows = stream.columns.iter().enumerate().map(|(index, column)| {
        vec![
            Value::text(column.name.as_str()),
            Value::Int(i32::try_from(index).unwrap_or(i32::MAX)),
            Value::text(column.ty.dotnet_name()),
            Value::text(column.ty.name()),
        ]
    });
    let mut made = of_rows(MemoryTable::new(columns, rows.collect()));
    made.serialized = true;
    made
}
