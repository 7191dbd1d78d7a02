//! Thousands of operations of several writers over a store that loses requests and answers, against what really reached
//! the store: no effect is lost, none comes twice, and no answer is untrue. Time is virtual, and a seed decides all.

use crate::faulty::{Applied, Fault, Faulty, RuntimeClock, Seeded};
use adxingestor::storage::{self, ETag, Error, Key, Operation, Properties, Row, Storage, retrying};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

const ROWS: u64 = 4;
const WRITERS: u64 = 6;
const COMMITS_PER_WRITER: u64 = 700;
const SEEDS: std::ops::Range<u64> = 0..4;

/// What a writer was told about one of its transactions.
#[derive(Debug)]
struct Told {
    operations: Vec<Operation>,
    answer: Result<Vec<Option<ETag>>, Error>,
    /// Versions it was given that were not its own.
    outdated: Vec<(Key, ETag)>,
}

impl Told {
    fn is_refused(&self) -> bool {
        matches!(self.answer, Err(Error::Exists { .. } | Error::Conflict { .. } | Error::NotFound { .. }))
    }

    fn only_deletes(&self) -> bool {
        self.operations.iter().all(|operation| matches!(operation, Operation::Delete(..)))
    }
}

#[derive(Debug, Default, PartialEq)]
struct Figures {
    commits: usize,
    confirmed: usize,
    written_unheard: usize,
    refused: usize,
    unknown: usize,
    unknown_but_written: usize,
    inserts_deleted_in_doubt: usize,
}

fn key(row: u64) -> Key {
    Key::new("p", format!("r{row}")).unwrap()
}

fn object(value: Value) -> Properties {
    value.as_object().unwrap().clone()
}

/// A store whose every third request goes wrong, and how.
fn lossy(inner: Storage, random: &Arc<Seeded>, late: bool) -> (Arc<Faulty>, Storage) {
    let chance = Arc::clone(random);
    Faulty::new(
        inner,
        Box::new(move |kind| {
            let fault = match chance.below(100) {
                0..10 => Fault::LoseRequest,
                10..22 => Fault::LoseAnswer,
                22..27 => Fault::Throttle([None, Some(Duration::from_millis(700))][chance.below(2) as usize]),
                27 => Fault::Hang,
                28 => Fault::HangApplied,
                29 if late && kind == "commit" => Fault::ApplyLater(Duration::from_millis(chance.below(40_000))),
                _ => Fault::None,
            };
            (fault, Duration::from_millis(chance.below(30)))
        }),
    )
}

/// One transaction of one or two rows: counts up, replaces, merges, deletes or inserts.
async fn transaction(store: &Storage, random: &Seeded, operation: &str) -> Option<Vec<Operation>> {
    let first = random.below(ROWS);
    let mut rows = vec![first];
    if random.below(3) == 0 {
        rows.push((first + 1 + random.below(ROWS - 1)) % ROWS);
    }
    let mut operations = Vec::new();
    for row in rows {
        let key = key(row);
        let found = store.tables.get(&key).await.ok()?;
        let properties = |n: i64| object(json!({"n": n, "op": operation}));
        operations.push(match found {
            None => Operation::Insert(key, properties(1)),
            Some(row) => {
                let n = row.properties["n"].as_i64().unwrap() + 1;
                match random.below(10) {
                    0 => Operation::Delete(key, row.etag),
                    1..5 => Operation::Merge(key, properties(n), row.etag),
                    _ => Operation::Replace(key, properties(n), row.etag),
                }
            }
        });
    }
    Some(operations)
}

async fn writer(store: Storage, random: Arc<Seeded>, writer: u64, raw: Storage) -> Vec<Told> {
    let clean = retrying(raw, Arc::clone(&random) as _);
    let mut told = Vec::new();
    for number in 0..COMMITS_PER_WRITER {
        sleep(Duration::from_millis(random.below(400))).await;
        let Some(operations) = transaction(&store, &random, &format!("{writer}.{number}")).await else { continue };
        let answer = store.tables.commit(&operations).await;
        let mut outdated = Vec::new();
        for (operation, etag) in operations.iter().zip(answer.iter().flatten()) {
            let deletes = matches!(operation, Operation::Delete(..));
            assert_eq!(etag.is_none(), deletes, "{operation:?}: {etag:?}");
            let Some(etag) = etag else { continue };
            let current = clean.tables.get(operation.key()).await.unwrap();
            match current {
                Some(Row { etag: current, properties, .. }) if current == *etag => {
                    assert_eq!(properties["op"], json!(format!("{writer}.{number}")), "the version of another's row");
                }
                _ => outdated.push((operation.key().clone(), etag.clone())),
            }
        }
        told.push(Told { operations, answer, outdated });
    }
    told
}

/// How a transaction is told from others wherever it is seen: by its name, or by the versions that it deletes.
fn identity(operations: &[Operation]) -> String {
    let mut versions = Vec::new();
    for operation in operations {
        match operation {
            Operation::Insert(_, properties)
            | Operation::Replace(_, properties, _)
            | Operation::Merge(_, properties, _) => return properties["op"].as_str().unwrap().to_owned(),
            Operation::Delete(key, etag) => {
                versions.push(format!("{key}@{}", etag.0.split(" by ").next().unwrap()));
            }
        }
    }
    versions.join(" ")
}

/// Plays what reached the store again: every row counts up by one a write, so none was written over unseen.
fn replay(applied: &[Applied]) -> BTreeMap<Key, i64> {
    let mut rows: BTreeMap<Key, i64> = BTreeMap::new();
    for (operations, _) in applied {
        for operation in operations {
            match operation {
                Operation::Insert(key, properties) => {
                    assert_eq!((rows.insert(key.clone(), 1), properties["n"].as_i64()), (None, Some(1)));
                }
                Operation::Replace(key, properties, _) | Operation::Merge(key, properties, _) => {
                    let n = rows.get_mut(key).unwrap();
                    *n += 1;
                    assert_eq!(properties["n"].as_i64(), Some(*n), "a write was lost under {operation:?}");
                }
                Operation::Delete(key, _) => assert!(rows.remove(key).is_some()),
            }
        }
    }
    rows
}

async fn run(seed: u64) -> Figures {
    let random = Seeded::new(seed);
    let raw = storage::memory(RuntimeClock::new());
    let (faulty, lossy) = lossy(raw.clone(), &random, true);
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let store = retrying(lossy.clone(), Arc::clone(&random) as _);
        writers.spawn(writer(store, Seeded::new(seed * 1000 + number), number, raw.clone()));
    }
    let told: Vec<Told> = writers.join_all().await.into_iter().flatten().collect();
    sleep(Duration::from_secs(60)).await;

    let applied = faulty.applied();
    let rows = replay(&applied);
    for row in 0..ROWS {
        let found = raw.tables.get(&key(row)).await.unwrap().map(|row| row.properties["n"].as_i64().unwrap());
        assert_eq!(found, rows.get(&key(row)).copied());
    }
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (place, (operations, _)) in applied.iter().enumerate() {
        places.entry(identity(operations)).or_default().push(place);
    }
    let mut figures = Figures { commits: told.len(), ..Figures::default() };
    for (operations, at) in &places {
        if at.len() > 1 {
            // The one gap: inserted, deleted by another before it was known, and inserted again.
            let inserts = applied[at[0]].0.iter().all(|operation| matches!(operation, Operation::Insert(..)));
            assert!(inserts && at.len() == 2, "{operations} came twice");
            figures.inserts_deleted_in_doubt += 1;
        }
    }
    // Of those who delete the same version one does it; who was refused must not be that one.
    let not_refused: HashSet<String> =
        told.iter().filter(|told| !told.is_refused()).map(|told| identity(&told.operations)).collect();
    let clean = retrying(raw, Arc::clone(&random) as _);
    for told in told {
        let identity = identity(&told.operations);
        let by_another = told.is_refused() && told.only_deletes() && not_refused.contains(&identity);
        let place = places.get(&identity).map(|at| at[0]).filter(|_| !by_another);
        judge(&told, &applied, place, &mut figures);
        for (key, etag) in told.outdated {
            let probe = clean.tables.commit(&[Operation::Merge(key, Properties::new(), etag)]).await;
            assert!(matches!(probe, Err(Error::Conflict { .. } | Error::NotFound { .. })), "{probe:?}");
        }
    }
    figures.written_unheard = faulty.unheard();
    figures
}

/// Whether what a writer was told is true.
fn judge(told: &Told, applied: &[Applied], place: Option<usize>, figures: &mut Figures) {
    match &told.answer {
        Ok(_) => {
            figures.confirmed += 1;
            assert!(place.is_some() || told.only_deletes(), "{told:?} was not written");
        }
        Err(Error::Exists { .. } | Error::Conflict { .. } | Error::NotFound { .. }) => {
            figures.refused += 1;
            let Some(place) = place else { return };
            // The one gap again: inserted, deleted by another before it was known, and inserted by another.
            let deleted_since = |key: &Key| {
                applied[place + 1..]
                    .iter()
                    .flat_map(|(operations, _)| operations)
                    .any(|operation| matches!(operation, Operation::Delete(deleted, _) if deleted == key))
            };
            let gap = told
                .operations
                .iter()
                .any(|operation| matches!(operation, Operation::Insert(key, _) if deleted_since(key)));
            assert!(gap, "{told:?} was written");
            figures.inserts_deleted_in_doubt += 1;
        }
        Err(Error::Unavailable(_) | Error::Throttled { .. }) => {
            figures.unknown += 1;
            figures.unknown_but_written += usize::from(place.is_some());
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn no_write_is_lost_none_comes_twice_and_no_answer_is_untrue() {
    let mut commits = 0;
    for seed in SEEDS {
        println!("seed {seed}");
        let figures = run(seed).await;
        println!("{figures:?}");
        commits += figures.commits;
        assert!(figures.unknown * 100 < figures.commits * 5, "too much is unknown: {figures:?}");
        assert!(figures.written_unheard > 200 && figures.refused > 50, "{figures:?}");
        assert!(figures.inserts_deleted_in_doubt * 200 < figures.commits, "{figures:?}");
    }
    assert!(commits > 10_000, "{commits}");
}

#[tokio::test(start_paused = true)]
async fn a_seed_decides_all() {
    let (one, other) = (run(11).await, run(11).await);
    assert_eq!(one, other);
}

#[tokio::test(start_paused = true)]
async fn every_message_is_received_until_it_is_deleted_and_never_after() {
    for seed in SEEDS {
        println!("seed {seed}");
        let random = Seeded::new(seed);
        let raw = storage::memory(RuntimeClock::new());
        let (_, lossy) = lossy(raw.clone(), &random, false);
        let sent = Arc::new(Mutex::new(HashSet::new()));
        let (received, deleted) = (Arc::new(Mutex::new(HashSet::new())), Arc::new(Mutex::new(BTreeSet::new())));
        let mut tasks = JoinSet::new();
        for number in 0..3 {
            let (store, sent) = (retrying(lossy.clone(), Arc::clone(&random) as _), Arc::clone(&sent));
            tasks.spawn(async move {
                for message in 0..150 {
                    let body = format!("{number}.{message}");
                    if store.queues.send("queue", body.as_bytes(), Duration::ZERO).await.is_ok() {
                        sent.lock().unwrap().insert(body);
                    }
                }
            });
            let (store, random) = (retrying(lossy.clone(), Arc::clone(&random) as _), Arc::clone(&random));
            let (received, deleted) = (Arc::clone(&received), Arc::clone(&deleted));
            tasks.spawn(async move {
                for _ in 0..600 {
                    sleep(Duration::from_millis(500)).await;
                    let Ok(messages) = store.queues.receive("queue", 4, Duration::from_secs(90)).await else {
                        continue;
                    };
                    for mut message in messages {
                        assert!(!deleted.lock().unwrap().contains(&message.id), "{message:?} was deleted");
                        let storage::Body::Bytes(body) = message.body else { panic!("{:?}", message.body) };
                        received.lock().unwrap().insert(String::from_utf8(body.to_vec()).unwrap());
                        if random.below(4) == 0 {
                            let hide = Duration::from_secs(90);
                            match store.queues.extend("queue", &message.id, &message.receipt, hide).await {
                                Ok(receipt) => message.receipt = receipt,
                                Err(_) => continue,
                            }
                        }
                        if store.queues.delete("queue", &message.id, &message.receipt).await.is_ok() {
                            deleted.lock().unwrap().insert(message.id);
                        }
                    }
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(raw.queues.approximate_count("queue").await.unwrap(), 0);
        let (sent, received) = (sent.lock().unwrap(), received.lock().unwrap());
        assert_eq!(sent.difference(&received).collect::<Vec<_>>(), Vec::<&String>::new(), "lost");
        assert!(sent.len() > 400 && deleted.lock().unwrap().len() > 400);
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_is_what_its_writer_was_told() {
    for seed in SEEDS {
        println!("seed {seed}");
        let random = Seeded::new(seed);
        let (_, lossy) = lossy(storage::memory(RuntimeClock::new()), &random, false);
        let store = retrying(lossy, Arc::clone(&random) as _);
        // `None`: nobody knows.
        let mut model: Option<Option<Bytes>> = Some(None);
        for number in 0..400 {
            let content = Bytes::from(format!("{number}"));
            match random.below(4) {
                0 => {
                    let ended = store.blobs.put("blob", content.clone()).await;
                    model = ended.ok().map(|()| Some(content));
                }
                1 => model = store.blobs.delete("blob").await.ok().map(|()| None),
                _ => {
                    if let (Ok(found), Some(known)) = (store.blobs.get("blob").await, &model) {
                        assert_eq!(found, *known);
                    }
                }
            }
        }
    }
}
