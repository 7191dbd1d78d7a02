//! The database: tables, functions, mappings, policies and what ingestion left on record.

use super::table::TableData;
use crate::clock::Clock;
use crate::kql::{Catalog, Table};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A failed ingestion, as `.show ingestion failures` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestionFailure {
    /// The table.
    pub table: String,
    /// When, ticks.
    pub failed_on: i64,
    /// The blob without its SAS.
    pub source_path: String,
    /// In words.
    pub details: String,
    /// `BadRequest_InvalidBlob`, …
    pub error_code: String,
    /// `Permanent` or `Transient`.
    pub failure_kind: String,
}

/// One table with what belongs to it.
#[derive(Clone)]
pub struct Entry {
    /// Folder.
    pub folder: String,
    /// Docstring.
    pub docstring: String,
    /// Rows and schema.
    pub data: TableData,
    /// JSON mappings by name, as their JSON text.
    pub mappings: BTreeMap<String, String>,
    /// Policies by name, as their JSON text.
    pub policies: BTreeMap<String, String>,
}

/// A stored function.
#[derive(Debug, Clone)]
pub struct Function {
    /// Parameters as written, with parentheses.
    pub parameters: String,
    /// Body as written, without braces.
    pub body: String,
    /// Folder.
    pub folder: String,
    /// Docstring.
    pub docstring: String,
}

/// What the database holds.
#[derive(Clone, Default)]
pub struct Content {
    /// Tables by name, case-sensitive.
    pub tables: BTreeMap<String, Entry>,
    /// Functions by name.
    pub functions: BTreeMap<String, Function>,
    /// Failed ingestions, oldest first.
    pub failures: Vec<IngestionFailure>,
}

/// A database, shared.
pub struct Database {
    name: String,
    clock: Arc<dyn Clock>,
    content: RwLock<Content>,
}

impl Database {
    /// An empty database.
    pub fn new(name: &str, clock: Arc<dyn Clock>) -> Self {
        Self { name: name.to_owned(), clock, content: RwLock::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The time, in ticks.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// To look at.
    pub fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change.
    pub fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalog for Database {
    fn table(&self, name: &str) -> Option<Arc<dyn Table>> {
        self.read().tables.get(name).map(|entry| entry.data.snapshot())
    }

    fn function(&self, name: &str) -> Option<String> {
        self.read().functions.get(name).map(|function| function.body.clone())
    }

    fn now(&self) -> i64 {
        self.clock.now()
    }

    fn table_names(&self) -> Vec<String> {
        self.read().tables.keys().cloned().collect()
    }
}
