//! The commands by which a person removes what is in a destination twice. Nothing here is ever run: rows that are deleted
//! are gone (dataexplorer-docs `concepts/data-soft-delete`).

use super::compare::Stretch;
use crate::kql::{Datetime, Identifier, Text};
use crate::orchestration::ids::WindowId;
use crate::orchestration::ledger::{ChunkIdPlace, Head};
use crate::timestamp::Timestamp;

/// A destination, and where its rows say which window they are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The table.
    pub table: Identifier,
    /// Where the window's id is.
    pub chunk_id: ChunkIdPlace,
}

impl Place {
    /// The destination of a table; `None` for a name that somebody changed in the ledger.
    pub fn of(head: &Head) -> Option<Self> {
        let chunk_id = head.shape.as_ref().map_or_else(ChunkIdPlace::default, |shape| shape.chunk_id);
        Some(Self { table: Identifier::new(&head.destination).ok()?, chunk_id })
    }

    /// Removes all rows of a window.
    pub fn remove(&self, id: &WindowId) -> String {
        format!(".delete table {} records <| {}", self.table, self.rows_of(id))
    }

    /// Removes the rows of a window that were ingested after an instant.
    fn remove_after(&self, id: &WindowId, after: Timestamp) -> String {
        format!("{} | where ingestion_time() > {}", self.remove(id), Datetime(after))
    }

    fn rows_of(&self, id: &WindowId) -> String {
        let column = match self.chunk_id {
            ChunkIdPlace::Column => "ChunkId",
            ChunkIdPlace::Row => "tostring(RawData._ChunkId)",
        };
        format!("{} | where {column} == {}", self.table, Text(&id.to_string()))
    }

    /// Says that a window of `rows` rows is there more than once. `landings` are its rows by the time of their ingestion, in
    /// order: where they add up to one copy the next one begins.
    pub fn second_copy(&self, id: &WindowId, rows: u64, landings: &[(Timestamp, u64)]) -> String {
        let (table, found) = (&self.table, landings.iter().map(|(_, rows)| rows).sum::<u64>());
        let mut sum = 0;
        let first = landings.iter().find(|(_, some)| {
            sum += some;
            sum >= rows
        });
        let said = format!("{table} holds {found} rows of window {id}, of which {rows} were sent: it was loaded again");
        match first.filter(|_| sum == rows) {
            Some((at, _)) => {
                format!("{said}. Remove the second copy with `{}` (Database Admin)", self.remove_after(id, *at))
            }
            None => format!(
                "{said}, and by the times of ingestion no copy can be told from the other: see `{} | summarize count() by \
                 ingestion_time()`, and remove one with `.delete table {table} records` (Database Admin)",
                self.rows_of(id)
            ),
        }
    }

    /// Says that the rows of a range are not those of the source.
    pub fn differs(&self, range: &Stretch, counted: u64) -> String {
        let removals: Vec<String> = range.windows.iter().map(|id| format!("`{}`", self.remove(id))).collect();
        format!(
            "{} holds {} rows of ({}, {}], and the source has {counted}: they did not land whole, or more than once. Remove them with {} (Database Admin)",
            self.table,
            range.rows,
            range.low,
            range.high,
            removals.join(" and ")
        )
    }

    /// Says that a window stands for rows that are there already.
    pub fn overlap(&self, younger: &WindowId, rows: u64, older: Option<&WindowId>) -> String {
        let older = older.map_or_else(|| "what the ledger has proved".to_owned(), |older| format!("window {older}"));
        format!(
            "{} holds {rows} rows of window {younger}, ({}, {}], which {older} stands for too. Remove the younger copy with `{}` (Database \
             Admin)",
            self.table,
            younger.low,
            younger.high,
            self.remove(younger)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::ids::{LedgerId, Part};

    fn id() -> WindowId {
        let at = Timestamp::from_ticks;
        WindowId { ledger: LedgerId(1), low: at(1), high: at(2), part: Part::WHOLE, generation: 0 }
    }

    fn place(chunk_id: ChunkIdPlace) -> Place {
        Place { table: Identifier::new("Device Events").unwrap(), chunk_id }
    }

    #[test]
    fn the_second_copy_begins_where_the_first_is_whole() {
        let at = |n: u64| Timestamp::from_ticks(n * 10_000_000);
        let said = |landings: &[(Timestamp, u64)]| place(ChunkIdPlace::Column).second_copy(&id(), 5, landings);
        let told = said(&[(at(1), 3), (at(2), 2), (at(3), 5)]);
        assert!(
            told.contains(&format!(
                "`.delete table ['Device Events'] records <| ['Device Events'] | where ChunkId == \"{}\" | where ingestion_time() > datetime(0001-01-01T00:00:02.0000000Z)`",
                id()
            )),
            "{told}"
        );
        assert!(told.contains("10 rows") && told.contains("5 were sent"), "{told}");
        let mixed = said(&[(at(1), 10)]);
        assert!(mixed.contains("can be told") && !mixed.contains("> datetime"), "{mixed}");
    }

    #[test]
    fn ids_inside_the_rows_are_looked_for_there() {
        let command = place(ChunkIdPlace::Row).remove(&id());
        assert!(command.ends_with(&format!("| where tostring(RawData._ChunkId) == \"{}\"", id())), "{command}");
    }
}
