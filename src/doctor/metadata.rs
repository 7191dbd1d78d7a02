//! The metadata tables and views, and the rows of the configuration. What a run would make is not made here.

use super::adx::{Parts, Seen};
use super::settings::quoted;
use super::{Area, Ends, Finding};
use crate::adx::Error;
use crate::adx::catalog::{TableLook, config_rows};
use crate::config::CONFIG_VIEW;
use crate::functions::configured;
use crate::kql::Identifier;
use crate::orchestration::instance::TableRun;
use futures_util::future::join_all;
use std::collections::BTreeMap;

pub(super) const VIEW: &str = "metadata.config_view";
const ROWS: &str = "metadata.rows";
const FAILURES_VIEW: &str = "metadata.chunk_audit_view";
/// In the order of `Catalog::metadata_tables`.
const TABLES: [&str; 4] =
    ["metadata.config_table", "metadata.audit_table", "metadata.chunk_audit_table", "metadata.ledger_table"];
const LEDGER: usize = 3;
/// Makes them, and rows of the configuration.
const SETUP: &str = "adxingestor setup --tables recommended --apply";

/// What was found of the metadata.
pub(super) struct Metadata {
    pub findings: Vec<Finding>,
    /// The tables to copy, as a run would have them, or the check because of which that is not known.
    pub tables: Result<Vec<TableRun>, String>,
    /// Whether the ledger's own table is there.
    pub has_ledger: bool,
}

/// All checks of the metadata that were not made because of one.
pub(super) fn skipped(cause: &str) -> Metadata {
    let ids = TABLES.into_iter().chain([VIEW, FAILURES_VIEW, ROWS]);
    let findings = ids.map(|id| Finding::skip(Area::Metadata, id, cause)).collect();
    Metadata { findings, tables: Err(cause.to_owned()), has_ledger: false }
}

/// Looks at the metadata of a database that answers.
pub(super) async fn look(parts: &Parts<'_>, seen: &Seen, ends: Ends) -> Metadata {
    let catalog = &parts.catalog;
    let [make_view, make_failures_view] = catalog.view_commands();
    let looks = catalog.metadata_tables().map(|(table, file)| catalog.look_at_metadata(table, file, ends.step()));
    let view = &catalog.names().chunk_audit_view;
    let (looks, failures_view) = tokio::join!(join_all(looks), catalog.is_there(view, ends.step()));
    let config_is_gone = matches!(looks.first(), Some(Ok(look)) if !look.is_there);
    let has_ledger = matches!(looks.get(LEDGER), Some(Ok(look)) if look.is_there);
    let mut findings: Vec<Finding> = Vec::new();
    for (index, (id, look)) in TABLES.into_iter().zip(looks).enumerate() {
        findings.push(of_table(id, index == 0, look));
    }
    let view_name = catalog.names().config_view.as_str();
    let tables = match &seen.config {
        Some(Ok(answer)) => match config_rows(answer) {
            Ok(rows) => {
                findings.push(Finding::pass(Area::Metadata, VIEW, format!("{view_name} is there with its columns")));
                let tables = configured(parts.settings, rows);
                findings.extend(of_rows(&tables, parts, &make_view));
                Ok(tables)
            }
            Err(error) => {
                let what = format!("{view_name} cannot be read: {error}");
                findings.push(Finding::fail(Area::Metadata, VIEW, what, format!("`{make_view}`")));
                Err(quoted(VIEW))
            }
        },
        _ if config_is_gone => {
            findings.push(Finding::skip(Area::Metadata, VIEW, &quoted(TABLES[0])));
            Err(quoted(TABLES[0]))
        }
        Some(Err(error)) => {
            let what = format!("{view_name}: {error}");
            findings.push(Finding::fail(Area::Metadata, VIEW, what, format!("`{make_view}`")));
            Err(quoted(VIEW))
        }
        None => Err(quoted(VIEW)),
    };
    if let Err(cause) = &tables {
        findings.push(Finding::skip(Area::Metadata, ROWS, cause));
    }
    findings.push(of_failures_view(view.as_str(), failures_view, &make_failures_view));
    Metadata { findings, tables, has_ledger }
}

fn of_table(id: &str, is_config: bool, look: Result<TableLook, Error>) -> Finding {
    let look = match look {
        Ok(look) => look,
        Err(error) => {
            let what = format!("the table could not be looked at: {error}");
            return Finding::warn(Area::Metadata, id, what, "run this command again");
        }
    };
    let table = look.table.as_str();
    let make = format!("`{}`", look.command);
    if !look.is_there && is_config {
        let what = format!("{table} is not there, so nothing says which tables to copy");
        return Finding::fail(Area::Metadata, id, what, format!("`{SETUP}`, or {make}"));
    }
    if !look.is_there {
        let what = format!("{table} is not there yet; the first run makes it, if the identity may");
        return Finding::warn(Area::Metadata, id, what, make);
    }
    let wrong = match look.conflicts.first() {
        Some((name, found, wanted)) => {
            Some(format!("{table} has the column {name} as {found} where {wanted} is needed"))
        }
        None if look.is_another() => {
            Some(format!("{table} is a table of something else: it has none of the columns {}", look.lacks()))
        }
        None => None,
    };
    if let Some(what) = wrong {
        let remedy = match setting_of(id) {
            Some(setting) => {
                format!("set {setting} to a name that is free, or rename {table}: the next run makes a new one")
            }
            None => format!("rename {table} in ADX: the next run makes a new one"),
        };
        return Finding::fail(Area::Metadata, id, what, remedy);
    }
    if !look.missing.is_empty() {
        return Finding::fail(Area::Metadata, id, format!("{table} lacks {}", look.lacks()), make);
    }
    Finding::pass(Area::Metadata, id, format!("{table} is there with its columns"))
}

/// The setting that names a metadata table, if there is one.
fn setting_of(id: &str) -> Option<&'static str> {
    match id {
        "metadata.config_table" => Some("CONFIG_TABLE"),
        "metadata.audit_table" => Some("AUDIT_TABLE"),
        "metadata.chunk_audit_table" => Some("CHUNK_AUDIT_TABLE"),
        _ => None,
    }
}

fn of_failures_view(view: &str, looked: Result<bool, Error>, make: &str) -> Finding {
    match looked {
        Ok(true) => Finding::pass(Area::Metadata, FAILURES_VIEW, format!("{view} is there")),
        Ok(false) => {
            let what = format!("{view} is not there; the app does not read it, and people may");
            Finding::warn(Area::Metadata, FAILURES_VIEW, what, format!("`{make}`"))
        }
        Err(error) => Finding::warn(Area::Metadata, FAILURES_VIEW, format!("{view}: {error}"), format!("`{make}`")),
    }
}

fn of_rows(tables: &[TableRun], parts: &Parts<'_>, make_view: &str) -> Vec<Finding> {
    let names = &parts.settings.names;
    let config = names.config_table.as_str();
    if tables.is_empty() {
        let remedy = format!("`{SETUP}`, or append rows to {config}");
        return vec![Finding::warn(Area::Metadata, ROWS, "no table is active: there is nothing to copy", remedy)];
    }
    let bad = tables.iter().filter_map(|table| Some((&table.config.source, table.result.as_ref()?.error.as_deref()?)));
    let mut rows: Vec<Finding> = Vec::new();
    for (source, problem) in bad {
        let id = format!("metadata.row.{source}");
        if rows.iter().any(|row| row.id == id) {
            continue;
        }
        let what = format!("the row of `{source}`: {problem}");
        let remedy = if tables.iter().filter(|table| table.config.source == *source).count() > 1 {
            // The newest row counts, so it is the view that is wrong.
            remedy_of_view(&names.config_view, make_view)
        } else {
            format!(
                "append a corrected row for this SourceTable to {config} (the newest one counts), or one with IsActive false"
            )
        };
        rows.push(Finding::fail(Area::Metadata, id, what, remedy));
    }
    if !rows.is_empty() {
        return rows;
    }
    match shared_destinations(tables) {
        shared if shared.is_empty() => {
            let what = format!("{} active, each of them valid", tables.len());
            vec![Finding::pass(Area::Metadata, ROWS, what)]
        }
        shared => {
            let what = format!("tables that are copied to the same one, where their rows mix: {}", shared.join("; "));
            let remedy = format!("if that is not meant, append a row with another DestinationTable to {config}");
            vec![Finding::warn(Area::Metadata, ROWS, what, remedy)]
        }
    }
}

/// What makes the view show the newest row of each source alone. A view of another name may be anybody's, or a table.
fn remedy_of_view(view: &Identifier, make: &str) -> String {
    match view.as_str() == CONFIG_VIEW {
        true => format!("`{make}`"),
        false => format!(
            "set CONFIG_VIEW={CONFIG_VIEW}, which `adxingestor setup` makes, or have {view} show the newest row of each SourceTable alone"
        ),
    }
}

/// The destinations that several sources are copied to.
fn shared_destinations(tables: &[TableRun]) -> Vec<String> {
    let mut sources: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for table in tables {
        sources.entry(&table.config.destination).or_default().push(&table.config.source);
    }
    let shared = sources.into_iter().filter(|(_, sources)| sources.len() > 1);
    shared.map(|(destination, sources)| format!("{} to {destination}", sources.join(" and "))).collect()
}
