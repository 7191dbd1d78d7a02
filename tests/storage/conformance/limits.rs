//! What no service takes is refused before anything is written, at the documented limits exactly.

use super::{Harness, object, one};
use adxingestor::storage::{
    ETag, Error, MAX_ENTITY_BYTES, MAX_MESSAGE_BYTES, MAX_RECEIVE, MAX_TEXT_UNITS, Operation, Properties, Receipt,
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;

const HIDE: Duration = Duration::from_secs(30);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub async fn an_entity_of_a_mebibyte_is_the_largest(h: &Harness) {
    // 4 bytes, 2 a UTF-16 unit of the keys, and for each property 8 + 2 a unit of the name + 4 + 2 a unit of the text,
    // or 1 for a bool.
    let filled = |with_bool: bool, spare_units: usize| {
        let mut properties = Properties::new();
        let mut bytes = 4 + 2 * (h.queue().len() + 1);
        if with_bool {
            properties.insert("flag".to_owned(), true.into());
            bytes += 8 + 2 * 4 + 1;
        }
        let mut last = false;
        while !last {
            let name = format!("p{:02}", properties.len());
            let room = (MAX_ENTITY_BYTES - bytes - 8 - 2 * name.len() - 4) / 2;
            last = room <= 30_000;
            let units = if last { room } else { 20_000 };
            bytes += 8 + 2 * name.len() + 4 + 2 * units;
            properties.insert(name, "x".repeat(if last { units + spare_units } else { units }).into());
        }
        properties
    };
    for (row, with_bool) in [("1", false), ("2", true)] {
        let largest = filled(with_bool, 0);
        let etag = one(h.commit(&[Operation::Insert(h.key(row), largest.clone())]).await);
        assert_eq!(h.properties(row).await, largest);
        let larger = filled(with_bool, 1);
        assert_too_large(h.commit(&[Operation::Insert(h.key("3"), larger.clone())]).await);
        assert_too_large(h.commit(&[Operation::Replace(h.key(row), larger, etag.clone())]).await);
        assert_eq!((h.get(row).await.unwrap().etag, h.get("3").await), (etag, None));
    }
}

pub async fn a_merge_cannot_make_a_row_too_large(h: &Harness) {
    let half = |prefix: &str, count| -> Properties {
        (0..count).map(|n| (format!("{prefix}{n}"), Value::from("x".repeat(30_000)))).collect()
    };
    let etag = one(h.commit(&[Operation::Insert(h.key("1"), half("a", 9))]).await);
    let many = (0..243).map(|n| (format!("n{n}"), Value::from(n))).collect::<Properties>();
    if h.bounds_merged_rows {
        let (new, large) = (Operation::Insert(h.key("0"), object(json!({}))), half("b", 9));
        assert_too_large(h.commit(&[new, Operation::Merge(h.key("1"), large, etag.clone())]).await);
        let mut fits = many.clone();
        fits.insert("more".to_owned(), true.into());
        assert_too_large(h.commit(&[Operation::Merge(h.key("1"), fits, etag.clone())]).await);
        assert_eq!((h.get("1").await.unwrap().etag, h.get("0").await), (etag.clone(), None));
    }
    h.commit(&[Operation::Merge(h.key("1"), many, etag)]).await.unwrap();
    assert_eq!(h.properties("1").await.len(), 252);
}

pub async fn a_text_of_32_ki_units_is_the_longest(h: &Harness) {
    for (row, longest) in [("ascii", "x".repeat(MAX_TEXT_UNITS)), ("pairs", "\u{1F980}".repeat(MAX_TEXT_UNITS / 2))] {
        h.insert(row, json!({"v": longest})).await;
        assert_eq!(h.properties(row).await["v"], longest);
        let longer = object(json!({"v": longest + "x"}));
        assert_too_large(h.commit(&[Operation::Insert(h.key("longer"), longer)]).await);
    }
    assert_eq!(h.get("longer").await, None);
}

pub async fn a_row_has_at_most_252_properties(h: &Harness) {
    let properties = |count: usize| (0..count).map(|n| (format!("n{n}"), Value::from(n))).collect::<Properties>();
    let etag = one(h.commit(&[Operation::Insert(h.key("1"), properties(252))]).await);
    assert_eq!(h.properties("1").await, properties(252));
    assert_too_large(h.commit(&[Operation::Insert(h.key("2"), properties(253))]).await);
    assert_too_large(h.commit(&[Operation::Replace(h.key("1"), properties(253), etag)]).await);
    assert_eq!((h.properties("1").await, h.get("2").await), (properties(252), None));
}

pub async fn other_values_are_refused(h: &Harness) {
    let etag = h.insert("r", json!({"v": 1})).await;
    for value in [json!(null), json!([]), json!([1]), json!({}), json!({"a": 1}), json!(i64::MAX as u64 + 1)] {
        let properties = object(json!({"good": 1, "v": value}));
        for operation in [
            Operation::Insert(h.key("new"), properties.clone()),
            Operation::Merge(h.key("r"), properties.clone(), etag.clone()),
            Operation::Replace(h.key("r"), properties, etag.clone()),
        ] {
            assert_invalid(h.commit(&[operation]).await);
        }
    }
    assert_eq!((h.get("r").await.unwrap().etag, h.get("new").await), (etag, None));
}

pub async fn other_property_names_are_refused(h: &Harness) {
    let long = "n".repeat(256);
    for name in
        ["", "a-b", "a b", "1a", "a.b", "odata.type", "v@odata.type", "PartitionKey", "RowKey", "Timestamp", &long]
    {
        let properties = object(json!({"good": 1, name: "x"}));
        assert_invalid(h.commit(&[Operation::Insert(h.key("new"), properties)]).await);
    }
    assert_eq!(h.get("new").await, None);
}

pub async fn a_transaction_has_at_most_4_mebibytes(h: &Harness) {
    let large: Properties = (0..17).map(|n| (format!("p{n}"), Value::from("x".repeat(30_000)))).collect();
    let inserts =
        |count| (0..count).map(|n| Operation::Insert(h.key(&n.to_string()), large.clone())).collect::<Vec<_>>();
    assert_too_large(h.commit(&inserts(9)).await);
    assert_eq!(h.rows(&h.range("", None)).await, []);
    h.commit(&inserts(8)).await.unwrap();
    assert_eq!(h.rows(&h.range("", None)).await.len(), 8);
}

pub async fn one_refused_operation_refuses_its_transaction(h: &Harness) {
    let operations = [
        Operation::Insert(h.key("1"), object(json!({"v": 1}))),
        Operation::Insert(h.key("2"), object(json!({"v": null}))),
        Operation::Insert(h.key("3"), object(json!({"v": 3}))),
    ];
    assert_invalid(h.commit(&operations).await);
    assert_eq!(h.rows(&h.range("", None)).await, []);
}

pub async fn a_star_is_no_version(h: &Harness) {
    let etag = h.insert("r", json!({"v": 1})).await;
    for wild in ["*", ""].map(|text| ETag(text.to_owned())) {
        for row in ["r", "new"] {
            let properties = object(json!({"v": 2}));
            for operation in [
                Operation::Replace(h.key(row), properties.clone(), wild.clone()),
                Operation::Merge(h.key(row), properties, wild.clone()),
                Operation::Delete(h.key(row), wild.clone()),
            ] {
                assert_invalid(h.commit(&[operation]).await);
            }
        }
    }
    assert_eq!((h.get("r").await.unwrap().etag, h.get("new").await), (etag, None));
}

pub async fn queue_names_are_checked(h: &Harness) {
    let queues = &h.storage.queues;
    let (long, receipt) = ("q".repeat(64), Receipt("1".to_owned()));
    for name in ["", "ab", "Abc", "a_b", "a.b", "-abc", "abc-", "a--b", "a b", "äbc", "a/b", "$logs", &long] {
        assert_invalid(queues.send(name, b"x", Duration::ZERO).await);
        assert_invalid(queues.send_foreign(name, "x").await);
        assert_invalid(queues.receive(name, 1, HIDE).await);
        assert_invalid(queues.extend(name, "id", &receipt, HIDE).await);
        assert_invalid(queues.delete(name, "id", &receipt).await);
        assert_invalid(queues.approximate_count(name).await);
    }
    let short = format!("{}-1", &h.queue()[..8]);
    let long = format!("{0:z<63}", h.queue());
    for name in [&short, &long] {
        queues.send(name, b"x", Duration::ZERO).await.unwrap();
        assert_eq!(queues.approximate_count(name).await.unwrap(), 1);
    }
}

pub async fn a_message_of_48_kibibytes_is_the_largest(h: &Harness) {
    let queues = &h.storage.queues;
    assert_too_large(queues.send(h.queue(), &vec![0xFF; MAX_MESSAGE_BYTES + 1], Duration::ZERO).await);
    assert_too_large(queues.send_foreign(h.queue(), &"-".repeat(64 * 1024 + 1)).await);
    assert_invalid(queues.send_foreign(h.queue(), "a\u{1}b").await);
    assert_eq!(queues.approximate_count(h.queue()).await.unwrap(), 0);
    queues.send(h.queue(), &vec![0xFF; MAX_MESSAGE_BYTES], Duration::ZERO).await.unwrap();
    queues.send_foreign(h.queue(), &"-".repeat(64 * 1024)).await.unwrap();
    assert_eq!(queues.receive(h.queue(), 2, HIDE).await.unwrap().len(), 2);
}

pub async fn a_receive_takes_1_to_32(h: &Harness) {
    let queues = &h.storage.queues;
    queues.send(h.queue(), b"x", Duration::ZERO).await.unwrap();
    for max in [0, MAX_RECEIVE + 1, u32::MAX] {
        assert_invalid(queues.receive(h.queue(), max, HIDE).await);
    }
    assert_eq!(queues.receive(h.queue(), MAX_RECEIVE, HIDE).await.unwrap()[0].dequeue_count, 1);
}

pub async fn nothing_is_hidden_for_more_than_7_days(h: &Harness) {
    let queues = &h.storage.queues;
    let longer = WEEK + Duration::from_secs(1);
    assert_invalid(queues.send(h.queue(), b"x", longer).await);
    queues.send(h.queue(), b"later", WEEK).await.unwrap();
    queues.send(h.queue(), b"now", Duration::ZERO).await.unwrap();
    assert_invalid(queues.receive(h.queue(), 1, longer).await);
    assert_invalid(queues.receive(h.queue(), 1, Duration::ZERO).await);
    let message = queues.receive(h.queue(), 2, WEEK).await.unwrap().swap_remove(0);
    assert_eq!(message.dequeue_count, 1);
    assert_invalid(queues.extend(h.queue(), &message.id, &message.receipt, longer).await);
    let receipt = queues.extend(h.queue(), &message.id, &message.receipt, WEEK).await.unwrap();
    queues.delete(h.queue(), &message.id, &receipt).await.unwrap();
}

pub async fn blob_names_are_checked(h: &Harness) {
    let blobs = &h.storage.blobs;
    let long = "n".repeat(1025);
    for name in ["", "/a", "a/", "a//b", "a/../b", "a/.", "a\\b", "a\nb", &long] {
        assert_invalid(blobs.put(name, Bytes::from_static(b"x")).await);
        assert_invalid(blobs.get(name).await);
        assert_invalid(blobs.delete(name).await);
    }
    let long = format!("{:n<1024}", h.blob("x"));
    blobs.put(&long, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(blobs.get(&long).await.unwrap(), Some(Bytes::from_static(b"x")));
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
}

#[track_caller]
fn assert_too_large<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
}
