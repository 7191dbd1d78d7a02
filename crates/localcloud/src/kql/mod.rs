//! The KQL engine: text in, typed rows out. Knows tables only through [`Table`] and [`Catalog`]; knows no
//! HTTP, no quota and no ingestion.

mod aggregate;
mod ast;
mod compile;
mod cx;
mod error;
mod functions;
pub mod json;
pub mod lexer;
mod memory;
mod parse;
mod plan;
mod strings;
#[cfg(test)]
mod tests;
pub mod time;
mod value;

pub use error::{Error, ErrorKind, Position};
pub use memory::MemoryTable;
pub use parse::parse_literal;
pub use plan::{run, run_with_parameters};

use serde_json::Value as Json;
use std::sync::Arc;
use uuid::Uuid;

/// A Kusto scalar type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `long`
    Long,
    /// `real`
    Real,
    /// `decimal`, kept as its text
    Decimal,
    /// `string`
    String,
    /// `datetime`
    Datetime,
    /// `timespan`
    Timespan,
    /// `guid`
    Guid,
    /// `dynamic`
    Dynamic,
}

/// A Kusto scalar value. A string is never null: the null string is the empty one.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Null of any type but string.
    Null,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i32),
    /// `long`
    Long(i64),
    /// `real`
    Real(f64),
    /// `decimal`, as text
    Decimal(Arc<str>),
    /// `string`
    String(Arc<str>),
    /// `datetime`: 100-ns ticks since 0001-01-01T00:00:00Z
    Datetime(i64),
    /// `timespan`: 100-ns ticks
    Timespan(i64),
    /// `guid`
    Guid(Uuid),
    /// `dynamic`
    Dynamic(Arc<Json>),
}

/// A column of a table or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, case-sensitive.
    pub name: String,
    /// Its type.
    pub ty: Type,
}

/// A stored or generated table. Values are asked for one by one, so that a generated table of a million
/// rows needs no memory.
pub trait Table: Send + Sync {
    /// The columns in order.
    fn columns(&self) -> &[Column];
    /// How many rows there are; rows are numbered from 0.
    fn row_count(&self) -> u64;
    /// One cell.
    fn value(&self, row: u64, column: usize) -> Value;
    /// Whether a cell is null, for tables that know it without reading the value.
    fn is_null(&self, row: u64, column: usize) -> bool {
        matches!(self.value(row, column), Value::Null)
    }
    /// What `ingestion_time()` gives for a row: ticks, or `None` for a table without that policy.
    fn ingestion_time(&self, row: u64) -> Option<i64>;
    /// A superset of the rows with `after < ingestion_time() <= until`, to save scanning. All rows unless
    /// the table knows better.
    fn arrived_within(&self, _after: i64, _until: i64) -> Vec<std::ops::Range<u64>> {
        std::iter::once(0..self.row_count()).collect()
    }
}

/// What names mean, and what time it is, for one query.
pub trait Catalog: Send + Sync {
    /// The table of that name, case-sensitive.
    fn table(&self, name: &str) -> Option<Arc<dyn Table>>;
    /// The body of a stored function without parameters.
    fn function(&self, name: &str) -> Option<String>;
    /// `now()`, in ticks.
    fn now(&self) -> i64;
    /// The names of all tables, for patterns such as `union Device*`. None unless the catalog knows.
    fn table_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The rows of an answer as they are computed.
pub type Rows = Box<dyn Iterator<Item = Result<Vec<Value>, Error>> + Send>;

/// What a query answers.
pub struct Answer {
    /// The columns in order.
    pub columns: Vec<Column>,
    /// The rows, computed as they are taken. After an error there are no more.
    pub rows: Rows,
}
