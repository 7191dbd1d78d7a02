//! The records of a blob, one after the other, never all at once.

use crate::adx::database::MappingKind;
use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Value as Json};
use std::fmt;
use std::io::{self, BufRead, Cursor, Read};

/// The most bytes of a record.
const RECORD_CAP: usize = 64 * 1024 * 1024;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An object per line; lines that are none are skipped.
    Json,
    /// Objects or one array of them, over any lines; all or nothing.
    MultiJson,
    /// Comma-separated fields.
    Csv,
}

impl Format {
    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "json" | "singlejson" => Self::Json,
            "multijson" => Self::MultiJson,
            "csv" => Self::Csv,
            _ => return None,
        })
    }

    /// The kind of mapping that serves it.
    pub fn mapping_kind(self) -> MappingKind {
        match self {
            Self::Json | Self::MultiJson => MappingKind::Json,
            Self::Csv => MappingKind::Csv,
        }
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A JSON object.
    Object {
        /// Its members.
        content: Map<String, Json>,
        /// The bytes of its text, if they are known.
        text_bytes: Option<usize>,
    },
    /// Fields by place.
    Fields(Vec<String>),
}

/// Why not all records are read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The content is not of the format.
    #[error("{0}")]
    Malformed(String),
    /// A record is too large.
    #[error("a record has more than 64 MiB")]
    TooLarge,
    /// A quoted field does not end.
    #[error("the closing quote is missing")]
    QuoteMissing,
    /// The rows cannot be taken.
    #[error(transparent)]
    Taking(io::Error),
}

type Take<'t> = &'t mut dyn FnMut(Record) -> io::Result<()>;

/// Reads all records.
///
/// # Errors
/// [`Error`]; `take` has had the records before it.
pub fn read(format: Format, mut content: impl BufRead, take: Take<'_>) -> Result<(), Error> {
    if content.fill_buf().map_err(malformed)?.starts_with(b"\xef\xbb\xbf") {
        content.consume(3);
    }
    match format {
        Format::Json => lines(content, take),
        Format::MultiJson => multi(content, take),
        Format::Csv => csv(content, take),
    }
}

fn malformed(error: impl fmt::Display) -> Error {
    Error::Malformed(error.to_string())
}

/// The next line that is not blank; false at the end.
fn next_line(content: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, Error> {
    loop {
        line.clear();
        content.by_ref().take(RECORD_CAP as u64 + 1).read_until(b'\n', line).map_err(malformed)?;
        if line.len() > RECORD_CAP {
            return Err(Error::TooLarge);
        }
        if line.is_empty() {
            return Ok(false);
        }
        if !line.trim_ascii().is_empty() {
            return Ok(true);
        }
    }
}

fn object(line: &[u8]) -> serde_json::Result<Record> {
    let content = match serde_json::from_slice(line) {
        // Bytes that are no text are replaced, not refused.
        Err(_) if std::str::from_utf8(line).is_err() => serde_json::from_str(&String::from_utf8_lossy(line))?,
        content => content?,
    };
    Ok(Record::Object { content, text_bytes: Some(line.len()) })
}

fn lines(mut content: impl BufRead, take: Take<'_>) -> Result<(), Error> {
    let mut line = Vec::new();
    while next_line(&mut content, &mut line)? {
        if let Ok(record) = object(&line) {
            take(record).map_err(Error::Taking)?;
        }
    }
    Ok(())
}

fn multi(mut content: impl BufRead, take: Take<'_>) -> Result<(), Error> {
    let mut line = Vec::new();
    while next_line(&mut content, &mut line)? {
        // Mostly there is an object per line, which is quicker to read by line.
        match object(&line) {
            Ok(record) => take(record).map_err(Error::Taking)?,
            Err(_) => {
                let array = line.trim_ascii_start().starts_with(b"[");
                let rest = Cursor::new(line).chain(content);
                return if array { elements(rest, take) } else { objects(rest, take) };
            }
        }
    }
    Ok(())
}

fn objects(content: impl BufRead, take: Take<'_>) -> Result<(), Error> {
    for record in Deserializer::from_reader(content).into_iter::<Map<String, Json>>() {
        let content = record.map_err(malformed)?;
        take(Record::Object { content, text_bytes: None }).map_err(Error::Taking)?;
    }
    Ok(())
}

fn elements(content: impl BufRead, take: Take<'_>) -> Result<(), Error> {
    let mut refused = None;
    let mut deserializer = Deserializer::from_reader(content);
    let read = deserializer.deserialize_seq(Elements { take, refused: &mut refused });
    match (read.and_then(|()| deserializer.end()), refused) {
        (_, Some(error)) => Err(Error::Taking(error)),
        (Err(error), None) => Err(malformed(error)),
        (Ok(()), None) => Ok(()),
    }
}

struct Elements<'a> {
    take: Take<'a>,
    refused: &'a mut Option<io::Error>,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(content) = elements.next_element()? {
            if let Err(error) = (self.take)(Record::Object { content, text_bytes: None }) {
                *self.refused = Some(error);
                return Err(serde::de::Error::custom("a row was not taken"));
            }
        }
        Ok(())
    }
}

fn csv(mut content: impl BufRead, take: Take<'_>) -> Result<(), Error> {
    let (mut record, mut line) = (Vec::new(), Vec::new());
    while next_line(&mut content, &mut line)? {
        record.clear();
        record.extend_from_slice(&line);
        // A line break inside quotes belongs to the record; doubled quotes leave the count even.
        while record.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
            line.clear();
            let read = content.by_ref().take(RECORD_CAP as u64 + 1).read_until(b'\n', &mut line).map_err(malformed)?;
            record.extend_from_slice(&line);
            if read == 0 {
                return Err(Error::QuoteMissing);
            }
            if record.len() > RECORD_CAP {
                return Err(Error::TooLarge);
            }
        }
        let text = String::from_utf8_lossy(&record);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        take(Record::Fields(fields(text.strip_suffix('\r').unwrap_or(text)))).map_err(Error::Taking)?;
    }
    Ok(())
}

fn fields(record: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = record.chars().peekable();
    while let Some(character) = characters.next() {
        let last = fields.len() - 1;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                fields[last].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields[last].push(other),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn all(format: Format, text: impl AsRef<[u8]>) -> Result<Vec<Json>, Error> {
        let mut records = Vec::new();
        read(format, text.as_ref(), &mut |record| {
            records.push(match record {
                Record::Object { content, .. } => Json::Object(content),
                Record::Fields(fields) => json!(fields),
            });
            Ok(())
        })?;
        Ok(records)
    }

    #[test]
    fn multijson_is_lines_objects_or_an_array() {
        let expected = [json!({"a": 1}), json!({"a": 2})];
        for text in [
            "{\"a\":1}\n{\"a\":2}\n",
            "\u{feff}{\"a\":1}\r\n\r\n{\"a\":2}",
            "{\"a\":1} {\"a\":2}",
            "{\n \"a\": 1\n}\n{\n \"a\": 2\n}",
            "{\"a\":1}\n{\"a\"\n:2}",
            "[{\"a\":1},{\"a\":2}]",
            " [\n{\"a\":1},\n{\"a\":2}\n]\n",
        ] {
            assert_eq!(all(Format::MultiJson, text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn multijson_refuses_what_json_skips() {
        for text in ["{\"a\":1}\nno json\n{\"a\":2}\n", "{\"a\":1}\n{\"a\":2}\n{\"a\":", "{\"a\":1}\n{\"a\":2}\n7\n"] {
            assert!(matches!(all(Format::MultiJson, text), Err(Error::Malformed(_))), "{text}");
            assert_eq!(all(Format::Json, text).unwrap(), [json!({"a": 1}), json!({"a": 2})]);
        }
        for text in ["[{\"a\":1}", "[{\"a\":1}] x", "[1]", "[{\"a\":1},]"] {
            assert!(matches!(all(Format::MultiJson, text), Err(Error::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(all(Format::MultiJson, b"{\"a\":\"x\xff\"}\n").unwrap(), [json!({"a": "x\u{fffd}"})]);
    }

    #[test]
    fn csv_fields_may_be_quoted() {
        let text = "a,\"b,\"\"c\"\"\nd\",\r\ne,,f";
        assert_eq!(all(Format::Csv, text).unwrap(), [json!(["a", "b,\"c\"\nd", ""]), json!(["e", "", "f"])]);
        assert!(matches!(all(Format::Csv, "a,\"b\nc"), Err(Error::QuoteMissing)));
    }
}
