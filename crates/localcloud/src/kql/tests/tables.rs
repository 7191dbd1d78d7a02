use super::{NOW, TestCatalog, rows};
use crate::kql::{Catalog, Column, Table, Type, Value, run};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

#[test]
fn arrival_times_outlive_all_operators_that_keep_rows() {
    for pipeline in [
        "where Id > 0",
        "extend x = 1",
        "project Id",
        "project-away Name",
        "take 10",
        "sort by Id",
        "serialize",
        "top 5 by Id | extend n = row_number() | sort by n",
        "union EventsMore",
    ] {
        let query = format!("Events | {pipeline} | where ingestion_time() > ago(90m) | project Id");
        assert_eq!(rows(&query), ["1"], "{pipeline}");
    }
    let late = "Events | summarize by Id | extend t = ingestion_time() | where isnotnull(t) | count";
    assert_eq!(rows(late), ["0"]);
    assert_eq!(rows("EventsMore | project ingestion_time()"), ["null"]);
}

#[test]
fn packing_takes_the_columns_in_scope() {
    assert_eq!(
        rows("Events | where Id == 3 | extend X = 1 | project pack_all(), tostring(pack_all(true))"),
        [r#"{"At":null,"Id":3,"Name":"","X":1},"{\"Id\":3,\"X\":1}""#]
    );
    assert_eq!(
        rows("Events | take 1 | extend R = tostring(pack_all()) | project R"),
        [r#""{\"Id\":1,\"Name\":\"alpha\",\"At\":\"2026-04-14T06:00:00.0000000Z\"}""#]
    );
}

#[test]
fn every_type_packs_as_the_engine_writes_it() {
    let query = r#"print b = true, i = int(-1), l = 639199803770463703, r = 1.5, n = real(nan), f = real(-inf), m = decimal(1.50),
        s = "q\"\\\n\u0001é😀", d = datetime(2026-01-01 00:00:00.1), t = 1d + 1tick, g = guid(74be27de-1e4e-49d9-b579-fe0b331d3642),
        y = dynamic({"a":[1,{"b":null}]}), z = long(null), j = '{"k":1}' | project tostring(pack_all())"#;
    let text: String = serde_json::from_str(&rows(query)[0]).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"b":true,"i":-1,"l":639199803770463703,"r":1.5,"n":"NaN","f":"-Infinity","m":"1.50","#,
            r#""s":"q\"\\\n\u0001é😀","d":"2026-01-01T00:00:00.1000000Z","t":"1.00:00:00.0000001","#,
            r#""g":"74be27de-1e4e-49d9-b579-fe0b331d3642","y":{"a":[1,{"b":null}]},"z":null,"j":"{\"k\":1}"}"#
        )
    );
}

/// A table that notes what is asked of it.
struct Watched {
    columns: Vec<Column>,
    rows: u64,
    seen: Mutex<Seen>,
}

#[derive(Default, Debug, PartialEq)]
struct Seen {
    cells: BTreeMap<usize, u64>,
    arrivals: u64,
    ranges: Vec<(i64, i64)>,
}

impl Table for Watched {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn row_count(&self) -> u64 {
        self.rows
    }

    fn value(&self, row: u64, column: usize) -> Value {
        *self.seen.lock().unwrap().cells.entry(column).or_default() += 1;
        Value::Long(row as i64)
    }

    fn ingestion_time(&self, row: u64) -> Option<i64> {
        self.seen.lock().unwrap().arrivals += 1;
        Some(NOW + row as i64)
    }

    fn arrived_within(&self, after: i64, until: i64) -> Vec<Range<u64>> {
        self.seen.lock().unwrap().ranges.push((after, until));
        let row = |ticks: i64| u64::try_from(ticks.saturating_sub(NOW).saturating_add(1)).unwrap_or(0).min(self.rows);
        std::iter::once(row(after)..row(until)).collect()
    }
}

/// Runs the query on a table `W(a, b, c: long)` of 1,000 rows, at most `take` rows of the answer.
fn watched(query: &str, take: usize) -> (Vec<Vec<Value>>, Seen) {
    let columns = ["a", "b", "c"].map(|name| Column { name: name.to_owned(), ty: Type::Long });
    let table = Arc::new(Watched { columns: columns.into(), rows: 1_000, seen: Mutex::default() });
    let mut catalog = TestCatalog::default();
    catalog.tables.insert("W".to_owned(), table.clone());
    let catalog: Arc<dyn Catalog> = Arc::new(catalog);
    let rows = run(query, &catalog).unwrap().rows.take(take).map(Result::unwrap).collect();
    let seen = std::mem::take(&mut *table.seen.lock().unwrap());
    (rows, seen)
}

#[test]
fn a_histogram_of_arrivals_reads_no_column() {
    let (rows, seen) = watched("W | summarize count() by bin(ingestion_time(), 1ms)", usize::MAX);
    assert_eq!(rows, [vec![Value::Datetime(NOW), Value::Long(1_000)]]);
    assert_eq!(seen, Seen { arrivals: 1_000, ..Seen::default() });
}

#[test]
fn only_columns_that_are_asked_for_are_read_and_only_for_rows_that_pass() {
    let (rows, seen) = watched("W | extend x = b + c | where a >= 990 | project b", usize::MAX);
    assert_eq!(rows.len(), 10);
    assert_eq!(seen.cells, BTreeMap::from([(0, 1_000), (1, 10)]));
}

#[test]
fn a_computed_column_is_computed_once_a_row() {
    let (_, seen) = watched("W | extend x = a + 1 | where x > 0 | summarize sum(x), max(x), min(x)", usize::MAX);
    assert_eq!(seen.cells, BTreeMap::from([(0, 1_000)]));
}

#[test]
fn sorting_reads_other_columns_only_of_rows_that_are_taken() {
    let (rows, seen) = watched("W | top 3 by a | project b", usize::MAX);
    assert_eq!(rows, [[Value::Long(999)], [Value::Long(998)], [Value::Long(997)]]);
    assert_eq!(seen.cells, BTreeMap::from([(0, 1_000), (1, 3)]));
}

#[test]
fn rows_stream_until_the_reader_stops() {
    let (rows, seen) = watched("union (W | where a > 1 | extend x = a), W | project x, b", 3);
    assert_eq!(rows.len(), 3);
    assert!(seen.cells.values().all(|count| *count <= 12), "{seen:?}");
    let (rows, seen) = watched("W | take 2", usize::MAX);
    assert_eq!(rows.len(), 2);
    assert!(seen.cells.values().all(|count| *count == 2), "{seen:?}");
}

#[test]
fn bounds_on_the_arrival_narrow_the_scan_to_exactly_the_rows_inside() {
    let at = |ticks: i64| format!("(datetime({}) + {ticks}tick)", "2026-04-14 07:00:00");
    for (condition, range, count) in [
        (format!("ingestion_time() > {} and ingestion_time() <= {}", at(10), at(20)), (10, 20), 10),
        (format!("ingestion_time() >= {} and {} > ingestion_time()", at(10), at(20)), (9, 19), 10),
        (format!("ingestion_time() between ({} .. {})", at(10), at(20)), (9, 20), 11),
        (format!("ingestion_time() == {}", at(10)), (9, 10), 1),
        (format!("a >= 0 | where ingestion_time() > {} | where ingestion_time() < {}", at(1), at(5)), (1, 4), 3),
    ] {
        for pipeline in [
            format!("W | where {condition} | project a"),
            format!(
                "W | extend i = ingestion_time() | where {} | project a",
                condition.replace("ingestion_time()", "i")
            ),
        ] {
            let (rows, seen) = watched(&pipeline, usize::MAX);
            assert_eq!(rows.len(), count, "{pipeline}");
            assert_eq!(seen.ranges, [(NOW + range.0, NOW + range.1)], "{pipeline}");
            assert!(seen.arrivals <= 44, "{pipeline}: {seen:?}");
        }
    }
}

#[test]
fn conditions_that_do_not_bound_the_arrival_scan_everything() {
    for condition in [
        "ingestion_time() > datetime(2026-04-14 07:00) or a == 5",
        "not(ingestion_time() > datetime(2026-04-14 07:00))",
        "ingestion_time() != datetime(2026-04-14 07:00)",
    ] {
        assert!(watched(&format!("W | where {condition}"), usize::MAX).1.ranges.is_empty(), "{condition}");
    }
    let limited = "W | take 5 | where ingestion_time() > datetime(2027-01-01)";
    assert_eq!(watched(limited, usize::MAX), (Vec::new(), Seen { arrivals: 5, ..Seen::default() }));
}
