//! Queue `adxingestor-chunks`: one window. Claim it, pull it from Defender into a blob, seal it, post it to
//! ADX, record its end. A crash between any two of these is taken up by the next delivery of the message.

mod end;
mod held;
mod pull;
mod squeeze;
#[cfg(test)]
mod tests;

use super::Failed;
use super::envelope::Invocation;
use super::hunting::RENEWAL_WAIT;
use super::posting;
use crate::app::{App, Services};
use crate::orchestration::chunk::{Delivery, Over, Received, may_claim, may_seal, not_sealed, receive};
use crate::orchestration::fan_in::WindowEnd;
use crate::orchestration::ids::TableKey;
use crate::orchestration::ledger::{Head, Shape};
use crate::orchestration::limits::KNOWN_FOR;
use crate::orchestration::message::ChunkMessage;
use crate::orchestration::sizing::{Measured, Seen};
use crate::orchestration::window::{Seal, Window};
use crate::state::{Error, Stored, Transaction};
use crate::telemetry::ids;
use crate::timestamp::Timestamp;
use end::give_back;
pub(super) use end::{commit_end, refill};
use pull::{Outcome, pull};
use std::sync::Arc;
use tokio::time::Instant;

/// A window that this invocation has claimed.
pub(super) struct Job {
    pub services: Arc<Services>,
    pub message: ChunkMessage,
    pub window: Stored<Window>,
    pub shape: Shape,
    /// A fresh id of this claim.
    pub claim: u128,
    pub deadline: Instant,
}

/// Handles a message.
///
/// # Errors
/// [`Failed`]: the message is not ours, or the state store failed.
pub(super) async fn handle(app: &App, invocation: &Invocation) -> Result<(), Failed> {
    let message: ChunkMessage = invocation.queue_message("message")?;
    let id = invocation.metadata("Id").unwrap_or_default();
    let delivery = invocation.dequeue_count();
    let message = message.delivered(delivery);
    let deadline = Instant::now() + app.limits.working_time();
    // On the heap: what a pull holds is large, and would be moved with every future around it.
    match Box::pin(work(app, message, &id, delivery, deadline)).await {
        Err(_) if mutated!(DoneBeforeCommit) => Ok(()),
        worked => Ok(worked?),
    }
}

async fn work(app: &App, message: ChunkMessage, id: &str, number: u32, deadline: Instant) -> Result<(), Error> {
    let (table, name) = (&message.table, &message.window);
    // At first as this process knows them: the swap of the claim tells. Anything but a claim is decided on a read.
    let mut as_known = true;
    let mut is_told = false;
    loop {
        let Some(Look { head, window, from_memory }) = look(app, &message, as_known).await? else {
            tracing::debug!(name = name.as_str(), "the window is gone: it was the draft of a plan");
            return Ok(());
        };
        if !is_told {
            tell_what_it_is_about(&head, &window.record);
            is_told = true;
        }
        let permit = window.record.unused(message.permit);
        let comes_too_early = comes_too_early(app, permit);
        let (turn, behind) = (message.turn, message.behind.as_deref());
        let delivery = Delivery { message: id, number, turn, behind, permit, comes_too_early };
        let claimed = match receive(table, name, &head, &window.record, delivery, app.state.now(), &app.limits) {
            Received::Claim(claimed) => *claimed,
            // By now the window may have ended, and this message's earlier delivery with it: its debts stand in the row alone.
            Received::Pay(_) if from_memory => {
                as_known = false;
                continue;
            }
            Received::Pay(_) if mutated!(DebtInHead) => {
                let latest = head.owed_plan.filter(|debts| debts.step == name.as_str());
                return app.state.pay(&latest.map(|debts| debts.messages).unwrap_or_default()).await;
            }
            Received::Pay(owed) => return app.state.pay(&owed).await,
            Received::GoBack(back) => match swap(app, table, &message, *back, &window).await? {
                Some(window) => return app.state.pay(&window.record.owed).await,
                // Whoever changed the window decides what this message finds now.
                None => {
                    as_known = false;
                    continue;
                }
            },
            Received::Recover(record) => {
                let window = Stored { record: *record, etag: window.etag };
                return commit_end(app, &message, window, WindowEnd::Submitted, None).await;
            }
            why @ (Received::BeingPlanned | Received::Held) => {
                tracing::debug!(?why, "the message ends without effect");
                return Ok(());
            }
        };
        let services = match &app.services {
            Ok(services) => Arc::clone(services),
            Err(reason) => {
                let window = Stored { record: claimed, etag: window.etag };
                return commit_end(app, &message, window, WindowEnd::Failed(reason.clone()), None).await;
            }
        };
        let Some(shape) = head.shape.clone() else {
            let reason = format!("the ledger of {} has no shape; start another run", head.source);
            let window = Stored { record: claimed, etag: window.etag };
            return commit_end(app, &message, window, WindowEnd::Failed(reason), None).await;
        };
        if let Some(window) = swap(app, table, &message, claimed, &window).await? {
            let message = ChunkMessage { permit, ..message };
            let job = Job { services, message, window, shape, claim: app.state.random(), deadline };
            return run_job(app, job, &head).await;
        }
        if !as_known {
            tracing::debug!("somebody else was faster");
            return Ok(());
        }
        as_known = false;
    }
}

fn tell_what_it_is_about(head: &Head, window: &Window) {
    if let Some(run) = &head.run {
        ids::instance(run);
    }
    ids::table(&head.source);
    ids::window(&window.id, window.id.generation, window.posts);
}

/// What a message is about.
struct Look {
    head: Head,
    window: Stored<Window>,
    /// Whether it is as this process knows it, and nothing was read.
    from_memory: bool,
}

/// The head and the window. `as_known` spares the reads where what this process knows says that the window can be
/// claimed.
async fn look(app: &App, message: &ChunkMessage, as_known: bool) -> Result<Option<Look>, Error> {
    let (table, name) = (&message.table, &message.window);
    if as_known {
        let head = app.state.recent_head(table, KNOWN_FOR).await?;
        let window = app.state.recent_window(table, name).await?;
        if let (Some(head), Some(window)) = (head, window)
            && may_claim(&head.record, &window.record)
        {
            return Ok(Some(Look { head: head.record, window, from_memory: true }));
        }
    }
    let (head, window) = (app.state.head(table).await?, app.state.window(table, name).await?);
    Ok(head.zip(window).map(|(head, window)| Look { head: head.record, window, from_memory: false }))
}

/// Whether the table still wants what was pulled. What this process knows may say yes; for a no it is read.
async fn is_wanted(app: &App, table: &TableKey) -> Result<bool, Error> {
    let wants = |head: Option<Stored<Head>>| head.is_some_and(|head| may_seal(&head.record));
    if wants(app.state.recent_head(table, KNOWN_FOR).await?) {
        return Ok(true);
    }
    Ok(wants(app.state.head(table).await?))
}

/// Whether the window's permit is void and the next one so far off that the message waits better than its worker.
fn comes_too_early(app: &App, permit: Option<Timestamp>) -> bool {
    !permit.is_some_and(|permit| app.state.may_hold(permit)) && app.state.next_permit_in() > RENEWAL_WAIT
}

/// Stores the window at the version it was read at; `None` when somebody was faster.
async fn swap(
    app: &App,
    table: &TableKey,
    message: &ChunkMessage,
    next: Window,
    read: &Stored<Window>,
) -> Result<Option<Stored<Window>>, Error> {
    let transaction = Transaction::new().window(table, &message.window, &next, Some(&read.etag))?;
    match app.state.commit(transaction).await {
        Ok(etags) => match etags.into_iter().next().flatten() {
            Some(etag) => Ok(Some(Stored { record: next, etag })),
            None => Err(Error::Conflict),
        },
        Err(Error::Conflict) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn run_job(app: &App, mut job: Job, head: &Head) -> Result<(), Error> {
    match pull(app, &mut job, head).await? {
        Outcome::Sealed { seal, answer } => seal_and_post(app, job, head, seal, answer).await,
        Outcome::Over { over: Over::End(end), seen } => commit_end(app, &job.message, job.window, end, seen).await,
        Outcome::Over { over: Over::Later(later), .. } => give_back(app, job, later).await,
    }
}

async fn seal_and_post(app: &App, job: Job, head: &Head, seal: Seal, answer: Measured) -> Result<(), Error> {
    if !is_wanted(app, &job.message.table).await? {
        return give_back(app, job, not_sealed()).await;
    }
    let sealed = match job.window.record.sealed(seal, app.state.now()) {
        Ok(sealed) => sealed,
        Err(error) => {
            tracing::error!(%error, "a window could not be sealed");
            return Ok(());
        }
    };
    if mutated!(PostBeforeSeal)
        && let Some(seal) = &sealed.seal
    {
        let _ = job.services.post(head, &sealed, seal, job.deadline).await;
    }
    let Some(mut window) = swap(app, &job.message.table, &job.message, sealed, &job.window).await? else {
        tracing::info!("another delivery took the window over; its blob counts, not this one");
        return Ok(());
    };
    if !mutated!(PostBeforeSeal)
        && let Some(seal) = &window.record.seal
    {
        // However it ended, the count decides.
        let posted = posting::post(&job.services, head, &window.record, seal, job.deadline).await;
        window.record.outcome = window.record.outcome.after(&posted);
    }
    commit_end(app, &job.message, window, WindowEnd::Submitted, Some(Seen::Given(answer))).await
}
