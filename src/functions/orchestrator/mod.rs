//! Queue `adxingestor-control`: one step of a run. Each step re-reads what it decides on; its message is only
//! a hint.

pub mod adopt;
mod audit;
pub mod begin;
mod finish;
mod give_up;
pub(super) mod hold;
mod plan;
mod purge;
mod snapshot;
mod stop;
mod store;
mod verify;

use super::Failed;
use super::envelope::Invocation;
use crate::adx::catalog::DestinationError;
use crate::app::App;
use crate::orchestration::head::plan::Pause;
use crate::orchestration::head::verify::Count;
use crate::orchestration::message::ControlMessage;
use crate::telemetry::ids;

/// Handles a message.
///
/// # Errors
/// [`Failed`]: the message is not ours, or the state store failed.
pub(super) async fn handle(app: &App, invocation: &Invocation) -> Result<(), Failed> {
    let message: ControlMessage = invocation.queue_message("message")?;
    let id = invocation.metadata("Id").unwrap_or_default();
    match &message {
        ControlMessage::Start { instance, .. }
        | ControlMessage::Plan { instance, .. }
        | ControlMessage::Terminate { instance, .. }
        | ControlMessage::Suspend { instance, .. }
        | ControlMessage::Resume { instance, .. } => ids::instance(instance),
        // The head of the table says for which run.
        ControlMessage::Verify { .. } => {}
    }
    ids::step(name_of(&message));
    tracing::debug!(asked = ?message, "a step of a run");
    // Each on the heap: what a step holds is large, and would be moved with every future around it.
    match message {
        ControlMessage::Start { instance, attempt } => Box::pin(begin::handle(app, &instance, attempt)).await?,
        ControlMessage::Plan { instance, table, attempt } => {
            Box::pin(plan::handle(app, &instance, &table, attempt, &id)).await?;
        }
        ControlMessage::Verify { table, number } => {
            Box::pin(verify::handle(app, &table, Count { number, message: &id })).await?;
        }
        ControlMessage::Terminate { instance, life, created, reason } => {
            Box::pin(stop::handle(app, &instance, life, created, &reason)).await?;
        }
        ControlMessage::Suspend { instance, number, created, reason } => {
            Box::pin(hold::suspend(app, &instance, number, created, &reason)).await?;
        }
        ControlMessage::Resume { instance, number, created } => {
            Box::pin(hold::resume(app, &instance, number, created)).await?;
        }
    }
    Ok(())
}

fn name_of(message: &ControlMessage) -> &'static str {
    match message {
        ControlMessage::Start { .. } => "start",
        ControlMessage::Plan { .. } => "plan",
        ControlMessage::Verify { .. } => "verify",
        ControlMessage::Terminate { .. } => "terminate",
        ControlMessage::Suspend { .. } => "suspend",
        ControlMessage::Resume { .. } => "resume",
    }
}

/// Why a step did not come to its end.
#[derive(Debug)]
pub(super) enum StepError {
    /// The state store failed.
    State(crate::state::Error),
    /// Worth another attempt.
    Later {
        /// Why.
        error: String,
        /// When.
        pause: Pause,
    },
    /// For a person.
    Failed(String),
}

/// The end of a step.
pub(super) type Step<T> = Result<T, StepError>;

impl StepError {
    fn later(error: String) -> Self {
        Self::Later { error, pause: Pause::Unknown }
    }

    fn name(error: crate::kql::InvalidName) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<crate::state::Error> for StepError {
    fn from(error: crate::state::Error) -> Self {
        Self::State(error)
    }
}

impl From<super::hunting::Error> for StepError {
    fn from(error: super::hunting::Error) -> Self {
        let message = error.to_string();
        let asked = error.service_pause().map_or(Pause::Unknown, Pause::Asked);
        let pause = error.quota_pause().map_or(asked, Pause::Quota);
        if error.is_transient() { Self::Later { error: message, pause } } else { Self::Failed(message) }
    }
}

impl From<crate::adx::Error> for StepError {
    fn from(error: crate::adx::Error) -> Self {
        let (message, pause) = (error.to_string(), error.asked_pause().map_or(Pause::Unknown, Pause::Asked));
        if is_transient(&error) { Self::Later { error: message, pause } } else { Self::Failed(message) }
    }
}

impl From<DestinationError> for StepError {
    fn from(error: DestinationError) -> Self {
        match error {
            DestinationError::Adx(error) => error.into(),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Whether a request to ADX is worth repeating in a later invocation.
fn is_transient(error: &crate::adx::Error) -> bool {
    use crate::adx::Error as Adx;
    match error {
        Adx::Outbound(error) => error.is_transient(),
        other => {
            matches!(
                other,
                Adx::Throttled { .. } | Adx::Unavailable { .. } | Adx::OutcomeUnknown { .. } | Adx::Corrupt { .. }
            )
        }
    }
}

/// For a table whose messages were poisoned.
pub(super) use begin::end as end_unbegun;
pub(super) use give_up::{give_up, runs_at};
/// For a plan whose message was poisoned.
pub(super) use plan::give_up as give_up_plan;
pub use plan::{Estimate, estimates};
pub(super) use purge::purge_table;
pub(super) use store::{head as swap_head, move_head, swap_run};
