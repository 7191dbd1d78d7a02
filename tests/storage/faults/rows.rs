//! A writer with a partition of its own, who therefore knows what every answer has to be.

use super::{Unknown, Way, is_unknown};
use adxingestor::storage::{ETag, Error, Key, Operation, Properties, Range, Row};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::index::sample;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ROWS: usize = 12;

pub struct Rows {
    way: Way,
    partition: String,
    /// What is there.
    rows: BTreeMap<String, (Properties, ETag)>,
    /// A version that each row had.
    stale: BTreeMap<String, ETag>,
    written: u64,
}

/// An operation, what it has to come to, and the row after it.
struct Planned {
    operation: Operation,
    refusal: Option<Refusal>,
    after: Option<Properties>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Refusal {
    Exists,
    Conflict,
    NotFound,
}

impl Rows {
    pub fn new(way: Way, writer: u64) -> Self {
        let partition = format!("{}w{writer}", way.run);
        Self { way, partition, rows: BTreeMap::new(), stale: BTreeMap::new(), written: 0 }
    }

    pub async fn step(&mut self, random: &mut StdRng) -> Unknown {
        match random.random_range(0..10) {
            0 => self.get(random).await,
            1 => self.page().await,
            2..7 => self.commit(1, random).await,
            _ => {
                let count = random.random_range(2..=6);
                self.commit(count, random).await
            }
        }
    }

    async fn get(&self, random: &mut StdRng) -> Unknown {
        let name = name(random.random_range(0..ROWS));
        match self.way.spoilt.tables.get(&self.key(&name)).await {
            Ok(row) => assert_eq!(row.map(|row| (row.properties, row.etag)).as_ref(), self.rows.get(&name)),
            Err(error) => assert!(is_unknown(&error), "get: {error:?}"),
        }
        0
    }

    async fn page(&self) -> Unknown {
        match self.way.spoilt.tables.page(&self.range(), None).await {
            Ok(page) => self.assert_are_all(page.rows),
            Err(error) => assert!(is_unknown(&error), "page: {error:?}"),
        }
        0
    }

    async fn commit(&mut self, count: usize, random: &mut StdRng) -> Unknown {
        let planned: Vec<_> =
            sample(random, ROWS, count).into_iter().map(|row| self.plan(&name(row), random)).collect();
        let operations: Vec<_> = planned.iter().map(|planned| planned.operation.clone()).collect();
        let fits = planned.iter().all(|planned| planned.refusal.is_none());
        match self.way.spoilt.tables.commit(&operations).await {
            Ok(etags) => {
                // Of rows that are gone in the end nobody asks by whom.
                let gone = |one: &Planned| one.after.is_none() && !self.rows.contains_key(one.operation.key().row());
                assert!(fits || planned.iter().all(gone), "done, though it had to be refused: {operations:?}");
                assert_eq!(etags.len(), count);
                for (planned, etag) in planned.into_iter().zip(etags) {
                    self.is_done(planned, etag);
                }
                0
            }
            Err(error) if is_unknown(&error) => {
                self.find_out(planned, fits).await;
                1
            }
            Err(error) => {
                let is_right = |index: usize, refusal| planned[index].refusal == Some(refusal);
                let right = match &error {
                    Error::Exists { index } => is_right(*index, Refusal::Exists),
                    Error::Conflict { index } => is_right(*index, Refusal::Conflict),
                    Error::NotFound { .. } => planned.iter().any(|one| one.refusal == Some(Refusal::NotFound)),
                    _ => false,
                };
                assert!(right, "{error:?} for {operations:?}");
                0
            }
        }
    }

    fn plan(&mut self, name: &str, random: &mut StdRng) -> Planned {
        self.written += 1;
        let mut properties = Properties::new();
        properties.insert("by".to_owned(), json!(format!("{}-{}", self.partition, self.written)));
        properties.insert(format!("p{}", random.random_range(0..4)), json!(random.random::<u32>()));
        let current = self.rows.get(name).cloned();
        let stale = self.stale.get(name).cloned();
        let key = self.key(name);
        let kind = random.random_range(0..10);
        let (before, etag, refusal) = match (current, stale) {
            (None, Some(stale)) if kind < 2 => (None, stale, Some(Refusal::NotFound)),
            (Some((before, _)), Some(stale)) if kind == 0 => (Some(before), stale, Some(Refusal::Conflict)),
            (Some((before, etag)), _) if kind < 9 => (Some(before), etag, None),
            (before, _) => {
                let refusal = before.is_some().then_some(Refusal::Exists);
                let after = Some(properties.clone());
                return Planned { operation: Operation::Insert(key, properties), refusal, after };
            }
        };
        let (operation, after) = match random.random_range(0..3) {
            0 => (Operation::Delete(key, etag), None),
            1 => (Operation::Replace(key, properties.clone(), etag), Some(properties)),
            _ => {
                let mut after = before.unwrap_or_default();
                after.extend(properties.clone());
                (Operation::Merge(key, properties, etag), Some(after))
            }
        };
        Planned { operation, refusal, after }
    }

    fn is_done(&mut self, planned: Planned, etag: Option<ETag>) {
        let name = planned.operation.key().row().to_owned();
        assert_eq!(etag.is_some(), planned.after.is_some(), "a version of {:?}", planned.operation);
        let before = match planned.after.zip(etag) {
            Some(after) => self.rows.insert(name.clone(), after),
            None => self.rows.remove(&name),
        };
        if let Some((_, etag)) = before {
            self.stale.insert(name, etag);
        }
    }

    /// After an answer that does not tell: all of it is there, or nothing.
    async fn find_out(&mut self, planned: Vec<Planned>, fits: bool) {
        let mut found = Vec::new();
        for one in &planned {
            found.push(self.way.direct.tables.get(one.operation.key()).await.unwrap());
        }
        let is_untouched = planned.iter().zip(&found).all(|(one, row)| {
            self.rows.get(one.operation.key().row()) == row.clone().map(|row| (row.properties, row.etag)).as_ref()
        });
        let is_done =
            planned.iter().zip(&found).all(|(one, row)| one.after.as_ref() == row.as_ref().map(|row| &row.properties));
        assert!(is_untouched || (is_done && fits), "neither done nor left: {found:#?}");
        if !is_untouched {
            for (one, row) in planned.into_iter().zip(found) {
                self.is_done(one, row.map(|row| row.etag));
            }
        }
    }

    /// Panics unless exactly the rows that the answers promised are there.
    pub async fn check(&self) {
        let page = self.way.direct.tables.page(&self.range(), None).await.unwrap();
        self.assert_are_all(page.rows);
    }

    fn assert_are_all(&self, rows: Vec<Row>) {
        let found: BTreeMap<_, _> =
            rows.into_iter().map(|row| (row.key.row().to_owned(), (row.properties, row.etag))).collect();
        assert_eq!(found, self.rows);
    }

    fn key(&self, row: &str) -> Key {
        Key::new(&self.partition, row).unwrap()
    }

    fn range(&self) -> Range {
        Range { partition: self.partition.clone(), from: String::new(), to: None }
    }
}

fn name(row: usize) -> String {
    format!("r{row:02}")
}

/// A property's text.
pub fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
