//! A run in this process, without a Functions host: its messages are taken off the queues and handed to the app's own functions, its
//! watchdog gets its ticks, and it ends with the run. Nothing depends on a clean end of it: whatever was under way is in the
//! ledger, and the next process goes on with it. Draws nothing: what is to be seen is told to an [`Onlooker`].

use crate::app::App;
use crate::functions::local::{self, Begun, Queue, Unhandled};
use crate::host::in_process::{self, Delivery, Function, Listeners, Surroundings};
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, RuntimeStatus, StartInput};
use crate::state::Error as StateError;
use async_trait::async_trait;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

/// The most windows at once: some megabytes each (docs/architecture.md, "Figures").
const MOST_WINDOWS: u32 = 16;
/// The most other messages at once.
const MOST_STEPS: u32 = 8;
/// How long what is in hand may take to come to a safe end once the run is to stop.
pub const GRACE: Duration = Duration::from_secs(25);
/// How long messages may take to be given back then.
const GIVING_BACK: Duration = Duration::from_secs(5);
/// The same when somebody is in a hurry.
const AT_ONCE: Duration = Duration::from_millis(500);
/// Between two looks whether the run is over.
const LOOK: Duration = Duration::from_millis(500);
/// How long one look may take.
const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// How long the state store may fail until the run is given up here.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two ticks of the watchdog, as in its `function.json`.
const WATCH: Duration = Duration::from_secs(120);

/// Is told what happens.
pub trait Onlooker {
    /// The run is there: a new one, or one that another process has begun, with what that was asked for.
    fn goes_on(&mut self, id: &InstanceId, before: Option<&StartInput>);
    /// How far it is, as `get_status` shows it.
    fn sees(&mut self, status: &Value);
    /// It was asked to stop: no new message is taken, and what is in hand has this long.
    fn stops(&mut self, within: Duration);
    /// How often it wants to see the run.
    fn every(&self) -> Duration;
}

/// What became of a run here.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// It is over; this is its status.
    Over(Value),
    /// This process was asked to stop; another one goes on with the run.
    Interrupted {
        /// The run.
        id: InstanceId,
        /// How far it was, where the state store could tell.
        status: Option<Value>,
    },
}

/// Why a run could not be followed to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A run is active, and what was asked for is not what it does.
    #[error(
        "run {id} is active in this state store and was started with {started}, so {asked} cannot be applied. `adxingestor run` \
         without options goes on with it to its end; `adxingestor run --terminate` ends it instead"
    )]
    Active {
        /// The active run.
        id: InstanceId,
        /// What that was started with.
        started: String,
        /// What was asked for.
        asked: String,
    },
    /// A person has suspended the run.
    #[error(
        "run {0} is suspended; POST /api/instances/{0}/resume to the function app or to `adxingestor standalone` on this state \
         store, or end it with `adxingestor run --terminate`, and then run again"
    )]
    Suspended(InstanceId),
    /// This process was asked to stop before it was known which run goes on.
    #[error("no run was begun yet, or its start broke off; `adxingestor run` sees to it")]
    Stopped,
    /// The state store fails.
    #[error("the state store fails: {source}{}", when_back(.source))]
    State {
        /// How.
        #[from]
        source: StateError,
    },
    /// It does not answer.
    #[error("the state store gave no answer within {} s; when it does, `adxingestor run` goes on", .0.as_secs())]
    Slow(Duration),
    /// Somebody deleted its records.
    #[error("run {0} is not in the state store any more: it was purged while it went on")]
    Gone(InstanceId),
}

fn when_back(error: &StateError) -> &'static str {
    if error.may_pass() { "; when it is back, `adxingestor run` goes on" } else { "" }
}

/// The run that goes on, if there is one.
///
/// # Errors
/// [`Error`].
pub async fn active(app: &App) -> Result<Option<InstanceId>, Error> {
    let look = async {
        let Some(place) = app.state.active().await? else { return Ok(None) };
        let run = local::run_of(app, &place.record.instance).await?;
        Ok(run.filter(|run| !run.status.is_final()).map(|run| run.id))
    };
    timeout(LONGEST_LOOK, look).await.map_err(|_| Error::Slow(LONGEST_LOOK))?
}

/// Terminates the run that goes on; gives it, if there was one. What it left open is the next run's, as after any other end.
///
/// # Errors
/// [`Error`].
pub async fn terminate(app: &App, reason: &str) -> Result<Option<InstanceId>, Error> {
    let Some(id) = active(app).await? else { return Ok(None) };
    let terminated = timeout(LONGEST_LOOK, local::terminate(app, &id, reason));
    let terminated = terminated.await.map_err(|_| Error::Slow(LONGEST_LOOK))??;
    Ok(terminated.then_some(id))
}

/// Follows a run to its end: the active one, or else a new one with this input. `stops` is raised each time that this
/// process is asked to stop; at the second time it does so at once.
///
/// # Errors
/// [`Error`]; the run itself may go on.
pub async fn run(
    app: Arc<App>,
    input: StartInput,
    around: &Surroundings,
    stops: watch::Receiver<u32>,
    onlooker: &mut (dyn Onlooker + Send),
) -> Result<End, Error> {
    let mut stopping = stops.clone();
    // The place of a start that broke off is free after that time.
    let longest = app.limits.lost_after + LONGEST_LOOK;
    let begun = tokio::select! {
        begun = timeout(longest, local::begin(&app, &input)) => begun.map_err(|_| Error::Slow(longest))??,
        _ = stopping.wait_for(|times| *times > 0) => return Err(Error::Stopped),
    };
    let (id, before) = match begun {
        Begun::New(id) => (id, None),
        Begun::Active(run) => continued(*run, &input).map(|(id, before)| (id, Some(before)))?,
    };
    onlooker.goes_on(&id, before.as_ref());
    let mut listeners = listen(&app, around);
    let followed = tokio::select! {
        followed = follow(&app, &id, onlooker) => Some(followed),
        never = watch_over(&app, around.time_scale) => match never {},
        _ = stopping.wait_for(|times| *times > 0) => None,
    };
    listeners.drain();
    let Some(followed) = followed else {
        onlooker.stops(GRACE);
        settle(&mut listeners, stops.clone(), 2).await;
        let longest = left(&stops);
        let status = match timeout(longest, local::run_of(&app, &id)).await {
            Ok(Ok(Some(run))) if run.status.is_final() => {
                return over(&app, &run, longest, onlooker).await.map(End::Over);
            }
            Ok(Ok(Some(run))) => timeout(longest, local::shown(&app, &run)).await.ok().and_then(Result::ok),
            _ => None,
        };
        return Ok(End::Interrupted { id, status });
    };
    // The last message leaves the place to the next run.
    settle(&mut listeners, stops, 1).await;
    let run = followed?;
    tokio::select! {
        over = over(&app, &run, LONGEST_LOOK, onlooker) => over.map(End::Over),
        _ = stopping.wait_for(|times| *times >= 2) => Ok(End::Interrupted { id, status: None }),
    }
}

/// The active run, where what is asked for is nothing else.
fn continued(run: Instance, input: &StartInput) -> Result<(InstanceId, StartInput), Error> {
    if run.status == RuntimeStatus::Suspended {
        return Err(Error::Suspended(run.id));
    }
    if *input == StartInput::default() || *input == run.input {
        return Ok((run.id, run.input));
    }
    let started = run.input.in_words().unwrap_or_else(|| "no options".to_owned());
    Err(Error::Active { id: run.id, started, asked: input.in_words().unwrap_or_default() })
}

/// The status of a run that is over.
async fn over(
    app: &App,
    run: &Instance,
    longest: Duration,
    onlooker: &mut (dyn Onlooker + Send),
) -> Result<Value, Error> {
    let status = timeout(longest, local::shown(app, run)).await.map_err(|_| Error::Slow(longest))??;
    onlooker.sees(&status);
    Ok(status)
}

/// Begins to take messages: as many windows at once as all lanes of the tables hold that are copied together.
fn listen(app: &Arc<App>, around: &Surroundings) -> Listeners {
    let windows = app.limits.tables_at_once.saturating_mul(app.limits.lanes).clamp(1, MOST_WINDOWS);
    let queue = |queue: Queue, at_once| in_process::Queue {
        name: queue.name().to_owned(),
        function: Arc::new(Handled { app: Arc::clone(app), queue }),
        at_once,
    };
    Listeners::start(vec![queue(Queue::Control, MOST_STEPS), queue(Queue::Chunks, windows)], around)
}

struct Handled {
    app: Arc<App>,
    queue: Queue,
}

#[async_trait]
impl Function for Handled {
    async fn run(&self, Delivery { id, count, content }: Delivery) -> Result<(), ()> {
        local::deliver(&self.app, self.queue, &id, count, &content).await.map_err(|error: Unhandled| {
            tracing::warn!(message_id = id, delivery = count, %error, "a message comes again");
        })
    }
}

/// Waits for what is in hand, no longer than [`GRACE`] and not once the process was asked to stop `most` times, and has the
/// rest given back.
async fn settle(listeners: &mut Listeners, mut stops: watch::Receiver<u32>, most: u32) {
    tokio::select! {
        () = listeners.finished() => return,
        () = tokio::time::sleep(GRACE) => {}
        _ = stops.wait_for(|times| *times >= most) => {}
    }
    listeners.give_up();
    // Those that could not be given back are visible again in some minutes, and the watchdog sees to their windows.
    let _ = timeout(left(&stops), listeners.finished()).await;
}

/// How long anything may still take when the process ends.
fn left(stops: &watch::Receiver<u32>) -> Duration {
    if *stops.borrow() >= 2 { AT_ONCE } else { GIVING_BACK }
}

/// Ticks, for ever: one at once, for what a process before this one has left.
async fn watch_over(app: &App, time_scale: f64) -> Infallible {
    let mut ticks = interval(WATCH.div_f64(time_scale.max(1.0)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = local::watch(app).await {
            tracing::warn!(%error, "what stopped moving could not be looked for; the next look comes");
        }
    }
}

/// Looks at the run until it is over; gives its record.
async fn follow(app: &App, id: &InstanceId, onlooker: &mut (dyn Onlooker + Send)) -> Result<Instance, Error> {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown: Option<Instant> = None;
    let mut answered = Instant::now();
    loop {
        looks.tick().await;
        match look(app, id, &mut shown, onlooker).await {
            Ok(Some(run)) if run.status.is_final() => return Ok(run),
            Ok(Some(run)) if run.status == RuntimeStatus::Suspended => return Err(Error::Suspended(run.id)),
            Ok(Some(_)) => answered = Instant::now(),
            Ok(None) => return Err(Error::Gone(id.clone())),
            Err(error) if answered.elapsed() > PATIENCE => return Err(error),
            Err(error) => tracing::warn!(%error, "the run could not be looked at; trying again"),
        }
    }
}

async fn look(
    app: &App,
    id: &InstanceId,
    shown: &mut Option<Instant>,
    onlooker: &mut (dyn Onlooker + Send),
) -> Result<Option<Instance>, Error> {
    let end = Instant::now() + LONGEST_LOOK;
    let slow = |_| Error::Slow(LONGEST_LOOK);
    let run = timeout_at(end, local::run_of(app, id)).await.map_err(slow)??;
    if let Some(run) = run.as_ref().filter(|run| !run.status.is_final())
        && shown.is_none_or(|at| at.elapsed() >= onlooker.every())
    {
        onlooker.sees(&timeout_at(end, local::shown(app, run)).await.map_err(slow)??);
        *shown = Some(Instant::now());
    }
    Ok(run)
}
