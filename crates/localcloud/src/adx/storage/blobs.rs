//! Block blobs: pieces, put together by lists of them. A blob that is replaced or removed can be read to
//! its end by who has opened it.

use super::piece::{NewPiece, Piece, Unread};
use super::refusal::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// Why a blob cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The address is not one of this storage.
    #[error("the blob's address is of another account")]
    OtherAccount,
    /// The signature is not accepted.
    #[error("the blob's signature is not accepted")]
    Forbidden,
    /// There is no such blob.
    #[error("there is no such blob")]
    NotFound,
}

/// An opened blob.
pub struct Opened {
    /// Its bytes.
    pub length: u64,
    /// Its content.
    pub content: Unread,
    pub(super) properties: Properties,
}

/// What headers tell of a blob.
#[derive(Debug, Clone)]
pub(super) struct Properties {
    pub content_type: String,
    pub etag: String,
    pub modified: i64,
    /// In base64, if the blob has one: that of what was put at once, or what its block list came with, which nobody checks.
    pub md5: Option<String>,
}

/// What a request says of the blob that it makes.
pub(super) struct About {
    pub content_type: String,
    pub now: i64,
    pub md5: Option<String>,
}

/// A block of a blob by its id.
type Block = (String, Arc<Piece>);

#[derive(Default)]
struct Blob {
    committed: Option<(Vec<Block>, Properties)>,
    uncommitted: BTreeMap<String, Arc<Piece>>,
}

type Key = (String, String);

/// All blobs.
pub(super) struct Blobs {
    directory: TempDir,
    blobs: Mutex<BTreeMap<Key, Blob>>,
    counter: AtomicU64,
}

/// Where a block of a list is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Among {
    Committed,
    Uncommitted,
    Latest,
}

impl Blobs {
    pub fn new() -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("blobs-").tempdir()?;
        Ok(Self { directory, blobs: Mutex::default(), counter: AtomicU64::new(0) })
    }

    /// An empty piece.
    pub fn new_piece(&self) -> NewPiece {
        NewPiece::new(self.directory.path().join(self.counter.fetch_add(1, Ordering::Relaxed).to_string()))
    }

    /// Put Blob.
    pub fn put(&self, key: Key, piece: Piece, only_new: bool, about: About) -> Result<Properties, Refusal> {
        let mut blobs = self.lock();
        let blob = blobs.entry(key).or_default();
        if only_new && blob.committed.is_some() {
            return Err(Refusal::BLOB_EXISTS);
        }
        let properties = self.properties(About { md5: Some(BASE64.encode(piece.md5)), ..about });
        blob.uncommitted.clear();
        blob.committed = Some((vec![(String::new(), Arc::new(piece))], properties.clone()));
        Ok(properties)
    }

    /// Put Block.
    pub fn put_block(&self, key: Key, id: String, piece: Piece) -> Result<(), Refusal> {
        let mut blobs = self.lock();
        let blob = blobs.entry(key).or_default();
        if blob.uncommitted.keys().any(|other| other.len() != id.len()) {
            return Err(Refusal::INVALID_BLOCK_ID);
        }
        blob.uncommitted.insert(id, Arc::new(piece));
        Ok(())
    }

    /// Put Block List.
    pub fn commit(
        &self,
        key: &Key,
        list: &[(Among, String)],
        only_new: bool,
        about: About,
    ) -> Result<Properties, Refusal> {
        let mut blobs = self.lock();
        let blob = blobs.get_mut(key).ok_or(Refusal::INVALID_BLOCK_LIST)?;
        if only_new && blob.committed.is_some() {
            return Err(Refusal::BLOB_EXISTS);
        }
        let mut blocks = Vec::with_capacity(list.len());
        for (among, id) in list {
            let uncommitted = (*among != Among::Committed).then(|| blob.uncommitted.get(id)).flatten();
            let committed = || {
                let blocks = blob.committed.as_ref().filter(|_| *among != Among::Uncommitted)?;
                blocks.0.iter().find(|(other, _)| other == id).map(|(_, piece)| piece)
            };
            let piece = uncommitted.or_else(committed).ok_or(Refusal::INVALID_BLOCK_LIST)?;
            blocks.push((id.clone(), piece.clone()));
        }
        let properties = self.properties(about);
        blob.uncommitted.clear();
        blob.committed = Some((blocks, properties.clone()));
        Ok(properties)
    }

    pub fn open(&self, container: &str, name: &str) -> Result<Opened, Unreadable> {
        let blobs = self.lock();
        let blob = blobs.get(&(container.to_owned(), name.to_owned())).ok_or(Unreadable::NotFound)?;
        let (blocks, properties) = blob.committed.as_ref().ok_or(Unreadable::NotFound)?;
        let pieces: VecDeque<_> = blocks.iter().map(|(_, piece)| piece.clone()).collect();
        let length = pieces.iter().map(|piece| piece.length).sum();
        Ok(Opened { length, content: Unread::new(pieces), properties: properties.clone() })
    }

    /// Whether it was there.
    pub fn remove(&self, container: &str, name: &str) -> bool {
        let removed = self.lock().remove(&(container.to_owned(), name.to_owned()));
        removed.is_some_and(|blob| blob.committed.is_some())
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Turns the first bit of each committed blob.
    pub fn spoil(&self) -> io::Result<()> {
        for blob in self.lock().values_mut() {
            let Some((blocks, _)) = &mut blob.committed else { continue };
            let mut content = Vec::new();
            Unread::new(blocks.iter().map(|(_, piece)| piece.clone()).collect()).read_to_end(&mut content)?;
            if let Some(first) = content.first_mut() {
                *first ^= 0x80;
            }
            let mut piece = self.new_piece();
            piece.push(&content)?;
            *blocks = vec![(String::new(), Arc::new(piece.finish()))];
        }
        Ok(())
    }

    pub fn count(&self) -> usize {
        self.lock().values().filter(|blob| blob.committed.is_some()).count()
    }

    fn properties(&self, about: About) -> Properties {
        let About { content_type, now: modified, md5 } = about;
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        Properties { content_type, etag: format!("\"0x8DE{number:012X}\""), modified, md5 }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Blob>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
