//! Stands between a client and the emulator and spoils exchanges: before the service has seen a request, or after it
//! has done what was asked and the caller does not learn it. Which fault comes when depends on a seed and on nothing
//! else but the order in which requests arrive.
//!
//! Signatures cover path and headers but neither the port nor `Connection`, so requests pass as they are.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "proxy_http.rs"]
mod http;

use crate::azurite::{Ports, Service};
use http::{Answer, Request};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What happens to an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Nothing.
    None,
    /// The request reaches the service late.
    Delay,
    /// After the answer the connection is closed, though it was said to be kept.
    CloseIdle,
    /// The connection is cut instead of an answer.
    Cut(When),
    /// The connection is cut within the answer's head.
    CutHead,
    /// The connection is cut within the answer's body.
    CutBody,
    /// Another status: 500, 429 or 503, the last two with `Retry-After`.
    Status(When, u16),
    /// Bytes that are not HTTP.
    NotHttp(When),
    /// A page for people, with 200.
    Html(When),
    /// 200 and nothing else.
    Empty(When),
    /// The service's answer with half of its body, as if that were all; never for blobs, where half is a body too.
    Half,
}

/// Whether the service had done what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum When {
    Before,
    After,
}

impl Fault {
    /// All but [`Fault::None`].
    pub const ALL: [Self; 19] = [
        Self::Delay,
        Self::CloseIdle,
        Self::Cut(When::Before),
        Self::Cut(When::After),
        Self::CutHead,
        Self::CutBody,
        Self::Status(When::Before, 500),
        Self::Status(When::After, 500),
        Self::Status(When::Before, 503),
        Self::Status(When::After, 503),
        Self::Status(When::Before, 429),
        Self::Status(When::After, 429),
        Self::NotHttp(When::Before),
        Self::NotHttp(When::After),
        Self::Html(When::Before),
        Self::Html(When::After),
        Self::Empty(When::Before),
        Self::Empty(When::After),
        Self::Half,
    ];

    /// Whether the service gets the request.
    fn passes(self) -> bool {
        !matches!(
            self,
            Self::Cut(When::Before)
                | Self::Status(When::Before, _)
                | Self::NotHttp(When::Before)
                | Self::Html(When::Before)
                | Self::Empty(When::Before)
        )
    }

    /// Whether the caller gets the service's answer, whole.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::None | Self::Delay | Self::CloseIdle)
    }
}

/// An exchange that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub service: Service,
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    pub fault: Fault,
    /// What the service answered, if it was asked.
    pub status: Option<u16>,
}

/// How often an exchange is spoilt, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// Of 100 exchanges, how many have a fault.
    pub percent: u32,
    /// The faults, which come equally often.
    pub faults: Vec<Fault>,
}

/// A proxy in front of the three services; ends when it is dropped.
pub struct Proxy {
    ports: Ports,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

struct Shared {
    dealer: Mutex<Dealer>,
    calm: AtomicBool,
    log: Mutex<Vec<Exchange>>,
}

impl Proxy {
    /// Listens for each service of the emulator at `target`.
    pub async fn start(target: Ports, plan: Plan) -> Self {
        let dealer = Dealer { random: StdRng::seed_from_u64(plan.seed), plan, deck: Vec::new(), returned: Vec::new() };
        let dealer = Mutex::new(dealer);
        let shared = Arc::new(Shared { dealer, calm: AtomicBool::new(false), log: Mutex::default() });
        let mut accepting = JoinSet::new();
        let mut ports = BTreeMap::new();
        for service in Service::ALL {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            ports.insert(service, listener.local_addr().unwrap().port());
            accepting.spawn(accept(listener, service, target.of(service), Arc::clone(&shared)));
        }
        let ports = Ports { blob: ports[&Service::Blob], queue: ports[&Service::Queue], table: ports[&Service::Table] };
        Self { ports, shared, _accepting: accepting }
    }

    /// Where it listens.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// From now on exchanges are left alone, or spoilt again.
    pub fn set_calm(&self, calm: bool) {
        self.shared.calm.store(calm, Ordering::SeqCst);
    }

    /// What has happened so far.
    pub fn log(&self) -> Vec<Exchange> {
        self.shared.log.lock().unwrap().clone()
    }

    /// How often each fault has happened.
    pub fn counts(&self) -> BTreeMap<Fault, usize> {
        let mut counts = BTreeMap::new();
        for exchange in self.shared.log.lock().unwrap().iter() {
            *counts.entry(exchange.fault).or_default() += 1;
        }
        counts
    }
}

async fn accept(listener: TcpListener, service: Service, target: u16, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    // A caller that gives up is none of our business: its next request says what it makes of it.
                    let _ = serve(client, service, target, &shared).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The exchanges of one connection.
async fn serve(mut client: TcpStream, service: Service, target: u16, shared: &Shared) -> io::Result<()> {
    let mut unread = Vec::new();
    while let Some(request) = Request::read(&mut client, &mut unread).await? {
        let (mut fault, delay) = shared.next();
        if fault == Fault::Delay {
            tokio::time::sleep(delay).await;
        }
        let answer = if fault.passes() { Some(request.pass_on(target).await?) } else { None };
        let has_body = answer.as_ref().is_some_and(|answer| answer.body.len() > 1);
        if (fault == Fault::CutBody && !has_body) || (fault == Fault::Half && (!has_body || service == Service::Blob)) {
            shared.dealer.lock().unwrap().returned.push(fault);
            fault = Fault::CutHead;
        }
        let status = answer.as_ref().map(|answer| answer.status);
        // Written down first: who has an answer finds it here.
        let (method, path) = (request.method.clone(), request.path.clone());
        shared.log.lock().unwrap().push(Exchange { service, method, path, fault, status });
        let (bytes, open) = spoilt(fault, answer, &request.method);
        client.write_all(&bytes).await?;
        if !open {
            return client.shutdown().await;
        }
    }
    Ok(())
}

impl Shared {
    fn next(&self) -> (Fault, Duration) {
        let (fault, delay) = self.dealer.lock().unwrap().next();
        if self.calm.load(Ordering::SeqCst) { (Fault::None, delay) } else { (fault, delay) }
    }
}

/// Deals the faults like cards, so that each comes as often as the others.
struct Dealer {
    random: StdRng,
    plan: Plan,
    deck: Vec<Fault>,
    /// Those that did not fit their exchange.
    returned: Vec<Fault>,
}

impl Dealer {
    fn next(&mut self) -> (Fault, Duration) {
        let delay = Duration::from_millis(self.random.random_range(1..60));
        if self.random.random_range(0..100) >= self.plan.percent {
            return (Fault::None, delay);
        }
        if self.deck.is_empty() {
            self.deck = self.plan.faults.clone();
            self.deck.append(&mut self.returned);
            self.deck.shuffle(&mut self.random);
        }
        (self.deck.pop().unwrap_or(Fault::None), delay)
    }
}

/// What the caller gets, and whether the connection stays open after it.
fn spoilt(fault: Fault, answer: Option<Answer>, method: &str) -> (Vec<u8>, bool) {
    let made_up = |head: &str, body: &str| {
        (format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes(), true)
    };
    let whole = |answer: Option<Answer>| answer.expect("the service was asked").to_bytes(method);
    match fault {
        Fault::None | Fault::Delay => (whole(answer), true),
        Fault::CloseIdle => (whole(answer), false),
        Fault::Cut(_) => (Vec::new(), false),
        Fault::CutHead => {
            let mut answer = answer.expect("the service was asked");
            answer.body.clear();
            let mut bytes = answer.to_bytes(method);
            bytes.truncate(bytes.len() * 2 / 3);
            (bytes, false)
        }
        Fault::CutBody => {
            let half = answer.as_ref().map_or(0, |answer| answer.body.len() / 2);
            let mut bytes = whole(answer);
            bytes.truncate(bytes.len() - half);
            (bytes, false)
        }
        Fault::Half => {
            let mut answer = answer.expect("the service was asked");
            answer.body.truncate(answer.body.len() / 2);
            (answer.to_bytes(method), true)
        }
        Fault::Status(_, 500) => made_up("500 Internal Server Error\r\nx-ms-error-code: InternalError", ""),
        Fault::Status(_, 503) => {
            made_up("503 Service Unavailable\r\nRetry-After: 1\r\nx-ms-error-code: ServerBusy", "")
        }
        Fault::Status(_, status) => made_up(&format!("{status} Too Many Requests\r\nRetry-After: 1"), ""),
        Fault::NotHttp(_) => (b"\x16\x03\x01 220 mail ESMTP \xff\xfe\r\n\r\n".to_vec(), false),
        Fault::Html(_) => made_up(
            "200 OK\r\nContent-Type: text/html; charset=utf-8",
            "<!DOCTYPE html><html><head><title>Sign in</title></head><body><p>Please sign in &amp; try again.</body></html>",
        ),
        Fault::Empty(_) => made_up("200 OK", ""),
    }
}
