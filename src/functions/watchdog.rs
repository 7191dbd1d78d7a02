//! Timer `watchdog`: finds what stopped moving and carries out its repairs (`orchestration::watchdog` decides). Three
//! storage transactions when idle: the page of places, and a receive on each poison queue.
//!
//! Each repair is an event `repair` in the log, with its kind, run, table and window, to be counted there, and stands in the
//! record of its run, which the status shows.

mod poisoned;
#[cfg(test)]
mod tests;

use super::control::release;
use super::orchestrator::{swap_head, swap_run};
use crate::app::App;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::Instance;
use crate::orchestration::repairs::Repaired;
use crate::orchestration::run::place::Active;
use crate::orchestration::watchdog::{self, Action, Calls, Sight};
use crate::state::{Error, Stored, readable};
use crate::storage::ETag;
use crate::telemetry::{ids, metrics};
use crate::timestamp::Timestamp;
use std::collections::HashMap;
use tokio::time::Instant;
use tracing::Instrument;

/// Handles a tick. What does not fit its time is for the next one.
///
/// # Errors
/// The state store's: the last one, after all that could be looked at.
pub async fn handle(app: &App) -> Result<(), Error> {
    let end = Instant::now() + app.limits.working_time();
    let mut outcome = Ok(());
    for place in app.state.each_place().await? {
        if Instant::now() >= end {
            return outcome;
        }
        // A run that cannot be looked at keeps neither the others nor the poison queues.
        let place = match place {
            Ok(place) => place.record,
            Err(error) => {
                tracing::error!(%error, "the place of a run could not be watched");
                outcome = Err(error);
                continue;
            }
        };
        let span = ids::part("watch");
        span.in_scope(|| ids::instance(&place.instance));
        if let Err(error) = watch(app, &place).instrument(span).await {
            match error.may_pass() {
                true => {
                    tracing::warn!(instance = %place.instance, %error, "a run could not be watched; the next tick tries again")
                }
                false => tracing::error!(instance = %place.instance, %error, "a run could not be watched"),
            }
            outcome = Err(error);
        }
    }
    poisoned::bury(app, end).await.and(outcome)
}

async fn watch(app: &App, place: &Active) -> Result<(), Error> {
    let run = app.state.instance(&place.instance).await?;
    let record = run.as_ref().map(|run| &run.record);
    let Seen { tables, heads } = if watchdog::needs_tables(record) { look(app, place).await? } else { Seen::default() };
    let calls =
        if tables.iter().any(|sight| !sight.windows.is_empty()) { app.state.calls().await? } else { Calls::OPEN };
    let now = app.state.now();
    let mut made = Vec::new();
    let mut outcome = Ok(());
    for repair in watchdog::diagnose(place, record, &tables, calls, now, &app.limits) {
        let note = repair.made(now);
        log(Some(&place.instance), &note, None);
        match carry_out(app, place, run.as_ref(), &heads, repair.action).await {
            Ok(Noted::Already) => {}
            Ok(Noted::NotYet) => made.push(note),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    self::record(app, Some(&place.instance), &made).await.and(outcome)
}

/// Whether the write of a repair has put it on record.
enum Noted {
    Already,
    NotYet,
}

async fn carry_out(
    app: &App,
    place: &Active,
    run: Option<&Stored<Instance>>,
    heads: &HashMap<TableKey, ETag>,
    action: Action,
) -> Result<Noted, Error> {
    match (action, run) {
        (Action::Send(debts), _) => app.state.pay(&debts).await?,
        (Action::Dispatch { table, head, debts }, _) => {
            app.state.pay(&debts).await?;
            match swap_head(app, &table, &head, heads.get(&table)).await {
                // It moves after all.
                Ok(_) | Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        (Action::End(ended), Some(read)) => {
            if swap_run(app, read, &ended).await? {
                release(app, &place.instance).await?;
            }
            return Ok(Noted::Already);
        }
        (Action::End(_), None) | (Action::Leave, _) => release(app, &place.instance).await?,
    }
    Ok(Noted::NotYet)
}

/// The event of a repair. `message` is the id of a poisoned message, under which the host logs it.
fn log(run: Option<&InstanceId>, made: &Repaired, message: Option<&str>) {
    let (kind, what) = (made.kind.name(), made.kind.what());
    let (table, window) = (made.table.as_deref(), made.window.as_deref());
    let instance = run.map(InstanceId::as_str);
    metrics::repaired(kind);
    tracing::warn!(name: "repair", kind, instance, table, window, message_id = message, "repair: {what}");
}

/// Puts repairs on the record of their run.
async fn record(app: &App, run: Option<&InstanceId>, made: &[Repaired]) -> Result<(), Error> {
    let Some(id) = run.filter(|_| !made.is_empty()) else { return Ok(()) };
    while let Some(read) = app.state.instance(id).await? {
        if swap_run(app, &read, &read.record.repaired(made)).await? {
            break;
        }
    }
    Ok(())
}

/// The tables of a run, and the versions of their heads.
#[derive(Default)]
struct Seen {
    tables: Vec<Sight>,
    heads: HashMap<TableKey, ETag>,
}

async fn look(app: &App, place: &Active) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    for Stored { record: table, .. } in app.state.tables(&place.instance).await? {
        // A table whose records cannot be read keeps no other from being watched.
        let stored = match watchdog::needs_head(&table) {
            true => readable(app.state.head(&table.key).await)?.flatten(),
            false => None,
        };
        let head = stored.map(|stored| {
            let grows = !table.config.is_loaded_once();
            if grows && stored.record.verified_up_to > Timestamp::MIN {
                metrics::behind(&stored.record.source, app.state.now().since(stored.record.verified_up_to));
            }
            seen.heads.insert(table.key.clone(), stored.etag);
            stored.record
        });
        let windows = if watchdog::needs_windows(&place.instance, head.as_ref()) {
            let windows = readable(app.state.windows(&table.key).await)?.unwrap_or_default();
            windows.into_iter().map(|(name, window)| (name, window.record)).collect()
        } else {
            Vec::new()
        };
        seen.tables.push(Sight { table, head, windows });
    }
    Ok(seen)
}
