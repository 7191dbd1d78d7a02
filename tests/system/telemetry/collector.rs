//! A collector: takes OTLP over HTTP as protobuf, and can be out of order.

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How it answers.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Good,
    /// Never.
    Hangs,
    Fails,
    /// To another path of its own.
    Redirects,
}

#[derive(Default)]
struct Seen {
    mood: Mood,
    headers: Vec<HeaderMap>,
    paths: Vec<String>,
    resources: Vec<BTreeMap<String, String>>,
    spans: Vec<Span>,
    /// The last value of each series: metric, attributes, process.
    numbers: BTreeMap<(String, BTreeMap<String, String>, String), f64>,
}

#[derive(Clone, Default)]
pub struct Collector {
    seen: Arc<Mutex<Seen>>,
    pub url: String,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self { url, ..Self::default() };
        let router = axum::Router::new().fallback(take).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        collector
    }

    pub fn set(&self, mood: Mood) {
        self.seen.lock().unwrap().mood = mood;
    }

    pub fn requests(&self) -> usize {
        self.seen.lock().unwrap().paths.len()
    }

    pub fn paths(&self) -> Vec<String> {
        self.seen.lock().unwrap().paths.clone()
    }

    pub fn headers(&self) -> Vec<HeaderMap> {
        self.seen.lock().unwrap().headers.clone()
    }

    pub fn resources(&self) -> Vec<BTreeMap<String, String>> {
        self.seen.lock().unwrap().resources.clone()
    }

    pub fn spans(&self) -> Vec<Span> {
        self.seen.lock().unwrap().spans.clone()
    }

    /// The series of a metric that have these attributes, added up over processes.
    pub fn sum(&self, metric: &str, with: &[(&str, &str)]) -> f64 {
        let seen = self.seen.lock().unwrap();
        let is_meant = |attributes: &BTreeMap<String, String>| {
            with.iter().all(|(name, value)| attributes.get(*name).is_some_and(|found| found == value))
        };
        let meant = seen.numbers.iter().filter(|((name, attributes, _), _)| name == metric && is_meant(attributes));
        meant.map(|(_, value)| value).sum()
    }

    /// All that was counted, for a failed test.
    pub fn told(&self) -> String {
        let seen = self.seen.lock().unwrap();
        seen.numbers.iter().map(|((name, of, _), value)| format!("{name} {of:?} {value}\n")).collect()
    }

    /// All names of metrics, and all values of their attributes.
    pub fn names_and_values(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.numbers.keys().flat_map(|(name, of, _)| of.values().cloned().chain([name.clone()])).collect()
    }
}

async fn take(State(collector): State<Collector>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let mood = {
        let mut seen = collector.seen.lock().unwrap();
        seen.paths.push(parts.uri.path().to_owned());
        seen.headers.push(parts.headers);
        seen.mood
    };
    match mood {
        Mood::Good => {}
        Mood::Hangs => tokio::time::sleep(Duration::from_secs(3_600)).await,
        Mood::Fails => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::Redirects => return (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
    }
    collector.seen.lock().unwrap().read(parts.uri.path(), body);
    ([(header::CONTENT_TYPE, "application/x-protobuf")], Bytes::new()).into_response()
}

impl Seen {
    fn read(&mut self, path: &str, body: Bytes) {
        match path {
            "/v1/traces" => {
                for of_process in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
                    self.resources.push(texts(&of_process.resource.unwrap_or_default().attributes));
                    self.spans.extend(of_process.scope_spans.into_iter().flat_map(|scope| scope.spans));
                }
            }
            "/v1/metrics" => {
                for of_process in ExportMetricsServiceRequest::decode(body).unwrap().resource_metrics {
                    let resource = texts(&of_process.resource.unwrap_or_default().attributes);
                    let process = resource.get("service.instance.id").cloned().unwrap_or_default();
                    self.resources.push(resource);
                    for metric in of_process.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                        for (attributes, value) in points(metric.data.unwrap()) {
                            self.numbers.insert((metric.name.clone(), attributes, process.clone()), value);
                        }
                    }
                }
            }
            other => panic!("{other} is no path of OTLP"),
        }
    }
}

/// Attributes and value of each point; of a histogram, how many there are.
fn points(data: Data) -> Vec<(BTreeMap<String, String>, f64)> {
    let number = |value: Option<number_data_point::Value>| match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        None => 0.0,
    };
    match data {
        Data::Sum(sum) => {
            sum.data_points.into_iter().map(|point| (texts(&point.attributes), number(point.value))).collect()
        }
        Data::Gauge(gauge) => {
            gauge.data_points.into_iter().map(|point| (texts(&point.attributes), number(point.value))).collect()
        }
        Data::Histogram(histogram) => {
            histogram.data_points.into_iter().map(|point| (texts(&point.attributes), point.count as f64)).collect()
        }
        other => panic!("{other:?}"),
    }
}

pub fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|pair| (pair.key.clone(), text(pair.value.clone()))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    }
}
