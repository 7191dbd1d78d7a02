//! Removes rows of a window by a soft delete (dataexplorer-docs `management/soft-delete-command.md`), after a preview that says
//! that it removes as many as it is meant to.

use super::super::template::fill;
use super::{Catalog, Error};
use crate::kql::{Datetime, Identifier, Text};
use crate::remedy::held_in;
use crate::timestamp::Timestamp;
use std::fmt::Display;
use tokio::time::Instant;

/// Rows of a window.
#[derive(Debug, Clone, Copy)]
pub struct WindowRows<'a> {
    /// The destination.
    pub table: &'a Identifier,
    /// The window's id.
    pub id: &'a str,
    /// Whether the rows hold it inside `RawData`, and not in the column `ChunkId`.
    pub id_in_row: bool,
    /// Only those that were ingested after this instant.
    pub after: Option<Timestamp>,
}

/// What a removal came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// They are gone.
    All,
    /// The preview says that it would remove so many, not as many as it is meant to: nothing was removed.
    Otherwise {
        /// How many.
        previewed: u64,
    },
}

impl Catalog {
    /// Removes rows of a window if they are as many as `expected`. Asked for again, it removes nothing more.
    ///
    /// # Errors
    /// What the requests can end in; after [`Error::OutcomeUnknown`] they may be gone.
    pub async fn remove_rows(&self, rows: &WindowRows<'_>, expected: u64, deadline: Instant) -> Result<Removed, Error> {
        let preview = self.show(&rows.command("with (whatif=true) "), deadline).await?;
        let at = preview.column("RecordsMatchPredicate")?;
        let counts: Result<Vec<_>, Error> = preview.rows().map(|row| row.long(at)).collect();
        let previewed: i64 = counts?.into_iter().flatten().sum();
        let previewed = previewed.unsigned_abs();
        if previewed != expected {
            return Ok(Removed::Otherwise { previewed });
        }
        self.change(&rows.command(""), deadline).await?;
        Ok(Removed::All)
    }
}

impl WindowRows<'_> {
    fn command(&self, how: &str) -> String {
        let (id, held) = (Text(self.id), held_in(self.id_in_row));
        let after = self.after.map(Datetime);
        let mut values: Vec<(&str, &(dyn Display + Sync))> =
            vec![("table", self.table), ("how", &how), ("held", &held), ("id", &id)];
        match &after {
            None => fill(include_str!("../../../kql/removal/window.kql"), &values),
            Some(after) => {
                values.push(("after", after));
                fill(include_str!("../../../kql/removal/second_copy.kql"), &values)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remedy;

    #[test]
    fn what_is_run_is_what_a_person_would_be_told_to_run() {
        let (table, after) = (Identifier::new("Device Events").unwrap(), Timestamp::from_ticks(7));
        for id_in_row in [false, true] {
            let rows = WindowRows { table: &table, id: "0f", id_in_row, after: None };
            assert_eq!(rows.command(""), remedy::remove_window("Device Events", "0f", id_in_row));
            let younger = WindowRows { after: Some(after), ..rows };
            assert_eq!(younger.command(""), remedy::remove_second_copy("Device Events", "0f", id_in_row, after));
        }
    }
}
