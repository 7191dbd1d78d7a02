//! Every query and command that the product can send is understood by Microsoft's own KQL parser, and means there what it
//! is meant to; and every one that the product can send is in a golden file, where the parser finds it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod hunting;
mod in_the_engine;
#[path = "../support/installed.rs"]
mod installed;
mod names;
#[path = "../support/odd_texts.rs"]
mod odd_texts;
mod operations;
mod parser;
mod refused;
mod remedies;
mod sent;
mod source;
mod writers;

use parser::{Parsed, Request, Text, parse};
use sent::{Sent, databases, goldens, templates};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Commands of the ingestion endpoint that no published grammar has (dataexplorer-docs
/// `api/netfx/kusto-ingest-client-rest.md` has them).
const UNPUBLISHED: [&str; 2] = [".get ingestion resources", ".get kusto identity token"];

/// The texts of the golden files and what the parser makes of them; each text is parsed once.
fn analysed() -> Option<&'static [(Sent, Parsed)]> {
    static ANALYSED: OnceLock<Option<Vec<(Sent, Parsed)>>> = OnceLock::new();
    let analyse = || {
        let goldens = goldens();
        let texts: Vec<Text> =
            goldens.iter().map(|sent| sent.text.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        let answer = parse(&Request { databases: databases(), texts: texts.clone(), ..Request::default() })?;
        let parsed: BTreeMap<Text, Parsed> = texts.into_iter().zip(answer.texts).collect();
        Some(goldens.into_iter().map(|sent| (sent.clone(), parsed[&sent.text].clone())).collect())
    };
    ANALYSED.get_or_init(analyse).as_deref()
}

#[test]
fn every_query_and_command_is_understood() {
    let Some(analysed) = analysed() else { return };
    assert!(analysed.len() > 50, "{} texts", analysed.len());
    for (sent, parsed) in analysed {
        let expected = if UNPUBLISHED.contains(&sent.text.text.as_str()) { &["UnknownCommand at 0"][..] } else { &[] };
        assert_eq!(parsed.problems, expected, "{}:\n{}", sent.file, sent.text.text);
        assert_eq!(parsed.kind, sent.kind, "{} is sent to the other endpoint:\n{}", sent.file, sent.text.text);
    }
}

#[test]
fn json_inside_a_command_is_json() {
    let Some(analysed) = analysed() else { return };
    let commands = analysed.iter().filter(|(sent, _)| sent.kind == "Command");
    let mut found = 0;
    for (sent, parsed) in commands {
        for text in parsed.strings.iter().filter(|text| text.starts_with(['[', '{'])) {
            found += 1;
            let read = serde_json::from_str::<serde_json::Value>(text);
            assert!(read.is_ok(), "{}: {text}", sent.file);
        }
    }
    assert!(found > 10, "{found} values of JSON");
}

#[test]
fn queries_have_the_columns_that_are_read() {
    let Some(analysed) = analysed() else { return };
    let counts = "ChunkId:string, N:long, NoRow:long, NoTime:long";
    let copies = "ChunkId:string, N:long, NoRow:long, NoTime:long, First:datetime, Rows:long";
    let bins = "Bin:datetime, Rows:long, Total:long";
    let mut seen = BTreeSet::new();
    for (sent, parsed) in analysed.iter().filter(|(sent, _)| sent.kind == "Query") {
        let name = sent.file.rsplit('/').next().unwrap().split('.').next().unwrap();
        let expected = match name {
            "counts" | "counts_in_row" => counts,
            "copies" | "copies_in_row" => copies,
            "chunks" | "chunks_in_row" => "ChunkId:string, N:long, First:datetime, Last:datetime",
            "landings" | "landings_in_row" => "IngestedAt:datetime, N:long",
            "ledgers_of_others" => "LedgerId:string",
            "watermark_inherited_from" => "DestinationTable:string",
            "arrival" => "ArrivedAt:datetime",
            "destination_size" => "Count:long",
            "config_before" => "ArrivedAt:datetime, HighWatermark:datetime, LastRefreshedTime:datetime",
            _ if name.starts_with("see-landings") => "$IngestionTime:datetime, count_:long",
            "ledger_claim" => "Arrived:datetime, LedgerId:string, CutAxis:string, VerifiedUpTo:datetime",
            _ if name.starts_with("partition-counts") => "Part:long, Rows:long, Total:long",
            _ if name.starts_with("held") && parsed.columns.len() == 1 => "Row:string",
            _ if name.starts_with("held") => "N:long, Bytes:long",
            _ if name.starts_with("slices") => "Slice:long, Rows:long, Total:long",
            _ if name.starts_with("bounds") => "Rows:long, First:datetime, Last:datetime, Without:long",
            _ if name.starts_with("histogram-with-past") => "Bin:datetime, New:long, Rows:long, Total:long",
            _ if name.starts_with("snapshot-counts") => "Part:long, Rows:long, Sum:long, Total:long",
            _ if name.starts_with("histogram") => bins,
            _ if name.starts_with("count-null-watermarks") => "NoTime0:long, NoTime1:long",
            _ if name.starts_with("count-null-watermark") => "NoTime:long",
            _ if name.starts_with("count") || name == "visible" => "Rows:long",
            _ if name.starts_with("window") || name == "packed-sample" => "Row:string",
            _ if name.starts_with("sample") && parsed.columns.len() == 6 => {
                "Bin:datetime, Rows:long, Bytes:long, Wire:long, Squares:real, Biggest:long"
            }
            _ if name.starts_with("sample") => "Rows:long, Bytes:long, Wire:long, Squares:real, Biggest:long",
            _ if name.starts_with("close-histogram") => {
                "Bin:datetime, Rows:long, First:datetime, Last:datetime, Total:long"
            }
            _ if name.starts_with("weighed-histogram") => {
                "Bin:datetime, Rows:long, Wire:long, First:datetime, Last:datetime, Total:long"
            }
            "with-columns" | "with-columns-odd-names" => "Bin:datetime, Rows:long, Total:long, Columns:dynamic",
            _ if name.starts_with("shown") => "Rows:long, Without:long",
            // A probe and plain rows show the columns that there are.
            "metadata" | "looks" | "destination_with_policies" => continue,
            _ if name.starts_with("probe") => continue,
            "columns" => "Columns:dynamic",
            "visible-one" => continue,
            "configured" => "SourceTable:string, DestinationTable:string, IsActive:bool",
            _ if name.starts_with("hunting-columns") => "Columns:dynamic, SourceTable:string",
            _ if name.starts_with("hunting-arrival") => "SourceTable:string, ArrivedAt:datetime",
            _ if name.starts_with("plain-") => continue,
            _ => panic!("{}: which columns are read from it?", sent.file),
        };
        assert_eq!(written(&parsed.columns), expected, "{}", sent.file);
        seen.insert(expected);
    }
    assert_eq!(seen.len(), 32);
    let config =
        analysed.iter().find(|(sent, _)| sent.text.text.ends_with("\nvw_meta_LatestMigrationConfiguration")).unwrap();
    assert_eq!(
        written(&config.1.columns),
        "SourceTable:string, IngestionTime:datetime, DestinationFolder:string, DestinationTable:string, \
         WatermarkColumn:string, LastRefreshedTime:datetime, HighWatermark:datetime, LoadType:string, IsActive:bool, \
         Added later:string"
    );
}

fn written(columns: &[(String, String)]) -> String {
    columns.iter().map(|(name, ty)| format!("{name}:{ty}")).collect::<Vec<_>>().join(", ")
}

/// An append goes by position.
#[test]
fn appended_rows_have_the_columns_of_their_table_in_order() {
    let Some(analysed) = analysed() else { return };
    let mut appends = 0;
    for (sent, parsed) in analysed {
        let Some(rest) = sent.text.text.strip_prefix(".set-or-append ") else { continue };
        let table = rest.split(' ').next().unwrap();
        let schema = &databases()[sent.text.database].tables[table];
        let plain: String = schema.chars().filter(|c| !"()[]'".contains(*c)).collect();
        let (mut plain, written) = (plain.replace(", ", ","), written(&parsed.columns).replace(", ", ","));
        if table == "meta_Ledger" && sent.text.text.contains("\n| project ") {
            // Into a table that has gained columns.
            plain = plain.replace("LedgerId", "Owned by:string,LedgerId") + ",Added:long";
        }
        assert_eq!(written, plain, "{}", sent.file);
        appends += 1;
    }
    assert!(appends >= 5, "{appends} appends");
}

#[test]
fn every_template_has_a_golden_text() {
    let goldens = goldens();
    let held = |template: &sent::Template| {
        goldens.iter().any(|sent| template.is_origin_of(&sent.text.text) || template.is_end_of(&sent.text.text))
    };
    let missing: Vec<String> = templates().into_iter().filter(|file| !held(file)).map(|file| file.file).collect();
    assert!(missing.is_empty(), "kql/{missing:?} are filled in no file of tests/golden");
}

#[test]
fn whatever_adx_is_sent_is_a_filled_template() {
    let templates = templates();
    for sent in goldens().iter().filter(|sent| sent.file.starts_with("adx/")) {
        let text = &sent.text.text;
        assert!(
            templates.iter().any(|template| template.is_origin_of(text)),
            "{} holds, from no template:\n{text}",
            sent.file
        );
    }
}
