//! What can be wrong with a query, and where. Message texts follow the service's own wording, because
//! clients tell kinds of errors apart by it.

use std::fmt;

/// Which stage refused the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text is not KQL, or uses a part of it that this engine does not have.
    Syntax,
    /// A name, a type or an argument does not fit.
    Semantic,
    /// The query is right but cannot be carried out.
    Runtime,
}

/// A place in a query text. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Bytes from the start of the text.
    pub offset: usize,
    /// The line; 0 while it is not known.
    pub line: usize,
    /// The column; 0 while it is not known.
    pub column: usize,
}

/// A refused query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Which stage refused it.
    pub kind: ErrorKind,
    /// What the service would say.
    pub message: String,
    /// Where in the text the reason is.
    pub position: Position,
}

impl Error {
    /// A text that is not KQL: `detail` says what was met and what was expected.
    pub fn syntax(offset: usize, detail: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Syntax, offset, detail.to_string())
    }

    /// A query that does not make sense: `detail` is a sentence without its full stop.
    pub fn semantic(offset: usize, detail: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Semantic, offset, format!("{detail}. Fix semantic errors in your query."))
    }

    /// A query that could not be carried out.
    pub fn runtime(offset: usize, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Runtime, offset, message.into())
    }

    fn new(kind: ErrorKind, offset: usize, message: String) -> Self {
        Self { kind, message, position: Position { offset, line: 0, column: 0 } }
    }

    /// Fills in line and column from the text that the offset is in. The first call wins, so that an
    /// error inside a stored function keeps its place there.
    #[must_use]
    pub fn located(mut self, text: &str) -> Self {
        if self.position.line > 0 {
            return self;
        }
        let before = text.get(..self.position.offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        self.position.line = before.matches('\n').count() + 1;
        self.position.column = before[line_start..].chars().count() + 1;
        if self.kind == ErrorKind::Syntax {
            self.message = format!(
                "A recognition error occurred. {}. [line:position={}:{}]. Fix syntax errors in your query.",
                self.message, self.position.line, self.position.column
            );
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
