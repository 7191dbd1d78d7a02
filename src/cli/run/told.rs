//! What is printed at the end of a run, or of the plan of one. Knows only the JSON of the status, and estimates.

use super::super::shown;
use adxingestor::functions::Estimate;
use adxingestor::orchestration::budget::Quota;
use adxingestor::printable::grouped;
use adxingestor::timestamp::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// What is said where there was nothing to copy.
pub const NO_TABLE: &str =
    "Nothing was copied: no table is active. `adxingestor setup --tables recommended --apply` configures some.";

/// Whether everything that a run was asked for is proved in the destination. Nothing at all is none of it, and what the source
/// no longer keeps is missing.
pub fn is_verified(status: &Value) -> bool {
    is_all_that_is_left(status) && expired(status) == 0
}

/// Whether everything is proved that the source still has.
pub fn is_all_that_is_left(status: &Value) -> bool {
    let failed = &status["customStatus"]["tables_failed"];
    status["runtimeStatus"] == "Completed" && *failed == 0 && !results(status).is_empty()
}

/// Windows that the run found to be older than what the source keeps.
fn expired(status: &Value) -> u64 {
    results(status).iter().map(|table| table["chunks_expired"].as_u64().unwrap_or_default()).sum()
}

fn verdict(status: &Value) -> String {
    match expired(status) {
        0 if is_verified(status) => "everything is verified".to_owned(),
        0 => "NOT everything is verified".to_owned(),
        lost => format!(
            "NOT everything is verified: {} expired, whose rows the source no longer keeps",
            counted(lost, "window")
        ),
    }
}

/// What came of each table.
fn results(status: &Value) -> &[Value] {
    let results = &status["output"]["result"]["processing_summary"]["detailed_results"];
    results.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The status with the verdict beside it.
pub fn with_verdict(mut status: Value, verified: bool) -> Value {
    if let Value::Object(members) = &mut status {
        members.insert("verified".to_owned(), verified.into());
    }
    status
}

/// A run that is over, for a person.
pub fn summary(status: &Value) -> String {
    let state = status["runtimeStatus"].as_str().unwrap_or_default();
    let id = status["instanceId"].as_str().unwrap_or_default();
    if state != "Completed" {
        let why = status["output"]["message"].as_str().or(status["output"].as_str()).unwrap_or("no reason was given");
        let doctor = if state == "Failed" { "; `adxingestor doctor` looks at all that a run needs" } else { "" };
        return shown(&format!("Run {id} ended as {state}: {why}{doctor}"));
    }
    let summary = &status["output"]["result"]["processing_summary"];
    let results = results(status);
    let notes = status["output"]["result"]["notes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let notes = notes.map(|note| format!("note: {note}"));
    if results.is_empty() {
        let lines = notes.chain([format!("Run {id}: {NO_TABLE}")]);
        return lines.map(|line| shown(&line)).collect::<Vec<_>>().join("\n");
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    let header = ["Table", "Result", "Windows", "Failed", "Rows", "Bytes", "Calls", "Proved up to"];
    let rows = results.iter().map(|table| {
        let result = match (table["success"].as_bool(), &table["skipped"]) {
            (Some(true), Value::String(_)) => "nothing to do",
            (Some(true), _) if count(&table["chunks_expired"]) > 0 => "ROWS LOST",
            (Some(true), _) => "verified",
            _ => "FAILED",
        };
        vec![
            text(&table["source_table"]),
            result.to_owned(),
            grouped(count(&table["chunks_processed"])),
            grouped(count(&table["chunks_failed"])),
            grouped(count(&table["records_processed"])),
            bytes(count(&table["bytes_processed"])),
            grouped(count(&table["hunting_calls"])),
            seconds(&table["high_watermark"]),
        ]
    });
    let mut lines = laid_out(&header, rows.collect());
    for table in results {
        let name = text(&table["source_table"]);
        lines.extend(table["error"].as_str().map(|error| format!("{name}: {error}")));
        let warnings = table["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
        lines.extend(warnings.map(|warning| format!("{name}: note: {warning}")));
    }
    lines.extend(notes);
    let took = summary["execution_time_seconds"].as_f64().unwrap_or_default();
    lines.push(format!(
        "Run {id}: {}; {}, {}, {}",
        verdict(status),
        counted(count(&summary["total_records_processed"]), "row"),
        counted(count(&summary["hunting_calls"]), "hunting call"),
        span(Duration::from_secs_f64(took.max(0.0)))
    ));
    lines.iter().map(|line| shown(line)).collect::<Vec<_>>().join("\n")
}

/// How long so many calls take at the quota's pace.
fn time_for(calls: u64, quota: Quota) -> Duration {
    let paced = quota.interval().mul_f64(calls as f64);
    let hourly = quota.per_hour.map_or(Duration::ZERO, |hour| {
        // What is beyond an hour's calls waits for the next one.
        Duration::from_secs(3_600) * u32::try_from(calls.saturating_sub(1) / u64::from(hour.max(1))).unwrap_or(u32::MAX)
    });
    paced.max(hourly)
}

/// Plans, for a script.
pub fn estimates_json(tables: &[Estimate], quota: Quota) -> Value {
    let calls = tables.iter().map(|table| table.calls).sum();
    json!({
        "dry_run": true,
        "tables": tables,
        "rows": tables.iter().map(|table| table.rows).sum::<u64>(),
        "windows": tables.iter().map(|table| table.windows).sum::<u64>(),
        "calls": calls,
        "calls_per_minute": quota.per_minute,
        "seconds": time_for(calls, quota).as_secs_f64().ceil(),
    })
}

/// Plans, for a person.
pub fn estimates(tables: &[Estimate], quota: Quota) -> String {
    if tables.is_empty() {
        return NO_TABLE.to_owned();
    }
    let header = ["Table", "From", "To", "Rows", "Bytes", "Windows", "Left", "Calls"];
    let at = |at: Option<Timestamp>, none: &str| at.map_or_else(|| none.to_owned(), Timestamp::to_seconds);
    let rows = tables.iter().map(|table| {
        vec![
            table.table.clone(),
            at(table.from, if table.to.is_some() { "the first row" } else { "" }),
            at(table.to, ""),
            grouped(table.rows),
            table.bytes.map_or_else(|| "?".to_owned(), bytes),
            grouped(table.windows),
            grouped(table.windows_left),
            grouped(table.calls),
        ]
    });
    let mut lines = laid_out(&header, rows.collect());
    for table in tables {
        let name = &table.table;
        lines.extend(table.error.iter().map(|error| format!("{name}: would fail: {error}")));
        lines.extend(table.skipped.iter().map(|why| format!("{name}: nothing to do: {why}")));
        if table.windows == 0 && table.error.is_none() && table.skipped.is_none() {
            let copied = table.from.map_or_else(String::new, |from| format!(": copied up to {}", from.to_seconds()));
            lines.push(format!("{name}: nothing new{copied}"));
        }
        lines.extend(table.warnings.iter().map(|warning| format!("{name}: note: {warning}")));
    }
    let calls = tables.iter().map(|table| table.calls).sum();
    let planned: u64 = tables.iter().map(|table| table.plan_calls).sum();
    lines.push(format!(
        "A run takes {} or some more, which at {} a minute takes {}; {} {} made for this plan. Nothing was loaded.",
        counted(calls, "hunting call"),
        quota.per_minute,
        span(time_for(calls, quota)),
        grouped(planned),
        if planned == 1 { "was" } else { "were" },
    ));
    lines.iter().map(|line| shown(line)).collect::<Vec<_>>().join("\n")
}

/// Columns as wide as they have to be: the first to the left, numbers to the right.
fn laid_out(header: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&header).chain(&rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let is_number =
        |column: usize| rows.iter().all(|row| row[column].starts_with(|c: char| c.is_ascii_digit() || c == '?'));
    let line = |row: &&Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| match is_number(column) {
            true => format!("{cell:>width$}", width = widths[column]),
            false => format!("{cell:<width$}", width = widths[column]),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

/// The time of a status to the second.
fn seconds(at: &Value) -> String {
    at.as_str().and_then(|text| text.parse::<Timestamp>().ok()).map_or_else(String::new, Timestamp::to_seconds)
}

/// So many of what is called `one` when it is one.
pub fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Bytes in the largest unit that leaves a digit before the point.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.95 {
            break;
        }
        (value, unit) = (value / 1_000.0, next);
    }
    format!("{value:.1} {unit}")
}

/// A span in its two largest units.
fn span(span: Duration) -> String {
    let seconds = span.as_secs_f64().ceil() as u64;
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(failed: u64) -> Value {
        json!({
            "instanceId": "1", "runtimeStatus": "Completed",
            "customStatus": {"tables_failed": failed},
            "output": {"result": {"processing_summary": {
                "total_records_processed": 1_200, "hunting_calls": 4, "execution_time_seconds": 61.2,
                "detailed_results": [
                    {"source_table": "A", "success": true, "skipped": null, "records_processed": 1_200, "chunks_processed": 2,
                     "chunks_failed": 0, "hunting_calls": 3, "bytes_processed": 40_000, "high_watermark": "2026-05-01T00:00:00Z",
                     "warnings": ["look here"]},
                    {"source_table": "Bigger", "success": failed == 0, "skipped": null, "records_processed": 0, "chunks_processed": 0,
                     "chunks_failed": failed, "hunting_calls": 1, "bytes_processed": 0, "high_watermark": null, "warnings": [],
                     "error": if failed > 0 { json!("no luck") } else { Value::Null }},
                ]}}}
        })
    }

    #[test]
    fn a_run_is_verified_when_it_is_completed_and_no_table_failed() {
        assert!(is_verified(&completed(0)) && !is_verified(&completed(1)));
        let nothing = json!({"runtimeStatus": "Completed", "customStatus": {"tables_failed": 0}});
        assert!(!is_verified(&nothing));
        let output = json!({"result": {"notes": ["look"]}});
        let none = json!({"instanceId": "1", "runtimeStatus": "Completed", "output": output});
        assert_eq!(summary(&none), format!("note: look\nRun 1: {NO_TABLE}"));
        assert_eq!(estimates(&[], Quota { per_minute: 45, per_hour: None }), NO_TABLE);
        assert!(!is_verified(&json!({"runtimeStatus": "Terminated", "customStatus": {"tables_failed": 0}})));
        assert_eq!(with_verdict(completed(1), false)["verified"], false);
    }

    #[test]
    fn the_summary_is_a_table_with_errors_and_notes_below() {
        let said = summary(&completed(1));
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "Table   Result    Windows  Failed   Rows    Bytes  Calls  Proved up to");
        assert_eq!(lines[1], "A       verified        2       0  1,200  40.0 kB      3  2026-05-01T00:00:00Z");
        assert_eq!(lines[3..5], ["A: note: look here", "Bigger: no luck"]);
        assert_eq!(lines[5], "Run 1: NOT everything is verified; 1,200 rows, 4 hunting calls, 1 min 2 s");
    }

    #[test]
    fn rows_that_the_source_kept_no_longer_are_not_verified_and_named_as_lost() {
        let mut lost = completed(0);
        let results = &mut lost["output"]["result"]["processing_summary"]["detailed_results"];
        results[0]["chunks_expired"] = json!(1);
        assert!(is_all_that_is_left(&lost) && !is_verified(&lost));
        let said = summary(&lost);
        assert!(said.contains("NOT everything is verified: 1 window expired, whose rows"), "{said}");
        let rows = said.lines().skip(1).take(2).map(|line| line.contains("ROWS LOST")).collect::<Vec<_>>();
        assert_eq!(rows, [true, false], "{said}");
    }

    #[test]
    fn one_of_something_is_told_as_one_and_a_plan_of_nothing_says_so() {
        assert_eq!(
            [0, 1, 2, 1_000].map(|count| counted(count, "call")),
            ["0 calls", "1 call", "2 calls", "1,000 calls"]
        );
        let from = Some("2026-05-01T00:00:00Z".parse().unwrap());
        let table = Estimate { table: "A".into(), from, to: from, plan_calls: 1, calls: 1, ..Estimate::default() };
        let said = estimates(&[table], Quota { per_minute: 45, per_hour: None });
        assert!(said.contains("A: nothing new: copied up to 2026-05-01T00:00:00Z"), "{said}");
        assert!(said.contains("takes 1 hunting call or some more") && said.contains("1 was made"), "{said}");
    }

    #[test]
    fn a_run_that_did_not_complete_says_why() {
        let failed = json!({"instanceId": "1", "runtimeStatus": "Failed", "output": {"message": "no view"}});
        assert_eq!(
            summary(&failed),
            "Run 1 ended as Failed: no view; `adxingestor doctor` looks at all that a run needs"
        );
        let terminated = json!({"instanceId": "1", "runtimeStatus": "Terminated", "output": "enough"});
        assert_eq!(summary(&terminated), "Run 1 ended as Terminated: enough");
    }

    #[test]
    fn a_plan_says_how_long_its_calls_take() {
        let table =
            Estimate { table: "A".into(), rows: 5, windows: 90, calls: 92, plan_calls: 2, ..Estimate::default() };
        let quota = Quota { per_minute: 45, per_hour: None };
        let seconds = estimates_json(std::slice::from_ref(&table), quota)["seconds"].as_f64().unwrap();
        assert!((122.0..=126.0).contains(&seconds), "{seconds}");
        assert!(estimates(&[table], quota).ends_with("2 were made for this plan. Nothing was loaded."));
        assert_eq!(time_for(1_001, Quota { per_minute: 1_000, per_hour: Some(1_000) }), Duration::from_secs(3_600));
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([7, 1_500, 999_990, 3_000_000_000].map(bytes), ["7 B", "1.5 kB", "1.0 MB", "3.0 GB"]);
        assert_eq!(span(Duration::from_secs(3_725)), "1 h 2 min");
    }
}
