//! The commands. Reads the process environment and hands it down; nothing below does.

mod adopt;
mod doctor;
mod health;
mod logging;
mod run;
mod serve;
mod setup;
mod standalone;
mod store;

use adxingestor::printable::one_line as shown;
use adxingestor::random::{Random, SystemRandom};
use adxingestor::telemetry::otlp::Telemetry;
use clap::{Parser, Subcommand};
use logging::{Sink, log_to};
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use tokio::runtime::Runtime;

/// Copies Microsoft Defender Advanced Hunting tables into Azure Data Explorer, every row exactly once.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The custom handler: serves the functions to a Functions host (the default).
    Serve,
    /// The Functions host for one machine: HTTP, queues and timers over the function folders.
    Standalone(standalone::Arguments),
    /// One run in this process, to its end, without a Functions host.
    Run(run::Arguments),
    /// Prints, or with --apply does, what Azure Data Explorer needs: roles, metadata tables and views, and tables to copy.
    Setup(setup::Arguments),
    /// Checks what a run needs, and says what is wrong and what to do; alters nothing.
    Doctor(doctor::Arguments),
    /// Rebuilds the ledger of a table from what ADX holds, after the state store was lost or moved.
    Adopt(adopt::Arguments),
    /// Asks a `standalone` on this machine whether it lives; the exit code says so.
    Health(health::Arguments),
}

impl Command {
    /// Whether it does the work of runs itself: a host's handler has telemetry of its own.
    fn works(&self) -> bool {
        matches!(self, Self::Serve | Self::Run(_) | Self::Adopt(_))
    }
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("adxingestor: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let command = cli.command.unwrap_or(Command::Serve);
    let screen = run::Screen::new(logging::is_json(&setting));
    let telemetry = begin_log(&command, &screen, &runtime);
    let done = |()| ExitCode::SUCCESS;
    let ended = match command {
        Command::Serve => runtime.block_on(serve::run(&setting, &names())),
        Command::Standalone(arguments) => runtime.block_on(standalone::run(arguments, &setting)).map(done),
        Command::Run(arguments) => runtime.block_on(run::run(arguments, &setting, &screen)),
        Command::Setup(arguments) => runtime.block_on(setup::run(arguments, &setting)),
        Command::Doctor(arguments) => runtime.block_on(doctor::run(&arguments, &setting)),
        Command::Adopt(arguments) => runtime.block_on(adopt::run(arguments, &setting)).map(done),
        Command::Health(arguments) => runtime.block_on(health::run(arguments)).map(done),
    };
    let code = ended.unwrap_or_else(|message| {
        screen.fail(&format!("adxingestor: {message}"));
        ExitCode::FAILURE
    });
    telemetry.end();
    // What is still under way, such as the look-up of a name, is not waited for.
    runtime.shutdown_background();
    code
}

/// Writes lines to standard output. Whoever closed it wants to read no more, which is no failure.
///
/// # Errors
/// They could not be written, as to a disk that is full.
fn print_lines(text: &str) -> Result<(), String> {
    let mut output = std::io::stdout();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("what came of it could not be written to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// The names of all settings of this process.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn names() -> Vec<String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
}

/// A setting of this process.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Starts the log, and the telemetry of a command that does the work itself.
fn begin_log(command: &Command, screen: &run::Screen, runtime: &Runtime) -> Telemetry {
    let started = if command.works() {
        Telemetry::start(&setting, SystemRandom.bits(), runtime.handle())
    } else {
        Ok(Telemetry::default())
    };
    let (telemetry, error) = match started {
        Ok(telemetry) => (telemetry, None),
        Err(error) => (Telemetry::default(), Some(error)),
    };
    let sink = match command {
        Command::Run(_) => Sink::of(screen.clone(), screen.is_live(), run::LOGGED),
        Command::Setup(_) => Sink::error("warn"),
        // Its findings say all that there is to say.
        Command::Doctor(_) => Sink::error("off,adxingestor::progress=error"),
        _ => Sink::output(),
    };
    log_to(sink, &setting, &telemetry);
    if let Some(error) = error {
        tracing::error!(%error, "no telemetry is exported; the work goes on");
    }
    telemetry
}
