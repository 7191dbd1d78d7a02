//! Makes the identity services' errors readable for the SDK: its reader borrows `error_description` from the body and so
//! fails on every text with an escape in it, which real ones have, and on every answer that is no JSON. What was said
//! and the status would be lost. Its readers of tokens are as strict about the spelling of numbers and about fields that
//! nobody uses, so what services leave out or spell otherwise is put right too. And an answer is the one way on which the
//! secret could come back, should a service repeat what it was sent: it is blotted out here, before anything is cut or quoted.

use crate::secret::Secret;
use crate::timestamp::{Clock, Timestamp};
use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;

/// No answer of an identity service is larger; of an error that is, the rest is left.
const BODY_BYTES: usize = 64 * 1024;
const DESCRIPTION_CHARS: usize = 500;

/// Sends requests on, and rewrites the bodies of the answers.
pub(super) struct Legible {
    pub(super) http: Arc<dyn HttpClient>,
    pub(super) clock: Arc<dyn Clock>,
    /// `AZURE_CLIENT_SECRET`, which no answer may show.
    pub(super) secret: Option<Secret>,
}

impl fmt::Debug for Legible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Legible").field("http", &self.http).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Legible {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let response = self.http.execute_request(request).await.map_err(|error| unreached(request, error))?;
        let (status, headers, mut rest) = response.deconstruct();
        let mut body = BytesMut::new();
        while let Some(piece) = rest.next().await {
            body.extend_from_slice(&piece?);
            if body.len() > BODY_BYTES {
                if status.is_success() {
                    // Not a token: handed on as it comes.
                    let read = Bytes::from(body);
                    let whole = Box::pin(stream::iter([Ok(read)]).chain(rest));
                    return Ok(AsyncRawResponse::new(status, headers, whole));
                }
                break;
            }
        }
        let body = match status.is_success() {
            true => uniform(&body, self.clock.now()).unwrap_or_else(|| self.blotted(&body).to_string().into_bytes()),
            false => legible(u16::from(status), self.blotted(&body)),
        };
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}

impl Legible {
    /// The body, of whatever form, without the secret. What is no JSON is a text.
    fn blotted(&self, body: &[u8]) -> Value {
        let mut value =
            serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned().into());
        if let Some(secret) = self.secret.as_ref().map(Secret::expose) {
            let sent: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            blot(&mut value, &[secret, &sent]);
        }
        value
    }
}

/// Puts `***` in the place of each of `words`, in every text of `value`.
fn blot(value: &mut Value, words: &[&str]) {
    match value {
        Value::String(text) => *text = words.iter().fold(text.clone(), |text, word| text.replace(word, "***")),
        Value::Array(members) => members.iter_mut().for_each(|member| blot(member, words)),
        Value::Object(members) => members.values_mut().for_each(|member| blot(member, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The error with the host that was asked, of which the client's own says nothing.
fn unreached(request: &Request, error: azure_core::Error) -> azure_core::Error {
    let kind = match error.kind() {
        ErrorKind::Connection => ErrorKind::Connection,
        ErrorKind::Io => ErrorKind::Io,
        _ => return error,
    };
    let host = request.url().host_str().unwrap_or_default().to_owned();
    azure_core::Error::with_error(kind, error, format!("{host} cannot be reached"))
}

/// A token with all that the SDK's readers ask for: those of a managed identity want `expires_on` as text, those of
/// Entra ID `expires_in` as a number. `None` if this is no token.
fn uniform(body: &[u8], now: Timestamp) -> Option<Vec<u8>> {
    let Ok(Value::Object(mut token)) = serde_json::from_slice(body) else { return None };
    token.get("access_token")?.as_str()?;
    let epoch = Timestamp::from(azure_core::time::OffsetDateTime::UNIX_EPOCH);
    let now = i64::try_from(now.since(epoch).as_secs()).ok()?;
    let said = |name: &str| token.get(name).and_then(whole_number);
    let (until, seconds) = (said("expires_on"), said("expires_in"));
    let extended = said("ext_expires_in");
    // The SDK's error would quote what is there in place of a number.
    token.retain(|name, value| !name.contains("expires_") || whole_number(value).is_some());
    if let Some(until) = until.or_else(|| seconds.map(|seconds| now.saturating_add(seconds))) {
        token.insert("expires_on".to_owned(), until.to_string().into());
    }
    if let Some(seconds) = seconds.or_else(|| until.map(|until| until.saturating_sub(now))) {
        token.insert("expires_in".to_owned(), seconds.into());
        token.insert("ext_expires_in".to_owned(), extended.unwrap_or(seconds).into());
    }
    for (name, usual) in [("token_type", "Bearer"), ("resource", "")] {
        if !token.get(name).is_some_and(Value::is_string) {
            token.insert(name.to_owned(), usual.into());
        }
    }
    serde_json::to_vec(&token).ok()
}

/// A number, written as one or as text.
fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        // Some services count in fractions; those do not matter.
        other => other.as_i64().or_else(|| other.as_f64().map(|number| number as i64)),
    }
}

/// The body with a description that is one line of plain text.
fn legible(status: u16, body: Value) -> Vec<u8> {
    let mut error = match body {
        error @ Value::Object(_) => error,
        Value::String(said) => json!({ "error_description": said }),
        other => json!({ "error_description": other.to_string() }),
    };
    let said = match error.get("error_description") {
        Some(Value::String(said)) => said.clone(),
        _ => error.get("message").or_else(|| error.get("error")).and_then(Value::as_str).unwrap_or_default().to_owned(),
    };
    error["error_description"] = Value::String(format!("{} (HTTP {status})", plain(&said)).trim_start().to_owned());
    error.to_string().into_bytes()
}

/// Without anything that JSON would escape.
fn plain(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars()
        .filter(|character| !character.is_control())
        .map(|character| match character {
            '"' => '\'',
            '\\' => '/',
            other => other,
        })
        .take(DESCRIPTION_CHARS)
        .collect()
}
