//! What an answer of Azure Storage that is no success, or none at all, means to a caller of the ports. Decided here for
//! tables, queues and blobs alike; each of them looks at the codes that mean something special to it before.

use super::header::header;
use crate::outbound::{causes, retry_after};
use crate::storage::Error;
use crate::timestamp::Timestamp;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
const AFTER: HeaderName = HeaderName::from_static("retry-after");
pub(super) const DATE: HeaderName = HeaderName::from_static("date");
/// The first line of a service's message is short; a page of something in between is not.
const MESSAGE_CHARS: usize = 300;

/// Why a service cannot be used, in words that say what to do. Repeating does not help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Denied(pub(super) String);

/// No token can be had now; it may be later.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoToken(pub(super) String);

/// An answer that is no success (rest-api-ref `Status-and-Error-Codes2`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The status.
    pub(super) status: u16,
    /// The service's code, such as `TableNotFound`; empty if there is none.
    pub(super) code: String,
    /// The first line of what the service said.
    pub(super) message: String,
    /// How long it asks to wait.
    pub(super) after: Option<Duration>,
}

impl Refusal {
    /// Reads the code from the header, or from the body: JSON of tables, XML of the others.
    pub(super) fn read(status: u16, headers: &Headers, body: &[u8]) -> Self {
        let (code, message) = of_json(body).or_else(|| of_xml(body)).unwrap_or_default();
        let code = header(headers, &ERROR_CODE).filter(|code| !code.is_empty()).map_or(code, str::to_owned);
        let line = message.lines().next().unwrap_or_default().trim();
        let message = line.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS).collect();
        Self { status, code, message, after: after(headers) }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = if self.code.is_empty() { "no code" } else { &self.code };
        write!(f, "HTTP {}, {code}", self.status)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal.status {
            429 | 503 => Self::Throttled { after: refusal.after },
            // The write may have been applied before the service gave up.
            408 | 500..=599 => Self::Unavailable(refusal.into()),
            413 => Self::TooLarge { what: "the request".to_owned(), limit: format!("the service ({refusal})") },
            _ => Self::Fatal(refusal.into()),
        }
    }
}

/// What an error of the SDK means.
pub(super) fn of(error: azure_core::Error) -> Error {
    if let ErrorKind::HttpResponse { status, error_code, raw_response } = error.kind() {
        let mut refusal = match raw_response {
            Some(response) => Refusal::read(u16::from(*status), response.headers(), response.body()),
            None => Refusal::read(u16::from(*status), &Headers::new(), b""),
        };
        if let (true, Some(code)) = (refusal.code.is_empty(), error_code) {
            refusal.code.clone_from(code);
        }
        return refusal.into();
    }
    if let Some(Denied(reason)) = cause(&error) {
        return Error::Fatal(reason.clone().into());
    }
    if let Some(NoToken(reason)) = cause(&error) {
        return Error::Unavailable(reason.clone().into());
    }
    match error.kind() {
        // A success that cannot be read was spoilt on its way.
        ErrorKind::Connection | ErrorKind::Io | ErrorKind::DataConversion => Error::Unavailable(causes(&error).into()),
        _ => Error::Fatal(causes(&error).into()),
    }
}

/// The cause of this type, at whatever depth.
fn cause<T: std::error::Error + 'static>(error: &azure_core::Error) -> Option<&T> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<azure_core::Error>().and_then(azure_core::Error::downcast_ref::<T>);
        if let Some(found) = inner.or_else(|| error.downcast_ref::<T>()) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What the service says the time is.
pub(super) fn date(headers: &Headers) -> Option<Timestamp> {
    let text = header(headers, &DATE)?.trim();
    OffsetDateTime::parse(text, &Rfc2822).ok().map(Timestamp::from)
}

fn after(headers: &Headers) -> Option<Duration> {
    let text = header(headers, &AFTER)?;
    let header = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).ok()?)]);
    // A date says how long only beside the service's own.
    retry_after(&header, date(headers).unwrap_or(Timestamp::MAX))
}

/// Code and message of `{"odata.error":{"code":…,"message":{"value":…}}}`.
fn of_json(body: &[u8]) -> Option<(String, String)> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let error = body.get("odata.error").or_else(|| body.get("error"))?;
    let message = error["message"]["value"].as_str().or_else(|| error["message"].as_str());
    Some((error["code"].as_str()?.to_owned(), message.unwrap_or_default().to_owned()))
}

/// Code and message of `<Error><Code>…</Code><Message>…</Message></Error>`.
fn of_xml(body: &[u8]) -> Option<(String, String)> {
    let body = std::str::from_utf8(body).ok()?;
    let part = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text.to_owned())
    };
    Some((part("Code")?, part("Message").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use azure_core::http::RawResponse;

    fn refusal(status: u16, named: &[(&'static str, &'static str)], body: &str) -> Refusal {
        let mut headers = Headers::new();
        for (name, value) in named {
            headers.insert(*name, *value);
        }
        Refusal::read(status, &headers, body.as_bytes())
    }

    const XML: &str = "\u{feff}<?xml version=\"1.0\"?><Error><Code>QueueNotFound</Code><Message>It is not there.\nRequestId:1\nTime:2\
                       </Message><AuthenticationErrorDetail>hunter2</AuthenticationErrorDetail></Error>";
    const JSON: &str = r#"{"odata.error":{"code":"TableNotFound","message":{"lang":"en-US","value":"It is not there.\nRequestId:1"}}}"#;

    #[test]
    fn code_and_message_are_read_from_header_json_and_xml() {
        for (named, body, expected) in [
            (&[][..], XML, "HTTP 404, QueueNotFound: It is not there."),
            (&[], JSON, "HTTP 404, TableNotFound: It is not there."),
            (&[("x-ms-error-code", "BlobNotFound")], "", "HTTP 404, BlobNotFound"),
            (&[("x-ms-error-code", "BlobNotFound")], XML, "HTTP 404, BlobNotFound: It is not there."),
            (&[], "<html>Not Found</html>", "HTTP 404, no code"),
            (&[], "{}", "HTTP 404, no code"),
        ] {
            assert_eq!(refusal(404, named, body).to_string(), expected);
        }
    }

    #[test]
    fn the_status_decides_whether_to_come_back() {
        let kind = |status| match Error::from(refusal(status, &[("retry-after", "7")], XML)) {
            Error::Throttled { after } => format!("throttled {after:?}"),
            Error::Unavailable(_) => "unavailable".to_owned(),
            Error::TooLarge { .. } => "too large".to_owned(),
            Error::Fatal(_) => "fatal".to_owned(),
            other => panic!("{other}"),
        };
        for (statuses, expected) in [
            (&[429, 503][..], "throttled Some(7s)"),
            (&[408, 500, 501, 502, 504, 520, 599], "unavailable"),
            (&[413], "too large"),
            (&[301, 400, 404, 409, 412], "fatal"),
        ] {
            for status in statuses {
                assert_eq!(kind(*status), expected, "{status}");
            }
        }
    }

    #[test]
    fn a_date_to_come_back_at_is_read_by_the_services_own_clock() {
        let at = ("retry-after", "Tue, 14 Apr 2026 07:00:09 GMT");
        let with_date = [at, ("date", "Tue, 14 Apr 2026 07:00:00 GMT")];
        assert_eq!(refusal(503, &with_date, "").after, Some(Duration::from_secs(9)));
        assert_eq!(refusal(503, &[at], "").after, Some(Duration::ZERO));
        assert_eq!(refusal(503, &[("retry-after", "soon")], "").after, None);
    }

    #[test]
    fn an_error_of_the_sdk_is_what_its_cause_is() {
        let wrapped =
            |cause: azure_core::Error| azure_core::Error::with_error(ErrorKind::Other, cause, "a policy failed");
        let denied = wrapped(azure_core::Error::new(ErrorKind::Credential, Denied("no".to_owned())));
        assert!(matches!(of(denied), Error::Fatal(reason) if reason.to_string() == "no"));
        let later = wrapped(azure_core::Error::new(ErrorKind::Credential, NoToken("later".to_owned())));
        assert!(matches!(of(later), Error::Unavailable(reason) if reason.to_string() == "later"));
        let cut = azure_core::Error::with_message(ErrorKind::Io, "cut");
        assert!(matches!(of(cut), Error::Unavailable(_)));
        let raw_response = Some(Box::new(RawResponse::from_bytes(503.into(), Headers::new(), JSON)));
        let busy = ErrorKind::HttpResponse { status: 503.into(), error_code: None, raw_response }.into_error();
        assert!(matches!(of(busy), Error::Throttled { after: None }));
    }
}
