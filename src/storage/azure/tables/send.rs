//! One request and its whole answer, within a time and a size. Knows no table.

use super::batch::DATA_SERVICE;
use super::json;
use super::refusal::Refused;
use crate::storage::Error;
use crate::storage::azure::{error, header::header};
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{AsyncResponseBody, ClientOptions, Context, Pipeline, PipelineStreamOptions, Request};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

pub(super) const ACCEPT: HeaderName = HeaderName::from_static("accept");
const DATA_SERVICE_VERSION: HeaderName = HeaderName::from_static("dataserviceversion");
const SERVICE_VERSION: HeaderName = HeaderName::from_static("x-ms-version");
/// The first version whose tables take tokens (rest-api-ref `Authorize-with-Azure-Active-Directory`).
const VERSION: &str = "2020-12-06";
/// The service ends a query after 5 seconds and anything else after 30 (rest-api-ref
/// `Setting-Timeouts-for-Table-Service-Operations`).
const TIMEOUT: Duration = Duration::from_secs(35);

/// Sends requests on one pipeline.
#[derive(Debug)]
pub(super) struct Sender(Pipeline);

/// An answer, whatever its status.
pub(super) struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Sender {
    pub fn new(options: ClientOptions) -> Self {
        let (name, version) = (Some(env!("CARGO_PKG_NAME")), Some(env!("CARGO_PKG_VERSION")));
        Self(Pipeline::new(name, version, options, Vec::new(), Vec::new(), None))
    }

    /// # Errors
    /// [`Error::Unavailable`] where the outcome is unknown.
    pub async fn send(&self, mut request: Request, cap: usize) -> Result<Answer, Error> {
        request.insert_header(SERVICE_VERSION, VERSION);
        request.insert_header(DATA_SERVICE_VERSION, DATA_SERVICE);
        if header(request.headers(), &ACCEPT).is_none() {
            request.insert_header(ACCEPT, json::ACCEPT);
        }
        timeout(TIMEOUT, self.exchange(&mut request, cap)).await.unwrap_or_else(|_| {
            Err(Error::Unavailable(format!("the table service did not answer within {} s", TIMEOUT.as_secs()).into()))
        })
    }

    async fn exchange(&self, request: &mut Request, cap: usize) -> Result<Answer, Error> {
        let options = PipelineStreamOptions { skip_checks: true, ..Default::default() };
        let answer = self.0.stream(&Context::default(), request, Some(options)).await.map_err(error::of)?;
        let (status, headers, body) = answer.deconstruct();
        Ok(Answer { status: status.into(), headers, body: whole(body, cap).await? })
    }
}

impl Answer {
    /// What the service refused.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this is no refusal: a success that is not the expected one leaves the outcome open.
    pub fn refused(&self) -> Result<Refused, Error> {
        if self.status < 400 {
            let status = self.status;
            return Err(Error::Unavailable(
                format!("the table service answered with the unexpected status {status}").into(),
            ));
        }
        Ok(Refused::whole(self.status, &self.headers, &self.body))
    }
}

async fn whole(mut stream: AsyncResponseBody, cap: usize) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(error::of)?;
        if body.len() + chunk.len() > cap {
            return Err(Error::Unavailable(format!("the table service's answer is longer than {cap} bytes").into()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
