//! The documented tables and their columns.

use crate::kql::{Column, Type};
use serde::Deserialize;
use std::collections::BTreeMap;

const TABLES: &str = include_str!("../../data/defender-schemas.json");

/// A table as the product's documentation lists it.
#[derive(Debug, Clone)]
pub struct Schema {
    /// The columns in order.
    pub columns: Vec<Column>,
    /// Whether `ingestion_time()` has a value by default. Entity, posture and knowledge-base snapshots have none.
    pub has_arrival_time: bool,
}

/// The embedded schema file is damaged.
#[derive(Debug, thiserror::Error)]
#[error("the embedded table schemas cannot be read: {0}; restore data/defender-schemas.json")]
pub struct Damaged(String);

#[derive(Deserialize)]
struct Described {
    timestamp_column: Option<String>,
    columns: Vec<DescribedColumn>,
}

#[derive(Deserialize)]
struct DescribedColumn {
    name: String,
    #[serde(rename = "type")]
    ty: String,
}

/// All documented tables by name.
///
/// # Errors
/// [`Damaged`] if the embedded file does not parse.
pub fn documented() -> Result<BTreeMap<String, Schema>, Damaged> {
    let described: BTreeMap<String, Described> =
        serde_json::from_str(TABLES).map_err(|error| Damaged(error.to_string()))?;
    described.into_iter().map(|(name, table)| Ok((name.clone(), schema(&name, table)?))).collect()
}

fn schema(name: &str, table: Described) -> Result<Schema, Damaged> {
    let columns = table
        .columns
        .into_iter()
        .map(|column| {
            let ty = Type::from_name(&column.ty)
                .ok_or_else(|| Damaged(format!("{name}.{} has the unknown type `{}`", column.name, column.ty)))?;
            Ok(Column { name: column.name, ty })
        })
        .collect::<Result<_, _>>()?;
    let snapshot = ["DeviceTvm", "DeviceBaseline", "ExposureGraph"].iter().any(|prefix| name.starts_with(prefix));
    Ok(Schema { columns, has_arrival_time: table.timestamp_column.is_some() && !snapshot })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_documented_tables_are_there() {
        let tables = documented().unwrap();
        assert_eq!(tables.len(), 64);
        let process = &tables["DeviceProcessEvents"];
        assert_eq!(process.columns.len(), 69);
        assert!(process.columns.iter().any(|column| column.name == "LogonId"));
        assert!(process.columns.iter().any(|column| column.name == "LogonID"));
        assert!(process.has_arrival_time);
        assert!(!tables["DeviceTvmSoftwareVulnerabilities"].has_arrival_time);
        assert!(!tables["DeviceTvmInfoGathering"].has_arrival_time);
    }
}
