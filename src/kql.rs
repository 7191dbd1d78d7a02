//! The identifier and literal writers: the only way by which a name or a value gets into KQL text.
//! Rules: dataexplorer-docs `query/schema-entities/entity-names.md` and `query/scalar-data-types/`.

use crate::timestamp::Timestamp;
use std::fmt::{self, Display, Write as _};
use std::time::Duration;

/// A checked Kusto entity name. `Display` writes it bracket-quoted wherever a bare name would not do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(String);

/// A text that Kusto does not accept as an entity name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{name}` is not a Kusto name: {reason}; use 1 to 1024 letters, digits, `_`, `-`, `.` or blanks, not starting or ending with `__`"
)]
pub struct InvalidName {
    name: String,
    reason: &'static str,
}

impl Identifier {
    /// Checks `name` against the Kusto identifier grammar.
    ///
    /// # Errors
    /// [`InvalidName`] says which rule the name breaks.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let reason = if name.is_empty() {
            "it is empty"
        } else if name.chars().count() > 1024 {
            "it is longer than 1024 characters"
        } else if name.starts_with("__") || name.ends_with("__") {
            "names with `__` at an end are reserved"
        } else if !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ')) {
            "it holds a character that names cannot have"
        } else if name.trim() != name {
            "it starts or ends with a blank"
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(InvalidName { name: name.chars().take(80).collect(), reason })
    }

    /// The name as it is, unquoted.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        let plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !may_be_a_word_of_the_language(&self.0);
        if plain { f.write_str(&self.0) } else { write!(f, "['{}']", self.0) }
    }
}

/// Words that cannot stand bare as a name. Quoting a word too many does no harm, so every name without an upper-case
/// letter is quoted: all operators and keywords are lower case, some with `_`. Of the literals, `true` and `false` are read
/// in any case.
fn may_be_a_word_of_the_language(name: &str) -> bool {
    !name.contains(|c: char| c.is_ascii_uppercase())
        || ["true", "false", "null"].iter().any(|word| name.eq_ignore_ascii_case(word))
}

/// A string literal: double quotes, everything but printable ASCII escaped.
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_quoted(self.0, '"', f)
    }
}

/// The same in single quotes, the documented spelling of JSON inside a command.
pub struct SingleQuoted<'a>(pub &'a str);

impl fmt::Display for SingleQuoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_quoted(self.0, '\'', f)
    }
}

fn write_quoted(text: &str, quote: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char(quote)?;
    for c in text.chars() {
        match c {
            _ if c == quote => write!(f, "\\{quote}")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            ' '..='~' => f.write_char(c)?,
            other => {
                let mut units = [0u16; 2];
                for unit in other.encode_utf16(&mut units) {
                    write!(f, "\\u{unit:04x}")?;
                }
            }
        }
    }
    f.write_char(quote)
}

/// A `datetime` literal.
pub struct Datetime(pub Timestamp);

impl fmt::Display for Datetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "datetime({})", self.0)
    }
}

/// A `timespan` literal in the largest unit that needs no fraction; at least a tick of 100 ns.
pub struct Timespan(pub Duration);

impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u128, &str); 6] = [
            (864_000_000_000, "d"),
            (36_000_000_000, "h"),
            (600_000_000, "m"),
            (10_000_000, "s"),
            (10_000, "ms"),
            (1, "tick"),
        ];
        // A bin of nothing is refused by the engine; the smallest one that is not is meant.
        let ticks = (self.0.as_nanos() / 100).max(1);
        UNITS
            .iter()
            .find(|(unit, _)| ticks.is_multiple_of(*unit))
            .map_or(Ok(()), |(unit, name)| write!(f, "{}{name}", ticks / unit))
    }
}

/// A value as a literal in a row of `datatable`.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// A string.
    Text(String),
    /// A datetime, or its null.
    Datetime(Option<Timestamp>),
    /// A bool, or its null.
    Bool(Option<bool>),
    /// A long, or its null.
    Long(Option<i64>),
    /// An int, or its null.
    Int(Option<i32>),
    /// A dynamic value, written as `parse`-free `dynamic(...)` JSON.
    Dynamic(serde_json::Value),
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => Text(text).fmt(f),
            Self::Datetime(Some(at)) => Datetime(*at).fmt(f),
            Self::Datetime(None) => f.write_str("datetime(null)"),
            Self::Bool(Some(value)) => write!(f, "bool({value})"),
            Self::Bool(None) => f.write_str("bool(null)"),
            Self::Long(Some(value)) => write!(f, "long({value})"),
            Self::Long(None) => f.write_str("long(null)"),
            Self::Int(Some(value)) => write!(f, "int({value})"),
            Self::Int(None) => f.write_str("int(null)"),
            Self::Dynamic(value) => {
                f.write_str("dynamic(")?;
                write_json(value, f)?;
                f.write_str(")")
            }
        }
    }
}

/// JSON whose strings and keys are KQL string literals (a subset of JSON's escapes, ASCII only).
fn write_json(value: &serde_json::Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        serde_json::Value::String(text) => Text(text).fmt(f),
        serde_json::Value::Array(items) => {
            f.write_str("[")?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    f.write_str(",")?;
                }
                write_json(item, f)?;
            }
            f.write_str("]")
        }
        serde_json::Value::Object(members) => {
            f.write_str("{")?;
            for (index, (key, item)) in members.iter().enumerate() {
                if index > 0 {
                    f.write_str(",")?;
                }
                write!(f, "{}:", Text(key))?;
                write_json(item, f)?;
            }
            f.write_str("}")
        }
        other => write!(f, "{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_plain_are_bracketed() {
        for (name, written) in [
            ("DeviceEvents", "DeviceEvents"),
            ("meta_Ledger", "meta_Ledger"),
            ("my col", "['my col']"),
            ("where", "['where']"),
            ("1day", "['1day']"),
            ("a.b-c", "['a.b-c']"),
            ("Größe", "['Größe']"),
            ("has_any", "['has_any']"),
            ("True", "['True']"),
        ] {
            assert_eq!(Identifier::new(name).unwrap().to_string(), written);
        }
    }

    #[test]
    fn names_that_could_end_the_quote_are_refused() {
        for name in ["", "a'b", "a\"b", "a]b", "a|b", "a;b", "__x", "x__", "a\nb", " a", "T | take 1", "a\\b", "a(b)"] {
            assert!(Identifier::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn text_literals_hold_nothing_but_printable_ascii() {
        assert_eq!(Text("a\"b\\c\n\u{1}é😀").to_string(), r#""a\"b\\c\n\u0001\u00e9\ud83d\ude00""#);
    }

    #[test]
    fn single_quotes_backslashes_and_foreign_letters_are_escaped() {
        assert_eq!(SingleQuoted("a'b\\c\"é😀\n").to_string(), r#"'a\'b\\c"\u00e9\ud83d\ude00\n'"#);
    }

    #[test]
    fn bins_are_written_in_whole_units() {
        for (nanos, written) in [
            (0, "1tick"),
            (100, "1tick"),
            (1_000, "10tick"),
            (1_500_000, "15000tick"),
            (2_000_000, "2ms"),
            (1_000_000_000, "1s"),
            (90_000_000_000, "90s"),
            (300_000_000_000, "5m"),
            (3_600_000_000_000, "1h"),
            (172_800_000_000_000, "2d"),
        ] {
            assert_eq!(Timespan(Duration::from_nanos(nanos)).to_string(), written);
        }
    }

    #[test]
    fn dynamic_literals_are_json_in_kql_strings() {
        let value = serde_json::json!({"k\"": [1, true, null, "é"]});
        assert_eq!(Literal::Dynamic(value).to_string(), r#"dynamic({"k\"":[1,true,null,"\u00e9"]})"#);
    }
}
