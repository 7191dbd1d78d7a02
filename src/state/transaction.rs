//! The writes of one entity-group transaction. No write is blind: insert, or swap at a version.

use super::list::list_row;
use super::{
    ACTIVE_ROW, Error, HEAD_ROW, INSTANCE_ROW, RUN_PARTITION, TABLE_PREFIX, beside_row, instance_partition, key,
    table_partition,
};
use crate::orchestration::budget::Budget;
use crate::orchestration::ids::{InstanceId, TableKey, WindowName};
use crate::orchestration::instance::{Instance, TableRun};
use crate::orchestration::ledger::Head;
use crate::orchestration::run::listed::Listed;
use crate::orchestration::run::place::Active;
use crate::orchestration::window::Window;
use crate::storage::entity::to_properties;
use crate::storage::{ETag, Key, Operation};
use serde::Serialize;

/// Writes to records of one partition, all or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transaction {
    operations: Vec<Operation>,
}

impl Transaction {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many writes it has.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Takes, or with a version swaps, the place of the running instance.
    pub fn active(self, active: &Active, etag: Option<&ETag>) -> Result<Self, Error> {
        self.write(key(RUN_PARTITION, ACTIVE_ROW)?, active, etag)
    }

    /// Frees the place of the running instance.
    pub fn release_active(mut self, etag: &ETag) -> Result<Self, Error> {
        self.operations.push(Operation::Delete(key(RUN_PARTITION, ACTIVE_ROW)?, etag.clone()));
        Ok(self)
    }

    /// Takes, or with a version swaps, the place of a run beside the active one.
    pub fn beside(self, place: &Active, etag: Option<&ETag>) -> Result<Self, Error> {
        self.write(key(RUN_PARTITION, &beside_row(&place.instance))?, place, etag)
    }

    /// Frees the place of a run beside the active one.
    pub fn release_beside(mut self, id: &InstanceId, etag: &ETag) -> Result<Self, Error> {
        self.operations.push(Operation::Delete(key(RUN_PARTITION, &beside_row(id))?, etag.clone()));
        Ok(self)
    }

    /// Inserts the entry of a run in the list of runs, which stands beside the places.
    pub fn listed(self, entry: &Listed) -> Result<Self, Error> {
        self.write(key(RUN_PARTITION, &list_row(entry))?, entry, None)
    }

    /// Removes an entry from the list of runs.
    pub fn unlisted(mut self, entry: &Listed, etag: &ETag) -> Result<Self, Error> {
        self.operations.push(Operation::Delete(key(RUN_PARTITION, &list_row(entry))?, etag.clone()));
        Ok(self)
    }

    /// Removes a run that is forgotten.
    pub fn delete_instance(mut self, id: &InstanceId, etag: &ETag) -> Result<Self, Error> {
        self.operations.push(Operation::Delete(key(&instance_partition(id), INSTANCE_ROW)?, etag.clone()));
        Ok(self)
    }

    /// Inserts, or with a version swaps, a run.
    pub fn instance(self, run: &Instance, etag: Option<&ETag>) -> Result<Self, Error> {
        self.write(key(&instance_partition(&run.id), INSTANCE_ROW)?, run, etag)
    }

    /// Inserts, or with a version swaps, a table in a run.
    pub fn table(self, id: &InstanceId, table: &TableRun, etag: Option<&ETag>) -> Result<Self, Error> {
        let row = format!("{TABLE_PREFIX}{}", table.key.as_str());
        self.write(key(&instance_partition(id), &row)?, table, etag)
    }

    /// Removes a table from a run that has not begun, or is forgotten.
    pub fn delete_table(mut self, id: &InstanceId, table: &TableKey, etag: &ETag) -> Result<Self, Error> {
        let row = format!("{TABLE_PREFIX}{}", table.as_str());
        self.operations.push(Operation::Delete(key(&instance_partition(id), &row)?, etag.clone()));
        Ok(self)
    }

    /// Inserts, or with a version swaps, the head of a table.
    pub fn head(self, table: &TableKey, head: &Head, etag: Option<&ETag>) -> Result<Self, Error> {
        self.write(key(&table_partition(table), HEAD_ROW)?, head, etag)
    }

    /// Inserts, or with a version swaps, a window.
    pub fn window(
        self,
        table: &TableKey,
        name: &WindowName,
        window: &Window,
        etag: Option<&ETag>,
    ) -> Result<Self, Error> {
        self.write(key(&table_partition(table), name.as_str())?, window, etag)
    }

    /// Inserts, or with a version swaps, the budget of a tenant.
    pub(super) fn budget(self, key: Key, budget: &Budget, etag: Option<&ETag>) -> Result<Self, Error> {
        self.write(key, budget, etag)
    }

    /// Removes a window: a draft of a plan that was never completed, or one that is old.
    pub fn delete_window(mut self, table: &TableKey, name: &WindowName, etag: &ETag) -> Result<Self, Error> {
        self.operations.push(Operation::Delete(key(&table_partition(table), name.as_str())?, etag.clone()));
        Ok(self)
    }

    fn write<T: Serialize>(mut self, key: Key, record: &T, etag: Option<&ETag>) -> Result<Self, Error> {
        let properties = to_properties(record)?;
        self.operations.push(match etag {
            None => Operation::Insert(key, properties),
            Some(etag) => Operation::Replace(key, properties, etag.clone()),
        });
        Ok(self)
    }

    /// The writes.
    pub(super) fn into_operations(self) -> Vec<Operation> {
        self.operations
    }
}
