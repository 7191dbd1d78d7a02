//! Watches every write to the state store, after whatever became of its answer: no transition outside the state machine, no
//! content that changes under an id, no watermark that moves back, no run that ends twice.

use adxingestor::orchestration::ids::{InstanceId, LedgerId, TableKey};
use adxingestor::orchestration::instance::Instance;
use adxingestor::orchestration::ledger::TableState;
use adxingestor::orchestration::window::{Window, WindowState};
use adxingestor::storage::entity::from_properties;
use adxingestor::storage::{
    Continuation, ETag, Error, Key, Operation, Page, Properties, Range, Row, Storage, TableStore,
};
use adxingestor::timestamp::{Clock, Timestamp};
use async_trait::async_trait;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use url::Url;

/// How much later than its table's stop, or than the answer to whoever stopped its run, a claim or a seal may be stored whose
/// decision was made before: the longest delay of an effect, and what a process may know of a row that it only looks at.
const UNDER_WAY: Duration = Duration::from_secs(120);

/// How far the clocks of two processes may be apart.
const CLOCKS_APART: Duration = Duration::from_secs(125);

/// What was seen so far.
#[derive(Default)]
pub struct Seen {
    violations: Mutex<Vec<String>>,
    /// Since when a table takes no claims, by its partition.
    stopped: Mutex<BTreeMap<String, Timestamp>>,
    /// Since when the client of a run knows that it stands still.
    standing: Mutex<BTreeMap<String, Timestamp>>,
    /// Tables that were given up in the last run that was at them, by their partition.
    given_up: Mutex<BTreeSet<String>>,
    /// A hash of what was written to a blob, by its name, or to a block of one.
    blobs: Mutex<BTreeMap<String, u64>>,
    /// The blob that was posted for a window, by the part of its name that is the window's.
    posted: Mutex<BTreeMap<String, String>>,
    /// How many appends to a metadata table have landed, by their tag.
    landed: Mutex<BTreeMap<String, u32>>,
    /// What those asked for that landed behind another of their tag which nobody could see when they were sent.
    overtaken: Mutex<Vec<String>>,
    /// How many transactions there were.
    writes: AtomicU64,
}

impl Seen {
    /// A blob is written; one that was posted could be read at any time, so no two claims may write the same.
    pub fn blob_written(&self, url: &Url, content: &[u8]) {
        let blob = url.path().rsplit('/').next().unwrap_or_default();
        let part = url.query_pairs().filter(|(name, _)| name == "comp" || name == "blockid");
        let name = part.fold(blob.to_owned(), |name, (_, part)| format!("{name} {part}"));
        let mut hash = DefaultHasher::new();
        hash.write(content);
        let mut blobs = self.blobs.lock().unwrap();
        if *blobs.entry(name.clone()).or_insert(hash.finish()) != hash.finish() {
            self.violations
                .lock()
                .unwrap()
                .push(format!("the blob {name} is written twice, each time with other content"));
        }
    }

    /// A blob is posted; no two of different content may be posted for one window.
    pub fn blob_posted(&self, name: &str) {
        let window = name.rsplit_once('-').map_or(name, |(window, _)| window);
        let mut posted = self.posted.lock().unwrap();
        let before = posted.entry(window.to_owned()).or_insert_with(|| name.to_owned());
        if before != name {
            self.violations.lock().unwrap().push(format!("{before} and {name} are posted for one window"));
        }
    }

    /// How many appends under a tag have landed.
    pub fn landed(&self, tag: &str) -> u32 {
        self.landed.lock().unwrap().get(tag).copied().unwrap_or_default()
    }

    /// An append under a tag lands, of which `before` had landed when it was sent.
    pub fn lands(&self, tag: &str, before: u32, asked: &[u8]) {
        let mut landed = self.landed.lock().unwrap();
        let landed = landed.entry(tag.to_owned()).or_default();
        if *landed > before {
            self.overtaken.lock().unwrap().push(String::from_utf8_lossy(asked).into_owned());
        }
        *landed += 1;
    }

    /// How many appends of rows with all these words were on their way while another of the same tag landed: no look could have kept
    /// them back.
    pub fn overtaken(&self, words: &[&str]) -> u64 {
        let overtaken = self.overtaken.lock().unwrap();
        overtaken.iter().filter(|asked| words.iter().all(|word| asked.contains(word))).count() as u64
    }

    /// The client of a run was told at `now` that it stands still, and all its tables know.
    pub fn stands_still(&self, id: &InstanceId, now: Timestamp) {
        self.standing.lock().unwrap().insert(id.to_string(), now);
    }

    /// A run is about to go on.
    pub fn goes_on(&self, id: &InstanceId) {
        self.standing.lock().unwrap().remove(id.as_str());
    }

    /// Whether the last run at a table gave it up before its end, at which its watermark is moved.
    pub fn is_given_up(&self, table: &TableKey) -> bool {
        self.given_up.lock().unwrap().contains(&format!("t:{}", table.as_str()))
    }

    /// How many transactions were carried out so far: while it stays the same, so do all rows.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// What should not have been.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }
}

/// `store` with every write to its rows watched.
pub fn watched(store: Storage, seen: Arc<Seen>) -> Storage {
    let tables = Arc::new(Watched { store: store.clone(), seen });
    Storage { tables, ..store }
}

struct Watched {
    store: Storage,
    seen: Arc<Seen>,
}

#[async_trait]
impl TableStore for Watched {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error> {
        self.store.tables.get(key).await
    }

    async fn commit(&self, operations: &[Operation]) -> Result<Vec<Option<ETag>>, Error> {
        let mut before = Vec::with_capacity(operations.len());
        for operation in operations {
            before.push(self.store.tables.get(operation.key()).await?);
        }
        let written = self.store.tables.commit(operations).await?;
        self.seen.writes.fetch_add(1, Ordering::SeqCst);
        for (operation, old) in operations.iter().zip(before) {
            let new = match operation {
                Operation::Insert(_, new) | Operation::Replace(_, new, _) => Some(new),
                Operation::Merge(..) => continue,
                Operation::Delete(..) => None,
            };
            self.judge(operation.key(), old.map(|row| row.properties).as_ref(), new);
        }
        Ok(written)
    }

    async fn page(&self, range: &Range, after: Option<&Continuation>) -> Result<Page, Error> {
        self.store.tables.page(range, after).await
    }
}

fn record<T: DeserializeOwned>(properties: &Properties) -> T {
    from_properties(properties).unwrap()
}

impl Watched {
    fn judge(&self, key: &Key, old: Option<&Properties>, new: Option<&Properties>) {
        let found = if key.row().starts_with("w:") {
            let new: Option<Window> = new.map(record);
            // One that an adoption found at the destination was sealed on another record.
            if old.is_none() && key.row().contains(".a") && new.as_ref().is_some_and(|new| new.seal.is_none()) {
                return;
            }
            let old: Option<Window> = old.map(record);
            self.claim_in_time(key, new.as_ref())
                .or_else(|| self.stands_still(old.as_ref(), new.as_ref()))
                .or_else(|| window(old, new, Clock::now(&*self.store.clock)))
        } else if key.row() == "h" {
            self.head(key, old.map(record), new.map(record))
        } else if key.row() == "i" {
            instance(old.map(record), new.map(record))
        } else {
            None
        };
        if let Some(violation) = found {
            self.seen.violations.lock().unwrap().push(format!("{key}: {violation}"));
        }
    }

    fn claim_in_time(&self, key: &Key, new: Option<&Window>) -> Option<String> {
        new.filter(|window| window.state == WindowState::Claimed)?;
        let stopped = *self.seen.stopped.lock().unwrap().get(key.partition())?;
        let late = Clock::now(&*self.store.clock) > stopped + UNDER_WAY;
        late.then(|| format!("claimed although its table was stopped at {stopped}"))
    }

    /// A claim of a run whose client was told that it stands still, or a seal: what is sealed is ingested.
    fn stands_still(&self, old: Option<&Window>, new: Option<&Window>) -> Option<String> {
        let new = new.filter(|new| match new.state {
            WindowState::Claimed => true,
            WindowState::Sealed => old.is_some_and(|old| old.state == WindowState::Claimed),
            _ => false,
        })?;
        let since = *self.seen.standing.lock().unwrap().get(new.run.as_ref()?.as_str())?;
        let late = Clock::now(&*self.store.clock) > since + UNDER_WAY;
        late.then(|| format!("{:?} although its run was said to stand still at {since}", new.state))
    }

    fn head(&self, key: &Key, old: Option<HeadSeen>, new: Option<HeadSeen>) -> Option<String> {
        let new = new?;
        let mut stopped = self.seen.stopped.lock().unwrap();
        if new.stop {
            stopped.entry(key.partition().to_owned()).or_insert(Clock::now(&*self.store.clock));
        } else {
            stopped.remove(key.partition());
        }
        let old = old?;
        let mut given_up = self.seen.given_up.lock().unwrap();
        if new.is_at_work() {
            given_up.remove(key.partition());
        } else if old.is_at_work() && new.ended.is_some() {
            given_up.insert(key.partition().to_owned());
        }
        if new.verified_up_to < old.verified_up_to {
            return Some(format!("the watermark went back from {} to {}", old.verified_up_to, new.verified_up_to));
        }
        // An adoption that is done again has a ledger of its own.
        let is_rebuilt = new.adopted.is_some() && new.run.is_none();
        (old.ledger != new.ledger && !is_rebuilt).then(|| format!("ledger {} became {}", old.ledger, new.ledger))
    }
}

/// What is looked at of a head: every end of a window writes one, and reading all of it takes as long as the rest of a step.
#[derive(Deserialize)]
struct HeadSeen {
    ledger: LedgerId,
    #[serde(default)]
    run: Option<InstanceId>,
    state: TableState,
    /// The result of a table without an end.
    #[serde(default)]
    ended: Option<IgnoredAny>,
    #[serde(default)]
    stop: bool,
    verified_up_to: Timestamp,
    #[serde(default)]
    adopted: Option<Timestamp>,
}

impl HeadSeen {
    /// Whether its run is at its windows.
    fn is_at_work(&self) -> bool {
        matches!(self.state, TableState::Running | TableState::Finishing)
    }
}

fn instance(old: Option<Instance>, new: Option<Instance>) -> Option<String> {
    let (old, new) = (old?, new?);
    let again = new.lives > old.lives;
    (old.status.is_final() && old.status != new.status && !again)
        .then(|| format!("a run that was {} became {}", old.status.name(), new.status.name()))
}

fn window(old: Option<Window>, new: Option<Window>, now: Timestamp) -> Option<String> {
    use WindowState::{Claimed, Empty, Expired, Failed, Later, Planned, Sealed, Split, Submitted, Verified};
    let (old, new) = match (old, new) {
        // What the plan itself has counted as empty is not pulled, and what the source no longer keeps is not asked for.
        (None, Some(new)) if matches!(new.state, Planned | Later | Empty | Expired) => return None,
        (None, Some(new)) => return Some(format!("begins as {:?}", new.state)),
        // Drafts and what is long done are removed.
        (Some(old), None) if matches!(old.state, Planned | Later) || old.state.is_terminal() => return None,
        (Some(old), None) => return Some(format!("removed while {:?}", old.state)),
        (Some(old), Some(new)) => (old, new),
        (None, None) => return None,
    };
    let renewed = new.id.generation == old.id.generation + 1;
    let lawful = match (old.state, new.state) {
        (from, to) if from == to => true,
        (Planned, Claimed | Failed | Expired) => true,
        // By a plan of a run that is not asked for it, and by the next one that is.
        (Planned | Claimed | Failed, Later) => old.seal.is_none(),
        (Later, Planned | Expired) => true,
        // A larger one that was never sealed either takes its place.
        (Planned | Failed | Later, Split) => old.seal.is_none() && old.posts == 0,
        // Another part of its range brings its rows: what parted them is gone.
        (Planned | Failed | Later, Empty) => old.seal.is_none() && old.posts == 0,
        (Claimed, Planned | Sealed | Empty | Split | Expired | Failed) => true,
        // A later snapshot takes the place of what it is a part of.
        (Sealed | Submitted, Expired) => true,
        (Sealed, Submitted | Failed) => true,
        (Submitted, Verified | Failed) => true,
        (Submitted | Failed | Sealed, Planned) => renewed || old.seal.is_none(),
        (Failed, Sealed | Submitted | Verified | Expired) => true,
        // Counted again later, it has more rows than sealed.
        (Verified, Failed) => new.error.is_some(),
        _ => false,
    };
    if !lawful {
        return Some(format!("{:?} became {:?}", old.state, new.state));
    }
    let live = old.lease_until.is_some_and(|until| now + CLOCKS_APART < until);
    if (old.state, new.state) == (Claimed, Claimed) && old.owner != new.owner && live {
        return Some(format!("the live claim of {:?} was taken over by {:?}", old.owner, new.owner));
    }
    if !renewed && old.id != new.id {
        return Some(format!("the id {} became {}", old.id, new.id));
    }
    match (&old.seal, &new.seal) {
        (Some(before), Some(after)) if !renewed && before != after => {
            Some(format!("the content of {} changed: {before:?} became {after:?}", old.id))
        }
        (Some(_), None) if !renewed && !matches!(new.state, Verified | Empty | Split) => {
            Some(format!("the content of {} was forgotten", old.id))
        }
        _ => None,
    }
}
