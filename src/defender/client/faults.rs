//! Every way in which a service or what stands before it can fail, at the network edge: what a call then ends in, after how
//! many requests, and what is said.

use super::tests::{GRAPH, ONE, Service, Tokens, drain, http, json_answer, soon};
use super::*;
use crate::outbound;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::Write as _;

const SIZE: &str = "Query execution has exceeded the allowed result size. Optimize your query by limiting the number of results and try again";
const COST: &str = "Query execution has exceeded the allowed limits. The query execution was preempted. This could possibly be due to high CPU and/or memory resource consumption. Optimize your query by following best practices and try again.";
const CPU: &str =
    "You have exceeded processing resources allocated to this tenant. You can run queries again in 00:05:00.";

fn graph(code: &str, message: &str) -> String {
    json!({"error": {"code": code, "message": message, "innerError": {"date": "2025-02-26T09:31:49", "request-id": "r"}}})
        .to_string()
}

fn older(code: &str, message: &str) -> String {
    json!({"error": {"code": code, "message": message, "target": "r"}}).to_string()
}

/// What an error is, as far as the caller tells errors apart.
fn kind(error: &Error) -> String {
    match error {
        Error::Throttled { after, cpu, .. } => {
            format!("throttled {:?}{}", after.map(|after| after.as_secs()), if *cpu { " cpu" } else { "" })
        }
        Error::ResultTooLarge { .. } => "result too large".to_owned(),
        Error::TooLarge { .. } => "too large".to_owned(),
        Error::TooExpensive { .. } => "too expensive".to_owned(),
        Error::TimedOut { .. } => "timed out".to_owned(),
        Error::GatewayTimedOut { .. } => "gateway timed out".to_owned(),
        Error::Refused { .. } if error.is_unknown_table() => "unknown table".to_owned(),
        Error::Refused { code, .. } => format!("refused {code}"),
        Error::NotTaken { .. } => "not taken".to_owned(),
        Error::Disallowed { .. } => "disallowed".to_owned(),
        Error::Unauthorized { .. } => "unauthorized".to_owned(),
        Error::StaleToken { .. } => "stale token".to_owned(),
        Error::Forbidden { permission, api, .. } => format!("forbidden {permission} of {api}"),
        Error::NotFound { .. } => "not found".to_owned(),
        Error::Unavailable { after, .. } => format!("unavailable {:?}", after.map(|after| after.as_secs())),
        Error::Foreign { kind, .. } => format!("foreign {kind}"),
        Error::Corrupt { .. } => "corrupt".to_owned(),
        Error::Outbound(outbound::Error::Token { .. }) => "no token".to_owned(),
        Error::Outbound(_) => "not sent".to_owned(),
    }
}

fn chunked(body: &str, whole: bool) -> String {
    let end = if whole { "0\r\n\r\n" } else { "" };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n";
    format!("{head}\r\n{:x}\r\n{body}\r\n{end}", body.len())
}

/// What is met, and what the call ends in.
fn cases() -> Vec<(&'static str, String, &'static str)> {
    let unresolved = "'where' operator: Failed to resolve table or column expression named 'Foo'. Fix semantic errors in your query.";
    let scalar =
        "'summarize' operator: Failed to resolve scalar expression named 'X'. Fix semantic errors in your query.";
    let page = "<html><head><title>502 Bad Gateway</title></head></html>";
    let retry = "retry-after: 10\r\n";
    let html = "content-type: text/html; charset=utf-8\r\n";
    let json = "content-type: application/json\r\n";
    vec![
        (
            "a query that means nothing",
            http("400 Bad Request", json, &graph("BadRequest", scalar)),
            "refused BadRequest",
        ),
        ("a table that is not there", http("400 Bad Request", json, &graph("BadRequest", unresolved)), "unknown table"),
        (
            "the same at an older service",
            http("400 Bad Request", json, &older("BadRequest", unresolved)),
            "unknown table",
        ),
        (
            "a body that it does not take",
            http("400 Bad Request", json, &older("InvalidRequestBody", "Request body is incorrect")),
            "refused InvalidRequestBody",
        ),
        ("a 400 without a word", http("400 Bad Request", "", ""), "refused 400"),
        ("too many bytes", http("400 Bad Request", json, &graph("badRequest", SIZE)), "result too large"),
        ("too much cost", http("400 Bad Request", json, &graph("BadRequest", COST)), "too expensive"),
        (
            "too long a run",
            http("400 Bad Request", json, &older("BadRequest", "Query exceeded the timeout period.")),
            "timed out",
        ),
        ("CPU used up, as a 400", http("400 Bad Request", json, &graph("BadRequest", CPU)), "throttled None cpu"),
        (
            "no permission",
            http("403 Forbidden", json, &graph("Forbidden", "Insufficient privileges.")),
            "forbidden ThreatHunting.Read.All of Microsoft Graph",
        ),
        ("a wrong path", http("404 Not Found", json, &graph("ResourceNotFound", "Resource not found.")), "not found"),
        ("a wrong path, without a word", http("404 Not Found", "", ""), "not found"),
        ("a proxy's page, as a 400", http("400 Bad Request", html, page), "foreign text/html"),
        ("a proxy's page, as a 401", http("401 Unauthorized", html, page), "foreign text/html"),
        ("a proxy's page, as a 403", http("403 Forbidden", html, page), "foreign text/html"),
        ("a proxy's page, as a 404", http("404 Not Found", html, page), "foreign text/html"),
        ("a proxy's page that says no type", http("403 Forbidden", "", page), "foreign text/html"),
        (
            "too many calls",
            http("429 Too Many Requests", retry, &graph("TooManyRequests", "Please retry again later.")),
            "throttled Some(10)",
        ),
        (
            "too many calls, no time named",
            http(
                "429 Too Many Requests",
                "",
                &older("429", "API calls quota exceeded! maximum allowed 45 per 00:01:00"),
            ),
            "throttled None",
        ),
        ("CPU used up", http("429 Too Many Requests", "", &graph("TooManyRequests", CPU)), "throttled None cpu"),
        ("a 429 of a proxy", http("429 Too Many Requests", html, page), "throttled None"),
        ("its own failure", http("500 Internal Server Error", json, &graph("UnknownError", "")), "unavailable None"),
        ("a gateway's page", http("502 Bad Gateway", html, page), "unavailable None"),
        ("an overload", http("503 Service Unavailable", retry, ""), "unavailable Some(10)"),
        ("a gateway that gave up", http("504 Gateway Timeout", json, &graph("UnknownError", "")), "gateway timed out"),
        ("a redirect", http("307 Temporary Redirect", "location: http://127.0.0.1:1/\r\n", ""), "not taken"),
        ("a proxy that wants a password", http("407 Proxy Authentication Required", html, page), "not taken"),
        ("a method that is not taken", http("405 Method Not Allowed", json, &graph("BadRequest", "POST")), "not taken"),
        (
            "a feature that the tenant does not have",
            http("403 Forbidden", json, &older("DisabledFeature", "Tenant feature not enabled.")),
            "disallowed",
        ),
        ("an error that calls itself an answer", json_answer(&graph("UnknownError", "Some words.")), "corrupt"),
        ("too many bytes in an answer that is none", json_answer(&graph("BadRequest", SIZE)), "result too large"),
        (
            "too many calls in an answer that is none",
            json_answer(&graph("TooManyRequests", "Later.")),
            "throttled None",
        ),
        ("a proxy's page", http("200 OK", html, page), "foreign text/html"),
        ("a page called JSON", json_answer(page), "corrupt"),
        ("nothing", json_answer(""), "corrupt"),
        ("an answer that is cut", format!("HTTP/1.1 200 OK\r\n{json}content-length: 3000\r\n\r\n{ONE}"), "corrupt"),
        ("chunks that are cut", chunked(ONE, false), "corrupt"),
        ("a document that ends in the middle", chunked(&ONE[..ONE.len() - 1], true), "corrupt"),
        (
            "another schema than was asked for",
            json_answer(r#"{"schema":[{"name":"Other","type":"String"}],"results":[{"Other":"{}"}]}"#),
            "corrupt",
        ),
        (
            "a type of its own for the row",
            json_answer(r#"{"schema":[{"name":"Row","type":"Object"}],"results":[{"Row":{"A":1}}]}"#),
            "corrupt",
        ),
        ("more than anybody reads", chunked(&" ".repeat(5_000), true), "too large"),
        (
            "a length beyond what anybody reads",
            format!("HTTP/1.1 200 OK\r\n{json}content-length: 99999999999\r\n\r\n{{"),
            "too large",
        ),
        ("a coding that nobody asked for", http("200 OK", "content-encoding: br\r\n", ONE), "corrupt"),
        ("a connection that ends at once", String::new(), "unavailable None"),
        ("no HTTP", "SSH-2.0-OpenSSH_9.6\r\n".to_owned(), "unavailable None"),
    ]
}

#[tokio::test]
async fn each_failure_has_an_answer_of_its_own() {
    let limits = Limits { packed_bytes: 4_000, rows_bytes: 4_000, ..Limits::default() };
    for (met, answer, wanted) in cases() {
        let service = Service::start(GRAPH, vec![answer], false).await;
        let client = service.client(Tokens::default(), limits);
        let ended = match client.packed(&Query::new("T"), soon()).await {
            Ok(packed) => drain(packed).await,
            Err(error) => Err(error),
        };
        let error = ended.expect_err(met);
        assert_eq!(kind(&error), wanted, "{met}: {error}");
        let said = error.to_string();
        assert!(said.chars().count() < 700 && !said.contains("Bearer"), "{met}: {said}");
        assert_eq!(service.requests.lock().unwrap().len(), 1, "{met} is not repeated here");
    }
}

#[tokio::test]
async fn what_an_error_says_is_kept_where_it_calls_itself_an_answer() {
    for body in
        [graph("UnknownError", "Some words."), format!("\r\n {{ {}", &graph("UnknownError", "Some words.")[1..])]
    {
        let whole = json_answer(&body).into_bytes();
        for answer in [whole, with_head("200 OK", &gzip(body.as_bytes()))] {
            let service = Service::start(GRAPH, vec![answer], false).await;
            let client = service.client(Tokens::default(), Limits::default());
            let said = client.rows(&Query::new("T"), soon()).await.unwrap_err().to_string();
            assert!(said.contains("UnknownError, Some words."), "{said}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_for_every_service() {
    let refused = [
        (GRAPH, graph("InvalidAuthenticationToken", "Lifetime validation failed, the token is expired.")),
        ("/api/advancedhunting/run", older("Unauthorized", "expired")),
        ("/api/advancedqueries/run", older("Unauthorized", "expired")),
    ];
    for (path, body) in refused {
        let refused = http("401 Unauthorized", "", &body);
        let service = Service::start(path, vec![refused, json_answer(ONE)], false).await;
        let client = service.client(Tokens::default(), Limits::default());
        let error = client.packed(&Query::new("T"), soon()).await.err().unwrap();
        assert_eq!(kind(&error), "stale token", "{path}");
        let packed = client.packed(&Query::new("T"), soon()).await;
        assert_eq!(drain(packed.unwrap()).await.unwrap(), 1, "{path}");
        assert_eq!(service.requests.lock().unwrap().len(), 2, "{path}");
    }
}

#[tokio::test]
async fn only_graph_is_told_a_time_span() {
    for (path, told) in [(GRAPH, true), ("/api/advancedhunting/run", false), ("/api/advancedqueries/run", false)] {
        let service = Service::start(path, vec![json_answer(ONE)], false).await;
        let query = Query { kql: "T", timespan: Some("2000-01-01/2100-01-01") };
        service.client(Tokens::default(), Limits::default()).rows(&query, soon()).await.unwrap();
        let request = service.requests.lock().unwrap().remove(0);
        assert_eq!(request.contains(r#""Timespan":"2000-01-01/2100-01-01""#), told, "{request}");
        assert!(request.contains(r#""Query":"T""#), "{request}");
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn with_head(status: &str, body: &[u8]) -> Vec<u8> {
    let kind = "content-type: application/json\r\ncontent-encoding: gzip\r\nconnection: close\r\n";
    let mut answer = format!("HTTP/1.1 {status}\r\n{kind}\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}

async fn bytes_of(body: Vec<u8>, cap: u64) -> Result<u64, Error> {
    let service = Service::start(GRAPH, vec![with_head("200 OK", &body)], false).await;
    let limits = Limits { packed_bytes: cap, ..Limits::default() };
    drain(service.client(Tokens::default(), limits).packed(&Query::new("T"), soon()).await?).await
}

#[tokio::test]
async fn a_compressed_answer_is_read_like_any_other() {
    let rows: Vec<serde_json::Value> =
        (0..5_000).map(|n| json!({"Row": json!({"N": n, "Text": format!("{:x}", n * 7919)}).to_string()})).collect();
    let document = json!({"results": rows}).to_string().into_bytes();
    let compressed = gzip(&document);
    assert!(compressed.len() * 3 < document.len());
    assert_eq!(bytes_of(compressed.clone(), document.len() as u64).await.unwrap(), 5_000);
    let mut two = gzip(&document[..1_000]);
    two.extend(gzip(&document[1_000..]));
    assert_eq!(bytes_of(two, 1 << 20).await.unwrap(), 5_000, "in several members");
    assert!(matches!(bytes_of(compressed, document.len() as u64 - 1).await, Err(Error::TooLarge { .. })));

    let service = Service::start(GRAPH, vec![with_head("200 OK", &gzip(ONE.as_bytes()))], false).await;
    let rows = service.client(Tokens::default(), Limits::default()).rows(&Query::new("T"), soon()).await.unwrap();
    assert_eq!(rows.rows.len(), 1);
    let refusal = with_head("400 Bad Request", &gzip(graph("BadRequest", SIZE).as_bytes()));
    let service = Service::start(GRAPH, vec![refusal], false).await;
    let error = service.client(Tokens::default(), Limits::default()).rows(&Query::new("T"), soon()).await.unwrap_err();
    assert_eq!(kind(&error), "result too large");
}

#[tokio::test]
async fn a_small_answer_that_unpacks_into_an_endless_one_is_refused_by_the_cap() {
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    assert!(matches!(bytes_of(bomb.clone(), 1 << 20).await, Err(Error::TooLarge { cap: 1_048_576 })));
    let service = Service::start(GRAPH, vec![with_head("500 Internal Server Error", &bomb)], false).await;
    let error = service.client(Tokens::default(), Limits::default()).rows(&Query::new("T"), soon()).await.unwrap_err();
    assert_eq!(kind(&error), "unavailable None", "the status says enough");
}

#[tokio::test]
async fn a_compressed_answer_that_is_cut_or_spoilt_is_never_taken_for_whole() {
    let compressed = gzip(ONE.as_bytes());
    for end in 0..compressed.len() {
        let error = bytes_of(compressed[..end].to_vec(), 1 << 20).await.unwrap_err();
        assert_eq!(kind(&error), "corrupt", "cut at {end}: {error}");
    }
    // The flags, time and system of the head may be any.
    for at in (0..3).chain(10..compressed.len()) {
        let mut spoilt = compressed.clone();
        spoilt[at] ^= 0x55;
        assert!(bytes_of(spoilt, 1 << 20).await.is_err(), "spoilt at {at}");
    }
    let error = bytes_of(ONE.as_bytes().to_vec(), 1 << 20).await.unwrap_err();
    assert_eq!(kind(&error), "corrupt", "not compressed at all");
}

proptest! {
    #![proptest_config(crate::testing::cases(64))]

    #[test]
    fn whatever_is_sent_as_an_answer_is_read_or_refused(
        status in prop_oneof![Just(200u16), 100u16..600],
        body in proptest::collection::vec(any::<u8>(), 0..200),
        compressed: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let body = if compressed { gzip(&body) } else { body };
            let mut answer = with_head(&format!("{status} X"), &body);
            if !compressed {
                answer = String::from_utf8_lossy(&answer).replace("content-encoding: gzip\r\n", "").into_bytes();
            }
            let service = Service::start(GRAPH, vec![answer], false).await;
            let client = service.client(Tokens { always_the_same: true, ..Tokens::default() }, Limits::default());
            let deadline = Instant::now() + Duration::from_secs(5);
            if let Ok(packed) = client.packed(&Query::new("T"), deadline).await {
                assert!(drain(packed).await.is_err(), "arbitrary bytes are no answer");
            }
        });
    }
}
