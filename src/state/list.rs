//! The list of runs in the store: rows beside the places, newest first, so that an entry is written in the transaction
//! that takes the place.

use super::{Error, RUN_PARTITION, State, Stored, key, read, readable};
use crate::orchestration::run::listed::{Listed, Place, from_newest};
use crate::storage::Range;
use crate::timestamp::Timestamp;

pub(super) const LIST_PREFIX: &str = "list:";

/// The row of an entry.
pub(super) fn list_row(entry: &Listed) -> String {
    format!("{LIST_PREFIX}{}", entry.place())
}

/// A stretch of the list: runs that were born in a span, behind a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Born then or later.
    pub created_from: Option<Timestamp>,
    /// Born then or earlier.
    pub created_to: Option<Timestamp>,
    /// Behind this place.
    pub after: Option<Place>,
}

impl Stretch {
    fn range(&self) -> Range {
        let newest =
            self.created_to.map_or_else(|| LIST_PREFIX.to_owned(), |to| LIST_PREFIX.to_owned() + &from_newest(to));
        let behind = self.after.as_ref().map(|place| format!("{LIST_PREFIX}{place} "));
        // `:` ends a time, and `;` comes after it.
        let oldest =
            self.created_from.map_or_else(|| "list;".to_owned(), |from| format!("{LIST_PREFIX}{};", from_newest(from)));
        Range {
            partition: RUN_PARTITION.to_owned(),
            from: behind.map_or(newest.clone(), |behind| behind.max(newest)),
            to: Some(oldest),
        }
    }
}

impl State {
    /// An entry as it is stored.
    ///
    /// # Errors
    /// The store's.
    pub async fn entry(&self, entry: &Listed) -> Result<Option<Stored<Listed>>, Error> {
        self.get(key(RUN_PARTITION, &list_row(entry))?).await
    }

    /// Up to 1,000 entries of a stretch, newest first, and whether there may be more. None only where there are no more. One
    /// that cannot be read is logged and left out.
    ///
    /// # Errors
    /// The store's.
    pub async fn listed(&self, stretch: &Stretch) -> Result<(Vec<Stored<Listed>>, bool), Error> {
        let mut range = stretch.range();
        if range.to.as_ref().is_some_and(|to| *to <= range.from) {
            return Ok((Vec::new(), false));
        }
        loop {
            let (rows, more) = self.stretch(&range).await?;
            let behind = rows.last().map(|row| format!("{} ", row.key.row()));
            let mut entries = Vec::with_capacity(rows.len());
            for row in rows {
                entries.extend(readable(read(&row))?);
            }
            match behind {
                Some(behind) if entries.is_empty() && more => range.from = behind,
                _ => return Ok((entries, more)),
            }
        }
    }
}
