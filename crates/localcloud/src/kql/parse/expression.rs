//! Scalar expressions, with the service's precedence: `or`, `and`, equality and `in`, order, sums,
//! products, text tests, signs, access.

use super::Parser;
use crate::kql::ast::{BinaryOp, Expr, ExprKind, Name, Named, SetTest, Source, TextTest};
use crate::kql::error::Error;
use crate::kql::lexer::TokenKind;
use std::sync::Arc;

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expr, Error> {
        self.enter()?;
        let at = self.at();
        let mut terms = vec![self.conjunction()?];
        while self.eat_word("or") {
            terms.push(self.conjunction()?);
        }
        self.leave();
        match terms.pop() {
            Some(only) if terms.is_empty() => Ok(only),
            last => Expr::new(at, ExprKind::Or(terms.into_iter().chain(last).collect())),
        }
    }

    fn conjunction(&mut self) -> Result<Expr, Error> {
        let at = self.at();
        let mut terms = vec![self.equality()?];
        while self.eat_word("and") {
            terms.push(self.equality()?);
        }
        match terms.pop() {
            Some(only) if terms.is_empty() => Ok(only),
            last => Expr::new(at, ExprKind::And(terms.into_iter().chain(last).collect())),
        }
    }

    fn equality(&mut self) -> Result<Expr, Error> {
        let value = self.relation()?;
        let at = self.at();
        let op = match &self.peek().kind {
            TokenKind::Sign("==") => BinaryOp::Equal,
            TokenKind::Sign("!=" | "<>") => BinaryOp::NotEqual,
            TokenKind::Name => return self.word_test(value),
            _ => return Ok(value),
        };
        self.next += 1;
        let other = self.relation()?;
        Expr::new(at, ExprKind::Binary(op, Box::new(value), Box::new(other)))
    }

    /// `in`, `has_any`, `between` and their negations, if one follows.
    fn word_test(&mut self, value: Expr) -> Result<Expr, Error> {
        let at = self.at();
        let Some(word) = self.peek_word() else { return Ok(value) };
        let (negated, bare) = word.strip_prefix('!').map_or((false, word), |bare| (true, bare));
        let set = match bare {
            "in" => SetTest::In,
            "in~" => SetTest::InAnyCase,
            "has_any" if !negated => SetTest::HasAny,
            "has_all" if !negated => SetTest::HasAll,
            "between" => {
                self.next += 1;
                self.expect_sign("(")?;
                let low = self.expression()?;
                self.expect_sign("..")?;
                let high = self.expression()?;
                self.expect_sign(")")?;
                let (value, low, high) = (Box::new(value), Box::new(low), Box::new(high));
                return Expr::new(at, ExprKind::Between { negated, value, low, high });
            }
            _ => return Ok(value),
        };
        self.next += 1;
        self.expect_sign("(")?;
        let items = self.comma_list(Self::expression_or_query)?;
        self.expect_sign(")")?;
        Expr::new(at, ExprKind::In { set, negated, value: Box::new(value), items })
    }

    fn relation(&mut self) -> Result<Expr, Error> {
        let value = self.sum()?;
        let at = self.at();
        let TokenKind::Sign(sign) = self.peek().kind else { return Ok(value) };
        let op = match sign {
            "<" => BinaryOp::Less,
            "<=" => BinaryOp::LessOrEqual,
            ">" => BinaryOp::Greater,
            ">=" => BinaryOp::GreaterOrEqual,
            _ => return Ok(value),
        };
        self.next += 1;
        let other = self.sum()?;
        Expr::new(at, ExprKind::Binary(op, Box::new(value), Box::new(other)))
    }

    fn sum(&mut self) -> Result<Expr, Error> {
        let mut value = self.product()?;
        loop {
            let at = self.at();
            let op = match self.peek().kind {
                TokenKind::Sign("+") => BinaryOp::Add,
                TokenKind::Sign("-") => BinaryOp::Subtract,
                _ => return Ok(value),
            };
            self.next += 1;
            let other = self.product()?;
            value = Expr::new(at, ExprKind::Binary(op, Box::new(value), Box::new(other)))?;
        }
    }

    fn product(&mut self) -> Result<Expr, Error> {
        let mut value = self.text_test()?;
        loop {
            let at = self.at();
            let op = match self.peek().kind {
                TokenKind::Sign("*") => BinaryOp::Multiply,
                TokenKind::Sign("/") => BinaryOp::Divide,
                TokenKind::Sign("%") => BinaryOp::Modulo,
                _ => return Ok(value),
            };
            self.next += 1;
            let other = self.text_test()?;
            value = Expr::new(at, ExprKind::Binary(op, Box::new(value), Box::new(other)))?;
        }
    }

    fn text_test(&mut self) -> Result<Expr, Error> {
        let value = self.signed()?;
        let at = self.at();
        let op = match self.peek().kind {
            TokenKind::Sign("=~") => Some(BinaryOp::EqualAnyCase),
            TokenKind::Sign("!~") => Some(BinaryOp::NotEqualAnyCase),
            _ => None,
        };
        if let Some(op) = op {
            self.next += 1;
            let other = self.signed()?;
            return Expr::new(at, ExprKind::Binary(op, Box::new(value), Box::new(other)));
        }
        let Some(word) = self.peek_word() else { return Ok(value) };
        let (negated, bare) = word.strip_prefix('!').map_or((false, word), |bare| (true, bare));
        let test = match bare {
            "has" => TextTest::Has,
            "has_cs" => TextTest::HasCs,
            "hasprefix" => TextTest::HasPrefix,
            "hasprefix_cs" => TextTest::HasPrefixCs,
            "hassuffix" => TextTest::HasSuffix,
            "hassuffix_cs" => TextTest::HasSuffixCs,
            "contains" => TextTest::Contains,
            "contains_cs" => TextTest::ContainsCs,
            "startswith" => TextTest::StartsWith,
            "startswith_cs" => TextTest::StartsWithCs,
            "endswith" => TextTest::EndsWith,
            "endswith_cs" => TextTest::EndsWithCs,
            "matches" if !negated && self.peek_word_at(1) == Some("regex") => {
                self.next += 1;
                TextTest::Regex
            }
            _ => return Ok(value),
        };
        self.next += 1;
        let other = Box::new(self.signed()?);
        Expr::new(at, ExprKind::Text { test, negated, value: Box::new(value), other })
    }

    fn signed(&mut self) -> Result<Expr, Error> {
        let at = self.at();
        if self.eat_sign("-") {
            if matches!(self.peek().kind, TokenKind::Long | TokenKind::Real | TokenKind::Timespan(_)) {
                self.next -= 1;
                let (value, ty) = self.literal_value()?;
                return Expr::new(at, ExprKind::Literal(value, ty));
            }
            let inner = self.access()?;
            return Expr::new(at, ExprKind::Negate(Box::new(inner)));
        }
        self.eat_sign("+");
        self.access()
    }

    /// A primary expression with its `.member`s and `[index]`es.
    fn access(&mut self) -> Result<Expr, Error> {
        let mut value = self.primary()?;
        loop {
            let at = self.at();
            if self.eat_sign(".") {
                let member = self.name()?;
                value = Expr::new(at, ExprKind::Member(Box::new(value), member.text))?;
            } else if self.peek().is_sign("[") {
                self.next += 1;
                let index = if self.peek().is_sign("[") {
                    let name = self.name()?;
                    Expr::new(name.at, ExprKind::Name(name.text))?
                } else {
                    self.expression()?
                };
                self.expect_sign("]")?;
                value = Expr::new(at, ExprKind::Index(Box::new(value), Box::new(index)))?;
            } else {
                return Ok(value);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Error> {
        let at = self.at();
        if let Some((value, ty)) = self.literal(false)? {
            return Expr::new(at, ExprKind::Literal(value, ty));
        }
        if matches!(&self.peek().kind, TokenKind::Typed { name, .. } if name == "datetime") {
            self.next += 1;
            return Expr::new(at, ExprKind::Call(Name { text: "now".into(), at }, Vec::new()));
        }
        if self.eat_sign("(") {
            self.enter()?;
            let inner = self.expression_or_query()?;
            self.expect_sign(")")?;
            self.leave();
            return Ok(inner);
        }
        if self.eat_sign("*") {
            return Expr::new(at, ExprKind::Star);
        }
        let bracketed = self.peek().is_sign("[");
        if !bracketed && self.peek_word().is_none_or(|word| RESERVED.contains(&word) || word.starts_with('!')) {
            return Err(self.unexpected("an expression"));
        }
        let name = self.name()?;
        if bracketed || !self.eat_sign("(") {
            return Expr::new(at, ExprKind::Name(name.text));
        }
        let mut arguments = Vec::new();
        if !self.eat_sign(")") {
            arguments = self.comma_list(Self::argument)?;
            self.expect_sign(")")?;
        }
        Expr::new(at, ExprKind::Call(name, arguments))
    }

    fn argument(&mut self) -> Result<Named, Error> {
        let name = self.assigned_name()?;
        Ok(Named { name, expr: self.expression_or_query()? })
    }

    /// `name =` before an expression, if it is there.
    pub(super) fn assigned_name(&mut self) -> Result<Option<Name>, Error> {
        let length = if self.peek().is_sign("[") { 3 } else { 1 };
        if !self.peek_at(length).is_sign("=") || !(length == 3 || self.peek_word().is_some()) {
            return Ok(None);
        }
        let name = self.name()?;
        self.expect_sign("=")?;
        Ok(Some(name))
    }

    pub(super) fn named(&mut self) -> Result<Named, Error> {
        let name = self.assigned_name()?;
        Ok(Named { name, expr: self.expression()? })
    }

    /// What a pipeline or an expression begins with.
    pub(super) fn source(&mut self) -> Result<Source, Error> {
        match self.peek_word() {
            Some("datatable") if self.peek_at(1).is_sign("(") => {
                self.next += 1;
                self.datatable()
            }
            Some("print") if !self.peek_at(1).is_sign("=") => {
                self.next += 1;
                Ok(Source::Print(self.comma_list(Self::named)?))
            }
            Some("range") if self.peek_word_at(2) == Some("from") => {
                self.next += 1;
                let name = self.name()?;
                self.expect_word("from")?;
                let from = self.expression()?;
                self.expect_word("to")?;
                let to = self.expression()?;
                self.expect_word("step")?;
                let step = self.expression()?;
                Ok(Source::Range { name, from, to, step })
            }
            Some("union") => {
                self.next += 1;
                Ok(Source::Union(self.union()?))
            }
            _ => Ok(Source::Expr(self.expression()?)),
        }
    }

    /// A table given to an operator: a name, a call, or a query in parentheses.
    pub(super) fn table_expression(&mut self) -> Result<Expr, Error> {
        self.access()
    }

    /// `count * (`: a name right before a star is a pattern.
    pub(super) fn pattern(&mut self) -> Result<Name, Error> {
        let at = self.at();
        let mut text = String::new();
        let mut end = at;
        while self.at() == end {
            let part = match (&self.peek().kind, self.peek_word()) {
                (TokenKind::Sign("*"), _) => "*",
                (_, Some(word)) => word,
                _ => break,
            };
            text.push_str(part);
            end = self.peek().end;
            self.next += 1;
        }
        if text.is_empty() { self.name() } else { Ok(Name { text: Arc::from(text), at }) }
    }
}

/// Words that begin no expression.
const RESERVED: [&str; 7] = ["and", "or", "by", "in", "between", "where", "on"];
