//! Rows as this process last read or wrote them, so that what it has just written need not be read again. Knows no
//! record.
//!
//! A row from here may be old: another process may have changed it. That does no harm, because
//! - every write names the version it was decided on, so a decision from an old row is refused by the store, the row
//!   is forgotten, and the next look reads it; each refusal removes one old row, so a decision is never repeated on
//!   the same one;
//! - nothing is ended, paid or given up because of a row from here: a worker that would do anything but swap it reads
//!   it first. At most its message goes back to wait for a permit, and is looked at again;
//! - that a row is *not* there is never remembered;
//! - what is only looked at (whether a table's run may still claim, or seal) is looked at with an age of
//!   [`crate::orchestration::limits::KNOWN_FOR`] at most, and the same could have changed between a read and the claim. That a table is
//!   stopped is read.

use crate::storage::{Key, Row};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The most rows kept; the one that was read or written longest ago leaves first.
const MOST_ROWS: usize = 1_000;

/// The rows of one process.
#[derive(Default)]
pub(super) struct Cache {
    rows: Mutex<Rows>,
}

#[derive(Default)]
struct Rows {
    count: u64,
    by_key: HashMap<Key, Kept>,
    by_age: BTreeMap<u64, Key>,
}

struct Kept {
    row: Row,
    at: Instant,
    place: u64,
}

impl Cache {
    /// Keeps a row whose read or write began at `at`, unless a later one is kept.
    pub fn keep(&self, row: Row, at: Instant) {
        let mut rows = self.rows();
        if rows.by_key.get(&row.key).is_some_and(|kept| kept.at > at) {
            return;
        }
        rows.remove(&row.key.clone());
        rows.count += 1;
        let place = rows.count;
        rows.by_age.insert(place, row.key.clone());
        rows.by_key.insert(row.key.clone(), Kept { row, at, place });
        if rows.by_key.len() > MOST_ROWS
            && let Some((_, oldest)) = rows.by_age.pop_first()
        {
            rows.by_key.remove(&oldest);
        }
    }

    /// The row, if it is known and no older than `most`.
    pub fn get(&self, key: &Key, most: Duration) -> Option<Row> {
        let rows = self.rows();
        rows.by_key.get(key).filter(|kept| kept.at.elapsed() <= most).map(|kept| kept.row.clone())
    }

    /// Forgets the row.
    pub fn forget(&self, key: &Key) {
        self.rows().remove(key);
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Whatever a panic elsewhere left undone only costs a read.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.by_key.remove(key) {
            self.by_age.remove(&kept.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{ETag, Properties};

    fn row(name: &str, version: &str) -> Row {
        Row { key: Key::new("p", name).unwrap(), properties: Properties::new(), etag: ETag(version.to_owned()) }
    }

    fn version(cache: &Cache, name: &str, most: Duration) -> Option<String> {
        cache.get(&Key::new("p", name).unwrap(), most).map(|row| row.etag.0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_is_known_until_it_is_too_old_or_forgotten() {
        let cache = Cache::default();
        cache.keep(row("a", "1"), Instant::now());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(version(&cache, "a", Duration::from_secs(1)), None);
        assert_eq!(version(&cache, "a", Duration::MAX).as_deref(), Some("1"));
        cache.forget(&row("a", "1").key);
        assert_eq!(version(&cache, "a", Duration::MAX), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_read_does_not_replace_a_later_write() {
        let cache = Cache::default();
        let read_began = Instant::now();
        tokio::time::advance(Duration::from_millis(5)).await;
        cache.keep(row("a", "2"), Instant::now());
        cache.keep(row("a", "1"), read_began);
        assert_eq!(version(&cache, "a", Duration::MAX).as_deref(), Some("2"));
    }

    #[test]
    fn the_rows_that_were_used_longest_ago_leave_first() {
        let cache = Cache::default();
        for number in 0..MOST_ROWS {
            cache.keep(row(&number.to_string(), "1"), Instant::now());
        }
        cache.keep(row("0", "2"), Instant::now());
        cache.keep(row("new", "1"), Instant::now());
        let rows = cache.rows();
        assert_eq!((rows.by_key.len(), rows.by_age.len()), (MOST_ROWS, MOST_ROWS));
        drop(rows);
        assert_eq!(version(&cache, "0", Duration::MAX).as_deref(), Some("2"));
        assert_eq!(version(&cache, "1", Duration::MAX), None);
    }
}
