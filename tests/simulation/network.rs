//! The network as one process sees it: the cloud in this process, through the process's gate.

use super::gate::{Gate, On, Verdict};
use super::observe::Seen;
use adxingestor::outbound::{Exchange, Unanswered};
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use tower::ServiceExt;

/// The way from a process to the cloud.
pub struct Network {
    pub cloud: Router,
    pub gate: Arc<Gate>,
    pub seen: Arc<Seen>,
}

fn spoilt(verdict: Verdict) -> Unanswered {
    // A service that throttles says so itself; here it is a connection that is refused.
    let unconnected = matches!(verdict, Verdict::Refuse | Verdict::Throttle);
    Unanswered { unconnected, message: format!("as it happens: {verdict:?}") }
}

#[async_trait]
impl Exchange for Network {
    async fn exchange(&self, request: reqwest::Request) -> Result<reqwest::Response, Unanswered> {
        let (method, url) = (request.method().clone(), request.url().clone());
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default().to_vec();
        if method == reqwest::Method::PUT {
            self.seen.blob_written(&url, &body);
        }
        if let Some(blob) = posted_blob(&body) {
            self.seen.blob_posted(&blob);
        }
        let tag = appended_tag(&body);
        let landed = tag.as_ref().map_or(0, |tag| self.seen.landed(tag));
        let what = || format!("{method} {} {}", url.path(), asked(&body));
        let effect = || async {
            if let Some(tag) = &tag {
                self.seen.lands(tag, landed, &body);
            }
            let mut asked = axum::http::Request::builder().method(method.clone()).uri(url.as_str());
            for (name, value) in request.headers() {
                asked = asked.header(name, value);
            }
            let asked = asked.body(Body::from(body.clone())).unwrap();
            let (head, body) = self.cloud.clone().oneshot(asked).await.unwrap().into_parts();
            let mut pieces = body.into_data_stream();
            // A connection that ends before the first byte of a body ends before the head has arrived, too.
            let first = match pieces.next().await {
                Some(Err(error)) => return Err(Unanswered { unconnected: false, message: error.to_string() }),
                Some(Ok(first)) => first,
                None => Bytes::new(),
            };
            let body = reqwest::Body::wrap_stream(stream::iter([Ok(first)]).chain(pieces));
            Ok(reqwest::Response::from(axum::http::Response::from_parts(head, body)))
        };
        self.gate.pass(On::Network, what, effect, spoilt, None).await
    }
}

/// The name of the blob that an ingestion message is about.
fn posted_blob(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<MessageText>")?;
    let message = STANDARD.decode(rest.split_once("</MessageText>")?.0).ok()?;
    let message: serde_json::Value = serde_json::from_slice(&message).ok()?;
    let path = message["BlobPath"].as_str()?.split('?').next()?;
    path.rsplit('/').next().map(str::to_owned)
}

/// The tag of an append by a command.
fn appended_tag(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(".set-or-append ")?.1.split_once("ingest-by:")?;
    rest.split(|sign: char| !sign.is_ascii_alphanumeric()).next().map(str::to_owned)
}

/// What a request asks, for the trace.
fn asked(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if text.starts_with('{') { text.chars().take(600).collect() } else { format!("{} bytes", body.len()) }
}
