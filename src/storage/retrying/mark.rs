//! Who wrote a row: a property that names the operations that wrote it last, and versions that carry those names from a
//! read to the next write. Does no I/O.
//!
//! A write that replaces a row also drops the names of earlier writers, and one of them may still be in doubt. So the
//! names go along: the version handed to a reader holds them, and comes back with the write that is to follow.

use crate::storage::limits::{MAX_PROPERTIES, entity_bytes};
use crate::storage::{ETag, Error, Key, MAX_ENTITY_BYTES, Operation, Properties, Row};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use std::fmt;

/// The property.
const PROPERTY: &str = "last_operation";
/// How many names a row keeps. A commit is in doubt for 30 s at most; a row that others write more often than this in that
/// time may leave it undecided.
const REMEMBERED: usize = 32;
/// The characters of a name: 128 bits in base64.
const NAME_LENGTH: usize = 22;
/// The most bytes the property adds to an entity, as `limits::entity_bytes` counts.
const MOST_BYTES: usize = 8 + 2 * PROPERTY.len() + 4 + 2 * REMEMBERED * (NAME_LENGTH + 1);
/// Stands for the beginning of a row.
const INSERTED: &str = "0";
/// Stands for a version without names, written before they were introduced.
const UNMARKED: &str = "-";
/// Between a version of the service and the names; an entity tag has no space (RFC 9110, section 8.8.3).
const BY: &str = " by ";
/// The version of a row that was written and written over before its version could be read. No service gives it.
const WRITTEN_OVER: &str = "written over";

/// The name of the operation with these bits.
pub(super) fn name(bits: u128) -> String {
    URL_SAFE_NO_PAD.encode(bits.to_be_bytes())
}

/// Which operations wrote a row, the last one first, with commas between their names; empty when nothing is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct History(String);

impl History {
    /// That of a row that is not there yet.
    pub(super) fn inserted() -> Self {
        Self(INSERTED.to_owned())
    }

    fn unmarked() -> Self {
        Self(UNMARKED.to_owned())
    }

    fn unknown() -> Self {
        Self(String::new())
    }

    /// That of a row as stored.
    pub(super) fn of(row: &Row) -> Self {
        match row.properties.get(PROPERTY) {
            Some(Value::String(names)) => Self(names.clone()),
            None if has_room(&row.key, &row.properties) => Self::unmarked(),
            _ => Self::unknown(),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split(',').filter(|name| !name.is_empty())
    }

    /// That of the version which `operation` puts on top of this one.
    fn then(&self, operation: &str) -> Self {
        let mut names = operation.to_owned();
        for earlier in self.names().take(REMEMBERED - 1) {
            names.push(',');
            names.push_str(earlier);
        }
        Self(names)
    }

    pub(super) fn is_newest(&self, operation: &str) -> bool {
        self.names().next() == Some(operation)
    }

    pub(super) fn contains(&self, operation: &str) -> bool {
        self.names().any(|name| name == operation)
    }

    /// Whether the row was written on top of the version `base`, with no insert in between.
    pub(super) fn goes_on_from(&self, base: &Self) -> bool {
        base.names().next().is_some_and(|newest| self.contains(newest))
    }

    /// Whether the row, as far as its names go back, was there before there were names.
    pub(super) fn began_unmarked(&self) -> bool {
        self.contains(UNMARKED)
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version of a row as callers see it.
pub(super) fn version(etag: &ETag, history: &History) -> ETag {
    if history.0 == UNMARKED { etag.clone() } else { ETag(format!("{}{BY}{history}", etag.0)) }
}

/// The version of the service, and who wrote it.
pub(super) fn split(version: &ETag) -> (ETag, History) {
    match version.0.rsplit_once(BY) {
        Some((etag, names)) => (ETag(etag.to_owned()), History(names.to_owned())),
        None => (version.clone(), History::unmarked()),
    }
}

/// A version that a row had and will never have again.
pub(super) fn written_over(operation: &str) -> ETag {
    ETag(format!("{WRITTEN_OVER}{BY}{operation}"))
}

pub(super) fn is_written_over(etag: &ETag) -> bool {
    etag.0 == WRITTEN_OVER
}

/// The row as callers see it.
pub(super) fn hidden(mut row: Row) -> Row {
    row.etag = version(&row.etag, &History::of(&row));
    row.properties.remove(PROPERTY);
    row
}

/// Adds the name of `operation`, which writes on top of `base`, to the properties of a whole row, if there is room. Gives
/// the history of the row.
pub(super) fn put_whole(key: &Key, properties: &mut Properties, base: &History, operation: &str) -> History {
    if has_room(key, properties) { put(properties, base, operation) } else { History::unknown() }
}

/// Adds the name of `operation`, which writes on top of `base`. Gives the history of the row.
pub(super) fn put(properties: &mut Properties, base: &History, operation: &str) -> History {
    let history = base.then(operation);
    properties.insert(PROPERTY.to_owned(), history.0.clone().into());
    history
}

/// The properties of a row that is merged, without names.
pub(super) fn merged(row: &Row, added: &Properties) -> Properties {
    let mut merged = row.properties.clone();
    merged.extend(added.clone());
    merged.remove(PROPERTY);
    merged
}

/// # Errors
/// [`Error::Invalid`] when a row has the property that is not the caller's.
pub(super) fn check(operations: &[Operation]) -> Result<(), Error> {
    for operation in operations {
        let (Operation::Insert(key, properties)
        | Operation::Replace(key, properties, _)
        | Operation::Merge(key, properties, _)) = operation
        else {
            continue;
        };
        if properties.contains_key(PROPERTY) {
            return Err(Error::Invalid(format!(
                "the property name `{PROPERTY}` of the row {key} is taken: it says which operation wrote a row; choose another"
            )));
        }
    }
    Ok(())
}

/// Whether a row of these properties can have its names beside them.
fn has_room(key: &Key, properties: &Properties) -> bool {
    let fits = |bytes: usize| bytes + MOST_BYTES <= MAX_ENTITY_BYTES;
    properties.len() < MAX_PROPERTIES
        && (fits(most_entity_bytes(key, properties)) || fits(entity_bytes(key, properties)))
}

/// No less than [`entity_bytes`], without a look at each character: a text has no more UTF-16 units than bytes.
fn most_entity_bytes(key: &Key, properties: &Properties) -> usize {
    let texts = properties.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len));
    4 + 2 * (key.partition().len() + key.row().len() + texts.sum::<usize>()) + 16 * properties.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn the_bound_of_a_row_is_never_below_its_size(
            row in "[^/\\\\#?\\p{Cc}]{1,20}", texts in proptest::collection::btree_map("[A-Za-zäöü_]{1,9}", any::<String>(), 0..8)
        ) {
            let key = Key::new("p", row).unwrap();
            let mut properties: Properties = texts.into_iter().map(|(name, text)| (name, text.into())).collect();
            properties.extend([("n".to_owned(), json!(i64::MAX)), ("f".to_owned(), json!(0.5)), ("b".to_owned(), json!(true))]);
            prop_assert!(most_entity_bytes(&key, &properties) >= entity_bytes(&key, &properties));
        }
    }

    #[test]
    fn the_newest_names_are_kept_and_the_others_dropped() {
        let mut history = History::inserted();
        for number in 0..2 * REMEMBERED {
            history = history.then(&name(number as u128));
        }
        let newest = 2 * REMEMBERED - 1;
        assert!(history.is_newest(&name(newest as u128)) && !history.is_newest(&name(newest as u128 - 1)));
        assert!(history.contains(&name((newest + 1 - REMEMBERED) as u128)));
        assert!(!history.contains(&name((newest - REMEMBERED) as u128)) && !history.contains(INSERTED));
        assert!(history.to_string().len() <= REMEMBERED * (NAME_LENGTH + 1));
    }

    #[test]
    fn a_row_written_over_goes_on_from_what_it_was() {
        let base = History::inserted().then("a");
        assert!(base.then("b").then("c").goes_on_from(&base));
        assert!(!History::inserted().then("b").goes_on_from(&base));
        assert!(!base.goes_on_from(&History::unknown()));
        assert_eq!(History::unknown().then("a").to_string(), "a");
    }
}
