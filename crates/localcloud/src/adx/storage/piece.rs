//! Pieces of blobs with their MD5: in memory while they are short, in files of their own from then on.

use md5::{Digest, Md5};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// The longest piece that stays in memory.
const SHORT_BYTES: usize = 64 * 1024;

/// Bytes that do not change any more.
#[derive(Debug)]
pub(super) struct Piece {
    pub length: u64,
    pub md5: [u8; 16],
    held: Held,
}

#[derive(Debug)]
enum Held {
    Memory(Vec<u8>),
    File(Temporary),
}

/// A file that goes with its owner.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // The directory goes later, with all that could not be removed.
        let _ = fs::remove_file(&self.0);
    }
}

/// A piece that is being received.
pub(super) struct NewPiece {
    path: PathBuf,
    length: u64,
    hash: Md5,
    /// All of it, until there is a file.
    short: Vec<u8>,
    file: Option<(Temporary, File)>,
}

impl NewPiece {
    /// An empty one, which gets the file `path` when it becomes long.
    pub fn new(path: PathBuf) -> Self {
        Self { path, length: 0, hash: Md5::new(), short: Vec::new(), file: None }
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds to it. Short writes into the page cache: not worth another thread.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        self.hash.update(bytes);
        if let Some((_, file)) = &mut self.file {
            return file.write_all(bytes);
        }
        self.short.extend_from_slice(bytes);
        if self.short.len() > SHORT_BYTES {
            let file = File::create_new(&self.path)?;
            let (_, file) = self.file.insert((Temporary(self.path.clone()), file));
            file.write_all(&std::mem::take(&mut self.short))?;
        }
        Ok(())
    }

    pub fn finish(self) -> Piece {
        let held = self.file.map_or(Held::Memory(self.short), |(temporary, _)| Held::File(temporary));
        Piece { length: self.length, md5: self.hash.finalize().into(), held }
    }
}

/// What is still to be read of a blob.
pub struct Unread {
    pieces: VecDeque<Arc<Piece>>,
    /// How much of the first piece was read, if it is in memory, and its file otherwise.
    read: usize,
    file: Option<File>,
}

impl Unread {
    pub(super) fn new(pieces: VecDeque<Arc<Piece>>) -> Self {
        Self { pieces, read: 0, file: None }
    }

    fn read_first(&mut self, piece: &Piece, buffer: &mut [u8]) -> io::Result<usize> {
        match (&piece.held, &mut self.file) {
            (Held::Memory(bytes), _) => {
                let count = (&bytes[self.read..]).read(buffer)?;
                self.read += count;
                Ok(count)
            }
            (Held::File(_), Some(file)) => file.read(buffer),
            (Held::File(Temporary(path)), none) => none.insert(File::open(path)?).read(buffer),
        }
    }
}

impl Read for Unread {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(piece) = self.pieces.front().cloned() {
            let count = self.read_first(&piece, buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.pieces.pop_front();
            (self.read, self.file) = (0, None);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_pieces_are_read_one_after_another_and_leave_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let files = || fs::read_dir(directory.path()).unwrap().count();
        let lengths = [0, 7, SHORT_BYTES, SHORT_BYTES + 1, 3, 3 * SHORT_BYTES];
        let mut expected = Vec::new();
        let pieces = lengths.iter().enumerate().map(|(number, length)| {
            let bytes: Vec<u8> = (0..*length).map(|at| (at * 31 + number) as u8).collect();
            let mut piece = NewPiece::new(directory.path().join(number.to_string()));
            bytes.chunks(10_000).for_each(|chunk| piece.push(chunk).unwrap());
            assert_eq!(piece.length(), *length as u64);
            expected.extend(bytes);
            Arc::new(piece.finish())
        });
        let pieces: VecDeque<_> = pieces.collect();
        assert_eq!(files(), 2);
        let mut read = Vec::new();
        Unread::new(pieces.clone()).read_to_end(&mut read).unwrap();
        assert!(read == expected);
        drop(pieces);
        assert_eq!(files(), 0);
    }
}
