//! Messages: what comes back, when, and what a receipt is good for.

use super::Harness;
use super::transactions::at_once;
use adxingestor::storage::{Body, Error, Message, Receipt};
use adxingestor::timestamp::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;
const HIDE: Duration = Duration::from_secs(30);
/// Short enough for a store whose time passes by waiting.
const SHORT: Duration = Duration::from_secs(3);
const ONE: Duration = Duration::from_secs(1);
const TWO: Duration = Duration::from_secs(2);

pub async fn an_unknown_queue_is_empty(h: &Harness) {
    let queues = &h.storage.queues;
    assert_eq!(queues.receive(h.queue(), 32, HIDE).await.unwrap(), []);
    assert_eq!(queues.approximate_count(h.queue()).await.unwrap(), 0);
    let (id, receipt) = (uuid::Uuid::new_v4().to_string(), Receipt("AgAAAAMAAAAAAAAA".to_owned()));
    assert_not_found(queues.delete(h.queue(), &id, &receipt).await);
    assert_not_found(queues.extend(h.queue(), &id, &receipt, HIDE).await);
}

pub async fn a_message_says_how_it_was_delivered(h: &Harness) {
    let queues = &h.storage.queues;
    let before = h.storage.clock.now();
    queues.send(h.queue(), b"body", NOW).await.unwrap();
    assert_eq!(queues.approximate_count(h.queue()).await.unwrap(), 1);
    h.pass(ONE).await;
    let message = receive(h).await.unwrap();
    assert_eq!((&message.body, message.dequeue_count), (&Body::Bytes("body".into()), 1));
    assert!(uuid::Uuid::parse_str(&message.id).is_ok(), "{}", message.id);
    assert!(h.same_time(message.inserted, before), "{message:?}");
    assert!(h.same_time(message.next_visible, before + ONE + HIDE), "{message:?}");
    assert_eq!(message.expires, Timestamp::MAX);
    assert_eq!(queues.approximate_count(h.queue()).await.unwrap(), 1);
}

pub async fn any_bytes_come_back(h: &Harness) {
    let all: Vec<u8> = (0..=255).collect();
    let bodies: [&[u8]; 8] = [
        b"",
        b" ",
        b"  a b\t\r\n ",
        b"\r\n--batch\r\n",
        "naïve 中文 \u{1F980}".as_bytes(),
        b"<a>&amp;]]></a>",
        b"aGk=",
        &all,
    ];
    for body in bodies {
        h.storage.queues.send(h.queue(), body, NOW).await.unwrap();
        let message = receive(h).await.unwrap();
        assert_eq!(message.body, Body::Bytes(body.to_vec().into()));
        h.storage.queues.delete(h.queue(), &message.id, &message.receipt).await.unwrap();
    }
}

pub async fn foreign_text_comes_back(h: &Harness) {
    foreign(
        h,
        &["{\"a\":[1]}", "<a b='c'>&amp;]]></a>", "naïve 中文 \u{1F980}", "plain text", "a%2Fb+c", "aGk", "--batch"],
    )
    .await;
}

pub async fn foreign_text_keeps_its_line_ends_and_white_space(h: &Harness) {
    foreign(h, &["  {} ", "{}\n", "\t{}", "a\r\nb\rc\nd-", " ", "\r\n"]).await;
}

async fn foreign(h: &Harness, texts: &[&str]) {
    for text in texts {
        h.storage.queues.send_foreign(h.queue(), text).await.unwrap();
        let message = receive(h).await.unwrap();
        assert_eq!((message.body, message.dequeue_count), (Body::Foreign((*text).to_owned()), 1));
        h.storage.queues.delete(h.queue(), &message.id, &message.receipt).await.unwrap();
    }
}

pub async fn text_that_is_base64_counts_as_bytes(h: &Harness) {
    h.storage.queues.send_foreign(h.queue(), "aGk=").await.unwrap();
    assert_eq!(receive(h).await.unwrap().body, Body::Bytes("hi".into()));
}

pub async fn a_received_message_is_hidden_until_its_time(h: &Harness) {
    h.storage.queues.send(h.queue(), b"x", NOW).await.unwrap();
    let first = receive_for(h, SHORT).await.unwrap();
    h.pass(ONE).await;
    assert_eq!(receive(h).await, None);
    h.pass(TWO).await;
    let second = receive(h).await.unwrap();
    assert_eq!((&second.id, &second.body, second.inserted), (&first.id, &first.body, first.inserted));
    assert_eq!((first.dequeue_count, second.dequeue_count), (1, 2));
    assert_ne!(first.receipt, second.receipt);
}

pub async fn a_delayed_message_is_hidden_until_its_time(h: &Harness) {
    let queues = &h.storage.queues;
    queues.send(h.queue(), b"later", SHORT).await.unwrap();
    queues.send(h.queue(), b"now", NOW).await.unwrap();
    assert_eq!(queues.approximate_count(h.queue()).await.unwrap(), 2);
    assert_eq!(receive(h).await.unwrap().body, Body::Bytes("now".into()));
    assert_eq!(receive(h).await, None);
    h.pass(ONE).await;
    assert_eq!(receive(h).await, None);
    h.pass(TWO).await;
    let message = receive(h).await.unwrap();
    assert_eq!((message.body, message.dequeue_count), (Body::Bytes("later".into()), 1));
}

pub async fn a_message_never_expires(h: &Harness) {
    h.storage.queues.send(h.queue(), b"x", NOW).await.unwrap();
    h.skip_days(400);
    assert_eq!(receive(h).await.unwrap().expires, Timestamp::MAX);
    h.skip_days(400);
    assert_eq!(h.storage.queues.approximate_count(h.queue()).await.unwrap(), 1);
}

pub async fn a_backlog_is_received_once_in_parts(h: &Harness) {
    for n in 0..40_u8 {
        h.storage.queues.send(h.queue(), &[n], NOW).await.unwrap();
    }
    let mut seen = HashSet::new();
    let mut parts = 0;
    loop {
        let messages = h.storage.queues.receive(h.queue(), 16, HIDE).await.unwrap();
        assert!(messages.len() <= 16);
        if messages.is_empty() {
            break;
        }
        parts += 1;
        for message in messages {
            let Body::Bytes(body) = message.body else { panic!("{:?}", message.body) };
            assert!(seen.insert(body[0]) && message.dequeue_count == 1);
        }
    }
    assert!(parts >= 3);
    assert_eq!(seen.len(), 40);
}

pub async fn an_extended_message_stays_hidden(h: &Harness) {
    h.storage.queues.send(h.queue(), b"body", NOW).await.unwrap();
    let first = receive_for(h, SHORT).await.unwrap();
    h.pass(TWO).await;
    let receipt = h.storage.queues.extend(h.queue(), &first.id, &first.receipt, SHORT).await.unwrap();
    assert_ne!(receipt, first.receipt);
    h.pass(TWO).await;
    assert_eq!(receive(h).await, None);
    h.pass(ONE).await;
    let second = receive(h).await.unwrap();
    assert_eq!((second.id, second.body, second.dequeue_count), (first.id, first.body, 2));
}

pub async fn a_message_extended_by_nothing_is_visible_at_once(h: &Harness) {
    h.storage.queues.send(h.queue(), b"x", NOW).await.unwrap();
    let first = receive(h).await.unwrap();
    h.storage.queues.extend(h.queue(), &first.id, &first.receipt, NOW).await.unwrap();
    let second = receive(h).await.unwrap();
    assert_eq!((second.id, second.dequeue_count), (first.id, 2));
}

pub async fn a_newer_delivery_makes_a_receipt_stale(h: &Harness) {
    let queues = &h.storage.queues;
    queues.send(h.queue(), b"x", NOW).await.unwrap();
    let first = receive_for(h, ONE).await.unwrap();
    h.pass(TWO).await;
    let second = receive(h).await.unwrap();
    assert_conflict(queues.delete(h.queue(), &first.id, &first.receipt).await);
    assert_conflict(queues.extend(h.queue(), &first.id, &first.receipt, NOW).await);
    assert_eq!(receive(h).await, None, "the refused extension must change nothing");
    assert_eq!(queues.approximate_count(h.queue()).await.unwrap(), 1);
    queues.delete(h.queue(), &second.id, &second.receipt).await.unwrap();
    assert_eq!(queues.approximate_count(h.queue()).await.unwrap(), 0);
}

pub async fn an_extension_makes_a_receipt_stale(h: &Harness) {
    let queues = &h.storage.queues;
    queues.send(h.queue(), b"x", NOW).await.unwrap();
    let first = receive(h).await.unwrap();
    let second = queues.extend(h.queue(), &first.id, &first.receipt, HIDE).await.unwrap();
    let third = queues.extend(h.queue(), &first.id, &second, HIDE).await.unwrap();
    for stale in [&first.receipt, &second] {
        assert_conflict(queues.extend(h.queue(), &first.id, stale, HIDE).await);
        assert_conflict(queues.delete(h.queue(), &first.id, stale).await);
    }
    queues.delete(h.queue(), &first.id, &third).await.unwrap();
}

pub async fn a_receipt_outlives_its_time_until_the_next_delivery(h: &Harness) {
    let queues = &h.storage.queues;
    queues.send(h.queue(), b"x", NOW).await.unwrap();
    let message = receive_for(h, ONE).await.unwrap();
    h.pass(TWO).await;
    let receipt = queues.extend(h.queue(), &message.id, &message.receipt, ONE).await.unwrap();
    h.pass(TWO).await;
    queues.delete(h.queue(), &message.id, &receipt).await.unwrap();
    assert_eq!(receive(h).await, None);
}

pub async fn a_receipt_is_good_for_its_message_only(h: &Harness) {
    let queues = &h.storage.queues;
    queues.send(h.queue(), b"1", NOW).await.unwrap();
    queues.send(h.queue(), b"2", NOW).await.unwrap();
    let messages = queues.receive(h.queue(), 2, HIDE).await.unwrap();
    let [one, other] = messages.as_slice() else { panic!("{messages:?}") };
    assert_ne!(one.id, other.id);
    assert_conflict(queues.delete(h.queue(), &one.id, &other.receipt).await);
    assert_conflict(queues.extend(h.queue(), &one.id, &other.receipt, NOW).await);
    for message in &messages {
        queues.delete(h.queue(), &message.id, &message.receipt).await.unwrap();
    }
}

pub async fn a_deleted_message_is_gone(h: &Harness) {
    let queues = &h.storage.queues;
    queues.send(h.queue(), b"x", NOW).await.unwrap();
    queues.send(h.queue(), b"y", NOW).await.unwrap();
    let message = receive_for(h, ONE).await.unwrap();
    queues.delete(h.queue(), &message.id, &message.receipt).await.unwrap();
    assert_not_found(queues.delete(h.queue(), &message.id, &message.receipt).await);
    assert_not_found(queues.extend(h.queue(), &message.id, &message.receipt, HIDE).await);
    assert_eq!(queues.approximate_count(h.queue()).await.unwrap(), 1);
    h.pass(TWO).await;
    let rest = queues.receive(h.queue(), 32, HIDE).await.unwrap();
    assert!(rest.len() == 1 && rest[0].id != message.id, "{rest:?}");
}

pub async fn queues_are_apart(h: &Harness) {
    let queues = &h.storage.queues;
    let other = format!("{}-poison", h.queue());
    queues.send(h.queue(), b"here", NOW).await.unwrap();
    queues.send(&other, b"there", NOW).await.unwrap();
    let here = queues.receive(h.queue(), 32, HIDE).await.unwrap().swap_remove(0);
    let there = queues.receive(&other, 32, HIDE).await.unwrap().swap_remove(0);
    assert_eq!((&here.body, &there.body), (&Body::Bytes("here".into()), &Body::Bytes("there".into())));
    assert_not_found(queues.delete(&other, &here.id, &here.receipt).await);
    assert_not_found(queues.extend(&other, &here.id, &here.receipt, HIDE).await);
    queues.delete(h.queue(), &here.id, &here.receipt).await.unwrap();
    assert_eq!(queues.approximate_count(&other).await.unwrap(), 1);
}

pub async fn concurrent_receivers_share_no_message(h: &Harness) {
    for n in 0..100_u8 {
        h.storage.queues.send(h.queue(), &[n], NOW).await.unwrap();
    }
    let received = at_once(8, |_| {
        let (queues, queue) = (Arc::clone(&h.storage.queues), h.queue().to_owned());
        async move {
            let mut received = Vec::new();
            loop {
                let messages = queues.receive(&queue, 5, Duration::from_secs(600)).await.unwrap();
                if messages.is_empty() {
                    return received;
                }
                received.extend(messages);
            }
        }
    })
    .await;
    let all: Vec<Message> = received.into_iter().flatten().collect();
    assert!(all.iter().all(|message| message.dequeue_count == 1));
    assert_eq!(all.iter().map(|message| &message.id).collect::<HashSet<_>>().len(), 100);
    assert_eq!(all.len(), 100);
}

async fn receive(h: &Harness) -> Option<Message> {
    receive_for(h, HIDE).await
}

async fn receive_for(h: &Harness, hide: Duration) -> Option<Message> {
    let messages = h.storage.queues.receive(h.queue(), 1, hide).await.unwrap();
    assert!(messages.len() <= 1, "{messages:?}");
    messages.into_iter().next()
}

#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Conflict { .. })), "{result:?}");
}

#[track_caller]
fn assert_not_found<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::NotFound { .. })), "{result:?}");
}
