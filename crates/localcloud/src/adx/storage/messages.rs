//! The operations on queues: one more message that is to be ingested, and the status messages with all that their
//! readers do to them.

use super::door::{Call, http_date, put_header, status};
use super::refusal::Refusal;
use super::status_queue::{KEPT, Message};
use super::{Named, xml};
use crate::source::ticks;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use quick_xml::escape::escape;
use uuid::Uuid;

/// The most bytes of a message's text (Azure Queue Storage).
const TEXT_CAP: usize = 64 * 1024;
/// The most messages of one answer.
const MOST: i64 = 32;
/// How long a taken message is hidden unless the reader says otherwise, in seconds.
const HIDDEN: i64 = 30;

impl Call<'_> {
    /// `/queue/<name>/messages`, `/queue/<name>/messages/<id>`
    pub(super) async fn message(&self, body: &mut Option<Body>) -> Result<Response, Refusal> {
        let inside = self.path.strip_prefix("/queue/").and_then(|path| path.split_once('/'));
        let (name, below) = inside.ok_or(Refusal::QUEUE_NOT_FOUND)?;
        let id = below.strip_prefix("messages/");
        let peeks = self.given("peekonly").is_some_and(|value| value == "true");
        let permission = match (&self.method, id) {
            (&Method::POST, None) => 'a',
            (&Method::GET, None) if peeks => 'r',
            (&Method::GET, None) | (&Method::DELETE, _) => 'p',
            _ => return Err(Refusal::UNSUPPORTED_VERB),
        };
        self.storage.check(&format!("/queue/{name}"), self.query, permission)?;
        let queue = match (self.storage.queue_named(name).ok_or(Refusal::QUEUE_NOT_FOUND)?, &self.method) {
            (Named::Ready(queue), &Method::POST) => {
                let put = Message::new(self.message_text(body).await?, self.storage.clock.now());
                queue.put(put.text.clone());
                return Ok(list(StatusCode::CREATED, &[put], Shown::Put));
            }
            // Nobody is lent the right to read what waits to be ingested.
            (Named::Closed, _) | (Named::Ready(_), _) => return Err(Refusal::PERMISSION_MISMATCH),
            (Named::Status(queue), _) => queue,
        };
        let now = self.storage.clock.now();
        match (&self.method, id) {
            (&Method::POST, _) => {
                let put = queue.put(self.message_text(body).await?, now);
                Ok(list(StatusCode::CREATED, &[put], Shown::Put))
            }
            (&Method::DELETE, None) => {
                queue.clear();
                Ok(status(StatusCode::NO_CONTENT, Body::empty()))
            }
            (&Method::DELETE, Some(id)) => {
                let receipt = self.given("popreceipt").and_then(|receipt| receipt_of(&receipt));
                queue.delete(Uuid::parse_str(id).map_err(|_| Refusal::MESSAGE_NOT_FOUND)?, receipt)?;
                Ok(status(StatusCode::NO_CONTENT, Body::empty()))
            }
            _ => {
                let most = self.whole("numofmessages", 1, 1..=MOST)?;
                let hidden = self.whole("visibilitytimeout", HIDDEN, 1..=KEPT / ticks::SECOND)?;
                let most = usize::try_from(most).unwrap_or_default();
                let (messages, shown) = match peeks {
                    true => (queue.peek(most, now), Shown::Peeked),
                    false => (queue.take(most, hidden * ticks::SECOND, now), Shown::Taken),
                };
                Ok(list(StatusCode::OK, &messages, shown))
            }
        }
    }

    async fn message_text(&self, body: &mut Option<Body>) -> Result<String, Refusal> {
        let text = self.text(body, TEXT_CAP + 1024).await?;
        let mut children = xml::children(&text, "QueueMessage").ok_or(Refusal::INVALID_XML)?;
        let child = children.pop().filter(|(kind, _)| kind == "MessageText" && children.is_empty());
        let (_, text) = child.ok_or(Refusal::INVALID_XML)?;
        if text.len() > TEXT_CAP { Err(Refusal::TOO_LARGE) } else { Ok(text) }
    }

    /// A number of the query within its bounds.
    fn whole(&self, name: &str, default: i64, bounds: std::ops::RangeInclusive<i64>) -> Result<i64, Refusal> {
        let Some(text) = self.given(name) else { return Ok(default) };
        text.parse().ok().filter(|number| bounds.contains(number)).ok_or(Refusal::OUT_OF_RANGE)
    }
}

/// What an answer shows of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Put,
    Peeked,
    Taken,
}

fn list(code: StatusCode, messages: &[Message], shown: Shown) -> Response {
    let mut text = "<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessagesList>".to_owned();
    for message in messages {
        text.push_str("<QueueMessage>");
        let mut element = |name: &str, value: &str| text.push_str(&format!("<{name}>{value}</{name}>"));
        element("MessageId", &message.id.to_string());
        element("InsertionTime", &http_date(message.inserted));
        element("ExpirationTime", &http_date(message.inserted + KEPT));
        if shown != Shown::Peeked {
            element("PopReceipt", &BASE64.encode(message.receipt.as_bytes()));
            element("TimeNextVisible", &http_date(message.visible));
        }
        if shown != Shown::Put {
            element("DequeueCount", &message.taken.to_string());
            element("MessageText", &escape(&message.text));
        }
        text.push_str("</QueueMessage>");
    }
    text.push_str("</QueueMessagesList>");
    let mut response = status(code, Body::from(text));
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    put_header(headers, header::CACHE_CONTROL, "no-cache");
    response
}

fn receipt_of(text: &str) -> Option<Uuid> {
    Uuid::from_slice(&BASE64.decode(text).ok()?).ok()
}
