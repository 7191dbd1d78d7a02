//! A table held in memory: literals, materialised results and test data.

use super::{Column, Table, Value};

/// Rows in memory, with or without arrival times.
#[derive(Debug, Clone, Default)]
pub struct MemoryTable {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
    arrivals: Vec<i64>,
}

impl MemoryTable {
    /// A table of rows that are as wide as `columns`.
    pub fn new(columns: Vec<Column>, rows: Vec<Vec<Value>>) -> Self {
        Self { columns, rows, arrivals: Vec::new() }
    }

    /// Sets what `ingestion_time()` gives, row by row, in ticks.
    #[must_use]
    pub fn with_arrivals(mut self, arrivals: Vec<i64>) -> Self {
        self.arrivals = arrivals;
        self
    }
}

impl Table for MemoryTable {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn row_count(&self) -> u64 {
        self.rows.len() as u64
    }

    fn value(&self, row: u64, column: usize) -> Value {
        let row = usize::try_from(row).ok().and_then(|row| self.rows.get(row));
        row.and_then(|row| row.get(column)).cloned().unwrap_or(Value::Null)
    }

    fn ingestion_time(&self, row: u64) -> Option<i64> {
        self.arrivals.get(usize::try_from(row).ok()?).copied()
    }
}
