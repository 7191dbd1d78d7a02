//! The event *the destination is gone*: a table of whose rows the ledger has proof is not there any more. It is not made anew,
//! empty: the watermark would go on from where it stands, and nobody would learn that the rows below it are lost.

use crate::orchestration::ledger::{ChunkIdPlace, Head};
use crate::orchestration::window::{Window, WindowState};
use crate::remedy;
use crate::timestamp::Timestamp;

/// A destination that was dropped with rows in it. Nothing was made and nothing was altered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{destination} is not in ADX any more, and with it {} are gone that had been proved{}; nothing was made or altered. If it was \
     dropped, restore it as long as its data is recoverable: `{}` shows the version before the drop, `{}` brings it back (Database \
     Admin). To copy what the source still has once more, to {destination}_2, run `{}` (with your own names, if CONFIG_TABLE is \
     another table). To go on without what is gone, make the empty table with `{}`. Then start another run",
    rows_of(*.rows, *.windows, *.older),
    until(*.up_to),
    remedy::see_drops(database, destination),
    remedy::undo_drop(destination),
    remedy::copy_again("meta_MigrationConfiguration", source_table, &format!("{destination}_2")),
    remedy::make_empty(destination, watermark_column, *.id_in_row)
)]
pub struct Lost {
    source_table: String,
    database: String,
    destination: String,
    watermark_column: String,
    id_in_row: bool,
    /// Rows of the windows that the ledger remembers.
    rows: u64,
    windows: u64,
    /// Windows that it has forgotten.
    older: u64,
    up_to: Timestamp,
}

fn rows_of(rows: u64, windows: u64, older: u64) -> String {
    match (windows, older) {
        (_, 0) => format!("{rows} rows"),
        (0, _) => format!("the rows of {older} windows"),
        _ => format!("{rows} rows, and those of {older} windows of longer ago,"),
    }
}

fn until(at: Timestamp) -> String {
    if at == Timestamp::MIN { String::new() } else { format!(", all up to {at}") }
}

/// What is lost if the destination, in `database`, is not there. `None` where no row of it was proved: then it may be made.
/// `windows` are all of the table.
pub fn lost(head: &Head, windows: &[Window], database: &str) -> Option<Lost> {
    let proved: Vec<u64> = windows
        .iter()
        .filter(|window| window.state == WindowState::Verified)
        .map(|window| window.seal.as_ref().map_or(0, |seal| seal.rows).max(window.landed_rows))
        .collect();
    let older = head.purged.verified;
    if proved.is_empty() && older == 0 {
        return None;
    }
    Some(Lost {
        source_table: head.source.clone(),
        database: database.to_owned(),
        destination: head.destination.clone(),
        watermark_column: head.watermark_column.clone(),
        id_in_row: head.shape.as_ref().is_some_and(|shape| shape.chunk_id == ChunkIdPlace::Row),
        rows: proved.iter().sum(),
        windows: proved.len() as u64,
        older,
        up_to: head.verified_up_to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, now, seen};
    use crate::orchestration::ledger::{Counts, TableState};

    fn of(head: &Head, states: &[WindowState]) -> Option<Lost> {
        let windows: Vec<Window> = (1..).zip(states).map(|(low, state)| seen(low * 10, *state).window).collect();
        lost(head, &windows, "Hunting")
    }

    #[test]
    fn a_table_of_which_nothing_was_proved_may_be_made_again() {
        let head = Head { verified_up_to: now(), ..head(TableState::Planning) };
        assert_eq!(of(&head, &[]), None);
        assert_eq!(of(&head, &[WindowState::Empty, WindowState::Submitted, WindowState::Failed]), None);
    }

    #[test]
    fn what_is_lost_is_said_with_every_way_on() {
        let head = Head { verified_up_to: now(), ..head(TableState::Planning) };
        let said = of(&head, &[WindowState::Verified, WindowState::Empty, WindowState::Verified]).unwrap().to_string();
        for part in [
            "6 rows are gone that had been proved, all up to 2026-05-01T00:00:00.0000000Z",
            "nothing was made or altered",
            "`.undo drop table ['x'] version",
            "DestinationTable = \"x_2\", HighWatermark = datetime(null)",
            "`.create-merge table ['x'] (Timestamp:datetime, RawData:dynamic, ChunkId:string)`",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn rows_of_windows_that_are_forgotten_are_lost_too() {
        let purged = Counts { verified: 4, ..Counts::default() };
        let head = Head { purged, ..head(TableState::Planning) };
        assert!(of(&head, &[]).unwrap().to_string().contains("with it the rows of 4 windows are gone"));
        let both = of(&head, &[WindowState::Verified]).unwrap().to_string();
        assert!(both.contains("3 rows, and those of 4 windows of longer ago, are gone"), "{both}");
    }
}
