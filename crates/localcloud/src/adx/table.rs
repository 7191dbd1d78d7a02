//! The rows of one table: small batches in memory and extents of big ingestions on disk.

use crate::kql::{Column, Table, Type, Value};
use std::sync::Arc;
use uuid::Uuid;

/// What `.show table T extents` tells of one extent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtentInfo {
    /// Its id.
    pub id: Uuid,
    /// Its rows.
    pub rows: u64,
    /// Bytes before compression.
    pub original_size: u64,
    /// When it was made, ticks.
    pub created: i64,
    /// Its tags.
    pub tags: Vec<String>,
}

/// A table's schema and rows. A snapshot is cheap and does not change.
#[derive(Clone)]
pub struct TableData {
    columns: Arc<Vec<Column>>,
    batches: Vec<Arc<Batch>>,
}

struct Batch {
    info: ExtentInfo,
    rows: Vec<Vec<Value>>,
}

impl TableData {
    /// An empty table.
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns: Arc::new(columns), batches: Vec::new() }
    }

    /// Its columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Adds columns at the end; rows that are there have null in them.
    pub fn add_columns(&mut self, more: Vec<Column>) {
        Arc::make_mut(&mut self.columns).extend(more);
    }

    /// Appends rows (values by position, as wide as the columns) as one extent, kept in memory.
    pub fn append_rows(&mut self, rows: Vec<Vec<Value>>, arrived: i64, tags: Vec<String>) -> ExtentInfo {
        let info = ExtentInfo { id: Uuid::new_v4(), rows: rows.len() as u64, original_size: 0, created: arrived, tags };
        self.batches.push(Arc::new(Batch { info: info.clone(), rows }));
        info
    }

    /// Puts back rows that [`TableData::append_rows`] took before a restart, as the extent that they were.
    pub fn restore_rows(&mut self, info: ExtentInfo, rows: Vec<Vec<Value>>) {
        self.batches.push(Arc::new(Batch { info, rows }));
    }

    /// Whether an extent has this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.batches.iter().any(|batch| batch.info.tags.iter().any(|other| other == tag))
    }

    /// Its extents.
    pub fn extents(&self) -> Vec<ExtentInfo> {
        self.batches.iter().map(|batch| batch.info.clone()).collect()
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.batches.clear();
    }

    /// The table as it is now.
    pub fn snapshot(&self) -> Arc<dyn Table> {
        Arc::new(Snapshot { table: self.clone() })
    }
}

struct Snapshot {
    table: TableData,
}

impl Snapshot {
    fn batch(&self, mut row: u64) -> Option<(&Batch, usize)> {
        for batch in &self.table.batches {
            if row < batch.info.rows {
                return Some((batch, usize::try_from(row).ok()?));
            }
            row -= batch.info.rows;
        }
        None
    }
}

impl Table for Snapshot {
    fn columns(&self) -> &[Column] {
        &self.table.columns
    }

    fn row_count(&self) -> u64 {
        self.table.batches.iter().map(|batch| batch.info.rows).sum()
    }

    fn value(&self, row: u64, column: usize) -> Value {
        let held = self.batch(row).and_then(|(batch, row)| batch.rows[row].get(column)).cloned();
        // The row is older than the column.
        held.unwrap_or_else(|| match self.table.columns.get(column) {
            Some(Column { ty: Type::String, .. }) => Value::text(""),
            _ => Value::Null,
        })
    }

    fn ingestion_time(&self, row: u64) -> Option<i64> {
        self.batch(row).map(|(batch, _)| batch.info.created)
    }
}
