//! Log events as JSON, one line each: `timestamp`, `level` and `message`, and beside them the fields of the event and of the
//! spans around it, the innermost counting. So a query finds an id under the same name in every line, wherever it was learned.
//! Knows no field but those three.

use crate::timestamp::Clock;
use serde_json::{Map, Value};
use std::error::Error;
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

/// Longer texts are cut. Application Insights keeps 32,768 characters of a message (learn.microsoft.com "Application Insights
/// telemetry data model").
const LONGEST_TEXT: usize = 8_000;

/// The layer that writes the lines.
pub struct JsonLines<W> {
    writer: W,
    clock: Arc<dyn Clock>,
}

impl<W> JsonLines<W> {
    /// Lines with the times of `clock`.
    pub fn new(writer: W, clock: Arc<dyn Clock>) -> Self {
        Self { writer, clock }
    }
}

/// The fields of a span so far, or of an event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut all = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                all.0.extend(fields.0.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        event.record(&mut all);
        let message = all.0.remove("message").unwrap_or_else(|| Value::from(event.metadata().name()));
        let now = self.clock.now();
        let mut line =
            format!("{{\"timestamp\":\"{now}\",\"level\":\"{}\",\"message\":{message}", event.metadata().level());
        for (name, value) in &all.0 {
            // Writing to a string does not fail.
            let _ = write!(line, ",{}:{value}", Value::from(name.as_str()));
        }
        line.push_str("}\n");
        // Nobody may be reading any more; that must not end the work.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(line.as_bytes());
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = match field.name() {
            // Said to the collector alone.
            name if name.starts_with("otel.") => return,
            // Those of the line itself.
            name @ ("timestamp" | "level") => format!("{name}_"),
            name => name.to_owned(),
        };
        self.0.insert(name, value);
    }

    fn put_text(&mut self, field: &Field, text: &str) {
        let end = text.char_indices().nth(LONGEST_TEXT).map_or(text.len(), |(at, _)| at);
        let cut = if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() };
        self.put(field, Value::from(cut));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put_text(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put_text(field, &format!("{value:?}"));
    }
}

/// A log to look at.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::timestamp::Timestamp;
    use std::io;
    use std::sync::Mutex;
    use tracing::subscriber::DefaultGuard;
    use tracing_subscriber::layer::SubscriberExt;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            "2026-05-01T10:07:12Z".parse().unwrap()
        }
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What this thread logs as long as it lives.
    pub struct Log {
        written: Written,
        _kept: DefaultGuard,
    }

    impl Log {
        pub fn keep() -> Self {
            let written = Written::default();
            let writer = written.clone();
            let lines = JsonLines::new(move || writer.clone(), Arc::new(Still));
            let kept = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines));
            Self { written, _kept: kept }
        }

        /// The lines so far.
        pub fn lines(&self) -> Vec<Value> {
            let text = String::from_utf8(self.written.0.lock().unwrap().clone()).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }

        /// The messages so far of a level.
        pub fn at(&self, level: &str) -> Vec<String> {
            let of_level = self.lines().into_iter().filter(|line| line["level"] == level);
            of_level.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Log;
    use super::*;

    fn lines(work: impl FnOnce()) -> Vec<Value> {
        let log = Log::keep();
        work();
        log.lines()
    }

    #[test]
    fn a_line_bears_the_fields_of_the_spans_around_it_and_the_innermost_counts() {
        let found = lines(|| {
            let outer = tracing::info_span!("outer", instance = "i", table = tracing::field::Empty, otel.name = "x");
            let _outer = outer.enter();
            outer.record("table", "A");
            tracing::info_span!("inner", window = 7).in_scope(|| tracing::warn!(rows = 3, "told {}", 1));
            tracing::error!(table = "B", "again");
        });
        let expected = serde_json::json!([
            {"timestamp": "2026-05-01T10:07:12.0000000Z", "level": "WARN", "message": "told 1", "instance": "i", "table": "A",
             "window": 7, "rows": 3},
            {"timestamp": "2026-05-01T10:07:12.0000000Z", "level": "ERROR", "message": "again", "instance": "i", "table": "B"},
        ]);
        assert_eq!(Value::from(found), expected);
    }

    #[test]
    fn hostile_text_stays_inside_its_line_and_long_text_is_cut() {
        let hostile = "a\nb\"}\u{1b}[31m\u{2028}{";
        let long = "ä".repeat(LONGEST_TEXT + 5);
        let found = lines(|| tracing::info!(hostile, long, level = "mine", "{hostile}"));
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0]["hostile"], &found[0]["message"]), (&Value::from(hostile), &Value::from(hostile)));
        assert_eq!((&found[0]["level"], &found[0]["level_"]), (&Value::from("INFO"), &Value::from("mine")));
        assert_eq!(found[0]["long"].as_str().unwrap().chars().count(), LONGEST_TEXT + 1);
    }
}
