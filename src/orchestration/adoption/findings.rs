//! What is said of rows that are in a destination twice, or not all there, with the commands by which a person mends that.

use super::compare::Stretch;
use crate::orchestration::ids::WindowId;
use crate::orchestration::ledger::ChunkIdPlace;
use crate::orchestration::limits::SOURCE_KEPT;
use crate::orchestration::removal::Place;
use crate::remedy;
use crate::timestamp::Timestamp;

impl Place {
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
                "{said}, and by the times of ingestion no copy can be told from the other: see `{}`, and remove one by a soft \
                 delete (Database Admin)",
                remedy::see_landings(self.table.as_str(), &id.to_string(), self.chunk_id == ChunkIdPlace::Row)
            ),
        }
    }

    /// Says that the rows of a range are not those of the source.
    pub fn differs(&self, range: &Stretch, counted: u64) -> String {
        let removals: Vec<String> = range.windows.iter().map(|id| format!("`{}`", self.remove(id))).collect();
        format!(
            "{} holds {} rows of ({}, {}], and the source has {counted}: they did not land whole, or more than once. Remove them with {} (Database \
             Admin), only while the source still has them to be pulled again, until {}",
            self.table,
            range.rows,
            range.low,
            range.high,
            removals.join(" and "),
            range.low + SOURCE_KEPT
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
    use crate::kql::Identifier;
    use crate::orchestration::ids::{LedgerId, Part};

    fn id() -> WindowId {
        let at = Timestamp::from_ticks;
        WindowId { ledger: LedgerId(1), low: at(1), high: at(2), part: Part::WHOLE, generation: 0, repair: 0 }
    }

    fn place(chunk_id: ChunkIdPlace) -> Place {
        Place { table: Identifier::new("Device Events").unwrap(), chunk_id, of_snapshots: false }
    }

    #[test]
    fn the_second_copy_begins_where_the_first_is_whole() {
        let at = |n: u64| Timestamp::from_ticks(n * 10_000_000);
        let said = |landings: &[(Timestamp, u64)]| place(ChunkIdPlace::Column).second_copy(&id(), 5, landings);
        let told = said(&[(at(1), 3), (at(2), 2), (at(3), 5)]);
        assert!(
            told.contains(&format!(
                "`.delete table ['Device Events'] records <| ['Device Events'] | where ChunkId == \"{}\" and ingestion_time() > datetime(0001-01-01T00:00:02.0000000Z)`",
                id()
            )),
            "{told}"
        );
        assert!(told.contains("10 rows") && told.contains("5 were sent"), "{told}");
        let mixed = said(&[(at(1), 10)]);
        assert!(mixed.contains("can be told") && !mixed.contains("> datetime"), "{mixed}");
    }

    #[test]
    fn rows_that_are_to_be_pulled_again_are_removed_only_while_the_source_has_them() {
        let (low, high) = ("2026-05-01T00:00:00Z".parse().unwrap(), "2026-05-01T01:00:00Z".parse().unwrap());
        let range = Stretch { low, high, rows: 5, windows: vec![id()] };
        let said = place(ChunkIdPlace::Column).differs(&range, 4);
        assert!(said.ends_with(&format!("until {}", low + SOURCE_KEPT)), "{said}");
    }
}
