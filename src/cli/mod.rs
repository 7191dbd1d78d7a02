//! The commands. Reads the process environment and hands it down; nothing below does.

mod adopt;
mod health;
mod run;
mod serve;
mod standalone;
mod store;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

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
    /// Rebuilds the ledger of a table from what ADX holds, after the state store was lost or moved.
    Adopt(adopt::Arguments),
    /// Asks a `standalone` on this machine whether it lives; the exit code says so.
    Health(health::Arguments),
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let screen = matches!(cli.command, Some(Command::Run(_))).then(run::Screen::default);
    match &screen {
        Some(screen) => screen.take_logs(),
        None => log_to_stdout(),
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("adxingestor: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => runtime.block_on(serve::run(&setting, &names())),
        Command::Standalone(arguments) => runtime.block_on(standalone::run(arguments, &setting)),
        Command::Run(arguments) => {
            let screen = screen.unwrap_or_default();
            let code = runtime.block_on(run::run(arguments, &setting, &screen));
            // What is still under way is for the next run.
            runtime.shutdown_background();
            return code;
        }
        Command::Adopt(arguments) => runtime.block_on(adopt::run(arguments, &setting)),
        Command::Health(arguments) => runtime.block_on(health::run(arguments)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("adxingestor: {message}");
            ExitCode::FAILURE
        }
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

/// The host takes a line on stdout for information and one on stderr for an error, so all goes to stdout.
fn log_to_stdout() {
    let filter = EnvFilter::try_from_env("ADXINGESTOR_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,azure_core=warn,azure_identity=warn,typespec_client_core=warn"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stdout());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_target(false)
        .with_writer(std::io::stdout)
        .init();
}
