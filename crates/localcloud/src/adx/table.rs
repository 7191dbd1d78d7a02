//! The rows of one table: small batches in memory and extents of big ingestions on disk.

use super::extent::{self, Directory, Extent, ExtentWriter};
use crate::kql::{Column, Table, Type, Value};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
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
    parts: Vec<Part>,
    /// Made when the first extent is written.
    directory: Arc<Mutex<Option<Arc<Directory>>>>,
}

/// An extent, wherever it is kept.
#[derive(Clone)]
enum Part {
    Rows(Arc<Batch>),
    Extent(Arc<Extent>),
    Left(Arc<Left>),
}

/// What a soft delete left of an extent, which keeps its tags.
struct Left {
    of: Part,
    rows: Vec<usize>,
}

struct Batch {
    info: ExtentInfo,
    rows: Vec<Vec<Value>>,
}

impl Part {
    fn info(&self) -> &ExtentInfo {
        match self {
            Self::Rows(batch) => &batch.info,
            Self::Extent(extent) => extent.info(),
            Self::Left(left) => left.of.info(),
        }
    }

    fn arrived(&self) -> i64 {
        match self {
            Self::Rows(batch) => batch.info.created,
            Self::Extent(extent) => extent.arrived(),
            Self::Left(left) => left.of.arrived(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Rows(batch) => batch.rows.len(),
            Self::Extent(extent) => extent.identities().len(),
            Self::Left(left) => left.rows.len(),
        }
    }

    /// A cell; null, or the empty string, where the part is narrower than the table.
    fn value(&self, row: usize, column: usize, ty: Type) -> Value {
        let value = match self {
            Self::Rows(batch) => batch.rows[row].get(column).cloned().unwrap_or(Value::Null),
            Self::Extent(extent) => extent.value(row, column),
            Self::Left(left) => return left.of.value(left.rows[row], column, ty),
        };
        if value == Value::Null && ty == Type::String { Value::text("") } else { value }
    }

    fn is_null(&self, row: usize, column: usize) -> bool {
        match self {
            Self::Rows(batch) => batch.rows[row].get(column).is_none_or(|value| *value == Value::Null),
            Self::Extent(extent) => extent.is_null(row, column),
            Self::Left(left) => left.of.is_null(left.rows[row], column),
        }
    }

    fn identity(&self, row: usize, columns: &[Column]) -> u64 {
        match self {
            Self::Rows(_) => extent::identity_of(columns, |column| self.value(row, column, columns[column].ty)),
            Self::Extent(extent) => extent.identities()[row],
            Self::Left(left) => left.of.identity(left.rows[row], columns),
        }
    }

    /// Without the rows that `is_gone` says.
    fn without(&self, is_gone: impl Fn(usize) -> bool) -> Self {
        let left = (0..self.len()).filter(|row| !is_gone(*row));
        let (of, rows) = match self {
            Self::Left(before) => (before.of.clone(), left.map(|row| before.rows[row]).collect()),
            whole => (whole.clone(), left.collect()),
        };
        Self::Left(Arc::new(Left { of, rows }))
    }

    fn discard(&self) {
        match self {
            Self::Rows(_) => {}
            Self::Extent(extent) => extent.discard(),
            Self::Left(left) => left.of.discard(),
        }
    }
}

impl TableData {
    /// An empty table. Its extents are kept until the process ends.
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns: Arc::new(columns), parts: Vec::new(), directory: Arc::default() }
    }

    /// The table whose extents are kept in `directory`, with those that are there. Rows appended without an extent
    /// stay in memory only.
    ///
    /// # Errors
    /// The directory cannot be read, an index in it is damaged, or an extent has other columns.
    pub fn open(directory: &Path, columns: Vec<Column>) -> io::Result<Self> {
        let directory = Directory::kept(directory)?;
        let extents = extent::read_all(&directory)?;
        let mut table = Self::new(columns);
        table.directory = Arc::new(Mutex::new(Some(directory)));
        for extent in extents {
            table.append_extent(Arc::new(extent))?;
        }
        Ok(table)
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
        self.parts.push(Part::Rows(Arc::new(Batch { info: info.clone(), rows })));
        info
    }

    /// Puts back rows that [`TableData::append_rows`] took before a restart, as the extent that they were.
    pub fn restore_rows(&mut self, info: ExtentInfo, rows: Vec<Vec<Value>>) {
        self.parts.push(Part::Rows(Arc::new(Batch { info, rows })));
    }

    /// Begins an extent of this table. It needs no lock on the table while rows are written.
    ///
    /// # Errors
    /// What the system says.
    pub fn writer(&self) -> io::Result<ExtentWriter> {
        let mut directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = match &*directory {
            Some(directory) => directory.clone(),
            None => directory.insert(Directory::temporary()?).clone(),
        };
        Ok(ExtentWriter::create(directory, &self.columns))
    }

    /// Makes an extent visible, here and when its directory is opened again.
    ///
    /// # Errors
    /// The extent was written for other columns, or what the system says; the table is unchanged then.
    pub fn append_extent(&mut self, extent: Arc<Extent>) -> io::Result<()> {
        if !self.columns.starts_with(extent.schema()) {
            let what = format!("extent {} has other columns than its table", extent.info().id);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        extent.publish()?;
        self.parts.push(Part::Extent(extent));
        Ok(())
    }

    /// Whether an extent has this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.parts.iter().any(|part| part.info().tags.iter().any(|other| other == tag))
    }

    /// Its extents.
    pub fn extents(&self) -> Vec<ExtentInfo> {
        self.parts.iter().map(|part| part.info().clone()).collect()
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.parts.drain(..).for_each(|part| part.discard());
    }

    /// Removes rows, numbered as in a snapshot, until the process ends; their extents stay, with their tags.
    pub fn delete(&mut self, gone: &BTreeSet<u64>) {
        let mut first = 0;
        for part in &mut self.parts {
            let end = first + part.len() as u64;
            if gone.range(first..end).next().is_some() {
                *part = part.without(|row| gone.contains(&(first + row as u64)));
            }
            first = end;
        }
    }

    /// Each row's identity and what its column `ChunkId` holds (empty without one). Reads no payload as long as
    /// `ChunkId` is one value per extent.
    pub fn identities(&self) -> impl Iterator<Item = (u64, Arc<str>)> + '_ {
        let chunk_id = self.columns.iter().position(|column| column.name == "ChunkId" && column.ty == Type::String);
        let none: Arc<str> = Arc::from("");
        self.parts.iter().flat_map(move |part| {
            let none = none.clone();
            (0..part.len()).map(move |row| {
                let chunk = match chunk_id.map(|column| part.value(row, column, Type::String)) {
                    Some(Value::String(chunk)) => chunk,
                    _ => none.clone(),
                };
                (part.identity(row, &self.columns), chunk)
            })
        })
    }

    /// The table as it is now.
    pub fn snapshot(&self) -> Arc<dyn Table> {
        self.snapshot_until(i64::MAX)
    }

    /// The table with what had arrived by an instant.
    pub fn snapshot_until(&self, until: i64) -> Arc<dyn Table> {
        let parts: Vec<Part> = self.parts.iter().filter(|part| part.arrived() <= until).cloned().collect();
        let mut ends = Vec::with_capacity(parts.len());
        let mut end = 0;
        for part in &parts {
            end += part.len() as u64;
            ends.push(end);
        }
        Arc::new(Snapshot { columns: self.columns.clone(), parts, ends })
    }
}

struct Snapshot {
    columns: Arc<Vec<Column>>,
    parts: Vec<Part>,
    /// The number of the first row after each part.
    ends: Vec<u64>,
}

impl Snapshot {
    fn at(&self, row: u64) -> Option<(&Part, usize)> {
        let number = self.ends.partition_point(|end| *end <= row);
        let part = self.parts.get(number)?;
        Some((part, usize::try_from(row - self.first_row(number)).ok()?))
    }

    fn first_row(&self, part: usize) -> u64 {
        part.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

impl Table for Snapshot {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn row_count(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn value(&self, row: u64, column: usize) -> Value {
        let Some(ty) = self.columns.get(column).map(|column| column.ty) else { return Value::Null };
        self.at(row).map_or(Value::Null, |(part, row)| part.value(row, column, ty))
    }

    fn is_null(&self, row: u64, column: usize) -> bool {
        self.columns.get(column).is_none_or(|column| column.ty != Type::String)
            && self.at(row).is_none_or(|(part, row)| part.is_null(row, column))
    }

    fn ingestion_time(&self, row: u64) -> Option<i64> {
        self.at(row).map(|(part, _)| part.arrived())
    }

    fn arrived_within(&self, after: i64, until: i64) -> Vec<Range<u64>> {
        let within =
            self.parts.iter().enumerate().filter(|(_, part)| after < part.arrived() && part.arrived() <= until);
        within.map(|(number, _)| self.first_row(number)..self.ends[number]).collect()
    }
}
