//! Sends the crates' requests, in place of their own transport: through a client that pools, within a time, up to a
//! size, and with a SAS or a token, which no line of the crates' log has seen. An answer goes back to the crates only
//! when it says that the request was done. Knows no table and no queue.

use crate::failure::Failure;
use crate::requests::{HoldsMessages, Operations};
use crate::{BoxError, OnDate, TokenSource, answer, text};
use adxingestor_ports::timestamp::Clock;
use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::headers::Headers;
use azure_core::{Body, BytesStream, Context, Policy, PolicyResult, Request, Response, StatusCode};
use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a request and its answer may take together. The service gives up after 30 s itself (rest-api-ref
/// `Query-Timeout-and-Pagination`).
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of an answer: ten of the largest rows, every character of them escaped.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// What is left to do to authorize a request.
pub(crate) enum Authorize {
    /// Nothing: the crate has signed it with the account's key.
    Signed,
    /// The pairs of a SAS in the query.
    Sas(Vec<(String, String)>),
    /// A token in a header.
    Token(Arc<dyn TokenSource>),
}

/// The last policy that is reached.
pub(crate) struct Wire {
    http: reqwest::Client,
    authorize: Authorize,
    clock: Arc<dyn Clock>,
    on_date: OnDate,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Wire {
    pub(crate) fn new(http: reqwest::Client, authorize: Authorize, clock: Arc<dyn Clock>, on_date: OnDate) -> Self {
        Self { http, authorize, clock, on_date }
    }

    /// A request that was refused for its token was not carried out: it is sent once more with another.
    async fn exchange(&self, request: &Request) -> Result<Answer, Failure> {
        let Authorize::Token(source) = &self.authorize else { return self.send_once(request, None).await };
        let token = source.token(None).await.map_err(Failure::Token)?;
        let answer = self.send_once(request, Some(&token)).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        match source.token(Some(&token)).await.map_err(Failure::Token)? {
            same if same == token => Ok(answer),
            other => self.send_once(request, Some(&other)).await,
        }
    }

    async fn send_once(&self, request: &Request, token: Option<&str>) -> Result<Answer, Failure> {
        let mut url = request.url().clone();
        if let Authorize::Sas(pairs) = &self.authorize {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        let method = reqwest::Method::from_bytes(request.method().as_ref().as_bytes())
            .map_err(|_| Failure::Garbled("a method of no name".to_owned()))?;
        let mut outgoing = self.http.request(method, url);
        for (name, value) in request.headers().iter() {
            outgoing = outgoing.header(name.as_str(), value.as_str());
        }
        if let Some(token) = token {
            outgoing = outgoing.header(AUTHORIZATION, bearer(token)?);
        }
        if let Body::Bytes(bytes) = request.body() {
            outgoing = outgoing.body(bytes.clone());
        }
        let sent = Instant::now();
        let mut incoming = outgoing.send().await.map_err(unreachable)?;
        let date = incoming.headers().get(DATE).and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| azure_core::date::parse_rfc1123(date).ok()) {
            (self.on_date)(date.into(), sent.elapsed());
        }
        let (status, headers) = (incoming.status().as_u16(), std::mem::take(incoming.headers_mut()));
        let mut body = BytesMut::new();
        while let Some(chunk) = incoming.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Failure::TooLong(MAX_ANSWER_BYTES));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: body.freeze() })
    }

    /// How long the service asks to wait: seconds or a date (RFC 9110, `Retry-After`).
    fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let at = azure_core::date::parse_rfc1123(value).ok()?;
        Some(adxingestor_ports::timestamp::Timestamp::from(at).since(self.clock.now()))
    }

    fn judged(&self, context: &Context, answer: Answer) -> Result<Response, Failure> {
        if !(200..300).contains(&answer.status) {
            let code = answer.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok());
            let mut refusal = answer::refusal(answer.status, code, &answer.body);
            if let Failure::Refused { after, .. } = &mut refusal {
                *after = self.retry_after(&answer.headers);
            }
            return Err(refusal);
        }
        if let Some(Operations(operations)) = context.get() {
            answer::transaction(&answer.body, *operations)?;
        }
        let body = match context.get::<HoldsMessages>() {
            Some(_) => text::keep_white_space(&answer.body),
            None => answer.body,
        };
        let status = StatusCode::try_from(answer.status)
            .map_err(|_| Failure::Garbled(format!("the status {}", answer.status)))?;
        let mut headers = Headers::new();
        for (name, value) in &answer.headers {
            if let Ok(value) = value.to_str() {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(Response::new(status, headers, Box::pin(BytesStream::new(body))))
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

#[async_trait]
impl Policy for Wire {
    async fn send(&self, context: &Context, request: &mut Request, _next: &[Arc<dyn Policy>]) -> PolicyResult {
        let exchanged = tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(request)).await;
        exchanged
            .unwrap_or(Err(Failure::TimedOut(REQUEST_TIMEOUT)))
            .and_then(|answer| self.judged(context, answer))
            .map_err(|failure| azure_core::Error::new(ErrorKind::Other, failure))
    }
}

/// The URL can hold a SAS.
fn unreachable(error: reqwest::Error) -> Failure {
    Failure::Unreachable(error.without_url())
}

fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| Failure::Token(BoxError::from("it holds characters that no header can hold")))?;
    value.set_sensitive(true);
    Ok(value)
}
