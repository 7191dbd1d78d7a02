//! The answer to an entity-group transaction: either every operation was done, or one was refused and none was done.
//! Anything else (cut, empty, garbage, another count) leaves the outcome open. Knows no connection.
//!
//! Source: rest-api-ref `Performing-Entity-Group-Transactions`. The status of the whole is 202 even if an operation was
//! refused; the answer has one part then, that of the refused operation.

use super::multipart::{self, Headers, Malformed};
use super::refusal::Refused;
use crate::storage::{ETag, Operation};

/// What became of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All was done; the new version of each row, none for a deleted one.
    Done(Vec<Option<ETag>>),
    /// Nothing was done.
    Refused(Refused),
}

/// The answer says neither; the outcome is unknown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unclear {
    #[error("the answer to the transaction is not UTF-8")]
    NotText,
    #[error("the answer to the transaction cannot be read: {0}")]
    Malformed(#[from] Malformed),
    #[error("the answer to the transaction has the status line {0:?}")]
    StatusLine(String),
    #[error("the answer to the transaction tells of {found} operations of {sent}")]
    Count { found: usize, sent: usize },
    #[error("part {part} of the answer to the transaction bears the number {content_id}")]
    Order { part: usize, content_id: String },
    #[error("part {part} of the answer to the transaction has the unexpected status {status}")]
    Status { part: usize, status: u16 },
    #[error("part {part} of the answer to the transaction has no ETag")]
    NoETag { part: usize },
    #[error("part {part} of the answer to the transaction has content although it says that it has none")]
    Content { part: usize },
}

/// Reads the answer to a transaction of `operations`.
pub(super) fn read(content_type: &str, body: &[u8], operations: &[Operation]) -> Result<Outcome, Unclear> {
    let text = std::str::from_utf8(body).map_err(|_| Unclear::NotText)?;
    let parts = changes(content_type, text)?.into_iter().map(Part::read).collect::<Result<Vec<_>, _>>()?;
    if let Some(refused) = parts.iter().find(|part| part.status >= 400) {
        let part = refused.headers.get("content-id").and_then(|id| id.parse().ok());
        return Ok(Outcome::Refused(Refused::part(refused.status, refused.body, part)));
    }
    if parts.len() != operations.len() {
        return Err(Unclear::Count { found: parts.len(), sent: operations.len() });
    }
    let etags = parts.iter().zip(operations).enumerate();
    let etags = etags.map(|(index, (part, operation))| part.done(index + 1, operation)).collect::<Result<_, _>>()?;
    Ok(Outcome::Done(etags))
}

/// The parts of the one change set, or the one part that stands in its place.
fn changes<'a>(content_type: &str, text: &'a str) -> Result<Vec<&'a str>, Unclear> {
    let batch = multipart::split(text, multipart::boundary(content_type)?)?;
    let [one] = batch.as_slice() else { return Ok(batch) };
    let (headers, changes) = multipart::headers(one)?;
    let content_type = headers.get("content-type").unwrap_or_default();
    if content_type.trim_start().to_ascii_lowercase().starts_with("application/http") {
        return Ok(batch);
    }
    Ok(multipart::split(changes, multipart::boundary(content_type)?)?)
}

/// The answer to one operation.
struct Part<'a> {
    status: u16,
    headers: Headers<'a>,
    body: &'a str,
}

impl<'a> Part<'a> {
    fn read(part: &'a str) -> Result<Self, Unclear> {
        let (_, answer) = multipart::headers(part)?;
        let (line, rest) = answer.split_once('\n').unwrap_or((answer, ""));
        let status = status(line.trim_end()).ok_or_else(|| Unclear::StatusLine(line.chars().take(100).collect()))?;
        let (headers, body) = match multipart::headers(rest) {
            // Nothing follows the headers: the empty line after them may be all that is left before the boundary.
            Err(Malformed::Headers) if status == 204 => (multipart::only_headers(rest)?, ""),
            read => read?,
        };
        Ok(Self { status, headers, body: body.trim() })
    }

    /// The new version of the row of `operation`, which was the `part`th, counted from 1.
    fn done(&self, part: usize, operation: &Operation) -> Result<Option<ETag>, Unclear> {
        if let Some(content_id) = self.headers.get("content-id")
            && content_id != part.to_string()
        {
            return Err(Unclear::Order { part, content_id: content_id.chars().take(20).collect() });
        }
        // What follows may be another part whose boundary was spoilt.
        if self.status == 204 && !self.body.is_empty() {
            return Err(Unclear::Content { part });
        }
        match (self.status, operation, self.headers.get("etag")) {
            (204, Operation::Delete(..), _) => Ok(None),
            (201, Operation::Insert(..), etag) | (204, _, etag) => match etag {
                Some(etag) if !etag.is_empty() => Ok(Some(ETag(etag.to_owned()))),
                _ => Err(Unclear::NoETag { part }),
            },
            (status, ..) => Err(Unclear::Status { part, status }),
        }
    }
}

/// The code of a status line such as `HTTP/1.1 204 No Content`.
fn status(line: &str) -> Option<u16> {
    let (version, rest) = line.split_once(' ')?;
    let code = rest.split(' ').next()?;
    let digits = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    (version.starts_with("HTTP/1.") && digits).then(|| code.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Error, Key, Properties};
    use proptest::prelude::*;

    const TYPE: &str = "multipart/mixed; boundary=batchresponse_1";
    const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\nETag: W/\"1\"\r\n\r\n";

    fn key(row: &str) -> Key {
        Key::new("p", row).unwrap()
    }

    fn inserts(count: usize) -> Vec<Operation> {
        (0..count).map(|row| Operation::Insert(key(&row.to_string()), Properties::new())).collect()
    }

    fn recorded(text: &str) -> String {
        text.replace('\n', "\r\n")
    }

    /// An answer whose change set has these HTTP answers.
    fn answer(parts: &[&str]) -> String {
        let mut text = String::from("--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=cr_1\r\n\r\n");
        for part in parts {
            text += "--cr_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n";
            text += part;
            text += "\r\n";
        }
        text + "--cr_1--\r\n--batchresponse_1--\r\n"
    }

    fn etag(text: &str) -> Option<ETag> {
        Some(ETag(text.to_owned()))
    }

    #[test]
    fn a_success_of_azurite_gives_the_versions() {
        let answer = recorded(include_str!("golden/azurite_done.txt"));
        let mut operations = inserts(1);
        operations.push(Operation::Delete(key("x"), ETag("W/\"1\"".to_owned())));
        let content_type = "multipart/mixed; boundary=batchresponse_a1b2";
        assert_eq!(
            read(content_type, answer.as_bytes(), &operations),
            Ok(Outcome::Done(vec![etag("W/\"datetime'2026-11-21T14%3A32%3A31.9398249Z'\""), None]))
        );
    }

    #[test]
    fn a_success_of_the_service_gives_the_versions_in_any_order_and_case_of_headers() {
        let answer = recorded(include_str!("golden/azure_done.txt"));
        let content_type = "multipart/mixed; boundary=batchresponse_4c637ba4-b2f8-40f8-8856-c2d10d163a83";
        assert_eq!(
            read(content_type, answer.as_bytes(), &inserts(2)),
            Ok(Outcome::Done(vec![
                etag("W/\"datetime'2013-08-22T17%3A56%3A54.0417742Z'\""),
                etag("W/\"datetime'2013-08-22T17%3A56%3A55.0417742Z'\"")
            ]))
        );
    }

    #[test]
    fn a_refusal_of_azurite_or_the_service_is_never_a_success() {
        let azurite = include_str!("golden/azurite_refused.txt");
        let azure = include_str!("golden/azure_refused.txt");
        for (text, content_type) in [
            (azurite, "multipart/mixed; boundary=batchresponse_a1b2"),
            (azure, "multipart/mixed; boundary=batchresponse_b6f890b8"),
        ] {
            for count in [1, 2, 3] {
                let outcome = read(content_type, recorded(text).as_bytes(), &inserts(count)).unwrap();
                let Outcome::Refused(refused) = outcome else { panic!("{outcome:?}") };
                let error = refused.into_error(&inserts(count));
                let expected = if count == 1 { 0 } else { 1 };
                assert!(matches!(error, Error::Exists { index } if index == expected), "{count}: {error}");
            }
        }
    }

    #[test]
    fn a_refusal_in_the_place_of_the_change_set_is_a_refusal() {
        let text = "--batchresponse_1\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n\r\n--batchresponse_1--";
        assert!(matches!(read(TYPE, text.as_bytes(), &inserts(1)), Ok(Outcome::Refused(_))));
        let text = text.replace("400 Bad Request", "204 No Content");
        assert!(read(TYPE, text.as_bytes(), &inserts(2)).is_err());
    }

    #[test]
    fn one_refused_part_among_others_is_a_refusal() {
        for place in 0..3 {
            let mut parts = vec![NO_CONTENT; 2];
            parts.insert(place, "HTTP/1.1 412 Precondition Failed\r\n\r\n");
            let outcome = read(TYPE, answer(&parts).as_bytes(), &inserts(3)).unwrap();
            assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        }
    }

    #[test]
    fn another_count_of_parts_is_no_success() {
        for (parts, operations) in [(0, 1), (1, 2), (2, 1), (99, 100), (101, 100)] {
            let text = answer(&vec![NO_CONTENT; parts]);
            let outcome = read(TYPE, text.as_bytes(), &inserts(operations));
            assert_eq!(outcome, Err(Unclear::Count { found: parts, sent: operations }));
        }
    }

    #[test]
    fn one_line_end_between_headers_and_boundary_is_enough() {
        let brief = NO_CONTENT.strip_suffix("\r\n").unwrap();
        let done = read(TYPE, answer(&[brief, brief]).as_bytes(), &inserts(2));
        assert_eq!(done, Ok(Outcome::Done(vec![etag("W/\"1\""), etag("W/\"1\"")])));
    }

    #[test]
    fn parts_in_another_order_are_no_success() {
        let part = |id: usize| format!("HTTP/1.1 204 No Content\r\nContent-ID: {id}\r\nETag: W/\"{id}\"\r\n\r\n");
        let in_order = answer(&[&part(1), &part(2)]);
        let expected = Outcome::Done(vec![etag("W/\"1\""), etag("W/\"2\"")]);
        assert_eq!(read(TYPE, in_order.as_bytes(), &inserts(2)), Ok(expected));
        let swapped = read(TYPE, answer(&[&part(2), &part(1)]).as_bytes(), &inserts(2));
        assert_eq!(swapped, Err(Unclear::Order { part: 1, content_id: "2".to_owned() }));
    }

    #[test]
    fn a_success_without_a_version_or_with_another_status_is_unclear() {
        let read_one = |part: &str| read(TYPE, answer(&[part]).as_bytes(), &inserts(1));
        assert_eq!(read_one("HTTP/1.1 204 No Content\r\n\r\n"), Err(Unclear::NoETag { part: 1 }));
        assert_eq!(read_one("HTTP/1.1 204 No Content\r\nETag: \r\n\r\n"), Err(Unclear::NoETag { part: 1 }));
        for status in [100, 200, 202, 302] {
            let part = format!("HTTP/1.1 {status} X\r\nETag: x\r\n\r\n");
            assert_eq!(read_one(&part), Err(Unclear::Status { part: 1, status }));
        }
        for line in ["HTTP/1.1 2040 X", "HTTP/1.1 +20 X", "HTTP/2 204", "204 No Content", "HTTP/1.1", ""] {
            assert!(matches!(read_one(&format!("{line}\r\n\r\n")), Err(Unclear::StatusLine(_))), "{line}");
        }
    }

    #[test]
    fn an_answer_that_was_cut_is_unclear_wherever_it_was_cut() {
        let text = answer(&[NO_CONTENT, NO_CONTENT]);
        let whole = text.trim_end().len();
        for end in 0..whole {
            assert!(read(TYPE, &text.as_bytes()[..end], &inserts(2)).is_err(), "{end}");
        }
        assert!(read(TYPE, &text.as_bytes()[..whole], &inserts(2)).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_unclear(content_type in prop_oneof![Just(TYPE.to_owned()), any::<String>()], body in any::<Vec<u8>>()) {
            prop_assert!(read(&content_type, &body, &inserts(2)).is_err());
        }

        /// Pieces of answers in any order: a success needs as many parts as operations, none of them refused.
        #[test]
        fn only_an_answer_with_a_success_for_each_operation_is_a_success(
            pieces in proptest::collection::vec(prop_oneof![
                Just("--batchresponse_1\r\n"), Just("--batchresponse_1--\r\n"), Just("--cr_1\r\n"), Just("--cr_1--\r\n"),
                Just("Content-Type: multipart/mixed; boundary=cr_1\r\n"), Just("Content-Type: application/http\r\n"),
                Just("\r\n"), Just("HTTP/1.1 204 No Content\r\n"), Just("HTTP/1.1 409 Conflict\r\n"), Just("ETag: W/\"1\"\r\n"),
                Just(NO_CONTENT), Just("Content-ID: 1\r\n"), Just("{}"), Just("--"),
            ], 0..40),
            count in 1..4_usize,
        ) {
            let text = pieces.concat();
            if let Ok(Outcome::Done(etags)) = read(TYPE, text.as_bytes(), &inserts(count)) {
                prop_assert_eq!(etags.len(), count);
                prop_assert!(text.matches("HTTP/1.1 204").count() >= count && text.contains("--batchresponse_1--"));
            }
        }

        #[test]
        fn a_change_of_one_byte_never_makes_a_success_of_another_count(at in any::<prop::sample::Index>(), byte in any::<u8>(), count in 1..4_usize) {
            let mut bytes = answer(&[NO_CONTENT, NO_CONTENT]).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            match read(TYPE, &bytes, &inserts(count)) {
                Ok(Outcome::Done(etags)) => prop_assert!(count == 2 && etags.len() == 2),
                Ok(Outcome::Refused(_)) | Err(_) => {}
            }
        }
    }
}
