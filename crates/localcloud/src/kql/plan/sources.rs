//! Where pipelines begin: names, calls, `print` and `range`.

use super::of_rows;
use super::stream::Stream;
use crate::kql::ast::{BinaryOp, Expr, ExprKind, Name, Named};
use crate::kql::compile::{Binding, Context, Scope, result_name};
use crate::kql::error::Error;
use crate::kql::functions;
use crate::kql::value::order;
use crate::kql::{Column, MemoryTable, Type, Value, parse};
use std::cmp::Ordering;
use std::sync::Arc;

impl Context {
    /// A table, a tabular `let`, or a function called without parentheses.
    pub(super) fn named_table(&self, at: usize, name: &str) -> Result<Stream, Error> {
        match self.names.get(name) {
            Some(Binding::Tabular(expr, home)) => {
                let mut stream = self.deeper(at, || home.tabular(expr))?;
                stream.name = Some(name.to_owned());
                return Ok(stream);
            }
            Some(Binding::Table(table)) => return Ok(Stream::scan(Arc::clone(table), Some(name.to_owned()))),
            Some(Binding::Function(..)) => {
                let mut stream = self.called_table(at, &Name { text: name.into(), at }, &[])?;
                stream.name = Some(name.to_owned());
                return Ok(stream);
            }
            Some(Binding::Scalar(_)) => return Err(self.error(at, format_args!("'{name}' is not a table"))),
            None => {}
        }
        if let Some(table) = self.session.catalog.table(name) {
            return Ok(Stream::scan(table, Some(name.to_owned())));
        }
        match self.stored_function(at, name)? {
            Some(stream) => Ok(stream),
            None => Err(self.error(at, format_args!("Failed to resolve table or column expression named '{name}'"))),
        }
    }

    pub(super) fn called_table(&self, at: usize, name: &Name, args: &[Named]) -> Result<Stream, Error> {
        if let Some(Binding::Function(function, home)) = self.names.get(&name.text) {
            let mut inside = home.at(self.operator);
            let given = self.arguments(name, &function.parameters, args, &mut Scope::nothing())?;
            for (parameter, typed) in function.parameters.iter().zip(given) {
                inside.bind(Arc::clone(&parameter.name.text), Binding::Scalar(typed));
            }
            return self.deeper(at, || match inside.bind_statements(&function.body)? {
                Some(query) => inside.query(query),
                None => Err(self.error(at, "The function has no result")),
            });
        }
        match (&*name.text, args) {
            ("materialize", [inner]) => self.tabular(&inner.expr),
            ("table", [inner]) => match self.constant(&inner.expr)? {
                (Value::String(table), _) => self.named_table(at, &table),
                _ => Err(self.error(at, "'table' expects a string")),
            },
            (_, []) if functions::find(&name.text).is_none() => match self.stored_function(at, &name.text)? {
                Some(stream) => Ok(stream),
                None => Err(self.error(at, format_args!("Unknown function: '{}'", name.text))),
            },
            _ if functions::find(&name.text).is_some() => Err(self.error(at, "The expression is not a table")),
            _ => Err(self.error(at, format_args!("Unknown function: '{}'", name.text))),
        }
    }

    /// A function of the catalog. It sees none of the query's own names.
    fn stored_function(&self, at: usize, name: &str) -> Result<Option<Stream>, Error> {
        let Some(body) = self.session.catalog.function(name) else { return Ok(None) };
        let mut inside = Context { names: Arc::default(), ..self.clone() };
        let plan = || {
            let statements = parse::statements(&body)?;
            match inside.bind_statements(&statements)? {
                Some(query) => inside.query(query),
                None => Err(self.error(0, format_args!("The function '{name}' has no result"))),
            }
        };
        let mut stream = self.deeper(at, plan).map_err(|error| error.located(&body))?;
        stream.name = Some(name.to_owned());
        Ok(Some(stream))
    }

    /// One row of constants.
    pub(super) fn print(&self, items: &[Named]) -> Result<Stream, Error> {
        let mut stream = of_rows(MemoryTable::new(Vec::new(), vec![Vec::new()]));
        let mut columns = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let typed = self.scalar(&item.expr, &mut Scope::rows(&mut stream))?;
            let own = item.name.as_ref().map(|name| name.text.to_string());
            let name = own.or_else(|| result_name(&item.expr)).unwrap_or_else(|| format!("print_{index}"));
            super::operators::add_column(&mut columns, &mut stream, name, typed);
        }
        stream.columns = columns;
        Ok(stream)
    }

    /// An arithmetic series.
    pub(super) fn range(&self, name: &Name, bounds: [&Expr; 3]) -> Result<Stream, Error> {
        let mut series = Vec::new();
        for bound in bounds {
            let typed = self.scalar(bound, &mut Scope::nothing())?;
            let Some(value) = typed.cx.constant().cloned() else {
                return Err(self.error(bound.at, "The expression must be a constant"));
            };
            series.push((value, typed.ty));
        }
        let at = bounds[0].at;
        let ((from, from_ty), (to, to_ty), (step, step_ty)) = (series[0].clone(), series[1].clone(), series[2].clone());
        let (ty, add) = functions::arithmetic(BinaryOp::Add, from_ty, step_ty).ok_or_else(|| {
            let (a, b) = (from_ty.name(), step_ty.name());
            self.error(at, format_args!("A range of {a} cannot have steps of {b}"))
        })?;
        if !(to_ty == ty || to_ty.is_number() && ty.is_number()) {
            return Err(self.error(bounds[1].at, format_args!("The end of the range must be a {}", ty.name())));
        }
        let (from, to) = (from.convert(ty), to.convert(ty));
        let after = add(&[from.clone(), step.clone()]);
        let upwards = order(&after, &from);
        if from == Value::Null || to == Value::Null || step == Value::Null || upwards == Ordering::Equal {
            return Err(self.error(at, "A range needs a start, an end and a step other than zero"));
        }
        let mut next = Some(from);
        let rows = std::iter::from_fn(move || {
            let value = next.take()?;
            if order(&value, &to) == upwards {
                return None;
            }
            let following = add(&[value.clone(), step.clone()]);
            next = (following != Value::Null).then_some(following);
            Some(Ok(vec![value]))
        });
        let columns = vec![Column { name: name.text.to_string(), ty }];
        let mut stream = Stream::rows(columns, Box::new(rows), false, 0);
        stream.serialized = true;
        Ok(stream)
    }

    /// Whether the expression is a bare name, for errors about it.
    pub(super) fn column_name<'e>(&self, expr: &'e Expr) -> Result<&'e Arc<str>, Error> {
        match &expr.kind {
            ExprKind::Name(name) => Ok(name),
            _ => Err(self.error(expr.at, "A column name is expected here")),
        }
    }
}

/// The types that getschema gives.
pub(super) const SCHEMA: [(&str, Type); 4] = [
    ("ColumnName", Type::String),
    ("ColumnOrdinal", Type::Int),
    ("DataType", Type::String),
    ("ColumnType", Type::String),
];
