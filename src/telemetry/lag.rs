//! How far the tables are behind, as this process knows it: each was so far behind when it was last looked at, and is further
//! behind by now. So the figure grows when runs stop, without a look at the store.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The tables that this process has looked at.
#[derive(Debug, Default)]
pub struct Lags(Mutex<BTreeMap<String, (Duration, Instant)>>);

impl Lags {
    /// A table is `behind` now.
    pub fn note(&self, table: &str, behind: Duration) {
        self.locked(|lags| lags.insert(table.to_owned(), (behind, Instant::now())));
    }

    /// How far each table is behind now.
    pub fn now(&self) -> Vec<(String, Duration)> {
        self.locked(|lags| lags.iter().map(|(table, (behind, at))| (table.clone(), *behind + at.elapsed())).collect())
    }

    fn locked<T>(&self, work: impl FnOnce(&mut BTreeMap<String, (Duration, Instant)>) -> T) -> T {
        // A map is whole whoever panicked.
        work(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_nobody_looks_at_falls_further_behind() {
        let lags = Lags::default();
        lags.note("A", Duration::from_secs(60));
        lags.note("B", Duration::from_secs(5));
        let first = lags.now();
        lags.note("B", Duration::ZERO);
        let then = lags.now();
        assert!(first[0].1 >= Duration::from_secs(60) && then[0].1 > first[0].1, "{first:?} {then:?}");
        assert!(then[1].1 < Duration::from_secs(5), "{then:?}");
    }
}
