use crate::fake::{Fake, body, missing, soon, status, v1, v2};
use adxingestor::adx::{Effect, Error, Options};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const EXACT: Options = Options { strong_consistency: true, read_only: true };

/// Gives the `n`-th of `statuses`, then success.
fn after(statuses: Vec<u16>) -> impl Fn(&crate::fake::Seen) -> crate::fake::Reply + Send + Sync {
    let count = AtomicUsize::new(0);
    move |seen| match statuses.get(count.fetch_add(1, Ordering::SeqCst)) {
        Some(code) => status(*code).with("retry-after", "0"),
        None if seen.path.starts_with("/v2") => v2("N:long", &json!([[1]])),
        None => v1("N:long", &json!([[1]])),
    }
}

#[tokio::test]
async fn a_query_asks_for_exact_data_and_names_itself() {
    let fake = Fake::start(|_| v2("N:long", &json!([[1]]))).await;
    let table = fake.client().query("T | count", EXACT, soon()).await.unwrap();
    assert_eq!(table.len(), 1);
    let [request] = &fake.seen()[..] else { panic!("one request") };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v2/rest/query"));
    let sent: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((sent["db"].as_str(), sent["csl"].as_str()), (Some("Hunting"), Some("T | count")));
    let properties: serde_json::Value = serde_json::from_str(sent["properties"].as_str().unwrap()).unwrap();
    assert_eq!(properties["Options"]["queryconsistency"], "strongconsistency");
    assert_eq!(request.header("accept"), "application/json");
    assert_eq!(request.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(request.header("authorization"), "Bearer token-0");
    assert_eq!(request.header("x-ms-client-request-id"), "adxingestor.query;12345678-9abc-4def-8123-456789abcdef");
    assert_eq!(request.header("x-ms-app"), "adxingestor");
    assert_eq!(request.header("x-ms-readonly"), "true");
}

#[tokio::test]
async fn a_service_that_does_not_know_the_consistency_of_queries_is_asked_without_from_then_on() {
    let unknown = json!({"error": {"code": "General_BadRequest", "@permanent": true,
        "@message": "Request property 'queryconsistency' is not supported"}});
    let fake = Fake::start(move |seen| match String::from_utf8_lossy(&seen.body).contains("queryconsistency") {
        true => status(400).saying(&unknown),
        false => v2("N:long", &json!([[1]])),
    })
    .await;
    let client = fake.client();
    for _ in 0..3 {
        assert_eq!(client.query("T | count", EXACT, soon()).await.unwrap().len(), 1);
    }
    assert_eq!(fake.seen().len(), 4);
    // A query that is wrong for another reason stays wrong.
    let wrong =
        json!({"error": {"code": "General_BadRequest", "@permanent": true, "@message": "no `queryconsistency` here"}});
    let fake = Fake::start(move |_| status(400).saying(&wrong)).await;
    assert!(fake.client().query("queryconsistency | count", EXACT, soon()).await.is_err());
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_packed_although_nobody_asked_for_it_is_unpacked() {
    use std::io::Write as _;
    let packed = |body: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        bytes::Bytes::from(encoder.finish().unwrap())
    };
    let fake = Fake::start(move |_| {
        let reply = v2("N:long", &json!([[1]]));
        crate::fake::Reply { body: packed(&reply.body), ..reply }.with("content-encoding", "gzip")
    })
    .await;
    assert_eq!(fake.client().query("T", EXACT, soon()).await.unwrap().len(), 1);
    assert!(!fake.seen()[0].header("accept-encoding").contains("gzip"));
    let fake = Fake::start(|_| v2("N:long", &json!([[1]])).with("content-encoding", "br")).await;
    let error = fake.client().query("T", EXACT, soon()).await.unwrap_err().to_string();
    assert!(error.contains("Content-Encoding: br"), "{error}");
}

#[tokio::test]
async fn a_command_goes_to_the_management_address_and_may_write() {
    let fake = Fake::start(|_| v1("N:long", &json!([[1]]))).await;
    fake.client().command(".show tables", Effect::Read, soon()).await.unwrap();
    let [request] = &fake.seen()[..] else { panic!("one request") };
    assert_eq!((request.path.as_str(), request.header("x-ms-readonly")), ("/v1/rest/mgmt", ""));
    assert!(request.header("x-ms-client-request-id").starts_with("adxingestor.command;"));
}

#[tokio::test]
async fn reads_are_repeated_while_the_service_is_busy_and_not_for_ever() {
    let fake = Fake::start(after(vec![429, 503, 500, 504])).await;
    fake.client().query("T", EXACT, soon()).await.unwrap();
    assert_eq!(fake.seen().len(), 5);
    let fake = Fake::start(after(vec![429; 9])).await;
    let error = fake.client().query("T", EXACT, soon()).await.unwrap_err();
    assert!(matches!(error, Error::Throttled { .. }), "{error}");
    assert_eq!(fake.seen().len(), 5);
}

#[tokio::test]
async fn a_wait_that_the_service_asks_for_is_not_begun_beyond_the_deadline() {
    let fake = Fake::start(|_| status(429).with("retry-after", "3600")).await;
    let error = fake.client().query("T", EXACT, soon()).await.unwrap_err();
    assert!(
        matches!(error, Error::Throttled { after: Some(after), .. } if after == Duration::from_secs(3600)),
        "{error}"
    );
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let fake = Fake::start(|_| missing("Table", "T")).await;
    let error = fake.client().query("T", EXACT, soon()).await.unwrap_err();
    assert!(matches!(&error, Error::NotFound { what } if what.contains("'T'")), "{error}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_repeated_only_if_twice_is_the_same_as_once() {
    let lossy = || {
        let count = AtomicUsize::new(0);
        move |_: &crate::fake::Seen| match count.fetch_add(1, Ordering::SeqCst) {
            0 => v1("N:long", &json!([[1]])).broken_off(),
            _ => v1("N:long", &json!([[1]])),
        }
    };
    let fake = Fake::start(lossy()).await;
    let error = fake.client().command(".append", Effect::Once, soon()).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    assert_eq!(fake.seen().len(), 1);
    let fake = Fake::start(lossy()).await;
    fake.client().command(".create-merge", Effect::Idempotent, soon()).await.unwrap();
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_change_that_was_throttled_was_not_done_and_is_repeated() {
    let fake = Fake::start(after(vec![429, 429])).await;
    fake.client().command(".append", Effect::Once, soon()).await.unwrap();
    assert_eq!(fake.seen().len(), 3);
    let fake = Fake::start(after(vec![503])).await;
    let error = fake.client().command(".append", Effect::Once, soon()).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn an_error_that_is_not_permanent_is_worth_another_question() {
    let count = AtomicUsize::new(0);
    let fake = Fake::start(move |_| {
        let again = json!({"error": {"code": "General_BadRequest", "@message": "runaway", "@permanent": false}});
        if count.fetch_add(1, Ordering::SeqCst) == 0 { status(400).saying(&again) } else { v2("N:long", &json!([[1]])) }
    })
    .await;
    fake.client().query("T", EXACT, soon()).await.unwrap();
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn no_answer_by_the_deadline_is_an_unknown_outcome_for_a_change_only() {
    // A listener that accepts and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut fake = Fake::start(|_| status(404)).await;
    fake.url = url::Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::AsyncReadExt;
            use tokio::io::AsyncWriteExt;
            let mut first = [0u8; 4];
            stream.read_exact(&mut first).await.unwrap();
            if first.starts_with(b"GET") {
                stream
                    .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await
                    .unwrap();
            }
            held.push(stream);
        }
    });
    let client = fake.client();
    let short = || Instant::now() + Duration::from_millis(150);
    let error = client.command(".append", Effect::Idempotent, short()).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    let error = client.query("T", EXACT, short()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    silent.abort();
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let fake = Fake::start(|seen| {
        if seen.header("authorization") == "Bearer token-0" { status(401) } else { v2("N:long", &json!([[1]])) }
    })
    .await;
    fake.client().query("T", EXACT, soon()).await.unwrap();
    assert_eq!(fake.seen().len(), 2);
    let fake = Fake::start(|_| status(401)).await;
    let error = fake.client().query("T", EXACT, soon()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn nothing_goes_to_a_host_that_is_not_trusted() {
    let fake = Fake::start(|_| v2("N:long", &json!([[1]]))).await;
    let error = fake.client_trusting(vec![]).query("T", EXACT, soon()).await.unwrap_err();
    assert!(matches!(error, Error::Outbound(_)), "{error}");
    assert!(fake.all_seen().is_empty());
}

#[tokio::test]
async fn no_token_is_asked_for_a_resource_that_is_not_trusted() {
    for resource in [
        "https://kusto.example",
        "https://graph.microsoft.com.evil.example",
        "https://kusto.kusto.chinacloudapi.cn",
        "kusto",
    ] {
        let fake = Fake::start(|_| v2("N:long", &json!([[1]])))
            .await
            .authenticating(move || body(&json!({"AzureAD": {"KustoServiceResourceId": resource}})));
        let error = fake.client().query("T", EXACT, soon()).await.unwrap_err();
        assert!(matches!(error, Error::Outbound(_) | Error::Corrupt { .. }), "{resource}: {error}");
        assert!(fake.tokens.scopes.lock().unwrap().is_empty() && fake.seen().is_empty(), "{resource}");
    }
}

#[tokio::test]
async fn the_id_of_the_services_own_log_is_told_with_a_failure() {
    let fake = Fake::start(|_| status(400).with("x-ms-activity-id", "0a1b-2c?sig=3 x")).await;
    let error = fake.client().query("T", EXACT, soon()).await.unwrap_err();
    assert!(error.to_string().ends_with("(activity 0a1b-2csig3x)"), "{error}");
}

#[tokio::test]
async fn the_scope_is_asked_for_once_and_has_a_default() {
    let fake = Fake::start(|_| v2("N:long", &json!([[1]]))).await;
    let client = fake.client();
    client.query("T", EXACT, soon()).await.unwrap();
    client.query("T", EXACT, soon()).await.unwrap();
    assert_eq!(fake.all_seen().iter().filter(|seen| seen.method == "GET").count(), 1);
    assert_eq!(*fake.tokens.scopes.lock().unwrap(), ["https://kusto.kusto.windows.net/.default"; 2]);
}

#[tokio::test]
async fn an_ingestion_endpoint_that_names_no_scope_takes_the_engines() {
    for (code, text) in [(404, ""), (400, "what?"), (401, ""), (200, "<html>"), (200, "{}")] {
        let engine = Fake::start(|_| v1("N:long", &json!([[1]]))).await.authenticating(|| {
            body(&json!({"AzureAD": {"KustoServiceResourceId": "https://kusto.kustomfa.windows.net"}}))
        });
        let ingest = Fake::start(|_| v1("N:long", &json!([[1]])))
            .await
            .authenticating(move || crate::fake::Reply { body: text.to_owned().into(), ..status(code) });
        engine.client_ingesting_at(&ingest).dm_command(".get x", Effect::Read, soon()).await.unwrap();
        assert_eq!(
            *engine.tokens.scopes.lock().unwrap(),
            ["https://kusto.kustomfa.windows.net/.default"],
            "{code} {text}"
        );
    }
}

#[tokio::test]
async fn an_error_inside_an_answer_of_200_is_an_error() {
    let fake = Fake::start(|_| {
        body(&json!([
            {"FrameType": "DataTable", "TableId": 1, "TableKind": "PrimaryResult", "TableName": "P", "Columns": [{"ColumnName": "N", "ColumnType": "long"}], "Rows": [[1]]},
            {"FrameType": "DataSetCompletion", "HasErrors": true, "Cancelled": false,
             "OneApiErrors": [{"error": {"code": "LimitsExceeded", "@message": "too much", "@permanent": true}}]},
        ]))
    })
    .await;
    let error = fake.client().query("T", EXACT, soon()).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { code, permanent: true, .. } if code == "LimitsExceeded"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let fake = Fake::start(|_| status(307).with("location", "http://127.0.0.1:1/")).await;
    let error = fake.client().query("T", EXACT, soon()).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { code, .. } if code == "HTTP 307"), "{error}");
}
