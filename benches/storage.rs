//! What the state store on Azure Storage costs its process beside plain HTTP: the store as it is wired, and a client with
//! nothing in it but requests and signatures ([`plain`]), take turns on one Azurite.
//!
//! Both send the same requests: the same methods, URLs and query parameters, metadata levels, rows and messages, byte for
//! byte but for the headers that only the official pipeline adds. So the plain rows have a `last_operation` of the usual
//! length, too; naming the operation, like checking limits and keys, is the product's alone and counts against it. Both give
//! what a caller needs: the versions of written rows, read rows as maps, messages with id, receipt and decoded body. The plain
//! client recognises no error, checks no answer beyond its status and repeats nothing.
//!
//! CPU is the user and system time of this process alone, the emulator's not included. The rate is mostly the emulator's.
//! Figures are medians of the rounds, the ratios too: each is of neighbours in time, so they hold on a busy machine.
//!
//! With `RUST_BACKTRACE` set the official pipeline walks the stack for each header it does not find, which is measured, too.
//!
//! `cargo bench --bench storage`

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../tests/support/azurite.rs"]
mod azurite;
#[path = "storage/plain.rs"]
mod plain;

use adxingestor::outbound::http_client;
use adxingestor::random::SystemRandom;
use adxingestor::storage::{
    Body, Connection, Key, MAX_RECEIVE, Message, Operation, Properties, Range, Storage, azure, large_messages, retrying,
};
use adxingestor::timestamp::SystemClock;
use azurite::{ACCOUNT, Azurite, KEY, Service};
use plain::{Plain, Received};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::hint::black_box;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 9;
const TABLE: &str = "bench";
/// The partition that is read.
const READ: &str = "table-DeviceProcessEvents";
const PAGE_ROWS: usize = 1000;
const BATCH_ROWS: usize = 100;
const HIDE: Duration = Duration::from_secs(60);
/// As long as the names of two operations, which is what an inserted row has.
const MARK: &str = "0123456789012345678901,0";

/// An operation, how often it is done in a round, and how many units that is.
#[derive(Clone, Copy)]
enum Work {
    Insert,
    Batch,
    Get,
    Page,
    Send,
    Take,
}

const WORKS: [(Work, &str, usize, usize); 6] = [
    (Work::Insert, "insert", 150, 150),
    (Work::Batch, "batch of 100", 8, 8),
    (Work::Get, "get", 150, 150),
    (Work::Page, "page of 1,000, per row", 4, 4 * PAGE_ROWS),
    (Work::Send, "send", 128, 128),
    (Work::Take, "receive + delete", 4, 4 * MAX_RECEIVE as usize),
];

/// A client of tables and queues.
trait Client {
    /// A row that is to be written.
    type Row;
    type Message;
    const QUEUE: &str;

    fn row(&self, partition: &str, row: &str, properties: &Properties) -> Self::Row;
    async fn insert(&self, row: &Self::Row);
    async fn batch(&self, rows: &[Self::Row]);
    async fn get(&self, partition: &str, row: &str);
    async fn page(&self, partition: &str);
    async fn send(&self, body: &[u8]);
    async fn receive(&self) -> Vec<Self::Message>;
    async fn delete(&self, message: &Self::Message);
}

fn main() {
    let Some(azurite) = Azurite::start() else {
        println!("skipped: the storage emulator cannot run here");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = open(&azurite);
    let (tables, queues) = (azurite.endpoint(Service::Table), azurite.endpoint(Service::Queue));
    let plain = Plain::new(ACCOUNT, KEY, &tables, &queues, TABLE);
    let figures = runtime.block_on(measure(&store, &plain));
    print(&figures);
}

/// The store as the product opens and wires it.
fn open(azurite: &Azurite) -> Storage {
    let text = azurite.connection_string();
    let lookup = |name: &str| match name {
        "AzureWebJobsStorage" => Some(text.clone()),
        "STATE_TABLE" => Some(TABLE.to_owned()),
        _ => None,
    };
    let connection = Connection::parse(&lookup).unwrap();
    let (storage, _) = azure(&connection, &lookup, http_client().unwrap(), Arc::new(SystemClock)).unwrap();
    large_messages(retrying(storage, Arc::new(SystemRandom)), Arc::new(SystemRandom))
}

/// What one operation took in one round, per unit.
#[derive(Clone, Copy)]
struct Cost {
    cpu: Duration,
    wall: Duration,
}

/// The costs of each operation: the product's and the plain client's, by round.
type Figures = Vec<[Vec<Cost>; 2]>;

async fn measure(store: &Storage, plain: &Plain) -> Figures {
    fill(store).await;
    let mut figures: Figures = WORKS.iter().map(|_| [Vec::new(), Vec::new()]).collect();
    // The first round makes connections and is not counted.
    for round in 0..=ROUNDS {
        for (index, (work, _, times, units)) in WORKS.into_iter().enumerate() {
            let mut costs = [None; 2];
            for turn in [round % 2, 1 - round % 2] {
                let partition = format!("round-{round}-{turn}");
                let cost = match turn {
                    0 => run(store, work, times, &partition).await,
                    _ => run(plain, work, times, &partition).await,
                };
                let units = u32::try_from(units).unwrap();
                costs[turn] = Some(Cost { cpu: cost.cpu / units, wall: cost.wall / units });
            }
            if round > 0 {
                let [product, plain] = costs.map(Option::unwrap);
                figures[index][0].push(product);
                figures[index][1].push(plain);
            }
        }
    }
    figures
}

/// Writes the rows that are read, and makes the queues.
async fn fill(store: &Storage) {
    for first in (0..PAGE_ROWS).step_by(BATCH_ROWS) {
        let rows = (first..first + BATCH_ROWS).map(|number| store.row(READ, &row_key(number), &properties(number)));
        store.batch(&rows.collect::<Vec<_>>()).await;
    }
    for queue in [<Storage as Client>::QUEUE, <Plain as Client>::QUEUE] {
        store.queues.send(queue, b"the first one makes the queue", Duration::ZERO).await.unwrap();
        let [message] = &store.queues.receive(queue, 1, HIDE).await.unwrap()[..] else { panic!("no message") };
        store.queues.delete(queue, &message.id, &message.receipt).await.unwrap();
    }
}

/// One operation `times` times. Rows and messages are made before the clock starts.
async fn run<C: Client>(client: &C, work: Work, times: usize, partition: &str) -> Cost {
    let rows = |count: usize| -> Vec<C::Row> {
        (0..count).map(|number| client.row(partition, &row_key(number), &properties(number))).collect()
    };
    match work {
        Work::Insert => {
            let rows = rows(times);
            timed(async {
                for row in &rows {
                    client.insert(row).await;
                }
            })
            .await
        }
        Work::Batch => {
            let partition = format!("{partition}-batch");
            let row = |number| client.row(&partition, &row_key(number), &properties(number));
            let rows: Vec<C::Row> = (0..times * BATCH_ROWS).map(row).collect();
            timed(async {
                for rows in rows.chunks(BATCH_ROWS) {
                    client.batch(rows).await;
                }
            })
            .await
        }
        Work::Get => {
            let keys: Vec<String> = (0..times).map(|number| row_key(number * 7 % PAGE_ROWS)).collect();
            timed(async {
                for key in &keys {
                    client.get(READ, key).await;
                }
            })
            .await
        }
        Work::Page => {
            timed(async {
                for _ in 0..times {
                    client.page(READ).await;
                }
            })
            .await
        }
        Work::Send => {
            let bodies: Vec<Vec<u8>> = (0..times).map(body).collect();
            timed(async {
                for body in &bodies {
                    client.send(body).await;
                }
            })
            .await
        }
        Work::Take => {
            timed(async {
                for _ in 0..times {
                    let messages = client.receive().await;
                    assert_eq!(messages.len(), MAX_RECEIVE as usize, "those that were sent before");
                    for message in &messages {
                        client.delete(message).await;
                    }
                }
            })
            .await
        }
    }
}

async fn timed(work: impl Future<Output = ()>) -> Cost {
    let (cpu, wall) = (cpu(), Instant::now());
    tokio::time::timeout(Duration::from_secs(60), work).await.unwrap();
    Cost { cpu: self::cpu() - cpu, wall: wall.elapsed() }
}

/// User and system time of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

impl Client for Storage {
    type Row = Operation;
    type Message = Message;
    const QUEUE: &str = "product";

    fn row(&self, partition: &str, row: &str, properties: &Properties) -> Operation {
        Operation::Insert(Key::new(partition, row).unwrap(), properties.clone())
    }

    async fn insert(&self, row: &Operation) {
        black_box(self.tables.commit(from_ref(row)).await.unwrap());
    }

    async fn batch(&self, rows: &[Operation]) {
        black_box(self.tables.commit(rows).await.unwrap());
    }

    async fn get(&self, partition: &str, row: &str) {
        let key = Key::new(partition, row).unwrap();
        black_box(self.tables.get(&key).await.unwrap().unwrap());
    }

    async fn page(&self, partition: &str) {
        let range = Range { partition: partition.to_owned(), from: String::new(), to: None };
        let page = black_box(self.tables.page(&range, None).await.unwrap());
        assert_eq!(page.rows.len(), PAGE_ROWS);
    }

    async fn send(&self, body: &[u8]) {
        self.queues.send(Self::QUEUE, body, Duration::ZERO).await.unwrap();
    }

    async fn receive(&self) -> Vec<Message> {
        self.queues.receive(Self::QUEUE, MAX_RECEIVE, HIDE).await.unwrap()
    }

    async fn delete(&self, message: &Message) {
        assert!(matches!(black_box(&message.body), Body::Bytes(_)));
        self.queues.delete(Self::QUEUE, &message.id, &message.receipt).await.unwrap();
    }
}

impl Client for Plain {
    type Row = Properties;
    type Message = Received;
    const QUEUE: &str = "plain";

    fn row(&self, partition: &str, row: &str, properties: &Properties) -> Properties {
        plain::row(partition, row, properties, MARK)
    }

    async fn insert(&self, row: &Properties) {
        black_box(Plain::insert(self, row).await);
    }

    async fn batch(&self, rows: &[Properties]) {
        black_box(Plain::batch(self, rows).await);
    }

    async fn get(&self, partition: &str, row: &str) {
        black_box(Plain::get(self, partition, row).await);
    }

    async fn page(&self, partition: &str) {
        let rows = black_box(Plain::page(self, partition).await);
        assert_eq!(rows.len(), PAGE_ROWS);
    }

    async fn send(&self, body: &[u8]) {
        Plain::send(self, Self::QUEUE, body).await;
    }

    async fn receive(&self) -> Vec<Received> {
        Plain::receive(self, Self::QUEUE, MAX_RECEIVE).await
    }

    async fn delete(&self, message: &Received) {
        black_box(&message.body);
        Plain::delete(self, Self::QUEUE, message).await;
    }
}

fn row_key(number: usize) -> String {
    format!("window-{number:08}")
}

/// Those of a window in the ledger.
fn properties(number: usize) -> Properties {
    let properties = json!({
        "version": 1, "state": "submitted", "low": "2026-04-14T07:00:00.0000000Z", "high": "2026-04-14T07:15:00.0000000Z",
        "run": "0d2b8ab6-9e6e-4b5e-a3a1-3f3b1a0c9f5d", "attempt": 1, "expected_rows": 91_234 + number,
        "rows": 91_234 + number, "bytes": 48_123_456_789_i64, "columns": "Timestamp,DeviceId,FileName,ProcessId",
        "blob": format!("windows/DeviceProcessEvents/{number:08}.json.gz"), "submitted": "2026-04-14T07:16:12.1234567Z",
        "hashed": false, "share": 0.125
    });
    properties.as_object().unwrap().clone()
}

/// A message for a worker.
fn body(number: usize) -> Vec<u8> {
    let body = json!({
        "kind": "chunk", "version": 1, "instance": "0d2b8ab6-9e6e-4b5e-a3a1-3f3b1a0c9f5d", "table": "DeviceProcessEvents",
        "window": row_key(number), "permit": "2026-04-14T07:15:00.0000000Z", "attempt": 1
    });
    body.to_string().into_bytes()
}

fn print(figures: &Figures) {
    println!("{:24}{:>26}{:>32}", "", "rate/s", "CPU µs");
    println!(
        "{:24}{:>10}{:>10}{:>8}{:>12}{:>10}{:>8}  of the rounds",
        "", "product", "plain", "ratio", "product", "plain", "ratio"
    );
    for ((_, name, ..), [product, plain]) in WORKS.iter().zip(figures) {
        let rate = |costs: &[Cost]| median(costs.iter().map(|cost| 1.0 / cost.wall.as_secs_f64()));
        let cpu = |costs: &[Cost]| median(costs.iter().map(|cost| cost.cpu.as_secs_f64() * 1e6));
        let pairs = || product.iter().zip(plain);
        let rates = median(pairs().map(|(product, plain)| plain.wall.as_secs_f64() / product.wall.as_secs_f64()));
        let ratios = || pairs().map(|(product, plain)| product.cpu.as_secs_f64() / plain.cpu.as_secs_f64());
        let (least, most) =
            ratios().fold((f64::MAX, 0.0_f64), |(least, most), ratio| (least.min(ratio), most.max(ratio)));
        println!(
            "{name:24}{:>10.0}{:>10.0}{rates:>8.2}{:>12.1}{:>10.1}{:>8.2}  {least:.2} to {most:.2}",
            rate(product),
            rate(plain),
            cpu(product),
            cpu(plain),
            median(ratios()),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
