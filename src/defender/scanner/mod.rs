//! Takes the packed rows out of a hunting answer while it streams in, and says whether the answer is whole.
//!
//! An answer is `{…, "results": [{"Row": "<JSON text>"}, …], …}`. The scanner checks the grammar of all of it, undoes
//! the JSON escaping of the `Row` texts and hands them on, one per line, in memory that does not grow with the
//! answer. It knows nothing of HTTP, of compression or of what a row means.

mod grammar;
mod outcome;
mod text;

pub use outcome::{Reason, Scan, ScanError};

use grammar::{Containers, Literal, Number};
use text::Text;

/// How deep an answer may be nested; ours needs three levels and a few for what a service adds.
pub const NESTING_LIMIT: u32 = 100;

/// The push parser: [`Scanner::feed`] it the answer piece by piece, then [`Scanner::finish`] it.
#[derive(Debug, Clone)]
pub struct Scanner {
    state: State,
    containers: Containers,
    text: Text,
    key: Key,
    results: Results,
    row: RowSoFar,
    scan: Scan,
    failed: Option<ScanError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value must come.
    Value,
    /// Behind `[`.
    ValueOrEnd,
    /// Behind `{`.
    KeyOrEnd,
    /// Behind a comma of an object.
    Key,
    Colon,
    /// A value is over.
    After,
    Text(Sink),
    Number(Number),
    Literal(Literal),
}

/// Where the content of a string goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    Key,
    Row,
    Nowhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Results {
    Awaited,
    /// The key has been read, its value comes.
    Next,
    Open,
    Over,
}

/// The start of the key that was read last, as much of it as tells the keys apart that matter.
#[derive(Debug, Clone, Copy, Default)]
struct Key {
    bytes: [u8; 8],
    len: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct RowSoFar {
    seen: bool,
    bytes: u64,
    first: u8,
    last: u8,
}

const ENVELOPE: u32 = 1;
const RESULTS: u32 = 2;
const ROW: u32 = 3;

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner at the start of an answer.
    pub fn new() -> Self {
        Self {
            state: State::Value,
            containers: Containers::default(),
            text: Text::default(),
            key: Key::default(),
            results: Results::Awaited,
            row: RowSoFar::default(),
            scan: Scan::default(),
            failed: None,
        }
    }

    /// Takes in the next piece of the answer and appends the rows' bytes to `out`, a row's end being a newline.
    ///
    /// # Errors
    /// [`ScanError`]; from then on each call gives the same error. What was appended before it is of no use.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), ScanError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        // What goes out is never longer than what came in, but for a character that was begun in the piece before.
        let start = out.len();
        out.resize(start + input.len() + text::SLACK, 0);
        let mut at = 0;
        let mut end = start;
        let result = self.run(input, &mut at, out, &mut end);
        out.truncate(end);
        let offset = self.scan.response_bytes + at as u64;
        self.scan.response_bytes += input.len() as u64;
        result.map_err(|reason| self.fail(reason, offset))
    }

    /// Says what the answer held, now that all of it has been fed.
    ///
    /// # Errors
    /// [`ScanError`], also when the document is not complete.
    pub fn finish(mut self) -> Result<Scan, ScanError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let reason = match (self.state, self.results) {
            (State::After, Results::Over) if self.containers.depth() == 0 => return Ok(self.scan),
            (State::After, _) if self.containers.depth() == 0 => Reason::NoResults,
            (State::Value, _) if self.containers.depth() == 0 => Reason::Empty,
            _ => Reason::Truncated,
        };
        Err(self.fail(reason, self.scan.response_bytes))
    }

    fn fail(&mut self, reason: Reason, offset: u64) -> ScanError {
        let error = ScanError { reason, offset, rows: self.scan.rows };
        self.failed = Some(error.clone());
        error
    }

    fn run(&mut self, input: &[u8], at: &mut usize, out: &mut [u8], end: &mut usize) -> Result<(), Reason> {
        while let Some(&byte) = input.get(*at) {
            match self.state {
                State::Text(Sink::Row) => {
                    let start = *end;
                    let over = self.text.unescape(input, at, out, end)?;
                    self.row.extend(&out[start..*end]);
                    if over {
                        self.end_of_row_text()?;
                        out[*end] = b'\n';
                        *end += 1;
                    }
                }
                State::Text(sink) => {
                    let over = self.skip_text(sink, input, at)?;
                    if over {
                        self.end_of_text(sink)?;
                    }
                }
                // A number has no end of its own: the byte behind it is looked at again.
                State::Number(number) => match number.next(byte) {
                    Some(number) => {
                        self.state = State::Number(number);
                        *at += 1;
                    }
                    None if number.is_whole() => self.state = State::After,
                    None => return Err(Reason::Malformed),
                },
                State::Literal(literal) => {
                    self.state = match literal.next(byte).ok_or(Reason::Malformed)? {
                        Some(rest) => State::Literal(rest),
                        None => State::After,
                    };
                    *at += 1;
                }
                _ => {
                    if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                        self.structure(byte)?;
                    }
                    *at += 1;
                }
            }
        }
        Ok(())
    }

    /// Decodes a string that is not a row, for the checks and for the start of a key.
    fn skip_text(&mut self, sink: Sink, input: &[u8], at: &mut usize) -> Result<bool, Reason> {
        const PIECE: usize = 256;
        let mut scratch = [0; PIECE + text::SLACK];
        let mut end = 0;
        let stop = input.len().min(*at + PIECE);
        let over = self.text.unescape(&input[..stop], at, &mut scratch, &mut end)?;
        if sink == Sink::Key {
            self.key.extend(&scratch[..end]);
        }
        Ok(over)
    }

    /// A byte outside of strings, numbers and literals, and not white space.
    fn structure(&mut self, byte: u8) -> Result<(), Reason> {
        match (self.state, byte) {
            (State::Value, _) | (State::ValueOrEnd, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                self.value(byte)
            }
            (State::ValueOrEnd, b']') | (State::KeyOrEnd, b'}') => self.close(byte),
            (State::KeyOrEnd | State::Key, b'"') => {
                self.key = Key::default();
                self.state = State::Text(Sink::Key);
                Ok(())
            }
            (State::Colon, b':') => {
                self.state = State::Value;
                Ok(())
            }
            (State::After, _) if self.containers.depth() == 0 => Err(Reason::Trailing),
            (State::After, b',') => {
                self.state = if self.containers.in_object() { State::Key } else { State::Value };
                Ok(())
            }
            (State::After, b'}' | b']') => self.close(byte),
            _ => Err(Reason::Malformed),
        }
    }

    /// The first byte of a value.
    fn value(&mut self, byte: u8) -> Result<(), Reason> {
        self.check_kind(byte)?;
        self.state = match byte {
            b'{' => {
                self.containers.open(true)?;
                State::KeyOrEnd
            }
            b'[' => {
                self.containers.open(false)?;
                State::ValueOrEnd
            }
            b'"' => State::Text(if self.is_row_value() { Sink::Row } else { Sink::Nowhere }),
            _ => match (Number::start(byte), Literal::start(byte)) {
                (Some(number), _) => State::Number(number),
                (_, Some(literal)) => State::Literal(literal),
                _ => return Err(Reason::Malformed),
            },
        };
        Ok(())
    }

    /// Whether a value that starts with `byte` may stand where rows are awaited.
    fn check_kind(&mut self, byte: u8) -> Result<(), Reason> {
        match self.containers.depth() {
            0 if byte != b'{' => Err(Reason::NotAnObject),
            ENVELOPE if self.results == Results::Next => {
                self.results = Results::Open;
                if byte == b'[' { Ok(()) } else { Err(Reason::NotRows) }
            }
            RESULTS if self.results == Results::Open => {
                self.row = RowSoFar::default();
                if byte == b'{' { Ok(()) } else { Err(Reason::NotRows) }
            }
            ROW if self.is_row_value() => {
                if self.row.seen {
                    return Err(Reason::SecondRow);
                }
                self.row.seen = true;
                if byte == b'"' { Ok(()) } else { Err(Reason::RowIsNotText) }
            }
            _ => Ok(()),
        }
    }

    fn is_row_value(&self) -> bool {
        self.containers.depth() == ROW && self.results == Results::Open && self.key.is(b"Row")
    }

    fn close(&mut self, byte: u8) -> Result<(), Reason> {
        if self.containers.in_object() != (byte == b'}') {
            return Err(Reason::Malformed);
        }
        if self.results == Results::Open {
            match self.containers.depth() {
                ROW if !self.row.seen => return Err(Reason::NoRow),
                ROW => self.scan.rows += 1,
                RESULTS => self.results = Results::Over,
                _ => {}
            }
        }
        self.containers.close();
        self.state = State::After;
        Ok(())
    }

    fn end_of_text(&mut self, sink: Sink) -> Result<(), Reason> {
        if sink != Sink::Key {
            self.state = State::After;
            return Ok(());
        }
        self.state = State::Colon;
        if self.containers.depth() == ENVELOPE && self.key.is_ignoring_case(b"results") {
            if self.results != Results::Awaited {
                return Err(Reason::SecondResults);
            }
            self.results = Results::Next;
        }
        Ok(())
    }

    fn end_of_row_text(&mut self) -> Result<(), Reason> {
        // `{` and `}` are two bytes; one byte cannot be both.
        if self.row.first != b'{' || self.row.last != b'}' {
            return Err(Reason::RowIsNoObject);
        }
        self.scan.raw_bytes += self.row.bytes + 1;
        self.scan.longest_row_bytes = self.scan.longest_row_bytes.max(self.row.bytes);
        self.state = State::After;
        Ok(())
    }
}

impl Key {
    fn extend(&mut self, more: &[u8]) {
        for &byte in more {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
            }
            self.len = self.len.saturating_add(1);
        }
    }

    fn is(&self, name: &[u8]) -> bool {
        self.bytes.get(..self.len) == Some(name)
    }

    fn is_ignoring_case(&self, name: &[u8]) -> bool {
        self.bytes.get(..self.len).is_some_and(|key| key.eq_ignore_ascii_case(name))
    }
}

impl RowSoFar {
    fn extend(&mut self, more: &[u8]) {
        let (Some(&first), Some(&last)) = (more.first(), more.last()) else { return };
        if self.bytes == 0 {
            self.first = first;
        }
        self.last = last;
        self.bytes += more.len() as u64;
    }
}

#[cfg(test)]
mod tests;
