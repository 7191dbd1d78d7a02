//! Soft delete: `.delete table T records <| T | where …`. The rows go, their extents and the tags of these stay
//! (dataexplorer-docs `concepts/data-soft-delete`). With `whatif=true` they stay, and how many would go is told.

use super::cursor::Cursor;
use super::{Command, Error, ResultTable, evaluate, texts};
use crate::kql::{Catalog, Column, Table, Type, Value};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// The column by which a row that a predicate gives is found again.
const NUMBER: &str = "_RowNumber";

/// What follows `.delete table T records`.
pub(super) fn parse<'a>(cursor: &mut Cursor<'a>, name: String) -> Result<Command<'a>, Error> {
    let properties = cursor.properties(&["whatif"])?;
    let preview = properties.get("whatif").is_some_and(|whatif| whatif.eq_ignore_ascii_case("true"));
    let query = cursor.input()?;
    Ok(Command::change("TableDeleteRecords", move |context| {
        let mut content = context.database.write();
        let entry = content.tables.get_mut(&name).ok_or_else(|| Error::not_found("Table", &name))?;
        let table = Numbered::new(entry.data.snapshot());
        let now = Catalog::now(&**context.database);
        let catalog: Arc<dyn Catalog> = Arc::new(Alone { name: name.clone(), table: Arc::new(table), now });
        let found = evaluate(&format!("{query}\n| project {NUMBER}"), &catalog)?;
        let gone: BTreeSet<u64> = found
            .rows
            .iter()
            .filter_map(|row| match row.first() {
                Some(Value::Long(number)) => u64::try_from(*number).ok(),
                _ => None,
            })
            .collect();
        if preview {
            let count = Value::Long(i64::try_from(gone.len()).unwrap_or(i64::MAX));
            return Ok(ResultTable::new(&[("RecordsMatchPredicate", Type::Long)], vec![vec![count]]));
        }
        entry.data.delete(&gone);
        let columns = [("TableName", Type::String), ("RecordsDeleted", Type::String)];
        Ok(ResultTable::new(&columns, vec![texts([&name, &gone.len().to_string()])]))
    }))
}

/// A table whose rows know their number.
struct Numbered {
    table: Arc<dyn Table>,
    columns: Vec<Column>,
}

impl Numbered {
    fn new(table: Arc<dyn Table>) -> Self {
        let number = Column { name: NUMBER.to_owned(), ty: Type::Long };
        let columns = table.columns().iter().cloned().chain([number]).collect();
        Self { table, columns }
    }
}

impl Table for Numbered {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn row_count(&self) -> u64 {
        self.table.row_count()
    }

    fn value(&self, row: u64, column: usize) -> Value {
        if column + 1 == self.columns.len() {
            return i64::try_from(row).map_or(Value::Null, Value::Long);
        }
        self.table.value(row, column)
    }

    fn is_null(&self, row: u64, column: usize) -> bool {
        column + 1 != self.columns.len() && self.table.is_null(row, column)
    }

    fn ingestion_time(&self, row: u64) -> Option<i64> {
        self.table.ingestion_time(row)
    }

    fn arrived_within(&self, after: i64, until: i64) -> Vec<Range<u64>> {
        self.table.arrived_within(after, until)
    }
}

/// A predicate sees the table that it is about and nothing else.
struct Alone {
    name: String,
    table: Arc<dyn Table>,
    now: i64,
}

impl Catalog for Alone {
    fn table(&self, name: &str) -> Option<Arc<dyn Table>> {
        (name == self.name).then(|| self.table.clone())
    }

    fn function(&self, _name: &str) -> Option<String> {
        None
    }

    fn now(&self) -> i64 {
        self.now
    }
}
