//! The keys that callers of HTTP functions show. The file is JSON:
//! `{"master": "…", "host": {"default": "…"}, "functions": {"name": {"default": "…"}}}`, every part optional.

use super::Error;
use super::function_json::AuthLevel;
use super::json::Json;
use super::problem::read_json;
use crate::secret::Secret;
use std::path::Path;

/// The keys of a function app.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    master: Option<Secret>,
    host: Vec<Secret>,
    functions: Vec<(String, Secret)>,
}

impl Keys {
    /// Reads a key file.
    ///
    /// # Errors
    /// [`Error::Keys`] when the file is missing, is not of the form above or holds an empty key.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let broken = |field: &str, message: &str| Error::Keys {
            file: file.to_owned(),
            problem: if field.is_empty() { format!("it {message}") } else { format!("`{field}` {message}") },
        };
        let json = match read_json(file) {
            Ok(Some(json @ Json::Object(_))) => json,
            Ok(Some(_)) => return Err(broken("", "must hold a JSON object")),
            Ok(None) => return Err(broken("", "is missing")),
            Err(message) => return Err(broken("", &message)),
        };
        let key = |field: &str, value: &Json| match value {
            Json::String(text) if !text.is_empty() => Ok(Secret::new(text)),
            _ => Err(broken(field, "must be a key, a text that is not empty")),
        };
        let named = |field: &str, value: &Json| match value {
            Json::Object(keys) => keys.iter().map(|(_, value)| key(field, value)).collect::<Result<Vec<_>, _>>(),
            _ => Err(broken(field, "must be an object of keys by name")),
        };
        let mut keys = Self::default();
        let Json::Object(members) = &json else { return Ok(keys) };
        for (name, value) in members {
            match (name.as_str(), value) {
                ("master", value) => keys.master = Some(key("master", value)?),
                ("host", value) => keys.host = named("host", value)?,
                ("functions", Json::Object(functions)) => {
                    for (function, value) in functions {
                        let field = format!("functions.{function}");
                        keys.functions.extend(named(&field, value)?.into_iter().map(|key| (function.clone(), key)));
                    }
                }
                _ => return Err(broken(name, "is not one of `master`, `host` and `functions`")),
            }
        }
        Ok(keys)
    }

    /// The functions that have keys and are none of `known`.
    pub(crate) fn strangers<'a>(&'a self, known: &[&str]) -> Vec<&'a str> {
        let own = self.functions.iter().map(|(name, _)| name.as_str());
        let mut strangers: Vec<&str> =
            own.filter(|own| !known.iter().any(|name| name.eq_ignore_ascii_case(own))).collect();
        strangers.dedup();
        strangers
    }

    /// Whether a caller who shows `key` may call `function`.
    pub(crate) fn admit(&self, level: AuthLevel, function: &str, key: Option<&str>) -> bool {
        let Some(key) = key else { return level == AuthLevel::Anonymous };
        let is_master = self.master.as_ref().is_some_and(|master| equal(master, key));
        match level {
            AuthLevel::Anonymous => true,
            AuthLevel::Admin => is_master,
            AuthLevel::Function => {
                let own = self.functions.iter().filter(|(name, _)| name.eq_ignore_ascii_case(function));
                let mut known = own.map(|(_, key)| key).chain(&self.host);
                is_master || known.any(|known| equal(known, key))
            }
        }
    }
}

/// Compares in a time that does not tell how much was right.
fn equal(known: &Secret, shown: &str) -> bool {
    let (known, shown) = (known.expose().as_bytes(), shown.as_bytes());
    known.len() == shown.len() && known.iter().zip(shown).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Keys, String> {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("keys.json");
        std::fs::write(&file, text).unwrap();
        Keys::read(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn each_level_takes_its_keys() {
        let keys = keys(r#"{"master":"m","host":{"default":"h"},"functions":{"a":{"default":"fa"}}}"#).unwrap();
        let admitted = |level, key| keys.admit(level, "A", key);
        assert!(admitted(AuthLevel::Anonymous, None));
        assert!(!admitted(AuthLevel::Function, None));
        for key in ["m", "h", "fa"] {
            assert!(admitted(AuthLevel::Function, Some(key)), "{key}");
        }
        assert!(!keys.admit(AuthLevel::Function, "b", Some("fa")));
        assert!(admitted(AuthLevel::Admin, Some("m")));
        assert!(!admitted(AuthLevel::Admin, Some("h")));
    }

    #[test]
    fn a_name_that_no_function_has_is_found() {
        let keys = keys(r#"{"functions":{"a":{"x":"1","y":"2"},"b":{"x":"3"}}}"#).unwrap();
        assert_eq!((keys.strangers(&["B"]), keys.strangers(&["A", "b"])), (vec!["a"], vec![]));
    }

    #[test]
    fn what_is_wrong_is_said_of_the_file_of_keys() {
        let said = keys("{ not json").unwrap_err();
        assert!(said.starts_with("the keys file ") && said.contains("keys.json cannot be used: it "), "{said}");
    }

    #[test]
    fn an_empty_or_misplaced_key_is_refused_without_being_printed() {
        assert!(keys(r#"{"master":""}"#).unwrap_err().contains("`master`"));
        assert!(keys(r#"{"hosts":{"default":"secret"}}"#).is_err_and(|message| !message.contains("secret")));
    }
}
