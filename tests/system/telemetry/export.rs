//! Traces and metrics.

use super::collector::{Collector, Mood, texts};
use super::{TABLES, app};
use opentelemetry_proto::tonic::trace::v1::Span;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::time::{Duration, Instant};

const SECRET: &str = "sesame-7f31";

fn settings(collector: &Collector) -> Vec<(String, String)> {
    let more = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.clone()),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20{SECRET}")),
        ("OTEL_SERVICE_NAME", "hunting-copy".to_owned()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
        ("CHUNK_SIZE", "500".to_owned()),
    ];
    more.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Waits until it is so, and no longer than a collector is behind.
async fn comes_to(wanted: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while !wanted() {
        if began.elapsed() > Duration::from_secs(20) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

fn number(summary: &Value, name: &str) -> f64 {
    summary[name].as_f64().unwrap_or_else(|| panic!("{name}: {summary:#}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_adds_up_to_what_the_run_says() {
    let collector = Collector::start().await;
    let app = app(2_000, &borrowed(&settings(&collector))).await;
    let summary = app.completed().await;
    let sum = |metric: &str, of: &[(&str, &str)]| collector.sum(metric, of);
    let ended = |end: &str| sum("adxingestor.windows", &[("adxingestor.end", end)]);
    let is_told = || sum("adxingestor.runs", &[("adxingestor.state", "Completed")]) == 1.0;
    assert!(comes_to(is_told).await, "{}\n{}", collector.told(), app.tail());
    assert_eq!(sum("adxingestor.rows.verified", &[]), number(&summary, "total_records_processed"));
    for table in TABLES {
        assert_eq!(sum("adxingestor.rows.verified", &[("adxingestor.table", table)]), 2_000.0, "{}", collector.told());
        assert!(sum("adxingestor.pulled", &[("adxingestor.table", table)]) > 100_000.0, "{}", collector.told());
        let behind = sum("adxingestor.table.lag", &[("adxingestor.table", table)]);
        assert!(behind > 0.0 && behind < 600.0, "{behind} s\n{}", collector.told());
    }
    assert_eq!(ended("verified") + ended("empty"), number(&summary, "total_chunks_processed"), "{}", collector.told());
    assert_eq!(sum("adxingestor.hunting.calls", &[]), number(&summary, "hunting_calls"), "{}", collector.told());
    assert_eq!(sum("adxingestor.tables", &[("adxingestor.outcome", "ok")]), 2.0);
    assert_eq!(sum("adxingestor.wait.duration", &[("adxingestor.wait", "proof")]), ended("verified"));
    let uploaded = sum("adxingestor.uploaded", &[]);
    assert!(uploaded > 1_000.0 && uploaded < sum("adxingestor.pulled", &[]), "{}", collector.told());
    for some in ["adxingestor.adx.requests", "adxingestor.storage.transactions", "adxingestor.invocation.duration"] {
        assert!(sum(some, &[]) > 8.0, "{some}\n{}", collector.told());
    }
    let long = collector.names_and_values().into_iter().find(|value| value.len() > 40);
    assert_eq!(long, None, "runs and windows would make a series each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_traced_under_its_ids_and_the_collectors_secret_is_told_to_nobody_else() {
    let collector = Collector::start().await;
    let app = app(1_000, &borrowed(&settings(&collector))).await;
    let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (code, _, started) =
        app.request("POST", "/api/adxingestor/start_orchestrator", &[("traceparent", caller)]).await;
    assert_eq!(code, 202, "{started}");
    let id = started["id"].as_str().unwrap().to_owned();
    app.ended(&id).await;

    let named = |name: &str| collector.spans().into_iter().filter(|span| span.name == name).collect::<Vec<Span>>();
    assert!(comes_to(|| named("chunk_worker").len() >= 4).await, "{}", app.tail());
    for span in named("chunk_worker") {
        let of = texts(&span.attributes);
        assert_eq!(of["adxingestor.instance"], id);
        assert!(TABLES.contains(&of["adxingestor.table"].as_str()), "{of:?}");
        assert_eq!(of["adxingestor.window"].len(), 64, "{of:?}");
        assert_eq!((of["faas.name"].as_str(), of["adxingestor.outcome"].as_str()), ("chunk_worker", "ok"), "{of:?}");
        let within = collector.spans().into_iter().filter(|inner| inner.parent_span_id == span.span_id);
        assert!(within.map(|inner| inner.name).any(|name| name == "hunting"), "the call is a part of it");
    }
    let start = named("adxingestor").swap_remove(0);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        (hex(&start.trace_id).as_str(), hex(&start.parent_span_id).as_str()),
        ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    );
    assert!(collector.resources().iter().all(|of| of["service.name"] == "hunting-copy"));
    let authorized = format!("Bearer {SECRET}");
    assert!(collector.headers().iter().all(|headers| headers["authorization"] == authorized.as_str()));
    assert!(!app.log(0).contains(SECRET));
}

/// Starts a command of the program that sends telemetry seldom, has it answer a call, and asks it to end; gives its exit code.
async fn asked_to_end(arguments: &[&str], port: u16, collector: &Collector) -> Option<i32> {
    let store = tempfile::tempdir().unwrap();
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_adxingestor"))
        .args(arguments)
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
        .env("ADXINGESTOR_HOST_PID", std::process::id().to_string())
        .env("STATE_STORE", format!("sqlite:{}", store.path().join("state.db").display()))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        // Longer than the test.
        .env("OTEL_METRIC_EXPORT_INTERVAL", "600000")
        .env("OTEL_BSP_SCHEDULE_DELAY", "600000")
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let client = adxingestor::outbound::http_client().unwrap();
    let status = format!("http://127.0.0.1:{port}/api/status/00000000000000000000000000000001");
    assert!(comes_to_async(async || client.get(&status).send().await.is_ok_and(|answer| answer.status() == 404)).await);
    assert_eq!(collector.requests(), 0);
    let pid = i32::try_from(program.id().unwrap()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    tokio::time::timeout(Duration::from_secs(20), program.wait()).await.expect("it ends").unwrap().code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_sent_yet_is_sent_when_a_handler_or_its_host_is_asked_to_end() {
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (handler, host) = (port(), port());
    let root = env!("CARGO_MANIFEST_DIR");
    for (arguments, port, code) in [
        // No end in good order, after which a host would not start it again.
        (&["serve"][..], handler, 143),
        (&["standalone", "--port", &host.to_string(), "--app-root", root], host, 0),
    ] {
        let collector = Collector::start().await;
        assert_eq!(asked_to_end(arguments, port, &collector).await, Some(code), "{arguments:?}");
        assert!(collector.spans().iter().any(|span| span.name == "get_status"), "{arguments:?}");
        assert!(collector.sum("adxingestor.invocation.duration", &[]) >= 1.0, "{}", collector.told());
    }
}

/// The same of something that is asked.
async fn comes_to_async(wanted: impl AsyncFn() -> bool) -> bool {
    let began = Instant::now();
    while !wanted().await {
        if began.elapsed() > Duration::from_secs(20) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_out_of_order_neither_fails_nor_slows_a_run() {
    let collector = Collector::start().await;
    let mut settings = settings(&collector);
    settings.push(("OTEL_EXPORTER_OTLP_TIMEOUT".to_owned(), "1000".to_owned()));
    let mut took = Vec::new();
    for mood in [Mood::Good, Mood::Fails, Mood::Redirects, Mood::Hangs] {
        collector.set(mood);
        let app = app(1_000, &borrowed(&settings)).await;
        let (before, began) = (collector.requests(), Instant::now());
        app.completed().await;
        took.push(began.elapsed());
        assert!(comes_to(|| collector.requests() > before + 1).await, "it was asked");
        let complaints = || app.log(0).matches("telemetry does not arrive").count();
        assert!(comes_to(|| complaints() == usize::from(mood != Mood::Good)).await, "{}", app.tail());
        assert!(!app.log(0).contains(SECRET));
    }
    assert!(!collector.paths().iter().any(|path| path == "/elsewhere"), "a redirect was followed");

    // Nobody listens.
    settings.retain(|(name, _)| name != "OTEL_EXPORTER_OTLP_ENDPOINT");
    settings.push(("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), "http://127.0.0.1:9".to_owned()));
    let app = app(1_000, &borrowed(&settings)).await;
    let began = Instant::now();
    app.completed().await;
    took.push(began.elapsed());
    assert!(comes_to(|| app.log(0).contains("telemetry does not arrive")).await, "{}", app.tail());

    println!("runs took {took:?}");
    let longest = took[0] * 2 + Duration::from_secs(5);
    assert!(took.iter().all(|took| *took < longest), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_where_the_sdk_is_disabled() {
    let collector = Collector::start().await;
    let mut settings = settings(&collector);
    settings.push(("OTEL_SDK_DISABLED".to_owned(), "true".to_owned()));
    let app = app(500, &borrowed(&settings)).await;
    app.completed().await;
    assert_eq!(collector.requests(), 0, "{:?}", collector.paths());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_ends_sends_what_is_left() {
    let collector = Collector::start().await;
    let mut settings = settings(&collector);
    for (name, value) in &mut settings {
        if ["OTEL_METRIC_EXPORT_INTERVAL", "OTEL_BSP_SCHEDULE_DELAY"].contains(&name.as_str()) {
            *value = "600000".to_owned();
        }
    }
    let mut app = app(500, &borrowed(&settings)).await;
    app.completed().await;
    app.lose_the_store().await;
    assert_eq!(collector.requests(), 0, "a handler that is killed sends nothing any more");
    let (well, told) = app.command(&["adopt", "--table", TABLES[0], "--dry-run"]).await;
    assert!(well, "{told}");
    assert!(collector.sum("adxingestor.adx.requests", &[]) > 0.0, "{}", collector.told());
    assert!(collector.spans().iter().any(|span| span.name == "adx"), "{}", collector.told());
}
