//! What a request to the cluster or its storage can end in, cut by what the caller does next, and how an
//! HTTP status or a service's error object becomes one. Knows no request but the first words of its text.

use super::codes::DOWNLOAD_FORBIDDEN;
use super::denial::{Cause, Denied, NEEDS, UNREAD};
use crate::outbound;
use crate::remedy::Application;
use serde_json::Value;
use std::time::Duration;

/// The most characters of a service's own words that an error carries.
pub(crate) const MAX_MESSAGE_CHARS: usize = 2048;

/// The code of what this side refuses itself.
const INVALID: &str = "Invalid";

/// How an address that nothing has is told.
const NO_ADDRESS: &str = "the address asked";

/// What a service may say is not there.
const ENTITIES: [&str; 5] = ["table", "function", "entity", "view", "mapping"];

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
    pub(super) fn into_error(self, status: u16, after: Option<Duration>, request: &RequestText<'_>) -> Error {
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
pub(super) struct RequestText<'a> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(status: u16, body: &Value, csl: &str, changes: bool) -> Error {
        let app = &Application::default();
        RequestText { csl, database: "Db", app, changes }.error_of_status(status, None, body.to_string().as_bytes())
    }

    fn kind(error: &Error) -> &'static str {
        match error {
            Error::Throttled { .. } => "throttled",
            Error::Unavailable { .. } => "unavailable",
            Error::Refused { permanent: true, .. } => "refused for good",
            Error::Refused { .. } => "refused",
            Error::Denied { .. } => "denied",
            Error::Unauthorized { .. } => "unauthorized",
            Error::NotFound { .. } => "not found",
            Error::NotOffered { .. } => "not offered",
            Error::OutcomeUnknown { .. } => "unknown",
            Error::Corrupt { .. } => "corrupt",
            Error::TooLarge { .. } => "too large",
            Error::Outbound(_) => "outbound",
        }
    }

    #[test]
    fn a_database_that_is_not_there_is_told_from_what_is_not_there_in_it() {
        let missing = |what: &str| Error::NotFound { what: what.to_owned() }.is_missing_database();
        assert!(missing("Entity name 'D' of kind 'Database' does not exist."));
        assert!(missing("Database 'D' could not be found"));
        assert!(!missing("Entity ID 'T' of kind 'Table' was not found in database 'D'"));
        assert!(!missing("'where' operator: Failed to resolve table or column expression named 'vw_database'"));
        assert!(!Error::corrupt("database").is_missing_database());
        assert!(Error::NotFound { what: format!("{NO_ADDRESS} (status 404)") }.is_missing_address());
    }

    #[test]
    fn every_status_and_code_says_what_to_do_next() {
        let object = |code: &str, message: &str, permanent: bool| json!({"error": {"code": code, "message": "Request is invalid", "@message": message, "@permanent": permanent}});
        let semantic = |message: &str| {
            json!({"error": {"code": "General_BadRequest", "message": "x", "@message": "Semantic error", "@permanent": true,
                "innererror": {"code": "SEM0100", "message": message}}})
        };
        let table = [
            (401, object("Unauthorized", "bad token", true), true, "unauthorized"),
            (403, object("Forbidden", "Principal is not authorized", true), false, "denied"),
            (400, object("BadRequest_TableAccessDenied", "no", true), false, "denied"),
            (404, object("NotFound", "no such page", true), false, "not found"),
            (
                400,
                object("BadRequest_EntityNotFound", "Entity ID 'T' of kind 'Table' was not found.", true),
                true,
                "not found",
            ),
            (404, object("NotFound", "Entity name 'D' of kind 'Database' does not exist.", true), true, "not found"),
            (
                400,
                semantic("'where' operator: Failed to resolve table or column expression named 'T'"),
                false,
                "not found",
            ),
            (400, semantic("Failed to resolve scalar expression named 'ChunkId'"), false, "refused for good"),
            // A function of the language, which no command makes.
            (
                400,
                json!({"error": {"code": "General_BadRequest", "message": "x", "@permanent": true, "innererror":
                    {"code": "SEM0260", "message": "'where' operator: Unknown function: 'strcmp'"}}}),
                false,
                "refused for good",
            ),
            (400, object("BadRequest", "Failed to resolve table expression named 'T'", true), false, "not found"),
            (400, object("BadRequest", "failed to resolve entity 'T'", true), false, "not found"),
            (400, object("General_BadRequest", "Table 'T' could not be found", true), true, "not found"),
            (400, object("BadRequest", "The function V does not exist.", true), false, "not found"),
            (400, object("BadRequest", "View 'V' doesn't exist", true), false, "not found"),
            (400, object("BadRequest", "JSON mapping 'RawDataMap' not found", true), false, "not found"),
            (400, object("BadRequest", "column 'C' of table 'T' does not exist", true), false, "refused for good"),
            (400, object("BadRequest", "the viewer was not found", true), false, "refused for good"),
            (403, object("Forbidden", "principal not found among those of table 'T'", true), false, "denied"),
            (400, object("BadRequest_SyntaxError", "Syntax error", true), true, "refused for good"),
            (429, object("TooManyRequests", "slow down", false), true, "throttled"),
            (400, object("KustoRequestThrottledException", "aborted due to throttling", false), true, "throttled"),
            (503, json!("not json"), true, "unknown"),
            (503, json!("not json"), false, "unavailable"),
            (500, object("InternalServerError", "oops", false), false, "unavailable"),
            (500, object("InternalServerError", "oops", false), true, "unknown"),
            (500, object("InternalServerError", "oops", true), true, "unknown"),
            (500, object("InternalServerError", "oops", true), false, "refused for good"),
            (504, json!({}), true, "unknown"),
            (504, json!({}), false, "unavailable"),
            (520, json!({}), true, "unknown"),
            (413, json!({}), true, "refused for good"),
            (302, json!({}), true, "refused for good"),
        ];
        for (status, body, changes, expected) in table {
            let error = error(status, &body, ".show tables", changes);
            assert_eq!(kind(&error), expected, "{status} {body}: {error}");
        }
    }

    #[test]
    fn an_address_that_is_not_known_is_told_from_a_table_that_is_missing() {
        let object = |code: &str, message: &str| json!({"error": {"code": code, "message": message}}).to_string();
        for (status, body, unknown) in [
            (404, String::new(), true),
            (404, "<html>Not Found</html>".to_owned(), true),
            (404, object("NotFound", "No HTTP resource was found that matches the request URI"), true),
            (404, object("BadRequest_EntityNotFound", "T was not found"), false),
            (404, object("NotFound", "Entity ID 'T' of kind 'Table' was not found."), false),
            (405, object("MethodNotAllowed", "POST is not allowed"), true),
            (501, String::new(), true),
            (400, String::new(), false),
            (403, String::new(), false),
            (500, String::new(), false),
            (503, String::new(), false),
        ] {
            assert_eq!(RequestText::is_unknown_address(status, body.as_bytes()), unknown, "{status} {body}");
        }
    }

    #[test]
    fn the_innermost_code_is_shown() {
        let body = json!({"error": {"code": "General_BadRequest", "@message": "outer text",
            "innererror": {"code": "x", "@errorCode": "SEM0019", "@errorMessage": "a longer inner text"}}});
        let shown = error(400, &body, "T", false).to_string();
        assert_eq!(shown, "ADX refused (SEM0019): a longer inner text");
    }

    #[test]
    fn a_denial_names_the_role_and_the_command_that_grants_it() {
        for (csl, role, grant) in [
            ("T | count", "Database Viewer", "viewers"),
            (".get ingestion resources", "Database Ingestor", "ingestors"),
            (".create-merge table T (a:int) with (folder=\"f\")", "Database User", "users"),
            (".set-or-append T <| x", "Database User and Database Ingestor", "users"),
        ] {
            let shown = error(403, &json!({"error": {"code": "Forbidden", "message": "no"}}), csl, true).to_string();
            assert!(shown.contains(role), "{shown}");
            let command = format!(".add database Db {grant} ('aadapp=<application id>;<tenant id>')");
            assert!(shown.contains(&command), "{shown}");
        }
    }

    #[test]
    fn a_load_that_is_denied_names_what_helps_and_nothing_else() {
        let load = ".ingest into table T (h'https://a.blob/c/b.gz?sig=x')";
        let object =
            |code: &str, message: &str| json!({"error": {"code": code, "message": message, "@permanent": true}});
        let path =
            "Failed to download blob: Access to persistent storage path 'https://a.blob/c/b.gz?sig=x' was denied";
        for (status, body) in
            [(403, object("Download_Forbidden", "no")), (400, object("General_BadRequest", path)), (403, json!(path))]
        {
            let error = error(status, &body, load, true);
            assert!(
                matches!(&error, Error::Refused { code, permanent: true, .. } if code == DOWNLOAD_FORBIDDEN),
                "{error}"
            );
            assert!(!error.to_string().contains("role") && !error.to_string().contains("sig="), "{error}");
        }
        let principal = object("Forbidden", "Principal 'aadapp=a;b' is not authorized to write 'T'.");
        let denied = error(403, &principal, load, true).to_string();
        assert!(denied.contains("Database Ingestor") && !denied.contains("may not read"), "{denied}");
        let either = error(403, &json!({}), load, true).to_string();
        assert!(
            either.contains("Database Ingestor") && either.contains("if it has that role, the cluster may not read"),
            "{either}"
        );
    }

    #[test]
    fn signatures_and_control_characters_are_cut_out_of_a_services_words() {
        let shown = clean("got 'https://a.blob/c/b.gz?sv=1&sig=SECRET' and\nhttp://q/m?sig=SECRET, done");
        assert_eq!(shown, "got 'https://a.blob/c/b.gz' and http://q/m done");
        assert!(clean(&"é".repeat(5000)).chars().count() <= 2049);
    }
}
