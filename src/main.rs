//! The command line: `serve` is what the Functions host starts, `standalone` is host and handler on one machine.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
