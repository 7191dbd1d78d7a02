//! What an upload does about storage that fails, lies or is lent for a time, and how it is told how a post ends.

use crate::fake::{Fake, Reply, Seen, body, soon, status, v1};
use crate::golden::{Golden, decoded_message, name};
use crate::ingestion::{content, md5_of, none, service, upload};
use adxingestor::adx::Error;
use adxingestor::adx::ingestion::{Choice, ChunkIdMode, Ingestor, PostKey, Status, StoredBlob, Submission};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MIB: usize = 1024 * 1024;

async fn post(ingestor: &Ingestor, blob: &StoredBlob, number: u32, raw_bytes: u64) -> Result<(), Error> {
    let (table, watermark) = (name("Device Events"), name("Timestamp"));
    let submission = Submission {
        table: &table,
        window_id: "0f2a",
        number,
        blob,
        raw_bytes,
        watermark_column: &watermark,
        stamp: None,
        chunk_id: ChunkIdMode::Constant,
        created: None,
    };
    ingestor.post(&submission, soon()).await.map(drop)
}

/// A service that lends what `lent` says of its own address, and answers storage by `answer`.
async fn lending(
    lent: impl Fn(&str) -> Vec<(&'static str, String)> + Send + Sync + 'static,
    answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> (Fake, Ingestor) {
    let port: Arc<OnceLock<String>> = Arc::default();
    let known = Arc::clone(&port);
    let fake = Fake::start(move |seen| match seen.csl().as_str() {
        ".get ingestion resources" => {
            let rows: Vec<Value> =
                lent(known.get().unwrap()).into_iter().map(|(kind, root)| json!([kind, root])).collect();
            v1("ResourceTypeName:string,StorageRoot:string", &Value::Array(rows))
        }
        ".get kusto identity token" => v1("AuthorizationContext:string", &json!([["identity"]])),
        _ => answer(seen),
    })
    .await;
    port.set(fake.url.port().unwrap().to_string()).unwrap();
    let ingestor = Ingestor::new(fake.client(), Choice::Queued);
    (fake, ingestor)
}

fn whole(seen: &Seen) -> Reply {
    if seen.method == "HEAD" { status(403) } else { status(201) }
}

/// What lends signatures that all have ended by the clock of this machine, which is 07:00.
fn ended(base: &str) -> Vec<(&'static str, String)> {
    let at = |path: &str| format!("http://127.0.0.1:{base}/acct/{path}?sv=1&se=2026-04-14T01%3A00%3A00Z&sig=S");
    vec![
        ("TempStorage", at("box")),
        ("SecuredReadyForAggregationQueue", at("line")),
        ("IngestionsStatusTable", at("t")),
    ]
}

#[tokio::test]
async fn signatures_that_have_ended_by_this_machines_clock_are_left_to_storage_to_judge() {
    let (fake, ingestor) = lending(ended, whole).await;
    let stored = upload(&ingestor, &content(9 * MIB), MIB).await.unwrap();
    post(&ingestor, &stored, 1, 9).await.unwrap();
    let puts = fake.seen().iter().filter(|seen| seen.method == "PUT").count();
    assert_eq!(puts, 6);
    assert!(fake.csl().len() <= 4, "what is lent is not asked for again and again: {:?}", fake.csl());
}

#[tokio::test]
async fn a_signature_that_storage_refuses_is_told_with_its_end_and_the_clock() {
    let (_fake, ingestor) = lending(ended, |_| status(403)).await;
    let error = upload(&ingestor, &content(100), MIB).await.unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, Error::Denied { .. }), "{said}");
    for part in ["ended at 2026-04-14T01:00:00", "this machine's clock says 2026-04-14T07:00:00"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("sig="), "{said}");
}

#[tokio::test]
async fn every_piece_and_the_whole_carry_their_hashes() {
    let (fake, shelf, ingestor) = service(none).await;
    let content = content(9 * MIB);
    upload(&ingestor, &content, MIB).await.unwrap();
    let puts: Vec<Seen> = fake.seen().into_iter().filter(|seen| seen.method == "PUT").collect();
    assert_eq!(puts.len(), 6);
    for put in &puts {
        assert_eq!(put.header("content-md5"), md5_of(&put.body), "{}", put.query);
    }
    assert_eq!(puts[5].header("x-ms-blob-content-md5"), md5_of(&content));
    assert_eq!(shelf.blob().unwrap(), content);
}

#[tokio::test]
async fn what_stands_there_otherwise_than_it_was_sent_is_no_blob() {
    for length in [100, 9 * MIB] {
        for (header, value) in [("content-length", "7"), ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")] {
            let lie = move |seen: &Seen, _| {
                (seen.method == "HEAD").then(|| {
                    let told = if header == "content-md5" { length.to_string() } else { value.to_owned() };
                    let reply = status(200).with("x-ms-blob-type", "BlockBlob").with("content-length", &told);
                    if header == "content-md5" { reply.with(header, value) } else { reply }
                })
            };
            let (_fake, _shelf, ingestor) = service(lie).await;
            let error = upload(&ingestor, &content(length), MIB).await.unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{header}: {error}");
        }
        for code in [200, 400, 403, 404, 405, 501, 503] {
            let (_fake, shelf, ingestor) = service(move |seen, _| (seen.method == "HEAD").then(|| status(code))).await;
            upload(&ingestor, &content(length), MIB).await.unwrap_or_else(|error| panic!("{code}: {error}"));
            assert_eq!(shelf.sets.load(Ordering::SeqCst), 1, "{code}: what lets nobody look is good for writing");
        }
    }
}

/// One request off a connection: its head, and of its body what is not held back.
async fn request(stream: &mut TcpStream, half: bool) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.unwrap_or(0);
    let mut content = vec![0; if half { length / 2 } else { length }];
    stream.read_exact(&mut content).await.ok()?;
    Some((head, content))
}

#[tokio::test]
async fn a_server_that_goes_away_after_half_a_body_is_sent_the_same_bytes_again() {
    for (length, cut) in [(100_000, 0), (9 * MIB, 0), (9 * MIB, 2)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let storage = listener.local_addr().unwrap();
        let taken: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let noted = Arc::clone(&taken);
        let requests = Arc::new(AtomicUsize::new(0));
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (noted, requests) = (Arc::clone(&noted), Arc::clone(&requests));
                tokio::spawn(async move {
                    loop {
                        let half = requests.load(Ordering::SeqCst) == cut;
                        let Some((head, content)) = request(&mut stream, half).await else { return };
                        if requests.fetch_add(1, Ordering::SeqCst) == cut {
                            return;
                        }
                        let answer = if head.starts_with("HEAD") { "403 Forbidden" } else { "201 Created" };
                        if head.starts_with("PUT") && !head.contains("comp=blocklist") {
                            noted.lock().unwrap().push(content);
                        }
                        let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        let lent = move |_: &str| {
            vec![
                ("TempStorage", format!("http://{storage}/acct/box?sig=s")),
                ("SecuredReadyForAggregationQueue", format!("http://{storage}/acct/line?sig=s")),
            ]
        };
        let (_fake, ingestor) = lending(lent, whole).await;
        let content = content(length);
        upload(&ingestor, &content, MIB).await.unwrap();
        assert_eq!(taken.lock().unwrap().concat(), content, "{length} bytes, request {cut} cut");
        server.abort();
    }
}

#[tokio::test]
async fn gzip_of_nothing_and_rows_of_no_bytes_never_leave() {
    let (_fake, shelf, ingestor) = service(none).await;
    let nothing: Bytes = GzEncoder::new(Vec::new(), Compression::default()).finish().unwrap().into();
    assert!(nothing.len() > 10);
    for twice in [nothing.clone(), [nothing.clone(), nothing].concat().into()] {
        let error = upload(&ingestor, &twice, 3).await.unwrap_err();
        assert!(error.is_invalid(), "{error}");
    }
    let blob = StoredBlob { url: "https://a.example/b/x.multijson.gz".to_owned(), compressed_bytes: 100 };
    assert!(post(&ingestor, &blob, 1, 0).await.unwrap_err().is_invalid());
    assert!(post(&ingestor, &StoredBlob { compressed_bytes: 0, ..blob }, 1, 9).await.unwrap_err().is_invalid());
    assert_eq!(shelf.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_blob_of_another_length_is_not_posted_again() {
    let (fake, _shelf, ingestor) = service(none).await;
    let stored = upload(&ingestor, &content(100), 100).await.unwrap();
    post(&ingestor, &stored, 2, 500).await.unwrap();
    let posts = || fake.seen().iter().filter(|seen| seen.path.ends_with("/messages")).count();
    assert_eq!(posts(), 1);
    let other = StoredBlob { compressed_bytes: 99, ..stored.clone() };
    let error = post(&ingestor, &other, 2, 500).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("has 100 bytes and was stored with 99"), "{error}");
    let gone = StoredBlob { url: format!("{}x", stored.url), ..stored };
    assert!(matches!(post(&ingestor, &gone, 2, 500).await, Err(Error::NotFound { .. })));
    assert_eq!(posts(), 1);
}

#[tokio::test]
async fn an_account_that_fails_is_left_and_an_operation_tries_three_resources_at_most() {
    let lent = |port: &str| {
        let mut lent = vec![("SecuredReadyForAggregationQueue", format!("http://127.0.0.1:{port}/acct/line?sig=s"))];
        for host in ["127.0.0.1", "localhost"] {
            lent.extend((0..3).map(|number| ("TempStorage", format!("http://{host}:{port}/{host}/box{number}?sig=s"))));
        }
        lent
    };
    let sick = |seen: &Seen| if seen.path.starts_with("/127") { status(500) } else { whole(seen) };
    let (fake, ingestor) = lending(lent, sick).await;
    for _ in 0..4 {
        upload(&ingestor, &content(100), 100).await.unwrap();
    }
    let sent = |fake: &Fake| -> Vec<String> {
        fake.seen().iter().filter(|seen| seen.method == "PUT").map(|seen| seen.path.clone()).collect()
    };
    let sick = sent(&fake).iter().filter(|path| path.starts_with("/127")).count();
    assert!(sick <= 1, "after its first failure it is not tried first: {:?}", sent(&fake));

    let (fake, ingestor) = lending(lent, |_| status(500)).await;
    upload(&ingestor, &content(100), 100).await.unwrap_err();
    let tried: BTreeSet<String> = sent(&fake).iter().map(|path| path.rsplit_once('/').unwrap().0.to_owned()).collect();
    assert_eq!(tried.len(), 3, "{tried:?}");
}

#[tokio::test]
async fn what_is_lent_is_not_used_after_its_end() {
    // The time is 07:00; each set is good for an hour and a half.
    let renewing = Arc::new(AtomicBool::new(true));
    let works = Arc::clone(&renewing);
    let count = AtomicUsize::new(0);
    let lent = move |port: &str| {
        if !works.load(Ordering::SeqCst) {
            return vec![("TempStorage", "nonsense".to_owned())];
        }
        let end = ["07:30", "09:00", "10:30"][count.fetch_add(1, Ordering::SeqCst).min(2)];
        ["TempStorage", "SecuredReadyForAggregationQueue"]
            .map(|kind| (kind, format!("http://127.0.0.1:{port}/acct/{kind}?se=2026-04-14T{end}:00Z&sig=x")))
            .to_vec()
    };
    let (fake, ingestor) = lending(lent, whole).await;
    let ends = || {
        let seen = fake.seen();
        let put = seen.iter().rev().find(|seen| seen.method == "PUT").unwrap();
        put.query.split("T").nth(1).unwrap()[..5].to_owned()
    };
    upload(&ingestor, &content(100), 100).await.unwrap();
    assert_eq!(ends(), "07:30");
    fake.clock.forward(Duration::from_secs(30 * 60));
    upload(&ingestor, &content(100), 100).await.unwrap();
    assert_eq!(ends(), "09:00", "though the hour of the set is not over");
    renewing.store(false, Ordering::SeqCst);
    fake.clock.forward(Duration::from_secs(70 * 60));
    upload(&ingestor, &content(100), 100).await.unwrap();
    assert_eq!(ends(), "09:00", "good still, and not renewed");
    let before = fake.seen().iter().filter(|seen| seen.method == "PUT").count();
    fake.clock.forward(Duration::from_secs(20 * 60));
    upload(&ingestor, &content(100), 100).await.unwrap_err();
    assert_eq!(fake.seen().iter().filter(|seen| seen.method == "PUT").count(), before);
}

/// A service with a status table whose requests are answered by `answer`.
async fn telling(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Fake, Ingestor) {
    let lent = |port: &str| {
        vec![
            ("TempStorage", format!("http://127.0.0.1:{port}/acct/box?sig=S%2BS")),
            ("SecuredReadyForAggregationQueue", format!("http://127.0.0.1:{port}/acct/line?sig=Q")),
            ("IngestionsStatusTable", format!("http://127.0.0.1:{port}/acct/status?sv=1&tn=status&sig=T%2BT")),
        ]
    };
    lending(lent, move |seen| if seen.path.starts_with("/acct/status") { answer(seen) } else { whole(seen) }).await
}

#[tokio::test]
async fn a_post_has_a_row_that_tells_how_it_ends() {
    let row = json!({"Status": "Failed", "ErrorCode": "BadRequest_InvalidBlob", "FailureStatus": "Permanent", "Details": "no"});
    let told = row.clone();
    let (fake, ingestor) = telling(move |seen| if seen.method == "POST" { status(204) } else { body(&told) }).await;
    let blob = StoredBlob { url: format!("{}acct/box/x.multijson.gz", fake.url), compressed_bytes: 100 };
    post(&ingestor, &blob, 1, 123_456).await.unwrap();
    let table = name("Device Events");
    let key = PostKey { table: &table, window_id: "0f2a", number: 1, operation: None };
    let failed = Status::Failed { code: "BadRequest_InvalidBlob".into(), permanent: true, details: "no".into() };
    assert_eq!(ingestor.status(&key, soon()).await.unwrap(), failed);
    let seen = fake.seen();
    let [.., made, posted, asked] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str(), asked.query.as_str(), asked.header("accept")),
        (
            "GET",
            "/acct/status(PartitionKey='0f2a',RowKey='1')",
            "sv=1&tn=status&sig=T%2BT",
            "application/json;odata=nometadata"
        )
    );
    assert_eq!(
        (made.method.as_str(), made.path.as_str(), made.query.as_str(), made.header("prefer")),
        ("POST", "/acct/status", "sv=1&tn=status&sig=T%2BT", "return-no-content")
    );
    let mut golden = Golden::of("adx_status");
    let text = serde_json::to_string_pretty(&serde_json::from_slice::<Value>(&made.body).unwrap()).unwrap() + "\n";
    golden.check("row.json", &text.replace(fake.url.as_str(), "https://storage/"));
    golden.check("message.json", &decoded_message(posted, &fake));
    golden.finish();
}

#[tokio::test]
async fn a_post_whose_row_cannot_be_made_is_made_without() {
    for code in [403, 404, 500, 503] {
        let (fake, ingestor) = telling(move |_| status(code)).await;
        let blob = StoredBlob { url: format!("{}acct/box/x.multijson.gz", fake.url), compressed_bytes: 100 };
        post(&ingestor, &blob, 1, 9).await.unwrap();
        let message = decoded_message(&fake.seen().pop().unwrap(), &fake);
        assert!(message.contains("\"ReportLevel\": 1") && !message.contains("IngestionStatusInTable"), "{message}");
    }
    // One that is there is of this post's earlier attempt.
    let (fake, ingestor) = telling(|_| status(409)).await;
    let blob = StoredBlob { url: format!("{}acct/box/x.multijson.gz", fake.url), compressed_bytes: 100 };
    post(&ingestor, &blob, 1, 9).await.unwrap();
    assert!(decoded_message(&fake.seen().pop().unwrap(), &fake).contains("IngestionStatusInTable"));
}

#[tokio::test]
async fn a_row_that_is_not_there_tells_nothing_and_one_that_is_not_to_be_had_is_an_error() {
    let table = name("Device Events");
    let key = PostKey { table: &table, window_id: "0f2a", number: 1, operation: None };
    let (_fake, ingestor) = telling(|_| status(404).with("x-ms-error-code", "ResourceNotFound")).await;
    assert_eq!(ingestor.status(&key, soon()).await.unwrap(), Status::Unknown);
    let (_fake, ingestor) = telling(|_| body(&json!({"Status": "Pending"}))).await;
    assert_eq!(ingestor.status(&key, soon()).await.unwrap(), Status::Pending);
    let (_fake, ingestor) = telling(|_| status(503)).await;
    assert!(matches!(ingestor.status(&key, soon()).await, Err(Error::Unavailable { .. })));
}

#[tokio::test]
async fn a_status_table_that_hangs_is_waited_for_once_and_left_out_for_a_while() {
    let (fake, ingestor) = telling(|_| status(201).that_never_comes()).await;
    let blob = StoredBlob { url: format!("{}acct/box/x.multijson.gz", fake.url), compressed_bytes: 100 };
    let asked = || fake.seen().iter().filter(|seen| seen.path.starts_with("/acct/status")).count();
    let message = || decoded_message(&fake.seen().pop().unwrap(), &fake);
    for number in 1..=5 {
        post(&ingestor, &blob, number, 9).await.unwrap();
        assert!(!message().contains("IngestionStatusInTable"), "{}", message());
    }
    assert_eq!(asked(), 1, "the others did not wait for it");
    let table = name("Device Events");
    let key = PostKey { table: &table, window_id: "0f2a", number: 1, operation: None };
    assert!(matches!(ingestor.status(&key, soon()).await, Err(Error::Unavailable { .. })));
    assert_eq!(asked(), 1, "nor did who wanted to read");
    fake.clock.forward(Duration::from_secs(16 * 60));
    post(&ingestor, &blob, 1, 9).await.unwrap();
    assert_eq!(asked(), 2, "it is tried again");
}

#[tokio::test]
async fn a_status_table_that_fails_at_once_costs_no_time_and_is_asked_on() {
    let count = AtomicUsize::new(0);
    let (fake, ingestor) =
        telling(move |_| status(if count.fetch_add(1, Ordering::SeqCst) == 0 { 503 } else { 204 })).await;
    let blob = StoredBlob { url: format!("{}acct/box/x.multijson.gz", fake.url), compressed_bytes: 100 };
    let tracked = async |number| {
        post(&ingestor, &blob, number, 9).await.unwrap();
        decoded_message(&fake.seen().pop().unwrap(), &fake).contains("IngestionStatusInTable")
    };
    assert!(!tracked(1).await);
    assert!(tracked(1).await);
}
