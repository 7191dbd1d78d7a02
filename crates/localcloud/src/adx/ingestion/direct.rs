//! One blob into its table while a command waits for it.

use super::failure::Failure;
use super::landing::{Manner, Outcome, land};
use super::message::{MappingSource, Message};
use super::report::Reporting;
use super::rows::Format;
use crate::adx::database::Database;
use crate::adx::storage::{Opened, Unreadable};

/// What a command asks for.
pub struct Order {
    /// The address of the blob, with its signature.
    pub blob: String,
    /// The table.
    pub table: String,
    /// How its records are written.
    pub format: Format,
    /// The mapping in the command.
    pub inline: Option<String>,
    /// The name of a mapping of the table.
    pub reference: Option<String>,
    /// The tags of what lands.
    pub tags: Vec<String>,
    /// The keys that keep it out.
    pub if_not_exists: Vec<String>,
    /// When its extent is to have been made, ticks.
    pub created: Option<i64>,
    /// Whether the first record is none.
    pub ignore_first_record: bool,
}

/// Loads it; gives the rows that landed, none if a key kept it out. Blocks.
///
/// # Errors
/// Why it cannot be loaded; nothing has landed then.
pub fn load(
    database: &Database,
    order: Order,
    open: impl FnOnce(&str) -> Result<Opened, Unreadable>,
) -> Result<u64, Failure> {
    let Order { blob, table, format, inline, reference, tags, if_not_exists, created, ignore_first_record } = order;
    let mapping = match (inline, reference) {
        (None, None) => MappingSource::Identity,
        (Some(text), None) => MappingSource::Inline(text),
        (None, Some(name)) => MappingSource::Reference(name),
        (Some(_), Some(_)) => {
            let what = "Both ingestionMapping and ingestionMappingReference are given.";
            return Err(Failure::permanent("BadRequest_DuplicateMapping", what));
        }
    };
    let message = Message {
        blob,
        database: database.name().to_owned(),
        table,
        retain_blob: true,
        format,
        mapping,
        tags,
        if_not_exists,
        created,
        ignore_first_record,
        reporting: Reporting::default(),
    };
    Ok(match land(database, &message, Manner::default(), open)? {
        Outcome::Landed { rows } => rows,
        Outcome::Skipped => 0,
    })
}
