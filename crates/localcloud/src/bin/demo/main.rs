//! The demo: a simulated cloud in this process, the real program beside it, two runs over a realistic tenant, and a
//! comparison of source and destination row by row. The program is told only what a sovereign cloud would tell it.

mod administrator;
mod arguments;
mod attached;
mod comparison;
mod disturbance;
mod error;
mod http;
mod product;
mod product_build;
mod progress;
mod run;
mod scenario;
mod state_directory;
mod status;
mod summary;
mod tenant;

use arguments::Arguments;
use clap::Parser;
use error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(failed) = attached::become_program() {
        return failed;
    }
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("demo: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(play(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn play(arguments: &Arguments) -> Result<(), Error> {
    if arguments.cloud_only {
        return tokio::select! {
            served = scenario::serve_cloud(arguments) => match served? {},
            () = interrupted() => Ok(()),
        };
    }
    let mut played = tokio::select! {
        played = scenario::play(arguments) => played?,
        () = interrupted() => return Err(Error::Interrupted),
    };
    if arguments.keep {
        tokio::select! {
            ended = played.keep() => return Err(ended),
            () = interrupted() => {}
        }
    }
    played.stop().await;
    played.verdict
}

/// Ends on Ctrl-C, or when the process is asked to end.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the process as they always do.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
