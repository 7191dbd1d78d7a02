//! The calls: one HTTP request each, with a deadline and a byte cap. Knows the three services' wire, not what is asked or
//! why. It repeats nothing on its own (each call costs of the tenant's quota), but for a token that has become invalid.

use super::error::{Error, Failure, unreadable, unsent};
use super::rows::{Rows, decode};
use crate::outbound::{Outbound, read_capped, retry_after, service_time};
use crate::secret::Secret;
use crate::timestamp::Timestamp;
use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use url::Url;

/// An error's body that is larger is not looked at.
const ERROR_BODY_BYTES: usize = 256 * 1024;
/// How long the rest of an error's body is waited for.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Caps of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of an answer that is read whole.
    pub rows_bytes: usize,
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

/// Which of the three services an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Microsoft Graph, `runHuntingQuery`.
    Graph,
    /// The older Defender XDR API, `advancedhunting/run`.
    Xdr,
    /// The older Defender for Endpoint API, `advancedqueries/run`.
    Mde,
}

impl Dialect {
    /// The dialect of an endpoint, by its path.
    pub fn of(endpoint: &Url) -> Self {
        let path = endpoint.path().to_ascii_lowercase();
        if path.contains("/advancedhunting/") {
            Self::Xdr
        } else if path.contains("/advancedqueries/") {
            Self::Mde
        } else {
            Self::Graph
        }
    }

    /// Whether the service ends on 1 February 2027 (message center MC1220762).
    pub fn is_retiring(self) -> bool {
        self != Self::Graph
    }

    /// The application permission that it asks for.
    pub fn permission(self) -> &'static str {
        match self {
            Self::Graph => "ThreatHunting.Read.All",
            Self::Xdr => "AdvancedHunting.Read.All",
            Self::Mde => "AdvancedQuery.Read.All",
        }
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

    /// A small answer, decoded.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rows(&self, query: &str, deadline: Instant) -> Result<Rows, Error> {
        let response = self.answer(query, deadline).await?;
        let body = read_capped(response, self.limits.rows_bytes, deadline).await.map_err(unreadable)?;
        decode(&body, self.dialect())
    }

    /// An answer of packed rows, to be read piece by piece while it comes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn packed(&self, query: &str, deadline: Instant) -> Result<Packed, Error> {
        let response = self.answer(query, deadline).await?;
        let cap = self.limits.packed_bytes;
        if response.content_length().is_some_and(|bytes| bytes > cap) {
            return Err(Error::TooLarge { cap });
        }
        Ok(Packed { response, deadline, read_timeout: self.limits.read_timeout, cap, read: 0 })
    }

    /// The head of a good answer.
    async fn answer(&self, query: &str, deadline: Instant) -> Result<Response, Error> {
        self.outbound.check(&self.endpoint)?;
        let token = within(deadline, "getting a token", self.outbound.token(&self.scope)).await??;
        let response = self.post(query, &token, deadline).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.judge(response, &token, deadline).await;
        }
        // Tokens end before their time when the app's rights or secrets change: one other token is worth a try.
        let renewed = self.outbound.renewed_token(&self.scope, &token);
        match within(deadline, "getting a token", renewed).await?? {
            Some(token) => {
                drop(response);
                let response = self.post(query, &token, deadline).await?;
                self.judge(response, &token, deadline).await
            }
            None => self.judge(response, &token, deadline).await,
        }
    }

    async fn post(&self, query: &str, token: &Secret, deadline: Instant) -> Result<Response, Error> {
        let request = self
            .outbound
            .request(Method::POST, self.endpoint.clone())
            .bearer_auth(token.expose())
            .header(ACCEPT, "application/json")
            // Without the charset, Graph reads a query that is not ASCII wrongly and says nothing.
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            // The older services know only this spelling of the key.
            .body(json!({ "Query": query }).to_string());
        within(deadline, "waiting for the answer", self.outbound.send(request)).await?.map_err(unsent)
    }

    async fn judge(&self, response: Response, token: &Secret, deadline: Instant) -> Result<Response, Error> {
        if response.status() == StatusCode::OK {
            check_head(response.headers())?;
            return Ok(response);
        }
        let status = response.status().as_u16();
        let after = wait_of(response.headers());
        let request_id = request_id(response.headers());
        // The status says enough if the body does not come.
        let patience = deadline.min(Instant::now() + ERROR_BODY_TIMEOUT);
        let body = read_capped(response, ERROR_BODY_BYTES, patience).await.unwrap_or_default();
        let url = format!("{}{}", self.endpoint.host_str().unwrap_or_default(), self.endpoint.path());
        Err(Failure {
            status,
            after,
            request_id: request_id.as_deref(),
            body: &body,
            token: token.expose(),
            url: &url,
            permission: self.dialect().permission(),
        }
        .classify())
    }
}

/// An answer of packed rows on its way in. Feed what comes to a [`super::scanner::Scanner`], which knows when it is whole.
pub struct Packed {
    response: Response,
    deadline: Instant,
    read_timeout: Duration,
    cap: u64,
    read: u64,
}

impl Packed {
    /// The next bytes, or `None` at the end.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::TimedOut`] or, when the connection breaks or there is no body, [`Error::Corrupt`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let pause_ends = Instant::now() + self.read_timeout;
        let piece = match timeout_at(self.deadline.min(pause_ends), self.response.chunk()).await {
            Ok(Ok(piece)) => piece,
            Ok(Err(error)) => {
                return Err(unreadable(crate::outbound::BodyError::Cut {
                    read: usize::try_from(self.read).unwrap_or(usize::MAX),
                    source: error.without_url(),
                }));
            }
            Err(_) => {
                let message = if self.deadline <= pause_ends {
                    format!("the deadline came after {} bytes of the answer", self.read)
                } else {
                    format!(
                        "nothing came for {} s after {} bytes of the answer",
                        self.read_timeout.as_secs(),
                        self.read
                    )
                };
                return Err(Error::TimedOut { message });
            }
        };
        let Some(piece) = piece else {
            if self.read == 0 {
                return Err(Error::Corrupt { message: "it is empty".to_owned() });
            }
            return Ok(None);
        };
        self.read += piece.len() as u64;
        if self.read > self.cap {
            return Err(Error::TooLarge { cap: self.cap });
        }
        Ok(Some(piece))
    }
}

async fn within<F: Future>(deadline: Instant, doing: &str, future: F) -> Result<F::Output, Error> {
    timeout_at(deadline, future)
        .await
        .map_err(|_| Error::TimedOut { message: format!("the deadline came while {doing}") })
}

/// A good answer is JSON as it is, under whatever name that the reader can judge; a proxy's page or a compressed body is none.
fn check_head(headers: &HeaderMap) -> Result<(), Error> {
    let value = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    if let Some(kind) = value(CONTENT_TYPE) {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let page = ["html", "xml"].iter().any(|part| kind.contains(part))
            || ["image/", "audio/", "video/", "font/", "multipart/"].iter().any(|family| kind.starts_with(family));
        if page {
            let kind: String = kind.chars().take(80).collect();
            return Err(Error::Corrupt { message: format!("its content type is `{kind}`, not application/json") });
        }
    }
    match value(CONTENT_ENCODING) {
        Some(encoding) if encoding.trim() != "identity" => {
            Err(Error::Corrupt { message: "it is compressed, which was not asked for".to_owned() })
        }
        _ => Ok(()),
    }
}

/// `Retry-After`; a date in it is read by the service's own clock, or not at all.
fn wait_of(headers: &HeaderMap) -> Option<Duration> {
    match service_time(headers) {
        Some(now) => retry_after(headers, now),
        None => retry_after(headers, Timestamp::MAX).filter(|wait| !wait.is_zero()),
    }
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("request-id").or_else(|| headers.get("x-ms-request-id"))?;
    value.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests;
