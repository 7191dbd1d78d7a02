//! The cells of an extent: lines, one per row, cells between tabs. What is small and need not outlive the process stays in
//! memory; anything else is a gzip file, a row of members of some hundred kilobytes each, so that one row costs one member.

use super::cell;
use super::directory::Files;
use crate::kql::{Type, Value};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// How many bytes of lines a member gets before it is closed.
const BLOCK_BYTES: usize = 512 * 1024;
/// The most bytes of lines that stay in memory.
const SMALL_BYTES: usize = 16 * 1024;
/// How many blocks of a table are kept unpacked.
const CACHED_BLOCKS: usize = 4;

/// Where a run of rows is in the file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct BlockAt {
    first_row: usize,
    offset: u64,
    length: u64,
}

/// Unpacked lines and where each begins.
struct Block {
    text: Vec<u8>,
    starts: Vec<usize>,
}

impl Block {
    fn new(text: Vec<u8>) -> Self {
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        Self { text, starts }
    }

    fn cell(&self, row: usize, slot: usize) -> Option<&[u8]> {
        let line = &self.text[*self.starts.get(row)?..*self.starts.get(row + 1)? - 1];
        line.split(|byte| *byte == b'\t').nth(slot)
    }
}

/// The blocks read last.
#[derive(Default)]
pub(super) struct Cache(Mutex<VecDeque<(Uuid, usize, Arc<Block>)>>);

impl Cache {
    fn find(&self, id: Uuid, number: usize) -> Option<Arc<Block>> {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = blocks.iter().position(|(of, block, _)| *of == id && *block == number)?;
        if at > 0 {
            let found = blocks.remove(at)?;
            blocks.push_front(found);
        }
        blocks.front().map(|(_, _, block)| block.clone())
    }

    fn keep(&self, id: Uuid, number: usize, block: Arc<Block>) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.push_front((id, number, block));
        blocks.truncate(CACHED_BLOCKS);
    }
}

/// The payload of an extent.
pub(super) struct Payload {
    path: PathBuf,
    /// All of it, if it has no file.
    small: Option<Block>,
    pub blocks: Vec<BlockAt>,
}

impl Payload {
    pub fn new(path: PathBuf, blocks: Vec<BlockAt>) -> Self {
        Self { path, small: None, blocks }
    }

    fn small(path: PathBuf, mut text: Vec<u8>) -> Self {
        text.shrink_to_fit();
        Self { path, small: Some(Block::new(text)), blocks: Vec::new() }
    }

    pub fn memory_bytes(&self) -> usize {
        let small = self.small.as_ref();
        let small = small.map_or(0, |block| block.text.capacity() + block.starts.capacity() * size_of::<usize>());
        small + self.blocks.capacity() * size_of::<BlockAt>()
    }

    pub fn cell(&self, files: &Files, row: usize, slot: usize, ty: Type) -> io::Result<Value> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("row {row} is not in {:?}", self.path));
        if let Some(block) = &self.small {
            return cell::read(block.cell(row, slot).ok_or_else(damaged)?, ty);
        }
        let number = self.blocks.partition_point(|block| block.first_row <= row).checked_sub(1).ok_or_else(damaged)?;
        let block = match files.directory.cache.find(files.id, number) {
            Some(block) => block,
            None => {
                let block = Arc::new(self.unpack(self.blocks[number])?);
                files.directory.cache.keep(files.id, number, block.clone());
                block
            }
        };
        let cell = block.cell(row - self.blocks[number].first_row, slot).ok_or_else(damaged)?;
        cell::read(cell, ty)
    }

    fn unpack(&self, at: BlockAt) -> io::Result<Block> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(at.offset))?;
        let mut text = Vec::with_capacity(BLOCK_BYTES * 2);
        GzDecoder::new(io::BufReader::with_capacity(64 * 1024, file.take(at.length))).read_to_end(&mut text)?;
        Ok(Block::new(text))
    }
}

/// Writes a payload.
#[derive(Default)]
pub(super) struct PayloadWriter {
    /// Made when the first block is full.
    file: Option<File>,
    pending: Vec<u8>,
    first_row: usize,
    next_row: usize,
    offset: u64,
    blocks: Vec<BlockAt>,
}

impl PayloadWriter {
    /// Adds one row.
    pub fn push<'v>(&mut self, files: &Files, cells: impl Iterator<Item = &'v Value>) -> io::Result<()> {
        for (index, value) in cells.enumerate() {
            if index > 0 {
                self.pending.push(b'\t');
            }
            cell::write(value, &mut self.pending)?;
        }
        self.pending.push(b'\n');
        self.next_row += 1;
        if self.pending.len() >= BLOCK_BYTES { self.close_block(files) } else { Ok(()) }
    }

    fn close_block(&mut self, files: &Files) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(files.create_payload()?),
        };
        if self.next_row == self.first_row {
            return Ok(());
        }
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(&self.pending)?;
        let packed = packer.finish()?;
        file.write_all(&packed)?;
        let length = packed.len() as u64;
        self.blocks.push(BlockAt { first_row: self.first_row, offset: self.offset, length });
        self.offset += length;
        self.first_row = self.next_row;
        self.pending.clear();
        Ok(())
    }

    pub fn finish(mut self, files: &Files) -> io::Result<Payload> {
        if self.file.is_none() && self.pending.len() <= SMALL_BYTES && !files.directory.is_kept() {
            return Ok(Payload::small(files.payload(), self.pending));
        }
        self.close_block(files)?;
        Ok(Payload::new(files.payload(), self.blocks))
    }
}
