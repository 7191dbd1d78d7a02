//! Makes an extent row by row. Until it is published nobody sees it, and dropping it leaves nothing behind.

use super::directory::{Directory, Files};
use super::payload::PayloadWriter;
use super::{Bits, Extent, Stored, identity_of, index};
use crate::adx::table::ExtentInfo;
use crate::kql::{Column, Type, Value};
use std::io;
use std::sync::Arc;
use uuid::Uuid;

/// What an extent is told when it is complete.
#[derive(Debug, Clone, Default)]
pub struct Landing {
    /// What `ingestion_time()` gives, ticks.
    pub arrived: i64,
    /// The creation time, if it was asked to be another.
    pub created: Option<i64>,
    /// Bytes before compression.
    pub original_size: u64,
    /// Its tags.
    pub tags: Vec<String>,
}

/// What is known of a column so far.
struct Building {
    /// The value of all rows so far, while it is one.
    constant: Option<Value>,
    ticks: Vec<i64>,
    nulls: Bits,
}

/// An extent being written.
pub struct ExtentWriter {
    schema: Vec<Column>,
    building: Vec<Building>,
    identities: Vec<u64>,
    payload: PayloadWriter,
    files: Files,
}

impl ExtentWriter {
    /// Begins one.
    pub fn create(directory: Arc<Directory>, schema: &[Column]) -> Self {
        let files = Files::new(directory, Uuid::new_v4());
        let payload = PayloadWriter::default();
        let building = schema.iter().map(|_| Building { constant: None, ticks: Vec::new(), nulls: Bits::default() });
        Self { schema: schema.to_vec(), building: building.collect(), identities: Vec::new(), payload, files }
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.identities.len()
    }

    /// Adds a row as wide as the schema, each value of its column's type or null.
    ///
    /// # Errors
    /// What the system says.
    pub fn push(&mut self, row: &[Value]) -> io::Result<()> {
        let number = self.identities.len();
        for ((column, building), value) in self.schema.iter().zip(&mut self.building).zip(row) {
            match (column.ty, value) {
                (Type::Datetime, Value::Datetime(at)) => building.ticks.push(*at),
                (Type::Datetime, _) => building.ticks.push(i64::MIN),
                _ => {
                    building.nulls.set(number, *value == Value::Null);
                    if number == 0 {
                        building.constant = Some(value.clone());
                    } else if building.constant.as_ref().is_some_and(|constant| constant != value) {
                        building.constant = None;
                    }
                }
            }
        }
        self.identities.push(identity_of(&self.schema, |column| row.get(column).cloned().unwrap_or(Value::Null)));
        let cells = self.schema.iter().zip(row).filter(|(column, _)| column.ty != Type::Datetime);
        self.payload.push(&self.files, cells.map(|(_, value)| value))
    }

    /// Completes it. It is not visible yet: a table has to take it.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(self, landing: Landing) -> io::Result<Extent> {
        let mut identities = self.identities;
        identities.shrink_to_fit();
        let rows = identities.len() as u64;
        let mut slots = 0..;
        let mut columns = Vec::new();
        for (column, mut building) in self.schema.iter().zip(self.building) {
            if column.ty == Type::Datetime {
                building.ticks.shrink_to_fit();
                columns.push(Stored::Datetime(building.ticks));
                continue;
            }
            let slot = slots.next().unwrap_or_default();
            building.nulls.0.shrink_to_fit();
            let nulls = (column.ty != Type::String).then_some(building.nulls);
            columns.push(building.constant.map_or(Stored::Cell { slot, nulls }, Stored::Constant));
        }
        let info = ExtentInfo {
            id: self.files.id,
            rows,
            original_size: landing.original_size,
            created: landing.created.unwrap_or(landing.arrived),
            tags: landing.tags,
        };
        let payload = self.payload.finish(&self.files)?;
        let (schema, files) = (self.schema, self.files);
        let extent = Extent { info, arrived: landing.arrived, schema, columns, identities, payload, files };
        if extent.files.directory.is_kept() {
            index::write(&extent)?;
        }
        Ok(extent)
    }
}
