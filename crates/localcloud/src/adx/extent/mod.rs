//! An extent of a big ingestion. In memory it keeps what a scan looks at first (row identities, datetimes, which
//! cells are null, constants); every other cell is read from its payload file when asked for. Knows no table and
//! no ingestion.

mod cell;
mod directory;
mod index;
mod payload;
#[cfg(test)]
mod tests;
mod writer;

pub use directory::Directory;
pub(super) use index::read_all;
pub use writer::{ExtentWriter, Landing};

use super::table::ExtentInfo;
use crate::kql::{Column, Type, Value, json};
use crate::source::row_identity;
use directory::Files;
use payload::Payload;
use serde_json::{Map, Value as Json};
use std::io;

/// How a column of an extent is kept.
enum Stored {
    /// Ticks, `i64::MIN` for null.
    Datetime(Vec<i64>),
    /// The same in every row.
    Constant(Value),
    /// A cell of the payload; strings are never null and have no flags.
    Cell { slot: usize, nulls: Option<Bits> },
}

/// One flag per row.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, row: usize, flag: bool) {
        if self.0.len() <= row / 64 {
            self.0.resize(row / 64 + 1, 0);
        }
        self.0[row / 64] |= u64::from(flag) << (row % 64);
    }

    fn get(&self, row: usize) -> bool {
        self.0.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }
}

/// Rows that landed together.
pub struct Extent {
    info: ExtentInfo,
    arrived: i64,
    schema: Vec<Column>,
    columns: Vec<Stored>,
    identities: Vec<u64>,
    payload: Payload,
    files: Files,
}

impl Extent {
    /// What `.show table T extents` tells.
    pub fn info(&self) -> &ExtentInfo {
        &self.info
    }

    /// When it became visible, ticks.
    pub fn arrived(&self) -> i64 {
        self.arrived
    }

    /// The table's columns when it was written.
    pub fn schema(&self) -> &[Column] {
        &self.schema
    }

    /// The identity of each row.
    pub fn identities(&self) -> &[u64] {
        &self.identities
    }

    /// One cell; null, or the empty string, in columns that came later.
    ///
    /// # Panics
    /// The payload file is gone or damaged: there is no right answer then.
    pub fn value(&self, row: usize, column: usize) -> Value {
        match self.columns.get(column) {
            None => Value::Null,
            Some(Stored::Constant(value)) => value.clone(),
            Some(Stored::Datetime(ticks)) => match ticks.get(row) {
                None | Some(&i64::MIN) => Value::Null,
                Some(at) => Value::Datetime(*at),
            },
            Some(Stored::Cell { nulls: Some(nulls), .. }) if nulls.get(row) => Value::Null,
            Some(Stored::Cell { slot, .. }) => match self.payload.cell(&self.files, row, *slot, self.schema[column].ty)
            {
                Ok(value) => value,
                Err(error) => panic!("extent {}: its payload cannot be read: {error}", self.info.id),
            },
        }
    }

    /// Whether a cell is null; never reads the payload.
    pub fn is_null(&self, row: usize, column: usize) -> bool {
        match self.columns.get(column) {
            None => true,
            Some(Stored::Constant(value)) => *value == Value::Null,
            Some(Stored::Datetime(ticks)) => ticks.get(row).is_none_or(|at| *at == i64::MIN),
            Some(Stored::Cell { nulls, .. }) => nulls.as_ref().is_some_and(|nulls| nulls.get(row)),
        }
    }

    /// Bytes of memory that the rows take.
    pub fn memory_bytes(&self) -> usize {
        let columns = self.columns.iter().map(|column| match column {
            Stored::Datetime(ticks) => ticks.capacity() * 8,
            Stored::Constant(_) => 0,
            Stored::Cell { nulls, .. } => nulls.as_ref().map_or(0, |nulls| nulls.0.capacity() * 8),
        });
        self.identities.capacity() * 8 + columns.sum::<usize>() + self.payload.memory_bytes()
    }

    /// Makes it outlive the process, if its directory does.
    pub(super) fn publish(&self) -> io::Result<()> {
        self.files.publish()
    }

    /// Has its files removed when nobody reads it any more.
    pub(super) fn discard(&self) {
        self.files.discard();
    }
}

/// The identity of a row: of the packed row in `RawData` if there is such a column, else of its columns. The column
/// `ChunkId` belongs to whoever copied the row.
pub(super) fn identity_of(columns: &[Column], value: impl Fn(usize) -> Value) -> u64 {
    if let Some(raw) = columns.iter().position(|c| c.name == "RawData" && matches!(c.ty, Type::Dynamic | Type::String))
    {
        let value = value(raw);
        return match &value {
            Value::Dynamic(bag) => match &**bag {
                Json::Object(content) => row_identity(content),
                other => row_identity(&Map::from_iter([("RawData".to_owned(), other.clone())])),
            },
            Value::String(text) => match serde_json::from_str(text) {
                Ok(Json::Object(content)) => row_identity(&content),
                _ => row_identity(&Map::from_iter([("RawData".to_owned(), Json::from(&**text))])),
            },
            _ => row_identity(&Map::new()),
        };
    }
    let own = columns.iter().enumerate().filter(|(_, column)| column.name != "ChunkId");
    row_identity(&own.map(|(index, column)| (column.name.clone(), json::to_serde(&value(index)))).collect())
}
