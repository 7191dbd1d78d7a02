//! Signatures with the account's key: Shared Key for queues and blobs, Shared Key Lite for tables. Pure; the header
//! `x-ms-date` is set already (rest-api-ref `Authorize-with-Shared-Key`).

use azure_core::http::headers::{CONTENT_LENGTH, Headers};
use azure_core::http::{Request, Url};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::borrow::Cow;

/// Headers whose values are signed, in this order, around the length and the date, which stands in `x-ms-date` instead.
const BEFORE_LENGTH: [&str; 2] = ["content-encoding", "content-language"];
const AFTER_LENGTH: [&str; 8] = [
    "content-md5",
    "content-type",
    "",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Queues and blobs.
    SharedKey,
    /// Tables.
    SharedKeyLite,
}

/// An account's key, ready to sign. `Debug` does not show it.
#[derive(Clone)]
pub(super) struct Key {
    mac: Hmac<Sha256>,
    #[cfg(feature = "legacy-sdk")]
    text: crate::secret::Secret,
}

impl Key {
    /// Decodes a key; `None` if it is no base64.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let key = STANDARD.decode(text).ok().filter(|key| !key.is_empty())?;
        let mac = Hmac::new_from_slice(&key).ok()?;
        Some(Self {
            mac,
            #[cfg(feature = "legacy-sdk")]
            text: crate::secret::Secret::new(text),
        })
    }

    /// The key as text, for a client that signs by itself.
    #[cfg(feature = "legacy-sdk")]
    pub(super) fn encoded(&self) -> String {
        self.text.expose().to_owned()
    }

    fn sign(&self, text: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The header `Authorization` of `request`, dated `date` by its header `x-ms-date`.
pub(super) fn authorization(scheme: Scheme, account: &str, key: &Key, request: &Request, date: &str) -> String {
    let (name, text) = match scheme {
        Scheme::SharedKey => ("SharedKey", full(account, request)),
        Scheme::SharedKeyLite => ("SharedKeyLite", lite(account, request.url(), date)),
    };
    format!("{name} {account}:{}", key.sign(&text))
}

/// What is signed for queues and blobs, versions from 2015-02-21 on: a length of zero is an empty text.
fn full(account: &str, request: &Request) -> String {
    let headers = request.headers();
    let length = match header(headers, CONTENT_LENGTH.as_str()) {
        "" => request.body().len().unwrap_or(0).to_string(),
        length => length.to_owned(),
    };
    let length = if length == "0" { "" } else { &length };
    let before = BEFORE_LENGTH.iter().map(|name| header(headers, name));
    let after = AFTER_LENGTH.iter().map(|name| header(headers, name));
    let mut text = String::with_capacity(512);
    for line in [request.method().as_ref()].into_iter().chain(before).chain([length]).chain(after) {
        text.push_str(line);
        text.push('\n');
    }
    canonical_headers(headers, &mut text);
    canonical_resource(account, request.url(), &mut text);
    text
}

/// What is signed for tables.
fn lite(account: &str, url: &Url, date: &str) -> String {
    let mut text = format!("{date}\n/{account}{}", url.path());
    if let Some((_, comp)) = url.query_pairs().find(|(name, _)| name == "comp") {
        text += "?comp=";
        text += &comp;
    }
    text
}

/// Names are in lower case in [`Headers`].
fn header<'h>(headers: &'h Headers, wanted: &str) -> &'h str {
    let found = headers.iter().find(|(name, _)| name.as_str() == wanted);
    found.map(|(_, value)| value.as_str().trim()).unwrap_or_default()
}

fn canonical_headers(headers: &Headers, text: &mut String) {
    let named = headers.iter().map(|(name, value)| (name.as_str(), value.as_str().trim()));
    let mut ours: Vec<(&str, &str)> = named.filter(|(name, _)| name.starts_with("x-ms-")).collect();
    ours.sort_unstable();
    for (name, value) in ours {
        text.extend([name, ":", value, "\n"]);
    }
}

/// The path as it is sent, behind the account's name: of an emulator, whose paths start with it, it stands there twice.
fn canonical_resource(account: &str, url: &Url, text: &mut String) {
    text.extend(["/", account, url.path()]);
    let mut parameters: Vec<(String, Cow<'_, str>)> =
        url.query_pairs().map(|(name, value)| (name.to_lowercase(), value)).collect();
    parameters.sort_unstable();
    let mut last = None;
    for (name, value) in &parameters {
        // The values of one name stand together.
        if last == Some(name) {
            text.extend([",", value]);
        } else {
            text.extend(["\n", name, ":", value]);
        }
        last = Some(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use azure_core::http::Method;

    const EMULATOR: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    fn request(method: Method, url: &str, headers: &[(&'static str, &'static str)], body: &'static str) -> Request {
        let mut request = Request::new(url.parse().unwrap(), method);
        for (name, value) in headers {
            request.insert_header(*name, *value);
        }
        request.set_body(body);
        request
    }

    /// The examples of rest-api-ref `Authorize-with-Shared-Key`.
    #[test]
    fn the_published_examples_are_signed_as_published() {
        let headers = [("x-ms-version", "2015-02-21"), ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT")];
        let get = request(
            Method::Get,
            "https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20",
            &headers,
            "",
        );
        assert_eq!(
            full("myaccount", &get),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
        for (url, resource) in [
            (
                "http://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=list&include=snapshots&include=metadata&include=uncommittedblobs",
                "/myaccount/mycontainer\ncomp:list\ninclude:metadata,snapshots,uncommittedblobs\nrestype:container",
            ),
            ("https://myaccount-secondary.blob.core.windows.net/mycontainer/myblob", "/myaccount/mycontainer/myblob"),
            (
                "http://127.0.0.1:10000/devstoreaccount1/mycontainer?comp=list",
                "/devstoreaccount1/devstoreaccount1/mycontainer\ncomp:list",
            ),
        ] {
            let url: Url = url.parse().unwrap();
            let account = if url.port().is_some() { "devstoreaccount1" } else { "myaccount" };
            let mut text = String::new();
            canonical_resource(account, &url, &mut text);
            assert_eq!(text, resource);
        }
        let url = "https://testaccount1.table.core.windows.net/Tables".parse().unwrap();
        assert_eq!(
            lite("testaccount1", &url, "Sun, 11 Oct 2009 19:52:39 GMT"),
            "Sun, 11 Oct 2009 19:52:39 GMT\n/testaccount1/Tables"
        );
        let url =
            "https://myaccount.table.core.windows.net/?restype=service&comp=properties&timeout=3".parse().unwrap();
        assert_eq!(lite("myaccount", &url, "d"), "d\n/myaccount/?comp=properties");
    }

    #[test]
    fn headers_lengths_and_encoded_paths_are_signed_as_sent() {
        let put = request(
            Method::Put,
            "https://a.blob.core.windows.net/c/o%27b%20%C3%BC?popreceipt=A%2BB%3D",
            &[
                ("x-ms-meta-b", " spaced "),
                ("x-ms-meta-a", "1"),
                ("content-type", "application/xml"),
                ("range", "bytes=0-1"),
                ("if-match", "*"),
                ("other", "x"),
            ],
            "12345",
        );
        assert_eq!(
            full("a", &put),
            "PUT\n\n\n5\n\napplication/xml\n\n\n*\n\n\nbytes=0-1\nx-ms-meta-a:1\nx-ms-meta-b:spaced\n\
             /a/c/o%27b%20%C3%BC\npopreceipt:A+B="
        );
        let empty = request(Method::Put, "https://a.blob.core.windows.net/c", &[("content-length", "0")], "");
        assert!(full("a", &empty).starts_with("PUT\n\n\n\n\n"), "a length of zero is an empty text");
    }

    /// Signatures that Python's `hmac` makes of the same texts.
    #[test]
    fn signatures_are_those_of_another_implementation() {
        let date = "Fri, 26 Jun 2015 23:39:12 GMT";
        let get = request(Method::Get, "http://127.0.0.1:10002/devstoreaccount1/Tables", &[("x-ms-date", date)], "");
        let key = Key::parse(EMULATOR).unwrap();
        for (scheme, expected) in [
            (Scheme::SharedKey, "SharedKey devstoreaccount1:Lu7mPyBnYPThFqZEJQP2ytH7NRiIbI9DvBsVaiiSaJs="),
            (Scheme::SharedKeyLite, "SharedKeyLite devstoreaccount1:VuaBO8Q8Lunn8jBU8fntlFomiNq5rTcfxYB1f9a0Mb8="),
        ] {
            assert_eq!(authorization(scheme, "devstoreaccount1", &key, &get, date), expected);
        }
    }

    #[test]
    fn a_key_is_base64_and_is_not_printed() {
        for text in ["", "a", "not base64!", "Zm9v Zm9v"] {
            assert!(Key::parse(text).is_none(), "{text}");
        }
        assert_eq!(format!("{:?}", Key::parse("Zm9v").unwrap()), "***");
    }
}
