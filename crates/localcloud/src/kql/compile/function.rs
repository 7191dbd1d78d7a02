//! Functions that the query or the catalog defines, called for a scalar.

use super::call::converted;
use super::{Binding, Context, Scope, Typed};
use crate::kql::ast::{Name, Named, Parameter, Source, Statement};
use crate::kql::error::Error;
use crate::kql::{Type, functions, parse};
use std::sync::Arc;

impl Context {
    /// A function that the query or the catalog defines, called for a scalar.
    pub(super) fn own_function(
        &self,
        name: &Name,
        args: &[Named],
        scope: &mut Scope<'_>,
    ) -> Result<Option<Typed>, Error> {
        if let Some(Binding::Function(function, home)) = self.names.get(&name.text) {
            let mut inside = home.at(self.operator);
            for (parameter, typed) in
                function.parameters.iter().zip(self.arguments(name, &function.parameters, args, scope)?)
            {
                inside.bind(Arc::clone(&parameter.name.text), Binding::Scalar(typed));
            }
            return inside.scalar_body(name.at, &function.body, scope).map(Some);
        }
        if !args.is_empty() || functions::find(&name.text).is_some() {
            return Ok(None);
        }
        let Some(body) = self.session.catalog.function(&name.text) else { return Ok(None) };
        let outside = Context { names: Arc::default(), ..self.clone() };
        let read = || outside.scalar_body(name.at, &parse::statements(&body)?, scope);
        read().map(Some).map_err(|error| error.located(&body))
    }

    /// The arguments of a call in the order of the parameters.
    pub fn arguments(
        &self,
        name: &Name,
        parameters: &[Parameter],
        args: &[Named],
        scope: &mut Scope<'_>,
    ) -> Result<Vec<Typed>, Error> {
        if args.len() > parameters.len() {
            return Err(self.wrong_count(name, &parameters.len().to_string()));
        }
        let mut given = Vec::with_capacity(parameters.len());
        for (index, parameter) in parameters.iter().enumerate() {
            let by_name =
                args.iter().find(|arg| arg.name.as_ref().is_some_and(|name| name.text == parameter.name.text));
            let typed = match (by_name.or(args.get(index)), &parameter.default) {
                (Some(argument), _) => self.scalar(&argument.expr, scope)?,
                (None, Some(default)) => Typed::constant(default.convert(parameter.ty), parameter.ty),
                (None, None) => return Err(self.wrong_count(name, &parameters.len().to_string())),
            };
            let fits = typed.ty == parameter.ty
                || typed.ty.is_number() && parameter.ty.is_number()
                || typed.ty == Type::Dynamic;
            if !fits {
                let (got, wanted) = (typed.ty.name(), parameter.ty.name());
                return Err(self.error(name.at, format_args!("'{}' expects a {wanted}, not a {got}", name.text)));
            }
            given.push(scope.keep(converted(typed, parameter.ty)));
        }
        Ok(given)
    }

    fn scalar_body(mut self, at: usize, body: &[Statement], scope: &mut Scope<'_>) -> Result<Typed, Error> {
        let result = self.bind_statements(body)?;
        let Some(query) = result else { return Err(self.error(at, "The function has no result")) };
        let hidden = std::mem::replace(&mut scope.hidden, true);
        let value = match (&query.source, query.operators.is_empty()) {
            (Source::Expr(expr), true) => self.scalar(expr, scope),
            _ => Err(self.error(at, "The function gives a table where a scalar is expected")),
        };
        scope.hidden = hidden;
        value
    }
}
