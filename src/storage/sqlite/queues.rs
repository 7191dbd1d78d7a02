//! Messages in the table `message`.

use super::connections::failure;
use super::{Sqlite, ticks, timestamp};
use crate::storage::{Error, Message, MessageQueue, Receipt, limits, message};
use crate::timestamp::Timestamp;
use async_trait::async_trait;
use rusqlite::{OptionalExtension, Transaction, params};
use std::time::Duration;
use uuid::Uuid;

#[async_trait]
impl MessageQueue for Sqlite {
    async fn send(&self, queue: &str, body: &[u8], delay: Duration) -> Result<(), Error> {
        limits::message(body)?;
        limits::delay(delay)?;
        self.put(queue, message::to_text(body), delay).await
    }

    async fn send_foreign(&self, queue: &str, text: &str) -> Result<(), Error> {
        limits::message_text(text)?;
        self.put(queue, text.to_owned(), Duration::ZERO).await
    }

    async fn receive(&self, queue: &str, max: u32, hide: Duration) -> Result<Vec<Message>, Error> {
        limits::queue_name(queue)?;
        limits::receive(max, hide)?;
        let (queue, now) = (queue.to_owned(), self.clock.now());
        self.connections.write(move |transaction| receive(transaction, &queue, max, now, now + hide)).await
    }

    async fn extend(&self, queue: &str, id: &str, receipt: &Receipt, hide: Duration) -> Result<Receipt, Error> {
        limits::queue_name(queue)?;
        limits::delay(hide)?;
        let visible = self.clock.now() + hide;
        let (queue, id, old) = (queue.to_owned(), id.to_owned(), receipt.clone());
        self.connections
            .write(move |transaction| {
                let sequence = received(transaction, &queue, &id, &old)?;
                let receipts = transaction
                    .prepare_cached(
                        "UPDATE message SET visible = ?1, receipts = receipts + 1 WHERE sequence = ?2 RETURNING receipts",
                    )
                    .and_then(|mut statement| statement.query_row([ticks(visible), sequence], |row| row.get(0)))
                    .map_err(failure)?;
                Ok(new_receipt(sequence, receipts))
            })
            .await
    }

    async fn delete(&self, queue: &str, id: &str, receipt: &Receipt) -> Result<(), Error> {
        limits::queue_name(queue)?;
        let (queue, id, receipt) = (queue.to_owned(), id.to_owned(), receipt.clone());
        self.connections
            .write(move |transaction| {
                let sequence = received(transaction, &queue, &id, &receipt)?;
                transaction
                    .prepare_cached("DELETE FROM message WHERE sequence = ?1")
                    .and_then(|mut statement| statement.execute([sequence]))
                    .map_err(failure)?;
                Ok(())
            })
            .await
    }

    async fn approximate_count(&self, queue: &str) -> Result<u64, Error> {
        limits::queue_name(queue)?;
        let queue = queue.to_owned();
        self.connections
            .read(move |connection| {
                let count: i64 = connection
                    .prepare_cached("SELECT count(*) FROM message WHERE queue = ?1")
                    .and_then(|mut statement| statement.query_row([queue], |row| row.get(0)))
                    .map_err(failure)?;
                Ok(count.unsigned_abs())
            })
            .await
    }
}

impl Sqlite {
    async fn put(&self, queue: &str, text: String, delay: Duration) -> Result<(), Error> {
        limits::queue_name(queue)?;
        let (queue, now) = (queue.to_owned(), self.clock.now());
        let id = Uuid::new_v4().to_string();
        self.connections
            .write(move |transaction| {
                transaction
                    .prepare_cached(
                        "INSERT INTO message (queue, id, text, inserted, visible, dequeue_count, receipts)
                         VALUES (?1, ?2, ?3, ?4, ?5, 0, 0)",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![queue, id, text, ticks(now), ticks(now + delay)])
                    })
                    .map_err(failure)?;
                Ok(())
            })
            .await
    }
}

fn receive(
    transaction: &Transaction<'_>,
    queue: &str,
    max: u32,
    now: Timestamp,
    next_visible: Timestamp,
) -> Result<Vec<Message>, Error> {
    let mut statement = transaction
        .prepare_cached(
            "UPDATE message SET visible = ?4, dequeue_count = dequeue_count + 1, receipts = receipts + 1
             WHERE sequence IN (
                 SELECT sequence FROM message WHERE queue = ?1 AND visible <= ?2 ORDER BY visible, sequence LIMIT ?3
             )
             RETURNING id, text, dequeue_count, sequence, receipts, inserted",
        )
        .map_err(failure)?;
    statement
        .query_map(params![queue, ticks(now), max, ticks(next_visible)], |row| {
            Ok(Message {
                id: row.get(0)?,
                body: message::from_text(row.get(1)?),
                dequeue_count: row.get(2)?,
                receipt: new_receipt(row.get(3)?, row.get(4)?),
                inserted: timestamp(row.get(5)?),
                expires: Timestamp::MAX,
                next_visible,
            })
        })
        .and_then(Iterator::collect)
        .map_err(failure)
}

/// The place of a message that `receipt` was given for last.
fn received(transaction: &Transaction<'_>, queue: &str, id: &str, receipt: &Receipt) -> Result<i64, Error> {
    let (sequence, receipts) = transaction
        .prepare_cached("SELECT sequence, receipts FROM message WHERE queue = ?1 AND id = ?2")
        .and_then(|mut statement| statement.query_row([queue, id], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(failure)?
        .ok_or_else(|| Error::NotFound { what: format!("the message {id} of the queue {queue}") })?;
    if new_receipt(sequence, receipts) == *receipt { Ok(sequence) } else { Err(Error::Conflict { index: 0 }) }
}

fn new_receipt(sequence: i64, receipts: i64) -> Receipt {
    Receipt(format!("{sequence:x}.{receipts:x}"))
}
