//! `local.settings.json`, read as Core Tools reads it
//! (azure-docs `articles/azure-functions/functions-develop-local.md`).

use super::Error;
use super::json::Json;
use super::problem::{Problem, Problems, read_json};
use std::path::Path;

const FILE: &str = "local.settings.json";

/// The settings of an app's `local.settings.json`, to be put under the process's environment; none if there is no such
/// file.
///
/// # Errors
/// [`Error::LocalSettings`] when the file is broken or encrypted, which it is unless `IsEncrypted` is false.
pub fn local_settings(app_root: &Path) -> Result<Vec<(String, String)>, Error> {
    let Some(json) = read(app_root)? else { return Ok(Vec::new()) };
    let mut settings = Vec::new();
    for (name, value) in section(app_root, &json, "Values")? {
        match value {
            Json::Null => {}
            Json::Array(_) | Json::Object(_) => {
                return Err(broken(app_root, format!("Values.{name}"), "must be a text"));
            }
            scalar => settings.push((name.clone(), scalar.scalar_text())),
        }
    }
    for (name, value) in section(app_root, &json, "ConnectionStrings")? {
        let text = value.member("ConnectionString").unwrap_or(value);
        if let Json::String(text) = text {
            settings.push((format!("ConnectionStrings:{name}"), text.clone()));
        }
    }
    Ok(settings)
}

/// `Host.LocalHttpPort` of an app's `local.settings.json`, if it is there.
///
/// # Errors
/// [`Error::LocalSettings`] when the file is broken or the port is none.
pub fn local_http_port(app_root: &Path) -> Result<Option<u16>, Error> {
    let Some(json) = read(app_root)? else { return Ok(None) };
    let Some(port) = json.member("Host").and_then(|host| host.member("LocalHttpPort")) else { return Ok(None) };
    let number = port.scalar_text().parse().ok();
    number.map(Some).ok_or_else(|| broken(app_root, "Host.LocalHttpPort", "must be a port number"))
}

fn read(app_root: &Path) -> Result<Option<Json>, Error> {
    let Some(json) = read_json(&app_root.join(FILE)).map_err(|message| broken(app_root, "", message))? else {
        return Ok(None);
    };
    if json.member("IsEncrypted") != Some(&Json::Bool(false)) {
        let message =
            "must be false: encrypted settings cannot be read, and a file that does not say counts as encrypted";
        return Err(broken(app_root, "IsEncrypted", message));
    }
    Ok(Some(json))
}

fn section<'j>(app_root: &Path, json: &'j Json, name: &str) -> Result<&'j [(String, Json)], Error> {
    match json.member(name) {
        None | Some(Json::Null) => Ok(&[]),
        Some(Json::Object(members)) => Ok(members),
        Some(_) => Err(broken(app_root, name, "must be a JSON object")),
    }
}

fn broken(app_root: &Path, field: impl Into<String>, message: impl Into<String>) -> Error {
    let problem = Problem { file: FILE.to_owned(), field: field.into(), message: message.into() };
    Error::LocalSettings { root: app_root.to_owned(), problems: Problems(vec![problem]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Vec<(String, String)>, String> {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(FILE), text).unwrap();
        local_settings(root.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn values_and_connection_strings_become_settings() {
        let text = "\u{feff}{\"IsEncrypted\":false,\"Values\":{\"A\":\"1\",\"B\":\"\",\"C\":null,\"D\":2},
            \"Host\":{\"LocalHttpPort\":7072},\"ConnectionStrings\":{\"Db\":\"x\"}}";
        let expected = [("A", "1"), ("B", ""), ("D", "2"), ("ConnectionStrings:Db", "x")];
        assert_eq!(settings(text).unwrap(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_file_that_does_not_say_counts_as_encrypted() {
        let message = settings(r#"{"Values":{}}"#).unwrap_err();
        assert!(message.contains("local.settings.json: `IsEncrypted` must be false"), "{message}");
    }

    #[test]
    fn a_missing_file_means_no_settings() {
        assert_eq!(local_settings(tempfile::tempdir().unwrap().path()).unwrap(), []);
    }
}
