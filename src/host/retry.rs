//! The retry policy of a function: how often a call that failed is made again, and after how long
//! (azure-docs `articles/azure-functions/functions-bindings-error-pages.md`). Timers have one, queues and HTTP do not.
//! Reads no clock.

use super::envelope::Metadata;
use super::environment::parse_time_span;
use super::failure::Failure;
use super::json::Json;
use std::time::Duration;

/// `"retry": {"strategy": "fixedDelay", …}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    /// How often at most; `None`: until it succeeds.
    pub(crate) max: Option<u32>,
    /// Between two calls.
    pub(crate) delay: Duration,
}

impl Retry {
    /// Reads the member `retry` of a function.json.
    ///
    /// # Errors
    /// The field, and what is wrong with it as the end of a sentence.
    pub(crate) fn read(json: &Json) -> Result<Self, (&'static str, String)> {
        let written = |name: &str| json.member(name).unwrap_or(&Json::Null);
        match written("strategy") {
            Json::String(strategy) if strategy.eq_ignore_ascii_case("fixedDelay") => {}
            other => {
                let message = format!("must be `fixedDelay` at this host, not {}", other.compact());
                return Err(("retry.strategy", message));
            }
        }
        let max = match written("maxRetryCount").scalar_text().as_str() {
            "-1" => None,
            text => Some(text.parse().map_err(|_| {
                ("retry.maxRetryCount", format!("must be a whole number, or -1 for no end, not `{text}`"))
            })?),
        };
        let delay = written("delayInterval").scalar_text();
        let delay = parse_time_span(&delay)
            .ok_or_else(|| ("retry.delayInterval", format!("must be a time span hh:mm:ss, not `{delay}`")))?;
        Ok(Self { max, delay })
    }

    /// Whether a call is made again that has been made again so often.
    pub(crate) fn allows(self, retries: u32) -> bool {
        self.max.is_none_or(|max| retries < max)
    }

    /// What the function is told of it.
    pub(crate) fn context(self, retries: u32, last: Option<&Failure>) -> Metadata {
        let mut metadata = Metadata::default();
        let context = Json::object([
            ("RetryCount", Json::Number(retries.into())),
            ("MaxRetryCount", Json::Number(self.max.map_or_else(|| (-1).into(), Into::into))),
            ("Exception", last.map_or(Json::Null, |failure| Json::text(failure.to_string()))),
        ]);
        metadata.set("RetryContext", context);
        metadata
    }
}
