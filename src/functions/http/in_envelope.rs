//! HTTP triggers in the invocation envelope, for a host that does not forward.

use super::super::envelope::{Invocation, member};
use super::{Answer, Call, base, query_of};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The call in an envelope. Hosts differ in the casing of members and in how often they encode.
pub fn from_envelope(invocation: &Invocation) -> Call {
    let request = match invocation.trigger("req") {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(other) => other.clone(),
        None => Value::Null,
    };
    let request = request.as_object().cloned().unwrap_or_default();
    let object = |name: &str| member(&request, name).and_then(Value::as_object).cloned().unwrap_or_default();
    let text = |name: &str| member(&request, name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let headers = object("Headers");
    let first =
        |value: &Value| value.as_array().and_then(|all| all.first()).unwrap_or(value).as_str().map(str::to_owned);
    let headers: HashMap<String, String> =
        headers.iter().filter_map(|(name, value)| Some((name.to_ascii_lowercase(), first(value)?))).collect();
    let header = |name: &str| headers.get(name).map(String::as_str);
    let url = text("Url");
    let scheme = header("x-forwarded-proto").or_else(|| url.split_once("://").map(|(scheme, _)| scheme));
    let mut query = query_of(&url);
    for (name, value) in object("Query") {
        if let Value::String(value) = value {
            query.entry(name.to_ascii_lowercase()).or_insert(value);
        }
    }
    let route = object("Params");
    Call {
        method: text("Method").to_ascii_uppercase(),
        base: base(scheme, header("host")),
        query,
        headers: headers.clone(),
        route: route.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect(),
        body: match member(&request, "Body") {
            Some(Value::String(body)) => body.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        },
        url,
    }
}

/// The envelope around an answer. The body is text: the host would indent an object and call it text/plain.
pub fn to_envelope(answer: &Answer) -> Value {
    let mut headers: Map<String, Value> =
        answer.headers.iter().map(|(name, value)| ((*name).to_owned(), Value::String(value.clone()))).collect();
    if answer.body.is_some() {
        headers.insert("Content-Type".to_owned(), answer.media_type.into());
    }
    json!({"Outputs": {"res": {"statusCode": answer.status.as_u16(), "headers": headers, "body": answer.text()}}, "Logs": [], "ReturnValue": null})
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    #[test]
    fn a_call_in_an_envelope_has_what_a_forwarded_one_has() {
        let envelope = json!({"Data": {"req": {
            "Url": "http://localhost:7071/api/status/7?code=a%2Bb&ShowInput=true", "Method": "GET",
            "Query": {"code": "a+b"}, "Headers": {"Host": ["app.example:7071"], "X-Forwarded-Proto": ["https"]},
            "Params": {"instanceId": "7", "left": null}}}, "Metadata": {}});
        let call = from_envelope(&Invocation::parse(envelope.to_string().as_bytes()).unwrap());
        assert_eq!(
            (call.base.as_str(), call.route("instanceId"), call.route("left")),
            ("https://app.example:7071/api", "7", "")
        );
        assert_eq!((call.header("x-forwarded-proto"), call.flag("showinput")), (Some("https"), Some(true)));
        assert_eq!((call.query("code"), call.query("showinput"), call.body.as_str()), (Some("a+b"), Some("true"), ""));
    }

    #[test]
    fn the_body_is_sent_as_text_with_its_type() {
        let answer = Answer::json(StatusCode::ACCEPTED, json!({"id": "x"})).with("Retry-After", "10");
        let res = &to_envelope(&answer)["Outputs"]["res"];
        assert_eq!(res["statusCode"], 202);
        assert_eq!(res["body"], "{\"id\":\"x\"}");
        assert_eq!(res["headers"]["Content-Type"], "application/json");
        assert_eq!(res["headers"]["Retry-After"], "10");
    }
}
