//! The text of messages in XML. The crate writes carriage returns as they are, which every XML reader turns into line
//! feeds, and drops white space at the ends of what it reads: character references survive both. Does no I/O.

use bytes::Bytes;

const START: &[u8] = b"<MessageText>";
const END: &[u8] = b"</MessageText>";

/// The body of a request that puts `text` as it is (rest-api-ref `Put-Message`).
pub(crate) fn message(text: &str) -> Bytes {
    let mut xml = "<QueueMessage><MessageText>".to_owned();
    for c in text.chars() {
        match c {
            '<' => xml += "&lt;",
            '>' => xml += "&gt;",
            '&' => xml += "&amp;",
            ' ' | '\t' | '\r' | '\n' => xml += &format!("&#{};", u32::from(c)),
            _ => xml.push(c),
        }
    }
    (xml + "</MessageText></QueueMessage>").into()
}

/// An answer with messages, its texts' white space as character references.
pub(crate) fn keep_white_space(body: &[u8]) -> Bytes {
    let mut kept = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(start) = find(rest, START) {
        let (before, text) = rest.split_at(start + START.len());
        kept.extend_from_slice(before);
        let end = find(text, END).unwrap_or(text.len());
        for byte in &text[..end] {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => kept.extend_from_slice(format!("&#{byte};").as_bytes()),
                _ => kept.push(*byte),
            }
        }
        rest = &text[end..];
    }
    kept.extend_from_slice(rest);
    kept.into()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_white_space_are_references_in_a_request() {
        assert_eq!(
            message("<a b='c'>&\r\n ü"),
            "<QueueMessage><MessageText>&lt;a&#32;b='c'&gt;&amp;&#13;&#10;&#32;ü</MessageText></QueueMessage>"
        );
    }

    #[test]
    fn only_the_texts_of_an_answer_are_changed() {
        let body = b"<?xml version=\"1.0\"?>\r\n<L> <M><MessageText> a\r\n</MessageText></M><M><MessageText></MessageText></M></L>";
        assert_eq!(
            keep_white_space(body),
            &b"<?xml version=\"1.0\"?>\r\n<L> <M><MessageText>&#32;a&#13;&#10;</MessageText></M><M><MessageText></MessageText></M></L>"[..]
        );
        for cut in [&b""[..], b"<MessageText", b"<MessageText>", b"<MessageText>a</Mess"] {
            assert_eq!(keep_white_space(cut), cut);
        }
    }
}
