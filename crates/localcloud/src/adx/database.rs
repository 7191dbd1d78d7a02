//! The database: tables, functions, mappings, policies and what ingestion left on record.

use super::commands::Error;
use super::ingestion::Operations;
use super::store::{Store, StoreError};
use super::table::{ExtentInfo, TableData};
use crate::clock::Clock;
use crate::kql::time::parse_timespan;
use crate::kql::{Catalog, Column, Table, Value};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use uuid::Uuid;

/// A failed ingestion, as `.show ingestion failures` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    pub json_mappings: BTreeMap<String, String>,
    /// CSV mappings by name, as their JSON text.
    pub csv_mappings: BTreeMap<String, String>,
    /// Policies by name, as their JSON text.
    pub policies: BTreeMap<String, String>,
}

/// What an ingestion mapping reads. Names are apart by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappingKind {
    /// Members of objects.
    Json,
    /// Fields by place.
    Csv,
}

impl MappingKind {
    /// As commands and messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "Json",
            Self::Csv => "Csv",
        }
    }
}

impl Entry {
    /// The mappings of a kind.
    pub fn mappings(&self, kind: MappingKind) -> &BTreeMap<String, String> {
        match kind {
            MappingKind::Json => &self.json_mappings,
            MappingKind::Csv => &self.csv_mappings,
        }
    }

    /// The mappings of a kind, to change.
    pub fn mappings_mut(&mut self, kind: MappingKind) -> &mut BTreeMap<String, String> {
        match kind {
            MappingKind::Json => &mut self.json_mappings,
            MappingKind::Csv => &mut self.csv_mappings,
        }
    }
}

/// A stored function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl Function {
    /// Whether it has no parameters.
    pub fn takes_nothing(&self) -> bool {
        self.parameters.trim_matches(['(', ')']).trim().is_empty()
    }
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
    /// Policies of all tables that have none of their own, by name, as their JSON text.
    pub policies: BTreeMap<String, String>,
    /// Who holds a role.
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// Materialized views by name.
    pub views: BTreeMap<String, View>,
}

/// A materialized view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The table that it is over.
    pub source: String,
    /// Its query.
    pub query: String,
    /// Folder.
    pub folder: String,
    /// Docstring.
    pub docstring: String,
    /// Whether its columns follow those of the source.
    pub follows: bool,
    /// The columns that it was made with.
    pub columns: Vec<String>,
}

impl Content {
    /// Whether there is anybody who may ingest: a cluster that is asked by one application.
    pub fn may_ingest(&self) -> bool {
        ["ingestors", "admins"].iter().any(|role| self.roles.get(*role).is_some_and(|holders| !holders.is_empty()))
    }

    /// Whether rows of a table stay: not with a retention of zero, unless an update policy reads them first.
    pub fn keeps(&self, table: &str) -> bool {
        let own = self.tables.get(table).and_then(|entry| entry.policies.get("retention"));
        let period = |text: &String| {
            let policy: serde_json::Value = serde_json::from_str(text).ok()?;
            parse_timespan(policy.get("SoftDeletePeriod")?.as_str()?)
        };
        let period = own.and_then(period).or_else(|| self.policies.get("retention").and_then(period));
        let reads = |text: &String| text.contains(&format!("\"Source\":\"{table}\""));
        period != Some(0) || self.tables.values().any(|entry| entry.policies.get("update").is_some_and(reads))
    }
}

/// A command that was carried out, as `.show operations` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: Uuid,
    /// `TableSetOrAppend`, …
    pub kind: String,
    /// When it began, ticks.
    pub started: i64,
    /// When it ended, ticks.
    pub ended: i64,
    /// `Completed`, `Failed`, `Skipped`
    pub state: &'static str,
    /// Why it failed.
    pub status: String,
    /// Who asked for it.
    pub principal: String,
}

/// How many operations are remembered.
const MOST_OPERATIONS: usize = 10_000;

/// A database, shared.
pub struct Database {
    name: String,
    clock: Arc<dyn Clock>,
    content: RwLock<Content>,
    operations: Mutex<Vec<Operation>>,
    queued: Operations,
    store: Option<Store>,
    /// Whether callers may do only what their roles let them.
    by_roles: AtomicBool,
    /// Whether `ingestIfNotExists` keeps nothing out.
    ignores_tags: AtomicBool,
}

impl Database {
    /// An empty database, kept in memory.
    pub fn new(name: &str, clock: Arc<dyn Clock>) -> Self {
        Self::with(name, clock, Content::default(), None)
    }

    /// The database that `directory` holds, or an empty one that will be kept there.
    ///
    /// # Errors
    /// The directory cannot be used, or what it holds cannot be understood.
    pub fn open(name: &str, clock: Arc<dyn Clock>, directory: &Path) -> Result<Self, StoreError> {
        let (store, content) = Store::open(directory)?;
        Ok(Self::with(name, clock, content, Some(store)))
    }

    fn with(name: &str, clock: Arc<dyn Clock>, content: Content, store: Option<Store>) -> Self {
        let (content, operations, queued) = (RwLock::new(content), Mutex::default(), Operations::default());
        let (by_roles, ignores_tags) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { name: name.to_owned(), clock, content, operations, queued, store, by_roles, ignores_tags }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is its name, which has no case.
    ///
    /// # Errors
    /// There is no database of that name.
    pub fn check_name(&self, name: &str) -> Result<(), Error> {
        if name.eq_ignore_ascii_case(&self.name) { Ok(()) } else { Err(Error::not_found("Database", name)) }
    }

    /// From now on callers may do only what their roles let them.
    pub fn ask_for_roles(&self) {
        self.by_roles.store(true, Ordering::SeqCst);
    }

    /// Whether they may.
    pub fn asks_for_roles(&self) -> bool {
        self.by_roles.load(Ordering::SeqCst)
    }

    /// From now on `ingestIfNotExists` keeps nothing out.
    pub fn ignore_tags(&self) {
        self.ignores_tags.store(true, Ordering::SeqCst);
    }

    /// Whether `ingestIfNotExists` keeps out what is there.
    pub fn goes_by_tags(&self) -> bool {
        !self.ignores_tags.load(Ordering::SeqCst)
    }

    /// The time, in ticks.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// To look at.
    pub fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes schemas and definitions, and keeps the change unless it fails.
    ///
    /// # Errors
    /// Those of `change`, which must not have changed anything then, and those of the disk.
    pub fn change<T, E: From<StoreError>>(&self, change: impl FnOnce(&mut Content) -> Result<T, E>) -> Result<T, E> {
        let mut content = self.write();
        let made = change(&mut content)?;
        self.save(&content)?;
        Ok(made)
    }

    /// Keeps schemas and definitions as `content` has them.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn save(&self, content: &Content) -> Result<(), StoreError> {
        self.store.as_ref().map_or(Ok(()), |store| store.save(content))
    }

    /// An empty table whose extents will be kept with the database.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn new_table(&self, name: &str, columns: Vec<Column>) -> Result<TableData, StoreError> {
        match &self.store {
            Some(store) => store.table(name, columns),
            None => Ok(TableData::new(columns)),
        }
    }

    /// Appends rows to a table of `content` as one extent and keeps them. `None` if there is no such table.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn append(
        &self,
        content: &mut Content,
        table: &str,
        rows: Vec<Vec<Value>>,
        tags: Vec<String>,
    ) -> Result<Option<ExtentInfo>, StoreError> {
        let Some(entry) = content.tables.get_mut(table) else { return Ok(None) };
        let kept = self.store.as_ref().map(|store| (store, rows.clone()));
        let info = entry.data.append_rows(rows, self.now(), tags);
        if let Some((store, rows)) = kept {
            store.append(table, &info, &rows)?;
        }
        Ok(Some(info))
    }

    /// Removes the rows of a table of `content`.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn clear(&self, content: &mut Content, table: &str) -> Result<(), StoreError> {
        if let Some(entry) = content.tables.get_mut(table) {
            entry.data.clear();
        }
        self.store.as_ref().map_or(Ok(()), |store| store.forget(table))
    }

    /// Remembers an operation.
    pub fn record(&self, operation: Operation) {
        let mut operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        if operations.len() >= MOST_OPERATIONS {
            operations.drain(..MOST_OPERATIONS / 2);
        }
        operations.push(operation);
    }

    /// The operations that are remembered, oldest first.
    pub fn operations(&self) -> Vec<Operation> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Operations of queued ingestion that are tracked.
    pub fn queued(&self) -> &Operations {
        &self.queued
    }

    /// To change in memory only: [`Database::save`] keeps schemas and definitions.
    pub fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalog for Database {
    fn table(&self, name: &str) -> Option<Arc<dyn Table>> {
        self.read().tables.get(name).map(|entry| entry.data.snapshot())
    }

    fn function(&self, name: &str) -> Option<String> {
        // With parameters it is no name for a table, and the engine has no calls of it.
        let content = self.read();
        content.functions.get(name).filter(|function| function.takes_nothing()).map(|function| function.body.clone())
    }

    fn now(&self) -> i64 {
        self.clock.now()
    }

    fn table_names(&self) -> Vec<String> {
        self.read().tables.keys().cloned().collect()
    }
}
