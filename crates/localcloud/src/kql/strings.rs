//! String literals: plain, verbatim, obfuscated and multi-line, and how their escapes read
//! (dataexplorer-docs `query/scalar-data-types/string.md`).

use super::error::Error;

/// Reads one string literal at the start of `text`, if there is one. Gives its value and its length in
/// bytes; `base` is where `text` begins in the whole query.
pub(super) fn read(text: &str, base: usize) -> Result<Option<(String, usize)>, Error> {
    for fence in ["```", "~~~"] {
        if let Some(rest) = text.strip_prefix(fence) {
            let end = rest.find(fence).ok_or_else(|| unterminated(base))?;
            return Ok(Some((rest[..end].to_owned(), end + 2 * fence.len())));
        }
    }
    let mut prefix = 0;
    let bytes = text.as_bytes();
    if matches!(bytes.first(), Some(b'h' | b'H')) {
        prefix = 1;
    }
    let verbatim = bytes.get(prefix) == Some(&b'@');
    prefix += usize::from(verbatim);
    let quote = match bytes.get(prefix) {
        Some(b'"') => '"',
        Some(b'\'') => '\'',
        _ => return Ok(None),
    };
    let start = prefix + 1;
    let (value, length) = if verbatim {
        read_verbatim(&text[start..], quote, base)?
    } else {
        read_escaped(&text[start..], quote, base, base + start)?
    };
    Ok(Some((value, start + length)))
}

fn unterminated(at: usize) -> Error {
    Error::syntax(at, "The string literal has no closing quote")
}

fn read_verbatim(text: &str, quote: char, at: usize) -> Result<(String, usize), Error> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((index, c)) = chars.next() {
        if c == quote {
            if chars.next_if(|&(_, next)| next == quote).is_none() {
                return Ok((value, index + c.len_utf8()));
            }
        } else if matches!(c, '\n' | '\r') {
            break;
        }
        value.push(c);
    }
    Err(unterminated(at))
}

fn read_escaped(text: &str, quote: char, at: usize, base: usize) -> Result<(String, usize), Error> {
    let mut value = String::new();
    // Surrogates arrive one escape at a time and make a character only in pairs.
    let mut high: Option<u16> = None;
    let mut rest = text;
    loop {
        let Some(c) = rest.chars().next() else { return Err(unterminated(at)) };
        if c != '\\' {
            flush(&mut high, &mut value);
            rest = &rest[c.len_utf8()..];
            match c {
                '\n' | '\r' => return Err(unterminated(at)),
                c if c == quote => return Ok((value, text.len() - rest.len())),
                c => value.push(c),
            }
            continue;
        }
        let here = base + text.len() - rest.len();
        let (code, length) =
            escape(&rest[1..]).ok_or_else(|| Error::syntax(here, "Unknown escape in a string literal"))?;
        rest = &rest[1 + length..];
        match (code, high) {
            (0xDC00..=0xDFFF, Some(first)) => {
                high = None;
                let pair = char::decode_utf16([first, code as u16]).next();
                value.push(pair.and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (0xD800..=0xDBFF, _) => {
                flush(&mut high, &mut value);
                high = Some(code as u16);
            }
            _ => {
                flush(&mut high, &mut value);
                value.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
    }
}

/// A high surrogate that no low one followed.
fn flush(high: &mut Option<u16>, value: &mut String) {
    if high.take().is_some() {
        value.push(char::REPLACEMENT_CHARACTER);
    }
}

/// The code point of the escape after a backslash, and its length.
fn escape(text: &str) -> Option<(u32, usize)> {
    let hex = |digits: usize| {
        let code = text.get(1..=digits).filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u32::from_str_radix(code, 16).ok().map(|code| (code, digits + 1))
    };
    let plain = |c: u32| Some((c, 1));
    match text.chars().next()? {
        '\\' => plain(0x5C),
        '"' => plain(0x22),
        '\'' => plain(0x27),
        '0' => plain(0),
        'a' => plain(7),
        'b' => plain(8),
        't' => plain(9),
        'n' => plain(10),
        'v' => plain(11),
        'f' => plain(12),
        'r' => plain(13),
        'x' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        _ => None,
    }
}
