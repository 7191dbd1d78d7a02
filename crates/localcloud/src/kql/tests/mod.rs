//! The engine through its public door. Expected values come from the dataexplorer-docs pages of the
//! operators and functions.

mod errors;
mod hostile;
mod literals;
mod operators;
mod scalars;
mod speed;
mod tables;

use super::{Catalog, Column, MemoryTable, Table, Type, Value, run};
use std::collections::BTreeMap;
use std::sync::Arc;

/// 2026-04-14T07:00:00Z.
pub(super) const NOW: i64 = 639_117_468_000_000_000;

#[derive(Default)]
pub(super) struct TestCatalog {
    pub tables: BTreeMap<String, Arc<dyn Table>>,
    pub functions: BTreeMap<String, String>,
}

impl Catalog for TestCatalog {
    fn table(&self, name: &str) -> Option<Arc<dyn Table>> {
        self.tables.get(name).cloned()
    }

    fn function(&self, name: &str) -> Option<String> {
        self.functions.get(name).cloned()
    }

    fn now(&self) -> i64 {
        NOW
    }

    fn table_names(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }
}

/// `Events(Id: long, Name: string, At: datetime)` with three rows that arrived 1, 2 and 3 hours before now,
/// `EventsMore` with one row, and some functions.
pub(super) fn catalog() -> Arc<dyn Catalog> {
    let column = |name: &str, ty| Column { name: name.to_owned(), ty };
    let columns = vec![column("Id", Type::Long), column("Name", Type::String), column("At", Type::Datetime)];
    let hour = super::time::HOUR;
    let row = |id: i64, name: &str, at: Option<i64>| {
        vec![Value::Long(id), Value::text(name), at.map_or(Value::Null, Value::Datetime)]
    };
    let rows = vec![row(1, "alpha", Some(NOW - hour)), row(2, "Beta", Some(NOW - 2 * hour)), row(3, "", None)];
    let events =
        MemoryTable::new(columns.clone(), rows).with_arrivals(vec![NOW - hour, NOW - 2 * hour, NOW - 3 * hour]);
    let more = MemoryTable::new(columns, vec![row(9, "more", None)]);
    let mut catalog = TestCatalog::default();
    catalog.tables.insert("Events".to_owned(), Arc::new(events));
    catalog.tables.insert("EventsMore".to_owned(), Arc::new(more));
    for (name, body) in [
        ("Recent", "{ Events | where Id < 3 }"),
        ("Answer", "42"),
        ("Endless", "Endless | take 1"),
        ("Circle", "Circle()"),
        ("Broken", "Events | where Missing == 1"),
    ] {
        catalog.functions.insert(name.to_owned(), body.to_owned());
    }
    Arc::new(catalog)
}

/// The answer as its column names and the rows' JSON arrays.
pub(super) fn answer(query: &str) -> (Vec<String>, Vec<String>) {
    let answer = run(query, &catalog()).unwrap_or_else(|error| panic!("{query}: {error}"));
    let names = answer.columns.iter().map(|column| column.name.clone()).collect();
    let rows = answer.rows.map(|row| {
        let row = row.unwrap_or_else(|error| panic!("{query}: {error}"));
        let cells: Vec<String> = row.iter().map(super::json::to_text).collect();
        cells.join(",")
    });
    (names, rows.collect())
}

/// The rows of the answer, one line each.
pub(super) fn rows(query: &str) -> Vec<String> {
    answer(query).1
}

/// The single value that `print` gives for an expression.
pub(super) fn eval(expression: &str) -> String {
    rows(&format!("print {expression}")).remove(0)
}
