//! The demo's own HTTP calls: a client that uses no proxy, and bodies within a cap.

use crate::error::Error;
use reqwest::{Client, Response};
use std::time::Duration;

const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_CAP_BYTES: usize = 16 * 1024 * 1024;

/// The client of all calls.
///
/// # Errors
/// [`Error::Call`].
pub fn client() -> Result<Client, Error> {
    // Fails only when a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().timeout(CALL_TIMEOUT).build();
    client.map_err(|error| Error::call("the HTTP client", deepest(&error)))
}

/// The whole body as text.
///
/// # Errors
/// [`Error::Call`] names `what`.
pub async fn text(what: &str, mut response: Response) -> Result<String, Error> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| Error::call(what, deepest(&error)))? {
        body.extend_from_slice(&piece);
        if body.len() > BODY_CAP_BYTES {
            return Err(Error::call(what, format!("the answer has more than {BODY_CAP_BYTES} bytes")));
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The innermost reason: the outer ones only repeat the URL.
pub fn deepest(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(inner) = reason.source() {
        reason = inner;
    }
    reason.to_string()
}

/// The first characters of a body, for messages.
pub fn beginning(text: &str) -> String {
    text.chars().take(400).collect()
}
