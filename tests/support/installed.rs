//! Programs of other languages that tests run: installed below the build directory, once for each content of their files,
//! lock file included. Knows neither the programs nor the product.
//!
//! Where a tool is missing, tests that need it fail if `CI` is set, and are otherwise skipped with one line on standard
//! error.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const INSTALL: Duration = Duration::from_secs(300);
const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };
/// The oldest Node that the pinned packages are known to run on.
const NODE: u32 = 18;
/// The oldest Python 3 that the lock files hold for.
const PYTHON: u32 = 11;

/// Files to install from, by their names.
pub type Files<'f> = [(&'f str, &'f str)];

/// The directory of an installation from npm; `None`, said on standard error, where there cannot be one.
pub fn from_npm(name: &str, tests: &str, files: &Files) -> Option<PathBuf> {
    ready(tests, missing_node())?;
    Some(once(name, files, |home| {
        run(Command::new(NPM).args(["ci", "--omit=dev", "--ignore-scripts"]).current_dir(home), &home.join("npm.log"));
    }))
}

/// The directory of an installation from PyPI, by the `requirements.txt` among `files`; `None`, said on standard error, where
/// there cannot be one.
pub fn from_pip(name: &str, tests: &str, files: &Files) -> Option<PathBuf> {
    ready(tests, missing_python("python3"))?;
    Some(once(name, files, |home| {
        let mut new = Command::new("python3");
        run(new.args(["-m", "venv"]).arg(home.join("environment")), &home.join("venv.log"));
        let mut pip = Command::new(interpreter(home));
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "-r", "requirements.txt"]);
        run(pip.current_dir(home), &home.join("pip.log"));
    }))
}

/// The interpreter of an installation from PyPI.
pub fn interpreter(home: &Path) -> PathBuf {
    home.join("environment").join("bin").join("python")
}

/// `Some` unless something is missing: then it is said that tests are skipped, or, under CI, where none may be, it fails.
pub fn ready(tests: &str, missing: Option<String>) -> Option<()> {
    let Some(what) = missing else { return Some(()) };
    let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!ci, "{tests} need {what}; install it, nothing is skipped under CI");
    // Written past the capture of the test's output.
    let _ = writeln!(std::io::stderr(), "skipped: {tests}, for want of {what}");
    None
}

/// What this machine lacks for npm packages.
fn missing_node() -> Option<String> {
    let Some(node) = version("node") else { return Some(format!("Node {NODE} or newer")) };
    let major = node.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE) {
        return Some(format!("Node {NODE} or newer (this is {node})"));
    }
    version(NPM).is_none().then(|| "npm".to_owned())
}

/// What this machine lacks for packages of PyPI. Debian's Python has no `ensurepip`, without which it makes no environment.
fn missing_python(python: &str) -> Option<String> {
    let version = version(python);
    let minor = version.as_deref().and_then(|text| text.strip_prefix("Python 3.")?.split('.').next()?.parse().ok());
    if minor.is_none_or(|minor: u32| minor < PYTHON) {
        let found = version.map(|version| format!(" (this is {version})")).unwrap_or_default();
        return Some(format!("Python 3.{PYTHON} or newer{found}"));
    }
    let made = Command::new(python).args(["-c", "import ensurepip, venv"]).stdin(Stdio::null()).output();
    let can = made.is_ok_and(|made| made.status.success());
    (!can).then(|| "Python's venv and pip (Debian's package `python3-venv`)".to_owned())
}

/// What a program says its version is.
pub fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Installs into a directory of its own, which holds `files`, unless that was done before.
pub fn once(name: &str, files: &Files, install: impl FnOnce(&Path)) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{:016x}", hasher.finish()));
    let done = home.join("installed");
    // Several test programs may come here at once. The lock ends with its process, whichever way that ends.
    let lock = File::create(home.with_extension("lock")).expect("the build directory can be written");
    lock.lock().expect("the lock of the installation");
    if done.exists() {
        return home;
    }
    if home.exists() {
        fs::remove_dir_all(&home).expect("the rest of a broken installation can be removed");
    }
    fs::create_dir_all(&home).unwrap();
    for (name, content) in files {
        fs::write(home.join(name), content).unwrap();
    }
    install(&home);
    File::create(done).unwrap();
    home
}

/// Runs a step of an installation to its good end.
pub fn run(command: &mut Command, log: &Path) {
    let output = File::create(log).unwrap();
    let mut step = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let deadline = Instant::now() + INSTALL;
    let said = || fs::read_to_string(log).unwrap_or_default();
    loop {
        if let Some(status) = step.try_wait().unwrap() {
            assert!(status.success(), "{command:?} failed ({status}):\n{}", said());
            return;
        }
        if Instant::now() > deadline {
            let _ = step.kill();
            let _ = step.wait();
            panic!("{command:?} did not end within {INSTALL:?}:\n{}", said());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
