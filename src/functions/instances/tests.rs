//! The HTTP contract, to the status code, over a store in memory.

use super::*;
use crate::functions::testing::World;
use crate::orchestration::head::testing::{head, table};
use crate::orchestration::ids::TableKey;
use crate::orchestration::instance::{RuntimeStatus, TableConfig, TableResult, TableRun};
use crate::orchestration::ledger::{Head, TableState};
use crate::orchestration::message::ControlMessage;
use crate::orchestration::run::listed::Listed;
use crate::state::Transaction;
use crate::storage::entity::to_properties;
use crate::storage::{Key, Operation};
use serde_json::{Value, json};

impl World {
    async fn call(&self, method: &str, path: &str) -> Answer {
        self.call_with(method, path, &[], "").await
    }

    async fn call_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut call = Call::of(method, &format!("http://app/api/instances{path}"));
        call.base = "http://app/api".to_owned();
        let path = path.split('?').next().unwrap_or_default();
        let names = ["instanceId", "operation", "eventName"];
        call.route = names.iter().zip(path.split('/').skip(1)).map(|(n, v)| ((*n).into(), v.into())).collect();
        call.headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        call.body = body.to_owned();
        handle(&self.app, &call).await.unwrap()
    }

    async fn code(&self, method: &str, path: &str) -> u16 {
        self.call(method, path).await.status.as_u16()
    }

    /// A run, started a minute after the last.
    async fn start(&self) -> InstanceId {
        use crate::functions::control::{Started, start};
        self.clock.forward(60);
        match start(&self.app, Default::default(), json!({})).await.unwrap() {
            Started::New(id) => id,
            other => panic!("{other:?}"),
        }
    }

    async fn ended(&self, status: RuntimeStatus) -> InstanceId {
        let id = self.start().await;
        self.clock.forward(1);
        let now = self.app.state.now();
        self.change(&id, |run| (run.status, run.updated) = (status, now)).await;
        crate::functions::control::release(&self.app, &id).await.unwrap();
        id
    }

    /// Writes something over a record that is none of this app's.
    async fn garble(&self, partition: &str, row: &str) {
        let (key, tables) = (Key::new(partition, row).unwrap(), &self.app.state.storage().tables);
        let etag = tables.get(&key).await.unwrap().unwrap().etag;
        let nonsense = to_properties(&json!({"by": "hand"})).unwrap();
        tables.commit(&[Operation::Replace(key, nonsense, etag)]).await.unwrap();
    }

    async fn listed(&self, query: &str) -> Vec<String> {
        let answer = self.call("GET", query).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        ids(&answer)
    }
}

fn ids(answer: &Answer) -> Vec<String> {
    let Some(Value::Array(runs)) = &answer.body else { panic!("{answer:?}") };
    runs.iter().map(|run| run["instanceId"].as_str().unwrap().to_owned()).collect()
}

fn token(answer: &Answer) -> String {
    answer.headers.iter().find(|(name, _)| *name == "x-ms-continuation-token").unwrap().1.clone()
}

const FINAL: [RuntimeStatus; 3] = [RuntimeStatus::Completed, RuntimeStatus::Failed, RuntimeStatus::Terminated];
const UNKNOWN: [&str; 3] = ["00000000000000000000000000000000", "nonsense", "..%2f"];

#[tokio::test]
async fn an_unknown_run_is_not_found_except_by_a_restart() {
    let world = World::new();
    for id in UNKNOWN {
        for operation in ["terminate", "suspend", "resume", "rewind", "raiseEvent/go"] {
            assert_eq!(world.code("POST", &format!("/{id}/{operation}")).await, 404, "{operation} {id}");
        }
        assert_eq!(world.code("POST", &format!("/{id}/restart")).await, 400);
        assert_eq!(world.code("GET", &format!("/{id}")).await, 404);
        assert_eq!(world.code("DELETE", &format!("/{id}")).await, 404);
    }
}

#[tokio::test]
async fn a_wrong_method_or_operation_is_not_found() {
    let world = World::new();
    let id = world.start().await;
    for (method, path) in [
        ("POST", String::new()),
        ("PUT", format!("/{id}")),
        ("POST", format!("/{id}")),
        ("GET", format!("/{id}/terminate")),
        ("DELETE", format!("/{id}/suspend")),
        ("POST", format!("/{id}/explode")),
        ("POST", format!("/{id}/terminate/now")),
        ("POST", format!("/{id}/raiseEvent")),
    ] {
        assert_eq!(world.code(method, &path).await, 404, "{method} {path}");
    }
    assert_eq!(world.status(&id).await, Some(RuntimeStatus::Pending));
}

#[tokio::test]
async fn what_goes_on_is_accepted_and_what_is_final_is_gone() {
    let world = World::new();
    for status in FINAL {
        let id = world.ended(status).await;
        for operation in ["terminate", "suspend", "resume", "raiseEvent/go"] {
            assert_eq!(world.code("POST", &format!("/{id}/{operation}")).await, 410, "{operation} {status:?}");
        }
        assert_eq!(world.status(&id).await, Some(status));
    }
}

#[tokio::test]
async fn a_pending_run_is_suspended_and_resumed_as_often_as_asked() {
    let world = World::new();
    let id = world.start().await;
    world.messages().await;
    for _ in 0..2 {
        assert_eq!(world.code("POST", &format!("/{id}/suspend?reason=lunch")).await, 202);
    }
    let held = world.call("GET", &format!("/{id}")).await;
    assert_eq!((held.status.as_u16(), held.headers.len()), (202, 2));
    let body = held.body.unwrap();
    assert_eq!(
        (&body["runtimeStatus"], &body["customStatus"]["suspended_because"]),
        (&json!("Suspended"), &json!("lunch"))
    );
    let told = world.messages().await;
    assert!(matches!(told[..], [ControlMessage::Suspend { number: 1, .. }]), "{told:?}");
    for _ in 0..2 {
        assert_eq!(world.code("POST", &format!("/{id}/resume")).await, 202);
    }
    assert_eq!(world.status(&id).await, Some(RuntimeStatus::Pending));
    assert!(matches!(world.messages().await[..], [ControlMessage::Resume { number: 3, .. }]));
    assert_eq!(world.code("POST", &format!("/{id}/suspend")).await, 202);
    assert_eq!(world.code("POST", &format!("/{id}/terminate?reason=x")).await, 202);
    assert_eq!(world.status(&id).await, Some(RuntimeStatus::Terminated));
}

#[tokio::test]
async fn only_a_failed_run_is_rewound() {
    let world = World::new();
    for status in [RuntimeStatus::Completed, RuntimeStatus::Terminated] {
        let id = world.ended(status).await;
        assert_eq!(world.code("POST", &format!("/{id}/rewind")).await, 410);
    }
    let failed = world.ended(RuntimeStatus::Failed).await;
    let other = world.start().await;
    assert_eq!(world.code("POST", &format!("/{other}/rewind")).await, 400);
    let refused = world.call("POST", &format!("/{failed}/rewind")).await;
    assert_eq!((refused.status.as_u16(), refused.body.unwrap()["id"].clone()), (409, json!(other.as_str())));
    assert_eq!(world.code("POST", &format!("/{other}/terminate")).await, 202);
    world.messages().await;
    assert_eq!(world.code("POST", &format!("/{failed}/rewind?reason=x")).await, 202);
    assert_eq!(world.status(&failed).await, Some(RuntimeStatus::Pending));
    assert!(matches!(&world.messages().await[..], [ControlMessage::Start { instance, .. }] if *instance == failed));
    assert_eq!(world.code("POST", &format!("/{failed}/rewind")).await, 400, "it goes on");
    assert!(world.listed("").await.contains(&failed.to_string()));
}

#[tokio::test]
async fn a_run_that_came_to_its_end_is_rewound_with_the_tables_of_it_that_failed() {
    let world = World::new();
    let id = world.ended(RuntimeStatus::Completed).await;
    world.messages().await;
    let row = |source: &str, success| {
        let config = TableConfig { source: source.into(), destination: source.into(), ..table().config };
        let result = TableResult { success, ..TableResult::default() };
        let key = TableKey::new("t", source, "c", "d", source);
        TableRun { key, config, started: true, result: Some(result), ..table() }
    };
    let insert = async |row: &TableRun| {
        world.app.state.commit(Transaction::new().table(&id, row, None).unwrap()).await.unwrap();
    };
    insert(&row("Good", true)).await;
    assert_eq!(world.code("POST", &format!("/{id}/rewind")).await, 410, "nothing failed");
    insert(&row("Bad", false)).await;
    assert_eq!(world.code("POST", &format!("/{id}/rewind")).await, 202);
    let run = world.run(&id).await.unwrap();
    assert_eq!((run.status, run.asked_for()), (RuntimeStatus::Pending, Some(&["Bad".to_owned()][..])));
    assert!(matches!(&world.messages().await[..], [ControlMessage::Start { instance, .. }] if *instance == id));
}

#[tokio::test]
async fn a_place_that_was_just_taken_to_begin_again_is_not_freed_by_a_late_message() {
    let world = World::new();
    let failed = world.ended(RuntimeStatus::Failed).await;
    let run = world.app.state.instance(&failed).await.unwrap().unwrap();
    world.clock.forward(1);
    let again = crate::orchestration::run::rewind::request(Some(&run.record), &[], world.app.state.now()).unwrap();
    let place = Transaction::new().active(&again.place, None).unwrap();
    world.app.state.commit(place).await.unwrap();
    crate::functions::control::release(&world.app, &failed).await.unwrap();
    assert!(world.app.state.active().await.unwrap().is_some());
}

#[tokio::test]
async fn a_restart_is_a_new_run_with_the_same_input_or_the_same_run_anew() {
    let world = World::new();
    let id = world.start().await;
    let refused = world.call("POST", &format!("/{id}/restart")).await;
    assert_eq!((refused.status.as_u16(), refused.body.unwrap()["id"].clone()), (409, json!(id.as_str())));
    assert_eq!(world.code("POST", &format!("/{id}/restart?restartWithNewInstanceId=false")).await, 409);
    world.code("POST", &format!("/{id}/terminate")).await;

    world.clock.forward(1);
    let answer = world.call("POST", &format!("/{id}/restart?code=k")).await;
    let new = answer.body.as_ref().unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!((answer.status.as_u16(), answer.headers[1].clone()), (202, ("Retry-After", "10".to_owned())));
    assert_eq!(
        answer.headers[0].1,
        format!("http://app/api/instances/{new}?taskHub=TaskHub&connection=AzureWebJobsStorage&code=k")
    );
    assert_ne!(new, id.as_str());
    world.code("POST", &format!("/{new}/terminate")).await;

    world.clock.forward(1);
    let answer = world.call("POST", &format!("/{id}/restart?restartWithNewInstanceId=False")).await;
    assert_eq!((answer.status.as_u16(), answer.body.unwrap()["id"].clone()), (202, json!(id.as_str())));
    assert_eq!(world.status(&id).await, Some(RuntimeStatus::Pending));
    assert_eq!(world.listed("").await, [id.to_string(), new], "it is listed once, by its new birth");
}

#[tokio::test]
async fn a_run_that_begins_anew_holds_no_table_from_before() {
    let world = World::new();
    let id = world.ended(RuntimeStatus::Terminated).await;
    let row = TableRun { started: true, ..table() };
    let held = crate::orchestration::ledger::Head { run: Some(id.clone()), stop: true, ..head(TableState::Running) };
    world.app.state.commit(Transaction::new().table(&id, &row, None).unwrap()).await.unwrap();
    world.app.state.commit(Transaction::new().head(&row.key, &held, None).unwrap()).await.unwrap();
    assert_eq!(world.code("POST", &format!("/{id}/restart?restartWithNewInstanceId=false")).await, 202);
    let free = world.app.state.head(&row.key).await.unwrap().unwrap().record;
    assert_eq!((free.run, free.state), (None, TableState::Idle));
    let body = world.call("GET", &format!("/{id}")).await.body.unwrap();
    assert_eq!(body["customStatus"]["tables"], json!([]), "its tables are not known yet");
}

#[tokio::test]
async fn a_run_that_is_over_is_purged_and_one_that_goes_on_is_not() {
    let world = World::new();
    for status in FINAL {
        let id = world.ended(status).await;
        let answer = world.call("DELETE", &format!("/{id}")).await;
        assert_eq!((answer.status.as_u16(), answer.body), (200, Some(json!({"instancesDeleted": 1}))));
        assert_eq!(world.code("DELETE", &format!("/{id}")).await, 404);
        assert_eq!(world.code("GET", &format!("/{id}")).await, 404);
    }
    assert!(world.listed("").await.is_empty());
    let id = world.start().await;
    assert_eq!(world.code("DELETE", &format!("/{id}")).await, 412);
    assert_eq!(world.listed("").await, [id.to_string()]);
}

#[tokio::test]
async fn a_purge_takes_the_rows_of_all_tables_with_it() {
    let world = World::new();
    let id = world.ended(RuntimeStatus::Completed).await;
    for n in 0..150 {
        let key = crate::orchestration::ids::TableKey::new("t", &n.to_string(), "c", "d", "x");
        let row = TableRun { key, ..table() };
        world.app.state.commit(Transaction::new().table(&id, &row, None).unwrap()).await.unwrap();
    }
    assert_eq!(world.code("DELETE", &format!("/{id}")).await, 200);
    assert!(world.app.state.tables(&id).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_purge_lets_go_of_the_tables_that_the_run_still_holds() {
    let world = World::new();
    let id = world.ended(RuntimeStatus::Terminated).await;
    let state = &world.app.state;
    // Its terminate message has not been handled yet.
    let held = Head { run: Some(id.clone()), ..head(TableState::Running) };
    state.commit(Transaction::new().table(&id, &table(), None).unwrap()).await.unwrap();
    state.commit(Transaction::new().head(&table().key, &held, None).unwrap()).await.unwrap();
    assert_eq!(world.code("DELETE", &format!("/{id}")).await, 200);
    let free = state.head(&table().key).await.unwrap().unwrap().record;
    assert_eq!((free.run, free.state), (None, TableState::Idle));
}

#[tokio::test]
async fn a_purge_by_time_and_status_needs_its_beginning_and_counts_what_it_deleted() {
    let world = World::new();
    let completed = world.ended(RuntimeStatus::Completed).await;
    let failed = world.ended(RuntimeStatus::Failed).await;
    let active = world.start().await;
    for query in
        ["", "?createdTimeTo=2026-06-01", "?createdTimeFrom=never", "?createdTimeFrom=2026-01-01&runtimeStatus=Done"]
    {
        assert_eq!(world.code("DELETE", query).await, 400, "{query}");
    }
    for query in ["?createdTimeFrom=2026-06-01", "?createdTimeFrom=2026-01-01&runtimeStatus=Terminated,Pending"] {
        assert_eq!(world.code("DELETE", query).await, 404, "{query}");
    }
    let answer = world.call("DELETE", "?createdTimeFrom=2026-01-01&runtimeStatus=Failed").await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, Some(json!({"instancesDeleted": 1}))));
    assert_eq!(world.status(&failed).await, None);
    assert_eq!(world.listed("").await, [active.to_string(), completed.to_string()]);
    let answer = world.call("DELETE", "?createdTimeFrom=2026-01-01T00:00:00Z&createdTimeTo=2026-05-02").await;
    assert_eq!(answer.body, Some(json!({"instancesDeleted": 1})));
    assert_eq!(world.listed("").await, [active.to_string()]);
}

#[tokio::test]
async fn runs_are_listed_newest_first_in_pages_until_the_token_is_empty() {
    let world = World::new();
    let mut started = Vec::new();
    for n in 0..7 {
        let status = if n % 2 == 0 { RuntimeStatus::Completed } else { RuntimeStatus::Failed };
        started.insert(0, world.ended(status).await.to_string());
    }
    assert_eq!(world.listed("").await, started);
    let (mut seen, mut next) = (Vec::new(), String::new());
    for pages in 1.. {
        let answer = world.call_with("GET", "?top=3", &[("x-ms-continuation-token", &next)], "").await;
        seen.extend(ids(&answer));
        next = token(&answer);
        if next.is_empty() {
            assert_eq!(pages, 3);
            break;
        }
    }
    assert_eq!(seen, started);
    assert_eq!(world.listed("?runtimeStatus=Failed").await.len(), 3);
    assert_eq!(world.listed("?runtimeStatus=Canceled").await.len(), 0);
    assert_eq!(world.listed(&format!("?instanceIdPrefix={}", started[2])).await, [started[2].clone()]);
    let refused = world.call_with("GET", "", &[("x-ms-continuation-token", "..")], "").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    for query in ["?top=0", "?top=-1", "?top=many", "?createdTimeFrom=x", "?runtimeStatus=Done"] {
        assert_eq!(world.listed(query).await, started, "{query} is left out");
    }
}

#[tokio::test]
async fn the_span_of_a_list_is_that_of_the_births_it_shows() {
    let world = World::new();
    let (first, second) = (world.ended(RuntimeStatus::Failed).await, world.ended(RuntimeStatus::Failed).await);
    let born = world.run(&second).await.unwrap().created;
    assert_eq!(world.listed(&format!("?createdTimeFrom={born}")).await, [second.to_string()]);
    assert_eq!(world.listed(&format!("?createdTimeTo={born}")).await, [second.to_string(), first.to_string()]);
    assert_eq!(world.listed("?createdTimeFrom=2026-06-01&createdTimeTo=2026-05-01").await.len(), 0);
}

#[tokio::test]
async fn a_start_that_never_came_to_its_run_is_not_listed() {
    let world = World::new();
    let id = world.start().await;
    let run = world.app.state.instance(&id).await.unwrap().unwrap();
    world.app.state.commit(Transaction::new().delete_instance(&id, &run.etag).unwrap()).await.unwrap();
    let answer = world.call("GET", "").await;
    assert_eq!((ids(&answer), token(&answer)), (vec![], String::new()));
}

#[tokio::test]
async fn a_run_that_cannot_be_read_hides_no_other_from_a_list_or_a_purge() {
    let world = World::new();
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(world.ended(RuntimeStatus::Completed).await);
    }
    world.change(&runs[3], |run| run.tables_total = 1).await;
    world.app.state.commit(Transaction::new().table(&runs[3], &table(), None).unwrap()).await.unwrap();
    let entry = format!("list:{}", Listed::of(&world.run(&runs[2]).await.unwrap()).place());
    let of = |run: &InstanceId| format!("i:{run}");
    for (partition, row) in [
        (of(&runs[1]), "i".to_owned()),
        ("run".to_owned(), entry),
        (of(&runs[3]), format!("t:{}", table().key.as_str())),
    ] {
        world.garble(&partition, &row).await;
    }
    assert_eq!(world.listed("").await, [runs[0].to_string()]);
    let answer = world.call("DELETE", "?createdTimeFrom=2026-01-01").await;
    assert_eq!(answer.body, Some(json!({"instancesDeleted": 1})));
    assert!(world.listed("").await.is_empty());
}

#[tokio::test]
async fn input_and_history_are_shown_as_asked() {
    let world = World::new();
    let id = world.ended(RuntimeStatus::Failed).await;
    let shown = async |query: &str| world.call("GET", &format!("/{id}{query}")).await;
    let body = shown("").await.body.unwrap();
    assert_eq!(
        (&body["input"], body.get("historyEvents"), &body["name"]),
        (&json!({}), None, &json!("start_orchestrator"))
    );
    assert_eq!(shown("?showInput=False").await.body.unwrap()["input"], Value::Null);
    let events = shown("?showHistory=true").await.body.unwrap()["historyEvents"].clone();
    assert_eq!(events[0]["EventType"], "ExecutionStarted");
    assert_eq!(events[1]["OrchestrationStatus"], "Failed");
    assert_eq!(shown("?returnInternalServerErrorOnFailure=true").await.status.as_u16(), 500);
    assert_eq!(shown("").await.status.as_u16(), 200);
    assert_eq!(world.call("GET", "?showInput=false").await.body.unwrap()[0]["input"], Value::Null);
}

#[tokio::test]
async fn an_event_is_json_and_says_so() {
    let world = World::new();
    let id = world.start().await;
    let path = format!("/{id}/raiseEvent/go");
    let raise = async |kind: &str, body: &str| {
        world.call_with("POST", &path, &[("content-type", kind)], body).await.status.as_u16()
    };
    assert_eq!(raise("application/json; charset=utf-8", "{\"a\":1}").await, 202);
    assert_eq!(raise("text/plain", "{}").await, 400);
    assert_eq!(raise("application/json", "{").await, 400);
}
