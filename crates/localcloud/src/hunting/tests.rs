//! The API through its own door, over loopback.

use super::{CallLimit, Limits, ProcessingLimit, Settings};
use crate::clock::ManualClock;
use crate::cloud::{self, Cloud};
use crate::entra::{App, GRAPH, KUSTO, MDE, THREAT_HUNTING_READ_ALL, XDR};
use crate::faults::{Area, Fault};
use crate::source::{self, TableOptions, TableSettings, row_identity, ticks};
use futures_util::StreamExt;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::time::Duration;

const NOW: i64 = ticks::UNIX_EPOCH + 20_500 * ticks::DAY;

struct Setup {
    clock: Arc<ManualClock>,
    cloud: Cloud,
    http: reqwest::Client,
}

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    fn rows(&self) -> Vec<Json> {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()["results"].as_array().unwrap().clone()
    }

    fn error(&self) -> (u16, String, String) {
        let error = self.json()["error"].clone();
        (self.status, error["code"].as_str().unwrap().into(), error["message"].as_str().unwrap().into())
    }
}

fn setup(tables: Vec<TableSettings>, hunting: Settings) -> Setup {
    let clock = Arc::new(ManualClock::new(NOW));
    let app = |id: &str, roles: &[&str]| App {
        client_id: id.into(),
        secret: "s3cret/+&=".into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    };
    let cloud = Cloud::start(cloud::Settings {
        source: source::Settings { seed: 11, tables, ..source::Settings::default() },
        hunting,
        apps: vec![app("hunter", &[THREAT_HUNTING_READ_ALL]), app("nobody", &[])],
        clock: clock.clone(),
        ..cloud::Settings::default()
    })
    .unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().no_gzip().timeout(Duration::from_secs(60)).build().unwrap();
    Setup { clock, cloud, http }
}

fn table(name: &str, rows: u64) -> TableSettings {
    TableSettings::new(name, rows, NOW - 10 * ticks::DAY, NOW - ticks::HOUR)
}

fn limited(limits: Limits) -> Settings {
    Settings { limits: Limits { calls: Vec::new(), ..limits }, ..Settings::default() }
}

fn unlimited() -> Settings {
    limited(Limits::default())
}

impl Setup {
    fn token(&self, audience: &str) -> String {
        self.cloud.tokens().issue("hunter", audience, &[THREAT_HUNTING_READ_ALL.to_owned()]).token
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(piece) = stream.next().await {
            body.extend_from_slice(&piece?);
            assert!(body.len() < 200_000_000);
        }
        Ok(Answer { status, headers, text: String::from_utf8(body).unwrap() })
    }

    fn post(&self, path: &str, audience: &str, body: &Json) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.cloud.url());
        self.http
            .post(url)
            .bearer_auth(self.token(audience))
            .header("Content-Type", "application/json; charset=utf-8")
            .body(body.to_string())
    }

    fn graph(&self, body: &Json) -> reqwest::RequestBuilder {
        self.post("/v1.0/security/runHuntingQuery", GRAPH, body)
    }

    async fn hunt(&self, query: &str) -> Answer {
        self.send(self.graph(&json!({ "Query": query }))).await.unwrap()
    }
}

#[tokio::test]
async fn each_endpoint_answers_in_its_own_envelope() {
    let setup = setup(vec![table("DeviceEvents", 20)], unlimited());
    let body = json!({ "Query": "DeviceEvents | take 3 | project Timestamp, DeviceName" });
    for path in ["/v1.0/security/runHuntingQuery", "/v1.0/security/microsoft.graph.security.runHuntingQuery"] {
        let answer = setup.send(setup.post(path, GRAPH, &body)).await.unwrap();
        let document = answer.json();
        assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), ["@odata.context", "results", "schema"]);
        assert_eq!(
            document["schema"],
            json!([{"name": "Timestamp", "type": "DateTime"}, {"name": "DeviceName", "type": "String"}])
        );
        assert_eq!(answer.rows().len(), 3);
        assert!(answer.headers.contains_key("request-id"));
    }
    for (path, audience) in [("/api/advancedqueries/run", MDE), ("/api/advancedhunting/run", XDR)] {
        let document = setup.send(setup.post(path, audience, &body)).await.unwrap().json();
        assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), ["Results", "Schema", "Stats"]);
        assert_eq!(document["Schema"][1], json!({"Name": "DeviceName", "Type": "String"}));
    }
}

#[tokio::test]
async fn the_lower_case_key_is_known_to_graph_only() {
    let setup = setup(vec![table("DeviceEvents", 5)], unlimited());
    let body = json!({ "query": "DeviceEvents | count" });
    let answer = setup.send(setup.graph(&body)).await.unwrap();
    assert_eq!(answer.rows()[0]["Count"], 5);
    let legacy = setup.send(setup.post("/api/advancedqueries/run", MDE, &body)).await.unwrap();
    assert_eq!(legacy.error(), (400, "InvalidRequestBody".into(), "Request body is incorrect".into()));
}

#[tokio::test]
async fn tokens_and_roles_are_checked() {
    let setup = setup(vec![table("DeviceEvents", 5)], unlimited());
    let body = json!({ "Query": "DeviceEvents | count" });
    let other = setup.post("/v1.0/security/runHuntingQuery", KUSTO, &body);
    assert_eq!(setup.send(other).await.unwrap().error().1, "InvalidAuthenticationToken");
    let url = format!("{}/v1.0/security/runHuntingQuery", setup.cloud.url());
    let none = setup.send(setup.http.post(&url).body(body.to_string())).await.unwrap();
    assert_eq!(none.error(), (401, "InvalidAuthenticationToken".into(), "Access token is empty.".into()));
    assert!(none.headers.contains_key("www-authenticate"));
    let powerless = setup.cloud.tokens().issue("nobody", GRAPH, &[]).token;
    let answer = setup.send(setup.http.post(&url).bearer_auth(powerless).body(body.to_string())).await.unwrap();
    assert_eq!(answer.status, 403);
    let token = setup.token(GRAPH);
    setup.clock.advance(Duration::from_secs(3_600));
    let late = setup.send(setup.http.post(&url).bearer_auth(token).body(body.to_string())).await.unwrap();
    assert_eq!(late.error().2, "Lifetime validation failed, the token is expired.");
}

#[tokio::test]
async fn what_is_not_a_query_is_a_bad_request() {
    let hidden = TableOptions { hidden: true, ..TableOptions::default() };
    let setup = setup(vec![table("DeviceEvents", 5), table("EmailEvents", 5).with(hidden)], unlimited());
    for query in
        ["Nowhere | take 1", "EmailEvents | take 1", "DeviceEvents | where", "deviceevents | take 1", ".show tables"]
    {
        let (status, code, message) = setup.hunt(query).await.error();
        assert_eq!((status, code.as_str()), (400, "BadRequest"), "{query}: {message}");
        assert!(!message.is_empty());
    }
    let unresolved = setup.hunt("EmailEvents | take 1").await.error().2;
    assert!(unresolved.contains("Failed to resolve table or column expression named 'EmailEvents'"), "{unresolved}");
    for body in
        ["", "[]", "{", "{}", r#"{"Query":7}"#, r#"{"Query":" "}"#, r#"{"Query":"DeviceEvents","Timespan":"soon"}"#]
    {
        let url = format!("{}/v1.0/security/runHuntingQuery", setup.cloud.url());
        let answer = setup.send(setup.http.post(url).bearer_auth(setup.token(GRAPH)).body(body)).await.unwrap();
        assert_eq!(answer.error().0, 400, "{body}");
    }
}

#[tokio::test]
async fn rows_beyond_the_limit_are_cut_off_silently() {
    let setup = setup(vec![table("DeviceEvents", 100_001)], unlimited());
    let answer = setup.hunt("DeviceEvents | project ReportId").await;
    assert_eq!(answer.rows().len(), 100_000);
    assert_eq!(setup.hunt("DeviceEvents | count").await.rows()[0]["Count"], 100_001);
}

#[tokio::test]
async fn an_answer_above_the_size_limit_is_refused_and_half_of_it_is_not() {
    let setup =
        setup(vec![table("DeviceEvents", 3_000)], limited(Limits { result_bytes: 3_000_000, ..Limits::default() }));
    let (status, code, message) = setup.hunt("DeviceEvents | project Row=tostring(pack_all())").await.error();
    assert_eq!((status, code.as_str()), (400, "BadRequest"));
    assert_eq!(
        message,
        "Query execution has exceeded the allowed result size. Optimize your query by limiting the number of results and try again"
    );
    assert_eq!(setup.hunt("DeviceEvents | take 800 | project Row=tostring(pack_all())").await.rows().len(), 800);
    let statistics = setup.cloud.hunting_statistics();
    assert_eq!((statistics.calls_by_status[&400], statistics.rows), (1, 800));
    let results = setup.cloud.hunting_statistics().log[1].result_bytes;
    assert!((800_000..3_000_000).contains(&results), "{results}");
}

#[tokio::test]
async fn the_call_after_the_quota_is_throttled_until_the_window_has_slid() {
    let calls = vec![CallLimit { calls: 3, period: Duration::from_secs(60) }];
    let hunting = Settings { limits: Limits { calls, ..Limits::default() }, ..Settings::default() };
    let setup = setup(vec![table("DeviceEvents", 5)], hunting);
    for _ in 0..3 {
        assert_eq!(setup.hunt("DeviceEvents | count").await.status, 200);
        setup.clock.advance(Duration::from_secs(5));
    }
    let refused = setup.hunt("DeviceEvents | count").await;
    assert_eq!(refused.error(), (429, "TooManyRequests".into(), "Please retry again later.".into()));
    assert_eq!(refused.json()["error"]["innerError"]["status"], "429");
    assert_eq!(refused.headers["retry-after"], "45");
    setup.clock.advance(Duration::from_secs(45));
    assert_eq!(setup.hunt("DeviceEvents | count").await.status, 200);
}

#[tokio::test]
async fn a_throttled_answer_may_keep_silent_about_when_to_return() {
    let calls = vec![CallLimit { calls: 1, period: Duration::from_secs(60) }];
    let hunting = Settings { limits: Limits { calls, ..Limits::default() }, retry_after: false, ..Settings::default() };
    let setup = setup(vec![table("DeviceEvents", 5)], hunting);
    setup.hunt("DeviceEvents | count").await;
    let refused = setup.hunt("DeviceEvents | count").await;
    assert_eq!((refused.status, refused.headers.get("retry-after")), (429, None));
}

#[tokio::test]
async fn used_up_processing_time_blocks_until_the_next_quarter_hour() {
    let processing = Some(ProcessingLimit { budget: Duration::from_nanos(1), cycle: Duration::from_secs(900) });
    let setup = setup(vec![table("DeviceEvents", 5)], limited(Limits { processing, ..Limits::default() }));
    assert_eq!(setup.hunt("DeviceEvents | count").await.status, 200);
    let (status, _, message) = setup.hunt("DeviceEvents | count").await.error();
    assert_eq!(status, 429);
    assert_eq!(
        message,
        "You have exceeded processing resources allocated to this tenant. You can run queries again in 00:15:00."
    );
    setup.clock.advance(Duration::from_secs(900));
    assert_eq!(setup.hunt("DeviceEvents | count").await.status, 200);
}

#[tokio::test]
async fn plain_rows_come_in_graphs_encoding() {
    let options = TableOptions { null_timestamps_per_mille: 500, ..TableOptions::default() };
    let setup = setup(vec![table("DeviceProcessEvents", 40).with(options), table("CloudAppEvents", 200)], unlimited());
    let rows = setup.hunt("DeviceProcessEvents").await.rows();
    assert_eq!(rows.len(), 40);
    assert!(
        rows.iter().any(|row| row["Timestamp"] == json!({})) && rows.iter().any(|row| row["Timestamp"].is_string())
    );
    assert!(rows.iter().all(|row| row["LogonId"] != row["LogonID"] || row["LogonID"] == json!({})));
    assert!(
        rows.iter().any(
            |row| row["ReportId"].as_i64().is_some_and(|id| id > 1 << 53) && row["ReportId@odata.type"] == "#Int64"
        )
    );
    assert!(rows.iter().any(|row| row["AccountUpn"] == ""));
    let bools: Vec<&Json> = rows.iter().map(|row| &row["IsProcessRemoteSession"]).collect();
    assert!(bools.iter().all(|value| [json!(0), json!(1), json!({})].contains(value)));
    let clouds = setup.hunt("CloudAppEvents | project AdditionalFields, RawEventData").await;
    let text = &clouds.text;
    assert!(
        text.contains(r##""RawEventData@odata.type":"#Collection(String)","RawEventData":["{\""##),
        "arrays of objects are text"
    );
    assert!(text.contains(r##"{"@odata.type":"#microsoft.graph.security.dynamicColumnValue""##));
}

#[tokio::test]
async fn packed_rows_are_faithful_in_both_forms() {
    let tables: Vec<String> = source::documented().unwrap().into_keys().collect();
    let setup = setup(tables.iter().map(|name| table(name, 40)).collect(), unlimited());
    for name in &tables {
        let mut wanted: Vec<u64> =
            setup.cloud.source().identities(name).unwrap().map(|(_, identity)| identity).collect();
        wanted.sort_unstable();
        for pack in ["pack_all()", "pack_all(true)"] {
            let rows = setup.hunt(&format!("{name} | project Row = tostring({pack})")).await.rows();
            let identity = |row: &Json| row_identity(&serde_json::from_str(row["Row"].as_str().unwrap()).unwrap());
            let mut found: Vec<u64> = rows.iter().map(identity).collect();
            found.sort_unstable();
            assert_eq!(found, wanted, "{name} {pack}");
        }
    }
}

#[tokio::test]
async fn rows_that_arrived_late_are_found_by_arrival_and_not_by_event_time() {
    let setup = setup(vec![table("DeviceEvents", 5_000)], unlimited());
    let from = ticks::format(NOW - 2 * ticks::DAY);
    let late = setup
        .hunt(&format!(
            "DeviceEvents | where ingestion_time() > datetime({from}) and Timestamp < datetime({from}) - 1d | count"
        ))
        .await;
    assert!(late.rows()[0]["Count"].as_i64().unwrap() > 0);
    let split = ticks::format(NOW - 3 * ticks::DAY);
    let count = async |condition: &str| {
        setup.hunt(&format!("DeviceEvents | where {condition} | count")).await.rows()[0]["Count"].as_i64().unwrap()
    };
    let (first, second) = (
        count(&format!("ingestion_time() <= datetime({split})")).await,
        count(&format!("ingestion_time() > datetime({split})")).await,
    );
    assert_eq!(first + second, 5_000);
}

#[tokio::test]
async fn a_table_without_arrival_times_says_null() {
    let setup = setup(vec![table("DeviceTvmSoftwareVulnerabilities", 20)], unlimited());
    let answer = setup.hunt("DeviceTvmSoftwareVulnerabilities | take 1 | project it=ingestion_time()").await;
    assert_eq!(answer.rows()[0]["it"], json!({}));
}

#[tokio::test]
async fn the_shorter_of_timespan_and_filter_wins() {
    let setup = setup(vec![table("DeviceEvents", 2_000)], unlimited());
    let count = async |query: &str, timespan: &str| {
        let body = json!({ "Query": format!("DeviceEvents {query} | count"), "Timespan": timespan });
        setup.send(setup.graph(&body)).await.unwrap().rows()[0]["Count"].as_i64().unwrap()
    };
    let day = count("", "P1D").await;
    let week = count("", "P7D").await;
    assert!(0 < day && day < week && week < 2_000);
    assert_eq!(count("| where Timestamp > ago(7d)", "P1D").await, day);
    assert_eq!(count("| where Timestamp > ago(7d)", "P30D").await, week);
}

#[tokio::test]
async fn a_body_without_a_charset_is_not_read_as_utf_8() {
    let setup = setup(Vec::new(), unlimited());
    let body = json!({ "Query": "print Length=strlen('é')" });
    let url = format!("{}/v1.0/security/runHuntingQuery", setup.cloud.url());
    let length = async |kind: &str| {
        let request = setup.http.post(&url).bearer_auth(setup.token(GRAPH)).header("Content-Type", kind);
        setup.send(request.body(body.to_string())).await.unwrap().rows()[0]["Length"].clone()
    };
    assert_eq!(length("application/json; charset=utf-8").await, json!(1));
    assert_eq!(length("application/json").await, json!(2));
}

#[tokio::test]
async fn answers_are_compressed_for_clients_that_accept_it() {
    let setup = setup(vec![table("DeviceEvents", 500)], unlimited());
    let query = "DeviceEvents | sort by Timestamp asc, DeviceId asc, ReportId asc, ProcessId asc";
    let plain = setup.hunt(query).await;
    assert!(plain.headers.get("content-encoding").is_none());
    let request = setup.graph(&json!({ "Query": query })).header("Accept-Encoding", "deflate, gzip");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let mut stream = response.bytes_stream();
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    while let Some(piece) = stream.next().await {
        std::io::Write::write_all(&mut decoder, &piece.unwrap()).unwrap();
    }
    assert_eq!(String::from_utf8(decoder.finish().unwrap()).unwrap(), plain.text);
}

#[tokio::test]
async fn planned_faults_look_like_the_service_failing() {
    let setup = setup(vec![table("DeviceEvents", 500)], unlimited());
    let after = async |fault| {
        setup.cloud.faults().script(Area::Hunting, [Some(fault)]);
        setup.send(setup.graph(&json!({ "Query": "DeviceEvents" }))).await
    };
    assert_eq!(after(Fault::GatewayTimeout).await.unwrap().error(), (504, "UnknownError".into(), String::new()));
    assert_eq!(after(Fault::Internal).await.unwrap().status, 500);
    assert!(after(Fault::Preempted).await.unwrap().error().2.contains("The query execution was preempted."));
    let page = after(Fault::BadGateway).await.unwrap();
    assert!(page.status == 502 && page.text.starts_with("<html>"));
    assert_eq!(after(Fault::Throttled).await.unwrap().headers["retry-after"], "1");
    assert!(after(Fault::ThrottledWithoutRetryAfter).await.unwrap().headers.get("retry-after").is_none());
    let short = after(Fault::TruncatedBody).await.unwrap();
    assert!(short.status == 200 && serde_json::from_str::<Json>(&short.text).is_err());
    let empty = after(Fault::EmptyBody).await.unwrap();
    assert_eq!((empty.status, empty.text.as_str()), (200, ""));
    assert!(after(Fault::CutBody).await.is_err());
    assert_eq!(after(Fault::SlowBody).await.unwrap().rows().len(), 500);
}

#[tokio::test]
async fn packing_can_be_a_thing_that_the_service_does_not_know() {
    let setup = setup(vec![table("DeviceEvents", 5)], Settings { refuse_pack: true, ..unlimited() });
    let (status, code, message) = setup.hunt("DeviceEvents | project Row = tostring(pack_all(true))").await.error();
    assert_eq!((status, code.as_str()), (400, "BadRequest"));
    assert!(message.contains("'pack_all'"), "{message}");
    assert_eq!(setup.hunt("DeviceEvents").await.rows().len(), 5);
}

#[tokio::test]
async fn the_named_hash_can_be_a_thing_that_the_service_does_not_know() {
    let setup = setup(vec![table("DeviceEvents", 5)], Settings { refuse_xxhash: true, ..unlimited() });
    let (status, _, message) = setup.hunt("DeviceEvents | where hash_xxhash64(DeviceId, 2) == 0").await.error();
    assert!(status == 400 && message.contains("'hash_xxhash64'"), "{message}");
    let (mut rows, halves) = (0, ["== 0", "== 1"]);
    for half in halves {
        rows += setup.hunt(&format!("DeviceEvents | where hash(DeviceId, 2) {half}")).await.rows().len();
    }
    assert_eq!(rows, 5);
}

#[tokio::test]
async fn a_call_without_a_timespan_is_clipped_only_where_the_service_does_that() {
    let options = TableOptions { null_timestamps_per_mille: 100, ..TableOptions::default() };
    let recent = || TableSettings::new("DeviceEvents", 5_000, NOW - 60 * ticks::SECOND, NOW).with(options.clone());
    let odd = "DeviceEvents | summarize Ahead = countif(Timestamp > now()), Without = countif(isnull(Timestamp))";
    let wide = json!({ "Query": odd, "Timespan": "2000-01-01/2100-01-01" });
    for (default_timespan, ahead, without) in
        [(None, true, true), (Some(Duration::from_secs(30 * 86_400)), false, false)]
    {
        let setup = setup(vec![recent()], Settings { default_timespan, ..unlimited() });
        let row = setup.hunt(odd).await.rows().remove(0);
        assert_eq!((row["Ahead"] != 0, row["Without"] != 0), (ahead, without), "{default_timespan:?}");
        let row = setup.send(setup.graph(&wide)).await.unwrap().rows().remove(0);
        assert_eq!((row["Ahead"] != 0, row["Without"] != 0), (true, false), "{default_timespan:?}");
        let settings = Settings { default_timespan, all_times_hold_nulls: true, ..unlimited() };
        let all = json!({ "Query": odd, "Timespan": "0001-01-01T00:00:00Z/9999-12-31T23:59:59.9999999Z" });
        let holding = self::setup(vec![recent()], settings);
        let row = holding.send(holding.graph(&all)).await.unwrap().rows().remove(0);
        assert_eq!((row["Ahead"] != 0, row["Without"] != 0), (true, true), "{default_timespan:?}");
        let legacy = setup.send(setup.post("/api/advancedhunting/run", XDR, &json!({ "Query": odd }))).await.unwrap();
        assert_ne!(legacy.json()["Results"][0]["Ahead"], 0, "the older services know no span");
    }
}

#[tokio::test]
async fn calls_are_counted_by_table_and_status() {
    let setup = setup(vec![table("DeviceEvents", 5), table("AlertInfo", 5)], unlimited());
    for query in ["DeviceEvents | count", "union DeviceEvents, AlertInfo | count", "AlertInfo | where Nope == 1"] {
        setup.hunt(query).await;
    }
    let statistics = setup.cloud.hunting_statistics();
    assert_eq!((statistics.calls_by_table["DeviceEvents"], statistics.calls_by_table["AlertInfo"]), (2, 1));
    assert_eq!((statistics.calls_by_status[&200], statistics.calls_by_status[&400]), (2, 1));
    assert_eq!(statistics.log[2].query, "AlertInfo | where Nope == 1");
}

#[tokio::test]
async fn an_unknown_path_is_named() {
    let setup = setup(Vec::new(), unlimited());
    let answer = setup.send(setup.post("/v1.0/security/runHunting", GRAPH, &json!({}))).await.unwrap();
    assert_eq!(answer.error(), (400, "BadRequest".into(), "Resource not found for the segment 'runHunting'.".into()));
}

#[tokio::test]
async fn a_query_that_runs_too_long_is_given_up() {
    let limits = Limits { run_time: Duration::ZERO, ..Limits::default() };
    let setup = setup(vec![table("DeviceEvents", 10)], limited(limits));
    assert_eq!(setup.hunt("DeviceEvents").await.error(), (504, "UnknownError".into(), String::new()));
}

#[tokio::test]
async fn rows_that_arrive_between_two_calls_are_seen_by_the_second() {
    let arriving = TableSettings::new("DeviceEvents", 1_000, NOW - ticks::HOUR, NOW + ticks::HOUR);
    let setup = setup(vec![arriving], unlimited());
    let count = async || setup.hunt("DeviceEvents | count").await.rows()[0]["Count"].as_i64().unwrap();
    let first = count().await;
    setup.clock.advance(Duration::from_secs(1_800));
    let second = count().await;
    assert!(0 < first && first < second && second < 1_000, "{first} {second}");
    setup.cloud.source().append("DeviceEvents", 10, NOW, NOW).unwrap();
    assert_eq!(count().await, second + 10);
}
