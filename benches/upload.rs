//! What an upload costs beside the compression before it: CPU and bytes sent per million rows, of gzip alone, and of gzip and
//! an upload in blocks with their hashes. Requests end in this process, so the network is no part of it; both take turns in one
//! run.
//!
//! `cargo bench --bench upload`

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use adxingestor::adx::ingestion::{BlobName, Choice, Ingestor};
use adxingestor::adx::{Client, Endpoints, Pace, RandomIds};
use adxingestor::outbound::{Exchange, Outbound, TrustedHosts, Unanswered, http_client};
use adxingestor::remedy::Application;
use adxingestor::timestamp::SystemClock;
use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Rows of a window.
const ROWS: usize = 100_000;
/// What is gathered before it is compressed.
const PIECE: usize = 512 * 1024;
const ROUNDS: usize = 5;

fn main() {
    let rows = rows();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let ingestor = ingestor(Arc::clone(&sent));
    let (mut alone, mut uploaded, mut compressed) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let start = cpu();
        compressed = gzip(&rows, |_| {});
        alone.push(cpu() - start);
        let start = cpu();
        runtime.block_on(upload(&ingestor, &rows));
        uploaded.push(cpu() - start);
    }
    let sent = sent.load(Ordering::Relaxed) / ROUNDS as u64;
    let per_million = |figure: f64| figure * 1e6 / ROWS as f64;
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    };
    let (alone, uploaded) = (median(&mut alone), median(&mut uploaded));
    println!("a million rows of {} bytes, {:.0} MB:", rows.len() / ROWS, per_million(rows.len() as f64) / 1e6);
    println!("  gzip alone       {:>6.1} s CPU, {:>6.1} MB", per_million(alone), per_million(compressed as f64) / 1e6);
    println!(
        "  gzip and upload  {:>6.1} s CPU, {:>6.1} MB sent; {:.3} times the CPU, {:.6} times the bytes",
        per_million(uploaded),
        per_million(sent as f64) / 1e6,
        uploaded / alone,
        sent as f64 / compressed as f64
    );
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// Compresses piece by piece as a worker does; gives the size.
fn gzip(rows: &[u8], mut ready: impl FnMut(Bytes)) -> usize {
    let (mut encoder, mut size) = (GzEncoder::new(Vec::new(), Compression::new(1)), 0);
    for piece in rows.chunks(PIECE) {
        encoder.write_all(piece).unwrap();
        let compressed = std::mem::take(encoder.get_mut());
        size += compressed.len();
        ready(compressed.into());
    }
    let rest = encoder.finish().unwrap();
    size += rest.len();
    ready(rest.into());
    size
}

async fn upload(ingestor: &Ingestor, rows: &[u8]) {
    let deadline = Instant::now() + Duration::from_secs(600);
    let name = BlobName::new("Hunting", "DeviceProcessEvents", "0f2a", Uuid::new_v4());
    let mut upload = ingestor.begin(name, deadline).await.unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    for piece in rows.chunks(PIECE) {
        encoder.write_all(piece).unwrap();
        upload.write(std::mem::take(encoder.get_mut()).into()).await.unwrap();
    }
    upload.write(encoder.finish().unwrap().into()).await.unwrap();
    upload.commit().await.unwrap();
}

/// A cluster whose storage counts what it is sent and takes it.
struct Taking(Arc<AtomicU64>);

#[async_trait]
impl Exchange for Taking {
    async fn exchange(&self, request: reqwest::Request) -> Result<reqwest::Response, Unanswered> {
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let (status, text) = match (request.method().as_str(), request.url().path()) {
            ("PUT", _) => {
                self.0.fetch_add(body.len() as u64, Ordering::Relaxed);
                (201, String::new())
            }
            ("POST", "/v1/rest/mgmt") if String::from_utf8_lossy(body).contains("resources") => {
                let rows = json!([
                    ["TempStorage", "https://a.blob.core.windows.net/box?sig=x"],
                    ["SecuredReadyForAggregationQueue", "https://a.queue.core.windows.net/line?sig=x"],
                ]);
                (200, table(&["ResourceTypeName", "StorageRoot"], &rows))
            }
            ("POST", _) => (200, table(&["AuthorizationContext"], &json!([["identity"]]))),
            // Nobody may look.
            ("HEAD", _) => (403, String::new()),
            _ => (404, String::new()),
        };
        let answer = axum::http::Response::builder().status(status).body(text).unwrap();
        Ok(answer.into())
    }
}

fn table(columns: &[&str], rows: &Value) -> String {
    let columns: Vec<Value> = columns.iter().map(|name| json!({"ColumnName": name, "ColumnType": "string"})).collect();
    json!({"Tables": [{"TableName": "Table_0", "Columns": columns, "Rows": rows}]}).to_string()
}

#[derive(Debug)]
struct Anybody;

#[async_trait]
impl TokenCredential for Anybody {
    async fn get_token(
        &self,
        _scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let expires = azure_core::time::OffsetDateTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        Ok(AccessToken::new("token", expires))
    }
}

fn ingestor(sent: Arc<AtomicU64>) -> Ingestor {
    let outbound = Outbound::new(http_client().unwrap(), Arc::new(Anybody), TrustedHosts::default());
    let endpoints = Endpoints {
        cluster: "https://c.r.kusto.windows.net".parse().unwrap(),
        ingest: "https://ingest-c.r.kusto.windows.net".parse().unwrap(),
        database: "Hunting".to_owned(),
        app: Application::default(),
    };
    let outbound = outbound.through(Arc::new(Taking(sent)));
    let client = Client::new(outbound, endpoints, Arc::new(SystemClock), Arc::new(RandomIds), Pace::default());
    Ingestor::new(client, Choice::Queued)
}

/// Process events, with the mix of repeated names, hashes and times that they have.
fn rows() -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(1);
    let mut next = |bound: u64| random.random_range(0..bound);
    let mut text = String::new();
    for _ in 0..ROWS {
        let (device, program) = (next(400), ["svchost", "powershell", "chrome", "cmd"][next(4) as usize]);
        let row = json!({
            "Timestamp": format!("2026-07-{:02}T{:02}:{:02}:{:02}.{:07}Z", 1 + next(28), next(24), next(60), next(60), next(10_000_000)),
            "DeviceId": format!("{:032x}", device * 0x9e37_79b9),
            "DeviceName": format!("desktop-{device:04}.corp.contoso.com"),
            "ActionType": "ProcessCreated",
            "FileName": format!("{program}.exe"),
            "FolderPath": format!("C:\\Windows\\System32\\{program}.exe"),
            "SHA256": format!("{:016x}{:016x}{:016x}{:016x}", next(u64::MAX), next(u64::MAX), next(u64::MAX), next(u64::MAX)),
            "ProcessCommandLine": format!("\"C:\\Program Files\\App {}\\{program}.exe\" --id={}", next(30), next(u64::MAX)),
            "ProcessId": next(40_000),
            "AccountName": format!("user{}", next(900)),
            "AccountSid": format!("S-1-5-21-1004336348-1177238915-682003330-{}", next(9000)),
            "InitiatingProcessCommandLine": format!("{program}.exe -k netsvcs -p -s Schedule"),
            "InitiatingProcessId": next(40_000),
            "ReportId": next(4_000_000),
        });
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{row}");
    }
    text.into_bytes()
}
