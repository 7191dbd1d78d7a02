//! What a query costs: how many values it reads of the rows of tables. Knows no limit but the one that it is given.

use crate::kql::{Column, Table, Value};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what one query reads, where that is limited.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    most: Option<u64>,
    read: Arc<AtomicU64>,
}

impl Meter {
    pub(super) fn new(most: Option<u64>) -> Self {
        Self { most, read: Arc::default() }
    }

    /// A table that counts.
    pub(super) fn over(&self, table: Arc<dyn Table>) -> Arc<dyn Table> {
        match self.most {
            None => table,
            Some(_) => Arc::new(Metered { table, read: self.read.clone() }),
        }
    }

    /// Whether more was read than may be.
    pub(super) fn is_over(&self) -> bool {
        self.most.is_some_and(|most| self.read.load(Ordering::Relaxed) > most)
    }
}

struct Metered {
    table: Arc<dyn Table>,
    read: Arc<AtomicU64>,
}

impl Metered {
    fn count(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }
}

impl Table for Metered {
    fn columns(&self) -> &[Column] {
        self.table.columns()
    }

    fn row_count(&self) -> u64 {
        self.table.row_count()
    }

    fn value(&self, row: u64, column: usize) -> Value {
        self.count();
        self.table.value(row, column)
    }

    fn is_null(&self, row: u64, column: usize) -> bool {
        self.count();
        self.table.is_null(row, column)
    }

    fn ingestion_time(&self, row: u64) -> Option<i64> {
        self.count();
        self.table.ingestion_time(row)
    }

    fn arrived_within(&self, after: i64, until: i64) -> Vec<Range<u64>> {
        self.table.arrived_within(after, until)
    }
}
