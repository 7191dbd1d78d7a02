//! Whether a folder holds a function app at all, which is asked before anything is made for it.

use super::Error;
use super::function_json::folders;
use super::host_json::FILE;
use std::path::Path;

/// Looks for what every function app has. What is in its files is read by the host as it starts.
///
/// # Errors
/// [`Error::NoApp`] names what is missing.
pub fn check_app_root(app_root: &Path) -> Result<(), Error> {
    let mut missing = Vec::new();
    if !app_root.join(FILE).is_file() {
        missing.push("it has no host.json");
    }
    if folders(app_root, &mut Vec::new()).is_empty() {
        missing.push("no folder in it has a function.json");
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::NoApp { root: app_root.to_owned(), missing }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_every_function_app_has_is_missed_by_name() {
        let root = tempfile::tempdir().unwrap();
        let missing = || check_app_root(root.path()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(missing().contains("it has no host.json, no folder in it has a function.json"), "{}", missing());
        fs::write(root.path().join(FILE), "{}").unwrap();
        fs::create_dir(root.path().join("src")).unwrap();
        assert!(!missing().contains("has no host.json") && missing().contains("no folder in it"), "{}", missing());
        fs::write(root.path().join("src/function.json"), "{}").unwrap();
        assert_eq!(missing(), "");
    }
}
