//! Cuts a streamed answer into its envelope, its schema and its rows, by brackets and quotes alone. Each of them is parsed
//! whole by somebody else, which is where the grammar is checked. Knows no types.

use crate::defender::scanner::{NESTING_LIMIT, Reason};

/// A row that is longer is refused: it would have to be held whole. A cell of a dynamic type cannot pass 1 MiB by default.
const LONGEST_ROW_BYTES: usize = 16 << 20;
/// What stands around the rows; a schema of 2,000 columns has some 200 KiB.
const ENVELOPE_BYTES: usize = 4 << 20;

/// What has been completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// The schema: [`Frame::schema`].
    Schema,
    /// A row: [`Frame::row`].
    Row,
}

/// The answer between two pieces.
#[derive(Debug, Default)]
pub(super) struct Frame {
    state: State,
    /// All but the rows.
    envelope: Vec<u8>,
    row: Vec<u8>,
    nest: Nest,
    /// Where in the envelope the last string began that may be a member's name, and where it ended.
    key: (usize, usize),
    value: Member,
    schema: (usize, usize),
    results: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Envelope,
    /// Behind `[` of the rows.
    RowOrEnd,
    /// Behind a comma between rows.
    Row,
    InRow,
    /// Behind a row.
    CommaOrEnd,
}

/// Which member of the envelope the value at hand belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Member {
    /// No value is awaited or open.
    #[default]
    None,
    SchemaNext,
    ResultsNext,
    InSchema,
}

/// Depth of brackets, and whether a string is open.
#[derive(Debug, Default)]
struct Nest {
    depth: u32,
    in_text: bool,
    escaped: bool,
}

impl Nest {
    fn step(&mut self, byte: u8) -> Result<(), Reason> {
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
            return Ok(());
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' if self.depth == NESTING_LIMIT => return Err(Reason::TooDeep),
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.checked_sub(1).ok_or(Reason::Malformed)?,
            _ => {}
        }
        Ok(())
    }

    /// How many of the next bytes, inside a string, say nothing about where it ends.
    fn plain_text(&self, input: &[u8]) -> usize {
        if !self.in_text || self.escaped {
            return 0;
        }
        input.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(input.len())
    }
}

impl Frame {
    /// Goes on from `input[*at]` to the end of the next piece; `None`: all of `input` is used up.
    pub(super) fn next(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Piece>, Reason> {
        while let Some(&byte) = input.get(*at) {
            let done = match self.state {
                State::Envelope => self.envelope(byte)?,
                State::InRow => self.in_row(input, at)?,
                _ => {
                    self.between_rows(byte)?;
                    None
                }
            };
            // Only behind the checks, so that an error names the byte itself.
            *at += 1;
            if done.is_some() {
                return Ok(done);
            }
        }
        Ok(None)
    }

    /// The value of the member `schema`, once [`Piece::Schema`] was given.
    pub(super) fn schema(&self) -> &[u8] {
        &self.envelope[self.schema.0..self.schema.1]
    }

    /// The row of the last [`Piece::Row`].
    pub(super) fn row(&self) -> &[u8] {
        &self.row
    }

    /// The same, to be given back.
    pub(super) fn take_row(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.row)
    }

    /// Keeps the memory of a row for the next one.
    pub(super) fn give_back(&mut self, row: Vec<u8>) {
        self.row = row;
    }

    /// The answer without its rows, now that all of it has come.
    pub(super) fn finish(&self) -> Result<&[u8], Reason> {
        if self.state != State::Envelope || self.nest.depth > 0 || self.nest.in_text {
            return Err(Reason::Truncated);
        }
        if self.envelope.iter().all(u8::is_ascii_whitespace) {
            return Err(Reason::Empty);
        }
        if self.results { Ok(&self.envelope) } else { Err(Reason::NoResults) }
    }

    fn envelope(&mut self, byte: u8) -> Result<Option<Piece>, Reason> {
        if self.envelope.len() == ENVELOPE_BYTES {
            return Err(Reason::EnvelopeTooLarge);
        }
        let was_in_text = self.nest.in_text;
        self.nest.step(byte)?;
        self.envelope.push(byte);
        let here = self.envelope.len();
        if was_in_text || byte.is_ascii_whitespace() {
            if was_in_text && !self.nest.in_text && self.nest.depth == 1 && self.value == Member::None {
                self.key.1 = here;
            }
            return Ok(None);
        }
        match (self.value, byte) {
            (Member::ResultsNext, b'[') => {
                self.value = Member::None;
                // The array is an empty one in what is left of the envelope.
                self.nest.depth -= 1;
                self.state = State::RowOrEnd;
            }
            (Member::ResultsNext, _) => return Err(Reason::NotRows),
            (Member::SchemaNext, b'[') => (self.value, self.schema) = (Member::InSchema, (here - 1, here)),
            (Member::SchemaNext, _) => return Err(Reason::NoSchema),
            (Member::InSchema, b']') if self.nest.depth == 1 => {
                (self.value, self.schema.1) = (Member::None, here);
                return Ok(Some(Piece::Schema));
            }
            (Member::None, b'"') if self.nest.depth == 1 => self.key = (here - 1, here),
            (Member::None, b':') if self.nest.depth == 1 => self.value = self.member()?,
            _ => {}
        }
        Ok(None)
    }

    /// Which member the last key names.
    fn member(&mut self) -> Result<Member, Reason> {
        let Ok(key) = serde_json::from_slice::<String>(&self.envelope[self.key.0..self.key.1]) else {
            return Err(Reason::Malformed);
        };
        if key.eq_ignore_ascii_case("results") {
            if std::mem::replace(&mut self.results, true) {
                return Err(Reason::SecondResults);
            }
            return Ok(Member::ResultsNext);
        }
        if key.eq_ignore_ascii_case("schema") {
            return if self.schema.1 == 0 { Ok(Member::SchemaNext) } else { Err(Reason::SecondSchema) };
        }
        Ok(Member::None)
    }

    fn between_rows(&mut self, byte: u8) -> Result<(), Reason> {
        self.state = match (self.state, byte) {
            (state, b' ' | b'\t' | b'\n' | b'\r') => state,
            (State::RowOrEnd | State::Row, b'{') => {
                self.row.clear();
                self.row.push(byte);
                self.nest = Nest { depth: 1, ..Nest::default() };
                State::InRow
            }
            (State::RowOrEnd | State::CommaOrEnd, b']') => {
                self.envelope.push(byte);
                self.nest = Nest { depth: 1, ..Nest::default() };
                State::Envelope
            }
            (State::CommaOrEnd, b',') => State::Row,
            (State::RowOrEnd | State::Row, _) => return Err(Reason::NotRows),
            _ => return Err(Reason::Malformed),
        };
        Ok(())
    }

    fn in_row(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Piece>, Reason> {
        let plain = self.nest.plain_text(&input[*at..]);
        if self.row.len() + plain >= LONGEST_ROW_BYTES {
            return Err(Reason::RowTooLarge);
        }
        if plain > 0 {
            self.row.extend_from_slice(&input[*at..*at + plain]);
            // The caller goes one further.
            *at += plain - 1;
            return Ok(None);
        }
        let byte = input[*at];
        self.nest.step(byte)?;
        self.row.push(byte);
        if self.nest.depth > 0 {
            return Ok(None);
        }
        self.state = State::CommaOrEnd;
        Ok(Some(Piece::Row))
    }
}
