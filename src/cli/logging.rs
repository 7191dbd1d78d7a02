//! The log of a command: where it goes, in which form, and what of it. Knows no command.

use adxingestor::config::{LOG as FILTER, LOG_FORMAT as FORMAT, Lookup, Problem};
use adxingestor::host::HOST_PID;
use adxingestor::telemetry::json_lines::JsonLines;
use adxingestor::telemetry::otlp::Telemetry;
use adxingestor::telemetry::spans_of_this_program;
use adxingestor::timestamp::SystemClock;
use std::io::{IsTerminal, stderr, stdout};
use std::sync::Arc;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

const DEFAULT_FILTER: &str = "info,azure_core=warn,azure_identity=warn,typespec_client_core=warn";
/// A Functions host sets it for its handler.
const HANDLER_PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";

/// Where the log goes, and what of it unless a setting says otherwise.
pub struct Sink {
    writer: BoxMakeWriter,
    is_terminal: bool,
    filter: &'static str,
}

impl Sink {
    /// Standard output. A Functions host takes a line there for information, and one on standard error for an error.
    pub fn output() -> Self {
        Self::of(stdout, stdout().is_terminal(), DEFAULT_FILTER)
    }

    /// Standard error, where standard output is a command's answer.
    pub fn error(filter: &'static str) -> Self {
        Self::of(stderr, stderr().is_terminal(), filter)
    }

    /// Something else.
    pub fn of<W>(writer: W, is_terminal: bool, filter: &'static str) -> Self
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        Self { writer: BoxMakeWriter::new(writer), is_terminal, filter }
    }
}

/// A form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// A line of JSON for each event.
    Json,
    /// For people.
    Text,
}

/// Logs to `sink` from now on, and sends traces to the collector of `telemetry`.
pub fn log_to(sink: Sink, lookup: Lookup<'_>, telemetry: &Telemetry) {
    let Sink { writer, is_terminal, filter: unless_set } = sink;
    let (filter, bad_filter) = filter(lookup, unless_set);
    let (format, bad_format) = format(lookup);
    let lines = match format {
        Format::Json => JsonLines::new(writer, Arc::new(SystemClock)).boxed(),
        Format::Text => {
            tracing_subscriber::fmt::layer().with_ansi(is_terminal).with_target(false).with_writer(writer).boxed()
        }
    };
    let lines = lines.with_filter(filter.or(spans_of_this_program()));
    tracing_subscriber::registry().with(lines).with(telemetry.layer()).init();
    for Problem { name, message } in [bad_filter, bad_format].into_iter().flatten() {
        tracing::warn!("{name}: {message}");
    }
}

/// The settings of the log that cannot be read.
pub fn problems(lookup: Lookup<'_>) -> Vec<Problem> {
    [filter(lookup, DEFAULT_FILTER).1, format(lookup).1].into_iter().flatten().collect()
}

/// Whether the log of a process with these settings is JSON.
pub fn is_json(lookup: Lookup<'_>) -> bool {
    format(lookup).0 == Format::Json
}

fn filter(lookup: Lookup<'_>, unless_set: &str) -> (EnvFilter, Option<Problem>) {
    let by_default = || EnvFilter::new(unless_set);
    match lookup(FILTER).filter(|asked| !asked.trim().is_empty()).map(EnvFilter::try_new) {
        None => (by_default(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => {
            let message = format!("it cannot be read and counts as unset: {error}; `info` is one that can");
            (by_default(), Some(Problem { name: FILTER.to_owned(), message }))
        }
    }
}

/// JSON under a Functions host, which may be anywhere; text under the embedded one and on the command line.
fn format(lookup: Lookup<'_>) -> (Format, Option<Problem>) {
    let is_hosted = lookup(HANDLER_PORT).is_some() && lookup(HOST_PID).is_none();
    let by_default = if is_hosted { Format::Json } else { Format::Text };
    match lookup(FORMAT).unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" => (by_default, None),
        "json" => (Format::Json, None),
        "text" => (Format::Text, None),
        other => {
            let message = format!("it is `{other}` and counts as unset: it can be `json` or `text`");
            (by_default, Some(Problem { name: FORMAT.to_owned(), message }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format_of(settings: &[(&str, &str)]) -> Format {
        let lookup = |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        format(&lookup).0
    }

    #[test]
    fn the_log_is_json_under_a_functions_host_unless_it_is_the_embedded_one() {
        let (port, host) = ((HANDLER_PORT, "4000"), (HOST_PID, "12"));
        assert_eq!(format_of(&[]), Format::Text);
        assert_eq!(format_of(&[port]), Format::Json);
        assert_eq!(format_of(&[port, host]), Format::Text);
        assert_eq!(format_of(&[port, host, (FORMAT, "JSON")]), Format::Json);
        assert_eq!(format_of(&[port, (FORMAT, "text")]), Format::Text);
        assert_eq!(format_of(&[port, (FORMAT, "yaml")]), Format::Json);
    }
}
