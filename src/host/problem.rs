//! What is wrong with a function app's files, gathered so that all of it is reported at once.

use super::json::Json;
use std::fmt;
use std::path::Path;

/// One thing wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file below the app root, or `settings`.
    pub file: String,
    /// The field, dotted; empty when the file as a whole is meant.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "{}: {}", self.file, self.message)
        } else {
            write!(f, "{}: `{}` {}", self.file, self.field, self.message)
        }
    }
}

/// The problems of a function app, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// Where the reader of one file puts what it finds wrong.
pub(crate) struct Report<'a> {
    file: String,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: impl Into<String>, problems: &'a mut Vec<Problem>) -> Self {
        Self { file: file.into(), problems }
    }

    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { file: self.file.clone(), field: field.into(), message: message.into() });
    }

    /// Reads a JSON object from `path`; `None` is reported.
    pub(crate) fn read_object(&mut self, path: &Path) -> Option<Json> {
        match read_json(path) {
            Ok(Some(json @ Json::Object(_))) => return Some(json),
            Ok(Some(_)) => self.add("", "must hold a JSON object"),
            Ok(None) => self.add("", "is missing"),
            Err(message) => self.add("", message),
        }
        None
    }
}

/// The JSON in a file, `None` if there is no such file. A byte order mark is skipped.
pub(crate) fn read_json(path: &Path) -> Result<Option<Json>, String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(bytes).map(Some).map_err(|error| format!("is not valid JSON: {error}"))
}
