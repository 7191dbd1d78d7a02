//! A cluster whose configuration announces queued ingestion over REST and that takes no request by it.

use crate::fake::{Reply, Seen, body, status, v1};
use crate::golden::decoded_message;
use crate::ways::{FABRIC, Offer, PREFERRED, REQUESTS, ROWS, Service, ingested, offering, posted, stored};
use adxingestor::adx::Error;
use adxingestor::adx::ingestion::{Choice, Ingestor};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The ways to say that an address is not known there.
fn answers() -> Vec<(u16, String)> {
    let object = |code: &str| json!({"error": {"code": code, "message": "No such resource", "@permanent": true}});
    vec![
        (404, String::new()),
        (404, "<html>Not Found</html>".to_owned()),
        (404, object("NotFound").to_string()),
        (405, String::new()),
        (405, object("MethodNotAllowed").to_string()),
        (501, String::new()),
        (501, object("NotImplemented").to_string()),
    ]
}

fn is_submission(seen: &Seen) -> bool {
    seen.method == "POST" && seen.path.starts_with(REQUESTS)
}

async fn announcing(offer: Offer, code: u16, text: String) -> Service {
    offering(
        move || offer,
        move |seen| is_submission(seen).then(|| Reply { body: text.clone().into(), ..status(code) }),
    )
    .await
}

fn submissions(service: &Service) -> usize {
    service.fake.seen().iter().filter(|seen| is_submission(seen)).count()
}

#[tokio::test]
async fn the_queues_are_used_and_rest_is_tried_again_with_the_next_look() {
    for (code, text) in answers() {
        let service = announcing(PREFERRED, code, text.clone()).await;
        let ingestor = service.ingestor(Choice::Auto);
        for _ in 0..3 {
            ingested(&ingestor).await.unwrap_or_else(|error| panic!("{code} {text}: {error}"));
            assert_eq!(service.taken(), "queued", "{code} {text}");
        }
        assert_eq!(submissions(&service), 1, "{code} {text}: it is remembered");
        assert_eq!(service.seen("/messages").len(), 3, "{code} {text}: each is posted once");
        service.fake.clock.forward(Duration::from_secs(61 * 60));
        ingested(&ingestor).await.unwrap();
        assert_eq!((submissions(&service), service.taken()), (2, "queued"), "{code} {text}");
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_taken_is_not_posted_another_way() {
    for code in [408, 500, 502, 503, 504, 520] {
        let service = announcing(PREFERRED, code, String::new()).await;
        let error = ingested(&service.ingestor(Choice::Auto)).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{code}: {error}");
        assert_eq!((submissions(&service), service.seen("/messages").len()), (1, 0), "{code}");
    }
    // One that is cut off is no less open.
    let service = offering(|| PREFERRED, |seen| is_submission(seen).then(|| status(200).broken_off())).await;
    let error = ingested(&service.ingestor(Choice::Auto)).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    assert_eq!(service.seen("/messages").len(), 0);
}

#[tokio::test]
async fn what_is_denied_or_wrong_is_not_posted_another_way() {
    let missing = json!({"error": {"code": "BadRequest_EntityNotFound",
        "@message": "Entity ID 'Device Events' of kind 'Table' was not found.", "@permanent": true}});
    for (code, text) in [(404, missing.to_string()), (403, String::new()), (400, String::new())] {
        let service = announcing(PREFERRED, code, text).await;
        ingested(&service.ingestor(Choice::Auto)).await.unwrap_err();
        assert_eq!(service.seen("/messages").len(), 0, "{code}");
    }
}

#[tokio::test]
async fn a_setting_that_names_rest_is_told_what_to_set() {
    for (code, text) in answers() {
        let service = announcing(PREFERRED, code, text).await;
        let error = ingested(&service.ingestor(Choice::Rest)).await.unwrap_err();
        let said = error.to_string();
        assert!(error.is_invalid() && said.contains("ADX_INGESTION to auto or queued"), "{said}");
        assert!(said.contains(&format!("status {code}")) && said.contains("/ingestion/queued/"), "{said}");
        assert_eq!(service.seen("/messages").len(), 0);
    }
}

#[tokio::test]
async fn a_cluster_that_lends_no_queue_either_is_refused_with_both_reasons() {
    let service = announcing(FABRIC, 404, String::new()).await;
    let error = ingested(&service.ingestor(Choice::Auto)).await.unwrap_err();
    let said = error.to_string();
    assert!(error.is_invalid(), "{said}");
    for part in ["announces queued ingestion over REST", "status 404", "queues", "ADX_INGESTION=direct"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn queues_that_are_out_of_order_are_waited_for() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let service = offering(
        || PREFERRED,
        move |seen| match seen.csl().as_str() {
            ".get ingestion resources" if is_down.load(Ordering::SeqCst) => Some(status(503)),
            _ => is_submission(seen).then(|| status(404)),
        },
    )
    .await;
    let ingestor = service.ingestor(Choice::Auto);
    let blob = stored(&ingestor, ROWS).await.unwrap();
    let error = posted(&ingestor, &blob, None).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    down.store(false, Ordering::SeqCst);
    posted(&ingestor, &blob, None).await.unwrap();
    assert_eq!((service.taken(), service.seen("/messages").len()), ("queued", 1));
}

#[tokio::test]
async fn a_blob_that_lies_where_only_rest_was_lent_a_place_is_posted_with_its_own_signature() {
    let base: Arc<OnceLock<String>> = Arc::default();
    let known = Arc::clone(&base);
    let service = offering(
        || PREFERRED,
        move |seen| {
            let base = known.get()?;
            let lent = json!([
                ["TempStorage", format!("{base}acct/other?sig=O")],
                ["SecuredReadyForAggregationQueue", format!("{base}acct/line?sig=Q")],
            ]);
            match seen.csl().as_str() {
                ".get ingestion resources" => Some(v1("ResourceTypeName:string,StorageRoot:string", &lent)),
                _ => is_submission(seen).then(|| status(405)),
            }
        },
    )
    .await;
    base.set(service.fake.url.to_string()).unwrap();
    let ingestor = service.ingestor(Choice::Auto);
    let path = async |ingestor: &Ingestor| {
        ingested(ingestor).await.unwrap();
        let message = decoded_message(service.seen("/messages").last().unwrap(), &service.fake);
        message.lines().find(|line| line.contains("\"BlobPath\"")).unwrap().to_owned()
    };
    let first = path(&ingestor).await;
    assert!(first.contains("/acct/box/") && first.contains("sig=S%2BS"), "{first}");
    let second = path(&ingestor).await;
    assert!(
        second.contains("/acct/other/") && second.contains("sig=O"),
        "what is new goes where queues lend: {second}"
    );
}

#[tokio::test]
async fn an_operation_that_nobody_knows_any_more_is_of_no_status() {
    use adxingestor::adx::ingestion::{PostKey, Status};
    let table = crate::golden::name("Device Events");
    let key = PostKey { table: &table, window_id: "0f2a", number: 1, operation: Some("o") };
    for code in [404, 405, 501] {
        let service = offering(
            || PREFERRED,
            move |seen| (seen.method == "GET" && seen.path.contains("queued")).then(|| status(code).saying(&json!({}))),
        )
        .await;
        let ingestor = service.ingestor(Choice::Auto);
        assert_eq!(ingestor.status(&key, crate::fake::soon()).await.unwrap(), Status::Unknown, "{code}");
    }
    let known = offering(
        || PREFERRED,
        |seen| {
            let asked = seen.method == "GET" && seen.path.contains("queued");
            asked.then(|| body(&json!({"details": [{"status": "Succeeded"}]})))
        },
    )
    .await;
    let ingestor = known.ingestor(Choice::Auto);
    assert_eq!(ingestor.status(&key, crate::fake::soon()).await.unwrap(), Status::Succeeded);
}
