//! The hunting queries as they leave the process, each against a file in `tests/golden/defender`. With `UPDATE_GOLDEN`
//! set the files are written instead.

use adxingestor::defender::queries::{
    Axis, Copied, Handover, HashFunction, Hashing, Partition, Past, Range, RowFormat, Slice, Source, Values,
    arrival as arrival_alone, bounds, close_histogram, columns, count, count_null_watermark, count_null_watermarks,
    histogram, histogram_with_past, packed_sample, partition_counts, plain_sample, plain_window, probe, probe_arrival,
    sample, shown, slices, snapshot_counts, visible, weighed_histogram, window, with_columns,
};
use adxingestor::kql::Identifier;
use adxingestor::timestamp::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

fn name(text: &str) -> Identifier {
    Identifier::new(text).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn events() -> Source {
    Source {
        table: name("DeviceEvents"),
        axis: Axis::ArrivalTime,
        handover: None,
        arrival_column: false,
        row_format: RowFormat::Compact,
    }
}

fn day() -> Range {
    Range { low: at("2026-07-01T00:00:00Z"), high: at("2026-07-02T00:00:00.0000001Z") }
}

fn queries() -> BTreeMap<&'static str, String> {
    let hour = Duration::from_secs(3600);
    let slice = Slice::Range(day());
    let from_the_start = Range { low: Timestamp::MIN, high: day().high };
    let by = |columns: &[&str]| Hashing {
        function: HashFunction::Xxhash64,
        columns: columns.iter().map(|column| name(column)).collect(),
    };
    let plainly = |by: &Hashing| Hashing { function: HashFunction::Hash, ..by.clone() };
    let device = Partition { index: 0, count: 2, by: by(&["DeviceId"]) };
    let three = Partition { index: 3, count: 8, by: by(&["DeviceId", "ReportId", "Timestamp"]) };
    let three_plainly = Partition { by: plainly(&three.by), ..three.clone() };
    let by_column = Source { axis: Axis::Column(name("Timestamp")), row_format: RowFormat::Full, ..events() };
    let inventory = Source { table: name("DeviceTvmSoftwareInventory"), axis: Axis::None, ..events() };
    let software = Partition { index: 2, count: 11, by: by(&["DeviceId", "SoftwareName"]) };
    let system = by(&["DeviceId"]);
    let all = ["DeviceId", "OSPlatform", "SoftwareName", "EndOfSupportDate"].map(name);
    let odd_names = Source { table: name("my table"), axis: Axis::Column(name("time")), ..events() };
    let arrival = Source { arrival_column: true, ..events() };
    let handover = |column: Option<&str>| {
        Some(Handover {
            watermark_column: column.map(name),
            watermark: at("2026-06-30T21:00:00Z"),
            refreshed: at("2026-06-30T22:00:00Z"),
            copied: Copied::LeftOut,
        })
    };
    let taken_over = Source { handover: handover(Some("Timestamp")), ..events() };
    let arrival_taken_over = Source { handover: handover(None), ..arrival.clone() };
    let mut only_copied = taken_over.clone();
    let below = |handover: Handover, copied| Some(Handover { copied, ..handover });
    let upto = Range { low: Timestamp::MIN, high: at("2026-06-30T21:00:00Z") };
    only_copied.handover = below(only_copied.handover.unwrap(), Copied::Alone(upto));
    let taken = taken_over.handover.clone().unwrap();
    let missed = Source { handover: below(taken.clone(), Copied::Missed(day().low)), ..events() };
    let without = Source { handover: below(taken, Copied::Without), ..events() };
    let some = Range { low: at("2026-06-30T20:00:00Z"), ..upto };
    let some_copied =
        Source { handover: below(taken_over.handover.clone().unwrap(), Copied::Alone(some)), ..taken_over.clone() };
    let by_watermark =
        Source { handover: below(taken_over.handover.clone().unwrap(), Copied::Arrived(day())), ..by_column.clone() };
    let past = |low| Past { low, bin: hour };
    let edges = [at("2026-07-01T06:00:00Z"), at("2026-07-01T18:00:00.0000001Z")];
    BTreeMap::from([
        (
            "histogram-with-past",
            histogram_with_past(&events(), &day(), false, Duration::from_secs(30), past(at("2026-06-28T00:00:00Z"))),
        ),
        ("histogram-with-past-by-column", histogram_with_past(&by_column, &day(), true, hour, past(Timestamp::MIN))),
        (
            "histogram-with-past-handover",
            histogram_with_past(&taken_over, &day(), false, hour, past(at("2026-06-28T00:00:00Z"))),
        ),
        ("slices", slices(&events(), &day(), &edges)),
        ("slices-handover", slices(&taken_over, &from_the_start, &edges[..1])),
        ("slices-of-one", slices(&by_column, &day(), &[])),
        ("bounds-of-what-was-missed", bounds(&missed, &Slice::Range(from_the_start), &name("Timestamp"))),
        ("window-of-what-has-no-watermark", window(&without, &Slice::Range(from_the_start), Some(&device), None)),
        ("window-of-what-was-copied", window(&only_copied, &slice, None, None)),
        ("visible", visible(&[name("DeviceEvents"), name("EmailEvents"), name("where")])),
        ("visible-one", visible(&[name("DeviceEvents")])),
        ("probe", probe(&name("DeviceEvents"), Some(HashFunction::Xxhash64))),
        ("probe-hash", probe(&name("DeviceEvents"), Some(HashFunction::Hash))),
        ("probe-no-hash", probe(&name("DeviceEvents"), None)),
        ("probe-arrival-no-hash", probe_arrival(&name("DeviceEvents"), None)),
        ("probe-odd-name", probe(&name("where"), Some(HashFunction::Xxhash64))),
        ("columns", columns(&name("DeviceEvents"))),
        ("window-of-some-of-what-was-copied", window(&some_copied, &slice, Some(&device), None)),
        ("histogram-of-what-was-copied", histogram(&by_watermark, &some, false, hour)),
        ("close-histogram-of-what-was-copied", close_histogram(&by_watermark, &some, hour)),
        (
            "partition-counts-of-what-was-copied",
            partition_counts(&by_watermark, &Slice::Range(some), &by(&["DeviceId"]), 4),
        ),
        ("shown", shown(&name("DeviceEvents"), true, &day())),
        ("shown-by-event-time", shown(&name("DeviceEvents"), false, &day())),
        ("probe-arrival", probe_arrival(&name("DeviceEvents"), Some(HashFunction::Xxhash64))),
        ("arrival", arrival_alone(&name("DeviceEvents"))),
        ("probe-arrival-hash", probe_arrival(&name("where"), Some(HashFunction::Hash))),
        ("snapshot-counts-of-a-slice", snapshot_counts(&inventory, &software.by, 5_038, &all, Some(&software))),
        ("histogram", histogram(&events(), &day(), false, hour)),
        ("with-columns", with_columns(&histogram(&events(), &day(), true, hour), &events().table)),
        ("with-columns-odd-names", with_columns(&histogram(&odd_names, &day(), false, hour), &odd_names.table)),
        ("packed-sample", packed_sample(&arrival, &slice, 1_000, Some("00ff"))),
        ("plain-sample", plain_sample(&arrival, &slice, 200, None)),
        ("plain-window", plain_window(&arrival, &slice, Some(&three), Some("00ff"))),
        ("plain-window-handover", plain_window(&taken_over, &Slice::NullAxis, None, None)),
        ("histogram-with-null-axis", histogram(&events(), &day(), true, hour)),
        ("histogram-by-column", histogram(&by_column, &day(), true, Duration::from_secs(300))),
        ("histogram-from-the-start", histogram(&events(), &from_the_start, false, hour)),
        ("histogram-handover", histogram(&taken_over, &day(), true, hour)),
        ("close-histogram", close_histogram(&taken_over, &day(), hour)),
        ("weighed-histogram", weighed_histogram(&by_column, &day(), Duration::from_millis(10), None)),
        ("weighed-histogram-with-arrival-column-and-chunk-id", weighed_histogram(&arrival, &day(), hour, Some("00ff"))),
        ("sample", sample(&events(), &slice, Some(&three), None)),
        ("sample-of-all", sample(&by_column, &Slice::NullAxis, None, None)),
        ("sample-with-arrival-column-and-chunk-id", sample(&arrival, &slice, Some(&device), Some("00ff"))),
        ("window", window(&events(), &slice, None, None)),
        ("window-by-column-full", window(&by_column, &slice, None, None)),
        ("window-odd-names", window(&odd_names, &slice, None, None)),
        ("window-from-the-start", window(&events(), &Slice::Range(from_the_start), None, None)),
        ("window-null-axis", window(&events(), &Slice::NullAxis, None, None)),
        ("window-null-axis-partition", window(&by_column, &Slice::NullAxis, Some(&device), None)),
        ("window-partition", window(&events(), &slice, Some(&three), None)),
        ("window-handover", window(&taken_over, &slice, Some(&device), None)),
        ("window-handover-arrival", window(&arrival_taken_over, &slice, None, None)),
        ("window-with-arrival-column-and-chunk-id", window(&arrival, &slice, None, Some("00ff"))),
        ("window-hostile-chunk-id", window(&events(), &slice, None, Some("a\" | take 0 // \\\n\u{2028}"))),
        ("count", count(&events(), &slice, None)),
        ("count-partition", count(&taken_over, &Slice::NullAxis, Some(&three))),
        ("partition-counts", partition_counts(&by_column, &Slice::NullAxis, &three.by, 8)),
        ("partition-counts-hash", partition_counts(&by_column, &Slice::NullAxis, &three_plainly.by, 8)),
        ("window-partition-hash", window(&events(), &slice, Some(&three_plainly), None)),
        ("snapshot-counts-hash", snapshot_counts(&inventory, &plainly(&software.by), 5_038, &all, None)),
        ("snapshot-counts", snapshot_counts(&inventory, &software.by, 5_038, &all, None)),
        ("snapshot-counts-one-column", snapshot_counts(&inventory, &system, 1, &all[..1], None)),
        ("window-whole", window(&inventory, &slice, None, Some("00ff"))),
        ("window-whole-partition", window(&inventory, &slice, Some(&software), None)),
        ("sample-whole", sample(&inventory, &slice, None, None)),
        ("count-whole", count(&inventory, &slice, None)),
        ("count-whole-partition", count(&inventory, &slice, Some(&software))),
        ("partition-counts-whole", partition_counts(&inventory, &slice, &software.by, 22)),
        (
            "count-null-watermark",
            count_null_watermark(&events(), &slice, Some(&device), &name("Timestamp"), Values::AsTheyAre),
        ),
        (
            "count-null-watermark-as-times",
            count_null_watermark(&events(), &slice, Some(&device), &name("Timestamp"), Values::AsTimes),
        ),
        (
            "count-null-watermarks",
            count_null_watermarks(&events(), &[from_the_start, day()], &name("Timestamp"), Values::AsTheyAre),
        ),
        (
            "count-null-watermarks-as-times",
            count_null_watermarks(&by_column, &[day(), from_the_start], &name("Timestamp"), Values::AsTimes),
        ),
        (
            "count-null-watermarks-handover",
            count_null_watermarks(
                &arrival_taken_over,
                &[day(), day()],
                &name("Watermark_IngestionTime"),
                Values::AsTheyAre,
            ),
        ),
        (
            "count-null-watermark-arrival",
            count_null_watermark(&arrival, &slice, None, &name("Watermark_IngestionTime"), Values::AsTheyAre),
        ),
    ])
}

#[test]
fn every_query_is_as_its_golden_file_says() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/defender");
    let queries = queries();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        for (name, query) in &queries {
            std::fs::write(folder.join(format!("{name}.kql")), format!("{query}\n")).unwrap();
        }
    }
    for (name, query) in &queries {
        let golden = std::fs::read_to_string(folder.join(format!("{name}.kql"))).unwrap_or_default();
        assert_eq!(format!("{query}\n"), golden, "{name}.kql; UPDATE_GOLDEN=1 writes it");
    }
    let mut unused: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| !file.strip_suffix(".kql").is_some_and(|name| queries.contains_key(name)))
        .collect();
    unused.sort();
    assert!(unused.is_empty(), "no query has these golden files: {unused:?}");
}

#[test]
fn hostile_names_never_become_a_source() {
    for hostile in ["T | take 1", "T; drop", "T'] | take 1 //", "T\n| take 1", "ingestion_time()", "T\"", "", "__T"] {
        assert!(Identifier::new(hostile).is_err(), "{hostile:?}");
    }
}

#[test]
fn arrival_time_is_read_before_any_operator_that_makes_new_rows() {
    // Each leg of a union by itself.
    let legs = |query: String| query.split("union (").map(str::to_owned).collect::<Vec<_>>();
    for (name, query) in
        queries().into_iter().flat_map(|(name, query)| legs(query).into_iter().map(move |leg| (name, leg)))
    {
        let last_use = query.rfind("ingestion_time()");
        for operator in ["| take", "| project", "| summarize"] {
            let Some(at) = query.find(operator) else { continue };
            // The summarize of a histogram groups by it, which is on the table's own rows.
            let limit = if operator == "| summarize" { query.len() } else { at };
            assert!(last_use.is_none_or(|last| last < limit), "{name}: {query}");
        }
    }
}
