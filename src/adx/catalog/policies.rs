//! What settings ask of a destination besides its columns: folder, retention, caching, batching, the size of cells, and how long
//! the tags last that keep a window from landing twice. Each is looked at first and altered only where it differs; what may not
//! be altered is told with the command that an administrator runs, and stops no table.

use super::super::table::timespan_ticks;
use super::super::template::fill;
use super::look::{Policy, soft_delete};
use super::{Catalog, Error};
use crate::kql::{Identifier, SingleQuoted, Text, Timespan};
use crate::timestamp::ticks_of;
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// A day.
const DAY: Duration = Duration::from_secs(86_400);
/// For how long the tags of a table are kept that this app made, where neither it nor its database says: longer than anything
/// that was posted can wait in a queue, which is 7 days (dataexplorer-docs `management/extent-tags-retention-policy.md`).
const TAGS_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Tags that go earlier than this may go before the last post of their window can land.
const TAGS_LEAST: Duration = Duration::from_secs(14 * 86_400);
/// How much older than its ingestion an extent can be made, at most: so long the source keeps rows.
const BACKDATED: Duration = Duration::from_secs(30 * 86_400);
/// The tags that keep a window from landing twice.
const PREFIX: &str = "ingest-by:";

/// How large a cell may be (dataexplorer-docs `management/alter-encoding-policy.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// 2 MiB, without an index.
    BigObject,
    /// 32 MiB, without an index.
    BigObject32,
}

impl Encoding {
    /// As commands name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::BigObject => "BigObject",
            Self::BigObject32 => "BigObject32",
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::BigObject => 2 << 20,
            Self::BigObject32 => 32 << 20,
        }
    }
}

/// How long the tags of windows are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tags {
    /// 30 days in tables that this app made, where neither table nor database says.
    #[default]
    Unasked,
    /// As it is.
    AsTheyAre,
    /// So long, whoever made the table.
    For(Duration),
}

impl Tags {
    /// The shortest time that tags may be kept for; `backdated`: their extents are made as old as their rows.
    pub fn least(backdated: bool) -> Duration {
        TAGS_LEAST + older(backdated)
    }
}

/// How much older than its ingestion an extent is, at most.
fn older(backdated: bool) -> Duration {
    if backdated { BACKDATED } else { Duration::ZERO }
}

/// What settings ask of a destination. What they do not ask for stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    /// Its folder, instead of the one in the configuration.
    pub folder: Option<String>,
    /// How long rows are kept.
    pub retention: Option<Duration>,
    /// How long they are kept hot.
    pub caching: Option<Duration>,
    /// Members of the batching policy (dataexplorer-docs `management/batching-policy.md`).
    pub batching: Option<Map<String, Value>>,
    /// How large a cell of `RawData` may be.
    pub encoding: Option<Encoding>,
    /// How long the tags of windows are kept.
    pub tags: Tags,
    /// Whether extents are made as old as their rows, so that their tags age as much.
    pub backdated: bool,
}

/// A table whose policies are to be as asked.
pub(super) struct Target<'a> {
    pub table: &'a Identifier,
    pub asked: &'a Policies,
    /// Whether this app made it, for all that is known.
    pub ours: bool,
    /// Its folder, if it was shown.
    pub folder: Option<&'a str>,
}

/// A command that makes a policy what is asked for.
struct Change {
    /// What it changes.
    what: &'static str,
    /// The setting that asks for it.
    setting: &'static str,
    command: String,
}

impl Catalog {
    /// Brings the policies of a table to what is asked. Gives what could not be done or is to be known, for a person.
    pub(super) async fn apply(&self, target: &Target<'_>, deadline: Instant) -> Result<Vec<String>, Error> {
        let mut told = Vec::new();
        let changes = [
            folder(target),
            self.retention_change(target, deadline).await?,
            self.caching_change(target, &mut told, deadline).await?,
            self.batching_change(target, deadline).await?,
            self.encoding_change(target, deadline).await?,
            self.tags_looked_at(target, &mut told, deadline).await?,
        ];
        for Change { what, setting, command } in changes.into_iter().flatten() {
            match self.change(&command, deadline).await {
                Ok(_) => tracing::info!(table = %target.table, command, "a policy is set"),
                Err(error @ (Error::Denied { .. } | Error::Refused { permanent: true, .. })) => told.push(format!(
                    "the {what} of {} could not be set as {setting} has it ({error}): have an administrator of the table run `{command}`",
                    target.table.as_str()
                )),
                Err(error) => return Err(error),
            }
        }
        Ok(told)
    }

    async fn retention_change(&self, target: &Target<'_>, deadline: Instant) -> Result<Option<Change>, Error> {
        let Some(wanted) = target.asked.retention else { return Ok(None) };
        let held = unseen(self.policy(target.table, Policy::Retention, deadline).await)?;
        if held.as_ref().and_then(soft_delete) == Some(ticks(wanted)) {
            return Ok(None);
        }
        let file = include_str!("../../../kql/policy/alter_retention.kql");
        let command = fill(file, &[("table", target.table), ("period", &Timespan(wanted))]);
        Ok(Some(Change { what: "retention", setting: "TABLE_RETENTION", command }))
    }

    async fn caching_change(
        &self,
        target: &Target<'_>,
        told: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<Option<Change>, Error> {
        let Some(wanted) = target.asked.caching else { return Ok(None) };
        // One that has hot windows would lose them.
        let looked = self.policy(target.table, Policy::Caching, deadline).await.map(Some);
        let looked = unless_denied(looked, told, || {
            format!(
                "the caching policy of {} could not be looked at: it is left as it is, whatever TABLE_CACHING asks",
                target.table.as_str()
            )
        })?;
        let Some(held) = looked.map(Option::unwrap_or_default) else { return Ok(None) };
        if hot_span(&held, "DataHotSpan") == Some(ticks(wanted))
            && hot_span(&held, "IndexHotSpan") == Some(ticks(wanted))
        {
            return Ok(None);
        }
        let file = include_str!("../../../kql/policy/alter_caching.kql");
        let command = fill(file, &[("table", target.table), ("period", &Timespan(wanted))]);
        if held.get("HotWindows").and_then(Value::as_array).is_some_and(|windows| !windows.is_empty()) {
            told.push(format!(
                "the caching policy of {} has hot windows, which `{command}` would take away: it is left as it is, whatever \
                 TABLE_CACHING asks",
                target.table.as_str()
            ));
            return Ok(None);
        }
        Ok(Some(Change { what: "caching policy", setting: "TABLE_CACHING", command }))
    }

    async fn batching_change(&self, target: &Target<'_>, deadline: Instant) -> Result<Option<Change>, Error> {
        let Some(wanted) = &target.asked.batching else { return Ok(None) };
        let held = unseen(self.policy(target.table, Policy::Batching, deadline).await)?.unwrap_or_default();
        if wanted.iter().all(|(name, value)| held.get(name).is_some_and(|held| is_same(held, value))) {
            return Ok(None);
        }
        let file = include_str!("../../../kql/policy/alter_batching.kql");
        let policy = Value::Object(wanted.clone()).to_string();
        let command = fill(file, &[("table", target.table), ("policy", &SingleQuoted(&policy))]);
        Ok(Some(Change { what: "batching policy", setting: "TABLE_BATCHING", command }))
    }

    async fn encoding_change(&self, target: &Target<'_>, deadline: Instant) -> Result<Option<Change>, Error> {
        let Some(wanted) = target.asked.encoding else { return Ok(None) };
        let raw_data = Identifier::new("RawData").map_err(|error| Error::invalid(error.to_string()))?;
        let held = unseen(self.encoding(target.table, &raw_data, deadline).await)?;
        if held.as_ref().is_some_and(|held| cell_bytes(held) >= Some(wanted.bytes())) {
            return Ok(None);
        }
        let file = include_str!("../../../kql/policy/alter_encoding.kql");
        let values: [(&str, &(dyn std::fmt::Display + Sync)); 3] =
            [("table", target.table), ("column", &raw_data), ("profile", &SingleQuoted(wanted.name()))];
        Ok(Some(Change { what: "encoding of RawData", setting: "TABLE_ENCODING", command: fill(file, &values) }))
    }

    /// The bytes of the largest cell that `RawData` takes, where a policy of the column, the table or the database says; what is
    /// denied or refused is told of, and not known.
    pub(super) async fn largest_cell(
        &self,
        table: &Identifier,
        told: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<Option<u64>, Error> {
        let largest = self.largest_cell_shown(table, deadline).await;
        unless_denied(largest, told, || {
            format!("how large a row of {} may be could not be looked at, and is taken for 1 MiB", table.as_str())
        })
    }

    async fn largest_cell_shown(&self, table: &Identifier, deadline: Instant) -> Result<Option<u64>, Error> {
        let raw_data = Identifier::new("RawData").map_err(|error| Error::invalid(error.to_string()))?;
        let mut policy = self.encoding(table, &raw_data, deadline).await?;
        if policy.is_none() {
            policy = self.policy(table, Policy::Encoding, deadline).await?;
        }
        if policy.is_none() {
            policy = self.database_policy(Policy::Encoding, deadline).await?;
        }
        Ok(policy.as_ref().and_then(cell_bytes))
    }

    async fn tags_looked_at(
        &self,
        target: &Target<'_>,
        told: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<Option<Change>, Error> {
        let change = self.tags_change(target, told, deadline).await;
        unless_denied(change, told, || {
            format!(
                "for how long {} keeps the tags by which no window lands twice could not be looked at, and stays as it is",
                target.table.as_str()
            )
        })
    }

    async fn tags_change(
        &self,
        target: &Target<'_>,
        told: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<Option<Change>, Error> {
        let Some(own) = self.seen_policy(target.table, Policy::ExtentTagsRetention, deadline).await? else {
            // A service that does not show this has no such policies.
            return Ok(None);
        };
        let held = match entries(own) {
            Some(own) => Some(own),
            None => entries(self.database_policy(Policy::ExtentTagsRetention, deadline).await?),
        };
        let older = older(target.asked.backdated);
        let change = |period| Change {
            what: "retention of tags",
            setting: "EXTENT_TAGS_RETENTION",
            command: alter_tags(target.table, held.as_deref().unwrap_or_default(), period),
        };
        let kept = held.as_deref().and_then(kept);
        match target.asked.tags {
            Tags::For(period) if kept != Some(ticks(period)) => return Ok(Some(change(period))),
            Tags::Unasked if held.is_none() && target.ours => return Ok(Some(change(TAGS_KEPT + older))),
            Tags::For(_) | Tags::Unasked | Tags::AsTheyAre => {}
        }
        let least = Tags::least(target.asked.backdated);
        if let Some(kept) = kept.filter(|kept| *kept < ticks(least)) {
            told.push(format!(
                "the tags of {} that keep a window from landing twice go after {} days by its policy extent_tags_retention, or that of \
                 its database: keep them for {} or more with `{}`, or set EXTENT_TAGS_RETENTION=30d",
                target.table.as_str(),
                kept / ticks(DAY),
                least.as_secs() / DAY.as_secs(),
                change(TAGS_KEPT + older).command
            ));
        }
        Ok(None)
    }
}

/// What was looked at, where nothing depends on it: what may not be seen is told of.
pub(super) fn unless_denied<T>(
    looked: Result<Option<T>, Error>,
    told: &mut Vec<String>,
    what: impl FnOnce() -> String,
) -> Result<Option<T>, Error> {
    match looked {
        Err(error @ (Error::Denied { .. } | Error::Refused { .. })) => {
            told.push(format!("{} ({error})", what()));
            Ok(None)
        }
        other => other,
    }
}

/// A policy that is to be altered where it differs: one that may not be seen may be altered all the same, and a command that is denied
/// is told of.
fn unseen(looked: Result<Option<Value>, Error>) -> Result<Option<Value>, Error> {
    unless_denied(looked, &mut Vec::new(), String::new)
}

fn folder(target: &Target<'_>) -> Option<Change> {
    let wanted = target.asked.folder.as_deref().filter(|wanted| target.folder != Some(*wanted))?;
    let file = include_str!("../../../kql/policy/alter_folder.kql");
    let command = fill(file, &[("table", target.table), ("folder", &Text(wanted))]);
    Some(Change { what: "folder", setting: "TABLE_FOLDER", command })
}

/// A span in ticks.
fn ticks(span: Duration) -> i64 {
    i64::try_from(ticks_of(span)).unwrap_or(i64::MAX)
}

/// A span of a caching policy, which is shown as it is or in an object.
fn hot_span(policy: &Value, name: &str) -> Option<i64> {
    let span = policy.get(name)?;
    span.get("Value").unwrap_or(span).as_str().and_then(timespan_ticks)
}

/// Whether two values of a policy say the same: spans in any spelling, numbers as they count.
fn is_same(held: &Value, wanted: &Value) -> bool {
    match (held, wanted) {
        (Value::String(held), Value::String(wanted)) => {
            held == wanted || timespan_ticks(held).is_some_and(|held| Some(held) == timespan_ticks(wanted))
        }
        (Value::Number(held), Value::Number(wanted)) => held.as_f64() == wanted.as_f64(),
        _ => held == wanted,
    }
}

/// The bytes that an encoding policy lets a cell have, by its profile or by itself.
fn cell_bytes(policy: &Value) -> Option<u64> {
    if let Some(bytes) = policy.get("MaxValueSize").and_then(Value::as_u64) {
        return Some(bytes);
    }
    let text = policy.to_string();
    let named = |profile: Encoding| text.contains(profile.name()).then(|| profile.bytes());
    named(Encoding::BigObject32).or_else(|| named(Encoding::BigObject))
}

/// The entries of a policy of tags; one without entries is none.
fn entries(policy: Option<Value>) -> Option<Vec<Value>> {
    match policy {
        Some(Value::Array(entries)) if !entries.is_empty() => Some(entries),
        _ => None,
    }
}

fn is_ours(entry: &Value) -> bool {
    entry.get("TagPrefix").and_then(Value::as_str) == Some(PREFIX)
}

/// For how many ticks the tags of windows are kept by these entries; `None` for as long as their extents.
fn kept(entries: &[Value]) -> Option<i64> {
    let period = |entry: &Value| entry.get("RetentionPeriod").and_then(Value::as_str).and_then(timespan_ticks);
    entries.iter().filter(|entry| is_ours(entry)).filter_map(period).min()
}

/// Keeps the tags of windows for so long, and those of other prefixes as they are kept now.
fn alter_tags(table: &Identifier, held: &[Value], period: Duration) -> String {
    let seconds = period.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let period = format!("{days}.{hours:02}:{minutes:02}:{:02}", seconds % 60);
    let mut entries: Vec<Value> = held.iter().filter(|entry| !is_ours(entry)).cloned().collect();
    entries.push(json!({"TagPrefix": PREFIX, "RetentionPeriod": period}));
    let policy = Value::Array(entries).to_string();
    let file = include_str!("../../../kql/policy/alter_tags.kql");
    fill(file, &[("table", table), ("policy", &SingleQuoted(&policy))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_that_say_the_same_in_other_words_are_the_same() {
        assert!(is_same(&json!("00:05:00"), &json!("0.00:05:00")));
        assert!(is_same(&json!(1024), &json!(1024.0)));
        assert!(!is_same(&json!("00:05:00"), &json!("00:06:00")));
        assert_eq!(hot_span(&json!({"DataHotSpan": {"Value": "3.00:00:00"}}), "DataHotSpan"), Some(ticks(DAY * 3)));
        assert_eq!(hot_span(&json!({"DataHotSpan": "3.00:00:00"}), "DataHotSpan"), Some(ticks(DAY * 3)));
    }

    #[test]
    fn the_largest_cell_is_that_of_the_profile_or_of_the_policy_itself() {
        assert_eq!(cell_bytes(&json!({"Profile": "BigObject32"})), Some(32 << 20));
        assert_eq!(cell_bytes(&json!("BigObject")), Some(2 << 20));
        assert_eq!(cell_bytes(&json!({"MaxValueSize": 5_000_000})), Some(5_000_000));
        assert_eq!(cell_bytes(&json!({"Profile": "Identifier"})), None);
    }

    #[test]
    fn tags_of_other_prefixes_keep_their_time() {
        let table = Identifier::new("T").unwrap();
        let held = [
            json!({"TagPrefix": "drop-by:", "RetentionPeriod": "3.00:00:00"}),
            json!({"TagPrefix": PREFIX, "RetentionPeriod": "02:00:00"}),
        ];
        assert_eq!(kept(&held), Some(ticks(DAY) / 12));
        assert_eq!(kept(&held[..1]), None);
        assert_eq!(
            alter_tags(&table, &held, DAY * 30),
            r#".alter table T policy extent_tags_retention '[{"RetentionPeriod":"3.00:00:00","TagPrefix":"drop-by:"},{"RetentionPeriod":"30.00:00:00","TagPrefix":"ingest-by:"}]'"#
        );
    }
}
