//! Answer bytes in, gzip bytes out: the reader, the sieve where there is one, and the compressor in one step that runs off the
//! executor.

use crate::defender::Reader;
use crate::defender::scanner::{Scan, ScanError};
use crate::rows::{NotARow, Passed, Sieve};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::io::Write;

/// What a whole answer came to.
#[derive(Debug, Clone)]
pub struct Squeezed {
    /// What the reader saw.
    pub scan: Scan,
    /// What of it is copied, where not all is.
    pub passed: Option<Passed>,
    /// SHA-256 of all compressed bytes, hex.
    pub sha256: String,
}

/// Why an answer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The document is not what the API answers.
    #[error(transparent)]
    Answer(#[from] ScanError),
    /// Its rows cannot be compared.
    #[error("the answer cannot be compared with the destination: {0}")]
    Row(#[from] NotARow),
}

/// The state between two pieces.
pub struct Squeezer {
    reader: Reader,
    sieve: Option<Sieve>,
    gzip: GzEncoder<Vec<u8>>,
    hash: Sha256,
    plain: Vec<u8>,
    kept: Vec<u8>,
}

impl Squeezer {
    /// Nothing yet, of an answer that `reader` reads; only what goes through `sieve` is compressed.
    pub fn new(reader: Reader, sieve: Option<Sieve>) -> Self {
        Self {
            reader,
            sieve,
            gzip: GzEncoder::new(Vec::new(), Compression::fast()),
            hash: Sha256::new(),
            plain: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Takes a piece of the answer; gives the compressed bytes that are ready.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn feed(&mut self, piece: &[u8]) -> Result<Bytes, Unusable> {
        self.plain.clear();
        self.reader.feed(piece, &mut self.plain)?;
        // Writing to a `Vec` does not fail.
        let _ = match &mut self.sieve {
            None => self.gzip.write_all(&self.plain),
            Some(sieve) => {
                self.kept.clear();
                sieve.feed(&self.plain, &mut self.kept)?;
                self.gzip.write_all(&self.kept)
            }
        };
        Ok(self.ready())
    }

    /// Ends the answer; gives the last compressed bytes.
    ///
    /// # Errors
    /// [`Unusable`]: the document is not complete.
    pub fn finish(mut self) -> Result<(Bytes, Squeezed), Unusable> {
        // Writing to a `Vec` does not fail.
        let _ = self.gzip.try_finish();
        let last = self.ready();
        let scan = self.reader.finish()?;
        let passed = self.sieve.map(Sieve::finish).transpose()?;
        let sha256 = format!("{:x}", self.hash.finalize());
        Ok((last, Squeezed { scan, passed, sha256 }))
    }

    fn ready(&mut self) -> Bytes {
        let ready = std::mem::take(self.gzip.get_mut());
        self.hash.update(&ready);
        Bytes::from(ready)
    }
}
