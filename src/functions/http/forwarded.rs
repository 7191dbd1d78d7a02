//! Requests as the host forwards them: `enableForwardingHttpRequest` keeps path, query, headers and body.

use super::{Answer, Call, base, query_of};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use std::collections::HashMap;

/// The call in a forwarded request.
pub fn from_request(parts: &Parts, route: HashMap<String, String>, body: &[u8]) -> Call {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let base = base(header("x-forwarded-proto"), header(HOST.as_str()));
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    Call {
        method: parts.method.to_string(),
        url: format!("{}{path}", base.trim_end_matches("/api")),
        query: query_of(path),
        // Names of a header map are in lower case.
        headers: parts
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect(),
        base,
        route,
        body: String::from_utf8_lossy(body).into_owned(),
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.text()).into_response();
        let headers = response.headers_mut();
        headers.remove(CONTENT_TYPE);
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        }
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        response
    }
}
