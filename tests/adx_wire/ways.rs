//! The ways into a table: which one a cluster's offer leads to, and what is sent on each.

use crate::fake::{Fake, FixedIds, Reply, Seen, Tokens, body, soon, status, v1};
use crate::golden::{Golden, at, name};
use adxingestor::adx::ingestion::{
    BlobName, Choice, ChunkIdMode, Ingestor, MAX_INLINE_BYTES, PostKey, Posted, Shelf, Status, StoredBlob, Submission,
};
use adxingestor::adx::{Client, Endpoints, Error, Options, Pace};
use adxingestor::outbound::{Exchange, Outbound, TrustedHosts, Unanswered, http_client};
use adxingestor::remedy::Application;
use adxingestor::timestamp::{SystemClock, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use uuid::Uuid;

const OPERATION: &str = "0c6a1f6e;1d8e;2b";
pub const REQUESTS: &str = "/v1/rest/ingestion";

/// What a cluster has for ingestion.
#[derive(Clone, Copy)]
pub struct Offer {
    /// `preferredIngestionMethod`, if it has a configuration.
    rest: Option<&'static str>,
    containers: bool,
    lake: bool,
    queues: bool,
}

pub const CLASSIC: Offer = Offer { rest: None, containers: true, lake: false, queues: true };
const BOTH: Offer = Offer { rest: Some("Legacy"), ..CLASSIC };
pub const PREFERRED: Offer = Offer { rest: Some("Rest"), ..CLASSIC };
pub const FABRIC: Offer = Offer { rest: Some("V1"), queues: false, ..CLASSIC };
const LAKE: Offer = Offer { rest: Some("REST"), containers: false, lake: true, queues: false };
const LAKE_AND_QUEUES: Offer = Offer { queues: true, ..LAKE };
pub const EMULATOR: Offer = Offer { rest: None, containers: false, lake: false, queues: false };

impl Offer {
    fn configuration(self, base: &str) -> Reply {
        let Some(method) = self.rest else { return status(404) };
        let containers =
            if self.containers { json!([{"path": format!("{base}acct/box?sig=S%2BS")}]) } else { json!(null) };
        let folders = if self.lake { json!([{"path": "https://onelake.example/w/i"}]) } else { json!([]) };
        body(&json!({
            "containerSettings": {"containers": containers, "lakeFolders": folders, "refreshInterval": "00:30:00"},
            "ingestionSettings": {"maxBlobsPerBatch": 20, "preferredIngestionMethod": method},
        }))
    }

    fn resources(self, base: &str) -> Reply {
        if !self.queues {
            return unknown_command();
        }
        let lent = json!([
            ["TempStorage", format!("{base}acct/box?sig=S%2BS")],
            ["SecuredReadyForAggregationQueue", format!("{base}acct/line?sig=Q")],
        ]);
        v1("ResourceTypeName:string,StorageRoot:string", &lent)
    }
}

/// What an engine says to a command of an ingestion endpoint.
pub fn unknown_command() -> Reply {
    status(400).saying(&json!({"error": {"code": "BadRequest_SyntaxError", "@permanent": true,
        "@message": "Syntax error: SYN0002: A recognition error occurred."}}))
}

fn loaded(has_errors: bool) -> Reply {
    let row = json!([
        "7b6c5bf4-6b61-4d3f-9d53-2a5a0b1c4f4e",
        "b",
        "00:00:01",
        has_errors,
        "7b6c5bf4-6b61-4d3f-9d53-2a5a0b1c4f4e"
    ]);
    v1("ExtentId:guid,ItemLoaded:string,Duration:timespan,HasErrors:bool,OperationId:guid", &json!([row]))
}

/// A store in memory.
#[derive(Default)]
pub struct Held(Mutex<BTreeMap<String, Bytes>>);

impl Held {
    /// The blob that is there alone.
    pub fn only(&self) -> (String, Bytes) {
        let held = self.0.lock().unwrap();
        assert_eq!(held.len(), 1);
        held.iter().next().map(|(name, content)| (name.clone(), content.clone())).unwrap()
    }

    pub fn set(&self, name: &str, content: Bytes) {
        self.0.lock().unwrap().insert(name.to_owned(), content);
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

#[async_trait]
impl Shelf for Held {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), String> {
        self.0.lock().unwrap().insert(name.to_owned(), content);
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, String> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
}

pub struct Service {
    pub fake: Fake,
    pub held: Arc<Held>,
}

/// A cluster with this offer, which may change; `answer` is asked first.
pub async fn offering(
    offer: impl Fn() -> Offer + Send + Sync + 'static,
    answer: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
) -> Service {
    let base: Arc<OnceLock<String>> = Arc::default();
    let known = Arc::clone(&base);
    let fake = Fake::start(move |seen| {
        let base = known.get().unwrap();
        if let Some(reply) = answer(seen) {
            return reply;
        }
        match seen.csl().as_str() {
            ".get ingestion resources" => offer().resources(base),
            ".get kusto identity token" => v1("AuthorizationContext:string", &json!([["identity"]])),
            csl if csl.starts_with(".ingest") => loaded(false),
            _ if seen.path == format!("{REQUESTS}/configuration") => offer().configuration(base),
            _ if seen.path.starts_with(REQUESTS) && seen.method == "POST" => {
                body(&json!({"ingestionOperationId": OPERATION}))
            }
            _ if seen.path.starts_with(REQUESTS) => {
                body(&json!({"details": [{"status": "Failed", "errorCode": "BadRequest_InvalidBlob", "failureStatus": "Permanent", "details": "no"}]}))
            }
            _ if seen.method == "HEAD" => status(403),
            _ => status(201),
        }
    })
    .await;
    base.set(fake.url.to_string()).unwrap();
    Service { fake, held: Arc::default() }
}

impl Service {
    pub fn ingestor(&self, choice: Choice) -> Ingestor {
        Ingestor::new(self.fake.client(), choice).keeping(Arc::clone(&self.held) as _)
    }

    pub fn seen(&self, part: &str) -> Vec<Seen> {
        self.fake.seen().into_iter().filter(|seen| seen.path.contains(part) || seen.csl().starts_with(part)).collect()
    }

    /// How the last post went.
    pub fn taken(&self) -> &'static str {
        let seen = self.fake.seen();
        match seen.last() {
            Some(seen) if seen.path.ends_with("/messages") => "queued",
            Some(seen) if seen.path.starts_with("/v1/rest/ingestion/queued") => "rest",
            Some(seen) if seen.csl().starts_with(".ingest into") => "direct",
            Some(seen) if seen.csl().starts_with(".ingest inline") => "inline",
            _ => "none",
        }
    }
}

async fn nothing_else(offer: Offer) -> Service {
    offering(move || offer, |_| None).await
}

fn packed(text: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap().into()
}

pub const ROWS: &str = "{\"Timestamp\":\"2026-04-13T23:00:00Z\",\"a\":\"it's 'x' <| | {{table}}\"}\n{\"b\":2}\n";

pub async fn stored(ingestor: &Ingestor, rows: &str) -> Result<StoredBlob, Error> {
    let name = BlobName::new("Hunting", "Device Events", "0f2a", Uuid::from_u128(7));
    let mut upload = ingestor.begin(name, soon()).await?;
    upload.write(packed(rows)).await?;
    upload.commit().await
}

pub async fn posted(ingestor: &Ingestor, blob: &StoredBlob, created: Option<Timestamp>) -> Result<Posted, Error> {
    let (table, watermark) = (name("Device Events"), name("Timestamp"));
    let submission = Submission {
        table: &table,
        window_id: "0f2a",
        number: 1,
        blob,
        raw_bytes: 123_456,
        watermark_column: &watermark,
        stamp: None,
        chunk_id: ChunkIdMode::Constant,
        created,
    };
    ingestor.post(&submission, soon()).await
}

pub async fn ingested(ingestor: &Ingestor) -> Result<Posted, Error> {
    let blob = stored(ingestor, ROWS).await?;
    posted(ingestor, &blob, None).await
}

#[tokio::test]
async fn each_offer_leads_to_its_way() {
    for (offer, choice, way) in [
        (CLASSIC, Choice::Auto, "queued"),
        (BOTH, Choice::Auto, "queued"),
        (PREFERRED, Choice::Auto, "rest"),
        (FABRIC, Choice::Auto, "rest"),
        (LAKE_AND_QUEUES, Choice::Auto, "queued"),
        (EMULATOR, Choice::Auto, "inline"),
        (PREFERRED, Choice::Queued, "queued"),
        (BOTH, Choice::Rest, "rest"),
        (PREFERRED, Choice::Direct, "direct"),
        (EMULATOR, Choice::Direct, "inline"),
    ] {
        let service = nothing_else(offer).await;
        ingested(&service.ingestor(choice)).await.unwrap();
        assert_eq!(service.taken(), way, "{choice:?}");
    }
}

#[tokio::test]
async fn what_no_way_leads_to_is_refused_with_what_to_set() {
    for (offer, choice, parts) in [
        (LAKE, Choice::Auto, ["lake folders only", "ADX_INGESTION=queued"]),
        (LAKE, Choice::Rest, ["lake folders only", "ADX_INGESTION=queued"]),
        (LAKE_AND_QUEUES, Choice::Rest, ["lake folders only", "ADX_INGESTION=queued"]),
        (CLASSIC, Choice::Rest, ["no queued ingestion over REST", "ADX_INGESTION to auto or queued"]),
    ] {
        let service = nothing_else(offer).await;
        let error = ingested(&service.ingestor(choice)).await.unwrap_err();
        assert!(error.is_invalid() && parts.iter().all(|part| error.to_string().contains(part)), "{error}");
        assert!(service.seen("acct").is_empty(), "nothing is uploaded");
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_told_when_the_way_is_looked_for() {
    for denied in [".get ingestion resources", ".get kusto identity token"] {
        let service = offering(|| CLASSIC, move |seen| (seen.csl() == denied).then(|| status(403))).await;
        let error = service.ingestor(Choice::Auto).find_way(soon()).await.unwrap_err().to_string();
        assert!(
            error.contains("the role Database Ingestor: run `.add database Hunting ingestors"),
            "{denied}: {error}"
        );
    }
    let service = nothing_else(LAKE).await;
    assert!(service.ingestor(Choice::Auto).find_way(soon()).await.unwrap_err().is_invalid());
    let nothing = |seen: &Seen| {
        (seen.csl() == ".get ingestion resources").then(|| v1("ResourceTypeName:string,StorageRoot:string", &json!([])))
    };
    let service = offering(|| CLASSIC, nothing).await;
    assert!(service.ingestor(Choice::Auto).find_way(soon()).await.unwrap_err().is_invalid());
    // What may pass is met again by the first blob, if it has not passed then.
    let service = offering(|| CLASSIC, |seen| seen.csl().starts_with(".get").then(|| status(503))).await;
    service.ingestor(Choice::Auto).find_way(soon()).await.unwrap();
}

#[tokio::test]
async fn what_is_lent_and_cannot_be_used_is_left_out() {
    let lent = |base: &str| {
        json!([
            ["TempStorage", "http://10.1.2.3:10000/c?sig=SECRET"],
            ["SecuredReadyForAggregationQueue", ""],
            ["SomethingNew", null],
            ["TempStorage", format!("{base}acct/box?sig=S%2BS")],
            ["SecuredReadyForAggregationQueue", format!("{base}acct/line?sig=Q")],
        ])
    };
    let base: Arc<OnceLock<String>> = Arc::default();
    let known = Arc::clone(&base);
    let service = offering(
        || CLASSIC,
        move |seen| {
            (seen.csl() == ".get ingestion resources")
                .then(|| v1("ResourceTypeName:string,StorageRoot:string", &lent(known.get().unwrap())))
        },
    )
    .await;
    base.set(service.fake.url.to_string()).unwrap();
    ingested(&service.ingestor(Choice::Auto)).await.unwrap();
    assert_eq!(service.taken(), "queued");
    let none = json!([
        ["TempStorage", "http://10.1.2.3/c?sig=SECRET"],
        ["SecuredReadyForAggregationQueue", "https://q.example/l"]
    ]);
    let service = offering(
        || CLASSIC,
        move |seen| {
            (seen.csl() == ".get ingestion resources").then(|| v1("ResourceTypeName:string,StorageRoot:string", &none))
        },
    )
    .await;
    let error = ingested(&service.ingestor(Choice::Auto)).await.unwrap_err().to_string();
    assert!(error.contains("10.1.2.3") && error.contains("not https") && !error.contains("SECRET"), "{error}");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_had_leaves_the_queues() {
    for answer in [503, 403, 401, 400, 405, 501, 200].map(status) {
        let answer = Mutex::new(Some(answer)).into_inner().unwrap().unwrap();
        let (code, text) = (answer.status, answer.body);
        let service = offering(
            || PREFERRED,
            move |seen| seen.path.ends_with("/configuration").then(|| Reply { body: text.clone(), ..status(code) }),
        )
        .await;
        ingested(&service.ingestor(Choice::Auto)).await.unwrap();
        assert_eq!(service.taken(), "queued", "{code}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_only_out_of_order_is_no_emulator() {
    let service = offering(|| EMULATOR, |seen| seen.csl().starts_with(".get").then(|| status(503))).await;
    let error = ingested(&service.ingestor(Choice::Auto)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn the_way_is_looked_for_each_hour_and_not_left_while_a_post_is_under_way() {
    let changed = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&changed);
    let offer = move || if seen.load(Ordering::SeqCst) == 0 { CLASSIC } else { PREFERRED };
    let service = offering(offer, |_| None).await;
    let ingestor = service.ingestor(Choice::Auto);
    ingested(&ingestor).await.unwrap();
    changed.store(1, Ordering::SeqCst);
    for _ in 0..3 {
        service.fake.clock.forward(Duration::from_secs(50 * 60));
        ingested(&ingestor).await.unwrap();
        assert_eq!(service.taken(), "queued");
    }
    service.fake.clock.forward(Duration::from_secs(61 * 60));
    ingested(&ingestor).await.unwrap();
    assert_eq!(service.taken(), "rest");
    // Its configuration is good for half an hour.
    let asked = || service.seen("/configuration").len();
    let before = asked();
    service.fake.clock.forward(Duration::from_secs(29 * 60));
    ingested(&ingestor).await.unwrap();
    assert_eq!(asked(), before);
    service.fake.clock.forward(Duration::from_secs(2 * 60));
    ingested(&ingestor).await.unwrap();
    assert_eq!(asked(), before + 1);
}

#[tokio::test]
async fn what_may_have_been_taken_is_never_sent_again() {
    for choice in [Choice::Rest, Choice::Direct] {
        for code in [408, 500, 503, 504] {
            let is_post = |seen: &Seen| {
                seen.method == "POST" && (seen.path.starts_with(REQUESTS) || seen.csl().starts_with(".ingest"))
            };
            let service = offering(|| PREFERRED, move |seen| is_post(seen).then(|| status(code))).await;
            let error = ingested(&service.ingestor(choice)).await.unwrap_err();
            assert!(matches!(error, Error::OutcomeUnknown { .. }), "{choice:?} {code}: {error}");
            let posts = service.fake.seen().iter().filter(|seen| is_post(seen)).count();
            assert_eq!(posts, 1, "{choice:?} {code}");
        }
    }
}

#[tokio::test]
async fn what_was_not_taken_is_sent_again_and_what_is_refused_is_an_error() {
    for choice in [Choice::Rest, Choice::Direct] {
        let is_post = |seen: &Seen| {
            seen.method == "POST" && (seen.path.starts_with(REQUESTS) || seen.csl().starts_with(".ingest"))
        };
        let count = AtomicUsize::new(0);
        let busy = move |seen: &Seen| (is_post(seen) && count.fetch_add(1, Ordering::SeqCst) < 2).then(|| status(429));
        let service = offering(|| PREFERRED, busy).await;
        ingested(&service.ingestor(choice)).await.unwrap();
        let service = offering(
            || PREFERRED,
            move |seen| is_post(seen).then(|| {
                status(400).saying(&json!({"error": {"code": "BadRequest_MappingReferenceWasNotFound", "@message": "no", "@permanent": true}}))
            }),
        )
        .await;
        let error = ingested(&service.ingestor(choice)).await.unwrap_err();
        assert!(matches!(error, Error::Refused { permanent: true, .. }), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_tells_of_errors_leaves_the_outcome_open() {
    for (offer, choice) in [(PREFERRED, Choice::Direct), (EMULATOR, Choice::Auto)] {
        let service = offering(move || offer, |seen| seen.csl().starts_with(".ingest").then(|| loaded(true))).await;
        let ingestor = service.ingestor(choice);
        let blob = stored(&ingestor, ROWS).await.unwrap();
        let error = posted(&ingestor, &blob, None).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
        if choice == Choice::Auto {
            assert!(ingestor.has(&blob.url, soon()).await.unwrap(), "it may have to be sent again");
        }
    }
}

#[tokio::test]
async fn a_blob_for_a_command_is_kept_until_it_is_taken_and_has_to_fit() {
    let service = nothing_else(EMULATOR).await;
    let ingestor = service.ingestor(Choice::Auto);
    let blob = stored(&ingestor, ROWS).await.unwrap();
    assert!(ingestor.has(&blob.url, soon()).await.unwrap());
    posted(&ingestor, &blob, None).await.unwrap();
    assert!(!ingestor.has(&blob.url, soon()).await.unwrap(), "it is in the table");
    assert!(matches!(posted(&ingestor, &blob, None).await, Err(Error::NotFound { .. })));

    let row = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1023 - 8));
    let fitting = row.repeat(usize::try_from(MAX_INLINE_BYTES).unwrap() / 1024);
    assert_eq!(fitting.len() as u64, MAX_INLINE_BYTES);
    stored(&ingestor, &fitting).await.unwrap();
    let error = stored(&ingestor, &format!("{fitting}{{}}\n")).await.unwrap_err();
    assert!(matches!(&error, Error::TooLarge { message } if message.contains("set CHUNK_SIZE lower")), "{error}");
    assert_eq!((ingestor.most_bytes(), service.ingestor(Choice::Auto).most_bytes()), (Some(MAX_INLINE_BYTES), None));
    for empty in ["", "\n \n"] {
        let error = stored(&ingestor, empty).await.unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("holds no row"), "{error}");
    }
}

#[tokio::test]
async fn an_emulator_that_wants_no_token_gets_none() {
    let service = nothing_else(EMULATOR).await;
    let fake = service.fake.authenticating(|| body(&json!({"AzureAD": null})));
    let ingestor = Ingestor::new(fake.client(), Choice::Auto).keeping(Arc::clone(&service.held) as _);
    ingested(&ingestor).await.unwrap();
    assert!(fake.all_seen().iter().all(|seen| seen.header("authorization").is_empty()));
    assert!(fake.tokens.scopes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_status_of_a_request_is_asked_by_the_name_that_it_got() {
    let service = nothing_else(PREFERRED).await;
    let ingestor = service.ingestor(Choice::Auto);
    let table = name("Device Events");
    let key = |operation| PostKey { table: &table, window_id: "0f2a", number: 1, operation };
    assert_eq!(ingestor.status(&key(None), soon()).await.unwrap(), Status::Unknown);
    assert_eq!(ingested(&ingestor).await.unwrap().operation.as_deref(), Some(OPERATION));
    let failed = Status::Failed { code: "BadRequest_InvalidBlob".into(), permanent: true, details: "no".into() };
    // Another process asks by what was written down.
    let other = service.ingestor(Choice::Auto);
    assert_eq!(other.status(&key(Some(OPERATION)), soon()).await.unwrap(), failed);
    let told = other.failure(&key(Some(OPERATION)), soon()).await.unwrap().unwrap();
    assert!(told.permanent && told.words.starts_with("BadRequest_InvalidBlob (Permanent): no; "), "{told:?}");
    let asked = service.seen("/ingestion/queued/").pop().unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str(), asked.query.as_str()),
        ("GET", "/v1/rest/ingestion/queued/Hunting/Device%20Events/0c6a1f6e%3B1d8e%3B2b", "details=true")
    );
    let lost =
        offering(|| PREFERRED, |seen| (seen.method == "GET" && seen.path.contains("queued")).then(|| status(404)))
            .await;
    let lost = lost.ingestor(Choice::Auto);
    assert_eq!(lost.status(&key(Some(OPERATION)), soon()).await.unwrap(), Status::Unknown);
    assert_eq!(lost.failure(&key(Some(OPERATION)), soon()).await.unwrap(), None);
}

/// A service somewhere else, which knows queries and nothing of ingestion; notes what it is asked.
#[derive(Default)]
struct Elsewhere(Mutex<Vec<(String, String)>>);

#[async_trait]
impl Exchange for Elsewhere {
    async fn exchange(&self, request: reqwest::Request) -> Result<reqwest::Response, Unanswered> {
        let body =
            String::from_utf8_lossy(request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default()).into_owned();
        let reply = match request.url().path() {
            "/v2/rest/query" => crate::fake::v2("N:long", &json!([[1]])),
            "/v1/rest/mgmt" => unknown_command(),
            _ => status(404),
        };
        self.0.lock().unwrap().push((request.url().to_string(), body));
        Ok(axum::http::Response::builder().status(reply.status).body(reply.body).unwrap().into())
    }
}

impl Elsewhere {
    fn client(self: &Arc<Self>, host: &str) -> Client {
        let tokens: Arc<Tokens> = Arc::default();
        let outbound = Outbound::new(http_client().unwrap(), tokens, TrustedHosts::default());
        let endpoints = Endpoints {
            cluster: format!("https://{host}").parse().unwrap(),
            ingest: format!("https://ingest-{host}").parse().unwrap(),
            database: "Hunting".to_owned(),
            app: Application::default(),
        };
        let pace = Pace { first: Duration::from_millis(1), most: Duration::from_millis(2), times: 1 };
        let exchange: Arc<Self> = Arc::clone(self);
        Client::new(outbound.through(exchange), endpoints, Arc::new(SystemClock), Arc::new(FixedIds), pace)
    }
}

#[tokio::test]
async fn an_engine_somewhere_else_is_not_taken_for_an_emulator() {
    let service: Arc<Elsewhere> = Arc::default();
    let ingestor =
        Ingestor::new(service.client("c.r.kusto.windows.net"), Choice::Auto).keeping(Arc::new(Held::default()));
    let error = stored(&ingestor, ROWS).await.unwrap_err();
    assert!(error.is_invalid(), "{error}");
    for part in ["https://ingest-c.r.kusto.windows.net", "ADX_INGEST_URI", "ADX_INGESTION to direct"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn an_eventhouse_is_not_sent_the_option_that_it_does_not_know() {
    let options = Options { strong_consistency: true, read_only: true };
    for (host, sent) in [("trd-1.z2.kusto.fabric.microsoft.com", false), ("c.r.kusto.windows.net", true)] {
        let service: Arc<Elsewhere> = Arc::default();
        service.client(host).query("T", options, soon()).await.unwrap();
        let asked = service.0.lock().unwrap();
        let (url, body) = asked.last().unwrap();
        assert_eq!(body.contains("queryconsistency"), sent, "{url} {body}");
        assert!(body.contains("request_readonly"), "{body}");
    }
}

fn without_port(text: &str, service: &Service) -> String {
    text.replace(service.fake.url.as_str(), "https://storage/")
}

#[tokio::test]
async fn requests_and_commands_match_their_golden_files() {
    let mut golden = Golden::of("adx_rest");
    for (file, created) in
        [("submission.json", None), ("submission_backdated.json", Some(at("2026-04-14T07:00:00.1234567Z")))]
    {
        let service = nothing_else(PREFERRED).await;
        let ingestor = service.ingestor(Choice::Auto);
        let blob = stored(&ingestor, ROWS).await.unwrap();
        posted(&ingestor, &blob, created).await.unwrap();
        let seen = service.fake.seen().pop().unwrap();
        assert_eq!(
            (seen.method.as_str(), seen.path.as_str(), seen.header("authorization"), seen.header("content-type")),
            (
                "POST",
                "/v1/rest/ingestion/queued/Hunting/Device%20Events",
                "Bearer token-1",
                "application/json; charset=utf-8"
            )
        );
        let sent: Value = serde_json::from_slice(&seen.body).unwrap();
        golden.check(file, &without_port(&(serde_json::to_string_pretty(&sent).unwrap() + "\n"), &service));
    }
    golden.finish();
    let mut golden = Golden::of("adx_direct");
    for (file, offer, created) in [
        ("into.txt", PREFERRED, None),
        ("into_backdated.txt", PREFERRED, Some(at("2026-04-14T07:00:00.1234567Z"))),
        ("inline.txt", EMULATOR, None),
    ] {
        let service = nothing_else(offer).await;
        let ingestor = service.ingestor(Choice::Direct);
        let blob = stored(&ingestor, ROWS).await.unwrap();
        posted(&ingestor, &blob, created).await.unwrap();
        let seen = service.fake.seen().pop().unwrap();
        assert_eq!(seen.path, "/v1/rest/mgmt");
        golden.check(file, &(without_port(&seen.csl(), &service) + "\n"));
    }
    golden.finish();
}
