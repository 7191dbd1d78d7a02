//! Loads that a cluster denies: what is done about it, and what is said.

use crate::fake::{Reply, Seen, status};
use crate::ways::{PREFERRED, Service, ingested, offering};
use adxingestor::adx::Error;
use adxingestor::adx::ingestion::Choice;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

fn is_load(seen: &Seen) -> bool {
    seen.csl().starts_with(".ingest into")
}

fn refusing(code: u16, name: &str, message: &str) -> impl Fn() -> Reply + Send + Sync + 'static {
    let said = json!({"error": {"code": name, "message": "no", "@message": message, "@permanent": true}});
    move || status(code).saying(&said)
}

const UNREAD: &str = "Failed to download blob: Access to persistent storage path 'https://a/b?sig=SECRET' was denied";

async fn loading(answer: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static) -> Service {
    let count = AtomicUsize::new(0);
    offering(|| PREFERRED, move |seen| if is_load(seen) { answer(count.fetch_add(1, Ordering::SeqCst)) } else { None })
        .await
}

fn loads(service: &Service) -> usize {
    service.fake.seen().iter().filter(|seen| is_load(seen)).count()
}

#[tokio::test]
async fn a_blob_that_the_cluster_may_not_read_is_named_to_it_once_more_with_a_new_signature() {
    for (code, name) in [(403, "Download_Forbidden"), (400, "General_BadRequest"), (403, "Forbidden")] {
        let refused = refusing(code, name, UNREAD);
        let service = loading(move |number| (number == 0).then(&refused)).await;
        ingested(&service.ingestor(Choice::Direct)).await.unwrap();
        assert_eq!(loads(&service), 2, "{name}");
        assert_eq!(service.seen(".get ingestion resources").len(), 2, "{name}");
    }
}

#[tokio::test]
async fn a_blob_that_the_cluster_never_may_read_is_no_missing_role() {
    let refused = refusing(403, "Download_Forbidden", UNREAD);
    let service = loading(move |_| Some(refused())).await;
    let error = ingested(&service.ingestor(Choice::Direct)).await.unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, Error::Refused { permanent: true, .. }), "{said}");
    assert!(said.contains("the cluster may not read the blob") && said.contains("network rules"), "{said}");
    assert!(!said.contains("Ingestor") && !said.contains("SECRET"), "{said}");
    assert_eq!(loads(&service), 2);
}

#[tokio::test]
async fn a_missing_role_is_named_with_its_grant() {
    let refused = refusing(403, "Forbidden", "Principal 'aadapp=a;b' is not authorized to write to table 'T'");
    let service = loading(move |_| Some(refused())).await;
    let said = ingested(&service.ingestor(Choice::Direct)).await.unwrap_err().to_string();
    assert!(said.contains("the role Database Ingestor") && said.contains(".add database Hunting ingestors"), "{said}");
    assert!(!said.contains("may not read"), "{said}");
}

#[tokio::test]
async fn a_request_over_rest_that_is_denied_names_both_roles_that_it_takes() {
    let service = offering(
        || PREFERRED,
        |seen| {
            (seen.method == "POST" && seen.path.contains("/ingestion/queued/")).then(refusing(
                403,
                "Forbidden",
                "Principal is not authorized",
            ))
        },
    )
    .await;
    let said = ingested(&service.ingestor(Choice::Auto)).await.unwrap_err().to_string();
    for part in ["Database User and Database Ingestor", "Hunting users", "Hunting ingestors"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn a_load_that_is_refused_by_a_known_code_says_what_to_do() {
    for (name, advice) in [
        ("BadRequest_InvalidMapping", "compare the columns of the table"),
        ("BadRequest_ZeroRetentionPolicyWithNoUpdatePolicy", ".alter-merge table"),
    ] {
        let refused = refusing(400, name, "it was refused");
        let service = loading(move |_| Some(refused())).await;
        let said = ingested(&service.ingestor(Choice::Direct)).await.unwrap_err().to_string();
        assert!(said.contains("it was refused; ") && said.contains(advice), "{said}");
        assert_eq!(loads(&service), 1, "{name}");
    }
}
