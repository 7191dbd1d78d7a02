//! HTTP `adxingestor/start_orchestrator`: starts a run, and answers at once or with its end.

use super::asked;
use super::control::{Started, start};
use super::http::{Answer, Call};
use super::instances::{Wait, started};
use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::StartInput;
use crate::state::Error;
use axum::http::StatusCode;
use serde_json::{Value, json};

/// The most bytes of a body; it is kept with the run.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most tables that a start names: each of them is a row of the run.
const MAX_TABLES: usize = 1_000;

/// Handles a call.
///
/// # Errors
/// The state store's.
pub async fn handle(app: &App, call: &Call) -> Result<Answer, Error> {
    if call.has_lost_its_body() {
        return Ok(lost_body());
    }
    let asked = parse(&call.body).and_then(|(input, raw)| Ok((input, raw, Wait::asked(call)?)));
    let (input, raw, wait) = match asked {
        Ok(asked) => asked,
        Err(message) => return Ok(Answer::invalid(message)),
    };
    if let Err(message) = input.check_begin(app.state.now()) {
        return Ok(Answer::invalid(message));
    }
    if let Some(refusal) = asked::refusal(app, &input).await {
        return Ok(refusal);
    }
    match start(app, input, raw).await? {
        Started::New(id) | Started::Before(id) => started(app, call, &id, wait).await,
        Started::Active(active) => Ok(refused(&active)),
    }
}

/// The answer to a start while another run is active.
pub fn refused(active: &InstanceId) -> Answer {
    conflict(active, "wait for it, terminate it, or start with {\"force\":true}")
}

/// The answer to a start under the id of a run that goes on.
pub fn going_on(id: &InstanceId) -> Answer {
    conflict(id, "wait for it, terminate it, or start under another id with {\"force\":true}")
}

fn conflict(active: &InstanceId, what_to_do: &str) -> Answer {
    let error = format!("Run {active} is active; {what_to_do}");
    Answer::json(StatusCode::CONFLICT, json!({"error": error, "id": active.as_str()}))
}

/// The answer to a start whose body did not arrive: without one, all tables would be copied.
pub fn lost_body() -> Answer {
    Answer::error(
        StatusCode::LENGTH_REQUIRED,
        "the body was sent in chunks and did not arrive; send it with a Content-Length. Nothing was started",
    )
}

/// What a start asks for, and what the client sent.
///
/// # Errors
/// What is wrong with the body, and its form.
pub fn parse(body: &str) -> Result<(StartInput, Value), String> {
    const FORM: &str = "the body is optional; its form is {\"tables\":[\"DeviceEvents\"],\"force\":false,\"since\":\"2026-01-01T00:00:00Z\",\"until\":\"2026-01-31T00:00:00Z\"}";
    // Some clients begin with a byte order mark.
    let body = body.strip_prefix('\u{feff}').unwrap_or(body);
    if body.len() > MAX_BODY_BYTES {
        return Err(format!("the body has more than {MAX_BODY_BYTES} bytes; {FORM}"));
    }
    if body.trim().is_empty() {
        return Ok((StartInput::default(), json!({})));
    }
    let raw: Value = serde_json::from_str(body).map_err(|error| format!("the body is not JSON ({error}); {FORM}"))?;
    // Some hosts and clients send JSON in a JSON string; the client for Node makes `""` of no input.
    let raw = match raw {
        Value::String(text) if text.trim().is_empty() => Value::Null,
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
    input.check_range()?;
    match input.tables.as_ref().map(Vec::len) {
        Some(0) => Err(format!("`tables` is empty: leave it out for all active tables; {FORM}")),
        Some(count) if count > MAX_TABLES => Err(format!(
            "`tables` names {count} tables, the most is {MAX_TABLES}: leave it out for all active tables; {FORM}"
        )),
        _ => Ok((input, raw)),
    }
}

/// The query that each URI of a payload ends with. Clients put more parameters behind it with an ampersand, so there is
/// one even where there is no key. Values are those of the Python app; whatever a client says instead is left aside, as
/// there is one state store.
const HUB: &str = "taskHub=TaskHub&connection=AzureWebJobsStorage";

/// The key that a caller has shown: in the URL, or else in the header. The URIs of Durable Functions can be followed without
/// any header, as they carry the key of its extension; a custom handler knows no key but this one.
fn shown_key(call: &Call) -> Option<&str> {
    call.query("code").or_else(|| call.header("x-functions-key")).filter(|key| !key.is_empty())
}

/// The check-status payload of Durable Functions (azure-functions-durable-extension `HttpApiHandler`). It repeats the
/// caller's key.
pub fn accepted(call: &Call, id: &InstanceId) -> Answer {
    let code: String = shown_key(call).map_or_else(String::new, |code| {
        ["&code="].into_iter().chain(url::form_urlencoded::byte_serialize(code.as_bytes())).collect()
    });
    let uri = |operation: &str, query: &str| {
        let and = if query.is_empty() { "" } else { "&" };
        format!("{}/instances/{id}{operation}?{query}{and}{HUB}{code}", call.base)
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
    use crate::functions::testing::World;

    #[test]
    fn the_body_is_optional_and_unknown_fields_are_refused() {
        for body in ["", "  ", "null", "{}", "\"\"", "\"{}\"", "\"null\""] {
            assert_eq!(parse(body).unwrap().0, StartInput::default(), "{body:?}");
        }
        for body in ["[]", "1", "{\"table\":\"x\"}", "{\"tables\":\"x\"}", "{\"tables\":[]}", "not json"] {
            assert!(parse(body).unwrap_err().contains("\"tables\""), "{body}");
        }
    }

    #[test]
    fn a_start_names_a_range_that_has_something_in_it() {
        let (input, raw) = parse(r#"{"since":"2026-01-01T00:00:00Z","until":"2026-01-31T00:00:00Z"}"#).unwrap();
        assert_eq!(input.since.map(|since| since.to_seconds()), Some("2026-01-01T00:00:00Z".to_owned()));
        assert_eq!(raw["until"], "2026-01-31T00:00:00Z");
        let reversed = r#"{"since":"2026-01-31T00:00:00Z","until":"2026-01-01T00:00:00Z"}"#;
        assert!(parse(reversed).unwrap_err().contains("is not before"));
        assert!(parse(r#"{"since":"yesterday"}"#).unwrap_err().contains("2026-01-31T08:00:00Z"));
    }

    #[tokio::test]
    async fn a_start_whose_range_lies_in_the_future_is_refused() {
        let world = World::new();
        let since = world.app.state.now() + std::time::Duration::from_secs(60);
        let start = |since: crate::timestamp::Timestamp| Call {
            base: "https://app/api".into(),
            body: json!({"since": since.to_string()}).to_string(),
            ..Call::default()
        };
        let refused = handle(&world.app, &start(since)).await.unwrap();
        let said = refused.body.unwrap()["error"].to_string();
        assert!(refused.status == 400 && said.contains("lies in the future"), "{said}");
        assert!(world.app.state.active().await.unwrap().is_none());
        let earlier = since - std::time::Duration::from_secs(120);
        assert_eq!(handle(&world.app, &start(earlier)).await.unwrap().status, 202);
    }

    #[tokio::test]
    async fn a_start_whose_body_the_host_has_dropped_starts_nothing() {
        let world = World::new();
        let mut call = Call { base: "https://app/api".into(), ..Call::default() };
        call.headers.insert("transfer-encoding".into(), "Chunked".into());
        assert_eq!(handle(&world.app, &call).await.unwrap().status, 411);
        assert!(world.app.state.active().await.unwrap().is_none());
        // Other hosts pass it on with what was in it.
        call.body = "{}".into();
        assert_eq!(handle(&world.app, &call).await.unwrap().status, 202);
    }

    #[test]
    fn a_start_names_a_thousand_tables_at_most() {
        let body = |count| json!({"tables": (0..count).map(|n| n.to_string()).collect::<Vec<_>>()}).to_string();
        assert!(parse(&body(1_000)).is_ok());
        let message = parse(&body(1_001)).unwrap_err();
        assert!(message.contains("1001") && message.contains("1000"), "{message}");
    }

    #[test]
    fn a_payload_can_be_added_to_even_without_a_code() {
        let call = Call { base: "https://app/api".into(), ..Call::default() };
        let body = accepted(&call, &InstanceId::from_bits(1)).body.unwrap();
        let uris = body.as_object().unwrap().iter().filter(|(name, _)| *name != "id");
        assert!(
            uris.clone().count() == 8 && uris.clone().all(|(_, uri)| uri.as_str().unwrap().contains('?')),
            "{body}"
        );
    }

    #[test]
    fn the_payload_repeats_the_callers_code() {
        let mut call = Call { base: "https://app/api".into(), ..Call::default() };
        call.query.insert("code".into(), "a+b/=".into());
        let answer = accepted(&call, &InstanceId::from_bits(1));
        let body = answer.body.unwrap();
        let id = "00000000000000000000000000000001";
        let hub = "taskHub=TaskHub&connection=AzureWebJobsStorage";
        assert_eq!(body["statusQueryGetUri"], format!("https://app/api/instances/{id}?{hub}&code=a%2Bb%2F%3D"));
        assert_eq!(
            body["terminatePostUri"],
            format!("https://app/api/instances/{id}/terminate?reason={{text}}&{hub}&code=a%2Bb%2F%3D")
        );
        assert_eq!(body.as_object().unwrap().len(), 9);
        assert_eq!(answer.headers[1], ("Retry-After", "10".to_owned()));
    }

    #[test]
    fn the_payload_of_a_call_with_its_key_in_a_header_can_be_followed_without_the_header() {
        let mut call = Call { base: "https://app/api".into(), ..Call::default() };
        call.headers.insert("x-functions-key".into(), "h/=".into());
        let uris = |call: &Call| {
            let answer = accepted(call, &InstanceId::from_bits(1));
            let body = answer.body.unwrap();
            assert_eq!(body["statusQueryGetUri"], answer.headers[0].1);
            let uris = body.as_object().unwrap().iter().filter(|(name, _)| *name != "id");
            uris.map(|(_, uri)| uri.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert!(uris(&call).iter().all(|uri| uri.ends_with("&code=h%2F%3D")), "{:?}", uris(&call));
        call.query.insert("code".into(), "q".into());
        assert!(uris(&call).iter().all(|uri| uri.ends_with("&code=q")), "what the URL had already is enough");
        let with_none = Call { headers: [("x-functions-key".to_owned(), String::new())].into(), ..Call::default() };
        assert!(uris(&with_none).iter().all(|uri| !uri.contains("code=")));
    }
}
