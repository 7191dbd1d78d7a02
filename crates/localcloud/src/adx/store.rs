//! The database on disk: one JSON file of schemas and definitions, replaced as a whole, and one file per table to
//! which batches of rows are appended. Knows nothing of extents that keep themselves.

use super::database::{Content, Entry, Function, IngestionFailure, View};
use super::table::{ExtentInfo, TableData};
use crate::kql::time::parse_datetime;
use crate::kql::{Column, Type, Value, json};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// A database that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refuses.
    #[error("cannot use {path}: {source}; check the directory and the space on it")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{path} is damaged: {detail}; remove the state directory to start anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

/// The directory of a database.
pub(super) struct Store {
    directory: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct Saved {
    tables: BTreeMap<String, SavedTable>,
    functions: BTreeMap<String, Function>,
    failures: Vec<IngestionFailure>,
    #[serde(default)]
    policies: BTreeMap<String, String>,
    #[serde(default)]
    roles: BTreeMap<String, BTreeSet<String>>,
    #[serde(default)]
    views: BTreeMap<String, View>,
}

#[derive(Serialize, Deserialize)]
struct SavedTable {
    folder: String,
    docstring: String,
    columns: Vec<(String, String)>,
    mappings: BTreeMap<String, String>,
    csv_mappings: BTreeMap<String, String>,
    policies: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct SavedBatch {
    id: String,
    created: i64,
    tags: Vec<String>,
    rows: Vec<Vec<Json>>,
}

impl Store {
    /// Opens a directory, made if it is missing, with what it holds.
    pub(super) fn open(directory: &Path) -> Result<(Self, Content), StoreError> {
        let store = Self { directory: directory.to_owned() };
        let rows = directory.join("rows");
        fs::create_dir_all(&rows).map_err(|source| StoreError::Io { path: rows, source })?;
        let path = store.catalog();
        let saved: Saved = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| StoreError::Damaged { path: path.clone(), detail: error.to_string() })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Saved::default(),
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        let Saved { tables, functions, failures, policies, roles, views } = saved;
        let mut content = Content { functions, failures, policies, roles, views, ..Content::default() };
        for (name, table) in tables {
            let entry = store.entry(&name, table)?;
            content.tables.insert(name, entry);
        }
        Ok((store, content))
    }

    /// A table with the extents that are kept under its name.
    pub(super) fn table(&self, name: &str, columns: Vec<Column>) -> Result<TableData, StoreError> {
        let path = self.directory.join("extents").join(file_name(name));
        TableData::open(&path, columns).map_err(|source| StoreError::Io { path, source })
    }

    /// Replaces the catalog.
    pub(super) fn save(&self, content: &Content) -> Result<(), StoreError> {
        let tables = content.tables.iter().map(|(name, entry)| {
            let columns = entry.data.columns().iter().map(|column| (column.name.clone(), column.ty.name().to_owned()));
            let table = SavedTable {
                folder: entry.folder.clone(),
                docstring: entry.docstring.clone(),
                columns: columns.collect(),
                mappings: entry.json_mappings.clone(),
                csv_mappings: entry.csv_mappings.clone(),
                policies: entry.policies.clone(),
            };
            (name.clone(), table)
        });
        let saved = Saved {
            tables: tables.collect(),
            functions: content.functions.clone(),
            failures: content.failures.clone(),
            policies: content.policies.clone(),
            roles: content.roles.clone(),
            views: content.views.clone(),
        };
        let path = self.catalog();
        let new = path.with_extension("new");
        let write = || {
            let mut file = File::create(&new)?;
            serde_json::to_writer(&mut file, &saved)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| StoreError::Io { path: path.clone(), source })
    }

    /// Adds one batch to a table's file.
    pub(super) fn append(&self, table: &str, info: &ExtentInfo, rows: &[Vec<Value>]) -> Result<(), StoreError> {
        let path = self.rows(table);
        let rows = rows.iter().map(|row| row.iter().map(json::to_serde).collect()).collect();
        let batch = SavedBatch { id: info.id.to_string(), created: info.created, tags: info.tags.clone(), rows };
        let write = || {
            let mut line = serde_json::to_vec(&batch)?;
            line.push(b'\n');
            OpenOptions::new().create(true).append(true).open(&path)?.write_all(&line)
        };
        write().map_err(|source| StoreError::Io { path: path.clone(), source })
    }

    /// Forgets a table's rows.
    pub(super) fn forget(&self, table: &str) -> Result<(), StoreError> {
        let path = self.rows(table);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::Io { path, source }),
            _ => Ok(()),
        }
    }

    fn entry(&self, name: &str, saved: SavedTable) -> Result<Entry, StoreError> {
        let damaged = |path: &Path, detail: String| StoreError::Damaged { path: path.to_owned(), detail };
        let mut columns = Vec::with_capacity(saved.columns.len());
        for (column, ty) in saved.columns {
            let ty = Type::from_name(&ty).ok_or_else(|| damaged(&self.catalog(), format!("a type {ty}")))?;
            columns.push(Column { name: column, ty });
        }
        let mut data = self.table(name, columns)?;
        let path = self.rows(name);
        for line in self.whole_lines(&path)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let batch: SavedBatch = serde_json::from_slice(line).map_err(|error| damaged(&path, error.to_string()))?;
            let rows: Vec<Vec<Value>> = batch.rows.into_iter().map(|row| cells(data.columns(), row)).collect();
            let info = ExtentInfo {
                id: Uuid::parse_str(&batch.id).map_err(|error| damaged(&path, error.to_string()))?,
                rows: rows.len() as u64,
                original_size: 0,
                created: batch.created,
                tags: batch.tags,
            };
            data.restore_rows(info, rows);
        }
        Ok(Entry {
            folder: saved.folder,
            docstring: saved.docstring,
            data,
            json_mappings: saved.mappings,
            csv_mappings: saved.csv_mappings,
            policies: saved.policies,
        })
    }

    /// What the file holds up to its last line end; a line that a crash cut short is cut off.
    fn whole_lines(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        let fail = |source| StoreError::Io { path: path.to_owned(), source };
        let mut bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(fail(source)),
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            bytes.truncate(whole);
            OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(whole as u64)).map_err(fail)?;
        }
        Ok(bytes)
    }

    fn catalog(&self) -> PathBuf {
        self.directory.join("catalog.json")
    }

    fn rows(&self, table: &str) -> PathBuf {
        self.directory.join("rows").join(file_name(table) + ".ndjson")
    }
}

/// Names of tables may hold characters that names of files may not.
fn file_name(table: &str) -> String {
    let mut name = String::new();
    for byte in table.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    name
}

/// A stored row; columns that were added later have nothing in it.
fn cells(columns: &[Column], row: Vec<Json>) -> Vec<Value> {
    let mut row = row.into_iter();
    columns.iter().map(|column| cell(column.ty, row.next().unwrap_or(Json::Null))).collect()
}

fn cell(ty: Type, json: Json) -> Value {
    match (ty, json) {
        (Type::String, Json::Null) => Value::text(""),
        (_, Json::Null) => Value::Null,
        (Type::Dynamic, json) => Value::dynamic(json),
        (Type::Datetime, Json::String(text)) => parse_datetime(&text).map_or(Value::Null, Value::Datetime),
        (Type::Real, Json::String(text)) => text.parse().map_or(Value::Null, Value::Real),
        (_, Json::String(text)) => Value::text(text).convert(ty),
        (Type::Real, json) => json.as_f64().map_or(Value::Null, Value::Real),
        (_, json) => Value::dynamic(json).convert(ty),
    }
}
