//! One value of an answer, written as the engine writes it into a packed row. The type that the answer's schema names
//! decides; what the services add on the way out is taken away again.
//!
//! Some things cannot be told any more. Graph makes texts of the objects inside an array: an array whose elements are texts of
//! objects already looks the same, and is read as one of objects. A service may write a dynamic value as its JSON text: in a
//! dynamic column the text of a whole object or array is read as that, and any other text is the text that it is, so that
//! only a dynamic text which is the text of an object or array itself is not told from that. And what the engine itself makes of the values of some types
//! (dataexplorer-docs `query/scalar-data-types/dynamic.md`: "JSON-like values that have no representation in JSON become
//! strings") is taken from there for timespans, guids and numbers without digits.

use super::super::client::Dialect;
use crate::defender::scanner::{NESTING_LIMIT, Reason};
use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What a type of the schema means for the way a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 0 and 1 stand for a bool; a service may send one as text.
    Bool,
    /// Texts have up to seven digits behind the second.
    Time,
    /// Whole numbers; a service may send them as texts.
    Whole,
    /// Numbers; some have no digits.
    Real,
    /// Objects and arrays.
    Dynamic,
    /// Whatever comes.
    Other,
}

impl Kind {
    /// The kind of a type by its name in a schema, such as `DateTime`.
    pub(super) fn of(ty: &str) -> Self {
        let named = |names: &[&str]| names.iter().any(|name| ty.eq_ignore_ascii_case(name));
        if named(&["SByte", "Boolean", "Bool"]) {
            Self::Bool
        } else if named(&["DateTime"]) {
            Self::Time
        } else if named(&["Int64", "Int32", "Long", "Int"]) {
            Self::Whole
        } else if named(&["Double", "Real"]) {
            Self::Real
        } else if named(&["Object", "Dynamic"]) {
            Self::Dynamic
        } else {
            Self::Other
        }
    }
}

/// The members of an object as they stand, in their order.
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, Reason> {
        let mut parser = serde_json::Deserializer::from_str(text);
        let members = parser.deserialize_map(MembersVisitor).map_err(|error| reason_of(&error))?;
        parser.end().map_err(|error| reason_of(&error))?;
        Ok(members)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            members.push((key.0, map.next_value::<&'de RawValue>()?.get()));
        }
        Ok(Members(members))
    }
}

/// A name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

pub(super) fn reason_of(error: &serde_json::Error) -> Reason {
    let text = error.to_string();
    let of_text = ["surrogate", "hex escape", "escape", "control character", "unicode"];
    match error.classify() {
        serde_json::error::Category::Eof => Reason::Truncated,
        _ if text.starts_with("trailing") => Reason::Trailing,
        _ if text.starts_with("recursion") => Reason::TooDeep,
        _ if of_text.iter().any(|part| text.contains(part)) => Reason::BadText,
        _ => Reason::Malformed,
    }
}

/// Whether a member is a service's note on another one.
pub(super) fn is_note(name: &str) -> bool {
    name.contains("@odata.")
}

/// Appends the value that `text` stands for.
pub(super) fn write(text: &str, kind: Kind, dialect: Dialect, out: &mut Vec<u8>) -> Result<(), Reason> {
    match text.as_bytes().first() {
        Some(b'{') if kind == Kind::Dynamic => nested(text, dialect, 0, out),
        Some(b'{') => scalar_or_object(text, dialect, out),
        Some(b'[') => nested(text, dialect, 0, out),
        Some(b'0'..=b'9' | b'-') if kind == Kind::Bool => {
            let zero = text.parse::<f64>() == Ok(0.0);
            out.extend_from_slice(if zero { b"false" } else { b"true" });
            Ok(())
        }
        Some(b'"') => {
            match text_of_nested(text).filter(|_| kind == Kind::Dynamic) {
                // The engine's own text.
                Some(inner) => out.extend_from_slice(inner.as_bytes()),
                None => string(text, kind, out),
            }
            Ok(())
        }
        _ => {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
}

/// An object in a column of another type is how Graph writes null; one with members is what it is.
fn scalar_or_object(text: &str, dialect: Dialect, out: &mut Vec<u8>) -> Result<(), Reason> {
    if Members::read(text)?.0.iter().all(|(name, _)| is_note(name)) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    nested(text, dialect, 0, out)
}

fn string(text: &str, kind: Kind, out: &mut Vec<u8>) {
    let inner = &text[1..text.len() - 1];
    match kind {
        Kind::Time => match seven_digits(inner) {
            Some((whole, zeros)) => {
                out.push(b'"');
                out.extend_from_slice(whole.as_bytes());
                out.extend_from_slice(&b".0000000"[8 - zeros..]);
                out.extend_from_slice(b"Z\"");
            }
            None => out.extend_from_slice(text.as_bytes()),
        },
        Kind::Bool => out.extend_from_slice(truth(inner).unwrap_or(text.as_bytes())),
        Kind::Whole if is_whole(inner) => out.extend_from_slice(inner.as_bytes()),
        Kind::Real if inner == "INF" => out.extend_from_slice(b"\"Infinity\""),
        Kind::Real if inner == "-INF" => out.extend_from_slice(b"\"-Infinity\""),
        _ => out.extend_from_slice(text.as_bytes()),
    }
}

/// What a text says of a bool, as some serializers write one.
fn truth(text: &str) -> Option<&'static [u8]> {
    let is = |names: [&str; 2]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    if is(["true", "1"]) {
        Some(b"true")
    } else if is(["false", "0"]) {
        Some(b"false")
    } else {
        None
    }
}

/// A time in UTC without its zone, and how many of the characters `.0000000` it lacks to have seven digits behind the second.
fn seven_digits(text: &str) -> Option<(&str, usize)> {
    const SECONDS: &[u8] = b"0000-00-00T00:00:00";
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"))?;
    let (date, fraction) = text.as_bytes().split_at_checked(SECONDS.len())?;
    let alike = |byte: &u8, model: &u8| if *model == b'0' { byte.is_ascii_digit() } else { byte == model };
    if !date.iter().zip(SECONDS).all(|(byte, model)| alike(byte, model)) {
        return None;
    }
    match fraction {
        [] => Some((text, 8)),
        [b'.', digits @ ..] if (1..=7).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) => {
            Some((text, 7 - digits.len()))
        }
        _ => None,
    }
}

fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    !digits.is_empty()
        && digits.len() < 20
        && digits.iter().all(u8::is_ascii_digit)
        && (digits[0] != b'0' || digits.len() == 1)
}

/// Appends a value inside a dynamic one.
fn nested(text: &str, dialect: Dialect, depth: u32, out: &mut Vec<u8>) -> Result<(), Reason> {
    if depth == NESTING_LIMIT {
        return Err(Reason::TooDeep);
    }
    match text.as_bytes().first() {
        Some(b'{') => object(text, dialect, depth, out),
        Some(b'[') => array(text, dialect, depth, out),
        _ => {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
}

fn object(text: &str, dialect: Dialect, depth: u32, out: &mut Vec<u8>) -> Result<(), Reason> {
    let Members(members) = Members::read(text)?;
    // Graph puts a note into every object, the empty ones too; an object without anything is how it writes null.
    if members.is_empty() && dialect == Dialect::Graph {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    out.push(b'{');
    let mut first = true;
    for (name, value) in members.iter().filter(|(name, _)| !is_note(name)) {
        separate(&mut first, out);
        write_name(name, out);
        nested(value, dialect, depth + 1, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn array(text: &str, dialect: Dialect, depth: u32, out: &mut Vec<u8>) -> Result<(), Reason> {
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| reason_of(&error))?;
    out.push(b'[');
    let mut first = true;
    for item in items {
        separate(&mut first, out);
        let item = item.get();
        match text_of_nested(item).filter(|_| dialect == Dialect::Graph) {
            // The engine's own text: nothing in it was changed.
            Some(inner) => out.extend_from_slice(inner.as_bytes()),
            None => nested(item, dialect, depth + 1, out)?,
        }
    }
    out.push(b']');
    Ok(())
}

/// The object or array that a value is the text of.
fn text_of_nested(item: &str) -> Option<String> {
    if !item.starts_with("\"{") && !item.starts_with("\"[") {
        return None;
    }
    let inner: String = serde_json::from_str(item).ok()?;
    serde_json::from_str::<serde::de::IgnoredAny>(&inner).is_ok().then_some(inner)
}

pub(super) fn separate(first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

pub(super) fn write_name(name: &str, out: &mut Vec<u8>) {
    // Writing a text to memory cannot fail.
    let _ = serde_json::to_writer(&mut *out, name);
    out.push(b':');
}
