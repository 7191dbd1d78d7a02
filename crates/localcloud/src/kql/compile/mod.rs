//! Syntax tree to compiled expressions: names to columns, operators and functions to code, types checked.
//! Tables belong to the planner; it is asked when an expression holds a query.

mod aggregation;
mod call;
mod expression;
mod function;
mod naming;

pub(super) use expression::check_bool;
pub(super) use naming::result_name;

use super::aggregate::Aggregate;
use super::ast::{Expr, Function};
use super::cx::Cx;
use super::error::Error;
use super::plan::Stream;
use super::{Catalog, Table, Type, Value};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::Arc;

/// How many calls of the compiler may be within each other, through functions and `let` too.
const DEEPEST_COMPILATION: usize = 250;
/// How deep a compiled expression may be, computed columns included.
const DEEPEST_EXPRESSION: usize = 300;

/// A compiled expression, its type, and how deep it is.
#[derive(Clone)]
pub(super) struct Typed {
    pub cx: Cx,
    pub ty: Type,
    pub depth: usize,
}

impl Typed {
    pub fn constant(value: Value, ty: Type) -> Self {
        Self { cx: Cx::Const(value), ty, depth: 1 }
    }
}

/// What a name of a `let` statement, a parameter or `as` stands for.
#[derive(Clone)]
pub(super) enum Binding {
    Scalar(Typed),
    /// A table expression and the context that it was written in.
    Tabular(Arc<Expr>, Context),
    Table(Arc<dyn Table>),
    Function(Arc<Function>, Context),
}

/// What holds for one query from beginning to end.
pub(super) struct Session {
    pub catalog: Arc<dyn Catalog>,
    pub now: i64,
    pub parameters: BTreeMap<String, serde_json::Value>,
    depth: Cell<usize>,
}

/// What names mean at a place in the query.
#[derive(Clone)]
pub(super) struct Context {
    pub session: std::rc::Rc<Session>,
    pub names: Arc<HashMap<Arc<str>, Binding>>,
    /// The operator that errors are reported for.
    pub operator: &'static str,
}

/// The rows that an expression is evaluated on.
pub(super) struct Scope<'a> {
    pub stream: Option<&'a mut Stream>,
    /// Where aggregations go while an item of `summarize` is compiled.
    pub aggregates: Option<&'a mut Vec<Aggregate>>,
    /// How many columns precede the aggregations in the rows that they make.
    pub keys: usize,
    /// Whether the columns are out of sight, as inside the body of a function.
    pub hidden: bool,
}

impl<'a> Scope<'a> {
    /// The rows of a stream.
    pub fn rows(stream: &'a mut Stream) -> Self {
        Self { stream: Some(stream), aggregates: None, keys: 0, hidden: false }
    }

    /// No rows: constants only.
    pub fn nothing() -> Self {
        Self { stream: None, aggregates: None, keys: 0, hidden: false }
    }

    /// Makes an expression cheap to use twice. What is made of aggregations belongs to other rows than
    /// the stream's and stays as it is.
    fn keep(&mut self, typed: Typed) -> Typed {
        match self.stream.as_deref_mut().filter(|_| self.aggregates.is_none()) {
            Some(stream) => Typed { cx: stream.keep(typed.cx), ..typed },
            None => typed,
        }
    }
}

impl Context {
    pub fn new(catalog: Arc<dyn Catalog>, parameters: BTreeMap<String, serde_json::Value>) -> Self {
        let now = catalog.now();
        let session = Session { catalog, now, parameters, depth: Cell::new(0) };
        Self { session: std::rc::Rc::new(session), names: Arc::default(), operator: "" }
    }

    /// The same, with one more name.
    pub fn bind(&mut self, name: Arc<str>, binding: Binding) {
        Arc::make_mut(&mut self.names).insert(name, binding);
    }

    /// The same names, for reports about another operator.
    pub fn at(&self, operator: &'static str) -> Self {
        Self { operator, ..self.clone() }
    }

    /// A semantic error in the current operator.
    pub fn error(&self, at: usize, detail: impl Display) -> Error {
        if self.operator.is_empty() {
            return Error::semantic(at, detail);
        }
        Error::semantic(at, format_args!("'{}' operator: {detail}", self.operator))
    }

    /// Runs `inner` one level deeper.
    pub fn deeper<T>(&self, at: usize, inner: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let depth = self.session.depth.get() + 1;
        if depth > DEEPEST_COMPILATION {
            return Err(self.error(at, "The query is nested too deeply or calls itself"));
        }
        self.session.depth.set(depth);
        let result = inner();
        self.session.depth.set(depth - 1);
        result
    }

    /// A constant of any type.
    pub fn constant(&self, expr: &Expr) -> Result<(Value, Type), Error> {
        let typed = self.scalar(expr, &mut Scope::nothing())?;
        match typed.cx {
            Cx::Const(value) => Ok((value, typed.ty)),
            _ => Err(self.error(expr.at, "The expression must be a constant")),
        }
    }

    /// A whole number that is not negative.
    pub fn count(&self, expr: &Expr) -> Result<u64, Error> {
        let (value, _) = self.constant(expr)?;
        let count = value.as_i64().and_then(|count| u64::try_from(count).ok());
        count.ok_or_else(|| self.error(expr.at, "The expression must be a whole number that is not negative"))
    }
}
