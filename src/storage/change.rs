//! What one operation of a transaction makes of a row, for adapters that hold the rows themselves. Does no I/O.

use super::{ETag, Error, Operation, Properties, limits};

/// What is left of the row after the operation at `index` of its transaction: its properties, or `None` if it is removed.
///
/// # Errors
/// [`Error::Exists`], [`Error::NotFound`], [`Error::Conflict`] as [`super::TableStore::commit`] says, and
/// [`Error::TooLarge`] when a merge makes the row too large.
pub fn apply(
    index: usize,
    operation: &Operation,
    current: Option<(&Properties, &ETag)>,
) -> Result<Option<Properties>, Error> {
    let unchanged_since = |etag: &ETag| match current {
        None => Err(Error::NotFound { what: format!("operation {index}: the row {}", operation.key()) }),
        Some((_, version)) if version != etag => Err(Error::Conflict { index }),
        Some((properties, _)) => Ok(properties),
    };
    match operation {
        Operation::Insert(..) if current.is_some() => Err(Error::Exists { index }),
        Operation::Insert(_, properties) => Ok(Some(properties.clone())),
        Operation::Replace(_, properties, etag) => unchanged_since(etag).map(|_| Some(properties.clone())),
        Operation::Merge(key, properties, etag) => {
            let mut merged = unchanged_since(etag)?.clone();
            merged.extend(properties.clone());
            limits::entity(key, &merged)?;
            Ok(Some(merged))
        }
        Operation::Delete(_, etag) => unchanged_since(etag).map(|_| None),
    }
}
