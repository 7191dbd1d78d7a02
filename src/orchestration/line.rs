//! The time line of a tenant's hunting calls: one that all processes follow, whatever their clocks show. Knows no clock and no
//! store; a process's own time, which only ever goes on, comes in as the time since it began.
//!
//! The line is the own time of the process that founded it, so it goes on as real time does. Whoever writes the budget says what the line
//! showed when its write began: at least so much, and if it can tell, at most so much. What a process learns from that follows
//! from the order of things alone:
//! - the write began before its reading ended, so by then the line shows at least as much;
//! - a record that has been written since a write of this process was begun after that one was, because it had to name its
//!   version: when this process's write began the line showed no more than the later writer says.
//!
//! Both bounds hold however long requests and answers take; slow ones only leave them apart. A process follows the line when they
//! are at most [`MOST_DOUBT`] apart. One that does not asks, by a write that says no upper bound, and the next write of a process at work is
//! its answer. Where no call can be under way any more that was permitted on the line, whoever comes first founds another, which shows at least as
//! much as is certain: never more than the old one, so that nothing that counted stops counting too early.
//! `docs/decisions/0014-one-time-line-for-the-quota.md` has the argument that the quota is kept.

use super::budget::Budget;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::time::Duration;

/// A process may send calls when it knows the line but for this much. It has to be clearly less than
/// [`LATENESS`](super::budget::LATENESS), of which it takes its part.
pub const MOST_DOUBT: Duration = Duration::from_millis(750);
/// Clocks are not believed to be further apart than this.
const MOST_APART: Duration = Duration::from_secs(5 * 60);
/// The own times of two processes go apart by no more than this part of them: a ten-thousandth, as is asked of a quartz.
const DRIFT: u32 = 10_000;

/// What the writer of a record says of the line, as of the beginning of its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Which line it is. A new one has another number.
    line: u32,
    /// It showed at least this.
    least: Timestamp,
    /// And at most this; none from a process that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    most: Option<Timestamp>,
    /// The writer's clock, which tells how long a record has lain that nobody else knows anything of.
    clock: Timestamp,
}

impl Said {
    /// What the line showed at least.
    pub fn least(&self) -> Timestamp {
        self.least
    }

    /// Whether the writer asks what the line shows.
    pub fn asks(&self) -> bool {
        self.most.is_none()
    }

    /// What the writer's clock shows at a time of the line, as far as the writer knew.
    pub fn by_its_clock(&self, at: Timestamp) -> Timestamp {
        if at >= self.least { self.clock + at.since(self.least) } else { self.clock - self.least.since(at) }
    }
}

/// The line at an own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    line: Timestamp,
    own: Duration,
}

impl Mark {
    fn age(self, own: Duration) -> Duration {
        own.saturating_sub(self.own)
    }

    fn least(self, own: Duration) -> Timestamp {
        self.line + (self.age(own) - self.age(own) / DRIFT)
    }

    fn most(self, own: Duration) -> Timestamp {
        self.line + (self.age(own) + self.age(own) / DRIFT)
    }
}

/// What a process knows of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    id: u32,
    /// Its own time is the line.
    founded: bool,
    least: Mark,
    most: Option<Mark>,
}

impl Line {
    fn founded(id: u32, line: Timestamp, own: Duration) -> Self {
        let mark = Mark { line, own };
        Self { id, founded: true, least: mark, most: Some(mark) }
    }

    fn joined(said: &Said, own: Duration, clock: Timestamp) -> Self {
        Self { id: said.line, founded: false, least: Mark { line: said.at_least(clock), own }, most: None }
    }

    fn least(&self, own: Duration) -> Timestamp {
        if self.founded { self.least.line + self.least.age(own) } else { self.least.least(own) }
    }

    fn most(&self, own: Duration) -> Option<Timestamp> {
        if self.founded { Some(self.least(own)) } else { self.most.map(|most| most.most(own)) }
    }

    fn is_known(&self, own: Duration) -> bool {
        self.most(own).is_some_and(|most| most.since(self.least(own)) <= MOST_DOUBT)
    }

    /// Narrows the bounds by what was said in a write that began behind `asked` and was known at `own`.
    fn hear(&mut self, said: &Said, asked: Option<Duration>, own: Duration, clock: Timestamp) {
        let least = Mark { line: said.at_least(clock), own };
        if least.line > self.least(own) {
            // One that founded the line and is behind has stood still: its time is no measure any more.
            *self = if self.founded { Self::joined(said, own, clock) } else { Self { least, ..self.clone() } };
        }
        if self.founded {
            return;
        }
        if let (Some(line), Some(asked)) = (said.most, asked) {
            let heard = Mark { line, own: asked };
            if self.most.is_none_or(|most| heard.most(own) < most.most(own)) {
                self.most = Some(heard);
            }
        }
        // What cannot be was measured by a time that stood still: it is found out again.
        if self.most(own).is_some_and(|most| most < self.least(own)) {
            *self = Self::joined(said, own, clock);
        }
    }
}

impl Said {
    /// What the line shows at least when this process's clock shows `clock` and it has just been read.
    fn at_least(&self, clock: Timestamp) -> Timestamp {
        self.least + clock.since(self.clock).saturating_sub(MOST_APART)
    }
}

/// What a process knows of the line that its tenant's calls are reckoned by. Times are its own.
#[derive(Debug, Default)]
pub struct Follower {
    line: Option<Line>,
    /// The line that it is about to found, or whose founding it did not hear the end of.
    founding: Option<Line>,
    /// From when to when its last write took of which it knows that it was stored.
    wrote: Option<Range<Duration>>,
}

impl Follower {
    /// Takes in what a record says (none: there is no record) that was read over `taken`, when this process's clock showed
    /// `clock` in the end.
    pub fn read(&mut self, said: Option<&Said>, taken: Range<Duration>, clock: Timestamp) {
        let Range { start: began, end: own } = taken;
        // The record may have been read before this process wrote it.
        if self.wrote.as_ref().is_some_and(|wrote| began < wrote.end) {
            return;
        }
        let Some(said) = said else {
            self.line = None;
            return;
        };
        if self.line.as_ref().is_none_or(|line| line.id != said.line) {
            let founding = self.founding.take_if(|line| line.id == said.line);
            self.line = Some(founding.unwrap_or_else(|| Line::joined(said, own, clock)));
        }
        let asked = self.wrote.as_ref().map(|wrote| wrote.start);
        if let Some(line) = &mut self.line {
            line.hear(said, asked, own, clock);
        }
    }

    /// Whether this process may reckon by the line that the record is of: it follows it, or may found one.
    pub fn may_reckon(&self, budget: &Budget, own: Duration) -> bool {
        budget.said().is_none() || self.follows(own) || self.least(own).is_some_and(|least| budget.is_over(least))
    }

    /// What this process says in a write of the record that begins now. `fresh` is the number of a line, should it found one.
    pub fn say(&mut self, budget: &Budget, fresh: u32, own: Duration, clock: Timestamp) -> Said {
        let line = match budget.said() {
            None => self.founding.insert(Line::founded(fresh, clock, own)),
            Some(said) => {
                let of_record = self.line.take_if(|line| line.id == said.line);
                let line = self.line.insert(of_record.unwrap_or_else(|| Line::joined(said, own, clock)));
                if !line.is_known(own) && budget.is_over(line.least(own)) {
                    self.founding.insert(Line::founded(fresh, line.least(own), own))
                } else {
                    line
                }
            }
        };
        Said { line: line.id, least: line.least(own), most: line.most(own), clock }
    }

    /// The write that said this was stored; it took so long.
    pub fn wrote(&mut self, said: &Said, taken: Range<Duration>) {
        if let Some(line) = self.founding.take_if(|line| line.id == said.line) {
            self.line = Some(line);
        }
        self.wrote = Some(taken);
    }

    /// Whether it knows what the line shows.
    pub fn follows(&self, own: Duration) -> bool {
        self.line.as_ref().is_some_and(|line| line.is_known(own))
    }

    /// What the line shows at least; none before anything is known of one.
    pub fn least(&self, own: Duration) -> Option<Timestamp> {
        self.line.as_ref().map(|line| line.least(own))
    }

    /// Whether a call may be sent on a permit now, where the record has been looked at lately. A record that has not given it yet is of
    /// before it was given, on another line as it may be: it has to be read again.
    pub fn may_send(&self, budget: &Budget, permit: Timestamp, own: Duration) -> bool {
        let is_of_record = |line: &&Line| budget.said().is_some_and(|said| said.line == line.id);
        let line = self.line.as_ref().filter(is_of_record).filter(|line| line.is_known(own));
        // By what it shows at most: a permit that may be over is void.
        let in_time = line.and_then(|line| line.most(own)).is_some_and(|most| budget.allows(permit, most));
        in_time && budget.has_given(permit)
    }

    /// What it shows at most, where this process follows it.
    pub fn most(&self, own: Duration) -> Option<Timestamp> {
        self.line.as_ref().filter(|line| line.is_known(own)).and_then(|line| line.most(own))
    }
}

#[cfg(test)]
mod tests;
