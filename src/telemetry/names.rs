//! The names under which spans leave the process. The fields of spans have short names, for people who read logs; to a
//! collector, which hears from others too, they bear a prefix, or the name that the semantic conventions of OpenTelemetry have
//! for them ("Function as a Service").

use super::ids::INVOCATION;
use opentelemetry::trace::SpanKind;
use opentelemetry::{Key, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::time::Duration;

/// Gives spans their outer names on their way to `E`.
#[derive(Debug)]
pub struct Named<E>(pub E);

impl<E: SpanExporter> SpanExporter for Named<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.export(batch.into_iter().map(named).collect()).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn named(mut span: SpanData) -> SpanData {
    let function = span.attributes.iter().find(|known| known.key.as_str() == "function").map(|known| &known.value);
    if let Some(Value::String(function)) = function.filter(|_| span.name == INVOCATION) {
        span.span_kind = match function.as_str() {
            "orchestrator" | "chunk_worker" => SpanKind::Consumer,
            "nightly" | "watchdog" => SpanKind::Internal,
            _ => SpanKind::Server,
        };
        span.name = function.as_str().to_owned().into();
    }
    if matches!(&*span.name, "hunting" | "adx") {
        span.span_kind = SpanKind::Client;
    }
    for attribute in &mut span.attributes {
        attribute.key = outer(&attribute.key);
    }
    span
}

/// A name with a dot has its place already.
fn outer(field: &Key) -> Key {
    match field.as_str() {
        "function" => Key::from_static_str("faas.name"),
        "invocation" => Key::from_static_str("faas.invocation_id"),
        "message_id" => Key::from_static_str("messaging.message.id"),
        name if name.contains('.') => field.clone(),
        name => Key::new(format!("adxingestor.{name}")),
    }
}
