//! The metadata tables and views: made where they are missing, never altered, and the configuration read from them.

use super::super::table::Row;
use super::super::template::fill;
use super::{Catalog, Error, Table};
use crate::kql::Identifier;
use crate::timestamp::Timestamp;
use tokio::time::Instant;

/// A row of the configuration view, as it is: nothing in it has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRow {
    /// The table of the source.
    pub source_table: String,
    /// The folder of the destination.
    pub destination_folder: String,
    /// The table to copy to.
    pub destination_table: String,
    /// The datetime column of the destination, or `Watermark_IngestionTime`.
    pub watermark_column: String,
    /// When the table was refreshed last.
    pub last_refreshed: Option<Timestamp>,
    /// Everything up to and including this has been copied.
    pub high_watermark: Option<Timestamp>,
    /// `Full`, `Incremental` or `Snapshot`.
    pub load_type: String,
    /// Whether the table is to be copied; a row that does not say so in a way that can be read is.
    pub is_active: Option<bool>,
    /// The first cell that cannot be read, if there is one.
    pub problem: Option<String>,
}

/// What a table is made of.
pub(super) struct Schema {
    /// Its columns in order with their types.
    pub columns: Vec<(String, String)>,
    /// Its folder, where the service tells.
    pub folder: Option<String>,
}

impl Catalog {
    /// Makes the metadata tables and views that are missing. What is there stays as it is, the Python app's included:
    /// the columns of the tables are exactly its own.
    ///
    /// # Errors
    /// [`Error::Denied`] names the role that is missing, among others.
    pub async fn ensure_metadata(&self, deadline: Instant) -> Result<(), Error> {
        let names = self.names();
        for (table, file) in [
            (&names.config_table, include_str!("../../../kql/metadata/config_table.kql")),
            (&names.audit_table, include_str!("../../../kql/metadata/audit_table.kql")),
            (&names.chunk_audit_table, include_str!("../../../kql/metadata/chunk_audit_table.kql")),
            (&names.ledger_table, include_str!("../../../kql/metadata/ledger_table.kql")),
        ] {
            self.ensure_table(table, &fill(file, &[("table", table)]), deadline).await?;
        }
        for (view, table, file) in [
            (&names.config_view, &names.config_table, include_str!("../../../kql/metadata/config_view.kql")),
            (
                &names.chunk_audit_view,
                &names.chunk_audit_table,
                include_str!("../../../kql/metadata/chunk_audit_view.kql"),
            ),
        ] {
            match self.is_there(view, deadline).await {
                Ok(true) => {}
                Ok(false) => drop(self.change(&fill(file, &[("view", view), ("table", table)]), deadline).await?),
                // Somebody's own view that does not run is there all the same.
                Err(Error::Refused { code, message, permanent: true }) => {
                    tracing::warn!(%view, %code, reason = %message, "a view is refused, and left as it is");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The rows of the configuration view. Where it is missing, the metadata tables and views are made first.
    ///
    /// # Errors
    /// What the query can end in; [`Error::Corrupt`] for a view without the expected columns.
    pub async fn read_config(&self, deadline: Instant) -> Result<Vec<ConfigRow>, Error> {
        config_rows(&self.or_made(|| self.config_answer(deadline), deadline).await?)
    }

    /// The answer of the configuration view. Where it is missing, nothing is made.
    ///
    /// # Errors
    /// What the query can end in.
    pub async fn config_answer(&self, deadline: Instant) -> Result<Table, Error> {
        let file = include_str!("../../../kql/metadata/config.kql");
        self.uncached(file, &[("view", &self.names().config_view)], deadline).await
    }

    /// Runs `request`; if it misses a table or view, makes the metadata and runs it once more.
    pub(super) async fn or_made<T, Fut>(&self, request: impl Fn() -> Fut, deadline: Instant) -> Result<T, Error>
    where
        Fut: Future<Output = Result<T, Error>>,
    {
        match request().await {
            Err(Error::NotFound { what }) => {
                tracing::info!(missing = %what, "making the metadata tables and views");
                self.ensure_metadata(deadline).await?;
                request().await
            }
            other => other,
        }
    }

    /// Sends the `.create-merge` of a metadata table, which changes nothing where the table has these columns.
    async fn ensure_table(&self, table: &Identifier, create: &str, deadline: Instant) -> Result<(), Error> {
        let refused = match self.change(create, deadline).await {
            Err(error @ (Error::Denied { .. } | Error::Refused { .. })) => error,
            other => return other.map(drop),
        };
        // A table that another identity made may be used without being ours to merge into.
        match self.is_there(table, deadline).await {
            Ok(true) => {
                tracing::debug!(name = %table, %refused, "a metadata table is taken as it is");
                Ok(())
            }
            _ => Err(refused),
        }
    }

    /// Whether a query finds the table or view.
    ///
    /// # Errors
    /// What the query can end in, but for [`Error::NotFound`].
    pub async fn is_there(&self, entity: &Identifier, deadline: Instant) -> Result<bool, Error> {
        let csl = fill(include_str!("../../../kql/metadata/probe.kql"), &[("entity", entity)]);
        match self.query(&csl, deadline).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The schema of `table`, or `None` if it is not there.
    pub(super) async fn schema(&self, table: &Identifier, deadline: Instant) -> Result<Option<Schema>, Error> {
        let csl = fill(include_str!("../../../kql/destination/show_schema.kql"), &[("table", table)]);
        let answer = match self.show(&csl, deadline).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let (at, folder) = (answer.column("Schema")?, answer.find("Folder"));
        let read = |row: Row<'_>| {
            let folder = folder.map(|at| row.text(at).map(str::to_owned)).transpose()?;
            Ok(Schema { columns: parse_schema(row.text(at)?)?, folder })
        };
        answer.rows().next().map(read).transpose()
    }
}

/// The rows of the configuration view's answer.
///
/// # Errors
/// [`Error::Corrupt`] for an answer without the expected columns. A cell that cannot be read is the problem of its row alone.
pub fn config_rows(table: &Table) -> Result<Vec<ConfigRow>, Error> {
    let column = |name| table.column(name);
    let (source, folder, destination) =
        (column("SourceTable")?, column("DestinationFolder")?, column("DestinationTable")?);
    let (watermark, refreshed, high) =
        (column("WatermarkColumn")?, column("LastRefreshedTime")?, column("HighWatermark")?);
    let (load_type, active) = (column("LoadType")?, column("IsActive")?);
    let read = |row: Row<'_>| {
        let mut problem = None;
        let mut text = |at| read_or(&mut problem, row.text(at)).unwrap_or_default().to_owned();
        let (source_table, destination_folder) = (text(source), text(folder));
        let (destination_table, watermark_column, load_type) = (text(destination), text(watermark), text(load_type));
        // The Python app's view formats this one as text.
        let high_watermark = read_or(&mut problem, row.datetime(high)).flatten();
        let last_refreshed = read_or(&mut problem, row.datetime(refreshed)).flatten();
        let is_active = read_or(&mut problem, row.bool(active)).unwrap_or(Some(true));
        ConfigRow {
            source_table,
            destination_folder,
            destination_table,
            watermark_column,
            last_refreshed,
            high_watermark,
            load_type,
            is_active,
            problem,
        }
    };
    Ok(table.rows().map(read).collect())
}

/// What is in a cell; a cell that cannot be read is the problem, if it is the first.
fn read_or<T>(problem: &mut Option<String>, cell: Result<T, Error>) -> Option<T> {
    match cell {
        Ok(value) => Some(value),
        Err(Error::Corrupt { message }) => {
            problem.get_or_insert(message);
            None
        }
        Err(error) => {
            problem.get_or_insert(error.to_string());
            None
        }
    }
}

/// Reads `Name:type,['Other name']:type`.
pub(super) fn parse_schema(text: &str) -> Result<Vec<(String, String)>, Error> {
    let unreadable =
        || Error::corrupt(format!("the schema `{}` cannot be read", text.chars().take(200).collect::<String>()));
    let mut columns = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let quoted = [("['", "']"), ("[\"", "\"]")]
            .iter()
            .find_map(|(open, close)| rest.strip_prefix(open).and_then(|rest| rest.split_once(close)));
        let (name, after) = match quoted {
            Some((name, after)) => (name, after.strip_prefix(':').ok_or_else(unreadable)?),
            None => rest.split_once(':').ok_or_else(unreadable)?,
        };
        let (ty, after) = after.split_once(',').unwrap_or((after, ""));
        columns.push((name.trim().to_owned(), ty.trim().to_owned()));
        rest = after.trim_start();
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_with_quoted_names_are_read() {
        let columns = parse_schema("Timestamp:datetime,['Log Level']:string, [\"a:b\"]:dynamic").unwrap();
        let columns: Vec<_> = columns.iter().map(|(name, ty)| (name.as_str(), ty.as_str())).collect();
        assert_eq!(columns, [("Timestamp", "datetime"), ("Log Level", "string"), ("a:b", "dynamic")]);
        assert!(parse_schema("nonsense").is_err());
        assert_eq!(parse_schema("").unwrap(), []);
    }
}
