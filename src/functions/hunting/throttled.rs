//! How long the service has said nothing but 429. Waiting for the quota is no attempt, so a run would wait for ever for a service
//! that never has any: after a day, what it waits for fails with that reason, and the next run begins anew. Since when it has been so
//! stands in a blob of the state store, for all workers; the first good answer takes it away.

use super::{Error, Hunting};
use crate::defender::Error as HuntingError;
use crate::orchestration::limits::LONGEST_ASKED;
use crate::storage::BlobStore;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// One that is longer ago than this tells nothing of the next: nobody has asked. No pause is longer than half of it.
const REMEMBERED_FOR: Duration = Duration::from_secs(2 * LONGEST_ASKED.as_secs());
/// It only helps: nobody waits for the state store longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// 429 after 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Throttled {
    since: Timestamp,
    last: Timestamp,
}

impl Throttled {
    /// Takes in another one.
    fn again(before: Option<Self>, now: Timestamp) -> Self {
        let since = before.filter(|before| now.since(before.last) < REMEMBERED_FOR).map_or(now, |before| before.since);
        Self { since, last: now }
    }

    /// Whether that is no pause any more.
    fn is_too_long(self, now: Timestamp, longest: Duration) -> bool {
        now.since(self.since) >= longest && now.since(self.last) < REMEMBERED_FOR
    }
}

/// What this process knows of it.
#[derive(Debug, Default)]
pub struct Known(Mutex<Option<Throttled>>);

impl Known {
    fn get(&self) -> Option<Throttled> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, throttled: Option<Throttled>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = throttled;
    }
}

impl Hunting<'_> {
    /// Refuses a call where the service has had none for anybody for too long.
    pub(super) fn refuse_endless_wait(&self) -> Result<(), Error> {
        let (now, longest) = (self.app.state.now(), self.app.limits.throttled_longest);
        match self.services.throttled.get().filter(|throttled| throttled.is_too_long(now, longest)) {
            Some(Throttled { since, .. }) => Err(Error::NeverAnswered { since, said: None }),
            None => Ok(()),
        }
    }

    /// Takes in a 429; gives the error that ends the wait, where it has been too long.
    pub(super) async fn throttled(&self, error: &HuntingError) -> Option<Error> {
        let (now, blobs, name) = (self.app.state.now(), self.blobs(), self.name("throttled"));
        let before = match timeout(PATIENCE, blobs.get(&name)).await {
            Ok(Ok(stored)) => stored.and_then(|stored| serde_json::from_slice(&stored).ok()),
            // What this process knows has to do.
            _ => self.services.throttled.get(),
        };
        let throttled = Throttled::again(before, now);
        self.services.throttled.set(Some(throttled));
        if let Ok(record) = serde_json::to_vec(&throttled)
            && !matches!(timeout(PATIENCE, blobs.put(&name, record.into())).await, Ok(Ok(())))
        {
            tracing::warn!("since when the hunting API says nothing but 429 could not be noted");
        }
        let is_too_long = throttled.is_too_long(now, self.app.limits.throttled_longest);
        is_too_long.then(|| Error::NeverAnswered { since: throttled.since, said: Some(error.to_string()) })
    }

    /// Takes in a good answer.
    pub(super) async fn answered(&self) {
        if self.services.throttled.get().is_none() {
            return;
        }
        if matches!(timeout(PATIENCE, self.blobs().delete(&self.name("throttled"))).await, Ok(Ok(_))) {
            self.services.throttled.set(None);
        }
    }

    /// Where what is kept of the service stands.
    pub(super) fn blobs(&self) -> &dyn BlobStore {
        &*self.app.state.storage().blobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_says_nothing_but_429_for_a_day_is_not_waited_for() {
        let at = |hours: u64| "2026-05-01T00:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(hours * 1_800);
        let day = Duration::from_secs(86_400);
        let mut throttled = None;
        for half_hour in 0..48 {
            let now = Throttled::again(throttled, at(half_hour));
            assert!(!now.is_too_long(at(half_hour), day), "{half_hour}");
            throttled = Some(now);
        }
        let now = Throttled::again(throttled, at(48));
        assert!(now.is_too_long(at(48), day));
        assert!(!now.is_too_long(at(52), day), "nobody has asked for hours: another run asks again");
        assert_eq!(Throttled::again(Some(now), at(52)), Throttled { since: at(52), last: at(52) });
    }
}
