//! The rows of a destination themselves, where they are to be compared with the source: of some windows, or those that
//! another app has copied.

use super::super::ingestion::ChunkIdMode;
use super::super::template::Listed;
use super::{Catalog, Error, MAX_IDS};
use crate::kql::{Datetime, Identifier, Text};
use crate::timestamp::Timestamp;
use std::fmt::{self, Display};
use tokio::time::Instant;

/// Rows of a destination.
#[derive(Debug, Clone, Copy)]
pub enum Held<'a> {
    /// Those of these windows, at most [`MAX_IDS`].
    Windows(&'a [String]),
    /// Those without the id of a window, by the values of the watermark column.
    Unmarked {
        /// The column.
        watermark: &'a Identifier,
        /// From the first up to and including the second; `None`: those that have none.
        within: Option<(Timestamp, Timestamp)>,
        /// Ingested after this, or the table does not note when.
        after: Timestamp,
    },
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldSize {
    /// Rows.
    pub rows: u64,
    /// Characters of their content as text.
    pub characters: u64,
}

/// One of several parts of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Which, from 0.
    pub index: u64,
    /// How many there are.
    pub count: u64,
}

/// Where a row says which window it is of.
struct ChunkId(ChunkIdMode);

impl Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            ChunkIdMode::Constant | ChunkIdMode::Copied => "ChunkId",
            ChunkIdMode::InRow => "tostring(RawData._ChunkId)",
        })
    }
}

/// Whether a watermark is within bounds, or there is none.
struct Within<'a> {
    watermark: &'a Identifier,
    bounds: Option<(Timestamp, Timestamp)>,
}

impl Display for Within<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watermark = self.watermark;
        match self.bounds {
            None => write!(f, "isnull({watermark})"),
            Some((first, last)) => {
                write!(f, "{watermark} >= {} and {watermark} <= {}", Datetime(first), Datetime(last))
            }
        }
    }
}

impl Catalog {
    /// How many rows there are, and how large they are.
    ///
    /// # Errors
    /// What the query can end in.
    pub async fn held_size(
        &self,
        table: &Identifier,
        chunk_id: ChunkIdMode,
        held: Held<'_>,
        deadline: Instant,
    ) -> Result<HeldSize, Error> {
        let files =
            [include_str!("../../../kql/repair/size.kql"), include_str!("../../../kql/repair/size_unmarked.kql")];
        let answer = self.held(files, table, chunk_id, held, None, deadline).await?;
        let (rows, characters) = (answer.column("N")?, answer.column("Bytes")?);
        let row = answer.rows().next().ok_or_else(|| Error::corrupt("a count without a row"))?;
        let number = |value: Option<i64>| u64::try_from(value.unwrap_or_default()).unwrap_or_default();
        Ok(HeldSize { rows: number(row.long(rows)?), characters: number(row.long(characters)?) })
    }

    /// The content of the rows of one page as text; of a row without content it is empty.
    ///
    /// # Errors
    /// What the query can end in.
    pub async fn held_rows(
        &self,
        table: &Identifier,
        chunk_id: ChunkIdMode,
        held: Held<'_>,
        page: Page,
        deadline: Instant,
    ) -> Result<Vec<String>, Error> {
        let files =
            [include_str!("../../../kql/repair/rows.kql"), include_str!("../../../kql/repair/rows_unmarked.kql")];
        let answer = self.held(files, table, chunk_id, held, Some(page), deadline).await?;
        let at = answer.column("Row")?;
        answer.rows().map(|row| Ok(row.text(at)?.to_owned())).collect()
    }

    async fn held(
        &self,
        [of_windows, unmarked]: [&str; 2],
        table: &Identifier,
        chunk_id: ChunkIdMode,
        held: Held<'_>,
        page: Option<Page>,
        deadline: Instant,
    ) -> Result<super::Table, Error> {
        let Page { index, count } = page.unwrap_or(Page { index: 0, count: 1 });
        let chunk_id = ChunkId(chunk_id);
        let paged: [(&str, &(dyn Display + Sync)); 4] =
            [("table", table), ("chunk_id", &chunk_id), ("page", &index), ("pages", &count)];
        match held {
            Held::Windows(ids) => {
                let ids = Listed(ids.iter().take(MAX_IDS).map(|id| Text(id)).collect());
                self.uncached(of_windows, &[&paged[..], &[("ids", &ids)]].concat(), deadline).await
            }
            Held::Unmarked { watermark, within, after } => {
                let (within, after) = (Within { watermark, bounds: within }, Datetime(after));
                let bounds: [(&str, &(dyn Display + Sync)); 2] = [("within", &within), ("after", &after)];
                self.uncached(unmarked, &[&paged[..], &bounds].concat(), deadline).await
            }
        }
    }
}
