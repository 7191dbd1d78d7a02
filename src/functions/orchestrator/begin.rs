//! The step `start`: reads the configuration once, freezes the run's end, and sets the run going.

use super::{audit, is_transient};
use crate::adx::catalog::ConfigRow;
use crate::app::{App, Services};
use crate::functions::control::release;
use crate::kql::Identifier;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::{Instance, LoadType, TableConfig, TableResult, TableRun};
use crate::orchestration::limits::START_ATTEMPTS;
use crate::orchestration::message::{ControlMessage, Debt};
use crate::state::{Error, Stored, Transaction};
use std::collections::HashSet;
use tokio::time::Instant;

/// Tables that fit one transaction with the run.
const TABLES_WITH_RUN: usize = 98;

/// Handles the step.
///
/// # Errors
/// The state store's.
#[tracing::instrument(skip_all, fields(instance.id = %id))]
pub async fn handle(app: &App, id: &InstanceId, attempt: u32) -> Result<(), Error> {
    let Some(run) = app.state.instance(id).await? else { return Ok(()) };
    if run.record.status.is_final() {
        return release(app, id).await;
    }
    if run.record.status != crate::orchestration::instance::RuntimeStatus::Pending {
        let tables: Vec<TableRun> = app.state.tables(id).await?.into_iter().map(|t| t.record).collect();
        return app.state.pay(&run.record.plans_owed(&tables)).await;
    }
    let services = match &app.services {
        Ok(services) => services,
        Err(reason) => return fail(app, run, reason).await,
    };
    let deadline = Instant::now() + app.limits.invocation_deadline;
    match services.catalog.read_config(deadline).await {
        Ok(rows) => begin(app, services, run, rows, deadline).await,
        Err(error) if is_transient(&error) && attempt + 1 < START_ATTEMPTS => {
            tracing::warn!(%error, attempt, "the configuration could not be read; trying again");
            let again = ControlMessage::Start { instance: id.clone(), attempt: attempt + 1 };
            app.state.pay(&[Debt::control(again, app.limits.retry_pause(attempt))]).await
        }
        Err(error) => fail(app, run, &format!("the configuration cannot be read: {error}")).await,
    }
}

async fn fail(app: &App, run: Stored<Instance>, reason: &str) -> Result<(), Error> {
    tracing::error!(reason, "the run cannot begin");
    let Ok(failed) = run.record.failed(reason, app.state.now()) else { return Ok(()) };
    app.state.commit(Transaction::new().instance(&failed, Some(&run.etag))?).await?;
    release(app, &failed.id).await
}

async fn begin(
    app: &App,
    services: &Services,
    run: Stored<Instance>,
    rows: Vec<ConfigRow>,
    deadline: Instant,
) -> Result<(), Error> {
    let now = app.state.now();
    let high = now - app.limits.settling_lag;
    let id = run.record.id.clone();
    let mut tables = tables_of(services, &run.record, rows, high);
    let Ok(begun) = run.record.begun(&mut tables, app.limits.tables_at_once, now) else { return Ok(()) };
    for table in tables.iter().filter(|table| table.result.is_some()) {
        tracing::error!(table = table.config.source, error = ?table.result.as_ref().and_then(|r| r.error.as_ref()), "a table is refused");
        audit::write(services, &id, table, &[], now, deadline).await;
    }

    let mut transaction = Transaction::new().instance(&begun, Some(&run.etag))?;
    if tables.len() > TABLES_WITH_RUN {
        for old in app.state.tables(&id).await? {
            if tables.iter().all(|table| table.key != old.record.key) {
                app.state.commit(Transaction::new().delete_table(&id, &old.record.key, &old.etag)?).await?;
            }
        }
        for table in &tables {
            let old = app.state.table(&id, &table.key).await?;
            let write = Transaction::new().table(&id, table, old.as_ref().map(|old| &old.etag))?;
            app.state.commit(write).await?;
        }
    } else {
        for table in &tables {
            transaction = transaction.table(&id, table, None)?;
        }
    }
    app.state.commit(transaction).await?;
    tracing::info!(tables = tables.len(), high = %high, "the run begins");
    app.state.pay(&begun.plans_owed(&tables)).await?;
    if begun.status.is_final() { release(app, &id).await } else { Ok(()) }
}

/// The tables of a run. What is wrong with a row is that table's result and never the others'.
fn tables_of(
    services: &Services,
    run: &Instance,
    rows: Vec<ConfigRow>,
    high: crate::timestamp::Timestamp,
) -> Vec<TableRun> {
    let settings = &services.settings;
    let key = |source: &str, destination: &str| {
        TableKey::new(&settings.tenant, source, &settings.cluster_name(), &settings.database, destination)
    };
    let mut tables = Vec::new();
    let mut seen = HashSet::new();
    let wanted = run.input.tables.as_ref();
    for (index, row) in rows.into_iter().enumerate() {
        if row.is_active != Some(true) || wanted.is_some_and(|wanted| !wanted.contains(&row.source_table)) {
            continue;
        }
        let (config, mut problem) = validated(row);
        let mut own = key(&config.source, &config.destination);
        if !seen.insert(own.clone()) {
            own = key(&config.source, &format!("{}\u{0}{index}", config.destination));
            problem = Some(format!(
                "{} to {} stands twice in {}",
                config.source, config.destination, settings.names.config_view
            ));
        }
        tables.push((own, config, problem));
    }
    for name in wanted.into_iter().flatten() {
        let own = key(name, "\u{0}");
        if tables.iter().any(|(_, config, _)| config.source == *name) || !seen.insert(own.clone()) {
            continue;
        }
        let problem = format!(
            "{name} is not an active table of {}; add a row to {}",
            settings.names.config_view, settings.names.config_table
        );
        tables.push((own, unknown_table(name), Some(problem)));
    }
    let run_of = |(ordinal, (key, config, problem)): (usize, (TableKey, TableConfig, Option<String>))| {
        let result = problem.map(|error| TableResult { error: Some(error), ..TableResult::default() });
        let ordinal = u32::try_from(ordinal).unwrap_or(u32::MAX);
        TableRun { key, ordinal, config, high, started: false, result, owed: Vec::new() }
    };
    tables.into_iter().enumerate().map(run_of).collect()
}

fn unknown_table(name: &str) -> TableConfig {
    TableConfig {
        source: name.to_owned(),
        folder: String::new(),
        destination: String::new(),
        watermark_column: String::new(),
        load_type: None,
        last_refreshed: None,
        high_watermark: None,
    }
}

/// Checks a config row; gives its first problem.
fn validated(row: ConfigRow) -> (TableConfig, Option<String>) {
    let name = |column: &str, text: &str| {
        Identifier::new(text)
            .err()
            .map(|error| format!("{column}: {error}. Correct the row in the configuration table"))
    };
    let load_type = ["Full", "Incremental"].iter().position(|word| word.eq_ignore_ascii_case(row.load_type.trim()));
    let problem = name("SourceTable", &row.source_table)
        .or_else(|| name("DestinationTable", &row.destination_table))
        .or_else(|| name("WatermarkColumn", &row.watermark_column))
        .or_else(|| {
            load_type.is_none().then(|| {
                format!(
                    "LoadType: `{}` is neither Full nor Incremental. Correct the row in the configuration table",
                    row.load_type
                )
            })
        });
    let config = TableConfig {
        source: row.source_table,
        folder: row.destination_folder,
        destination: row.destination_table,
        watermark_column: row.watermark_column,
        load_type: load_type.map(|index| if index == 0 { LoadType::Full } else { LoadType::Incremental }),
        last_refreshed: row.last_refreshed,
        high_watermark: row.high_watermark,
    };
    (config, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(source: &str, destination: &str, column: &str, load_type: &str) -> ConfigRow {
        ConfigRow {
            source_table: source.into(),
            destination_folder: "Defender".into(),
            destination_table: destination.into(),
            watermark_column: column.into(),
            last_refreshed: None,
            high_watermark: None,
            load_type: load_type.into(),
            is_active: Some(true),
        }
    }

    #[test]
    fn a_bad_row_says_which_column_and_what_to_do() {
        for (bad, column) in [
            (row("a | take 1", "B", "Timestamp", "Full"), "SourceTable"),
            (row("A", "", "Timestamp", "Full"), "DestinationTable"),
            (row("A", "B", "Time\"stamp", "Full"), "WatermarkColumn"),
            (row("A", "B", "Timestamp", "Sometimes"), "LoadType"),
        ] {
            let problem = validated(bad).1.unwrap();
            assert!(problem.starts_with(column) && problem.contains("Correct the row"), "{problem}");
        }
        assert_eq!(validated(row("A", "B", "Timestamp", "full")).0.load_type, Some(LoadType::Full));
    }
}
