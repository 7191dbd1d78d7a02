//! The function by which readers get the snapshot that is published, of a table that holds one after the other.

use super::super::template::fill;
use super::{Catalog, Destination, Error};
use crate::kql::{Identifier, Text};
use tokio::time::Instant;

/// What its name has after that of the table.
const SUFFIX: &str = "_latest";

impl Catalog {
    /// Makes the function `<Table>_latest` of a destination that is copied from `source`, unless there is one: it stays as it
    /// is then, as the metadata views do.
    ///
    /// # Errors
    /// [`Error::Denied`] names the role that is missing, among others.
    pub async fn ensure_latest(&self, source: &str, wanted: &Destination, deadline: Instant) -> Result<(), Error> {
        let table = &wanted.table;
        let function = Identifier::new(&format!("{}{SUFFIX}", table.as_str()));
        let function = function.map_err(|error| Error::invalid(error.to_string()))?;
        let file = include_str!("../../../kql/destination/latest.kql");
        let values: [(&str, &(dyn std::fmt::Display + Sync)); 7] = [
            ("function", &function),
            ("folder", &Text(&wanted.folder)),
            ("table", table),
            ("time", &wanted.watermark_column),
            ("config_table", &self.names().config_table),
            ("source", &Text(source)),
            ("destination", &Text(table.as_str())),
        ];
        self.change(&fill(file, &values), deadline).await.map(drop)
    }
}
