//! The tables to copy to: whether they can take rows and prove it, and whether this ledger is the one that owns them. Looks
//! only.

use super::adx::{NeedsAdmin, Parts};
use super::metadata::Metadata;
use super::settings::quoted;
use super::{Area, Ends, Finding};
use crate::adx::catalog::{Destination, DestinationError, Hidden, Policies, Tags, named};
use crate::adx::ingestion::ChunkIdMode;
use crate::app::destination as wanted;
use crate::kql::Identifier;
use crate::orchestration::head::lost::lost;
use crate::orchestration::instance::TableRun;
use crate::orchestration::ledger::Head;
use crate::orchestration::window::Window;
use crate::remedy;
use crate::state::State;
use futures_util::{StreamExt, stream};

const ID: &str = "destination";
/// What to do where something may not be looked at.
const UNSEEN: &str = "grant the role that is named, or see to it that this is not so";
/// Tables that are looked at side by side.
const AT_ONCE: usize = 4;

/// Looks at the destinations of all valid rows. Gives the tables that need an admin, or the check
/// because of which nothing was looked at.
pub(super) async fn look(
    parts: &Parts<'_>,
    metadata: &Metadata,
    (state, no_store): (Option<&State>, Option<&str>),
    ends: Ends,
) -> (Vec<Finding>, Result<Vec<NeedsAdmin>, String>) {
    let tables = match &metadata.tables {
        Ok(tables) => tables,
        Err(cause) => return skipped(cause),
    };
    let valid = tables.iter().filter(|table| table.result.is_none());
    let looks = stream::iter(valid.map(|table| async move {
        let table = Table { parts, table, state, no_store, has_ledger: metadata.has_ledger };
        table.look(ends).await
    }));
    let looked: Vec<(Finding, Option<NeedsAdmin>)> = looks.buffered(AT_ONCE).collect().await;
    let (findings, needs): (Vec<_>, Vec<_>) = looked.into_iter().unzip();
    (findings, Ok(needs.into_iter().flatten().collect()))
}

/// The check of the destinations that was not made because of another.
pub(super) fn skipped(cause: &str) -> (Vec<Finding>, Result<Vec<NeedsAdmin>, String>) {
    (vec![Finding::skip(Area::Destination, ID, cause)], Err(cause.to_owned()))
}

struct Table<'a> {
    parts: &'a Parts<'a>,
    table: &'a TableRun,
    state: Option<&'a State>,
    /// The check because of which nobody knows which ledgers the store holds.
    no_store: Option<&'a str>,
    has_ledger: bool,
}

impl Table<'_> {
    async fn look(&self, ends: Ends) -> (Finding, Option<NeedsAdmin>) {
        let name = &self.table.config.destination;
        let id = format!("{ID}.{name}");
        let Some((head, windows)) = self.ledger(ends).await else {
            let what = "what the ledger has of the table could not be read from the state store in time";
            return (Finding::warn(Area::Destination, id, what, "run this command again"), None);
        };
        let settings = self.parts.settings;
        let is_lost = head.as_ref().is_some_and(|head| lost(head, &windows, &settings.database).is_some());
        let Ok(wanted) = wanted(settings, &self.table.config, head.as_ref(), is_lost) else {
            // A row with a name that is none is told of as a row.
            return (Finding::skip(Area::Destination, id, &quoted("metadata.rows")), None);
        };
        let mut told = Vec::new();
        let looked = self.parts.catalog.look_at_destination(&wanted, &mut told, ends.step()).await;
        let missing = match looked {
            Ok(missing) => missing,
            Err(error) => return (self.refused(id, &error, head.as_ref(), &windows), None),
        };
        let needs = needs_admin(&wanted, missing.as_deref());
        if let Some(cause) = self.no_store {
            return (Finding::skip(Area::Destination, id, cause), needs);
        }
        if let Some(foreign) = self.foreign(&id, head.as_ref(), ends).await {
            return (foreign, needs);
        }
        let what = match missing {
            None => format!("{name} is not there yet; the first run makes it"),
            Some(missing) if missing.is_empty() => format!("{name} can take rows"),
            Some(missing) => format!("{name} can take rows; the next run adds {}", named(&missing)),
        };
        if !told.is_empty() {
            let what = format!("{what}, but {}", told.join("; "));
            return (Finding::warn(Area::Destination, id, what, UNSEEN), needs);
        }
        (Finding::pass(Area::Destination, id, what), needs)
    }

    /// The head of the table and its windows; `None` where the store does not tell.
    async fn ledger(&self, ends: Ends) -> Option<(Option<Head>, Vec<Window>)> {
        let Some(state) = self.state else { return Some((None, Vec::new())) };
        let key = &self.table.key;
        let read = async {
            let Some(head) = state.head(key).await.ok()? else { return Some((None, Vec::new())) };
            let windows = state.windows(key).await.ok()?;
            Some((Some(head.record), windows.into_iter().map(|(_, window)| window.record).collect()))
        };
        tokio::time::timeout_at(ends.step(), read).await.ok().flatten()
    }

    fn refused(&self, id: String, error: &DestinationError, head: Option<&Head>, windows: &[Window]) -> Finding {
        let settings = self.parts.settings;
        let what = match (error, head.and_then(|head| lost(head, windows, &settings.database))) {
            (DestinationError::Gone { .. }, Some(lost)) => lost.to_string(),
            _ => error.to_string(),
        };
        let remedy = match error {
            DestinationError::Hidden(Hidden::RowLevelSecurity { table }) => {
                format!("`{}`", remedy::drop_row_level_security(table))
            }
            DestinationError::Hidden(Hidden::RestrictedView { grant, .. }) => format!("`{grant}`"),
            DestinationError::ZeroRetention { remedy, .. } => format!("`{remedy}`"),
            DestinationError::Blocked { .. } => "set CHUNK_ID=row, or name the columns there".to_owned(),
            DestinationError::TypeConflict { .. } => format!(
                "append a row to {} with another DestinationTable, or rename the column",
                settings.names.config_table.as_str()
            ),
            DestinationError::Gone { .. } => format!("`{}`", remedy::undo_drop(&self.table.config.destination)),
            DestinationError::Adx(_) => {
                let what = format!("the table could not be looked at: {what}");
                return Finding::warn(Area::Destination, id, what, "run this command again");
            }
        };
        Finding::fail(Area::Destination, id, what, remedy)
    }

    /// A destination that another ledger owns.
    async fn foreign(&self, id: &str, head: Option<&Head>, ends: Ends) -> Option<Finding> {
        if !self.has_ledger {
            return None;
        }
        let config = &self.table.config;
        let owner = self.parts.catalog.ledger_owner(&config.source, &config.destination, ends.step()).await;
        let owner = owner.ok().flatten()?.ledger_id;
        if head.is_some_and(|head| head.ledger.to_string() == owner) {
            return None;
        }
        let what = format!(
            "{} belongs to the ledger {owner}, which is not in this state store, or is there by another spelling of AZURE_TENANT_ID or \
             ADX_DATABASE (now: {}): runs refuse the table",
            config.destination,
            self.parts.settings.told_apart_by()
        );
        let remedy = format!(
            "run with the STATE_STORE that holds it, or the spelling; if that is lost, `adxingestor adopt --table {}`",
            config.source
        );
        Some(Finding::fail(Area::Destination, id, what, remedy))
    }
}

/// Whether the identity has to be an admin of the table, which it is of those that it made.
fn needs_admin(wanted: &Destination, missing: Option<&[(Identifier, &'static str)]>) -> Option<NeedsAdmin> {
    let missing = missing?;
    if wanted.ours {
        return None;
    }
    let table = wanted.table.as_str().to_owned();
    if !missing.is_empty() && wanted.chunk_id != ChunkIdMode::InRow {
        return Some(NeedsAdmin { table, what: format!("to add {}", named(missing)), must: true });
    }
    asks(&wanted.policies).then(|| NeedsAdmin {
        table,
        what: "for a policy that a setting asks for".to_owned(),
        must: false,
    })
}

fn asks(policies: &Policies) -> bool {
    let Policies { folder, retention, caching, batching, encoding, tags, .. } = policies;
    let any = [folder.is_some(), retention.is_some(), caching.is_some(), batching.is_some(), encoding.is_some()];
    any.contains(&true) || matches!(tags, Tags::For(_))
}
