//! Single requests to Azure Storage with a signature in the URL (Azure Storage REST: Put Blob, Put Block, Put Block
//! List, Put Message). No token is sent, and no error carries a URL with its query.

use super::super::Error;
use super::super::client::lost_on_the_way;
use super::super::error::RequestText;
use crate::outbound::{Outbound, read_capped, retry_after};
use crate::remedy::Application;
use crate::timestamp::Clock;
use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use reqwest::{Method, Response};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use url::Url;

/// The version of the service that is asked for: old enough for every emulator.
const API_VERSION: &str = "2021-12-02";
/// The most time of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes of an answer: a row of a table.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// What a request to storage ended in.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The signature is no longer accepted, or what it signs is gone: a new set of resources may help.
    Stale(Error),
    /// 409 or 412: the blob is there already.
    Exists(Error),
    /// 404 for the blob itself: there is none of that name.
    Missing(Error),
    /// Anything else.
    Other(Error),
}

impl Refusal {
    pub fn into_error(self) -> Error {
        match self {
            Self::Stale(error) | Self::Exists(error) | Self::Missing(error) | Self::Other(error) => error,
        }
    }
}

/// One request; its target is named in errors without its query.
pub(super) struct Request<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: &'a [(&'static str, &'a str)],
    pub body: Bytes,
    /// Whether a lost answer leaves the outcome open.
    pub changes: bool,
}

/// Sends it once and gives the headers of a 2xx answer.
pub(super) async fn send(
    outbound: &Outbound,
    clock: &dyn Clock,
    request: Request<'_>,
    deadline: Instant,
) -> Result<HeaderMap, Refusal> {
    Ok(exchange(outbound, clock, request, deadline).await?.headers().clone())
}

/// Sends it once and gives the body of a 2xx answer.
pub(super) async fn fetch(
    outbound: &Outbound,
    clock: &dyn Clock,
    request: Request<'_>,
    deadline: Instant,
) -> Result<Bytes, Refusal> {
    let answer = exchange(outbound, clock, request, deadline).await?;
    let deadline = deadline.min(Instant::now() + REQUEST_TIMEOUT);
    let body = read_capped(answer, MAX_ANSWER_BYTES, deadline).await;
    body.map_err(|error| Refusal::Other(Error::unavailable(error.to_string())))
}

/// Sends it once and gives the length and the SHA-256 of the body of a 2xx answer, in hex. Of a body that is longer than `most` no
/// more is read.
pub(super) async fn digest(
    outbound: &Outbound,
    clock: &dyn Clock,
    request: Request<'_>,
    most: u64,
    deadline: Instant,
) -> Result<(u64, String), Refusal> {
    let broken = |why: String| Refusal::Other(Error::unavailable(format!("a blob could not be read: {why}")));
    let mut answer = exchange(outbound, clock, request, deadline).await?;
    let deadline = deadline.min(Instant::now() + REQUEST_TIMEOUT);
    let (mut hash, mut length) = (Sha256::new(), 0);
    while length <= most {
        let piece = timeout_at(deadline, answer.chunk()).await.map_err(|_| broken("no answer in time".to_owned()))?;
        let Some(piece) = piece.map_err(|error| broken(error.without_url().to_string()))? else { break };
        length += piece.len() as u64;
        hash.update(&piece);
    }
    Ok((length, format!("{:x}", hash.finalize())))
}

async fn exchange(
    outbound: &Outbound,
    clock: &dyn Clock,
    request: Request<'_>,
    deadline: Instant,
) -> Result<Response, Refusal> {
    let deadline = deadline.min(Instant::now() + REQUEST_TIMEOUT);
    let target = super::signed::bare(&request.url);
    let ends = super::signed::end_of(&request.url);
    let app = &Application::default();
    let text = RequestText { csl: "", database: "", app, changes: request.changes };
    let mut builder = outbound
        .request(request.method.clone(), request.url)
        .header("x-ms-version", API_VERSION)
        .header("x-ms-client-request-id", "adxingestor");
    for (name, value) in request.headers {
        builder = builder.header(*name, *value);
    }
    if request.changes {
        // An empty body has to say so.
        builder = builder.header(CONTENT_LENGTH, request.body.len()).body(request.body);
    }
    let response = match timeout_at(deadline, outbound.send(builder)).await {
        Err(_) => return Err(Refusal::Other(text.lost(format!("{target} did not answer in time")))),
        Ok(Err(error)) => return Err(Refusal::Other(lost_on_the_way(error, &text))),
        Ok(Ok(response)) => response,
    };
    let status = response.status().as_u16();
    if response.status().is_success() {
        return Ok(response);
    }
    // The body may quote the signature's parts: the code in the header says enough.
    let code = response.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok()).unwrap_or("no error code");
    let mut message = format!("{} {target}: status {status} ({code})", request.method);
    let now = clock.now();
    if let (401 | 403, Some(end)) = (status, ends.filter(|end| *end <= now)) {
        message.push_str(&format!("; the signature ended at {end}, and this machine's clock says {now}"));
    }
    let after = retry_after(response.headers(), now);
    Err(refusal(status, code, message, after, &text))
}

/// What follows from a status (Azure Storage REST, "Status and error codes").
fn refusal(status: u16, code: &str, message: String, after: Option<Duration>, text: &RequestText<'_>) -> Refusal {
    match status {
        401 | 403 => Refusal::Stale(Error::Denied {
            message: format!("{message}; the service's own storage refuses the signature that it gave"),
        }),
        404 if code == "BlobNotFound" => Refusal::Missing(Error::NotFound { what: message }),
        404 => Refusal::Stale(Error::NotFound { what: message }),
        409 | 412 => Refusal::Exists(Error::Refused { code: code.to_owned(), message, permanent: true }),
        // It has changed on its way: the same bytes may arrive the next time (Azure Storage REST: Put Block).
        400 if code == "Md5Mismatch" => {
            Refusal::Other(Error::unavailable(format!("{message}: it arrived otherwise than it was sent")))
        }
        429 => Refusal::Other(Error::Throttled { after, message }),
        // Storage says that it did nothing; a 503 of anyone else on the way does not.
        503 if code == "ServerBusy" => Refusal::Other(Error::Throttled { after, message }),
        408 | 500.. => Refusal::Other(text.failed(after, message)),
        _ => Refusal::Other(Error::Refused { code: code.to_owned(), message, permanent: true }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_storage_says_what_to_do_next() {
        let kind = |status, code: &str, changes| {
            let app = &Application::default();
            let text = RequestText { csl: "", database: "", app, changes };
            let after = Some(Duration::from_secs(7));
            match refusal(status, code, "why".to_owned(), after, &text) {
                Refusal::Stale(Error::Denied { .. }) => "another signature",
                Refusal::Stale(_) => "another resource",
                Refusal::Exists(_) => "there already",
                Refusal::Missing(_) => "not there",
                Refusal::Other(Error::Throttled { after: Some(after), .. }) if after.as_secs() == 7 => "after 7 s",
                Refusal::Other(Error::OutcomeUnknown { .. }) => "unknown",
                Refusal::Other(Error::Unavailable { .. }) => "later",
                Refusal::Other(Error::Refused { permanent: true, .. }) => "never",
                Refusal::Other(_) => "else",
            }
        };
        for (status, code, of_change, of_look) in [
            (401, "NoAuthenticationInformation", "another signature", "another signature"),
            (403, "AuthenticationFailed", "another signature", "another signature"),
            (403, "AuthorizationPermissionMismatch", "another signature", "another signature"),
            (404, "ContainerNotFound", "another resource", "another resource"),
            (404, "BlobNotFound", "not there", "not there"),
            (404, "", "another resource", "another resource"),
            (409, "BlobAlreadyExists", "there already", "there already"),
            (412, "ConditionNotMet", "there already", "there already"),
            (429, "TooManyRequests", "after 7 s", "after 7 s"),
            (503, "ServerBusy", "after 7 s", "after 7 s"),
            (503, "", "unknown", "later"),
            (500, "InternalError", "unknown", "later"),
            (500, "OperationTimedOut", "unknown", "later"),
            (502, "", "unknown", "later"),
            (504, "", "unknown", "later"),
            (408, "", "unknown", "later"),
            (400, "InvalidHeaderValue", "never", "never"),
            (400, "Md5Mismatch", "later", "later"),
            (400, "InvalidMd5", "never", "never"),
            (413, "RequestBodyTooLarge", "never", "never"),
            (307, "", "never", "never"),
        ] {
            assert_eq!(kind(status, code, true), of_change, "a change: {status} {code}");
            assert_eq!(kind(status, code, false), of_look, "a look: {status} {code}");
        }
    }
}
