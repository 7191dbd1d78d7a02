//! Reads the text of a command token by token. Knows the shapes that all commands share: hyphenated words,
//! entity names, column lists, property lists.

use super::error::Error;
use crate::kql::lexer::{Lexer, Token, TokenKind};
use crate::kql::{Column, Type};
use std::collections::BTreeMap;

/// `with (name=value, …)`, names in lower case.
pub(super) type Properties = BTreeMap<String, String>;

pub(super) struct Cursor<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    /// Where in the text the lexer began.
    base: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, lexer: Lexer::new(text), base: 0 }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn offset(&self) -> usize {
        self.base + self.lexer.offset()
    }

    pub(super) fn peek(&self) -> Result<Token, Error> {
        let mut lexer = self.lexer.clone();
        self.read(&mut lexer)
    }

    fn take(&mut self) -> Result<Token, Error> {
        let mut lexer = self.lexer.clone();
        let token = self.read(&mut lexer)?;
        self.lexer = lexer;
        Ok(token)
    }

    fn read(&self, lexer: &mut Lexer<'a>) -> Result<Token, Error> {
        let mut token = lexer.next_token().map_err(|mut error| {
            error.position.offset += self.base;
            Error::from(error.located(self.text))
        })?;
        token.start += self.base;
        token.end += self.base;
        Ok(token)
    }

    /// Goes on at `offset`, whatever stands before it.
    fn seek(&mut self, offset: usize) {
        self.base = offset;
        self.lexer = Lexer::new(&self.text[offset..]);
    }

    /// The error of meeting the next token where something else belongs.
    pub(super) fn unexpected(&self, wanted: &str) -> Error {
        let token = match self.peek() {
            Ok(token) => token,
            Err(error) => return error,
        };
        if token.kind == TokenKind::End {
            return Error::syntax(self.text, token.start, format_args!("The command ends where {wanted} was expected"));
        }
        let met: String = token.text(self.text).chars().take(40).collect();
        Error::syntax(self.text, token.start, format_args!("Unexpected '{met}' where {wanted} was expected"))
    }

    pub(super) fn eat_sign(&mut self, sign: &str) -> Result<bool, Error> {
        let found = self.peek()?.is_sign(sign);
        if found {
            self.take()?;
        }
        Ok(found)
    }

    pub(super) fn sign(&mut self, sign: &str) -> Result<(), Error> {
        if self.eat_sign(sign)? { Ok(()) } else { Err(self.unexpected(&format!("'{sign}'"))) }
    }

    /// The next word, with all that follows it after hyphens and without blanks.
    pub(super) fn peek_word(&self) -> Result<Option<&'a str>, Error> {
        let mut lexer = self.lexer.clone();
        let token = self.read(&mut lexer)?;
        if token.kind != TokenKind::Name {
            return Ok(None);
        }
        let mut end = token.end;
        while self.text[end..].starts_with('-') {
            let (Ok(_), Ok(next)) = (self.read(&mut lexer), self.read(&mut lexer)) else { break };
            if next.start != end + 1 || next.kind != TokenKind::Name {
                break;
            }
            end = next.end;
        }
        Ok(Some(&self.text[token.start..end]))
    }

    /// Whether the command ends here, or only a pipe follows.
    pub(super) fn is_at_end(&self) -> Result<bool, Error> {
        let next = self.peek()?;
        Ok(next.is_sign("|") || next.kind == TokenKind::End)
    }

    pub(super) fn eat(&mut self, word: &str) -> Result<bool, Error> {
        let found = self.peek_word()? == Some(word);
        if found {
            self.word()?;
        }
        Ok(found)
    }

    /// The next word, taken.
    pub(super) fn word(&mut self) -> Result<&'a str, Error> {
        let word = self.peek_word()?.ok_or_else(|| self.unexpected("a word"))?;
        let end = self.peek()?.start + word.len();
        self.seek(end);
        Ok(word)
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<(), Error> {
        if self.eat(word)? { Ok(()) } else { Err(self.unexpected(&format!("'{word}'"))) }
    }

    /// A name, bare or as `['name']`.
    pub(super) fn name(&mut self) -> Result<String, Error> {
        if self.eat_sign("[")? {
            let name = self.string()?;
            self.sign("]")?;
            return Ok(name);
        }
        let token = self.peek()?;
        let text = token.text(self.text);
        if token.kind != TokenKind::Name || text.starts_with('!') {
            return Err(self.unexpected("a name"));
        }
        self.take()?;
        Ok(text.to_owned())
    }

    /// A name that may stand behind that of the database.
    pub(super) fn entity(&mut self) -> Result<String, Error> {
        let name = self.name()?;
        if self.eat_sign(".")? { self.name() } else { Ok(name) }
    }

    pub(super) fn string(&mut self) -> Result<String, Error> {
        match self.peek()?.kind {
            TokenKind::String(text) => {
                self.take()?;
                Ok(text)
            }
            _ => Err(self.unexpected("a string literal")),
        }
    }

    /// One string literal, however many follow it; elsewhere adjacent literals are one.
    pub(super) fn one_string(&mut self) -> Result<String, Error> {
        let start = self.peek()?.start;
        let length = literal_length(&self.text[start..]).ok_or_else(|| self.unexpected("a string literal"))?;
        let text = Cursor::new(&self.text[start..start + length]).string()?;
        self.seek(start + length);
        Ok(text)
    }

    /// A string literal, or a bare word, number or timespan as written.
    pub(super) fn scalar(&mut self) -> Result<String, Error> {
        let token = self.peek()?;
        let value = match &token.kind {
            TokenKind::String(text) => text.clone(),
            TokenKind::Typed { text, .. } => text.clone(),
            TokenKind::Name | TokenKind::Long | TokenKind::Real | TokenKind::Timespan(_) => {
                token.text(self.text).to_owned()
            }
            TokenKind::Sign(_) | TokenKind::End => return Err(self.unexpected("a value")),
        };
        self.take()?;
        Ok(value)
    }

    /// `with (name=value, …)`, if it comes next. Names that are not in `known` are refused.
    pub(super) fn properties(&mut self, known: &[&str]) -> Result<Properties, Error> {
        let mut properties = Properties::new();
        if !self.eat("with")? {
            return Ok(properties);
        }
        self.sign("(")?;
        while !self.eat_sign(")")? {
            let at = self.peek()?.start;
            let name = self.name()?.to_ascii_lowercase();
            if !known.contains(&name.as_str()) {
                return Err(Error::syntax(self.text, at, format_args!("The property '{name}' is not known here")));
            }
            self.sign("=")?;
            let value = self.scalar()?;
            properties.insert(name, value);
            if !self.peek()?.is_sign(")") {
                self.sign(",")?;
            }
        }
        Ok(properties)
    }

    /// `(name:type, …)`
    pub(super) fn columns(&mut self) -> Result<Vec<Column>, Error> {
        let mut columns: Vec<Column> = Vec::new();
        self.sign("(")?;
        loop {
            let at = self.peek()?.start;
            let name = self.name()?;
            self.sign(":")?;
            let token = self.peek()?;
            let ty = Type::from_name(token.text(self.text)).ok_or_else(|| self.unexpected("a type"))?;
            self.take()?;
            if columns.iter().any(|column| column.name == name) {
                return Err(Error::syntax(self.text, at, format_args!("The column '{name}' is there twice")));
            }
            columns.push(Column { name, ty });
            if self.eat_sign(")")? {
                return Ok(columns);
            }
            self.sign(",")?;
        }
    }

    /// Everything from here to the bracket that closes the one that comes next, both included.
    pub(super) fn bracketed(&mut self, open: &str, close: &str) -> Result<&'a str, Error> {
        let start = self.peek()?.start;
        self.sign(open)?;
        let mut depth = 1;
        while depth > 0 {
            let token = self.peek()?;
            if token.kind == TokenKind::End {
                return Err(self.unexpected(&format!("'{close}'")));
            }
            self.take()?;
            if token.is_sign(open) {
                depth += 1;
            } else if token.is_sign(close) {
                depth -= 1;
            }
        }
        Ok(&self.text[start..self.offset()])
    }

    /// What comes after `<|`, as it is; nothing is left to read then.
    pub(super) fn input(&mut self) -> Result<&'a str, Error> {
        self.sign("<|")?;
        let rest = &self.text[self.offset()..];
        self.seek(self.text.len());
        Ok(rest)
    }

    /// The text up to a blank or a pipe, such as a GUID.
    pub(super) fn bare(&mut self) -> Result<&'a str, Error> {
        let rest = &self.text[self.offset()..];
        let start = self.text.len() - rest.trim_start().len();
        let end = self.text[start..]
            .find(|c: char| c.is_whitespace() || c == '|')
            .map_or(self.text.len(), |length| start + length);
        self.seek(end);
        Ok(&self.text[start..end])
    }
}

/// The length of the string literal that a text starts with.
fn literal_length(text: &str) -> Option<usize> {
    let obfuscated = text.trim_start_matches(['h', 'H']);
    let mut at = text.len() - obfuscated.len();
    if let Some(inner) = obfuscated.strip_prefix("```") {
        return inner.find("```").map(|end| at + 6 + end);
    }
    let verbatim = obfuscated.starts_with('@');
    at += usize::from(verbatim);
    let bytes = text.as_bytes();
    let quote = *bytes.get(at).filter(|byte| matches!(byte, b'"' | b'\''))?;
    at += 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if !verbatim => at += 2,
            byte if byte == quote && verbatim && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}
