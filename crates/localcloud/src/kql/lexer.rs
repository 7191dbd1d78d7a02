//! The tokens of KQL with their byte offsets. Knows no grammar beyond them, so that parsers of
//! management commands use it too: they can stop anywhere and take the [`Lexer::rest`] as it is.

use super::error::Error;
use super::strings;

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenKind {
    /// A bare word: a name, a keyword, or a word operator such as `!in`, `in~`, `!has_cs`.
    Name,
    /// A whole number, decimal or `0x` hexadecimal.
    Long,
    /// A number with a point or an exponent.
    Real,
    /// A number with a unit, such as `10m`, in ticks.
    Timespan(i64),
    /// A string literal's value; adjacent literals are joined.
    String(String),
    /// A literal spelled as its type's name and raw text in parentheses, such as `datetime(2026-01-31)`.
    Typed {
        /// The type's name as written.
        name: String,
        /// What stands between the parentheses, trimmed and without quotes.
        text: String,
    },
    /// Punctuation or an operator sign.
    Sign(&'static str),
    /// The end of the text.
    End,
}

/// A token and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

impl Token {
    /// The token as written.
    pub fn text<'a>(&self, source: &'a str) -> &'a str {
        &source[self.start..self.end]
    }

    /// Whether it is this sign.
    pub fn is_sign(&self, sign: &str) -> bool {
        matches!(self.kind, TokenKind::Sign(own) if own == sign)
    }
}

/// Signs, longest first.
const SIGNS: [&str; 31] = [
    "..", "<|", "==", "=~", "=>", "!=", "!~", "<>", "<=", ">=", "(", ")", "[", "]", "{", "}", ",", ";", ":", ".", "|",
    "=", "<", ">", "+", "-", "*", "/", "%", "?", "#",
];

/// Type names whose literals have raw text between parentheses.
const LITERAL_TYPES: [&str; 14] = [
    "datetime", "date", "timespan", "time", "guid", "uniqueid", "decimal", "int", "long", "real", "double", "bool",
    "boolean", "string",
];

/// Units of timespan literals in ticks.
const UNITS: [(&str, i64); 32] = [
    ("d", 864_000_000_000),
    ("day", 864_000_000_000),
    ("days", 864_000_000_000),
    ("h", 36_000_000_000),
    ("hr", 36_000_000_000),
    ("hrs", 36_000_000_000),
    ("hour", 36_000_000_000),
    ("hours", 36_000_000_000),
    ("m", 600_000_000),
    ("min", 600_000_000),
    ("minute", 600_000_000),
    ("minutes", 600_000_000),
    ("s", 10_000_000),
    ("sec", 10_000_000),
    ("second", 10_000_000),
    ("seconds", 10_000_000),
    ("ms", 10_000),
    ("milli", 10_000),
    ("millis", 10_000),
    ("millisec", 10_000),
    ("millisecond", 10_000),
    ("milliseconds", 10_000),
    ("micro", 10),
    ("micros", 10),
    ("microsec", 10),
    ("microsecond", 10),
    ("microseconds", 10),
    ("tick", 1),
    ("ticks", 1),
    ("nano", 0),
    ("nanosecond", 0),
    ("nanoseconds", 0),
];

/// All tokens of a text, the last one being [`TokenKind::End`].
///
/// # Errors
/// A character or literal that KQL does not have, with its position.
pub fn tokenize(text: &str) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer::new(text);
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next_token().map_err(|error| error.located(text))?;
        let last = token.kind == TokenKind::End;
        tokens.push(token);
        if last {
            return Ok(tokens);
        }
    }
}

/// Reads tokens one by one.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    /// Starts at the beginning of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes have been read.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The next token, after blanks and comments.
    ///
    /// # Errors
    /// A character or literal that KQL does not have.
    pub fn next_token(&mut self) -> Result<Token, Error> {
        self.skip_blanks();
        let start = self.at;
        let kind = self.scan()?;
        Ok(Token { kind, start, end: self.at })
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn scan(&mut self) -> Result<TokenKind, Error> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(TokenKind::End) };
        if let Some(value) = self.strings()? {
            return Ok(TokenKind::String(value));
        }
        if first.is_ascii_digit()
            && let Some(kind) = self.number()?
        {
            return Ok(kind);
        }
        if is_name_start(first) || first.is_ascii_digit() {
            return self.name();
        }
        if first == '!' {
            let length = 1 + name_length(&rest[1..]);
            if length > 1 {
                self.at += length + usize::from(rest[length..].starts_with('~'));
                return Ok(TokenKind::Name);
            }
        }
        for sign in SIGNS {
            if rest.starts_with(sign) {
                self.at += sign.len();
                return Ok(TokenKind::Sign(sign));
            }
        }
        Err(Error::syntax(self.at, format_args!("Unexpected character '{}'", first.escape_default())))
    }

    /// A string literal and all that follow it with nothing but blanks and comments between.
    fn strings(&mut self) -> Result<Option<String>, Error> {
        let Some((mut value, length)) = strings::read(self.rest(), self.at)? else { return Ok(None) };
        self.at += length;
        loop {
            let end = self.at;
            self.skip_blanks();
            match strings::read(self.rest(), self.at)? {
                Some((more, length)) => {
                    value.push_str(&more);
                    self.at += length;
                }
                None => {
                    self.at = end;
                    return Ok(Some(value));
                }
            }
        }
    }

    fn number(&mut self) -> Result<Option<TokenKind>, Error> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let whole = digits(0);
        if whole == 1 && bytes[0] == b'0' && matches!(bytes.get(1), Some(b'x' | b'X')) {
            let hex = bytes[2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
            if hex > 0 && !continues(&rest[2 + hex..]) {
                self.at += 2 + hex;
                return Ok(Some(TokenKind::Long));
            }
        }
        let mut end = whole;
        let mut real = false;
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1) != Some(&b'.') {
            end += 1 + digits(end + 1);
            real = true;
        }
        let unit = rest[end..].bytes().take_while(u8::is_ascii_alphabetic).count();
        if let Some((_, ticks)) = UNITS.iter().find(|(name, _)| *name == &rest[end..end + unit])
            && !continues(&rest[end + unit..])
        {
            let value = scale(&rest[..end], *ticks)
                .ok_or_else(|| Error::syntax(self.at, "The timespan literal is out of range"))?;
            self.at += end + unit;
            return Ok(Some(TokenKind::Timespan(value)));
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = bytes.get(end + 1 + sign..).map_or(0, |_| digits(end + 1 + sign));
            if exponent > 0 {
                end += 1 + sign + exponent;
                real = true;
            }
        }
        if continues(&rest[end..]) {
            return if real { Err(Error::syntax(self.at, "Malformed number")) } else { Ok(None) };
        }
        self.at += end;
        Ok(Some(if real { TokenKind::Real } else { TokenKind::Long }))
    }

    fn name(&mut self) -> Result<TokenKind, Error> {
        let rest = self.rest();
        let length = name_length(rest);
        let word = &rest[..length];
        if word == "in" && rest[length..].starts_with('~') {
            self.at += length + 1;
            return Ok(TokenKind::Name);
        }
        if LITERAL_TYPES.contains(&word) {
            let after = rest[length..].trim_start();
            if let Some(inner) = after.strip_prefix('(') {
                return self.typed(word, rest.len() - inner.len());
            }
        }
        self.at += length;
        Ok(TokenKind::Name)
    }

    fn typed(&mut self, name: &str, open: usize) -> Result<TokenKind, Error> {
        let start = self.at;
        self.at += open;
        self.skip_blanks();
        let text = match self.strings()? {
            Some(value) => value,
            None => {
                let inner = self.rest();
                let close = inner.find(')').unwrap_or(inner.len());
                self.at += close;
                inner[..close].trim().to_owned()
            }
        };
        self.skip_blanks();
        if !self.rest().starts_with(')') {
            return Err(Error::syntax(start, format_args!("The {name} literal has no closing parenthesis")));
        }
        self.at += 1;
        Ok(TokenKind::Typed { name: name.to_owned(), text })
    }
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

fn continues(rest: &str) -> bool {
    rest.chars().next().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn name_length(text: &str) -> usize {
    let mut chars = text.char_indices();
    match chars.next() {
        Some((_, c)) if is_name_start(c) || c.is_ascii_digit() => {}
        _ => return 0,
    }
    chars.find(|&(_, c)| !(c.is_alphanumeric() || c == '_')).map_or(text.len(), |(at, _)| at)
}

/// `number` units of `ticks` each; a unit of 0 ticks is a nanosecond.
pub(super) fn scale(number: &str, ticks: i64) -> Option<i64> {
    if ticks == 0 {
        return number.parse::<f64>().ok().map(|n| (n / 100.0) as i64);
    }
    match number.parse::<i64>() {
        Ok(whole) => whole.checked_mul(ticks),
        Err(_) => {
            let ticks = number.parse::<f64>().ok()? * ticks as f64;
            (ticks.abs() < i64::MAX as f64).then(|| ticks.round() as i64)
        }
    }
}

/// The ticks of a unit such as `d` or `seconds`; 0 for nanoseconds.
pub(super) fn unit(name: &str) -> Option<i64> {
    UNITS.iter().find(|(unit, _)| *unit == name).map(|(_, ticks)| *ticks)
}
