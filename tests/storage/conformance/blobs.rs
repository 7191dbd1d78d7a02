//! Whole payloads by name.

use super::Harness;
use super::transactions::at_once;
use bytes::Bytes;
use std::sync::Arc;

pub async fn a_missing_blob_is_none(h: &Harness) {
    assert_eq!(h.storage.blobs.get(&h.blob("none")).await.unwrap(), None);
}

pub async fn a_blob_is_replaced_as_a_whole(h: &Harness) {
    let name = h.blob("a");
    for content in ["first and long", "second", ""] {
        h.storage.blobs.put(&name, content.into()).await.unwrap();
        assert_eq!(h.storage.blobs.get(&name).await.unwrap(), Some(content.into()));
    }
}

pub async fn blobs_hold_any_bytes(h: &Harness) {
    let large: Vec<u8> = (0..6 * 1024 * 1024_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (name, content) in [("all", (0..=255).collect()), ("large", large), ("text", b" \r\n--batch\r\n ".to_vec())] {
        h.storage.blobs.put(&h.blob(name), content.clone().into()).await.unwrap();
        assert!(h.storage.blobs.get(&h.blob(name)).await.unwrap() == Some(content.into()), "{name}");
    }
}

pub async fn blobs_of_similar_names_are_apart(h: &Harness) {
    let names =
        ["a", "A", "a b", "a%20b", "a+b", "naïve 中文 \u{1F980}", "o'brien", "a?b#c&d=e", "a/b", "a/b/c.json", ".a"];
    for name in names {
        h.storage.blobs.put(&h.blob(name), name.into()).await.unwrap();
    }
    for name in names {
        assert_eq!(h.storage.blobs.get(&h.blob(name)).await.unwrap(), Some(name.into()), "{name}");
    }
}

pub async fn a_deleted_blob_is_gone(h: &Harness) {
    let (kept, name) = (h.blob("kept"), h.blob("a"));
    h.storage.blobs.put(&kept, "k".into()).await.unwrap();
    h.storage.blobs.put(&name, "x".into()).await.unwrap();
    h.storage.blobs.delete(&name).await.unwrap();
    assert_eq!(h.storage.blobs.get(&name).await.unwrap(), None);
    h.storage.blobs.delete(&name).await.unwrap();
    h.storage.blobs.delete(&h.blob("never")).await.unwrap();
    h.storage.blobs.put(&name, "y".into()).await.unwrap();
    assert_eq!(h.storage.blobs.get(&name).await.unwrap(), Some("y".into()));
    assert_eq!(h.storage.blobs.get(&kept).await.unwrap(), Some("k".into()));
}

pub async fn concurrent_puts_never_mix(h: &Harness) {
    let name = h.blob("a");
    h.storage.blobs.put(&name, vec![0; 100_000].into()).await.unwrap();
    at_once(8, |writer| {
        let (blobs, name) = (Arc::clone(&h.storage.blobs), name.clone());
        async move {
            blobs.put(&name, vec![writer as u8; 100_000].into()).await.unwrap();
            let content: Bytes = blobs.get(&name).await.unwrap().unwrap();
            assert!(content.len() == 100_000 && content.iter().all(|byte| *byte == content[0]));
        }
    })
    .await;
}
