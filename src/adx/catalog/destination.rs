//! Makes sure that a destination can take rows and can prove it: made where it is missing, extended where that breaks
//! nothing, refused with the reason otherwise.

use super::super::ingestion::{ChunkIdMode, json_path};
use super::super::table::{Type, timespan_ticks};
use super::super::template::{Listed, fill};
use super::{Catalog, Error};
use crate::kql::{Identifier, SingleQuoted, Text};
use crate::remedy;
use serde_json::{Value, json};
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
    /// Row level security hides rows, so that nothing can be proven.
    #[error(
        "table `{table}` has row level security, which hides rows from the counts that prove what has landed; switch it off with `{}` and put it on a function over the table, or choose another table",
        remedy::drop_row_level_security(table)
    )]
    RowLevelSecurity {
        /// The table.
        table: String,
    },
    /// Nothing is stored.
    #[error(
        "table `{table}` has a retention of zero: nothing that lands there stays; raise it with `{}`",
        remedy::keep_rows(table)
    )]
    ZeroRetention {
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

fn declared(columns: &[(Identifier, &'static str)]) -> Listed<String> {
    Listed(columns.iter().map(|(name, ty)| format!("{name}:{ty}")).collect())
}

impl Catalog {
    /// Makes the destination, or brings it to what is needed, if that is safe.
    ///
    /// # Errors
    /// [`DestinationError`]; nothing was altered unless it is [`DestinationError::Adx`].
    pub async fn ensure_destination(
        &self,
        wanted: &Destination,
        deadline: Instant,
    ) -> Result<Readiness, DestinationError> {
        let table = &wanted.table;
        let columns = wanted.columns();
        if let Some((name, ty)) = columns.iter().skip(1).find(|(name, _)| *name == wanted.watermark_column) {
            return Err(DestinationError::TypeConflict {
                table: table.as_str().to_owned(),
                column: name.as_str().to_owned(),
                found: "watermark (datetime)".to_owned(),
                wanted: ty,
            });
        }
        let Some(schema) = self.schema(table, deadline).await? else {
            let (columns, folder) = (declared(&columns), Text(&wanted.folder));
            let file = include_str!("../../../kql/destination/create.kql");
            self.change(&fill(file, &[("table", table), ("columns", &columns), ("folder", &folder)]), deadline).await?;
            self.make_mapping(wanted, deadline).await?;
            return Ok(Readiness::Created);
        };
        self.refuse_what_hides_rows(table, deadline).await?;
        let missing = missing_columns(wanted, &columns, &schema)?;
        if !missing.is_empty() {
            if let Some(by) = self.blocker(table, deadline).await? {
                let column = missing[0].0.as_str().to_owned();
                return Err(DestinationError::Blocked { table: table.as_str().to_owned(), column, by });
            }
            let file = include_str!("../../../kql/destination/add_columns.kql");
            self.change(&fill(file, &[("table", table), ("columns", &declared(&missing))]), deadline).await?;
        }
        if wanted.ours {
            self.restore_mapping(wanted, deadline).await?;
        } else if is_as_made(wanted, &columns, &schema) {
            // Perhaps a run of this app ended before it noted that the table is its own. Ingestion does not need the
            // mapping, so where nothing may be altered nothing is lost.
            match self.restore_mapping(wanted, deadline).await {
                Err(Error::Denied { message }) => tracing::debug!(%table, %message, "the mapping is left as it is"),
                other => other?,
            }
        }
        Ok(if missing.is_empty() { Readiness::Ready } else { Readiness::Extended })
    }

    async fn refuse_what_hides_rows(&self, table: &Identifier, deadline: Instant) -> Result<(), DestinationError> {
        let named = table.as_str().to_owned();
        let file = include_str!("../../../kql/destination/show_row_level_security.kql");
        let security = self.policy(file, table, deadline).await?.unwrap_or_default();
        if security.get("IsEnabled").and_then(Value::as_bool) == Some(true) {
            return Err(DestinationError::RowLevelSecurity { table: named });
        }
        let file = include_str!("../../../kql/destination/show_retention.kql");
        let retention = self.policy(file, table, deadline).await?.unwrap_or_default();
        let period = retention.get("SoftDeletePeriod").and_then(Value::as_str).and_then(timespan_ticks);
        if period == Some(0) {
            return Err(DestinationError::ZeroRetention { table: named });
        }
        Ok(())
    }

    /// The table's own policy, if it has one.
    async fn policy(&self, file: &str, table: &Identifier, deadline: Instant) -> Result<Option<Value>, Error> {
        let Some(answer) = self.show_if_known(&fill(file, &[("table", table)]), deadline).await? else {
            return Ok(None);
        };
        let at = answer.column("Policy")?;
        let Some(row) = answer.rows().next() else { return Ok(None) };
        Ok(row.dynamic(at)?.map(std::borrow::Cow::into_owned))
    }

    /// Makes the mapping again if a crash came between the table and its mapping. Where the service cannot show
    /// mappings it is made, which is harmless where it is there.
    async fn restore_mapping(&self, wanted: &Destination, deadline: Instant) -> Result<(), Error> {
        let file = include_str!("../../../kql/destination/show_mappings.kql");
        let mappings = self.show_if_known(&fill(file, &[("table", &wanted.table)]), deadline).await?;
        if let Some(mappings) = mappings {
            let name = mappings.column("Name")?;
            if mappings.rows().any(|row| row.text(name).is_ok_and(|name| name == "RawDataMap")) {
                return Ok(());
            }
        }
        self.make_mapping(wanted, deadline).await
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

/// Whether a table looks like one that this app makes and no other does: with the column of the window's id.
fn is_as_made(wanted: &Destination, columns: &[(Identifier, &'static str)], schema: &[(String, String)]) -> bool {
    wanted.chunk_id != ChunkIdMode::InRow
        && columns.len() == schema.len()
        && columns.iter().zip(schema).all(|((name, _), (held, _))| name.as_str() == held)
}

/// The columns that have to be added.
fn missing_columns(
    wanted: &Destination,
    columns: &[(Identifier, &'static str)],
    schema: &[(String, String)],
) -> Result<Vec<(Identifier, &'static str)>, DestinationError> {
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
