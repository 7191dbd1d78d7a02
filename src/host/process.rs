//! Starting the handler: a port, so that tests can put a handler of their own in its place, and the
//! adapter that starts a real process.

use async_trait::async_trait;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;
use tokio::io::AsyncRead;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Its environment.
    pub environment: Vec<(String, String)>,
}

/// Lines that a process writes.
pub type Stream = Box<dyn AsyncRead + Send + Unpin>;

/// A started process.
pub struct Launched {
    /// The process.
    pub process: Box<dyn Process>,
    /// What it writes to standard output.
    pub stdout: Option<Stream>,
    /// What it writes to standard error.
    pub stderr: Option<Stream>,
}

/// A running process. Dropping it kills it.
#[async_trait]
pub trait Process: Send {
    /// Waits for the end and gives the exit code, 128 + n after the signal n. May be dropped and called again.
    async fn wait(&mut self) -> io::Result<i32>;
    /// Kills it at once (SIGKILL); returns without waiting for the end.
    fn kill(&mut self);
    /// Asks it to end (SIGTERM) where that can be done, and otherwise kills it; returns without waiting for the end.
    fn ask_to_end(&mut self) {
        self.kill();
    }
}

/// Starts processes.
#[async_trait]
pub trait Launcher: Send + Sync {
    /// Starts one.
    async fn launch(&self, command: CommandLine) -> io::Result<Launched>;
}

/// Starts real processes, all from one thread that lives as long as this: a process that asked to end with its
/// parent is killed when the *thread* that started it ends, and the runtime's threads come and go.
pub struct ProcessLauncher {
    requests: mpsc::Sender<Request>,
}

type Request = (CommandLine, tokio::runtime::Handle, oneshot::Sender<io::Result<Child>>);

impl ProcessLauncher {
    /// Starts the thread. What it starts gets `inherited` besides its own environment.
    ///
    /// # Errors
    /// The operating system refuses another thread.
    pub fn new(inherited: Vec<(OsString, OsString)>) -> io::Result<Self> {
        let (requests, incoming) = mpsc::channel::<Request>();
        std::thread::Builder::new().name("handler-launcher".to_owned()).spawn(move || {
            for (command, runtime, reply) in incoming {
                let _entered = runtime.enter();
                // Nobody waiting any more: the child is dropped and so killed.
                let _ = reply.send(spawn(command, &inherited));
            }
        })?;
        Ok(Self { requests })
    }
}

fn spawn(command: CommandLine, inherited: &[(OsString, OsString)]) -> io::Result<Child> {
    Command::new(command.program)
        .args(command.arguments)
        .current_dir(command.directory)
        .env_clear()
        .envs(inherited.iter().map(|(name, value)| (name, value)))
        .envs(command.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

#[async_trait]
impl Launcher for ProcessLauncher {
    async fn launch(&self, command: CommandLine) -> io::Result<Launched> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts the handler has ended");
        self.requests.send((command, tokio::runtime::Handle::current(), reply)).map_err(|_| gone())?;
        let mut child = answer.await.map_err(|_| gone())??;
        let stdout = child.stdout.take().map(|stream| Box::new(stream) as Stream);
        let stderr = child.stderr.take().map(|stream| Box::new(stream) as Stream);
        Ok(Launched { process: Box::new(child), stdout, stderr })
    }
}

#[async_trait]
impl Process for Child {
    async fn wait(&mut self) -> io::Result<i32> {
        let status = Child::wait(self).await?;
        #[cfg(unix)]
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        #[cfg(not(unix))]
        let signal: Option<i32> = None;
        Ok(status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(1))
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.start_kill();
    }

    #[cfg(target_os = "linux")]
    fn ask_to_end(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        // It has no id any more once its end was seen, so that no other process is meant.
        let pid = self.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if pid.is_none_or(|pid| kill_process(pid, Signal::TERM).is_err()) {
            Process::kill(self);
        }
    }
}
