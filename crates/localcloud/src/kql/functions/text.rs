//! Functions and tests of texts.

use super::Naming;
use super::Signature;
use super::Takes::{Text, Whole};
use super::{Takes, argument};
use crate::kql::ast::TextTest;
use crate::kql::cx::Function;
use crate::kql::{Type, Value};
use regex_lite::Regex;
use serde_json::Value as Json;
use std::sync::Arc;

pub(super) const TABLE: &[Signature] = &[
    Signature::new("strcat", &[Text], Type::String, |values| {
        let mut text = String::new();
        values.iter().for_each(|value| text.push_str(&value.to_text()));
        Value::text(text)
    })
    .open(1),
    Signature::new("strcat_delim", &[Text, Text], Type::String, |values| {
        let parts: Vec<_> = values[1..].iter().map(Value::to_text).collect();
        Value::text(parts.join(&*values[0].to_text()))
    })
    .open(2),
    Signature::new("strlen", &[Text], Type::Long, |v| Value::Long(v[0].to_text().chars().count() as i64))
        .named(Naming::Both),
    Signature::new("string_size", &[Text], Type::Long, |v| Value::Long(v[0].to_text().len() as i64))
        .named(Naming::Both),
    Signature::new("tolower", &[Text], Type::String, |v| Value::text(v[0].to_text().to_lowercase())),
    Signature::new("toupper", &[Text], Type::String, |v| Value::text(v[0].to_text().to_uppercase())),
    Signature::new("reverse", &[Text], Type::String, |v| Value::text(v[0].to_text().chars().rev().collect::<String>())),
    Signature::new("substring", &[Text, Whole, Whole], Type::String, substring).least(2),
    Signature::new("indexof", &[Text, Text, Whole, Whole, Whole], Type::Long, indexof).least(2),
    Signature::new("replace_string", &[Text, Text, Text], Type::String, |v| {
        let (text, from) = (v[0].to_text(), v[1].to_text());
        Value::text(if from.is_empty() { text.into_owned() } else { text.replace(&*from, &v[2].to_text()) })
    }),
    Signature::new("split", &[Text, Text, Whole], Type::Dynamic, split).least(2).named(Naming::First),
    Signature::new("countof", &[Text, Text, Text], Type::Long, unprepared).least(2).prepared(countof),
    Signature::new("extract", &[Text, Whole, Text], Type::String, unprepared).prepared(extract),
    Signature::new("replace_regex", &[Text, Text, Text], Type::String, unprepared).prepared(replace_regex),
    Signature::new("trim", TRIM, Type::String, unprepared).prepared(|known| trim(known, true, true)),
    Signature::new("trim_start", TRIM, Type::String, unprepared).prepared(|known| trim(known, true, false)),
    Signature::new("trim_end", TRIM, Type::String, unprepared).prepared(|known| trim(known, false, true)),
];

const TRIM: &[Takes] = &[Text, Text];

/// Stands where `prepared` gives the code.
fn unprepared(_: &[Value]) -> Value {
    Value::Null
}

fn substring(values: &[Value]) -> Value {
    let text = values[0].to_text();
    let Some(start) = values[1].as_i64() else { return Value::text("") };
    let length = values.get(2).map_or(Some(i64::MAX), Value::as_i64).unwrap_or(0).max(0);
    let start = if start < 0 { (text.chars().count() as i64).saturating_add(start).max(0) } else { start };
    let (start, length) = (usize::try_from(start).unwrap_or(usize::MAX), usize::try_from(length).unwrap_or(usize::MAX));
    Value::text(text.chars().skip(start).take(length).collect::<String>())
}

fn indexof(values: &[Value]) -> Value {
    let (text, wanted) = (values[0].to_text(), values[1].to_text());
    let count = text.chars().count() as i64;
    let number = |index: usize, otherwise: i64| match argument(values, index) {
        Value::Null => otherwise,
        value => value.as_i64().unwrap_or(otherwise),
    };
    let (start, length, occurrence) = (number(2, 0), number(3, -1), number(4, 1));
    let start = if start < 0 { (count + start).max(0) } else { start.min(count) };
    if length < -1 || occurrence < 0 {
        return Value::Null;
    }
    let chars: Vec<char> = text.chars().collect();
    let wanted: Vec<char> = wanted.chars().collect();
    let mut start = start;
    let mut found = -1;
    // The length counts anew behind each occurrence.
    for _ in 0..occurrence.max(1) {
        if start > count {
            return Value::Long(-1);
        }
        let end = if length < 0 { count } else { start.saturating_add(length).min(count) };
        let region = chars.get(start as usize..end.max(start) as usize).unwrap_or(&[]);
        let last = region.len().checked_sub(wanted.len());
        match last.and_then(|last| (0..=last).find(|&at| region[at..].starts_with(&wanted))) {
            Some(at) => found = start + at as i64,
            None => return Value::Long(-1),
        }
        start = found + 1;
    }
    Value::Long(found)
}

fn split(values: &[Value]) -> Value {
    let (text, delimiter) = (values[0].to_text(), values[1].to_text());
    let parts: Vec<Json> = match &*delimiter {
        "" => vec![Json::from(&*text)],
        delimiter => text.split(delimiter).map(Json::from).collect(),
    };
    let parts = match values.get(2).and_then(Value::as_i64) {
        None => parts,
        Some(index) => usize::try_from(index).ok().and_then(|i| parts.get(i)).cloned().into_iter().collect(),
    };
    Value::dynamic(parts.into())
}

/// The text of an argument that must be the same for every row.
fn fixed(known: &[Option<Value>], index: usize) -> Result<String, String> {
    match known.get(index) {
        Some(Some(value)) => Ok(value.to_text().into_owned()),
        _ => Err(format!("argument {} must be a constant", index + 1)),
    }
}

fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| format!("'{pattern}' is not a regular expression: {error}"))
}

fn countof(known: &[Option<Value>]) -> Result<Function, String> {
    let kind = if known.len() > 2 { fixed(known, 2)? } else { "normal".to_owned() };
    match kind.as_str() {
        "normal" => Ok(Arc::new(|values| Value::Long(occurrences(&values[0].to_text(), &values[1].to_text())))),
        "regex" => {
            let regex = regex(&fixed(known, 1)?)?;
            Ok(Arc::new(move |values| Value::Long(regex.find_iter(&values[0].to_text()).count() as i64)))
        }
        other => Err(format!("'{other}' is not a kind of match; use 'normal' or 'regex'")),
    }
}

/// How often `wanted` occurs, overlaps included.
fn occurrences(text: &str, wanted: &str) -> i64 {
    let Some(first) = wanted.chars().next() else { return 0 };
    if let [byte] = wanted.as_bytes() {
        return text.bytes().filter(|b| b == byte).count() as i64;
    }
    let mut count = 0;
    let mut rest = text;
    while let Some(at) = rest.find(wanted) {
        count += 1;
        rest = &rest[at + first.len_utf8()..];
    }
    count
}

fn extract(known: &[Option<Value>]) -> Result<Function, String> {
    let regex = regex(&fixed(known, 0)?)?;
    Ok(Arc::new(move |values| {
        let group = values[1].as_i64().and_then(|group| usize::try_from(group).ok());
        let text = values[2].to_text();
        let found = group.zip(regex.captures(&text)).and_then(|(group, captures)| captures.get(group));
        Value::text(found.map_or("", |found| found.as_str()))
    }))
}

fn replace_regex(known: &[Option<Value>]) -> Result<Function, String> {
    let regex = regex(&fixed(known, 1)?)?;
    Ok(Arc::new(move |values| {
        // Groups are written `\1` in KQL and `${1}` here.
        let mut template = String::new();
        let rewrite = values[2].to_text();
        let mut chars = rewrite.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '$' => template.push_str("$$"),
                '\\' => match chars.next() {
                    Some(digit) if digit.is_ascii_digit() => template.push_str(&format!("${{{digit}}}")),
                    Some(other) => template.push(other),
                    None => template.push('\\'),
                },
                other => template.push(other),
            }
        }
        Value::text(regex.replace_all(&values[0].to_text(), template.as_str()).into_owned())
    }))
}

fn trim(known: &[Option<Value>], start: bool, end: bool) -> Result<Function, String> {
    let pattern = fixed(known, 0)?;
    let leading = regex(&format!("^(?:{pattern})"))?;
    let trailing = regex(&format!("(?:{pattern})$"))?;
    Ok(Arc::new(move |values| {
        let text = values[1].to_text();
        let mut text: &str = &text;
        while let Some(found) = leading.find(text).filter(|found| start && !found.is_empty()) {
            text = &text[found.end()..];
        }
        while let Some(found) = trailing.find(text).filter(|found| end && !found.is_empty()) {
            text = &text[..found.start()];
        }
        Value::text(text)
    }))
}

/// The code of a text test; a pattern that is fixed is worked on once.
pub(in crate::kql) fn text_test(test: TextTest, pattern: Option<&Value>) -> Result<Function, String> {
    use TextTest::{Contains, ContainsCs, EndsWith, EndsWithCs, Has, HasCs, HasPrefix, HasPrefixCs, HasSuffix};
    use TextTest::{HasSuffixCs, Regex, StartsWith, StartsWithCs};
    if test == Regex {
        let regex = regex(&fixed(&[pattern.cloned()], 0).map_err(|_| "the pattern must be a constant")?)?;
        return Ok(Arc::new(move |values| Value::Bool(regex.is_match(&values[0].to_text()))));
    }
    let any_case = matches!(test, Has | HasPrefix | HasSuffix | Contains | StartsWith | EndsWith);
    let fits: fn(&str, &str) -> bool = match test {
        Contains | ContainsCs => |text, wanted| text.contains(wanted),
        StartsWith | StartsWithCs => |text, wanted| text.starts_with(wanted),
        EndsWith | EndsWithCs => |text, wanted| text.ends_with(wanted),
        HasPrefix | HasPrefixCs => |text, wanted| has_term(text, wanted, true, false),
        HasSuffix | HasSuffixCs => |text, wanted| has_term(text, wanted, false, true),
        Has | HasCs | Regex => |text, wanted| has_term(text, wanted, true, true),
    };
    if !any_case {
        return Ok(Arc::new(move |values| Value::Bool(fits(&values[0].to_text(), &values[1].to_text()))));
    }
    let lower = pattern.map(|pattern| pattern.to_text().to_lowercase());
    Ok(Arc::new(move |values| {
        let text = values[0].to_text().to_lowercase();
        Value::Bool(match &lower {
            Some(wanted) => fits(&text, wanted),
            None => fits(&text, &values[1].to_text().to_lowercase()),
        })
    }))
}

/// Whether `wanted` stands in `text` with a term's boundary where asked for: terms are runs of letters and
/// digits (dataexplorer-docs `query/datatypes-string-operators.md`).
fn has_term(text: &str, wanted: &str, at_start: bool, at_end: bool) -> bool {
    let Some(first) = wanted.chars().next() else { return true };
    let mut from = 0;
    while let Some(at) = text[from..].find(wanted).map(|at| at + from) {
        let end = at + wanted.len();
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let starts = !at_start || !inside(Some(first)) || !inside(text[..at].chars().next_back());
        let ends = !at_end || !inside(wanted.chars().next_back()) || !inside(text[end..].chars().next());
        if starts && ends {
            return true;
        }
        from = at + first.len_utf8();
    }
    false
}
