//! What can end the demo, in words.

use localcloud::{cloud, source};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Ctrl-C, or asked to end.
    #[error("interrupted; what was running has been stopped")]
    Interrupted,
    /// The program did not compile.
    #[error("the program cannot be built:\n{0}")]
    Build(String),
    /// The program cannot be started.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program ended by itself.
    #[error("the program ended by itself ({status}); its output is in {log}")]
    Ended {
        /// How.
        status: String,
        /// Where its output is.
        log: PathBuf,
    },
    /// The program does not answer.
    #[error("the program has not answered for {} s ({why}); its output is in {log}", waited.as_secs())]
    Silent {
        /// For how long.
        waited: Duration,
        /// The last failure.
        why: String,
        /// Where its output is.
        log: PathBuf,
    },
    /// A file or directory of the state cannot be used.
    #[error("{path}: {source}; choose another directory with --state DIR, or begin anew with --fresh")]
    State {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The simulated cloud cannot start.
    #[error("the simulated cloud cannot start: {0}")]
    Cloud(#[from] cloud::Error),
    /// The simulated tenant cannot be changed or read.
    #[error("the simulated tenant: {0}")]
    Source(#[from] source::Error),
    /// An HTTP call of the demo itself failed.
    #[error("{what}: {why}")]
    Call {
        /// What was asked for.
        what: String,
        /// What came instead.
        why: String,
    },
    /// A run was refused.
    #[error("the run cannot be started: {0}")]
    Refused(String),
    /// A run ended otherwise than completed, or with failed tables.
    #[error("the run {id} ended as {status}: {why}; the program's output is in {log}")]
    RunFailed {
        /// Its id.
        id: String,
        /// Its status.
        status: String,
        /// What it says.
        why: String,
        /// Where the program's output is.
        log: PathBuf,
    },
    /// A run takes too long.
    #[error("the run {id} has not ended within {} s; the program's output is in {log}", limit.as_secs())]
    TimedOut {
        /// Its id.
        id: String,
        /// How long it may take.
        limit: Duration,
        /// Where the program's output is.
        log: PathBuf,
    },
    /// The copy is not exact.
    #[error("source and destination differ: {0}")]
    Differences(String),
}

impl Error {
    /// A failure of an HTTP call.
    pub fn call(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Call { what: what.into(), why: why.to_string() }
    }
}
