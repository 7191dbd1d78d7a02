//! The table against a service that answers what a test tells it to.

use super::*;
use crate::storage::Properties;
use azure_core::http::headers::{HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, ClientOptions, HttpClient, StatusCode, Transport};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const NO_TABLE: &str = r#"{"odata.error":{"code":"TableNotFound","message":{"lang":"en-US","value":"0:The table specified does not exist.\nRequestId:x"}}}"#;
const NO_ROW: &str = r#"{"odata.error":{"code":"ResourceNotFound","message":{"lang":"en-US","value":"The specified resource does not exist."}}}"#;
const EXISTS: &str = r#"{"odata.error":{"code":"TableAlreadyExists","message":{"lang":"en-US","value":"The table specified already exists."}}}"#;
const ROW: &str = r#"{"odata.etag":"W/\"1\"","PartitionKey":"p","RowKey":"a","v":1}"#;
const VERSION: [(&str, &str); 1] = [("etag", "W/\"1\"")];

/// Gives its answers in turn, and keeps the requests; without an answer left it never answers.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<VecDeque<(u16, Headers, String)>>,
    requests: Mutex<Vec<Request>>,
}

#[async_trait]
impl HttpClient for Script {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.requests.lock().unwrap().push(request.clone());
        let answer = self.answers.lock().unwrap().pop_front();
        let Some((status, headers, body)) = answer else { std::future::pending().await };
        Ok(AsyncRawResponse::from_bytes(StatusCode::from(status), headers, body))
    }
}

impl Script {
    fn answers(self: &Arc<Self>, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from(*name), HeaderValue::from((*value).to_owned())));
        let headers = Headers::from(headers.collect::<std::collections::HashMap<_, _>>());
        self.answers.lock().unwrap().push_back((status, headers, body.to_owned()));
    }

    fn sent(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|sent| format!("{} {}", sent.method(), sent.url().path())).collect()
    }
}

fn table() -> (Tables, Arc<Script>) {
    let script = Arc::new(Script::default());
    let client: Arc<dyn HttpClient> = Arc::clone(&script) as _;
    let options = ClientOptions {
        transport: Some(Transport::new(client)),
        retry: azure_core::http::RetryOptions::none(),
        ..Default::default()
    };
    let service = Service { endpoint: "https://a.table.core.windows.net/".parse().unwrap(), options };
    (Tables::new(service, "adxingestor").unwrap(), script)
}

fn key(row: &str) -> Key {
    Key::new("p", row).unwrap()
}

fn insert(row: &str) -> Operation {
    Operation::Insert(key(row), Properties::new())
}

fn delete(etag: &str) -> Operation {
    Operation::Delete(key("a"), ETag(etag.to_owned()))
}

fn range() -> Range {
    Range { partition: "p".to_owned(), from: String::new(), to: None }
}

fn batch_answer(parts: &[&str]) -> String {
    let mut text = "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n".to_owned();
    for part in parts {
        text += &format!("--c\r\nContent-Type: application/http\r\n\r\n{part}\r\n");
    }
    text + "--c--\r\n--b--\r\n"
}

#[tokio::test]
async fn the_first_request_makes_the_table_and_is_repeated() {
    let (tables, script) = table();
    script.answers(404, &[], NO_TABLE);
    script.answers(204, &[], "");
    script.answers(204, &VERSION, "");
    assert_eq!(tables.commit(&[insert("a")]).await.unwrap(), [Some(ETag("W/\"1\"".to_owned()))]);
    assert_eq!(script.sent(), ["POST /adxingestor", "POST /Tables", "POST /adxingestor"]);
    let requests = script.requests.lock().unwrap();
    let Body::Bytes(body) = requests[1].body() else { panic!() };
    assert_eq!(body.as_ref(), br#"{"TableName":"adxingestor"}"#);
}

#[tokio::test]
async fn a_table_that_another_process_makes_at_the_same_time_is_as_good() {
    let (tables, script) = table();
    script.answers(404, &[], NO_TABLE);
    script.answers(409, &[], EXISTS);
    script.answers(404, &[], NO_ROW);
    assert_eq!(tables.get(&key("a")).await.unwrap(), None);
    assert_eq!(script.sent().len(), 3);
}

#[tokio::test]
async fn an_insert_that_misses_something_misses_its_table() {
    let (tables, script) = table();
    script.answers(404, &[], NO_ROW);
    script.answers(201, &[], "");
    script.answers(204, &VERSION, "");
    assert_eq!(tables.commit(&[insert("a")]).await.unwrap().len(), 1);
    assert_eq!(script.sent(), ["POST /adxingestor", "POST /Tables", "POST /adxingestor"]);
}

#[tokio::test]
async fn a_batch_that_finds_no_table_makes_it() {
    let (tables, script) = table();
    let content_type = [("content-type", "multipart/mixed; boundary=b")];
    script.answers(202, &content_type, &batch_answer(&[&format!("HTTP/1.1 404 Not Found\r\n\r\n{NO_TABLE}")]));
    script.answers(201, &[], "");
    let done = "HTTP/1.1 204 No Content\r\nETag: W/\"1\"\r\n\r\n";
    script.answers(202, &content_type, &batch_answer(&[done, done]));
    assert_eq!(tables.commit(&[insert("a"), insert("b")]).await.unwrap().len(), 2);
    assert_eq!(script.sent(), ["POST /$batch", "POST /Tables", "POST /$batch"]);
}

#[tokio::test]
async fn a_table_that_cannot_be_made_is_an_error_and_is_not_tried_for_ever() {
    let (tables, script) = table();
    for _ in 0..2 {
        script.answers(404, &[], NO_TABLE);
        script.answers(204, &[], "");
    }
    assert!(matches!(tables.get(&key("a")).await, Err(Error::Unavailable(_))));
    let (tables, script) = table();
    script.answers(404, &[], NO_TABLE);
    script.answers(403, &[("x-ms-error-code", "AuthorizationPermissionMismatch")], "");
    let error = tables.page(&range(), None).await.unwrap_err();
    assert!(
        matches!(&error, Error::Fatal(_)) && error.to_string().contains("AuthorizationPermissionMismatch"),
        "{error}"
    );
}

#[tokio::test]
async fn requests_carry_the_version_and_want_no_content_back() {
    let (tables, script) = table();
    script.answers(204, &VERSION, "");
    let etag = ETag("W/\"datetime'2026-11-21T14%3A29%3A43.6094951Z'\"".to_owned());
    tables.commit(&[Operation::Merge(key("a"), Properties::new(), etag.clone())]).await.unwrap();
    let requests = script.requests.lock().unwrap();
    let header = |name: &'static str| requests[0].headers().get_optional_str(&HeaderName::from_static(name));
    assert_eq!(requests[0].method(), Method::Patch);
    assert_eq!(header("if-match"), Some(etag.0.as_str()));
    assert_eq!(header("prefer"), Some("return-no-content"));
    assert_eq!(header("accept"), Some("application/json;odata=nometadata"));
    assert_eq!(header("x-ms-version"), Some("2020-12-06"));
}

#[tokio::test]
async fn nothing_but_one_version_is_ever_sent_as_a_condition() {
    let (tables, script) = table();
    for text in ["*", "", "x", "W/\"a\", *", "\"a\",\"b\"", "\"a\"\r\nIf-Match: *", " *", "W/\"ü\"", "\"", "W/"] {
        for operations in [vec![delete(text)], vec![insert("b"), delete(text)]] {
            assert!(matches!(tables.commit(&operations).await, Err(Error::Invalid(_))), "{text:?}");
        }
    }
    assert_eq!(script.sent().len(), 0);
}

#[tokio::test]
async fn a_transaction_whose_text_takes_too_many_bytes_in_json_is_not_sent() {
    let (tables, script) = table();
    let text = |row: &str| {
        let properties = (0..10).map(|n| (format!("p{n}"), "ü".repeat(32_000).into())).collect();
        Operation::Insert(key(row), properties)
    };
    let error = tables.commit(&[text("a"), text("b"), text("c")]).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert_eq!(script.sent().len(), 0);
}

#[tokio::test]
async fn a_success_that_is_not_the_expected_one_leaves_the_outcome_open() {
    let etag = VERSION;
    let none: [(&str, &str); 0] = [];
    for (operation, status, headers) in [
        (insert("a"), 200, etag.as_slice()),
        (insert("a"), 204, &none),
        (insert("a"), 204, &[("etag", "")]),
        (insert("a"), 302, &etag),
        (delete("W/\"1\""), 200, &none),
        (delete("W/\"1\""), 202, &none),
        (Operation::Replace(key("a"), Properties::new(), ETag("W/\"1\"".to_owned())), 201, &etag),
    ] {
        let (tables, script) = table();
        script.answers(status, headers, "<html>hello</html>");
        let error = tables.commit(std::slice::from_ref(&operation)).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{operation:?} {status}: {error}");
    }
}

#[tokio::test]
async fn a_batch_that_is_not_answered_as_a_whole_leaves_the_outcome_open() {
    let done = "HTTP/1.1 204 No Content\r\nETag: W/\"1\"\r\n\r\n";
    let whole = batch_answer(&[done, done]);
    let one = batch_answer(&[done]);
    for (status, content_type, body) in [
        (202, "multipart/mixed; boundary=b", ""),
        (202, "multipart/mixed; boundary=b", &whole[..whole.len() - 8]),
        (202, "multipart/mixed; boundary=b", one.as_str()),
        (202, "multipart/mixed; boundary=x", whole.as_str()),
        (202, "text/html", whole.as_str()),
        (202, "multipart/mixed; boundary=b", "\u{0}\u{1}"),
        (200, "multipart/mixed; boundary=b", whole.as_str()),
        (500, "multipart/mixed; boundary=b", whole.as_str()),
    ] {
        let (tables, script) = table();
        script.answers(status, &[("content-type", content_type)], body);
        let error = tables.commit(&[insert("a"), insert("b")]).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{status} {content_type} {body}: {error}");
    }
}

#[tokio::test]
async fn a_refused_batch_names_the_operation() {
    let (tables, script) = table();
    let part = "HTTP/1.1 412 Precondition Failed\r\n\r\n{\"odata.error\":{\"code\":\"UpdateConditionNotSatisfied\",\"message\":{\"value\":\"1:x\"}}}";
    script.answers(202, &[("content-type", "multipart/mixed; boundary=b")], &batch_answer(&[part]));
    let error = tables.commit(&[insert("b"), delete("W/\"1\"")]).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { index: 1 }), "{error}");
}

#[tokio::test]
async fn a_row_is_missing_only_when_the_service_says_so() {
    let (tables, script) = table();
    script.answers(404, &[], NO_ROW);
    assert_eq!(tables.get(&key("a")).await.unwrap(), None);
    script.answers(404, &[], "<html>no such page</html>");
    assert!(matches!(tables.get(&key("a")).await, Err(Error::Fatal(_))));
    script.answers(200, &[], "");
    assert!(matches!(tables.get(&key("a")).await, Err(Error::Unavailable(_))));
    script.answers(200, &[], ROW);
    assert_eq!(tables.get(&key("a")).await.unwrap().unwrap().properties["v"], 1);
    script.answers(200, &[], ROW);
    assert!(matches!(tables.get(&key("b")).await, Err(Error::Fatal(_))), "another row than the one asked for");
}

#[tokio::test]
async fn an_empty_page_that_goes_on_is_passed_on() {
    let (tables, script) = table();
    let next = [("x-ms-continuation-nextpartitionkey", "1!4!cA--"), ("x-ms-continuation-nextrowkey", "1!4!Yg--")];
    script.answers(200, &next, r#"{"value":[]}"#);
    let page = tables.page(&range(), None).await.unwrap();
    assert_eq!(page.rows, []);
    script.answers(200, &[], &format!(r#"{{"value":[{ROW}]}}"#));
    let last = tables.page(&range(), page.next.as_ref()).await.unwrap();
    assert_eq!((last.rows.len(), last.next), (1, None));
    let requests = script.requests.lock().unwrap();
    assert!(requests[1].url().query().unwrap().ends_with("&NextPartitionKey=1%214%21cA--&NextRowKey=1%214%21Yg--"));
}

#[tokio::test]
async fn a_page_that_goes_on_nobody_knows_where_is_not_the_last() {
    let (tables, script) = table();
    script.answers(200, &[("x-ms-continuation-nextrowkey", "1!4!Yg--")], r#"{"value":[]}"#);
    assert!(matches!(tables.page(&range(), None).await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn a_range_of_nothing_needs_no_request() {
    let (tables, script) = table();
    let range = Range { partition: "p".to_owned(), from: "b".to_owned(), to: Some("b".to_owned()) };
    assert_eq!(tables.page(&range, None).await.unwrap(), Page { rows: Vec::new(), next: None });
    assert_eq!(script.sent().len(), 0);
}

#[tokio::test]
async fn an_answer_above_its_cap_is_not_read() {
    let (tables, script) = table();
    script.answers(200, &[], &" ".repeat(MAX_ROW_ANSWER + 1));
    let error = tables.get(&key("a")).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(_)) && error.to_string().contains("longer than"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_answers_is_unavailable() {
    let (tables, _script) = table();
    let error = tables.get(&key("a")).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(_)) && error.to_string().contains("35 s"), "{error}");
}
