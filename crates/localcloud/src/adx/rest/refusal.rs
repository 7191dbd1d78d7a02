//! Error bodies as the service words them, in answers of their own and inside results.

use crate::adx::commands::Error;
use crate::entra::TokenError;
use crate::faults::{Area, Fault};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value as Json, json};

/// Who asked, as answers repeat it.
pub(super) struct Asked {
    pub(super) client_request_id: String,
    pub(super) activity_id: String,
    /// `2026-01-31T08:00:00.0000000Z`
    pub(super) now: String,
}

impl Asked {
    /// An answer with the ids of its request.
    pub(super) fn echoed(&self, mut response: Response) -> Response {
        for (name, id) in [("x-ms-client-request-id", &self.client_request_id), ("x-ms-activity-id", &self.activity_id)]
        {
            if let Ok(value) = HeaderValue::from_str(id) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// `{"error": …}`, the form of error bodies and of `OneApiErrors`.
pub(super) fn one_api(error: &Error, asked: &Asked) -> Json {
    let context = json!({
        "timestamp": asked.now,
        "serviceAlias": "LOCALCLOUD",
        "clientRequestId": asked.client_request_id,
        "activityId": asked.activity_id,
        "subActivityId": asked.activity_id,
        "activityType": "GW.Http.CallContext",
    });
    let outer = if error.permanent {
        "Request is invalid and cannot be executed."
    } else {
        "An error occurred while processing the request."
    };
    let mut body = json!({
        "code": error.code,
        "message": outer,
        "@type": error.exception,
        "@message": error.message,
        "@failureCode": error.status,
        "@context": context.clone(),
        "@permanent": error.permanent,
    });
    if let Some(inner) = &error.inner {
        let (kind, name) = match inner.code.starts_with("SYN") {
            true => ("Kusto.Data.Exceptions.SyntaxException", "Syntax error"),
            false => ("Kusto.Data.Exceptions.SemanticException", "Semantic error"),
        };
        body["innererror"] = json!({
            "code": inner.code,
            "message": inner.message,
            "@type": kind,
            "@message": format!("{name}: {}: {}", inner.code, inner.message),
            "@context": context,
            "@permanent": true,
            "@errorCode": inner.code,
            "@errorMessage": inner.message,
            "@line": inner.position.line,
            "@pos": inner.position.column,
        });
    }
    json!({ "error": body })
}

/// The answer to a request that fails.
pub(super) fn answer(error: &Error, asked: &Asked) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(one_api(error, asked))).into_response()
}

/// The answer to a caller without a good token.
pub(super) fn unauthenticated(error: &TokenError) -> Response {
    let body = format!("Unauthorized: {error}");
    let mut response = (StatusCode::UNAUTHORIZED, body).into_response();
    let challenge = "Bearer authorization_uri=\"https://login.microsoftonline.com/common\"";
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

/// The answer to a request that a planned failure meets.
pub(super) fn failed(fault: Fault, area: Area, asked: &Asked) -> Response {
    let (status, code, exception, message) = match fault {
        Fault::Throttled | Fault::ThrottledWithoutRetryAfter if area == Area::Commands => (
            429,
            "TooManyRequests",
            "Kusto.DataNode.Exceptions.ControlCommandThrottledException",
            "The control command was aborted due to throttling. Retrying after some backoff might help. CommandType: 'TableAppend', Capacity: 1, Origin: 'CapacityPolicy/Ingestion'.",
        ),
        Fault::Throttled | Fault::ThrottledWithoutRetryAfter => (
            429,
            "TooManyRequests",
            "Kusto.DataNode.Exceptions.QueryThrottledException",
            "The query was aborted due to throttling. Retrying after some backoff might help. Capacity: 10, Origin: 'RequestRateLimitPolicy/WorkloadGroup/default'.",
        ),
        Fault::Unavailable => (
            503,
            "ServiceUnavailable",
            "Kusto.Common.Svc.Exceptions.ServiceUnavailableException",
            "The service is unavailable at this moment.",
        ),
        Fault::GatewayTimeout => {
            (504, "Timeout", "Kusto.Data.Exceptions.KustoServiceTimeoutException", "The request has timed out.")
        }
        Fault::BadGateway => {
            let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";
            return (StatusCode::BAD_GATEWAY, Html(page)).into_response();
        }
        _ => (
            500,
            "General_InternalServerError",
            "Kusto.Common.Svc.Exceptions.InternalServiceErrorException",
            "An internal service error occurred.",
        ),
    };
    let mut response = answer(&Error::temporary(status, code, exception, message), asked);
    if fault == Fault::Throttled {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
