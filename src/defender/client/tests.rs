use super::*;
use crate::defender::scanner::Scanner;
use crate::outbound::{self, TrustedHosts, http_client};
use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A credential that gives `t0`, `t1`, … or always `t0`.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    pub(super) calls: AtomicUsize,
    pub(super) always_the_same: bool,
}

#[async_trait]
impl TokenCredential for Tokens {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        assert_eq!(scopes, ["https://graph.microsoft.com/.default"]);
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let number = if self.always_the_same { 0 } else { call };
        Ok(AccessToken::new(format!("t{number}"), azure_core::time::OffsetDateTime::UNIX_EPOCH))
    }
}

/// A service that gives each request the next scripted answer, byte for byte, and closes the connection; the last
/// answer is held open if `hang` is set.
pub(super) struct Service {
    url: Url,
    pub(super) requests: Arc<Mutex<Vec<String>>>,
    _task: tokio::task::JoinHandle<()>,
}

impl Service {
    pub(super) async fn start<T>(path: &str, answers: Vec<T>, hang: bool) -> Self
    where
        T: AsRef<[u8]> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}{path}", listener.local_addr().unwrap())).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let task = tokio::spawn(async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_whole(&request) {
                    if socket.read_buf(&mut request).await.unwrap() == 0 {
                        break;
                    }
                }
                seen.lock().unwrap().push(String::from_utf8(request).unwrap());
                // A client that has seen enough hangs up.
                let _ = socket.write_all(answer.as_ref()).await;
                if hang {
                    std::future::pending::<()>().await;
                }
            }
        });
        Self { url, requests, _task: task }
    }

    pub(super) fn client(&self, tokens: Tokens, limits: Limits) -> Client {
        client(self.url.clone(), tokens, limits)
    }
}

fn client(url: Url, tokens: Tokens, limits: Limits) -> Client {
    let trusted = TrustedHosts::new(vec!["127.0.0.1".to_owned()]);
    let outbound = Outbound::new(http_client().unwrap(), Arc::new(tokens), trusted);
    Client::new(outbound, url, "https://graph.microsoft.com".to_owned(), limits)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    body.len() >= length.parse().unwrap()
}

pub(super) fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

pub(super) fn json_answer(body: &str) -> String {
    http("200 OK", "content-type: application/json; charset=utf-8\r\n", body)
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(super) const GRAPH: &str = "/v1.0/security/runHuntingQuery";
pub(super) const ONE: &str = r#"{"schema":[{"name":"Row","type":"String"}],"results":[{"Row":"{}"}]}"#;

async fn rows_of(answer: String) -> Result<Rows, Error> {
    let service = Service::start(GRAPH, vec![answer], false).await;
    service.client(Tokens::default(), Limits::default()).rows(&Query::new("T"), soon()).await
}

async fn packed_of(answer: String, limits: Limits) -> Result<u64, Error> {
    let service = Service::start(GRAPH, vec![answer], false).await;
    drain(service.client(Tokens::default(), limits).packed(&Query::new("T"), soon()).await?).await
}

pub(super) async fn drain(mut packed: Packed) -> Result<u64, Error> {
    let mut scanner = Scanner::new();
    let mut out = Vec::new();
    while let Some(piece) = packed.next().await? {
        scanner.feed(&piece, &mut out)?;
    }
    Ok(scanner.finish()?.rows)
}

#[tokio::test]
async fn a_call_is_one_post_of_the_query_with_the_token() {
    let service = Service::start(GRAPH, vec![json_answer(ONE)], false).await;
    let rows = service
        .client(Tokens::default(), Limits::default())
        .rows(&Query::new("T | where A == \"é\""), soon())
        .await
        .unwrap();
    assert_eq!(rows.rows.len(), 1);
    let requests = service.requests.lock().unwrap();
    let request = requests[0].to_ascii_lowercase();
    assert_eq!(requests.len(), 1);
    assert!(request.starts_with("post /v1.0/security/runhuntingquery http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nauthorization: bearer t0\r\n"), "{request}");
    assert!(request.contains("\r\ncontent-type: application/json; charset=utf-8\r\n"), "{request}");
    assert!(request.contains("\r\naccept-encoding: gzip\r\n"), "{request}");
    assert!(requests[0].ends_with(r#"{"Query":"T | where A == \"é\""}"#), "{request}");
}

#[tokio::test]
async fn packed_rows_are_read_while_they_come() {
    assert_eq!(packed_of(json_answer(ONE), Limits::default()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_for_the_next_call() {
    let unauthorized =
        http("401 Unauthorized", "", r#"{"error":{"code":"InvalidAuthenticationToken","message":"expired"}}"#);
    let service = Service::start(GRAPH, vec![unauthorized.clone(), json_answer(ONE)], false).await;
    let client = service.client(Tokens::default(), Limits::default());
    let error = client.rows(&Query::new("T"), soon()).await.unwrap_err();
    assert!(matches!(&error, Error::StaleToken { message } if message.contains("expired")), "{error}");
    // Whether and when there is another call is for those to say who know the quota.
    assert_eq!(service.requests.lock().unwrap().len(), 1);
    assert_eq!(client.rows(&Query::new("T"), soon()).await.unwrap().rows.len(), 1);
    assert!(!service.requests.lock().unwrap()[1].contains("Bearer t0"));

    let service = Service::start(GRAPH, vec![unauthorized], false).await;
    let client = service.client(Tokens { always_the_same: true, ..Tokens::default() }, Limits::default());
    assert!(matches!(client.rows(&Query::new("T"), soon()).await, Err(Error::Unauthorized { .. })));
    assert_eq!(service.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_untrusted_endpoint_gets_no_request() {
    let tokens = Arc::new(Tokens::default());
    let outbound = Outbound::new(http_client().unwrap(), tokens.clone(), TrustedHosts::default());
    let service = Service::start(GRAPH, vec![json_answer(ONE)], false).await;
    let untrusted = Client::new(outbound, service.url.clone(), "r".to_owned(), Limits::default());
    let error = untrusted.rows(&Query::new("T"), soon()).await.unwrap_err();
    assert!(matches!(error, Error::Outbound(outbound::Error::Untrusted { .. })), "{error}");
    assert_eq!(tokens.calls.load(Ordering::Relaxed), 0);
    assert!(service.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn throttling_carries_the_services_wait() {
    let body = r#"{"error":{"code":"TooManyRequests","message":"Please retry again later."}}"#;
    for (headers, wait) in [
        ("retry-after: 10\r\n", Some(10)),
        ("date: Fri, 06 Nov 2026 08:49:30 GMT\r\nretry-after: Fri, 06 Nov 2026 08:49:37 GMT\r\n", Some(7)),
        ("retry-after: Fri, 06 Nov 2026 08:49:37 GMT\r\n", None),
        ("date: Fri, 06 Nov 2026 08:49:30 GMT\r\nretry-after: Fri, 06 Nov 2026 08:48:40 GMT\r\n", None),
        ("date: Fri, 06 Nov 2026 08:49:30 GMT\r\nretry-after: 0\r\n", None),
        ("", None),
    ] {
        let error = rows_of(http("429 Too Many Requests", headers, body)).await.unwrap_err();
        let Error::Throttled { after, cpu, .. } = error else { panic!("{error}") };
        assert_eq!((after, cpu), (wait.map(Duration::from_secs), false));
    }
}

#[tokio::test]
async fn answers_that_are_not_whole_json_are_corrupt() {
    let kind = "content-type: application/json\r\n";
    let cut = format!("HTTP/1.1 200 OK\r\n{kind}content-length: {}\r\n\r\n{ONE}", ONE.len() + 1);
    let cut_chunk = format!("HTTP/1.1 200 OK\r\n{kind}transfer-encoding: chunked\r\n\r\n{:x}\r\n{ONE}\r\n", ONE.len());
    let no_length = format!("HTTP/1.1 200 OK\r\n{kind}connection: close\r\n\r\n{}", &ONE[..ONE.len() - 1]);
    for answer in [
        cut,
        cut_chunk,
        no_length,
        json_answer(""),
        json_answer("<html>"),
        http("200 OK", "content-type: application/json\r\ncontent-encoding: gzip\r\n", ONE),
        http("206 Partial Content", kind, ONE),
    ] {
        let error = rows_of(answer.clone()).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{answer}: {error}");
        let error = packed_of(answer.clone(), Limits::default()).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{answer}: {error}");
    }
}

#[tokio::test]
async fn json_is_read_whatever_the_service_calls_it() {
    for kind in ["text/plain; charset=utf-8", "text/json", "application/problem+json", "application/octet-stream"] {
        let answer = http("200 OK", &format!("content-type: {kind}\r\n"), ONE);
        assert!(rows_of(answer.clone()).await.is_ok(), "{kind}");
        assert!(packed_of(answer, Limits::default()).await.is_ok(), "{kind}");
    }
    let page = http("200 OK", "content-type: Application/XHTML+XML\r\n", ONE);
    assert!(matches!(rows_of(page).await, Err(Error::Foreign { .. })));
}

#[tokio::test]
async fn answers_above_the_cap_are_not_read() {
    let limits = Limits { packed_bytes: ONE.len() as u64 - 1, rows_bytes: ONE.len() as u64 - 1, ..Limits::default() };
    let unannounced = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{ONE}");
    for answer in [json_answer(ONE), unannounced] {
        let error = packed_of(answer.clone(), limits).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        let service = Service::start(GRAPH, vec![answer], false).await;
        let error = service.client(Tokens::default(), limits).rows(&Query::new("T"), soon()).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
    let enough = Limits { packed_bytes: ONE.len() as u64, ..limits };
    assert_eq!(packed_of(json_answer(ONE), enough).await.unwrap(), 1);
}

#[tokio::test]
async fn a_silent_service_times_out() {
    let service = Service::start(GRAPH, vec![String::new()], true).await;
    let client = service.client(Tokens::default(), Limits::default());
    let error = client.rows(&Query::new("T"), Instant::now() + Duration::from_millis(50)).await.err().unwrap();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");

    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{".to_owned();
    let limits = Limits { read_timeout: Duration::from_millis(50), ..Limits::default() };
    let service = Service::start(GRAPH, vec![head], true).await;
    let error = drain(service.client(Tokens::default(), limits).packed(&Query::new("T"), soon()).await.unwrap())
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::TimedOut { message } if message.contains("nothing came")), "{error}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let error = client(url, Tokens::default(), Limits::default()).rows(&Query::new("T"), soon()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");

    let error = rows_of(String::new()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let error = rows_of(http("302 Found", "location: http://127.0.0.1:1/\r\n", "")).await.unwrap_err();
    assert!(matches!(error, Error::NotTaken { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_permission_is_named_for_the_service_asked() {
    let body = r#"{"error":{"code":"Forbidden","message":"Missing application roles."}}"#;
    for (path, permission) in [
        (GRAPH, "ThreatHunting.Read.All"),
        ("/api/advancedhunting/run", "AdvancedHunting.Read.All"),
        ("/api/advancedqueries/run", "AdvancedQuery.Read.All"),
    ] {
        let service = Service::start(path, vec![http("403 Forbidden", "", body)], false).await;
        let client = service.client(Tokens::default(), Limits::default());
        assert_eq!(client.dialect().is_retiring(), path != GRAPH);
        let error = client.rows(&Query::new("T"), soon()).await.unwrap_err().to_string();
        assert!(error.contains(permission) && error.contains("Missing application roles."), "{error}");
    }
}
