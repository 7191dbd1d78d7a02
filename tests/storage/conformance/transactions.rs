//! Several rows at once, and several writers at once.

use super::{Harness, object, one};
use adxingestor::storage::{Error, Operation};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

pub async fn from_1_to_100_operations(h: &Harness) {
    for count in [1, 2, 100] {
        let rows: Vec<String> = (0..count).map(|n| format!("{count}.{n:03}")).collect();
        let etags = h.commit(&inserts(h, &rows)).await.unwrap();
        assert_eq!(etags.len(), count);
        for (row, etag) in rows.iter().zip(etags) {
            let stored = h.get(row).await.unwrap();
            assert_eq!((Some(stored.etag), &stored.properties["row"]), (etag, &json!(row)));
        }
    }
}

pub async fn more_than_100_operations_are_refused(h: &Harness) {
    let rows: Vec<String> = (0..101).map(|n| format!("{n:03}")).collect();
    let error = h.commit(&inserts(h, &rows)).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert_eq!(h.rows(&h.range("", None)).await, []);
}

pub async fn no_operations_are_refused(h: &Harness) {
    assert!(matches!(h.commit(&[]).await, Err(Error::Invalid(_))));
}

pub async fn two_partitions_are_refused(h: &Harness) {
    let operations =
        [Operation::Insert(h.key("a"), object(json!({}))), Operation::Insert(h.key_in("-2", "b"), object(json!({})))];
    assert!(matches!(h.commit(&operations).await, Err(Error::Invalid(_))));
    assert_eq!(h.get("a").await, None);
    assert_eq!(h.storage.tables.get(&h.key_in("-2", "b")).await.unwrap(), None);
}

pub async fn a_row_named_twice_is_refused(h: &Harness) {
    let etag = h.insert("a", json!({"v": 1})).await;
    let merge = |v| Operation::Merge(h.key("a"), object(json!({"v": v})), etag.clone());
    let insert = Operation::Insert(h.key("b"), object(json!({})));
    for operations in [
        vec![merge(2), merge(3)],
        vec![merge(2), Operation::Delete(h.key("a"), etag.clone())],
        vec![insert.clone(), merge(2), insert],
    ] {
        assert!(matches!(h.commit(&operations).await, Err(Error::Invalid(_))));
    }
    assert_eq!(h.get("a").await.unwrap().etag, etag);
    assert_eq!(h.get("b").await, None);
}

pub async fn all_kinds_of_operations_go_together(h: &Harness) {
    let replaced = h.insert("replaced", json!({"a": 1, "b": 1})).await;
    let merged = h.insert("merged", json!({"a": 1, "b": 1})).await;
    let deleted = h.insert("deleted", json!({"a": 1})).await;
    let etags = h
        .commit(&[
            Operation::Delete(h.key("deleted"), deleted),
            Operation::Merge(h.key("merged"), object(json!({"b": 2})), merged),
            Operation::Insert(h.key("inserted"), object(json!({"b": 2}))),
            Operation::Replace(h.key("replaced"), object(json!({"b": 2})), replaced),
        ])
        .await
        .unwrap();
    assert_eq!(etags.len(), 4);
    assert_eq!((&etags[0], h.get("deleted").await), (&None, None));
    for (row, etag, properties) in [
        ("merged", &etags[1], json!({"a": 1, "b": 2})),
        ("inserted", &etags[2], json!({"b": 2})),
        ("replaced", &etags[3], json!({"b": 2})),
    ] {
        let stored = h.get(row).await.unwrap();
        assert_eq!((Some(stored.etag), stored.properties), (etag.clone(), object(properties)), "{row}");
    }
}

pub async fn a_refused_operation_undoes_the_others(h: &Harness) {
    let stale = h.insert("stale", json!({"v": 1})).await;
    let current = one(h.commit(&[Operation::Merge(h.key("stale"), object(json!({"v": 2})), stale.clone())]).await);
    let other = h.insert("other", json!({"v": 1})).await;
    let gone = h.insert("gone", json!({})).await;
    h.commit(&[Operation::Delete(h.key("gone"), gone.clone())]).await.unwrap();
    let properties = || object(json!({"v": 9}));
    let refused = [
        Operation::Insert(h.key("stale"), properties()),
        Operation::Replace(h.key("stale"), properties(), stale.clone()),
        Operation::Merge(h.key("stale"), properties(), stale.clone()),
        Operation::Delete(h.key("stale"), stale),
        Operation::Replace(h.key("gone"), properties(), gone.clone()),
        Operation::Merge(h.key("gone"), properties(), gone.clone()),
        Operation::Delete(h.key("gone"), gone),
    ];
    for (kind, operation) in refused.into_iter().enumerate() {
        for place in 0..3 {
            let mut operations = vec![
                Operation::Insert(h.key("new"), properties()),
                Operation::Replace(h.key("other"), properties(), other.clone()),
            ];
            operations.insert(place, operation.clone());
            match h.commit(&operations).await.unwrap_err() {
                Error::Exists { index } => assert_eq!((kind, index), (0, place)),
                Error::Conflict { index } => {
                    assert!((1..4).contains(&kind) && index == place, "{operation:?}: {index}")
                }
                Error::NotFound { .. } => assert!(kind >= 4, "{operation:?}"),
                error => panic!("{operation:?}: {error}"),
            }
        }
    }
    assert_eq!((h.get("new").await, h.get("gone").await), (None, None));
    assert_eq!(h.get("other").await.unwrap().etag, other);
    assert_eq!(h.get("stale").await.unwrap().etag, current);
    assert_eq!(h.properties("other").await, object(json!({"v": 1})));
}

pub async fn the_last_of_a_hundred_undoes_the_others(h: &Harness) {
    h.insert("099", json!({})).await;
    let rows: Vec<String> = (0..100).map(|n| format!("{n:03}")).collect();
    let error = h.commit(&inserts(h, &rows)).await.unwrap_err();
    assert!(matches!(error, Error::Exists { index: 99 }), "{error}");
    assert_eq!(h.row_keys("", None).await, ["099"]);
}

pub async fn values_that_look_like_a_batch_are_values(h: &Harness) {
    let value = "\r\n--batch\r\n--changeset\r\nContent-ID: 1\r\n\r\nHTTP/1.1 412 Precondition Failed\r\n\r\n{\"odata.error\":{}}\r\n--changeset--\r\n";
    let rows = ["--batch", "HTTP 1.1 412"].map(str::to_owned);
    let operations: Vec<_> =
        rows.iter().map(|row| Operation::Insert(h.key(row), object(json!({"v": value})))).collect();
    assert_eq!(h.commit(&operations).await.unwrap().len(), 2);
    for row in rows {
        assert_eq!(h.properties(&row).await["v"], value);
    }
}

pub async fn one_of_many_writers_wins(h: &Harness) {
    let etag = h.insert("r", json!({"writer": -1})).await;
    let results = at_once(16, |writer| {
        let tables = Arc::clone(&h.storage.tables);
        let operation = Operation::Replace(h.key("r"), object(json!({"writer": writer})), etag.clone());
        async move { (writer, tables.commit(&[operation]).await) }
    })
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(|(_, result)| result.is_ok());
    assert!(lost.iter().all(|(_, result)| matches!(result, Err(Error::Conflict { index: 0 }))), "{lost:?}");
    assert_eq!(won.len(), 1);
    let (writer, result) = won.into_iter().next().unwrap();
    let row = h.get("r").await.unwrap();
    assert_eq!((&row.properties["writer"], row.etag), (&json!(writer), one(result)));
}

pub async fn one_of_many_inserts_wins(h: &Harness) {
    let results = at_once(16, |writer| {
        let tables = Arc::clone(&h.storage.tables);
        let operation = Operation::Insert(h.key("r"), object(json!({"writer": writer})));
        async move { (writer, tables.commit(&[operation]).await) }
    })
    .await;
    let won: Vec<_> = results.iter().filter(|(_, result)| result.is_ok()).map(|(writer, _)| *writer).collect();
    assert!(results.iter().all(|(_, result)| matches!(result, Ok(_) | Err(Error::Exists { index: 0 }))), "{results:?}");
    assert_eq!(won.len(), 1);
    assert_eq!(h.properties("r").await["writer"], json!(won[0]));
}

pub async fn no_increment_is_lost(h: &Harness) {
    h.insert("r", json!({"n": 0})).await;
    at_once(64, |_| {
        let tables = Arc::clone(&h.storage.tables);
        let key = h.key("r");
        async move {
            loop {
                let row = tables.get(&key).await.unwrap().unwrap();
                let n = row.properties["n"].as_i64().unwrap() + 1;
                match tables.commit(&[Operation::Merge(key.clone(), object(json!({"n": n})), row.etag)]).await {
                    Ok(_) => return,
                    Err(Error::Conflict { index: 0 }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    })
    .await;
    assert_eq!(h.properties("r").await["n"], json!(64));
}

pub async fn concurrent_transactions_do_not_mix(h: &Harness) {
    let rows = ["a", "b", "c"];
    for row in rows {
        h.insert(row, json!({"n": 0})).await;
    }
    at_once(8, |_| {
        let tables = Arc::clone(&h.storage.tables);
        let keys = rows.map(|row| h.key(row));
        async move {
            loop {
                let mut operations = Vec::new();
                for key in &keys {
                    let row = tables.get(key).await.unwrap().unwrap();
                    let n = row.properties["n"].as_i64().unwrap() + 1;
                    operations.push(Operation::Replace(key.clone(), object(json!({"n": n})), row.etag));
                }
                match tables.commit(&operations).await {
                    Ok(_) => return,
                    Err(Error::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    })
    .await;
    for row in rows {
        assert_eq!(h.properties(row).await["n"], json!(8), "{row}");
    }
}

fn inserts(h: &Harness, rows: &[String]) -> Vec<Operation> {
    rows.iter().map(|row| Operation::Insert(h.key(row), object(json!({"row": row})))).collect()
}

/// What `count` tasks that start together give.
pub async fn at_once<F: Future<Output: Send> + Send + 'static>(
    count: usize,
    task: impl Fn(usize) -> F,
) -> Vec<F::Output> {
    let barrier = Arc::new(Barrier::new(count));
    let mut tasks = JoinSet::new();
    for index in 0..count {
        let (barrier, task) = (Arc::clone(&barrier), task(index));
        tasks.spawn(async move {
            barrier.wait().await;
            task.await
        });
    }
    tasks.join_all().await
}
