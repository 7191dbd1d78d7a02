//! The commands that a message asks an administrator to run. The app itself never sends them: they need more rights than
//! it is granted. Written by the writers of [`crate::kql`] like all that is sent, so that they run as they are printed.

use crate::kql::{Datetime, Identifier, Text};
use crate::timestamp::Timestamp;
use std::fmt::{self, Display};

/// A name from configuration or ledger. One that Kusto does not accept is quoted, so that no command becomes another one.
struct Named<'a>(&'a str);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Identifier::new(self.0) {
            Ok(name) => name.fmt(f),
            Err(_) => write!(f, "[{}]", Text(self.0)),
        }
    }
}

/// Where a row holds the id of its window.
fn held_in(id_in_row: bool) -> &'static str {
    if id_in_row { "tostring(RawData._ChunkId)" } else { "ChunkId" }
}

/// Removes the rows of one window (dataexplorer-docs `management/soft-delete.md`). `id_in_row`: the rows hold the window's
/// id inside `RawData`, and not in the column `ChunkId`.
pub fn remove_window(table: &str, window_id: &str, id_in_row: bool) -> String {
    let held = held_in(id_in_row);
    format!(".delete table {table} records <| {table} | where {held} == {}", Text(window_id), table = Named(table))
}

/// Removes the rows of one window that were ingested after an instant: its second copy.
pub fn remove_second_copy(table: &str, window_id: &str, id_in_row: bool, after: Timestamp) -> String {
    format!("{} and ingestion_time() > {}", remove_window(table, window_id, id_in_row), Datetime(after))
}

/// Shows when the rows of one window were ingested.
pub fn see_landings(table: &str, window_id: &str, id_in_row: bool) -> String {
    let held = held_in(id_in_row);
    format!("{} | where {held} == {} | summarize count() by ingestion_time()", Named(table), Text(window_id))
}

/// Has a source table copied to another destination from an instant on, instead of the one that it is copied to: what a
/// person wants who moves a watermark of whose rows the ledger has proof. `configuration` is the table of config rows, of
/// which the newest of a source counts.
pub fn begin_elsewhere(configuration: &str, source: &str, destination: &str, from: Timestamp) -> String {
    format!(
        ".set-or-append {0} <| {0} | where SourceTable == {1} | extend ArrivedAt = ingestion_time() | top 1 by ArrivedAt desc \
         | extend DestinationTable = {2}, HighWatermark = {3}, LastRefreshedTime = {3} | project-away ArrivedAt",
        Named(configuration),
        Text(source),
        Text(destination),
        Datetime(from)
    )
}

/// Lets cells of `RawData` be larger than 1 MiB (`management/alter-encoding-policy.md`).
pub fn take_large_cells(table: &str) -> String {
    format!(".alter column {}.RawData policy encoding type = 'BigObject32'", Named(table))
}

/// Takes row level security off a table (`management/row-level-security-policy.md`).
pub fn drop_row_level_security(table: &str) -> String {
    format!(".delete table {} policy row_level_security", Named(table))
}

/// Keeps the rows of a table for a year (`management/alter-merge-table-retention-policy-command.md`).
pub fn keep_rows(table: &str) -> String {
    format!(".alter-merge table {} policy retention softdelete = 365d", Named(table))
}

/// Grants an app a role in a database, such as `ingestors` (`management/manage-database-security-roles.md`).
pub fn grant(database: &str, role: &str) -> String {
    format!(".add database {} {role} ('aadapp=<application id>;<tenant id>')", Named(database))
}
