//! Makes sure that a destination can take rows and can prove it: made where it is missing, extended where that breaks
//! nothing, refused with the reason otherwise.

use super::super::ingestion::{ChunkIdMode, json_path};
use super::super::table::Type;
use super::super::template::{Listed, fill};
use super::metadata::Schema;
use super::policies::{Target, unless_denied};
use super::{Catalog, Error, Hidden, Policies};
use crate::kql::{Identifier, SingleQuoted, Text};
use crate::remedy;
use serde_json::{Value, json};
use std::fmt::Display;
use tokio::time::Instant;

/// A destination as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The table.
    pub table: Identifier,
    /// Its folder, if it is made now.
    pub folder: String,
    /// Its datetime column.
    pub watermark_column: Identifier,
    /// Whether each ingestion gives that column its value, which rows do not hold.
    pub stamped: bool,
    /// How rows learn the id of their window.
    pub chunk_id: ChunkIdMode,
    /// Whether the ledger says that this app made the table.
    pub ours: bool,
    /// Whether the ledger has proof of rows in it: then it is not made anew.
    pub must_be_there: bool,
    /// What settings ask of it.
    pub policies: Policies,
}

/// A destination that can take rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// What was found.
    pub readiness: Readiness,
    /// What a person is to know of its policies, with commands.
    pub warnings: Vec<String>,
    /// The bytes of the largest cell that `RawData` takes, where a policy says.
    pub largest_cell: Option<u64>,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// The table was made now.
    Created,
    /// The table was there and has gained columns.
    Extended,
    /// The table was there as it has to be.
    Ready,
}

/// Why a destination cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// Adding a column could break something of the user's; nothing was altered.
    #[error(
        "table `{table}` lacks the column `{column}`, and adding it could break {by}: name the columns there, or set CHUNK_ID=row, which keeps the id inside the row and alters no table"
    )]
    Blocked {
        /// The table.
        table: String,
        /// The missing column.
        column: String,
        /// What could break.
        by: String,
    },
    /// A column has another type, or is missing where nothing may be altered.
    #[error(
        "table `{table}` has the column `{column}` as `{found}` where `{wanted}` is needed; rename that column or choose another table in the configuration"
    )]
    TypeConflict {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Its type, or `missing`.
        found: String,
        /// The type needed.
        wanted: &'static str,
    },
    /// Rows that land could not be counted.
    #[error(transparent)]
    Hidden(#[from] Hidden),
    /// Nothing is stored.
    #[error(
        "table `{table}` has a retention of zero, its own or that of its database: nothing that lands there stays; raise it with `{remedy}`, or set TABLE_RETENTION"
    )]
    ZeroRetention {
        /// The table.
        table: String,
        /// The command that raises it.
        remedy: String,
    },
    /// The ledger has proof of rows in a table that is not there; nothing was made.
    #[error("table `{table}` is not there any more")]
    Gone {
        /// The table.
        table: String,
    },
    /// A request failed.
    #[error(transparent)]
    Adx(#[from] Error),
}

impl Destination {
    fn columns(&self) -> Vec<(Identifier, &'static str)> {
        let named = |name| Identifier::new(name).ok();
        let mut columns = vec![(self.watermark_column.clone(), "datetime")];
        columns.extend(named("RawData").map(|name| (name, "dynamic")));
        if self.chunk_id != ChunkIdMode::InRow {
            columns.extend(named("ChunkId").map(|name| (name, "string")));
        }
        columns
    }
}

/// Columns that a destination lacks, with their types.
pub type Missing = Vec<(Identifier, &'static str)>;

fn declared<T: Display>(columns: &[(Identifier, T)]) -> Listed<String> {
    Listed(columns.iter().map(|(name, ty)| format!("{name}:{ty}")).collect())
}

/// The command that gives a table columns, at its end.
pub fn add_columns<T: Display>(table: &Identifier, columns: &[(Identifier, T)]) -> String {
    let file = include_str!("../../../kql/destination/add_columns.kql");
    fill(file, &[("table", table), ("columns", &declared(columns))])
}

impl Catalog {
    /// Makes the destination, or brings it to what is needed, if that is safe.
    ///
    /// # Errors
    /// [`DestinationError`]; nothing was altered unless it is [`DestinationError::Adx`], or the table was made just now.
    pub async fn ensure_destination(&self, wanted: &Destination, deadline: Instant) -> Result<Ready, DestinationError> {
        let table = &wanted.table;
        let columns = wanted.columns();
        let Some(schema) = self.found(wanted, &columns, deadline).await? else {
            return self.make_destination(wanted, &columns, deadline).await;
        };
        let mut told = Vec::new();
        let (missing, stays) = self.examine(wanted, &columns, &schema, &mut told, deadline).await?;
        if !missing.is_empty() {
            self.change(&add_columns(table, &missing), deadline).await?;
        }
        // Perhaps a run of this app ended before it noted that the table is its own.
        if wanted.ours || is_as_made(wanted, &columns, &schema.columns) {
            // Ingestion does not need the mapping, so where it may not be seen or made nothing is lost.
            match self.restore_mapping(wanted, deadline).await {
                Err(error @ Error::Denied { .. }) if wanted.ours => told.push(format!(
                    "the mapping RawDataMap of {}, which other tools may ingest by, could not be looked at or made ({error})",
                    table.as_str()
                )),
                Err(Error::Denied { message }) => {
                    tracing::debug!(destination = %table, reason = %message, "the mapping is left as it is")
                }
                other => other?,
            }
        }
        let readiness = if missing.is_empty() { Readiness::Ready } else { Readiness::Extended };
        let mut ready = self.with_policies(wanted, readiness, wanted.ours, schema.folder.as_deref(), deadline).await?;
        ready.warnings.extend(told);
        if !stays {
            self.refuse_zero_retention(table, deadline).await?;
        }
        Ok(ready)
    }

    /// Whether the destination can take rows, and the columns that it lacks and may be given; `None` where it is not there and may
    /// be made. Looks only, and tells of what may not be looked at.
    ///
    /// # Errors
    /// [`DestinationError`], for what [`Catalog::ensure_destination`] would refuse.
    pub async fn look_at_destination(
        &self,
        wanted: &Destination,
        told: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<Option<Missing>, DestinationError> {
        let columns = wanted.columns();
        let Some(schema) = self.found(wanted, &columns, deadline).await? else {
            self.refuse_zero_retention_of_all(wanted, told, deadline).await?;
            return Ok(None);
        };
        self.examine(wanted, &columns, &schema, told, deadline).await.map(|(missing, _)| Some(missing))
    }

    /// The schema of a destination; `None` where it is not there and may be made.
    async fn found(
        &self,
        wanted: &Destination,
        columns: &[(Identifier, &'static str)],
        deadline: Instant,
    ) -> Result<Option<Schema>, DestinationError> {
        refuse_same_name(wanted, columns)?;
        match self.schema(&wanted.table, deadline).await? {
            None if wanted.must_be_there => Err(DestinationError::Gone { table: wanted.table.as_str().to_owned() }),
            schema => Ok(schema),
        }
    }

    /// What a destination that is there lacks, and whether its rows stay.
    async fn examine(
        &self,
        wanted: &Destination,
        columns: &[(Identifier, &'static str)],
        schema: &Schema,
        told: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<(Missing, bool), DestinationError> {
        let table = &wanted.table;
        self.refuse_hidden(table, told, deadline).await?;
        let stays = self.retention(table, told, deadline).await? != Some(0);
        if !stays && wanted.policies.retention.is_none() {
            return Err(no_retention(table, remedy::keep_rows(table.as_str())));
        }
        let missing = missing_columns(wanted, columns, &schema.columns)?;
        if !missing.is_empty()
            && let Some(by) = self.blocker(table, wanted.ours, deadline).await?
        {
            let column = missing[0].0.as_str().to_owned();
            return Err(DestinationError::Blocked { table: table.as_str().to_owned(), column, by });
        }
        Ok((missing, stays))
    }

    async fn make_destination(
        &self,
        wanted: &Destination,
        columns: &[(Identifier, &'static str)],
        deadline: Instant,
    ) -> Result<Ready, DestinationError> {
        let table = &wanted.table;
        let mut told = Vec::new();
        self.refuse_zero_retention_of_all(wanted, &mut told, deadline).await?;
        let folder = wanted.policies.folder.as_deref().unwrap_or(&wanted.folder);
        let file = include_str!("../../../kql/destination/create.kql");
        let values: [(&str, &(dyn Display + Sync)); 3] =
            [("table", table), ("columns", &declared(columns)), ("folder", &Text(folder))];
        self.change(&fill(file, &values), deadline).await?;
        self.make_mapping(wanted, deadline).await?;
        // Whoever else may have made it at the same instant, with policies.
        self.refuse_hidden(table, &mut told, deadline).await?;
        let mut ready = self.with_policies(wanted, Readiness::Created, true, Some(folder), deadline).await?;
        ready.warnings.extend(told);
        self.refuse_zero_retention(table, deadline).await?;
        Ok(ready)
    }

    async fn with_policies(
        &self,
        wanted: &Destination,
        readiness: Readiness,
        ours: bool,
        folder: Option<&str>,
        deadline: Instant,
    ) -> Result<Ready, Error> {
        let target = Target { table: &wanted.table, asked: &wanted.policies, ours, folder };
        let mut warnings = self.apply(&target, deadline).await?;
        let largest_cell = self.largest_cell(&wanted.table, &mut warnings, deadline).await?;
        for warning in &warnings {
            tracing::warn!(table = %wanted.table, warning, "a policy of a destination");
        }
        Ok(Ready { readiness, warnings, largest_cell })
    }

    /// A look that is denied says nothing, and is told of: rows that are hidden make a count too low, which proves none of them.
    async fn refuse_hidden(
        &self,
        table: &Identifier,
        told: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<(), DestinationError> {
        let hidden = unless_denied(self.hides_rows(table, deadline).await, told, || {
            format!(
                "whether {} hides rows from the counts that prove what has landed could not be looked at",
                table.as_str()
            )
        })?;
        hidden.map_or(Ok(()), |hidden| Err(hidden.into()))
    }

    async fn refuse_zero_retention(&self, table: &Identifier, deadline: Instant) -> Result<(), DestinationError> {
        match self.retention(table, &mut Vec::new(), deadline).await? {
            Some(0) => Err(no_retention(table, remedy::keep_rows(table.as_str()))),
            _ => Ok(()),
        }
    }

    /// Refuses a table that would be made with the database's own retention of zero.
    async fn refuse_zero_retention_of_all(
        &self,
        wanted: &Destination,
        told: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<(), DestinationError> {
        if wanted.policies.retention.is_none() && self.database_retention(told, deadline).await? == Some(0) {
            return Err(no_retention(&wanted.table, remedy::keep_rows_of_all(self.client.database())));
        }
        Ok(())
    }

    /// Makes the mapping again if a crash came between the table and its mapping. Where the service cannot show
    /// mappings it is made, which is harmless where it is there.
    async fn restore_mapping(&self, wanted: &Destination, deadline: Instant) -> Result<(), Error> {
        match self.has_mapping(&wanted.table, deadline).await? {
            Some(true) => Ok(()),
            Some(false) | None => self.make_mapping(wanted, deadline).await,
        }
    }

    /// Whether a table has the mapping that other tools may ingest by; `None` where the service does not show mappings.
    ///
    /// # Errors
    /// What the request can end in.
    pub async fn has_mapping(&self, table: &Identifier, deadline: Instant) -> Result<Option<bool>, Error> {
        let file = include_str!("../../../kql/destination/show_mappings.kql");
        let Some(mappings) = self.show_if_known(&fill(file, &[("table", table)]), deadline).await? else {
            return Ok(None);
        };
        let name = mappings.column("Name")?;
        Ok(Some(mappings.rows().any(|row| row.text(name).is_ok_and(|name| name == "RawDataMap"))))
    }

    async fn make_mapping(&self, wanted: &Destination, deadline: Instant) -> Result<(), Error> {
        let watermark = &wanted.watermark_column;
        let mut mapping = vec![json!({"column": "RawData", "Properties": {"Path": "$"}})];
        if !wanted.stamped {
            mapping.insert(0, json!({"column": watermark.as_str(), "Properties": {"Path": json_path(watermark)}}));
        }
        let mapping = Value::Array(mapping).to_string();
        let file = include_str!("../../../kql/destination/mapping.kql");
        let csl = fill(file, &[("table", &wanted.table), ("mapping", &SingleQuoted(&mapping))]);
        self.change(&csl, deadline).await.map(drop)
    }
}

fn no_retention(table: &Identifier, remedy: String) -> DestinationError {
    DestinationError::ZeroRetention { table: table.as_str().to_owned(), remedy }
}

/// Whether a table looks like one that this app makes and no other does: with the column of the window's id.
fn is_as_made(wanted: &Destination, columns: &[(Identifier, &'static str)], schema: &[(String, String)]) -> bool {
    wanted.chunk_id != ChunkIdMode::InRow
        && columns.len() == schema.len()
        && columns.iter().zip(schema).all(|((name, _), (held, _))| name.as_str() == held)
}

/// Refuses a watermark column of the name of another.
fn refuse_same_name(wanted: &Destination, columns: &[(Identifier, &'static str)]) -> Result<(), DestinationError> {
    let same = columns.iter().skip(1).find(|(name, _)| *name == wanted.watermark_column);
    same.map_or(Ok(()), |(name, ty)| {
        Err(DestinationError::TypeConflict {
            table: wanted.table.as_str().to_owned(),
            column: name.as_str().to_owned(),
            found: "watermark (datetime)".to_owned(),
            wanted: ty,
        })
    })
}

/// The columns that have to be added.
fn missing_columns(
    wanted: &Destination,
    columns: &[(Identifier, &'static str)],
    schema: &[(String, String)],
) -> Result<Missing, DestinationError> {
    let mut missing = Vec::new();
    for (name, ty) in columns {
        let conflict = |found: &str| DestinationError::TypeConflict {
            table: wanted.table.as_str().to_owned(),
            column: name.as_str().to_owned(),
            found: found.to_owned(),
            wanted: ty,
        };
        match schema.iter().find(|(held, _)| held == name.as_str()) {
            Some((_, found)) if Type::parse(found) == Type::parse(ty) => {}
            Some((_, found)) => return Err(conflict(found)),
            None if wanted.chunk_id == ChunkIdMode::InRow => return Err(conflict("missing")),
            None => missing.push((name.clone(), *ty)),
        }
    }
    Ok(missing)
}
