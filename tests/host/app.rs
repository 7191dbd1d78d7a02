//! A function app in a temporary folder, served by the host under test.

use super::handler::{Handler, InProcess};
use super::{Lines, eventually};
use adxingestor::host::{Host, Keys, Launcher, Settings};
use adxingestor::random::SystemRandom;
use adxingestor::storage::{Body, Message, Storage, memory};
use adxingestor::timestamp::SystemClock;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// An HTTP function that answers to GET and POST on its name.
pub fn http_function() -> Value {
    json!({"bindings": [
        {"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "function", "methods": ["get", "post"]},
        {"type": "http", "name": "res", "direction": "out"}]})
}

/// A function on the queue `jobs` with an output to the queue `results`.
pub fn queue_function() -> Value {
    json!({"bindings": [
        {"type": "queueTrigger", "name": "msg", "direction": "in", "queueName": "jobs"},
        {"type": "queue", "name": "out", "direction": "out", "queueName": "results"}]})
}

/// A function on a timer.
pub fn timer_function(schedule: &str) -> Value {
    json!({"bindings": [{"type": "timerTrigger", "name": "timer", "direction": "in", "schedule": schedule}]})
}

/// An app to be written and served.
pub struct App {
    pub root: TempDir,
    pub host_json: Value,
    pub scale: f64,
    pub storage: Storage,
    pub keys: Option<Keys>,
    pub environment: Vec<(String, String)>,
    pub program: PathBuf,
}

impl App {
    pub fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            host_json: json!({"version": "2.0",
                "customHandler": {"description": {"defaultExecutablePath": "adxingestor"}},
                "extensions": {"queues": {"maxPollingInterval": "00:00:10"}}}),
            scale: 600.0,
            storage: memory(Arc::new(SystemClock)),
            keys: None,
            environment: Vec::new(),
            program: PathBuf::from("handler"),
        }
    }

    pub fn function(self, name: &str, json: Value) -> Self {
        let folder = self.root.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("function.json"), json.to_string()).unwrap();
        self
    }

    /// Sets a field of host.json by its JSON pointer's parent object and name.
    pub fn host(mut self, path: &[&str], value: Value) -> Self {
        let mut place = &mut self.host_json;
        for name in path {
            place = &mut place[*name];
        }
        *place = value;
        self
    }

    pub fn scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    pub fn keys(mut self, text: &str) -> Self {
        let file = self.root.path().join("keys.json");
        std::fs::write(&file, text).unwrap();
        self.keys = Some(Keys::read(&file).unwrap());
        self
    }

    pub async fn start(self, handler: &Arc<Handler>) -> Running {
        self.start_with(Arc::new(InProcess(Arc::clone(handler)))).await
    }

    pub async fn start_with(self, launcher: Arc<dyn Launcher>) -> Running {
        std::fs::write(self.root.path().join("host.json"), self.host_json.to_string()).unwrap();
        let lines = Arc::new(Lines::default());
        let settings = Settings {
            app_root: self.root.path().to_owned(),
            bind: ([127, 0, 0, 1], 0).into(),
            storage: self.storage.clone(),
            time_scale: self.scale,
            environment: self.environment,
            keys: self.keys,
            own_executable: self.program,
            extra_child_environment: vec![("EXTRA".to_owned(), "extra".to_owned())],
            random: Arc::new(SystemRandom),
            console: lines.clone(),
            launcher,
        };
        let host = Host::start(settings).await.unwrap();
        let url = host.url();
        Running { host, url, storage: self.storage, lines, root: self.root }
    }
}

/// A served app.
pub struct Running {
    pub host: Host,
    pub url: String,
    pub storage: Storage,
    pub lines: Arc<Lines>,
    pub root: TempDir,
}

impl Running {
    pub async fn put(&self, queue: &str, text: &str) {
        self.storage.queues.send(queue, text.as_bytes(), Duration::ZERO).await.unwrap();
    }

    pub async fn count(&self, queue: &str) -> u64 {
        self.storage.queues.approximate_count(queue).await.unwrap()
    }

    pub async fn until_empty(&self, queue: &str) {
        eventually(&format!("{queue} is empty"), async || self.count(queue).await == 0).await;
    }

    /// The next message that is visible on a queue.
    pub async fn next_message(&self, queue: &str) -> Message {
        let deadline = std::time::Instant::now() + super::PATIENCE;
        loop {
            let mut messages = self.storage.queues.receive(queue, 1, Duration::from_secs(600)).await.unwrap();
            if let Some(message) = messages.pop() {
                return message;
            }
            assert!(std::time::Instant::now() < deadline, "no message on {queue}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The bytes of the next message of a queue.
    pub async fn next_bytes(&self, queue: &str) -> Vec<u8> {
        match self.next_message(queue).await.body {
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::Foreign(text) => panic!("not base64: {text}"),
        }
    }

    pub async fn next_text(&self, queue: &str) -> String {
        String::from_utf8(self.next_bytes(queue).await).unwrap()
    }
}
