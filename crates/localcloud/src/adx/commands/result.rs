//! What a command or an in-process query answers: one table.

use crate::kql::{Column, Type, Value};

/// Columns and rows in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultTable {
    /// The columns in order.
    pub columns: Vec<Column>,
    /// The rows, as wide as the columns.
    pub rows: Vec<Vec<Value>>,
}

impl ResultTable {
    /// A table of `rows` that are as wide as `columns`.
    pub fn new(columns: &[(&str, Type)], rows: Vec<Vec<Value>>) -> Self {
        let columns = columns.iter().map(|(name, ty)| Column { name: (*name).to_owned(), ty: *ty }).collect();
        Self { columns, rows }
    }

    /// Where the column of that name is.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The rows as JSON values, as an answer of the service would hold them.
    pub fn json_rows(&self) -> Vec<Vec<serde_json::Value>> {
        self.rows.iter().map(|row| row.iter().map(crate::kql::json::to_serde).collect()).collect()
    }

    /// The values of one column as text.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let Some(at) = self.column(name) else { return Vec::new() };
        self.rows.iter().filter_map(|row| row.get(at)).map(|value| value.to_text().into_owned()).collect()
    }
}
