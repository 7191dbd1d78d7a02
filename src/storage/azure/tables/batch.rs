//! The request of an entity-group transaction: a multipart text with one request for each operation. Knows no answer.
//!
//! Source: rest-api-ref `Performing-Entity-Group-Transactions`.

use super::json;
use super::url::Urls;
use crate::storage::{Error, Operation};

/// The version of the data service that JSON needs.
pub(super) const DATA_SERVICE: &str = "3.0";

/// A batch, ready to be sent.
pub(super) struct Batch {
    /// Its `Content-Type`.
    pub content_type: String,
    /// Its body.
    pub body: String,
}

/// Writes the batch of `operations`.
pub(super) fn write(urls: &Urls, operations: &[Operation]) -> Result<Batch, Error> {
    let parts = operations.iter().enumerate().map(|(index, operation)| part(urls, index, operation));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let id = boundary(&parts);
    let mut body = String::with_capacity(parts.iter().map(|part| part.len() + 120).sum::<usize>() + 200);
    body += &format!("--batch_{id}\r\nContent-Type: multipart/mixed; boundary=changeset_{id}\r\n\r\n");
    for part in &parts {
        body += &format!("--changeset_{id}\r\n");
        body += "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n";
        body += part;
        body += "\r\n";
    }
    body += &format!("--changeset_{id}--\r\n--batch_{id}--\r\n");
    Ok(Batch { content_type: format!("multipart/mixed; boundary=batch_{id}"), body })
}

/// One operation as an HTTP request, which bears its place, counted from 1.
fn part(urls: &Urls, index: usize, operation: &Operation) -> Result<String, Error> {
    let (method, url) = match operation {
        Operation::Insert(..) => ("POST", urls.table_text()),
        Operation::Replace(key, ..) => ("PUT", urls.row_text(key)),
        Operation::Merge(key, ..) => ("PATCH", urls.row_text(key)),
        Operation::Delete(key, _) => ("DELETE", urls.row_text(key)),
    };
    let mut part = format!(
        "{method} {url} HTTP/1.1\r\nContent-ID: {}\r\nAccept: {}\r\nDataServiceVersion: {DATA_SERVICE}\r\n",
        index + 1,
        json::ACCEPT
    );
    if let Operation::Replace(.., etag) | Operation::Merge(.., etag) | Operation::Delete(_, etag) = operation {
        part += &format!("If-Match: {}\r\n", etag.0);
    }
    match operation {
        Operation::Insert(key, properties)
        | Operation::Replace(key, properties, _)
        | Operation::Merge(key, properties, _) => {
            part += "Content-Type: application/json\r\nPrefer: return-no-content\r\n\r\n";
            part += &json::write(key, properties)?;
        }
        Operation::Delete(..) => part += "\r\n",
    }
    Ok(part)
}

/// A text that no part holds. Nothing in a part can begin a line that was not begun here, but there may be readers that
/// look for the boundary elsewhere than at the beginning of a line.
fn boundary(parts: &[String]) -> String {
    let mut number = 0_u32;
    loop {
        let boundary = format!("adx{number}");
        if !parts.iter().any(|part| part.contains(&boundary)) {
            return boundary;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::azure::tables::multipart;
    use crate::storage::{ETag, Key, Properties};
    use proptest::prelude::*;
    use serde_json::json;

    fn urls() -> Urls {
        Urls::new("https://a.table.core.windows.net/".parse().unwrap(), "adxingestor").unwrap()
    }

    fn key(row: &str) -> Key {
        Key::new("t:o'brien", row).unwrap()
    }

    fn etag(text: &str) -> ETag {
        ETag(text.to_owned())
    }

    #[test]
    fn a_batch_is_written_as_documented() {
        let properties = || json!({"n": 1, "text": "\r\n--batch_1"}).as_object().unwrap().clone();
        let operations = [
            Operation::Insert(key("a b"), properties()),
            Operation::Replace(key("b"), properties(), etag("W/\"datetime'1'\"")),
            Operation::Merge(key("c"), Properties::new(), etag("W/\"2\"")),
            Operation::Delete(key("d"), etag("W/\"3\"")),
        ];
        let batch = write(&urls(), &operations).unwrap();
        assert_eq!(batch.content_type, "multipart/mixed; boundary=batch_adx0");
        let expected = include_str!("golden/batch.txt").replace('\n', "\r\n");
        assert_eq!(batch.body, expected);
    }

    #[test]
    fn the_boundary_stands_nowhere_else() {
        let text = "adx0 changeset_adx1--\r\n--changeset_adx2";
        let properties = json!({"v": text}).as_object().unwrap().clone();
        let operations = [Operation::Insert(key("adx3"), properties), Operation::Delete(key("x"), etag("W/\"adx4\""))];
        let batch = write(&urls(), &operations).unwrap();
        assert_eq!(batch.content_type, "multipart/mixed; boundary=batch_adx5");
        assert_eq!(batch.body.matches("adx5").count(), 6);
    }

    proptest! {
        #[test]
        fn a_batch_is_read_back_as_it_was_written(
            rows in proptest::collection::vec(("[^/\\\\#?\\p{Cc}]{1,20}", any::<String>(), 0..4_u8), 1..20)
        ) {
            let operations: Vec<_> = rows
                .iter()
                .map(|(row, text, kind)| {
                    let properties = json!({"v": text, "w": format!("\r\n--changeset_adx0\r\n{text}")});
                    let properties = properties.as_object().unwrap().clone();
                    match kind {
                        0 => Operation::Insert(key(row), properties),
                        1 => Operation::Replace(key(row), properties, etag("W/\"1\"")),
                        2 => Operation::Merge(key(row), properties, etag("W/\"1\"")),
                        _ => Operation::Delete(key(row), etag("W/\"1\"")),
                    }
                })
                .collect();
            let batch = write(&urls(), &operations).unwrap();
            let outer = multipart::split(&batch.body, multipart::boundary(&batch.content_type).unwrap()).unwrap();
            prop_assert_eq!(outer.len(), 1);
            let (headers, changes) = multipart::headers(outer[0]).unwrap();
            let changes = multipart::split(changes, multipart::boundary(headers.get("content-type").unwrap()).unwrap());
            let changes = changes.unwrap();
            prop_assert_eq!(changes.len(), operations.len());
            for (index, (change, operation)) in changes.into_iter().zip(&operations).enumerate() {
                let (_, request) = multipart::headers(change).unwrap();
                prop_assert_eq!(request, part(&urls(), index, operation).unwrap());
                let (line, rest) = request.split_once("\r\n").unwrap();
                prop_assert!(line.is_ascii() && line.ends_with(" HTTP/1.1"), "{}", line);
                let (headers, body) = multipart::headers(rest).unwrap();
                prop_assert_eq!(headers.get("content-id").unwrap().parse::<usize>(), Ok(index + 1));
                match operation {
                    Operation::Delete(..) => prop_assert_eq!(body, ""),
                    operation => {
                        let fields: Properties = serde_json::from_str(body).unwrap();
                        prop_assert_eq!(fields["RowKey"].as_str(), Some(operation.key().row()));
                        prop_assert_eq!(fields["v"].as_str(), Some(rows[index].1.as_str()));
                    }
                }
            }
        }
    }
}
