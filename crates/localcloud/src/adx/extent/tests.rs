use super::*;
use crate::adx::table::TableData;
use crate::kql::{Catalog, Table};
use serde_json::json;
use std::sync::Arc;

fn columns() -> Vec<Column> {
    [("Timestamp", Type::Datetime), ("RawData", Type::Dynamic), ("ChunkId", Type::String), ("Size", Type::Long)]
        .map(|(name, ty)| Column { name: name.into(), ty })
        .to_vec()
}

fn row(number: i64) -> Vec<Value> {
    let raw = json!({"Number": number, "Text": format!("a\tb\n{number}"), "Empty": null});
    vec![
        if number % 3 == 0 { Value::Null } else { Value::Datetime(1_000 + number) },
        if number % 5 == 0 { Value::Null } else { Value::dynamic(raw) },
        Value::text("chunk-1"),
        if number % 2 == 0 { Value::Null } else { Value::Long(number - 50) },
    ]
}

fn fill(table: &mut TableData, rows: i64, tag: &str) {
    let mut writer = table.writer().unwrap();
    (0..rows).for_each(|number| writer.push(&row(number)).unwrap());
    let landing = Landing { arrived: 77, created: Some(5), original_size: 9, tags: vec![tag.to_owned()] };
    table.append_extent(Arc::new(writer.finish(landing).unwrap())).unwrap();
}

fn check(table: &TableData, rows: i64) {
    let snapshot = table.snapshot();
    assert_eq!(snapshot.row_count(), rows as u64);
    for number in (0..rows).chain((0..rows).rev().step_by(997)) {
        let expected = row(number);
        for (column, expected) in expected.iter().enumerate() {
            assert_eq!(snapshot.value(number as u64, column), *expected, "row {number}, column {column}");
            assert_eq!(snapshot.is_null(number as u64, column), *expected == Value::Null);
        }
        assert_eq!(snapshot.ingestion_time(number as u64), Some(77));
    }
}

#[test]
fn an_extent_gives_back_what_was_written() {
    let mut table = TableData::new(columns());
    fill(&mut table, 20_000, "ingest-by:a");
    check(&table, 20_000);
}

#[test]
fn extents_come_back_from_their_directory_and_leftovers_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut table = TableData::open(directory.path(), columns()).unwrap();
    fill(&mut table, 3_000, "ingest-by:a");
    let (extents, identities) = (table.extents(), table.identities().collect::<Vec<_>>());
    let mut unseen = table.writer().unwrap();
    unseen.push(&row(1)).unwrap();
    std::mem::forget(unseen.finish(Landing::default()).unwrap());
    drop(table);

    let mut more = columns();
    more.push(Column { name: "Later".into(), ty: Type::String });
    let mut table = TableData::open(directory.path(), more).unwrap();
    check(&table, 3_000);
    assert_eq!(table.extents(), extents);
    assert_eq!(table.identities().collect::<Vec<_>>(), identities);
    assert!(table.has_tag("ingest-by:a"));
    assert_eq!(table.snapshot().value(0, 4), Value::text(""));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "what was never published is gone");

    table.clear();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    assert!(TableData::open(directory.path(), columns()).unwrap().extents().is_empty());
}

#[test]
fn an_extent_for_other_columns_is_refused() {
    let table = TableData::new(columns());
    let extent = table.writer().unwrap().finish(Landing::default()).unwrap();
    let mut other = TableData::new(columns()[1..].to_vec());
    assert!(other.append_extent(Arc::new(extent)).is_err());
    assert!(other.extents().is_empty());
}

#[test]
fn two_hundred_thousand_rows_take_less_than_20_bytes_each() {
    let table = TableData::new(columns());
    let mut writer = table.writer().unwrap();
    (0..200_000).for_each(|number| writer.push(&row(number)).unwrap());
    let extent = writer.finish(Landing::default()).unwrap();
    assert!(extent.memory_bytes() < 200_000 * 20, "{}", extent.memory_bytes());
}

#[test]
fn arrival_and_nulls_are_known_without_the_payload() {
    let directory = tempfile::tempdir().unwrap();
    let mut table = TableData::open(directory.path(), columns()).unwrap();
    fill(&mut table, 1_000, "ingest-by:a");
    table.append_rows(vec![row(1)], 99, Vec::new());
    let snapshot = table.snapshot();
    for file in std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path()) {
        std::fs::remove_file(file).unwrap();
    }
    assert_eq!((0..1_000).filter(|row| snapshot.is_null(*row, 1)).count(), 200);
    assert_eq!(snapshot.value(500, 2), Value::text("chunk-1"));
    let within = |after, until| snapshot.arrived_within(after, until).into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(within(76, 77), (0..1_000).collect::<Vec<_>>());
    assert_eq!(within(77, 99), [1_000]);
    assert!(snapshot.arrived_within(99, i64::MAX).is_empty());
    assert_eq!(table.identities().filter(|(_, chunk)| &**chunk == "chunk-1").count(), 1_001);
}

#[test]
fn a_query_for_counts_and_nulls_reads_no_payload() {
    let directory = tempfile::tempdir().unwrap();
    let mut table = TableData::open(directory.path(), columns()).unwrap();
    fill(&mut table, 1_000, "ingest-by:a");
    for file in std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path()) {
        std::fs::remove_file(file).unwrap();
    }
    let catalog: Arc<dyn Catalog> = Arc::new(One(table.snapshot()));
    let query = "T | where ChunkId == 'chunk-1' and isnotnull(ingestion_time())
        | summarize count(), countif(isnull(RawData)), countif(isnull(Timestamp)), countif(isnotnull(RawData))";
    let rows: Vec<_> = crate::kql::run(query, &catalog).unwrap().rows.map(|row| row.unwrap()).collect();
    assert_eq!(rows, [[1_000, 200, 334, 800].map(Value::Long)]);
}

struct One(Arc<dyn Table>);

impl Catalog for One {
    fn table(&self, name: &str) -> Option<Arc<dyn Table>> {
        (name == "T").then(|| self.0.clone())
    }

    fn function(&self, _: &str) -> Option<String> {
        None
    }

    fn now(&self) -> i64 {
        0
    }
}

#[test]
fn a_row_is_what_its_raw_data_holds() {
    let raw = json!({"A": 1});
    let identity = row_identity(raw.as_object().unwrap());
    let of = |value: Value| identity_of(&columns(), |column| if column == 1 { value.clone() } else { Value::Null });
    assert_eq!(of(Value::dynamic(raw.clone())), identity);
    assert_ne!(of(Value::Null), identity);
    let typed = [Column { name: "A".into(), ty: Type::Long }, Column { name: "ChunkId".into(), ty: Type::String }];
    let row = [Value::Long(1), Value::text("x")];
    assert_eq!(identity_of(&typed, |column| row[column].clone()), identity);
}
