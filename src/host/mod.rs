//! An embedded Azure Functions host for custom handlers: it serves any app root as the real host does, over HTTP to
//! the handler and through the storage ports to queues and timer status. It knows nothing of what the functions do.
//!
//! What it leaves out: extension bundles, other triggers, retries with exponential back-off, scaling, and the lease that keeps the timers of
//! several instances apart. All queues are those of one storage, whatever a binding's `connection` names. What it adds:
//! `/livez` and `/readyz`.

mod answer;
mod app_root;
mod backoff;
mod calls;
mod client;
mod console;
mod envelope;
mod environment;
mod executable;
mod failure;
mod foreign;
mod front;
mod function_json;
mod health;
mod host_json;
mod http_request;
mod http_result;
pub mod in_process;
mod invoke;
mod json;
mod keys;
mod listing;
mod local_settings;
mod manual;
mod outputs;
mod parent;
mod problem;
mod process;
mod queue_trigger;
mod retry;
mod route;
mod schedule;
mod start;
mod supervisor;
mod time;
mod timer_trigger;

pub use app_root::check_app_root;
pub use console::{Console, Entry, HANDLER, HOST, Level, STARTUP, StandardOutput};
pub use invoke::HOST_VERSION;
pub use keys::Keys;
pub use local_settings::{local_http_port, local_settings};
pub use parent::{HOST_PID, Orphaned, die_with_parent};
pub use problem::{Problem, Problems};
pub use process::{CommandLine, Launched, Launcher, Process, ProcessLauncher, Stream};
pub use schedule::{never_fires, schedule_problems};

use crate::random::Random;
use crate::storage::Storage;
use calls::Calls;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use supervisor::{LAST_WORDS, Stopping};
use time::HostTime;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long running calls may go on when the host stops.
const GRACE: Duration = Duration::from_secs(10);
/// How long they may take to settle once the handler is dead; not scaled.
const SETTLING: Duration = Duration::from_secs(2);

/// What a host needs.
pub struct Settings {
    /// The folder of `host.json` and the function folders.
    pub app_root: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Queues, timer status and the clock.
    pub storage: Storage,
    /// At least 1: all the host's times are divided by it.
    pub time_scale: f64,
    /// The resolved settings, which are the handler's whole environment: those of `local.settings.json` under the
    /// real environment.
    pub environment: Vec<(String, String)>,
    /// `None`: everybody may call everything, as with Core Tools.
    pub keys: Option<Keys>,
    /// The handler when `host.json` names `adxingestor` and no such file is found.
    pub own_executable: PathBuf,
    /// Set for the handler over `environment`.
    pub extra_child_environment: Vec<(String, String)>,
    /// For ids, ports and waits.
    pub random: Arc<dyn Random>,
    /// Takes the host's lines.
    pub console: Arc<dyn Console>,
    /// Starts the handler.
    pub launcher: Arc<dyn Launcher>,
}

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Files of the function app are missing or broken.
    #[error("the function app at {} cannot be served:\n{problems}", root.display())]
    App {
        /// The app root.
        root: PathBuf,
        /// All that is wrong.
        problems: Problems,
    },
    /// There is no function app in the app root.
    #[error(
        "there is no function app in {}: {}. The host serves the folder that holds host.json and a folder with function.json for \
         each function, as the zip of a release and the repository have them side by side",
        root.display(),
        missing.join(", ")
    )]
    NoApp {
        /// The app root.
        root: PathBuf,
        /// What is not there.
        missing: Vec<&'static str>,
    },
    /// `local.settings.json` cannot be read.
    #[error("the settings in {} cannot be read: {problems}", root.display())]
    LocalSettings {
        /// The folder that holds it.
        root: PathBuf,
        /// All that is wrong.
        problems: Problems,
    },
    /// The file of keys is missing or broken.
    #[error(
        "the keys file {} cannot be used: {problem}. It is JSON: {{\"master\": \"…\", \"host\": {{\"default\": \"…\"}}, \
         \"functions\": {{\"NAME\": {{\"default\": \"…\"}}}}}}, every part optional",
        file.display()
    )]
    Keys {
        /// It.
        file: PathBuf,
        /// What is wrong; never a key.
        problem: String,
    },
    /// The handler's program is nowhere to be found.
    #[error("the handler `{name}` (customHandler.description.defaultExecutablePath) is neither at {} nor on the PATH", beside.display())]
    NoHandler {
        /// As written in `host.json`.
        name: String,
        /// Where it was looked for first.
        beside: PathBuf,
    },
    /// The address is taken or not this machine's.
    #[error("cannot listen on {address}: {source}; choose another port (`--port N`), or end the program that uses it")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// There is no port for the handler.
    #[error("no free port for the handler on 127.0.0.1: {0}")]
    NoPort(#[source] std::io::Error),
}

/// Why a running host ended by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// The handler failed three times within half an hour.
    #[error("the handler failed {} times ({}); see its output above", reasons.len(), reasons.join("; "))]
    HandlerFailed {
        /// How it failed, each time.
        reasons: Vec<String>,
    },
    /// The HTTP side ended.
    #[error("the HTTP server ended: {0}")]
    ServerFailed(String),
}

/// A running host. Dropping it kills the handler at once; [`Host::stop`] lets running calls end first.
pub struct Host {
    local: SocketAddr,
    time: HostTime,
    calls: Calls,
    /// No new calls and polls.
    draining: Arc<watch::Sender<bool>>,
    /// The handler is ended.
    killing: watch::Sender<Stopping>,
    /// The HTTP side closes.
    closing: watch::Sender<bool>,
    ended: watch::Receiver<Option<Stopped>>,
    listeners: JoinSet<()>,
    tasks: JoinSet<()>,
}

impl Host {
    /// Reads the app, starts to listen, to poll and to fire, and starts the handler. Calls wait until that is ready.
    ///
    /// # Errors
    /// [`Error`]; nothing is left running.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        start::start(settings).await
    }

    /// Where the host listens, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.local)
    }

    /// Waits until the host has ended by itself. It goes on answering 503 until [`Host::stop`].
    pub async fn stopped(&mut self) -> Stopped {
        let ended = self.ended.wait_for(Option::is_some).await;
        let reason = ended.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| Stopped::ServerFailed("its tasks are gone".to_owned()))
    }

    /// Stops: no new calls and polls, some seconds for the running ones, then the handler is asked to end, and killed if it does not
    /// within some more or still has calls in hand. A message whose call did not end is visible again.
    pub async fn stop(mut self) {
        self.draining.send_replace(true);
        let grace = self.time.scaled(GRACE);
        let in_time = tokio::time::timeout(grace, settle(&mut self.listeners, &self.calls)).await;
        self.killing.send_replace(if in_time.is_ok() { Stopping::Idle } else { Stopping::AtOnce });
        if in_time.is_err() {
            // The calls fail now, and give their messages back.
            let _ = tokio::time::timeout(SETTLING, settle(&mut self.listeners, &self.calls)).await;
        }
        self.closing.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS + SETTLING, ended).await;
    }
}

async fn settle(listeners: &mut JoinSet<()>, calls: &Calls) {
    tokio::join!(async { while listeners.join_next().await.is_some() {} }, calls.finished());
}
