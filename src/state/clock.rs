//! How far this process's clock is behind the one that permits are reckoned by: that of the writer of the budget which is furthest
//! ahead. Each record that is read says when it was written at the latest, so it tells the difference but for its own
//! age. A process that has begun while others are at work therefore looks until one of them writes between two looks, and sends no
//! call before: it would send it late by that age, and close to theirs.

use crate::orchestration::budget::Quota;
use crate::orchestration::limits::KNOWN_FOR;
use crate::storage::ETag;
use crate::timestamp::{Timestamp, ticks_of};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Clocks are not believed to be further apart than this.
const MOST_APART: Duration = Duration::from_secs(5 * 60);
/// The time between two looks at the record.
pub(super) const LOOK: Duration = Duration::from_millis(250);
/// What is found out is wrong by no more than this: two looks that took longer tell nothing.
const MOST_DOUBT: Duration = Duration::from_millis(750);
/// A clock that is ahead by less does no harm.
const AHEAD: Duration = Duration::from_millis(500);
/// Processes at work write for each of their calls. After so many without a write nobody else is.
const QUIET_CALLS: u32 = 3;
const SHORTEST_QUIET: Duration = Duration::from_secs(1);
const LONGEST_QUIET: Duration = Duration::from_secs(10);

/// The record as one look found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// When it was written at the latest, by the clock of its writers.
    pub written: Timestamp,
    /// What this process's clock showed when it had been read: not less than when it was written.
    pub at: Timestamp,
}

/// What a look tells after those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It was written since the last look: the difference is known but for this.
    Difference(Duration),
    /// Nobody else is at work.
    Quiet,
    /// Nothing yet.
    Nothing,
}

/// The looks of a process that finds out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looks {
    quiet_since: Instant,
    last: Option<(Timestamp, Instant)>,
}

impl Looks {
    pub fn begin(now: Instant) -> Self {
        Self { quiet_since: now, last: None }
    }

    /// What another look tells, which was `taken` from its request to its answer and found the record written at `written`. What
    /// this process itself wrote since the last one says nothing: `own`.
    pub fn look(&mut self, written: Timestamp, own: bool, taken: Range<Instant>, quota: Quota) -> Told {
        let quiet = (quota.interval() * QUIET_CALLS).clamp(SHORTEST_QUIET, LONGEST_QUIET);
        match self.last.replace((written, taken.start)) {
            Some((before, at)) if before != written && !own => {
                self.quiet_since = taken.end;
                let doubt = taken.end - at;
                if doubt <= MOST_DOUBT { Told::Difference(doubt) } else { Told::Nothing }
            }
            _ if taken.start - self.quiet_since >= quiet => Told::Quiet,
            _ => Told::Nothing,
        }
    }
}

/// What this process knows of the clock.
#[derive(Default)]
pub(super) struct SharedClock {
    /// Of those who find out, one does.
    pub finding_out: tokio::sync::Mutex<()>,
    /// How much it is ahead of this process's, in ticks: at least so much.
    ahead: AtomicU64,
    /// And at most so much more, in ticks.
    doubt: AtomicU64,
    /// Whether another process has written the record lately.
    met: AtomicBool,
    /// Whether the difference has been found out.
    known: AtomicBool,
    /// Whether this process's clock may be the one that is ahead.
    leads: AtomicBool,
    /// Whether this process has written the record, so that the others may know of its clock.
    has_written: AtomicBool,
    /// The record's version as this process wrote it last, or as nobody else changed it for a while.
    own: Mutex<Option<ETag>>,
}

impl SharedClock {
    pub fn ahead(&self) -> Duration {
        of_ticks(&self.ahead)
    }

    pub fn doubt(&self) -> Duration {
        of_ticks(&self.doubt)
    }

    /// Whether a call may be sent: either nobody else is at work, or it is known what their clock shows.
    pub fn may_be_trusted(&self) -> bool {
        self.known.load(Ordering::Relaxed) || !self.met.load(Ordering::Relaxed)
    }

    /// Whether the record of that version was written by this process, or by nobody who is at work.
    pub fn is_own(&self, etag: &ETag) -> bool {
        self.own().as_ref() == Some(etag)
    }

    fn own(&self) -> MutexGuard<'_, Option<ETag>> {
        // Replaced as a whole, so it is good even after a panic elsewhere.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a record that had been read when this process's clock showed `look.at`: whoever wrote it did so before.
    pub fn learn(&self, look: Look, etag: &ETag) {
        let ahead = look.written.since(look.at);
        if ahead <= MOST_APART {
            self.ahead.fetch_max(ticks_of(ahead), Ordering::Relaxed);
        }
        if !self.is_own(etag) && look.at.since(look.written) < MOST_APART {
            self.met.store(true, Ordering::Relaxed);
        }
    }

    /// The difference is known now, but for `doubt`, from this look at the record.
    pub fn found_out(&self, doubt: Duration, last: Look) {
        self.doubt.store(ticks_of(doubt), Ordering::Relaxed);
        self.leads.store(last.at.since(last.written) > AHEAD.max(doubt), Ordering::Relaxed);
        self.known.store(true, Ordering::Relaxed);
    }

    /// Nobody else is at work; this version of the record is of before. Whoever writes another is to be compared with.
    pub fn is_alone(&self, etag: ETag) {
        *self.own() = Some(etag);
        self.met.store(false, Ordering::Relaxed);
    }

    /// This process has written the record; its version, if that is known.
    pub fn wrote(&self, etag: Option<ETag>) {
        self.has_written.store(true, Ordering::Relaxed);
        *self.own() = etag;
    }

    /// How long after `now` the first permit of this process is to be at least. Where its clock may be ahead of the others', they
    /// look within two seconds, and are to have seen its time by then.
    pub fn caution(&self, written: Option<Timestamp>, now: Timestamp, quota: Quota) -> Duration {
        let Some(written) = written.filter(|_| !self.has_written.load(Ordering::Relaxed)) else {
            return Duration::ZERO;
        };
        let quiet = now.since(written);
        let may_lead = match self.known.load(Ordering::Relaxed) {
            true => self.leads.load(Ordering::Relaxed),
            false => quiet > KNOWN_FOR && quiet < MOST_APART,
        };
        if may_lead { KNOWN_FOR + quota.interval() } else { Duration::ZERO }
    }
}

fn of_ticks(ticks: &AtomicU64) -> Duration {
    Duration::from_nanos(ticks.load(Ordering::Relaxed).saturating_mul(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { per_minute: 45, per_hour: None };

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::from_ticks(638_000_000_000_000_000) + Duration::from_millis(milliseconds)
    }

    fn look(written: u64, seen: u64) -> Look {
        Look { written: at(written), at: at(seen) }
    }

    #[test]
    fn a_write_of_another_between_two_looks_tells_the_difference_but_for_the_time_between() {
        let began = Instant::now();
        let mut looks = Looks::begin(began);
        let mut look = |written, own, after| {
            let asked = began + LOOK * after;
            looks.look(at(written), own, asked..asked + Duration::from_millis(10), QUOTA)
        };
        assert_eq!(look(60_000, false, 0), Told::Nothing, "it may be old");
        assert_eq!(look(60_000, false, 1), Told::Nothing);
        assert_eq!(look(61_000, true, 2), Told::Nothing, "its own write tells nothing");
        assert_eq!(look(61_300, false, 3), Told::Difference(LOOK + Duration::from_millis(10)));
    }

    #[test]
    fn an_answer_that_came_late_tells_no_difference_and_that_somebody_is_at_work() {
        let began = Instant::now();
        let mut looks = Looks::begin(began);
        let mut look = |written, from: u64, to: u64| {
            let after = |milliseconds| began + Duration::from_millis(milliseconds);
            looks.look(at(written), false, after(from)..after(to), QUOTA)
        };
        assert_eq!(look(60_000, 0, 10), Told::Nothing);
        assert_eq!(look(62_800, 250, 3_000), Told::Nothing, "it was written somewhen within three seconds");
        assert_eq!(look(62_800, 4_250, 4_260), Told::Nothing, "that was not long ago");
        assert_eq!(look(64_400, 4_500, 4_510), Told::Difference(Duration::from_millis(260)));
    }

    #[test]
    fn where_nobody_writes_for_some_calls_nobody_else_is_at_work() {
        let quiet = |per_minute, waited: u64| {
            let (began, quota) = (Instant::now(), Quota { per_minute, per_hour: None });
            let mut looks = Looks::begin(began);
            let mut look = |asked| looks.look(at(0), false, asked..asked, quota);
            look(began);
            look(began + Duration::from_millis(waited)) == Told::Quiet
        };
        assert!(!quiet(45, 4_000) && quiet(45, 4_250));
        assert!(!quiet(6_000, 750) && quiet(6_000, 1_000));
        assert!(!quiet(1, 9_750) && quiet(1, 10_000));
    }

    #[test]
    fn a_process_alone_trusts_its_clock_and_one_among_others_finds_out_first() {
        let clock = SharedClock::default();
        let (own, other) = (ETag("own".to_owned()), ETag("other".to_owned()));
        assert!(clock.may_be_trusted());
        clock.wrote(Some(own.clone()));
        clock.learn(look(1_000, 1_500), &own);
        clock.learn(look(1_000, 302_000), &other);
        assert!(clock.may_be_trusted(), "what another wrote long ago tells of nobody at work");
        clock.learn(look(60_000, 2_000), &other);
        assert_eq!((clock.may_be_trusted(), clock.ahead()), (false, Duration::from_secs(58)));
        clock.is_alone(other.clone());
        clock.learn(look(60_000, 2_500), &other);
        assert!(clock.may_be_trusted(), "nobody has written since");
        clock.learn(look(61_000, 3_000), &ETag("again".to_owned()));
        assert!(!clock.may_be_trusted());
        clock.found_out(LOOK, look(60_000, 2_000));
        assert_eq!((clock.may_be_trusted(), clock.doubt()), (true, LOOK));
    }

    #[test]
    fn whose_clock_is_ahead_leaves_the_others_time_to_see_it() {
        let caution = |found: Option<Look>, seconds: u64| {
            let clock = SharedClock::default();
            if let Some(found) = found {
                clock.found_out(LOOK, found);
            }
            clock.caution(Some(at(0)), at(seconds * 1_000), QUOTA) > Duration::ZERO
        };
        assert!(!caution(None, 2) && caution(None, 3) && !caution(None, 300));
        assert!(caution(Some(look(0, 60_000)), 60));
        assert!(!caution(Some(look(60_000, 0)), 60) && !caution(Some(look(1_000, 1_250)), 60));
        let clock = SharedClock::default();
        clock.wrote(None);
        assert_eq!(clock.caution(Some(at(0)), at(60_000), QUOTA), Duration::ZERO);
    }
}
