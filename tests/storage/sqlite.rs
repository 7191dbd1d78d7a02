//! What the SQLite store promises beyond the ports: it outlives its process, several processes share it, and a
//! file that is not its own stays as it is.

use adxingestor::storage::{self, Error, Key, OpenError, Operation, Properties, Range, Storage};
use adxingestor::timestamp::SystemClock;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const HIDE: Duration = Duration::from_secs(600);
/// What a child process of a test is told: the file, and a name of its own.
const FILE: &str = "STORAGE_TEST_FILE";
const NAME: &str = "STORAGE_TEST_NAME";

fn open(path: &Path) -> Storage {
    storage::sqlite(path, Arc::new(SystemClock)).unwrap()
}

fn key(row: &str) -> Key {
    Key::new("p", row).unwrap()
}

fn object(value: Value) -> Properties {
    value.as_object().unwrap().clone()
}

fn insert(row: &str, properties: Value) -> Operation {
    Operation::Insert(key(row), object(properties))
}

#[tokio::test]
async fn a_store_that_is_opened_again_holds_what_it_held() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = open(&path);
    let etags = store.tables.commit(&[insert("r", json!({"v": 0.1}))]).await.unwrap();
    store.queues.send("queue", b"body", Duration::ZERO).await.unwrap();
    store.blobs.put("blob", "content".into()).await.unwrap();
    let message = store.queues.receive("queue", 1, HIDE).await.unwrap().swap_remove(0);
    drop(store);

    let store = open(&path);
    let row = store.tables.get(&key("r")).await.unwrap().unwrap();
    assert_eq!((row.properties, Some(row.etag)), (object(json!({"v": 0.1})), etags[0].clone()));
    assert_eq!(store.blobs.get("blob").await.unwrap(), Some("content".into()));
    store.queues.delete("queue", &message.id, &message.receipt).await.unwrap();
    assert_eq!(store.queues.approximate_count("queue").await.unwrap(), 0);
}

#[tokio::test]
async fn no_version_comes_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = open(&path);
    let first = store.tables.commit(&[insert("r", json!({}))]).await.unwrap().swap_remove(0).unwrap();
    store.tables.commit(&[Operation::Delete(key("r"), first.clone())]).await.unwrap();
    drop(store);
    let second = open(&path).tables.commit(&[insert("r", json!({}))]).await.unwrap().swap_remove(0).unwrap();
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_the_store_usable() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("state.db"));
    for row in 0..20 {
        let operations = [insert(&format!("a{row}"), json!({})), insert(&format!("b{row}"), json!({}))];
        let _given_up = tokio::time::timeout(Duration::ZERO, store.tables.commit(&operations)).await;
    }
    store.tables.commit(&[insert("last", json!({}))]).await.unwrap();
    let range = Range { partition: "p".to_owned(), from: String::new(), to: None };
    let rows = store.tables.page(&range, None).await.unwrap().rows;
    let whole = |prefix: char| -> Vec<_> { rows.iter().filter_map(|row| row.key.row().strip_prefix(prefix)).collect() };
    assert_eq!(whole('a'), whole('b'));
}

#[tokio::test]
async fn reads_go_on_and_writes_wait_while_another_process_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = open(&path);
    store.tables.commit(&[insert("r", json!({"v": 1}))]).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; UPDATE entity SET properties = '{\"v\":2}'").unwrap();

    let tables = Arc::clone(&store.tables);
    let write = tokio::spawn(async move { tables.commit(&[insert("new", json!({}))]).await });
    let read = store.tables.get(&key("r")).await.unwrap().unwrap();
    assert_eq!(read.properties, object(json!({"v": 1})));
    assert_eq!(store.tables.get(&key("new")).await.unwrap(), None);
    assert!(!write.is_finished());

    other.execute_batch("COMMIT").unwrap();
    write.await.unwrap().unwrap();
    assert_eq!(store.tables.get(&key("r")).await.unwrap().unwrap().properties, object(json!({"v": 2})));
}

#[test]
fn a_newer_store_is_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    drop(open(&path));
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("UPDATE adxingestor_store SET version = 7").unwrap();
    let error = refused(&path);
    assert!(matches!(&error, OpenError::Newer { found: 7, known: 1, path: named } if *named == path), "{error}");
    assert!(error.to_string().contains("state.db") && error.to_string().contains("run the newer program"), "{error}");
    let version: i64 = other.query_row("SELECT version FROM adxingestor_store", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 7);
}

#[test]
fn a_file_of_another_program_is_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "no database, but long enough to have a header of one".repeat(100)).unwrap();
    let database = directory.path().join("other.db");
    rusqlite::Connection::open(&database)
        .unwrap()
        .execute_batch("CREATE TABLE other (a); INSERT INTO other VALUES (1)")
        .unwrap();
    for path in [text, database] {
        let before = std::fs::read(&path).unwrap();
        let error = refused(&path);
        assert!(matches!(&error, OpenError::Foreign { path: named } if *named == path), "{error}");
        assert!(error.to_string().contains("name another file"), "{error}");
        assert!(std::fs::read(&path).unwrap() == before, "{}", path.display());
    }
}

#[test]
fn a_place_that_cannot_hold_a_store_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().join("missing/state.db"), directory.path().to_owned(), PathBuf::new()] {
        let error = refused(&path);
        assert!(matches!(&error, OpenError::Unusable { path: named, .. } if *named == path), "{error}");
    }
}

#[tokio::test]
async fn a_name_that_sqlite_gives_a_meaning_is_a_file_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    for name in [":memory:", "file:a.db?mode=memory"] {
        let path = directory.path().join(name);
        open(&path).tables.commit(&[insert("r", json!({}))]).await.unwrap();
        assert!(open(&path).tables.get(&key("r")).await.unwrap().is_some(), "{name}");
        assert!(path.is_file(), "{name}");
    }
    let mut child = child_in(directory.path(), "counts_with_others", Path::new(":memory:"), "0");
    assert!(child.wait().unwrap().success());
    let row = open(&directory.path().join(":memory:")).tables.get(&key("count")).await.unwrap().unwrap();
    assert_eq!(row.properties, object(json!({"n": 25})));
}

#[tokio::test]
async fn a_killed_process_loses_nothing_it_committed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    for (round, lines) in [20, 61, 140].into_iter().enumerate() {
        let mut child = child("commits_until_it_is_killed", &path, &format!("r{round}"));
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let is_committed = |line: String| line.split_once("committed ").map(|(_, what)| what.to_owned());
        let mut committed: BTreeSet<String> = output.by_ref().filter_map(is_committed).take(lines).collect();
        assert_eq!(committed.len(), lines);
        child.kill().unwrap();
        committed.extend(output.filter_map(is_committed));
        child.wait().unwrap();

        let store = open(&path);
        for what in &committed {
            let (kind, name) = what.split_once(' ').unwrap();
            let found = match kind {
                "rows" => {
                    let one = store.tables.get(&key(&format!("{name}-a"))).await.unwrap();
                    one.is_some() && store.tables.get(&key(&format!("{name}-b"))).await.unwrap().is_some()
                }
                "blob" => store.blobs.get(name).await.unwrap().is_some_and(|content| content.len() == 20_000),
                other => panic!("{other}"),
            };
            assert!(found, "{what} was lost in round {round}");
        }
        let messages = committed.iter().filter(|what| what.starts_with("rows")).count() as u64;
        let queue = format!("queue-r{round}");
        let sent = store.queues.approximate_count(&queue).await.unwrap();
        assert!(sent + 1 >= messages, "{sent} messages, but at least {messages} - 1 were sent");
        let range = Range { partition: "p".to_owned(), from: format!("r{round}"), to: Some(format!("r{round}~")) };
        assert_eq!(store.tables.page(&range, None).await.unwrap().rows.len() % 2, 0, "half a transaction");
    }
    let integrity: String =
        rusqlite::Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

/// A child of [`a_killed_process_loses_nothing_it_committed`]; does nothing by itself.
#[tokio::test]
async fn commits_until_it_is_killed() {
    let Some((path, name)) = task() else { return };
    let store = open(&path);
    let queue = format!("queue-{name}");
    for n in 0..20_000 {
        let name = format!("{name}-{n:05}");
        let pair = ["a", "b"].map(|half| insert(&format!("{name}-{half}"), json!({"text": "x".repeat(1000)})));
        store.tables.commit(&pair).await.unwrap();
        println!("committed rows {name}");
        store.queues.send(&queue, name.as_bytes(), Duration::ZERO).await.unwrap();
        store.blobs.put(&name, vec![7; 20_000].into()).await.unwrap();
        println!("committed blob {name}");
    }
    panic!("was not killed");
}

#[tokio::test]
async fn processes_that_start_together_share_a_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let children: Vec<Child> = (0..4).map(|n| child("counts_with_others", &path, &n.to_string())).collect();
    for mut child in children {
        let output: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
        assert!(child.wait().unwrap().success(), "{output:#?}");
    }
    let row = open(&path).tables.get(&key("count")).await.unwrap().unwrap();
    assert_eq!(row.properties, object(json!({"n": 100})));
}

/// A child of [`processes_that_start_together_share_a_new_file`]; does nothing by itself.
#[tokio::test]
async fn counts_with_others() {
    let Some((path, _)) = task() else { return };
    let store = open(&path);
    let mut counted = 0;
    while counted < 25 {
        let operation = match store.tables.get(&key("count")).await.unwrap() {
            None => insert("count", json!({"n": 1})),
            Some(row) => {
                let n = row.properties["n"].as_i64().unwrap() + 1;
                Operation::Replace(row.key, object(json!({"n": n})), row.etag)
            }
        };
        match store.tables.commit(&[operation]).await {
            Ok(_) => counted += 1,
            Err(Error::Conflict { index: 0 } | Error::Exists { index: 0 }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn refused(path: &Path) -> OpenError {
    match storage::sqlite(path, Arc::new(SystemClock)) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

/// This test program again, running only the test `role`.
fn child(role: &str, path: &Path, name: &str) -> Child {
    child_in(Path::new("."), role, path, name)
}

/// The same, in the directory `here`.
fn child_in(here: &Path, role: &str, path: &Path, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("sqlite::{role}"), "--nocapture"])
        .current_dir(here)
        .env(FILE, path)
        .env(NAME, name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What this process was started for by [`child`].
fn task() -> Option<(PathBuf, String)> {
    let path = std::env::var_os(FILE)?;
    Some((path.into(), std::env::var_os(NAME)?.into_string().unwrap()))
}
