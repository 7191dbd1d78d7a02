//! What was asked and answered, for tests and the demo.

use super::catalog;
use crate::source::Snapshot;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const LOG_CAP: usize = 50_000;
const ABANDONED: u16 = 499;

/// Counts of all calls and a log of the latest.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    /// Calls by the first table that the query names.
    pub calls_by_table: BTreeMap<String, u64>,
    /// Calls by HTTP status.
    pub calls_by_status: BTreeMap<u16, u64>,
    /// Calls that were refused because there were too many.
    pub over_quota: u64,
    /// Rows sent.
    pub rows: u64,
    /// Bytes of result arrays sent, before compression.
    pub result_bytes: u64,
    /// The most queries that were evaluated or waited for evaluation at once.
    pub most_at_once: u64,
    /// The latest calls, in the order in which they ended.
    pub log: VecDeque<Call>,
    now_open: u64,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it came, in ticks.
    pub at: i64,
    /// Its query, as far as it could be read.
    pub query: String,
    /// The first table that it names.
    pub table: Option<String>,
    /// The HTTP status of the answer; 499 if the client went away before it.
    pub status: u16,
    /// Rows in the answer.
    pub rows: u64,
    /// Bytes of the answer's result array.
    pub result_bytes: u64,
}

#[derive(Default)]
pub(super) struct Recorder {
    statistics: Mutex<Statistics>,
    requests: AtomicU64,
}

impl Recorder {
    pub(super) fn statistics(&self) -> Statistics {
        self.lock().clone()
    }

    /// A number for each request.
    pub(super) fn next_number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Begins a call that came at `at`.
    pub(super) fn open(&self, at: i64, tables: Snapshot) -> Open<'_> {
        let mut statistics = self.lock();
        statistics.now_open += 1;
        statistics.most_at_once = statistics.most_at_once.max(statistics.now_open);
        let call = Call { at, query: String::new(), table: None, status: ABANDONED, rows: 0, result_bytes: 0 };
        Open { recorder: self, tables, call }
    }

    fn lock(&self) -> MutexGuard<'_, Statistics> {
        // Counters stay usable whatever panicked while holding them.
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is under way. It is recorded when dropped: finished, or abandoned by its client.
pub(super) struct Open<'a> {
    recorder: &'a Recorder,
    tables: Snapshot,
    call: Call,
}

impl Open<'_> {
    /// Notes the query as soon as it is known.
    pub(super) fn asks(&mut self, query: String) {
        self.call.table = catalog::first_table(&query, &self.tables);
        self.call.query = query;
    }

    /// Notes how the call was answered.
    pub(super) fn answered(&mut self, status: u16, rows: u64, result_bytes: u64) {
        (self.call.status, self.call.rows, self.call.result_bytes) = (status, rows, result_bytes);
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut statistics = self.recorder.lock();
        statistics.now_open -= 1;
        *statistics.calls_by_status.entry(self.call.status).or_default() += 1;
        if let Some(table) = &self.call.table {
            *statistics.calls_by_table.entry(table.clone()).or_default() += 1;
        }
        statistics.rows += self.call.rows;
        statistics.result_bytes += self.call.result_bytes;
        if statistics.log.len() == LOG_CAP {
            statistics.log.pop_front();
        }
        statistics.log.push_back(self.call.clone());
    }
}
