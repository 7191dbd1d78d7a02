//! What is known of a blob before it is posted again: that it holds what was sealed.

use crate::fake::{Seen, soon, status};
use crate::ingestion::{content, none, service, upload};
use crate::ways::{EMULATOR, ROWS, offering, stored};
use adxingestor::adx::ingestion::{Choice, StoredBlob};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same length, and one bit that differs.
fn otherwise(content: &Bytes) -> Bytes {
    let mut other = content.to_vec();
    let middle = other.len() / 2;
    other[middle] ^= 1;
    other.into()
}

#[tokio::test]
async fn a_blob_is_what_was_sealed_as_long_as_its_content_is() {
    for length in [100, 5 * 1024 * 1024] {
        let (_fake, shelf, ingestor) = service(none).await;
        let content = content(length);
        let blob = upload(&ingestor, &content, length).await.unwrap();
        let (own, other) = (sha256(&content), otherwise(&content));
        assert!(ingestor.holds(&blob, &own, soon()).await.unwrap());
        shelf.spoil(&other);
        assert!(!ingestor.holds(&blob, &own, soon()).await.unwrap(), "{length}: another content");
        assert!(ingestor.holds(&blob, &sha256(&other), soon()).await.unwrap());
        let longer: Bytes = [content.clone(), content.clone()].concat().into();
        shelf.spoil(&longer);
        assert!(!ingestor.holds(&blob, &own, soon()).await.unwrap(), "{length}: more of it");
        shelf.spoil(&content.slice(..length / 2));
        assert!(!ingestor.holds(&blob, &own, soon()).await.unwrap(), "{length}: less of it");
        let gone = StoredBlob { url: format!("{}x", blob.url), ..blob };
        assert!(!ingestor.holds(&gone, &own, soon()).await.unwrap());
    }
}

#[tokio::test]
async fn content_that_is_not_shown_is_taken_for_what_was_sealed() {
    for code in [400, 403, 404, 405, 501, 503] {
        let hidden = move |seen: &Seen, _| (seen.method == "GET").then(|| status(code));
        let (_fake, shelf, ingestor) = service(hidden).await;
        let content = content(100);
        let blob = upload(&ingestor, &content, 100).await.unwrap();
        shelf.spoil(&otherwise(&content));
        assert!(ingestor.holds(&blob, &sha256(&content), soon()).await.unwrap(), "{code}");
        assert!(!ingestor.holds(&StoredBlob { compressed_bytes: 99, ..blob }, "", soon()).await.unwrap(), "{code}");
    }
}

#[tokio::test]
async fn whether_a_blob_is_there_at_all_may_be_unknown() {
    let (_fake, _shelf, ingestor) = service(|seen, _| (seen.method == "HEAD").then(|| status(403))).await;
    let blob = upload(&ingestor, &content(100), 100).await.unwrap();
    ingestor.holds(&blob, "", soon()).await.unwrap_err();
}

#[tokio::test]
async fn a_blob_in_the_apps_own_store_is_compared_too() {
    let service = offering(|| EMULATOR, |_| None).await;
    let ingestor = service.ingestor(Choice::Auto);
    let blob = stored(&ingestor, ROWS).await.unwrap();
    let (name, content) = service.held.only();
    assert!(ingestor.holds(&blob, &sha256(&content), soon()).await.unwrap());
    service.held.set(&name, otherwise(&content));
    assert!(!ingestor.holds(&blob, &sha256(&content), soon()).await.unwrap());
}

#[tokio::test]
async fn a_blob_in_the_apps_own_store_goes_when_its_rows_are_proved() {
    let service = offering(|| EMULATOR, |_| None).await;
    let ingestor = service.ingestor(Choice::Auto);
    let blob = stored(&ingestor, ROWS).await.unwrap();
    ingestor.forget("https://a.blob.core.windows.net/c/b.multijson.gz", soon()).await;
    assert!(!service.held.is_empty(), "that is another one");
    ingestor.forget(&blob.url, soon()).await;
    assert!(service.held.is_empty());
    ingestor.forget(&blob.url, soon()).await;
}

#[tokio::test]
async fn what_arrives_otherwise_than_it_was_sent_is_sent_again() {
    for length in [100, 9 * 1024 * 1024] {
        for garbled in 0..if length == 100 { 1 } else { 6 } {
            let refused =
                move |_: &Seen, number| (number == garbled).then(|| status(400).with("x-ms-error-code", "Md5Mismatch"));
            let (_fake, shelf, ingestor) = service(refused).await;
            let content = content(length);
            upload(&ingestor, &content, length).await.unwrap();
            assert_eq!(shelf.blob().unwrap(), content, "{length}: request {garbled}");
        }
    }
}
