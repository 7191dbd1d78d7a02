//! Multipart texts, read strictly: every boundary must be there, the closing one too, so that a text that was cut is
//! not taken for a shorter one. Knows no table.
//!
//! Source: RFC 2046, section 5.1; line ends without a carriage return are read, too.

/// Why a text is not what it should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the content type {0:?} is not multipart/mixed with a boundary")]
    ContentType(String),
    #[error("the text before the first boundary is not empty")]
    Preamble,
    #[error("the closing boundary is missing")]
    Cut,
    #[error("there is text after the closing boundary")]
    Epilogue,
    #[error("a part's headers do not end")]
    Headers,
    #[error("{0:?} is no header")]
    Header(String),
}

/// Names and values of header lines.
#[derive(Debug)]
pub(super) struct Headers<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Headers<'a> {
    /// The value of the last header called `name`, in whatever case.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// The boundary that a content type of `multipart/mixed` names.
pub(super) fn boundary(content_type: &str) -> Result<&str, Malformed> {
    let mut parameters = content_type.split(';').map(str::trim);
    let mixed = parameters.next().is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/mixed"));
    let boundary = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    });
    match boundary {
        Some(boundary) if mixed && !boundary.is_empty() => Ok(boundary),
        _ => Err(Malformed::ContentType(content_type.chars().take(100).collect())),
    }
}

/// The parts between the boundaries.
pub(super) fn split<'a>(text: &'a str, boundary: &str) -> Result<Vec<&'a str>, Malformed> {
    let mut parts = Vec::new();
    let mut start = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let next = at + line.len();
        let rest = line.strip_prefix("--").and_then(|line| line.strip_prefix(boundary)).map(str::trim_end);
        match (rest, start) {
            (Some("" | "--"), Some(start)) => parts.push(without_line_end(&text[start..at])),
            (Some("" | "--"), None) => {}
            (_, None) if !line.trim().is_empty() => return Err(Malformed::Preamble),
            _ => {}
        }
        match rest {
            Some("") => start = Some(next),
            Some("--") if text[next..].trim().is_empty() => return Ok(parts),
            Some("--") => return Err(Malformed::Epilogue),
            _ => {}
        }
        at = next;
    }
    Err(Malformed::Cut)
}

/// The header lines at the beginning of `text`, and what follows the empty line after them.
pub(super) fn headers(text: &str) -> Result<(Headers<'_>, &str), Malformed> {
    lines(text, false)
}

/// The header lines that `text` consists of: its end may stand for the empty line, which was taken for the boundary's.
pub(super) fn only_headers(text: &str) -> Result<Headers<'_>, Malformed> {
    lines(text, true).map(|(headers, _)| headers)
}

fn lines(text: &str, may_end: bool) -> Result<(Headers<'_>, &str), Malformed> {
    let mut headers = Vec::with_capacity(8);
    let mut rest = text;
    loop {
        if may_end && rest.is_empty() {
            return Ok((Headers(headers), rest));
        }
        let (line, after) = rest.split_once('\n').ok_or(Malformed::Headers)?;
        rest = after;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Ok((Headers(headers), rest));
        }
        let refused = || Malformed::Header(line.chars().take(100).collect());
        let (name, value) = line.split_once(':').ok_or_else(refused)?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused());
        }
        headers.push((name, value.trim()));
    }
}

/// The line end before a boundary belongs to the boundary.
fn without_line_end(part: &str) -> &str {
    let part = part.strip_suffix('\n').unwrap_or(part);
    part.strip_suffix('\r').unwrap_or(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_boundary_is_named_by_the_content_type() {
        for content_type in [
            "multipart/mixed; boundary=b_1",
            "Multipart/Mixed;charset=utf-8; Boundary=\"b_1\"",
            "multipart/mixed;boundary=b_1;x=y",
        ] {
            assert_eq!(boundary(content_type), Ok("b_1"), "{content_type}");
        }
        for content_type in ["", "multipart/mixed", "multipart/mixed; boundary=", "application/json; boundary=b"] {
            assert!(boundary(content_type).is_err(), "{content_type}");
        }
    }

    #[test]
    fn parts_stand_between_the_boundaries() {
        assert_eq!(split("--b\r\nx\r\n\r\n--b\r\n--c\r\n--b--\r\n", "b"), Ok(vec!["x\r\n", "--c"]));
        assert_eq!(split("\r\n--b  \n--b-- ", "b"), Ok(vec![""]));
        assert_eq!(split("--b--", "b"), Ok(vec![]));
    }

    #[test]
    fn a_text_that_was_cut_is_refused_wherever_it_was_cut() {
        let text = "--b\r\nx\r\n--b\r\ny\r\n--b--";
        assert_eq!(split(text, "b"), Ok(vec!["x", "y"]));
        for end in 0..text.len() {
            assert!(split(&text[..end], "b").is_err(), "{:?}", &text[..end]);
        }
        assert_eq!(split("", "b"), Err(Malformed::Cut));
        assert_eq!(split("HTTP/1.1 500\r\n--b--", "b"), Err(Malformed::Preamble));
        assert_eq!(split("--b\r\n--b--\r\nx", "b"), Err(Malformed::Epilogue));
    }

    #[test]
    fn headers_end_with_an_empty_line() {
        let (found, rest) = headers("A: b:c \r\nx-Y:\r\n\r\nbody\r\n").unwrap();
        assert_eq!((found.get("a"), found.get("x-y"), found.get("z")), (Some("b:c"), Some(""), None));
        assert_eq!(rest, "body\r\n");
        assert_eq!(headers("\n").unwrap().1, "");
        assert_eq!(headers("A: b\r\n").unwrap_err(), Malformed::Headers);
        assert_eq!(headers("none\r\n\r\n").unwrap_err(), Malformed::Header("none".to_owned()));
    }

    proptest! {
        #[test]
        fn any_parts_come_back(parts in proptest::collection::vec("[a-z:{}\r\n-]{0,30}", 0..5)) {
            let mut text = String::new();
            for part in &parts {
                text += &format!("--B1\r\n{part}\r\n");
            }
            text += "--B1--\r\n";
            prop_assert_eq!(split(&text, "B1"), Ok(parts.iter().map(String::as_str).collect()));
        }
    }
}
