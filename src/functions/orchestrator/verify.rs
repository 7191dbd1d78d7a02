//! The step `verify` of a table: counts its submitted windows in ADX, records what that proves, and goes on until
//! none is left.

use super::finish::finish_table;
use crate::app::{App, Services};
use crate::functions::hunting::{Hunting, number};
use crate::functions::source;
use crate::kql::Identifier;
use crate::orchestration::fan_in::{fill_lanes, schedule_verify};
use crate::orchestration::ids::{TableKey, WindowName};
use crate::orchestration::ledger::{Head, HeadDebts, TableState};
use crate::orchestration::limits::{COUNT_BATCH, Limits, TRANSACTION_WINDOWS};
use crate::orchestration::message::Debt;
use crate::orchestration::verification::{Found, Verdict, judge, settle};
use crate::orchestration::window::{Window, WindowState};
use crate::state::{Error, Stored, Transaction};
use crate::timestamp::Timestamp;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

type Submitted = (WindowName, Stored<Window>);

/// Handles the step.
///
/// # Errors
/// The state store's.
#[tracing::instrument(skip_all, fields(table = key.as_str(), number))]
pub async fn handle(app: &App, key: &TableKey, number: u64) -> Result<(), Error> {
    let Some(Stored { record: head, .. }) = app.state.head(key).await? else { return Ok(()) };
    let services = match &app.services {
        Ok(services) => services,
        Err(reason) => {
            tracing::error!(reason, table = head.source, "the table cannot be counted with these settings");
            return Ok(());
        }
    };
    let Some(run) = head.run.clone() else { return Ok(()) };
    if head.state == TableState::Finishing {
        return finish_table(app, services, &run, key).await;
    }
    if head.verify.as_ref().is_none_or(|due| due.number != number) {
        // A count that was overtaken. If it is the one before, its debts may not have been paid.
        return match &head.owed_verify {
            Some(debts) if debts.step == step_name(number) => app.state.pay(&debts.messages).await,
            _ => Ok(()),
        };
    }
    if head.state != TableState::Running {
        return Ok(());
    }
    let deadline = Instant::now() + app.limits.invocation_deadline;
    let windows = app.state.windows(key).await?;
    let at_work = windows.iter().any(|(_, w)| matches!(w.record.state, WindowState::Claimed | WindowState::Sealed));
    let submitted: Vec<Submitted> =
        windows.into_iter().filter(|(_, w)| w.record.state == WindowState::Submitted).collect();
    if head.stop && submitted.is_empty() && !at_work {
        // What is still planned is for the next run.
        return Ok(());
    }
    let judged = judge_all(app, services, &head, submitted, deadline).await;
    let through = record(app, services, key, number, judged, deadline).await?;
    if through { finish_table(app, services, &run, key).await } else { Ok(()) }
}

fn step_name(number: u64) -> String {
    format!("verify:{number}")
}

struct Judged {
    name: WindowName,
    window: Stored<Window>,
    verdict: Verdict,
}

async fn judge_all(
    app: &App,
    services: &Services,
    head: &Head,
    submitted: Vec<Submitted>,
    deadline: Instant,
) -> Vec<Judged> {
    let mut judged = Vec::with_capacity(submitted.len());
    let mut hunting = Hunting::new(app, services, deadline);
    for batch in submitted.chunks(COUNT_BATCH) {
        let ids: Vec<String> = batch.iter().map(|(_, window)| window.record.id.to_string()).collect();
        // A re-post is judged by a count made after this instant.
        let now = app.state.now();
        let counted = count(services, head, &ids, deadline).await;
        for (name, window) in batch {
            let mut window = window.clone();
            let verdict = match &counted {
                Ok(counts) => {
                    let found = counts.get(&window.record.id.to_string()).copied().unwrap_or_default();
                    let mut verdict = judged_one(head, &window.record, found, now, &app.limits);
                    if verdict == Verdict::CountNullWatermarks {
                        match null_watermarks(&mut hunting, head, &window.record).await {
                            Ok(counted) => {
                                window.record.null_watermarks = Some(counted);
                                verdict = judged_one(head, &window.record, found, now, &app.limits);
                            }
                            Err(error) => verdict = without_a_count(&window.record, &error, now, &app.limits),
                        }
                    }
                    explained(services, head, &window.record, verdict, deadline).await
                }
                // Without a count nothing is proved and nothing is posted again; after the deadline a person is told.
                Err(error) => without_a_count(&window.record, error, now, &app.limits),
            };
            judged.push(Judged { name: name.clone(), window, verdict });
        }
    }
    judged
}

fn judged_one(head: &Head, window: &Window, found: Found, now: Timestamp, limits: &Limits) -> Verdict {
    judge(&head.destination, &head.watermark_column, window, found, now, limits)
}

fn without_a_count(window: &Window, error: &str, now: Timestamp, limits: &Limits) -> Verdict {
    tracing::warn!(window.id = %window.id, error, "a window could not be counted");
    if now.since(window.last_post.unwrap_or(window.updated)) > limits.verify_deadline {
        return Verdict::Failed(format!("the rows could not be counted: {error}"));
    }
    Verdict::Wait
}

async fn count(
    services: &Services,
    head: &Head,
    ids: &[String],
    deadline: Instant,
) -> Result<HashMap<String, Found>, String> {
    let table = Identifier::new(&head.destination).map_err(|error| error.to_string())?;
    let watermark = Identifier::new(&head.watermark_column).map_err(|error| error.to_string())?;
    let counts = services
        .catalog
        .counts(&table, &watermark, services.chunk_id_mode(head), ids, deadline)
        .await
        .map_err(|error| error.to_string())?;
    Ok(counts
        .into_iter()
        .map(|(id, c)| (id, Found { rows: c.rows, without_content: c.no_row, without_watermark: c.no_time }))
        .collect())
}

async fn null_watermarks(hunting: &mut Hunting<'_>, head: &Head, window: &Window) -> Result<u64, String> {
    let Some(shape) = &head.shape else { return Err("the ledger has no shape".to_owned()) };
    let source = source::of(head, shape, window.handover).map_err(|error| error.to_string())?;
    let partition = source::partition(shape, window.id.part).map_err(|error| error.to_string())?;
    let watermark = Identifier::new(&head.watermark_column).map_err(|error| error.to_string())?;
    let query =
        crate::defender::queries::count_null_watermark(&source, &source::slice(window), partition.as_ref(), &watermark);
    let rows = hunting.rows(&query).await.map_err(|error| error.to_string())?;
    number(&rows, "NoTime").ok_or_else(|| "the answer holds no count".to_owned())
}

/// Adds what ADX says about a window that did not land.
async fn explained(services: &Services, head: &Head, window: &Window, verdict: Verdict, deadline: Instant) -> Verdict {
    let Verdict::Failed(reason) = verdict else { return verdict };
    let Ok(table) = Identifier::new(&head.destination) else { return Verdict::Failed(reason) };
    match services.catalog.explain_missing(&table, &window.id.to_string(), deadline).await {
        Some(explanation) => Verdict::Failed(format!("{reason}. ADX says: {explanation}")),
        None => Verdict::Failed(reason),
    }
}

/// Stores the verdicts with the head, then does what they ask for. Gives whether the table is through.
async fn record(
    app: &App,
    services: &Services,
    key: &TableKey,
    number: u64,
    judged: Vec<Judged>,
    deadline: Instant,
) -> Result<bool, Error> {
    let (changed, waiting): (Vec<_>, Vec<_>) = judged.into_iter().partition(|j| j.verdict != Verdict::Wait);
    let progressed = changed.iter().any(|j| j.verdict == Verdict::Verified);
    tracing::debug!(changed = changed.len(), waiting = waiting.len(), "a count");
    let mut rest = changed.as_slice();
    while rest.len() > TRANSACTION_WINDOWS {
        let (batch, more) = rest.split_at(TRANSACTION_WINDOWS);
        if commit(app, key, number, batch, None).await?.is_none() {
            return Ok(false);
        }
        rest = more;
    }
    let Some(head) = commit(app, key, number, rest, Some(progressed)).await? else { return Ok(false) };
    for Judged { window, verdict, .. } in &changed {
        if *verdict == Verdict::Repost
            && let Some(seal) = &window.record.seal
        {
            tracing::warn!(window.id = %window.record.id, posts = window.record.posts + 1, "a window is posted again");
            if let Err(error) = services.post(&head, &window.record, seal, deadline).await {
                tracing::warn!(%error, "posting a window again failed; the count will tell");
            }
        }
    }
    if let Some(debts) = &head.owed_verify {
        app.state.pay(&debts.messages).await?;
    }
    Ok(head.state == TableState::Finishing)
}

/// One transaction. `last` says whether windows were proved in this step, and makes the step's debts.
/// Gives `None` when another count has taken over.
async fn commit(
    app: &App,
    key: &TableKey,
    number: u64,
    batch: &[Judged],
    last: Option<bool>,
) -> Result<Option<Head>, Error> {
    loop {
        let Some(Stored { record: mut head, etag }) = app.state.head(key).await? else { return Ok(None) };
        if head.state != TableState::Running || head.verify.as_ref().is_none_or(|due| due.number != number) {
            return Ok(None);
        }
        let now = app.state.now();
        head.updated = now;
        let mut windows = Vec::with_capacity(batch.len());
        for Judged { name, window, verdict } in batch {
            let mut settled = settle(&mut head, &window.record, verdict, now);
            if *verdict == Verdict::Repost
                && let Ok(reposted) = settled.reposted(now)
            {
                settled = reposted;
            }
            windows.push((name, settled, &window.etag));
        }
        if let Some(progressed) = last {
            crate::functions::chunk_worker::refill(app, key, &mut head).await?;
            let ready = head.ready.len();
            let mut messages: Vec<Debt> =
                fill_lanes(&mut head, &app.limits).into_iter().map(|name| Debt::chunk(key, name)).collect();
            if !batch.is_empty() || head.ready.len() < ready {
                head.moved = now;
            }
            if head.is_through() {
                head.state = TableState::Finishing;
            } else {
                let pause = next_pause(&head, progressed, &app.limits);
                messages.push(schedule_verify(key, &mut head, pause, now));
            }
            head.owed_verify = Some(HeadDebts { step: step_name(number), messages });
        }
        let mut transaction = Transaction::new().head(key, &head, Some(&etag))?;
        for (name, window, etag) in &windows {
            transaction = transaction.window(key, name, window, Some(etag))?;
        }
        match app.state.commit(transaction).await {
            Ok(_) => return Ok(Some(head)),
            Err(Error::Conflict) => {
                // A chunk that ended moved the head: take it in and try again. A window that moved is another count's.
                for (name, _, etag) in &windows {
                    if app.state.window(key, name).await?.is_none_or(|window| window.etag != **etag) {
                        return Ok(None);
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// 2 s rising to 60 s while nothing lands.
fn next_pause(head: &Head, progressed: bool, limits: &Limits) -> Duration {
    let last = head.verify.as_ref().map_or(limits.verify_first, |due| Duration::from_millis(due.pause_ms));
    if progressed { limits.verify_first } else { (last * 2).clamp(limits.verify_first, limits.verify_longest) }
}
