//! Messages in Azure Queue Storage, by the official client (rest-api-ref `Operations-on-Messages`). Knows nothing of what
//! a message means, and repeats nothing.

mod xml;

use super::account::Service;
use super::client::{Failure, VERSION, base, timely};
use super::header::header;
use crate::storage::{Error, Message, MessageQueue, Receipt, limits, message};
use async_trait::async_trait;
use azure_core::http::headers::HeaderName;
use azure_storage_queue::models::{
    QueueClientGetPropertiesResultHeaders, QueueClientReceiveMessagesOptions, QueueClientSendMessageOptions,
};
use azure_storage_queue::{QueueClient, QueueServiceClient, QueueServiceClientOptions};
use bytes::Bytes;
use std::time::Duration;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// `messagettl` of a message that never expires (rest-api-ref `Put-Message`).
const NEVER: i32 = -1;
const NO_QUEUE: &str = "QueueNotFound";
const NEW_RECEIPT: HeaderName = HeaderName::from_static("x-ms-popreceipt");

/// The queues of an account.
pub(super) struct Queues {
    service: QueueServiceClient,
}

impl Queues {
    /// The queues at an endpoint.
    ///
    /// # Errors
    /// [`Error::Fatal`] when the endpoint is no base URL.
    pub(super) fn new(service: Service) -> Result<Self, Error> {
        let options = QueueServiceClientOptions { client_options: service.options, version: VERSION.to_owned() };
        let service = QueueServiceClient::new(base(service.endpoint), None, Some(options)).map_err(Failure::from)?;
        Ok(Self { service })
    }

    fn client(&self, queue: &str) -> Result<QueueClient, Error> {
        limits::queue_name(queue)?;
        Ok(self.service.queue_client(queue).map_err(Failure::from)?)
    }

    /// Puts a text, into a queue that is made if need be.
    async fn put(&self, queue: &str, text: &str, delay: Duration) -> Result<(), Error> {
        limits::delay(delay)?;
        let client = self.client(queue)?;
        let document = xml::message(text);
        match post(&client, document.clone(), delay).await {
            Err(failure) if failure.is(NO_QUEUE) => {
                create(&client).await?;
                post(&client, document, delay).await.map_err(Error::from)
            }
            posted => posted.map_err(Error::from),
        }
    }
}

async fn post(client: &QueueClient, document: Bytes, delay: Duration) -> Result<(), Failure> {
    let options = QueueClientSendMessageOptions {
        message_time_to_live: Some(NEVER),
        visibility_timeout: Some(whole_seconds(delay)),
        ..Default::default()
    };
    timely(TIMEOUT, client.send_message(document.into(), Some(options))).await.map(drop)
}

/// Makes the queue; fine if someone else just has.
async fn create(client: &QueueClient) -> Result<(), Error> {
    match timely(TIMEOUT, client.create(None)).await {
        Err(failure) if failure.is("QueueAlreadyExists") => Ok(()),
        created => created.map(drop).map_err(Error::from),
    }
}

#[async_trait]
impl MessageQueue for Queues {
    async fn send(&self, queue: &str, body: &[u8], delay: Duration) -> Result<(), Error> {
        limits::message(body)?;
        self.put(queue, &message::to_text(body), delay).await
    }

    async fn send_foreign(&self, queue: &str, text: &str) -> Result<(), Error> {
        limits::message_text(text)?;
        self.put(queue, text, Duration::ZERO).await
    }

    async fn receive(&self, queue: &str, max: u32, hide: Duration) -> Result<Vec<Message>, Error> {
        limits::receive(max, hide)?;
        let client = self.client(queue)?;
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: i32::try_from(max).ok(),
            visibility_timeout: Some(whole_seconds(hide)),
            ..Default::default()
        };
        match timely(TIMEOUT, client.receive_messages(Some(options))).await {
            Ok(answer) => {
                let mut messages = xml::received(answer.body()).map_err(|odd| Failure::Odd(odd.to_string()))?;
                for message in &mut messages {
                    message.receipt = bound(&message.id, &message.receipt.0);
                }
                Ok(messages)
            }
            Err(failure) if failure.is(NO_QUEUE) => Ok(Vec::new()),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn extend(&self, queue: &str, id: &str, receipt: &Receipt, hide: Duration) -> Result<Receipt, Error> {
        limits::delay(hide)?;
        let client = self.client(queue)?;
        check_id(queue, id)?;
        let receipt = pop_receipt(id, receipt)?;
        // Without a body the text stays as it is.
        let update = client.update_message(id, receipt, whole_seconds(hide), None);
        let answer = timely(TIMEOUT, update).await.map_err(|failure| of_message(failure, queue, id))?;
        match header(answer.headers(), &NEW_RECEIPT) {
            Some(newer) => Ok(bound(id, newer)),
            None => Err(Failure::lacks("the answer to the extension of a message", NEW_RECEIPT.as_str()).into()),
        }
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &Receipt) -> Result<(), Error> {
        let client = self.client(queue)?;
        check_id(queue, id)?;
        let delete = client.delete_message(id, pop_receipt(id, receipt)?, None);
        timely(TIMEOUT, delete).await.map(drop).map_err(|failure| of_message(failure, queue, id))
    }

    async fn approximate_count(&self, queue: &str) -> Result<u64, Error> {
        let client = self.client(queue)?;
        match timely(TIMEOUT, client.get_properties(None)).await {
            Ok(answer) => {
                match answer.approximate_messages_count() {
                    Ok(Some(count)) if count >= 0 => Ok(count.unsigned_abs()),
                    _ => Err(Failure::lacks("the answer with a queue's properties", "x-ms-approximate-messages-count")
                        .into()),
                }
            }
            Err(failure) if failure.is(NO_QUEUE) => Ok(0),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// The service counts in whole seconds; a message must not be visible too early.
fn whole_seconds(time: Duration) -> i32 {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    // The limits keep it to 7 days.
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// The id becomes a part of the path. The service's are GUIDs.
fn check_id(queue: &str, id: &str) -> Result<(), Error> {
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if plain && !id.is_empty() { Ok(()) } else { Err(not_found(queue, id)) }
}

/// The messages of one receive may have the same pop receipt, at least in Azurite, which makes it of the time alone. With
/// the id in it a receipt is good for its message only.
fn bound(id: &str, pop_receipt: &str) -> Receipt {
    Receipt(format!("{id} {pop_receipt}"))
}

fn pop_receipt<'r>(id: &str, receipt: &'r Receipt) -> Result<&'r str, Error> {
    match receipt.0.split_once(' ') {
        Some((of, _)) if of != id => Err(Error::Conflict { index: 0 }),
        Some((_, pop_receipt)) => Ok(pop_receipt),
        // One that another client got: the service will tell.
        None => Ok(&receipt.0),
    }
}

fn not_found(queue: &str, id: &str) -> Error {
    Error::NotFound { what: format!("the message {id} of the queue {queue}") }
}

/// What the refusal of a received message means (rest-api-ref `Queue-Service-Error-Codes`).
fn of_message(failure: Failure, queue: &str, id: &str) -> Error {
    match failure.code().as_deref() {
        Some(NO_QUEUE | "MessageNotFound") => not_found(queue, id),
        Some("PopReceiptMismatch") => Error::Conflict { index: 0 },
        _ => failure.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::canned::{Answer, Canned, refusal};
    use super::*;
    use std::sync::Arc;

    const HIDE: Duration = Duration::from_secs(30);

    fn queues(answers: impl IntoIterator<Item = Answer>) -> (Arc<Canned>, Queues) {
        let canned = Canned::new(answers);
        let queues = Queues::new(canned.service()).unwrap();
        (canned, queues)
    }

    #[tokio::test]
    async fn the_first_send_makes_the_queue() {
        let done = || (201, Vec::new(), Vec::new());
        for created in [done(), refusal(409, "QueueAlreadyExists")] {
            let (canned, queues) = queues([refusal(404, NO_QUEUE), created, done()]);
            queues.send("queue", b"x", Duration::from_millis(1500)).await.unwrap();
            let put = "POST /account/queue/messages?messagettl=-1&visibilitytimeout=2 2025-11-05";
            assert_eq!(canned.asked(), [put, "PUT /account/queue 2025-11-05", put]);
        }
    }

    #[tokio::test]
    async fn a_queue_that_is_being_deleted_is_unavailable() {
        for answers in [
            vec![refusal(409, "QueueBeingDeleted")],
            vec![refusal(404, NO_QUEUE), refusal(409, "QueueBeingDeleted")],
            vec![refusal(404, NO_QUEUE), (201, Vec::new(), Vec::new()), refusal(409, "QueueBeingDeleted")],
        ] {
            let error = queues(answers).1.send("queue", b"x", Duration::ZERO).await.unwrap_err();
            assert!(matches!(error, Error::Unavailable(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_makes_no_sense_is_no_answer() {
        let garbage = || (200, Vec::new(), b"<html>\0garbage".to_vec());
        let error = queues([garbage()]).1.receive("queue", 1, HIDE).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        let error = queues([garbage()]).1.approximate_count("queue").await.unwrap_err();
        assert!(error.to_string().contains("x-ms-approximate-messages-count"), "{error}");
        let receipt = Receipt("1".to_owned());
        let error = queues([(204, Vec::new(), Vec::new())]).1.extend("queue", "id", &receipt, HIDE).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)) && error.to_string().contains("x-ms-popreceipt"), "{error}");
        for error in [
            queues([garbage()]).1.delete("queue", "id", &receipt).await.unwrap_err(),
            queues([garbage()]).1.send("queue", b"x", HIDE).await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Unavailable(_)), "their successes have another status: {error}");
        }
    }

    #[tokio::test]
    async fn a_refused_message_says_why() {
        let receipt = Receipt("1".to_owned());
        for code in [NO_QUEUE, "MessageNotFound"] {
            let error = queues([refusal(404, code)]).1.delete("queue", "id", &receipt).await.unwrap_err();
            assert!(matches!(error, Error::NotFound { .. }), "{error}");
        }
        let error = queues([refusal(400, "PopReceiptMismatch")]).1.extend("queue", "id", &receipt, HIDE).await;
        assert!(matches!(error, Err(Error::Conflict { index: 0 })), "{error:?}");
    }

    #[test]
    fn times_are_rounded_up_to_whole_seconds() {
        for (millis, seconds) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (604_799_001, 604_800)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }

    #[test]
    fn a_receipt_is_good_for_its_message_only() {
        let receipt = bound("a", "AgAA 1");
        assert_eq!(pop_receipt("a", &receipt).unwrap(), "AgAA 1");
        assert!(matches!(pop_receipt("b", &receipt), Err(Error::Conflict { .. })));
        assert_eq!(pop_receipt("b", &Receipt("AgAA".to_owned())).unwrap(), "AgAA");
    }

    #[test]
    fn an_id_that_could_leave_its_path_is_not_found() {
        for id in ["", "..", "a/b", "a?b=c", "{messageId}", "a%2Fb"] {
            assert!(matches!(check_id("queue", id), Err(Error::NotFound { .. })), "{id}");
        }
        check_id("queue", "0d2b8ab6-9e6e-4b5e-a3a1-3f3b1a0c9f5d").unwrap();
    }
}
