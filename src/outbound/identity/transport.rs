//! Makes the identity services' errors readable for the SDK: its reader borrows `error_description` from the body and so
//! fails on every text with an escape in it, which real ones have, and on every answer that is no JSON. What was said
//! and the status would be lost.

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use bytes::BytesMut;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::sync::Arc;

/// No error of an identity service is larger; of one that is, the rest is left.
const BODY_BYTES: usize = 64 * 1024;
const DESCRIPTION_CHARS: usize = 500;

/// Sends requests on, and rewrites the bodies of answers that are not successful.
#[derive(Debug)]
pub(super) struct LegibleErrors(pub(super) Arc<dyn HttpClient>);

#[async_trait]
impl HttpClient for LegibleErrors {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let response = self.0.execute_request(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers, mut stream) = response.deconstruct();
        let mut body = BytesMut::new();
        while let Some(piece) = stream.next().await {
            body.extend_from_slice(&piece?);
            if body.len() > BODY_BYTES {
                break;
            }
        }
        Ok(AsyncRawResponse::from_bytes(status, headers, legible(u16::from(status), &body)))
    }
}

/// The body with a description that is one line of plain text.
fn legible(status: u16, body: &[u8]) -> Vec<u8> {
    let mut error = match serde_json::from_slice(body) {
        Ok(error @ Value::Object(_)) => error,
        _ => json!({ "error_description": String::from_utf8_lossy(body) }),
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
