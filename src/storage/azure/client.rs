//! What the official clients of queues and blobs share: the version they speak, and what a call can end in besides an
//! answer. Knows the codes of refusals only as texts; each port says what they mean to it.

use super::error::{self, Refusal};
use crate::storage::Error;
use azure_core::error::ErrorKind;
use azure_core::http::Url;
use std::time::Duration;

#[cfg(test)]
pub(super) mod canned;

/// The version of the service's interface (rest-api-ref `Versioning-for-the-Azure-Storage-Services`). The clients would
/// ask for 2026-04-06, which Azurite 3.35 refuses; nothing here needs more than this.
pub(super) const VERSION: &str = "2025-11-05";

/// The endpoint without a slash at its end: the clients put one before a name.
pub(super) fn base(mut endpoint: Url) -> Url {
    if let Ok(mut segments) = endpoint.path_segments_mut() {
        segments.pop_if_empty();
    }
    endpoint
}

/// Why there is no answer, or none to rely on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The service refused, or was not reached.
    #[error(transparent)]
    Service(#[from] azure_core::Error),
    /// It took too long; it may have been done.
    #[error("there was no answer within {0:?}")]
    Late(Duration),
    /// The answer is not what the service documents: something on the way made it.
    #[error("{0}")]
    Odd(String),
}

impl Failure {
    /// An answer without a part that it must have.
    pub(super) fn lacks(answer: &str, part: &str) -> Self {
        Self::Odd(format!("{answer} has no {part}"))
    }

    /// The service's code of the refusal (rest-api-ref `Status-and-Error-Codes2`).
    pub(super) fn code(&self) -> Option<String> {
        match self {
            Self::Service(error) => code(error),
            Self::Late(_) | Self::Odd(_) => None,
        }
    }

    /// Whether the service refused with this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code().as_deref() == Some(code)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Service(error) if !is_passing(&error) => error::of(error),
            other => Self::Unavailable(other.into()),
        }
    }
}

/// The code in the header or in the body; the SDK reads the header, and JSON, which queues and blobs do not answer in.
fn code(error: &azure_core::Error) -> Option<String> {
    let ErrorKind::HttpResponse { status, error_code, raw_response } = error.kind() else { return None };
    let read = raw_response.as_ref().map(|raw| Refusal::read(u16::from(*status), raw.headers(), raw.body()).code);
    read.filter(|code| !code.is_empty()).or_else(|| error_code.clone())
}

/// Whether the same call may well succeed later, whatever is usual for its status.
fn is_passing(error: &azure_core::Error) -> bool {
    let ErrorKind::HttpResponse { status, .. } = error.kind() else { return false };
    // The service goes on deleting after it has said that it has.
    let deleting = matches!(code(error).as_deref(), Some("QueueBeingDeleted" | "ContainerBeingDeleted"));
    // A success that the call never has: something on the way made it.
    deleting || status.is_success()
}

/// The end of `call`, if it comes within `limit`.
pub(super) async fn timely<T, E: Into<Failure>>(
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, call).await {
        Ok(end) => end.map_err(E::into),
        Err(_) => Err(Failure::Late(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_ends_without_a_slash_wherever_it_lies() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:10001/devstoreaccount1/", "http://127.0.0.1:10001/devstoreaccount1"),
            ("http://127.0.0.1:10001/devstoreaccount1", "http://127.0.0.1:10001/devstoreaccount1"),
            ("https://a.queue.core.windows.net/?sv=1&sig=a%2Fb", "https://a.queue.core.windows.net/?sv=1&sig=a%2Fb"),
        ] {
            assert_eq!(base(endpoint.parse().unwrap()).as_str(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_end_is_given_up() {
        let never = std::future::pending::<azure_core::Result<()>>();
        let failure = timely(Duration::from_secs(30), never).await.unwrap_err();
        assert!(matches!(failure, Failure::Late(_)));
        assert!(matches!(Error::from(failure), Error::Unavailable(_)));
    }
}
