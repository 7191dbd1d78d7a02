//! The entities of a table by their two keys (Azure Storage REST: Insert Entity, Query Entities, Merge Entity). Values are
//! kept as they came, with the types that stand beside them. Knows nothing of what they mean.

use super::refusal::Refusal;
use crate::source::ticks;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One row.
#[derive(Debug, Clone)]
pub(super) struct Entity {
    /// By name, the keys among them.
    pub properties: Map<String, Json>,
    pub etag: String,
}

impl Entity {
    fn new(mut properties: Map<String, Json>, now: i64) -> Self {
        let at = ticks::format(now);
        let etag = format!("W/\"datetime'{}'\"", at.replace(':', "%3A"));
        properties.insert("Timestamp".to_owned(), at.into());
        Self { properties, etag }
    }
}

/// All rows.
#[derive(Default)]
pub(super) struct Entities(Mutex<BTreeMap<(String, String), Entity>>);

impl Entities {
    pub fn insert(&self, properties: Map<String, Json>, now: i64) -> Result<Entity, Refusal> {
        let key = |name: &str| properties.get(name).and_then(Json::as_str).map(str::to_owned);
        let (Some(partition), Some(row)) = (key("PartitionKey"), key("RowKey")) else {
            return Err(Refusal::INVALID_INPUT);
        };
        let mut entities = self.lock();
        if entities.contains_key(&(partition.clone(), row.clone())) {
            return Err(Refusal::ENTITY_EXISTS);
        }
        let entity = Entity::new(properties, now);
        entities.insert((partition, row), entity.clone());
        Ok(entity)
    }

    pub fn get(&self, partition: &str, row: &str) -> Option<Entity> {
        self.lock().get(&(partition.to_owned(), row.to_owned())).cloned()
    }

    pub fn all(&self) -> Vec<Entity> {
        self.lock().values().cloned().collect()
    }

    /// Replaces some properties of a row; whether it is there.
    pub fn merge(&self, partition: &str, row: &str, changes: Map<String, Json>, now: i64) -> bool {
        let mut entities = self.lock();
        let Some(entity) = entities.get_mut(&(partition.to_owned(), row.to_owned())) else { return false };
        let mut properties = std::mem::take(&mut entity.properties);
        properties.extend(changes);
        *entity = Entity::new(properties, now);
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Entity>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
