//! Traces and metrics over OTLP, where the standard variables name a collector (opentelemetry.io "OpenTelemetry Protocol
//! Exporter" and "General SDK Configuration"); otherwise nothing is built. Queues are bounded, and nothing here can stop or
//! delay the work: what a collector does not take is dropped.
//!
//! The SDK reads most of the variables itself, from the environment of the process.

use super::collector::{Collector, Failures};
use super::names::Named;
use crate::config::{Lookup, Problem};
use crate::outbound::http_client_by;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

const NAME: &str = "adxingestor";
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process that ends waits for what it still has to send.
const LAST: Duration = Duration::from_secs(5);

/// What is exported; ends with [`Telemetry::end`].
#[derive(Debug, Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

/// Why nothing is exported although a collector is named.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A protocol that this program does not speak.
    #[error(
        "{name} is `{value}`, but telemetry is sent as http/protobuf alone: unset it, and name the collector's port for that (4318)"
    )]
    Protocol {
        /// The variable.
        name: String,
        /// What it says.
        value: String,
    },
    /// A variable that cannot be used.
    #[error("telemetry cannot be exported: {0}; check the variables OTEL_EXPORTER_OTLP_*")]
    Exporter(#[from] ExporterBuildError),
    /// There is no HTTP client.
    #[error("telemetry cannot be exported: {0}")]
    Client(#[from] crate::outbound::Error),
}

/// A kind of telemetry, by the word in the names of its variables.
#[derive(Clone, Copy)]
enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    fn word(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }

    /// The variable of this signal, or the one for all; an empty one counts as unset.
    fn variable(self, lookup: Lookup<'_>, what: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_{}_{what}", self.word()), format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| {
            let value = lookup(&name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())?;
            Some((name, value))
        })
    }

    fn is_on(self, lookup: Lookup<'_>) -> bool {
        let none = lookup(&format!("OTEL_{}_EXPORTER", self.word())).is_some_and(|exporter| exporter.trim() == "none");
        let off = lookup("OTEL_SDK_DISABLED").is_some_and(|off| off.trim().eq_ignore_ascii_case("true"));
        !none && !off && self.variable(lookup, "ENDPOINT").is_some()
    }

    fn wrong_endpoint(self, lookup: Lookup<'_>) -> Option<Problem> {
        let (name, value) = self.variable(lookup, "ENDPOINT")?;
        let is_one = Url::parse(&value).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let message = "no telemetry is exported: it has to be an address such as http://localhost:4318".to_owned();
        (!is_one).then_some(Problem { name, message })
    }

    fn wrong_protocol(self, lookup: Lookup<'_>) -> Option<Problem> {
        let Error::Protocol { name, value } = self.check_protocol(lookup).err()? else { return None };
        let message =
            format!("no telemetry is exported: it is `{value}`, and telemetry is sent as http/protobuf alone");
        Some(Problem { name, message })
    }

    fn check_protocol(self, lookup: Lookup<'_>) -> Result<(), Error> {
        match self.variable(lookup, "PROTOCOL") {
            Some((name, value)) if value != "http/protobuf" => Err(Error::Protocol { name, value }),
            _ => Ok(()),
        }
    }

    fn timeout(self, lookup: Lookup<'_>) -> Duration {
        let asked = self.variable(lookup, "TIMEOUT").and_then(|(_, value)| value.parse().ok());
        asked.filter(|millis| *millis > 0).map_or(TIMEOUT, Duration::from_millis)
    }
}

/// What is wrong with the variables that name a collector and how to speak to it.
pub fn problems(lookup: Lookup<'_>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for signal in [Signal::Traces, Signal::Metrics].into_iter().filter(|signal| signal.is_on(lookup)) {
        let found = [signal.wrong_endpoint(lookup), signal.wrong_protocol(lookup)];
        for problem in found.into_iter().flatten() {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    problems
}

impl Telemetry {
    /// Starts what the variables ask for. `instance` tells this process from others of the app; requests are made on `runtime`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn start(lookup: Lookup<'_>, instance: u128, runtime: &Handle) -> Result<Self, Error> {
        let mut telemetry = Self::default();
        let failures = Arc::new(Failures::default());
        let collector = |signal: Signal| -> Result<Collector, Error> {
            signal.check_protocol(lookup)?;
            let (http, timeout) = (http_client_by(lookup)?, signal.timeout(lookup));
            Ok(Collector { http, runtime: runtime.clone(), timeout, failures: Arc::clone(&failures) })
        };
        let resource = || resource(lookup, instance);
        if Signal::Traces.is_on(lookup) {
            let exporter = SpanExporter::builder().with_http().with_http_client(collector(Signal::Traces)?).build()?;
            let provider = SdkTracerProvider::builder().with_batch_exporter(Named(exporter)).with_resource(resource());
            telemetry.traces = Some(provider.build());
        }
        if Signal::Metrics.is_on(lookup) {
            let exporter =
                MetricExporter::builder().with_http().with_http_client(collector(Signal::Metrics)?).build()?;
            let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter).with_resource(resource());
            let provider = provider.build();
            global::set_meter_provider(provider.clone());
            telemetry.metrics = Some(provider);
        }
        Ok(telemetry)
    }

    /// What turns this program's own spans into traces.
    pub fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer = self.traces.as_ref()?.tracer(NAME);
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        Some(layer.with_filter(super::of_this_program()))
    }

    /// Sends what is still to be sent, for a few seconds at most.
    pub fn end(self) {
        let (done, ended) = channel();
        let mut waits = 0;
        if let Some(traces) = self.traces {
            let done = done.clone();
            waits += 1;
            std::thread::spawn(move || done.send(traces.shutdown_with_timeout(LAST).is_ok()));
        }
        if let Some(metrics) = self.metrics {
            let done = done.clone();
            waits += 1;
            std::thread::spawn(move || done.send(metrics.shutdown_with_timeout(LAST).is_ok()));
        }
        let until = std::time::Instant::now() + LAST;
        for _ in 0..waits {
            // Whatever came of it: nobody is left to be told.
            let _ = ended.recv_timeout(until.saturating_duration_since(std::time::Instant::now()));
        }
    }
}

/// `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` count more than what is known here. Processes are told apart, or their
/// counters would be taken for one that jumps.
fn resource(lookup: Lookup<'_>, instance: u128) -> Resource {
    let named = lookup("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_named = |name: &str| named.split(',').any(|pair| pair.trim().starts_with(&format!("{name}=")));
    let own = [
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", uuid::Uuid::from_u128(instance).to_string()),
    ];
    let mut resource = Resource::builder();
    if !is_named("service.name") && lookup("OTEL_SERVICE_NAME").is_none_or(|name| name.is_empty()) {
        resource = resource.with_service_name(NAME);
    }
    let own = own.into_iter().filter(|(name, _)| !is_named(name));
    resource.with_attributes(own.map(|(name, value)| KeyValue::new(name, value))).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup<'a>(settings: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn on(settings: &[(&str, &str)]) -> (bool, bool) {
        let lookup = lookup(settings);
        (Signal::Traces.is_on(&lookup), Signal::Metrics.is_on(&lookup))
    }

    #[test]
    fn nothing_is_exported_unless_a_collector_is_named() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(on(&[]), (false, false));
        assert_eq!(on(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), (false, false));
        assert_eq!(on(&[all]), (true, true));
        assert_eq!(on(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector:4318/v1/metrics")]), (false, true));
        assert_eq!(on(&[all, ("OTEL_TRACES_EXPORTER", "none")]), (false, true));
        assert_eq!(on(&[all, ("OTEL_SDK_DISABLED", "TRUE")]), (false, false));
    }

    #[tokio::test]
    async fn another_protocol_is_refused_by_name() {
        let settings = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ];
        let error = Telemetry::start(&lookup(&settings), 1, &Handle::current()).unwrap_err().to_string();
        assert!(error.starts_with("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL is `grpc`"), "{error}");
    }

    #[test]
    fn a_timeout_is_that_of_the_signal_or_that_of_all() {
        let settings = [("OTEL_EXPORTER_OTLP_TIMEOUT", "3000"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "500")];
        let lookup = lookup(&settings);
        assert_eq!(Signal::Traces.timeout(&lookup), Duration::from_millis(500));
        assert_eq!(Signal::Metrics.timeout(&lookup), Duration::from_secs(3));
    }

    #[test]
    fn a_process_has_a_name_of_its_own_unless_it_is_given_one() {
        let of = |settings: &[(&str, &str)], key: &'static str| {
            resource(&lookup(settings), 7).get(&opentelemetry::Key::from_static_str(key)).map(|value| value.to_string())
        };
        assert_eq!(of(&[], "service.name").as_deref(), Some("adxingestor"));
        assert_eq!(of(&[], "service.instance.id").as_deref(), Some("00000000-0000-0000-0000-000000000007"));
        assert_eq!(of(&[("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=a")], "service.instance.id"), None);
    }
}
