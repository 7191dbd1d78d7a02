//! The life of one query window, up to its seal:
//!
//! ```text
//! planned ─> claimed ─> sealed ─> submitted ─> verified
//!    ▲          │          └──────────┴─> failed ─> planned or sealed again in the next run
//!    └─ retry ──┼─> empty
//!               └─> split into children
//! ```
//!
//! A planned window that a run is not asked for is `later` until one is (`head/narrow.rs`).
//!
//! How a window's end moves the head of its table is in `fan_in`; how it is proved is in `verification`; the one way
//! back from `submitted` to `planned`, as another generation, is in `renewal`.

use super::IllegalTransition;
use super::difference::Difference;
use super::ids::{InstanceId, Part, WindowId, WindowName};
use super::limits::{Limits, WINDOW_ATTEMPTS};
use super::message::Debt;
use super::outcome::Outcome;
use super::repair::Removal;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// The state of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowState {
    /// To be pulled.
    Planned,
    /// A worker pulls it.
    Claimed,
    /// Its content is fixed in a blob; it may have been posted.
    Sealed,
    /// Posted to ADX; not yet counted there.
    Submitted,
    /// ADX holds exactly its rows.
    Verified,
    /// Its children took over.
    Split,
    /// It has no rows.
    Empty,
    /// The source no longer holds its range.
    Expired,
    /// Given up for this run.
    Failed,
    /// To be pulled by a later run: this one was asked for what comes after it.
    Later,
}

impl WindowState {
    /// Whether nothing more happens to it, in any run.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Verified | Self::Split | Self::Empty | Self::Expired)
    }

    /// Whether it has still to be pulled and posted in this run.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Planned | Self::Claimed | Self::Sealed)
    }
}

/// The fixed content of a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Where it lies, without its SAS.
    pub blob: String,
    /// Its rows.
    pub rows: u64,
    /// Its bytes before compression.
    pub raw_bytes: u64,
    /// The blob's size.
    pub compressed_bytes: u64,
    /// Its longest row in bytes.
    pub longest_row_bytes: u64,
    /// SHA-256 of the blob, hex: what stands there is posted again only as long as it has it.
    pub sha256: String,
}

/// A window as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// What it covers.
    pub id: WindowId,
    /// Its state.
    pub state: WindowState,
    /// The plan it belongs to.
    pub plan: String,
    /// Whether it carries the predicate of a handover from the Python app.
    #[serde(default)]
    pub handover: bool,
    /// The number of what parted the table's rows then ([`Shape::parting`](super::ledger::Shape::parting)), if it is a part.
    #[serde(default)]
    pub parting: u32,
    /// Rows that the plan expects it to bring.
    pub planned_rows: u64,
    /// Set where it brings only what the destination does not hold.
    #[serde(default)]
    pub difference: Option<Difference>,
    /// Attempts of its own so far.
    #[serde(default)]
    pub attempts: u32,
    /// How often what it is a part of was divided in this run, because an answer that was asked for came to nothing.
    #[serde(default)]
    pub splits: u32,
    /// Looks at the destination that showed fewer rows than were proved there.
    #[serde(default)]
    pub short_looks: u32,
    /// How often it failed in earlier runs.
    #[serde(default)]
    pub failures: u32,
    /// Id of the message whose handling holds the claim, or ended the window or went back, and owes what that owes.
    #[serde(default)]
    pub owner: Option<String>,
    /// Which delivery of that message.
    #[serde(default)]
    pub delivery: u32,
    /// Until when the claim is taken to be alive.
    #[serde(default)]
    pub lease_until: Option<Timestamp>,
    /// The run that claimed it last.
    #[serde(default)]
    pub run: Option<InstanceId>,
    /// The permit with which it was claimed last: its call may have been sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<Timestamp>,
    /// In which tenure of its table something was last done to it ([`Head::tenure`](super::ledger::Head::tenure)).
    #[serde(default)]
    pub tenure: u64,
    /// Its content, once fixed.
    #[serde(default)]
    pub seal: Option<Seal>,
    /// How often it was posted; a seal counts as a post.
    #[serde(default)]
    pub posts: u32,
    /// When it was last posted, or sealed.
    #[serde(default)]
    pub last_post: Option<Timestamp>,
    /// What is known of its posts.
    #[serde(default)]
    pub outcome: Outcome,
    /// Since when it is counted in this run, or was in the last: from its submission, or from when a run took it up. After the
    /// verify deadline it fails.
    #[serde(default)]
    pub counting_since: Option<Timestamp>,
    /// Whether a count showed no second copy of it that was made when no post could land any more.
    #[serde(default)]
    pub settled: bool,
    /// Whether more rows than were proved have been seen under its id since the last count of them.
    #[serde(default)]
    pub doubted: bool,
    /// The most rows of it that a count has found.
    #[serde(default)]
    pub landed_rows: u64,
    /// What the app removes of it, or has removed.
    #[serde(default)]
    pub removal: Option<Removal>,
    /// Since when its blob is known to be gone: it cannot be posted again.
    #[serde(default)]
    pub gone_since: Option<Timestamp>,
    /// Hunting calls made for it so far.
    #[serde(default)]
    pub calls: u64,
    /// Rows whose watermark is null, where that was counted at the source.
    #[serde(default)]
    pub null_watermarks: Option<u64>,
    /// The last error.
    #[serde(default)]
    pub error: Option<String>,
    /// Messages that its end owes, or its message that went back.
    #[serde(default)]
    pub owed: Vec<Debt>,
    /// How often its message went back.
    #[serde(default)]
    pub turn: u32,
    /// When it last changed.
    pub updated: Timestamp,
}

/// What a chunk message finds.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// The window is this invocation's: store it, then pull.
    Claimed(Box<Window>),
    /// Sealed by an earlier delivery: hand this on to the count, which knows when it may be posted again.
    Recover(Box<Window>),
    /// Somebody else holds it: look again at that time.
    HeldUntil(Timestamp),
    /// Ended already: send what it owes. That is nothing when another message ended it, which pays its own debts: paid by
    /// every copy of a message, and by the copies that this makes, they would multiply with each window.
    Ended(Vec<Debt>),
}

impl Window {
    /// A new window of a plan.
    pub fn planned(id: WindowId, plan: &str, handover: bool, planned_rows: u64, now: Timestamp) -> Self {
        Self {
            id,
            state: WindowState::Planned,
            plan: plan.to_owned(),
            handover,
            parting: 0,
            planned_rows,
            difference: None,
            attempts: 0,
            splits: 0,
            short_looks: 0,
            failures: 0,
            owner: None,
            delivery: 0,
            lease_until: None,
            run: None,
            permit: None,
            tenure: 0,
            seal: None,
            posts: 0,
            last_post: None,
            outcome: Outcome::default(),
            counting_since: None,
            settled: false,
            doubted: false,
            landed_rows: 0,
            removal: None,
            gone_since: None,
            calls: 0,
            null_watermarks: None,
            error: None,
            owed: Vec::new(),
            turn: 0,
            updated: now,
        }
    }

    /// Rows that the source is to show in its range.
    pub fn expected_rows(&self) -> u64 {
        self.difference.as_ref().map_or(self.planned_rows, |difference| difference.shown)
    }

    /// Which part of its range is asked for: its own, but where that cannot be asked for any more, what came in its place.
    pub fn asked_part(&self) -> Part {
        match self.difference.as_ref().and_then(|difference| difference.lost) {
            Some(lost) => Part {
                index: self.id.part.index.saturating_sub(lost.index) / lost.count.max(1),
                count: (self.id.part.count / lost.count.max(1)).max(1),
            },
            None => self.id.part,
        }
    }

    /// What the id of a window says for which `part` of its range is asked, if one of this is divided into it; `None` where no id
    /// can say it.
    pub fn named_part(&self, part: Part) -> Option<Part> {
        match self.difference.as_ref().and_then(|difference| difference.lost) {
            Some(lost) => Some(Part {
                index: part.index.checked_mul(lost.count)?.checked_add(lost.index)?,
                count: part.count.checked_mul(lost.count)?,
            }),
            None => Some(part),
        }
    }

    /// Tries to take the window for delivery `delivery` of message `message`.
    ///
    /// The same message with a higher delivery count takes a claim over at once: its predecessor is dead, or is
    /// fenced by the ETag. Any other message waits for the lease and the clock margin.
    pub fn claim(&self, message: &str, delivery: u32, run: &InstanceId, now: Timestamp, limits: &Limits) -> Claim {
        let own = self.owner.as_deref() == Some(message) && delivery > self.delivery;
        let dead = self.is_dead(now, limits) || mutated!(LeaseIgnored);
        let state = match self.state {
            WindowState::Sealed if mutated!(SplitAfterSeal) && own => WindowState::Claimed,
            _ if mutated!(MessageOverLedger) => WindowState::Planned,
            state => state,
        };
        match state {
            WindowState::Claimed | WindowState::Sealed if !own && !dead => {
                Claim::HeldUntil(self.lease_until.unwrap_or(now) + limits.clock_margin)
            }
            WindowState::Planned | WindowState::Claimed => Claim::Claimed(Box::new(Self {
                state: WindowState::Claimed,
                owner: Some(message.to_owned()),
                delivery,
                lease_until: Some(now + limits.lease()),
                run: Some(run.clone()),
                updated: now,
                ..self.clone()
            })),
            WindowState::Sealed => Claim::Recover(Box::new(self.recovered(message, delivery))),
            _ => Claim::Ended(self.owed_by(message)),
        }
    }

    /// The sealed window of a worker that is gone, as delivery `delivery` of message `message` hands it on: that one owes then
    /// what its end owes.
    pub fn recovered(&self, message: &str, delivery: u32) -> Self {
        Self { owner: Some(message.to_owned()), delivery, ..self.clone() }
    }

    /// What a delivery of message `message` sends of the debts that the window's end left: nothing where another message
    /// ended it, which pays its own.
    pub fn owed_by(&self, message: &str) -> Vec<Debt> {
        let own = self.owner.as_deref().is_none_or(|owner| owner == message);
        if own { self.owed.clone() } else { Vec::new() }
    }

    /// What a message that carries this permit has of it: nothing where the window was claimed with it before, for the queue may hold
    /// two of one message, with an id of its own each. Permits only ever grow.
    pub fn unused(&self, permit: Option<Timestamp>) -> Option<Timestamp> {
        permit.filter(|permit| self.permit.is_none_or(|used| used < *permit))
    }

    /// Fixes the content. From here it is never pulled again and never split.
    ///
    /// # Errors
    /// [`IllegalTransition`] unless the window is claimed.
    pub fn sealed(&self, seal: Seal, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.expect(WindowState::Claimed, "be sealed")?;
        Ok(Self {
            state: WindowState::Sealed,
            seal: Some(seal),
            posts: 1,
            last_post: Some(now),
            updated: now,
            ..self.clone()
        })
    }

    /// Gives the claim back after an attempt that came to nothing. `own_fault` counts the attempt: a pause
    /// for the tenant's quota does not.
    ///
    /// Gives `None` when the attempts are used up: the window has failed.
    ///
    /// # Errors
    /// [`IllegalTransition`] unless the window is claimed.
    pub fn retried(&self, error: &str, own_fault: bool, now: Timestamp) -> Result<Option<Self>, IllegalTransition> {
        self.expect(WindowState::Claimed, "be tried again")?;
        let attempts = self.attempts + u32::from(own_fault);
        if attempts >= WINDOW_ATTEMPTS {
            return Ok(None);
        }
        Ok(Some(Self {
            state: WindowState::Planned,
            attempts,
            lease_until: None,
            error: Some(error.to_owned()),
            updated: now,
            ..self.clone()
        }))
    }

    /// The same with what its last post came to.
    #[must_use]
    pub fn met(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// The record of a re-post, made before it.
    ///
    /// # Errors
    /// [`IllegalTransition`] unless the window is submitted.
    pub fn reposted(&self, now: Timestamp) -> Result<Self, IllegalTransition> {
        self.expect(WindowState::Submitted, "be posted again")?;
        Ok(Self {
            posts: self.posts + 1,
            attempts: self.attempts + 1,
            last_post: Some(now),
            outcome: self.outcome.reposted(),
            updated: now,
            ..self.clone()
        })
    }

    /// A window that an earlier run left, as this run takes it up: what failed is planned again, or, where its
    /// content is fixed, submitted again for the count to decide. Its time to be counted begins anew.
    pub fn taken_up(&self, now: Timestamp, limits: &Limits) -> Option<Self> {
        let dead = self.is_dead(now, limits);
        let may_land = self.attempts > 0 && self.last_post.is_some_and(|post| now.since(post) <= limits.resubmit_after);
        let fresh = |state| Self {
            state,
            attempts: 0,
            splits: 0,
            short_looks: 0,
            owner: None,
            lease_until: None,
            owed: Vec::new(),
            updated: now,
            ..self.clone()
        };
        let counted_anew = |window: Self| Self {
            counting_since: Some(now),
            outcome: window.outcome.taken_up(may_land),
            updated: now,
            ..window
        };
        match (self.state, &self.seal) {
            (WindowState::Submitted, _) => Some(counted_anew(Self { attempts: 0, ..self.clone() })),
            (WindowState::Failed, Some(_)) => Some(counted_anew(fresh(WindowState::Submitted))),
            (WindowState::Failed, None) | (WindowState::Later, _) => Some(fresh(WindowState::Planned)),
            (WindowState::Claimed, _) if dead => Some(fresh(WindowState::Planned)),
            (WindowState::Sealed, _) if dead => Some(counted_anew(fresh(WindowState::Submitted))),
            _ => None,
        }
    }

    /// Whether the lease of its claim is over, so that its worker may be taken for dead.
    pub fn is_dead(&self, now: Timestamp, limits: &Limits) -> bool {
        // From the very instant on at which a message that was told to come back does.
        self.lease_until.is_none_or(|until| now >= until + limits.clock_margin)
    }

    pub(super) fn expect(&self, state: WindowState, event: &'static str) -> Result<(), IllegalTransition> {
        if self.state == state {
            return Ok(());
        }
        Err(IllegalTransition { what: format!("window {}", self.id), event, state: format!("{:?}", self.state) })
    }

    /// Its row key, given its path.
    pub fn name(&self, path: &str) -> WindowName {
        WindowName::new(self.id.low, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::ids::LedgerId;

    fn start() -> Timestamp {
        "2026-05-01T00:00:00Z".parse().unwrap()
    }

    fn window() -> Window {
        let id = WindowId {
            ledger: LedgerId(7),
            low: Timestamp::MIN,
            high: start(),
            part: Part::WHOLE,
            generation: 0,
            repair: 0,
        };
        Window::planned(id, "p", false, 10, start())
    }

    fn claimed(window: &Window, message: &str, delivery: u32, now: Timestamp) -> Claim {
        window.claim(message, delivery, &InstanceId::from_bits(1), now, &Limits::scaled(1.0))
    }

    fn taken(claim: Claim) -> Window {
        match claim {
            Claim::Claimed(window) => *window,
            other => panic!("{other:?}"),
        }
    }

    fn seal() -> Seal {
        Seal {
            blob: "b".into(),
            rows: 10,
            raw_bytes: 100,
            compressed_bytes: 50,
            longest_row_bytes: 10,
            sha256: String::new(),
        }
    }

    #[test]
    fn a_live_claim_holds_off_other_messages_but_not_its_own_redelivery() {
        let first = taken(claimed(&window(), "m1", 1, start()));
        let limits = Limits::scaled(1.0);
        let until = start() + limits.lease() + limits.clock_margin;
        assert_eq!(claimed(&first, "m2", 1, start()), Claim::HeldUntil(until));
        assert_eq!(claimed(&first, "m1", 1, start()), Claim::HeldUntil(until), "a repeat of the same delivery");
        assert_eq!(taken(claimed(&first, "m1", 2, start())).delivery, 2);
        assert_eq!(
            taken(claimed(&first, "m2", 1, until)).owner.as_deref(),
            Some("m2"),
            "when it was told to come back"
        );
    }

    #[test]
    fn a_sealed_window_is_never_pulled_again() {
        let sealed = taken(claimed(&window(), "m1", 1, start())).sealed(seal(), start()).unwrap();
        assert!(matches!(claimed(&sealed, "m1", 2, start()), Claim::Recover(same) if same.seal == sealed.seal));
        assert!(sealed.retried("x", true, start()).is_err());
        assert!(sealed.sealed(seal(), start()).is_err());
    }

    #[test]
    fn whoever_ended_a_window_pays_its_debts_and_nobody_else() {
        let debt = Debt::chunk(&crate::orchestration::head::testing::key(), window().name("0"));
        let limits = Limits::scaled(1.0);
        let sealed = taken(claimed(&window(), "m1", 1, start())).sealed(seal(), start()).unwrap();
        let late = start() + limits.lease() + limits.clock_margin;
        let Claim::Recover(recovered) = claimed(&sealed, "m2", 1, late) else { panic!("not recovered") };
        let ended = Window { state: WindowState::Submitted, owed: vec![debt.clone()], ..*recovered };
        assert_eq!(claimed(&ended, "m2", 2, late), Claim::Ended(vec![debt.clone()]));
        assert_eq!(claimed(&ended, "m1", 2, late), Claim::Ended(vec![]));
        assert_eq!(claimed(&Window { owner: None, ..ended }, "m3", 1, late), Claim::Ended(vec![debt]));
    }

    #[test]
    fn only_attempts_of_its_own_are_counted() {
        let mut current = window();
        for _ in 0..20 {
            current = taken(claimed(&current, "m", 1, start())).retried("quota", false, start()).unwrap().unwrap();
        }
        for _ in 1..WINDOW_ATTEMPTS {
            current = taken(claimed(&current, "m", 1, start())).retried("reset", true, start()).unwrap().unwrap();
        }
        assert_eq!(taken(claimed(&current, "m", 1, start())).retried("reset", true, start()), Ok(None));
    }

    #[test]
    fn a_failed_window_is_pulled_again_only_if_nothing_was_sealed() {
        let limits = Limits::scaled(1.0);
        let failed = Window { state: WindowState::Failed, attempts: 5, ..window() };
        let again = failed.taken_up(start(), &limits).unwrap();
        assert_eq!((again.state, again.attempts), (WindowState::Planned, 0));
        let failed = Window { seal: Some(seal()), ..failed };
        assert_eq!(failed.taken_up(start(), &limits).unwrap().state, WindowState::Submitted);
    }

    #[test]
    fn the_time_to_be_counted_begins_anew_in_every_run_and_the_posts_stay_known() {
        let (limits, later) = (Limits::scaled(1.0), start() + std::time::Duration::from_secs(86_400));
        for state in [WindowState::Failed, WindowState::Sealed, WindowState::Submitted] {
            let left =
                Window { state, seal: Some(seal()), posts: 2, attempts: 4, last_post: Some(start()), ..window() };
            let taken = left.taken_up(later, &limits).unwrap();
            assert_eq!((taken.state, taken.counting_since), (WindowState::Submitted, Some(later)));
            assert_eq!((taken.posts, taken.last_post), (2, Some(start())));
            assert_eq!(taken.attempts, 0, "it may be posted again as often as any other");
        }
    }
}
