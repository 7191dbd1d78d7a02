//! The two ways that rows come, behind one face: packed at the source and passed through, or plain and decoded here.

use super::client::Dialect;
use super::plain::Decoder;
use super::scanner::{Scan, ScanError, Scanner};

/// Turns the bytes of an answer into rows, one JSON object per line.
#[derive(Debug)]
pub enum Reader {
    /// Rows packed by the query.
    Packed(Box<Scanner>),
    /// Rows as the service writes them.
    Plain(Box<Decoder>),
}

impl Reader {
    /// For the answer to [`super::queries::window`].
    pub fn packed() -> Self {
        Self::Packed(Box::default())
    }

    /// For the answer of a service to [`super::queries::plain_window`]; `compact` leaves out null and empty members.
    pub fn plain(dialect: Dialect, compact: bool) -> Self {
        Self::Plain(Box::new(Decoder::new(dialect, compact)))
    }

    /// Takes in the next piece of the answer and appends the rows to `out`, each with a newline behind it.
    ///
    /// # Errors
    /// [`ScanError`]; what was appended before it is of no use.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), ScanError> {
        match self {
            Self::Packed(scanner) => scanner.feed(input, out),
            Self::Plain(decoder) => decoder.feed(input, out),
        }
    }

    /// Says what the answer held, now that all of it has been fed.
    ///
    /// # Errors
    /// [`ScanError`], also when the document is not complete.
    pub fn finish(self) -> Result<Scan, ScanError> {
        match self {
            Self::Packed(scanner) => scanner.finish(),
            Self::Plain(decoder) => decoder.finish().map(|(scan, _)| scan),
        }
    }
}
