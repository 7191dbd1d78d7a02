//! Posting a sealed window to ADX, and what an error says of whether it was taken.

use crate::adx::Error;
use crate::app::Services;
use crate::orchestration::ledger::Head;
use crate::orchestration::outcome::Post;
use crate::orchestration::window::{Seal, Window};
use tokio::time::Instant;

/// Posts it. What it came to is to be kept in the window; nothing but a count proves anything.
pub async fn post(services: &Services, head: &Head, window: &Window, seal: &Seal, deadline: Instant) -> Post {
    let posted = match services.post(head, window, seal, deadline).await {
        Ok(posted) => Post::Taken { operation: posted.operation },
        Err(error) => failed(&error),
    };
    match &posted {
        Post::Taken { .. } => {}
        Post::Unknown(error) => {
            tracing::warn!(error, "whether a window was posted is not known; the count will tell");
        }
        Post::Refused { reason, permanent: false } => {
            tracing::warn!(reason, "a window was not posted; it is posted again");
        }
        Post::Refused { reason, .. } => tracing::error!(reason, "a window cannot be posted"),
    }
    posted
}

fn failed(error: &Error) -> Post {
    let permanent = match error {
        Error::OutcomeUnknown { .. } | Error::Corrupt { .. } => return Post::Unknown(error.to_string()),
        Error::Throttled { .. } | Error::Unavailable { .. } => false,
        Error::Refused { permanent, .. } => *permanent,
        Error::Outbound(error) => !error.is_transient(),
        Error::Denied { .. }
        | Error::Unauthorized { .. }
        | Error::NotFound { .. }
        | Error::NotOffered { .. }
        | Error::TooLarge { .. } => true,
    };
    Post::Refused { reason: error.to_string(), permanent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_taken_for_sure_is_refused() {
        let message = || "x".to_owned();
        let kind = |error: Error| match failed(&error) {
            Post::Taken { .. } => "taken",
            Post::Unknown(_) => "unknown",
            Post::Refused { permanent: true, .. } => "refused for good",
            Post::Refused { .. } => "refused",
        };
        let refused = |permanent| Error::Refused { code: message(), message: message(), permanent };
        for (error, expected) in [
            (Error::OutcomeUnknown { after: None, message: message() }, "unknown"),
            (Error::Corrupt { message: message() }, "unknown"),
            (Error::Throttled { after: None, message: message() }, "refused"),
            (Error::Unavailable { after: None, message: message() }, "refused"),
            (refused(false), "refused"),
            (refused(true), "refused for good"),
            (Error::Denied { message: message() }, "refused for good"),
            (Error::NotFound { what: message() }, "refused for good"),
        ] {
            assert_eq!(kind(error), expected);
        }
    }
}
