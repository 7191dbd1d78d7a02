//! The configured tables at the source: which are looked for, and what is said of them by what the tenant shows. Asks nothing.

use super::{Area, Finding};
use crate::defender::queries::ARRIVAL_COLUMN;
use crate::kql::Identifier;
use crate::orchestration::instance::{LoadType, TableConfig};
use crate::setup::Columns;
use std::collections::BTreeMap;

pub(super) const TABLES: &str = "defender.tables";

/// A table that is copied, and the columns of it that its rows are copied by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub table: Identifier,
    /// Those that the configuration names.
    columns: Vec<String>,
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

/// The tables by name, each once.
pub(super) fn wanted<'a>(configs: impl Iterator<Item = &'a TableConfig>) -> Vec<Wanted> {
    let mut wanted: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for config in configs {
        let columns = wanted.entry(&config.source).or_default();
        // A snapshot's rows get the time of the snapshot, and arrival is no column.
        if config.load_type != Some(LoadType::Snapshot) && config.watermark_column != ARRIVAL_COLUMN {
            columns.push(config.watermark_column.clone());
        }
    }
    let known = |(name, columns)| Identifier::new(name).ok().map(|table| Wanted { table, columns });
    wanted.into_iter().filter_map(known).collect()
}

/// What is said of them.
pub(super) fn findings(wanted: &[Wanted], told: &Told) -> Vec<Finding> {
    let Told { unknown, unasked, columns } = told;
    let mut findings: Vec<Finding> = unknown.iter().map(|table| absent(table)).collect();
    let without = wanted.iter().filter_map(|wanted| without_column(wanted, columns.get(wanted.table.as_str())?));
    findings.extend(without);
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
    let remedy = match times.as_slice() {
        [] => {
            format!("append a row for {table} with LoadType Snapshot to the configuration: it has no time to copy by")
        }
        times => format!(
            "append a row for {table} to the configuration with WatermarkColumn {}",
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
        let found = wanted(configs.iter());
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
            findings(&wanted([config("T", column, load_type)].iter()), told).remove(0).remedy.unwrap_or_default()
        };
        let events = columns(&[("Timestamp", "datetime"), ("A", "string")]);
        assert_eq!(of("Timestamp", LoadType::Incremental, &events), "");
        assert_eq!(of(ARRIVAL_COLUMN, LoadType::Incremental, &events), "");
        assert_eq!(of("SnapshotTime", LoadType::Snapshot, &events), "");
        let remedy = of("TimeStamp", LoadType::Incremental, &events);
        assert!(remedy.ends_with("with WatermarkColumn Timestamp or Watermark_IngestionTime"), "{remedy}");
        assert!(of("X", LoadType::Full, &columns(&[("A", "string")])).contains("LoadType Snapshot"));
    }
}
