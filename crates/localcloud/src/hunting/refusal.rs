//! The bodies of answers that are not results, as the services word them.

use super::encode::Dialect;
use super::quota::Exhausted;
use crate::entra::TokenError;
use crate::faults::Fault;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;
use std::time::Duration;

/// What a call is refused with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The token is missing or no good.
    Unauthenticated(TokenError),
    /// The application lacks the role.
    Forbidden,
    /// The body is not what it should be.
    Body(String),
    /// The engine refused the query.
    Query(String),
    /// The answer is larger than allowed.
    TooLarge,
    /// The query ran too long.
    TimedOut,
    /// The quota is used up.
    Exhausted(Exhausted),
    /// A planned failure.
    Fault(Fault),
}

/// Who asks and when, as error bodies repeat it.
pub(super) struct Asked {
    pub(super) dialect: Dialect,
    pub(super) request_id: String,
    pub(super) client_request_id: String,
    /// `2025-02-26T09:31:49`
    pub(super) date: String,
}

const TOO_LARGE: &str = "Query execution has exceeded the allowed result size. Optimize your query by limiting the number of results and try again";
const UNKNOWN_NAME: &str =
    "'where' operator: Failed to resolve scalar expression named 'Nowhere'. Fix semantic errors in your query.";
const PORTAL: &str =
    "<html><head><title>Sign in to the network</title></head><body>Accept the terms of use.</body></html>";
/// What is said of the rest of a cycle when CPU is used up on purpose.
const CPU_WAIT: Duration = Duration::from_secs(300);
const PREEMPTED: &str = "Query execution has exceeded the allowed limits. The query execution was preempted. This could possibly be due to high CPU and/or memory resource consumption. Optimize your query by following best practices and try again.";

impl Refusal {
    /// The answer. `retry_after` says whether a 429 for too many calls tells when to come back.
    pub(super) fn answer(self, asked: &Asked, retry_after: bool) -> Response {
        match self {
            Self::Unauthenticated(error) => unauthenticated(&error, asked),
            Self::Forbidden => forbidden(asked),
            Self::Body(message) => {
                let code = asked.either("BadRequest", "InvalidRequestBody");
                asked.error(StatusCode::BAD_REQUEST, code, &message)
            }
            Self::Query(message) => asked.error(StatusCode::BAD_REQUEST, "BadRequest", &message),
            Self::TooLarge => asked.error(StatusCode::BAD_REQUEST, "BadRequest", TOO_LARGE),
            Self::TimedOut => asked.error(StatusCode::GATEWAY_TIMEOUT, "UnknownError", ""),
            Self::Exhausted(exhausted) => throttled(exhausted, asked, retry_after),
            Self::Fault(fault) => failed(fault, asked),
        }
    }
}

impl Asked {
    fn either(&self, graph: &'static str, legacy: &'static str) -> &'static str {
        if self.dialect == Dialect::Graph { graph } else { legacy }
    }

    fn error(&self, status: StatusCode, code: &str, message: &str) -> Response {
        let body = match self.dialect {
            Dialect::Graph => json!({ "error": { "code": code, "message": message, "innerError": {
                "date": self.date, "request-id": self.request_id, "client-request-id": self.client_request_id,
            } } }),
            Dialect::Legacy => json!({ "error": { "code": code, "message": message, "target": self.request_id } }),
        };
        (status, Json(body)).into_response()
    }
}

fn unauthenticated(error: &TokenError, asked: &Asked) -> Response {
    let message = match error {
        TokenError::Missing => "Access token is empty.",
        TokenError::Invalid => "Access token validation failure. Invalid signature.",
        TokenError::Expired => "Lifetime validation failed, the token is expired.",
        TokenError::Audience(_) => "Access token validation failure. Invalid audience.",
    };
    let code = asked.either("InvalidAuthenticationToken", "Unauthorized");
    let mut response = asked.error(StatusCode::UNAUTHORIZED, code, message);
    let challenge = r#"Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000""#;
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

fn forbidden(asked: &Asked) -> Response {
    let code = asked.either("Authorization_RequestDenied", "Forbidden");
    asked.error(StatusCode::FORBIDDEN, code, "Insufficient privileges to complete the operation.")
}

fn throttled(exhausted: Exhausted, asked: &Asked, retry_after: bool) -> Response {
    match exhausted {
        Exhausted::Calls { limit, period, retry_after: wait } => {
            let response = match asked.dialect {
                Dialect::Graph => too_many(asked),
                Dialect::Legacy => {
                    let message = format!(
                        "API calls quota exceeded! maximum allowed {limit} per {}",
                        hours_minutes_seconds(period)
                    );
                    asked.error(StatusCode::TOO_MANY_REQUESTS, "429", &message)
                }
            };
            if retry_after { with_retry_after(response, wait) } else { response }
        }
        // The text says how long; the header is not promised for this case.
        Exhausted::Processing { retry_after: wait } => {
            let message = format!(
                "You have exceeded processing resources allocated to this tenant. You can run queries again in {}.",
                hours_minutes_seconds(wait)
            );
            asked.error(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", &message)
        }
    }
}

fn too_many(asked: &Asked) -> Response {
    let body = json!({ "error": { "code": "TooManyRequests", "message": "Please retry again later.", "innerError": {
        "code": "429", "date": asked.date, "message": "Please retry after", "request-id": asked.request_id, "status": "429",
    } } });
    (StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response()
}

fn with_retry_after(mut response: Response, wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    response
}

fn failed(fault: Fault, asked: &Asked) -> Response {
    match fault {
        Fault::Throttled => with_retry_after(too_many(asked), Duration::from_secs(1)),
        Fault::ThrottledWithoutRetryAfter => too_many(asked),
        Fault::Unavailable => asked.error(StatusCode::SERVICE_UNAVAILABLE, "UnknownError", ""),
        Fault::GatewayTimeout => asked.error(StatusCode::GATEWAY_TIMEOUT, "UnknownError", ""),
        Fault::Preempted => asked.error(StatusCode::BAD_REQUEST, "BadRequest", PREEMPTED),
        Fault::CpuUsedUp => throttled(Exhausted::Processing { retry_after: CPU_WAIT }, asked, false),
        Fault::Unauthorized => unauthenticated(&TokenError::Expired, asked),
        Fault::Forbidden => forbidden(asked),
        Fault::NotFound => {
            let code = asked.either("ResourceNotFound", "NotFound");
            asked.error(StatusCode::NOT_FOUND, code, "Resource could not be discovered.")
        }
        Fault::BadQuery => asked.error(StatusCode::BAD_REQUEST, "BadRequest", UNKNOWN_NAME),
        Fault::Page => (StatusCode::OK, Html(PORTAL)).into_response(),
        Fault::PageOfBadRequest => (StatusCode::BAD_REQUEST, Html(PORTAL)).into_response(),
        Fault::PageOfForbidden => (StatusCode::FORBIDDEN, Html(PORTAL)).into_response(),
        Fault::PageOfNotFound => (StatusCode::NOT_FOUND, Html(PORTAL)).into_response(),
        Fault::BadGateway => {
            let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>Microsoft-Azure-Application-Gateway/v2</center>\r\n</body>\r\n</html>\r\n";
            (StatusCode::BAD_GATEWAY, Html(page)).into_response()
        }
        _ => asked.error(StatusCode::INTERNAL_SERVER_ERROR, "UnknownError", ""),
    }
}

fn hours_minutes_seconds(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
