//! The body of an answer on its way in: its deadline, its pauses, its compression and its cap. Knows no format.

use super::super::error::Error;
use crate::outbound::BodyError;
use bytes::{Bytes, BytesMut};
use flate2::write::MultiGzDecoder;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use std::io::Write;
use std::time::Duration;
use tokio::task::consume_budget;
use tokio::time::{Instant, timeout_at};

/// Compressed bytes that are undone at once. They may grow a thousandfold, and what comes of them is held.
const STEP_BYTES: usize = 1024;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
}

impl Coding {
    /// As the head of an answer says; `Err` has what was not asked for.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, String> {
        let mut coding = Self::Identity;
        for value in headers.get_all(CONTENT_ENCODING) {
            let named = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            for named in named.split(',').map(str::trim).filter(|named| !matches!(*named, "" | "identity")) {
                if !matches!(named, "gzip" | "x-gzip") || coding == Self::Gzip {
                    return Err(named.chars().take(40).collect());
                }
                coding = Self::Gzip;
            }
        }
        Ok(coding)
    }
}

/// An answer of rows on its way in. Feed what comes to a [`crate::defender::Reader`], which knows when it is whole.
pub struct Packed {
    response: Response,
    deadline: Instant,
    read_timeout: Duration,
    cap: u64,
    /// Bytes received, and bytes given on: those of the document itself. The cap holds for either.
    received: u64,
    given: u64,
    gzip: Option<Unpacking>,
    /// What was looked at already.
    beginning: Option<Bytes>,
}

struct Unpacking {
    decoder: MultiGzDecoder<Vec<u8>>,
    pending: Bytes,
}

impl Packed {
    pub(super) fn new(response: Response, coding: Coding, deadline: Instant, read_timeout: Duration, cap: u64) -> Self {
        let unpacking = || Unpacking { decoder: MultiGzDecoder::new(Vec::new()), pending: Bytes::new() };
        let gzip = (coding == Coding::Gzip).then(unpacking);
        Self { response, deadline, read_timeout, cap, received: 0, given: 0, gzip, beginning: None }
    }

    /// The first bytes of the document, which are to come again.
    ///
    /// # Errors
    /// As [`Packed::next`].
    pub(super) async fn beginning(&mut self) -> Result<&[u8], Error> {
        self.beginning = self.next().await?;
        Ok(self.beginning.as_deref().unwrap_or_default())
    }

    /// The next bytes of the document, or `None` at the end.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::TimedOut`] or, when the connection breaks, there is no body or it is not what it is said to
    /// be compressed by, [`Error::Corrupt`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(beginning) = self.beginning.take() {
            return Ok(Some(beginning));
        }
        // What is at hand already would be unpacked to its end without a pause otherwise, and other calls wait.
        consume_budget().await;
        loop {
            if let Some(unpacked) = self.unpacked()? {
                return self.give(unpacked).map(Some);
            }
            let Some(piece) = self.receive().await? else {
                let last = self.last()?;
                if !last.is_empty() {
                    return self.give(last).map(Some);
                }
                return if self.given > 0 { Ok(None) } else { Err(corrupt("it is empty")) };
            };
            self.received += piece.len() as u64;
            if self.received > self.cap {
                return Err(Error::TooLarge { cap: self.cap });
            }
            match &mut self.gzip {
                Some(gzip) => gzip.pending = piece,
                None => return self.give(piece).map(Some),
            }
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// As [`Packed::next`].
    pub(super) async fn whole(mut self) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.next().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    fn give(&mut self, piece: Bytes) -> Result<Bytes, Error> {
        self.given += piece.len() as u64;
        if self.given > self.cap { Err(Error::TooLarge { cap: self.cap }) } else { Ok(piece) }
    }

    /// The next bytes that come of what was received, if any do.
    fn unpacked(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(gzip) = &mut self.gzip else { return Ok(None) };
        while !gzip.pending.is_empty() {
            let step = gzip.pending.split_to(gzip.pending.len().min(STEP_BYTES));
            gzip.decoder.write_all(&step).map_err(|error| not_gzip(&error))?;
            let unpacked = std::mem::take(gzip.decoder.get_mut());
            if !unpacked.is_empty() {
                return Ok(Some(unpacked.into()));
            }
        }
        Ok(None)
    }

    /// What is left at the end; a stream that is cut has none.
    fn last(&mut self) -> Result<Bytes, Error> {
        let Some(mut gzip) = self.gzip.take() else { return Ok(Bytes::new()) };
        if self.received == 0 {
            return Ok(Bytes::new());
        }
        gzip.decoder.try_finish().map_err(|error| not_gzip(&error))?;
        Ok(std::mem::take(gzip.decoder.get_mut()).into())
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Error> {
        let pause_ends = Instant::now() + self.read_timeout;
        match timeout_at(self.deadline.min(pause_ends), self.response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(source)) => {
                let read = usize::try_from(self.received).unwrap_or(usize::MAX);
                Err(corrupt(&BodyError::Cut { read, source: source.without_url() }.to_string()))
            }
            Err(_) if self.deadline <= pause_ends => Err(Error::TimedOut {
                message: format!("the deadline came after {} bytes of the answer", self.received),
            }),
            Err(_) => Err(Error::TimedOut {
                message: format!(
                    "nothing came for {} s after {} bytes of the answer",
                    self.read_timeout.as_secs(),
                    self.received
                ),
            }),
        }
    }
}

fn not_gzip(error: &std::io::Error) -> Error {
    corrupt(&format!("it is said to be gzip and is none, or not whole: {error}"))
}

fn corrupt(message: &str) -> Error {
    Error::Corrupt { message: message.to_owned() }
}
