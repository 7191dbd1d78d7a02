//! The plan of a table that is copied whole: one fine count, gathered into windows. What is decided is in
//! `orchestration::snapshot`.

use super::super::{Step, StepError, store};
use super::learn::{self, Probe, Shown};
use super::{Content, Planning, Prepared, measure, ownership};
use crate::defender::queries::{self, Partition, Range, Slice};
use crate::defender::{Error as HuntingError, Rows};
use crate::functions::hunting::{Error, Hunting};
use crate::functions::planner::is_too_much;
use crate::functions::source;
use crate::kql::{Identifier, InvalidName};
use crate::orchestration::head::plan::windows_of;
use crate::orchestration::instance::{LoadType, TableConfig};
use crate::orchestration::ledger::{CutAxis, Head, PartedBy};
use crate::orchestration::plan::Piece;
use crate::orchestration::sizing;
use crate::orchestration::snapshot::plan::{
    Bucket, begin, counted, fine_parts, gather, is_wasteful, supersede, time_of,
};
use crate::orchestration::snapshot::{Counted, Snapshots};
use crate::state::Stored;
use crate::timestamp::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// Columns that tell the rows of snapshot tables apart, best first (learn.microsoft.com "Data tables in the Microsoft Defender
/// XDR advanced hunting schema").
const KEYS: [&str; 17] = [
    "DeviceId",
    "EdgeId",
    "NodeId",
    "CveId",
    "ConfigurationId",
    "ProfileId",
    "SoftwareName",
    "SoftwareVersion",
    "SoftwareVendor",
    "ExtensionId",
    "PermissionId",
    "BrowserName",
    "Thumbprint",
    "SerialNumber",
    "ComponentName",
    "ComponentType",
    "IgId",
];
/// In at least how many slices a table is counted that is too much for one query or one answer, one after the other.
const SLICES: [u32; 2] = [4, 16];
/// In at most how many.
const MOST_SLICES: u32 = 64;
/// Columns in the hash that parts the rows: they are the only ones that are read of the rows of other windows.
const MOST_KEYS: usize = 4;

/// Looks at one row of a table that is copied whole; `None` when it shows none.
pub(super) async fn probe(config: &TableConfig, hunting: &mut Hunting<'_>) -> Step<Option<Probe>> {
    let table = Identifier::new(&config.source).map_err(StepError::name)?;
    // When its rows arrived is of no use: all of them are copied each time.
    let Shown { rows, function, .. } = learn::look(&table, false, hunting).await?;
    if rows.rows.is_empty() {
        return Ok(None);
    }
    let columns: Vec<(&str, &str)> =
        rows.columns.iter().map(|column| (column.name.as_str(), column.ty.as_str())).collect();
    let row_columns = scalars(&columns);
    if row_columns.is_empty() {
        return Err(StepError::Failed(format!(
            "{table} has no scalar columns, so its rows cannot be told apart and no snapshot of it can be checked"
        )));
    }
    let parts = PartedBy { function, columns: keys(&row_columns) };
    Ok(Some(Probe { axis: CutAxis::Whole, parts, row_columns, advice: Vec::new() }))
}

/// All columns whose text is the same in every answer: that of a bag is in no fixed order (dataexplorer-docs
/// `query/scalar-data-types/dynamic.md`).
fn scalars(columns: &[(&str, &str)]) -> Vec<String> {
    let is_bag = |ty: &str| ty.eq_ignore_ascii_case("object") || ty.eq_ignore_ascii_case("dynamic");
    columns.iter().filter(|(_, ty)| !is_bag(ty)).map(|(name, _)| (*name).to_owned()).collect()
}

/// The columns whose hash parts the rows.
fn keys(scalars: &[String]) -> Vec<String> {
    let known = KEYS.iter().filter(|key| scalars.iter().any(|name| name == *key)).map(|key| (*key).to_owned());
    let known: Vec<String> = known.take(MOST_KEYS).collect();
    if known.is_empty() { scalars.iter().take(MOST_KEYS).cloned().collect() } else { known }
}

/// Counts the whole table in so many parts.
///
/// # Errors
/// [`Error`] of the call.
pub(in super::super) async fn count(
    head: &Head,
    parts: u32,
    hunting: &mut Hunting<'_>,
) -> Result<Vec<Bucket>, CountError> {
    let (Some(shape), Some(held)) = (&head.shape, &head.snapshots) else { return Err(CountError::NoShape) };
    let source = source::of(head, shape, false)?;
    let hashing = source::hashing(shape)?;
    let row_columns: Result<Vec<Identifier>, _> = held.row_columns.iter().map(|name| Identifier::new(name)).collect();
    let row_columns = row_columns?;
    let whole = queries::snapshot_counts(&source, &hashing, parts, &row_columns, None);
    let mut refused = match hunting.counts(&whole).await {
        Err(error) if is_for_slices(&error) => error,
        rows => return Ok(buckets(&rows?, parts)?),
    };
    // What is too much for one query, or one answer, is asked for by some of the rows at a time.
    for slices in SLICES.map(|least| slices(parts, least)) {
        if !hunting.has_time_for_another() {
            break;
        }
        tracing::warn!(error = %refused, table = head.source, slices, "a count of a whole table is asked for in slices");
        let slice = |index| {
            let only = Partition { index, count: slices, by: hashing.clone() };
            queries::snapshot_counts(&source, &hashing, parts, &row_columns, Some(&only))
        };
        match in_slices(slices, slice, parts, hunting).await {
            Err(CountError::Call(error)) if is_for_slices(&error) => refused = error,
            counted => return counted,
        }
    }
    Err(refused.into())
}

/// Whether some of the rows may be counted although all cannot: the service stops the count, or gives fewer lines than it comes to.
fn is_for_slices(error: &Error) -> bool {
    is_too_much(error) || matches!(error, Error::CutShort { .. })
}

/// Into how many slices a count in so many parts is divided: a number that divides the parts, where there is one, so that no part has rows
/// in two of them, and an answer as many fewer lines.
fn slices(parts: u32, least: u32) -> u32 {
    (least..=MOST_SLICES).find(|slices| parts.is_multiple_of(*slices)).unwrap_or(least)
}

/// What all slices together hold in each part.
async fn in_slices(
    slices: u32,
    slice: impl Fn(u32) -> String,
    parts: u32,
    hunting: &mut Hunting<'_>,
) -> Result<Vec<Bucket>, CountError> {
    let mut all = BTreeMap::<u32, Bucket>::new();
    for index in 0..slices {
        for found in buckets(&hunting.counts(&slice(index)).await?, parts)? {
            let bucket = all.entry(found.part).or_insert(Bucket { part: found.part, rows: 0, sum: 0 });
            bucket.rows += found.rows;
            bucket.sum = bucket.sum.wrapping_add(found.sum);
        }
    }
    Ok(all.into_values().collect())
}

/// Why a table could not be counted.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum CountError {
    /// The ledger was changed by hand.
    #[error("the ledger has no shape; start another run")]
    NoShape,
    /// Likewise.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] Error),
    /// The rows could not be weighed.
    #[error("the rows could not be weighed")]
    Weighing(Box<StepError>),
    /// Its answer makes no sense.
    #[error(transparent)]
    Answer(#[from] HuntingError),
}

impl CountError {
    /// Whether the query names columns that the table no longer has.
    fn is_refused(&self, table: &Identifier) -> bool {
        matches!(self, Self::Call(Error::Call(call @ HuntingError::Refused { .. })) if !call.is_unknown(table))
    }
}

impl From<CountError> for StepError {
    fn from(error: CountError) -> Self {
        match error {
            CountError::Call(error) => error.into(),
            CountError::Answer(error) => Error::Call(error).into(),
            CountError::Weighing(error) => *error,
            other => Self::Failed(other.to_string()),
        }
    }
}

fn buckets(rows: &Rows, parts: u32) -> Result<Vec<Bucket>, HuntingError> {
    let mut seen = vec![false; parts as usize];
    let bucket = |row: &serde_json::Map<String, Value>| {
        let number = |name: &str| row.get(name).and_then(Value::as_u64);
        let part = number("Part").and_then(|part| u32::try_from(part).ok())?;
        let is_new = !std::mem::replace(seen.get_mut(part as usize)?, true);
        is_new.then_some(Bucket { part, rows: number("Rows")?, sum: number("Sum")? })
    };
    let buckets: Option<Vec<Bucket>> = rows.rows.iter().map(bucket).collect();
    buckets.ok_or_else(|| HuntingError::Corrupt {
        message: format!("a count in {parts} hash parts has other parts, or no numbers of rows and hashes"),
    })
}

impl Planning<'_> {
    pub(super) fn is_snapshot(&self) -> bool {
        self.table().config.load_type == Some(LoadType::Snapshot)
    }

    /// Counts the source, ends what earlier attempts left open, and writes the plan of the next one.
    pub(super) async fn load_snapshot(&self, prepared: Prepared, hunting: &mut Hunting<'_>) -> Step<()> {
        let Prepared { mut head, found, .. } = prepared;
        let (app, services) = (self.app, self.services);
        if head.record.shape.is_none() || head.record.snapshots.is_none() {
            if !self.learn_snapshot(&mut head, hunting).await? {
                let calls = self.calls(hunting);
                return Ok(self.nothing_to_do(&head, "the source shows no rows yet", calls).await?);
            }
            self.keep(&mut head, hunting).await?;
        }
        let table = Identifier::new(&self.table().config.source).map_err(StepError::name)?;
        let (pieces, counted) = match self.pieces(&mut head.record, hunting).await {
            Err(error) if error.is_refused(&table) => {
                // A column may be gone. What the rows are parted by is of no weight for earlier snapshots.
                let refused = StepError::from(error);
                hunting.forget_answers();
                let Some(probe) = probe(&self.table().config, hunting).await? else { return Err(refused) };
                if !relearned(&mut head.record, probe) {
                    return Err(refused);
                }
                tracing::warn!(table = head.record.source, "the columns of the table have changed");
                self.keep(&mut head, hunting).await?;
                self.pieces(&mut head.record, hunting).await?
            }
            pieces => pieces?,
        };
        head.record.progress.calls = self.calls(hunting);
        if head.record.plan.is_none() {
            // Of two ledgers that claim at once, each may have read its own claim alone. By now both are to be read.
            ownership::refuse_foreign(services, &head.record, self.deadline).await?;
        }
        let (found, ended) = supersede(&head.record, found, self.asked.id(), app.state.now());
        for write in &ended {
            tracing::warn!(
                table = head.record.source,
                windows = write.windows.len(),
                "an earlier snapshot is given up"
            );
            head.etag = store::table(app, self.key(), write, &head.etag).await?;
        }
        let time = time_of(self.table(), &head.record, app.state.now());
        let (low, high) = (head.record.planned_to, time);
        let pieces = pieces.into_iter().map(|piece| Piece { low, high, ..piece }).collect();
        let planned = windows_of(&head.record, pieces, app.state.now());
        let planned = planned.map_err(|error| StepError::Failed(error.to_string()))?;
        if let Some(held) = &head.record.snapshots {
            let begun: Snapshots = begin(held, &self.asked.run, time, counted);
            tracing::info!(table = head.record.source, time = %time, attempt = begun.attempt.as_ref().map(|a| a.number), "a snapshot");
            head.record.snapshots = Some(Box::new(begun));
        }
        self.write(head, Content { found, planned, end: Some(time) }).await
    }

    /// What a first run finds out, and one after an adoption.
    async fn learn_snapshot(&self, head: &mut Stored<Head>, hunting: &mut Hunting<'_>) -> Step<bool> {
        if head.record.shape.is_none() {
            return learn::shape(self.services, self.table(), &mut head.record, hunting).await;
        }
        let Some(probe) = probe(&self.table().config, hunting).await? else { return Ok(false) };
        head.record.snapshots = Some(Box::new(Snapshots::new(probe.row_columns)));
        Ok(true)
    }

    /// Stores what was learned: it is not to be found out again, should the rest of the plan have to wait.
    async fn keep(&self, head: &mut Stored<Head>, hunting: &mut Hunting<'_>) -> Step<()> {
        head.record.progress.calls = self.calls(hunting);
        head.etag = store::head(self.app, self.key(), &head.record, Some(&head.etag)).await?;
        Ok(())
    }

    /// Counts the table, once more where that makes for fewer windows, and gathers it into windows of no time.
    pub(super) async fn pieces(
        &self,
        head: &mut Head,
        hunting: &mut Hunting<'_>,
    ) -> Result<(Vec<Piece>, Counted), CountError> {
        let limits = &self.app.limits;
        let target = sizing::target_rows(head, limits, hunting.byte_cap());
        let before = head.snapshots.as_ref().and_then(|held| held.attempt.as_ref());
        let mut parts = fine_parts(before.map(|attempt| attempt.counted.rows), target);
        let mut again = true;
        loop {
            let buckets = count(head, parts, hunting).await?;
            let counted = counted(parts, &buckets);
            let whole = Slice::Range(Range { low: Timestamp::MIN, high: Timestamp::MAX });
            let weighed = measure::weigh(self.services, head, (whole, counted.rows), hunting).await;
            weighed.map_err(|error| CountError::Weighing(Box::new(error)))?;
            let target = sizing::target_rows(head, limits, hunting.byte_cap());
            let pieces = gather(Timestamp::MIN, Timestamp::MAX, parts, &buckets, target);
            let better = fine_parts(Some(counted.rows), target);
            if !again || better == parts || !is_wasteful(pieces.len(), counted.rows, target) {
                return Ok((pieces, counted));
            }
            (parts, again) = (better, false);
        }
    }
}

/// Takes the columns in that the table has now; gives whether they are others.
fn relearned(head: &mut Head, probe: Probe) -> bool {
    let (Some(shape), Some(held)) = (&mut head.shape, &mut head.snapshots) else { return false };
    let changed = shape.parts != probe.parts || held.row_columns != probe.row_columns;
    shape.parts = probe.parts;
    held.row_columns = probe.row_columns;
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_are_parted_by_their_keys_and_compared_by_all_that_has_a_fixed_text() {
        let inventory = [
            ("DeviceId", "String"),
            ("OSPlatform", "String"),
            ("SoftwareVendor", "String"),
            ("SoftwareName", "String"),
            ("EndOfSupportDate", "DateTime"),
            ("Tags", "Object"),
            ("IsOld", "SByte"),
        ];
        let scalars = scalars(&inventory);
        assert_eq!(scalars, ["DeviceId", "OSPlatform", "SoftwareVendor", "SoftwareName", "EndOfSupportDate", "IsOld"]);
        assert_eq!(keys(&scalars), ["DeviceId", "SoftwareName", "SoftwareVendor"]);
        let unknown: Vec<String> = (0..9).map(|n| format!("C{n}")).collect();
        assert_eq!(keys(&unknown), ["C0", "C1", "C2", "C3"]);
    }

    #[test]
    fn slices_have_parts_of_their_own_where_the_number_of_parts_allows() {
        let counted = |parts| SLICES.map(|least| slices(parts, least));
        assert_eq!((counted(5_040), counted(5_038), counted(4_999)), ([4, 16], [11, 22], [4, 16]));
    }

    fn answer(rows: Value) -> Rows {
        let rows = rows.as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone()).collect();
        Rows { columns: Vec::new(), rows }
    }

    #[test]
    fn a_count_that_cannot_be_one_is_refused() {
        let good = json!({"Part": 3, "Rows": 2, "Sum": 77});
        let read = buckets(&answer(json!([good])), 4).unwrap();
        assert_eq!(read, [Bucket { part: 3, rows: 2, sum: 77 }]);
        for wrong in [
            json!([good, good]),
            json!([{"Part": 4, "Rows": 2, "Sum": 77}]),
            json!([{"Part": 3, "Rows": 2}]),
            json!([{"Part": 3, "Rows": 2, "Sum": null}]),
            json!([{"Part": null, "Rows": 2, "Sum": 1}]),
        ] {
            assert!(buckets(&answer(wrong.clone()), 4).is_err(), "{wrong}");
        }
    }
}
