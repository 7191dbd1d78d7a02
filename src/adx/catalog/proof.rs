//! The proof that rows have landed: counts by window id, exact and fresh.

use super::super::error::clean;
use super::super::ingestion::ChunkIdMode;
use super::super::template::{Listed, fill};
use super::{Catalog, Error, Table};
use crate::kql::{Identifier, Text};
use crate::timestamp::Timestamp;
use std::collections::HashMap;
use tokio::time::Instant;

/// The most ids of one query.
pub const MAX_IDS: usize = 500;

/// What is in the destination under one window id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows.
    pub rows: u64,
    /// Rows among them whose `RawData` is null: lost on the way in.
    pub no_row: u64,
    /// Rows among them whose watermark column is null.
    pub no_time: u64,
    /// When the first of the rows were ingested, and how many those are: only of [`Catalog::copies`], and where the table notes it.
    pub first: Option<(Timestamp, u64)>,
}

impl Catalog {
    /// Counts the rows of each window in the destination: strongly consistent, never from a cache, without any bound on
    /// time. Every id that is asked for is in the result.
    ///
    /// # Errors
    /// [`Error::Unavailable`] also when the service insists on answering from its cache.
    pub async fn counts(
        &self,
        table: &Identifier,
        watermark_column: &Identifier,
        chunk_id: ChunkIdMode,
        ids: &[String],
        deadline: Instant,
    ) -> Result<HashMap<String, Counts>, Error> {
        let file = match chunk_id {
            ChunkIdMode::Constant | ChunkIdMode::Copied => include_str!("../../../kql/proof/counts.kql"),
            ChunkIdMode::InRow => include_str!("../../../kql/proof/counts_in_row.kql"),
        };
        self.counted(file, table, watermark_column, ids, deadline).await
    }

    /// The same, with what tells the copies of a window apart. `None` where the service does not note when rows were ingested.
    ///
    /// # Errors
    /// As [`Catalog::counts`].
    pub async fn copies(
        &self,
        table: &Identifier,
        watermark_column: &Identifier,
        chunk_id: ChunkIdMode,
        ids: &[String],
        deadline: Instant,
    ) -> Result<Option<HashMap<String, Counts>>, Error> {
        let file = match chunk_id {
            ChunkIdMode::Constant | ChunkIdMode::Copied => include_str!("../../../kql/proof/copies.kql"),
            ChunkIdMode::InRow => include_str!("../../../kql/proof/copies_in_row.kql"),
        };
        match self.counted(file, table, watermark_column, ids, deadline).await {
            Err(error @ Error::Refused { permanent: true, .. }) => {
                tracing::warn!(%error, %table, "of rows that are there twice it cannot be told which came first");
                Ok(None)
            }
            counted => counted.map(Some),
        }
    }

    async fn counted(
        &self,
        file: &str,
        table: &Identifier,
        watermark: &Identifier,
        ids: &[String],
        deadline: Instant,
    ) -> Result<HashMap<String, Counts>, Error> {
        let mut all: HashMap<String, Counts> = ids.iter().map(|id| (id.clone(), Counts::default())).collect();
        for some in ids.chunks(MAX_IDS) {
            let ids = Listed(some.iter().map(|id| Text(id)).collect());
            // The results cache goes by the text: a text that was never sent has no answer there.
            let fresh = if mutated!(CountInTheSameWords) { Default::default() } else { self.client.ids().fresh() };
            let comment = format!("// proof {fresh}");
            let csl = fill(file, &[("comment", &comment), ("table", table), ("ids", &ids), ("watermark", watermark)]);
            let answer = self.query(&csl, deadline).await?;
            if answer.is_from_cache() && !mutated!(CachedCount) {
                return Err(Error::unavailable(
                    "a count was answered from the query results cache, which proves nothing",
                ));
            }
            take_counts(&answer, &mut all)?;
        }
        Ok(all)
    }
}

fn take_counts(answer: &Table, all: &mut HashMap<String, Counts>) -> Result<(), Error> {
    let (id, n) = (answer.column("ChunkId")?, answer.column("N")?);
    let (no_row, no_time) = (answer.column("NoRow")?, answer.column("NoTime")?);
    let first = answer.find("First").zip(answer.find("Rows"));
    for row in answer.rows() {
        let count = |at| -> Result<u64, Error> {
            let value = row.long(at)?.and_then(|value| u64::try_from(value).ok());
            value.ok_or_else(|| Error::corrupt("a count that is no count"))
        };
        let first = match first {
            Some((first, rows)) => row.datetime(first)?.map(|at| Ok::<_, Error>((at, count(rows)?))).transpose()?,
            None => None,
        };
        let counts = Counts { rows: count(n)?, no_row: count(no_row)?, no_time: count(no_time)?, first };
        let id = row.text(id)?;
        let slot = all
            .get_mut(id)
            .ok_or_else(|| Error::corrupt(format!("a count for `{}`, which was not asked for", clean(id))))?;
        *slot = counts;
    }
    Ok(())
}
