//! The app's chunk worker on answers of 50 MB: its own functions over a store in memory, and a network that makes each answer
//! while it is read, so that what is held is held by the app.

#[path = "../support/one_table.rs"]
mod one_table;
#[path = "../support/wiring.rs"]
mod wiring;

use adxingestor::app::App;
use adxingestor::functions::router;
use adxingestor::orchestration::difference::Difference;
use adxingestor::orchestration::ids::{WindowId, WindowName};
use adxingestor::orchestration::ledger::RowFormat;
use adxingestor::orchestration::window::{Seal, Window, WindowState};
use adxingestor::outbound::{Exchange, Outbound, Unanswered, http_client};
use adxingestor::state::{State, Transaction};
use adxingestor::timestamp::Timestamp;
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use one_table::{id, key, running};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// What an answer has at least.
pub const ANSWER_BYTES: usize = 50_000_000;
const BLOCK_BYTES: usize = 1 << 20;
/// About what one read from a socket brings.
const PIECE_BYTES: usize = 32 * 1024;
const URL: &str = "http://127.0.0.1:1";

/// How rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    Packed,
    Plain,
    /// Packed, in an answer that is compressed on its way.
    Gzip,
}

impl Rows {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Packed, Self::Plain, Self::Gzip];
}

/// Rows of an answer that fill some block, with a comma behind each, and how many they are.
struct Block {
    head: &'static str,
    bytes: Bytes,
    rows: u64,
    gzip: bool,
    /// The rows as they are copied.
    packed: Vec<String>,
}

impl Block {
    fn of(rows: Rows) -> Self {
        let mut random = StdRng::seed_from_u64(7);
        let mut word = || format!("{:016x}", random.random::<u64>());
        let mut text = String::new();
        let mut packed = Vec::new();
        while text.len() < BLOCK_BYTES {
            let command: String = (0..20).map(|_| word()).collect();
            let row = json!({"Timestamp": "2026-07-23T18:03:20.9280000Z", "DeviceId": word() + &word(), "DeviceName": "host",
                "ActionType": "ProcessCreated", "FolderPath": r"C:\Windows\System32\svchost.exe", "Hash": word(), "ProcessCommandLine": command,
                "ReportId": 639_199_803_770_463_703_i64, "AdditionalFields": {"Id": word(), "Flags": [1, 2, 3]}});
            packed.push(row.to_string());
            let row = match rows {
                Rows::Packed | Rows::Gzip => json!({"Row": row.to_string()}),
                Rows::Plain => row,
            };
            text.push_str(&row.to_string());
            text.push(',');
        }
        let head = match rows {
            Rows::Packed | Rows::Gzip => r#"{"schema":[{"name":"Row","type":"String"}],"results":["#,
            Rows::Plain => {
                r#"{"schema":[{"name":"Timestamp","type":"DateTime"},{"name":"DeviceId","type":"String"},{"name":"ReportId","type":"Int64"},{"name":"AdditionalFields","type":"Object"}],"results":["#
            }
        };
        Self { head, bytes: text.into(), rows: packed.len() as u64, gzip: rows == Rows::Gzip, packed }
    }

    fn blocks() -> usize {
        ANSWER_BYTES.div_ceil(BLOCK_BYTES)
    }

    /// The rows of half an answer, as the destination holds them: those of one page of several, each piece made when it is asked
    /// for, or how many there are.
    fn held(&self, asked: &str) -> reqwest::Body {
        let copies = Self::blocks() / 2;
        let (columns, rows): (Value, Vec<Bytes>) = if asked.contains("summarize N = count()") {
            let characters: usize = self.packed.iter().map(String::len).sum();
            let columns =
                json!([{"ColumnName": "N", "ColumnType": "long"}, {"ColumnName": "Bytes", "ColumnType": "long"}]);
            (columns, vec![json!([self.packed.len() * copies, characters * copies]).to_string().into()])
        } else {
            let (_, paged) = asked.split_once("hash_xxhash64(Row, ").unwrap();
            let mut numbers = paged.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
            let [pages, page]: [usize; 2] = std::array::from_fn(|_| numbers.next().unwrap().parse().unwrap());
            let of_page = self.packed.iter().skip(page).step_by(pages);
            let rows = of_page.map(|row| Bytes::from(json!([row]).to_string()));
            (
                json!([{"ColumnName": "Row", "ColumnType": "string"}]),
                rows.flat_map(|row| std::iter::repeat_n(row, copies)).collect(),
            )
        };
        let head = format!(
            r#"[{{"FrameType":"DataSetHeader"}},{{"FrameType":"DataTable","TableId":1,"TableKind":"PrimaryResult","TableName":"P","Columns":{columns},"Rows":["#
        );
        let end = r#"]},{"FrameType":"DataSetCompletion","HasErrors":false,"Cancelled":false}]"#;
        let between = |(at, row): (usize, Bytes)| [Bytes::from_static(if at > 0 { b"," } else { b"" }), row];
        let rows = rows.into_iter().enumerate().flat_map(between);
        let whole = std::iter::once(Bytes::from(head)).chain(rows).chain([Bytes::from_static(end.as_bytes())]);
        reqwest::Body::wrap_stream(stream::iter(whole.map(Ok::<_, Infallible>)))
    }

    /// The answer, each piece made when it is asked for.
    fn answer(&self) -> reqwest::Body {
        let (block, last) = (self.bytes.clone(), self.bytes.slice(..self.bytes.len() - 1));
        let blocks =
            (0..Self::blocks()).map(move |at| if at + 1 < Self::blocks() { block.clone() } else { last.clone() });
        let pieces = blocks.flat_map(|block| {
            (0..block.len().div_ceil(PIECE_BYTES)).map(move |at| {
                Bytes::copy_from_slice(&block[at * PIECE_BYTES..block.len().min((at + 1) * PIECE_BYTES)])
            })
        });
        let whole =
            std::iter::once(Bytes::from_static(self.head.as_bytes())).chain(pieces).chain([Bytes::from_static(b"]}")]);
        match self.gzip {
            false => reqwest::Body::wrap_stream(stream::iter(whole.map(Ok::<_, Infallible>))),
            true => reqwest::Body::wrap_stream(stream::iter(compressed(whole).map(Ok::<_, Infallible>))),
        }
    }
}

/// The same, compressed piece by piece.
fn compressed(pieces: impl Iterator<Item = Bytes>) -> impl Iterator<Item = Bytes> {
    let mut gzip = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    pieces.map(Some).chain([None]).map(move |piece| match (piece, gzip.as_mut()) {
        (Some(piece), Some(gzip)) => {
            gzip.write_all(&piece).unwrap();
            Bytes::from(std::mem::take(gzip.get_mut()))
        }
        _ => Bytes::from(gzip.take().unwrap().finish().unwrap()),
    })
}

/// All services.
struct Network {
    block: Block,
    uploaded: AtomicU64,
}

#[async_trait]
impl Exchange for Network {
    async fn exchange(&self, request: reqwest::Request) -> Result<reqwest::Response, Unanswered> {
        let sent = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let asked = format!(
            "{} {} {}",
            request.method(),
            request.url().path(),
            String::from_utf8_lossy(&sent[..sent.len().min(2_000)])
        );
        if request.method() == reqwest::Method::PUT || asked.starts_with("POST /queue") {
            self.uploaded.fetch_add(sent.len() as u64, Ordering::Relaxed);
        }
        let (status, body) = if asked.contains("/runHuntingQuery") {
            (200, self.block.answer())
        } else if asked.contains("/rest/query") {
            (200, self.block.held(&asked))
        } else {
            let (status, body) = one_table::answer(URL, &asked);
            (status, body.to_string().into())
        };
        let mut answer = Response::builder().status(status).header("content-type", "application/json");
        if self.block.gzip && asked.contains("/runHuntingQuery") {
            answer = answer.header("content-encoding", "gzip");
        }
        Ok(answer.body(body).unwrap().into())
    }
}

#[derive(Debug)]
struct Identity;

#[async_trait]
impl TokenCredential for Identity {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        Ok(AccessToken::new("t", OffsetDateTime::from_unix_timestamp(4_102_444_800).unwrap()))
    }
}

/// The app, with planned windows.
pub struct Heavy {
    router: Router,
    state: State,
    windows: u64,
    /// Rows that each of them brings.
    rows: u64,
    network: Arc<Network>,
}

fn name(window: u64) -> WindowName {
    named(window, "0")
}

fn named(window: u64, path: &str) -> WindowName {
    WindowName::new(Timestamp::from_ticks(10 * (window + 1)), path)
}

impl Heavy {
    /// An app whose table has so many windows to pull.
    pub async fn new(rows: Rows, windows: u64) -> Self {
        let network = Arc::new(Network { block: Block::of(rows), uploaded: AtomicU64::new(0) });
        let app = app(Arc::clone(&network));
        let state = app.state.clone();
        let rows_of_each = network.block.rows * Block::blocks() as u64;
        let heavy = Self { router: router(app), state, windows, rows: rows_of_each, network };
        heavy.plan(rows).await;
        heavy
    }

    /// The same, of windows of whose rows the destination holds the half already.
    pub async fn repairs(rows: Rows, windows: u64) -> Self {
        let mut heavy = Self::new(rows, windows).await;
        let shown = heavy.rows;
        let held = heavy.network.block.rows * (Block::blocks() as u64 / 2);
        heavy.rows = shown - held;
        for window in 0..windows {
            let planned = heavy.state.window(&key(), &name(window)).await.unwrap().unwrap();
            let base = Window { state: WindowState::Verified, landed_rows: held, ..planned.record.clone() };
            let seal = Seal {
                blob: "b".into(),
                rows: held,
                raw_bytes: 1,
                compressed_bytes: 1,
                longest_row_bytes: 1,
                sha256: String::new(),
            };
            let base = Window { seal: Some(seal), posts: 1, last_post: Some(heavy.state.now()), ..base };
            let id = WindowId { repair: 1, ..base.id };
            let difference = Some(Difference::of(shown));
            let repair = Window { id, difference, planned_rows: shown - held, ..planned.record };
            let swap = Transaction::new().window(&key(), &named(window, "base"), &base, None).unwrap();
            let swap = swap.window(&key(), &name(window), &repair, Some(&planned.etag)).unwrap();
            heavy.state.commit(swap).await.unwrap();
        }
        heavy
    }

    async fn plan(&self, rows: Rows) {
        let now = self.state.now();
        let (run, table) = running(now);
        let transaction = Transaction::new().table(&id(), &table, None).unwrap();
        self.state.commit(transaction.instance(&run, None).unwrap()).await.unwrap();
        let mut head = one_table::head(if rows == Rows::Plain { RowFormat::PlainFull } else { RowFormat::Full }, now);
        head.counts.open = self.windows;
        head.out = (0..self.windows).map(name).collect();
        let mut insert = Transaction::new().head(&key(), &head, None).unwrap();
        for window in 0..self.windows {
            let planned = one_table::window(10 * (window + 1), 10 * (window + 2));
            let planned = Window { run: Some(id()), ..Window::planned(planned, "p", false, self.rows, now) };
            insert = insert.window(&key(), &name(window), &planned, None).unwrap();
        }
        self.state.commit(insert).await.unwrap();
    }

    /// Pulls all windows at once. Gives the rows that were posted.
    pub async fn pull(&self) -> u64 {
        let mut pulls = JoinSet::new();
        for window in 0..self.windows {
            let message = json!({"table": key(), "window": name(window)}).to_string();
            let metadata = json!({"Id": format!("m{window}"), "DequeueCount": 1});
            let envelope = json!({"Data": {"message": message}, "Metadata": metadata}).to_string();
            let request =
                Request::builder().method("POST").uri("/chunk_worker").header("content-type", "application/json");
            let call = self.router.clone().oneshot(request.body(Body::from(envelope)).unwrap());
            pulls.spawn(async move { assert_eq!(call.await.unwrap().status(), 200) });
        }
        while let Some(pulled) = pulls.join_next().await {
            pulled.unwrap();
        }
        let mut rows = 0;
        for window in 0..self.windows {
            let window = self.state.window(&key(), &name(window)).await.unwrap().unwrap().record;
            assert_eq!(window.state, WindowState::Submitted, "{:?}", window.error);
            let seal = window.seal.unwrap();
            assert_eq!(seal.rows, self.rows);
            rows += seal.rows;
        }
        rows
    }

    /// Compressed bytes that have left.
    pub fn uploaded(&self) -> u64 {
        self.network.uploaded.load(Ordering::Relaxed)
    }
}

fn app(network: Arc<Network>) -> App {
    let settings = one_table::settings(URL, &[("HUNTING_CALLS_PER_MINUTE", "60000".to_owned())]);
    one_table::app(settings, |trusted| {
        Outbound::new(http_client().unwrap(), Arc::new(Identity), trusted).through(network)
    })
}
