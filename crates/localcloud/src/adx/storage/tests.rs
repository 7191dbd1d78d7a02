use super::*;
use crate::clock::ManualClock;
use crate::faults::{Area, Fault};
use futures_util::StreamExt;
use reqwest::{Method, Response};
use std::io::Read;

struct Setup {
    storage: Arc<Storage>,
    clock: Arc<ManualClock>,
    faults: Arc<Faults>,
    http: reqwest::Client,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn setup() -> Setup {
    lending("rwd").await
}

async fn lending(container_permissions: &str) -> Setup {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let clock = Arc::new(ManualClock::new(ticks::UNIX_EPOCH + 20_500 * ticks::DAY));
    let faults = Arc::new(Faults::none());
    let container_permissions = container_permissions.to_owned();
    let settings = Settings { base_url, seed: 5, container_permissions, ..Settings::default() };
    let storage = Arc::new(Storage::new(settings, clock.clone(), faults.clone()).unwrap());
    let router = router(storage.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
    Setup { storage, clock, faults, http, server }
}

impl Setup {
    fn address(&self, kind: &str, below: &str) -> String {
        let (_, root) = self.storage.resources().into_iter().find(|(other, _)| *other == kind).unwrap();
        root.replacen('?', &format!("/{below}?"), 1)
    }

    async fn put(&self, address: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.send(Method::PUT, address, headers, body).await
    }

    async fn send(&self, method: Method, address: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let request = self.http.request(method, address).body(body.to_owned());
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    }

    fn content(&self, address: &str) -> String {
        let mut text = String::new();
        self.storage.open_blob(address).unwrap().content.read_to_string(&mut text).unwrap();
        text
    }
}

fn code(response: &Response) -> (u16, &str) {
    let code = response.headers().get("x-ms-error-code").map_or("", |code| code.to_str().unwrap());
    (response.status().as_u16(), code)
}

async fn text_of(response: Response) -> String {
    let chunks: Vec<_> = response.bytes_stream().map(|chunk| chunk.unwrap()).collect().await;
    String::from_utf8(chunks.concat()).unwrap()
}

const BLOB: &[(&str, &str)] = &[("x-ms-blob-type", "BlockBlob")];
const NEW: &[(&str, &str)] = &[("x-ms-blob-type", "BlockBlob"), ("if-none-match", "*")];

#[tokio::test]
async fn a_blob_is_put_read_replaced_and_deleted() {
    let setup = setup().await;
    let address = setup.address("TempStorage", "a%20b.multijson.gz");
    assert_eq!(code(&setup.put(&address, &[], "x").await), (400, "MissingRequiredHeader"));
    let put = setup.put(&address, NEW, "first").await;
    assert_eq!(put.status(), 201);
    assert!(put.headers()["etag"].to_str().unwrap().starts_with("\"0x"));
    assert_eq!(put.headers()["last-modified"], "Mon, 16 Feb 2026 00:00:00 GMT");
    assert!(put.headers().contains_key("date"));
    assert_eq!(code(&setup.put(&address, NEW, "second").await), (409, "BlobAlreadyExists"));
    assert_eq!(setup.content(&address), "first");
    assert_eq!(setup.put(&address, BLOB, "third").await.status(), 201);

    let head = setup.http.head(&address).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "5"));
    let get = setup.http.get(&address).send().await.unwrap();
    assert_eq!(get.headers()["content-length"], "5");
    assert_eq!(text_of(get).await, "third");
    assert_eq!(setup.http.delete(&address).send().await.unwrap().status(), 202);
    assert_eq!(code(&setup.http.get(&address).send().await.unwrap()), (404, "BlobNotFound"));
    assert_eq!(setup.storage.open_blob(&address).err(), Some(Unreadable::NotFound));
}

#[tokio::test]
async fn blocks_become_a_blob_when_listed() {
    let setup = setup().await;
    let address = setup.address("TempStorage", "b");
    for (id, text) in [("MDE%3D", "one "), ("MDI%3D", "two "), ("MDM%3D", "three ")] {
        let block = format!("{address}&comp=block&blockid={id}");
        assert_eq!(setup.put(&block, &[], text).await.status(), 201);
    }
    assert_eq!(setup.storage.open_blob(&address).err(), Some(Unreadable::NotFound));
    let list = format!("{address}&comp=blocklist");
    let unknown = "<BlockList><Latest>MDk=</Latest></BlockList>";
    assert_eq!(code(&setup.put(&list, &[], unknown).await), (400, "InvalidBlockList"));
    assert_eq!(code(&setup.put(&list, &[], "<BlockList>").await), (400, "InvalidXmlDocument"));
    let wanted = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList><Latest>MDI=</Latest><Uncommitted>MDE=\
        </Uncommitted></BlockList>";
    assert_eq!(setup.put(&list, &[], wanted).await.status(), 201);
    assert_eq!(setup.content(&address), "two one ");
    let again = "<BlockList><Latest>MDI=</Latest></BlockList>";
    assert_eq!(setup.put(&list, &[], again).await.status(), 201, "committed blocks can be listed again");
    let gone = "<BlockList><Latest>MDM=</Latest></BlockList>";
    assert_eq!(code(&setup.put(&list, &[], gone).await), (400, "InvalidBlockList"));
    assert_eq!(code(&setup.put(&format!("{address}&comp=block&blockid=!"), &[], "x").await).0, 400);
}

#[tokio::test]
async fn signatures_must_match_fit_and_last() {
    let setup = setup().await;
    let address = setup.address("TempStorage", "c");
    let failed = (403, "AuthenticationFailed");
    let (bare, query) = address.split_once('?').unwrap();
    assert_eq!(code(&setup.put(bare, BLOB, "x").await), failed);
    assert_eq!(code(&setup.put(&address.replace("sp=rwd", "sp=rwdl"), BLOB, "x").await), failed);
    let other = address.replace("ingest-temp-0", "ingest-temp-1");
    assert_eq!(code(&setup.put(&other, BLOB, "x").await), failed);
    let queue = setup.address("SecuredReadyForAggregationQueue", "messages");
    let misused = format!("{}?{query}", queue.split_once('?').unwrap().0);
    assert_eq!(code(&setup.send(Method::POST, &misused, &[], "x").await), failed);

    setup.storage.refuse_next(1);
    assert_eq!(code(&setup.put(&address, BLOB, "x").await), failed);
    assert_eq!(setup.put(&address, BLOB, "x").await.status(), 201);
    setup.clock.advance(Duration::from_secs(24 * 3_600));
    assert_eq!(code(&setup.put(&address, BLOB, "x").await), failed);
    assert_eq!(setup.storage.open_blob(&address).err(), Some(Unreadable::Forbidden));
    let renewed = setup.address("TempStorage", "c");
    assert_eq!(setup.content(&renewed), "x");
    setup.storage.expire_all();
    assert_eq!(code(&setup.put(&renewed, BLOB, "x").await), failed);
}

#[tokio::test]
async fn messages_are_taken_in_order_and_large_ones_refused() {
    let setup = setup().await;
    let address = setup.address("SecuredReadyForAggregationQueue", "messages");
    let wrap = |text: &str| format!("<QueueMessage><MessageText>{text}</MessageText></QueueMessage>");
    for text in ["Zmlyc3Q=", &"a".repeat(64 * 1024)] {
        let answer = setup.send(Method::POST, &address, &[], &wrap(text)).await;
        assert_eq!(answer.status(), 201);
        let body = text_of(answer).await;
        assert!(body.contains("<QueueMessagesList><QueueMessage><MessageId>") && body.contains("<PopReceipt>"));
    }
    let large = wrap(&"a".repeat(64 * 1024 + 1));
    assert_eq!(code(&setup.send(Method::POST, &address, &[], &large).await), (413, "RequestBodyTooLarge"));
    assert_eq!(code(&setup.send(Method::POST, &address, &[], "text").await), (400, "InvalidXmlDocument"));
    let failed = setup.address("FailedIngestionsQueue", "messages");
    assert_eq!(setup.send(Method::POST, &failed, &[], &wrap("eA==")).await.status(), 201);
    assert_eq!(setup.storage.next_message().await, "Zmlyc3Q=");
    assert_eq!(setup.storage.next_message().await.len(), 64 * 1024);
    let more = tokio::time::timeout(Duration::from_millis(10), setup.storage.next_message()).await;
    assert!(more.is_err(), "status queues are not ingested");
}

#[tokio::test]
async fn a_status_message_is_hidden_while_it_is_taken_and_gone_when_it_is_deleted() {
    let setup = setup().await;
    setup.storage.tell_failure("b25l".to_owned());
    setup.storage.tell_failure("<&>".to_owned());
    let address =
        |with: &str| setup.address("FailedIngestionsQueue", "messages").replacen('?', &format!("?{with}&"), 1);
    let get = async |with: &str| text_of(setup.send(Method::GET, &address(with), &[], "").await).await;
    let peeked = get("peekonly=true&numofmessages=32").await;
    assert!(peeked.contains("<MessageText>b25l</MessageText>") && peeked.contains("&lt;&amp;&gt;"), "{peeked}");
    assert!(!peeked.contains("<PopReceipt>"));
    let taken = get("visibilitytimeout=5").await;
    assert!(taken.contains("b25l") && taken.contains("<DequeueCount>1</DequeueCount>"), "{taken}");
    assert!(!get("peekonly=true&numofmessages=32").await.contains("b25l"));
    setup.clock.advance(Duration::from_secs(5));
    let again = get("numofmessages=1").await;
    assert!(again.contains("b25l") && again.contains("<DequeueCount>2</DequeueCount>"), "{again}");
    let between = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.replace('=', "%3D").replace('+', "%2B").replace('/', "%2F")
    };
    let delete = async |receipt: &str| {
        let below = format!("messages/{}", between(&again, "MessageId"));
        let address =
            setup.address("FailedIngestionsQueue", &below).replacen('?', &format!("?popreceipt={receipt}&"), 1);
        setup.send(Method::DELETE, &address, &[], "").await
    };
    assert_eq!(code(&delete(&between(&taken, "PopReceipt")).await), (400, "PopReceiptMismatch"));
    assert_eq!(delete(&between(&again, "PopReceipt")).await.status(), 204);
    assert_eq!(code(&delete(&between(&again, "PopReceipt")).await), (404, "MessageNotFound"));
    let out_of_range = setup.send(Method::GET, &address("numofmessages=33"), &[], "").await;
    assert_eq!(code(&out_of_range), (400, "OutOfRangeQueryParameterValue"));
    setup.clock.advance(Duration::from_secs(7 * 24 * 3_600));
    assert!(!get("peekonly=true").await.contains("<MessageId>"), "messages are kept for a week");
}

#[tokio::test]
async fn a_row_of_the_status_table_is_changed_by_who_has_its_address() {
    let setup = setup().await;
    let (_, table) = setup.storage.resources().into_iter().find(|(kind, _)| *kind == "IngestionsStatusTable").unwrap();
    let row = "{\"PartitionKey\":\"p\",\"RowKey\":\"r\",\"Status\":\"Pending\",\"N\":1}";
    let quiet = &[("prefer", "return-no-content")];
    assert_eq!(setup.send(Method::POST, &table, quiet, row).await.status(), 204);
    assert_eq!(setup.send(Method::POST, &table, quiet, row).await.status(), 409);
    let read = async |keys: &str| {
        let address = table.replacen('?', &format!("({keys})?"), 1);
        let plain = &[("accept", "application/json;odata=nometadata")];
        let response = setup.send(Method::GET, &address, plain, "").await;
        (response.status().as_u16(), text_of(response).await)
    };
    let changes = || Map::from_iter([("Status".to_owned(), "Succeeded".into())]);
    assert!(setup.storage.change_status(&table, "p", "r", changes()));
    assert!(!setup.storage.change_status(&table, "p", "other", changes()));
    assert!(!setup.storage.change_status(&table.replace("sp=rau", "sp=r"), "p", "r", changes()));
    let (status, text) = read("PartitionKey='p',RowKey='r'").await;
    let shown: Json = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &shown["Status"], &shown["N"]), (200, &"Succeeded".into(), &1.into()), "{text}");
    let (status, text) = read("PartitionKey='p',RowKey='x'").await;
    assert!(status == 404 && text.contains("ResourceNotFound"), "{text}");
    assert_eq!(setup.send(Method::DELETE, &table, &[], "").await.status(), 501);
}

#[tokio::test]
async fn faults_refuse_cut_and_lose_answers() {
    let setup = setup().await;
    let address = setup.address("TempStorage", "d");
    let faults = [Fault::Unavailable, Fault::Internal, Fault::Preempted, Fault::GatewayTimeout];
    setup.faults.script(Area::Blobs, faults.map(Some));
    assert_eq!(code(&setup.put(&address, NEW, "x").await), (503, "ServerBusy"));
    assert_eq!(code(&setup.put(&address, NEW, "x").await), (500, "InternalError"));
    assert_eq!(code(&setup.put(&address, NEW, "x").await), (403, "AuthenticationFailed"));
    assert_eq!(code(&setup.put(&address, NEW, "x").await), (500, "OperationTimedOut"));
    assert_eq!(code(&setup.put(&address, NEW, "x").await), (409, "BlobAlreadyExists"));

    let address = setup.address("TempStorage", "e");
    let upload = async || setup.http.put(&address).headers(new_blob()).body("x".repeat(100_000)).send().await;
    setup.faults.script(Area::Blobs, [Some(Fault::CutBody), Some(Fault::TruncatedBody)]);
    assert!(upload().await.is_err());
    assert_eq!(setup.storage.open_blob(&address).err(), Some(Unreadable::NotFound));
    assert!(upload().await.is_err());
    assert_eq!(setup.content(&address).len(), 100_000);
}

fn new_blob() -> reqwest::header::HeaderMap {
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("x-ms-blob-type", "BlockBlob".parse().unwrap());
    headers
}

fn md5_of(text: &str) -> String {
    use base64::Engine as _;
    use md5::Digest as _;
    base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(text))
}

#[tokio::test]
async fn what_arrives_otherwise_than_its_hash_says_is_refused_and_not_there() {
    let setup = setup().await;
    let address = setup.address("TempStorage", "f");
    let block = format!("{address}&comp=block&blockid=MDE%3D");
    let list = format!("{address}&comp=blocklist");
    let listed = "<BlockList><Latest>MDE=</Latest></BlockList>";
    let (own, other) = (md5_of("one"), md5_of("two"));
    for (md5, refused) in [(other.as_str(), "Md5Mismatch"), ("x", "InvalidMd5"), ("b25l", "InvalidMd5")] {
        let said = [("x-ms-blob-type", "BlockBlob"), ("content-md5", md5)];
        for target in [&address, &block] {
            assert_eq!(code(&setup.put(target, &said, "one").await), (400, refused), "{target} {md5}");
        }
        assert_eq!(code(&setup.put(&list, &[("content-md5", md5)], listed).await), (400, refused));
    }
    assert_eq!(setup.storage.open_blob(&address).err(), Some(Unreadable::NotFound));

    assert_eq!(setup.put(&block, &[("content-md5", &own)], "one").await.status(), 201);
    let own_list = md5_of(listed);
    let said = [("content-md5", own_list.as_str()), ("x-ms-blob-content-md5", &other)];
    assert_eq!(setup.put(&list, &said, listed).await.status(), 201);
    let head = setup.http.head(&address).send().await.unwrap();
    assert_eq!(head.headers()["content-md5"], other.as_str(), "what a list comes with is not checked");
    setup.put(&address, BLOB, "one").await;
    let head = setup.http.head(&address).send().await.unwrap();
    assert_eq!(head.headers()["content-md5"], own.as_str(), "what is put at once is hashed by the service");

    setup.faults.script(Area::Blobs, [Some(Fault::Garbled), Some(Fault::Garbled)]);
    let said = [("x-ms-blob-type", "BlockBlob"), ("content-md5", own.as_str())];
    assert_eq!(code(&setup.put(&address, &said, "one").await), (400, "Md5Mismatch"));
    assert_eq!(setup.content(&address), "one");
    assert_eq!(setup.put(&address, BLOB, "one").await.status(), 201, "without a hash nobody notices");
    let mut spoilt = Vec::new();
    setup.storage.open_blob(&address).unwrap().content.read_to_end(&mut spoilt).unwrap();
    assert_eq!(spoilt, [b'o' ^ 0x80, b'n', b'e']);
    setup.storage.spoil_blobs().unwrap();
    assert_eq!(setup.content(&address), "one");
}

#[tokio::test]
async fn a_signature_allows_what_it_names_and_the_service_reads_its_own() {
    let setup = lending("w").await;
    let address = setup.address("TempStorage", "g");
    assert_eq!(setup.put(&address, BLOB, "one").await.status(), 201);
    let mismatch = (403, "AuthorizationPermissionMismatch");
    assert_eq!(code(&setup.http.get(&address).send().await.unwrap()), mismatch);
    assert_eq!(code(&setup.http.head(&address).send().await.unwrap()), mismatch);
    assert_eq!(code(&setup.http.delete(&address).send().await.unwrap()), mismatch);
    assert_eq!(setup.content(&address), "one");
    let queue = setup.address("SecuredReadyForAggregationQueue", "messages");
    assert_eq!(code(&setup.send(Method::GET, &queue, &[], "").await), mismatch, "to add is not to read");
    setup.clock.advance(Duration::from_secs(24 * 3_600));
    assert_eq!(code(&setup.put(&address, BLOB, "two").await), (403, "AuthenticationFailed"));
    assert_eq!(setup.storage.open_blob(&address).err(), Some(Unreadable::Forbidden));
}

#[tokio::test]
async fn a_closed_queue_takes_nothing_and_the_others_do() {
    let setup = setup().await;
    setup.storage.close_queues(3);
    let body = "<QueueMessage><MessageText>eA==</MessageText></QueueMessage>";
    let mut taken = Vec::new();
    for (_, root) in setup.storage.resources().iter().filter(|(kind, _)| *kind == "SecuredReadyForAggregationQueue") {
        let answer = setup.send(Method::POST, &root.replacen('?', "/messages?", 1), &[], body).await;
        taken.push((answer.status().as_u16(), code(&answer).1.to_owned()));
    }
    let closed = || (403, "AuthorizationPermissionMismatch".to_owned());
    assert_eq!(taken, [closed(), closed(), closed(), (201, String::new())]);
    assert_eq!(setup.storage.posted(), 1);
}
