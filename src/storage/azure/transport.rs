//! How requests to the storage services travel: over the HTTP client that all services share, with a deadline for the whole
//! exchange and a cap on each answer, and taking the service's time from it. Follows no redirect (the client does not).
//! Knows neither services nor what lets a request in; shows no query, which may hold a signature.

use super::clock::ServiceClock;
use crate::outbound::{BodyError, causes};
use async_trait::async_trait;
use azure_core::Bytes;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::request::Body;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Url};
use futures_util::{Stream, stream};
use reqwest::header;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long an exchange may take besides the time for its bytes. A service gives up after 30 s or less (rest-api-ref
/// `Setting-timeouts-for-…-service-operations`).
const EXCHANGE: Duration = Duration::from_secs(30);
/// The slowest transfer that is waited for.
const BYTES_PER_SECOND: u64 = 1024 * 1024;
/// Headers of nearly every answer, whose names need not be copied.
const USUAL: [&str; 10] = [
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
    "server",
    "date",
    "etag",
    "x-ms-version",
    "x-ms-request-id",
    "x-ms-client-request-id",
];
/// A server's errors may come from something in between, whose clock is nobody's.
const SERVER_ERRORS: u16 = 500;

/// The transport of one service.
pub(super) struct Transport {
    pub(super) http: reqwest::Client,
    pub(super) clock: Arc<ServiceClock>,
    /// The most bytes of an answer.
    pub(super) cap: usize,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("cap", &self.cap).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let place = Place::of(request.url());
        let outgoing = build(request, &place)?;
        let limit = EXCHANGE + transfer(request.body().len().unwrap_or(0));
        let (started, sent) = (Instant::now(), self.clock.local());
        let response = match timeout_at(started + limit, self.http.execute(outgoing)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(place.unreached(error)),
            Err(_) => return Err(place.broken(format!("did not answer within {} s", limit.as_secs()))),
        };
        let received = self.clock.local();
        let (status, headers) = (response.status().as_u16(), headers(&response));
        if status < SERVER_ERRORS
            && let Some(date) = self.clock.date(&headers)
        {
            self.clock.learn(date, sent, received);
        }
        let deadline = started + limit + transfer(response.content_length().unwrap_or(0).min(self.cap as u64));
        let body = capped(response, self.cap, deadline, place);
        Ok(AsyncRawResponse::new(status.into(), headers, Box::pin(body)))
    }
}

fn build(request: &Request, place: &Place) -> azure_core::Result<reqwest::Request> {
    let method = reqwest::Method::from_bytes(request.method().as_ref().as_bytes())
        .map_err(|error| place.broken(error.to_string()))?;
    let mut outgoing = reqwest::Request::new(method, request.url().clone());
    let headers = outgoing.headers_mut();
    headers.reserve(request.headers().iter().count() + 1);
    for (name, value) in request.headers().iter() {
        let name = name.as_str().parse::<header::HeaderName>().map_err(|error| place.unmade(&error))?;
        let value = header::HeaderValue::from_str(value.as_str()).map_err(|error| place.unmade(&error))?;
        headers.append(name, value);
    }
    let body = match request.body().clone() {
        Body::Bytes(bytes) => reqwest::Body::from(bytes),
        Body::SeekableStream(stream) => {
            if let Some(length) = stream.len() {
                headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
            }
            reqwest::Body::wrap_stream(stream)
        }
    };
    *outgoing.body_mut() = Some(body);
    Ok(outgoing)
}

/// The host that a request is for, for messages.
#[derive(Clone)]
struct Place(String);

impl Place {
    fn of(url: &Url) -> Self {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Self(format!("{}{port}", url.host_str().unwrap_or_default()))
    }

    /// There is no answer.
    fn unreached(&self, error: reqwest::Error) -> Error {
        let connecting = error.is_connect();
        let reason = causes(&error.without_url());
        if !connecting {
            return self.broken(format!("did not answer: {reason}"));
        }
        let advice = if reason.contains("dns error") {
            "no such host is known; check the account's name in AzureWebJobsStorage, and the network"
        } else if ["127.", "localhost", "[::1]"].iter().any(|start| self.0.starts_with(start)) {
            "is the storage emulator running?"
        } else {
            "check the network and AzureWebJobsStorage"
        };
        Error::with_message(ErrorKind::Connection, format!("{} was not reached ({advice}): {reason}", self.0))
    }

    /// No request can be made of this.
    fn unmade(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        Error::with_message(ErrorKind::Other, format!("a request to {} cannot be made: {}", self.0, causes(error)))
    }

    /// There is no answer, or not all of it; the request may have been carried out.
    fn broken(&self, what: String) -> Error {
        Error::with_message(ErrorKind::Io, format!("{} {what}", self.0))
    }
}

fn transfer(bytes: u64) -> Duration {
    Duration::from_secs(bytes / BYTES_PER_SECOND)
}

fn headers(response: &reqwest::Response) -> Headers {
    let mut headers = HashMap::with_capacity(response.headers().len());
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let name = match USUAL.iter().find(|usual| **usual == name.as_str()) {
            Some(usual) => HeaderName::from_static(usual),
            None => HeaderName::from(name.as_str().to_owned()),
        };
        headers.insert(name, HeaderValue::from(value.into_owned()));
    }
    Headers::from(headers)
}

/// The body, piece by piece, up to `cap` bytes and until `deadline`.
fn capped(
    response: reqwest::Response,
    cap: usize,
    deadline: Instant,
    place: Place,
) -> impl Stream<Item = azure_core::Result<Bytes>> + Send {
    stream::try_unfold((response, 0), move |(mut response, read)| {
        let place = place.clone();
        async move {
            let failed = |error: BodyError| Err(place.broken(causes(&error)));
            match timeout_at(deadline, response.chunk()).await {
                Err(_) => failed(BodyError::TimedOut { read }),
                Ok(Err(source)) => failed(BodyError::Cut { read, source: source.without_url() }),
                Ok(Ok(None)) => Ok(None),
                Ok(Ok(Some(piece))) if piece.len() > cap - read => failed(BodyError::TooLarge { cap }),
                Ok(Ok(Some(piece))) => {
                    let read = read + piece.len();
                    Ok(Some((piece, (response, read))))
                }
            }
        }
    })
}
