//! Lets through what is not held yet: rows come in as they stream, one JSON object after the other, and those that are held
//! are left out, as often as they are held.

use super::canonical::{NotARow, hash_of};
use super::multiset::Multiset;
use crate::timestamp::Timestamp;
use serde_json::{Deserializer, Value};

/// Rows on their way.
#[derive(Debug)]
pub struct Sieve {
    held: Multiset,
    watermark: String,
    left_out: Vec<String>,
    /// The beginning of a row whose end is still to come.
    begun: Vec<u8>,
    passed: Passed,
}

/// What went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Rows.
    pub rows: u64,
    /// Their bytes, and a newline after each.
    pub raw_bytes: u64,
    /// The longest row, without its newline.
    pub longest_row_bytes: u64,
    /// Rows without an instant in the watermark column.
    pub null_watermarks: u64,
}

impl Sieve {
    /// Lets through what is not `held`, whose hashes were made without the members named in `left_out`. `watermark` is the
    /// column whose nulls are counted.
    pub fn new(held: Multiset, watermark: &str, left_out: &[String]) -> Self {
        let (watermark, left_out) = (watermark.to_owned(), left_out.to_vec());
        Self { held, watermark, left_out, begun: Vec::new(), passed: Passed::default() }
    }

    /// Takes in the next piece of the rows and appends those that go through to `out`, a row's end being a newline.
    ///
    /// # Errors
    /// [`NotARow`].
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), NotARow> {
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(piece);
        let mut rows = Deserializer::from_slice(&bytes).into_iter::<Value>();
        let mut start = 0;
        loop {
            match rows.next() {
                Some(Ok(row)) => {
                    let end = rows.byte_offset();
                    self.judge(&row, bytes[start..end].trim_ascii(), out)?;
                    start = end;
                }
                Some(Err(error)) if error.is_eof() => break,
                Some(Err(_)) => return Err(NotARow),
                None => break,
            }
        }
        bytes.drain(..start);
        self.begun = bytes;
        Ok(())
    }

    fn judge(&mut self, row: &Value, text: &[u8], out: &mut Vec<u8>) -> Result<(), NotARow> {
        if self.held.take(hash_of(row, &self.left_out)?) {
            return Ok(());
        }
        out.extend_from_slice(text);
        out.push(b'\n');
        let has_time =
            row.get(&self.watermark).and_then(Value::as_str).is_some_and(|at| at.parse::<Timestamp>().is_ok());
        let Passed { rows, raw_bytes, longest_row_bytes, null_watermarks } = &mut self.passed;
        *rows += 1;
        *raw_bytes += text.len() as u64 + 1;
        *longest_row_bytes = (*longest_row_bytes).max(text.len() as u64);
        *null_watermarks += u64::from(!has_time);
        Ok(())
    }

    /// What went through, now that all rows have been fed.
    ///
    /// # Errors
    /// [`NotARow`]: the last one has no end.
    pub fn finish(self) -> Result<Passed, NotARow> {
        if self.begun.trim_ascii().is_empty() { Ok(self.passed) } else { Err(NotARow) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash;
    use super::*;
    use proptest::prelude::*;

    fn sifted(held: &[&str], rows: &str, piece: usize) -> Result<(String, Passed), NotARow> {
        sifted_without(&[], held, rows, piece)
    }

    fn sifted_without(
        left_out: &[String],
        held: &[&str],
        rows: &str,
        piece: usize,
    ) -> Result<(String, Passed), NotARow> {
        let held = Multiset::of(held.iter().map(|row| hash(row, left_out).unwrap()).collect());
        let (mut sieve, mut out) = (Sieve::new(held, "T", left_out), Vec::new());
        for piece in rows.as_bytes().chunks(piece) {
            sieve.feed(piece, &mut out)?;
        }
        Ok((String::from_utf8(out).unwrap(), sieve.finish()?))
    }

    const ROWS: &str =
        "{\"a\":1,\"T\":\"2026-05-01T00:00:00Z\"}\n{\"b\":[\"é\\n{\"]}\n{\"a\":1,\"T\":\"2026-05-01T00:00:00Z\"}\n";

    #[test]
    fn rows_that_are_held_are_left_out_as_often_as_they_are_held() {
        let held = "{\"T\":\"2026-05-01T00:00:00.0000000Z\",\"a\":1.0,\"x\":null}";
        let (out, passed) = sifted(&[held], ROWS, 1_000).unwrap();
        assert_eq!(out, "{\"b\":[\"é\\n{\"]}\n{\"a\":1,\"T\":\"2026-05-01T00:00:00Z\"}\n");
        assert_eq!((passed.rows, passed.null_watermarks, passed.raw_bytes), (2, 1, out.len() as u64));
        assert_eq!(passed.longest_row_bytes, 34);
        assert_eq!(sifted(&[held, held, "{\"b\":[\"é\\n{\"]}"], ROWS, 9).unwrap(), (String::new(), Passed::default()));
    }

    #[test]
    fn members_that_are_left_out_tell_no_rows_apart() {
        let held = ["{\"a\":1,\"gone\":5,\"other\":1}", "{\"a\":1,\"gone\":6,\"other\":1}"];
        let rows = "{\"a\":1,\"other\":\"1\"}\n".repeat(3);
        let without = ["gone".to_owned(), "other".to_owned()];
        let (out, passed) = sifted_without(&without, &held, &rows, 7).unwrap();
        assert_eq!((out.as_str(), passed.rows), ("{\"a\":1,\"other\":\"1\"}\n", 1), "as it came");
        assert_eq!(sifted(&held, &rows, 7).unwrap().1.rows, 3);
    }

    #[test]
    fn rows_that_have_no_end_are_refused() {
        for cut in ["{\"a\":", "{\"a\":1}\n{", "[]", "{\"a\":1}\n]"] {
            assert_eq!(sifted(&[], cut, 3), Err(NotARow), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn where_the_pieces_end_makes_no_difference(piece in 1usize..80) {
            let held = "{\"b\":[\"é\\n{\"]}";
            prop_assert_eq!(sifted(&[held], ROWS, piece), sifted(&[held], ROWS, 1_000));
        }
    }
}
