//! Why a call of a function failed.

use crate::storage;
use std::time::Duration;

/// What a call of a function can fail with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the handler was not ready within {0:?}")]
    NotReady(Duration),
    #[error("the host is stopping")]
    Stopping,
    #[error("the handler cannot be reached: {0}")]
    Transport(String),
    #[error("timeout value of {0:?} exceeded; the handler is restarted")]
    TimedOut(Duration),
    #[error("the handler answered {0}")]
    Status(u16),
    #[error("Invalid HttpResponseMessage: the content type is {content_type}, not application/json: {body}")]
    ContentType { content_type: String, body: String },
    #[error("Invalid HttpResponseMessage: {0}")]
    Content(String),
    #[error("the answer is larger than {0} bytes or was cut off")]
    Body(usize),
    #[error("the output `{binding}`: {message}")]
    Output { binding: String, message: String },
    #[error("the output `{binding}` to the queue {queue}: {source}")]
    Queue {
        binding: String,
        queue: String,
        #[source]
        source: storage::Error,
    },
}
