//! The program as a process: `adxingestor standalone` with its handler. It is configured by settings alone and knows
//! nothing of where they lead.

use crate::attached;
use crate::error::Error;
use crate::http::{deepest, text};
use crate::state_directory::StateDirectory;
use reqwest::{Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long the program may take to answer after a start.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const START_POLL: Duration = Duration::from_millis(50);
/// An id that no run has.
const NO_RUN: &str = "00000000000000000000000000000000";

/// How the program is started.
pub struct Launch {
    program: PathBuf,
    app_root: PathBuf,
    port: u16,
    time_scale: f64,
    settings: Vec<(String, String)>,
}

impl Launch {
    /// Starts `program` with the functions in `app_root` on `port`, 0 for any that is free.
    ///
    /// # Errors
    /// [`Error::Call`]: no port is free.
    pub fn new(
        program: PathBuf,
        app_root: &Path,
        port: u16,
        time_scale: f64,
        settings: Vec<(String, String)>,
    ) -> Result<Self, Error> {
        let port = if port == 0 { free_port()? } else { port };
        Ok(Self { program, app_root: app_root.to_owned(), port, time_scale, settings })
    }
}

fn free_port() -> Result<u16, Error> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    free.map(|address| address.port()).map_err(|error| Error::call("a free port for the program", error))
}

/// The running program. It is killed when this is dropped, and its handler ends with it.
pub struct Product {
    launch: Launch,
    state: StateDirectory,
    client: Client,
    host: Child,
    /// The most memory that any handler has had, in KiB.
    peak_memory_kib: Option<u64>,
}

impl Product {
    /// Starts the program and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Start`], [`Error::Ended`], [`Error::Silent`].
    pub async fn start(launch: Launch, state: StateDirectory, client: Client) -> Result<Self, Error> {
        let host = spawn(&launch, &state)?;
        let mut product = Self { launch, state, client, host, peak_memory_kib: None };
        product.wait_until_it_answers().await?;
        Ok(product)
    }

    /// The address of a function.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/api/{path}", self.launch.port)
    }

    /// The client to call it with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The file of its output.
    pub fn log(&self) -> PathBuf {
        self.state.log()
    }

    /// The most memory that any handler has had, in KiB, as far as it was looked at.
    pub fn peak_memory_kib(&self) -> Option<u64> {
        self.peak_memory_kib
    }

    /// Fails if the program has ended by itself.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn check(&mut self) -> Result<(), Error> {
        match self.host.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Error::Ended { status: status.to_string(), log: self.log() }),
            Err(error) => Err(Error::Ended { status: error.to_string(), log: self.log() }),
        }
    }

    /// Looks at the handler's memory. It is gone with the process, so it is looked at again and again.
    pub fn note_memory(&mut self) {
        let peak = self.handler().and_then(|handler| fs::read_to_string(format!("/proc/{handler}/status")).ok());
        self.peak_memory_kib = self.peak_memory_kib.max(peak.as_deref().and_then(peak_of));
    }

    /// Kills the handler as the system would (`kill -9`). Its host starts another. Gives whether there was one.
    pub fn kill_handler(&self) -> bool {
        let pid = self.handler().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    }

    /// Kills the program (`kill -9`), its handler with it, and starts it again.
    ///
    /// # Errors
    /// As [`Product::start`].
    pub async fn kill_and_start_again(&mut self) -> Result<(), Error> {
        self.stop().await;
        self.host = spawn(&self.launch, &self.state)?;
        self.wait_until_it_answers().await
    }

    /// Kills the program and waits for its end. Nothing depends on an orderly end.
    pub async fn stop(&mut self) {
        self.note_memory();
        // It may have ended already; and if it cannot be waited for, it is gone all the same.
        let _ = self.host.kill().await;
    }

    async fn wait_until_it_answers(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            self.check()?;
            let why = match self.client.get(self.url(&format!("status/{NO_RUN}"))).send().await {
                Ok(response) if response.status() == StatusCode::NOT_FOUND => {
                    let body = text("the program's first answer", response).await?;
                    if body.contains("Instance not found") {
                        return Ok(());
                    }
                    body
                }
                Ok(response) => response.status().to_string(),
                Err(error) => deepest(&error),
            };
            if started.elapsed() > START_TIMEOUT {
                return Err(Error::Silent { waited: started.elapsed(), why, log: self.log() });
            }
            tokio::time::sleep(START_POLL).await;
        }
    }

    /// The process id of the handler: the host's only child.
    fn handler(&self) -> Option<u32> {
        let host = self.host.id()?;
        let entries = fs::read_dir("/proc").ok()?;
        let mut pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| parent_of(&stat) == Some(host))
        })
    }
}

fn spawn(launch: &Launch, state: &StateDirectory) -> Result<Child, Error> {
    let failed = |source| Error::Start { program: launch.program.clone(), source };
    let log = state.open_log()?;
    let mut command = Command::from(attached::command(&launch.program).map_err(failed)?);
    command
        .args(["standalone", "--port", &launch.port.to_string(), "--app-root"])
        .arg(&launch.app_root)
        .args(["--time-scale", &launch.time_scale.to_string()])
        // Nothing of the caller's environment: it may hold somebody's real credentials.
        .env_clear()
        .envs(launch.settings.iter().map(|(name, value)| (name, value)))
        .env("STATE_STORE", state.state_store())
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log)
        // Ctrl-C is for the demo, which then kills the program.
        .process_group(0)
        .kill_on_drop(true);
    command.spawn().map_err(failed)
}

/// The parent in a `/proc/<pid>/stat`. The name before it is in parentheses and may hold anything.
fn parent_of(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(1)?.parse().ok()
}

/// The peak memory in a `/proc/<pid>/status`, in KiB.
fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent_of("12 (adxingestor) S 11 12 12 0 -1"), Some(11));
        assert_eq!(parent_of("12 (a) b (c) S 7 12"), Some(7));
        assert_eq!(parent_of("nonsense"), None);
    }

    #[test]
    fn the_peak_is_read_in_kib() {
        assert_eq!(peak_of("Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t   51240 kB\nVmRSS:\t 1 kB\n"), Some(51_240));
        assert_eq!(peak_of("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_is_among_the_children_of_its_parent() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        assert_eq!(parent_of(&stat), Some(std::os::unix::process::parent_id()));
    }
}
