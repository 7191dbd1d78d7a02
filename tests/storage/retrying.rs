//! What the decorator makes of lost requests, lost answers and a service that asks for time: one case at a time.

use crate::faulty::{Fault, Faulty, RuntimeClock};
use adxingestor::random::Random;
use adxingestor::storage::{self, ETag, Error, Key, Operation, Properties, Range, Receipt, Row, Storage, retrying};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long others wait before they act in the first pause of a call, which is 100 ms with [`LongPauses`].
const MEANWHILE: Duration = Duration::from_millis(50);

/// Fresh names, and always the longest jitter.
#[derive(Default)]
struct LongPauses(AtomicU64);

impl Random for LongPauses {
    fn bits(&self) -> u128 {
        (u128::from(u64::MAX) << 64) | u128::from(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// One store, seen by the writer whose requests are lost, by another writer, and as it is.
struct Bench {
    faulty: Arc<Faulty>,
    writer: Storage,
    other: Storage,
    raw: Storage,
}

fn bench(script: impl IntoIterator<Item = Fault>) -> Bench {
    let raw = storage::memory(RuntimeClock::new());
    let random: Arc<dyn Random> = Arc::new(LongPauses::default());
    let (faulty, lossy) = Faulty::scripted(raw.clone(), script);
    Bench { faulty, writer: retrying(lossy, Arc::clone(&random)), other: retrying(raw.clone(), random), raw }
}

/// The same, where the look at the rows after the lost answer fails too, so that others act before any other look.
fn blind_bench(fault: Fault) -> Bench {
    bench([fault, Fault::LoseRequest, Fault::LoseRequest, Fault::LoseRequest])
}

impl Bench {
    /// A row that the other writer wrote.
    async fn row(&self, row: &str) -> ETag {
        self.other.tables.commit(&[insert(row, 0)]).await.unwrap().swap_remove(0).unwrap()
    }

    async fn read(&self, row: &str) -> Option<Row> {
        self.other.tables.get(&key(row)).await.unwrap()
    }

    async fn replace(&self, row: &str, v: i64) {
        let etag = self.read(row).await.unwrap().etag;
        self.other.tables.commit(&[replace(row, v, &etag)]).await.unwrap();
    }

    async fn delete(&self, row: &str) {
        let etag = self.read(row).await.unwrap().etag;
        self.other.tables.commit(&[Operation::Delete(key(row), etag)]).await.unwrap();
    }

    /// What `operations` give while `others` act during the first pause.
    async fn commit_while(
        &self,
        operations: &[Operation],
        others: impl Future<Output = ()>,
    ) -> Result<Vec<Option<ETag>>, Error> {
        let meanwhile = async {
            sleep(MEANWHILE).await;
            others.await;
        };
        tokio::join!(self.writer.tables.commit(operations), meanwhile).0
    }

    /// That a version was given which is refused wherever it is used.
    async fn assert_outdated(&self, row: &str, etag: Option<&ETag>) {
        let (before, sent) = (self.read(row).await, self.faulty.count("commit"));
        for store in [&self.writer, &self.other] {
            let refused = store.tables.commit(&[replace(row, 99, etag.expect("a version"))]).await;
            assert!(matches!(refused, Err(Error::Conflict { index: 0 } | Error::NotFound { .. })), "{refused:?}");
        }
        assert_eq!(self.read(row).await, before);
        assert_eq!(self.faulty.count("commit"), sent, "a version that no service gave was sent to it");
    }
}

fn object(value: Value) -> Properties {
    value.as_object().unwrap().clone()
}

fn key(row: &str) -> Key {
    Key::new("p", row).unwrap()
}

fn value(v: i64) -> Properties {
    object(json!({"v": v}))
}

fn insert(row: &str, v: i64) -> Operation {
    Operation::Insert(key(row), value(v))
}

fn replace(row: &str, v: i64, etag: &ETag) -> Operation {
    Operation::Replace(key(row), value(v), etag.clone())
}

fn delete(row: &str, etag: &ETag) -> Operation {
    Operation::Delete(key(row), etag.clone())
}

#[track_caller]
fn assert_unknown<T: std::fmt::Debug>(result: Result<T, Error>) {
    let Err(Error::Unavailable(why)) = &result else { panic!("{result:?}") };
    assert!(why.to_string().contains("is unknown") && why.to_string().contains("read them again"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_sent_again() {
    for fault in [Fault::LoseRequest, Fault::Throttle(None), Fault::Hang] {
        let bench = bench([fault]);
        let etags = bench.writer.tables.commit(&[insert("a", 1)]).await.unwrap();
        assert_eq!(bench.read("a").await.unwrap().etag, etags[0].clone().unwrap());
        assert_eq!(bench.faulty.applied().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_found_and_its_version_is_good() {
    for fault in [Fault::LoseAnswer, Fault::HangApplied] {
        for existing in [false, true] {
            let bench = bench([fault]);
            let operation = if existing { replace("a", 1, &bench.row("a").await) } else { insert("a", 1) };
            let etag = bench.writer.tables.commit(&[operation]).await.unwrap().swap_remove(0).unwrap();
            assert_eq!(bench.faulty.applied().len(), 1);
            assert_eq!(bench.read("a").await, Some(Row { key: key("a"), properties: value(1), etag: etag.clone() }));
            bench.other.tables.commit(&[replace("a", 2, &etag)]).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_found_below_the_writes_of_others() {
    for existing in [false, true] {
        for merges in [false, true] {
            let bench = blind_bench(Fault::LoseAnswer);
            let operation = if existing { replace("a", 1, &bench.row("a").await) } else { insert("a", 1) };
            let others = async {
                bench.replace("a", 2).await;
                let etag = bench.read("a").await.unwrap().etag;
                let next = Operation::Merge(key("a"), value(3), etag.clone());
                bench.other.tables.commit(&[if merges { next } else { replace("a", 3, &etag) }]).await.unwrap();
            };
            let etags = bench.commit_while(&[operation], others).await.unwrap();
            assert_eq!(bench.read("a").await.unwrap().properties, value(3));
            bench.assert_outdated("a", etags[0].as_ref()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_insert_that_lost_against_another_is_refused() {
    let bench = blind_bench(Fault::LoseRequest);
    let refused = bench.commit_while(&[insert("a", 1)], async { drop(bench.row("a").await) }).await;
    assert!(matches!(refused, Err(Error::Exists { index: 0 })), "{refused:?}");
    assert_eq!(bench.read("a").await.unwrap().properties, value(0));
}

#[tokio::test(start_paused = true)]
async fn an_insert_over_a_row_from_before_there_were_names_is_refused() {
    let bench = bench([Fault::LoseRequest]);
    bench.raw.tables.commit(&[insert("a", 0)]).await.unwrap();
    let refused = bench.writer.tables.commit(&[insert("a", 1)]).await;
    assert!(matches!(refused, Err(Error::Exists { index: 0 })), "{refused:?}");
    let etag = bench.read("a").await.unwrap().etag;
    bench.writer.tables.commit(&[replace("a", 1, &etag)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_that_lost_against_another_is_refused() {
    let named = [true, false];
    for named in named {
        let bench = blind_bench(Fault::LoseRequest);
        let etag = if named {
            bench.row("a").await
        } else {
            bench.raw.tables.commit(&[insert("a", 0)]).await.unwrap().swap_remove(0).unwrap()
        };
        for operation in
            [replace("a", 1, &etag), Operation::Merge(key("a"), value(1), etag.clone()), delete("a", &etag)]
        {
            let refused = bench.commit_while(&[insert("b", 1), operation], bench.replace("a", 2)).await;
            assert!(matches!(refused, Err(Error::Conflict { index: 1 })), "{refused:?}");
        }
        assert_eq!(bench.read("a").await.unwrap().properties, value(2));
        assert_eq!(bench.read("b").await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_is_not_taken_for_the_writer_it_was_before() {
    let bench = bench([Fault::None, Fault::LoseRequest, Fault::LoseRequest, Fault::LoseRequest, Fault::LoseRequest]);
    let first = bench.row("a").await;
    let etag = bench.writer.tables.commit(&[replace("a", 1, &first)]).await.unwrap().swap_remove(0).unwrap();
    let refused = bench.commit_while(&[replace("a", 2, &etag)], bench.replace("a", 3)).await;
    assert!(matches!(refused, Err(Error::Conflict { index: 0 })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_row_was_deleted_since_is_unknown() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
        let bench = blind_bench(fault);
        let operation = replace("a", 1, &bench.row("a").await);
        assert_unknown(bench.commit_while(&[operation], bench.delete("a")).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_row_was_deleted_and_inserted_again_since_is_unknown() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
        let bench = blind_bench(fault);
        let operation = replace("a", 1, &bench.row("a").await);
        let others = async {
            bench.delete("a").await;
            bench.row("a").await;
        };
        assert_unknown(bench.commit_while(&[operation], others).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_below_very_many_others_is_unknown() {
    for (others, known) in [(31, true), (32, false)] {
        let bench = blind_bench(Fault::LoseAnswer);
        let operation = replace("a", 1, &bench.row("a").await);
        let others = async {
            for v in 0..others {
                bench.replace("a", v).await;
            }
        };
        let ended = bench.commit_while(&[operation], others).await;
        if known { assert!(ended.is_ok(), "{ended:?}") } else { assert_unknown(ended) }
    }
}

#[tokio::test(start_paused = true)]
async fn one_row_of_a_transaction_decides_for_all() {
    let bench = blind_bench(Fault::LoseAnswer);
    let (a, b, c) = (bench.row("a").await, bench.row("b").await, bench.row("c").await);
    let operations = [replace("a", 1, &a), delete("b", &b), replace("c", 1, &c), insert("d", 1)];
    let others = async {
        bench.delete("a").await;
        bench.replace("d", 2).await;
    };
    let etags = bench.commit_while(&operations, others).await.unwrap();
    bench.assert_outdated("a", etags[0].as_ref()).await;
    assert_eq!(etags[1], None);
    assert_eq!(etags[2].as_ref(), bench.read("c").await.map(|row| row.etag).as_ref());
    bench.assert_outdated("d", etags[3].as_ref()).await;
}

#[tokio::test(start_paused = true)]
async fn rows_that_are_all_gone_count_as_deleted() {
    let bench = bench([Fault::LoseAnswer]);
    let operations = [delete("a", &bench.row("a").await), delete("b", &bench.row("b").await)];
    assert_eq!(bench.writer.tables.commit(&operations).await.unwrap(), [None, None]);
    assert_eq!((bench.read("a").await, bench.read("b").await), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_gone_without_doubt_is_not_found() {
    let bench = bench([]);
    let operation = delete("a", &bench.row("a").await);
    bench.delete("a").await;
    let refused = bench.writer.tables.commit(&[operation]).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_of_a_row_that_another_changed_is_refused() {
    let bench = blind_bench(Fault::LoseRequest);
    let operations = [delete("a", &bench.row("a").await), delete("b", &bench.row("b").await)];
    let others = async {
        bench.delete("a").await;
        bench.replace("b", 2).await;
    };
    let refused = bench.commit_while(&operations, others).await;
    assert!(matches!(refused, Err(Error::NotFound { .. } | Error::Conflict { .. })), "{refused:?}");
    assert_eq!(bench.read("b").await.unwrap().properties, value(2));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_of_a_row_that_is_there_again_is_unknown() {
    let bench = blind_bench(Fault::LoseAnswer);
    let operation = delete("a", &bench.row("a").await);
    assert_unknown(bench.commit_while(&[operation], async { drop(bench.row("a").await) }).await);
}

#[tokio::test(start_paused = true)]
async fn rows_without_room_for_names_are_written_and_never_misjudged() {
    let full = |v: i64| -> Properties { (0..252).map(|n| (format!("n{n}"), v.into())).collect() };
    let bench = bench([Fault::LoseAnswer]);
    assert_unknown(bench.writer.tables.commit(&[Operation::Insert(key("a"), full(1))]).await);
    let row = bench.read("a").await.unwrap();
    assert_eq!(row.properties, full(1));
    let merge = Operation::Merge(key("a"), value(3), row.etag.clone());
    let refused = bench.writer.tables.commit(&[merge]).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    let merge = Operation::Merge(key("a"), object(json!({"n0": 3})), row.etag);
    let etag = bench.writer.tables.commit(&[merge]).await.unwrap().swap_remove(0).unwrap();
    let row = bench.read("a").await.unwrap();
    assert_eq!((&row.etag, &row.properties["n0"], row.properties.len()), (&etag, &json!(3), 252));

    bench.writer.tables.commit(&[replace("a", 4, &etag)]).await.unwrap();
    assert_eq!(bench.read("a").await.unwrap().properties, value(4));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_at_once_and_nothing_is_sent_again() {
    let bench = bench([Fault::LoseAnswer]);
    let started = Instant::now();
    bench.writer.tables.commit(&[insert("a", 1), insert("b", 1)]).await.unwrap();
    assert_eq!((bench.faulty.count("commit"), started.elapsed()), (1, Duration::ZERO));
}

#[tokio::test]
async fn the_names_are_seen_in_the_store_only_and_cannot_be_written() {
    let bench = bench([]);
    let etag = bench.row("a").await;
    assert!(bench.raw.tables.get(&key("a")).await.unwrap().unwrap().properties.contains_key("last_operation"));
    let range = Range { partition: "p".to_owned(), from: String::new(), to: None };
    let page = bench.writer.tables.page(&range, None).await.unwrap();
    assert_eq!(page.rows, [Row { key: key("a"), properties: value(0), etag: etag.clone() }]);
    let taken = object(json!({"last_operation": "x"}));
    for operation in [
        Operation::Insert(key("b"), taken.clone()),
        Operation::Replace(key("a"), taken.clone(), etag.clone()),
        Operation::Merge(key("a"), taken, etag),
    ] {
        let refused = bench.writer.tables.commit(&[insert("c", 1), operation]).await;
        assert!(matches!(&refused, Err(Error::Invalid(why)) if why.contains("`last_operation`")), "{refused:?}");
    }
    assert_eq!(bench.faulty.count("commit"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_get_better_is_not_repeated() {
    let bench = bench([Fault::Refuse; 9]);
    let started = Instant::now();
    let (queues, blobs) = (&bench.writer.queues, &bench.writer.blobs);
    let receipt = Receipt("1".to_owned());
    assert!(matches!(bench.writer.tables.get(&key("a")).await, Err(Error::Fatal(_))));
    assert!(matches!(bench.writer.tables.commit(&[insert("a", 1)]).await, Err(Error::Fatal(_))));
    assert!(matches!(queues.send("queue", b"x", Duration::ZERO).await, Err(Error::Fatal(_))));
    assert!(matches!(queues.delete("queue", "1", &receipt).await, Err(Error::Fatal(_))));
    assert!(matches!(blobs.get("blob").await, Err(Error::Fatal(_))));
    assert_eq!((bench.faulty.requests.lock().unwrap().len(), started.elapsed()), (5, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn every_request_is_repeated() {
    let bench = bench([Fault::LoseRequest; 5]);
    let (queues, blobs) = (&bench.writer.queues, &bench.writer.blobs);
    bench.row("a").await;
    // Five faults for the first, then one before each of the others.
    assert_eq!(bench.writer.tables.get(&key("a")).await.unwrap().unwrap().properties, value(0));
    assert_eq!(bench.faulty.count("get"), 6);
    queues.send("queue", b"x", Duration::ZERO).await.unwrap();
    let lossy = |script: &[Fault]| {
        let (_, storage) = Faulty::scripted(bench.raw.clone(), script.to_vec());
        retrying(storage, Arc::new(LongPauses::default()))
    };
    let lose = [Fault::LoseRequest, Fault::Throttle(None)];
    let range = Range { partition: "p".to_owned(), from: String::new(), to: None };
    assert_eq!(lossy(&lose).tables.page(&range, None).await.unwrap().rows.len(), 1);
    lossy(&lose).queues.send("queue", b"y", Duration::ZERO).await.unwrap();
    lossy(&lose).queues.send_foreign("queue", "-").await.unwrap();
    assert_eq!(lossy(&lose).queues.approximate_count("queue").await.unwrap(), 3);
    let messages = lossy(&lose).queues.receive("queue", 32, Duration::from_secs(600)).await.unwrap();
    assert_eq!(messages.len(), 3);
    let message = &messages[0];
    let receipt =
        lossy(&lose).queues.extend("queue", &message.id, &message.receipt, Duration::from_secs(600)).await.unwrap();
    lossy(&lose).queues.delete("queue", &message.id, &receipt).await.unwrap();
    assert_eq!(queues.approximate_count("queue").await.unwrap(), 2);
    lossy(&lose).blobs.put("blob", "content".into()).await.unwrap();
    assert_eq!(lossy(&lose).blobs.get("blob").await.unwrap(), Some("content".into()));
    lossy(&lose).blobs.delete("blob").await.unwrap();
    assert_eq!(blobs.get("blob").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_message_in_doubt_that_is_gone_counts_as_deleted_and_a_stale_receipt_does_not() {
    let hide = Duration::from_secs(60);
    let bench = bench([Fault::LoseAnswer, Fault::None, Fault::LoseRequest]);
    for body in [b"x", b"y"] {
        bench.other.queues.send("queue", body, Duration::ZERO).await.unwrap();
    }
    let messages = bench.other.queues.receive("queue", 2, hide).await.unwrap();
    bench.writer.queues.delete("queue", &messages[0].id, &messages[0].receipt).await.unwrap();
    bench.other.queues.extend("queue", &messages[1].id, &messages[1].receipt, hide).await.unwrap();
    let refused = bench.writer.queues.delete("queue", &messages[1].id, &messages[1].receipt).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    let gone = bench.writer.queues.delete("queue", &messages[0].id, &messages[0].receipt).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "without doubt it is not found: {gone:?}");
}

#[tokio::test(start_paused = true)]
async fn an_extension_in_doubt_stays_refused() {
    let hide = Duration::from_secs(60);
    let bench = bench([Fault::LoseAnswer]);
    bench.other.queues.send("queue", b"x", Duration::ZERO).await.unwrap();
    let message = bench.other.queues.receive("queue", 1, hide).await.unwrap().swap_remove(0);
    let refused = bench.writer.queues.extend("queue", &message.id, &message.receipt, hide).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn no_pause_is_shorter_than_the_service_asks() {
    let asked = Duration::from_secs(7);
    let bench = bench([Fault::Throttle(Some(asked)), Fault::Throttle(Some(asked))]);
    bench.writer.tables.get(&key("a")).await.unwrap();
    let requests = bench.faulty.requests.lock().unwrap();
    for pair in requests.windows(2) {
        let pause = pair[1].1 - pair[0].1;
        assert!(pause >= asked && pause < asked + Duration::from_secs(1), "{pause:?}");
    }
    assert_eq!(requests.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_asks_for_more_than_there_is_time_is_left_alone() {
    let asked = Duration::from_secs(60);
    let bench = bench([Fault::Throttle(Some(asked))]);
    let started = Instant::now();
    let ended = bench.writer.tables.get(&key("a")).await;
    assert!(matches!(ended, Err(Error::Throttled { after: Some(after) }) if after == asked), "{ended:?}");
    assert_eq!((bench.faulty.count("get"), started.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_five_seconds_and_the_error_says_what_was_tried() {
    let bench = bench([Fault::LoseRequest; 100]);
    let started = Instant::now();
    let ended = bench.writer.tables.get(&key("a")).await.unwrap_err();
    assert!(started.elapsed() <= Duration::from_secs(20), "{:?}", started.elapsed());
    let requests: Vec<Instant> = bench.faulty.requests.lock().unwrap().iter().map(|(_, at)| *at).collect();
    let pauses: Vec<u64> =
        requests.windows(2).map(|pair| ((pair[1] - pair[0]).as_secs_f64() * 10.0).round() as u64).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 50, 50]);
    let Error::Unavailable(why) = ended else { panic!("{ended}") };
    let why = why.to_string();
    assert!(why.contains("get failed 9 times in ") && why.contains("the connection was refused"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_although_no_answer_ever_comes() {
    let bench = bench([Fault::Hang; 100]);
    for call in 0..3 {
        let started = Instant::now();
        let (ended, most) = match call {
            0 => (bench.writer.tables.get(&key("a")).await.map(drop), 30),
            1 => (bench.writer.tables.commit(&[insert("a", 1)]).await.map(drop), 30),
            _ => (bench.writer.blobs.get("blob").await.map(drop), 60),
        };
        assert!(matches!(ended, Err(Error::Unavailable(_))), "{ended:?}");
        assert!(started.elapsed() <= Duration::from_secs(most), "{:?}", started.elapsed());
    }
    assert!(bench.faulty.requests.lock().unwrap().len() >= 5);
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_although_the_rows_cannot_be_read_again() {
    let blind = [Fault::LoseRequest; 3];
    let faults = [Fault::LoseAnswer].into_iter().chain(blind).chain([Fault::None]);
    let bench = bench(faults.chain([Fault::Hang; 100]));
    let started = Instant::now();
    let ended = bench.writer.tables.commit(&[insert("a", 1)]).await;
    assert!(matches!(ended, Err(Error::Unavailable(_))), "{ended:?}");
    assert!(started.elapsed() <= Duration::from_secs(30), "{:?}", started.elapsed());
}
