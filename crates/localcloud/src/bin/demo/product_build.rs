//! Builds the program in the demo's own profile, with the cargo that runs the demo.

use crate::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// How the variables begin that `cargo run` sets for a program (doc.rust-lang.org/cargo `reference/environment-variables`).
const OF_THE_RUN: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"];

/// The workspace that the demo was built from.
pub fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}

/// Builds the program and gives its file, which stands beside the demo's own.
///
/// # Errors
/// [`Error::Build`] with what the compiler said.
pub async fn build() -> Result<PathBuf, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(&cargo);
    command.args(["build", "--quiet", "--package", "adxingestor"]).current_dir(workspace_root());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // What cargo tells the program that it runs is not for another build: build scripts that watch these would
    // rerun, and with them all that depends on them, each time.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if OF_THE_RUN.iter().any(|prefix| name_text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    let failed = |why: String| Error::Build(why);
    let output = command.output().await.map_err(|error| failed(format!("{}: {error}", cargo.display())))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let own = std::env::current_exe().map_err(|error| failed(format!("the demo's own path is unknown: {error}")))?;
    let program = own.with_file_name(format!("adxingestor{}", std::env::consts::EXE_SUFFIX));
    if program.is_file() {
        return Ok(program);
    }
    Err(failed(format!("it is not beside the demo, at {}; start the demo with `cargo demo`", program.display())))
}
