//! Whether the host should be left running (`GET /livez`) and whether it can do its work (`GET /readyz`), for service managers
//! and container runtimes; the names are those of the Kubernetes API server ("Kubernetes API health endpoints"). The real
//! Functions host has neither: a function with that route comes first. Both answer without a key, so what they find is
//! kept for a while, and a reason names no account, address or setting; the log does.

use super::client::Phase;
use super::console::{Console, Level, Say};
use super::time::HostTime;
use crate::storage::{Error, Storage, look};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// How long a store that was found in order is not looked at again.
const STORE_KEPT: Duration = Duration::from_secs(10);
/// The same for all else.
const KEPT: Duration = Duration::from_secs(1);
/// How long the handler or the store may take for an answer; probes wait as long as that, or less. Not scaled: it is the
/// network's time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at the handler and the state store.
pub(crate) struct Health {
    phase: watch::Receiver<Phase>,
    storage: Storage,
    time: HostTime,
    console: Arc<dyn Console>,
    alive: Last,
    ready: Last,
}

/// What was found, and when. Held during a look, so that of many callers one looks and the others wait for what it finds.
type Last = Mutex<Option<(Instant, Found)>>;
type Found = Result<(), Unwell>;

/// What is wrong, as a caller without a key may know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Unwell {
    #[error("the handler is starting")]
    Starting,
    #[error("the handler has ended")]
    Ended,
    #[error("the handler does not answer")]
    Silent,
    #[error("the state store refused a look; the log says why")]
    Refused,
    #[error("the state store cannot be reached; the log says why")]
    Unreached,
}

impl Health {
    pub(crate) fn new(
        phase: watch::Receiver<Phase>,
        storage: Storage,
        time: HostTime,
        console: Arc<dyn Console>,
    ) -> Self {
        Self { phase, storage, time, console, alive: Last::default(), ready: Last::default() }
    }

    /// Whether a request is for one of the two endpoints.
    pub(crate) fn is_asked(path: &str, method: &Method) -> bool {
        matches!(path, "livez" | "readyz") && matches!(*method, Method::GET | Method::HEAD)
    }

    /// Answers a request for `path`, one of the two.
    pub(crate) async fn answer(&self, path: &str) -> Response {
        let found = if path == "livez" { self.alive().await } else { self.ready().await };
        let headers = [(header::CACHE_CONTROL, "no-store")];
        match found {
            Ok(()) => (headers, "ok\n").into_response(),
            Err(unwell) => (StatusCode::SERVICE_UNAVAILABLE, headers, format!("{unwell}\n")).into_response(),
        }
    }

    /// Fails when only a new start of the whole process can help: a handler that starts is the supervisor's business, and a
    /// store that is away comes back by itself.
    async fn alive(&self) -> Found {
        let mut last = self.alive.lock().await;
        if let Some(found) = self.kept(*last, KEPT) {
            return found;
        }
        let found = match self.handler().await {
            Err(Unwell::Starting) => Ok(()),
            found => found,
        };
        *last = Some((Instant::now(), found));
        found
    }

    /// Fails while a call could not be served.
    async fn ready(&self) -> Found {
        let mut last = self.ready.lock().await;
        if let Some(found) = self.kept(*last, STORE_KEPT) {
            return found;
        }
        let mut why = String::new();
        let found = match self.handler().await {
            Ok(()) => self.store().await.map_err(|(unwell, reason)| {
                why = format!(": {reason}");
                unwell
            }),
            unwell => unwell,
        };
        match (last.map(|(_, before)| before), found) {
            (Some(before), found) if before == found => {}
            (Some(Err(_)), Ok(())) => self.console.say(Level::Information, "ready again"),
            (_, Ok(())) => {}
            (_, Err(unwell)) => self.console.say(Level::Warning, format!("not ready: {unwell}{why}")),
        }
        *last = Some((Instant::now(), found));
        found
    }

    /// What was found a moment ago. What was wrong is looked at again soon.
    fn kept(&self, last: Option<(Instant, Found)>, kept: Duration) -> Option<Found> {
        let (at, found) = last?;
        let kept = if found.is_ok() { kept } else { KEPT };
        (at.elapsed() < self.time.scaled(kept)).then_some(found)
    }

    async fn handler(&self) -> Found {
        let phase = self.phase.borrow().clone();
        match phase {
            Phase::Starting => Err(Unwell::Starting),
            Phase::Ended => Err(Unwell::Ended),
            Phase::Ready(connection) => match tokio::time::timeout(PATIENCE, connection.answers()).await {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(Unwell::Silent),
            },
        }
    }

    /// Looks at the state store. One that asks to come back later is in order.
    async fn store(&self) -> Result<(), (Unwell, String)> {
        let mut errors = look(&self.storage, PATIENCE).await.into_iter().flatten();
        match errors.find(|error| !matches!(error, Error::Throttled { .. })) {
            None => Ok(()),
            Some(error @ Error::Unavailable(_)) => Err((Unwell::Unreached, error.to_string())),
            Some(error) => Err((Unwell::Refused, error.to_string())),
        }
    }
}
