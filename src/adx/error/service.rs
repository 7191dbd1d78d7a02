//! How an HTTP status or a service's error object becomes an error. Knows no request but the first words of its text.

use super::super::codes::DOWNLOAD_FORBIDDEN;
use super::super::denial::{Cause, Denied, UNREAD};
use super::{Error, NO_ADDRESS, clean};
use crate::remedy::Application;
use serde_json::Value;
use std::time::Duration;

/// What a service may say is not there.
const ENTITIES: [&str; 5] = ["table", "function", "entity", "view", "mapping"];

/// The error object of the service: `{"error":{"code","message","@type","@message","@permanent",…}}`, or a
/// bare text in a v1 answer (dataexplorer-docs `api/rest/response.md`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// The innermost code, such as `SEM0100`, else the outer one.
    pub code: String,
    /// The fullest text.
    pub message: String,
    /// What the service says about repeating.
    pub permanent: Option<bool>,
    /// All codes and type names, outermost first.
    names: Vec<String>,
}

impl ServiceError {
    /// Reads an error object with or without its `error` envelope.
    pub fn from_json(value: &Value) -> Option<Self> {
        if let Value::String(text) = value {
            return Some(Self { code: String::new(), message: clean(text), permanent: None, names: Vec::new() });
        }
        let outer = value.get("error").unwrap_or(value);
        if let Value::String(text) = outer {
            return Self::from_json(&Value::String(text.clone()));
        }
        let outer = outer.as_object()?;
        let mut names = Vec::new();
        let mut code = String::new();
        let mut message = String::new();
        let mut permanent = None;
        let mut level = Some(outer);
        for _ in 0..8 {
            let Some(object) = level else { break };
            for key in ["code", "@errorCode"] {
                if let Some(text) = object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()) {
                    text.clone_into(&mut code);
                    names.push(text.to_owned());
                }
            }
            if let Some(text) = object.get("@type").and_then(Value::as_str) {
                names.push(text.to_owned());
            }
            for key in ["@errorMessage", "@message", "message"] {
                if let Some(text) = object.get(key).and_then(Value::as_str).filter(|text| text.len() > message.len()) {
                    text.clone_into(&mut message);
                }
            }
            permanent = permanent.or_else(|| object.get("@permanent").and_then(Value::as_bool));
            level = object.get("innererror").and_then(Value::as_object);
        }
        (!names.is_empty() || !message.is_empty()).then(|| Self { code, message: clean(&message), permanent, names })
    }

    fn named(&self, parts: &[&str]) -> bool {
        self.names.iter().any(|name| parts.iter().any(|part| name.contains(part)))
    }

    fn is_throttling(&self) -> bool {
        self.named(&["Throttl", "QuotaExceeded", "TooManyRequests"])
    }

    /// Whether a code says that a table or a database is missing.
    fn has_code_of_missing(&self) -> bool {
        self.named(&["EntityNotFound", "EntityNameDoesNotExist", "TableNotExist", "DatabaseNotExist"])
    }

    fn is_missing_entity(&self) -> bool {
        let message = self.message.to_lowercase();
        let says = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
        // A word of its own: `viewer` is no view.
        let words = || message.split(|c: char| !c.is_alphanumeric());
        let about = |nouns: &[&str]| words().any(|word| nouns.contains(&word));
        self.has_code_of_missing()
            || says(&["failed to resolve table", "failed to resolve entity"])
            || (says(&["not found", "does not exist", "could not be found", "doesn't exist"])
                && (says(&["of kind '"]) || (about(&ENTITIES) && !about(&["column", "principal"]))))
    }

    fn is_denied(&self) -> bool {
        self.named(&["Forbidden", "Unauthorized", "AccessDenied"])
    }

    /// The error of a request that got this object with `status`.
    pub(in crate::adx) fn into_error(self, status: u16, after: Option<Duration>, request: &RequestText<'_>) -> Error {
        let Self { ref message, .. } = self;
        let message = message.clone();
        match status {
            401 => Error::Unauthorized { message },
            _ if status == 429 || self.is_throttling() => Error::Throttled { after, message },
            _ if self.is_missing_entity() => Error::NotFound { what: message },
            _ if Cause::is_source(request.csl, &self.names, &message) => unread(message),
            _ if status == 403 || self.is_denied() => request.denied(&self.names, &message),
            404 => Error::NotFound { what: message },
            // What failed on its way may have been done, however sure the service is that it will fail again.
            408 | 500.. if request.changes => request.failed(after, format!("status {status}: {message}")),
            _ if self.permanent == Some(true) => Error::Refused { code: self.code, message, permanent: true },
            408 | 500.. => request.failed(after, format!("status {status}: {message}")),
            _ => Error::Refused { code: self.code, message, permanent: self.permanent.unwrap_or(status != 200) },
        }
    }
}

/// What an error has to know of the request that met it.
#[derive(Debug, Clone, Copy)]
pub(in crate::adx) struct RequestText<'a> {
    /// The query or command.
    pub csl: &'a str,
    /// The database it runs in.
    pub database: &'a str,
    /// The app that asks.
    pub app: &'a Application,
    /// Whether a lost answer leaves the outcome open.
    pub changes: bool,
}

impl RequestText<'_> {
    /// Whether an answer says that the address, or the request to it, is not known there, rather than that what it is about is missing
    /// (RFC 9110, sections 15.5.5, 15.5.6 and 15.6.2).
    pub fn is_unknown_address(status: u16, body: &[u8]) -> bool {
        let said = || serde_json::from_slice(body).ok().and_then(|json| ServiceError::from_json(&json));
        let is_entity =
            |error: ServiceError| error.has_code_of_missing() || error.message.to_lowercase().contains("of kind '");
        matches!(status, 405 | 501) || (status == 404 && said().is_none_or(|error| !is_entity(error)))
    }

    /// The error of a status whose body is no error object.
    pub fn error_of_status(&self, status: u16, after: Option<Duration>, body: &[u8]) -> Error {
        if let Some(error) = serde_json::from_slice(body).ok().and_then(|json| ServiceError::from_json(&json)) {
            return error.into_error(status, after, self);
        }
        let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
        let message = clean(format!("status {status} {text}").trim());
        match status {
            401 => Error::Unauthorized { message },
            403 => self.denied(&[], &message),
            404 => Error::NotFound { what: format!("{NO_ADDRESS} ({message})") },
            429 => Error::Throttled { after, message },
            408 | 500.. => self.failed(after, message),
            _ => Error::Refused { code: format!("HTTP {status}"), message, permanent: true },
        }
    }

    /// The error of an answer that did not come.
    pub fn lost(&self, message: String) -> Error {
        self.failed(None, message)
    }

    /// The error of a request that failed at the service, which may have said until when.
    pub fn failed(&self, after: Option<Duration>, message: String) -> Error {
        match self.changes {
            true => Error::OutcomeUnknown { after, message },
            false => Error::Unavailable { after, message },
        }
    }

    fn denied(&self, names: &[String], message: &str) -> Error {
        let role = Denied { csl: self.csl, database: self.database, app: self.app }.told(message);
        match Cause::of(self.csl, names, message) {
            Cause::Source => unread(message.to_owned()),
            Cause::Role => Error::Denied { message: role },
            Cause::Either => Error::Denied { message: format!("{role}; if it has that role, {UNREAD}") },
        }
    }
}

/// The cluster may not read the blob; nothing of it was loaded.
fn unread(message: String) -> Error {
    Error::Refused { code: DOWNLOAD_FORBIDDEN.to_owned(), message, permanent: true }
}
