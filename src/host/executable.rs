//! Which program the handler is, and on which port it listens.

use super::Error;
use super::environment::Environment;
use super::host_json::HandlerDescription;
use crate::random::Random;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// The product's own program, which stands in for a handler of that name that is nowhere to be found.
const OWN_NAME: &str = "adxingestor";
/// Below the ports that the system gives to outgoing connections, which could otherwise take the handler's port between
/// two of its lives.
const PORTS: std::ops::Range<u16> = 20_000..32_768;
const TRIES: usize = 200;

/// The program: the named file below the app root (or worker directory) if there is one, else one on the PATH, else
/// `own` if the name is the product's.
pub(crate) fn find(
    description: &HandlerDescription,
    app_root: &Path,
    environment: &Environment,
    own: &Path,
) -> Result<PathBuf, Error> {
    let named = Path::new(&description.executable);
    let beside = app_root.join(&description.worker_directory).join(named);
    if beside.is_file() {
        return Ok(beside);
    }
    // A name with a folder in it is not looked up, as by the shell.
    if named.components().count() == 1 {
        let path = environment.get("PATH").unwrap_or_default();
        let found = std::env::split_paths(path).map(|folder| folder.join(named)).find(|file| file.is_file());
        if let Some(found) = found {
            return Ok(found);
        }
    }
    if named.file_stem() == Some(OsStr::new(OWN_NAME)) {
        return Ok(own.to_owned());
    }
    Err(Error::NoHandler { name: description.executable.clone(), beside })
}

/// The handler's working directory: the app root, or what the description names below it.
pub(crate) fn working_directory(description: &HandlerDescription, app_root: &Path) -> PathBuf {
    if description.working_directory.is_empty() {
        app_root.to_owned()
    } else {
        app_root.join(&description.working_directory)
    }
}

/// A loopback port that is free now.
pub(crate) fn free_port(random: &dyn Random) -> std::io::Result<u16> {
    let spread = u128::from(PORTS.end - PORTS.start);
    for _ in 0..TRIES {
        let port = PORTS.start + u16::try_from(random.bits() % spread).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr().map(|address| address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(executable: &str) -> HandlerDescription {
        HandlerDescription {
            executable: executable.to_owned(),
            arguments: Vec::new(),
            working_directory: "work".to_owned(),
            worker_directory: String::new(),
        }
    }

    #[test]
    fn the_app_root_comes_before_the_path_and_the_path_before_ourselves() {
        let root = tempfile::tempdir().unwrap();
        let bin = tempfile::tempdir().unwrap();
        let environment = Environment::new(vec![("PATH".into(), bin.path().display().to_string())]);
        let own = Path::new("/own");
        let found = |name: &str| find(&description(name), root.path(), &environment, own);
        assert_eq!(found("adxingestor").unwrap(), own);
        assert!(matches!(found("other"), Err(Error::NoHandler { .. })));
        std::fs::write(bin.path().join("adxingestor"), "").unwrap();
        assert_eq!(found("adxingestor").unwrap(), bin.path().join("adxingestor"));
        std::fs::write(root.path().join("adxingestor"), "").unwrap();
        assert_eq!(found("adxingestor").unwrap(), root.path().join("adxingestor"));
        assert_eq!(working_directory(&description("x"), root.path()), root.path().join("work"));
    }
}
