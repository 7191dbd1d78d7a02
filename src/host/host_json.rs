//! `host.json`, with the settings `AzureFunctionsJobHost__a__b` over its `a.b`
//! (azure-docs `articles/azure-functions/functions-host-json.md`).

use super::environment::{Environment, parse_bool, parse_time_span};
use super::json::Json;
use super::problem::{Problem, Report};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

pub(crate) const FILE: &str = "host.json";
const OVERRIDE: &str = "AzureFunctionsJobHost__";
const DEVELOPMENT_POLLING: Duration = Duration::from_secs(2);
const DEFAULT_POLLING: Duration = Duration::from_secs(60);
const SHORTEST_POLLING: Duration = Duration::from_millis(100);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// What the host takes from `host.json`.
#[derive(Debug, Clone)]
pub(crate) struct HostJson {
    /// `None`: a call may run for ever.
    pub(crate) function_timeout: Option<Duration>,
    pub(crate) handler: HandlerDescription,
    pub(crate) http_mode: HttpMode,
    pub(crate) initialization_timeout: Duration,
    /// The handler's port, if it is fixed.
    pub(crate) port: Option<u16>,
    pub(crate) route_prefix: String,
    pub(crate) max_outstanding_requests: Option<usize>,
    pub(crate) queues: QueueOptions,
    /// The functions to load; `None`: all.
    pub(crate) functions: Option<Vec<String>>,
}

/// `customHandler.description`, names in percent signs replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandlerDescription {
    pub(crate) executable: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) working_directory: String,
    pub(crate) worker_directory: String,
}

/// How a function with exactly one HTTP trigger and one HTTP output gets its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpMode {
    Envelope,
    Forward,
    Proxy,
}

/// `extensions.queues`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueOptions {
    pub(crate) batch_size: u32,
    pub(crate) new_batch_threshold: usize,
    pub(crate) max_dequeue_count: u32,
    pub(crate) max_polling_interval: Duration,
    pub(crate) visibility_timeout: Duration,
    /// Whether messages are base64 on the queue.
    pub(crate) base64: bool,
}

impl HostJson {
    /// Reads the file of an app; `cores` counts for the default of `newBatchThreshold`. What is wrong is
    /// added to `problems`, with a default in its place.
    pub(crate) fn read(app_root: &Path, environment: &Environment, cores: usize, problems: &mut Vec<Problem>) -> Self {
        let mut report = Report::new(FILE, problems);
        let root = report.read_object(&app_root.join(FILE)).unwrap_or(Json::Object(Vec::new()));
        let mut fields = Fields { root: &root, environment, report };
        if !root.eq(&Json::Object(Vec::new())) {
            fields.check_version();
        }
        let batch_size = fields.number("extensions.queues.batchSize", 1..=32).unwrap_or(16);
        let development = environment.get("AZURE_FUNCTIONS_ENVIRONMENT").is_some_and(|v| v == "Development");
        let queues = QueueOptions {
            batch_size: u32::try_from(batch_size).unwrap_or(16),
            new_batch_threshold: fields
                .number("extensions.queues.newBatchThreshold", 0..=1_000_000)
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or_else(|| usize::try_from(batch_size / 2).unwrap_or(8) * cores),
            max_dequeue_count: fields
                .number("extensions.queues.maxDequeueCount", 1..=1_000_000)
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(5),
            max_polling_interval: fields
                .span("extensions.queues.maxPollingInterval", SHORTEST_POLLING..=WEEK)
                .unwrap_or(if development { DEVELOPMENT_POLLING } else { DEFAULT_POLLING }),
            visibility_timeout: fields
                .span("extensions.queues.visibilityTimeout", Duration::ZERO..=WEEK)
                .unwrap_or_default(),
            base64: fields.message_encoding(),
        };
        Self {
            function_timeout: fields.function_timeout(),
            handler: fields.handler(),
            http_mode: fields.http_mode(),
            initialization_timeout: fields
                .span("customHandler.initializationTimeout", Duration::from_millis(1)..=Duration::from_secs(86_400))
                .unwrap_or(Duration::from_secs(30)),
            port: fields.number("customHandler.port", 1..=65_535).and_then(|n| u16::try_from(n).ok()),
            route_prefix: fields.text("extensions.http.routePrefix").unwrap_or_else(|| "api".to_owned()),
            max_outstanding_requests: fields
                .number("extensions.http.maxOutstandingRequests", -1..=1_000_000)
                .and_then(|n| usize::try_from(n).ok()),
            queues,
            functions: fields.texts("functions"),
        }
    }
}

/// The fields of the file under the settings that override them.
struct Fields<'a> {
    root: &'a Json,
    environment: &'a Environment,
    report: Report<'a>,
}

impl Fields<'_> {
    fn get(&self, path: &str) -> Option<Json> {
        if let Some(text) = self.environment.get(&format!("{OVERRIDE}{}", path.replace('.', "__"))) {
            return Some(Json::text(text));
        }
        let mut json = self.root;
        for name in path.split('.') {
            json = json.member(name)?;
        }
        (!json.is_null()).then(|| json.clone())
    }

    fn text(&mut self, path: &str) -> Option<String> {
        match self.get(path)? {
            Json::String(text) => Some(text),
            number @ Json::Number(_) => Some(number.scalar_text()),
            other => {
                self.report.add(path, format!("must be a text, not {}", other.compact()));
                None
            }
        }
    }

    fn texts(&mut self, path: &str) -> Option<Vec<String>> {
        let indexed = |index: usize| {
            self.environment.get(&format!("{OVERRIDE}{}__{index}", path.replace('.', "__"))).map(str::to_owned)
        };
        let overriding: Vec<String> = (0..).map_while(indexed).collect();
        if !overriding.is_empty() {
            return Some(overriding);
        }
        match self.get(path)? {
            Json::Array(values) if values.iter().all(|value| matches!(value, Json::String(_) | Json::Number(_))) => {
                Some(values.iter().map(Json::scalar_text).collect())
            }
            other => {
                self.report.add(path, format!("must be a list of texts, not {}", other.compact()));
                None
            }
        }
    }

    fn number(&mut self, path: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let text = self.get(path)?.scalar_text();
        let number = text.trim().parse().ok().filter(|n| range.contains(n));
        if number.is_none() {
            let (low, high) = range.into_inner();
            self.report.add(path, format!("must be a whole number from {low} to {high}, not `{text}`"));
        }
        number
    }

    fn boolean(&mut self, path: &str) -> Option<bool> {
        match self.get(path)? {
            Json::Bool(value) => Some(value),
            other => {
                let text = other.scalar_text();
                let value = parse_bool(&text);
                if value.is_none() {
                    self.report.add(path, format!("must be true or false, not `{text}`"));
                }
                value
            }
        }
    }

    fn span(&mut self, path: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.get(path)?.scalar_text();
        let span = parse_time_span(&text).filter(|span| range.contains(span));
        if span.is_none() {
            let (low, high) = range.into_inner();
            self.report.add(path, format!("must be a time span hh:mm:ss from {low:?} to {high:?}, not `{text}`"));
        }
        span
    }

    fn check_version(&mut self) {
        match self.text("version") {
            Some(version) if version == "2.0" => {}
            other => self.report.add("version", format!("must be \"2.0\", not {other:?}")),
        }
    }

    fn function_timeout(&mut self) -> Option<Duration> {
        let shortest = Duration::from_secs(1);
        if self.get("functionTimeout").is_some_and(|value| matches!(value.scalar_text().as_str(), "-1" | "-00:00:01")) {
            return None;
        }
        Some(self.span("functionTimeout", shortest..=WEEK).unwrap_or(Duration::from_secs(30 * 60)))
    }

    fn message_encoding(&mut self) -> bool {
        match self.text("extensions.queues.messageEncoding").unwrap_or_default().to_ascii_lowercase().as_str() {
            "" | "base64" => true,
            "none" => false,
            other => {
                self.report
                    .add("extensions.queues.messageEncoding", format!("must be `base64` or `none`, not `{other}`"));
                true
            }
        }
    }

    fn http_mode(&mut self) -> HttpMode {
        let proxies = self.boolean("customHandler.enableProxyingHttpRequest").unwrap_or(false);
        let forwards = self.boolean("customHandler.enableForwardingHttpRequest").unwrap_or(false);
        match (proxies, forwards) {
            (true, _) => HttpMode::Proxy,
            (false, true) => HttpMode::Forward,
            (false, false) => HttpMode::Envelope,
        }
    }

    fn handler(&mut self) -> HandlerDescription {
        let description = "customHandler.description";
        let mut part = |name: &str| {
            let text = self.text(&format!("{description}.{name}")).unwrap_or_default();
            self.environment.expand(&text)
        };
        let executable = part("defaultExecutablePath");
        let working_directory = part("workingDirectory");
        let worker_directory = part("workerDirectory");
        if executable.is_empty() {
            self.report.add(
                format!("{description}.defaultExecutablePath"),
                "must name the handler's program: only custom handlers are served",
            );
        }
        let arguments = self.texts(&format!("{description}.arguments")).unwrap_or_default();
        let arguments = arguments.iter().map(|argument| self.environment.expand(argument)).collect();
        HandlerDescription { executable, arguments, working_directory, worker_directory }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, settings: &[(&str, &str)]) -> (HostJson, Vec<String>) {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(FILE), text).unwrap();
        let settings = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut problems = Vec::new();
        let host = HostJson::read(root.path(), &Environment::new(settings), 2, &mut problems);
        (host, problems.iter().map(ToString::to_string).collect())
    }

    const SMALL: &str = r#"{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"}}}"#;

    #[test]
    fn what_is_not_said_has_the_documented_defaults() {
        let (host, problems) = read(SMALL, &[]);
        assert_eq!(problems, [""; 0]);
        assert_eq!(host.function_timeout, Some(Duration::from_secs(1800)));
        assert_eq!(host.http_mode, HttpMode::Envelope);
        assert_eq!(host.initialization_timeout, Duration::from_secs(30));
        assert_eq!(host.route_prefix, "api");
        assert_eq!((host.queues.batch_size, host.queues.new_batch_threshold), (16, 16));
        assert_eq!((host.queues.max_dequeue_count, host.queues.max_polling_interval), (5, DEFAULT_POLLING));
    }

    #[test]
    fn development_polls_at_least_every_two_seconds() {
        let (host, _) = read(SMALL, &[("AZURE_FUNCTIONS_ENVIRONMENT", "Development")]);
        assert_eq!(host.queues.max_polling_interval, DEVELOPMENT_POLLING);
    }

    #[test]
    fn settings_override_the_file() {
        let (host, problems) = read(
            SMALL,
            &[
                ("AzureFunctionsJobHost__functionTimeout", "-1"),
                ("AzureFunctionsJobHost__extensions__queues__batchSize", "4"),
                ("AzureFunctionsJobHost__extensions__http__routePrefix", ""),
                ("azurefunctionsjobhost__customHandler__enableForwardingHttpRequest", "true"),
                ("AzureFunctionsJobHost__customHandler__description__arguments__0", "--x"),
                ("AzureFunctionsJobHost__customHandler__description__arguments__1", "%X%"),
            ],
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(host.function_timeout, None);
        assert_eq!((host.queues.batch_size, host.queues.new_batch_threshold), (4, 4));
        assert_eq!((host.route_prefix.as_str(), host.http_mode), ("", HttpMode::Forward));
        assert_eq!(host.handler.arguments, ["--x", ""]);
    }

    #[test]
    fn every_broken_field_is_named() {
        let (_, problems) = read(
            r#"{"version":"1.0","functionTimeout":"soon","extensions":{"queues":{"batchSize":64,"messageEncoding":"x"}}}"#,
            &[],
        );
        for field in ["version", "functionTimeout", "batchSize", "messageEncoding", "defaultExecutablePath"] {
            assert!(
                problems.iter().any(|p| p.starts_with("host.json: `") && p.contains(field)),
                "{field}: {problems:?}"
            );
        }
        assert_eq!(problems.len(), 5);
    }
}
