//! Answer bytes in, gzip bytes out: the reader and the compressor in one step that runs off the executor.

use crate::defender::Reader;
use crate::defender::scanner::{Scan, ScanError};
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
    /// SHA-256 of all compressed bytes, hex.
    pub sha256: String,
}

/// The state between two pieces.
pub struct Squeezer {
    reader: Reader,
    gzip: GzEncoder<Vec<u8>>,
    hash: Sha256,
    plain: Vec<u8>,
}

impl Squeezer {
    /// Nothing yet, of an answer that `reader` reads.
    pub fn new(reader: Reader) -> Self {
        Self { reader, gzip: GzEncoder::new(Vec::new(), Compression::fast()), hash: Sha256::new(), plain: Vec::new() }
    }

    /// Takes a piece of the answer; gives the compressed bytes that are ready.
    ///
    /// # Errors
    /// [`ScanError`]: the document is not what the API answers.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Bytes, ScanError> {
        self.plain.clear();
        self.reader.feed(piece, &mut self.plain)?;
        // Writing to a `Vec` does not fail.
        let _ = self.gzip.write_all(&self.plain);
        Ok(self.ready())
    }

    /// Ends the answer; gives the last compressed bytes.
    ///
    /// # Errors
    /// [`ScanError`]: the document is not complete.
    pub fn finish(mut self) -> Result<(Bytes, Squeezed), ScanError> {
        // Writing to a `Vec` does not fail.
        let _ = self.gzip.try_finish();
        let last = self.ready();
        let scan = self.reader.finish()?;
        let sha256 = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((last, Squeezed { scan, sha256 }))
    }

    fn ready(&mut self) -> Bytes {
        let ready = std::mem::take(self.gzip.get_mut());
        self.hash.update(&ready);
        Bytes::from(ready)
    }
}
