//! The hunting queries in every combination of what they are made of, and for every documented table: more than golden
//! files can hold.

use crate::parser::{Request, Text, parse};
use crate::sent::{SOURCE, databases, hunting_tables};
use adxingestor::defender::queries::{
    Axis, Copied, Handover, HashFunction, Hashing, Partition, Past, Range, RowFormat, Slice, Source, Values, arrival,
    bounds, close_histogram, columns as columns_of, count, count_null_watermark, count_null_watermarks, histogram,
    histogram_with_past, packed_sample, partition_counts, plain_sample, plain_window, probe, probe_arrival, sample,
    shown, slices, snapshot_counts, weighed_histogram, window, with_columns,
};
use adxingestor::kql::Identifier;
use adxingestor::orchestration::limits::ASKED_AT_ONCE;
use adxingestor::timestamp::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

fn name(text: &str) -> Identifier {
    Identifier::new(text).unwrap()
}

fn day() -> Range {
    Range { low: "2026-07-01T00:00:00Z".parse().unwrap(), high: "2026-07-02T00:00:00.0000001Z".parse().unwrap() }
}

/// Every kind of source of one table with the given columns.
fn sources(table: &str, time: &str) -> Vec<Source> {
    let handover = |column: Option<Identifier>| {
        Some(Handover {
            watermark_column: column,
            watermark: day().low,
            refreshed: day().high,
            copied: Copied::LeftOut,
        })
    };
    let mut sources = Vec::new();
    for axis in [Axis::ArrivalTime, Axis::Column(name(time))] {
        let taken_over = |copied| handover(Some(name(time))).map(|handover| Handover { copied, ..handover });
        let copied = [Copied::Alone(day()), Copied::Without, Copied::Missed(day().low), Copied::Arrived(day())];
        let known = [None, handover(None), handover(Some(name(time)))];
        for handover in known.into_iter().chain(copied.map(taken_over)) {
            for (arrival_column, row_format) in [(false, RowFormat::Compact), (true, RowFormat::Full)] {
                let (axis, handover) = (axis.clone(), handover.clone());
                sources.push(Source { table: name(table), axis, handover, arrival_column, row_format });
            }
        }
    }
    sources
}

fn hashing(columns: &[Identifier]) -> Hashing {
    Hashing { function: HashFunction::Xxhash64, columns: columns.to_vec() }
}

/// Every query of one source.
fn queries(source: &Source, columns: &[Identifier], watermark: &Identifier) -> Vec<String> {
    let mut queries = Vec::new();
    let from_the_start = Range { low: Timestamp::MIN, ..day() };
    let part = Partition { index: 2, count: 3, by: hashing(columns) };
    for (range, null_axis) in [(day(), false), (day(), true), (from_the_start, true)] {
        let histogram = histogram(source, &range, null_axis, Duration::from_nanos(1));
        queries.push(with_columns(&histogram, &source.table));
        queries.push(histogram);
        queries.push(close_histogram(source, &range, Duration::from_nanos(100)));
        queries.push(weighed_histogram(source, &range, Duration::from_secs(1), null_axis.then_some("0f2a")));
        let past = Past { low: Timestamp::MIN, bin: Duration::from_secs(60) };
        queries.push(histogram_with_past(source, &range, null_axis, Duration::from_secs(30), past));
        queries.push(slices(source, &range, &[day().low; 63]));
        for values in [Values::AsTheyAre, Values::AsTimes] {
            queries.push(count_null_watermarks(source, &[range; ASKED_AT_ONCE], watermark, values));
        }
    }
    for slice in [Slice::Range(day()), Slice::Range(from_the_start), Slice::NullAxis] {
        queries.push(bounds(source, &slice, watermark));
        queries.push(plain_sample(source, &slice, 200, None));
        queries.push(plain_sample(source, &slice, 200, Some("0f2a")));
        queries.push(packed_sample(source, &slice, 1_000, Some("0f2a")));
        queries.push(partition_counts(source, &slice, &part.by, 65_535));
        for partition in [None, Some(&part)] {
            queries.push(count(source, &slice, partition));
            for values in [Values::AsTheyAre, Values::AsTimes] {
                queries.push(count_null_watermark(source, &slice, partition, watermark, values));
            }
            queries.push(sample(source, &slice, partition, None));
            queries.push(sample(source, &slice, partition, Some("0f2a")));
            queries.push(window(source, &slice, partition, None));
            queries.push(plain_window(source, &slice, partition, Some("0f2a")));
            queries.push(window(source, &slice, partition, Some("0f2a")));
        }
    }
    queries
}

#[test]
fn hunting_queries_are_understood_in_every_combination() {
    let columns: Vec<Identifier> = ["DeviceId", "ReportId", "Timestamp"].map(name).to_vec();
    let mut texts: Vec<String> =
        sources("DeviceEvents", "Timestamp").iter().flat_map(|source| queries(source, &columns, &columns[2])).collect();
    texts.push(probe(&name("DeviceEvents"), Some(HashFunction::Hash)));
    texts.push(arrival(&name("DeviceEvents")));
    texts.extend(
        [None, Some(HashFunction::Hash), Some(HashFunction::Xxhash64)]
            .map(|function| probe_arrival(&name("DeviceEvents"), function)),
    );
    texts.extend([true, false].map(|has_arrival| shown(&name("DeviceEvents"), has_arrival, &day())));
    understood(texts);
}

#[test]
fn every_documented_table_can_be_queried() {
    let mut texts = Vec::new();
    for (table, columns) in hunting_tables() {
        // More columns than one function call takes are among them.
        let scalars: Vec<Identifier> =
            columns.iter().filter(|(_, ty)| ty != "dynamic").map(|(column, _)| name(column)).collect();
        let partition = Partition { index: 1, count: 2, by: hashing(&scalars) };
        let time = columns.iter().find(|(_, ty)| ty == "datetime").map(|(column, _)| name(column));
        let axis = time.clone().map_or(Axis::ArrivalTime, Axis::Column);
        let (handover, arrival_column, row_format) = (None, true, RowFormat::Compact);
        let source = Source { table: name(&table), axis, handover, arrival_column, row_format };
        texts.push(probe(&source.table, Some(HashFunction::Xxhash64)));
        texts.push(probe_arrival(&source.table, Some(HashFunction::Xxhash64)));
        texts.push(columns_of(&source.table));
        let whole = Source { axis: Axis::None, ..source.clone() };
        texts.push(snapshot_counts(&whole, &partition.by, 5_040, &scalars, Some(&partition)));
        texts.push(window(&whole, &Slice::Range(day()), Some(&partition), None));
        texts.push(window(&source, &Slice::Range(day()), Some(&partition), None));
        texts.push(histogram(&source, &day(), true, Duration::from_secs(60)));
        texts.extend(time.map(|time| count_null_watermark(&source, &Slice::NullAxis, None, &time, Values::AsTimes)));
    }
    assert!(texts.len() > 200, "{}", texts.len());
    understood(texts);
}

fn understood(texts: Vec<String>) {
    // Not every query tells all kinds of sources apart.
    let texts: BTreeSet<String> = texts.into_iter().collect();
    let mut databases = databases();
    databases.retain(|name, _| *name == SOURCE);
    let asked = texts.iter().map(|text| Text { database: SOURCE, text: text.clone() }).collect();
    let Some(answer) = parse(&Request { databases, texts: asked, ..Request::default() }) else { return };
    for (text, parsed) in texts.iter().zip(answer.texts) {
        assert!(parsed.problems.is_empty() && parsed.kind == "Query", "{:#?}\n{text}", parsed.problems);
    }
}
