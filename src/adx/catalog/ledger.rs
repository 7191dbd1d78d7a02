//! Who owns a destination, how far its ledger has verified, and the watermark that follows from it.
//!
//! The rows of `meta_Ledger` about one destination, in the order of their arrival, say who owns it: the first claim
//! does, and every later row of another ledger that says `VerifiedUpTo` takes it over (an adoption, or a second deployment at
//! work). A later claim without it came second and counts for nothing, so that both of two that claim at once read the same
//! winner, whenever they read.

use super::super::template::Listed;
use super::append::{Appended, tag_of};
use super::{Catalog, Error};
use crate::kql::{Datetime, Identifier, Literal, Text};
use crate::timestamp::Timestamp;
use std::collections::HashSet;
use tokio::time::Instant;

/// The columns of `meta_Ledger`.
const COLUMNS: [&str; 6] = ["SourceTable", "DestinationTable", "LedgerId", "CutAxis", "VerifiedUpTo", "UpdatedAt"];

/// The ledger that owns a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerOwner {
    /// Its id.
    pub ledger_id: String,
    /// Its latest cut axis.
    pub cut_axis: String,
    /// How far it has verified on that axis.
    pub verified_up_to: Option<Timestamp>,
}

/// What a ledger says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerEntry<'a> {
    /// The table of the source.
    pub source: &'a str,
    /// The table that is copied to.
    pub destination: &'a str,
    /// Its id.
    pub ledger_id: &'a str,
    /// The cut axis.
    pub axis: &'a str,
}

/// What a claim came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The destination belongs to this ledger.
    Ours(LedgerOwner),
    /// It belongs to another one.
    Other(LedgerOwner),
}

/// What moving a watermark came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatermarkMove {
    /// It stands there now, or did so before.
    Moved,
    /// The ledger does not say exactly this far on this axis, or the latest configuration row names another destination
    /// or is gone: nothing was written.
    Held,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LedgerRow {
    ledger_id: String,
    axis: String,
    verified_up_to: Option<Timestamp>,
}

/// The owner, from the rows in order of arrival.
fn owner(rows: &[LedgerRow]) -> Option<LedgerOwner> {
    let mut current: Option<&LedgerRow> = None;
    for row in rows {
        let takes = current.is_none_or(|held| held.ledger_id == row.ledger_id || row.verified_up_to.is_some());
        if takes {
            current = Some(row);
        }
    }
    let current = current?;
    let on_axis = |row: &&LedgerRow| row.ledger_id == current.ledger_id && row.axis == current.axis;
    let verified_up_to = rows.iter().filter(on_axis).filter_map(|row| row.verified_up_to).max();
    Some(LedgerOwner { ledger_id: current.ledger_id.clone(), cut_axis: current.axis.clone(), verified_up_to })
}

impl Catalog {
    /// The ledger that owns `destination` as a copy of `source`, if any has claimed it.
    ///
    /// # Errors
    /// What the query can end in.
    pub async fn ledger_owner(
        &self,
        source: &str,
        destination: &str,
        deadline: Instant,
    ) -> Result<Option<LedgerOwner>, Error> {
        let file = include_str!("../../../kql/ledger/rows.kql");
        let values: [(&str, &(dyn std::fmt::Display + Sync)); 3] = [
            ("ledger_table", &self.names().ledger_table),
            ("source", &Text(source)),
            ("destination", &Text(destination)),
        ];
        // A claim is read back in the words that were answered before it was written.
        let table = self.or_made(|| self.uncached(file, &values, deadline), deadline).await?;
        let (arrived, id) = (table.column("Arrived")?, table.column("LedgerId")?);
        let (axis, verified) = (table.column("CutAxis")?, table.column("VerifiedUpTo")?);
        let mut rows = Vec::with_capacity(table.len());
        for row in table.rows() {
            let at = row.datetime(arrived)?.unwrap_or(Timestamp::MAX);
            let ledger_id = row.text(id)?.to_owned();
            let ledger = LedgerRow {
                ledger_id: ledger_id.clone(),
                axis: row.text(axis)?.to_owned(),
                verified_up_to: row.datetime(verified)?,
            };
            rows.push(((at, ledger_id), ledger));
        }
        rows.sort_by(|(left, _), (right, _)| left.cmp(right));
        let rows: Vec<LedgerRow> = rows.into_iter().map(|(_, row)| row).collect();
        Ok(owner(&rows))
    }

    /// The ledgers that claimed `destination` as a copy of any other source than `source`: the windows of theirs that it
    /// holds are none of this one's.
    ///
    /// # Errors
    /// What the query can end in.
    pub async fn ledgers_of_others(
        &self,
        source: &str,
        destination: &str,
        deadline: Instant,
    ) -> Result<HashSet<String>, Error> {
        let file = include_str!("../../../kql/ledger/others.kql");
        let values: [(&str, &(dyn std::fmt::Display + Sync)); 3] = [
            ("ledger_table", &self.names().ledger_table),
            ("source", &Text(source)),
            ("destination", &Text(destination)),
        ];
        let answer = self.or_made(|| self.uncached(file, &values, deadline), deadline).await?;
        let id = answer.column("LedgerId")?;
        answer.rows().map(|row| Ok(row.text(id)?.to_owned())).collect()
    }

    /// Another destination of `source` that was verified exactly up to `watermark`: a configuration row that says so was appended
    /// again with a new destination, and the watermark is none of that one's.
    ///
    /// # Errors
    /// What the query can end in.
    pub async fn watermark_inherited_from(
        &self,
        source: &str,
        destination: &str,
        watermark: Timestamp,
        deadline: Instant,
    ) -> Result<Option<String>, Error> {
        let file = include_str!("../../../kql/ledger/inherited.kql");
        let values: [(&str, &(dyn std::fmt::Display + Sync)); 4] = [
            ("ledger_table", &self.names().ledger_table),
            ("source", &Text(source)),
            ("destination", &Text(destination)),
            ("watermark", &Datetime(watermark)),
        ];
        let answer = self.or_made(|| self.uncached(file, &values, deadline), deadline).await?;
        let other = answer.column("DestinationTable")?;
        answer.rows().next().map(|row| Ok(row.text(other)?.to_owned())).transpose()
    }

    /// Claims a destination for a ledger unless it has an owner, then reads back who owns it: the claim that
    /// arrived first, then the one with the smaller id.
    ///
    /// # Errors
    /// What the requests can end in; [`Error::Corrupt`] if the claim cannot be read back.
    pub async fn claim_ledger(&self, entry: &LedgerEntry<'_>, deadline: Instant) -> Result<Claim, Error> {
        let read = || self.ledger_owner(entry.source, entry.destination, deadline);
        let found = match read().await? {
            Some(owner) => owner,
            None => {
                let tag = tag_of("claim", &[entry.source, entry.destination, entry.ledger_id]);
                self.append_ledger(entry, None, &tag, deadline).await?;
                read().await?.ok_or_else(|| {
                    Error::corrupt(format!(
                        "the claim of ledger {} is written and cannot be read back",
                        entry.ledger_id
                    ))
                })?
            }
        };
        Ok(if found.ledger_id == entry.ledger_id { Claim::Ours(found) } else { Claim::Other(found) })
    }

    /// Notes that a ledger has verified everything up to and including `verified_up_to`. Once per ledger, axis and
    /// instant. Written by another ledger than the owner, it takes the destination over: an adoption.
    ///
    /// # Errors
    /// What the request can end in.
    pub async fn record_verified(
        &self,
        entry: &LedgerEntry<'_>,
        verified_up_to: Timestamp,
        deadline: Instant,
    ) -> Result<(), Error> {
        let at = verified_up_to.to_string();
        let tag = tag_of("verified", &[entry.source, entry.destination, entry.ledger_id, entry.axis, &at]);
        self.append_ledger(entry, Some(verified_up_to), &tag, deadline).await
    }

    /// Moves the watermark in the configuration table to `verified_up_to`, which [`Catalog::record_verified`] has noted
    /// before. The engine makes the new row from the latest one and checks the ledger in the same command. `tag` names this
    /// move: asked again, it changes nothing.
    ///
    /// # Errors
    /// What the requests can end in.
    pub async fn advance_watermark(
        &self,
        entry: &LedgerEntry<'_>,
        verified_up_to: Timestamp,
        refreshed_at: Timestamp,
        tag: &str,
        deadline: Instant,
    ) -> Result<WatermarkMove, Error> {
        let names = self.names();
        let columns = self.config_columns(deadline).await?;
        let values: [(&str, &(dyn std::fmt::Display + Sync)); 9] = [
            ("config_table", &names.config_table),
            ("ledger_table", &names.ledger_table),
            ("source", &Text(entry.source)),
            ("destination", &Text(entry.destination)),
            ("ledger_id", &Text(entry.ledger_id)),
            ("axis", &Text(entry.axis)),
            ("verified_up_to", &Datetime(verified_up_to)),
            ("refreshed_at", &Datetime(refreshed_at)),
            ("columns", &columns),
        ];
        let file = include_str!("../../../kql/ledger/advance_watermark.kql");
        Ok(match self.append_once(&names.config_table, tag, file, &values, deadline).await? {
            Appended::Now { .. } | Appended::Before => WatermarkMove::Moved,
            Appended::Nothing => WatermarkMove::Held,
        })
    }

    /// The configuration table's own columns in order: an append goes by position, and a table may have gained some.
    async fn config_columns(&self, deadline: Instant) -> Result<Listed<Identifier>, Error> {
        let table = &self.names().config_table;
        let schema = self.schema(table, deadline).await?;
        let schema = schema.ok_or_else(|| Error::NotFound { what: format!("the table {table}") })?;
        let columns: Result<Vec<_>, _> = schema.columns.iter().map(|(name, _)| Identifier::new(name)).collect();
        columns.map(Listed).map_err(|error| Error::corrupt(format!("the schema of {table}: {error}")))
    }

    async fn append_ledger(
        &self,
        entry: &LedgerEntry<'_>,
        verified_up_to: Option<Timestamp>,
        tag: &str,
        deadline: Instant,
    ) -> Result<(), Error> {
        let table = &self.names().ledger_table;
        let values: [(&str, &(dyn std::fmt::Display + Sync)); 7] = [
            ("ledger_table", table),
            ("source", &Text(entry.source)),
            ("destination", &Text(entry.destination)),
            ("ledger_id", &Text(entry.ledger_id)),
            ("axis", &Text(entry.axis)),
            ("verified_up_to", &Literal::Datetime(verified_up_to)),
            ("updated_at", &Datetime(self.client.clock().now())),
        ];
        let file = include_str!("../../../kql/ledger/append.kql");
        match self.append_once_to(table, &COLUMNS, tag, file, &values, deadline).await? {
            Appended::Now { .. } | Appended::Before => Ok(()),
            Appended::Nothing => Err(Error::corrupt(format!("{table} took a row and does not have it"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ledger_id: &str, verified_ticks: Option<u64>) -> LedgerRow {
        LedgerRow {
            ledger_id: ledger_id.to_owned(),
            axis: "arrival".to_owned(),
            verified_up_to: verified_ticks.map(Timestamp::from_ticks),
        }
    }

    fn owner_id(rows: &[LedgerRow]) -> Option<String> {
        owner(rows).map(|owner| owner.ledger_id)
    }

    #[test]
    fn nobody_owns_what_nobody_has_claimed() {
        assert_eq!(owner(&[]), None);
    }

    #[test]
    fn of_two_claims_the_first_wins_before_and_after_its_work() {
        assert_eq!(owner_id(&[row("b", None), row("a", None)]).as_deref(), Some("b"));
        assert_eq!(owner_id(&[row("b", None), row("a", None), row("b", Some(5))]).as_deref(), Some("b"));
        assert_eq!(owner_id(&[row("b", None), row("b", Some(5)), row("a", None)]).as_deref(), Some("b"));
    }

    #[test]
    fn a_later_row_of_another_ledger_that_has_verified_takes_over() {
        let rows = [row("b", None), row("b", Some(5)), row("c", Some(3))];
        let found = owner(&rows).unwrap();
        assert_eq!((found.ledger_id.as_str(), found.verified_up_to), ("c", Some(Timestamp::from_ticks(3))));
    }

    #[test]
    fn how_far_is_the_most_on_the_latest_axis() {
        let mut old_axis = row("b", Some(9));
        old_axis.axis = "Timestamp".to_owned();
        let rows = [old_axis, row("b", Some(5)), row("b", Some(4))];
        assert_eq!(owner(&rows).unwrap().verified_up_to, Some(Timestamp::from_ticks(5)));
    }
}
