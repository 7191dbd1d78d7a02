//! Takes plain rows out of a hunting answer while it streams in, and writes each as the JSON text that packing it at the
//! source would have given. For services that refuse `pack_all()`, and for small answers: slower than passing packed rows
//! through, and one row of the answer in memory at a time.
//!
//! The schema of the answer itself says what a value means. All three services send it before the rows (microsoft-graph-docs
//! `security-security-runhuntingquery`, defender-docs `api-advanced-hunting`); rows that come first wait for it, as many as fit
//! into 8 MiB; of a larger answer less has to be asked for. A column that is missing in
//! a row is null, one that the schema does not name is taken as it looks. Knows nothing of HTTP or of where rows go.

mod cell;
mod frame;

use super::client::Dialect;
use super::rows::Column;
use super::scanner::{Reason, Scan, ScanError};
use cell::{Kind, Members, is_note, reason_of, separate, write, write_name};
use frame::{Frame, Piece};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// Rows that wait for their schema.
const WAITING_BYTES: usize = 8 << 20;

/// The push parser, with the same steps as [`super::scanner::Scanner`].
#[derive(Debug)]
pub struct Decoder {
    dialect: Dialect,
    compact: bool,
    frame: Frame,
    columns: Option<Columns>,
    /// Rows that came before the schema, and their bytes.
    waiting: Vec<Box<[u8]>>,
    waiting_bytes: usize,
    written: Vec<u8>,
    scan: Scan,
    failed: Option<ScanError>,
}

/// The columns that a schema names.
#[derive(Debug)]
struct Columns {
    columns: Vec<Column>,
    kinds: Vec<Kind>,
    places: HashMap<String, usize>,
}

impl Decoder {
    /// A decoder at the start of an answer of a service. `compact` leaves out null and empty members, as `pack_all(true)`
    /// does.
    pub fn new(dialect: Dialect, compact: bool) -> Self {
        Self {
            dialect,
            compact,
            frame: Frame::default(),
            columns: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            written: Vec::new(),
            scan: Scan::default(),
            failed: None,
        }
    }

    /// The same for an answer that is there as a whole, whose schema may stand behind its rows.
    pub(super) fn of_whole(answer: &[u8], dialect: Dialect) -> Self {
        // What is wrong with the answer shows when it is fed.
        let members = std::str::from_utf8(answer).ok().and_then(|text| Members::read(text.trim_ascii()).ok());
        let schema = members.and_then(|Members(members)| {
            let schema = members.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("schema"));
            schema.and_then(|(_, schema)| Columns::read(schema.as_bytes()).ok())
        });
        Self { columns: schema, ..Self::new(dialect, false) }
    }

    /// Takes in the next piece of the answer and appends the rows to `out`, each with a newline behind it.
    ///
    /// # Errors
    /// [`ScanError`]; from then on each call gives the same error. What was appended before it is of no use.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), ScanError> {
        self.feed_each(input, |row| {
            out.extend_from_slice(row);
            out.push(b'\n');
        })
    }

    /// The same, with each row handed to `each`.
    ///
    /// # Errors
    /// As [`Decoder::feed`].
    pub fn feed_each(&mut self, input: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), ScanError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut at = 0;
        let result = self.run(input, &mut at, &mut each);
        let offset = self.scan.response_bytes + at as u64;
        self.scan.response_bytes += input.len() as u64;
        result.map_err(|reason| self.fail(reason, offset))
    }

    /// Says what the answer held, now that all of it has been fed.
    ///
    /// # Errors
    /// [`ScanError`], also when the document is not complete.
    pub fn finish(mut self) -> Result<(Scan, Vec<Column>), ScanError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let end = self.scan.response_bytes;
        let whole = self.frame.finish().and_then(|envelope| {
            let envelope = std::str::from_utf8(envelope).map_err(|_| Reason::BadText)?;
            serde_json::from_str::<serde::de::IgnoredAny>(envelope).map_err(|error| reason_of(&error))?;
            if envelope.trim_ascii_start().starts_with('{') { Ok(()) } else { Err(Reason::NotAnObject) }
        });
        match (whole, self.columns.take()) {
            (Err(reason), _) => Err(self.fail(reason, end)),
            (Ok(()), None) => Err(self.fail(Reason::NoSchema, end)),
            (Ok(()), Some(columns)) => Ok((self.scan, columns.columns)),
        }
    }

    fn fail(&mut self, reason: Reason, offset: u64) -> ScanError {
        let error = ScanError { reason, offset, rows: self.scan.rows };
        self.failed = Some(error.clone());
        error
    }

    fn run(&mut self, input: &[u8], at: &mut usize, each: &mut impl FnMut(&[u8])) -> Result<(), Reason> {
        while let Some(piece) = self.frame.next(input, at)? {
            match piece {
                Piece::Schema => {
                    self.columns = Some(Columns::read(self.frame.schema())?);
                    for row in std::mem::take(&mut self.waiting) {
                        self.row(&row, each)?;
                    }
                }
                Piece::Row if self.columns.is_none() => {
                    let row = self.frame.row();
                    self.waiting_bytes += row.len();
                    if self.waiting_bytes > WAITING_BYTES {
                        return Err(Reason::SchemaTooLate);
                    }
                    self.waiting.push(row.into());
                }
                Piece::Row => {
                    let row = self.frame.take_row();
                    self.row(&row, each)?;
                    self.frame.give_back(row);
                }
            }
        }
        Ok(())
    }

    fn row(&mut self, row: &[u8], each: &mut impl FnMut(&[u8])) -> Result<(), Reason> {
        let columns = self.columns.as_ref().ok_or(Reason::NoSchema)?;
        self.written.clear();
        columns.write_row(row, self.dialect, self.compact, &mut self.written)?;
        each(&self.written);
        let bytes = self.written.len() as u64;
        self.scan.rows += 1;
        self.scan.raw_bytes += bytes + 1;
        self.scan.longest_row_bytes = self.scan.longest_row_bytes.max(bytes);
        Ok(())
    }
}

impl Columns {
    fn read(schema: &[u8]) -> Result<Self, Reason> {
        /// The services differ in the case of these names.
        #[derive(Deserialize)]
        struct Described {
            #[serde(alias = "Name", alias = "NAME")]
            name: String,
            #[serde(rename = "type", alias = "Type", alias = "TYPE")]
            ty: String,
        }
        let described: Vec<Described> = serde_json::from_slice(schema).map_err(|error| match reason_of(&error) {
            Reason::Malformed => Reason::NoSchema,
            reason => reason,
        })?;
        let columns: Vec<Column> = described.into_iter().map(|it| Column { name: it.name, ty: it.ty }).collect();
        let places: HashMap<String, usize> =
            columns.iter().enumerate().map(|(place, column)| (column.name.clone(), place)).collect();
        if places.len() < columns.len() {
            return Err(Reason::SecondColumn);
        }
        let kinds = columns.iter().map(|column| Kind::of(&column.ty)).collect();
        Ok(Self { columns, kinds, places })
    }

    fn write_row(&self, row: &[u8], dialect: Dialect, compact: bool, out: &mut Vec<u8>) -> Result<(), Reason> {
        let row = std::str::from_utf8(row).map_err(|_| Reason::BadText)?;
        let Members(members) = Members::read(row)?;
        let mut values: Vec<Option<&str>> = vec![None; self.columns.len()];
        let (mut others, mut known) = (Vec::new(), HashSet::new());
        // Rows mostly name their columns in the order of the schema.
        let mut next = 0;
        for (name, value) in members.iter().filter(|(name, _)| !is_note(name)) {
            let place = if self.columns.get(next).is_some_and(|column| column.name == **name) {
                Some(next)
            } else {
                self.places.get(&**name).copied()
            };
            match place {
                Some(place) if values[place].replace(value).is_some() => return Err(Reason::SecondColumn),
                Some(place) => next = place + 1,
                None if !known.insert(name) => return Err(Reason::SecondColumn),
                None => others.push((name, *value)),
            }
        }
        let named = self.columns.iter().zip(&self.kinds).zip(values);
        let named = named.map(|((column, kind), value)| (column.name.as_str(), *kind, value.unwrap_or("null")));
        let all = named.chain(others.into_iter().map(|(name, value)| (&**name, Kind::Other, value)));
        out.push(b'{');
        let mut first = true;
        for (name, kind, value) in all {
            let (before, was_first) = (out.len(), first);
            separate(&mut first, out);
            write_name(name, out);
            let start = out.len();
            write(value, kind, dialect, out)?;
            if compact && matches!(&out[start..], b"null" | b"\"\"") {
                out.truncate(before);
                first = was_first;
            }
        }
        out.push(b'}');
        Ok(())
    }
}

#[cfg(test)]
mod tests;
