//! The file beside a payload from which an extent comes back: a line of JSON, then its arrays, little-endian.

use super::directory::{Directory, Files};
use super::payload::{BlockAt, Payload};
use super::{Bits, Extent, Stored, cell};
use crate::adx::table::ExtentInfo;
use crate::kql::{Column, Type};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    rows: u64,
    original_size: u64,
    created: i64,
    arrived: i64,
    tags: Vec<String>,
    columns: Vec<ColumnHeader>,
    blocks: Vec<BlockAt>,
}

#[derive(Serialize, Deserialize)]
struct ColumnHeader {
    name: String,
    ty: String,
    kept: Kept,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Datetime,
    Constant { cell: String },
    Cell { slot: usize, nulls: bool },
}

/// Writes the index of an extent that is not published yet.
pub(super) fn write(extent: &Extent) -> io::Result<()> {
    let mut columns = Vec::new();
    for (column, stored) in extent.schema.iter().zip(&extent.columns) {
        let kept = match stored {
            Stored::Datetime(_) => Kept::Datetime,
            Stored::Cell { slot, nulls } => Kept::Cell { slot: *slot, nulls: nulls.is_some() },
            Stored::Constant(value) => {
                let mut text = Vec::new();
                cell::write(value, &mut text)?;
                Kept::Constant { cell: String::from_utf8_lossy(&text).into_owned() }
            }
        };
        columns.push(ColumnHeader { name: column.name.clone(), ty: column.ty.name().to_owned(), kept });
    }
    let header = Header {
        version: VERSION,
        rows: extent.info.rows,
        original_size: extent.info.original_size,
        created: extent.info.created,
        arrived: extent.arrived,
        tags: extent.info.tags.clone(),
        columns,
        blocks: extent.payload.blocks.clone(),
    };
    let mut out = BufWriter::new(File::create(extent.files.unpublished_index())?);
    serde_json::to_writer(&mut out, &header)?;
    out.write_all(b"\n")?;
    put(extent.identities.iter().copied(), &mut out)?;
    for stored in &extent.columns {
        match stored {
            Stored::Datetime(ticks) => put(ticks.iter().map(|at| at.cast_unsigned()), &mut out)?,
            Stored::Cell { nulls: Some(nulls), .. } => put(nulls.0.iter().copied(), &mut out)?,
            _ => {}
        }
    }
    out.flush()
}

fn put(mut words: impl Iterator<Item = u64>, out: &mut impl Write) -> io::Result<()> {
    words.try_for_each(|word| out.write_all(&word.to_le_bytes()))
}

/// All published extents of a directory, oldest first. What was not published is removed.
pub(in crate::adx) fn read_all(directory: &Arc<Directory>) -> io::Result<Vec<Extent>> {
    let mut extents = Vec::new();
    let mut payloads = Vec::new();
    for entry in fs::read_dir(directory.path())? {
        let path = entry?.path();
        let id = path.file_stem().and_then(OsStr::to_str).and_then(|name| Uuid::parse_str(name).ok());
        match (path.extension().and_then(OsStr::to_str), id) {
            (Some("index"), Some(id)) => extents.push(read(directory, &path, id)?),
            (Some("gz"), Some(id)) => payloads.push((id, path)),
            (Some("tmp"), _) => fs::remove_file(path)?,
            _ => {}
        }
    }
    for (id, path) in payloads {
        if extents.iter().all(|extent: &Extent| extent.info.id != id) {
            fs::remove_file(path)?;
        }
    }
    extents.sort_by_key(|extent| (extent.arrived, extent.info.id));
    Ok(extents)
}

fn read(directory: &Arc<Directory>, path: &Path, id: Uuid) -> io::Result<Extent> {
    let damaged = |what: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}; remove the directory", path.display()))
    };
    let bytes = fs::read(path)?;
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("it has no header"))?;
    let header: Header = serde_json::from_slice(&bytes[..end])?;
    if header.version != VERSION {
        return Err(damaged("it is of another version"));
    }
    let mut words = bytes[end + 1..].chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
    let mut take = |count: usize| {
        let taken: Vec<u64> = words.by_ref().take(count).collect();
        if taken.len() == count { Ok(taken) } else { Err(damaged("it is too short")) }
    };
    let rows = usize::try_from(header.rows).map_err(|_| damaged("it has too many rows"))?;
    let identities = take(rows)?;
    let (mut schema, mut columns) = (Vec::new(), Vec::new());
    for column in header.columns {
        let ty = Type::from_name(&column.ty).ok_or_else(|| damaged("it has a column of an unknown type"))?;
        columns.push(match column.kept {
            Kept::Datetime => Stored::Datetime(take(rows)?.into_iter().map(u64::cast_signed).collect()),
            Kept::Constant { cell } => Stored::Constant(cell::read(cell.as_bytes(), ty)?),
            Kept::Cell { slot, nulls } => {
                let nulls = nulls.then(|| take(rows.div_ceil(64))).transpose()?.map(Bits);
                Stored::Cell { slot, nulls }
            }
        });
        schema.push(Column { name: column.name, ty });
    }
    let info = ExtentInfo {
        id,
        rows: header.rows,
        original_size: header.original_size,
        created: header.created,
        tags: header.tags,
    };
    let files = Files::published(directory.clone(), id);
    let payload = Payload::new(files.payload(), header.blocks);
    Ok(Extent { info, arrived: header.arrived, schema, columns, identities, payload, files })
}
