//! From a handler's `res` to the HTTP response
//! (azure-functions-host `HttpScriptInvocationResultExtensions.cs`, `HttpBinding.cs`, `RawScriptResult.cs`).

use super::answer::Answer;
use super::failure::Failure;
use super::json::Json;
use super::outputs::from_base64;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;

/// What the caller is sent.
pub(crate) type Parts = (StatusCode, HeaderMap, Bytes);

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The response that an answer gives under the name of the function's HTTP output.
pub(crate) fn response(answer: &Answer, output: Option<&str>) -> Result<Parts, Failure> {
    let nothing = (StatusCode::NO_CONTENT, HeaderMap::new(), Bytes::new());
    let Some(output) = output else { return Ok(nothing) };
    if output == "$return" {
        return match &answer.return_value {
            Json::Null => Ok(nothing),
            Json::String(text) => Ok(plain(from_base64(text).unwrap_or_else(|| text.clone().into_bytes()).into())),
            // Without a body it is the content itself.
            value if value.member("body").is_some() => Ok(from_object(value)),
            other => Ok(plain(content(other))),
        };
    }
    let Some(outputs) = &answer.outputs else { return Ok(nothing) };
    match outputs.exact(output) {
        Some(value @ Json::Object(_)) => Ok(from_object(value)),
        None | Some(Json::Null) => Ok(plain("{}".into())),
        Some(Json::String(text)) if text.is_empty() => Ok(plain("{}".into())),
        Some(other) => match Json::parse(&other.scalar_text()) {
            Ok(value @ Json::Object(_)) => Ok(from_object(&value)),
            _ => Err(Failure::Output {
                binding: output.to_owned(),
                message: format!("an HTTP output must be a JSON object, not {}", other.compact()),
            }),
        },
    }
}

fn plain(body: Bytes) -> Parts {
    (StatusCode::OK, HeaderMap::from_iter([(CONTENT_TYPE, PLAIN)]), body)
}

/// A body as .NET writes it: a scalar as its text, an object or array as indented JSON.
fn content(body: &Json) -> Bytes {
    match body {
        Json::Object(_) | Json::Array(_) => body.indented().into(),
        scalar => scalar.scalar_text().into(),
    }
}

fn from_object(value: &Json) -> Parts {
    let status = value.member("statusCode").map(Json::scalar_text).and_then(|text| text.trim().parse().ok());
    let status = status.and_then(|status: u16| StatusCode::from_u16(status).ok());
    // A 1xx cannot end an exchange.
    let status = status.filter(|status| !status.is_informational()).unwrap_or(StatusCode::OK);
    let body = value.member("body").map(content).unwrap_or_default();
    let mut headers = HeaderMap::new();
    if let Some(Json::Object(members)) = value.member("headers") {
        for (name, value) in members {
            let name = HeaderName::try_from(name.as_str());
            let value = HeaderValue::try_from(value.scalar_text());
            if let (Ok(name), Ok(value)) = (name, value)
                && name != CONTENT_LENGTH
                && name != TRANSFER_ENCODING
            {
                headers.insert(name, value);
            }
        }
    }
    headers.entry(CONTENT_TYPE).or_insert(PLAIN);
    (status, headers, body)
}

#[cfg(test)]
mod tests {
    use super::super::answer::{Reply, read};
    use super::*;

    fn respond(answer: &str, output: &str) -> Result<(u16, Option<String>, String), Failure> {
        let Ok(Reply::Answer(answer)) = read(200, Some("application/json"), answer.as_bytes()) else { panic!() };
        let (status, headers, body) = response(&answer, Some(output))?;
        let content_type = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
        Ok((status.as_u16(), content_type, String::from_utf8(body.to_vec()).unwrap()))
    }

    fn plain_text() -> Option<String> {
        Some("text/plain; charset=utf-8".to_owned())
    }

    #[test]
    fn a_body_object_is_indented_but_still_plain_text() {
        let answer = r#"{"Outputs":{"res":{"statusCode":"201","body":{"a":1}}}}"#;
        assert_eq!(respond(answer, "res").unwrap(), (201, plain_text(), "{\n  \"a\": 1\n}".to_owned()));
    }

    #[test]
    fn the_status_is_a_number_or_a_text_and_otherwise_200() {
        for (status, expected) in
            [("201", 201), ("\"201\"", 201), ("\"soon\"", 200), ("null", 200), ("7", 200), ("100", 200)]
        {
            let answer = format!(r#"{{"Outputs":{{"res":{{"status":404,"statusCode":{status}}}}}}}"#);
            assert_eq!(respond(&answer, "res").unwrap(), (expected, plain_text(), String::new()), "{status}");
        }
    }

    #[test]
    fn headers_are_the_handlers_own() {
        let answer =
            r#"{"Outputs":{"res":{"body":"{}","headers":{"content-type":"application/json","content-length":9}}}}"#;
        assert_eq!(respond(answer, "res").unwrap(), (200, Some("application/json".to_owned()), "{}".to_owned()));
    }

    #[test]
    fn a_missing_res_is_an_empty_object_and_missing_outputs_are_no_content() {
        assert_eq!(respond(r#"{"Outputs":{}}"#, "res").unwrap(), (200, plain_text(), "{}".to_owned()));
        assert_eq!(respond("{}", "res").unwrap().0, 204);
        assert_eq!(respond(r#"{"Outputs":{"res":null}}"#, "res").unwrap().2, "{}");
    }

    #[test]
    fn a_res_that_is_a_text_must_hold_an_object() {
        let text = r#"{"Outputs":{"res":"{\"statusCode\":201,\"body\":true}"}}"#;
        assert_eq!(respond(text, "res").unwrap(), (201, plain_text(), "True".to_owned()));
        for broken in [r#""text""#, "5", "[]"] {
            assert!(respond(&format!(r#"{{"Outputs":{{"res":{broken}}}}}"#), "res").is_err(), "{broken}");
        }
    }

    #[test]
    fn a_return_value_that_is_base64_is_decoded() {
        assert_eq!(respond(r#"{"ReturnValue":"aGk="}"#, "$return").unwrap(), (200, plain_text(), "hi".to_owned()));
        assert_eq!(respond(r#"{"ReturnValue":"hi there"}"#, "$return").unwrap().2, "hi there");
    }
}
