//! Reading a whole answer into memory with a cap and a deadline. Knows no format.

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

/// Why a body could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is, or says that it is, larger than the cap.
    #[error("the answer is larger than {cap} bytes")]
    TooLarge {
        /// The cap.
        cap: usize,
    },
    /// The deadline came first.
    #[error("the answer was not complete in time: {read} bytes had come")]
    TimedOut {
        /// Bytes read by then.
        read: usize,
    },
    /// The connection ended inside the body.
    #[error("the answer broke off after {read} bytes: {source}")]
    Cut {
        /// Bytes read by then.
        read: usize,
        /// What the connection said.
        source: reqwest::Error,
    },
}

/// The whole body of `response`, if it has at most `cap` bytes and is there by `deadline`.
///
/// # Errors
/// [`BodyError`].
pub async fn read_capped(mut response: reqwest::Response, cap: usize, deadline: Instant) -> Result<Bytes, BodyError> {
    let announced = response.content_length().unwrap_or(0);
    if announced > cap as u64 {
        return Err(BodyError::TooLarge { cap });
    }
    // The header is a claim: it buys room for a small answer, not for the cap.
    let mut body = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0).min(64 * 1024));
    loop {
        match tokio::time::timeout_at(deadline, response.chunk()).await {
            Err(_) => return Err(BodyError::TimedOut { read: body.len() }),
            Ok(Err(source)) => return Err(BodyError::Cut { read: body.len(), source: source.without_url() }),
            Ok(Ok(None)) => return Ok(body.freeze()),
            Ok(Ok(Some(piece))) if piece.len() > cap - body.len() => return Err(BodyError::TooLarge { cap }),
            Ok(Ok(Some(piece))) => body.extend_from_slice(&piece),
        }
    }
}
