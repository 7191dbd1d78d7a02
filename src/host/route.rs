//! Route templates as ASP.NET Core reads them: `{id}`, `{id?}`, `{id=x}`, `{id:int}`, `{*rest}`, text around one
//! parameter of a segment; the case of letters does not matter
//! (aspnetcore-docs `aspnetcore/fundamentals/routing.md`). Not built on a radix router: optional parameters,
//! constraints, and routes that differ in method only need several candidates for one path.

use std::cmp::Ordering;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter { before: String, parameter: Parameter, after: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parameter {
    name: String,
    optional: bool,
    catch_all: bool,
    default: Option<String>,
    constraints: Vec<Constraint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Constraint {
    Int,
    Long,
    Bool,
    Guid,
    Alpha,
    Float,
    Between(i64, i64),
    Length(usize, usize),
}

/// The values of a template's parameters in its order; `None` for an optional one that the path leaves out.
pub(crate) type Values = Vec<(String, Option<String>)>;

impl Template {
    /// Reads a template, without a leading slash.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_matches('/');
        let mut segments = Vec::new();
        if !text.is_empty() {
            for segment in split_segments(text) {
                segments.push(Segment::parse(segment)?);
            }
        }
        let last = segments.len().saturating_sub(1);
        let mut names: Vec<&str> = Vec::new();
        for (index, segment) in segments.iter().enumerate() {
            let Segment::Parameter { parameter, .. } = segment else { continue };
            if index != last && parameter.catch_all {
                return Err(format!("has the catch-all `{}` before its last segment", parameter.name));
            }
            if names.iter().any(|name| name.eq_ignore_ascii_case(&parameter.name)) {
                return Err(format!("has the parameter `{}` twice", parameter.name));
            }
            names.push(&parameter.name);
        }
        Ok(Self { segments })
    }

    /// The values if `path`, still percent-encoded and without its leading slash, fits.
    pub(crate) fn matches(&self, path: &str) -> Option<Values> {
        let path = path.trim_end_matches('/');
        let parts: Vec<String> = if path.is_empty() { Vec::new() } else { path.split('/').map(decode).collect() };
        let mut values = Values::new();
        let mut parts = parts.as_slice();
        for segment in &self.segments {
            parts = segment.matches(parts, &mut values)?;
        }
        parts.is_empty().then_some(values)
    }

    /// Which of two templates is asked first: the more literal one.
    pub(crate) fn precedence(&self, other: &Self) -> Ordering {
        let ranks = |template: &Self| template.segments.iter().map(Segment::rank).collect::<Vec<_>>();
        ranks(self).cmp(&ranks(other))
    }
}

/// Splits at the slashes that are not within braces.
fn split_segments(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == '/' && depth == 0
    })
    .collect()
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("has an empty segment".to_owned());
        }
        let Some((before, rest)) = text.split_once('{') else {
            return if text.contains(['}', '?', '*']) {
                Err(format!("has the segment `{text}`, which is neither a text nor a parameter"))
            } else {
                Ok(Self::Literal(text.to_owned()))
            };
        };
        let (inner, after) = rest.rsplit_once('}').ok_or_else(|| format!("has no `}}` in `{text}`"))?;
        if inner.contains(['{', '}']) || before.contains('}') || after.contains('{') {
            return Err(format!("has more than one parameter in the segment `{text}`, which is not supported"));
        }
        let parameter = Parameter::parse(inner)?;
        if (parameter.optional || parameter.catch_all) && !(before.is_empty() && after.is_empty()) {
            return Err(format!("has text around the optional parameter `{text}`, which is not supported"));
        }
        Ok(Self::Parameter { before: before.to_owned(), parameter, after: after.to_owned() })
    }

    fn rank(&self) -> u8 {
        let Self::Parameter { before, parameter, after } = self else { return 1 };
        match (parameter.catch_all, parameter.constraints.is_empty(), before.is_empty() && after.is_empty()) {
            (true, false, _) => 5,
            (true, true, _) => 6,
            (false, false, _) => 3,
            (false, true, false) => 3,
            (false, true, true) => 4,
        }
    }

    /// Takes its part of the path; gives what is left.
    fn matches<'p>(&self, parts: &'p [String], values: &mut Values) -> Option<&'p [String]> {
        let (before, parameter, after) = match self {
            Self::Literal(text) => {
                let (first, rest) = parts.split_first()?;
                return same(first, text).then_some(rest);
            }
            Self::Parameter { before, parameter, after } => (before, parameter, after),
        };
        if parameter.catch_all {
            let value = if parts.is_empty() { parameter.default.clone() } else { Some(parts.join("/")) };
            return parameter.take(value, values).then_some(&[]);
        }
        let Some((first, rest)) = parts.split_first() else {
            let absent = parameter.optional || parameter.default.is_some();
            return (absent && parameter.take(parameter.default.clone(), values)).then_some(parts);
        };
        let value = strip(first, before, after)?;
        let fits = !value.is_empty() && parameter.take(Some(value.to_owned()), values);
        fits.then_some(rest)
    }
}

impl Parameter {
    fn parse(text: &str) -> Result<Self, String> {
        let name_start = text.trim_start_matches('*');
        let catch_all = name_start.len() != text.len();
        let (rest, optional) = name_start.strip_suffix('?').map_or((name_start, false), |rest| (rest, true));
        let (rest, default) = match rest.split_once('=') {
            Some((rest, default)) => (rest, Some(default.to_owned())),
            None => (rest, None),
        };
        let mut parts = split_constraints(rest).into_iter();
        let name = parts.next().unwrap_or_default();
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            return Err(format!("has `{{{text}}}`, which is not a parameter name"));
        }
        let constraints = parts.map(Constraint::parse).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), optional, catch_all, default, constraints })
    }

    fn take(&self, value: Option<String>, values: &mut Values) -> bool {
        let fits = value.as_ref().is_none_or(|value| self.constraints.iter().all(|rule| rule.accepts(value)));
        if fits {
            values.push((self.name.clone(), value));
        }
        fits
    }
}

/// Splits at the colons that are not within parentheses.
fn split_constraints(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ':' && depth == 0
    })
    .collect()
}

impl Constraint {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, arguments) = match text.split_once('(') {
            Some((name, rest)) => (name, rest.trim_end_matches(')').split(',').map(str::trim).collect()),
            None => (text, Vec::new()),
        };
        let unknown = || {
            format!(
                "has the constraint `{text}`; known are int, long, bool, guid, alpha, float, double, decimal, min, max, range, length, minlength and maxlength"
            )
        };
        let numbers: Vec<i64> = arguments.iter().map(|n| n.parse()).collect::<Result<_, _>>().map_err(|_| unknown())?;
        let length = |n: i64| usize::try_from(n).map_err(|_| unknown());
        match (name.to_ascii_lowercase().as_str(), numbers.as_slice()) {
            ("int", []) => Ok(Self::Int),
            ("long", []) => Ok(Self::Long),
            ("bool", []) => Ok(Self::Bool),
            ("guid", []) => Ok(Self::Guid),
            ("alpha", []) => Ok(Self::Alpha),
            ("float" | "double" | "decimal", []) => Ok(Self::Float),
            ("min", &[low]) => Ok(Self::Between(low, i64::MAX)),
            ("max", &[high]) => Ok(Self::Between(i64::MIN, high)),
            ("range", &[low, high]) => Ok(Self::Between(low, high)),
            ("length", &[exact]) => Ok(Self::Length(length(exact)?, length(exact)?)),
            ("length", &[low, high]) => Ok(Self::Length(length(low)?, length(high)?)),
            ("minlength", &[low]) => Ok(Self::Length(length(low)?, usize::MAX)),
            ("maxlength", &[high]) => Ok(Self::Length(0, length(high)?)),
            _ => Err(unknown()),
        }
    }

    fn accepts(&self, value: &str) -> bool {
        match *self {
            Self::Int => value.parse::<i32>().is_ok(),
            Self::Long => value.parse::<i64>().is_ok(),
            Self::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Self::Guid => uuid::Uuid::try_parse(value).is_ok(),
            Self::Alpha => value.bytes().all(|b| b.is_ascii_alphabetic()),
            Self::Float => value.parse::<f64>().is_ok_and(f64::is_finite),
            Self::Between(low, high) => value.parse::<i64>().is_ok_and(|n| (low..=high).contains(&n)),
            Self::Length(low, high) => (low..=high).contains(&value.chars().count()),
        }
    }
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

fn strip<'v>(value: &'v str, before: &str, after: &str) -> Option<&'v str> {
    let start = value.get(..before.len())?;
    let end = value.len().checked_sub(after.len()).filter(|&end| end >= before.len())?;
    let tail = value.get(end..)?;
    if same(start, before) && same(tail, after) { value.get(before.len()..end) } else { None }
}

/// Undoes the percent-encoding of a path, but for an encoded slash.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(decoded) if byte == b'%' && decoded != b'/' => {
                bytes.push(decoded);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(template: &str, path: &str) -> Option<Vec<(String, Option<String>)>> {
        Template::parse(template).unwrap().matches(path)
    }

    fn one(name: &str, value: Option<&str>) -> Option<Values> {
        Some(vec![(name.to_owned(), value.map(str::to_owned))])
    }

    #[test]
    fn letters_match_in_any_case_and_values_keep_theirs() {
        assert_eq!(values("api/Orders/{id}", "API/orders/Ab"), one("id", Some("Ab")));
        assert_eq!(values("api/orders/{id}", "api/orders/a%20b%2Fc/"), one("id", Some("a b%2Fc")));
        assert_eq!(values("api/orders/{id}", "api/orders"), None);
        assert_eq!(values("api/orders/{id}", "api/orders/1/2"), None);
    }

    #[test]
    fn optional_parameters_may_be_left_out() {
        assert_eq!(values("a/{id?}", "a"), one("id", None));
        assert_eq!(values("a/{id?}", "a/1"), one("id", Some("1")));
        assert_eq!(values("a/{id=7}", "a"), one("id", Some("7")));
        let two = vec![("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), None)];
        assert_eq!(values("i/{a?}/{b?}", "i/1"), Some(two));
    }

    #[test]
    fn constraints_decide_about_the_route() {
        assert_eq!(values("a/{id:int}", "a/12"), one("id", Some("12")));
        assert_eq!(values("a/{id:int}", "a/x"), None);
        assert_eq!(values("a/{id:int:min(5)?}", "a/4"), None);
        assert_eq!(values("a/{id:guid}", "a/24ad4c06-24ad-4e5b-8294-3da9714877e9").map(|v| v.len()), Some(1));
        assert_eq!(values("a/{id:length(2,3)}", "a/abcd"), None);
        assert!(Template::parse("a/{id:odd}").is_err());
    }

    #[test]
    fn a_catch_all_takes_the_rest_and_text_may_stand_around_a_parameter() {
        assert_eq!(values("f/{*rest}", "f/a/b.txt"), one("rest", Some("a/b.txt")));
        assert_eq!(values("f/{*rest}", "f"), one("rest", None));
        assert_eq!(values("f/{name}.txt", "f/x.TXT"), one("name", Some("x")));
        assert_eq!(values("f/{name}.txt", "f/.txt"), None);
    }

    #[test]
    fn the_more_literal_template_comes_first() {
        let mut templates = ["a/{*r}", "a/{x}", "a/{x:int}", "a/b"].map(|t| Template::parse(t).unwrap());
        templates.sort_by(Template::precedence);
        assert_eq!(templates, ["a/b", "a/{x:int}", "a/{x}", "a/{*r}"].map(|t| Template::parse(t).unwrap()));
    }
}
