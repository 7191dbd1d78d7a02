//! The metrics, by the names under which they leave the process. Without a collector recording one does nothing
//! (`opentelemetry` without an SDK). Attributes have few values: tables by the configuration, kinds and outcomes by this
//! program; never a run or a window.

use super::lag::Lags;
use opentelemetry::metrics::{Counter, Histogram, Meter, ObservableGauge};
use opentelemetry::{KeyValue, global};
use std::sync::LazyLock;
use std::time::Duration;

/// From a millisecond to an hour.
const SECONDS: [f64; 14] = [0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3_600.0];

struct Instruments {
    rows: Counter<u64>,
    windows: Counter<u64>,
    tables: Counter<u64>,
    runs: Counter<u64>,
    repairs: Counter<u64>,
    pulled: Counter<u64>,
    uploaded: Counter<u64>,
    calls: Counter<u64>,
    adx: Counter<u64>,
    transactions: Counter<u64>,
    waits: Histogram<f64>,
    invocations: Histogram<f64>,
    _lag: ObservableGauge<f64>,
}

static LAGS: LazyLock<Lags> = LazyLock::new(Lags::default);
/// Of the meter that is there when the first of them is used: the command line installs it before anything else runs.
static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| Instruments::new(&global::meter("adxingestor")));

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let counter = |name, unit, what| meter.u64_counter(name).with_unit(unit).with_description(what).build();
        let seconds = |name, what| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(what);
            histogram.with_boundaries(SECONDS.to_vec()).build()
        };
        Self {
            rows: counter("adxingestor.rows.verified", "{row}", "Rows that a count in ADX has proved."),
            windows: counter("adxingestor.windows", "{window}", "Windows that came to an end."),
            tables: counter("adxingestor.tables", "{table}", "Tables that came to their result in a run."),
            runs: counter("adxingestor.runs", "{run}", "Runs that came to an end."),
            repairs: counter("adxingestor.repairs", "{repair}", "What the watchdog had to mend."),
            pulled: counter("adxingestor.pulled", "By", "Bytes of answers with rows, as the hunting API sent them."),
            uploaded: counter("adxingestor.uploaded", "By", "Bytes of blobs, compressed."),
            calls: counter("adxingestor.hunting.calls", "{call}", "Calls of the hunting API."),
            adx: counter("adxingestor.adx.requests", "{request}", "Requests to the cluster and its ingestion service."),
            transactions: counter("adxingestor.storage.transactions", "{transaction}", "Requests to the state store."),
            waits: seconds("adxingestor.wait.duration", "Time in which nothing was done but wait."),
            invocations: seconds("adxingestor.invocation.duration", "Time that the calls of the functions took."),
            _lag: meter
                .f64_observable_gauge("adxingestor.table.lag")
                .with_unit("s")
                .with_description("How far the proved part of a table is behind the present.")
                .with_callback(|observer| {
                    for (name, behind) in LAGS.now() {
                        observer.observe(behind.as_secs_f64(), &[table(&name)]);
                    }
                })
                .build(),
        }
    }
}

fn table(source: &str) -> KeyValue {
    KeyValue::new("adxingestor.table", source.to_owned())
}

fn outcome(outcome: &'static str) -> KeyValue {
    KeyValue::new("adxingestor.outcome", outcome)
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The tenant's quota of hunting calls.
    Quota,
    /// A window's rows, from its submission to the count that proves them.
    Proof,
    /// A state store that is throttling or out of order.
    Store,
}

/// Rows of a table are proved.
pub fn rows_verified(source: &str, rows: u64) {
    INSTRUMENTS.rows.add(rows, &[table(source)]);
}

/// Windows of a table came to an end: `verified`, `empty`, `expired`, `split`, `merged` or `failed`.
pub fn windows_ended(source: &str, end: &'static str, windows: u64) {
    if windows > 0 {
        INSTRUMENTS.windows.add(windows, &[table(source), KeyValue::new("adxingestor.end", end)]);
    }
}

/// A table came to its result in a run.
pub fn table_ended(source: &str, well: bool) {
    INSTRUMENTS.tables.add(1, &[table(source), outcome(if well { "ok" } else { "failed" })]);
}

/// A run came to an end in this state.
pub fn run_ended(state: &'static str) {
    INSTRUMENTS.runs.add(1, &[KeyValue::new("adxingestor.state", state)]);
}

/// The watchdog had to mend something.
pub fn repaired(kind: &'static str) {
    INSTRUMENTS.repairs.add(1, &[KeyValue::new("adxingestor.kind", kind)]);
}

/// An answer with rows of a table had so many bytes.
pub fn pulled(source: &str, bytes: u64) {
    INSTRUMENTS.pulled.add(bytes, &[table(source)]);
}

/// A blob of a table's rows has so many bytes.
pub fn uploaded(source: &str, bytes: u64) {
    INSTRUMENTS.uploaded.add(bytes, &[table(source)]);
}

/// The hunting API was called.
pub fn hunting_call(endpoint: &'static str, how: &'static str) {
    INSTRUMENTS.calls.add(1, &[KeyValue::new("adxingestor.endpoint", endpoint), outcome(how)]);
}

/// A request went to ADX.
pub fn adx_request(operation: &'static str, how: &'static str) {
    INSTRUMENTS.adx.add(1, &[KeyValue::new("adxingestor.operation", operation), outcome(how)]);
}

/// A request went to the state store.
pub fn storage_transaction(operation: &'static str, how: &'static str) {
    INSTRUMENTS.transactions.add(1, &[KeyValue::new("adxingestor.operation", operation), outcome(how)]);
}

/// Something was waited for so long.
pub fn waited(what: Wait, how_long: Duration) {
    let what = match what {
        Wait::Quota => "quota",
        Wait::Proof => "proof",
        Wait::Store => "store",
    };
    INSTRUMENTS.waits.record(how_long.as_secs_f64(), &[KeyValue::new("adxingestor.wait", what)]);
}

/// A call of a function took so long.
pub fn invoked(function: &'static str, well: bool, took: Duration) {
    let attributes = [KeyValue::new("faas.name", function), outcome(if well { "ok" } else { "failed" })];
    INSTRUMENTS.invocations.record(took.as_secs_f64(), &attributes);
}

/// The proved part of a table is `behind` the present.
pub fn behind(source: &str, behind: Duration) {
    // The gauge is one of the instruments.
    LazyLock::force(&INSTRUMENTS);
    LAGS.note(source, behind);
}
