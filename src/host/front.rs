//! The host's HTTP side: routes, keys, limits, and handing a request to its function.

use super::calls::Calls;
use super::failure::Failure;
use super::foreign;
use super::function_json::{AuthLevel, Function, HttpTrigger, Trigger};
use super::health::Health;
use super::host_json::HttpMode;
use super::http_request::{Caller, query, remove_connection_headers};
use super::http_result;
use super::invoke::{HOST_VERSION, Invoker, add_host_headers, add_user_agent};
use super::json::Json;
use super::keys::Keys;
use super::manual;
use super::route::Values;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

const HOME: &str = "<!DOCTYPE html>\n<html><head><title>Functions host</title></head>\
<body><p>Your function app is up and running.</p></body></html>\n";

/// What answers HTTP requests.
pub(crate) struct Front {
    /// All functions of the app.
    pub(crate) functions: Vec<Arc<Function>>,
    pub(crate) keys: Option<Keys>,
    pub(crate) mode: HttpMode,
    pub(crate) invoker: Arc<Invoker>,
    pub(crate) calls: Calls,
    /// One permit per request that may be under way; `None`: no limit.
    pub(crate) outstanding: Option<Arc<Semaphore>>,
    pub(crate) max_body_bytes: usize,
    pub(crate) local: SocketAddr,
    pub(crate) health: Health,
    /// True: no new calls.
    pub(crate) draining: watch::Receiver<bool>,
}

impl Front {
    /// Answers one request.
    pub(crate) async fn handle(self: Arc<Self>, request: Request) -> Response {
        if *self.draining.borrow() {
            return (StatusCode::SERVICE_UNAVAILABLE, "Function host is not running.").into_response();
        }
        if self.keys.is_none() && foreign::is_foreign(request.uri(), request.headers()) {
            return (StatusCode::FORBIDDEN, foreign::REFUSAL).into_response();
        }
        let path = request.uri().path().trim_start_matches('/').to_owned();
        if let Some(rest) = strip_admin(&path) {
            let rest = rest.to_owned();
            return self.admin(&rest, request).await;
        }
        let Some((function, values)) = self.route(&path, request.method()) else {
            return self.own(path, request.method()).await;
        };
        let Trigger::Http(trigger) = &function.trigger else { return StatusCode::NOT_FOUND.into_response() };
        if !self.admits(trigger.level, &function.name, &request) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let permit = match &self.outstanding {
            None => None,
            Some(outstanding) => match Arc::clone(outstanding).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => return StatusCode::TOO_MANY_REQUESTS.into_response(),
            },
        };
        let front = Arc::clone(&self);
        let call = async move {
            let response = front.call(&function, &values, request).await;
            drop(permit);
            response
        };
        self.calls.start(call).await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }

    /// What the host answers by itself where no function does.
    async fn own(self: Arc<Self>, path: String, method: &Method) -> Response {
        if Health::is_asked(&path, method) {
            let front = Arc::clone(&self);
            // A look goes on when its caller hangs up, so that no caller can have the store asked again and again.
            let look = async move { front.health.answer(&path).await };
            return self.calls.start(look).await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
        }
        let is_home = path.is_empty() && matches!(*method, Method::GET | Method::HEAD);
        if is_home { axum::response::Html(HOME).into_response() } else { StatusCode::NOT_FOUND.into_response() }
    }

    /// The function for a path and method; the method is part of the route, so that a wrong one is not found.
    fn route(&self, path: &str, method: &Method) -> Option<(Arc<Function>, Values)> {
        let candidates = self.functions.iter().filter_map(|function| match &function.trigger {
            Trigger::Http(trigger) if allows(trigger, method) => {
                trigger.template.matches(path).map(|values| (function, trigger, values))
            }
            _ => None,
        });
        let best = candidates.min_by(|(_, a, _), (_, b, _)| a.template.precedence(&b.template));
        best.map(|(function, _, values)| (Arc::clone(function), values))
    }

    fn admits(&self, level: AuthLevel, function: &str, request: &Request) -> bool {
        let Some(keys) = &self.keys else { return true };
        keys.admit(level, function, shown_key(request).as_deref())
    }

    async fn call(&self, function: &Function, values: &Values, request: Request) -> Response {
        let passes = function.is_http_only();
        match self.mode {
            HttpMode::Proxy if passes => self.proxy(function, request).await,
            mode => match self.caller(request).await {
                Err(status) => status.into_response(),
                Ok(caller) if passes && mode == HttpMode::Forward => self.forward(function, caller).await,
                Ok(caller) => self.envelope(function, values, &caller).await,
            },
        }
    }

    /// Reads the body, whether the caller said how long it is or sends it in chunks. The Functions host gives a handler none of
    /// the latter (azure-functions-host issues 4926 and 7930); here what a caller asks for is never taken for nothing, which
    /// of a start would be everything.
    async fn caller(&self, request: Request) -> Result<Caller, StatusCode> {
        let (parts, body) = request.into_parts();
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length: u64 = length.and_then(|text| text.parse().ok()).unwrap_or(0);
        if usize::try_from(length).is_ok_and(|length| length > self.max_body_bytes) {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        // Within a length that was said only the connection can fail, without one only the limit is known to be kept.
        let failed = if length > 0 { StatusCode::BAD_REQUEST } else { StatusCode::PAYLOAD_TOO_LARGE };
        let body = axum::body::to_bytes(body, self.max_body_bytes).await.map_err(|_| failed)?;
        Ok(Caller { method: parts.method, uri: parts.uri, headers: parts.headers, body, local: self.local })
    }

    async fn envelope(&self, function: &Function, values: &Values, caller: &Caller) -> Response {
        let Trigger::Http(trigger) = &function.trigger else { return StatusCode::NOT_FOUND.into_response() };
        let level = match (&self.keys, trigger.level) {
            (None, _) | (Some(_), AuthLevel::Admin) => Some("Admin"),
            (Some(_), AuthLevel::Function) => Some("Function"),
            (Some(_), AuthLevel::Anonymous) => None,
        };
        let call = (trigger.binding.as_str(), caller.data(values, level), caller.metadata(values));
        let output = function.http_output.as_deref();
        match self.invoker.call(function, call, |answer| http_result::response(answer, output)).await {
            Ok(response) => response.into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    async fn forward(&self, function: &Function, caller: Caller) -> Response {
        let id = self.invoker.id();
        let answer = self.invoker.run(function, id, |connection| async move {
            let path = caller.forwarded_path();
            let mut headers = caller.forwarded_headers();
            add_host_headers(&mut headers, id);
            add_user_agent(&mut headers);
            let mut request = Request::new(Body::from(caller.body));
            *request.method_mut() = caller.method;
            *request.uri_mut() = connection.uri(&path)?;
            *request.headers_mut() = headers;
            let (parts, body) = connection.send(request).await?.into_parts();
            let limit = self.max_body_bytes;
            let body = axum::body::to_bytes(body, limit).await.map_err(|_| Failure::Body(limit))?;
            Ok((parts.status, parts.headers, Body::from(body)))
        });
        passed_on(answer.await)
    }

    /// Streams both ways. The time limit is on the start of the answer.
    async fn proxy(&self, function: &Function, request: Request) -> Response {
        let id = self.invoker.id();
        let answer = self.invoker.run(function, id, |connection| async move {
            let (mut parts, body) = request.into_parts();
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
            remove_connection_headers(&mut parts.headers);
            add_host_headers(&mut parts.headers, id);
            let mut request = Request::new(body);
            *request.method_mut() = parts.method;
            *request.uri_mut() = connection.uri(&path)?;
            *request.headers_mut() = parts.headers;
            let (parts, body) = connection.send(request).await?.into_parts();
            Ok((parts.status, parts.headers, body))
        });
        passed_on(answer.await)
    }

    /// `POST /admin/functions/<name>` and `GET /admin/host/status`.
    async fn admin(self: Arc<Self>, path: &str, request: Request) -> Response {
        if !self.admits(AuthLevel::Admin, "", &request) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let lower = path.to_ascii_lowercase();
        if lower == "host/status" && request.method() == Method::GET {
            let status = Json::object([("state", Json::text("Running")), ("version", Json::text(HOST_VERSION))]);
            return ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], status.compact()).into_response();
        }
        let name = lower.strip_prefix("functions/").unwrap_or_default();
        let function = self.functions.iter().find(|function| function.name.eq_ignore_ascii_case(name)).cloned();
        let Some(function) = function.filter(|_| request.method() == Method::POST) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let Ok(body) = axum::body::to_bytes(request.into_body(), self.max_body_bytes).await else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        let invoker = Arc::clone(&self.invoker);
        match manual::call(invoker, function, &body) {
            // Accepted: the call goes on by itself.
            Ok(call) => {
                drop(self.calls.start(call));
                StatusCode::ACCEPTED.into_response()
            }
            Err(message) => (StatusCode::BAD_REQUEST, message).into_response(),
        }
    }
}

fn strip_admin(path: &str) -> Option<&str> {
    let prefix = path.get(..6).filter(|prefix| prefix.eq_ignore_ascii_case("admin/"))?;
    path.get(prefix.len()..)
}

fn allows(trigger: &HttpTrigger, method: &Method) -> bool {
    trigger.methods.as_ref().is_none_or(|methods| methods.iter().any(|allowed| allowed == method.as_str()))
}

/// The key that a caller shows: the header wins over the query.
fn shown_key(request: &Request) -> Option<String> {
    if let Some(key) = request.headers().get("x-functions-key") {
        return key.to_str().ok().map(str::to_owned);
    }
    query(request.uri()).into_iter().find(|(name, _)| name.eq_ignore_ascii_case("code")).map(|(_, key)| key)
}

/// The handler's own answer, whatever its status; nothing but a 500 when there is none.
fn passed_on(answer: Result<(StatusCode, HeaderMap, Body), Failure>) -> Response {
    match answer {
        Ok((status, mut headers, body)) => {
            remove_connection_headers(&mut headers);
            let mut response = Response::new(body);
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
