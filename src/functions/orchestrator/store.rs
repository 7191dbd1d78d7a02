//! Carries out what the rules want stored: one transaction each.

use crate::app::App;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::{Instance, TableRun};
use crate::orchestration::ledger::Head;
use crate::orchestration::write::{RowWrite, RunWrite, Seen, TableWrite, WindowWrite};
use crate::state::{Error, Stored, Transaction};
use crate::storage::ETag;
use crate::telemetry::metrics;
use crate::timestamp::Timestamp;

/// All windows of a table.
///
/// # Errors
/// The state store's.
pub async fn windows(app: &App, table: &TableKey) -> Result<Vec<Seen<ETag>>, Error> {
    let windows = app.state.windows(table).await?.into_iter();
    Ok(windows.map(|(name, stored)| Seen { name, window: stored.record, version: stored.etag }).collect())
}

/// All tables of a run.
///
/// # Errors
/// The state store's.
pub async fn tables(app: &App, id: &InstanceId) -> Result<Vec<(TableRun, ETag)>, Error> {
    Ok(app.state.tables(id).await?.into_iter().map(|stored| (stored.record, stored.etag)).collect())
}

/// Swaps, or without a version inserts, the head; gives its new version.
///
/// # Errors
/// The state store's.
pub async fn head(app: &App, table: &TableKey, head: &Head, etag: Option<&ETag>) -> Result<ETag, Error> {
    first(app.state.commit(Transaction::new().head(table, head, etag)?).await?)
}

/// Swaps the head for what `rule` makes of it at the time, anew when somebody else was faster; leaves it where the rule
/// makes nothing of it.
///
/// # Errors
/// The state store's.
pub async fn move_head(
    app: &App,
    table: &TableKey,
    rule: impl Fn(&Head, Timestamp) -> Option<Head>,
) -> Result<(), Error> {
    while let Some(read) = app.state.head(table).await? {
        let Some(next) = rule(&read.record, app.state.now()) else { break };
        match head(app, table, &next, Some(&read.etag)).await {
            Ok(_) => break,
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Stores what a rule wants for a table whose head was read at `etag`; gives the head's new version.
///
/// # Errors
/// The state store's.
pub async fn table(app: &App, table: &TableKey, write: &TableWrite<ETag>, etag: &ETag) -> Result<ETag, Error> {
    let transaction = Transaction::new().head(table, &write.head, Some(etag))?;
    first(app.state.commit(with_windows(transaction, table, write)?).await?)
}

/// The same without the head.
#[cfg(feature = "mutants")]
pub async fn windows_alone(app: &App, table: &TableKey, write: &TableWrite<ETag>) -> Result<(), Error> {
    app.state.commit(with_windows(Transaction::new(), table, write)?).await.map(|_| ())
}

fn with_windows(
    mut transaction: Transaction,
    table: &TableKey,
    write: &TableWrite<ETag>,
) -> Result<Transaction, Error> {
    for change in &write.windows {
        transaction = match change {
            WindowWrite::Insert(name, window) => transaction.window(table, name, window, None)?,
            WindowWrite::Swap(name, window, version) => transaction.window(table, name, window, Some(version))?,
            WindowWrite::Delete(name, version) => transaction.delete_window(table, name, version)?,
        };
    }
    Ok(transaction)
}

/// Stores what a rule wants for a run that was read at `etag`; gives the run's new version.
///
/// # Errors
/// The state store's.
pub async fn run(app: &App, write: &RunWrite<ETag>, etag: &ETag) -> Result<ETag, Error> {
    let id = &write.run.id;
    let mut transaction = Transaction::new().instance(&write.run, Some(etag))?;
    for change in &write.rows {
        transaction = match change {
            RowWrite::Insert(row) => transaction.table(id, row, None)?,
            RowWrite::Swap(row, version) => transaction.table(id, row, Some(version))?,
            RowWrite::Delete(table, version) => transaction.delete_table(id, table, version)?,
        };
    }
    let committed = first(app.state.commit(transaction).await?)?;
    if write.run.status.is_final() {
        metrics::run_ended(write.run.status.name());
    }
    Ok(committed)
}

/// Swaps a table of a run that was read at `etag`.
///
/// # Errors
/// The state store's.
pub async fn run_table(app: &App, id: &InstanceId, table: &TableRun, etag: &ETag) -> Result<(), Error> {
    app.state.commit(Transaction::new().table(id, table, Some(etag))?).await.map(|_| ())
}

/// Swaps a run; gives whether it still was what was read.
///
/// # Errors
/// The state store's.
pub async fn swap_run(app: &App, read: &Stored<Instance>, next: &Instance) -> Result<bool, Error> {
    match app.state.commit(Transaction::new().instance(next, Some(&read.etag))?).await {
        Ok(_) => {
            if next.status.is_final() && !read.record.status.is_final() {
                metrics::run_ended(next.status.name());
            }
            Ok(true)
        }
        Err(Error::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

fn first(etags: Vec<Option<ETag>>) -> Result<ETag, Error> {
    etags.into_iter().next().flatten().ok_or(Error::Conflict)
}
