//! The ids of what an invocation is about, as fields of its span: each log line within it bears them, and its trace. They are
//! named here once.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::fmt::Display;
use tracing::Span;
use tracing::field::{Empty, display};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The name of the spans of [`invocation`].
pub const INVOCATION: &str = "invocation";

/// The span of a call of `function`, in the trace that `caller` names in `traceparent` and `tracestate` (W3C Trace Context).
pub fn invocation(function: &str, id: &dyn Display, caller: &dyn Extractor) -> Span {
    let span = tracing::info_span!(
        INVOCATION,
        function,
        invocation = %id,
        message_id = Empty,
        delivery = Empty,
        step = Empty,
        instance = Empty,
        table = Empty,
        window = Empty,
        generation = Empty,
        posts = Empty,
        outcome = Empty,
        otel.status_code = Empty,
    );
    // Without a collector there is no trace that could have a parent.
    let _ = span.set_parent(TraceContextPropagator::new().extract_with_context(&Context::new(), caller));
    span
}

/// The span of what is done about something in the course of an invocation that is about several.
pub fn part(what: &str) -> Span {
    tracing::info_span!(
        "part",
        what,
        instance = Empty,
        table = Empty,
        window = Empty,
        generation = Empty,
        posts = Empty
    )
}

/// The present span is about this run.
pub fn instance(id: &dyn Display) {
    Span::current().record("instance", display(id));
}

/// The present span is about this source table.
pub fn table(source: &str) {
    Span::current().record("table", source);
}

/// The present span is about this window, of this generation, which was posted so often.
pub fn window(id: &dyn Display, generation: u16, posts: u32) {
    Span::current().record("window", display(id)).record("generation", generation).record("posts", posts);
}

/// The present span handles this step of a run.
pub fn step(name: &str) {
    Span::current().record("step", name);
}

/// The present span handles this delivery of a message.
pub fn message(id: &str, delivery: u32) {
    Span::current().record("message_id", id).record("delivery", delivery);
}

/// How the call of `span` ended.
pub fn ended(span: &Span, well: bool) {
    span.record("outcome", if well { "ok" } else { "failed" });
    if !well {
        span.record("otel.status_code", "ERROR");
    }
}
