//! Evaluation of one query into the bytes of an answer, within the limits. Blocking: for a thread that may.

use super::Limits;
use super::encode::Dialect;
use super::meter::Meter;
use super::refusal::Refusal;
use crate::faults::Fault;
use crate::kql::{self, Catalog, Value};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

const CHUNK_BYTES: usize = 64 * 1024;

/// A whole answer.
pub(super) struct Page {
    pub(super) chunks: Vec<Bytes>,
    pub(super) rows: u64,
    /// Bytes of the result array before compression.
    pub(super) result_bytes: u64,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire {
    pub(super) dialect: Dialect,
    pub(super) gzip: bool,
    /// Whether the last column gets another name.
    pub(super) renamed: bool,
    /// Whether objects and arrays come as JSON text.
    pub(super) dynamic_as_text: bool,
    /// Whether the schema stands behind the rows.
    pub(super) schema_last: bool,
}

/// Evaluates `query`. Rows beyond the limit are cut off without a word; too many bytes are refused.
pub(super) fn evaluate(
    query: &str,
    catalog: &Arc<dyn Catalog>,
    wire: Wire,
    limits: &Limits,
    meter: &Meter,
) -> Result<Page, Refusal> {
    let Wire { dialect, gzip, renamed, dynamic_as_text, schema_last } = wire;
    let deadline = Instant::now() + limits.run_time;
    let refused = |error: kql::Error| Refusal::Query(error.message);
    let mut answer = kql::run(query, catalog).map_err(refused)?;
    if let Some(column) = answer.columns.last_mut().filter(|_| renamed) {
        column.name.push_str("_renamed");
    }
    let mut sink = Sink::new(gzip);
    if schema_last {
        sink.pending.extend_from_slice(dialect.rows_first());
    } else {
        dialect.head(&answer.columns, &mut sink.pending);
    }
    let head_bytes = sink.bytes();
    sink.pending.push(b'[');
    let mut rows = 0;
    for row in answer.rows {
        if rows == limits.rows {
            break;
        }
        let mut row = row.map_err(refused)?;
        if meter.is_over() {
            return Err(Refusal::Fault(Fault::Preempted));
        }
        if dynamic_as_text {
            row.iter_mut().for_each(into_text);
        }
        if rows > 0 {
            sink.pending.push(b',');
        }
        dialect.row(&answer.columns, &row, &mut sink.pending);
        rows += 1;
        if sink.bytes() - head_bytes >= limits.result_bytes {
            return Err(Refusal::TooLarge);
        }
        if rows % 1024 == 0 && Instant::now() > deadline {
            return Err(Refusal::TimedOut);
        }
        sink.flush_when_full();
    }
    if Instant::now() > deadline {
        return Err(Refusal::TimedOut);
    }
    if meter.is_over() {
        return Err(Refusal::Fault(Fault::Preempted));
    }
    sink.pending.push(b']');
    let result_bytes = sink.bytes() - head_bytes;
    if schema_last {
        sink.pending.push(b',');
        dialect.schema(&answer.columns, &mut sink.pending);
    }
    sink.pending.push(b'}');
    Ok(Page { chunks: sink.finish(), rows, result_bytes })
}

/// An object or an array as its JSON text.
fn into_text(value: &mut Value) {
    if let Value::Dynamic(json) = value
        && (json.is_object() || json.is_array())
    {
        *value = Value::String(json.to_string().into());
    }
}

/// Bytes on their way into chunks, compressed if asked for.
struct Sink {
    pending: Vec<u8>,
    taken: u64,
    chunks: Vec<Bytes>,
    gzip: Option<GzEncoder<Vec<u8>>>,
}

impl Sink {
    fn new(gzip: bool) -> Self {
        let gzip = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
        Self { pending: Vec::with_capacity(CHUNK_BYTES), taken: 0, chunks: Vec::new(), gzip }
    }

    /// All bytes so far, before compression.
    fn bytes(&self) -> u64 {
        self.taken + self.pending.len() as u64
    }

    fn flush_when_full(&mut self) {
        if self.pending.len() >= CHUNK_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.taken += self.pending.len() as u64;
        match &mut self.gzip {
            None => {
                let full = std::mem::replace(&mut self.pending, Vec::with_capacity(CHUNK_BYTES));
                self.chunks.push(full.into());
            }
            Some(encoder) => {
                in_memory(encoder.write_all(&self.pending));
                self.pending.clear();
                if encoder.get_ref().len() >= CHUNK_BYTES {
                    self.chunks.push(std::mem::take(encoder.get_mut()).into());
                }
            }
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.flush();
        if let Some(encoder) = self.gzip {
            match encoder.finish() {
                Ok(rest) => self.chunks.push(rest.into()),
                Err(error) => in_memory(Err(error)),
            }
        }
        self.chunks
    }
}

/// Writing to memory cannot fail; if it ever did, a debug build should say so.
fn in_memory(result: io::Result<()>) {
    debug_assert!(result.is_ok(), "{result:?}");
}
