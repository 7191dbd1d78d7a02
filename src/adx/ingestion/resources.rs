//! The containers, queues and identity token that the service lends for ingestion: fetched at most once at a
//! time, renewed every hour, kept when renewing fails, handed out in turns. Signatures stay in here and in the URL
//! that is sent.

use super::super::template::fill;
use super::super::{Client, Effect, Error, Table};
use crate::secret::Secret;
use crate::timestamp::Timestamp;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use url::Url;

/// How long a set is used, as in all SDKs.
const LIFETIME: Duration = Duration::from_secs(3600);
/// How long an old set is used on after renewing it failed.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);

/// A container or queue with its signature. `Debug` and [`Signed::bare`] leave the signature out.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Signed(Url);

impl Signed {
    /// Reads a `StorageRoot`.
    fn parse(root: &str) -> Result<Self, Error> {
        let url = Url::parse(root).map_err(|_| Error::corrupt("a StorageRoot that is no URL"))?;
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            return Err(Error::corrupt(format!(
                "a StorageRoot on {:?} that is not https",
                url.host_str().unwrap_or("")
            )));
        }
        Ok(Self(url))
    }

    /// The address below this one, signature included.
    pub fn below(&self, name: &str) -> Url {
        let mut url = self.0.clone();
        let path = format!("{}/{name}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    /// The address without signature.
    pub fn bare(&self) -> String {
        bare(&self.0)
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bare())
    }
}

/// A URL without query and fragment.
pub(super) fn bare(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// One set of what the service lends.
#[derive(Debug)]
pub(super) struct Resources {
    containers: Vec<Signed>,
    queues: Vec<Signed>,
    /// Goes into every message as `authorizationContext`.
    pub identity_token: Secret,
    renew_at: Timestamp,
}

impl Resources {
    fn read(resources: &Table, token: &Table, now: Timestamp) -> Result<Self, Error> {
        let (kind, root) = (resources.column("ResourceTypeName")?, resources.column("StorageRoot")?);
        let (mut containers, mut queues) = (Vec::new(), Vec::new());
        for row in resources.rows() {
            match row.text(kind)? {
                "TempStorage" => containers.push(Signed::parse(row.text(root)?)?),
                "SecuredReadyForAggregationQueue" => queues.push(Signed::parse(row.text(root)?)?),
                _ => {}
            }
        }
        if containers.is_empty() || queues.is_empty() {
            return Err(Error::corrupt(
                "the ingestion endpoint lends no TempStorage or no SecuredReadyForAggregationQueue",
            ));
        }
        let at = token.column("AuthorizationContext")?;
        let token = token.rows().next().map(|row| row.text(at)).transpose()?.unwrap_or_default();
        if token.is_empty() {
            return Err(Error::corrupt("the ingestion endpoint gives no identity token"));
        }
        Ok(Self { containers, queues, identity_token: Secret::new(token), renew_at: now + LIFETIME })
    }

    /// The container that holds `blob`, if it is still lent, and the blob's name in it.
    pub fn container_of<'a>(&self, blob: &'a str) -> Option<(&Signed, &'a str)> {
        self.containers.iter().find_map(|container| {
            let name = blob.strip_prefix(container.bare().trim_end_matches('/'))?.strip_prefix('/')?;
            (!name.is_empty() && !name.contains('/')).then_some((container, name))
        })
    }
}

/// The current set.
#[derive(Default)]
pub(super) struct Storage {
    current: RwLock<Option<Arc<Resources>>>,
    /// Not before this is an old set tried to be renewed again.
    pause_until: RwLock<Option<Timestamp>>,
    /// Held while fetching, so that one does and the others wait for it.
    flight: tokio::sync::Mutex<()>,
    turn: AtomicUsize,
}

impl Storage {
    /// A container, each time the next one.
    pub fn container(&self, set: &Resources) -> Signed {
        set.containers[self.turn.fetch_add(1, Ordering::Relaxed) % set.containers.len()].clone()
    }

    /// All queues, starting each time with the next one.
    pub fn queues(&self, set: &Resources) -> Vec<Signed> {
        let mut queues = set.queues.clone();
        let count = queues.len();
        queues.rotate_left(self.turn.fetch_add(1, Ordering::Relaxed) % count);
        queues
    }

    /// The set in use, fetched if there is none and renewed when it is an hour old.
    pub async fn current(&self, client: &Client, deadline: Instant) -> Result<Arc<Resources>, Error> {
        let held = self.held();
        let now = client.clock().now();
        match held {
            Some(set) if now < set.renew_at => Ok(set),
            Some(old) if self.paused(now) => Ok(old),
            Some(old) => match self.fetch(client, Some(&old), deadline).await {
                Ok(set) => Ok(set),
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

    fn held(&self) -> Option<Arc<Resources>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn paused(&self, now: Timestamp) -> bool {
        self.pause_until.read().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }

    async fn fetch(
        &self,
        client: &Client,
        seen: Option<&Arc<Resources>>,
        deadline: Instant,
    ) -> Result<Arc<Resources>, Error> {
        let _flight = timeout_at(deadline, self.flight.lock())
            .await
            .map_err(|_| Error::unavailable("the ingestion resources were not there in time"))?;
        if let Some(held) = self.held().filter(|held| seen.is_none_or(|seen| !Arc::ptr_eq(held, seen))) {
            return Ok(held);
        }
        let file = include_str!("../../../kql/ingestion/resources.kql");
        let resources = client.dm_command(&fill(file, &[]), Effect::Read, deadline).await?;
        let file = include_str!("../../../kql/ingestion/identity_token.kql");
        let token = client.dm_command(&fill(file, &[]), Effect::Read, deadline).await?;
        let set = Arc::new(Resources::read(&resources, &token, client.clock().now())?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&set));
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_not_printed() {
        let signed = Signed::parse("https://a.blob.core.windows.net/c?sv=1&sig=SECRET").unwrap();
        assert_eq!(format!("{signed:?}"), "https://a.blob.core.windows.net/c");
        assert_eq!(signed.below("b").as_str(), "https://a.blob.core.windows.net/c/b?sv=1&sig=SECRET");
    }

    #[test]
    fn signatures_do_not_travel_in_the_clear() {
        assert!(Signed::parse("http://a.blob.core.windows.net/c?sig=x").is_err());
        assert!(Signed::parse("http://127.0.0.1:10000/devstoreaccount1/c?sig=x").is_ok());
    }

    #[test]
    fn a_blob_is_found_in_its_own_container_only() {
        let set = Resources {
            containers: vec![
                Signed::parse("https://a.blob.core.windows.net/c1?sig=1").unwrap(),
                Signed::parse("https://a.blob.core.windows.net/c?sig=2").unwrap(),
            ],
            queues: vec![],
            identity_token: Secret::new("t"),
            renew_at: Timestamp::MIN,
        };
        let (container, name) = set.container_of("https://a.blob.core.windows.net/c/x.gz").unwrap();
        assert_eq!(container.below(name).as_str(), "https://a.blob.core.windows.net/c/x.gz?sig=2");
        assert!(set.container_of("https://b.blob.core.windows.net/c/x.gz").is_none());
        assert!(set.container_of("https://a.blob.core.windows.net/c").is_none());
        assert!(set.container_of("https://a.blob.core.windows.net/c/x/y.gz").is_none());
    }
}
