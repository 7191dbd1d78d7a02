//! The configured tables at the source: which are looked for, and what is said of them by what the tenant shows. Asks nothing.

use super::{Area, Finding};
use crate::defender::queries::ARRIVAL_COLUMN;
use crate::kql::Identifier;
use crate::orchestration::head::learn::{OtherCopy, agree};
use crate::orchestration::instance::{LoadType, TableConfig};
use crate::orchestration::ledger::Head;
use crate::setup::Columns;
use std::collections::BTreeMap;

pub(super) const TABLES: &str = "defender.tables";

/// A table that is copied, and the columns of it that its rows are copied by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub table: Identifier,
    /// Those that the configuration names.
    columns: Vec<String>,
    /// The column by which its rows were copied so far, where there is a ledger.
    copied_by: Option<String>,
    /// What the configuration asks for and its ledger does not agree to, and what does away with that.
    disagreement: Option<(String, String)>,
}

/// What the service has told of them.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Tables that are not there.
    pub unknown: Vec<String>,
    /// Tables that were not asked for.
    pub unasked: Vec<String>,
    /// The columns of those that are, where the service tells.
    pub columns: BTreeMap<String, Columns>,
}

/// The tables by name, each once; with a table, its ledger where there is one.
pub(super) fn wanted<'a>(tables: impl Iterator<Item = (&'a TableConfig, Option<&'a Head>)>) -> Vec<Wanted> {
    let mut wanted: BTreeMap<Identifier, Wanted> = BTreeMap::new();
    for (config, head) in tables {
        let Ok(table) = Identifier::new(&config.source) else { continue };
        let known = wanted.entry(table.clone()).or_insert_with(|| Wanted {
            table,
            columns: Vec::new(),
            copied_by: None,
            disagreement: None,
        });
        if let Some(head) = head.filter(|head| head.shape.is_some()) {
            known.copied_by = Some(head.watermark_column.clone());
            known.disagreement = disagreement(head, config).or(known.disagreement.take());
        }
        // A snapshot's rows get the time of the snapshot, and arrival is no column.
        if config.load_type != Some(LoadType::Snapshot) && config.watermark_column != ARRIVAL_COLUMN {
            known.columns.push(config.watermark_column.clone());
        }
    }
    wanted.into_values().collect()
}

/// What a run would refuse, and the row that it takes.
fn disagreement(head: &Head, config: &TableConfig) -> Option<(String, String)> {
    let other = agree(head, config).err()?;
    let row = match &other {
        OtherCopy::WatermarkColumn { before, .. } => format!("WatermarkColumn {before}"),
        OtherCopy::LoadType { whole: true, .. } => "LoadType Snapshot".to_owned(),
        OtherCopy::LoadType { whole: false, .. } => "the LoadType that it had".to_owned(),
    };
    Some((other.to_string(), format!("append a row for {} to the configuration with {row}", config.source)))
}

/// What is said of them.
pub(super) fn findings(wanted: &[Wanted], told: &Told) -> Vec<Finding> {
    let Told { unknown, unasked, columns } = told;
    let mut findings: Vec<Finding> = unknown.iter().map(|table| absent(table)).collect();
    let is_there = |wanted: &&Wanted| !unknown.iter().any(|table| table == wanted.table.as_str());
    findings.extend(wanted.iter().filter(is_there).filter_map(|wanted| {
        let refused = wanted.disagreement.clone().map(|(what, remedy)| {
            Finding::fail(Area::Defender, id(wanted.table.as_str()), format!("runs refuse the table: {what}"), remedy)
        });
        refused.or_else(|| without_column(wanted, columns.get(wanted.table.as_str())?))
    }));
    if !unasked.is_empty() {
        let what = format!("not looked at, to spare the tenant's calls: {}", unasked.join(", "));
        let remedy = "run this command again when what else failed is mended";
        findings.push(Finding::warn(Area::Defender, TABLES, what, remedy));
    } else if findings.is_empty() {
        let what =
            if wanted.is_empty() { "none is configured".to_owned() } else { format!("all {} are there", wanted.len()) };
        findings.push(Finding::pass(Area::Defender, TABLES, what));
    }
    findings
}

fn id(table: &str) -> String {
    format!("defender.table.{table}")
}

fn absent(table: &str) -> Finding {
    let what = format!(
        "the tenant does not show the table {table}: it has no licence for it, or the name is another one (case counts)"
    );
    let remedy = format!(
        "see Hunting > Advanced hunting > Schema in the Microsoft Defender portal; then correct SourceTable in the configuration, or \
         set IsActive to false for {table}"
    );
    Finding::fail(Area::Defender, id(table), what, remedy)
}

/// A table that lacks a column that it is to be copied by.
fn without_column(wanted: &Wanted, held: &Columns) -> Option<Finding> {
    let column = wanted.columns.iter().find(|column| !held.contains_key(*column))?;
    let table = wanted.table.as_str();
    let mut times: Vec<&str> =
        held.iter().filter(|(_, ty)| ty.eq_ignore_ascii_case("datetime")).map(|(name, _)| name.as_str()).collect();
    // The time of the event itself first.
    times.sort_by_key(|name| !matches!(*name, "Timestamp" | "TimeGenerated"));
    let what = format!("{table} has no column {column}, which WatermarkColumn names");
    let anew = match &wanted.copied_by {
        // Its rows have no value in another column.
        Some(_) => "another DestinationTable and ",
        None => "",
    };
    let remedy = match times.as_slice() {
        [] => {
            format!(
                "append a row for {table} with {anew}LoadType Snapshot to the configuration: it has no time to copy by"
            )
        }
        times => format!(
            "append a row for {table} to the configuration with {anew}WatermarkColumn {}",
            [times, &[ARRIVAL_COLUMN]].concat().join(" or ")
        ),
    };
    Some(Finding::fail(Area::Defender, id(table), what, remedy))
}

/// Whether a refusal names a table, and not one that has it in its name.
pub(super) fn names_it(message: &str, table: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    message
        .match_indices(table)
        .any(|(at, _)| !message[..at].ends_with(is_part) && !message[at + table.len()..].starts_with(is_part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;
    use crate::orchestration::head::testing::{head, shape};
    use crate::orchestration::ledger::TableState;

    #[test]
    fn a_table_is_told_from_one_that_has_it_in_its_name() {
        let said = "Failed to resolve table or column expression named 'DeviceInfoGathering'. Fix semantic errors";
        assert!(names_it(said, "DeviceInfoGathering"));
        assert!(!names_it(said, "DeviceInfo"));
        assert!(!names_it(said, "InfoGathering"));
    }

    fn config(source: &str, column: &str, load_type: LoadType) -> TableConfig {
        TableConfig {
            source: source.into(),
            folder: String::new(),
            destination: source.into(),
            watermark_column: column.into(),
            load_type: Some(load_type),
            last_refreshed: None,
            high_watermark: None,
        }
    }

    #[test]
    fn tables_are_asked_for_once_and_what_is_no_name_is_left_out() {
        let configs = ["B", "A", "B", "a | b"].map(|name| config(name, "Timestamp", LoadType::Full));
        let found = wanted(configs.iter().map(|config| (config, None)));
        assert_eq!(found.iter().map(|wanted| wanted.table.as_str()).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(found[1].columns, ["Timestamp", "Timestamp"]);
    }

    #[test]
    fn only_a_column_of_the_source_has_to_be_there() {
        let columns = |named: &[(&str, &str)]| {
            let columns = named.iter().map(|(name, ty)| ((*name).to_owned(), (*ty).to_owned())).collect();
            Told { columns: BTreeMap::from([("T".to_owned(), columns)]), ..Told::default() }
        };
        let of = |column, load_type, told: &Told| {
            findings(&wanted([(&config("T", column, load_type), None)].into_iter()), told)
                .remove(0)
                .remedy
                .unwrap_or_default()
        };
        let events = columns(&[("Timestamp", "datetime"), ("A", "string")]);
        assert_eq!(of("Timestamp", LoadType::Incremental, &events), "");
        assert_eq!(of(ARRIVAL_COLUMN, LoadType::Incremental, &events), "");
        assert_eq!(of("SnapshotTime", LoadType::Snapshot, &events), "");
        let remedy = of("TimeStamp", LoadType::Incremental, &events);
        assert!(remedy.ends_with("with WatermarkColumn Timestamp or Watermark_IngestionTime"), "{remedy}");
        assert!(of("X", LoadType::Full, &columns(&[("A", "string")])).contains("LoadType Snapshot"));
    }

    #[test]
    fn a_table_that_was_copied_is_held_to_the_column_that_it_was_copied_by() {
        let events = ["Timestamp", "ReportTime"].map(|name| (name.to_owned(), "datetime".to_owned()));
        let told =
            Told { columns: BTreeMap::from([("s".to_owned(), events.into_iter().collect())]), ..Told::default() };
        let head = Head {
            shape: Some(shape()),
            source: "s".into(),
            watermark_column: "Timestamp".into(),
            ..head(TableState::Idle)
        };
        let of = |column, load_type, head: &Head, told: &Told| {
            findings(&wanted([(&config("s", column, load_type), Some(head))].into_iter()), told).remove(0)
        };
        let remedy = |column| of(column, LoadType::Incremental, &head, &told).remedy.unwrap_or_default();
        assert_eq!(remedy("Timestamp"), "");
        for other in [ARRIVAL_COLUMN, "ReportTime", "TimeStamp"] {
            assert!(
                remedy(other).ends_with("to the configuration with WatermarkColumn Timestamp"),
                "{}",
                remedy(other)
            );
        }
        assert_eq!(of(ARRIVAL_COLUMN, LoadType::Incremental, &head, &Told::default()).status, Status::Fail);
        assert!(of("", LoadType::Snapshot, &head, &told).what.contains("was copied by ranges"));
        let gone = Head { watermark_column: "Gone".into(), ..head.clone() };
        let remedy = of("Gone", LoadType::Incremental, &gone, &told).remedy.unwrap_or_default();
        assert!(remedy.contains("with another DestinationTable and WatermarkColumn Timestamp"), "{remedy}");
        let never = Head { shape: None, ..head.clone() };
        assert_eq!(of(ARRIVAL_COLUMN, LoadType::Incremental, &never, &told).remedy, None);
    }
}
