//! One request and its answer: signed, sent, read within its deadline, and repeated where that does no harm.

use super::{Call, Client, Effect};
use crate::adx::Error;
use crate::adx::answer::Failure;
use crate::adx::error::RequestText;
use crate::outbound::{BodyError, Unanswered, read_capped, retry_after};
use crate::secret::Secret;
use crate::telemetry::metrics;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

/// The most bytes of an answer: the engine's own limit of a result (dataexplorer-docs `concepts/query-limits.md`).
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

impl Client {
    pub(super) async fn run<T>(&self, call: &Call<'_, T>, effect: Effect, deadline: Instant) -> Result<T, Error> {
        let again = |error: &Error| match error {
            // Neither means that anything was done.
            Error::Throttled { .. } | Error::Unavailable { .. } => true,
            Error::OutcomeUnknown { .. } => effect == Effect::Idempotent,
            Error::Corrupt { .. } | Error::Refused { permanent: false, .. } => effect != Effect::Once,
            Error::Outbound(crate::outbound::Error::Token { transient, .. }) => *transient,
            _ => false,
        };
        self.inner.pace.run(self.seed(), deadline, again, || self.attempt(call, deadline)).await
    }

    async fn attempt<T>(&self, call: &Call<'_, T>, deadline: Instant) -> Result<T, Error> {
        let outbound = &self.inner.outbound;
        outbound.check(&call.endpoint.url)?;
        let Some(scope) = self.scope(call.endpoint, deadline).await? else {
            return self.send(call, None, deadline).await;
        };
        let too_late = |_| Error::unavailable("no token in time");
        let token = timeout_at(deadline, outbound.token(scope)).await.map_err(too_late)??;
        match self.send(call, Some(&token), deadline).await {
            Err(Error::Unauthorized { message }) => {
                let renewed = timeout_at(deadline, outbound.renewed_token(scope, &token)).await.map_err(too_late)??;
                let Some(renewed) = renewed else { return Err(Error::Unauthorized { message }) };
                self.send(call, Some(&renewed), deadline).await
            }
            other => other,
        }
    }

    async fn send<T>(&self, call: &Call<'_, T>, token: Option<&Secret>, deadline: Instant) -> Result<T, Error> {
        let span = tracing::info_span!("adx", operation = call.operation);
        let answered = self.exchange(call, token, deadline).instrument(span).await;
        metrics::adx_request(call.operation, outcome(&answered));
        answered
    }

    async fn exchange<T>(&self, call: &Call<'_, T>, token: Option<&Secret>, deadline: Instant) -> Result<T, Error> {
        let inner = &self.inner;
        let id = format!("adxingestor.{};{}", call.operation, inner.ids.fresh());
        let mut request = inner
            .outbound
            .request(call.method.clone(), call.url.clone())
            .header(ACCEPT, "application/json")
            .header("x-ms-client-request-id", &id)
            .header("x-ms-app", "adxingestor")
            .header("x-ms-client-version", concat!("adxingestor:", env!("CARGO_PKG_VERSION")));
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        if call.method != Method::GET {
            request = request.header(CONTENT_TYPE, "application/json; charset=utf-8").body(call.body.clone());
        }
        if call.read_only {
            request = request.header("x-ms-readonly", "true");
        }
        let response = match timeout_at(deadline, inner.outbound.send(request)).await {
            Err(_) => return Err(call.text.lost(format!("no answer before the deadline (request {id})"))),
            Ok(Err(error)) => return Err(lost_on_the_way(error, &call.text)),
            Ok(Ok(response)) => response,
        };
        let activity = activity_of(response.headers());
        let answer = self.read(call, response, &id, deadline).await;
        answer.map_err(|error| {
            tracing::debug!(%error, request = id, activity, "a request to ADX failed");
            error.in_activity(&activity)
        })
    }

    async fn read<T>(
        &self,
        call: &Call<'_, T>,
        response: reqwest::Response,
        id: &str,
        deadline: Instant,
    ) -> Result<T, Error> {
        let succeeded = response.status().is_success();
        let status = response.status().as_u16();
        let after = retry_after(response.headers(), self.inner.clock.now());
        let body = match read_capped(response, MAX_ANSWER_BYTES, deadline).await {
            Ok(body) => body,
            // What stands in an answer to a change that cannot be read is not known.
            Err(error @ (BodyError::TooLarge { .. } | BodyError::Encoded { .. })) if !call.text.changes => {
                return Err(Error::corrupt(error.to_string()));
            }
            Err(error) => return Err(call.text.lost(format!("{error} (request {id})"))),
        };
        if !succeeded {
            if call.optional && RequestText::is_unknown_address(status, &body) {
                return Err(Error::NotOffered {
                    what: format!("{} {}: status {status}", call.method, call.url.path()),
                });
            }
            return Err(call.text.error_of_status(status, after, &body));
        }
        (call.decode)(&body).map_err(|failure| match failure {
            Failure::Service(error) => error.into_error(status, after, &call.text),
            // What a cut answer to a change means is not known.
            Failure::Corrupt(message) if call.text.changes => call.text.lost(message),
            Failure::Corrupt(message) => Error::corrupt(message),
        })
    }
}

/// What came of a request, for the count of requests.
fn outcome<T>(answered: &Result<T, Error>) -> &'static str {
    match answered {
        Ok(_) => "ok",
        Err(Error::Throttled { .. }) => "throttled",
        Err(
            Error::Refused { .. }
            | Error::Denied { .. }
            | Error::Unauthorized { .. }
            | Error::NotFound { .. }
            | Error::NotOffered { .. },
        ) => "refused",
        Err(_) => "failed",
    }
}

/// By which the service's own log finds a request; empty if it gives none.
fn activity_of(headers: &HeaderMap) -> String {
    let id = headers.get("x-ms-activity-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect()
}

/// A request that got no status. Before a connection stands, nothing can have been done.
pub(in crate::adx) fn lost_on_the_way(error: Unanswered, text: &RequestText<'_>) -> Error {
    if error.unconnected { Error::unavailable(error.message) } else { text.lost(error.message) }
}
