//! What the handler answers: `{"Outputs": …, "Logs": …, "ReturnValue": …}`, and when an answer counts as a failure or as
//! none at all.

use super::failure::Failure;
use super::json::Json;

const SHOWN_CHARACTERS: usize = 200;

/// A successful answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    /// `None` when it is missing or null.
    pub(crate) outputs: Option<Json>,
    pub(crate) logs: Vec<String>,
    pub(crate) return_value: Json,
}

/// What an answer means to the host.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    Answer(Answer),
    /// A 2xx without content or with `null`: the real host never completes such a call, so that it hangs until the
    /// function timeout.
    Never,
}

/// Reads an answer.
pub(crate) fn read(status: u16, content_type: Option<&str>, body: &[u8]) -> Result<Reply, Failure> {
    if !(200..300).contains(&status) {
        return Err(Failure::Status(status));
    }
    if body.is_empty() {
        return Ok(Reply::Never);
    }
    let media = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
    if !matches!(media.as_str(), "application/json" | "text/json") {
        let body = String::from_utf8_lossy(body).chars().take(SHOWN_CHARACTERS).collect();
        return Err(Failure::ContentType { content_type: content_type.unwrap_or("missing").to_owned(), body });
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    match serde_json::from_slice(body) {
        Ok(Json::Null) => Ok(Reply::Never),
        Ok(object @ Json::Object(_)) => Ok(Reply::Answer(from_object(&object)?)),
        Ok(_) => Err(Failure::Content("the answer is not a JSON object".to_owned())),
        Err(error) => Err(Failure::Content(format!("the answer is not valid JSON: {error}"))),
    }
}

fn from_object(object: &Json) -> Result<Answer, Failure> {
    let outputs = match object.member("Outputs") {
        None | Some(Json::Null) => None,
        Some(outputs @ Json::Object(_)) => Some(outputs.clone()),
        Some(_) => return Err(Failure::Content("`Outputs` is not a JSON object".to_owned())),
    };
    let logs = match object.member("Logs") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(lines)) if lines.iter().all(|line| !matches!(line, Json::Array(_) | Json::Object(_))) => {
            lines.iter().map(Json::scalar_text).collect()
        }
        Some(_) => return Err(Failure::Content("`Logs` is not a list of texts".to_owned())),
    };
    let return_value = object.member("ReturnValue").cloned().unwrap_or(Json::Null);
    Ok(Answer { outputs, logs, return_value })
}

impl Answer {
    /// The value of an output binding, whose name must be exact; that of `$return` is the return value.
    pub(crate) fn output(&self, binding: &str) -> Option<&Json> {
        let value = match binding {
            "$return" => Some(&self.return_value),
            name => self.outputs.as_ref().and_then(|outputs| outputs.exact(name)),
        };
        value.filter(|value| !value.is_null())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Option<&str> = Some("application/json; charset=utf-8");

    #[test]
    fn an_empty_object_is_a_success_without_outputs() {
        let Ok(Reply::Answer(answer)) = read(200, JSON, b"{}") else { panic!() };
        assert_eq!(answer, Answer { outputs: None, logs: Vec::new(), return_value: Json::Null });
    }

    #[test]
    fn a_success_without_content_never_completes() {
        for (status, body) in [(200, ""), (204, ""), (200, "null"), (202, " null ")] {
            assert!(matches!(read(status, JSON, body.as_bytes()), Ok(Reply::Never)), "{status} {body}");
        }
        assert!(matches!(read(200, None, b""), Ok(Reply::Never)));
    }

    #[test]
    fn other_answers_fail() {
        assert!(matches!(read(404, JSON, b"{}"), Err(Failure::Status(404))));
        assert!(matches!(read(302, JSON, b"{}"), Err(Failure::Status(302))));
        assert!(matches!(read(200, Some("text/plain"), b"{}"), Err(Failure::ContentType { .. })));
        assert!(matches!(read(200, None, b"{}"), Err(Failure::ContentType { .. })));
        for body in ["[]", "1", "{", r#"{"Outputs":[]}"#, r#"{"Logs":"x"}"#] {
            assert!(matches!(read(200, JSON, body.as_bytes()), Err(Failure::Content(_))), "{body}");
        }
    }

    #[test]
    fn the_answers_own_names_are_found_in_any_case_and_outputs_by_their_exact_name() {
        let Ok(Reply::Answer(answer)) = read(200, Some("text/json"), br#"{"outputs":{"OUT":"x"},"logs":["a",1]}"#)
        else {
            panic!()
        };
        assert_eq!((answer.output("OUT"), answer.output("out")), (Some(&Json::text("x")), None));
        assert_eq!(answer.logs, ["a", "1"]);
    }
}
