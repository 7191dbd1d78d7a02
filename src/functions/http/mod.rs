//! An HTTP call and its answer as the doors see them, whether the host forwards requests or sends envelopes.

mod forwarded;
mod in_envelope;

pub use forwarded::from_request;
pub use in_envelope::{from_envelope, to_envelope};

use axum::http::StatusCode;
use serde_json::Value;
use std::collections::HashMap;

/// A call of an HTTP function.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// `GET`, `POST`, …
    pub method: String,
    /// Scheme, host and `/api`, as the client sees them.
    pub base: String,
    /// The URL as the client sent it.
    pub url: String,
    /// Route values.
    pub route: HashMap<String, String>,
    /// Query values, names in lower case; the last of equal names.
    pub query: HashMap<String, String>,
    /// Headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// The body; empty if there was none.
    pub body: String,
}

/// What a door answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// Headers besides the content type.
    pub headers: Vec<(&'static str, String)>,
    /// The body; `None` is an empty one.
    pub body: Option<Value>,
    /// What the body is. Only of JSON is it the JSON text; anything else is a text that is sent as it is.
    pub media_type: &'static str,
}

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

impl Call {
    /// A route value, empty if left out.
    pub fn route(&self, name: &str) -> &str {
        let named = self.route.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map_or("", |(_, value)| value.as_str())
    }

    /// A query value.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// All values of a query name in lower case.
    pub fn query_all(&self, name: &str) -> Vec<String> {
        let all: Vec<String> = pairs(&self.url).filter(|(key, _)| key == name).map(|(_, value)| value).collect();
        if all.is_empty() { self.query.get(name).cloned().into_iter().collect() } else { all }
    }

    /// A query value that is `true` or `false` in any case; anything else counts as left out, as in .NET.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.query(name)?.trim().to_ascii_lowercase().parse().ok()
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Whether the caller sent a body in chunks and none came with the call: the Functions host drops such a body from its
    /// envelopes and keeps the header (azure-functions-host issue 4926).
    pub fn has_lost_its_body(&self) -> bool {
        let in_chunks = |value: &str| value.to_ascii_lowercase().contains("chunked");
        self.body.is_empty() && self.header("transfer-encoding").is_some_and(in_chunks)
    }

    /// A call of a URL, for tests.
    #[cfg(test)]
    pub fn of(method: &str, url: &str) -> Self {
        Self { method: method.to_owned(), url: url.to_owned(), query: query_of(url), ..Self::default() }
    }
}

impl Answer {
    /// A JSON answer.
    pub fn json(status: StatusCode, body: Value) -> Self {
        Self { status, headers: Vec::new(), body: Some(body), media_type: JSON }
    }

    /// An answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: None, media_type: JSON }
    }

    /// A page for people.
    pub fn html(page: String) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), body: Some(Value::String(page)), media_type: HTML }
    }

    /// The body as it is sent.
    fn text(&self) -> String {
        match &self.body {
            None => String::new(),
            Some(Value::String(text)) if self.media_type != JSON => text.clone(),
            Some(json) => json.to_string(),
        }
    }

    /// An error in words.
    pub fn error(status: StatusCode, message: impl Into<String>) -> Self {
        Self::json(status, serde_json::json!({"error": message.into()}))
    }

    /// A call that cannot be understood. Clients of Durable Functions look for the reason under the names that .NET
    /// gives it (azure-functions-durable-python `DurableOrchestrationClient.start_new`).
    pub fn invalid(message: impl Into<String>) -> Self {
        let message = message.into();
        let body = serde_json::json!({"error": &message, "Message": &message, "ExceptionMessage": &message});
        Self::json(StatusCode::BAD_REQUEST, body)
    }

    /// With a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The base of our URIs as the client sees them: scheme from `X-Forwarded-Proto`, host from `Host`.
fn base(scheme: Option<&str>, host: Option<&str>) -> String {
    let scheme =
        scheme.map(|text| text.split(',').next().unwrap_or_default().trim()).filter(|s| matches!(*s, "http" | "https"));
    let host =
        host.filter(|host| !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]_".contains(c)));
    format!("{}://{}/api", scheme.unwrap_or("http"), host.unwrap_or("localhost"))
}

fn query_of(url: &str) -> HashMap<String, String> {
    pairs(url).collect()
}

/// The query of a URL, names in lower case.
fn pairs(url: &str) -> impl Iterator<Item = (String, String)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned()))
}
