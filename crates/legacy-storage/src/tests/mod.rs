//! What the crates do wrong, against a service that answers as it is told. What goes right is tested on the emulator, by
//! the suite of all adapters.

mod stand_in;

use crate::wire::{Authorize, REQUEST_TIMEOUT, Wire};
use crate::{Access, Account, BoxError, OpenError, Stores, TokenSource, open};
use adxingestor_ports::storage::{ETag, Error, Key, Operation, Properties, Range, Receipt};
use adxingestor_ports::timestamp::{Clock, Timestamp};
use async_trait::async_trait;
use azure_core::{Context, Method, Policy, Request};
use stand_in::{StandIn, answer};
use std::error::Error as _;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use url::Url;

const SECOND: Duration = Duration::from_secs(1);

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        "2026-04-14T07:00:00.9Z".parse().unwrap()
    }
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn opened(url: &Url, access: Access) -> Result<Stores, OpenError> {
    let account = Account { name: "account".to_owned(), tables: url.clone(), queues: url.clone(), access };
    open(account, "state", http(), Arc::new(Fixed), Arc::new(|_, _| {}))
}

fn stores(service: &StandIn) -> Stores {
    opened(&service.url, Access::Key("a2V5".to_owned())).unwrap()
}

fn key(row: &str) -> Key {
    Key::new("p", row).unwrap()
}

fn properties() -> Properties {
    serde_json::json!({"v": "private row"}).as_object().unwrap().clone()
}

fn inserts(count: usize) -> Vec<Operation> {
    (0..count).map(|row| Operation::Insert(key(&row.to_string()), properties())).collect()
}

/// What each call of the ports ends in.
async fn all_calls(stores: &Stores) -> Vec<(&'static str, Result<(), Error>)> {
    let (tables, queues) = (&stores.tables, &stores.queues);
    let (etag, receipt) = (|| ETag("W/\"1\"".to_owned()), Receipt("r".to_owned()));
    let range = Range { partition: "p".to_owned(), from: String::new(), to: None };
    let commit = |operations: Vec<Operation>| async move { tables.commit(&operations).await.map(drop) };
    vec![
        ("get", tables.get(&key("r")).await.map(drop)),
        ("insert", commit(inserts(1)).await),
        ("replace", commit(vec![Operation::Replace(key("r"), properties(), etag())]).await),
        ("merge", commit(vec![Operation::Merge(key("r"), properties(), etag())]).await),
        ("delete", commit(vec![Operation::Delete(key("r"), etag())]).await),
        ("transaction", commit(inserts(2)).await),
        ("page", tables.page(&range, None).await.map(drop)),
        ("send", queues.send("queue", b"x", SECOND).await),
        ("receive", queues.receive("queue", 1, SECOND).await.map(drop)),
        ("extend", queues.extend("queue", "id", &receipt, SECOND).await.map(drop)),
        ("delete message", queues.delete("queue", "id", &receipt).await),
        ("count", queues.approximate_count("queue").await.map(drop)),
    ]
}

#[tokio::test]
async fn an_answer_that_is_not_the_services_leaves_the_outcome_unknown() {
    for foreign in [
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>".to_owned(),
        "HTTP/1.1 200 OK\r\nETag: 1\r\nx-ms-request-id: 1\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
        "HTTP/1.1 299 Odd\r\nContent-Length: 4\r\n\r\nnull".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\n{\"".to_owned(),
        "no HTTP at all\r\n\r\n".to_owned(),
    ] {
        let service = StandIn::start(vec![foreign.clone()]).await;
        for (call, result) in all_calls(&stores(&service)).await {
            assert!(matches!(result, Err(Error::Unavailable(_))), "{call} after {foreign:?}: {result:?}");
        }
    }
}

#[tokio::test]
async fn a_request_is_sent_once() {
    for status in
        ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests", "408 Request Timeout"]
    {
        let service = StandIn::start(vec![answer(status, "", "")]).await;
        let calls = all_calls(&stores(&service)).await;
        assert!(calls.iter().all(|(_, result)| result.is_err()));
        assert_eq!(service.asked().len(), calls.len(), "{status}");
    }
}

#[tokio::test]
async fn requests_share_a_connection() {
    let service = StandIn::start(vec![answer("404 Not Found", "x-ms-error-code: ResourceNotFound\r\n", "")]).await;
    let stores = stores(&service);
    for _ in 0..5 {
        assert_eq!(stores.tables.get(&key("r")).await.unwrap(), None);
    }
    let asked = service.asked();
    assert!(asked.len() == 5 && asked.iter().all(|request| request.connection == 0), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_answers_is_given_up() {
    let service = StandIn::start(vec![String::new()]).await;
    let stores = stores(&service);
    let before = tokio::time::Instant::now();
    let error = stores.tables.commit(&inserts(1)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("within 30 s"), "{error}");
    assert!((REQUEST_TIMEOUT..REQUEST_TIMEOUT + SECOND).contains(&before.elapsed()));
}

#[tokio::test]
async fn a_refused_transaction_is_an_error_with_its_operation() {
    let part = |status: &str, body: &str| {
        format!(
            "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_2\r\n\r\n--changesetresponse_2\r\n\
             Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 {status}\r\n\
             DataServiceVersion: 3.0;\r\n\r\n{body}\r\n--changesetresponse_2--\r\n--batchresponse_1--\r\n"
        )
    };
    let error = |code: &str, index: &str| {
        format!(
            "{{\"odata.error\":{{\"code\":\"{code}\",\"message\":{{\"lang\":\"en-US\",\"value\":\"{index}No.\"}}}}}}"
        )
    };
    for (body, expected) in [
        (part("409 Conflict", &error("EntityAlreadyExists", "1:")), "Exists { index: 1 }"),
        (part("412 Precondition Failed", &error("UpdateConditionNotSatisfied", "0:")), "Conflict { index: 0 }"),
        (part("404 Not Found", &error("ResourceNotFound", "1:")), "NotFound { what: \"operation 1: the row p/1\" }"),
        (part("409 Conflict", &error("EntityAlreadyExists", "")), "Unavailable"),
        (part("409 Conflict", &error("EntityAlreadyExists", "7:")), "Unavailable"),
        (part("400 Bad Request", &error("InvalidInput", "99:")), "Fatal"),
        (part("204 No Content", ""), "Unavailable"),
        (String::new(), "Unavailable"),
    ] {
        // A 404 of an insert means that there is no table yet, which the next answers make.
        let service = StandIn::start(vec![answer("202 Accepted", "", &body)]).await;
        let replace = |row: &str| Operation::Replace(key(row), properties(), ETag("W/\"1\"".to_owned()));
        let result = stores(&service).tables.commit(&[replace("0"), replace("1")]).await;
        assert!(format!("{:?}", result.unwrap_err()).starts_with(expected), "{expected} after {body}");
        assert_eq!(service.asked().len(), 1);
    }
}

#[tokio::test]
async fn requests_are_dated_by_the_clock_and_say_what_the_crates_cannot() {
    let service = StandIn::start(vec![answer("500 Internal Server Error", "", "")]).await;
    let Stores { tables, queues } = stores(&service);
    let receipt = Receipt("r".to_owned());
    assert!(queues.send("queue", b"x", Duration::from_millis(1500)).await.is_err());
    assert!(queues.extend("queue", "id", &receipt, Duration::from_millis(1)).await.is_err());
    assert!(queues.send_foreign("queue", " a\r\n").await.is_err());
    assert!(tables.get(&Key::new("o'brien", "''").unwrap()).await.is_err());
    let asked = service.asked();
    let line = |number: usize| asked[number].head.lines().next().unwrap().to_owned();
    assert_eq!(line(0), "POST /account/queue/messages?visibilitytimeout=2&messagettl=-1 HTTP/1.1");
    assert_eq!(line(1), "PUT /account/queue/messages/id?popreceipt=r&visibilitytimeout=1 HTTP/1.1");
    assert!(asked[1].body.is_empty() && asked[1].head.contains("content-length: 0"), "{:?}", asked[1]);
    assert_eq!(asked[2].body, "<QueueMessage><MessageText>&#32;a&#13;&#10;</MessageText></QueueMessage>");
    assert_eq!(line(3), "GET /account/state(PartitionKey='o''brien',RowKey='''''') HTTP/1.1");
    assert!(asked[3].head.contains("accept: application/json;odata=minimalmetadata"), "{}", asked[3].head);
    assert!(asked.iter().all(|request| request.head.contains("x-ms-date: Tue, 14 Apr 2026 07:00:00 GMT")));
}

/// A clock that is wrong until an answer tells it the time.
struct Wrong(Mutex<Timestamp>);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

#[tokio::test]
async fn a_request_that_was_refused_for_its_date_is_sent_once_more_with_the_right_one() {
    let denied = answer("403 Forbidden", "x-ms-error-code: AuthenticationFailed\r\n", "");
    let gone = answer("404 Not Found", "x-ms-error-code: ResourceNotFound\r\n", "");
    for (machine, answers, requests, found) in [
        ("2026-04-14T06:30:00Z", vec![denied.clone(), gone], 2, true),
        ("2026-04-14T06:30:00Z", vec![denied.clone()], 2, false),
        ("2026-04-14T07:00:00Z", vec![denied], 1, false),
    ] {
        let service = StandIn::start(answers).await;
        let clock = Arc::new(Wrong(Mutex::new(machine.parse().unwrap())));
        let told = Arc::clone(&clock);
        let access = Access::Key("a2V5".to_owned());
        let (tables, queues) = (service.url.clone(), service.url.clone());
        let account = Account { name: "account".to_owned(), tables, queues, access };
        let on_date: crate::OnDate = Arc::new(move |date, _| *told.0.lock().unwrap() = date);
        let stores = open(account, "state", http(), clock, on_date).unwrap();
        let result = stores.tables.get(&key("r")).await;
        let asked = service.asked();
        assert_eq!((asked.len(), result.is_ok()), (requests, found), "{machine}: {result:?}");
        let last = &asked[requests - 1].head;
        assert!(last.contains("x-ms-date: Tue, 14 Apr 2026 07:00:00 GMT"), "{last}");
    }
}

#[tokio::test]
async fn the_time_that_a_throttling_service_names_is_passed_on() {
    for (after, expected) in [
        ("Retry-After: 7\r\n", Some(7 * SECOND)),
        ("Retry-After: Tue, 14 Apr 2026 07:00:10 GMT\r\n", Some(Duration::from_millis(9100))),
        ("Retry-After: soon\r\n", None),
        ("", None),
    ] {
        let service = StandIn::start(vec![answer("503 Service Unavailable", after, "")]).await;
        match stores(&service).queues.send("queue", b"x", SECOND).await {
            Err(Error::Throttled { after }) => assert_eq!(after, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn no_log_line_and_no_error_holds_a_secret_or_a_row() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::trace!("the log is read");
    let mut errors = String::new();
    for access in [Access::Key("a2V5".to_owned()), Access::Sas("?sv=2022&sig=private%2Bsignature".to_owned())] {
        let refused = "<Error><Code>AuthenticationFailed</Code><Message>Denied.\nprivate row</Message></Error>";
        let service = StandIn::start(vec![answer("403 Forbidden", "", refused), String::from("garbage\r\n\r\n")]).await;
        for (_, result) in all_calls(&opened(&service.url, access).unwrap()).await {
            let error = result.unwrap_err();
            errors += &format!("{error} {error:?} {:?}", error.source());
        }
        let head = &service.asked()[0].head;
        assert!(
            head.contains("authorization: SharedKey account:") != head.contains("&sig=private%2Bsignature"),
            "{head}"
        );
    }
    assert!(errors.contains("AuthenticationFailed: Denied."), "{errors}");
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap() + &errors;
    assert!(text.contains("the log is read"));
    for private in ["private", "sig=", "SharedKey", "a2V5"] {
        assert!(!text.contains(private), "{private} in {text}");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Tokens(&'static [&'static str]);

#[async_trait]
impl TokenSource for Tokens {
    async fn token(&self, refused: Option<&str>) -> Result<String, BoxError> {
        let token = self.0.iter().find(|token| Some(**token) != refused).or(self.0.first());
        token.map(|token| (*token).to_owned()).ok_or_else(|| "no identity".into())
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let refused = answer("401 Unauthorized", "", "");
    for (tokens, answers, expected) in [
        (&["old", "new"][..], vec![refused.clone(), answer("200 OK", "", "")], (2, true)),
        (&["old", "new"], vec![refused.clone()], (2, false)),
        (&["old"], vec![refused], (1, false)),
        (&[], vec![answer("200 OK", "", "")], (0, false)),
        (&["two\r\nlines"], vec![answer("200 OK", "", "")], (0, false)),
    ] {
        let service = StandIn::start(answers).await;
        let wire = Wire::new(http(), Authorize::Token(Arc::new(Tokens(tokens))), Arc::new(Fixed), Arc::new(|_, _| {}));
        let answered = wire.send(&Context::new(), &mut Request::new(service.url.clone(), Method::Get), &[]).await;
        let asked = service.asked();
        assert_eq!((asked.len(), answered.is_ok()), expected, "{tokens:?}");
        for (request, token) in asked.iter().zip(tokens) {
            assert!(request.head.contains(&format!("authorization: Bearer {token}")), "{}", request.head);
        }
    }
}

#[tokio::test]
async fn a_version_that_no_service_gave_is_refused_unsent() {
    let service = StandIn::start(vec![answer("204 No Content", "", "")]).await;
    let wrong = ETag("1\nHost: elsewhere".to_owned());
    let operations = [Operation::Insert(key("0"), properties()), Operation::Delete(key("1"), wrong)];
    let result = stores(&service).tables.commit(&operations).await;
    assert!(matches!(result, Err(Error::Conflict { index: 1 })), "{result:?}");
    assert!(service.asked().is_empty());
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_sent() {
    let refused = |url: &str, access: Access| opened(&url.parse().unwrap(), access).err();
    let some_key = || Access::Key("a2V5".to_owned());
    for url in ["ftp://host/", "http://user@host/", "https://host/?sig=x", "https://host/#x", "data:text"] {
        assert_eq!(refused(url, some_key()), Some(OpenError::Endpoint { service: "table" }), "{url}");
    }
    let token = || Access::Token(Arc::new(Tokens(&["token"])));
    assert_eq!(refused("http://127.0.0.1:10002/a", token()), Some(OpenError::TokenOverHttp { service: "table" }));
    assert_eq!(refused("https://a.table.core.windows.net", token()), None);
    for wrong in ["", "not base64!", "UseDevelopmentStorage=true"] {
        assert_eq!(refused("https://host", Access::Key(wrong.to_owned())), Some(OpenError::Key), "{wrong}");
    }
    for wrong in ["", "?", "sv=2022&se=x", "sig="] {
        assert_eq!(refused("https://host", Access::Sas(wrong.to_owned())), Some(OpenError::Sas), "{wrong}");
    }
    let url: Url = "https://host".parse().unwrap();
    for table in ["ab", "1ab", "a-b", "Tables", "ä12", &"t".repeat(64)] {
        let account = Account { name: "a".to_owned(), tables: url.clone(), queues: url.clone(), access: some_key() };
        let error = open(account, table, http(), Arc::new(Fixed), Arc::new(|_, _| {})).err();
        assert_eq!(error, Some(OpenError::Table(table.to_owned())));
    }
}
