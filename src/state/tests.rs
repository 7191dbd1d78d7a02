//! Several processes on one store, each with what it knows.

use super::*;
use crate::orchestration::budget::Quota;
use crate::orchestration::ids::{LedgerId, Part, WindowId};
use crate::orchestration::limits::{KNOWN_FOR, Limits};
use crate::storage::{Page, TableStore, memory};
use crate::timestamp::Clock;
use async_trait::async_trait;
use std::sync::atomic::{AtomicU64, Ordering};

/// The time of the test's runtime, which can be paused.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ticks(638_000_000_000_000_000) + self.0.elapsed()
    }
}

/// Bits that repeat with their seed.
struct Seeded(AtomicU64);

impl Random for Seeded {
    fn bits(&self) -> u128 {
        let seed = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        u128::from(seed ^ (seed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }
}

/// Tables whose every request takes a moment, and is counted.
struct Slow {
    tables: Arc<dyn TableStore>,
    requests: AtomicU64,
}

impl Slow {
    async fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[async_trait]
impl TableStore for Slow {
    async fn get(&self, key: &Key) -> Result<Option<Row>, StorageError> {
        self.request().await;
        self.tables.get(key).await
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, StorageError> {
        self.request().await;
        self.tables.commit(operations).await
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, StorageError> {
        self.request().await;
        self.tables.page(range, after).await
    }
}

const QUOTA: Quota = Quota { per_minute: 45, per_hour: Some(1_500) };

struct Store {
    storage: Storage,
    slow: Arc<Slow>,
    seed: u64,
}

impl Store {
    fn new() -> Self {
        let storage = memory(Arc::new(TestClock(Instant::now())));
        let slow = Arc::new(Slow { tables: Arc::clone(&storage.tables), requests: AtomicU64::new(0) });
        Self { storage: Storage { tables: Arc::clone(&slow) as _, ..storage }, slow, seed: 7 }
    }

    /// Another process on it.
    fn process(&mut self) -> State {
        self.seed += 1;
        let limits = Limits { quota: QUOTA, ..Limits::scaled(1.0) };
        State::new(self.storage.clone(), Arc::new(Seeded(AtomicU64::new(self.seed))), Tenant::new("", &limits))
    }

    fn requests(&self) -> u64 {
        self.slow.requests.swap(0, Ordering::Relaxed)
    }
}

fn table() -> TableKey {
    TableKey::new("t", "s", "c", "d", "x")
}

fn name(number: u64) -> WindowName {
    WindowName::new(Timestamp::from_ticks(number), "0")
}

fn window(number: u64) -> Window {
    let (low, high) = (Timestamp::from_ticks(number), Timestamp::from_ticks(number + 1));
    let id = WindowId { ledger: LedgerId(1), low, high, part: Part::WHOLE, generation: 0, repair: 0 };
    Window::planned(id, "p", false, 1, Timestamp::MIN)
}

/// The permits of the messages that are visible now, each once.
async fn sent(state: &State) -> Vec<Option<Timestamp>> {
    let messages = state.storage().queues.receive(CHUNK_QUEUE, 32, Duration::from_secs(3600)).await.unwrap();
    let permit = |message: &crate::storage::Message| match &message.body {
        crate::storage::Body::Bytes(bytes) => {
            serde_json::from_slice::<crate::orchestration::message::ChunkMessage>(bytes).unwrap().permit
        }
        crate::storage::Body::Foreign(text) => panic!("{text}"),
    };
    messages.iter().map(permit).collect()
}

#[tokio::test(start_paused = true)]
async fn many_processes_take_from_one_budget() {
    let mut store = Store::new();
    let mut takers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let state = store.process();
        for _ in 0..3 {
            let state = state.clone();
            takers.spawn(async move {
                let mut taken = Vec::new();
                while taken.len() < 5 {
                    taken.push(state.take_permit(Duration::MAX).await.unwrap().unwrap());
                }
                taken
            });
        }
    }
    let mut permits: Vec<Timestamp> = takers.join_all().await.into_iter().flatten().collect();
    permits.sort();
    assert_eq!(permits.len(), 120);
    for pair in permits.windows(2) {
        assert!(pair[1].since(pair[0]) >= QUOTA.interval(), "{pair:?}");
    }
    let idle = permits[119].since(permits[0]).saturating_sub(QUOTA.interval() * 119);
    assert!(idle < Duration::from_secs(1), "{idle:?} of the quota was lost");
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_every_process_within_two_seconds() {
    let mut store = Store::new();
    let (one, other) = (store.process(), store.process());
    for _ in 0..3 {
        other.take_permit(Duration::MAX).await.unwrap().unwrap();
    }
    let permit = other.take_permit(Duration::MAX).await.unwrap().unwrap();
    let until = one.pause_calls(Some(Duration::from_secs(60))).await.unwrap();
    tokio::time::sleep(KNOWN_FOR + Duration::from_millis(1)).await;
    assert!(!other.permit_holds(permit).await.unwrap());
    assert!(other.take_permit(Duration::from_secs(5)).await.unwrap().is_err());
    let next = other.take_permit(Duration::MAX).await.unwrap().unwrap();
    // It knows what the line shows but for the time that a request takes.
    assert!(next + Duration::from_millis(50) >= until && other.permit_holds(next).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_look_at_the_budget_is_shared_for_two_seconds() {
    let mut store = Store::new();
    let state = store.process();
    let mut permit = state.take_permit(Duration::MAX).await.unwrap().unwrap();
    assert_eq!(store.requests(), 2, "one read, one swap");
    for _ in 0..10 {
        permit = state.take_permit(Duration::MAX).await.unwrap().unwrap();
    }
    assert_eq!(store.requests(), 10, "a swap each");
    assert!(state.permit_holds(permit).await.unwrap());
    assert_eq!(store.requests(), 0);
    tokio::time::sleep(KNOWN_FOR + Duration::from_millis(1)).await;
    assert!(state.permit_holds(permit).await.unwrap());
    assert!(state.permit_holds(permit).await.unwrap());
    assert_eq!(store.requests(), 1);
}

/// Follows the line and takes a permit; how long both took until its call may be sent.
async fn permitted(state: &State) -> Duration {
    let began = Instant::now();
    state.follow_line(None, Duration::MAX).await.unwrap().unwrap();
    let permit = state.take_permit(Duration::MAX).await.unwrap().unwrap();
    tokio::time::sleep(permit.since(state.permit_time())).await;
    assert!(state.permit_holds(permit).await.unwrap());
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn permits_that_nobody_uses_hold_nobody_up_for_longer_than_they_would_have_lasted() {
    let mut store = Store::new();
    let (lost, state) = (store.process(), store.process());
    let windows: Vec<Debt> = (0..8).map(|number| Debt::chunk(&table(), name(number))).collect();
    lost.pay(&windows).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    // How long ago that was nobody knows who may not believe a clock.
    let lasted = Duration::from_secs(2) + QUOTA.interval() * 8 + Duration::from_secs(1);
    let waited = permitted(&state).await;
    assert!(waited >= lasted && waited < lasted + Duration::from_secs(1), "{waited:?}");
    assert!(permitted(&state).await < QUOTA.interval() + Duration::from_millis(100));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(permitted(&store.process()).await < Duration::from_millis(100), "an hour ago is long ago by any clock");
}

#[tokio::test(start_paused = true)]
async fn who_asks_what_the_line_shows_is_told_by_the_next_that_is_about_to_call() {
    let mut store = Store::new();
    let (one, other) = (store.process(), store.process());
    one.pay(&(0..8).map(|number| Debt::chunk(&table(), name(number))).collect::<Vec<_>>()).await.unwrap();
    let asking = tokio::spawn(async move { permitted(&other).await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    one.calls_open_at().await.unwrap();
    one.follow_line(None, Duration::ZERO).await.unwrap().unwrap();
    let opens = Duration::from_secs(2) + QUOTA.interval() * 8;
    let waited = asking.await.unwrap();
    assert!(waited < opens + Duration::from_millis(100), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn who_follows_no_line_puts_windows_without_permits_for_when_they_might_have_them() {
    let mut store = Store::new();
    let (one, other) = (store.process(), store.process());
    let windows = |from: u64| (from..from + 8).map(|number| Debt::chunk(&table(), name(number))).collect::<Vec<_>>();
    one.pay(&windows(0)).await.unwrap();
    tokio::time::sleep(QUOTA.interval() * 8).await;
    assert_eq!(sent(&one).await.len(), 8);
    other.pay(&windows(8)).await.unwrap();
    assert_eq!(sent(&other).await.len(), 0, "the other's permits are first");
    tokio::time::sleep(QUOTA.interval() * 16).await;
    assert_eq!(sent(&other).await, vec![None; 8]);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_call_for_long_does_not_ask() {
    let mut store = Store::new();
    let (one, other) = (store.process(), store.process());
    one.pause_calls(Some(Duration::from_secs(60))).await.unwrap();
    store.requests();
    let wait = other.follow_line(None, Duration::from_secs(5)).await.unwrap().unwrap_err();
    assert!(wait > Duration::from_secs(59));
    assert_eq!(store.requests(), 1, "one read");
}

#[tokio::test(start_paused = true)]
async fn windows_that_are_put_together_take_their_permits_in_one_swap() {
    let mut store = Store::new();
    let state = store.process();
    let mut debts: Vec<Debt> = (0..8).map(|number| Debt::chunk(&table(), name(number))).collect();
    debts.push(Debt::chunk_later(&table(), name(9), Duration::from_secs(300)));
    state.pay(&debts).await.unwrap();
    assert_eq!(store.requests(), 2, "one read, one swap");
    let began = state.now();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let permits: Vec<Timestamp> = sent(&state).await.into_iter().flatten().collect();
    assert_eq!(permits.len(), 8);
    let last = permits.iter().max().unwrap().since(began);
    assert!(last < Duration::from_secs(2) + QUOTA.interval() * 8, "{last:?}");
    assert!(permits.iter().all(|permit| permits.iter().filter(|other| *other == permit).count() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_hidden_until_shortly_before_its_permit() {
    let mut store = Store::new();
    let state = store.process();
    let windows: Vec<Debt> = (0..30).map(|number| Debt::chunk(&table(), name(number))).collect();
    state.pay(&windows).await.unwrap();
    let mut seen = 0;
    for _ in 0..120 {
        for permit in sent(&state).await.into_iter().flatten() {
            let now = state.now();
            assert!(permit > now && permit.since(now) <= Duration::from_secs(3), "{permit} at {now}");
            seen += 1;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(seen, 30);
}

#[tokio::test(start_paused = true)]
async fn a_single_window_is_put_without_a_permit_where_the_quota_is_idle() {
    let mut store = Store::new();
    let state = store.process();
    state.pay(&[Debt::chunk(&table(), name(1))]).await.unwrap();
    assert_eq!((sent(&state).await, store.requests()), (vec![None], 0));
    state.pause_calls(Some(Duration::from_secs(10))).await.unwrap();
    state.pay(&[Debt::chunk(&table(), name(2))]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(sent(&state).await.iter().any(Option::is_some));
}

#[tokio::test(start_paused = true)]
async fn what_a_process_wrote_it_need_not_read() {
    let mut store = Store::new();
    let (one, other) = (store.process(), store.process());
    let insert = Transaction::new().window(&table(), &name(1), &window(1), None).unwrap();
    let etag = one.commit(insert).await.unwrap()[0].clone().unwrap();
    store.requests();
    let known = one.recent_window(&table(), &name(1)).await.unwrap().unwrap();
    assert_eq!((known, store.requests()), (Stored { record: window(1), etag }, 0));
    other.recent_window(&table(), &name(1)).await.unwrap().unwrap();
    assert_eq!(store.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_swap_of_an_old_version_is_refused_and_the_row_is_read_again() {
    let mut store = Store::new();
    let (one, other) = (store.process(), store.process());
    let insert = Transaction::new().window(&table(), &name(1), &window(1), None).unwrap();
    one.commit(insert).await.unwrap();
    let read = other.window(&table(), &name(1)).await.unwrap().unwrap();
    let changed = Window { attempts: 3, ..read.record };
    let swap = Transaction::new().window(&table(), &name(1), &changed, Some(&read.etag)).unwrap();
    other.commit(swap).await.unwrap();

    let old = one.recent_window(&table(), &name(1)).await.unwrap().unwrap();
    assert_eq!(old.record.attempts, 0, "an old row");
    let swap = Transaction::new().window(&table(), &name(1), &old.record, Some(&old.etag)).unwrap();
    assert!(matches!(one.commit(swap).await, Err(Error::Conflict)));
    assert_eq!(one.recent_window(&table(), &name(1)).await.unwrap().unwrap().record.attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_old_is_read_again() {
    let mut store = Store::new();
    let state = store.process();
    let head = Head::new(LedgerId(1), "s", "x", "Timestamp", state.now());
    state.commit(Transaction::new().head(&table(), &head, None).unwrap()).await.unwrap();
    store.requests();
    let second = Duration::from_secs(1);
    state.recent_head(&table(), second).await.unwrap().unwrap();
    tokio::time::sleep(second).await;
    state.recent_head(&table(), second).await.unwrap().unwrap();
    assert_eq!(store.requests(), 1);
}

/// Tables whose every first page is empty, as Azure's may be although more follow.
struct Slack(Arc<dyn TableStore>);

#[async_trait]
impl TableStore for Slack {
    async fn get(&self, key: &Key) -> Result<Option<Row>, StorageError> {
        self.0.get(key).await
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, StorageError> {
        self.0.commit(operations).await
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, StorageError> {
        match after {
            None => Ok(Page { rows: Vec::new(), next: Some(Continuation("more".to_owned())) }),
            Some(_) => self.0.page(range, None).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_without_rows_is_not_the_end_of_the_windows() {
    let mut store = Store::new();
    store.storage.tables = Arc::new(Slack(Arc::clone(&store.storage.tables)));
    let state = store.process();
    let planned = Transaction::new().window(&table(), &name(7), &window(7), None).unwrap();
    state.commit(planned).await.unwrap();
    let (windows, more) = state.windows_after(&table(), None).await.unwrap();
    assert_eq!((windows.len(), more), (1, false));
    let (windows, more) = state.windows_after(&table(), Some(&name(7))).await.unwrap();
    assert_eq!((windows.len(), more), (0, false), "nor is its end another stretch");
}

#[tokio::test]
async fn a_record_that_could_not_be_read_is_read_again_once_it_is_mended() {
    let mut store = Store::new();
    let (one, other) = (store.process(), store.process());
    one.commit(Transaction::new().window(&table(), &name(1), &window(1), None).unwrap()).await.unwrap();
    let key = key(&table_partition(&table()), name(1).as_str()).unwrap();
    let tables = &other.storage().tables;
    let states = |state: &str| [("state".to_owned(), state.into())].into_iter().collect();
    let write = async |state: &str| {
        let etag = tables.get(&key).await.unwrap().unwrap().etag;
        tables.commit(&[Operation::Merge(key.clone(), states(state), etag)]).await.unwrap();
    };
    write("nonsense").await;
    assert!(matches!(one.window(&table(), &name(1)).await, Err(Error::Unreadable { .. })));
    write("planned").await;
    assert!(one.recent_window(&table(), &name(1)).await.unwrap().is_some());
}
