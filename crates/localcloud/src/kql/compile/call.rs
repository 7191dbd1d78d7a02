//! Calls: the forms that look at the row, the clock or the catalog; aggregations; functions of the query
//! and of the catalog; and the table of plain functions.

use super::expression::{apply, check_bool, deepest, folded, not};
use super::{Context, Scope, Typed};
use crate::kql::aggregate::{self};
use crate::kql::ast::{BinaryOp, Expr, ExprKind, Name, Named};
use crate::kql::cx::{Cx, Pack};
use crate::kql::error::Error;
use crate::kql::functions::{self, Code, Gives, Signature, Takes};
use crate::kql::plan::{Step, Stream};
use crate::kql::{Type, Value, json};
use std::sync::Arc;

impl Context {
    pub(super) fn call(&self, expr: &Expr, name: &Name, args: &[Named], scope: &mut Scope<'_>) -> Result<Typed, Error> {
        let at = expr.at;
        if let Some(function) = self.own_function(name, args, scope)? {
            return Ok(function);
        }
        if let Some(named) = args.iter().find_map(|argument| argument.name.as_ref()) {
            return Err(self.error(named.at, format_args!("'{}' does not take named arguments", name.text)));
        }
        if aggregate::is_aggregate(&name.text) {
            return self.aggregate(at, name, args, scope);
        }
        match &*name.text {
            "now" | "ago" => self.clock(name, args, scope),
            "not" => {
                let [value] = self.exactly::<1>(name, args, scope)?;
                check_bool(self, at, value.ty)?;
                Ok(not(value))
            }
            "iff" | "iif" => {
                let [condition, yes, no] = self.exactly::<3>(name, args, scope)?;
                self.case(at, vec![condition, yes, no])
            }
            "case" => {
                let arms = self.all(args, scope)?;
                if arms.len() < 3 || arms.len() % 2 == 0 {
                    return Err(self.wrong_count(name, "an odd number of, and at least 3,"));
                }
                self.case(at, arms)
            }
            "coalesce" => {
                let items = self.all(args, scope)?;
                if items.len() < 2 {
                    return Err(self.wrong_count(name, "at least 2"));
                }
                let ty = self.common_type(at, items.iter())?;
                let depth = deepest(&items);
                let cx = Cx::Coalesce(items.into_iter().map(|item| converted(item, ty).cx).collect());
                Ok(folded(Typed { cx, ty, depth }))
            }
            "bin" | "floor" => {
                let [value, size] = self.exactly::<2>(name, args, scope)?;
                self.bin(at, value, size)
            }
            "ingestion_time" => {
                self.exactly::<0>(name, args, scope)?;
                let cx = match scope.stream.as_deref() {
                    Some(_) if scope.aggregates.is_some() => {
                        return Err(self.error(at, "ingestion_time() stands outside an aggregation"));
                    }
                    Some(stream) => stream.arrival.clone(),
                    None => Cx::Const(Value::Null),
                };
                Ok(Typed { cx, ty: Type::Datetime, depth: 1 })
            }
            "pack_all" => self.pack_all(name, args, scope, false),
            "tostring" => match args {
                [Named { expr: Expr { kind: ExprKind::Call(inner, inner_args), .. }, .. }]
                    if &*inner.text == "pack_all" =>
                {
                    self.pack_all(inner, inner_args, scope, true)
                }
                _ => self.plain(name, args, scope),
            },
            "estimate_data_size" => self.estimate_data_size(args, scope),
            "row_number" => self.row_number(name, args, scope),
            "column_ifexists" | "columnifexists" => self.column_ifexists(name, args, scope),
            "toscalar" => {
                let [argument] = args else { return Err(self.wrong_count(name, "1")) };
                if !self.is_tabular(&argument.expr) {
                    return self.scalar(&argument.expr, &mut Scope::nothing());
                }
                let (values, ty) = self.first_column(&argument.expr)?;
                let value = values.into_iter().next().unwrap_or_else(|| Value::null_of(ty));
                Ok(Typed::constant(value, ty))
            }
            _ => self.plain(name, args, scope),
        }
    }

    pub(super) fn wrong_count(&self, name: &Name, wanted: &str) -> Error {
        self.error(name.at, format_args!("The function '{}' expects {wanted} argument(s)", name.text))
    }

    pub(super) fn all(&self, args: &[Named], scope: &mut Scope<'_>) -> Result<Vec<Typed>, Error> {
        args.iter().map(|argument| self.scalar(&argument.expr, scope)).collect()
    }

    fn exactly<const N: usize>(&self, name: &Name, args: &[Named], scope: &mut Scope<'_>) -> Result<[Typed; N], Error> {
        let values = self.all(args, scope)?;
        values.try_into().map_err(|_| self.wrong_count(name, &N.to_string()))
    }

    fn clock(&self, name: &Name, args: &[Named], scope: &mut Scope<'_>) -> Result<Typed, Error> {
        let now = Typed::constant(Value::Datetime(self.session.now), Type::Datetime);
        let op = match (&*name.text, args.len()) {
            ("now", 0) => return Ok(now),
            ("now", _) => BinaryOp::Add,
            _ => BinaryOp::Subtract,
        };
        let [by] = self.exactly::<1>(name, args, scope)?;
        if by.ty != Type::Timespan {
            return Err(self.error(name.at, format_args!("'{}' expects a timespan", name.text)));
        }
        self.binary(name.at, op, now, by)
    }

    /// The one type that values of these types can share.
    fn common_type<'a>(&self, at: usize, items: impl Iterator<Item = &'a Typed>) -> Result<Type, Error> {
        let mut common: Option<Type> = None;
        for item in items {
            common = Some(match (common, item.ty) {
                (None, ty) => ty,
                (Some(a), b) if a == b => a,
                (Some(a), b) if a.is_whole() && b.is_whole() => Type::Long,
                (Some(a), b) if a.is_number() && b.is_number() => Type::Real,
                (Some(Type::Dynamic), _) | (Some(_), Type::Dynamic) => Type::Dynamic,
                (Some(a), b) => {
                    let detail =
                        format_args!("The values of types {} and {} have no type in common", a.name(), b.name());
                    return Err(self.error(at, detail));
                }
            });
        }
        Ok(common.unwrap_or(Type::Dynamic))
    }

    fn case(&self, at: usize, arms: Vec<Typed>) -> Result<Typed, Error> {
        let last = arms.len() - 1;
        let is_value = |index: usize| index == last || index % 2 == 1;
        let ty = self.common_type(at, arms.iter().enumerate().filter(|(i, _)| is_value(*i)).map(|(_, arm)| arm))?;
        let depth = deepest(&arms);
        let mut compiled = Vec::with_capacity(arms.len());
        for (index, arm) in arms.into_iter().enumerate() {
            if is_value(index) {
                compiled.push(converted(arm, ty).cx);
            } else {
                check_bool(self, at, arm.ty)?;
                compiled.push(arm.cx);
            }
        }
        Ok(folded(Typed { cx: Cx::Case(compiled.into()), ty, depth }))
    }

    fn bin(&self, at: usize, value: Typed, size: Typed) -> Result<Typed, Error> {
        let (ty, code) = functions::bin(value.ty, size.ty).ok_or_else(|| {
            let (a, b) = (value.ty.name(), size.ty.name());
            self.error(at, format_args!("bin() is not defined for values of types {a} and {b}"))
        })?;
        if let (Some(Value::Timespan(ticks)), true) = (size.cx.constant(), value.ty == ty)
            && *ticks > 0
        {
            let depth = value.depth + 1;
            return Ok(folded(Typed { cx: Cx::BinTicks(*ticks, Arc::new(value.cx)), ty, depth }));
        }
        let value = if value.ty == Type::Dynamic { converted(value, ty) } else { value };
        Ok(apply(Arc::new(code), vec![value, size], ty))
    }

    /// The columns in scope.
    fn stream<'s>(&self, at: usize, scope: &'s mut Scope<'_>) -> Result<&'s mut Stream, Error> {
        let visible = !scope.hidden && scope.aggregates.is_none();
        let stream = scope.stream.as_deref_mut().filter(|_| visible);
        stream.ok_or_else(|| self.error(at, "No columns are currently in scope"))
    }

    fn pack_all(&self, name: &Name, args: &[Named], scope: &mut Scope<'_>, as_text: bool) -> Result<Typed, Error> {
        let compact = match args {
            [] => false,
            [argument] => match self.constant(&argument.expr)? {
                (Value::Bool(compact), _) => compact,
                _ => return Err(self.error(argument.expr.at, "'pack_all' expects a constant bool")),
            },
            _ => return Err(self.wrong_count(name, "at most 1")),
        };
        let stream = self.stream(name.at, scope)?;
        let depth = stream.columns.iter().map(|column| column.depth).max().unwrap_or(0) + 1;
        let members = stream.columns.iter().map(|column| {
            let mut key = String::new();
            if as_text {
                json::write_string(&column.name, &mut key);
                key.push(':');
            } else {
                key.push_str(&column.name);
            }
            (key, column.cx.clone())
        });
        let pack = Pack { members: members.collect(), compact, as_text };
        let ty = if as_text { Type::String } else { Type::Dynamic };
        Ok(Typed { cx: Cx::Pack(Arc::new(pack)), ty, depth })
    }

    fn estimate_data_size(&self, args: &[Named], scope: &mut Scope<'_>) -> Result<Typed, Error> {
        let mut items = Vec::new();
        for argument in args {
            if matches!(argument.expr.kind, ExprKind::Star) {
                let stream = self.stream(argument.expr.at, scope)?;
                items.extend(stream.columns.iter().map(|c| Typed { cx: c.cx.clone(), ty: c.ty, depth: c.depth }));
            } else {
                items.push(self.scalar(&argument.expr, scope)?);
            }
        }
        let depth = deepest(&items);
        Ok(Typed { cx: Cx::Size(items.into_iter().map(|item| item.cx).collect()), ty: Type::Long, depth })
    }

    /// The column of that name, or else the second argument.
    fn column_ifexists(&self, name: &Name, args: &[Named], scope: &mut Scope<'_>) -> Result<Typed, Error> {
        let [wanted, otherwise] = args else { return Err(self.wrong_count(name, "2")) };
        let (Value::String(column), _) = self.constant(&wanted.expr)? else {
            return Err(self.error(wanted.expr.at, "'column_ifexists' expects the name of a column as a string"));
        };
        match self.stream(name.at, scope)?.column(&column) {
            Some(column) => Ok(Typed { cx: column.cx.clone(), ty: column.ty, depth: column.depth }),
            None => self.scalar(&otherwise.expr, scope),
        }
    }

    fn row_number(&self, name: &Name, args: &[Named], scope: &mut Scope<'_>) -> Result<Typed, Error> {
        if args.len() > 2 {
            return Err(self.wrong_count(name, "at most 2"));
        }
        let start = match args.first() {
            None => 1,
            Some(argument) => self.constant(&argument.expr)?.0.as_i64().unwrap_or(1),
        };
        let restart = args.get(1).map(|argument| self.scalar(&argument.expr, scope)).transpose()?;
        let stream = self.stream(name.at, scope)?;
        if !stream.serialized {
            let detail =
                "Function 'row_number' cannot be invoked in current context. Details: the row set must be serialized";
            return Err(self.error(name.at, detail));
        }
        stream.slots.push(Cx::Const(Value::Null));
        let slot = stream.slots.len() - 1;
        let restart = restart.map(|restart| restart.cx);
        stream.steps.push(Step::Number { slot, start, restart, next: start });
        Ok(Typed { cx: Cx::Slot(slot), ty: Type::Long, depth: 1 })
    }

    fn plain(&self, name: &Name, args: &[Named], scope: &mut Scope<'_>) -> Result<Typed, Error> {
        let Some(signature) = functions::find(&name.text) else {
            return Err(self.error(name.at, format_args!("Unknown function: '{}'", name.text)));
        };
        let compiled = self.all(args, scope)?;
        let most = signature.takes.len();
        if compiled.len() < signature.least || !signature.open && compiled.len() > most {
            let wanted = if signature.open {
                format!("at least {}", signature.least)
            } else if signature.least == most {
                most.to_string()
            } else {
                format!("{} to {most}", signature.least)
            };
            return Err(self.wrong_count(name, &wanted));
        }
        for (index, argument) in compiled.iter().enumerate() {
            self.check_argument(name, signature, index, argument.ty, args[index].expr.at)?;
        }
        if let [Typed { cx: Cx::Column(index), .. }] = &compiled[..]
            && matches!(&*name.text, "isnull" | "isnotnull" | "notnull")
        {
            let null = Typed { cx: Cx::IsNull(*index), ty: Type::Bool, depth: 2 };
            return Ok(if &*name.text == "isnull" { null } else { not(null) });
        }
        let ty = match signature.gives {
            Gives::A(ty) => ty,
            Gives::First => compiled.first().map_or(Type::Dynamic, |first| first.ty),
            Gives::Widest => self.common_type(name.at, compiled.iter())?,
        };
        let compiled = match signature.gives {
            Gives::Widest => compiled.into_iter().map(|argument| converted(argument, ty)).collect(),
            _ => compiled,
        };
        let code: crate::kql::cx::Function = match signature.code {
            Code::Plain(code) => Arc::new(code),
            Code::Prepared(prepare) => {
                let known: Vec<_> = compiled.iter().map(|argument| argument.cx.constant().cloned()).collect();
                prepare(&known).map_err(|detail| self.error(name.at, format_args!("'{}': {detail}", name.text)))?
            }
        };
        Ok(apply(code, compiled, ty))
    }

    fn check_argument(
        &self,
        name: &Name,
        signature: &Signature,
        index: usize,
        ty: Type,
        at: usize,
    ) -> Result<(), Error> {
        let takes = signature.takes[index.min(signature.takes.len() - 1)];
        let (fits, wanted) = match takes {
            Takes::Any | Takes::Text => return Ok(()),
            Takes::Number => (ty.is_number(), "a number"),
            Takes::Whole => (ty.is_whole(), "a whole number"),
            Takes::Datetime => (ty == Type::Datetime, "a datetime"),
            Takes::Timespan => (ty == Type::Timespan, "a timespan"),
            Takes::Dynamic => (false, "a dynamic value"),
        };
        if fits || ty == Type::Dynamic {
            return Ok(());
        }
        let number = index + 1;
        Err(self
            .error(at, format_args!("'{}' expects argument {number} to be {wanted}, not a {}", name.text, ty.name())))
    }
}

/// The same value as another type.
pub(super) fn converted(typed: Typed, ty: Type) -> Typed {
    if typed.ty == ty {
        return typed;
    }
    apply(Arc::new(move |values: &[Value]| values[0].convert(ty)), vec![typed], ty)
}
