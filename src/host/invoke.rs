//! One call of a function: the request to the handler, the time limit, the logs, the outputs, and the line that says how
//! it went. Knows no trigger.

use super::answer::{self, Answer, Reply};
use super::client::{Connection, HandlerClient, MAX_BODY_BYTES};
use super::console::{Console, Entry, HOST, Level};
use super::envelope::{Metadata, envelope};
use super::failure::Failure;
use super::function_json::Function;
use super::json::Json;
use super::outputs::Outputs;
use crate::random::Random;
use crate::timestamp::Clock;
use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The version that this host reports, that of the real one it follows.
pub const HOST_VERSION: &str = "4.1036.1.1";
const HOST_VERSION_HEADER: HeaderName = HeaderName::from_static("x-azure-functions-hostversion");
const INVOCATION_ID_HEADER: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");
const JSON_CONTENT: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Calls functions.
pub(crate) struct Invoker {
    pub(crate) handler: HandlerClient,
    pub(crate) outputs: Outputs,
    pub(crate) console: Arc<dyn Console>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) clock: Arc<dyn Clock>,
    /// `None`: no limit.
    pub(crate) timeout: Option<Duration>,
    /// Whether redirects of the handler are followed.
    pub(crate) follow_redirects: bool,
}

impl Invoker {
    pub(crate) fn id(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.random.bits().to_be_bytes()).into_uuid()
    }

    /// Calls a function with its trigger's value in an envelope, and takes from the answer what `read` wants of it
    /// before the outputs are written.
    pub(crate) async fn call<T>(
        &self,
        function: &Function,
        (binding, data, metadata): (&str, Json, Metadata),
        read: impl FnOnce(&Answer) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let id = self.id();
        let body = envelope(&function.name, binding, data, metadata, self.clock.now(), self.id());
        self.run(function, id, |connection| async move {
            let answer = self.exchange(&connection, function, id, body).await?;
            for line in &answer.logs {
                self.console.write(Entry {
                    level: Level::Information,
                    category: format!("Function.{}.User", function.name),
                    invocation: Some(id),
                    text: line.clone(),
                });
            }
            let read = read(&answer)?;
            self.outputs.write(function, &answer).await?;
            Ok(read)
        })
        .await
    }

    /// Runs one call within the function timeout and says how it went. After the time the handler is killed.
    pub(crate) async fn run<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        function: &Function,
        id: Uuid,
        work: impl FnOnce(Connection) -> F,
    ) -> Result<T, Failure> {
        let started = Instant::now();
        let result = match self.handler.connection().await {
            Err(failure) => Err(failure),
            Ok(connection) => {
                let generation = connection.generation;
                let work = work(connection);
                match self.timeout {
                    None => work.await,
                    Some(limit) => {
                        let limited = tokio::time::timeout(self.handler.time.scaled(limit), work).await;
                        limited.unwrap_or_else(|_| {
                            self.handler.restart(generation);
                            Err(Failure::TimedOut(limit))
                        })
                    }
                }
            }
        };
        let elapsed = started.elapsed().as_millis();
        let (level, outcome) = match &result {
            Ok(_) => (Level::Information, "Succeeded".to_owned()),
            Err(failure) => (Level::Error, format!("Failed: {failure}")),
        };
        self.console.write(Entry {
            level,
            category: HOST.to_owned(),
            invocation: Some(id),
            text: format!("Executed 'Functions.{}' in {elapsed} ms: {outcome}", function.name),
        });
        result
    }

    async fn exchange(
        &self,
        connection: &Connection,
        function: &Function,
        id: Uuid,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = connection.uri(&format!("/{}", function.name))?;
        request.headers_mut().insert(CONTENT_TYPE, JSON_CONTENT);
        add_host_headers(request.headers_mut(), id);
        add_user_agent(request.headers_mut());
        let answer = connection.post(&request, self.follow_redirects).await?;
        let status = answer.status().as_u16();
        let content_type = answer.headers().get(CONTENT_TYPE).cloned();
        let body = axum::body::to_bytes(answer.into_body(), MAX_BODY_BYTES).await;
        let body = body.map_err(|_| Failure::Body(MAX_BODY_BYTES))?;
        match answer::read(status, content_type.as_ref().and_then(|value| value.to_str().ok()), &body)? {
            Reply::Answer(answer) => Ok(answer),
            // Ended by the function timeout.
            Reply::Never => std::future::pending().await,
        }
    }
}

/// The headers that every request to the handler bears.
pub(crate) fn add_host_headers(headers: &mut HeaderMap, id: Uuid) {
    headers.insert(HOST_VERSION_HEADER, HeaderValue::from_static(HOST_VERSION));
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert(INVOCATION_ID_HEADER, id);
    }
}

/// Puts the host's name after the caller's.
pub(crate) fn add_user_agent(headers: &mut HeaderMap) {
    let own = format!("Azure-Functions-Host/{HOST_VERSION}");
    let both = match headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty()) {
        Some(caller) => format!("{caller} {own}"),
        None => own,
    };
    if let Ok(value) = HeaderValue::try_from(both) {
        headers.insert(USER_AGENT, value);
    }
}
