//! The commands that a message asks an administrator to run. A run never sends them: they need more rights than
//! it is granted; `setup --apply` sends those of roles. Written by the writers of [`crate::kql`] like all that is sent, so that they run as they are printed.

use crate::adx::template::fill;
use crate::kql::{Datetime, Identifier, Literal, SingleQuoted, Text};
use crate::timestamp::Timestamp;
use std::fmt::{self, Display};
use url::Url;

/// A name from configuration or ledger. One that Kusto does not accept is quoted, so that no command becomes another one.
pub(crate) struct Named<'a>(pub &'a str);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Identifier::new(self.0) {
            Ok(name) => name.fmt(f),
            Err(_) => write!(f, "[{}]", Text(self.0)),
        }
    }
}

/// What to do about a database that is not there: name one that is, or make it (learn.microsoft.com "az kusto database").
pub struct MissingDatabase<'a> {
    /// The cluster.
    pub cluster: &'a Url,
    /// The database's name.
    pub name: &'a str,
}

impl Display for MissingDatabase<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.cluster.host_str().unwrap_or_default().split('.').next().unwrap_or_default();
        write!(
            f,
            "set ADX_DATABASE to one of `az kusto database list --cluster-name {cluster} --resource-group GROUP`, or make it: \
             `az kusto database create --cluster-name {cluster} --resource-group GROUP --database-name {} --read-write-database \
             location=REGION`",
            self.name
        )
    }
}

/// Where a row holds the id of its window.
pub(crate) fn held_in(id_in_row: bool) -> &'static str {
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
    configured_elsewhere(configuration, source, destination, &Datetime(from))
}

/// Has a source table copied to another destination as if it had never been copied: all that the source still has.
pub fn copy_again(configuration: &str, source: &str, destination: &str) -> String {
    configured_elsewhere(configuration, source, destination, &Literal::Datetime(None))
}

fn configured_elsewhere(configuration: &str, source: &str, destination: &str, from: &dyn Display) -> String {
    format!(
        ".set-or-append {0} <| {0} | where SourceTable == {1} | extend ArrivedAt = ingestion_time() | top 1 by ArrivedAt desc \
         | extend DestinationTable = {2}, HighWatermark = {3}, LastRefreshedTime = {3} | project-away ArrivedAt",
        Named(configuration),
        Text(source),
        Text(destination),
        from
    )
}

/// Shows the version of the database before a table was dropped (`management/undo-drop-table-command.md`).
pub fn see_drops(database: &str, table: &str) -> String {
    format!(
        ".show database {} journal | where Event == \"DROP-TABLE\" and EntityName == {} | project OriginalEntityVersion",
        Named(database),
        Text(table)
    )
}

/// Brings a table back that was dropped, by the version that [`see_drops`] shows.
pub fn undo_drop(table: &str) -> String {
    format!(".undo drop table {} version=\"<version>\"", Named(table))
}

/// Makes a destination without rows.
pub fn make_empty(table: &str, watermark_column: &str, id_in_row: bool) -> String {
    let id = if id_in_row { "" } else { ", ChunkId:string" };
    format!(".create-merge table {} ({}:datetime, RawData:dynamic{id})", Named(table), Named(watermark_column))
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

/// Keeps the rows of all tables of a database for a year that have no policy of their own.
pub fn keep_rows_of_all(database: &str) -> String {
    format!(".alter-merge database {} policy retention softdelete = 365d", Named(database))
}

/// Takes restricted view access off a table (`management/delete-table-restricted-view-access-policy-command.md`).
pub fn drop_restricted_view(table: &str) -> String {
    format!(".delete table {} policy restricted_view_access", Named(table))
}

/// The app that a role is granted to, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Application {
    /// `AZURE_CLIENT_ID`
    pub client: Option<String>,
    /// `AZURE_TENANT_ID`
    pub tenant: Option<String>,
}

impl Application {
    /// How roles name it (dataexplorer-docs `management/reference-security-principals.md`).
    pub fn principal(&self) -> String {
        let client = self.client.as_deref().unwrap_or("<application id>");
        let tenant = self.tenant.as_deref().unwrap_or("<tenant id>");
        format!("aadapp={client};{tenant}")
    }
}

impl Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SingleQuoted(&self.principal()).fmt(f)
    }
}

/// A role, in a database or in something in it (dataexplorer-docs `access-control/role-based-access-control.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admins,
    /// Makes tables and functions, and reads.
    Users,
    /// Reads.
    Viewers,
    /// Reads what restricted view access keeps from others.
    UnrestrictedViewers,
    /// Ingests, and does not read.
    Ingestors,
}

impl Role {
    /// Whether who has this role may do what `other` may.
    pub fn covers(self, other: Self) -> bool {
        self == other
            || match self {
                Self::Admins => other != Self::UnrestrictedViewers,
                Self::Users => other == Self::Viewers,
                Self::Viewers | Self::UnrestrictedViewers | Self::Ingestors => false,
            }
    }
}

impl Display for Role {
    /// As commands name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admins => "admins",
            Self::Users => "users",
            Self::Viewers => "viewers",
            Self::UnrestrictedViewers => "unrestrictedviewers",
            Self::Ingestors => "ingestors",
        })
    }
}

/// Grants an app a role in a database (`management/manage-database-security-roles.md`).
pub fn grant(database: &str, role: Role, to: &Application) -> String {
    fill(include_str!("../kql/setup/grant.kql"), &[("database", &Named(database)), ("role", &role), ("app", to)])
}

/// Shows who has which role in a database.
pub fn see_roles(database: &str) -> String {
    fill(include_str!("../kql/setup/principals.kql"), &[("database", &Named(database))])
}

/// Shows who has which role in a table.
pub fn see_roles_in_table(table: &str) -> String {
    format!(".show table {} principals", Named(table))
}

/// Grants an app a role in a table (`management/manage-table-security-roles.md`).
pub fn grant_in_table(table: &str, role: Role, to: &Application) -> String {
    format!(".add table {} {role} ({to})", Named(table))
}

/// Grants an app a role in a function (`management/manage-function-security-roles.md`).
pub fn grant_in_function(function: &str, role: Role, to: &Application) -> String {
    format!(".add function {} {role} ({to})", Named(function))
}
