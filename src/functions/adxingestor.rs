//! HTTP `adxingestor/start_orchestrator`: starts a run.

use super::control::{Started, start};
use super::http::{Answer, Call};
use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::StartInput;
use crate::state::Error;
use axum::http::StatusCode;
use serde_json::{Value, json};

/// The most bytes of a body; it is kept with the run.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call) -> Result<Answer, Error> {
    let (input, raw) = match parse(&call.body) {
        Ok(input) => input,
        Err(message) => return Ok(Answer::error(StatusCode::BAD_REQUEST, message)),
    };
    Ok(match start(app, input, raw).await? {
        Started::New(id) | Started::Before(id) => accepted(call, &id),
        Started::Active(active) => refused(&active),
    })
}

/// The answer to a start while another run is active.
pub fn refused(active: &InstanceId) -> Answer {
    Answer::json(
        StatusCode::CONFLICT,
        json!({
            "error": format!("Run {active} is active; wait for it, terminate it, or start with {{\"force\":true}}"),
            "id": active.as_str(),
        }),
    )
}

fn parse(body: &str) -> Result<(StartInput, Value), String> {
    const FORM: &str = "the body is optional; its form is {\"tables\":[\"DeviceEvents\"],\"force\":false}";
    if body.len() > MAX_BODY_BYTES {
        return Err(format!("the body has more than {MAX_BODY_BYTES} bytes; {FORM}"));
    }
    if body.trim().is_empty() {
        return Ok((StartInput::default(), json!({})));
    }
    let raw: Value = serde_json::from_str(body).map_err(|error| format!("the body is not JSON ({error}); {FORM}"))?;
    // Some hosts hand the body on as JSON in a JSON string.
    let raw = match raw {
        Value::String(text) => {
            serde_json::from_str(&text).map_err(|error| format!("the body is not JSON ({error}); {FORM}"))?
        }
        other => other,
    };
    if raw.is_null() {
        return Ok((StartInput::default(), json!({})));
    }
    if !raw.is_object() {
        return Err(FORM.to_owned());
    }
    let input: StartInput = serde_json::from_value(raw.clone()).map_err(|error| format!("{error}; {FORM}"))?;
    if input.tables.as_ref().is_some_and(Vec::is_empty) {
        return Err(format!("`tables` is empty: leave it out for all active tables; {FORM}"));
    }
    Ok((input, raw))
}

/// The check-status payload of Durable Functions (azure-functions-durable-extension `HttpApiHandler`).
pub fn accepted(call: &Call, id: &InstanceId) -> Answer {
    let code = call.query("code").map(|code| {
        let code: String = url::form_urlencoded::byte_serialize(code.as_bytes()).collect();
        format!("code={code}")
    });
    let uri = |operation: &str, query: &str| {
        let parts: Vec<&str> =
            [query, code.as_deref().unwrap_or_default()].into_iter().filter(|p| !p.is_empty()).collect();
        let query = if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) };
        format!("{}/instances/{id}{operation}{query}", call.base)
    };
    let status = uri("", "");
    let body = json!({
        "id": id.as_str(),
        "statusQueryGetUri": status,
        "sendEventPostUri": uri("/raiseEvent/{eventName}", ""),
        "terminatePostUri": uri("/terminate", "reason={text}"),
        "rewindPostUri": uri("/rewind", "reason={text}"),
        "purgeHistoryDeleteUri": uri("", ""),
        "restartPostUri": uri("/restart", ""),
        "suspendPostUri": uri("/suspend", "reason={text}"),
        "resumePostUri": uri("/resume", "reason={text}"),
    });
    Answer::json(StatusCode::ACCEPTED, body).with("Location", status).with("Retry-After", "10")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_optional_and_unknown_fields_are_refused() {
        for body in ["", "  ", "null", "{}"] {
            assert_eq!(parse(body).unwrap().0, StartInput::default(), "{body:?}");
        }
        for body in ["[]", "1", "{\"table\":\"x\"}", "{\"tables\":\"x\"}", "{\"tables\":[]}", "not json"] {
            assert!(parse(body).unwrap_err().contains("\"tables\""), "{body}");
        }
    }

    #[test]
    fn the_payload_repeats_the_callers_code() {
        let mut call = Call { base: "https://app/api".into(), ..Call::default() };
        call.query.insert("code".into(), "a+b/=".into());
        let answer = accepted(&call, &InstanceId::from_bits(1));
        let body = answer.body.unwrap();
        let id = "00000000000000000000000000000001";
        assert_eq!(body["statusQueryGetUri"], format!("https://app/api/instances/{id}?code=a%2Bb%2F%3D"));
        assert_eq!(
            body["terminatePostUri"],
            format!("https://app/api/instances/{id}/terminate?reason={{text}}&code=a%2Bb%2F%3D")
        );
        assert_eq!(body.as_object().unwrap().len(), 9);
        assert_eq!(answer.headers[1], ("Retry-After", "10".to_owned()));
    }
}
