//! The endpoints through their own door, over loopback.

mod queued;
mod stale;

use crate::adx::ingestion;
use crate::adx::{Adx, Limits, database::Database, router};
use crate::clock::ManualClock;
use crate::cloud::{self, Cloud};
use crate::entra::{GRAPH, KUSTO, Tokens};
use crate::faults::{Area, Fault, Faults};
use crate::source::ticks;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::StreamExt;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::time::Duration;

const NOW: i64 = ticks::UNIX_EPOCH + 20_500 * ticks::DAY;
const MGMT: &str = "/v1/rest/mgmt";
const V1: &str = "/v1/rest/query";
const V2: &str = "/v2/rest/query";

struct Setup {
    adx: Arc<Adx>,
    clock: Arc<ManualClock>,
    tokens: Arc<Tokens>,
    faults: Arc<Faults>,
    url: String,
    http: reqwest::Client,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    fn frames(&self) -> Vec<Json> {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json().as_array().unwrap().clone()
    }

    fn frame(&self, kind: &str) -> Json {
        self.frames().into_iter().find(|frame| frame["FrameType"] == kind || frame["TableKind"] == kind).unwrap()
    }
}

async fn setup() -> Setup {
    let clock = Arc::new(ManualClock::new(NOW));
    let tokens = Arc::new(Tokens::new(1, "tenant", Duration::from_secs(3_600), clock.clone()));
    let faults = Arc::new(Faults::none());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let database = Arc::new(Database::new("Db", clock.clone()));
    let limits = Limits { rows: 1_000, ..Limits::default() };
    let adx = Adx::new(database, tokens.clone(), faults.clone(), vec![url.clone()]).with_limits(limits);
    let adx = Arc::new(adx);
    let serve = axum::serve(listener, router(adx.clone()));
    tokio::spawn(async move { serve.await });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
    Setup { adx, clock, tokens, faults, url, http }
}

impl Setup {
    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut bytes = Vec::new();
        let mut body = response.bytes_stream();
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece.unwrap());
        }
        Answer { status, headers, text: String::from_utf8(bytes).unwrap() }
    }

    fn post(&self, path: &str, body: &Json) -> reqwest::RequestBuilder {
        let token = self.tokens.issue("app", KUSTO, &[]).token;
        self.http.post(format!("{}{path}", self.url)).bearer_auth(token).body(body.to_string())
    }

    async fn ask(&self, path: &str, csl: &str) -> Answer {
        self.send(self.post(path, &json!({ "db": "Db", "csl": csl }))).await
    }

    async fn with_options(&self, path: &str, csl: &str, options: Json) -> Answer {
        let properties = json!({ "Options": options }).to_string();
        self.send(self.post(path, &json!({ "db": "db", "csl": csl, "properties": properties }))).await
    }
}

#[tokio::test]
async fn metadata_is_for_anybody() {
    let setup = setup().await;
    let answer = setup.send(setup.http.get(format!("{}/v1/rest/auth/metadata", setup.url))).await;
    let azure = answer.json()["AzureAD"].clone();
    assert_eq!(azure["KustoServiceResourceId"], "https://kusto.kusto.windows.net");
    assert_eq!(azure["LoginMfaRequired"], false);
}

#[tokio::test]
async fn a_token_for_kusto_or_for_the_cluster_is_needed() {
    let setup = setup().await;
    let body = json!({ "db": "Db", "csl": "print 1" }).to_string();
    let post = |audience: &str| {
        let token = setup.tokens.issue("app", audience, &[]).token;
        setup.send(setup.http.post(format!("{}{V2}", setup.url)).bearer_auth(token).body(body.clone()))
    };
    assert_eq!(post(KUSTO).await.status, 200);
    assert_eq!(post(&setup.url).await.status, 200);
    let refused = post(GRAPH).await;
    assert_eq!(refused.status, 401);
    assert!(refused.headers.contains_key("www-authenticate"));
    assert_eq!(setup.send(setup.http.post(format!("{}{MGMT}", setup.url)).body(body.clone())).await.status, 401);
}

#[tokio::test]
async fn a_v2_answer_has_its_frames_in_order() {
    let setup = setup().await;
    let csl = "print b=true, l=9223372036854775807, s='', d=dynamic({\"a\":1}), t=datetime(2026-01-02), n=int(null), m=decimal(1.5)";
    let answer = setup.ask(V2, csl).await;
    let frames = answer.frames();
    let kinds: Vec<_> = frames
        .iter()
        .map(|frame| frame["TableKind"].as_str().unwrap_or(frame["FrameType"].as_str().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        ["DataSetHeader", "QueryProperties", "PrimaryResult", "QueryCompletionInformation", "DataSetCompletion"]
    );
    assert_eq!(frames[0]["Version"], "v2.0");
    assert_eq!(frames[2]["Columns"][1], json!({ "ColumnName": "l", "ColumnType": "long" }));
    assert_eq!(
        frames[2]["Rows"],
        json!([[true, i64::MAX, "", { "a": 1 }, "2026-01-02T00:00:00.0000000Z", null, "1.5"]])
    );
    assert_eq!(frames[4], json!({ "FrameType": "DataSetCompletion", "HasErrors": false, "Cancelled": false }));
}

#[tokio::test]
async fn fragments_come_where_they_are_asked_for() {
    let setup = setup().await;
    let options = json!({ "results_v2_fragment_primary_tables": true, "results_progressive_enabled": true, "results_v2_newlines_between_frames": true });
    let answer = setup.with_options(V2, "range x from 1 to 5 step 1", options).await;
    let kinds: Vec<_> = answer.frames().iter().map(|frame| frame["FrameType"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        kinds,
        [
            "DataSetHeader",
            "DataTable",
            "TableHeader",
            "TableFragment",
            "TableProgress",
            "TableCompletion",
            "DataTable",
            "DataSetCompletion"
        ]
    );
    assert_eq!(answer.frame("TableCompletion")["RowCount"], 5);
    assert_eq!(answer.text.lines().count(), kinds.len());
}

#[tokio::test]
async fn a_v1_query_ends_with_its_contents() {
    let setup = setup().await;
    let answer = setup.ask(V1, "print b=true, n=1").await.json();
    let tables = answer["Tables"].as_array().unwrap();
    assert_eq!(tables.len(), 4);
    assert_eq!(tables[0]["Columns"][0], json!({ "ColumnName": "b", "DataType": "SByte", "ColumnType": "bool" }));
    assert_eq!(tables[0]["Rows"], json!([[1, 1]]));
    assert_eq!(tables[2]["Rows"][0][1], 4);
    assert_eq!(tables[3]["Rows"][0][1], "QueryResult");
    assert_eq!(tables[3]["Rows"].as_array().unwrap().len(), 3);
    assert!(answer.get("Exceptions").is_none());
}

#[tokio::test]
async fn a_query_may_come_by_get_and_with_parameters() {
    let setup = setup().await;
    let token = setup.tokens.issue("app", KUSTO, &[]).token;
    let get = setup.http.get(format!("{}{V2}?db=Db&csl=print%20x%3D7", setup.url)).bearer_auth(token);
    assert_eq!(setup.send(get).await.frame("PrimaryResult")["Rows"], json!([[7]]));
    let csl = "declare query_parameters(n:long, at:datetime); print n, at";
    let properties = json!({ "Parameters": { "n": 5, "at": "datetime(2026-01-02)" } });
    let answer = setup.send(setup.post(V2, &json!({ "db": "Db", "csl": csl, "properties": properties }))).await;
    assert_eq!(answer.frame("PrimaryResult")["Rows"], json!([[5, "2026-01-02T00:00:00.0000000Z"]]));
}

#[tokio::test]
async fn errors_say_what_is_wrong_and_where() {
    let setup = setup().await;
    for (path, csl, code) in [
        (V2, "print 1\n| where", "SYN0002"),
        (V1, "Nowhere | count", "SEM0100"),
        (MGMT, ".frobnicate", "SYN0002"),
        (MGMT, "print 1", "SYN0002"),
        (V2, ".show tables", "SYN0002"),
    ] {
        let answer = setup.ask(path, csl).await;
        let error = answer.json()["error"].clone();
        assert_eq!(answer.status, 400, "{csl}");
        assert_eq!((&error["code"], &error["@permanent"]), (&json!("General_BadRequest"), &json!(true)));
        assert_eq!(error["innererror"]["code"], code, "{csl}");
        assert!(error["innererror"]["@line"].as_u64().unwrap() >= 1);
    }
    let answer = setup.send(setup.post(V2, &json!({ "db": "Other", "csl": "print 1" }))).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("BadRequest_EntityNotFound")));
    assert!(answer.text.contains("of kind 'Database'"));
    let answer = setup.send(setup.post(MGMT, &json!({ "db": "NetDefaultDB", "csl": ".show tables" }))).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn ids_come_back() {
    let setup = setup().await;
    let request =
        setup.post(MGMT, &json!({ "db": "Db", "csl": ".show tables" })).header("x-ms-client-request-id", "App.op;1");
    let answer = setup.send(request).await;
    assert_eq!(answer.headers["x-ms-client-request-id"], "App.op;1");
    let other = setup.ask(MGMT, ".show tables").await;
    assert_ne!(answer.headers["x-ms-activity-id"], other.headers["x-ms-activity-id"]);
    let properties = json!({ "ClientRequestId": "App.op;2" });
    let answer = setup.send(setup.post(V2, &json!({ "db": "Db", "csl": "print 1", "properties": properties }))).await;
    assert_eq!(answer.headers["x-ms-client-request-id"], "App.op;2");
}

#[tokio::test]
async fn a_read_only_request_writes_nothing() {
    let setup = setup().await;
    let body = |csl: &str| json!({ "db": "Db", "csl": csl });
    let create = setup.post(MGMT, &body(".create table T (A:string)")).header("x-ms-readonly", "");
    assert_eq!(setup.send(create).await.status, 403);
    let show = setup.post(MGMT, &body(".show tables")).header("x-ms-readonly", "");
    assert_eq!(setup.send(show).await.json()["Tables"][0]["Rows"], json!([]));
}

#[tokio::test]
async fn too_many_rows_are_told_inside_a_200() {
    let setup = setup().await;
    let csl = "range x from 1 to 1001 step 1";
    let answer = setup.ask(V2, csl).await;
    let rows = answer.frame("PrimaryResult")["Rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 1_001);
    assert_eq!(rows[1_000]["OneApiErrors"][0]["error"]["code"], "LimitsExceeded");
    assert!(rows[1_000].to_string().contains("E_QUERY_RESULT_SET_TOO_LARGE"));
    assert_eq!(answer.frame("DataSetCompletion")["HasErrors"], true);
    assert_eq!(answer.frame("QueryCompletionInformation")["Rows"][0][5], 2);
    let v1 = setup.ask(V1, csl).await.json();
    assert!(v1["Tables"][0]["Rows"][1_000]["Exceptions"][0].as_str().unwrap().contains("80DA0003"));
    assert!(v1["Exceptions"][0].is_string());
    for (csl, options) in [(csl, json!({ "notruncation": true })), (&*format!("set notruncation; {csl}"), json!({}))] {
        let answer = setup.with_options(V2, csl, options).await;
        assert_eq!(answer.frame("DataSetCompletion")["HasErrors"], false, "{csl}");
    }
    let few = setup.with_options(V2, "range x from 1 to 3 step 1", json!({ "truncationmaxrecords": 2 })).await;
    assert_eq!(few.frame("DataSetCompletion")["HasErrors"], true);
}

#[tokio::test]
async fn an_error_hides_in_each_of_four_places() {
    let setup = setup().await;
    let shows = |answer: &Answer| {
        let frames = answer.frames();
        let find = |kind: &str| frames.iter().find(|frame| frame["FrameType"] == kind || frame["TableKind"] == kind);
        let rows =
            frames.iter().any(|frame| frame["Rows"].as_array().is_some_and(|rows| rows.iter().any(Json::is_object)));
        let table = find("TableCompletion").is_some_and(|frame| frame.get("OneApiErrors").is_some());
        let end = find("DataSetCompletion").unwrap()["HasErrors"] == true;
        let status = find("QueryCompletionInformation").unwrap()["Rows"][0][5].as_i64().unwrap() < 4;
        [rows, table, end, status]
    };
    let all = [Fault::ErrorAmongRows, Fault::ErrorAtTableEnd, Fault::ErrorAtEnd, Fault::ErrorInStatus];
    for (place, fault) in all.into_iter().enumerate() {
        setup.faults.script(Area::Queries, [Some(fault), Some(fault)]);
        let told = shows(&setup.ask(V2, "print 1").await);
        assert_eq!(told, std::array::from_fn(|index| index == place), "{fault:?}");
        assert!(setup.ask(V1, "print 1").await.text.contains("80DA0007"), "{fault:?}");
        setup.faults.script(Area::Commands, [Some(fault)]);
        assert!(setup.ask(MGMT, ".show tables").await.text.contains("80DA0007"), "{fault:?}");
    }
    assert_eq!(shows(&setup.ask(V2, "print 1").await), [false; 4]);
}

#[tokio::test]
async fn operations_name_who_asked() {
    let setup = setup().await;
    setup.ask(MGMT, ".create table T (A:string)").await;
    let shown = setup.ask(MGMT, ".show operations | project Principal").await.json();
    assert_eq!(shown["Tables"][0]["Rows"], json!([["aadapp=app;tenant"]]));
}

#[tokio::test]
async fn a_clouds_database_survives_its_restart_and_answers_at_its_address() {
    let directory = tempfile::tempdir().unwrap();
    let start = || {
        let state_directory = Some(directory.path().to_owned());
        Cloud::start(cloud::Settings { state_directory, ..cloud::Settings::default() }).unwrap()
    };
    let first = start();
    first.adx().run(".set T <| print A='kept'").unwrap();
    drop(first);
    let second = start();
    let token = second.tokens().issue("app", KUSTO, &[]).token;
    let body = json!({ "db": "Defender", "csl": "T" }).to_string();
    let setup = setup().await;
    let request = setup.http.post(format!("{}{V2}", second.url())).bearer_auth(token).body(body);
    assert_eq!(setup.send(request).await.frame("PrimaryResult")["Rows"], json!([["kept"]]));
}

#[tokio::test]
async fn a_blob_lands_through_the_resources_that_are_lent_and_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let start = || {
        let ingestion = ingestion::Settings { delay: Duration::ZERO, ..ingestion::Settings::default() };
        let state_directory = Some(directory.path().to_owned());
        Cloud::start(cloud::Settings { ingestion, state_directory, ..cloud::Settings::default() }).unwrap()
    };
    let cloud = start();
    cloud.adx().run(".create table T (A:long, Id:string)").unwrap();
    let lent = cloud.adx().run(".get ingestion resources").unwrap();
    let (kinds, roots) = (lent.texts("ResourceTypeName"), lent.texts("StorageRoot"));
    let root = |wanted: &str| roots[kinds.iter().position(|kind| kind == wanted).unwrap()].clone();
    let (container, queue) = (root("TempStorage"), root("SecuredReadyForAggregationQueue"));
    let token = cloud.adx().run(".get kusto identity token").unwrap().texts("AuthorizationContext").remove(0);
    let setup = setup().await;
    let blob = container.replacen('?', "/b.multijson?", 1);
    let put = setup.http.put(&blob).header("x-ms-blob-type", "BlockBlob").header("x-ms-version", "2021-12-02");
    assert_eq!(setup.send(put.body("{\"A\":7,\"Id\":\"x\"}")).await.status, 201);
    let message = json!({
        "Id": "7b6c5bf4-6b61-4d3f-9d53-2a5a0b1c4f4e", "BlobPath": blob, "DatabaseName": "Defender", "TableName": "T",
        "AdditionalProperties": { "authorizationContext": token, "format": "multijson" },
    });
    let text = BASE64.encode(message.to_string());
    let post = setup.http.post(queue.replacen('?', "/messages?", 1)).header("x-ms-version", "2021-12-02");
    let sent = setup.send(post.body(format!("<QueueMessage><MessageText>{text}</MessageText></QueueMessage>"))).await;
    assert_eq!(sent.status, 201, "{}", sent.text);
    let landed = async {
        while cloud.ingestion().statistics().finished == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), landed).await.unwrap();
    assert_eq!(cloud.adx().run("T").unwrap().texts("A"), ["7"], "{:?}", cloud.adx().run(".show ingestion failures"));
    drop(cloud);
    let again = start();
    assert_eq!(again.adx().run("T").unwrap().texts("Id"), ["x"]);
    again.adx().run(".drop table T").unwrap();
    again.adx().run(".create table T (Other:string)").unwrap();
    assert!(again.adx().run("T").unwrap().rows.is_empty());
}

#[tokio::test]
async fn planned_failures_have_the_services_bodies() {
    let setup = setup().await;
    let create = ".create table T (A:string)";
    setup.faults.script(Area::Commands, [Some(Fault::Throttled)]);
    let answer = setup.ask(MGMT, create).await;
    assert_eq!((answer.status, &answer.json()["error"]["@permanent"]), (429, &json!(false)));
    assert!(answer.headers.contains_key("retry-after"));
    assert!(answer.text.contains("ControlCommandThrottledException"));
    assert_eq!(setup.ask(V2, "T").await.status, 400);
    setup.faults.script(Area::Commands, [Some(Fault::GatewayTimeout)]);
    assert_eq!(setup.ask(MGMT, create).await.status, 504);
    assert_eq!(setup.ask(V2, "T").await.status, 200);
    setup.faults.script(Area::Queries, [Some(Fault::Internal)]);
    assert_eq!(setup.ask(V2, "T").await.status, 500);
    setup.faults.script(Area::Queries, [Some(Fault::TruncatedBody)]);
    assert!(serde_json::from_str::<Json>(&setup.ask(V2, "T").await.text).is_err());
}

#[tokio::test]
async fn members_of_frames_come_in_the_order_that_readers_rely_on() {
    let setup = setup().await;
    for options in [json!({}), json!({ "results_v2_fragment_primary_tables": true })] {
        let text = setup.with_options(V2, "print A='x'", options).await.text;
        for frame in text.split("{\"FrameType\":").skip(1) {
            let at = |name: &str| frame.find(&format!("\"{name}\":"));
            assert!(at("Columns").zip(at("Rows")).is_none_or(|(columns, rows)| columns < rows), "{frame}");
        }
        assert_eq!(text.matches("\"FrameType\":").count(), text.matches("{\"FrameType\":").count(), "{text}");
    }
}

#[tokio::test]
async fn a_stream_needs_a_policy_a_token_and_a_known_table() {
    let setup = setup().await;
    let path = "/v1/rest/ingest/db/T%20a?streamFormat=csv";
    let post = |body: &'static str| setup.send(setup.post(path, &Json::Null).body(body));
    let code = |answer: &Answer| answer.json()["error"]["code"].as_str().unwrap().to_owned();
    assert_eq!(code(&post("x,1").await), "BadRequest_EntityNotFound");
    setup.ask(MGMT, ".create table ['T a'] (A:string, N:long)").await;
    assert_eq!(code(&post("x,1").await), "BadRequest_StreamingIngestionPolicyNotEnabled");
    setup.ask(MGMT, ".alter table ['T a'] policy streamingingestion enable").await;
    let landed = post("x,1\ny,2").await;
    assert_eq!(landed.json()["Tables"][0]["Rows"], json!([[2, "Inactive", "Unknown", ""]]), "{}", landed.text);
    assert_eq!(setup.send(setup.http.post(format!("{}{path}", setup.url)).body("z,3")).await.status, 401);
    assert_eq!(setup.ask(V2, "['T a'] | count").await.frame("PrimaryResult")["Rows"], json!([[2]]));
    setup.faults.script(Area::Streaming, [Some(Fault::Unavailable), Some(Fault::GatewayTimeout)]);
    assert_eq!((post("z,3").await.status, post("z,3").await.status), (503, 504));
    assert_eq!(setup.ask(V2, "['T a'] | count").await.frame("PrimaryResult")["Rows"], json!([[3]]));
}
