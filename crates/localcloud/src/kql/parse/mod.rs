//! Text to syntax tree: the token cursor and the statements. Knows no catalog and no types beyond those
//! that literals spell out.

mod expression;
mod literal;
mod operators;

use super::ast::{Expr, ExprKind, Function, LetValue, Name, Parameter, Query, Source, Statement, too_deep};
use super::error::Error;
use super::lexer::{Token, TokenKind, tokenize};
use super::{Type, Value};
use std::sync::Arc;

/// How deep expressions may be nested in the text; each level takes a dozen stack frames.
const DEEPEST_NESTING: usize = 60;
/// How many operators one pipeline may have.
const LONGEST_PIPELINE: usize = 500;

/// The statements of a query text, or of a function body in braces.
pub(super) fn statements(text: &str) -> Result<Vec<Statement>, Error> {
    let mut parser = Parser::new(text)?;
    let braced = parser.eat_sign("{");
    let statements = parser.statements(braced)?;
    if braced {
        parser.expect_sign("}")?;
    }
    parser.expect_end()?;
    Ok(statements)
}

/// Reads one scalar literal, such as `datetime(2026-01-31)` or `dynamic([1])`, and nothing else.
///
/// # Errors
/// Any other text.
pub fn parse_literal(text: &str) -> Result<(Value, Type), Error> {
    let read = || {
        let mut parser = Parser::new(text)?;
        let literal = parser.literal_value()?;
        parser.expect_end()?;
        Ok(literal)
    };
    read().map_err(|error: Error| error.located(text))
}

pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, Error> {
        Ok(Self { text, tokens: tokenize(text)?, next: 0, nesting: 0 })
    }

    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        // The last token is End, and nothing moves past it.
        &self.tokens[(self.next + ahead).min(self.tokens.len() - 1)]
    }

    fn at(&self) -> usize {
        self.peek().start
    }

    fn word(&self, token: &Token) -> Option<&'a str> {
        (token.kind == TokenKind::Name).then(|| &self.text[token.start..token.end])
    }

    fn peek_word(&self) -> Option<&'a str> {
        self.word(self.peek())
    }

    fn peek_word_at(&self, ahead: usize) -> Option<&'a str> {
        self.word(self.peek_at(ahead))
    }

    fn eat_sign(&mut self, sign: &str) -> bool {
        let found = self.peek().is_sign(sign);
        self.next += usize::from(found);
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.peek_word() == Some(word);
        self.next += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), Error> {
        if self.eat_sign(sign) { Ok(()) } else { Err(self.unexpected(format_args!("'{sign}'"))) }
    }

    fn expect_word(&mut self, word: &str) -> Result<(), Error> {
        if self.eat_word(word) { Ok(()) } else { Err(self.unexpected(format_args!("'{word}'"))) }
    }

    fn expect_end(&self) -> Result<(), Error> {
        if self.peek().kind == TokenKind::End { Ok(()) } else { Err(self.unexpected("the end of the query")) }
    }

    /// The error of meeting the next token where something else belongs.
    fn unexpected(&self, wanted: impl std::fmt::Display) -> Error {
        let token = self.peek();
        if token.kind == TokenKind::End {
            return Error::syntax(token.start, format_args!("The query ends where {wanted} was expected"));
        }
        let met: String = token.text(self.text).chars().take(40).collect();
        Error::syntax(token.start, format_args!("Unexpected '{met}' where {wanted} was expected"))
    }

    /// One level deeper; `leave` goes back.
    fn enter(&mut self) -> Result<(), Error> {
        self.nesting += 1;
        if self.nesting > DEEPEST_NESTING { Err(too_deep(self.at())) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.nesting -= 1;
    }

    /// A name, bare or as `['name']`.
    fn name(&mut self) -> Result<Name, Error> {
        let at = self.at();
        if self.peek().is_sign("[") {
            if let TokenKind::String(text) = &self.peek_at(1).kind {
                let text = Arc::from(text.as_str());
                if self.peek_at(2).is_sign("]") {
                    self.next += 3;
                    return Ok(Name { text, at });
                }
            }
            return Err(self.unexpected("a name"));
        }
        match self.peek_word().filter(|word| !word.starts_with('!')) {
            Some(word) => {
                self.next += 1;
                Ok(Name { text: word.into(), at })
            }
            None => Err(self.unexpected("a name")),
        }
    }

    fn comma_list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, Error>) -> Result<Vec<T>, Error> {
        let mut items = vec![item(self)?];
        while self.eat_sign(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn statements(&mut self, braced: bool) -> Result<Vec<Statement>, Error> {
        let mut statements = Vec::new();
        loop {
            while self.eat_sign(";") {}
            if self.peek().kind == TokenKind::End || braced && self.peek().is_sign("}") {
                return Ok(statements);
            }
            match (self.peek_word(), self.peek_word_at(1)) {
                (Some("let"), _) => statements.push(self.let_statement()?),
                (Some("set"), Some(_)) => self.set_statement()?,
                (Some("declare"), Some("query_parameters")) => {
                    self.next += 2;
                    statements.push(Statement::Parameters(self.parameters()?));
                }
                _ => statements.push(Statement::Query(self.query()?)),
            }
            if !(self.peek().is_sign(";") || self.peek().kind == TokenKind::End || braced && self.peek().is_sign("}")) {
                return Err(self.unexpected("'|', ';' or the end of the statement"));
            }
        }
    }

    /// `set option [= value]`: how a query is run is no concern of this engine, so options are only read.
    fn set_statement(&mut self) -> Result<(), Error> {
        self.next += 1;
        self.name()?;
        if self.eat_sign("=") && self.literal_value().is_err() {
            self.name()?;
        }
        Ok(())
    }

    fn let_statement(&mut self) -> Result<Statement, Error> {
        self.next += 1;
        let name = self.name()?;
        self.expect_sign("=")?;
        if self.peek_word() == Some("view") && self.peek_at(1).is_sign("(") {
            self.next += 1;
            return Ok(Statement::Let(name, LetValue::Function(Arc::new(self.function()?))));
        }
        if self.begins_function() {
            return Ok(Statement::Let(name, LetValue::Function(Arc::new(self.function()?))));
        }
        Ok(Statement::Let(name, LetValue::Expr(self.expression_or_query()?)))
    }

    /// Whether `(…) {` follows.
    fn begins_function(&self) -> bool {
        if !self.peek().is_sign("(") {
            return false;
        }
        let mut depth = 0usize;
        let mut ahead = 0;
        loop {
            let token = self.peek_at(ahead);
            if token.kind == TokenKind::End || token.is_sign(";") {
                return false;
            }
            depth += usize::from(token.is_sign("("));
            if token.is_sign(")") {
                depth -= 1;
                if depth == 0 {
                    return self.peek_at(ahead + 1).is_sign("{");
                }
            }
            ahead += 1;
        }
    }

    fn function(&mut self) -> Result<Function, Error> {
        self.enter()?;
        let parameters = self.parameters()?;
        self.expect_sign("{")?;
        let body = self.statements(true)?;
        self.expect_sign("}")?;
        self.leave();
        Ok(Function { parameters, body })
    }

    fn parameters(&mut self) -> Result<Vec<Parameter>, Error> {
        self.expect_sign("(")?;
        if self.eat_sign(")") {
            return Ok(Vec::new());
        }
        let parameters = self.comma_list(|parser| {
            let name = parser.name()?;
            parser.expect_sign(":")?;
            let ty = parser.type_name()?;
            let default = if parser.eat_sign("=") { Some(parser.literal_value()?.0) } else { None };
            Ok(Parameter { name, ty, default })
        })?;
        self.expect_sign(")")?;
        Ok(parameters)
    }

    fn type_name(&mut self) -> Result<Type, Error> {
        match self.peek_word().and_then(Type::from_name) {
            Some(ty) => {
                self.next += 1;
                Ok(ty)
            }
            None => Err(self.unexpected("a scalar type")),
        }
    }

    /// A whole pipeline.
    fn query(&mut self) -> Result<Query, Error> {
        let at = self.at();
        let source = self.source()?;
        self.pipeline(at, source)
    }

    fn pipeline(&mut self, at: usize, source: Source) -> Result<Query, Error> {
        let mut operators = Vec::new();
        while self.eat_sign("|") {
            if operators.len() == LONGEST_PIPELINE {
                return Err(Error::syntax(self.at(), "The query has too many operators"));
            }
            operators.push(self.operator()?);
        }
        Query::new(at, source, operators)
    }

    /// What may stand in parentheses, after `let x =`, or as a table argument: an expression, or a
    /// pipeline, which shows only at its `|`.
    fn expression_or_query(&mut self) -> Result<Expr, Error> {
        let at = self.at();
        match self.source()? {
            Source::Expr(expr) if !self.peek().is_sign("|") => Ok(expr),
            source => {
                let query = self.pipeline(at, source)?;
                Expr::new(at, ExprKind::Query(Box::new(query)))
            }
        }
    }
}
