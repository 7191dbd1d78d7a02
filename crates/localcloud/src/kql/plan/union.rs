//! `union`: rows of several tables one after the other.

use super::operators::{free_name, matches};
use super::stream::Stream;
use crate::kql::ast::{Leg, Union};
use crate::kql::compile::Context;
use crate::kql::error::Error;
use crate::kql::{Column, Type, Value};

impl Context {
    pub(super) fn union(&self, first: Option<Stream>, union: &Union) -> Result<Stream, Error> {
        let mut legs: Vec<Stream> = first.into_iter().collect();
        let mut refused = None;
        for leg in &union.legs {
            match leg {
                Leg::Pattern(pattern) => {
                    let mut names = self.session.catalog.table_names();
                    names.retain(|name| matches(&pattern.text, name));
                    names.sort();
                    if names.is_empty() && !union.fuzzy {
                        let detail = format_args!("Failed to resolve table expression named '{}'", pattern.text);
                        return Err(self.error(pattern.at, detail));
                    }
                    for name in names {
                        legs.push(self.named_table(pattern.at, &name)?);
                    }
                }
                Leg::Expr(expr) => match self.tabular(expr) {
                    Ok(stream) => legs.push(stream),
                    Err(error) if union.fuzzy => refused = Some(error),
                    Err(error) => return Err(error),
                },
            }
        }
        match refused {
            Some(error) if legs.is_empty() => Err(error),
            _ => Ok(concatenated(legs, union)),
        }
    }
}

fn concatenated(legs: Vec<Stream>, union: &Union) -> Stream {
    let mut columns = Vec::new();
    if let Some(name) = &union.with_source {
        columns.push(Column { name: name.text.to_string(), ty: Type::String });
    }
    let with_source = columns.len();
    let merged = merged_columns(&legs, union.inner);
    columns.extend(merged.iter().map(|(_, column)| column.clone()));
    let stages = legs.iter().map(|leg| leg.stages).max().unwrap_or(0);
    let mut legs = legs.into_iter().enumerate().map(move |(number, leg)| {
        let source = leg.name.clone().unwrap_or_else(|| format!("union_arg{number}"));
        let places: Vec<Option<usize>> = merged
            .iter()
            .map(|(original, column)| leg.columns.iter().position(|own| own.name == *original && own.ty == column.ty))
            .collect();
        let width = leg.columns.len();
        let types: Vec<Type> = merged.iter().map(|(_, column)| column.ty).collect();
        leg.into_rows(true).map(move |row| {
            let mut row = row?;
            let mut made = Vec::with_capacity(types.len() + 2);
            if with_source > 0 {
                made.push(Value::text(source.as_str()));
            }
            for (place, ty) in places.iter().zip(&types) {
                made.push(match place {
                    Some(index) => std::mem::replace(&mut row[*index], Value::Null),
                    None => Value::null_of(*ty),
                });
            }
            made.extend(row.into_iter().nth(width));
            Ok(made)
        })
    });
    let mut current = None;
    let rows = std::iter::from_fn(move || {
        loop {
            if current.is_none() {
                current = Some(legs.next()?);
            }
            match current.as_mut().and_then(Iterator::next) {
                Some(row) => return Some(row),
                None => current = None,
            }
        }
    });
    Stream::rows(columns, Box::new(rows), true, stages)
}

/// The columns of the result with their names in the legs. A name that has several types is split into one
/// column per type (dataexplorer-docs `query/union-operator.md`).
fn merged_columns(legs: &[Stream], inner: bool) -> Vec<(String, Column)> {
    let mut found: Vec<(String, Type)> = Vec::new();
    for column in legs.iter().flat_map(|leg| &leg.columns) {
        if !found.iter().any(|(name, ty)| *name == column.name && *ty == column.ty) {
            found.push((column.name.clone(), column.ty));
        }
    }
    if inner {
        let everywhere = |name: &str, ty| legs.iter().all(|leg| leg.column(name).is_some_and(|own| own.ty == ty));
        found.retain(|(name, ty)| everywhere(name, *ty));
    }
    let clashes = |name: &str| found.iter().filter(|(other, _)| other == name).count() > 1;
    let mut merged: Vec<(String, Column)> = Vec::new();
    // Columns keep their place even though those without a clash are named first.
    for (name, ty) in &found {
        let taken = |name: &str| {
            merged.iter().any(|(_, column)| column.name == name)
                || found.iter().any(|(other, _)| other == name && !clashes(other))
        };
        let result = if clashes(name) { free_name(format!("{name}_{}", ty.name()), taken) } else { name.clone() };
        merged.push((name.clone(), Column { name: result, ty: *ty }));
    }
    merged
}
