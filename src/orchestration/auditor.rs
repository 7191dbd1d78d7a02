//! Who writes the audit of a table in a run. A service that goes by no tags would take the rows of two messages that do so at once.

use super::limits::Limits;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// The message that writes the audit of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auditor {
    /// Its id.
    pub by: String,
    /// Until when no other one does: by then its handling is over.
    pub until: Timestamp,
}

/// Whether a message writes the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It does.
    Own,
    /// It does once this is on record.
    Free(Auditor),
    /// Another one does.
    Other,
}

/// Decides whether the message `by` writes the audit that `auditor` is on record for.
pub fn turn(auditor: Option<&Auditor>, by: &str, now: Timestamp, limits: &Limits) -> Turn {
    match auditor.filter(|auditor| now < auditor.until) {
        Some(auditor) if auditor.by == by => Turn::Own,
        Some(_) => Turn::Other,
        None => Turn::Free(Auditor { by: by.to_owned(), until: now + limits.lease() }),
    }
}
