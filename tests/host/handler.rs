//! A programmable handler inside the test process: each launch is a runtime of its own, so that killing it closes all of its
//! connections at once, as the end of a process does.

use adxingestor::host::{CommandLine, Launched, Launcher, Process};
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;

type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A request as the handler got it.
#[derive(Debug, Clone)]
pub struct Call {
    pub at: Instant,
    pub method: Method,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    /// A member of `Metadata`.
    pub fn metadata(&self, name: &str) -> Value {
        self.json()["Metadata"][name].clone()
    }
}

/// A 200 with this JSON.
pub fn json(text: impl Into<String>) -> Response {
    ([("content-type", "application/json")], text.into()).into_response()
}

/// The handler, its launches and what it was asked.
pub struct Handler {
    answer: Box<dyn Fn(Call) -> Answering + Send + Sync>,
    /// How long after its start it listens; `None`: never.
    pub listens_after: Mutex<Option<Duration>>,
    calls: Mutex<Vec<Call>>,
    pub launches: Mutex<Vec<CommandLine>>,
    pub listening_since: Mutex<Option<Instant>>,
    exit: Mutex<Option<watch::Sender<Option<i32>>>>,
}

impl Handler {
    pub fn new<F>(answer: impl Fn(Call) -> F + Send + Sync + 'static) -> Arc<Self>
    where
        F: Future<Output = Response> + Send + 'static,
    {
        Arc::new(Self {
            answer: Box::new(move |call| Box::pin(answer(call))),
            listens_after: Mutex::new(Some(Duration::ZERO)),
            calls: Mutex::default(),
            launches: Mutex::default(),
            listening_since: Mutex::default(),
            exit: Mutex::default(),
        })
    }

    /// Answers everything with this JSON.
    pub fn always(text: &'static str) -> Arc<Self> {
        Self::new(move |_| async move { json(text) })
    }

    /// The calls of functions so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub fn call_count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    pub fn launch_count(&self) -> usize {
        self.launches.lock().unwrap().len()
    }

    /// Ends the running process.
    pub fn exit(&self, code: i32) {
        self.exit.lock().unwrap().as_ref().unwrap().send_replace(Some(code));
    }

    async fn answer(self: Arc<Self>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        if !parts.headers.contains_key("x-azure-functions-invocationid") {
            // The host asks whether anybody is there; any answer means yes.
            return StatusCode::NOT_FOUND.into_response();
        }
        let body = axum::body::to_bytes(body, 200 << 20).await.unwrap();
        let call =
            Call { at: Instant::now(), method: parts.method, uri: parts.uri.to_string(), headers: parts.headers, body };
        self.calls.lock().unwrap().push(call.clone());
        (self.answer)(call).await
    }
}

/// Starts a [`Handler`].
pub struct InProcess(pub Arc<Handler>);

#[async_trait]
impl Launcher for InProcess {
    async fn launch(&self, command: CommandLine) -> io::Result<Launched> {
        let handler = Arc::clone(&self.0);
        let port = command.environment.iter().find(|(name, _)| name == "FUNCTIONS_CUSTOMHANDLER_PORT").unwrap();
        let port: u16 = port.1.parse().unwrap();
        handler.launches.lock().unwrap().push(command);
        let (exit, exited) = watch::channel(None);
        *handler.exit.lock().unwrap() = Some(exit.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let delay = *handler.listens_after.lock().unwrap();
        runtime.spawn(async move {
            let Some(delay) = delay else { return };
            tokio::time::sleep(delay).await;
            let listener = loop {
                // The life before may still be closing its socket.
                match tokio::net::TcpListener::bind(("127.0.0.1", port)).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            };
            *handler.listening_since.lock().unwrap() = Some(Instant::now());
            let router = Router::new().fallback(move |request: Request<Body>| handler.clone().answer(request));
            axum::serve(listener, router).await.unwrap();
        });
        Ok(Launched { process: Box::new(Fake { runtime: Some(runtime), exit, exited }), stdout: None, stderr: None })
    }
}

struct Fake {
    runtime: Option<Runtime>,
    exit: watch::Sender<Option<i32>>,
    exited: watch::Receiver<Option<i32>>,
}

#[async_trait]
impl Process for Fake {
    async fn wait(&mut self) -> io::Result<i32> {
        let code = self.exited.wait_for(Option::is_some).await.unwrap().unwrap_or_default();
        self.kill();
        Ok(code)
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.exit.send_if_modified(|code| code.replace(code.unwrap_or(137)).is_none());
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.kill();
    }
}
