//! The caller's request as a function sees it: `req` of the envelope with its metadata, or the request passed on
//! (azure-functions-host `HttpRequestExtensions.cs`, azure-webjobs-sdk-extensions
//! `HttpTriggerAttributeBindingProvider.cs`).

use super::envelope::{Metadata, text};
use super::json::Json;
use super::route::Values;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::net::SocketAddr;

/// A request whose body has been read.
pub(crate) struct Caller {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Where the host listens, for callers that name no host.
    pub(crate) local: SocketAddr,
}

/// Headers that .NET keeps with the content: of these only two reach a handler.
const DROPPED_CONTENT_HEADERS: [HeaderName; 8] = [
    header::ALLOW,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::EXPIRES,
    header::LAST_MODIFIED,
];

/// Headers about one connection, which end at the host.
const CONNECTION_HEADERS: [HeaderName; 7] = [
    header::CONNECTION,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Headers whose names the real host writes in their documented form; others come as they were sent, which here is
/// in lower case.
const KNOWN_HEADERS: [&str; 32] = [
    "Accept",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "Cache-Control",
    "Connection",
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "Date",
    "Expect",
    "From",
    "Host",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Keep-Alive",
    "Origin",
    "Pragma",
    "Range",
    "Referer",
    "Request-Id",
    "TE",
    "Transfer-Encoding",
    "Upgrade",
    "User-Agent",
    "Via",
];

/// Takes out the headers that are about the connection.
pub(crate) fn remove_connection_headers(headers: &mut HeaderMap) {
    for name in &CONNECTION_HEADERS {
        headers.remove(name);
    }
}

/// A query parsed, repeated names joined by commas under the first one's spelling.
pub(crate) fn query(uri: &Uri) -> Vec<(String, String)> {
    let mut query: Vec<(String, String)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        match query.iter_mut().find(|(known, _)| known.to_lowercase() == name.to_lowercase()) {
            Some((_, values)) => {
                values.push(',');
                values.push_str(&value);
            }
            None => query.push((name.into_owned(), value.into_owned())),
        }
    }
    query
}

impl Caller {
    /// The path and query of the request passed on: the path as it came, the query written anew.
    pub(crate) fn forwarded_path(&self) -> String {
        let mut path = self.uri.path().to_owned();
        for (index, (name, value)) in query(&self.uri).iter().enumerate() {
            path.push(if index == 0 { '?' } else { '&' });
            encode(name, &mut path);
            path.push('=');
            encode(value, &mut path);
        }
        path
    }

    /// The headers of the request passed on.
    pub(crate) fn forwarded_headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        remove_connection_headers(&mut headers);
        for name in DROPPED_CONTENT_HEADERS {
            headers.remove(name);
        }
        headers.remove("content-md5");
        headers.remove(header::CONTENT_LENGTH);
        if self.body.is_empty() {
            headers.remove(header::CONTENT_TYPE);
        }
        headers
    }

    /// `req` of the envelope. `level` is the caller's; `None`: no key was shown where keys count.
    pub(crate) fn data(&self, route: &Values, level: Option<&str>) -> Json {
        let headers = self.grouped_headers();
        let all = |values: Vec<String>| Json::Array(values.into_iter().map(Json::String).collect());
        let parameter = |value: &Option<String>| value.as_ref().map_or(Json::Null, Json::text);
        let mut members = vec![
            ("Url".to_owned(), Json::String(self.url())),
            ("Method".to_owned(), Json::text(self.method.as_str())),
            ("Query".to_owned(), Json::Object(self.query_members())),
            ("Headers".to_owned(), Json::Object(headers.into_iter().map(|(name, v)| (name, all(v))).collect())),
            ("Params".to_owned(), Json::Object(route.iter().map(|(n, v)| (n.clone(), parameter(v))).collect())),
            ("Identities".to_owned(), Json::Array(vec![identity(level)])),
        ];
        if !self.body.is_empty() {
            members.push(("Body".to_owned(), Json::String(self.body_text())));
        }
        Json::Object(members)
    }

    /// The metadata of the envelope.
    pub(crate) fn metadata(&self, route: &Values) -> Metadata {
        let mut metadata = Metadata::default();
        metadata.add_payload(&String::from_utf8_lossy(&self.body));
        for (name, value) in query(&self.uri) {
            if !name.eq_ignore_ascii_case("code") {
                metadata.set(&name, text(&value));
            }
        }
        for (name, value) in route {
            if let Some(value) = value {
                metadata.set(name, text(value));
            }
        }
        metadata.set("Query", Json::Object(self.query_members()));
        let joined = |(name, values): (String, Vec<String>)| (name, Json::String(values.join(",")));
        metadata.set("Headers", Json::Object(self.grouped_headers().into_iter().map(joined).collect()));
        metadata
    }

    fn query_members(&self) -> Vec<(String, Json)> {
        query(&self.uri).into_iter().map(|(name, value)| (name, Json::String(value))).collect()
    }

    fn grouped_headers(&self) -> Vec<(String, Vec<String>)> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let group = |name: &HeaderName| {
            let known = KNOWN_HEADERS.iter().find(|known| known.eq_ignore_ascii_case(name.as_str()));
            let shown = known.copied().unwrap_or(name.as_str()).to_owned();
            (shown, self.headers.get_all(name).iter().map(text).collect())
        };
        self.headers.keys().map(group).collect()
    }

    fn url(&self) -> String {
        let host = self.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let host = host.unwrap_or_else(|| self.local.to_string());
        let query = self.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("http://{host}{}{query}", self.uri.path())
    }

    fn body_text(&self) -> String {
        let content_type = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = content_type.unwrap_or_default().trim().to_ascii_lowercase();
        if media.starts_with("application/octet-stream") || media.starts_with("multipart/") {
            STANDARD.encode(&self.body)
        } else {
            String::from_utf8_lossy(&self.body).into_owned()
        }
    }
}

/// A .NET claims identity.
fn identity(level: Option<&str>) -> Json {
    let string = "http://www.w3.org/2001/XMLSchema#string";
    let claim = |level: &str| {
        Json::object([
            ("Issuer", Json::text("LOCAL AUTHORITY")),
            ("OriginalIssuer", Json::text("LOCAL AUTHORITY")),
            ("Properties", Json::Object(Vec::new())),
            ("Type", Json::text("http://schemas.microsoft.com/2017/07/functions/claims/authlevel")),
            ("Value", Json::text(level)),
            ("ValueType", Json::text(string)),
        ])
    };
    Json::object([
        ("AuthenticationType", level.map_or(Json::Null, |_| Json::text("WebJobsAuthLevel"))),
        ("IsAuthenticated", Json::Bool(level.is_some())),
        ("Actor", Json::Null),
        ("BootstrapContext", Json::Null),
        ("Claims", Json::Array(level.map(claim).into_iter().collect())),
        ("Label", Json::Null),
        ("Name", Json::Null),
        ("NameClaimType", Json::text("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name")),
        ("RoleClaimType", Json::text("http://schemas.microsoft.com/ws/2008/06/identity/claims/role")),
    ])
}

/// Percent-encodes as .NET's default URL encoder.
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"!$()*,-.;@_~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uri: &str, headers: &[(&'static str, &'static str)], body: &'static str) -> Caller {
        Caller {
            method: Method::POST,
            uri: uri.parse().unwrap(),
            headers: headers
                .iter()
                .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect(),
            body: body.into(),
            local: ([127, 0, 0, 1], 7071).into(),
        }
    }

    #[test]
    fn a_repeated_query_key_becomes_one_value_and_is_encoded_anew() {
        let caller = caller("/api/x%20y?a=1&A=2&b=x+y%26&code=k", &[], "");
        assert_eq!(caller.forwarded_path(), "/api/x%20y?a=1,2&b=x%20y%26&code=k");
    }

    #[test]
    fn forwarded_requests_lose_the_content_headers_but_two() {
        let headers = [
            ("host", "h"),
            ("content-encoding", "gzip"),
            ("content-type", "text/plain"),
            ("content-length", "1"),
            ("x-functions-key", "k"),
            ("connection", "close"),
        ];
        let names = |caller: Caller| {
            let headers = caller.forwarded_headers();
            let mut names: Vec<String> = headers.keys().map(HeaderName::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(names(caller("/", &headers, "x")), ["content-type", "host", "x-functions-key"]);
        assert_eq!(names(caller("/", &headers, "")), ["host", "x-functions-key"]);
    }

    #[test]
    fn the_envelope_shows_the_request_in_the_documented_form() {
        let headers = [("content-type", "application/json"), ("host", "localhost:7071"), ("x-a", "1"), ("x-a", "2")];
        let caller = caller("/api/orders/7?name=Jo", &headers, r#"{"id":1,"k":[1]}"#);
        let route = vec![("id".to_owned(), Some("7".to_owned())), ("rest".to_owned(), None)];
        let data = caller.data(&route, Some("Admin"));
        let member = |name: &str| data.member(name).unwrap().compact();
        assert_eq!(member("Url"), r#""http://localhost:7071/api/orders/7?name=Jo""#);
        assert_eq!(member("Query"), r#"{"name":"Jo"}"#);
        assert_eq!(
            member("Headers"),
            r#"{"Content-Type":["application/json"],"Host":["localhost:7071"],"x-a":["1","2"]}"#
        );
        assert_eq!(member("Params"), r#"{"id":"7","rest":null}"#);
        assert_eq!(member("Body"), r#""{\"id\":1,\"k\":[1]}""#);
        assert!(
            member("Identities").starts_with(r#"[{"AuthenticationType":"WebJobsAuthLevel","IsAuthenticated":true"#)
        );
    }

    #[test]
    fn binary_bodies_are_base64() {
        let caller = caller("/", &[("content-type", "application/octet-stream")], "hi");
        assert_eq!(caller.data(&Vec::new(), None).member("Body"), Some(&Json::text("aGk=")));
    }
}
