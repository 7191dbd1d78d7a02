//! The operators of a pipeline.

use super::Parser;
use crate::kql::ast::{Expr, Join, JoinKind, Leg, MvExpand, Name, Operator, OperatorKind, SortKey, Union};
use crate::kql::error::Error;
use crate::kql::lexer::TokenKind;

impl Parser<'_> {
    /// The operator after a `|`.
    pub(super) fn operator(&mut self) -> Result<Operator, Error> {
        let at = self.at();
        let Some((name, tokens)) = self.operator_name() else { return Err(self.unexpected("a query operator")) };
        self.next += tokens;
        let kind = match name {
            "where" => OperatorKind::Where(self.expression()?),
            "extend" => OperatorKind::Extend(self.comma_list(Self::named)?),
            "project" => OperatorKind::Project(self.comma_list(Self::named)?),
            "project-away" => OperatorKind::ProjectAway(self.comma_list(Self::pattern)?),
            "project-keep" => OperatorKind::ProjectKeep(self.comma_list(Self::pattern)?),
            "project-reorder" => OperatorKind::ProjectReorder(self.comma_list(Self::pattern)?),
            "project-rename" => OperatorKind::ProjectRename(self.comma_list(|parser| {
                let new = parser.name()?;
                parser.expect_sign("=")?;
                Ok((new, parser.name()?))
            })?),
            "take" => OperatorKind::Take(self.expression()?),
            "count" => OperatorKind::Count(if self.eat_word("as") { Some(self.name()?) } else { None }),
            "summarize" => self.summarize()?,
            "sort" => {
                self.hints(&[])?;
                self.expect_word("by")?;
                OperatorKind::Sort(self.comma_list(Self::sort_key)?)
            }
            "top" => {
                let count = self.expression()?;
                self.expect_word("by")?;
                OperatorKind::Top { count, key: self.sort_key()? }
            }
            "distinct" => {
                self.hints(&[])?;
                OperatorKind::Distinct(self.comma_list(Self::named)?)
            }
            "join" => OperatorKind::Join(self.join()?),
            "getschema" => OperatorKind::GetSchema,
            "mv-expand" => OperatorKind::MvExpand(self.mv_expand()?),
            "serialize" => {
                let ends = matches!(self.peek().kind, TokenKind::End | TokenKind::Sign("|" | ")" | ";" | "}"));
                OperatorKind::Serialize(if ends { Vec::new() } else { self.comma_list(Self::named)? })
            }
            "as" => {
                self.hints(&[])?;
                OperatorKind::As(self.name()?)
            }
            _ => OperatorKind::Union(self.union()?),
        };
        Ok(Operator { at, name, kind })
    }

    /// The operator that the next tokens name, and how many tokens that takes.
    fn operator_name(&self) -> Option<(&'static str, usize)> {
        let word = self.peek_word()?;
        let dashed = self.peek_at(1).is_sign("-") && self.peek_at(1).start == self.peek().end;
        if dashed {
            let name = match (word, self.peek_word_at(2)?) {
                ("project", "away") => "project-away",
                ("project", "keep") => "project-keep",
                ("project", "rename") => "project-rename",
                ("project", "reorder") => "project-reorder",
                ("mv", "expand") => "mv-expand",
                _ => return None,
            };
            return Some((name, 3));
        }
        let name = match word {
            "where" | "filter" => "where",
            "extend" => "extend",
            "project" => "project",
            "take" | "limit" => "take",
            "count" => "count",
            "summarize" => "summarize",
            "sort" | "order" => "sort",
            "top" => "top",
            "distinct" => "distinct",
            "join" => "join",
            "getschema" => "getschema",
            "mvexpand" => "mv-expand",
            "serialize" => "serialize",
            "as" => "as",
            "union" => "union",
            _ => return None,
        };
        Some((name, 1))
    }

    /// Skips `hint.x = value`; gives the values of the parameters named in `known`, in their order.
    fn hints(&mut self, known: &[&str]) -> Result<Vec<Option<Name>>, Error> {
        let mut values = vec![None; known.len()];
        loop {
            if self.peek_word() == Some("hint") && self.peek_at(1).is_sign(".") {
                self.next += 2;
                self.name()?;
                self.expect_sign("=")?;
                if self.literal(false)?.is_none() {
                    self.name()?;
                }
                continue;
            }
            let Some(index) = self.peek_word().and_then(|word| known.iter().position(|name| *name == word)) else {
                break;
            };
            if !self.peek_at(1).is_sign("=") {
                break;
            }
            self.next += 2;
            let at = self.at();
            values[index] = Some(match self.peek().kind.clone() {
                TokenKind::String(text) => {
                    self.next += 1;
                    Name { text: text.into(), at }
                }
                _ => self.name()?,
            });
        }
        Ok(values)
    }

    fn summarize(&mut self) -> Result<OperatorKind, Error> {
        self.hints(&[])?;
        let aggregates = if self.peek_word() == Some("by") { Vec::new() } else { self.comma_list(Self::named)? };
        let by = if self.eat_word("by") { self.comma_list(Self::named)? } else { Vec::new() };
        if aggregates.is_empty() && by.is_empty() {
            return Err(self.unexpected("an aggregation"));
        }
        Ok(OperatorKind::Summarize { aggregates, by })
    }

    fn sort_key(&mut self) -> Result<SortKey, Error> {
        let expr = self.expression()?;
        let ascending = self.eat_word("asc");
        if !ascending {
            self.eat_word("desc");
        }
        let mut nulls_first = ascending;
        if self.eat_word("nulls") {
            nulls_first = self.eat_word("first");
            if !nulls_first {
                self.expect_word("last")?;
            }
        }
        Ok(SortKey { expr, ascending, nulls_first })
    }

    fn join(&mut self) -> Result<Join, Error> {
        let kind = match self.hints(&["kind"])?.pop().flatten() {
            None => JoinKind::InnerUnique,
            Some(name) => join_kind(&name.text)
                .ok_or_else(|| Error::syntax(name.at, format_args!("'{}' is not a kind of join", name.text)))?,
        };
        let right = self.table_expression()?;
        self.expect_word("on")?;
        // `and` between conditions means what the comma does.
        let on = self.comma_list(Self::expression)?;
        Ok(Join { kind, right, on })
    }

    fn mv_expand(&mut self) -> Result<MvExpand, Error> {
        let mut parameters = self.hints(&["kind", "bagexpansion", "with_itemindex"])?;
        let index = parameters.pop().flatten();
        let pairs = match parameters.into_iter().flatten().next() {
            None => false,
            Some(name) if &*name.text == "bag" => false,
            Some(name) if &*name.text == "array" => true,
            Some(name) => return Err(Error::syntax(name.at, "The kind of 'mv-expand' is 'bag' or 'array'")),
        };
        let items = self.comma_list(|parser| {
            let item = parser.named()?;
            if !parser.eat_word("to") {
                return Ok((item, None));
            }
            parser.expect_word("typeof")?;
            parser.expect_sign("(")?;
            let ty = parser.type_name()?;
            parser.expect_sign(")")?;
            Ok((item, Some(ty)))
        })?;
        let limit: Option<Expr> = if self.eat_word("limit") { Some(self.expression()?) } else { None };
        Ok(MvExpand { pairs, index, items, limit })
    }

    pub(super) fn union(&mut self) -> Result<Union, Error> {
        let mut parameters = self.hints(&["kind", "withsource", "with_source", "isfuzzy"])?.into_iter();
        let kind = parameters.next().flatten();
        let with_source = parameters.next().flatten().or(parameters.next().flatten());
        let fuzzy = parameters.next().flatten();
        let inner = match kind {
            None => false,
            Some(name) if &*name.text == "outer" => false,
            Some(name) if &*name.text == "inner" => true,
            Some(name) => return Err(Error::syntax(name.at, "The kind of 'union' is 'inner' or 'outer'")),
        };
        let fuzzy = fuzzy.is_some_and(|name| &*name.text == "true");
        let legs = self.comma_list(|parser| {
            let starred = parser.peek_at(1).is_sign("*") && parser.peek_at(1).start == parser.peek().end;
            if parser.peek().is_sign("*") || starred && parser.peek_word().is_some() {
                return Ok(Leg::Pattern(parser.pattern()?));
            }
            Ok(Leg::Expr(parser.table_expression()?))
        })?;
        Ok(Union { inner, with_source, fuzzy, legs })
    }
}

fn join_kind(name: &str) -> Option<JoinKind> {
    Some(match name {
        "innerunique" => JoinKind::InnerUnique,
        "inner" => JoinKind::Inner,
        "leftouter" => JoinKind::LeftOuter,
        "rightouter" => JoinKind::RightOuter,
        "fullouter" => JoinKind::FullOuter,
        "leftsemi" => JoinKind::LeftSemi,
        "leftanti" | "anti" | "leftantisemi" => JoinKind::LeftAnti,
        "rightsemi" => JoinKind::RightSemi,
        "rightanti" | "rightantisemi" => JoinKind::RightAnti,
        _ => return None,
    })
}
