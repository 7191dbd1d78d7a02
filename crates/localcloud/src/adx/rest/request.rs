//! What a request asks for: text, database, options, parameters. Bodies carry `properties` as an object or as a
//! string that holds one (dataexplorer-docs `api/rest/request.md`).

use crate::adx::commands::Error;
use crate::kql::time::parse_timespan;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A request that was understood.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) database: String,
    pub(super) text: String,
    pub(super) client_request_id: Option<String>,
    pub(super) parameters: BTreeMap<String, Json>,
    options: Map<String, Json>,
}

impl Request {
    /// Reads a body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        let invalid = |detail: &str| Error::bad_request(format!("The request body is not valid: {detail}."));
        let Ok(Json::Object(mut body)) = serde_json::from_slice(body) else {
            return Err(invalid("it is no JSON object"));
        };
        let Some(Json::String(text)) = body.remove("csl") else { return Err(invalid("it has no text 'csl'")) };
        let database = match body.remove("db") {
            None | Some(Json::Null) => String::new(),
            Some(Json::String(name)) => name,
            Some(_) => return Err(invalid("'db' is no text")),
        };
        let properties = match body.remove("properties") {
            Some(Json::String(text)) if text.trim().is_empty() => Json::Null,
            Some(Json::String(text)) => {
                serde_json::from_str(&text).map_err(|_| invalid("'properties' holds no JSON"))?
            }
            other => other.unwrap_or_default(),
        };
        let mut request = Self { database, text, ..Self::default() };
        match properties {
            Json::Null => {}
            Json::Object(mut properties) => {
                if let Some(Json::Object(options)) = properties.remove("Options") {
                    request.options = options;
                }
                if let Some(Json::Object(parameters)) = properties.remove("Parameters") {
                    request.parameters = parameters.into_iter().collect();
                }
                request.client_request_id = properties.get("ClientRequestId").and_then(Json::as_str).map(str::to_owned);
            }
            _ => return Err(invalid("'properties' is no object")),
        }
        Ok(request)
    }

    /// Reads the query part of a URL.
    pub(super) fn of_url(mut parameters: BTreeMap<String, String>) -> Result<Self, Error> {
        let text = parameters.remove("csl").ok_or_else(|| Error::bad_request("The request has no text 'csl'."))?;
        Ok(Self { database: parameters.remove("db").unwrap_or_default(), text, ..Self::default() })
    }

    /// Whether an option is on.
    pub(super) fn is_on(&self, option: &str) -> bool {
        match self.options.get(option) {
            Some(Json::Bool(on)) => *on,
            Some(Json::String(text)) => text.eq_ignore_ascii_case("true"),
            Some(Json::Number(number)) => number.as_i64() == Some(1),
            _ => false,
        }
    }

    /// A text among the options.
    pub(super) fn text_of(&self, option: &str) -> Option<&str> {
        self.options.get(option).and_then(Json::as_str)
    }

    /// A number among the options.
    pub(super) fn number(&self, option: &str) -> Option<u64> {
        match self.options.get(option)? {
            Json::Number(number) => number.as_u64(),
            Json::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// How long the request may take: at most an hour.
    pub(super) fn patience(&self, default: Duration) -> Duration {
        const MOST: Duration = Duration::from_secs(3_600);
        if self.is_on("norequesttimeout") {
            return MOST;
        }
        let ticks = self.options.get("servertimeout").and_then(Json::as_str).and_then(parse_timespan);
        let asked = ticks.and_then(|ticks| u64::try_from(ticks).ok()).map(|ticks| Duration::from_nanos(ticks * 100));
        asked.unwrap_or(default).min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn properties_come_as_an_object_or_as_text() {
        let properties = json!({ "Options": { "servertimeout": "00:00:05", "notruncation": true }, "Parameters": { "n": 3 }, "ClientRequestId": "me" });
        for properties in [properties.clone(), Json::String(properties.to_string())] {
            let body = json!({ "db": "D", "csl": "T", "properties": properties }).to_string();
            let request = Request::parse(body.as_bytes()).unwrap();
            assert_eq!(request.patience(Duration::from_secs(240)), Duration::from_secs(5));
            assert!(request.is_on("notruncation") && !request.is_on("norequesttimeout"));
            assert_eq!(request.parameters["n"], json!(3));
            assert_eq!(request.client_request_id.as_deref(), Some("me"));
        }
    }

    #[test]
    fn a_body_without_text_is_refused() {
        for body in ["", "[]", "{}", r#"{"csl":1}"#, r#"{"csl":"T","properties":"{"}"#] {
            assert_eq!(Request::parse(body.as_bytes()).unwrap_err().status, 400, "{body}");
        }
    }
}
