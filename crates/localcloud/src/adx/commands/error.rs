//! What a command or query is refused with, as the service classifies it. Knows no HTTP beyond the status.

use crate::adx::store::StoreError;
use crate::kql::{self, ErrorKind, Position};

/// A refusal with everything that the error body tells.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// The HTTP status.
    pub status: u16,
    /// `General_BadRequest`, `BadRequest_EntityNotFound`, …
    pub code: &'static str,
    /// The .NET exception that the service names.
    pub exception: &'static str,
    /// In words.
    pub message: String,
    /// Whether the same request would be refused again.
    pub permanent: bool,
    /// The error below this one.
    pub inner: Option<Box<Inner>>,
}

/// A syntax or semantic error in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inner {
    /// `SYN0002`, `SEM0100`, …
    pub code: &'static str,
    /// In words, without the code.
    pub message: String,
    /// Where in the text.
    pub position: Position,
}

const BAD_REQUEST: &str = "Kusto.Data.Exceptions.KustoBadRequestException";

impl Error {
    /// A request that can never be right.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "General_BadRequest", BAD_REQUEST, message)
    }

    /// A text that is neither a known command nor a query.
    pub fn syntax(text: &str, offset: usize, detail: impl std::fmt::Display) -> Self {
        kql::Error::syntax(offset, detail).located(text).into()
    }

    /// A table, function or mapping that is not there.
    pub fn not_found(kind: &str, name: &str) -> Self {
        Self::new(
            400,
            "BadRequest_EntityNotFound",
            "Kusto.DataNode.Exceptions.EntityNotFoundException",
            format!("Entity ID '{name}' of kind '{kind}' was not found."),
        )
    }

    /// Something of that name is there already.
    pub fn already_exists(kind: &str, name: &str) -> Self {
        Self::new(
            400,
            "BadRequest_EntityNameAlreadyExists",
            "Kusto.DataNode.Exceptions.EntityNameAlreadyExistsException",
            format!("Entity ID '{name}' of kind '{kind}' already exists."),
        )
    }

    /// Streaming ingestion that can never be right; `code` is of dataexplorer-docs `error-codes.md`.
    pub fn streaming(code: &'static str, target: (&str, &str), detail: impl std::fmt::Display) -> Self {
        Self::new(
            400,
            code,
            "Kusto.DataNode.Exceptions.StreamingIngestionRequestException",
            format!("Bad streaming ingestion request to {}.{} : {detail}", target.0, target.1),
        )
    }

    /// A blob that could not be loaded; `code` is of dataexplorer-docs `error-codes.md`.
    pub fn ingestion(code: &'static str, permanent: bool, message: impl Into<String>) -> Self {
        let exception = "Kusto.DataNode.Exceptions.IngestionException";
        let status = if permanent { 400 } else { 500 };
        Self { permanent, ..Self::new(status, code, exception, message) }
    }

    /// A body beyond what one request may bring.
    pub fn payload_too_large(most: usize) -> Self {
        let exception = "Kusto.Common.Svc.Exceptions.KustoRequestPayloadTooLargeException";
        let message = format!("The request's payload has more than {most} bytes: send less at once, or queue it.");
        Self::new(413, "General_RequestEntityTooLarge", exception, message)
    }

    /// Something that this cluster does not know, and its gateway not either.
    pub fn unknown(what: &str) -> Self {
        let message = format!("The {what} is not known to this service.");
        Self::new(404, "NotFound", "Kusto.Common.Svc.Exceptions.NotFoundException", message)
    }

    /// A table that this caller may not view.
    pub fn not_viewed(table: &str) -> Self {
        let message =
            format!("Principal is not authorized to view the table '{table}', whose view access is restricted.");
        Self::new(403, "Forbidden", "Kusto.Data.Exceptions.KustoRequestDeniedException", message)
    }

    /// A caller without the role for what it asks.
    pub fn not_authorized(principal: &str, database: &str) -> Self {
        let message =
            format!("Principal '{principal}' is not authorized to perform operation in database '{database}'.");
        Self::new(403, "Forbidden", "Kusto.Data.Exceptions.KustoRequestDeniedException", message)
    }

    /// A write in a request that promised to be read-only.
    pub fn read_only() -> Self {
        let message = "The request is marked as read-only and cannot write: send it without x-ms-readonly.";
        Self::new(403, "Forbidden", "Kusto.Data.Exceptions.KustoRequestDeniedException", message)
    }

    /// The query ran longer than allowed.
    pub fn timed_out() -> Self {
        let message = "The request has timed out: raise servertimeout or ask for less.";
        Self::temporary(504, "Timeout", "Kusto.Data.Exceptions.KustoServiceTimeoutException", message)
    }

    /// The service failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::temporary(
            500,
            "General_InternalServerError",
            "Kusto.Common.Svc.Exceptions.InternalServiceErrorException",
            message,
        )
    }

    /// A refusal that may end by itself.
    pub fn temporary(status: u16, code: &'static str, exception: &'static str, message: impl Into<String>) -> Self {
        Self { permanent: false, ..Self::new(status, code, exception, message) }
    }

    fn new(status: u16, code: &'static str, exception: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, exception, message: message.into(), permanent: true, inner: None }
    }
}

impl From<kql::Error> for Error {
    fn from(error: kql::Error) -> Self {
        let code = match error.kind {
            ErrorKind::Syntax => "SYN0002",
            ErrorKind::Semantic if error.message.contains("Failed to resolve") => "SEM0100",
            ErrorKind::Semantic => "SEM0001",
            ErrorKind::Runtime => return Self::bad_request(error.message),
        };
        // The hunting API adds advice to what the engine says; the engine itself gives none.
        let message = error
            .message
            .trim_end_matches("Fix syntax errors in your query.")
            .trim_end_matches("Fix semantic errors in your query.")
            .trim_end()
            .trim_end_matches('.')
            .to_owned();
        let inner = Inner { code, message, position: error.position };
        let outer = match code {
            "SYN0002" => format!("Syntax error: Query could not be parsed: {}", inner.message),
            _ => format!("Semantic error: {code}: {}", inner.message),
        };
        let message = format!("Request is invalid and cannot be processed: {outer}");
        Self { inner: Some(Box::new(inner)), ..Self::bad_request(message) }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::internal(error.to_string())
    }
}
