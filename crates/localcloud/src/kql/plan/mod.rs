//! Queries to streams: sources, operators and statements. Nothing runs here but what the plan itself needs,
//! such as `toscalar()` and the lists of `in`.

mod join;
mod operators;
mod sort;
mod sources;
mod stream;
mod summarize;
mod union;

pub(super) use stream::{Step, Stream};

use super::ast::{Expr, ExprKind, LetValue, Named, Query, Source, Statement};
use super::compile::{Binding, Context, Scope, Typed};
use super::error::Error;
use super::{Answer, Catalog, MemoryTable, Table, Type, Value, parse};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many streams may run inside each other.
const MOST_STAGES: usize = 150;

/// Plans a query and starts it.
///
/// # Errors
/// A text that is not KQL, or does not make sense with this catalog. Errors that only rows can show come
/// with the rows.
pub fn run(query: &str, catalog: &Arc<dyn Catalog>) -> Result<Answer, Error> {
    run_with_parameters(query, catalog, BTreeMap::new())
}

/// The same, with values for `declare query_parameters`: strings and longs may be plain, all others are
/// literals in strings.
///
/// # Errors
/// As [`run`], and parameters that the query does not declare or that do not fit their types.
pub fn run_with_parameters(
    query: &str,
    catalog: &Arc<dyn Catalog>,
    parameters: BTreeMap<String, serde_json::Value>,
) -> Result<Answer, Error> {
    let plan = || {
        let statements = parse::statements(query)?;
        let mut context = Context::new(Arc::clone(catalog), parameters);
        match context.bind_statements(&statements)? {
            Some(query) => context.query(query),
            None => Err(Error::syntax(query.len(), "The query has no tabular statement")),
        }
    };
    let stream = plan().map_err(|error| error.located(query))?;
    let text = query.to_owned();
    let columns = stream.schema();
    let rows = stream.into_rows(false).map(move |row| row.map_err(|error| error.located(&text)));
    Ok(Answer { columns, rows: Box::new(rows) })
}

impl Context {
    /// Takes in `let` statements and declarations; gives the statement with the result.
    pub(super) fn bind_statements<'a>(&mut self, statements: &'a [Statement]) -> Result<Option<&'a Query>, Error> {
        let mut result = None;
        for statement in statements {
            match statement {
                Statement::Let(name, value) => {
                    let binding = match value {
                        LetValue::Function(function) => Binding::Function(Arc::clone(function), self.clone()),
                        LetValue::Expr(expr) => self.let_binding(expr)?,
                    };
                    self.bind(Arc::clone(&name.text), binding);
                }
                Statement::Parameters(parameters) => self.declare(parameters)?,
                Statement::Query(query) if result.is_some() => {
                    return Err(self.error(query.at, "A query has one tabular statement"));
                }
                Statement::Query(query) => result = Some(query),
            }
        }
        Ok(result)
    }

    fn let_binding(&self, expr: &Expr) -> Result<Binding, Error> {
        if let ExprKind::Call(name, args) = &expr.kind
            && &*name.text == "materialize"
        {
            let [Named { expr, .. }] = args.as_slice() else {
                return Err(self.error(name.at, "The function 'materialize' expects 1 argument(s)"));
            };
            let stream = self.tabular(expr)?;
            let columns = stream.schema();
            let rows = stream.into_rows(false).collect::<Result<Vec<_>, _>>()?;
            return Ok(Binding::Table(Arc::new(MemoryTable::new(columns, rows))));
        }
        if self.is_tabular(expr) {
            return Ok(Binding::Tabular(Arc::new(expr.clone()), self.clone()));
        }
        Ok(Binding::Scalar(self.scalar(expr, &mut Scope::nothing())?))
    }

    fn declare(&mut self, parameters: &[super::ast::Parameter]) -> Result<(), Error> {
        for parameter in parameters {
            let name = &parameter.name;
            let value = match self.session.parameters.get(&*name.text) {
                None => parameter.default.clone(),
                Some(serde_json::Value::String(text)) if parameter.ty == Type::String => {
                    Some(Value::text(text.as_str()))
                }
                Some(serde_json::Value::String(text)) => {
                    let detail = |_| self.error(name.at, format_args!("Parameter '{}' is not a literal", name.text));
                    Some(parse::parse_literal(text).map_err(detail)?.0)
                }
                Some(plain) => super::value::from_json(plain),
            };
            let Some(value) = value else {
                return Err(self.error(name.at, format_args!("Query parameter '{}' has no value", name.text)));
            };
            let typed = Typed::constant(value.convert(parameter.ty), parameter.ty);
            self.bind(Arc::clone(&name.text), Binding::Scalar(typed));
        }
        Ok(())
    }

    /// Whether an expression stands for a table.
    pub(super) fn is_tabular(&self, expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::Query(_) => true,
            ExprKind::Name(name) => match self.names.get(name) {
                Some(Binding::Tabular(..) | Binding::Table(_)) => true,
                Some(Binding::Function(function, _)) => function_is_tabular(function.body.last(), self),
                Some(Binding::Scalar(_)) => false,
                None => self.session.catalog.table(name).is_some() || self.session.catalog.function(name).is_some(),
            },
            ExprKind::Call(name, _) => match self.names.get(&name.text) {
                Some(Binding::Function(function, home)) => function_is_tabular(function.body.last(), home),
                Some(_) => false,
                None if matches!(&*name.text, "table" | "materialize") => true,
                None => {
                    super::functions::find(&name.text).is_none()
                        && self.session.catalog.function(&name.text).is_some_and(|body| {
                            parse::statements(&body).is_ok_and(|body| function_is_tabular(body.last(), self))
                        })
                }
            },
            _ => false,
        }
    }

    /// The values of a table's first column.
    pub(super) fn first_column(&self, expr: &Expr) -> Result<(Vec<Value>, Type), Error> {
        let mut stream = self.tabular(expr)?;
        stream.columns.truncate(1);
        let Some(ty) = stream.columns.first().map(|column| column.ty) else {
            return Err(self.error(expr.at, "The table has no columns"));
        };
        let values = stream.into_rows(false).map(|row| row.map(|row| row.into_iter().next().unwrap_or(Value::Null)));
        Ok((values.collect::<Result<_, _>>()?, ty))
    }

    /// A whole pipeline.
    pub(super) fn query(&self, query: &Query) -> Result<Stream, Error> {
        self.deeper(query.at, || {
            let mut context = self.at(query.operators.first().map_or("", |operator| operator.name));
            let mut stream = match &query.source {
                Source::Expr(expr) => context.tabular(expr)?,
                Source::Datatable(columns, rows) => {
                    Stream::scan(Arc::new(MemoryTable::new(columns.clone(), rows.clone())), None)
                }
                Source::Print(items) => self.at("print").print(items)?,
                Source::Range { name, from, to, step } => self.at("range").range(name, [from, to, step])?,
                Source::Union(union) => self.at("union").union(None, union)?,
            };
            for (index, operator) in query.operators.iter().enumerate() {
                context.operator = operator.name;
                if let super::ast::OperatorKind::As(name) = &operator.kind {
                    // The name stands for the pipeline up to here, which runs again where it is used.
                    let before = Query { operators: query.operators[..index].to_vec(), ..query.clone() };
                    let expr = Expr::new(query.at, ExprKind::Query(Box::new(before)))?;
                    let home = context.clone();
                    context.bind(Arc::clone(&name.text), Binding::Tabular(Arc::new(expr), home));
                    stream.name = Some(name.text.to_string());
                    continue;
                }
                stream = context.operator(stream, operator)?;
                if stream.stages > MOST_STAGES {
                    return Err(context.error(operator.at, "The query has too many stages"));
                }
            }
            Ok(stream)
        })
    }

    /// An expression that stands for a table.
    pub(super) fn tabular(&self, expr: &Expr) -> Result<Stream, Error> {
        match &expr.kind {
            ExprKind::Query(query) => self.query(query),
            ExprKind::Name(name) => self.named_table(expr.at, name),
            ExprKind::Call(name, args) => self.called_table(expr.at, name, args),
            _ => Err(self.error(expr.at, "The expression is not a table")),
        }
    }
}

fn function_is_tabular(last: Option<&Statement>, context: &Context) -> bool {
    match last {
        Some(Statement::Query(query)) => match &query.source {
            Source::Expr(expr) if query.operators.is_empty() => context.is_tabular(expr),
            _ => true,
        },
        _ => false,
    }
}

/// A table that rows are read from once.
fn of_rows(table: MemoryTable) -> Stream {
    let table: Arc<dyn Table> = Arc::new(table);
    Stream::scan(table, None)
}
