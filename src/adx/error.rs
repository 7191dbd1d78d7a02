//! What a request to the cluster or its storage can end in, cut by what the caller does next.

mod service;
#[cfg(test)]
mod tests;

pub(super) use service::RequestText;
pub use service::ServiceError;

use super::denial::NEEDS;
use crate::outbound;
use std::time::Duration;

/// The most characters of a service's own words that an error carries.
pub(crate) const MAX_MESSAGE_CHARS: usize = 2048;

/// The code of what this side refuses itself.
const INVALID: &str = "Invalid";

/// How an address that nothing has is told.
const NO_ADDRESS: &str = "the address asked";

/// What a request can end in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service asks to come back later; nothing was done.
    #[error("ADX is throttling: {message}; try again later")]
    Throttled {
        /// When the service named a time.
        after: Option<Duration>,
        /// The service's words.
        message: String,
    },
    /// The service could not be reached or could not answer, and nothing was changed.
    #[error("ADX is unavailable: {message}")]
    Unavailable {
        /// When the service named a time.
        after: Option<Duration>,
        /// What happened.
        message: String,
    },
    /// The service understood and said no.
    #[error("ADX refused ({code}): {message}")]
    Refused {
        /// The most precise code there is, such as `SYN0002`; empty if none.
        code: String,
        /// The service's words.
        message: String,
        /// Whether repeating is pointless, as far as the service says.
        permanent: bool,
    },
    /// The identity lacks a role; the message names it and the command that grants it.
    #[error("ADX denied access: {message}")]
    Denied {
        /// What was denied, and what grants it.
        message: String,
    },
    /// The token was not accepted.
    #[error("ADX did not accept the token: {message}; check AZURE_TENANT_ID and the cluster's address")]
    Unauthorized {
        /// The service's words.
        message: String,
    },
    /// A table, function, database or address is not there.
    #[error("not found in ADX: {what}")]
    NotFound {
        /// What is missing.
        what: String,
    },
    /// The service has no such address, or takes no such request there; nothing was done.
    #[error("ADX does not offer it: {what}")]
    NotOffered {
        /// What was asked, and the answer.
        what: String,
    },
    /// A request that changes something was sent and its answer was lost: it may have been done.
    #[error("the outcome is unknown: {message}; look before repeating")]
    OutcomeUnknown {
        /// When the service named a time.
        after: Option<Duration>,
        /// What happened.
        message: String,
    },
    /// The answer breaks the protocol.
    #[error("ADX answered in a way that cannot be read: {message}")]
    Corrupt {
        /// What is wrong with it.
        message: String,
    },
    /// The rows of a window are more than one request holds; nothing was sent.
    #[error("{message}")]
    TooLarge {
        /// How many may be, and what to do.
        message: String,
    },
    /// Nothing was sent.
    #[error(transparent)]
    Outbound(#[from] outbound::Error),
}

impl Error {
    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::Corrupt { message: message.into() }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { after: None, message: message.into() }
    }

    /// The time that the service asked to be left alone for (`Retry-After`), whatever it failed for.
    pub fn asked_pause(&self) -> Option<Duration> {
        match self {
            Self::Throttled { after, .. } | Self::Unavailable { after, .. } | Self::OutcomeUnknown { after, .. } => {
                *after
            }
            _ => None,
        }
    }

    /// What was denied, and the role that is missing with the commands that grant it.
    pub fn denied(&self) -> Option<(&str, &str)> {
        let Self::Denied { message } = self else { return None };
        Some(message.split_once(NEEDS).unwrap_or((message, "")))
    }

    /// Something that this side gets wrong before anything is sent.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Refused { code: INVALID.to_owned(), message: message.into(), permanent: true }
    }

    /// Whether nothing was sent because it could only have been refused: repeating it changes nothing.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == INVALID)
    }

    /// Whether the database itself is not there, rather than something in it.
    pub fn is_missing_database(&self) -> bool {
        let Self::NotFound { what } = self else { return false };
        let what = what.to_lowercase();
        let of_an_entity = ["'table'", "'function'", "failed to resolve"];
        what.contains("database") && !of_an_entity.iter().any(|part| what.contains(part))
    }

    /// Whether nothing has the address that was asked: no cluster is there.
    pub fn is_missing_address(&self) -> bool {
        matches!(self, Self::NotFound { what } if what.contains(NO_ADDRESS))
    }

    /// Whether it stays as it is until a person does something: a role that is missing, a setting that cannot be, an identity that
    /// has none.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Denied { message } => message.contains(NEEDS),
            Self::Outbound(error) => !error.is_transient(),
            other => other.is_invalid(),
        }
    }

    /// The same with the id by which the service's own log finds the request.
    pub(super) fn in_activity(mut self, activity: &str) -> Self {
        let (Self::Throttled { message, .. }
        | Self::Unavailable { message, .. }
        | Self::Refused { message, .. }
        | Self::Denied { message }
        | Self::Unauthorized { message }
        | Self::NotFound { what: message }
        | Self::NotOffered { what: message }
        | Self::OutcomeUnknown { message, .. }
        | Self::Corrupt { message }) = &mut self
        else {
            return self;
        };
        if !activity.is_empty() {
            message.push_str(&format!(" (activity {activity})"));
        }
        self
    }
}

/// A service's words as they may be shown: no query part of a URL (it may be a signature), no control
/// characters, not too long.
pub(crate) fn clean(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(scheme) = rest.find("://") {
        let (before, url) = rest.split_at(scheme + 3);
        let end =
            url.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`')).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        shown.push_str(before);
        shown.push_str(url.split(['?', ';']).next().unwrap_or_default());
        rest = after;
    }
    shown.push_str(rest);
    let mut kept: String =
        shown.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE_CHARS).collect();
    if kept.len() < shown.len() {
        kept.push('…');
    }
    kept
}
