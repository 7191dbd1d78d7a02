//! Which windows a destination holds, as its rows say: what a ledger is rebuilt from, and held against.

use super::super::error::clean;
use super::super::ingestion::ChunkIdMode;
use super::super::table::Row;
use super::super::template::fill;
use super::{Catalog, Error};
use crate::kql::{Datetime, Identifier, Text};
use crate::orchestration::ids::WindowId;
use crate::timestamp::Timestamp;
use std::fmt::Display;
use tokio::time::Instant;

/// Windows in one answer; the next ones are in another.
const PAGE: u32 = 50_000;
/// Times of ingestion that are told apart within one window.
const MOST_LANDINGS: u32 = 1_000;

/// Rows under one `ChunkId`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The `ChunkId`, whoever wrote it.
    pub id: String,
    /// How many rows.
    pub rows: u64,
    /// When the first was ingested; `None` where the table does not note that.
    pub first: Option<Timestamp>,
    /// When the last was ingested.
    pub last: Option<Timestamp>,
}

/// Where the app stopped that copied a table before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Its `HighWatermark`.
    pub high_watermark: Timestamp,
    /// Its `LastRefreshedTime`.
    pub last_refreshed: Option<Timestamp>,
}

impl Catalog {
    /// All `ChunkId`s as long as the id of a window, of the rows of a table that were ingested after `after`, or whose ingestion it does not note.
    ///
    /// # Errors
    /// What the queries can end in.
    pub async fn chunks(
        &self,
        table: &Identifier,
        chunk_id: ChunkIdMode,
        after: Timestamp,
        deadline: Instant,
    ) -> Result<Vec<Chunk>, Error> {
        self.chunks_by(PAGE, table, chunk_id, after, deadline).await
    }

    /// As [`Catalog::chunks`], by pages of `most`.
    ///
    /// # Errors
    /// What the queries can end in.
    pub async fn chunks_by(
        &self,
        most: u32,
        table: &Identifier,
        chunk_id: ChunkIdMode,
        after: Timestamp,
        deadline: Instant,
    ) -> Result<Vec<Chunk>, Error> {
        let file = match chunk_id {
            ChunkIdMode::Constant | ChunkIdMode::Copied => include_str!("../../../kql/ledger/chunks.kql"),
            ChunkIdMode::InRow => include_str!("../../../kql/ledger/chunks_in_row.kql"),
        };
        let mut chunks: Vec<Chunk> = Vec::new();
        loop {
            let behind = chunks.last().map(|chunk| chunk.id.clone()).unwrap_or_default();
            let values: [(&str, &(dyn Display + Sync)); 5] = [
                ("table", table),
                ("after", &Datetime(after)),
                ("length", &WindowId::DIGITS),
                ("behind", &Text(&behind)),
                ("most", &most),
            ];
            let answer = self.uncached(file, &values, deadline).await?;
            let (id, rows) = (answer.column("ChunkId")?, answer.column("N")?);
            let (first, last) = (answer.column("First")?, answer.column("Last")?);
            for row in answer.rows() {
                let id = row.text(id)?;
                if *id <= *behind {
                    return Err(Error::corrupt(format!("window ids out of order: {} behind {behind}", clean(id))));
                }
                chunks.push(Chunk {
                    id: id.to_owned(),
                    rows: count(row.long(rows)?)?,
                    first: row.datetime(first)?,
                    last: row.datetime(last)?,
                });
            }
            if answer.len() < most as usize {
                return Ok(chunks);
            }
        }
    }

    /// The rows of one window by the time of their ingestion, in order.
    ///
    /// # Errors
    /// What the query can end in.
    pub async fn landings(
        &self,
        table: &Identifier,
        chunk_id: ChunkIdMode,
        id: &str,
        deadline: Instant,
    ) -> Result<Vec<(Timestamp, u64)>, Error> {
        let file = match chunk_id {
            ChunkIdMode::Constant | ChunkIdMode::Copied => include_str!("../../../kql/ledger/landings.kql"),
            ChunkIdMode::InRow => include_str!("../../../kql/ledger/landings_in_row.kql"),
        };
        let values: [(&str, &(dyn Display + Sync)); 3] =
            [("table", table), ("id", &Text(id)), ("most", &MOST_LANDINGS)];
        let answer = self.uncached(file, &values, deadline).await?;
        let (at, rows) = (answer.column("IngestedAt")?, answer.column("N")?);
        let read = |row: Row<'_>| Ok((row.datetime(at)?.unwrap_or(Timestamp::MIN), count(row.long(rows)?)?));
        answer.rows().map(read).collect()
    }

    /// How many rows a table has, and whether it has the column `ChunkId`; `None` where there is no such table.
    ///
    /// # Errors
    /// What the requests can end in.
    pub async fn size(&self, table: &Identifier, deadline: Instant) -> Result<Option<(u64, bool)>, Error> {
        let Some(schema) = self.schema(table, deadline).await? else { return Ok(None) };
        let file = include_str!("../../../kql/ledger/rows_in_all.kql");
        let answer = self.uncached(file, &[("table", table)], deadline).await?;
        let at = answer.column("Count")?;
        let row = answer.rows().next().ok_or_else(|| Error::corrupt("a count without a row"))?;
        Ok(Some((count(row.long(at)?)?, schema.columns.iter().any(|(name, _)| name == "ChunkId"))))
    }

    /// Where the configuration said before `before` that a copy had come to; `None` where it said nothing.
    ///
    /// # Errors
    /// What the query can end in.
    pub async fn stopped_before(
        &self,
        source: &str,
        destination: &str,
        before: Timestamp,
        deadline: Instant,
    ) -> Result<Option<Stopped>, Error> {
        let file = include_str!("../../../kql/metadata/config_before.kql");
        let values: [(&str, &(dyn Display + Sync)); 4] = [
            ("config_table", &self.names().config_table),
            ("source", &Text(source)),
            ("destination", &Text(destination)),
            ("before", &Datetime(before)),
        ];
        let answer = self.uncached(file, &values, deadline).await?;
        let (high, refreshed) = (answer.column("HighWatermark")?, answer.column("LastRefreshedTime")?);
        let Some(row) = answer.rows().next() else { return Ok(None) };
        let last_refreshed = row.datetime(refreshed)?;
        Ok(row.datetime(high)?.map(|high_watermark| Stopped { high_watermark, last_refreshed }))
    }

    /// A query whose text was never sent, so that no cache has an answer (dataexplorer-docs `query/query-results-cache.md`).
    pub(super) async fn uncached(
        &self,
        file: &str,
        values: &[(&str, &(dyn Display + Sync))],
        deadline: Instant,
    ) -> Result<super::Table, Error> {
        let fresh = if mutated!(LookInTheSameWords) { Default::default() } else { self.client.ids().fresh() };
        let comment = format!("// look {fresh}");
        let mut all: Vec<(&str, &(dyn Display + Sync))> = vec![("comment", &comment)];
        all.extend_from_slice(values);
        let answer = self.query(&fill(file, &all), deadline).await?;
        if answer.is_from_cache() {
            return Err(Error::unavailable(
                "a look was answered from the query results cache, which may be out of date",
            ));
        }
        Ok(answer)
    }
}

fn count(value: Option<i64>) -> Result<u64, Error> {
    value.and_then(|value| u64::try_from(value).ok()).ok_or_else(|| Error::corrupt("a count that is no count"))
}
