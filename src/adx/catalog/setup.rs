//! What setting up asks and sends beside what a run does: which tables are configured, who has which role, and new rows for the
//! configuration. Looks, unless it says that it changes something; knows nothing of the source.

use super::super::table::{Row, Type};
use super::super::template::{Listed, fill};
use super::metadata::ConfigRow;
use super::{Catalog, Error, Looked};
use crate::kql::{Identifier, Literal};
use crate::remedy::{self, Application, Role};
use tokio::time::Instant;

/// A source table that has a configuration row, active or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// The table of the source.
    pub source_table: String,
    /// Where its latest row has it copied.
    pub destination_table: String,
    /// Whether that row is active.
    pub is_active: bool,
}

/// What is there of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is not there.
    Missing,
    /// It is there.
    There,
    /// It is there, and does not run: the service's words.
    Broken(String),
}

/// Who has which role in a database, in the service's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principals(Vec<(String, String)>);

impl Principals {
    /// Whether an app has just this role.
    pub fn has(&self, app: &Application, role: Role) -> bool {
        // Shown as `Database Hunting User`, granted as `users`.
        let (plural, wanted) = (role.to_string(), app.principal());
        let word = plural.trim_end_matches('s');
        let is_role =
            |text: &str| text.split_ascii_whitespace().last().is_some_and(|last| last.eq_ignore_ascii_case(word));
        self.0.iter().any(|(held, principal)| is_role(held) && principal.eq_ignore_ascii_case(&wanted))
    }

    /// Whether an app has this role, or one that may do as much.
    pub fn may(&self, app: &Application, role: Role) -> bool {
        [Role::Admins, Role::Users, role].into_iter().any(|held| held.covers(role) && self.has(app, held))
    }
}

impl Catalog {
    /// What is there of a metadata view.
    ///
    /// # Errors
    /// What the query can end in.
    pub async fn look_at_view(&self, view: &Identifier, deadline: Instant) -> Result<Found, Error> {
        match self.is_there(view, deadline).await {
            Ok(true) => Ok(Found::There),
            Ok(false) => Ok(Found::Missing),
            Err(Error::Refused { code, message, permanent: true }) => Ok(Found::Broken(format!("{code}: {message}"))),
            Err(error) => Err(error),
        }
    }

    /// The source tables that have a configuration row; none where there is no configuration table.
    ///
    /// # Errors
    /// What the query can end in.
    pub async fn configured(&self, deadline: Instant) -> Result<Vec<Configured>, Error> {
        let file = include_str!("../../../kql/setup/configured.kql");
        let answer = match self.query(&fill(file, &[("config_table", &self.names().config_table)]), deadline).await {
            Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let (source, destination) = (answer.column("SourceTable")?, answer.column("DestinationTable")?);
        let active = answer.column("IsActive")?;
        let read = |row: Row<'_>| {
            Ok(Configured {
                source_table: row.text(source)?.to_owned(),
                destination_table: row.text(destination)?.to_owned(),
                is_active: row.bool(active)? == Some(true),
            })
        };
        answer.rows().map(read).collect()
    }

    /// Who has which role in the database; `None` where the service does not show that.
    ///
    /// # Errors
    /// What the request can end in; to be denied it is `None`.
    pub async fn principals(&self, deadline: Instant) -> Result<Option<Principals>, Error> {
        let shown = self.look(&remedy::see_roles(self.client.database()), deadline).await;
        let table = match shown {
            Ok(Looked::Shown(table)) => table,
            Ok(Looked::Unseen(_)) | Err(Error::Denied { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (Some(held), Some(principal)) = (table.find("Role"), table.find("PrincipalFQN")) else { return Ok(None) };
        let read = |row: Row<'_>| Ok((row.text(held)?.to_owned(), row.text(principal)?.to_owned()));
        table.rows().map(read).collect::<Result<_, Error>>().map(|held| Some(Principals(held)))
    }

    /// The command that grants an app a role in the database.
    pub fn grant(&self, role: Role, app: &Application) -> String {
        remedy::grant(self.client.database(), role, app)
    }

    /// The commands that make the metadata tables, in the order of [`Catalog::metadata_tables`].
    pub fn table_commands(&self) -> [String; 4] {
        self.metadata_tables().map(|(table, file)| fill(file, &[("table", table)]))
    }

    /// The columns of a configuration table that the app makes, with their types, in order.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: never, as its command is this app's own.
    pub fn own_config_columns(&self) -> Result<Vec<(String, String)>, Error> {
        let [(table, file), ..] = self.metadata_tables();
        super::inspect::declared(&fill(file, &[("table", table)]))
    }

    /// The command that adds configuration rows where their source tables have none. `columns` are those of the table: an
    /// append goes by position, and a table may have gained some, which stay empty.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a column whose name or type is unknown.
    pub fn new_rows(&self, rows: &[ConfigRow], columns: &[(String, String)]) -> Result<String, Error> {
        let unknown =
            |name: &str, what: &str| Error::corrupt(format!("the configuration table's column `{name}`: {what}"));
        let mut declared = Vec::new();
        for (name, ty) in columns {
            let written = Identifier::new(name).map_err(|error| unknown(name, &error.to_string()))?;
            let ty = Type::parse(ty).ok_or_else(|| unknown(name, &format!("its type `{ty}` is not known")))?;
            declared.push((written, ty));
        }
        let header = Listed(declared.iter().map(|(name, ty)| format!("{name}:{}", ty.word())).collect());
        let line = |row: &ConfigRow| {
            let cells = declared.iter().map(|(name, ty)| cell(row, name.as_str(), *ty));
            format!("    {}", Listed(cells.collect()))
        };
        let rows = rows.iter().map(line).collect::<Vec<_>>().join(",\n");
        let file = include_str!("../../../kql/setup/new_rows.kql");
        Ok(fill(file, &[("config_table", &self.names().config_table), ("columns", &header), ("rows", &rows)]))
    }

    /// Carries out a command that changes nothing more when it is repeated; gives the rows that it appended, where it says so.
    ///
    /// # Errors
    /// What the request can end in.
    pub async fn carry_out(&self, csl: &str, deadline: Instant) -> Result<Option<u64>, Error> {
        let answer = self.change(csl, deadline).await?;
        let Some(at) = answer.find("RowCount") else { return Ok(None) };
        let counts: Result<Vec<_>, Error> = answer.rows().map(|row| row.long(at)).collect();
        Ok(Some(counts?.into_iter().flatten().sum::<i64>().unsigned_abs()))
    }
}

/// What a row has in a column: nothing in one that another app or a person has added.
fn cell(row: &ConfigRow, column: &str, ty: Type) -> String {
    let text = |text: &String| Literal::Text(text.clone());
    let known = match column {
        "SourceTable" => text(&row.source_table),
        "DestinationFolder" => text(&row.destination_folder),
        "DestinationTable" => text(&row.destination_table),
        "WatermarkColumn" => text(&row.watermark_column),
        "LoadType" => text(&row.load_type),
        "LastRefreshedTime" => Literal::Datetime(row.last_refreshed),
        "HighWatermark" => Literal::Datetime(row.high_watermark),
        "IsActive" => Literal::Bool(row.is_active),
        _ if ty == Type::String => Literal::Text(String::new()),
        _ => return format!("{}(null)", ty.word()),
    };
    known.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_somebody_added_stay_empty() {
        let row = ConfigRow {
            source_table: "T\"1".into(),
            destination_folder: String::new(),
            destination_table: String::new(),
            watermark_column: String::new(),
            last_refreshed: None,
            high_watermark: None,
            load_type: String::new(),
            is_active: Some(true),
            problem: None,
        };
        let cells = [
            ("SourceTable", Type::String, r#""T\"1""#),
            ("HighWatermark", Type::Datetime, "datetime(null)"),
            ("IsActive", Type::Bool, "bool(true)"),
            ("Owner", Type::String, "\"\""),
            ("Added", Type::Guid, "guid(null)"),
        ];
        for (column, ty, written) in cells {
            assert_eq!(cell(&row, column, ty), written, "{column}");
        }
    }
}
