use super::{NOW, TestCatalog};
use crate::kql::{Catalog, Column, Table, Type, Value, run};
use std::sync::Arc;
use std::time::Instant;

/// A generated table of any length: 60 columns as in a hunting table, a third of them empty.
struct Generated {
    columns: Vec<Column>,
    rows: u64,
    texts: Vec<Arc<str>>,
}

impl Generated {
    fn catalog(rows: u64) -> Arc<dyn Catalog> {
        let types = [Type::String, Type::String, Type::Long, Type::Datetime, Type::String, Type::Bool];
        let columns =
            (0..60).map(|i| Column { name: format!("InitiatingProcessColumn{i}"), ty: types[i % 6] }).collect();
        let texts = (0..64).map(|i| Arc::from(format!(r#"C:\Windows\System32\file "{i}".exe"#))).collect();
        let mut catalog = TestCatalog::default();
        catalog.tables.insert("Big".to_owned(), Arc::new(Self { columns, rows, texts }));
        Arc::new(catalog)
    }
}

impl Table for Generated {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn row_count(&self) -> u64 {
        self.rows
    }

    fn value(&self, row: u64, column: usize) -> Value {
        match column % 6 {
            0 | 1 => Value::String(Arc::clone(&self.texts[(row as usize + column) % self.texts.len()])),
            2 => Value::Long(row as i64 * 1_000_003),
            3 => Value::Datetime(NOW - row as i64),
            4 => Value::Null,
            _ => Value::Bool(row.is_multiple_of(2)),
        }
    }

    fn ingestion_time(&self, row: u64) -> Option<i64> {
        Some(NOW + row as i64 * 10_000)
    }
}

/// Ten times what it takes on one slow core, so that only a change of order fails.
fn within(seconds: f64, rows: u64, query: &str, expected: usize) {
    let catalog = Generated::catalog(rows);
    let started = Instant::now();
    let found = run(query, &catalog).unwrap().rows.map(Result::unwrap).count();
    let took = started.elapsed().as_secs_f64();
    println!("{took:.3} s: {query}");
    assert_eq!(found, expected);
    assert!(took < seconds, "{took} s");
}

#[test]
fn a_hundred_thousand_wide_rows_are_packed_in_seconds() {
    let query = "Big | where ingestion_time() > datetime(2026-04-01) and ingestion_time() <= datetime(2026-05-01) | project Row = tostring(pack_all(true))";
    within(10.0, 100_000, query, 100_000);
}

#[test]
fn a_histogram_of_a_million_rows_takes_less_than_a_second_or_so() {
    within(4.0, 1_000_000, "Big | summarize count() by bin(ingestion_time(), 10m)", 2);
}
