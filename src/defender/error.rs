//! What a hunting call can end in, and what the service's answers mean. The texts are those of the three services
//! (defender-docs `advanced-hunting-errors.md`, `advanced-hunting-limits.md`, `api/common-errors.md`).

use super::client::Dialect;
use super::scanner::ScanError;
use crate::kql::Identifier;
use crate::outbound::{self, Unanswered};
use serde_json::Value;
use std::time::Duration;

/// No message quotes more than this of what a service said.
const EXCERPT_CHARS: usize = 300;

/// What a call can end in, cut by what the caller does next. No error holds a token or a row.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many calls, or the tenant's share of CPU is used up: all callers wait.
    #[error("the hunting service is throttling this tenant: {message}; waiting")]
    Throttled {
        /// When the service named a time.
        after: Option<Duration>,
        /// CPU, not calls: the block ends with the quarter hour.
        cpu: bool,
        /// What it said.
        message: String,
    },
    /// The rows asked for are larger than the service gives: ask for fewer.
    #[error("the answer would be above the hunting service's size limit: {message}; a smaller window is needed")]
    ResultTooLarge {
        /// What it said.
        message: String,
    },
    /// The answer is larger than our own cap, or has no end: repeat once, then ask for fewer.
    #[error("the hunting service's answer is larger than {cap} bytes; a smaller window is needed")]
    TooLarge {
        /// The cap in bytes.
        cap: u64,
    },
    /// The query was stopped for its cost: repeat once later, then ask for fewer rows.
    #[error("the hunting service stopped the query for its cost: {message}; repeat later or take a smaller window")]
    TooExpensive {
        /// What it said.
        message: String,
    },
    /// The query ran too long, at the service or for us.
    #[error("the hunting query did not end in time: {message}; repeat or take a smaller window")]
    TimedOut {
        /// Who gave up, and when.
        message: String,
    },
    /// A gateway in front of the service gave up: it may be the moment or the query. Repeat once, then ask for fewer rows.
    #[error("the hunting service's gateway gave up waiting for it: {message}; repeat, then take a smaller window")]
    GatewayTimedOut {
        /// What it said.
        message: String,
    },
    /// The query is wrong; repeating does not help, another query may.
    #[error("the hunting service refused the query ({code}): {message}")]
    Refused {
        /// The error code of the answer, or its HTTP status.
        code: String,
        /// What it said.
        message: String,
    },
    /// No query is taken there, or not in this way: neither repeating nor another query helps.
    #[error(
        "the hunting service takes no such request, whatever is asked: {message}; check DEFENDER_HUNTING_API_URL, and any proxy on the way"
    )]
    NotTaken {
        /// What it said.
        message: String,
    },
    /// The token is not accepted, a new one neither.
    #[error(
        "the hunting service does not accept the token: {message}; check that DEFENDER_RESOURCE_URI belongs to DEFENDER_HUNTING_API_URL and AZURE_TENANT_ID to the tenant"
    )]
    Unauthorized {
        /// What it said.
        message: String,
    },
    /// The token is not accepted, and the next call has another one: worth that call, once.
    #[error("the hunting service does not accept the token any more: {message}; the next call has a new one")]
    StaleToken {
        /// What it said.
        message: String,
    },
    /// The identity lacks the permission.
    #[error(
        "the hunting service refuses this identity: {message}; grant it the application permission {permission} of {api} and admin \
         consent"
    )]
    Forbidden {
        /// What it said.
        message: String,
        /// The permission that the endpoint asks for.
        permission: &'static str,
        /// The API whose permission that is.
        api: &'static str,
    },
    /// The tenant or the service does not allow it, whatever the identity may (403 `DisabledFeature`, `DisallowedOperation`;
    /// defender-docs `api/common-errors.md`).
    #[error(
        "the hunting service does not allow this in the tenant: {message}; no permission changes that: look in the Defender portal \
         (security.microsoft.com) whether advanced hunting is licensed and switched on there"
    )]
    Disallowed {
        /// What it said.
        message: String,
    },
    /// There is no such endpoint.
    #[error("there is no hunting API at `{url}` (404); check DEFENDER_HUNTING_API_URL")]
    NotFound {
        /// The endpoint.
        url: String,
    },
    /// The service cannot be reached or is broken: repeat later.
    #[error("the hunting service is unavailable: {message}; trying again later")]
    Unavailable {
        /// What happened.
        message: String,
        /// When the service named a time.
        after: Option<Duration>,
    },
    /// Something else answers in the service's place, such as a proxy with a page: repeat later, and let a person look.
    #[error(
        "what answered is not the hunting service: its content type is `{kind}`, not application/json (HTTP {status}); a proxy or \
         firewall answers in its place: check those on the way, and DEFENDER_HUNTING_API_URL"
    )]
    Foreign {
        /// The content type.
        kind: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not what it should be, or not whole: nothing of it may be used.
    #[error("the hunting service's answer cannot be used: {message}")]
    Corrupt {
        /// What is wrong.
        message: String,
    },
    /// The request did not leave.
    #[error(transparent)]
    Outbound(#[from] outbound::Error),
}

impl Error {
    /// The error of one who makes no other call for a token that was not accepted.
    #[must_use]
    pub fn of_last_token(self) -> Self {
        match self {
            Self::StaleToken { message } => Self::Unauthorized { message },
            other => other,
        }
    }

    /// Whether the query names a table or column that is not there. A table that the tenant has no licence for, or
    /// that the identity may not see, is reported this way too.
    pub fn is_unknown_table(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if {
            let text = message.to_ascii_lowercase();
            text.contains("failed to resolve table")
        })
    }

    /// The same of this table: the service says it of a column or a function in these words, too, and names that.
    pub fn is_unknown(&self, table: &Identifier) -> bool {
        let Self::Refused { message, .. } = self else { return false };
        let named = message.split_once("named '").and_then(|(_, rest)| rest.split_once('\'')).map(|(name, _)| name);
        self.is_unknown_table() && named.is_none_or(|name| name.eq_ignore_ascii_case(table.as_str()))
    }
}

impl From<ScanError> for Error {
    fn from(error: ScanError) -> Self {
        Self::Corrupt { message: error.to_string() }
    }
}

/// An answer that is not 200, or an error for all that, taken apart.
pub(super) struct Failure<'a> {
    pub(super) status: u16,
    /// `Retry-After`.
    pub(super) after: Option<Duration>,
    /// The service's own id of the call, for its support.
    pub(super) request_id: Option<&'a str>,
    pub(super) body: &'a [u8],
    /// The kind of page that it is, if it is one.
    pub(super) page: Option<String>,
    /// What must not be quoted, should the answer repeat it.
    pub(super) token: &'a str,
    /// The endpoint, without query.
    pub(super) url: &'a str,
    pub(super) dialect: Dialect,
}

impl Failure<'_> {
    /// What it means. The status and the code decide; the text only tells size, cost and time apart.
    pub(super) fn classify(&self) -> Error {
        let (code, text) = self.said();
        let cause = Cause::of(&text);
        let status = self.status;
        let code = code.map_or_else(|| status.to_string(), |code| self.quote(&code));
        let message = self.message(&code, &text);
        let is_refusal = (400..500).contains(&status) && !matches!(status, 407 | 408 | 429);
        if let Some(kind) = self.page.clone().filter(|_| is_refusal) {
            return Error::Foreign { kind, status };
        }
        let is_disallowed =
            ["DisabledFeature", "DisallowedOperation"].iter().any(|known| code.eq_ignore_ascii_case(known));
        match (status, cause) {
            (200 | 400, cause) if code.eq_ignore_ascii_case("TooManyRequests") => {
                Error::Throttled { after: self.after, cpu: cause == Some(Cause::Cpu), message }
            }
            (429, cause) => Error::Throttled { after: self.after, cpu: cause == Some(Cause::Cpu), message },
            (200 | 400 | 500.., Some(Cause::Cpu)) => Error::Throttled { after: self.after, cpu: true, message },
            (200 | 400 | 413 | 500.., Some(Cause::Size)) => Error::ResultTooLarge { message },
            (200 | 400 | 500.., Some(Cause::Cost)) => Error::TooExpensive { message },
            (200 | 400 | 500.., Some(Cause::Time)) => Error::TimedOut { message },
            (504, _) => Error::GatewayTimedOut { message },
            (400, Some(Cause::Broken)) => Error::Unavailable { message, after: self.after },
            (401, _) => Error::Unauthorized { message },
            (403, _) if is_disallowed => Error::Disallowed { message },
            (403, _) => Error::Forbidden { message, permission: self.dialect.permission(), api: self.dialect.api() },
            (404, _) => Error::NotFound { url: self.url.to_owned() },
            (408 | 500.., _) => Error::Unavailable { message, after: self.after },
            (400, _) => Error::Refused { code, message },
            (300..400, _) => Error::NotTaken {
                message: format!("HTTP {status}, the endpoint redirects, and a token does not follow"),
            },
            (400.., _) => Error::NotTaken { message },
            (200, _) => Error::Corrupt { message: format!("it is an error in place of rows, {message}") },
            _ => Error::Corrupt { message: format!("HTTP status {status} instead of 200") },
        }
    }

    /// Code and message of the answer's error, or the answer itself as text if it has another form.
    fn said(&self) -> (Option<String>, String) {
        let parsed: Option<Value> = serde_json::from_slice(self.body).ok();
        let error = parsed.as_ref().and_then(|body| member(body, "error"));
        let text = |name: &str| match error.and_then(|error| member(error, name)) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        match error {
            Some(Value::Object(_)) => {
                (text("code").filter(|code| !code.is_empty()), text("message").unwrap_or_default())
            }
            _ => (None, String::from_utf8_lossy(self.body).into_owned()),
        }
    }

    fn message(&self, code: &str, text: &str) -> String {
        let mut message = format!("HTTP {}", self.status);
        if code != self.status.to_string() {
            message.push(' ');
            message.push_str(code);
        }
        let said = self.quote(text);
        if !said.is_empty() {
            message.push_str(", ");
            message.push_str(&said);
        }
        if let Some(id) = self.request_id {
            message.push_str(&format!(" (request-id {})", self.quote(id)));
        }
        message
    }

    /// A foreign text, fit for a message.
    fn quote(&self, text: &str) -> String {
        if self.token.is_empty() { excerpt(text) } else { excerpt(&text.replace(self.token, "***")) }
    }
}

/// What the text of a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Cpu,
    Size,
    Cost,
    Time,
    Broken,
}

impl Cause {
    fn of(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        // A complaint about the query quotes it, so it may hold any word.
        if has(&["failed to resolve", "semantic error", "syntax error", "recognition error"]) {
            None
        } else if has(&["exceeded processing resources", "resources allocated to this tenant"]) {
            Some(Self::Cpu)
        } else if has(&["allowed result size", "result size limit exceeded", "e_query_result_set_too_large"]) {
            Some(Self::Size)
        } else if has(&[
            "preempted",
            "excessive resource consumption",
            "exceeded the allowed limits",
            "e_runaway_query",
            "e_low_memory_condition",
        ]) {
            Some(Self::Cost)
        } else if has(&["exceeded the timeout", "timed out", "timeout period"]) {
            Some(Self::Time)
        } else if has(&["unexpected error occurred during query execution"]) {
            Some(Self::Broken)
        } else {
            None
        }
    }
}

/// A request that got no answer.
pub(super) fn unsent(error: Unanswered) -> Error {
    Error::Unavailable { message: error.message, after: None }
}

/// A member by name, in any case: the services differ among themselves.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let members = value.as_object()?;
    members.get(name).or_else(|| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// A foreign text cut to what a message may quote, on one line.
fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let printable = line.chars().filter(|character| !character.is_control());
    let mut short: String = printable.clone().take(EXCERPT_CHARS).collect();
    if printable.count() > EXCERPT_CHARS {
        short.pop();
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TOKEN: &str = "eyJ0b2tlbg";

    fn classify(status: u16, body: &str) -> Error {
        let after = (status == 429 || status == 503).then_some(Duration::from_secs(10));
        let (dialect, url) = (Dialect::Graph, "https://graph.microsoft.com/x");
        Failure { status, after, request_id: Some("r1"), body: body.as_bytes(), page: None, token: TOKEN, url, dialect }
            .classify()
    }

    fn error(code: &str, message: &str) -> String {
        json!({"error": {"code": code, "message": message, "innerError": {"request-id": "r1"}}}).to_string()
    }

    #[test]
    fn refusals_of_the_query_are_told_apart_by_their_text() {
        let size = "Query execution has exceeded the allowed result size. Optimize your query by limiting the number of results and try again";
        let cost = "Query execution has exceeded the allowed limits. The query execution was preempted. This could possibly be due to high CPU and/or memory resource consumption. Optimize your query by following best practices and try again.";
        assert!(matches!(classify(400, &error("BadRequest", size)), Error::ResultTooLarge { .. }));
        assert!(matches!(
            classify(400, &error("badRequest", "Result size limit exceeded. Use \"summarize\" to aggregate results")),
            Error::ResultTooLarge { .. }
        ));
        assert!(matches!(classify(400, &error("BadRequest", cost)), Error::TooExpensive { .. }));
        assert!(matches!(
            classify(400, &error("BadRequest", "Query stopped due to excessive resource consumption.")),
            Error::TooExpensive { .. }
        ));
        assert!(matches!(
            classify(400, &error("BadRequest", "Query exceeded the timeout period.")),
            Error::TimedOut { .. }
        ));
        let broken = "An unexpected error occurred during query execution. Please try again in a few minutes.";
        assert!(matches!(classify(400, &error("BadRequest", broken)), Error::Unavailable { .. }));
    }

    #[test]
    fn a_semantic_error_is_a_refusal_whatever_it_quotes() {
        let text = "'where' operator: Failed to resolve table or column expression named 'preempted timed out'. Fix semantic errors in your query.";
        let refused = classify(400, &error("BadRequest", text));
        assert!(matches!(&refused, Error::Refused { code, .. } if code == "BadRequest"));
        assert!(refused.is_unknown_table() && refused.is_unknown(&Identifier::new("preempted timed out").unwrap()));
        let table = Identifier::new("DeviceEvents").unwrap();
        assert!(!refused.is_unknown(&table), "it names something else");
        assert!(classify(400, &error("BadRequest", "Failed to resolve table or column expression")).is_unknown(&table));
        let scalar = classify(400, &error("BadRequest", "Failed to resolve scalar expression named 'X'."));
        assert!(matches!(scalar, Error::Refused { .. }) && !scalar.is_unknown_table());
        assert!(!classify(400, &error("InvalidRequestBody", "Request body is incorrect")).is_unknown_table());
    }

    #[test]
    fn throttling_says_whether_it_is_calls_or_cpu() {
        let calls = r#"{"error":{"code":"429","message":"API calls quota exceeded! maximum allowed 45 per 00:01:00","target":"x"}}"#;
        let Error::Throttled { after, cpu, message } = classify(429, calls) else { panic!() };
        assert_eq!((after, cpu), (Some(Duration::from_secs(10)), false));
        assert!(message.contains("45 per 00:01:00"), "{message}");
        let cpu_text =
            "You have exceeded processing resources allocated to this tenant. You can run queries again in 5 minutes.";
        assert!(matches!(classify(429, &error("TooManyRequests", cpu_text)), Error::Throttled { cpu: true, .. }));
        assert!(matches!(classify(400, &error("BadRequest", cpu_text)), Error::Throttled { cpu: true, .. }));
        assert!(matches!(classify(429, ""), Error::Throttled { cpu: false, .. }));
        assert!(matches!(classify(400, &error("TooManyRequests", "Slow down.")), Error::Throttled { cpu: false, .. }));
    }

    #[test]
    fn the_status_decides_where_the_text_says_nothing() {
        let unknown = error("UnknownError", "");
        assert!(matches!(classify(500, &unknown), Error::Unavailable { .. }));
        assert!(matches!(classify(502, "<html>Bad gateway</html>"), Error::Unavailable { .. }));
        assert!(matches!(classify(503, ""), Error::Unavailable { after: Some(_), .. }));
        assert!(matches!(classify(504, &unknown), Error::GatewayTimedOut { .. }));
        let slow = error("BadRequest", "Query exceeded the timeout period.");
        assert!(matches!(classify(504, &slow), Error::TimedOut { .. }));
        assert!(matches!(classify(401, &error("InvalidAuthenticationToken", "x")), Error::Unauthorized { .. }));
        assert!(matches!(classify(404, ""), Error::NotFound { .. }));
        assert!(matches!(classify(204, ""), Error::Corrupt { .. }));
        let forbidden = classify(403, &error("Forbidden", "Insufficient privileges to complete the operation."));
        assert!(forbidden.to_string().contains("ThreatHunting.Read.All of Microsoft Graph"), "{forbidden}");
    }

    #[test]
    fn only_a_400_says_something_of_the_query() {
        for status in [301, 302, 307, 402, 405, 406, 407, 409, 410, 411, 413, 414, 415, 417, 421, 422, 431, 451] {
            let met = classify(status, &error("Conflict", "Some words."));
            let said = met.to_string();
            assert!(matches!(met, Error::NotTaken { .. }), "{status}: {said}");
            assert!(said.contains(&status.to_string()) && said.contains("DEFENDER_HUNTING_API_URL"), "{said}");
        }
        assert!(matches!(classify(400, &error("Conflict", "Some words.")), Error::Refused { .. }));
    }

    #[test]
    fn what_a_tenant_does_not_have_is_no_missing_permission() {
        for code in ["DisabledFeature", "DisallowedOperation", "disabledFeature"] {
            let met = classify(403, &error(code, "Tenant feature not enabled."));
            let said = met.to_string();
            assert!(matches!(met, Error::Disallowed { .. }), "{said}");
            assert!(said.contains("Tenant feature not enabled.") && !said.contains("ThreatHunting.Read.All"), "{said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_body_of_any_status_is_told_in_a_short_message(
            status in 0u16..1000,
            body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
            text: String,
        ) {
            let formed = error(&text, &text).into_bytes();
            for body in [&body, &formed] {
                let failure = Failure {
                    status,
                    after: None,
                    request_id: Some(&text),
                    body,
                    page: None,
                    token: TOKEN,
                    url: "https://graph.microsoft.com/x",
                    dialect: Dialect::Graph,
                };
                proptest::prop_assert!(failure.classify().to_string().chars().count() < 1_200);
                // A body that is cut in the middle is told as well as it can be.
                let cut = Failure { body: &body[..body.len() / 2], ..failure };
                proptest::prop_assert!(cut.classify().to_string().chars().count() < 1_200);
            }
        }
    }

    #[test]
    fn messages_are_short_and_hold_no_token() {
        let echo = format!("Authorization: Bearer {TOKEN} {}", "x".repeat(5000));
        for body in [echo.clone(), error("BadRequest", &echo), error(&echo, "x")] {
            let message = classify(500, &body).to_string();
            assert!(message.chars().count() < 800 && !message.contains(TOKEN), "{message}");
        }
        let message = classify(500, &error("UnknownError", "a\r\n\u{7}b")).to_string();
        assert!(message.contains("HTTP 500 UnknownError, a b (request-id r1)"), "{message}");
    }
}
