//! The tenant on disk: seed, tables and segments, not rows. A directory that is opened again has the same rows.

use super::{Error, Segment, Settings, Shape, Source, State, TableOptions, ticks};
use crate::kql::{Column, Type};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct Stored {
    seed: u64,
    devices: u32,
    retention_seconds: Option<u64>,
    tables: BTreeMap<String, StoredTable>,
}

#[derive(Serialize, Deserialize)]
struct StoredTable {
    /// Name, type, first row that has it.
    columns: Vec<(String, String, u64)>,
    has_arrival_time: bool,
    options: TableOptions,
    segments: Vec<Segment>,
}

impl Source {
    /// The tenant that `path` holds; if there is no such file, the one that `settings` describe, and the file
    /// is made. Every later change is written to it.
    ///
    /// # Errors
    /// [`Error`]: the settings are not possible, or the file cannot be read or written.
    pub fn open(settings: &Settings, path: &Path) -> Result<Self, Error> {
        if path.exists() {
            return Self::load(path);
        }
        let mut source = Self::new(settings)?;
        source.save(path)?;
        source.store = Some(path.to_owned());
        Ok(source)
    }

    /// Writes the tenant to `path`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        self.write(&self.now_state(), path)
    }

    /// Reads the tenant from `path`. Every later change is written to it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let fail = |message: String| Error::Store { path: path.to_owned(), message };
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let stored: Stored = serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
        let mut source = Self::bare(stored.seed, stored.devices, stored.retention_seconds.map(Duration::from_secs));
        let mut state = State::new();
        for (name, table) in stored.tables {
            let columns = table
                .columns
                .into_iter()
                .map(|(column, ty, from)| {
                    let ty = Type::from_name(&ty).ok_or_else(|| fail(format!("`{ty}` is no type")))?;
                    Ok((Column { name: column, ty }, from))
                })
                .collect::<Result<_, Error>>()?;
            if table.segments.iter().any(|segment| !is_sound(segment)) {
                return Err(fail(format!("a segment of {name} is out of range")));
            }
            let shape = Shape { columns, has_arrival_time: table.has_arrival_time, options: table.options };
            let entry = source.table_state(&name, shape, table.segments);
            state.insert(name, entry);
        }
        source.state = Mutex::new(Arc::new(state));
        source.store = Some(path.to_owned());
        Ok(source)
    }

    pub(super) fn write(&self, state: &State, path: &Path) -> Result<(), Error> {
        let fail = |message: String| Error::Store { path: path.to_owned(), message };
        let tables = state
            .iter()
            .map(|(name, table)| {
                let columns = table
                    .shape
                    .columns
                    .iter()
                    .map(|(column, from)| (column.name.clone(), column.ty.name().to_owned(), *from))
                    .collect();
                let stored = StoredTable {
                    columns,
                    has_arrival_time: table.shape.has_arrival_time,
                    options: table.shape.options.clone(),
                    segments: table.segments.clone(),
                };
                (name.clone(), stored)
            })
            .collect();
        let stored = Stored {
            seed: self.seed,
            devices: self.devices,
            retention_seconds: self.retention.map(|kept| kept.as_secs()),
            tables,
        };
        let text = serde_json::to_string_pretty(&stored).map_err(|error| fail(error.to_string()))?;
        // A reader sees the old file or the new one, never a part.
        let draft = path.with_extension("draft");
        std::fs::write(&draft, text).map_err(|error| fail(error.to_string()))?;
        std::fs::rename(&draft, path).map_err(|error| fail(error.to_string()))
    }
}

fn is_sound(segment: &Segment) -> bool {
    segment.rows_per_commit > 0
        && segment.arrival_from >= 0
        && segment.arrival_from <= segment.arrival_to
        && segment.arrival_to <= ticks::MAX
}
