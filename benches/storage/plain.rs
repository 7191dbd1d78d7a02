//! The lower bound: a client of tables and queues with nothing in it but requests, signatures and what a caller needs of the
//! answers. Knows nothing of the product and handles no error: it panics.
//!
//! Source: rest-api-ref `Authorize-with-Shared-Key`, `Performing-Entity-Group-Transactions`, `Operations-on-Messages`.

use super::{HIDE, Properties};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap};
use reqwest::{Client, Method, RequestBuilder};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;
use std::fmt::Write;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 32 * 1024 * 1024;
const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
const TABLE_VERSION: &str = "2020-12-06";
const QUEUE_VERSION: &str = "2025-11-05";
const WITHOUT_ROWS: &str = "application/json;odata=nometadata";
const WITH_ROWS: &str = "application/json;odata=minimalmetadata";

/// A message as far as a worker needs it.
pub struct Received {
    id: String,
    receipt: String,
    pub body: Bytes,
}

/// A client of one account.
pub struct Plain {
    http: Client,
    /// With the key in it.
    mac: Hmac<Sha256>,
    account: String,
    /// Without slashes at their ends.
    tables: String,
    queues: String,
    table: String,
}

impl Plain {
    pub fn new(account: &str, key: &str, tables: &str, queues: &str, table: &str) -> Self {
        let mac = Hmac::new_from_slice(&STANDARD.decode(key).unwrap()).unwrap();
        let http = Client::builder().no_proxy().no_gzip().timeout(TIMEOUT).build().unwrap();
        let base = |endpoint: &str| endpoint.trim_end_matches('/').to_owned();
        let (tables, queues) = (base(tables), base(queues));
        Self { http, mac, account: account.to_owned(), tables, queues, table: table.to_owned() }
    }

    /// Gives the row's version.
    pub async fn insert(&self, row: &Properties) -> String {
        let body = serde_json::to_vec(row).unwrap();
        let request = self
            .to_table(Method::POST, &self.table, "", WITHOUT_ROWS)
            .header(CONTENT_TYPE, "application/json")
            .header("prefer", "return-no-content")
            .body(body);
        let (headers, _) = exchange(request, 204).await;
        headers[ETAG].to_str().unwrap().to_owned()
    }

    /// Gives the rows' versions.
    pub async fn batch(&self, rows: &[Properties]) -> Vec<String> {
        let mut body = Vec::with_capacity(rows.len() * 1024);
        body.extend_from_slice(b"--batch_b\r\nContent-Type: multipart/mixed; boundary=changeset_c\r\n\r\n");
        for (index, row) in rows.iter().enumerate() {
            let (id, tables, table) = (index + 1, &self.tables, &self.table);
            let head = format!(
                "--changeset_c\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n\
                 POST {tables}/{table} HTTP/1.1\r\nContent-ID: {id}\r\nAccept: {WITHOUT_ROWS}\r\n\
                 DataServiceVersion: 3.0\r\nContent-Type: application/json\r\nPrefer: return-no-content\r\n\r\n"
            );
            body.extend_from_slice(head.as_bytes());
            serde_json::to_writer(&mut body, row).unwrap();
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--changeset_c--\r\n--batch_b--\r\n");
        let request = self
            .to_table(Method::POST, "$batch", "", WITHOUT_ROWS)
            .header(CONTENT_TYPE, "multipart/mixed; boundary=batch_b")
            .body(body);
        let (_, answer) = exchange(request, 202).await;
        let lines = std::str::from_utf8(&answer).unwrap().lines();
        let etags =
            lines.filter_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("etag")));
        let etags: Vec<String> = etags.map(|(_, etag)| etag.to_owned()).collect();
        assert_eq!(etags.len(), rows.len());
        etags
    }

    pub async fn get(&self, partition: &str, row: &str) -> Properties {
        let path = format!("{}(PartitionKey=%27{partition}%27,RowKey=%27{row}%27)", self.table);
        let (_, answer) = exchange(self.to_table(Method::GET, &path, "", WITH_ROWS), 200).await;
        serde_json::from_slice(&answer).unwrap()
    }

    /// The first page of a partition.
    pub async fn page(&self, partition: &str) -> Vec<Properties> {
        #[derive(Deserialize)]
        struct Page {
            value: Vec<Properties>,
        }
        let query = format!("?$filter=PartitionKey%20eq%20%27{partition}%27&$top=1000");
        let request = self.to_table(Method::GET, &format!("{}()", self.table), &query, WITH_ROWS);
        let (_, answer) = exchange(request, 200).await;
        serde_json::from_slice::<Page>(&answer).unwrap().value
    }

    pub async fn send(&self, queue: &str, body: &[u8]) {
        let text = STANDARD.encode(body);
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessage><MessageText>{text}</MessageText></QueueMessage>"
        );
        let parameters = [("messagettl", "-1"), ("visibilitytimeout", "0")];
        let length = document.len().to_string();
        let request = self.to_queue(Method::POST, &format!("{queue}/messages"), &parameters, &length);
        exchange(request.body(document), 201).await;
    }

    pub async fn receive(&self, queue: &str, max: u32) -> Vec<Received> {
        let (max, hide) = (max.to_string(), HIDE.as_secs().to_string());
        let parameters = [("numofmessages", max.as_str()), ("visibilitytimeout", &hide)];
        let request = self.to_queue(Method::GET, &format!("{queue}/messages"), &parameters, "");
        let (_, answer) = exchange(request, 200).await;
        let messages = std::str::from_utf8(&answer).unwrap().split("<QueueMessage>").skip(1);
        let received = messages.map(|message| Received {
            id: between(message, "<MessageId>").to_owned(),
            receipt: between(message, "<PopReceipt>").to_owned(),
            body: STANDARD.decode(between(message, "<MessageText>")).unwrap().into(),
        });
        received.collect()
    }

    pub async fn delete(&self, queue: &str, message: &Received) {
        let path = format!("{queue}/messages/{}", message.id);
        let request = self.to_queue(Method::DELETE, &path, &[("popreceipt", &message.receipt)], "");
        exchange(request, 204).await;
    }

    /// A request to the table service, signed by Shared Key Lite.
    fn to_table(&self, method: Method, path: &str, query: &str, accept: &'static str) -> RequestBuilder {
        let Self { account, tables, .. } = self;
        let date = now();
        let signature = self.sign(&format!("{date}\n/{account}/{account}/{path}"));
        self.http
            .request(method, format!("{tables}/{path}{query}"))
            .header("x-ms-date", date)
            .header("x-ms-version", TABLE_VERSION)
            .header("dataserviceversion", "3.0")
            .header(ACCEPT, accept)
            .header(AUTHORIZATION, format!("SharedKeyLite {account}:{signature}"))
    }

    /// A request to the queue service, signed by Shared Key; `length` is empty if there is no body.
    fn to_queue(&self, method: Method, path: &str, parameters: &[(&str, &str)], length: &str) -> RequestBuilder {
        let Self { account, queues, .. } = self;
        let date = now();
        let kind = "application/xml";
        let mut text = format!(
            "{method}\n\n\n{length}\n\n{kind}\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{QUEUE_VERSION}\n\
             /{account}/{account}/{path}"
        );
        let mut url = format!("{queues}/{path}");
        for (index, (name, value)) in parameters.iter().enumerate() {
            write!(text, "\n{name}:{value}").unwrap();
            let (mark, value) = (if index == 0 { '?' } else { '&' }, utf8_percent_encode(value, NON_ALPHANUMERIC));
            write!(url, "{mark}{name}={value}").unwrap();
        }
        let signature = self.sign(&text);
        self.http
            .request(method, url)
            .header("x-ms-date", date)
            .header("x-ms-version", QUEUE_VERSION)
            .header(CONTENT_TYPE, kind)
            .header(AUTHORIZATION, format!("SharedKey {account}:{signature}"))
    }

    fn sign(&self, text: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

/// A row as the table service takes it, beside whose number of 64 bits stands its type.
pub fn row(partition: &str, row: &str, properties: &Properties, mark: &str) -> Properties {
    let mut fields = Properties::new();
    for (name, value) in properties {
        match value.as_i64() {
            Some(whole) if i32::try_from(whole).is_err() => {
                fields.insert(format!("{name}@odata.type"), "Edm.Int64".into());
                fields.insert(name.clone(), whole.to_string().into());
            }
            _ => {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
    let keys = [("PartitionKey", partition), ("RowKey", row), ("last_operation", mark)];
    fields.extend(keys.map(|(name, text)| (name.to_owned(), Value::from(text))));
    fields
}

async fn exchange(request: RequestBuilder, expected: u16) -> (HeaderMap, Vec<u8>) {
    let mut response = request.send().await.unwrap();
    let headers = std::mem::take(response.headers_mut());
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.unwrap() {
        body.extend_from_slice(&piece);
        assert!(body.len() <= MAX_ANSWER, "an answer is too long");
    }
    assert_eq!(response.status().as_u16(), expected, "{}", String::from_utf8_lossy(&body));
    (headers, body)
}

fn between<'t>(text: &'t str, start: &str) -> &'t str {
    text.split_once(start).and_then(|(_, rest)| rest.split_once('<')).unwrap().0
}

#[allow(clippy::disallowed_methods, reason = "requests bear the time")]
fn now() -> String {
    OffsetDateTime::now_utc().format(DATE).unwrap()
}
