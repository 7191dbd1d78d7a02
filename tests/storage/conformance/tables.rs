//! Rows, their versions and pages of them.

use super::{Harness, object, one};
use adxingestor::storage::{ETag, Error, Operation};
use serde_json::json;
use std::collections::HashSet;

pub async fn a_missing_row_is_none(h: &Harness) {
    assert_eq!(h.get("none").await, None);
    h.insert("some", json!({})).await;
    assert_eq!(h.get("none").await, None);
}

pub async fn values_come_back_exactly(h: &Harness) {
    let values = json!({
        "i64_min": i64::MIN, "i64_max": i64::MAX, "beyond_f64": 9_007_199_254_740_993_i64, "i32": 7, "zero": 0, "minus": -1,
        "f64_whole": 1.0, "f64_tenth": 0.1, "f64_zero": 0.0, "f64_max": f64::MAX, "f64_min": f64::MIN, "f64_tiny": 5e-324,
        "f64_large_whole": 1e300, "f64_all_digits": 0.300_000_000_000_000_04, "f64_exponent": -1.234_567_890_123_456_7e-300,
        "yes": true, "no": false,
        "empty": "", "space": " ", "ends": "  a b\t\n ", "lines": "a\r\nb\nc\rd", "quotes": "'a' \"b\" \\ / `c`",
        "batch": "\r\n--batch_1\r\nContent-Type: x\r\n\r\n--batch_1--\r\n",
        "xml": "<a b='c'>&amp;]]></a>", "percent": "%2F%00+", "words": "naïve 中文 \u{1F980} \u{301}", "edges": "\u{FEFF}a\u{2028}",
        "number": "12", "date": "2026-04-14T07:00:00Z", "guid": "00000000-0000-0000-0000-000000000000", "null": "null",
        "Größe_1": 1, "_underscore": 2, "timestamp": 3,
    });
    let etag = h.insert("single", values.clone()).await;
    let row = h.get("single").await.unwrap();
    assert_eq!(row.properties, object(values.clone()));
    assert_eq!(row.key, h.key("single"));
    assert_eq!(row.etag, etag);
    assert_eq!(h.rows(&h.range("", None)).await, [row]);

    let together = [
        Operation::Replace(h.key("single"), object(values.clone()), etag),
        Operation::Insert(h.key("second"), object(values.clone())),
        Operation::Insert(h.key("bare"), object(json!({}))),
    ];
    h.commit(&together).await.unwrap();
    assert_eq!(h.properties("single").await, object(values.clone()));
    assert_eq!(h.properties("second").await, object(values));
    assert_eq!(h.properties("bare").await, object(json!({})));
}

pub async fn keys_are_taken_literally(h: &Harness) {
    let rows = [
        "o'brien",
        "''",
        "a b",
        " ",
        " a ",
        ".",
        "..",
        "100%",
        "%00",
        "%2F",
        "a+b",
        "a&b=c",
        "a:b;c,d",
        "(x)",
        "$filter",
        "--batch",
        "\"q\"",
        "<x>",
        "naïve",
        "中文",
        "\u{1F980}",
        "a..b",
        "~`!@^*[]{}|",
    ];
    for row in rows {
        let key = h.key_in(row, row);
        let first = one(h.commit(&[Operation::Insert(key.clone(), object(json!({"v": row})))]).await);
        let read = h.storage.tables.get(&key).await.unwrap().expect(row);
        assert_eq!((&read.key, &read.etag), (&key, &first), "{row}");
        let range = adxingestor::storage::Range {
            partition: key.partition().to_owned(),
            from: row.to_owned(),
            to: Some(format!("{row}0")),
        };
        assert_eq!(h.rows(&range).await, [read], "{row}");
        let second = one(h.commit(&[Operation::Merge(key.clone(), object(json!({"m": 1})), first)]).await);
        let third = one(h.commit(&[Operation::Replace(key.clone(), object(json!({"r": 1})), second)]).await);
        let other = h.key_in(row, &format!("{row}1"));
        let both = [
            Operation::Merge(key.clone(), object(json!({"b": 1})), third),
            Operation::Insert(other, object(json!({}))),
        ];
        let fourth = h.commit(&both).await.unwrap().swap_remove(0).unwrap();
        assert_eq!(h.commit(&[Operation::Delete(key.clone(), fourth)]).await.unwrap(), [None], "{row}");
        assert_eq!(h.storage.tables.get(&key).await.unwrap(), None, "{row}");
    }
}

pub async fn keys_differ_by_case(h: &Harness) {
    h.insert("a", json!({"v": 1})).await;
    h.insert("A", json!({"v": 2})).await;
    assert_eq!(h.properties("a").await, object(json!({"v": 1})));
    assert_eq!(h.row_keys("", None).await, ["A", "a"]);
}

pub async fn partitions_are_apart(h: &Harness) {
    let (here, there) = (h.key("r"), h.key_in("-2", "r"));
    let etag = h.insert("r", json!({"v": 1})).await;
    h.commit(&[Operation::Insert(there.clone(), object(json!({"v": 2})))]).await.unwrap();
    assert_eq!(h.row_keys("", None).await, ["r"]);
    h.commit(&[Operation::Delete(here, etag)]).await.unwrap();
    assert_eq!(h.storage.tables.get(&there).await.unwrap().unwrap().properties, object(json!({"v": 2})));
}

pub async fn a_replace_drops_the_other_properties(h: &Harness) {
    let etag = h.insert("r", json!({"a": 1, "b": "x"})).await;
    h.commit(&[Operation::Replace(h.key("r"), object(json!({"b": 2, "c": true})), etag)]).await.unwrap();
    assert_eq!(h.properties("r").await, object(json!({"b": 2, "c": true})));
}

pub async fn a_merge_keeps_the_other_properties(h: &Harness) {
    let etag = h.insert("r", json!({"a": 1, "b": "x"})).await;
    let etag = one(h.commit(&[Operation::Merge(h.key("r"), object(json!({"b": 2, "c": true})), etag)]).await);
    assert_eq!(h.properties("r").await, object(json!({"a": 1, "b": 2, "c": true})));
    h.commit(&[Operation::Merge(h.key("r"), object(json!({})), etag)]).await.unwrap();
    assert_eq!(h.properties("r").await, object(json!({"a": 1, "b": 2, "c": true})));
}

pub async fn every_write_gives_a_new_version(h: &Harness) {
    let same = || object(json!({"a": 1}));
    let mut etags = vec![h.insert("r", json!({"a": 1})).await];
    for _ in 0..3 {
        let last = etags[etags.len() - 1].clone();
        let merged = one(h.commit(&[Operation::Merge(h.key("r"), same(), last)]).await);
        assert_eq!(h.get("r").await.unwrap().etag, merged);
        let replaced = one(h.commit(&[Operation::Replace(h.key("r"), same(), merged.clone())]).await);
        assert_eq!(h.get("r").await.unwrap().etag, replaced);
        etags.extend([merged, replaced]);
    }
    assert_eq!(etags.iter().collect::<HashSet<_>>().len(), 7);
}

pub async fn a_stale_version_is_refused(h: &Harness) {
    let stale = h.insert("r", json!({"a": 1})).await;
    let current = one(h.commit(&[Operation::Merge(h.key("r"), object(json!({"a": 2})), stale.clone())]).await);
    let other = h.insert("other", json!({})).await;
    for wrong in [stale, other, ETag("W/\"datetime'2000-01-01T00%3A00%3A00Z'\"".to_owned())] {
        for operation in changes(h, "r", &wrong) {
            let error = h.commit(std::slice::from_ref(&operation)).await.unwrap_err();
            assert!(matches!(error, Error::Conflict { index: 0 }), "{operation:?}: {error}");
        }
    }
    let row = h.get("r").await.unwrap();
    assert_eq!((row.properties, row.etag), (object(json!({"a": 2})), current));
}

pub async fn an_insert_over_a_row_is_refused(h: &Harness) {
    let etag = h.insert("r", json!({"a": 1})).await;
    let error = h.commit(&[Operation::Insert(h.key("r"), object(json!({"a": 2})))]).await.unwrap_err();
    assert!(matches!(error, Error::Exists { index: 0 }), "{error}");
    let row = h.get("r").await.unwrap();
    assert_eq!((row.properties, row.etag), (object(json!({"a": 1})), etag));
}

pub async fn a_row_inserted_again_is_another_version(h: &Harness) {
    let first = h.insert("r", json!({"a": 1})).await;
    h.commit(&[Operation::Delete(h.key("r"), first.clone())]).await.unwrap();
    let second = h.insert("r", json!({"a": 1})).await;
    assert_ne!(first, second);
    for operation in changes(h, "r", &first) {
        assert!(matches!(h.commit(&[operation]).await, Err(Error::Conflict { index: 0 })));
    }
    assert_eq!(h.get("r").await.unwrap().etag, second);
}

pub async fn changes_of_a_missing_row_are_not_found(h: &Harness) {
    let etag = h.insert("r", json!({"a": 1})).await;
    for row in ["never", "r"] {
        if row == "r" {
            h.commit(&[Operation::Delete(h.key("r"), etag.clone())]).await.unwrap();
        }
        for operation in changes(h, row, &etag) {
            let error = h.commit(std::slice::from_ref(&operation)).await.unwrap_err();
            assert!(matches!(error, Error::NotFound { .. }), "{operation:?}: {error}");
        }
        assert_eq!(h.get(row).await, None);
    }
}

pub async fn many_rows_come_in_pages_in_the_order_of_their_bytes(h: &Harness) {
    let mut keys: Vec<String> = (0..2500).map(|n| format!("{:05}", n * 7919 % 2500)).collect();
    keys.splice(0..8, ["~", "Z", "a", "é", "中", "\u{1F980}", "1", "10"].map(str::to_owned));
    for chunk in keys.chunks(100) {
        let inserts: Vec<_> =
            chunk.iter().map(|row| Operation::Insert(h.key(row), object(json!({"row": row})))).collect();
        h.commit(&inserts).await.unwrap();
    }
    keys.sort_unstable();
    let rows = h.rows(&h.range("", None)).await;
    assert_eq!(rows.iter().map(|row| row.key.row()).collect::<Vec<_>>(), keys);
    assert!(rows.iter().all(|row| row.properties["row"] == row.key.row()));
    assert!(h.storage.tables.page(&h.range("", None), None).await.unwrap().next.is_some());

    let middle: Vec<_> = keys.iter().filter(|row| ("005".."02").contains(&row.as_str())).cloned().collect();
    assert!(middle.len() > 1000);
    assert_eq!(h.row_keys("005", Some("02")).await, middle);
}

pub async fn a_range_has_its_start_and_lacks_its_end(h: &Harness) {
    for row in ["a", "b", "b.1", "b.2", "c"] {
        h.insert(row, json!({})).await;
    }
    let none: [&str; 0] = [];
    assert_eq!(h.row_keys("b", Some("c")).await, ["b", "b.1", "b.2"]);
    assert_eq!(h.row_keys("b.", Some("b/")).await, ["b.1", "b.2"]);
    assert_eq!(h.row_keys("b", None).await, ["b", "b.1", "b.2", "c"]);
    assert_eq!(h.row_keys("", Some("b")).await, ["a"]);
    assert_eq!(h.row_keys("b", Some("b")).await, none);
    assert_eq!(h.row_keys("c", Some("a")).await, none);
    assert_eq!(h.row_keys("d", None).await, none);
    assert_eq!(h.row_keys("o'brien", Some("z'")).await, none);
    let mut elsewhere = h.range("", None);
    elsewhere.partition.push('x');
    assert_eq!(h.rows(&elsewhere).await, []);
}

pub async fn pages_go_on_although_rows_come_and_go(h: &Harness) {
    let keys: Vec<String> = (0..1100).map(|n| format!("{n:04}")).collect();
    for chunk in keys.chunks(100) {
        let inserts: Vec<_> = chunk.iter().map(|row| Operation::Insert(h.key(row), object(json!({})))).collect();
        h.commit(&inserts).await.unwrap();
    }
    let range = h.range("", Some("1050"));
    let first = h.storage.tables.page(&range, None).await.unwrap();
    let last = first.rows.last().expect("rows").clone();
    let seen = first.rows.len();
    // The row after the page goes, as does the last of it; one comes before and one after the page's end.
    let deletes = [Operation::Delete(last.key.clone(), last.etag), {
        let next = h.get(&keys[seen]).await.unwrap();
        Operation::Delete(next.key, next.etag)
    }];
    h.commit(&deletes).await.unwrap();
    h.insert("0000.5", json!({})).await;
    h.insert("1049.5", json!({})).await;

    let mut after = first.next;
    let mut rest = Vec::new();
    while let Some(next) = after {
        let page = h.storage.tables.page(&range, Some(&next)).await.unwrap();
        rest.extend(page.rows.into_iter().map(|row| row.key.row().to_owned()));
        after = page.next;
    }
    let mut expected = keys[seen + 1..1050].to_vec();
    expected.push("1049.5".to_owned());
    assert_eq!(rest, expected);
}

pub async fn a_page_stays_in_its_range_wherever_it_goes_on(h: &Harness) {
    let keys: Vec<String> = (0..1100).map(|n| format!("{n:04}")).collect();
    for chunk in keys.chunks(100) {
        let inserts: Vec<_> = chunk.iter().map(|row| Operation::Insert(h.key(row), object(json!({})))).collect();
        h.commit(&inserts).await.unwrap();
    }
    let next = h.storage.tables.page(&h.range("", None), None).await.unwrap().next.expect("more than a page");
    for (from, to, rows) in
        [("1095", None, &keys[1095..]), ("", Some("0100"), &[]), ("1050", Some("1052"), &keys[1050..1052])]
    {
        let page = h.storage.tables.page(&h.range(from, to), Some(&next)).await.unwrap();
        let found: Vec<_> = page.rows.iter().map(|row| row.key.row()).collect();
        assert_eq!(found, rows, "{from} to {to:?}");
    }
}

pub async fn large_rows_are_paged(h: &Harness) {
    let large =
        json!({"a": "x".repeat(30_000), "b": "x".repeat(30_000), "c": "x".repeat(30_000), "d": "x".repeat(30_000)});
    let keys: Vec<String> = (0..64).map(|n| format!("{n:02}")).collect();
    for chunk in keys.chunks(16) {
        let inserts: Vec<_> = chunk.iter().map(|row| Operation::Insert(h.key(row), object(large.clone()))).collect();
        h.commit(&inserts).await.unwrap();
    }
    let rows = h.rows(&h.range("", None)).await;
    assert_eq!(rows.iter().map(|row| row.key.row()).collect::<Vec<_>>(), keys);
    assert!(rows.iter().all(|row| row.properties == object(large.clone())));
}

/// Each kind of change of a row that carries a version.
fn changes(h: &Harness, row: &str, etag: &ETag) -> [Operation; 3] {
    let properties = object(json!({"changed": true}));
    [
        Operation::Replace(h.key(row), properties.clone(), etag.clone()),
        Operation::Merge(h.key(row), properties, etag.clone()),
        Operation::Delete(h.key(row), etag.clone()),
    ]
}
