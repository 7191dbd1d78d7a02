//! The page and its data over a store in memory.

use super::*;
use crate::functions::control::{Started, release, start};
use crate::functions::envelope::Invocation;
use crate::functions::testing::{World, app as app_over};
use crate::functions::{dispatch, door};
use crate::orchestration::head::testing::{head, seen, table};
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::{LoadType, RuntimeStatus, TableConfig, TableResult, TableRun};
use crate::orchestration::ledger::{Counts, Head, Progress, TableState};
use crate::orchestration::window::{Window, WindowState};
use crate::state::Transaction;
use crate::storage::{
    Continuation, ETag, Error as StorageError, Key, Operation, Page, Range, Row, Storage, TableStore, memory,
};
use crate::timestamp::SystemClock;
use axum::extract::{Request, State};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const HOSTILE: &str = "</script><script>alert(1)</script>\"><img src=x onerror=alert(1)>";

async fn ask(app: &App, query: &str, accept: &str) -> Answer {
    let mut call = Call::of("GET", &format!("http://app/api/dashboard{query}"));
    call.headers.insert("accept".to_owned(), accept.to_owned());
    handle(app, &call).await.unwrap()
}

async fn shown(app: &App, query: &str) -> Value {
    let answer = ask(app, &format!("?format=json{query}"), "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body.unwrap()
}

fn key(name: &str) -> TableKey {
    TableKey::new("t", name, "c", "d", name)
}

fn of(name: &str, result: Option<TableResult>) -> TableRun {
    let config = TableConfig { source: name.to_owned(), destination: name.to_owned(), ..table().config };
    TableRun { key: key(name), config, result, ..table() }
}

fn failed(error: &str) -> Option<TableResult> {
    Some(TableResult { error: Some(error.to_owned()), ..TableResult::default() })
}

impl World {
    async fn put(&self, transaction: Result<Transaction, Error>) {
        self.app.state.commit(transaction.unwrap()).await.unwrap();
    }

    /// A run with these tables, a minute after the last.
    async fn with(&self, tables: Vec<TableRun>) -> InstanceId {
        self.clock.forward(60);
        let Started::New(id) = start(&self.app, Default::default(), json!({})).await.unwrap() else { panic!() };
        let failed = tables.iter().filter_map(|table| table.result.as_ref()).filter(|result| !result.success).count();
        let done = tables.iter().filter(|table| table.result.is_some()).count() - failed;
        self.change(&id, |run| {
            run.status = RuntimeStatus::Running;
            let count = |n: usize| u32::try_from(n).unwrap();
            (run.tables_total, run.tables_done, run.tables_failed) = (count(tables.len()), count(done), count(failed));
        })
        .await;
        for (ordinal, table) in (0..).zip(tables) {
            self.put(Transaction::new().table(&id, &TableRun { ordinal, ..table }, None)).await;
        }
        id
    }

    async fn end(&self, id: &InstanceId, status: RuntimeStatus) {
        self.clock.forward(5);
        let now = self.app.state.now();
        self.change(id, |run| (run.status, run.updated) = (status, now)).await;
        release(&self.app, id).await.unwrap();
    }
}

#[tokio::test]
async fn a_browser_is_given_the_page_and_a_program_the_data() {
    let world = World::new();
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (query, accept, is_page) in [
        ("", browser, true),
        ("", "", true),
        ("", "*/*", true),
        ("", "application/json", false),
        ("?format=json", browser, false),
        ("?format=html", "application/json", true),
        ("?FORMAT=JSON", "", false),
    ] {
        let answer = ask(&world.app, query, accept).await;
        assert_eq!(answer.media_type.starts_with("text/html"), is_page, "{query} {accept}");
        assert_eq!(answer.status, StatusCode::OK);
    }
    for query in ["?format=xml", "?format=json&scope=some"] {
        assert_eq!(ask(&world.app, query, "").await.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn the_page_is_served_to_a_host_that_forwards_requests_and_to_one_that_sends_envelopes() {
    let app = Arc::new(World::new().app);
    let request =
        json!({"Url": "https://app/api/dashboard?code=k", "Method": "GET", "Headers": {"Accept": ["text/html"]}});
    let envelope = json!({"Data": {"req": request}, "Metadata": {}}).to_string();
    let invocation = Invocation::parse(envelope.as_bytes()).unwrap();
    let answer = dispatch(Arc::clone(&app), "dashboard", invocation).await.unwrap();
    let res = &answer["Outputs"]["res"];
    let page = super::page::page();
    assert_eq!(
        (&res["statusCode"], &res["headers"]["Content-Type"]),
        (&json!(200), &json!("text/html; charset=utf-8"))
    );
    assert_eq!(
        (&res["body"], &res["headers"]["Content-Security-Policy"]),
        (&json!(page.document), &json!(page.policy))
    );

    let request = Request::get("/api/dashboard?code=k").body(axum::body::Body::empty()).unwrap();
    let response = door(State(app), request).await;
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(response.headers()["content-security-policy"], page.policy);
    let body = axum::body::to_bytes(response.into_body(), 1_000_000).await.unwrap();
    assert_eq!(body, page.document);
}

#[tokio::test]
async fn every_answer_says_that_it_is_not_to_be_kept_and_the_page_what_a_browser_is_to_allow() {
    let world = World::new();
    for query in ["", "?format=json", "?format=x"] {
        let answer = ask(&world.app, query, "").await;
        let header = |wanted: &str| answer.headers.iter().find(|(name, _)| *name == wanted).map(|(_, v)| v.as_str());
        assert_eq!(header("Cache-Control"), Some("no-store"), "{query}");
        assert_eq!(header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(header("Referrer-Policy"), Some("no-referrer"));
        let policy = header("Content-Security-Policy");
        assert_eq!(policy.is_some(), query.is_empty());
        for part in policy.iter().flat_map(|_| ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"]) {
            assert!(policy.unwrap().contains(part), "{policy:?}");
        }
    }
}

#[tokio::test]
async fn the_page_holds_neither_the_key_of_the_call_nor_anything_of_the_store() {
    let world = World::new();
    world.with(vec![of(HOSTILE, failed(HOSTILE))]).await;
    let with_key = ask(&world.app, "?code=s3cret&x=%3Cscript%3E", "text/html").await;
    assert_eq!(with_key.body, Some(Value::String(super::page::page().document)), "it is always the same text");
}

#[tokio::test]
async fn hostile_texts_are_data_and_cut_but_otherwise_as_they_are() {
    let world = World::new();
    let id = world.with(vec![of(HOSTILE, failed(&format!("{HOSTILE}{}", "x".repeat(5_000))))]).await;
    world.end(&id, RuntimeStatus::Completed).await;
    let data = shown(&world.app, "").await;
    assert_eq!(data["tables"][0]["table"], HOSTILE);
    let error = data["failures"][0]["error"].as_str().unwrap();
    assert!(error.starts_with(HOSTILE) && error.chars().count() == 2_001, "{error}");
    assert_eq!(data["tables"][0]["error"].as_str().unwrap().chars().count(), 2_001);
}

#[tokio::test]
async fn a_run_shows_the_progress_of_its_tables_and_how_far_they_are_behind() {
    let world = World::new();
    let ended = world.app.state.now();
    let proved = TableResult {
        success: true,
        rows: 70,
        windows: 2,
        windows_done: 2,
        verified_up_to: Some(ended),
        ended: Some(ended),
        ..TableResult::default()
    };
    let once = TableRun {
        config: TableConfig { load_type: Some(LoadType::Full), ..of("b", None).config },
        ..of("b", Some(proved.clone()))
    };
    let first = world.with(vec![of("a", Some(proved)), once]).await;
    world.end(&first, RuntimeStatus::Completed).await;
    let id = world.with(vec![of("a", None)]).await;
    let progress = Progress { windows: 9, verified: 3, empty: 1, failed: 1, rows: 30, ..Progress::default() };
    let head = Head {
        run: Some(id.clone()),
        progress,
        counts: Counts { open: 4, verified: 3, ..Counts::default() },
        verified_up_to: ended,
        ..head(TableState::Running)
    };
    world.put(Transaction::new().head(&key("a"), &head, None)).await;
    let data = shown(&world.app, "").await;
    let table = &data["tables"][0];
    assert_eq!(
        (&table["run"], &table["state"], &table["active"]),
        (&json!(id.as_str()), &json!("copying"), &json!(true))
    );
    assert_eq!(
        (&table["windows"], &table["windows_done"], &table["windows_failed"]),
        (&json!(9), &json!(4), &json!(1))
    );
    assert_eq!((&table["lag_seconds"], &table["last_proved"]), (&json!(125), &json!(ended)), "{table}");
    let once = &data["tables"][1];
    assert_eq!((&once["loaded_once"], &once["lag_seconds"]), (&json!(true), &Value::Null), "{once}");
    let runs = &data["runs"];
    assert_eq!((&runs[0]["id"], &runs[0]["active"], &runs[0]["rows"]), (&json!(id.as_str()), &json!(true), &json!(30)));
    assert_eq!(
        (&runs[1]["rows"], &runs[1]["tables_done"], &runs[1]["duration_seconds"]),
        (&json!(140), &json!(2), &json!(5))
    );
    let active = shown(&world.app, "&scope=active").await;
    assert_eq!((active["runs"].as_array().unwrap().len(), active["tables"].as_array().unwrap().len()), (1, 1));
    assert_eq!(
        active["tables"][0],
        data["tables"][0]
            .as_object()
            .map(|row| {
                let mut row = row.clone();
                row.remove("last_proved");
                Value::Object(row)
            })
            .unwrap()
    );
    assert!(active.get("failures").is_none());
}

#[tokio::test]
async fn failures_are_told_with_their_reasons_and_whether_they_were_mended() {
    let world = World::new();
    let first = world.with(vec![of("a", failed("first")), of("b", failed("no such column"))]).await;
    world.end(&first, RuntimeStatus::Completed).await;
    let good = TableResult { success: true, ..TableResult::default() };
    let second = world.with(vec![of("a", Some(good))]).await;
    world.end(&second, RuntimeStatus::Completed).await;
    let third = world.with(Vec::new()).await;
    world.change(&third, |run| run.error = Some("the configuration cannot be read".into())).await;
    world.end(&third, RuntimeStatus::Failed).await;
    let window = seen(20, WindowState::Failed);
    let of_window = Window { error: Some("refused for its size".into()), ..window.window };
    let counts = Counts { failed: 2, ..Counts::default() };
    let head = Head { counts, source: "b".into(), destination: "b".into(), ..head(TableState::Idle) };
    world.put(Transaction::new().head(&key("b"), &head, None)).await;
    world.put(Transaction::new().window(&key("b"), &window.name, &of_window, None)).await;
    let data = shown(&world.app, "").await;
    let told = |kind: &str| -> Vec<(Value, Value, Value)> {
        let all = data["failures"].as_array().unwrap().iter().filter(|failure| failure["kind"] == kind);
        all.map(|f| (f["table"].clone(), f["error"].clone(), f["mended"].clone())).collect()
    };
    assert_eq!(told("run"), [(Value::Null, json!("the configuration cannot be read"), json!(false))]);
    assert_eq!(told("table").len(), 2);
    assert!(told("table").contains(&(json!("a"), json!("first"), json!(true))));
    assert!(told("table").contains(&(json!("b"), json!("no such column"), json!(false))));
    assert_eq!(told("window"), [(json!("b"), json!("refused for its size"), json!(false))]);
    assert_eq!(data["failures_cut"], true, "the other window of it was not found");
    let can_rewind = |id: &InstanceId| {
        let runs = data["runs"].as_array().unwrap();
        runs.iter().find(|run| run["id"] == id.as_str()).unwrap()["can_rewind"].clone()
    };
    assert_eq!((can_rewind(&first), can_rewind(&second), can_rewind(&third)), (json!(true), json!(false), json!(true)));
}

#[tokio::test(start_paused = true)]
async fn the_quota_is_shown_with_what_was_used_of_it_and_a_pause() {
    let world = World::new();
    for _ in 0..3 {
        world.app.state.take_permit(Duration::from_secs(60)).await.unwrap().unwrap();
    }
    let quota = shown(&world.app, "&scope=active").await["quota"].clone();
    let used: u64 = quota["spans"].as_array().unwrap().iter().map(|span| span[1].as_u64().unwrap()).sum();
    assert_eq!((used, &quota["calls_per_minute"], &quota["paused_until"]), (3, &json!(45), &Value::Null), "{quota}");
    let until = world.app.state.pause_calls(Some(Duration::from_secs(90))).await.unwrap();
    let quota = shown(&world.app, "&scope=active").await["quota"].clone();
    assert_eq!((&quota["paused_until"], &quota["next_call_at"]), (&json!(until), &json!(until)));
    world.clock.forward(91);
    tokio::time::advance(Duration::from_secs(91)).await;
    assert_eq!(shown(&world.app, "").await["quota"]["paused_until"], Value::Null);
}

/// Counts what is read.
struct Counting(Arc<dyn TableStore>, Arc<AtomicUsize>);

#[async_trait::async_trait]
impl TableStore for Counting {
    async fn get(&self, key: &Key) -> Result<Option<Row>, StorageError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.get(key).await
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, StorageError> {
        self.0.commit(operations).await
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, StorageError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.page(range, after).await
    }
}

#[tokio::test]
async fn a_refresh_takes_few_reads_and_what_is_too_much_is_cut_and_said_so() {
    let reads = Arc::new(AtomicUsize::new(0));
    let mut world = World::new();
    let raw = memory(Arc::clone(&world.clock) as _);
    let tables = Arc::new(Counting(Arc::clone(&raw.tables), Arc::clone(&reads)));
    world.app = app_over(Storage { tables, ..raw });
    for _ in 0..20 {
        let id = world.with(vec![of("a", None)]).await;
        world.end(&id, RuntimeStatus::Completed).await;
    }
    let many = (0..250).map(|n| TableRun { started: n < 5, ..of(&format!("T{n:03}"), None) }).collect();
    world.with(many).await;
    let read = async |query: &str| {
        reads.store(0, Ordering::SeqCst);
        let data = shown(&world.app, query).await;
        (data, reads.load(Ordering::SeqCst))
    };
    let (active, few) = read("&scope=active").await;
    assert!(few <= 4 + 5, "{few} reads: places, run, its tables, the quota, and the heads of those at work");
    assert_eq!((active["tables"].as_array().unwrap().len(), &active["tables_cut"]), (200, &json!(true)));
    let (all, some) = read("").await;
    assert!(some <= 3 + 2 * 13 + 200, "{some}");
    assert_eq!((all["runs"].as_array().unwrap().len(), &all["runs_cut"]), (12, &json!(true)));
}

/// A store that never answers, or fails.
struct Broken(bool);

#[async_trait::async_trait]
impl TableStore for Broken {
    async fn get(&self, _: &Key) -> Result<Option<Row>, StorageError> {
        if self.0 { std::future::pending().await } else { Err(StorageError::Unavailable("no route to host".into())) }
    }

    async fn commit(&self, _: &[Operation]) -> Result<Vec<Option<ETag>>, StorageError> {
        Err(StorageError::Unavailable("no route to host".into()))
    }

    async fn page(&self, range: &Range, _: Option<&Continuation>) -> Result<Page, StorageError> {
        let key = Key::new(&range.partition, "x")?;
        self.get(&key).await.map(|_| Page { rows: Vec::new(), next: None })
    }
}

#[tokio::test(start_paused = true)]
async fn the_page_comes_without_the_store_and_the_data_say_what_is_wrong_with_it() {
    for (hangs, reason) in [(false, "no route to host"), (true, "did not answer within 15 s")] {
        let app = app_over(Storage { tables: Arc::new(Broken(hangs)), ..memory(Arc::new(SystemClock)) });
        assert_eq!(ask(&app, "", "text/html").await.status, StatusCode::OK);
        let answer = ask(&app, "?format=json", "").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let error = answer.body.unwrap()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("state store") && error.contains(reason), "{error}");
    }
}
