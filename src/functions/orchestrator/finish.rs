//! The end of a table in a run: watermark, audit, result; and with the last table the end of the run. Every write
//! is repeatable: a redelivery goes through all of it again and changes nothing.

use super::purge::purge_windows;
use super::snapshot::{Ending, Settled};
use super::verify::pay_for;
use super::{audit, is_transient, store};
use crate::adx;
use crate::adx::catalog::{LedgerEntry, WatermarkMove};
use crate::app::{App, Services};
use crate::functions::control::release;
use crate::orchestration::adoption::watch::foreign;
use crate::orchestration::auditor::{Turn, turn};
use crate::orchestration::head::finish::{
    Asked, Audits, Watermark, audited as audited_rows, audits, is_due, is_work_of, let_go, may_wait, postponed, result,
};
use crate::orchestration::head::verify::Count;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::{Instance, TableConfig, TableResult, TableRun};
use crate::orchestration::ledger::Head;
use crate::orchestration::message::Debt;
use crate::orchestration::run::count::{Counting, count};
use crate::orchestration::snapshot::publish::proved_up_to;
use crate::orchestration::window::Window;
use crate::state::Error;
use crate::storage::ETag;
use crate::telemetry::metrics;
use crate::timestamp::Timestamp;
use std::fmt::Display;
use tokio::time::Instant;

/// Writes down what came of a table whose windows have all ended, and lets go of it. `by` is the id of the message that asks for
/// it.
///
/// # Errors
/// The state store's.
pub async fn finish_table(
    app: &App,
    services: &Services,
    id: &InstanceId,
    key: &TableKey,
    by: &str,
) -> Result<(), Error> {
    // The run first: of one that began again since, neither the row nor the head is taken for its former life's. Then the
    // row: a run that begins again lets go of the head before it has other rows.
    let Some(run) = app.state.instance(id).await?.map(|run| run.record) else { return Ok(()) };
    let Some(table) = app.state.table(id, key).await? else { return Ok(()) };
    let Some(head) = app.state.head(key).await?.map(|head| head.record).filter(|head| is_due(head, &run)) else {
        return Ok(());
    };
    if table.record.result.is_some() {
        return end_again(app, id, &table.record).await;
    }
    let deadline = Instant::now() + app.limits.invocation_deadline / 2;
    let seen = store::windows(app, key).await?;
    let windows: Vec<Window> = seen.iter().map(|seen| seen.window.clone()).collect();
    let patient = may_wait(&head, app.state.now(), &app.limits);
    let ending = Ending { app, services, run: &run, key, by, deadline };
    let head = match ending.settle(&head, &windows, patient).await? {
        Settled::AsItWas => head,
        Settled::As(judged) => *judged,
        Settled::Later(error, asked) => return finish_later(app, &run, key, &head, by, &error, asked).await,
        Settled::Elsewhere => return Ok(()),
    };
    let verified_up_to = proved_up_to(&head, &windows);
    let watermark = match move_watermark(app, services, key, &head, verified_up_to, deadline).await {
        Ok(watermark) => watermark,
        Err(error) if patient && is_transient(&error) => {
            return finish_later(app, &run, key, &head, by, &error, Asked::default()).await;
        }
        Err(error) if is_transient(&error) => Watermark::Failed(error.to_string()),
        Err(error) => Watermark::Refused(error.to_string()),
    };
    let result = result(&head, &table.record, &windows, verified_up_to, &watermark);
    let mut ended = table.record.with_result(result);
    let relevant: Vec<Window> = windows.into_iter().filter(|window| is_work_of(window, &head)).collect();
    if !may_audit(app, &run, key, by).await? {
        return Ok(());
    }
    let audited = audit::write(services, &run, &ended, &relevant, app.state.now(), deadline).await;
    match audited {
        Ok(()) => store::move_head(app, key, |head, now| audited_rows(head, &run, now)).await?,
        Err(error) if patient && is_transient(&error) => {
            return finish_later(app, &run, key, &head, by, &error, Asked::default()).await;
        }
        Err(error) => unaudited(&mut ended, &error),
    }
    let result = ended.result.unwrap_or_default();
    if end_table(app, None, id, &table.record, result).await? != Ended::Counted {
        return Ok(());
    }
    leave_table(app, &run, key, verified_up_to).await?;
    purge_windows(app, key, seen, deadline).await
}

/// Whether the message `by` is the one that writes the audit of a table; the head says so then.
async fn may_audit(app: &App, run: &Instance, key: &TableKey, by: &str) -> Result<bool, Error> {
    while let Some(read) = app.state.head(key).await? {
        match audits(&read.record, run, by, app.state.now(), &app.limits) {
            Audits::Yes => return Ok(true),
            Audits::No => break,
            Audits::Once(head) => match store::head(app, key, &head, Some(&read.etag)).await {
                Ok(_) => return Ok(true),
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            },
        }
    }
    tracing::info!("the audit of a table is written by another message");
    Ok(false)
}

/// Comes back to the end of a table whose watermark or audit could not be written now, or whose source could not be asked.
async fn finish_later(
    app: &App,
    run: &Instance,
    key: &TableKey,
    head: &Head,
    by: &str,
    error: &(dyn Display + Sync),
    asked: Asked,
) -> Result<(), Error> {
    tracing::warn!(%error, table = head.source, "the end of a table could not be written down; it is tried again");
    let end = Count { number: head.verify_number, message: by };
    store::move_head(app, key, |head, now| postponed(key, head, run, end, asked, now, &app.limits)).await?;
    pay_for(app, key, end).await
}

/// Goes again through the end of a table that has its result.
///
/// # Errors
/// The state store's.
pub async fn end_again(app: &App, id: &InstanceId, table: &TableRun) -> Result<(), Error> {
    let key = &table.key;
    let Some(run) = app.state.instance(id).await?.map(|run| run.record) else { return Ok(()) };
    // It is counted already, so no other result comes of this.
    if end_table(app, None, id, table, TableResult::default()).await? != Ended::Counted {
        return Ok(());
    }
    let Some(head) = app.state.head(key).await?.map(|head| head.record).filter(|head| is_due(head, &run)) else {
        return Ok(());
    };
    let windows: Vec<Window> = store::windows(app, key).await?.into_iter().map(|seen| seen.window).collect();
    leave_table(app, &run, key, proved_up_to(&head, &windows)).await
}

/// `meta_Ledger` first, then the config table: the engine moves the watermark only where the ledger has nothing
/// further on record. Where another ledger owns the destination nothing is written: a row that says how far this one is
/// would take it over.
async fn move_watermark(
    app: &App,
    services: &Services,
    key: &TableKey,
    head: &Head,
    verified_up_to: Timestamp,
    deadline: Instant,
) -> Result<Watermark, adx::Error> {
    let Some(shape) = head.shape.as_ref().filter(|_| verified_up_to > Timestamp::MIN) else {
        return Ok(Watermark::Moved);
    };
    let owner = services.catalog.ledger_owner(&head.source, &head.destination, deadline).await?;
    let owner = owner.as_ref().map(|owner| owner.ledger_id.as_str());
    if let Some(foreign) = foreign(head, owner, &services.settings.told_apart_by()) {
        tracing::error!(table = head.source, %foreign, "the watermark is not moved");
        return Ok(Watermark::Foreign(foreign.to_string()));
    }
    let ledger = head.ledger.to_string();
    let axis = shape.axis.to_string();
    let entry = LedgerEntry { source: &head.source, destination: &head.destination, ledger_id: &ledger, axis: &axis };
    services.catalog.record_verified(&entry, verified_up_to, deadline).await?;
    let tag = format!("watermark{}{ledger}{:016x}", key.as_str(), verified_up_to.ticks());
    let moved = services.catalog.advance_watermark(&entry, verified_up_to, app.state.now(), &tag, deadline).await?;
    tracing::info!(table = head.source, verified_up_to = %verified_up_to, ?moved, "the watermark");
    Ok(match moved {
        WatermarkMove::Moved => Watermark::Moved,
        WatermarkMove::Held => Watermark::Held,
    })
}

/// What became of the end of a table in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its result is counted.
    Counted,
    /// The run has it no longer.
    Gone,
    /// Another message writes its audit, and goes on with it.
    Elsewhere,
}

/// The audit of a table without windows, which its end writes.
#[derive(Clone, Copy)]
pub struct Audit<'a> {
    pub services: &'a Services,
    /// The id of the message that asks for it.
    pub by: &'a str,
}

/// Counts a table's result in its run, starts the next table in its place, and with the last one ends the run. `table`
/// is the row that the work was begun for. Before that the audit is written, if it is asked for.
///
/// # Errors
/// The state store's.
pub async fn end_table(
    app: &App,
    mut audit: Option<Audit<'_>>,
    id: &InstanceId,
    table: &TableRun,
    mut result: TableResult,
) -> Result<Ended, Error> {
    let deadline = Instant::now() + app.limits.invocation_deadline / 4;
    loop {
        let Some(run) = app.state.instance(id).await? else { return Ok(Ended::Gone) };
        let rows = store::tables(app, id).await?;
        let now = app.state.now();
        let (mut table, write, owed, over) = match count(&run.record, &rows, &table.key, table.high, &result, now) {
            Counting::Unknown => return Ok(Ended::Gone),
            Counting::Before { owed, over } => return leave(app, id, &owed, over).await,
            Counting::Now { table, write, owed, over } => (table, write, owed, over),
        };
        if let Some(Audit { services, by }) = audit {
            match take_turn(app, id, &rows, &table.key, by).await {
                Ok(true) => audit = None,
                Ok(false) => return Ok(Ended::Elsewhere),
                Err(Error::Conflict) => continue,
                Err(error) => return Err(error),
            }
            if let Err(error) = audit::write(services, &run.record, &table, &[], now, deadline).await {
                unaudited(&mut table, &error);
                result = table.result.unwrap_or_default();
                continue;
            }
        }
        match store::run(app, &write, &run.etag).await {
            Ok(_) => {
                log_end(app, &table.config, &result);
                if over {
                    let (done, failed) = (write.run.tables_done, write.run.tables_failed);
                    tracing::info!(instance = %id, done, failed, "the run has ended");
                }
                return leave(app, id, &owed, over).await;
            }
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}

fn log_end(app: &App, table: &TableConfig, result: &TableResult) {
    let (success, rows) = (result.success, result.rows);
    metrics::table_ended(&table.source, success);
    if let Some(proved) = result.verified_up_to.filter(|_| !table.is_loaded_once()) {
        metrics::behind(&table.source, app.state.now().since(proved));
    }
    tracing::info!(table = table.source, success, rows, "a table has ended");
}

/// Whether the message `by` is the one that writes the audit of a table without windows; the run's row of it says so then.
async fn take_turn(
    app: &App,
    id: &InstanceId,
    rows: &[(TableRun, ETag)],
    key: &TableKey,
    by: &str,
) -> Result<bool, Error> {
    let Some((row, version)) = rows.iter().find(|(row, _)| row.key == *key) else { return Ok(false) };
    match turn(row.auditor.as_ref(), by, app.state.now(), &app.limits) {
        Turn::Own => Ok(true),
        Turn::Other => {
            tracing::info!("the audit of a table is written by another message");
            Ok(false)
        }
        Turn::Free(auditor) => {
            store::run_table(app, id, &row.audited_by(auditor), version).await?;
            Ok(true)
        }
    }
}

async fn leave(app: &App, id: &InstanceId, owed: &[Debt], over: bool) -> Result<Ended, Error> {
    app.state.pay(owed).await?;
    if over {
        release(app, id).await?;
    }
    Ok(Ended::Counted)
}

/// Says in the result of a table that its audit is missing.
fn unaudited(table: &mut TableRun, error: &adx::Error) {
    tracing::error!(%error, table = table.config.source, "the audit could not be written");
    if let Some(result) = &mut table.result {
        result.warnings.push(format!("the audit rows of this table could not be written: {error}"));
    }
}

/// Lets go of the head and keeps how far it is proved.
async fn leave_table(app: &App, run: &Instance, key: &TableKey, verified_up_to: Timestamp) -> Result<(), Error> {
    store::move_head(app, key, |head, now| let_go(head, run, verified_up_to, now)).await
}
