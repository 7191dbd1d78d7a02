//! The calls: one HTTP request each, with a deadline and a byte cap. Knows the three services' wire, not what is asked or
//! why. It repeats nothing on its own: each call costs of the tenant's quota.

mod body;
mod dialect;

pub use body::Packed;
pub use dialect::{Dialect, RETIREMENT};

use super::error::{Error, Failure, unsent};
use super::rows::{Rows, decode};
use crate::outbound::{Outbound, retry_after, service_time};
use crate::secret::Secret;
use crate::timestamp::Timestamp;
use body::Coding;
use bytes::Bytes;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use url::Url;

/// An error's body that is larger is not looked at.
const ERROR_BODY_BYTES: u64 = 256 * 1024;
/// How long the rest of an error's body is waited for.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Caps of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of an answer that is read whole.
    pub rows_bytes: u64,
    /// The most bytes of an answer of packed rows.
    pub packed_bytes: u64,
    /// The longest pause within an answer.
    pub read_timeout: Duration,
}

impl Default for Limits {
    /// The services stop at 50 MB (defender-docs `advanced-hunting-limits.md`); whether before or after escaping is not said.
    fn default() -> Self {
        Self { rows_bytes: 32 << 20, packed_bytes: 64 << 20, read_timeout: Duration::from_secs(90) }
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// The query.
    pub kql: &'a str,
    /// A span of event time as Graph takes it (ISO 8601), which the older services do not know. Without one Graph takes the
    /// last 30 days.
    pub timespan: Option<&'a str>,
}

impl<'a> Query<'a> {
    /// A query over what the service shows by itself.
    pub fn new(kql: &'a str) -> Self {
        Self { kql, timespan: None }
    }
}

/// A hunting endpoint and the identity that asks it.
#[derive(Clone)]
pub struct Client {
    outbound: Outbound,
    endpoint: Url,
    scope: String,
    limits: Limits,
}

impl Client {
    /// A client of `endpoint`, with tokens for `resource` (such as `https://graph.microsoft.com`).
    pub fn new(outbound: Outbound, endpoint: Url, resource: String, limits: Limits) -> Self {
        let scope = if resource.ends_with("/.default") {
            resource
        } else {
            format!("{}/.default", resource.trim_end_matches('/'))
        };
        Self { outbound, endpoint, scope, limits }
    }

    /// Which service the endpoint is.
    pub fn dialect(&self) -> Dialect {
        Dialect::of(&self.endpoint)
    }

    /// That the endpoint ends, and what to do, where it does.
    pub fn retirement_notice(&self) -> Option<String> {
        self.dialect().retirement_notice(&self.endpoint)
    }

    /// A small answer, decoded.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rows(&self, query: &Query<'_>, deadline: Instant) -> Result<Rows, Error> {
        let body = self.open(query, self.limits.rows_bytes, deadline).await?.whole().await?;
        decode(&body, self.dialect())
    }

    /// An answer of rows to be copied, packed or plain, to be read piece by piece while it comes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn packed(&self, query: &Query<'_>, deadline: Instant) -> Result<Packed, Error> {
        self.open(query, self.limits.packed_bytes, deadline).await
    }

    async fn open(&self, query: &Query<'_>, cap: u64, deadline: Instant) -> Result<Packed, Error> {
        self.outbound.check(&self.endpoint)?;
        let token = within(deadline, "getting a token", self.outbound.token(&self.scope)).await??;
        let response = self.post(query, &token, deadline).await?;
        match self.judge(response, &token, cap, deadline).await {
            // Tokens end before their time when the app's rights or secrets change: one other token is worth another call.
            Err(Error::Unauthorized { message }) => {
                let renewed = self.outbound.renewed_token(&self.scope, &token);
                Err(match within(deadline, "getting a token", renewed).await?? {
                    Some(_) => Error::StaleToken { message },
                    None => Error::Unauthorized { message },
                })
            }
            judged => judged,
        }
    }

    async fn post(&self, query: &Query<'_>, token: &Secret, deadline: Instant) -> Result<Response, Error> {
        // The older services know only this spelling of the key, and no time span.
        let mut body = json!({ "Query": query.kql });
        if let Some(span) = query.timespan.filter(|_| self.dialect() == Dialect::Graph) {
            body["Timespan"] = span.into();
        }
        let request = self
            .outbound
            .request(Method::POST, self.endpoint.clone())
            .bearer_auth(token.expose())
            .header(ACCEPT, "application/json")
            // Without the charset, Graph reads a query that is not ASCII wrongly and says nothing.
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header(ACCEPT_ENCODING, "gzip")
            .body(body.to_string());
        within(deadline, "waiting for the answer", self.outbound.send(request)).await?.map_err(unsent)
    }

    /// A good answer, of which the beginning has come.
    async fn judge(&self, response: Response, token: &Secret, cap: u64, deadline: Instant) -> Result<Packed, Error> {
        let coding = Coding::of(response.headers());
        let status = response.status().as_u16();
        let after = wait_of(response.headers());
        let (request_id, mut page) = (request_id(response.headers()), page_of(response.headers()));
        let body = if response.status() == StatusCode::OK {
            if let Some(kind) = page {
                return Err(Error::Foreign { kind, status });
            }
            let coding = coding.map_err(|named| Error::Corrupt {
                message: format!("it is compressed by `{named}`, which was not asked for"),
            })?;
            if response.content_length().is_some_and(|bytes| bytes > cap) {
                return Err(Error::TooLarge { cap });
            }
            let mut answer = Packed::new(response, coding, deadline, self.limits.read_timeout, cap);
            if !is_error(answer.beginning().await?) {
                return Ok(answer);
            }
            answer.whole().await?
        } else {
            // The status says enough if the body does not come.
            let patience = deadline.min(Instant::now() + ERROR_BODY_TIMEOUT);
            let body = match coding {
                Ok(coding) => {
                    Packed::new(response, coding, patience, ERROR_BODY_TIMEOUT, ERROR_BODY_BYTES).whole().await
                }
                Err(_) => Ok(Bytes::new()),
            };
            body.unwrap_or_default()
        };
        // What names no type shows what it is.
        page = page.or_else(|| body.trim_ascii_start().starts_with(b"<").then(|| "text/html".to_owned()));
        let url = format!("{}{}", self.endpoint.host_str().unwrap_or_default(), self.endpoint.path());
        Err(Failure {
            status,
            after,
            request_id: request_id.as_deref(),
            body: &body,
            page,
            token: token.expose(),
            url: &url,
            dialect: self.dialect(),
        }
        .classify())
    }
}

/// Whether a document that begins so is an error in place of an answer.
fn is_error(beginning: &[u8]) -> bool {
    const MEMBER: &[u8] = b"\"error\"";
    let members = beginning.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    let first = members.and_then(|members| members.get(..MEMBER.len()));
    first.is_some_and(|first| first.eq_ignore_ascii_case(MEMBER))
}

async fn within<F: Future>(deadline: Instant, doing: &str, future: F) -> Result<F::Output, Error> {
    timeout_at(deadline, future)
        .await
        .map_err(|_| Error::TimedOut { message: format!("the deadline came while {doing}") })
}

/// The content type of what cannot be the service's. A good answer is JSON as it is, under whatever name that the reader can judge;
/// a proxy's page is none.
fn page_of(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?;
    let kind = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let page = ["html", "xml"].iter().any(|part| kind.contains(part))
        || ["image/", "audio/", "video/", "font/", "multipart/"].iter().any(|family| kind.starts_with(family));
    page.then(|| kind.chars().take(80).collect())
}

/// `Retry-After`; a date in it is read by the service's own clock, or not at all. No wait is no answer to how long.
fn wait_of(headers: &HeaderMap) -> Option<Duration> {
    let now = service_time(headers).unwrap_or(Timestamp::MAX);
    retry_after(headers, now).filter(|wait| !wait.is_zero())
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("request-id").or_else(|| headers.get("x-ms-request-id"))?;
    value.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
