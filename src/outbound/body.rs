//! Reading a whole answer into memory with a cap and a deadline. Knows no format.

use bytes::{Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use reqwest::header::CONTENT_ENCODING;
use std::io::Read;
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
    /// It is packed in a way that was not asked for and is not known, or not whole.
    #[error("the answer comes with Content-Encoding: {encoding}, which was not asked for, and cannot be read: {why}")]
    Encoded {
        /// The way.
        encoding: String,
        /// What is wrong with it.
        why: String,
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

/// The whole body of `response`, if it has at most `cap` bytes and is there by `deadline`. One that is packed although nobody asked
/// for that is unpacked, to at most `cap` bytes.
///
/// # Errors
/// [`BodyError`].
pub async fn read_capped(response: reqwest::Response, cap: usize, deadline: Instant) -> Result<Bytes, BodyError> {
    let encoding = response.headers().get(CONTENT_ENCODING).map(|named| String::from_utf8_lossy(named.as_bytes()));
    let encoding: String = encoding.unwrap_or_default().trim().to_ascii_lowercase().chars().take(40).collect();
    let body = read(response, cap, deadline).await?;
    match encoding.as_str() {
        "" | "identity" => Ok(body),
        _ if body.is_empty() => Ok(body),
        "gzip" | "x-gzip" => unpacked(MultiGzDecoder::new(&body[..]), cap, encoding),
        "deflate" => unpacked(ZlibDecoder::new(&body[..]), cap, encoding),
        _ => Err(BodyError::Encoded { encoding, why: "this app does not know it".to_owned() }),
    }
}

fn unpacked(packed: impl Read, cap: usize, encoding: String) -> Result<Bytes, BodyError> {
    let mut body = Vec::new();
    match packed.take(cap as u64 + 1).read_to_end(&mut body) {
        Err(error) => Err(BodyError::Encoded { encoding, why: error.to_string() }),
        Ok(_) if body.len() > cap => Err(BodyError::TooLarge { cap }),
        Ok(_) => Ok(body.into()),
    }
}

async fn read(mut response: reqwest::Response, cap: usize, deadline: Instant) -> Result<Bytes, BodyError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::{GzEncoder, ZlibEncoder};

    #[test]
    fn what_is_packed_is_unpacked_within_the_cap() {
        let content = vec![b'x'; 1_000];
        let (mut gzip, mut zlib) = (Vec::new(), Vec::new());
        GzEncoder::new(&content[..], Compression::fast()).read_to_end(&mut gzip).unwrap();
        ZlibEncoder::new(&content[..], Compression::fast()).read_to_end(&mut zlib).unwrap();
        let unpack = |packed: &[u8], cap| unpacked(MultiGzDecoder::new(packed), cap, "gzip".to_owned());
        assert_eq!(unpack(&gzip, 1_000).unwrap(), content);
        assert!(matches!(unpack(&gzip, 999), Err(BodyError::TooLarge { cap: 999 })));
        assert!(matches!(unpack(&gzip[..gzip.len() - 1], 1_000), Err(BodyError::Encoded { .. })));
        assert_eq!(unpacked(ZlibDecoder::new(&zlib[..]), 1_000, "deflate".to_owned()).unwrap(), content);
    }
}
