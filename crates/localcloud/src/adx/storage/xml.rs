//! The little XML that storage takes: a root whose children hold text.

use quick_xml::Reader;
use quick_xml::events::Event;

/// The children of the root `root`, by name and text; `None` if the document is something else.
pub(super) fn children(document: &[u8], root: &str) -> Option<Vec<(String, String)>> {
    let mut reader = Reader::from_reader(document);
    let mut children: Vec<(String, String)> = Vec::new();
    let (mut depth, mut rooted) = (0, false);
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                depth += 1;
                let name = String::from_utf8(tag.name().as_ref().to_vec()).ok()?;
                match depth {
                    1 if name == root && !rooted => rooted = true,
                    2 => children.push((name, String::new())),
                    _ => return None,
                }
            }
            Event::Empty(tag) => match depth {
                0 if tag.name().as_ref() == root.as_bytes() && !rooted => rooted = true,
                1 => children.push((String::from_utf8(tag.name().as_ref().to_vec()).ok()?, String::new())),
                _ => return None,
            },
            Event::End(_) => depth -= 1,
            Event::Text(text) if depth == 2 => {
                children.last_mut()?.1.push_str(std::str::from_utf8(&text).ok()?);
            }
            Event::CData(text) if depth == 2 => children.last_mut()?.1.push_str(std::str::from_utf8(&text).ok()?),
            Event::GeneralRef(reference) if depth == 2 => {
                let character = match &*reference {
                    b"amp" => '&',
                    b"lt" => '<',
                    b"gt" => '>',
                    b"quot" => '"',
                    b"apos" => '\'',
                    _ => reference.resolve_char_ref().ok()??,
                };
                children.last_mut()?.1.push(character);
            }
            Event::Eof => return (rooted && depth == 0).then_some(children),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_read_in_order_and_other_documents_are_not() {
        let read = |document: &str| children(document.as_bytes(), "BlockList");
        let list = "\u{feff}<?xml version=\"1.0\"?>\n<BlockList>\n <Latest>YQ&#61;=</Latest><Committed>b</Committed></BlockList>";
        let expected = vec![("Latest".to_owned(), "YQ==".to_owned()), ("Committed".to_owned(), "b".to_owned())];
        assert_eq!(read(list), Some(expected));
        assert_eq!(read("<BlockList/>"), Some(Vec::new()));
        for wrong in ["", "text", "<Other/>", "<BlockList>", "<BlockList><Latest>a</BlockList>"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
