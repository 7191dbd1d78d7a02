//! The end of a table in a run: watermark, audit, result; and with the last table the end of the run. Every write
//! is repeatable: a redelivery goes through all of it again and changes nothing.

use super::audit;
use crate::adx::catalog::{LedgerEntry, WatermarkMove};
use crate::app::{App, Services};
use crate::functions::control::release;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::{TableResult, TableRun};
use crate::orchestration::ledger::{Head, TableState, verified_prefix};
use crate::orchestration::window::{Window, WindowState};
use crate::state::{Error, Stored, Transaction};
use crate::timestamp::Timestamp;
use tokio::time::Instant;

/// Writes down what came of a table whose windows have all ended, and lets go of it.
///
/// # Errors
/// The state store's.
pub async fn finish_table(app: &App, services: &Services, id: &InstanceId, key: &TableKey) -> Result<(), Error> {
    let Some(Stored { record: head, .. }) = app.state.head(key).await? else { return Ok(()) };
    if head.run.as_ref() != Some(id) || head.state != TableState::Finishing {
        return Ok(());
    }
    let Some(table) = app.state.table(id, key).await? else { return Ok(()) };
    let deadline = Instant::now() + app.limits.invocation_deadline / 2;
    let windows: Vec<Window> = app.state.windows(key).await?.into_iter().map(|(_, window)| window.record).collect();
    let verified_up_to = verified_prefix(head.verified_up_to, &windows);
    if table.record.result.is_none() {
        let moved = move_watermark(app, services, key, &head, verified_up_to, deadline).await;
        let result = result_of(&head, &table.record, &windows, verified_up_to, moved);
        let relevant: Vec<Window> = windows.into_iter().filter(|w| w.run.as_ref() == Some(id)).collect();
        end_table(app, Some(services), id, key, result, &relevant, deadline).await?;
    } else {
        end_table(app, Some(services), id, key, TableResult::default(), &[], deadline).await?;
    }
    let_go(app, id, key, verified_up_to).await
}

/// `meta_Ledger` first, then the config table: the engine moves the watermark only where the ledger has nothing
/// further on record.
async fn move_watermark(
    app: &App,
    services: &Services,
    key: &TableKey,
    head: &Head,
    verified_up_to: Timestamp,
    deadline: Instant,
) -> Result<WatermarkMove, crate::adx::Error> {
    let Some(shape) = head.shape.as_ref().filter(|_| verified_up_to > Timestamp::MIN) else {
        return Ok(WatermarkMove::Moved);
    };
    let ledger = head.ledger.to_string();
    let axis = shape.axis.to_string();
    let entry = LedgerEntry { source: &head.source, destination: &head.destination, ledger_id: &ledger, axis: &axis };
    services.catalog.record_verified(&entry, verified_up_to, deadline).await?;
    let tag = format!("watermark{}{ledger}{:016x}", key.as_str(), verified_up_to.ticks());
    let moved = services.catalog.advance_watermark(&entry, verified_up_to, app.state.now(), &tag, deadline).await?;
    tracing::info!(table = head.source, verified_up_to = %verified_up_to, ?moved, "the watermark");
    Ok(moved)
}

fn result_of(
    head: &Head,
    table: &TableRun,
    windows: &[Window],
    verified_up_to: Timestamp,
    moved: Result<WatermarkMove, crate::adx::Error>,
) -> TableResult {
    let progress = &head.progress;
    let failed: Vec<&Window> = windows.iter().filter(|window| window.state == WindowState::Failed).collect();
    let mut errors: Vec<String> = Vec::new();
    if let Some(first) = failed.first() {
        let reason = first.error.clone().unwrap_or_default();
        errors.push(format!(
            "{} of {} windows failed; the first ({}): {reason}",
            failed.len(),
            progress.windows,
            first.id
        ));
    }
    if let Err(error) = &moved {
        errors.push(format!(
            "everything up to {verified_up_to} is proved, but the watermark could not be written ({error}); the next run writes it"
        ));
    }
    if errors.is_empty() && verified_up_to < head.planned_to {
        errors.push(format!(
            "only what arrived up to {verified_up_to} is proved, of what was planned up to {}",
            head.planned_to
        ));
    }
    let mut warnings = Vec::new();
    if moved.is_ok_and(|moved| moved == WatermarkMove::Held) {
        warnings.push("the watermark was not moved: meta_Ledger already has another range on record".to_owned());
    }
    let expired = windows.iter().filter(|w| w.state == WindowState::Expired && w.run == head.run);
    warnings.extend(expired.filter_map(|window| window.error.clone()));
    if progress.vanished_rows > 0 {
        warnings.push(format!(
            "{} rows that were planned had left the source before they were pulled",
            progress.vanished_rows
        ));
    }
    if let Some(moved) = table.config.high_watermark
        && head.plan.is_some()
        && head.shape.as_ref().is_some_and(|shape| shape.handover.is_none())
        && moved != head.verified_up_to
        && head.verified_up_to != Timestamp::MIN
    {
        warnings.push(format!(
            "HighWatermark was {moved} when the run began, but the ledger has proved everything up to {}: the ledger decides",
            head.verified_up_to
        ));
    }
    TableResult {
        success: errors.is_empty(),
        skipped: None,
        error: (!errors.is_empty()).then(|| errors.join("; ")),
        warnings,
        rows: progress.rows,
        bytes: progress.bytes,
        windows: progress.windows,
        windows_done: progress.verified,
        windows_failed: failed.len() as u64,
        leftovers: progress.leftovers,
        repaired: progress.repaired,
        calls: progress.calls,
        verified_up_to: (verified_up_to != Timestamp::MIN).then_some(verified_up_to),
    }
}

/// Counts a table's result in its run, starts the next table in its place, and with the last one ends the run.
///
/// # Errors
/// The state store's.
pub async fn end_table(
    app: &App,
    services: Option<&Services>,
    id: &InstanceId,
    key: &TableKey,
    result: TableResult,
    windows: &[Window],
    deadline: Instant,
) -> Result<(), Error> {
    loop {
        let Some(run) = app.state.instance(id).await? else { return Ok(()) };
        let tables = app.state.tables(id).await?;
        let Some(own) = tables.iter().find(|table| table.record.key == *key) else { return Ok(()) };
        if own.record.result.is_some() {
            app.state.pay(&own.record.owed).await?;
            return if run.record.status.is_final() { release(app, id).await } else { Ok(()) };
        }
        let next = tables.iter().find(|table| !table.record.started && table.record.result.is_none());
        let now = app.state.now();
        let Ok((counted, ended, started)) =
            run.record.table_ended(&own.record, result.clone(), next.map(|next| &next.record), now)
        else {
            continue;
        };
        if let Some(services) = services {
            audit::write(services, id, &ended, windows, now, deadline).await;
        }
        let mut transaction =
            Transaction::new().table(id, &ended, Some(&own.etag))?.instance(&counted, Some(&run.etag))?;
        if let (Some(started), Some(next)) = (&started, next) {
            transaction = transaction.table(id, started, Some(&next.etag))?;
        }
        match app.state.commit(transaction).await {
            Ok(_) => {
                tracing::info!(
                    table = ended.config.source,
                    success = result.success,
                    rows = result.rows,
                    "a table has ended"
                );
                app.state.pay(&ended.owed).await?;
                if counted.status.is_final() {
                    tracing::info!(instance.id = %id, done = counted.tables_done, failed = counted.tables_failed, "the run has ended");
                    release(app, id).await?;
                }
                return Ok(());
            }
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Lets go of the head and keeps how far it is proved.
async fn let_go(app: &App, id: &InstanceId, key: &TableKey, verified_up_to: Timestamp) -> Result<(), Error> {
    loop {
        let Some(Stored { record: head, etag }) = app.state.head(key).await? else { return Ok(()) };
        if head.run.as_ref() != Some(id) || head.state != TableState::Finishing {
            return Ok(());
        }
        let idle = Head {
            run: None,
            state: TableState::Idle,
            verify: None,
            verified_up_to: head.verified_up_to.max(verified_up_to),
            updated: app.state.now(),
            ..head
        };
        match app.state.commit(Transaction::new().head(key, &idle, Some(&etag))?).await {
            Ok(_) => return Ok(()),
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}
