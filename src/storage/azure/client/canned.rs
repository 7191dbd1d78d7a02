//! A service that gives prepared answers, for tests without one.

use crate::storage::azure::account::Service;
use async_trait::async_trait;
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, ClientOptions, HttpClient, Request, RetryOptions, Transport};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Status, headers and body of an answer.
pub(in crate::storage::azure) type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// The service, and what it was asked.
#[derive(Debug, Default)]
pub(in crate::storage::azure) struct Canned {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<String>>,
}

/// A refusal with a code.
pub(in crate::storage::azure) fn refusal(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
    // Without the header `x-ms-error-code`: the body alone has to do.
    (status, Vec::new(), body.into())
}

impl Canned {
    pub(in crate::storage::azure) fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), asked: Mutex::default() })
    }

    pub(in crate::storage::azure) fn service(self: &Arc<Self>) -> Service {
        let options = ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::clone(self) as _)),
            ..ClientOptions::default()
        };
        Service { endpoint: "http://127.0.0.1:10001/account/".parse().unwrap(), options }
    }

    /// The requests so far: method, path and query, version.
    pub(in crate::storage::azure) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl HttpClient for Canned {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let version = request.headers().get_optional_str(&HeaderName::from_static("x-ms-version")).unwrap_or_default();
        let (method, url) = (request.method().as_ref().to_owned(), request.url());
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        self.asked.lock().unwrap().push(format!("{method} {}{query} {version}", url.path()));
        let (status, named, body) = self.answers.lock().unwrap().pop_front().expect("an answer is left");
        let mut headers = Headers::new();
        for (name, value) in named {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
        Ok(AsyncRawResponse::from_bytes(status.into(), headers, body))
    }
}
