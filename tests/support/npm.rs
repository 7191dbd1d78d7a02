//! Packages of npm that tests run on Node: installed below the build directory, once for each lock file. Needs Node and npm
//! and nothing else of the product.
//!
//! Where they are missing, tests that need them fail if `CI` is set, and are otherwise skipped with one line on standard
//! error.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A folder to install.
pub struct Package {
    /// What its folder is called below the build directory.
    pub name: &'static str,
    /// The tests that need it, for the line that says that they are skipped.
    pub tests: &'static str,
    /// The oldest Node that it is known to run on.
    pub node: u32,
    /// Its files, the lock file among them.
    pub files: &'static [(&'static str, &'static str)],
}

const INSTALL: Duration = Duration::from_secs(300);
const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };

impl Package {
    /// The installed folder; `None` where it cannot be installed, after saying so.
    pub fn installed(&self) -> Option<PathBuf> {
        let Some(missing) = self.missing() else { return Some(self.install()) };
        let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        assert!(!ci, "{} need {missing}; install it, nothing is skipped under CI", self.tests);
        // Written past the capture of the test's output.
        let _ = writeln!(std::io::stderr(), "skipped: {}, for want of {missing}", self.tests);
        None
    }

    /// What this machine lacks.
    fn missing(&self) -> Option<String> {
        let version = |program| {
            let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let oldest = self.node;
        let Some(node) = version("node") else { return Some(format!("Node {oldest} or newer")) };
        let major = node.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < oldest) {
            return Some(format!("Node {oldest} or newer (this is {node})"));
        }
        version(NPM).is_none().then(|| "npm".to_owned())
    }

    fn install(&self) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        self.files.hash(&mut hasher);
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{:016x}", self.name, hasher.finish()));
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
        for (name, content) in self.files {
            fs::write(home.join(name), content).unwrap();
        }
        let log = home.join("npm.log");
        let output = File::create(&log).unwrap();
        let mut npm = Command::new(NPM)
            .args(["ci", "--omit=dev", "--ignore-scripts"])
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("npm starts");
        let deadline = Instant::now() + INSTALL;
        let status = loop {
            if let Some(status) = npm.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > deadline {
                let _ = npm.kill();
                let _ = npm.wait();
                break None;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let status = status.unwrap_or_else(|| panic!("npm ci did not end within {INSTALL:?}:\n{}", said()));
        assert!(status.success(), "npm ci could not install {} ({status}):\n{}", self.name, said());
        File::create(done).unwrap();
        home
    }
}
