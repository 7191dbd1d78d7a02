//! Looks at what a run would need: the identity's own roles, and the metadata tables against what the product's own commands
//! would make. Looks only, and makes nothing.

use super::super::table::Type;
use super::super::template::fill;
use super::destination::add_columns;
use super::metadata::parse_schema;
use super::{Catalog, Error, Looked};
use crate::kql::Identifier;
use tokio::time::Instant;

/// A role of the identity (dataexplorer-docs `management/security-roles.md`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRole {
    /// Where it holds, in the service's words: a cluster, a database or something in it.
    pub scope: String,
    /// It, in the service's words.
    pub role: String,
}

/// A metadata table beside what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLook {
    /// The table.
    pub table: Identifier,
    /// Whether it is there.
    pub is_there: bool,
    /// The columns that it has, with their types, in order.
    pub held: Vec<(String, String)>,
    /// Columns that it lacks, with their types.
    pub missing: Vec<(Identifier, String)>,
    /// How many columns it has to have.
    pub needed: usize,
    /// Columns of another type: name, type found, type needed.
    pub conflicts: Vec<(String, String, String)>,
    /// The command that makes it, or adds what it lacks.
    pub command: String,
}

impl TableLook {
    /// Whether it is something else: a table that is there and has none of the columns.
    pub fn is_another(&self) -> bool {
        let has_none = self.conflicts.is_empty() && self.missing.len() == self.needed;
        self.is_there && has_none
    }

    /// The columns that it lacks, in words.
    pub fn lacks(&self) -> String {
        named(&self.missing)
    }

    /// Its columns with their types, in order, as they are once it has all that it needs.
    pub fn columns(&self) -> Vec<(String, String)> {
        let missing = self.missing.iter().map(|(name, ty)| (name.as_str().to_owned(), ty.clone()));
        self.held.iter().cloned().chain(missing).collect()
    }
}

/// Names of columns with commas between them.
pub fn named<T>(columns: &[(Identifier, T)]) -> String {
    columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

impl Catalog {
    /// The roles of the identity that asks, or why the service does not show them.
    ///
    /// # Errors
    /// What the request can end in, a denial included: who has no role at all is told nothing.
    pub async fn own_roles(&self, deadline: Instant) -> Result<Result<Vec<HeldRole>, String>, Error> {
        let table = match self.look(&fill(include_str!("../../../kql/role/own.kql"), &[]), deadline).await? {
            Looked::Shown(table) => table,
            Looked::Unseen(why) => return Ok(Err(why)),
        };
        let (Some(scope), Some(role)) = (table.find("Scope"), table.find("Role")) else {
            return Ok(Err("the answer has no columns Scope and Role".to_owned()));
        };
        let held = |row: super::super::table::Row<'_>| {
            Ok(HeldRole { scope: row.text(scope)?.to_owned(), role: row.text(role)?.to_owned() })
        };
        table.rows().map(held).collect::<Result<_, Error>>().map(Ok)
    }

    /// The metadata tables as they are: those of the configuration, the audit, the failures and the ledger, in this order.
    pub fn metadata_tables(&self) -> [(&Identifier, &'static str); 4] {
        let names = self.names();
        [
            (&names.config_table, include_str!("../../../kql/metadata/config_table.kql")),
            (&names.audit_table, include_str!("../../../kql/metadata/audit_table.kql")),
            (&names.chunk_audit_table, include_str!("../../../kql/metadata/chunk_audit_table.kql")),
            (&names.ledger_table, include_str!("../../../kql/metadata/ledger_table.kql")),
        ]
    }

    /// Looks at one of [`Catalog::metadata_tables`].
    ///
    /// # Errors
    /// What the request can end in.
    pub async fn look_at_metadata(
        &self,
        table: &Identifier,
        file: &'static str,
        deadline: Instant,
    ) -> Result<TableLook, Error> {
        let command = fill(file, &[("table", table)]);
        let schema = self.schema(table, deadline).await?;
        let is_there = schema.is_some();
        let held = schema.map(|schema| schema.columns).unwrap_or_default();
        let (mut missing, mut conflicts) = (Vec::new(), Vec::new());
        let declared = declared(&command)?;
        let needed = declared.len();
        for (name, ty) in declared {
            match held.iter().find(|(known, _)| *known == name) {
                None => {
                    let name = Identifier::new(&name).map_err(|error| Error::corrupt(error.to_string()))?;
                    missing.push((name, ty));
                }
                Some((_, found)) if Type::parse(found) == Type::parse(&ty) => {}
                Some((_, found)) => conflicts.push((name, found.clone(), ty)),
            }
        }
        let command = if is_there { add_columns(table, &missing) } else { command };
        Ok(TableLook { table: table.clone(), is_there, held, missing, needed, conflicts, command })
    }

    /// The commands that make the configuration view and that of failures, each in one line.
    pub fn view_commands(&self) -> [String; 2] {
        let names = self.names();
        let line = |file, view: &Identifier, table: &Identifier| {
            let text = fill(file, &[("view", view), ("table", table)]);
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        [
            line(include_str!("../../../kql/metadata/config_view.kql"), &names.config_view, &names.config_table),
            line(
                include_str!("../../../kql/metadata/chunk_audit_view.kql"),
                &names.chunk_audit_view,
                &names.chunk_audit_table,
            ),
        ]
    }
}

/// The columns that a `.create-merge table` names.
pub(super) fn declared(command: &str) -> Result<Vec<(String, String)>, Error> {
    let columns = command.split_once(" (").and_then(|(_, rest)| rest.split_once(") with")).map(|(columns, _)| columns);
    parse_schema(columns.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_every_metadata_table_are_read_from_the_command_that_makes_it() {
        for (file, columns, last) in [
            (include_str!("../../../kql/metadata/config_table.kql"), 8, ("IsActive", "bool")),
            (include_str!("../../../kql/metadata/audit_table.kql"), 11, ("error", "string")),
            (include_str!("../../../kql/metadata/chunk_audit_table.kql"), 12, ("reprocess_success", "bool")),
            (include_str!("../../../kql/metadata/ledger_table.kql"), 6, ("UpdatedAt", "datetime")),
        ] {
            let declared = declared(&fill(file, &[("table", &"['my table']")])).unwrap();
            let (name, ty) = declared.last().unwrap();
            assert_eq!((declared.len(), (name.as_str(), ty.as_str())), (columns, last), "{file}");
        }
    }
}
