use super::*;
use crate::kql::Value;
use serde_json::{Map, Value as Json};

const FROM: i64 = ticks::UNIX_EPOCH + 20_000 * ticks::DAY;

fn source(tables: Vec<TableSettings>) -> Source {
    Source::new(&Settings { seed: 42, tables, ..Settings::default() }).unwrap()
}

fn days(name: &str, rows: u64, days: i64) -> TableSettings {
    TableSettings::new(name, rows, FROM, FROM + days * ticks::DAY)
}

/// A row as `pack_all()` writes it, or with `compact` as `pack_all(true)` does.
fn packed(table: &dyn Table, row: u64, compact: bool) -> Map<String, Json> {
    let mut content = Map::new();
    for (index, column) in table.columns().iter().enumerate() {
        let value = match table.value(row, index) {
            Value::Null => Json::Null,
            Value::Bool(value) => value.into(),
            Value::Int(value) => value.into(),
            Value::Long(value) => value.into(),
            Value::Real(value) => value.into(),
            Value::Decimal(text) | Value::String(text) => Json::from(&*text),
            Value::Datetime(at) if compact => ticks::format(at).into(),
            Value::Datetime(at) => {
                let text = ticks::format(at - at % ticks::SECOND);
                format!("{}.{:07}Z", &text[..19], at % ticks::SECOND).into()
            }
            Value::Timespan(span) => span.into(),
            Value::Guid(guid) => guid.to_string().into(),
            Value::Dynamic(json) => Json::clone(&json),
        };
        if !(compact && (value.is_null() || value == "")) {
            content.insert(column.name.clone(), value);
        }
    }
    content
}

fn column(table: &dyn Table, name: &str) -> usize {
    table.columns().iter().position(|column| column.name == name).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_rows_and_another_seed_others() {
    let rows = |seed| {
        let tables = vec![days("DeviceProcessEvents", 300, 2), days("CloudAppEvents", 300, 2)];
        let source = Source::new(&Settings { seed, tables, ..Settings::default() }).unwrap();
        ["DeviceProcessEvents", "CloudAppEvents"].map(|table| source.identities(table).unwrap().collect::<Vec<_>>())
    };
    assert_eq!(rows(1), rows(1));
    let (one, two) = (rows(1), rows(2));
    assert!(one[0].iter().zip(&two[0]).all(|(a, b)| a != b));
}

#[test]
fn compact_and_full_packing_have_one_identity_in_every_documented_table() {
    let names: Vec<String> = documented().unwrap().into_keys().collect();
    let source = source(names.iter().map(|name| days(name, 60, 1)).collect());
    for name in &names {
        let table = source.at(i64::MAX).table(name).unwrap();
        for (row, identity) in source.identities(name).unwrap() {
            for compact in [true, false] {
                let text = Json::Object(packed(&*table, row, compact)).to_string();
                let content: Map<String, Json> = serde_json::from_str(&text).unwrap();
                assert_eq!(row_identity(&content), identity, "{name} row {row}");
            }
        }
    }
}

#[test]
fn rows_differ_but_for_the_duplicates_asked_for() {
    let without = TableOptions { duplicates_per_mille: 0, ..TableOptions::default() };
    let with = TableOptions { duplicates_per_mille: 100, ..TableOptions::default() };
    let source =
        source(vec![days("DeviceEvents", 5_000, 1).with(without), days("DeviceFileEvents", 5_000, 1).with(with)]);
    let distinct = |table| {
        source.identities(table).unwrap().map(|(_, identity)| identity).collect::<std::collections::HashSet<_>>().len()
    };
    assert_eq!(distinct("DeviceEvents"), 5_000);
    assert!((4_350..4_650).contains(&distinct("DeviceFileEvents")));
}

#[test]
fn device_rows_are_of_the_size_and_shape_of_real_ones() {
    let names = [
        "DeviceProcessEvents",
        "DeviceEvents",
        "DeviceFileEvents",
        "DeviceNetworkEvents",
        "DeviceLogonEvents",
        "DeviceInfo",
        "DeviceRegistryEvents",
        "DeviceImageLoadEvents",
    ];
    let source = source(names.iter().map(|name| days(name, 400, 1)).collect());
    let mean_bytes = names.map(|name| {
        let table = source.at(i64::MAX).table(name).unwrap();
        (0..400).map(|row| Json::Object(packed(&*table, row, true)).to_string().len()).sum::<usize>() / 400
    });
    assert!(mean_bytes.iter().all(|bytes| (600..1_800).contains(bytes)), "{mean_bytes:?}");
    assert!((700..1_500).contains(&(mean_bytes.iter().sum::<usize>() / mean_bytes.len())), "{mean_bytes:?}");
    let table = source.at(i64::MAX).table("DeviceProcessEvents").unwrap();
    let texts = |name| {
        (0..400)
            .filter_map(|row| match table.value(row, column(&*table, name)) {
                Value::String(text) => Some(text),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let lines = texts("ProcessCommandLine");
    assert!(
        lines.iter().any(|line| line.contains('\\'))
            && lines.iter().any(|line| line.contains('"'))
            && lines.iter().any(|line| !line.is_ascii())
    );
    assert!(texts("AccountUpn").iter().any(|upn| upn.is_empty()));
    assert!(
        texts("AdditionalFields")
            .iter()
            .filter(|text| !text.is_empty())
            .all(|text| serde_json::from_str::<Json>(text).is_ok())
    );
    let [one, other] = ["LogonId", "LogonID"].map(|name| table.value(0, column(&*table, name)));
    assert_ne!(one, other);
    let large = |row| matches!(table.value(row, column(&*table, "ReportId")), Value::Long(id) if id > 1 << 53);
    assert!((0..400).any(large) && !(0..400).all(large));
}

#[test]
fn event_times_trail_arrivals_as_documented() {
    let source = source(vec![days("DeviceEvents", 20_000, 3)]);
    let table = source.at(i64::MAX).table("DeviceEvents").unwrap();
    let delays: Vec<i64> = (0..20_000)
        .map(|row| match table.value(row, 0) {
            Value::Datetime(at) => table.ingestion_time(row).unwrap() - at,
            other => panic!("{other:?}"),
        })
        .collect();
    let share = |wanted: &dyn Fn(i64) -> bool| delays.iter().filter(|delay| wanted(**delay)).count();
    assert!((17_800..18_400).contains(&share(&|delay| (0..120 * ticks::SECOND).contains(&delay))));
    assert!((80..250).contains(&share(&|delay| delay > 6 * ticks::HOUR)));
    assert!((10..90).contains(&share(&|delay| delay < 0)));
    assert!(delays.iter().all(|delay| *delay <= 5 * ticks::DAY + ticks::SECOND));
}

#[test]
fn a_snapshot_shows_what_has_arrived_and_not_expired_and_does_not_change() {
    let tables = vec![days("DeviceEvents", 1_000, 10)];
    let retention = Some(Duration::from_secs(3 * 86_400));
    let source = Source::new(&Settings { seed: 42, tables, retention, ..Settings::default() }).unwrap();
    let noon = FROM + 5 * ticks::DAY + ticks::DAY / 2;
    let snapshot = source.at(noon);
    let table = snapshot.table("DeviceEvents").unwrap();
    assert!((250..350).contains(&table.row_count()));
    assert!((0..table.row_count()).all(|row| {
        let at = table.ingestion_time(row).unwrap();
        at <= noon && at > noon - 3 * ticks::DAY
    }));
    let before: Vec<Value> = (0..table.row_count()).map(|row| table.value(row, 1)).collect();
    source.append("DeviceEvents", 50, noon, noon).unwrap();
    assert_eq!(before, (0..table.row_count()).map(|row| table.value(row, 1)).collect::<Vec<_>>());
    assert_eq!(snapshot.table("DeviceEvents").unwrap().row_count(), table.row_count());
    assert_eq!(source.at(noon).table("DeviceEvents").unwrap().row_count(), table.row_count() + 50);
    assert_eq!(source.identities("DeviceEvents").unwrap().count(), 1_050);
}

#[test]
fn the_ranges_of_an_arrival_window_are_exact() {
    let source = source(vec![days("DeviceEvents", 3_000, 2)]);
    source.append("DeviceEvents", 500, FROM, FROM + ticks::DAY).unwrap();
    let table = source.at(FROM + ticks::DAY * 3 / 2).table("DeviceEvents").unwrap();
    let (after, until) = (table.ingestion_time(700).unwrap(), table.ingestion_time(1_400).unwrap());
    let found: Vec<u64> = table.arrived_within(after, until).into_iter().flatten().collect();
    let wanted: Vec<u64> = (0..table.row_count())
        .filter(|row| table.ingestion_time(*row).is_some_and(|at| at > after && at <= until))
        .collect();
    assert_eq!(found, wanted);
    assert!(wanted.iter().any(|row| *row >= 2_500), "the second segment takes part");
    let identities = source.identities_within("DeviceEvents", after, until).unwrap().count();
    assert_eq!(identities, wanted.len());
}

#[test]
fn hostile_shapes_are_there_when_asked_for() {
    let options = TableOptions {
        null_timestamps_per_mille: 200,
        huge_cell: Some(HugeCell { row: 3, bytes: 2_000_000 }),
        ..TableOptions::default()
    };
    let hidden = TableOptions { hidden: true, ..TableOptions::default() };
    let source = source(vec![
        TableSettings::new("DeviceEvents", 500, FROM, FROM).with(options),
        days("EmailEvents", 10, 1).with(hidden),
        days("DeviceTvmSoftwareVulnerabilities", 10, 1),
    ]);
    let snapshot = source.at(FROM + 2 * ticks::DAY);
    let table = snapshot.table("DeviceEvents").unwrap();
    assert!((0..500).all(|row| table.ingestion_time(row) == Some(FROM)));
    let null = (0..500).filter(|row| table.value(*row, 0) == Value::Null).count();
    assert!((50..160).contains(&null), "{null}");
    let huge = table.value(3, column(&*table, "AdditionalFields"));
    assert!(matches!(huge, Value::String(text) if text.len() == 2_000_000));
    assert!(snapshot.table("EmailEvents").is_none() && snapshot.knows("EmailEvents"));
    let inventory = snapshot.table("DeviceTvmSoftwareVulnerabilities").unwrap();
    assert_eq!((inventory.row_count(), inventory.ingestion_time(0)), (10, None));
    assert_eq!(inventory.arrived_within(0, 1), vec![0..10]);
}

#[test]
fn a_state_file_gives_the_same_rows_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("source.json");
    let settings = Settings { seed: 9, tables: vec![days("DeviceEvents", 200, 1)], ..Settings::default() };
    let rows = |source: &Source| source.identities("DeviceEvents").unwrap().collect::<Vec<_>>();
    let written = {
        let source = Source::open(&settings, &path).unwrap();
        source.append("DeviceEvents", 30, FROM, FROM + 5).unwrap();
        source.add_column("DeviceEvents", "RiskScore", Type::Int).unwrap();
        source.append("DeviceEvents", 30, FROM, FROM + 5).unwrap();
        rows(&source)
    };
    let other = Settings { seed: 10, ..settings };
    assert_eq!(rows(&Source::open(&other, &path).unwrap()), written);
}

#[test]
fn a_new_column_is_null_in_the_rows_before_it() {
    let source = source(vec![days("DeviceEvents", 200, 1)]);
    let before: Vec<_> = source.identities("DeviceEvents").unwrap().collect();
    source.add_column("DeviceEvents", "EpssScore", Type::Real).unwrap();
    assert!(source.add_column("DeviceEvents", "EpssScore", Type::Real).is_err());
    assert_eq!(before, source.identities("DeviceEvents").unwrap().collect::<Vec<_>>());
    source.append("DeviceEvents", 100, FROM + ticks::DAY, FROM + ticks::DAY).unwrap();
    let table = source.at(i64::MAX).table("DeviceEvents").unwrap();
    let score = column(&*table, "EpssScore");
    assert!((0..200).all(|row| table.value(row, score) == Value::Null));
    assert!((200..300).any(|row| matches!(table.value(row, score), Value::Real(_))));
}

#[test]
fn a_column_that_is_taken_away_or_becomes_another_is_seen_so_in_all_rows() {
    let source = source(vec![days("DeviceEvents", 200, 1)]);
    source.drop_column("DeviceEvents", "ActionType").unwrap();
    source.retype_column("DeviceEvents", "ReportId", Type::String).unwrap();
    let table = source.at(i64::MAX).table("DeviceEvents").unwrap();
    assert!(table.columns().iter().all(|column| column.name != "ActionType"));
    let report = column(&*table, "ReportId");
    assert!((0..200).all(|row| matches!(table.value(row, report), Value::String(_))));
    let gone = source.drop_column("DeviceEvents", "ActionType").unwrap_err();
    assert!(gone.to_string().contains("`ActionType`"), "{gone}");
}

#[test]
fn impossible_tenants_are_refused_by_name() {
    let error = |tables| Source::new(&Settings { tables, ..Settings::default() }).err().unwrap().to_string();
    assert!(error(vec![days("deviceevents", 1, 1)]).contains("`deviceevents`"));
    assert!(error(vec![TableSettings::new("DeviceEvents", 1, 5, 4)]).contains("`DeviceEvents`"));
    assert!(source(vec![]).append("EmailEvents", 1, 0, 0).unwrap_err().to_string().contains("EmailEvents"));
}

#[test]
fn a_table_of_a_million_rows_takes_no_memory_to_speak_of() {
    let resident = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
    };
    let before = resident();
    let source = source(vec![days("DeviceProcessEvents", 1_000_000, 30)]);
    let table = source.at(i64::MAX).table("DeviceProcessEvents").unwrap();
    assert_eq!(table.row_count(), 1_000_000);
    let columns = table.columns().len();
    for row in (0..1_000_000).step_by(997) {
        for column in 0..columns {
            std::hint::black_box(table.value(row, column));
        }
    }
    assert!(resident().saturating_sub(before) < 50 * 1024, "grew by {} KiB", resident() - before);
}

#[test]
fn a_commit_may_come_into_sight_after_a_later_one() {
    let options = TableOptions { visibility_lag_seconds: 600, rows_per_commit: 5, ..TableOptions::default() };
    let source = source(vec![TableSettings::new("DeviceEvents", 5_000, FROM, FROM + ticks::HOUR).with(options)]);
    let arrivals = |now| {
        let table = source.at(now).table("DeviceEvents").unwrap();
        (0..table.row_count()).map(|row| table.ingestion_time(row).unwrap()).collect::<Vec<_>>()
    };
    let now = FROM + ticks::HOUR / 2;
    let (seen, settled) = (arrivals(now), arrivals(now + ticks::HOUR));
    let newest = *seen.iter().max().unwrap();
    let missing = settled.iter().filter(|at| **at < newest).count() - seen.iter().filter(|at| **at < newest).count();
    assert!(missing > 0, "some earlier commit is not in sight yet");
    let safe = now - 600 * ticks::SECOND;
    let until_safe = |arrivals: &[i64]| arrivals.iter().filter(|at| **at <= safe).count();
    assert_eq!(until_safe(&seen), until_safe(&settled));
    assert_eq!(settled.len(), 5_000);
}

#[test]
fn another_turn_is_another_order_of_the_same_rows() {
    let source = source(vec![days("DeviceEvents", 900, 2)]);
    source.append("DeviceEvents", 100, FROM, FROM + ticks::DAY).unwrap();
    let rows = |turn| {
        let table = source.at(FROM + ticks::DAY).turned(turn).table("DeviceEvents").unwrap();
        (0..table.row_count())
            .map(|row| format!("{:?}", (0..8).map(|column| table.value(row, column)).collect::<Vec<_>>()))
            .collect::<Vec<_>>()
    };
    let (mut one, mut other) = (rows(1), rows(2));
    assert_eq!(one, rows(1));
    assert_ne!(one, other);
    one.sort();
    other.sort();
    assert_eq!(one, other);
    let table = source.at(FROM + ticks::DAY).turned(3).table("DeviceEvents").unwrap();
    let (after, until) = (FROM + ticks::DAY / 3, FROM + ticks::DAY / 2);
    let found: Vec<u64> = table.arrived_within(after, until).into_iter().flatten().collect();
    let within = |row: &u64| table.ingestion_time(*row).is_some_and(|at| at > after && at <= until);
    assert_eq!(found, (0..table.row_count()).filter(within).collect::<Vec<_>>());
}

#[test]
fn lost_and_doubled_rows_of_a_copy_are_told_even_among_equal_rows() {
    let options = TableOptions { duplicates_per_mille: 300, ..TableOptions::default() };
    let source = source(vec![days("DeviceEvents", 200, 1).with(options)]);
    let copy: Vec<u64> = source.identities("DeviceEvents").unwrap().map(|(_, identity)| identity).collect();
    let compare = |copy: Vec<u64>| source.compare("DeviceEvents", -1, i64::MAX, copy).unwrap();
    assert_eq!(compare(copy.clone()), Comparison { matched: 200, missing: vec![], surplus: 0 });
    let twin = (1..200).find(|row| copy[*row] == copy[row - 1]).unwrap();
    let mut lost = copy.clone();
    lost.remove(twin);
    assert_eq!((compare(lost.clone()).matched, compare(lost).missing.len()), (199, 1));
    let mut doubled = copy;
    doubled.push(doubled[twin]);
    doubled.push(7);
    assert_eq!(compare(doubled), Comparison { matched: 200, missing: vec![], surplus: 2 });
}

#[test]
fn rows_may_come_into_sight_long_after_they_arrived() {
    let source = source(vec![days("DeviceEvents", 50, 1)]);
    let (arrived, seen) = (FROM + ticks::HOUR, FROM + 2 * ticks::DAY);
    source.append_unseen("DeviceEvents", 7, arrived, arrived, seen).unwrap();
    let count = |now| source.at(now).table("DeviceEvents").unwrap().row_count();
    assert_eq!((count(seen - 1), count(seen)), (50, 57));
    assert_eq!(source.identities_within("DeviceEvents", arrived - 1, arrived).unwrap().count(), 7);
}

#[test]
fn rows_may_have_happened_long_before_they_arrived_and_none_in_the_future() {
    let options =
        TableOptions { late: Some(TimeShift { per_mille: 500, up_to_seconds: 7_200 }), ..TableOptions::default() };
    let source = source(vec![days("DeviceEvents", 400, 1).with(options)]);
    let table = source.at(i64::MAX).table("DeviceEvents").unwrap();
    let column = table.columns().iter().position(|column| column.name == "Timestamp").unwrap();
    let before = |row: u64| match table.value(row, column) {
        crate::kql::Value::Datetime(at) => table.ingestion_time(row).unwrap() - at,
        other => panic!("{other:?}"),
    };
    let lags: Vec<i64> = (0..400).map(before).collect();
    assert!(lags.iter().all(|lag| (0..=7_200 * ticks::SECOND).contains(lag)));
    assert!(lags.iter().filter(|lag| **lag > 600 * ticks::SECOND).count() > 100);
}

#[test]
fn clocks_that_run_ahead_do_so_as_far_as_they_are_told() {
    let options =
        TableOptions { ahead: Some(TimeShift { per_mille: 200, up_to_seconds: 86_400 }), ..TableOptions::default() };
    let source = source(vec![days("DeviceEvents", 1_000, 1).with(options)]);
    let table = source.at(i64::MAX).table("DeviceEvents").unwrap();
    let ahead = |row: &u64| match table.value(*row, 0) {
        Value::Datetime(at) => at - table.ingestion_time(*row).unwrap() > ticks::HOUR,
        other => panic!("{other:?}"),
    };
    let far = (0..1_000).filter(ahead).count();
    assert!((150..240).contains(&far), "{far}");
}

#[test]
fn rows_keep_their_numbers_whatever_is_in_sight() {
    let options = TableOptions { visibility_lag_seconds: 600, rows_per_commit: 5, ..TableOptions::default() };
    let source = source(vec![TableSettings::new("DeviceEvents", 500, FROM, FROM + ticks::HOUR).with(options)]);
    source.append_unseen("DeviceEvents", 7, FROM, FROM + 60 * ticks::SECOND, FROM + ticks::HOUR / 2).unwrap();
    let snapshot = source.at(FROM + ticks::HOUR / 2).turned(3);
    let (table, numbers) = (snapshot.table("DeviceEvents").unwrap(), snapshot.row_numbers("DeviceEvents").unwrap());
    assert_eq!(numbers.len() as u64, table.row_count());
    assert!(numbers.contains(&506) && !numbers.contains(&499));
    for (row, number) in numbers.iter().enumerate().step_by(40) {
        let identity = row_identity(&packed(&*table, row as u64, true));
        assert_eq!(source.identities_from("DeviceEvents", *number).unwrap().next(), Some(identity));
    }
}
