//! The way that is taken and what the service lends for it: found at most once at a time, renewed every hour, kept
//! when renewing fails, handed out in turns. A way is not left while a post by it may still be under way.

use super::super::{Client, Error};
use super::rank::Ranks;
use super::route::{self, Route};
use super::signed::Signed;
use super::way::{Choice, Queues, Way};
use crate::timestamp::{Timestamp, ticks_of};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long an old set is used on after renewing it failed.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);
/// How many resources an operation tries, as in the SDKs.
const MOST_RESOURCES: usize = 3;
const DAY: Duration = Duration::from_secs(86_400);
/// How many posts of a day one process has told of in the status table: it is not made for more (Azure/azure-kusto-node, 230). All
/// that exceeding it can cost is that the service tells less of how posts end, which proves nothing anyhow.
const MOST_TRACKED: u32 = 10_000;
/// How long the status table is left out after it did not answer.
const SILENCE: Duration = Duration::from_secs(900);
/// How long a post is taken for one that is under way: longer than a window is waited for and counted.
const OPEN_FOR: Duration = Duration::from_secs(3600);

/// One set of what the service lends, and the way it is used in.
#[derive(Debug)]
pub(super) struct Resources {
    /// How blobs are asked to be ingested.
    pub way: Way,
    containers: Vec<Signed>,
    /// Lent for the way that was left: blobs may lie there still.
    former: Vec<Signed>,
    renew_at: Timestamp,
}

impl Resources {
    /// The container that holds `blob`, if it is still lent, and the blob's name in it.
    pub fn container_of<'a>(&self, blob: &'a str, now: Timestamp) -> Option<(&Signed, &'a str)> {
        self.containers.iter().chain(&self.former).filter(|container| container.is_usable(now)).find_map(|container| {
            let name = blob.strip_prefix(container.bare().trim_end_matches('/'))?.strip_prefix('/')?;
            (!name.is_empty() && !name.contains('/')).then_some((container, name))
        })
    }

    /// Whether no signature of it has ended that is needed.
    fn is_usable(&self, now: Timestamp) -> bool {
        let usable = |lent: &[Signed]| lent.iter().any(|signed| signed.is_usable(now));
        match &self.way {
            Way::Inline => true,
            Way::Rest | Way::Direct => usable(&self.containers),
            Way::Queued(Queues { queues, .. }) => usable(&self.containers) && usable(queues),
        }
    }
}

/// The current set.
pub(super) struct Storage {
    choice: Choice,
    current: RwLock<Option<Arc<Resources>>>,
    /// Not before this is an old set tried to be renewed again.
    pause_until: RwLock<Option<Timestamp>>,
    last_post: RwLock<Option<Timestamp>>,
    /// The day, and how many posts of it are told of.
    tracked: RwLock<(u64, u32)>,
    /// Until when the status table is left out.
    silent_until: RwLock<Option<Timestamp>>,
    /// Held while fetching, so that one does and the others wait for it.
    flight: tokio::sync::Mutex<()>,
    turn: AtomicUsize,
    /// How the accounts do.
    pub ranks: Ranks,
}

impl Storage {
    pub fn new(choice: Choice) -> Self {
        Self {
            choice,
            current: RwLock::default(),
            pause_until: RwLock::default(),
            last_post: RwLock::default(),
            tracked: RwLock::default(),
            silent_until: RwLock::default(),
            flight: tokio::sync::Mutex::default(),
            turn: AtomicUsize::default(),
            ranks: Ranks::default(),
        }
    }

    /// What the setting says.
    pub fn choice(&self) -> Choice {
        self.choice
    }

    /// The containers that an upload may try, the best first.
    pub fn containers(&self, client: &Client, set: &Resources) -> Vec<Signed> {
        self.best(client, &set.containers)
    }

    /// The resources that an operation may try, the best first: those whose signatures are good, or else those that were lent ended.
    pub fn best(&self, client: &Client, lent: &[Signed]) -> Vec<Signed> {
        let now = client.clock().now();
        let mut good: Vec<Signed> = lent.iter().filter(|signed| signed.is_live(now)).cloned().collect();
        if good.is_empty() {
            good = lent.iter().filter(|signed| signed.is_usable(now)).cloned().collect();
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut ordered = self.ranks.order(&good, now, client.seed(), turn);
        ordered.truncate(MOST_RESOURCES);
        ordered
    }

    /// Something was posted, or may have been.
    pub fn posts(&self, now: Timestamp) {
        *self.last_post.write().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// The status table did not answer: it is left out for a while, so that a hang of it is met once and not in each post.
    pub fn is_silent(&self, now: Timestamp) {
        *self.silent_until.write().unwrap_or_else(PoisonError::into_inner) = Some(now + SILENCE);
        tracing::warn!(
            for_s = SILENCE.as_secs(),
            "the status table of the ingestion does not answer and is left out; how posts end is told by counts all the same"
        );
    }

    /// Whether the status table may be asked.
    pub fn may_ask(&self, now: Timestamp) -> bool {
        self.silent_until.read().unwrap_or_else(PoisonError::into_inner).is_none_or(|until| now >= until)
    }

    /// Whether one more post of this day may be told of; the table is not made for more.
    pub fn may_track(&self, now: Timestamp) -> bool {
        let day = now.ticks() / ticks_of(DAY);
        let mut tracked = self.tracked.write().unwrap_or_else(PoisonError::into_inner);
        if tracked.0 != day {
            *tracked = (day, 0);
        }
        tracked.1 += 1;
        tracked.1 <= MOST_TRACKED
    }

    /// The set in use, fetched if there is none and renewed when it is an hour old.
    pub async fn current(&self, client: &Client, deadline: Instant) -> Result<Arc<Resources>, Error> {
        let held = self.held();
        let now = client.clock().now();
        match held {
            Some(set) if now < set.renew_at && set.is_usable(now) => Ok(set),
            Some(old) if self.paused(now) && old.is_usable(now) => Ok(old),
            Some(old) => match self.fetch(client, Some(&old), deadline).await {
                Ok(set) => Ok(set),
                // What has ended is of no use to anybody.
                Err(error) if !old.is_usable(now) => Err(error),
                Err(error) => {
                    *self.pause_until.write().unwrap_or_else(PoisonError::into_inner) = Some(now + RENEWAL_PAUSE);
                    tracing::warn!(%error, "the ingestion resources could not be renewed; the old ones are used on");
                    Ok(old)
                }
            },
            None => self.fetch(client, None, deadline).await,
        }
    }

    /// A set other than `stale`: one that someone else has fetched meanwhile, or a new one.
    pub async fn refreshed(
        &self,
        client: &Client,
        stale: &Arc<Resources>,
        deadline: Instant,
    ) -> Result<Arc<Resources>, Error> {
        self.fetch(client, Some(stale), deadline).await
    }

    /// The set in use, however old.
    pub fn held(&self) -> Option<Arc<Resources>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A set for the queues instead of `refused`, which is for REST: the cluster announces that and takes no request by it, as it
    /// `said`. It is used like any other, so that REST is tried again when the way is looked for the next time.
    pub async fn without_rest(
        &self,
        client: &Client,
        refused: &Arc<Resources>,
        said: &str,
        deadline: Instant,
    ) -> Result<Arc<Resources>, Error> {
        if self.choice != Choice::Auto {
            return Err(route::no_rest(said));
        }
        let _flight = self.flight(deadline).await?;
        if let Some(other) = self.other_than(refused) {
            return Ok(other);
        }
        let route = route::without_rest(client, said, deadline).await?;
        tracing::warn!(said, "queued ingestion over REST is announced and not there; the cluster's queues are used");
        Ok(self.keep(route, client.clock().now()))
    }

    fn paused(&self, now: Timestamp) -> bool {
        self.pause_until.read().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }

    /// Whether a post may still be under way.
    fn is_open(&self, now: Timestamp) -> bool {
        let last = *self.last_post.read().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| now < last + OPEN_FOR)
    }

    async fn fetch(
        &self,
        client: &Client,
        seen: Option<&Arc<Resources>>,
        deadline: Instant,
    ) -> Result<Arc<Resources>, Error> {
        let _flight = self.flight(deadline).await?;
        let other = seen.map_or_else(|| self.held(), |seen| self.other_than(seen));
        if let Some(other) = other {
            return Ok(other);
        }
        let now = client.clock().now();
        let choice = match self.held() {
            Some(held) if self.is_open(now) => held.way.choice(),
            _ => self.choice,
        };
        Ok(self.keep(route::find(client, choice, deadline).await?, now))
    }

    async fn flight(&self, deadline: Instant) -> Result<tokio::sync::MutexGuard<'_, ()>, Error> {
        let flight = timeout_at(deadline, self.flight.lock()).await;
        flight.map_err(|_| Error::unavailable("the ingestion resources were not there in time"))
    }

    /// The set in use, if it is not `seen`.
    fn other_than(&self, seen: &Arc<Resources>) -> Option<Arc<Resources>> {
        self.held().filter(|held| !Arc::ptr_eq(held, seen))
    }

    /// Makes what was found the set in use.
    fn keep(&self, route: Route, now: Timestamp) -> Arc<Resources> {
        let Route { way, containers, lifetime, reason } = route.lent(now);
        let held = self.held();
        let stays = held.as_ref().is_some_and(|held| held.way.told() == way.told());
        if !stays {
            tracing::info!(ADX_INGESTION = ?self.choice, way = way.told(), reason, "how blobs are ingested");
        }
        let left = held.iter().flat_map(|held| {
            let own = held.containers.iter().filter(move |_| !stays);
            own.chain(&held.former)
        });
        let is_lent = |old: &&Signed| containers.iter().any(|lent| lent.bare() == old.bare());
        let former = left.filter(|old| old.is_usable(now) && !is_lent(old)).cloned().collect();
        let set = Arc::new(Resources { way, containers, former, renew_at: now + lifetime });
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&set));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_found_in_its_own_container_only() {
        let set = Resources {
            way: Way::Rest,
            containers: vec![
                Signed::parse("https://a.blob.core.windows.net/c1?sig=1").unwrap(),
                Signed::parse("https://a.blob.core.windows.net/c?sig=2").unwrap(),
            ],
            former: vec![Signed::parse("https://c.blob.core.windows.net/old?sig=3").unwrap()],
            renew_at: Timestamp::MIN,
        };
        let (container, name) = set.container_of("https://a.blob.core.windows.net/c/x.gz", Timestamp::MIN).unwrap();
        assert_eq!(container.below(name).as_str(), "https://a.blob.core.windows.net/c/x.gz?sig=2");
        let (former, _) = set.container_of("https://c.blob.core.windows.net/old/x.gz", Timestamp::MIN).unwrap();
        assert_eq!(former.bare(), "https://c.blob.core.windows.net/old");
        assert!(set.container_of("https://b.blob.core.windows.net/c/x.gz", Timestamp::MIN).is_none());
        assert!(set.container_of("https://a.blob.core.windows.net/c", Timestamp::MIN).is_none());
        assert!(set.container_of("https://a.blob.core.windows.net/c/x/y.gz", Timestamp::MIN).is_none());
    }
}
