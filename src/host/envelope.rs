//! What the handler is sent: `{"Data": …, "Metadata": …}`
//! (azure-docs `articles/azure-functions/functions-custom-handlers.md`; the encoding of values is that of
//! azure-functions-host `ScriptInvocationContextExtensions.cs`).

use super::json::Json;
use crate::timestamp::Timestamp;
use bytes::Bytes;
use serde_json::value::Number;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// A .NET string: JSON within a JSON string.
pub(crate) fn text(text: &str) -> Json {
    Json::String(Json::text(text).compact())
}

/// A .NET number: its digits as a string.
pub(crate) fn number(number: impl Into<Number>) -> Json {
    Json::String(number.into().to_string())
}

/// A .NET `DateTimeOffset`: UTC, cut to whole seconds.
pub(crate) fn date(at: Timestamp) -> Json {
    Json::String(at.to_seconds().replace('Z', "+00:00"))
}

/// What the handler is told besides the trigger's value. Names differ in more than case; a later value takes the
/// place of an earlier one and keeps its name.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    members: Vec<(String, Json)>,
}

impl Metadata {
    pub(crate) fn set(&mut self, name: &str, value: Json) {
        match self.members.iter_mut().find(|(known, _)| known.to_lowercase() == name.to_lowercase()) {
            Some((_, old)) => *old = value,
            None => self.members.push((name.to_owned(), value)),
        }
    }

    /// Adds the members of a text that is a JSON object, but for its arrays and nulls.
    pub(crate) fn add_payload(&mut self, payload: &str) {
        let trimmed = payload.trim();
        if !(trimmed.starts_with('{') && trimmed.ends_with('}')) {
            return;
        }
        let Ok(Json::Object(members)) = Json::parse(trimmed) else { return };
        for (name, value) in members {
            match value {
                Json::Null | Json::Array(_) => {}
                object @ Json::Object(_) => self.set(&name, object),
                scalar => self.set(&name, text(&invariant_text(&scalar))),
            }
        }
    }
}

/// A payload's scalar after it went through .NET: a date-time comes out in the invariant culture's form.
fn invariant_text(scalar: &Json) -> String {
    let Json::String(value) = scalar else { return scalar.scalar_text() };
    let is_date = value.len() >= 20 && value.as_bytes()[10] == b'T';
    match OffsetDateTime::parse(value, &Rfc3339) {
        Ok(at) if is_date => {
            let at = at.to_offset(time::UtcOffset::UTC);
            let (date, time) = (at.date(), at.time());
            format!(
                "{:02}/{:02}/{:04} {:02}:{:02}:{:02}",
                u8::from(date.month()),
                date.day(),
                date.year(),
                time.hour(),
                time.minute(),
                time.second()
            )
        }
        _ => value.clone(),
    }
}

/// The body of a call of `function`.
pub(crate) fn envelope(
    function: &str,
    binding: &str,
    data: Json,
    metadata: Metadata,
    now: Timestamp,
    random: Uuid,
) -> Bytes {
    let now = now.to_string();
    let now = now.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    let sys = Json::object([
        ("MethodName", Json::text(function)),
        ("UtcNow", Json::text(format!("{now}Z"))),
        ("RandGuid", Json::text(random.to_string())),
    ]);
    let mut metadata = metadata;
    metadata.set("sys", sys);
    metadata.members.retain(|(name, _)| !name.to_lowercase().ends_with("trigger"));
    let data = Json::Object(vec![(binding.to_owned(), data)]);
    Json::object([("Data", data), ("Metadata", Json::Object(metadata.members))]).compact().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(payload: &str) -> Vec<(String, String)> {
        let mut metadata = Metadata::default();
        metadata.set("Id", text("built-in"));
        metadata.add_payload(payload);
        metadata.members.into_iter().map(|(name, value)| (name, value.compact())).collect()
    }

    #[test]
    fn payload_scalars_are_strings_first_and_then_encoded_twice() {
        let found = members(r#"{"n":2,"b":true,"o":{"x":1},"a":[1],"z":null,"d":"2026-01-02T03:04:05Z"}"#);
        let expected = [
            ("Id", r#""\"built-in\"""#),
            ("n", r#""\"2\"""#),
            ("b", r#""\"True\"""#),
            ("o", r#"{"x":1}"#),
            ("d", r#""\"01/02/2026 03:04:05\"""#),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_payload_member_takes_the_place_of_a_built_in_one_under_its_name() {
        assert_eq!(members(r#"{"id":"x"}"#), [("Id".to_owned(), r#""\"x\"""#.to_owned())]);
        assert_eq!(members("[1,2]").len(), 1);
        assert_eq!(members("{broken}").len(), 1);
    }

    #[test]
    fn triggers_are_left_out_and_sys_names_the_function() {
        let mut metadata = Metadata::default();
        metadata.set("QueueTrigger", text("x"));
        metadata.set("myTRIGGER", text("x"));
        let now = "2026-01-01T00:00:00.2200000Z".parse().unwrap();
        let body = envelope("Worker", "msg", text("hi"), metadata, now, Uuid::nil());
        let expected = r#"{"Data":{"msg":"\"hi\""},"Metadata":{"sys":{"MethodName":"Worker","UtcNow":"2026-01-01T00:00:00.22Z","RandGuid":"00000000-0000-0000-0000-000000000000"}}}"#;
        assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
    }

    #[test]
    fn dates_are_cut_to_seconds_with_an_offset() {
        assert_eq!(date(Timestamp::MAX), Json::text("9999-12-31T23:59:59+00:00"));
    }
}
