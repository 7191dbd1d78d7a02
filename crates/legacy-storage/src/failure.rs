//! What a request can end in, and which error of the ports that is. Does no I/O.

use crate::BoxError;
use adxingestor_ports::storage::Error;
use std::time::Duration;

/// A request that did not end in an answer which says that it was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The service refused; nothing was changed.
    #[error("{status} {code}: {message}")]
    Refused {
        status: u16,
        code: String,
        message: String,
        /// When the service named a time.
        after: Option<Duration>,
        /// The refused operation of a transaction, when the service names it.
        index: Option<usize>,
    },
    #[error("no answer from the storage service: {0}")]
    Unreachable(#[source] reqwest::Error),
    #[error("no answer from the storage service within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the answer of the storage service is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer is not one of the storage service ({0}); the outcome is unknown")]
    Garbled(String),
    #[error("no token for the storage service: {0}")]
    Token(#[source] BoxError),
}

/// Codes of what is not there (rest-api-ref `Table-Service-Error-Codes`, `Queue-Service-Error-Codes`).
const NOT_FOUND: [&str; 5] =
    ["ResourceNotFound", "EntityNotFound", "TableNotFound", "QueueNotFound", "MessageNotFound"];

impl Failure {
    /// The code of a refusal, or nothing.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            _ => "",
        }
    }

    /// Whether the service said that something is not there. A 404 without a code of its may be anyone's.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, code, .. } if NOT_FOUND.contains(&code.as_str()))
    }

    /// Whether the service did not let the request in.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { status: 403, .. })
    }

    /// The refused operation of a transaction of `operations`.
    pub(crate) fn index(&self, operations: usize) -> Option<usize> {
        match self {
            Self::Refused { .. } if operations == 1 => Some(0),
            Self::Refused { index, .. } => index.filter(|index| *index < operations),
            _ => None,
        }
    }

    /// The port's error for a request about `what`, which was operation `index`.
    pub(crate) fn into_error(self, index: Option<usize>, what: impl FnOnce() -> String) -> Error {
        let Self::Refused { status, code, after, .. } = &self else {
            return match self {
                Self::Token(_) => Error::Fatal(Box::new(self)),
                _ => Error::Unavailable(Box::new(self)),
            };
        };
        match (*status, code.as_str()) {
            (409, "EntityAlreadyExists") => match index {
                Some(index) => Error::Exists { index },
                None => unnamed(self),
            },
            (412, _) | (400, "PopReceiptMismatch") => match index {
                Some(index) => Error::Conflict { index },
                None => unnamed(self),
            },
            _ if self.is_not_found() => Error::NotFound { what: what() },
            (413, _)
            | (
                _,
                "RequestBodyTooLarge"
                | "EntityTooLarge"
                | "PropertyValueTooLarge"
                | "TooManyProperties"
                | "MessageTooLarge"
                | "ContentLengthExceeded",
            ) => Error::TooLarge { what: what(), limit: format!("the storage service ({code})") },
            (429 | 503, _) | (_, "TableBeingDeleted" | "QueueBeingDeleted") => Error::Throttled { after: *after },
            (408 | 500..=599, _) => Error::Unavailable(Box::new(self)),
            _ => Error::Fatal(Box::new(self)),
        }
    }
}

/// A refusal that does not say of what: rest-api-ref `Performing-Entity-Group-Transactions` promises the index, and a
/// guessed one would make the caller read the wrong row again.
fn unnamed(failure: Failure) -> Error {
    Error::Unavailable(format!("the answer does not name the refused operation ({failure})").into())
}

impl From<azure_core::Error> for Failure {
    /// The failure that [`crate::wire`] gave, or what the crates found missing in an answer. Their text can hold the
    /// whole answer: only its kind is kept.
    fn from(error: azure_core::Error) -> Self {
        let kind = error.kind().to_string();
        error.into_downcast().unwrap_or(Self::Garbled(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> Failure {
        Failure::Refused { status, code: code.to_owned(), message: String::new(), after: None, index: None }
    }

    #[test]
    fn statuses_and_codes_become_the_errors_of_the_ports() {
        let error = |status, code| format!("{:?}", refused(status, code).into_error(Some(3), || "it".to_owned()));
        for (status, code, expected) in [
            (409, "EntityAlreadyExists", "Exists { index: 3 }"),
            (412, "UpdateConditionNotSatisfied", "Conflict { index: 3 }"),
            (400, "PopReceiptMismatch", "Conflict { index: 3 }"),
            (404, "ResourceNotFound", "NotFound"),
            (404, "MessageNotFound", "NotFound"),
            (404, "", "Fatal"),
            (413, "RequestBodyTooLarge", "TooLarge"),
            (400, "EntityTooLarge", "TooLarge"),
            (429, "", "Throttled"),
            (503, "ServerBusy", "Throttled"),
            (409, "TableBeingDeleted", "Throttled"),
            (500, "InternalError", "Unavailable"),
            (408, "", "Unavailable"),
            (599, "", "Unavailable"),
            (403, "AuthenticationFailed", "Fatal"),
            (409, "TableAlreadyExists", "Fatal"),
            (307, "", "Fatal"),
        ] {
            assert!(error(status, code).starts_with(expected), "{status} {code}: {}", error(status, code));
        }
    }

    #[test]
    fn a_refusal_that_names_no_operation_is_never_laid_on_the_first() {
        for (status, code) in [(409, "EntityAlreadyExists"), (412, "UpdateConditionNotSatisfied")] {
            let failure = refused(status, code);
            assert_eq!((failure.index(2), failure.index(1)), (None, Some(0)));
            let error = failure.into_error(None, String::new);
            assert!(matches!(error, Error::Unavailable(_)), "{error}");
        }
    }

    #[test]
    fn what_a_crate_says_about_an_answer_is_not_passed_on() {
        let error = azure_core::Error::message(azure_core::error::ErrorKind::DataConversion, "<MessageText>row");
        let text = Failure::from(error).into_error(None, String::new).to_string();
        assert!(text.contains("outcome is unknown") && !text.contains("row"), "{text}");
    }
}
