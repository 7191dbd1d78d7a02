//! Operators of expressions: what they mean for the types at hand.

use super::{Binding, Context, DEEPEST_EXPRESSION, Scope, Typed};
use crate::kql::ast::{BinaryOp, Expr, ExprKind, SetTest, TextTest};
use crate::kql::cx::{Cx, Function};
use crate::kql::error::Error;
use crate::kql::functions::{access, arithmetic, text_test};
use crate::kql::value::{Cell, from_json};
use crate::kql::{Type, Value};
use std::collections::HashSet;
use std::sync::Arc;

impl Context {
    /// Compiles a scalar expression.
    pub fn scalar(&self, expr: &Expr, scope: &mut Scope<'_>) -> Result<Typed, Error> {
        let typed = self.deeper(expr.at, || self.scalar_inner(expr, scope))?;
        if typed.depth > DEEPEST_EXPRESSION {
            return Err(self.error(expr.at, "The expression is nested too deeply"));
        }
        Ok(typed)
    }

    fn scalar_inner(&self, expr: &Expr, scope: &mut Scope<'_>) -> Result<Typed, Error> {
        match &expr.kind {
            ExprKind::Literal(value, ty) => Ok(Typed::constant(value.clone(), *ty)),
            ExprKind::Name(name) => self.name(expr.at, name, scope),
            ExprKind::Star => Err(self.error(expr.at, "The * syntax is not allowed here")),
            ExprKind::Call(name, arguments) => self.call(expr, name, arguments, scope),
            ExprKind::Member(value, member) => {
                let value = self.scalar(value, scope)?;
                self.access(expr.at, value, Typed::constant(Value::text(Arc::clone(member)), Type::String))
            }
            ExprKind::Index(value, index) => {
                let value = self.scalar(value, scope)?;
                let index = self.scalar(index, scope)?;
                self.access(expr.at, value, index)
            }
            ExprKind::Negate(inner) => {
                let inner = self.scalar(inner, scope)?;
                let (zero, ty) = match inner.ty {
                    Type::Timespan => (Value::Timespan(0), Type::Timespan),
                    Type::Int | Type::Long => (Value::Long(0), Type::Long),
                    Type::Real | Type::Decimal | Type::Dynamic => (Value::Real(0.0), Type::Real),
                    other => return Err(self.error(expr.at, format_args!("Cannot negate a {}", other.name()))),
                };
                self.binary(expr.at, BinaryOp::Subtract, Typed::constant(zero, ty), inner)
            }
            ExprKind::And(terms) => self.junction(terms, scope, Cx::And),
            ExprKind::Or(terms) => self.junction(terms, scope, Cx::Or),
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.scalar(a, scope)?, self.scalar(b, scope)?);
                self.binary(expr.at, *op, a, b)
            }
            ExprKind::Text { test, negated, value, other } => {
                let (value, other) = (self.scalar(value, scope)?, self.scalar(other, scope)?);
                self.text_test(expr.at, *test, *negated, value, other)
            }
            ExprKind::In { set, negated, value, items } => {
                self.membership(expr.at, *set, *negated, value, items, scope)
            }
            ExprKind::Between { negated, value, low, high } => {
                self.between(expr.at, *negated, (value, low, high), scope)
            }
            ExprKind::Query(_) => {
                Err(self.error(expr.at, "A tabular expression stands where a scalar one is expected"))
            }
        }
    }

    fn name(&self, at: usize, name: &Arc<str>, scope: &Scope<'_>) -> Result<Typed, Error> {
        let visible = scope.stream.as_deref().filter(|_| !scope.hidden && scope.aggregates.is_none());
        if let Some(column) = visible.and_then(|stream| stream.column(name)) {
            return Ok(Typed { cx: column.cx.clone(), ty: column.ty, depth: column.depth });
        }
        match self.names.get(name) {
            Some(Binding::Scalar(typed)) => Ok(typed.clone()),
            _ => Err(self.error(at, format_args!("Failed to resolve scalar expression named '{name}'"))),
        }
    }

    fn access(&self, at: usize, value: Typed, key: Typed) -> Result<Typed, Error> {
        if value.ty != Type::Dynamic {
            let detail = format_args!("Only dynamic values have members; this is a {}", value.ty.name());
            return Err(self.error(at, detail));
        }
        Ok(apply(Arc::new(access), vec![value, key], Type::Dynamic))
    }

    fn junction(&self, terms: &[Expr], scope: &mut Scope<'_>, make: fn(Arc<[Cx]>) -> Cx) -> Result<Typed, Error> {
        let mut compiled = Vec::with_capacity(terms.len());
        for term in terms {
            let typed = self.scalar(term, scope)?;
            check_bool(self, term.at, typed.ty)?;
            compiled.push(typed);
        }
        let depth = deepest(&compiled);
        let cx = make(compiled.into_iter().map(|typed| typed.cx).collect());
        Ok(folded(Typed { cx, ty: Type::Bool, depth }))
    }

    pub(super) fn binary(&self, at: usize, op: BinaryOp, a: Typed, b: Typed) -> Result<Typed, Error> {
        match op {
            BinaryOp::EqualAnyCase | BinaryOp::NotEqualAnyCase => {
                let equal = op == BinaryOp::EqualAnyCase;
                let function: Function = Arc::new(move |values| {
                    let same = values[0].to_text().to_lowercase() == values[1].to_text().to_lowercase();
                    Value::Bool(same == equal)
                });
                Ok(apply(function, vec![a, b], Type::Bool))
            }
            BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Modulo => {
                let (ty, code) = arithmetic(op, a.ty, b.ty).ok_or_else(|| {
                    let (a, b) = (a.ty.name(), b.ty.name());
                    self.error(at, format_args!("Arithmetic is not defined for values of types {a} and {b}"))
                })?;
                Ok(apply(Arc::new(code), vec![a, b], ty))
            }
            _ => self.comparison(at, op, a, b),
        }
    }

    fn comparison(&self, at: usize, op: BinaryOp, a: Typed, b: Typed) -> Result<Typed, Error> {
        let comparable = a.ty == b.ty
            || a.ty.is_number() && b.ty.is_number()
            || a.ty == Type::Dynamic
            || b.ty == Type::Dynamic
            || matches!((a.ty, b.ty), (Type::Bool, other) | (other, Type::Bool) if other.is_number());
        if !comparable {
            let (a, b) = (a.ty.name(), b.ty.name());
            let detail = format_args!("Cannot compare values of types {a} and {b}. Try adding explicit casts");
            return Err(self.error(at, detail));
        }
        let (to_a, to_b) = (b.ty, a.ty);
        let (a, b) = (aligned(a, to_a), aligned(b, to_b));
        let depth = a.depth.max(b.depth) + 1;
        Ok(folded(Typed { cx: Cx::Compare(op, Arc::new((a.cx, b.cx))), ty: Type::Bool, depth }))
    }

    fn text_test(&self, at: usize, test: TextTest, negated: bool, a: Typed, b: Typed) -> Result<Typed, Error> {
        for side in [&a, &b] {
            if !matches!(side.ty, Type::String | Type::Dynamic) {
                let detail =
                    format_args!("A {} stands where a string is expected. Try adding explicit casts", side.ty.name());
                return Err(self.error(at, detail));
            }
        }
        let code = text_test(test, b.cx.constant()).map_err(|detail| self.error(at, detail))?;
        let tested = apply(code, vec![a, b], Type::Bool);
        Ok(if negated { not(tested) } else { tested })
    }

    fn between(
        &self,
        at: usize,
        negated: bool,
        (value, low, high): (&Expr, &Expr, &Expr),
        scope: &mut Scope<'_>,
    ) -> Result<Typed, Error> {
        let value = self.scalar(value, scope)?;
        let (low, mut high) = (self.scalar(low, scope)?, self.scalar(high, scope)?);
        if low.ty == Type::Datetime && high.ty == Type::Timespan {
            high = self.binary(at, BinaryOp::Add, low.clone(), high)?;
        }
        let value = scope.keep(value);
        let lower = self.comparison(at, BinaryOp::GreaterOrEqual, value.clone(), low)?;
        let upper = self.comparison(at, BinaryOp::LessOrEqual, value, high)?;
        let depth = lower.depth.max(upper.depth) + 1;
        let both = folded(Typed { cx: Cx::And([lower.cx, upper.cx].into()), ty: Type::Bool, depth });
        Ok(if negated { not(both) } else { both })
    }

    fn membership(
        &self,
        at: usize,
        set: SetTest,
        negated: bool,
        value: &Expr,
        items: &[Expr],
        scope: &mut Scope<'_>,
    ) -> Result<Typed, Error> {
        let value = self.scalar(value, scope)?;
        let items = self.set_items(items, scope)?;
        let tested = match set {
            SetTest::HasAny | SetTest::HasAll => {
                let mut tests = Vec::new();
                for item in items {
                    tests.push(self.text_test(at, TextTest::Has, false, value.clone(), aligned(item, Type::String))?);
                }
                let depth = deepest(&tests);
                let tests = tests.into_iter().map(|test| test.cx).collect();
                let cx = if set == SetTest::HasAny { Cx::Or(tests) } else { Cx::And(tests) };
                folded(Typed { cx, ty: Type::Bool, depth })
            }
            SetTest::In | SetTest::InAnyCase => {
                let any_case = set == SetTest::InAnyCase;
                match items.iter().map(|item| item.cx.constant().cloned()).collect::<Option<Vec<_>>>() {
                    Some(constants) => {
                        for item in &items {
                            // Checks the types as an equality would.
                            self.comparison(at, BinaryOp::Equal, value.clone(), item.clone())?;
                        }
                        member_of(value, constants, any_case)
                    }
                    None => {
                        let op = if any_case { BinaryOp::EqualAnyCase } else { BinaryOp::Equal };
                        let tests = items.into_iter().map(|item| self.binary(at, op, value.clone(), item));
                        let tests = tests.collect::<Result<Vec<_>, _>>()?;
                        let depth = deepest(&tests);
                        Typed { cx: Cx::Or(tests.into_iter().map(|t| t.cx).collect()), ty: Type::Bool, depth }
                    }
                }
            }
        };
        Ok(if negated { not(tested) } else { tested })
    }

    /// The elements of a list: queries give their first column, constant arrays their elements.
    fn set_items(&self, items: &[Expr], scope: &mut Scope<'_>) -> Result<Vec<Typed>, Error> {
        let mut all = Vec::new();
        for item in items {
            if self.is_tabular(item) {
                let (values, ty) = self.first_column(item)?;
                all.extend(values.into_iter().map(|value| Typed::constant(value, ty)));
                continue;
            }
            let typed = self.scalar(item, scope)?;
            match typed.cx.constant() {
                Some(Value::Dynamic(json)) if json.is_array() => {
                    let elements = json.as_array().into_iter().flatten().filter_map(from_json);
                    all.extend(elements.map(|value| {
                        let ty = match &value {
                            Value::Long(_) => Type::Long,
                            Value::Real(_) => Type::Real,
                            Value::Bool(_) => Type::Bool,
                            // An element that is text is compared as what stands on the other side.
                            _ => Type::Dynamic,
                        };
                        let value = if ty == Type::Dynamic { value.convert(Type::Dynamic) } else { value };
                        Typed::constant(value, ty)
                    }));
                }
                _ => all.push(typed),
            }
        }
        Ok(all)
    }
}

/// A set of constants. Numbers of all types are compared by amount.
fn member_of(value: Typed, constants: Vec<Value>, any_case: bool) -> Typed {
    let all_whole = value.ty.is_whole() && constants.iter().all(|c| matches!(c, Value::Int(_) | Value::Long(_)));
    let ty = match value.ty {
        Type::Dynamic => constants.first().map_or(Type::String, type_of_constant),
        Type::Int | Type::Long if all_whole => Type::Long,
        ty if ty.is_number() => Type::Real,
        ty => ty,
    };
    let key: Function = Arc::new(move |values| {
        let converted = values[0].convert(ty);
        if any_case { Value::text(converted.to_text().to_lowercase()) } else { converted }
    });
    let same_type = value.ty == ty && !any_case;
    let set = constants.into_iter().map(|constant| Cell(key(&[constant]))).collect::<HashSet<_>>();
    let key = if same_type { Arc::new(|values: &[Value]| values[0].clone()) as Function } else { key };
    let depth = value.depth + 1;
    folded(Typed { cx: Cx::Member(Arc::new(set), key, Arc::new(value.cx)), ty: Type::Bool, depth })
}

fn type_of_constant(value: &Value) -> Type {
    match value {
        Value::Bool(_) => Type::Bool,
        Value::Int(_) | Value::Long(_) | Value::Real(_) => Type::Real,
        Value::Datetime(_) => Type::Datetime,
        Value::Timespan(_) => Type::Timespan,
        Value::Guid(_) => Type::Guid,
        _ => Type::String,
    }
}

/// A dynamic operand as what stands on the other side.
fn aligned(typed: Typed, other: Type) -> Typed {
    if typed.ty != Type::Dynamic || other == Type::Dynamic {
        return typed;
    }
    let convert: Function = if other.is_number() {
        Arc::new(|values: &[Value]| match &values[0] {
            Value::Dynamic(json) if json.is_number() => from_json(json).unwrap_or(Value::Null),
            Value::Dynamic(json) => json.as_str().and_then(|text| text.parse().ok()).map_or(Value::Null, Value::Real),
            other => other.clone(),
        })
    } else {
        Arc::new(move |values: &[Value]| if values[0] == Value::Null { Value::Null } else { values[0].convert(other) })
    };
    apply(convert, vec![typed], other)
}

/// A call, worked out at once if all arguments are known.
pub(super) fn apply(function: Function, arguments: Vec<Typed>, ty: Type) -> Typed {
    let depth = deepest(&arguments);
    let constant = arguments.iter().all(|argument| argument.cx.constant().is_some());
    let cx = Cx::Call(function, arguments.into_iter().map(|argument| argument.cx).collect());
    if constant { Typed::constant(cx.eval_constant(), ty) } else { Typed { cx, ty, depth } }
}

/// A node above these.
pub(super) fn deepest(below: &[Typed]) -> usize {
    below.iter().map(|typed| typed.depth).max().unwrap_or(0) + 1
}

pub(super) fn not(typed: Typed) -> Typed {
    let depth = typed.depth + 1;
    folded(Typed { cx: Cx::Not(Box::new(typed.cx)), ty: Type::Bool, depth })
}

/// The constant that an expression is, if all below it is constant.
pub(super) fn folded(typed: Typed) -> Typed {
    let constant = |cx: &Cx| cx.constant().is_some();
    let known = match &typed.cx {
        Cx::And(items) | Cx::Or(items) | Cx::Case(items) | Cx::Coalesce(items) => items.iter().all(constant),
        Cx::Compare(_, sides) => constant(&sides.0) && constant(&sides.1),
        Cx::Not(inner) => constant(inner),
        Cx::Member(_, _, inner) | Cx::BinTicks(_, inner) => constant(inner),
        _ => false,
    };
    if known { Typed::constant(typed.cx.eval_constant(), typed.ty) } else { typed }
}

/// Refuses a condition that is not one.
pub(in crate::kql) fn check_bool(context: &Context, at: usize, ty: Type) -> Result<(), Error> {
    match ty {
        Type::Bool | Type::Dynamic => Ok(()),
        other => Err(context.error(at, format_args!("A {} stands where a condition is expected", other.name()))),
    }
}
