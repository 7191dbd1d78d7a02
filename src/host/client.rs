//! The HTTP way to the handler: one client per life of the handler process, so that no connection outlives it.

use super::failure::Failure;
use super::time::HostTime;
use axum::body::Body;
use axum::http::header::LOCATION;
use axum::http::{Method, Request, Response, StatusCode, Uri, Version};
use bytes::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use url::Url;

/// The most bytes of a request or answer that are held.
pub(crate) const MAX_BODY_BYTES: usize = 104_857_600;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_CONNECTION: Duration = Duration::from_secs(2);
const MAX_REDIRECTS: usize = 50;

/// Where the handler is in its life.
#[derive(Clone)]
pub(crate) enum Phase {
    /// It does not answer yet.
    Starting,
    /// It answers, or is dialled although it has ended with exit code 0.
    Ready(Connection),
    /// It will not be started again.
    Ended,
}

/// The way to one life of the handler.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) generation: u64,
    client: Client<HttpConnector, Body>,
    authority: String,
}

impl Connection {
    pub(crate) fn new(generation: u64, port: u16) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_CONNECTION).build(connector);
        Self { generation, client, authority: format!("127.0.0.1:{port}") }
    }

    /// The URL of a path (and query) at the handler.
    pub(crate) fn uri(&self, path_and_query: &str) -> Result<Uri, Failure> {
        let uri = format!("http://{}{path_and_query}", self.authority).parse();
        uri.map_err(|error| Failure::Transport(format!("`{path_and_query}` cannot be put into a URL: {error}")))
    }

    /// Whether anything answers at all.
    pub(crate) async fn answers(&self) -> bool {
        let Ok(uri) = self.uri("/") else { return false };
        let request = Request::builder().uri(uri).body(Body::empty());
        let Ok(request) = request else { return false };
        self.client.request(request).await.is_ok()
    }

    /// Sends a request as it is. The caller bounds the time.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Failure> {
        *request.version_mut() = Version::HTTP_11;
        let answer = self.client.request(request).await;
        answer.map(|answer| answer.map(Body::new)).map_err(|error| Failure::Transport(chain(&error)))
    }

    /// Sends a POST, following redirects as .NET's client does: after 301, 302 and 303 with GET.
    pub(crate) async fn post(&self, request: &Request<Bytes>, follow: bool) -> Result<Response<Body>, Failure> {
        let mut uri = request.uri().clone();
        let mut method = request.method().clone();
        for _ in 0..=MAX_REDIRECTS {
            // The real host does not know the length beforehand: the body goes out in chunks.
            let content = request.body().clone();
            let chunks = futures_util::stream::once(async move { Ok::<_, std::convert::Infallible>(content) });
            let is_get = method == Method::GET;
            let body = if is_get { Body::empty() } else { Body::from_stream(chunks) };
            let mut next = Request::new(body);
            *next.uri_mut() = uri.clone();
            *next.method_mut() = method.clone();
            *next.headers_mut() = request.headers().clone();
            let answer = self.send(next).await?;
            let status = answer.status();
            let target = answer.headers().get(LOCATION).filter(|_| follow).and_then(|value| value.to_str().ok());
            let Some(target) = target.and_then(|target| redirect(&uri, status, target)) else { return Ok(answer) };
            if matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER) {
                method = Method::GET;
            }
            uri = target;
        }
        Err(Failure::Transport(format!("more than {MAX_REDIRECTS} redirects")))
    }
}

fn redirect(from: &Uri, status: StatusCode, target: &str) -> Option<Uri> {
    if !matches!(status.as_u16(), 300..=303 | 307 | 308) {
        return None;
    }
    let target = Url::parse(&from.to_string()).ok()?.join(target).ok()?;
    target.as_str().parse().ok()
}

/// An error with its causes: the outer one of the HTTP client says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What the callers of functions know of the handler.
#[derive(Clone)]
pub(crate) struct HandlerClient {
    pub(crate) phase: watch::Receiver<Phase>,
    /// Takes the generation of a handler that must be killed and started anew.
    pub(crate) restarts: mpsc::Sender<u64>,
    pub(crate) time: HostTime,
    /// How long a call waits for the handler to become ready.
    pub(crate) patience: Duration,
}

impl HandlerClient {
    /// The connection, once the handler is ready.
    pub(crate) async fn connection(&self) -> Result<Connection, Failure> {
        let mut phase = self.phase.clone();
        let ready = phase.wait_for(|phase| !matches!(phase, Phase::Starting));
        match tokio::time::timeout(self.time.scaled(self.patience), ready).await {
            Err(_) => Err(Failure::NotReady(self.patience)),
            Ok(Err(_)) => Err(Failure::Stopping),
            Ok(Ok(phase)) => match &*phase {
                Phase::Ready(connection) => Ok(connection.clone()),
                Phase::Starting | Phase::Ended => Err(Failure::Stopping),
            },
        }
    }

    /// Asks for a new handler in the place of the one of this generation.
    pub(crate) fn restart(&self, generation: u64) {
        // A full queue means that a restart is on its way already.
        let _ = self.restarts.try_send(generation);
    }
}
