//! Answers that are not of this moment, where a workload group makes them so: from the query results cache (dataexplorer-docs
//! `query/query-results-cache.md`), and of weak consistency (`concepts/queryconsistency.md`, `management/query-consistency-policy.md`).
//! Knows no query: texts in, rows out.

use super::request::Request;
use super::result::Outcome;
use crate::kql::{Column, Value};
use crate::source::ticks;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Which queries the cache takes for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alike {
    /// Those of the same text, as documented.
    ByText,
    /// Those that differ in their comments too, as no service is known to do.
    ButForComments,
}

/// How many answers were not of their moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StaleAnswers {
    /// Of weak consistency.
    pub weak: u64,
    /// From the cache.
    pub cached: u64,
}

/// Who asks, and what.
type Key = (String, String);

/// An answer that is kept.
struct Kept {
    at: i64,
    request_id: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
}

#[derive(Default)]
struct State {
    behind: Option<Duration>,
    caching: Option<(Duration, Alike)>,
    kept: HashMap<Key, Kept>,
    answers: StaleAnswers,
}

/// What the workload group of all callers has set, and what the cache holds.
#[derive(Default)]
pub(super) struct Stale(Mutex<State>);

impl Stale {
    /// From now on queries that ask for no consistency see what was there so long ago.
    pub(super) fn weaken(&self, behind: Duration) {
        self.lock().behind = Some(behind);
    }

    /// From now on answers are kept for so long.
    pub(super) fn cache(&self, longest: Duration, alike: Alike) {
        self.lock().caching = Some((longest, alike));
    }

    /// Every answer is of its moment again.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        let answers = state.answers;
        *state = State { answers, ..State::default() };
    }

    pub(super) fn answers(&self) -> StaleAnswers {
        self.lock().answers
    }

    /// The instant that a query sees, in ticks; `None` for this one.
    pub(super) fn as_of(&self, request: &Request, now: i64) -> Option<i64> {
        let mut state = self.lock();
        let behind = state.behind?;
        if request.text_of("queryconsistency").is_some_and(|asked| asked == "strongconsistency") {
            return None;
        }
        state.answers.weak += 1;
        Some(now - ticks::of(behind))
    }

    /// The answer that the cache has for a query.
    pub(super) fn kept(&self, request: &Request, principal: &str, now: i64) -> Option<Outcome> {
        let mut state = self.lock();
        let (longest, alike) = state.caching?;
        let key = key(request, principal, alike);
        let kept = state.kept.get(&key).filter(|kept| now - kept.at <= ticks::of(longest))?;
        let cached = Some((kept.request_id.clone(), kept.at));
        let outcome = Outcome { columns: kept.columns.clone(), rows: kept.rows.clone(), problem: None, cached };
        state.answers.cached += 1;
        Some(outcome)
    }

    /// Keeps an answer, where answers are kept.
    pub(super) fn keep(&self, request: &Request, principal: &str, outcome: &Outcome, request_id: &str, now: i64) {
        let mut state = self.lock();
        let Some((_, alike)) = state.caching.filter(|_| outcome.problem.is_none()) else { return };
        let (columns, rows) = (outcome.columns.clone(), outcome.rows.clone());
        let kept = Kept { at: now, request_id: request_id.to_owned(), columns, rows };
        state.kept.insert(key(request, principal, alike), kept);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(request: &Request, principal: &str, alike: Alike) -> Key {
    let text = match alike {
        Alike::ByText => request.text.clone(),
        Alike::ButForComments => {
            request.text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
        }
    };
    (principal.to_owned(), text)
}
