//! The commands that a message asks an administrator to run. The app itself never sends them: they need more rights than
//! it is granted. Written by the writers of [`crate::kql`] like all that is sent, so that they run as they are printed.

use crate::kql::{Identifier, Text};
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

/// Removes the rows of one window (dataexplorer-docs `management/soft-delete.md`). `id_in_row`: the rows hold the window's
/// id inside `RawData`, and not in the column `ChunkId`.
pub fn remove_window(table: &str, window_id: &str, id_in_row: bool) -> String {
    let held = if id_in_row { "tostring(RawData._ChunkId)" } else { "ChunkId" };
    format!(".delete table {table} records <| {table} | where {held} == {}", Text(window_id), table = Named(table))
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
