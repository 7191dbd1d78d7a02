//! Messages on `azure_storage_queues`. Knows no table.

use crate::failure::Failure;
use crate::requests::{BodyInstead, HoldsMessages, NeverExpires, context};
use crate::text;
use adxingestor_ports::storage::{Error, Message, MessageQueue, Receipt, limits, message};
use adxingestor_ports::timestamp::Timestamp;
use async_trait::async_trait;
use azure_core::Context;
use azure_storage_queues::{PopReceipt, QueueClient, QueueServiceClient};
use bytes::Bytes;
use std::time::Duration;

/// The last second of the service's calendar, in ticks: a message that never expires ends there.
const FOREVER: Timestamp = Timestamp::from_ticks(Timestamp::MAX.ticks() - 10_000_000);

/// The queues of an account.
pub(crate) struct Queues {
    service: QueueServiceClient,
}

impl Queues {
    pub(crate) fn new(service: QueueServiceClient) -> Self {
        Self { service }
    }

    /// Puts a message; the queue is made when there is none.
    async fn put(&self, queue: &str, body: String, delay: Duration, context: Context) -> Result<(), Error> {
        let client = self.service.queue_client(queue);
        let put = || client.put_message(body.clone()).visibility_timeout(whole_seconds(delay)).context(context.clone());
        let mut result = put().await.map_err(Failure::from);
        if let Err(failure) = &result
            && failure.is_not_found()
        {
            client.create().await.map_err(|error| failed(error.into(), queue))?;
            result = put().await.map_err(Failure::from);
        }
        result.map(|_| ()).map_err(|failure| failed(failure, queue))
    }

    fn client(&self, queue: &str) -> QueueClient {
        self.service.queue_client(queue)
    }
}

#[async_trait]
impl MessageQueue for Queues {
    async fn send(&self, queue: &str, body: &[u8], delay: Duration) -> Result<(), Error> {
        limits::queue_name(queue)?;
        limits::message(body)?;
        limits::delay(delay)?;
        self.put(queue, message::to_text(body), delay, context(NeverExpires)).await
    }

    async fn send_foreign(&self, queue: &str, text: &str) -> Result<(), Error> {
        limits::queue_name(queue)?;
        limits::message_text(text)?;
        let mut context = context(NeverExpires);
        context.insert(BodyInstead(text::message(text)));
        self.put(queue, String::new(), Duration::ZERO, context).await
    }

    async fn receive(&self, queue: &str, max: u32, hide: Duration) -> Result<Vec<Message>, Error> {
        limits::queue_name(queue)?;
        limits::receive(max, hide)?;
        let received = self
            .client(queue)
            .get_messages()
            .number_of_messages(u8::try_from(max).unwrap_or(u8::MAX))
            .visibility_timeout(whole_seconds(hide))
            .context(context(HoldsMessages))
            .await
            .map_err(Failure::from);
        match received {
            Ok(answer) => Ok(answer.messages.into_iter().map(delivered).collect()),
            Err(failure) if failure.is_not_found() => Ok(Vec::new()),
            Err(failure) => Err(failed(failure, queue)),
        }
    }

    async fn extend(&self, queue: &str, id: &str, receipt: &Receipt, hide: Duration) -> Result<Receipt, Error> {
        limits::queue_name(queue)?;
        limits::delay(hide)?;
        let receipt = self.client(queue).pop_receipt_client(pop_receipt(id, receipt)?);
        // Without a body, the text stays what it is (rest-api-ref `Update-Message`).
        let update = receipt.update("", whole_seconds(hide)).context(context(BodyInstead(Bytes::new())));
        match update.await.map_err(Failure::from) {
            Ok(answer) => Ok(bound(id, &answer.pop_receipt)),
            Err(failure) => Err(failed_message(failure, queue, id)),
        }
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &Receipt) -> Result<(), Error> {
        limits::queue_name(queue)?;
        let receipt = self.client(queue).pop_receipt_client(pop_receipt(id, receipt)?);
        receipt.delete().await.map(|_| ()).map_err(|error| failed_message(error.into(), queue, id))
    }

    async fn approximate_count(&self, queue: &str) -> Result<u64, Error> {
        limits::queue_name(queue)?;
        match self.client(queue).get_metadata().await.map_err(Failure::from) {
            Ok(answer) => Ok(answer.approximate_messages_count as u64),
            Err(failure) if failure.is_not_found() => Ok(0),
            Err(failure) => Err(failed(failure, queue)),
        }
    }
}

fn delivered(message: azure_storage_queues::operations::Message) -> Message {
    let expires = Timestamp::from(message.expiration_time);
    Message {
        receipt: bound(&message.message_id, &message.pop_receipt),
        id: message.message_id,
        body: message::from_text(message.message_text),
        dequeue_count: u32::try_from(message.dequeue_count).unwrap_or(u32::MAX),
        inserted: message.insertion_time.into(),
        expires: if expires >= FOREVER { Timestamp::MAX } else { expires },
        next_visible: message.time_next_visible.into(),
    }
}

/// The messages of one receive may have the same pop receipt, at least in Azurite, which makes it of the time alone. With
/// the id in it a receipt is good for its message only.
fn bound(id: &str, pop_receipt: &str) -> Receipt {
    Receipt(format!("{id} {pop_receipt}"))
}

fn pop_receipt(id: &str, receipt: &Receipt) -> Result<PopReceipt, Error> {
    match receipt.0.split_once(' ') {
        Some((message, _)) if message != id => Err(Error::Conflict { index: 0 }),
        Some((_, pop_receipt)) => Ok(PopReceipt::new(id, pop_receipt)),
        // Not one of ours; the service says what it thinks of it.
        None => Ok(PopReceipt::new(id, &receipt.0)),
    }
}

fn failed(failure: Failure, queue: &str) -> Error {
    failure.into_error(Some(0), || format!("the queue {queue}"))
}

fn failed_message(failure: Failure, queue: &str, id: &str) -> Error {
    failure.into_error(Some(0), || format!("the message {id} of the queue {queue}"))
}

/// Rounded up: the crate cuts fractions off.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_to_whole_seconds() {
        for (millis, seconds) in [(0, 0), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), Duration::from_secs(seconds));
        }
    }
}
