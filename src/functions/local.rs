//! The doors of a run without a Functions host: this program starts it, hands it its messages and its ticks, and looks at it. The
//! same functions are behind them as behind the host's.

use super::control::{Started, Terminated, start};
use super::envelope::Invocation;
use super::get_status::{Shows, status};
use super::{Failed, control, observed, on_message, span_of, watchdog};
use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, StartInput};
use crate::state::{CHUNK_QUEUE, CONTROL_QUEUE, Error};
use axum::http::HeaderMap;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;
use tracing::Instrument;

/// A queue of the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Steps of runs.
    Control,
    /// Windows.
    Chunks,
}

impl Queue {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Control => CONTROL_QUEUE,
            Self::Chunks => CHUNK_QUEUE,
        }
    }

    fn function(self) -> &'static str {
        match self {
            Self::Control => "orchestrator",
            Self::Chunks => "chunk_worker",
        }
    }
}

/// Why a message was not handled: it is to be delivered again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unhandled(String);

/// Handles delivery `count`, from 1, of message `id`, within the time that an invocation has. Dropped, it ends at its next await.
///
/// # Errors
/// [`Unhandled`].
pub async fn deliver(app: &Arc<App>, queue: Queue, id: &str, count: u32, content: &[u8]) -> Result<(), Unhandled> {
    let invocation = Invocation::of_message(id, count, content);
    let (app, function) = (Arc::clone(app), queue.function());
    let work = async move {
        let deadline = app.limits.invocation_deadline;
        let late = |_| Err(Failed::Deadline(deadline.as_secs()));
        tokio::time::timeout(deadline, on_message(&app, function, invocation)).await.unwrap_or_else(late)
    };
    // In a task of its own: should it break off, only its message comes again.
    let spawned = async {
        let mut task = JoinSet::new();
        task.spawn(work.in_current_span());
        task.join_next().await
    };
    let span = span_of(function, &HeaderMap::new());
    match observed(function, &span, spawned, |worked| matches!(worked, Some(Ok(Ok(()))) | None)).await {
        Some(Ok(Ok(()))) | None => Ok(()),
        Some(Ok(Err(error))) => Err(Unhandled(error.to_string())),
        Some(Err(error)) => Err(Unhandled(format!("the invocation broke off: {error}"))),
    }
}

/// A tick of the watchdog.
///
/// # Errors
/// The state store's.
pub async fn watch(app: &App) -> Result<(), Error> {
    let deadline = app.limits.invocation_deadline;
    let look = async {
        tokio::time::timeout(deadline, watchdog::handle(app)).await.unwrap_or_else(|_| {
            tracing::warn!(deadline_s = deadline.as_secs(), "a look for what stopped moving took too long");
            Ok(())
        })
    };
    observed("watchdog", &span_of("watchdog", &HeaderMap::new()), look, Result::is_ok).await
}

/// The run that goes on after a start.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// A new one.
    New(InstanceId),
    /// One that was active already.
    Active(Box<Instance>),
}

/// Starts a run, unless one is active.
///
/// # Errors
/// The state store's.
pub async fn begin(app: &App, input: &StartInput) -> Result<Begun, Error> {
    loop {
        match start(app, input.clone(), json!(input)).await? {
            Started::New(id) | Started::Before(id) => return Ok(Begun::New(id)),
            Started::Active(id) => {
                if let Some(run) = app.state.instance(&id).await? {
                    return Ok(Begun::Active(Box::new(run.record)));
                }
                // Its start stands between the place and the run, or broke off there: then the place is free in a while.
                tokio::time::sleep(app.limits.retry_first).await;
            }
        }
    }
}

/// Terminates a run; gives false where it is over already.
///
/// # Errors
/// The state store's.
pub async fn terminate(app: &App, id: &InstanceId, reason: &str) -> Result<bool, Error> {
    Ok(control::terminate(app, id, reason).await? == Terminated::Now)
}

/// The run of that id; `None` where there is none.
///
/// # Errors
/// The state store's.
pub async fn run_of(app: &App, id: &InstanceId) -> Result<Option<Instance>, Error> {
    Ok(app.state.instance(id).await?.map(|run| run.record))
}

/// A run as `get_status` shows it.
///
/// # Errors
/// The state store's.
pub async fn shown(app: &App, run: &Instance) -> Result<Value, Error> {
    status(app, run, Shows { name: false, input: true, history: false, history_output: false }).await
}
