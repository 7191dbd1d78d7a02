//! The two documents of Queue Storage: a message to put, and the list that a receive gives (rest-api-ref `Put-Message`,
//! `Get-Messages`). Knows no queue and no connection.
//!
//! The client's own reader trims texts and unifies line ends, which would change what another program put on the queue;
//! so the list is read here, text by text.

use crate::storage::{Message, Receipt, message};
use crate::timestamp::Timestamp;
use azure_core::time::parse_rfc7231;
use bytes::Bytes;
use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};
use std::collections::HashMap;
use std::time::Duration;

/// An answer that is not what the service documents.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum OddAnswer {
    /// Not the list, or cut off.
    #[error("the answer to a receive is no whole list of messages: {0}")]
    Document(String),
    /// A message without one of its parts.
    #[error("a message in the answer to a receive has no {0}")]
    Missing(&'static str),
    /// A part that is something else.
    #[error("the {field} of a message in the answer to a receive cannot be {value:?}")]
    Value {
        /// The part.
        field: &'static str,
        /// Its text, cut.
        value: String,
    },
}

/// The document that puts `text`. A reader of XML may trim white space at the ends and unifies line ends, unless they are
/// written as character references.
pub(super) fn message(text: &str) -> Bytes {
    let mut document = String::with_capacity(text.len() + 96);
    document.push_str("<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessage><MessageText>");
    let inner = text.trim_start_matches(is_white);
    let start = text.len() - inner.len();
    let end = start + inner.trim_end_matches(is_white).len();
    for (at, character) in text.char_indices() {
        match character {
            '&' => document.push_str("&amp;"),
            '<' => document.push_str("&lt;"),
            '>' => document.push_str("&gt;"),
            white if white == '\r' || (is_white(white) && !(start..end).contains(&at)) => {
                document.push_str(&format!("&#{};", u32::from(white)));
            }
            other => document.push(other),
        }
    }
    document.push_str("</MessageText></QueueMessage>");
    document.into()
}

/// White space to a reader of XML, or to one that trims as its language does: those of this service are written in several.
fn is_white(character: char) -> bool {
    character.is_whitespace() || character == '\u{feff}'
}

/// The messages of a receive.
///
/// # Errors
/// See [`OddAnswer`].
pub(super) fn received(document: &[u8]) -> Result<Vec<Message>, OddAnswer> {
    parts(document)?.iter().map(of_parts).collect()
}

/// The parts of a message by name.
type Parts = HashMap<String, String>;

/// The parts of each message in a list.
fn parts(document: &[u8]) -> Result<Vec<Parts>, OddAnswer> {
    let odd = |reason: &str| OddAnswer::Document(reason.to_owned());
    let mut reader = Reader::from_reader(document);
    let mut messages: Vec<Parts> = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut complete = false;
    loop {
        match reader.read_event().map_err(|error| OddAnswer::Document(error.to_string()))? {
            Event::Start(tag) => {
                open.push(utf8(tag.name().as_ref())?);
                text.clear();
                begin(&open, &mut messages)?;
            }
            Event::Empty(tag) => {
                open.push(utf8(tag.name().as_ref())?);
                text.clear();
                begin(&open, &mut messages)?;
                complete |= open.len() == 1;
                end(&mut open, &mut messages, &mut text);
            }
            Event::End(_) => {
                complete |= open.len() == 1;
                end(&mut open, &mut messages, &mut text);
            }
            Event::Text(part) => text.push_str(&utf8(&part)?),
            Event::CData(part) => text.push_str(&utf8(&part)?),
            Event::GeneralRef(reference) => text.push(referred(&reference)?),
            Event::Eof if complete && open.is_empty() => return Ok(messages),
            Event::Eof => return Err(odd("it ends too early")),
            _ => {}
        }
    }
}

/// The innermost of the `open` elements has begun.
fn begin(open: &[String], messages: &mut Vec<Parts>) -> Result<(), OddAnswer> {
    match open {
        [root] if root != "QueueMessagesList" => Err(OddAnswer::Document(format!("its root is {}", cut(root)))),
        [_, message] if message == "QueueMessage" => {
            messages.push(Parts::new());
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The innermost of the `open` elements has ended.
fn end(open: &mut Vec<String>, messages: &mut [Parts], text: &mut String) {
    let name = open.pop();
    if let ([_, message], Some(name), Some(parts)) = (open.as_slice(), name, messages.last_mut())
        && message == "QueueMessage"
    {
        parts.insert(name, std::mem::take(text));
    }
}

fn referred(reference: &BytesRef<'_>) -> Result<char, OddAnswer> {
    Ok(match &**reference {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        other => match reference.resolve_char_ref() {
            Ok(Some(character)) => character,
            _ => {
                let reason = format!("it has the reference &{};", cut(&String::from_utf8_lossy(other)));
                return Err(OddAnswer::Document(reason));
            }
        },
    })
}

fn utf8(bytes: &[u8]) -> Result<String, OddAnswer> {
    String::from_utf8(bytes.to_vec()).map_err(|error| OddAnswer::Document(error.to_string()))
}

/// As much of a text as a message of an error needs.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

fn of_parts(parts: &Parts) -> Result<Message, OddAnswer> {
    let dequeue_count = text_of(parts, "DequeueCount")?;
    Ok(Message {
        id: text_of(parts, "MessageId")?.to_owned(),
        body: message::from_text(text_of(parts, "MessageText")?.to_owned()),
        dequeue_count: dequeue_count
            .parse()
            .map_err(|_| OddAnswer::Value { field: "DequeueCount", value: cut(dequeue_count) })?,
        receipt: Receipt(text_of(parts, "PopReceipt")?.to_owned()),
        inserted: time_of(parts, "InsertionTime")?,
        expires: match time_of(parts, "ExpirationTime")? {
            // "Never" is the last second of the calendar.
            last if Timestamp::MAX.since(last) < Duration::from_secs(1) => Timestamp::MAX,
            expires => expires,
        },
        next_visible: time_of(parts, "TimeNextVisible")?,
    })
}

fn text_of<'p>(parts: &'p Parts, field: &'static str) -> Result<&'p str, OddAnswer> {
    parts.get(field).map(String::as_str).ok_or(OddAnswer::Missing(field))
}

fn time_of(parts: &Parts, field: &'static str) -> Result<Timestamp, OddAnswer> {
    let text = text_of(parts, field)?;
    parse_rfc7231(text).map(Timestamp::from).map_err(|_| OddAnswer::Value { field, value: cut(text) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Body;
    use proptest::prelude::*;

    fn listed(text: &str) -> String {
        format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessagesList><QueueMessage>\
             <MessageId>0d2b8ab6-9e6e-4b5e-a3a1-3f3b1a0c9f5d</MessageId>\
             <InsertionTime>Tue, 14 Apr 2026 07:00:00 GMT</InsertionTime>\
             <ExpirationTime>Fri, 31 Dec 9999 23:59:59 GMT</ExpirationTime><PopReceipt>AgAA+/=</PopReceipt>\
             <TimeNextVisible>Tue, 14 Apr 2026 07:00:30 GMT</TimeNextVisible><DequeueCount>2</DequeueCount>\
             <MessageText>{text}</MessageText></QueueMessage></QueueMessagesList>"
        )
    }

    #[test]
    fn a_listed_message_is_read_in_all_its_parts() {
        let at: Timestamp = "2026-04-14T07:00:00Z".parse().unwrap();
        let expected = Message {
            id: "0d2b8ab6-9e6e-4b5e-a3a1-3f3b1a0c9f5d".to_owned(),
            body: Body::Bytes("hi".into()),
            dequeue_count: 2,
            receipt: Receipt("AgAA+/=".to_owned()),
            inserted: at,
            expires: Timestamp::MAX,
            next_visible: at + Duration::from_secs(30),
        };
        assert_eq!(received(listed("aGk=").as_bytes()), Ok(vec![expected]));
    }

    #[test]
    fn an_empty_list_has_no_messages_and_an_empty_text_is_an_empty_body() {
        assert_eq!(received(b"<QueueMessagesList/>"), Ok(Vec::new()));
        assert_eq!(received(b"<?xml version=\"1.0\"?>\n<QueueMessagesList>\n</QueueMessagesList>\n"), Ok(Vec::new()));
        for empty in [listed(""), listed("").replace("<MessageText></MessageText>", "<MessageText />")] {
            assert_eq!(received(empty.as_bytes()).unwrap()[0].body, Body::Bytes("".into()));
        }
    }

    #[test]
    fn texts_keep_white_space_line_ends_and_marks() {
        for (text, expected) in [
            ("  {} ", "  {} "),
            (" ", " "),
            ("&#160;a\u{a0}", "\u{a0}a\u{a0}"),
            ("\r\n", "\r\n"),
            ("a\r\nb&#13;&#xD;c", "a\r\nb\r\rc"),
            ("&lt;a b=&apos;c&apos;&gt;&amp;amp;", "<a b='c'>&amp;"),
            ("<![CDATA[<a>&amp;]]> ", "<a>&amp; "),
        ] {
            assert_eq!(
                received(listed(text).as_bytes()).unwrap()[0].body,
                Body::Foreign(expected.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn an_answer_that_lacks_something_says_what() {
        for document in
            ["", "garbage", "<QueueMessagesList>", "<html></html>", "<QueueMessagesList><a></b>", "{}", "\u{feff}"]
        {
            assert!(matches!(received(document.as_bytes()), Err(OddAnswer::Document(_))), "{document}");
        }
        let whole = listed("aGk=");
        for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
            assert!(received(&whole.as_bytes()[..end]).is_err(), "cut at {end}");
        }
        for field in ["MessageId", "PopReceipt", "DequeueCount", "MessageText", "InsertionTime", "TimeNextVisible"] {
            let without = whole.replace(field, "Other");
            assert_eq!(received(without.as_bytes()), Err(OddAnswer::Missing(field)));
        }
        for (right, wrong, field) in [
            (">2<", ">two<", "DequeueCount"),
            (">2<", ">-1<", "DequeueCount"),
            (">Tue, 14 Apr 2026 07:00:30 GMT<", ">soon<", "TimeNextVisible"),
        ] {
            let error = received(whole.replace(right, wrong).as_bytes()).unwrap_err();
            assert!(matches!(error, OddAnswer::Value { field: found, .. } if found == field), "{error}");
        }
    }

    #[test]
    fn white_space_of_any_kind_at_the_ends_is_put_as_a_reference() {
        let put = message("\u{a0}a\u{a0}b\u{2003}");
        assert!(std::str::from_utf8(&put).unwrap().contains(">&#160;a\u{a0}b&#8195;<"));
    }

    proptest! {
        #[test]
        fn what_is_put_is_read_back(text in "[ \t\r\n\u{a0}\u{2003}]{0,2}[\\PC\t\r\n]{0,20}[ \t\r\n]{0,2}") {
            let put = message(&text);
            let put = std::str::from_utf8(&put).unwrap();
            let inner = put.split_once("<MessageText>").unwrap().1.split_once("</MessageText>").unwrap().0;
            prop_assert!(!inner.contains('\r') && inner.trim() == inner);
            let expected = message::from_text(text);
            prop_assert_eq!(&received(listed(inner).as_bytes()).unwrap()[0].body, &expected);
        }
    }
}
