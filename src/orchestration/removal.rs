//! The commands by which a person removes rows of a window from its destination. Rows that are deleted are gone (dataexplorer-docs
//! `concepts/data-soft-delete`): the app runs them by itself only where a setting says so, as `repair` decides.

use super::ids::WindowId;
use super::ledger::{ChunkIdPlace, Head};
use super::snapshot::is_whole;
use crate::kql::Identifier;
use crate::remedy;
use crate::timestamp::Timestamp;

/// A destination, and where its rows say which window they are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The table.
    pub table: Identifier,
    /// Where the window's id is.
    pub chunk_id: ChunkIdPlace,
    /// Whether it holds snapshots: the next run makes a new one, whatever becomes of a window of this one.
    pub of_snapshots: bool,
}

impl Place {
    /// The destination of a table; `None` for a name that somebody changed in the ledger.
    pub fn of(head: &Head) -> Option<Self> {
        let chunk_id = head.shape.as_ref().map_or_else(ChunkIdPlace::default, |shape| shape.chunk_id);
        Some(Self { table: Identifier::new(&head.destination).ok()?, chunk_id, of_snapshots: is_whole(head) })
    }

    /// Removes all rows of a window.
    pub fn remove(&self, id: &WindowId) -> String {
        remedy::remove_window(self.table.as_str(), &id.to_string(), self.chunk_id == ChunkIdPlace::Row)
    }

    /// Removes the rows of a window that were ingested after an instant.
    pub fn remove_after(&self, id: &WindowId, after: Timestamp) -> String {
        remedy::remove_second_copy(self.table.as_str(), &id.to_string(), self.chunk_id == ChunkIdPlace::Row, after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{later, seen};
    use crate::orchestration::window::WindowState;

    fn place(chunk_id: ChunkIdPlace) -> Place {
        Place { table: Identifier::new("Device Events").unwrap(), chunk_id, of_snapshots: false }
    }

    #[test]
    fn rows_are_found_where_they_carry_the_id_of_their_window() {
        let id = seen(10, WindowState::Failed).window.id;
        let of = ".delete table ['Device Events'] records <| ['Device Events'] | where";
        assert_eq!(place(ChunkIdPlace::Column).remove(&id), format!("{of} ChunkId == \"{id}\""));
        assert_eq!(place(ChunkIdPlace::Row).remove(&id), format!("{of} tostring(RawData._ChunkId) == \"{id}\""));
        assert_eq!(
            place(ChunkIdPlace::Column).remove_after(&id, later(2)),
            format!("{of} ChunkId == \"{id}\" and ingestion_time() > datetime(2026-05-01T00:00:02.0000000Z)")
        );
    }
}
