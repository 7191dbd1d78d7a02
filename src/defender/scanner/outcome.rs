//! What a scan ends in.

use serde::{Deserialize, Serialize};

/// What the whole answer held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scan {
    /// Rows handed on.
    pub rows: u64,
    /// Bytes handed on: the unescaped rows, and one newline after each.
    pub raw_bytes: u64,
    /// The longest row, without its newline.
    pub longest_row_bytes: u64,
    /// Bytes taken in.
    pub response_bytes: u64,
}

/// Why an answer is no whole list of packed rows. Nothing of it may be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no complete list of rows: {reason} (byte {offset}, after {rows} rows)")]
pub struct ScanError {
    /// What is wrong.
    pub reason: Reason,
    /// Bytes before the place.
    pub offset: u64,
    /// Whole rows before it.
    pub rows: u64,
}

/// What can be wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The answer has no bytes but white space.
    #[error("it is empty")]
    Empty,
    /// The document is not closed.
    #[error("it ends in the middle")]
    Truncated,
    /// A byte that JSON does not allow there.
    #[error("it is not JSON there")]
    Malformed,
    /// Something other than white space behind the document.
    #[error("there is more behind its end")]
    Trailing,
    /// A control character, a bad escape or bytes that are not UTF-8 in a string.
    #[error("a string holds what JSON does not allow")]
    BadText,
    /// Deeper than [`super::NESTING_LIMIT`].
    #[error("it is nested too deep")]
    TooDeep,
    /// The document is not an object.
    #[error("it is not an object")]
    NotAnObject,
    /// The object has no member `results`.
    #[error("it has no member `results`")]
    NoResults,
    /// The object has more than one member `results`.
    #[error("it has a second member `results`")]
    SecondResults,
    /// `results` is not an array of objects.
    #[error("`results` is not an array of objects")]
    NotRows,
    /// A row without the member `Row`.
    #[error("a row has no member `Row`")]
    NoRow,
    /// A row with more than one member `Row`.
    #[error("a row has a second member `Row`")]
    SecondRow,
    /// `Row` is not a string.
    #[error("a row's `Row` is not a string")]
    RowIsNotText,
    /// The text of `Row` does not start with `{` and end with `}`.
    #[error("a row's text is not an object")]
    RowIsNoObject,
    /// Plain rows without a list of named and typed columns.
    #[error("it names no columns for its rows")]
    NoSchema,
    /// Too many plain rows before the list of their columns.
    #[error("it names the columns of its rows only behind more than 8 MiB of them")]
    SchemaTooLate,
    /// More than one member `schema`.
    #[error("it has a second member `schema`")]
    SecondSchema,
    /// A column that is named twice, in the schema or in a row.
    #[error("it names a column twice")]
    SecondColumn,
    /// A plain row too large to be held.
    #[error("a row is larger than 16 MiB")]
    RowTooLarge,
    /// Too much around the rows.
    #[error("there are more than 4 MiB around its rows")]
    EnvelopeTooLarge,
}
