//! One table of Azure Table Storage, on the official pipeline: a request for each call of the port, and nothing
//! repeated but the first one of all, after the table has been made. Knows nothing of authorization, and of no other
//! attempt than its own: whoever repeats must know what is safe to repeat.
//!
//! Sources: rest-api-ref `Insert-Entity`, `Update-Entity2`, `Merge-Entity`, `Delete-Entity1`, `Query-Entities`,
//! `Create-Table`, `Performing-Entity-Group-Transactions`.
//!
//! The service orders row keys by their UTF-16 units, which is the order of their bytes unless characters from U+E000
//! to U+FFFF stand beside ones above U+FFFF.

mod answer;
mod batch;
mod json;
mod multipart;
mod refusal;
mod send;
mod url;

use super::account::Service;
use super::header::header;
use crate::storage::limits::MAX_TRANSACTION_BYTES;
use crate::storage::{Continuation, ETag, Error, Key, Operation, Page, Range, Row, TableStore, limits};
use answer::Outcome;
use async_trait::async_trait;
use azure_core::http::headers::HeaderName;
use azure_core::http::{Method, Request};
use refusal::Refused;
use send::{Answer, Sender};
use url::Urls;

/// A table, made by the first request that finds it missing.
#[derive(Debug)]
pub(super) struct Tables {
    sender: Sender,
    urls: Urls,
}

/// The most bytes of a row's answer: a mebibyte, as text of up to three bytes a unit or escapes of six, and types.
const MAX_ROW_ANSWER: usize = 8 * 1024 * 1024;
/// The most bytes of a page's answer: four mebibytes of rows, likewise.
const MAX_PAGE_ANSWER: usize = 32 * 1024 * 1024;
/// The most bytes of an answer that has no rows.
const MAX_ANSWER: usize = 1024 * 1024;

const ETAG: HeaderName = HeaderName::from_static("etag");
const IF_MATCH: HeaderName = HeaderName::from_static("if-match");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");
const NEXT_PARTITION: HeaderName = HeaderName::from_static("x-ms-continuation-nextpartitionkey");
const NEXT_ROW: HeaderName = HeaderName::from_static("x-ms-continuation-nextrowkey");

/// Why an answer is not what was asked for.
enum Failure {
    /// There is no table yet, so nothing was done.
    NoTable,
    Of(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Of(error)
    }
}

impl Failure {
    fn refused(refused: Refused, operations: &[Operation]) -> Self {
        // An insert can miss nothing but its table, however the service puts it.
        let only_inserts = !operations.is_empty() && operations.iter().all(|one| matches!(one, Operation::Insert(..)));
        if refused.no_table() || (only_inserts && refused.no_row()) {
            return Self::NoTable;
        }
        Self::Of(refused.into_error(operations))
    }
}

impl Tables {
    /// The table `name` of the table service `service`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that no table can have.
    pub(super) fn new(service: Service, name: &str) -> Result<Self, Error> {
        let urls = Urls::new(service.endpoint, name)?;
        Ok(Self { sender: Sender::new(service.options), urls })
    }

    /// Sends `request`; makes the table and sends it again if there is none.
    async fn ask<T>(
        &self,
        request: Request,
        cap: usize,
        read: impl Fn(Answer) -> Result<T, Failure> + Send + Sync,
    ) -> Result<T, Error> {
        match read(self.sender.send(request.clone(), cap).await?) {
            Ok(found) => return Ok(found),
            Err(Failure::Of(error)) => return Err(error),
            Err(Failure::NoTable) => self.create().await?,
        }
        read(self.sender.send(request, cap).await?).map_err(|failure| match failure {
            Failure::Of(error) => error,
            Failure::NoTable => {
                Error::Unavailable(format!("the table {} was made but is not found", self.urls.name()).into())
            }
        })
    }

    async fn create(&self) -> Result<(), Error> {
        let body = serde_json::json!({"TableName": self.urls.name()}).to_string();
        let request = writing(Request::new(self.urls.tables(), Method::Post), body);
        let answer = self.sender.send(request, MAX_ANSWER).await?;
        if matches!(answer.status, 201 | 204) {
            tracing::info!(table = self.urls.name(), "the table was not there and has been made");
            return Ok(());
        }
        let refused = answer.refused()?;
        // Another process was faster.
        if refused.table_exists() { Ok(()) } else { Err(refused.into_error(&[])) }
    }

    /// A transaction of one operation: a plain request is shorter than a batch, and is answered sooner.
    async fn single(&self, operation: &Operation) -> Result<Option<ETag>, Error> {
        let request = match operation {
            Operation::Insert(key, properties) => {
                writing(Request::new(self.urls.table(), Method::Post), json::write(key, properties)?)
            }
            Operation::Replace(key, properties, _) => {
                writing(Request::new(self.urls.row(key), Method::Put), json::write(key, properties)?)
            }
            Operation::Merge(key, properties, _) => {
                writing(Request::new(self.urls.row(key), Method::Patch), json::write(key, properties)?)
            }
            Operation::Delete(key, _) => Request::new(self.urls.row(key), Method::Delete),
        };
        let request = with_version(request, operation);
        self.ask(request, MAX_ANSWER, |answer| {
            let etag = header(&answer.headers, &ETAG).filter(|etag| !etag.is_empty());
            match (answer.status, operation, etag) {
                (204, Operation::Delete(..), _) => Ok(None),
                (201, Operation::Insert(..), Some(etag)) | (204, _, Some(etag)) => Ok(Some(ETag(etag.to_owned()))),
                _ => Err(Failure::refused(answer.refused()?, std::slice::from_ref(operation))),
            }
        })
        .await
    }

    async fn transaction(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        let batch = batch::write(&self.urls, operations)?;
        if batch.body.len() > MAX_TRANSACTION_BYTES {
            return Err(Error::TooLarge {
                what: format!("a transaction's request of {} bytes", batch.body.len()),
                limit: format!("{MAX_TRANSACTION_BYTES} bytes"),
            });
        }
        let mut request = Request::new(self.urls.batch(), Method::Post);
        request.insert_header(CONTENT_TYPE, batch.content_type);
        request.set_body(batch.body);
        self.ask(request, MAX_ANSWER, |answer| {
            if answer.status != 202 {
                return Err(Failure::refused(answer.refused()?, operations));
            }
            let content_type = header(&answer.headers, &CONTENT_TYPE).unwrap_or_default();
            match answer::read(content_type, &answer.body, operations) {
                Ok(Outcome::Done(etags)) => Ok(etags),
                Ok(Outcome::Refused(refused)) => Err(Failure::refused(refused, operations)),
                Err(unclear) => Err(Failure::Of(Error::Unavailable(unclear.into()))),
            }
        })
        .await
    }
}

#[async_trait]
impl TableStore for Tables {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error> {
        let request = reading(Request::new(self.urls.row(key), Method::Get));
        self.ask(request, MAX_ROW_ANSWER, |answer| {
            if answer.status != 200 {
                let refused = answer.refused()?;
                return if refused.no_row() { Ok(None) } else { Err(Failure::refused(refused, &[])) };
            }
            let row = json::read_row(&answer.body)?;
            if row.key != *key {
                return Err(Failure::Of(other_row(&row.key, key)));
            }
            Ok(Some(row))
        })
        .await
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        limits::transaction(operations)?;
        operations.iter().try_for_each(is_version)?;
        match operations {
            [operation] => Ok(vec![self.single(operation).await?]),
            operations => self.transaction(operations).await,
        }
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, Error> {
        let request = reading(Request::new(self.urls.page(range, after)?, Method::Get));
        if range.to.as_ref().is_some_and(|to| *to <= range.from) {
            return Ok(Page { rows: Vec::new(), next: None });
        }
        self.ask(request, MAX_PAGE_ANSWER, |answer| {
            if answer.status != 200 {
                return Err(Failure::refused(answer.refused()?, &[]));
            }
            let rows = json::read_rows(&answer.body)?;
            if let Some(row) = rows.iter().find(|row| row.key.partition() != range.partition) {
                return Err(Failure::Of(other_row(&row.key, &range.partition)));
            }
            let partition = header(&answer.headers, &NEXT_PARTITION);
            let row = header(&answer.headers, &NEXT_ROW);
            if partition.is_none() && row.is_some() {
                let lacks = "the page goes on at a row without its partition: the answer lacks a header";
                return Err(Failure::Of(Error::Unavailable(lacks.into())));
            }
            Ok(Page { rows, next: partition.map(|partition| url::continuation(partition, row)) })
        })
        .await
    }
}

fn reading(mut request: Request) -> Request {
    request.insert_header(send::ACCEPT, json::ACCEPT_ROWS);
    request
}

/// A request that writes `body` and does not want it back.
fn writing(mut request: Request, body: String) -> Request {
    request.insert_header(CONTENT_TYPE, "application/json");
    request.insert_header(PREFER, "return-no-content");
    request.set_body(body);
    request
}

fn with_version(mut request: Request, operation: &Operation) -> Request {
    if let Operation::Replace(.., etag) | Operation::Merge(.., etag) | Operation::Delete(_, etag) = operation {
        request.insert_header(IF_MATCH, etag.0.clone());
    }
    request
}

/// A version becomes a header, in a batch even as text: only one ETag in quotes may, so that nothing else can be said
/// with it, and no list of several.
fn is_version(operation: &Operation) -> Result<(), Error> {
    let (Operation::Replace(key, _, etag) | Operation::Merge(key, _, etag) | Operation::Delete(key, etag)) = operation
    else {
        return Ok(());
    };
    let quoted = etag.0.strip_prefix("W/").unwrap_or(&etag.0);
    let text = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    if text.is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')) {
        return Ok(());
    }
    Err(Error::Invalid(format!("{:?} is no version of the row {key}; pass the one that was read", etag.0)))
}

fn other_row(found: &Key, asked: impl std::fmt::Display) -> Error {
    Error::Fatal(format!("the service answered with the row {found} when asked for {asked}").into())
}

#[cfg(test)]
mod tests;
