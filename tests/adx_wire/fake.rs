//! A service at the network edge: notes every request and answers by the test's own rule.

use adxingestor::adx::{Client, Endpoints, FreshIds, Pace};
use adxingestor::outbound::{Outbound, TrustedHosts, http_client};
use adxingestor::remedy::Application;
use adxingestor::timestamp::{Clock, Timestamp};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    /// The query or command of a request to the service.
    pub fn csl(&self) -> String {
        serde_json::from_slice::<Value>(&self.body)
            .ok()
            .and_then(|body| body["csl"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// An answer.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
    /// Sent and then broken off.
    pub broken: bool,
    /// Never sent.
    pub hung: bool,
}

pub fn status(status: u16) -> Reply {
    Reply { status, headers: Vec::new(), body: Bytes::new(), broken: false, hung: false }
}

pub fn body(value: &Value) -> Reply {
    Reply { body: value.to_string().into(), ..status(200) }
}

impl Reply {
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn saying(mut self, value: &Value) -> Self {
        self.body = value.to_string().into();
        self
    }

    pub fn that_never_comes(mut self) -> Self {
        self.hung = true;
        self
    }

    pub fn broken_off(mut self) -> Self {
        self.broken = true;
        self
    }
}

/// A v1 answer with one table; columns as `name:type`.
pub fn v1(columns: &str, rows: &Value) -> Reply {
    body(&json!({"Tables": [{"TableName": "Table_0", "Columns": columns_of(columns), "Rows": rows}]}))
}

/// A v2 answer with one primary result.
pub fn v2(columns: &str, rows: &Value) -> Reply {
    body(&json!([
        {"FrameType": "DataSetHeader", "IsProgressive": false, "Version": "v2.0"},
        {"FrameType": "DataTable", "TableId": 1, "TableKind": "PrimaryResult", "TableName": "PrimaryResult", "Columns": columns_of(columns), "Rows": rows},
        {"FrameType": "DataSetCompletion", "HasErrors": false, "Cancelled": false},
    ]))
}

fn columns_of(columns: &str) -> Vec<Value> {
    let columns = columns.split(',').map(|column| column.split_once(':').unwrap());
    columns.map(|(name, ty)| json!({"ColumnName": name, "ColumnType": ty})).collect()
}

/// What the service says of a table or function that it does not have.
pub fn missing(kind: &str, name: &str) -> Reply {
    let text = format!("Entity ID '{name}' of kind '{kind}' was not found.");
    status(400).saying(
        &json!({"error": {"code": "BadRequest_EntityNotFound", "message": "Request is invalid and cannot be executed.",
        "@type": "Kusto.Common.Svc.Exceptions.EntityNotFoundException", "@message": text, "@permanent": true}}),
    )
}

/// What `.set-or-append` says of so many rows.
pub fn appended(rows: u64) -> Reply {
    v1("ExtentId:guid,OriginalSize:real,RowCount:long", &json!([["c1b2a3d4-0000-0000-0000-000000000001", 1.0, rows]]))
}

type Rule = Box<dyn Fn(&Seen) -> Reply + Send + Sync>;
type Authentication = Arc<Mutex<Box<dyn Fn() -> Reply + Send + Sync>>>;

/// The service.
pub struct Fake {
    pub url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    authentication: Authentication,
    pub clock: Arc<SetClock>,
    pub tokens: Arc<Tokens>,
}

impl Fake {
    /// Starts a service that answers by `rule`; questions about authentication are answered with 404.
    pub async fn start(rule: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let rule: Arc<Rule> = Arc::new(Box::new(rule));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let authentication: Authentication = Arc::new(Mutex::new(Box::new(|| status(404))));
        let asked = Arc::clone(&authentication);
        let app = Router::new().fallback(move |request: Request| {
            let (rule, noted, asked) = (Arc::clone(&rule), Arc::clone(&noted), Arc::clone(&asked));
            async move { answer(request, &rule, &noted, &asked).await }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let clock = Arc::new(SetClock(AtomicU64::new("2026-04-14T07:00:00Z".parse::<Timestamp>().unwrap().ticks())));
        Self { url, seen, authentication, clock, tokens: Arc::default() }
    }

    /// Answers questions about authentication.
    pub fn authenticating(self, answer: impl Fn() -> Reply + Send + Sync + 'static) -> Self {
        *self.authentication.lock().unwrap() = Box::new(answer);
        self
    }

    pub fn client(&self) -> Client {
        self.client_trusting(vec!["127.0.0.1".to_owned()])
    }

    pub fn client_trusting(&self, hosts: Vec<String>) -> Client {
        self.client_of(hosts, &self.url)
    }

    pub fn client_ingesting_at(&self, ingest: &Self) -> Client {
        self.client_of(vec!["127.0.0.1".to_owned()], &ingest.url)
    }

    fn client_of(&self, hosts: Vec<String>, ingest: &Url) -> Client {
        let credential: Arc<dyn TokenCredential> = Arc::clone(&self.tokens) as _;
        let outbound = Outbound::new(http_client().unwrap(), credential, TrustedHosts::new(hosts));
        let endpoints = Endpoints {
            cluster: self.url.clone(),
            ingest: ingest.clone(),
            database: "Hunting".to_owned(),
            app: Application::default(),
        };
        let pace = Pace { first: Duration::from_millis(1), most: Duration::from_millis(2), times: 4 };
        Client::new(outbound, endpoints, Arc::clone(&self.clock) as _, Arc::new(FixedIds), pace)
    }

    /// All requests but the questions about authentication.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.path != "/v1/rest/auth/metadata").cloned().collect()
    }

    pub fn all_seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The queries and commands, in order.
    pub fn csl(&self) -> Vec<String> {
        self.seen().iter().map(Seen::csl).filter(|csl| !csl.is_empty()).collect()
    }
}

async fn answer(request: Request, rule: &Rule, noted: &Mutex<Vec<Seen>>, authentication: &Authentication) -> Response {
    let (parts, body) = request.into_parts();
    // A cut upload shows as an error of the body; what came is noted.
    let mut whole = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        whole.extend_from_slice(&piece);
    }
    let seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        headers: parts.headers,
        body: whole.into(),
    };
    noted.lock().unwrap().push(seen.clone());
    let custom = seen.path != "/v1/rest/auth/metadata";
    let reply = if custom { rule(&seen) } else { authentication.lock().unwrap()() };
    if reply.hung {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(StatusCode::from_u16(reply.status).unwrap());
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let body = if reply.broken {
        let start = reply.body;
        let cut = std::io::Error::other("cut");
        Body::from_stream(futures_util::stream::iter([Ok(start), Err(cut)]))
    } else {
        Body::from(reply.body)
    };
    response.body(body).unwrap()
}

/// A clock that a test moves.
pub struct SetClock(AtomicU64);

impl SetClock {
    pub fn forward(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos() / 100).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ticks(self.0.load(Ordering::SeqCst))
    }
}

/// Always the same id, so that what is sent can be compared.
pub struct FixedIds;

impl FreshIds for FixedIds {
    fn fresh(&self) -> Uuid {
        Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef)
    }
}

/// Numbers its tokens and remembers the scopes.
#[derive(Debug, Default)]
pub struct Tokens {
    given: AtomicUsize,
    pub scopes: Mutex<Vec<String>>,
}

#[async_trait]
impl TokenCredential for Tokens {
    async fn get_token(
        &self,
        scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        self.scopes.lock().unwrap().push(scopes.join(" "));
        let number = self.given.fetch_add(1, Ordering::SeqCst);
        let expires = azure_core::time::OffsetDateTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        Ok(AccessToken::new(format!("token-{number}"), expires))
    }
}

/// Far enough for every test that succeeds.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}
