//! Azure Storage's errors: a status, a code in a header, and the same code in XML.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;
use uuid::Uuid;

/// Why a request is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    status: u16,
    pub code: &'static str,
    message: &'static str,
    detail: &'static str,
}

macro_rules! refusals {
    ($($name:ident = $status:literal $code:literal $message:literal;)*) => {
        impl Refusal {
            $(pub const $name: Self = Self { status: $status, code: $code, message: $message, detail: "" };)*
        }
    };
}

refusals! {
    PERMISSION_MISMATCH = 403 "AuthorizationPermissionMismatch"
        "This request is not authorized to perform this operation using this permission.";
    CONTAINER_NOT_FOUND = 404 "ContainerNotFound" "The specified container does not exist.";
    QUEUE_NOT_FOUND = 404 "QueueNotFound" "The specified queue does not exist.";
    BLOB_NOT_FOUND = 404 "BlobNotFound" "The specified blob does not exist.";
    MESSAGE_NOT_FOUND = 404 "MessageNotFound" "The specified message does not exist.";
    RECEIPT_MISMATCH = 400 "PopReceiptMismatch"
        "The specified pop receipt did not match the pop receipt for a dequeued message.";
    OUT_OF_RANGE = 400 "OutOfRangeQueryParameterValue"
        "One of the query parameters specified in the request URI is outside the permissible range.";
    TABLE_NOT_FOUND = 404 "TableNotFound" "The table specified does not exist.";
    ENTITY_NOT_FOUND = 404 "ResourceNotFound" "The specified resource does not exist.";
    ENTITY_EXISTS = 409 "EntityAlreadyExists" "The specified entity already exists.";
    NOT_IMPLEMENTED = 501 "NotImplemented" "The requested operation is not implemented on the specified resource.";
    BLOB_EXISTS = 409 "BlobAlreadyExists" "The specified blob already exists.";
    NO_BLOB_TYPE = 400 "MissingRequiredHeader" "An HTTP header that's mandatory for this request is not specified.";
    INVALID_HEADER = 400 "InvalidHeaderValue" "The value for one of the HTTP headers is not in the correct format.";
    INVALID_MD5 = 400 "InvalidMd5"
        "The MD5 value specified in the request is invalid. The MD5 value must be 128 bits and Base64-encoded.";
    MD5_MISMATCH = 400 "Md5Mismatch"
        "The MD5 value specified in the request did not match with the MD5 value calculated by the server.";
    INVALID_QUERY = 400 "InvalidQueryParameterValue"
        "Value for one of the query parameters specified in the request URI is invalid.";
    INVALID_BLOCK_ID = 400 "InvalidBlobOrBlock" "The specified blob or block content is invalid.";
    INVALID_BLOCK_LIST = 400 "InvalidBlockList" "The specified block list is invalid.";
    INVALID_XML = 400 "InvalidXmlDocument" "XML specified is not syntactically valid.";
    INVALID_INPUT = 400 "InvalidInput" "One of the request inputs is not valid.";
    NO_LENGTH = 411 "MissingContentLengthHeader" "The Content-Length header was not specified.";
    TOO_LARGE = 413 "RequestBodyTooLarge"
        "The request body is too large and exceeds the maximum permissible limit.";
    UNSUPPORTED_VERB = 405 "UnsupportedHttpVerb" "The resource doesn't support specified Http Verb.";
    INTERNAL = 500 "InternalError" "Server encountered an internal error. Please try again after some time.";
    TIMED_OUT = 500 "OperationTimedOut" "Operation could not be completed within the specified time.";
    BUSY = 503 "ServerBusy" "The server is busy.";
}

impl Refusal {
    pub const fn authentication_failed(detail: &'static str) -> Self {
        let message = "Server failed to authenticate the request. Make sure the value of Authorization header is \
            formed correctly including the signature.";
        Self { status: 403, code: "AuthenticationFailed", message, detail }
    }

    /// The same as the Table service words it.
    pub fn into_json_response(self) -> Response {
        let value = format!("{}\nRequestId:{}", self.message, Uuid::new_v4());
        let body = json!({ "odata.error": { "code": self.code, "message": { "lang": "en-US", "value": value } } });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    pub fn into_response(self) -> Response {
        let id = Uuid::new_v4();
        let Self { code, message, detail, .. } = self;
        let detail = match detail {
            "" => String::new(),
            detail => format!("<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>"),
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}\nRequestId:{id}\
            </Message>{detail}</Error>"
        );
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        response.headers_mut().insert("x-ms-error-code", HeaderValue::from_static(code));
        response
    }
}
