//! The tenant's budget of hunting calls in the store: one row, moved by compare-and-swap, so that all processes on one
//! store keep to one quota. Knows how the row is swapped and nothing of how a permit is reckoned.

use super::clock::LineClock;
use super::{Error, State, Stored, Transaction, key};
use crate::orchestration::budget::{Budget, Quota};
use crate::orchestration::limits::{KNOWN_FOR, Limits};
use crate::orchestration::message::Debt;
use crate::orchestration::response_cap::ResponseCap;
use crate::orchestration::watchdog::Calls;
use crate::storage::{ETag, Key};
use crate::timestamp::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const BUDGET_ROW: &str = "b";
/// The tenant's place in a store whose settings name none.
const DEFAULT_TENANT: &str = "default";
/// A message becomes visible this long and the host's pickup before its permit's time.
const EARLIER: Duration = Duration::from_secs(1);
/// Swaps that may be lost to other processes before the caller has to do without.
const SWAPS: u32 = 16;
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// Whose calls are counted, and how many there may be.
#[derive(Debug, Clone)]
pub struct Tenant {
    name: String,
    pub(super) quota: Quota,
    pickup: Duration,
}

impl Tenant {
    /// The tenant of that name; an empty one is that of a store whose settings name none.
    pub fn new(name: &str, limits: &Limits) -> Self {
        let plain =
            |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c.to_ascii_lowercase() } else { '_' };
        let name = if name.is_empty() { DEFAULT_TENANT.to_owned() } else { name.chars().map(plain).collect() };
        Self { name, quota: limits.quota, pickup: limits.pickup }
    }

    pub(super) fn key(&self) -> Result<Key, Error> {
        key(&format!("q:{}", self.name), BUDGET_ROW)
    }
}

/// What became of the tenant's hunting calls over the last day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallUse {
    /// How many there may be.
    pub quota: Quota,
    /// When the next one may be sent.
    pub opens_at: Timestamp,
    /// Until when the service last asked everyone to pause.
    pub paused_until: Timestamp,
    /// Send times that were given, by the beginnings of the spans of [`SPAN`](crate::orchestration::call_history::SPAN);
    /// none for a span without any.
    pub spans: Vec<(Timestamp, u32)>,
}

/// What a process has of the budget.
pub(super) struct Shared {
    pub(super) tenant: Tenant,
    /// The workers of this process swap the row one after the other: they would only refuse each other.
    turn: tokio::sync::Mutex<()>,
    known: Mutex<Option<Known>>,
    /// The line of the row's times.
    pub(super) line: LineClock,
}

/// The row as last read or swapped; `etag` is `None` where there was none.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) budget: Budget,
    etag: Option<ETag>,
    at: Instant,
}

impl Shared {
    pub fn new(tenant: Tenant) -> Self {
        Self { tenant, turn: tokio::sync::Mutex::default(), known: Mutex::default(), line: LineClock::new() }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Option<Known>> {
        // Replaced as a whole, so it is good even after a panic elsewhere.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, known: Known) {
        let mut place = self.known();
        if place.as_ref().is_none_or(|old| old.at <= known.at) {
            *place = Some(known);
        }
    }
}

impl State {
    /// The row as it was at most two seconds ago.
    pub(super) async fn lately_known(&self) -> Result<Known, Error> {
        let known = self.shared.known().clone().filter(|known| known.at.elapsed() <= KNOWN_FOR);
        match known {
            Some(known) => Ok(known),
            None => self.read_budget().await,
        }
    }

    /// Takes a permit for a hunting call that may be sent within `most`.
    ///
    /// # Errors
    /// The store's. The inner error says how long it would be; then no permit is taken, and none is lost to others.
    pub async fn take_permit(&self, most: Duration) -> Result<Result<Timestamp, Duration>, Error> {
        let quota = self.shared.tenant.quota;
        self.move_budget(|budget, now| budget.take_within(quota, now, most)).await
    }

    /// Whether a call may be sent now on this permit: its time is not past, and nobody was asked to pause since.
    ///
    /// # Errors
    /// The store's.
    pub async fn permit_holds(&self, permit: Timestamp) -> Result<bool, Error> {
        if !self.may_hold(permit) {
            return Ok(false);
        }
        let mut budget = self.lately_known().await?.budget;
        if !budget.has_given(permit) {
            budget = self.read_budget().await?.budget;
        }
        Ok(self.shared.line.may_send(&budget, permit))
    }

    /// Whether the permit is not void already, as far as this process knows without a look.
    pub fn may_hold(&self, permit: Timestamp) -> bool {
        let now = self.shared.line.most().unwrap_or_else(|| self.permit_time());
        match self.shared.known().as_ref() {
            Some(known) => known.budget.allows(permit, now),
            None => Budget::default().allows(permit, now),
        }
    }

    /// When the next hunting call may be sent, as the store has it.
    ///
    /// # Errors
    /// The store's.
    pub async fn calls_open_at(&self) -> Result<Timestamp, Error> {
        Ok(self.calls().await?.opens_at)
    }

    /// What the tenant's hunting calls wait for, as the store has it.
    ///
    /// # Errors
    /// The store's.
    pub async fn calls(&self) -> Result<Calls, Error> {
        let budget = self.read_budget().await?.budget;
        let opens_at = self.own_time(&budget, budget.opens(self.shared.tenant.quota, self.permit_time()));
        Ok(Calls { opens_at, paused_until: self.own_time(&budget, budget.blocked_until()) })
    }

    /// How much of the quota was used, as the store has it: one read.
    ///
    /// # Errors
    /// The store's.
    pub async fn call_use(&self) -> Result<CallUse, Error> {
        let budget = self.read_budget().await?.budget;
        let quota = self.shared.tenant.quota;
        Ok(CallUse {
            quota,
            opens_at: self.own_time(&budget, budget.opens(quota, self.permit_time())),
            paused_until: self.own_time(&budget, budget.blocked_until()),
            spans: budget.history().spans().map(|(at, permits)| (self.own_time(&budget, at), permits)).collect(),
        })
    }

    /// Whether anybody has made a call on this budget yet.
    ///
    /// # Errors
    /// The store's.
    pub async fn has_budget(&self) -> Result<bool, Error> {
        Ok(self.read_budget().await?.etag.is_some())
    }

    /// How long it is to the next permit at least: what this process knows may be old, and then it is longer.
    pub fn next_permit_in(&self) -> Duration {
        let now = self.permit_time();
        let known = self.shared.known();
        known.as_ref().map_or(Duration::ZERO, |known| known.budget.opens(self.shared.tenant.quota, now).since(now))
    }

    /// Makes everybody pause, for `pause` if the service said so. Gives the end of the pause.
    ///
    /// # Errors
    /// The store's.
    pub async fn pause_calls(&self, pause: Option<Duration>) -> Result<Timestamp, Error> {
        let block = |budget: &mut Budget, now| {
            let until = budget.block(now, pause);
            Ok::<_, Duration>(until.since(now))
        };
        Ok(self.now() + self.move_budget(block).await?.unwrap_or_default())
    }

    /// The most bytes that an answer of `endpoint` may have, as far as this process knows without a look.
    pub fn response_cap(&self, endpoint: &str, documented: u64) -> u64 {
        let known = self.shared.known();
        let cap = known.as_ref().and_then(|known| known.budget.response_cap.as_ref());
        ResponseCap::bytes(cap, endpoint, documented)
    }

    /// Learns from an answer of so many bytes that `endpoint` gave.
    ///
    /// # Errors
    /// The store's.
    pub async fn answer_given(&self, endpoint: &str, bytes: u64) -> Result<(), Error> {
        self.learn_cap(|known| ResponseCap::after_answer(known, endpoint, bytes)).await
    }

    /// Learns from an answer of so many bytes that `endpoint` refused for its size.
    ///
    /// # Errors
    /// The store's.
    pub async fn answer_refused(&self, endpoint: &str, bytes: u64, documented: u64) -> Result<(), Error> {
        self.learn_cap(|known| ResponseCap::after_refusal(known, endpoint, bytes, documented)).await
    }

    async fn learn_cap(&self, rule: impl Fn(Option<&ResponseCap>) -> Option<ResponseCap>) -> Result<(), Error> {
        let change = |budget: &mut Budget, _| {
            let next = rule(budget.response_cap.as_ref());
            // Nothing new is nothing to write.
            if next == budget.response_cap {
                return Err(Duration::ZERO);
            }
            budget.response_cap = next;
            Ok(())
        };
        self.move_budget(change).await.map(|_| ())
    }

    /// The debts as they are put: those of windows that can be pulled at once with a permit each, taken in one swap.
    ///
    /// A single window whose permit would be for now gets none: until the host has picked the message up the permit
    /// might be void, and its worker takes one as cheaply.
    pub(super) async fn with_permits(&self, debts: &[Debt]) -> Result<Vec<Debt>, Error> {
        let wanted = debts.iter().filter(|debt| debt.wants_permit()).count();
        let Tenant { quota, pickup, .. } = self.shared.tenant;
        if wanted == 0 || (wanted == 1 && self.next_permit_in() < pickup) {
            return Ok(debts.to_vec());
        }
        let lead = pickup + EARLIER;
        // Whoever takes permits puts off when a line may be founded, so one that follows none leaves that to the workers.
        if !self.shared.line.follows() {
            let Known { mut budget, .. } = self.lately_known().await?;
            if !self.shared.line.may_reckon(&budget) {
                let now = self.permit_time();
                let mut later = || budget.take(quota, now + pickup).since(now).saturating_sub(lead);
                let hidden = |debt: &Debt| match debt.wants_permit() {
                    true => Debt { delay: later(), ..debt.clone() },
                    false => debt.clone(),
                };
                return Ok(debts.iter().map(hidden).collect());
            }
        }
        let take = |budget: &mut Budget, now: Timestamp| {
            if mutated!(PermitTwice) {
                return Ok(vec![budget.take(quota, now + pickup); wanted]);
            }
            Ok::<_, Duration>((0..wanted).map(|_| budget.take(quota, now + pickup)).collect::<Vec<_>>())
        };
        let mut permits = match self.move_budget(take).await {
            Ok(permits) => permits.unwrap_or_default().into_iter(),
            Err(Error::Conflict) => {
                tracing::warn!("the tenant's budget is contended; the workers take their permits themselves");
                return Ok(debts.to_vec());
            }
            Err(error) => return Err(error),
        };
        let now = self.permit_time();
        let permitted = |debt: &Debt| match debt.wants_permit().then(|| permits.next()).flatten() {
            Some(permit) => debt.clone().permitted(permit, now, lead),
            None => debt.clone(),
        };
        Ok(debts.iter().map(permitted).collect())
    }

    /// Changes the row by compare-and-swap; a refusal of `change` leaves it as it is. The first try is on what is
    /// known: the times in the row only grow, so a refusal on an old one stands, and anything else needs the swap.
    pub(super) async fn move_budget<T>(
        &self,
        mut change: impl FnMut(&mut Budget, Timestamp) -> Result<T, Duration>,
    ) -> Result<Result<T, Duration>, Error> {
        // Held over the swap, whose requests all end: the others of this process would wait for the same row.
        let _turn = self.shared.turn.lock().await;
        for lost in 0..SWAPS {
            let remembered = self.shared.known().clone();
            let known = match remembered {
                Some(known) => known,
                None => self.read_budget().await?,
            };
            let at = Instant::now();
            let said = self.shared.line.say(&known.budget, self.random() as u32, at, self.now());
            let mut budget = known.budget;
            let given = match change(&mut budget, said.least()) {
                Ok(given) => given,
                Err(refused) => return Ok(Err(refused)),
            };
            budget.say(said);
            let swap = Transaction::new().budget(self.shared.tenant.key()?, &budget, known.etag.as_ref())?;
            match self.commit(swap).await {
                Ok(etags) => {
                    let etag = etags.into_iter().next().flatten();
                    self.shared.line.wrote(&said, at..Instant::now());
                    // Without its version the row is known only after the next read.
                    *self.shared.known() = etag.map(|etag| Known { budget, etag: Some(etag), at });
                    return Ok(Ok(given));
                }
                Err(error) => {
                    *self.shared.known() = None;
                    if !matches!(error, Error::Conflict) {
                        return Err(error);
                    }
                    tokio::time::sleep(self.some_of((FIRST_PAUSE * 2u32.pow(lost.min(8))).min(LONGEST_PAUSE))).await;
                }
            }
        }
        Err(Error::Conflict)
    }

    async fn read_budget(&self) -> Result<Known, Error> {
        let at = Instant::now();
        let known = match self.get::<Budget>(self.shared.tenant.key()?).await? {
            Some(Stored { record, etag }) => Known { budget: record, etag: Some(etag), at },
            None => Known { budget: Budget::default(), etag: None, at },
        };
        self.shared.line.read(known.budget.said(), at..Instant::now(), self.now());
        self.shared.learn(known.clone());
        Ok(known)
    }

    fn some_of(&self, most: Duration) -> Duration {
        most.mul_f64((self.random() % 1000) as f64 / 1000.0)
    }
}
