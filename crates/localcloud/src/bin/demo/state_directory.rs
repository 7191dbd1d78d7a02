//! The directory that keeps a demo from one invocation to the next: the tenant, the database, the program's own
//! state, its log, and the cloud's port.

use crate::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The directory.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
}

impl StateDirectory {
    /// Opens `path`; with `fresh` everything that a demo keeps there is deleted first.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn open(path: &Path, fresh: bool) -> Result<Self, Error> {
        let path = std::path::absolute(path).map_err(|source| failed(path, source))?;
        let port = path.join("port");
        if fresh && path.exists() {
            // The port file is the sign that the directory is a demo's: nothing else is ever deleted.
            if !port.exists() && fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
                let why = io::Error::other("it is not empty and was not made by the demo, so it is not deleted");
                return Err(failed(&path, why));
            }
            fs::remove_dir_all(&path).map_err(|source| failed(&path, source))?;
        }
        fs::create_dir_all(&path).map_err(|source| failed(&path, source))?;
        Ok(Self { path })
    }

    /// Where the cloud keeps tenant and database.
    pub fn cloud(&self) -> PathBuf {
        self.path.join("cloud")
    }

    /// The setting of the program's state store.
    pub fn state_store(&self) -> String {
        format!("sqlite:{}", self.path.join("adxingestor.db").display())
    }

    /// The file of the program's output.
    pub fn log(&self) -> PathBuf {
        self.path.join("adxingestor.log")
    }

    /// Writes settings down as a file that a POSIX shell can read (`set -a; . FILE`). Gives its path.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn write_settings(&self, settings: &[(String, String)]) -> Result<PathBuf, Error> {
        let path = self.path.join("cloud.env");
        let quoted = |value: &str| format!("'{}'", value.replace('\'', "'\\''"));
        let lines: String = settings.iter().map(|(name, value)| format!("{name}={}\n", quoted(value))).collect();
        fs::write(&path, lines).map_err(|source| failed(&path, source))?;
        Ok(path)
    }

    /// The port that the cloud had last time; 0 if there was none.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn port(&self) -> Result<u16, Error> {
        let path = self.path.join("port");
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| failed(&path, io::Error::other("it holds no port number"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(failed(&path, source)),
        }
    }

    /// Remembers the cloud's port.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn keep_port(&self, port: u16) -> Result<(), Error> {
        let path = self.path.join("port");
        fs::write(&path, port.to_string()).map_err(|source| failed(&path, source))
    }

    /// Opens the program's log to append to it.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn open_log(&self) -> Result<File, Error> {
        let path = self.log();
        OpenOptions::new().create(true).append(true).open(&path).map_err(|source| failed(&path, source))
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::State { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_is_found_again_until_it_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("demo");
        let first = StateDirectory::open(&path, true).unwrap();
        assert_eq!(first.port().unwrap(), 0);
        first.keep_port(4_711).unwrap();
        let second = StateDirectory::open(&path, false).unwrap();
        assert_eq!(second.port().unwrap(), 4_711);
        assert_eq!(StateDirectory::open(&path, true).unwrap().port().unwrap(), 0);
    }

    #[test]
    fn a_foreign_directory_is_not_deleted() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("thesis.txt"), "years of work").unwrap();
        assert!(StateDirectory::open(directory.path(), true).is_err());
        assert!(directory.path().join("thesis.txt").exists());
    }
}
