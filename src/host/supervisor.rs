//! Keeps the handler running: starts it, waits until it answers, starts it again after errors, gives up at the
//! third (azure-functions-host `HttpWorkerProcess.cs`, `WorkerProcess.cs`, `HttpFunctionInvocationDispatcher.cs`).

use super::Stopped;
use super::client::{Connection, Phase};
use super::console::{Console, Entry, HANDLER, Level, Say};
use super::process::{CommandLine, Launched, Launcher, Process, Stream};
use super::time::HostTime;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

const PROBE_INTERVAL: Duration = Duration::from_millis(25);
const MAX_ERRORS: usize = 3;
const ERRORS_FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 60);
const EXIT_FOR_RESTART: i32 = 200;
/// How long an ended process may take to be gone and its last lines to arrive.
const AFTER_END: Duration = Duration::from_secs(1);
/// How long a handler that is asked to end may take to send the last of its telemetry.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(6);
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// The keeper of one handler.
pub(crate) struct Supervisor {
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) command: CommandLine,
    pub(crate) port: u16,
    pub(crate) initialization_timeout: Duration,
    pub(crate) time: HostTime,
    pub(crate) console: Arc<dyn Console>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) restarts: mpsc::Receiver<u64>,
    /// Whether to end the handler, and with it the supervision.
    pub(crate) stop: watch::Receiver<Stopping>,
}

/// Whether the handler is to end for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopping {
    No,
    /// It has no calls in hand: it is asked to end, and killed if it does not.
    Idle,
    /// Killed at once, so that its calls end.
    AtOnce,
}

/// How one life of the handler ended.
enum End {
    Stop,
    /// A call asked for a new handler.
    Restart,
    Exit(i32),
    /// It never answered, or could not be started.
    Failed(String),
}

impl Supervisor {
    /// Runs until it is told to stop (`None`) or the handler has failed too often.
    pub(crate) async fn run(mut self) -> Option<Stopped> {
        let mut errors: Vec<(Instant, String)> = Vec::new();
        for generation in 1.. {
            let connection = Connection::new(generation, self.port);
            let reason = match self.live(&connection).await {
                End::Stop => break,
                End::Restart => {
                    self.console
                        .say(Level::Warning, "the handler was killed after a function timeout and is started again");
                    continue;
                }
                End::Exit(0) => {
                    self.console.say(Level::Warning, "the handler ended with exit code 0 and is not started again");
                    // As the real host, which goes on dialling the dead port.
                    self.phase.send_replace(Phase::Ready(connection));
                    match self.restart_or_stop(generation).await {
                        End::Stop => break,
                        _ => continue,
                    }
                }
                End::Exit(EXIT_FOR_RESTART) => {
                    self.console.say(Level::Information, "the handler asked for a restart (exit code 200)");
                    continue;
                }
                End::Exit(code) => format!("exit code {code}"),
                End::Failed(reason) => reason,
            };
            self.console.say(Level::Error, format!("the handler failed: {reason}"));
            let forgotten = self.time.scaled(ERRORS_FORGOTTEN_AFTER);
            if errors.last().is_some_and(|(at, _)| at.elapsed() > forgotten) {
                errors.clear();
            }
            errors.push((Instant::now(), reason));
            if errors.len() >= MAX_ERRORS {
                self.phase.send_replace(Phase::Ended);
                return Some(Stopped::HandlerFailed {
                    reasons: errors.into_iter().map(|(_, reason)| reason).collect(),
                });
            }
        }
        self.phase.send_replace(Phase::Ended);
        None
    }

    /// One life, from start to end.
    async fn live(&mut self, connection: &Connection) -> End {
        self.phase.send_replace(Phase::Starting);
        let launch = tokio::time::timeout(LAUNCH_TIMEOUT, self.launcher.launch(self.command.clone())).await;
        let mut launched = match launch {
            Ok(Ok(launched)) => launched,
            Ok(Err(error)) => {
                return End::Failed(format!("{} cannot be started: {error}", self.command.program.display()));
            }
            Err(_) => return End::Failed(format!("{} did not start in time", self.command.program.display())),
        };
        let mut relays = self.relay(&mut launched);
        let end = self.watch(connection, launched.process.as_mut()).await;
        if matches!(end, End::Stop) && *self.stop.borrow() == Stopping::Idle {
            launched.process.ask_to_end();
            let ended = tokio::time::timeout(LAST_WORDS, launched.process.wait());
            let _ = tokio::select! {
                ended = ended => ended.is_ok(),
                _ = self.stop.wait_for(|stop| *stop == Stopping::AtOnce) => false,
            };
        }
        if !matches!(end, End::Exit(_)) {
            launched.process.kill();
            let gone = tokio::time::timeout(AFTER_END, launched.process.wait()).await;
            if gone.is_err() {
                self.console.say(Level::Warning, "the killed handler has not ended within a second");
            }
        }
        // A grandchild may hold the pipes open: its lines are not waited for.
        let drained = async { while relays.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(AFTER_END, drained).await;
        end
    }

    /// Waits for readiness, then for the end.
    async fn watch(&mut self, connection: &Connection, process: &mut dyn Process) -> End {
        let deadline = tokio::time::sleep(self.time.scaled(self.initialization_timeout));
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop != Stopping::No) => return End::Stop,
            exit = process.wait() => return exited(exit),
            () = answers(connection) => {}
            () = deadline => {
                let limit = self.initialization_timeout;
                return End::Failed(format!("it did not answer on 127.0.0.1:{} within {limit:?}", self.port));
            }
        }
        self.phase.send_replace(Phase::Ready(connection.clone()));
        tokio::select! {
            exit = process.wait() => exited(exit),
            end = self.restart_or_stop(connection.generation) => end,
        }
    }

    async fn restart_or_stop(&mut self, generation: u64) -> End {
        loop {
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop != Stopping::No) => return End::Stop,
                request = self.restarts.recv() => match request {
                    Some(asked) if asked == generation => return End::Restart,
                    // For a handler that is gone already.
                    Some(_) => {}
                    None => return End::Stop,
                },
            }
        }
    }

    fn relay(&self, launched: &mut Launched) -> JoinSet<()> {
        let mut relays = JoinSet::new();
        if let Some(stdout) = launched.stdout.take() {
            relays.spawn(relay_lines(stdout, self.console.clone(), |_| Level::Information));
        }
        if let Some(stderr) = launched.stderr.take() {
            let level = |line: &str| {
                if line.to_ascii_lowercase().contains("warn") { Level::Warning } else { Level::Error }
            };
            relays.spawn(relay_lines(stderr, self.console.clone(), level));
        }
        relays
    }
}

fn exited(exit: std::io::Result<i32>) -> End {
    match exit {
        Ok(code) => End::Exit(code),
        Err(error) => End::Failed(format!("its end cannot be waited for: {error}")),
    }
}

/// Ends when anything answers.
async fn answers(connection: &Connection) {
    while !connection.answers().await {
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

/// Passes on lines; one that is too long comes in pieces.
async fn relay_lines(stream: Stream, console: Arc<dyn Console>, level: impl Fn(&str) -> Level + Send + 'static) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        console.write(Entry {
            level: level(text),
            category: HANDLER.to_owned(),
            invocation: None,
            text: text.to_owned(),
        });
    }
}
