//! Aggregations in the items of `summarize`.

use super::expression::check_bool;
use super::{Context, Scope, Typed};
use crate::kql::aggregate::{self, Aggregate, Kind};
use crate::kql::ast::{Expr, ExprKind, Name, Named};
use crate::kql::cx::Cx;
use crate::kql::error::Error;
use crate::kql::plan::Stream;
use crate::kql::{Type, Value};
use std::cmp::Ordering;

/// An aggregation with several results, and their columns.
pub(in crate::kql) type Wide = (Aggregate, Vec<(String, Type)>);

impl Context {
    pub(super) fn aggregate(
        &self,
        at: usize,
        name: &Name,
        args: &[Named],
        scope: &mut Scope<'_>,
    ) -> Result<Typed, Error> {
        let Some(collected) = scope.aggregates.take() else {
            let detail = format_args!("The aggregate function '{}' is not allowed in this context", name.text);
            return Err(self.error(at, detail));
        };
        let made = self.plain_aggregate(name, args, scope);
        let (made, ty) = match made {
            Ok(made) => made,
            Err(error) => {
                scope.aggregates = Some(collected);
                return Err(error);
            }
        };
        let index = scope.keys + collected.iter().map(Aggregate::width).sum::<usize>();
        collected.push(made);
        scope.aggregates = Some(collected);
        Ok(Typed { cx: Cx::Column(index), ty, depth: 1 })
    }

    /// An aggregation with one result.
    fn plain_aggregate(&self, name: &Name, args: &[Named], scope: &mut Scope<'_>) -> Result<(Aggregate, Type), Error> {
        if args.iter().any(|argument| matches!(argument.expr.kind, ExprKind::Star)) {
            return Err(self.error(name.at, "The * syntax is not allowed here"));
        }
        let mut compiled = self.all(args, scope)?;
        let limit = compiled.get(1).and_then(|limit| limit.cx.constant()).and_then(Value::as_i64);
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let first = compiled.first().map(|argument| argument.ty);
        let found = match aggregate::find(&name.text, first, limit) {
            Some(Ok(found)) => found,
            Some(Err(wanted)) => {
                return Err(self.error(name.at, format_args!("'{}' expects {wanted}", name.text)));
            }
            None => {
                let detail = format_args!("'{}' must be an item of its own, with all it gives as columns", name.text);
                return Err(self.error(name.at, detail));
            }
        };
        let when = match (found.conditional, compiled.pop()) {
            (true, Some(when)) => {
                check_bool(self, name.at, when.ty)?;
                Some(when.cx)
            }
            (_, last) => {
                compiled.extend(last);
                None
            }
        };
        if !found.takes.contains(&compiled.len()) || found.conditional && when.is_none() {
            return Err(self.wrong_count(name, "another number of"));
        }
        compiled.truncate(1);
        let arguments = compiled.into_iter().map(|argument| argument.cx).collect();
        Ok((Aggregate { kind: found.kind, arguments, when }, found.gives))
    }

    /// `arg_max`, `arg_min` and `take_any` of several columns: the aggregation, and its columns, the first
    /// of which may have no name of its own. `except` are the names that `*` leaves out.
    pub fn wide_aggregate(&self, expr: &Expr, stream: &mut Stream, except: &[String]) -> Result<Option<Wide>, Error> {
        let ExprKind::Call(name, args) = &expr.kind else { return Ok(None) };
        let starred = args.iter().any(|argument| matches!(argument.expr.kind, ExprKind::Star));
        let (kind, prefix) = match &*name.text {
            "arg_max" | "argmax" => (Kind::ArgExtreme(Ordering::Greater), "max"),
            "arg_min" | "argmin" => (Kind::ArgExtreme(Ordering::Less), "min"),
            "take_any" | "any" if starred || args.len() > 1 => (Kind::Any, "any"),
            _ => return Ok(None),
        };
        let ranked = kind != Kind::Any;
        if args.is_empty() || ranked && matches!(args[0].expr.kind, ExprKind::Star) {
            return Err(self.wrong_count(name, "at least 1"));
        }
        let mut columns: Vec<(String, Type)> = Vec::new();
        let mut arguments = Vec::new();
        for (index, argument) in args.iter().enumerate() {
            if matches!(argument.expr.kind, ExprKind::Star) {
                let used: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
                for column in &stream.columns {
                    if !except.contains(&column.name) && !used.contains(&column.name) {
                        columns.push((column.name.clone(), column.ty));
                        arguments.push(column.cx.clone());
                    }
                }
                continue;
            }
            let typed = self.scalar(&argument.expr, &mut Scope::rows(stream))?;
            let own = argument.name.as_ref().map(|name| name.text.to_string());
            let default = || match index {
                0 => format!("{prefix}_"),
                _ => format!("{prefix}_{}_arg{index}", columns.first().map_or("", |(name, _)| name.as_str())),
            };
            let column = own.or_else(|| super::result_name(&argument.expr)).unwrap_or_else(default);
            columns.push((column, typed.ty));
            arguments.push(stream.keep(typed.cx));
        }
        Ok(Some((Aggregate { kind, arguments, when: None }, columns)))
    }
}

impl Aggregate {
    /// How many values it gives.
    pub fn width(&self) -> usize {
        if matches!(self.kind, Kind::Any | Kind::ArgExtreme(_)) { self.arguments.len() } else { 1 }
    }
}
