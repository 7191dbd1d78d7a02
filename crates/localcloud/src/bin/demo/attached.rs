//! Lets a process end with the demo, however the demo ends: the demo starts itself, and that asks the system for a
//! deadly signal at the end of its parent before it becomes the program.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

const WORD: &str = "run-attached";

/// A command that becomes `program` with the arguments that are added to it. It has to be started by the main thread:
/// the system means the thread when it says parent.
///
/// # Errors
/// The demo's own path is unknown.
pub fn command(program: &Path) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(WORD).arg(std::process::id().to_string()).arg(program);
    Ok(command)
}

/// Becomes the program, if this process was started for that; gives what to exit with if it cannot.
pub fn become_program() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let parent = arguments.next()?.to_str()?.parse().ok()?;
    let program = arguments.next()?;
    eprintln!("demo: {} cannot be started: {}", program.display(), replace(parent, &program, arguments));
    Some(ExitCode::FAILURE)
}

fn replace(parent: i32, program: &OsString, arguments: impl Iterator<Item = OsString>) -> io::Error {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
            return error.into();
        }
        // The demo may have ended between the start of this process and the call above.
        if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
            return io::Error::other("the demo has ended");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    Command::new(program).args(arguments).exec()
}
