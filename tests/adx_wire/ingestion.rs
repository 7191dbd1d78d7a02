use crate::fake::{Fake, Reply, Seen, soon, status, v1};
use crate::golden::{decoded_message, name};
use adxingestor::adx::Error;
use adxingestor::adx::ingestion::{BlobName, Choice, ChunkIdMode, Ingestor, StoredBlob, Submission};
use bytes::Bytes;
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

const MIB: usize = 1024 * 1024;

type Fault = Box<dyn Fn(&Seen, usize) -> Option<Reply> + Send + Sync>;

/// Storage that works as documented, with faults of the test's own before it. Signatures are `s1`, and one higher
/// with each set of resources that is fetched.
#[derive(Default)]
pub struct Shelf {
    blocks: Mutex<HashMap<(String, String), Bytes>>,
    blobs: Mutex<HashMap<String, Bytes>>,
    messages: AtomicUsize,
    pub sets: AtomicUsize,
    pub requests: AtomicUsize,
    /// Lent besides the first one.
    second_box: AtomicBool,
}

impl Shelf {
    /// Has another content stand where each blob does.
    pub fn spoil(&self, content: &Bytes) {
        self.blobs.lock().unwrap().values_mut().for_each(|blob| blob.clone_from(content));
    }

    pub fn blob(&self) -> Option<Bytes> {
        self.blobs.lock().unwrap().values().next().cloned()
    }

    fn answer(&self, seen: &Seen, base: &str) -> Reply {
        match seen.csl().as_str() {
            ".get ingestion resources" => {
                let set = self.sets.fetch_add(1, Ordering::SeqCst) + 1;
                let mut lent = vec![
                    json!(["TempStorage", format!("{base}acct/box?sig=s{set}")]),
                    json!(["SecuredReadyForAggregationQueue", format!("{base}acct/line1?sig=s{set}")]),
                    json!(["SecuredReadyForAggregationQueue", format!("{base}acct/line2?sig=s{set}")]),
                ];
                if self.second_box.load(Ordering::SeqCst) {
                    lent.push(json!(["TempStorage", format!("{base}acct/box2?sig=s{set}")]));
                }
                return v1("ResourceTypeName:string,StorageRoot:string", &Json::Array(lent));
            }
            ".get kusto identity token" => return v1("AuthorizationContext:string", &json!([["identity"]])),
            _ => {}
        }
        let query: HashMap<String, String> = url::form_urlencoded::parse(seen.query.as_bytes()).into_owned().collect();
        if seen.method == "POST" {
            self.messages.fetch_add(1, Ordering::SeqCst);
            return status(201);
        }
        if !seen.header("content-md5").is_empty() && seen.header("content-md5") != md5_of(&seen.body) {
            return status(400).with("x-ms-error-code", "Md5Mismatch");
        }
        let mut blobs = self.blobs.lock().unwrap();
        if seen.method == "GET" {
            return match blobs.get(&seen.path) {
                Some(blob) => Reply { body: blob.clone(), ..status(200) }.with("x-ms-blob-type", "BlockBlob"),
                None => status(404).with("x-ms-error-code", "BlobNotFound"),
            };
        }
        if seen.method == "HEAD" {
            return match blobs.get(&seen.path) {
                Some(blob) => status(200)
                    .with("x-ms-blob-type", "BlockBlob")
                    .with("content-length", &blob.len().to_string())
                    .with("content-md5", &md5_of(blob)),
                None => status(404).with("x-ms-error-code", "BlobNotFound"),
            };
        }
        let mut blocks = self.blocks.lock().unwrap();
        match query.get("comp").map(String::as_str) {
            Some("block") => {
                blocks.insert((seen.path.clone(), query["blockid"].clone()), seen.body.clone());
            }
            Some("blocklist") => {
                let text = std::str::from_utf8(&seen.body).unwrap();
                let ids = text.split("<Latest>").skip(1).map(|part| part.split("</Latest>").next().unwrap());
                let content: Vec<u8> =
                    ids.flat_map(|id| blocks[&(seen.path.clone(), id.to_owned())].to_vec()).collect();
                blobs.insert(seen.path.clone(), content.into());
            }
            _ => {
                if seen.header("if-none-match") == "*" && blobs.contains_key(&seen.path) {
                    return status(409).with("x-ms-error-code", "BlobAlreadyExists");
                }
                blobs.insert(seen.path.clone(), seen.body.clone());
            }
        }
        status(201)
    }
}

/// As storage tells it.
pub fn md5_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    use md5::Digest as _;
    base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(bytes))
}

/// The service with `fault` in front: it sees each storage request with its number, from 0.
pub async fn service(
    fault: impl Fn(&Seen, usize) -> Option<Reply> + Send + Sync + 'static,
) -> (Fake, Arc<Shelf>, Ingestor) {
    let shelf = Arc::new(Shelf::default());
    let base: Arc<std::sync::OnceLock<String>> = Arc::default();
    let (held, known, fault) = (Arc::clone(&shelf), Arc::clone(&base), Box::new(fault) as Fault);
    let fake = Fake::start(move |seen| {
        if seen.csl().is_empty() {
            let number = held.requests.fetch_add(1, Ordering::SeqCst);
            if let Some(reply) = fault(seen, number) {
                return reply;
            }
        }
        held.answer(seen, known.get().unwrap())
    })
    .await;
    base.set(fake.url.to_string()).unwrap();
    let ingestor = Ingestor::new(fake.client(), Choice::Queued);
    (fake, shelf, ingestor)
}

pub fn none(_: &Seen, _: usize) -> Option<Reply> {
    None
}

fn busy() -> Reply {
    status(503).with("x-ms-error-code", "ServerBusy")
}

pub fn content(length: usize) -> Bytes {
    let mut bytes: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
    bytes[..2].copy_from_slice(&[0x1f, 0x8b]);
    bytes.into()
}

pub fn blob_name() -> BlobName {
    BlobName::new("Hunting", "DeviceEvents", "0f2a", Uuid::from_u128(7))
}

pub async fn upload(ingestor: &Ingestor, content: &Bytes, piece: usize) -> Result<StoredBlob, Error> {
    let mut upload = ingestor.begin(blob_name(), soon()).await?;
    let mut rest = content.clone();
    while !rest.is_empty() {
        upload.write(rest.split_to(piece.min(rest.len()))).await?;
    }
    upload.commit().await
}

#[tokio::test]
async fn what_is_written_is_what_is_stored_whatever_the_pieces() {
    for (length, piece, puts) in
        [(3, 1, 1), (2 * MIB, 1_000_003, 1), (2 * MIB + 1, 2 * MIB + 1, 3), (9 * MIB, 777_777, 6)]
    {
        let (fake, shelf, ingestor) = service(none).await;
        let content = content(length);
        let stored = upload(&ingestor, &content, piece).await.unwrap();
        assert_eq!(shelf.blob().unwrap(), content);
        assert_eq!(stored.compressed_bytes, length as u64);
        assert_eq!(stored.url, format!("{}acct/box/{}", fake.url, blob_name().as_str()));
        assert_eq!(shelf.requests.load(Ordering::SeqCst), puts + 1, "{length} bytes, and a look at them");
    }
}

#[tokio::test]
async fn nothing_is_visible_before_the_commit() {
    let (_fake, shelf, ingestor) = service(none).await;
    let mut upload = ingestor.begin(blob_name(), soon()).await.unwrap();
    upload.write(content(9 * MIB)).await.unwrap();
    assert_eq!(shelf.blob(), None);
    drop(upload);
    assert_eq!(shelf.blob(), None);
}

#[tokio::test]
async fn a_repetition_sends_the_same_bytes() {
    for failing in 0..7 {
        let (_fake, shelf, ingestor) = service(move |_, number| (number == failing).then(|| status(500))).await;
        let content = content(9 * MIB);
        upload(&ingestor, &content, MIB).await.unwrap();
        assert_eq!(shelf.blob().unwrap(), content, "request {failing} failed");
        assert_eq!(shelf.requests.load(Ordering::SeqCst), 8);
    }
}

#[tokio::test]
async fn an_outage_of_storage_is_not_waited_for_without_end() {
    let (_fake, shelf, ingestor) = service(|_, _| Some(busy())).await;
    let error = upload(&ingestor, &content(100), 100).await.unwrap_err();
    assert!(matches!(error, Error::Throttled { .. }), "{error}");
    assert_eq!(shelf.requests.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn an_upload_that_has_not_begun_goes_to_a_container_in_better_health() {
    for length in [100, 9 * MIB] {
        let (fake, shelf, ingestor) = service(|seen, _| seen.path.starts_with("/acct/box/").then(|| status(500))).await;
        shelf.second_box.store(true, Ordering::SeqCst);
        let content = content(length);
        let stored = upload(&ingestor, &content, MIB).await.unwrap();
        assert_eq!(shelf.blob().unwrap(), content);
        assert!(stored.url.starts_with(&format!("{}acct/box2/", fake.url)), "{}", stored.url);
    }
}

#[tokio::test]
async fn an_old_signature_is_replaced_once() {
    let (_fake, shelf, ingestor) = service(|seen, _| seen.query.contains("sig=s1").then(|| status(403))).await;
    let content = content(9 * MIB);
    upload(&ingestor, &content, MIB).await.unwrap();
    assert_eq!(shelf.blob().unwrap(), content);
    assert_eq!(shelf.sets.load(Ordering::SeqCst), 2);
    let (fake, shelf, ingestor) =
        service(|_, _| Some(status(403).with("x-ms-error-code", "AuthenticationFailed"))).await;
    let error = upload(&ingestor, &content, MIB).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert_eq!((shelf.sets.load(Ordering::SeqCst), shelf.requests.load(Ordering::SeqCst)), (2, 2));
    assert!(!format!("{error} {error:?}").contains("sig="), "{error:?}");
    assert!(error.to_string().contains(fake.url.as_str()));
}

#[tokio::test]
async fn a_signature_that_ends_in_the_middle_goes_on_in_the_same_container() {
    let (_fake, shelf, ingestor) =
        service(|seen, number| (number >= 1 && seen.query.contains("sig=s1")).then(|| status(403))).await;
    let content = content(9 * MIB);
    upload(&ingestor, &content, MIB).await.unwrap();
    assert_eq!(shelf.blob().unwrap(), content);
}

/// Stores what comes and loses the answer of the first request.
fn losing(shelf: &Arc<Shelf>, stored: usize) -> impl Fn(&Seen, usize) -> Option<Reply> + Send + Sync + 'static {
    let shelf = Arc::clone(shelf);
    move |seen, number| {
        (number == 0).then(|| {
            let kept = seen.body.slice(..stored.min(seen.body.len()));
            shelf.blobs.lock().unwrap().insert(seen.path.clone(), kept);
            status(500)
        })
    }
}

#[tokio::test]
async fn a_blob_that_our_own_lost_attempt_has_written_is_taken_if_it_is_whole() {
    for (stored, whole) in [(usize::MAX, true), (50, false)] {
        let other = Arc::new(Shelf::default());
        let lose = losing(&other, stored);
        // What the lost attempt wrote is what later requests meet.
        let shared = Arc::clone(&other);
        let (_fake, shelf, ingestor) =
            service(move |seen, number| lose(seen, number).or_else(|| Some(shared.answer(seen, "")))).await;
        let found = upload(&ingestor, &content(100), 100).await;
        assert_eq!(found.is_ok(), whole, "{found:?}");
        assert_eq!(shelf.requests.load(Ordering::SeqCst), 3, "put, put again, look at its length");
    }
}

#[tokio::test]
async fn a_blob_that_was_there_before_is_not_taken_for_ours() {
    let (_fake, _shelf, ingestor) =
        service(|_, _| Some(status(409).with("x-ms-error-code", "BlobAlreadyExists"))).await;
    let error = upload(&ingestor, &content(100), 100).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { code, .. } if code == "BlobAlreadyExists"), "{error}");
}

#[tokio::test]
async fn what_is_empty_or_not_gzip_never_leaves() {
    let (_fake, shelf, ingestor) = service(none).await;
    let mut plain = ingestor.begin(blob_name(), soon()).await.unwrap();
    assert!(matches!(plain.write(Bytes::from_static(b"{\"a\":1}")).await, Err(Error::Refused { .. })));
    let empty = ingestor.begin(blob_name(), soon()).await.unwrap();
    assert!(matches!(empty.commit().await, Err(Error::Refused { .. })));
    assert_eq!(shelf.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn resources_are_fetched_by_one_and_shared_for_an_hour() {
    let (fake, shelf, ingestor) = service(none).await;
    let all = (0..8).map(|_| ingestor.begin(blob_name(), soon()));
    for begun in futures_util::future::join_all(all).await {
        begun.unwrap();
    }
    assert_eq!(shelf.sets.load(Ordering::SeqCst), 1);
    fake.clock.forward(Duration::from_secs(3599));
    ingestor.begin(blob_name(), soon()).await.unwrap();
    assert_eq!(shelf.sets.load(Ordering::SeqCst), 1);
    fake.clock.forward(Duration::from_secs(1));
    ingestor.begin(blob_name(), soon()).await.unwrap();
    assert_eq!(shelf.sets.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn old_resources_are_used_on_when_they_cannot_be_renewed() {
    let down = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&down);
    let fake = Fake::start(move |seen| {
        let first = asked.fetch_add(1, Ordering::SeqCst) < 2;
        match seen.csl().as_str() {
            _ if !first => status(400),
            ".get ingestion resources" => v1(
                "ResourceTypeName:string,StorageRoot:string",
                &json!([
                    ["TempStorage", "https://a.blob.core.windows.net/box?sig=S"],
                    ["SecuredReadyForAggregationQueue", "https://a.queue.core.windows.net/line?sig=S"],
                ]),
            ),
            _ => v1("AuthorizationContext:string", &json!([["identity"]])),
        }
    })
    .await;
    let ingestor = Ingestor::new(fake.client(), Choice::Queued);
    ingestor.begin(blob_name(), soon()).await.unwrap();
    fake.clock.forward(Duration::from_secs(4000));
    ingestor.begin(blob_name(), soon()).await.unwrap();
    ingestor.begin(blob_name(), soon()).await.unwrap();
    assert_eq!(fake.seen().len(), 3, "after a failure it is not tried again at once");
    fake.clock.forward(Duration::from_secs(61));
    ingestor.begin(blob_name(), soon()).await.unwrap();
    assert_eq!(fake.seen().len(), 4);
}

async fn post(ingestor: &Ingestor, url: &str) -> Result<(), Error> {
    let (table, watermark) = (name("DeviceEvents"), name("Timestamp"));
    let blob = StoredBlob { url: url.to_owned(), compressed_bytes: 10 };
    let submission = Submission {
        table: &table,
        window_id: "0f2a",
        number: 1,
        blob: &blob,
        raw_bytes: 100,
        watermark_column: &watermark,
        stamp: None,
        chunk_id: ChunkIdMode::Constant,
        created: None,
    };
    ingestor.post(&submission, soon()).await.map(drop)
}

fn posts(fake: &Fake) -> Vec<Seen> {
    fake.seen().into_iter().filter(|seen| seen.path.ends_with("/messages")).collect()
}

#[tokio::test]
async fn a_post_that_may_have_been_taken_is_not_made_again() {
    for fault in [500, 503, 504, 408] {
        let (fake, _shelf, ingestor) = service(move |_, _| Some(status(fault))).await;
        let url = format!("{}acct/box/b.gz", fake.url);
        let error = post(&ingestor, &url).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
        assert_eq!(posts(&fake).len(), 1);
    }
}

#[tokio::test]
async fn a_queue_that_did_not_take_the_message_is_passed_over() {
    let (fake, shelf, ingestor) = service(|_, number| (number == 0).then(busy)).await;
    let url = format!("{}acct/box/b.gz", fake.url);
    post(&ingestor, &url).await.unwrap();
    let paths: Vec<String> = posts(&fake).into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths.len(), 2);
    assert_ne!(paths[0], paths[1]);
    assert_eq!(shelf.messages.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stored_blob_is_posted_with_the_signature_of_now() {
    let (fake, shelf, ingestor) = service(|seen, _| seen.query.contains("sig=s1").then(|| status(403))).await;
    let url = format!("{}acct/box/b.gz", fake.url);
    post(&ingestor, &url).await.unwrap();
    let last = posts(&fake).pop().unwrap();
    assert!(decoded_message(&last, &fake).contains("\"BlobPath\": \"https://storage/acct/box/b.gz?sig=s2\""));
    assert_eq!(shelf.sets.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_blob_whose_container_is_not_lent_any_more_is_named() {
    let (fake, shelf, ingestor) = service(none).await;
    let error = post(&ingestor, "https://gone.blob.core.windows.net/c/b.gz").await.unwrap_err();
    assert!(matches!(&error, Error::NotFound { what } if what.contains("gone.blob")), "{error}");
    assert_eq!((posts(&fake).len(), shelf.sets.load(Ordering::SeqCst)), (0, 2));
}

#[tokio::test]
async fn a_blob_is_gone_when_storage_says_so_or_nobody_can_read_it() {
    let (fake, _shelf, ingestor) = service(|seen, _| seen.path.ends_with("odd.gz").then(|| status(404))).await;
    let stored = upload(&ingestor, &content(100), 100).await.unwrap();
    assert!(ingestor.has(&stored.url, soon()).await.unwrap());
    let beside = |name: &str| format!("{}/{name}", stored.url.rsplit_once('/').unwrap().0);
    assert!(!ingestor.has(&beside("never.gz"), soon()).await.unwrap());
    for gone in [beside("odd.gz"), "https://gone.blob.core.windows.net/c/b.gz".to_owned()] {
        assert!(!ingestor.has(&gone, soon()).await.unwrap(), "{gone}");
    }
    drop(fake);
}
