//! The way to the collector: the process's own kind of HTTP client behind the exporter's port. It follows no redirects, reads
//! little and waits not long; that nothing arrives is said now and then, and harms nothing else.

use crate::outbound::read_capped;
use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

/// A collector answers with next to nothing.
const ANSWER_BYTES: usize = 64 * 1024;
/// That nothing arrives is said no more often.
const SAID_EVERY: Duration = Duration::from_secs(600);

/// Sends what the exporters give it. They live on threads of their own, so the requests are made on `runtime`.
#[derive(Clone)]
pub struct Collector {
    pub http: reqwest::Client,
    pub runtime: Handle,
    pub timeout: Duration,
    pub failures: Arc<Failures>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (http, deadline) = (self.http.clone(), Instant::now() + self.timeout);
        let place = place_of(request.uri());
        let sent = self.runtime.spawn(async move { send(&http, request, deadline).await }).await;
        let answer = sent.map_err(|_| "the process ends".to_owned()).and_then(|answer| answer);
        let refused = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(error.clone()),
        };
        match refused {
            None => self.failures.over(),
            Some(why) => self.failures.note(&place, &why),
        }
        answer.map_err(HttpError::from)
    }
}

async fn send(http: &reqwest::Client, request: Request<Bytes>, deadline: Instant) -> Result<Response<Bytes>, String> {
    let request = reqwest::Request::try_from(request).map_err(|error| error.without_url().to_string())?;
    let answer = timeout_at(deadline, http.execute(request)).await;
    let answer = answer.map_err(|_| "no answer in time".to_owned())?;
    let answer = answer.map_err(|error| crate::outbound::causes(&error.without_url()))?;
    let status = answer.status();
    let body = read_capped(answer, ANSWER_BYTES, deadline).await.map_err(|error| error.to_string())?;
    let mut read = Response::new(body);
    *read.status_mut() = status;
    Ok(read)
}

/// Host and port alone: the rest may hold secrets.
fn place_of(uri: &axum::http::Uri) -> String {
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", uri.host().unwrap_or_default())
}

/// Counts what did not arrive, and says so now and then.
#[derive(Debug, Default)]
pub struct Failures(Mutex<Tally>);

#[derive(Debug, Default)]
struct Tally {
    /// Since the last time that it was said.
    unsaid: u64,
    said: Option<Instant>,
}

impl Failures {
    fn note(&self, place: &str, why: &str) {
        let count = {
            let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            tally.unsaid += 1;
            if tally.said.is_some_and(|said| said.elapsed() < SAID_EVERY) {
                return;
            }
            tally.said = Some(Instant::now());
            std::mem::take(&mut tally.unsaid)
        };
        tracing::warn!(
            collector = place,
            why,
            requests = count,
            "telemetry does not arrive at the collector and is dropped; the work goes on. Check the variables OTEL_EXPORTER_OTLP_*"
        );
    }

    fn over(&self) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tally.said.take().is_some() {
            tally.unsaid = 0;
            drop(tally);
            tracing::info!("telemetry arrives at the collector again");
        }
    }
}
