//! What a table's first run finds out, once: the destination, the cut axis and the columns. What rows weigh is for `measure`.

use super::super::{Step, StepError};
use super::snapshot;
use crate::adx::catalog::{Claim, DestinationError, LedgerEntry, Readiness};
use crate::app::{Services, destination as wanted};
use crate::config::OversizeRows;
use crate::defender::{Error as HuntingError, Rows, queries};
use crate::functions::columns::Columns;
use crate::functions::hunting::{Error, Hunting};
use crate::functions::source::ARRIVAL_COLUMN;
use crate::kql::Identifier;
use crate::orchestration::head::learn as rules;
use crate::orchestration::head::lost::lost;
use crate::orchestration::instance::{LoadType, TableConfig, TableRun};
use crate::orchestration::ledger::{CutAxis, HashFunction, Head, PartedBy, RowFormat, Shape};
use crate::orchestration::snapshot::Snapshots;
use crate::orchestration::window::Window;
use serde_json::Value;
use tokio::time::Instant;

/// Columns that tell rows of the same instant apart, best first (learn.microsoft.com "Data tables in the Microsoft Defender XDR
/// advanced hunting schema"). The event time comes early: it is among those that are taken wherever a table has it.
const GOOD_HASH_COLUMNS: [&str; 6] =
    ["DeviceId", "ReportId", "Timestamp", "NetworkMessageId", "RecipientEmailAddress", "NodeId"];
/// The same of tables whose rows have no number of their own (`ReportId`).
const IDS: [&str; 24] = [
    "Timestamp",
    "AlertId",
    "BehaviorId",
    "DeviceId",
    "NetworkMessageId",
    "EntityType",
    "RequestId",
    "ProcessId",
    "InitiatingProcessId",
    "ActivityId",
    "SequenceCorrelationId",
    "ObjectId",
    "SessionId",
    "CampaignId",
    "AIAgentId",
    "AgentId",
    "ConfigurationId",
    "AccountObjectId",
    "RecipientEmailAddress",
    "NodeId",
    "FileName",
    "RemoteUrl",
    "RemoteIP",
    "AzureResourceId",
];
/// The type of a time, as answers and the engine spell it, but for its case.
const DATETIME: &str = "datetime";
/// The column that most tables have for their time.
const TIMESTAMP: &str = "Timestamp";
/// When a row arrived, in the answer to a probe.
const ARRIVED_AT: &str = "ArrivedAt";
/// A number that a row has of its sender.
const ROW_NUMBER: &str = "ReportId";
/// Their types, as an answer and as the engine spell them.
const SCALARS: [&str; 7] = ["string", "int64", "long", "int32", "int", "guid", "datetime"];
/// Columns in a hash.
const MOST_HASH_COLUMNS: usize = 4;
/// The same where rows have no number of their own.
const MOST_IDS: usize = 7;
/// The same where no few of them tell rows apart.
const MOST_WIDE_COLUMNS: usize = 200;

/// Makes or extends the destination, unless it is gone with rows that were proved. Gives whether it was made now. `windows` are
/// all of the table.
pub async fn destination(
    services: &Services,
    table: &TableRun,
    head: &mut Head,
    windows: &[Window],
    deadline: Instant,
) -> Step<bool> {
    let config = &table.config;
    rules::agree(head, config).map_err(|error| StepError::Failed(error.to_string()))?;
    let lost = lost(head, windows, &services.settings.database);
    let wanted = wanted(&services.settings, config, Some(&*head), lost.is_some()).map_err(StepError::name)?;
    let ready = match (services.catalog.ensure_destination(&wanted, deadline).await, lost) {
        (Err(DestinationError::Gone { .. }), Some(lost)) => return Err(StepError::Failed(lost.to_string())),
        (ready, _) => ready?,
    };
    if wanted.stamped {
        services.catalog.ensure_latest(&config.source, &wanted, deadline).await?;
    }
    let created = ready.readiness == Readiness::Created;
    *head = rules::has_destination(head.clone(), config, created);
    (head.advice, head.largest_cell) = (ready.warnings, ready.largest_cell);
    if services.settings.oversize_rows == OversizeRows::Ingest {
        head.advice.extend(rules::oversize_advice(&config.destination, ready.largest_cell));
    }
    Ok(created)
}

/// Claims the destination for this ledger, and reads back who won.
async fn claim(services: &Services, head: &Head, axis: &CutAxis, deadline: Instant) -> Step<()> {
    let (ledger, axis) = (head.ledger.to_string(), axis.to_string());
    let entry = LedgerEntry { source: &head.source, destination: &head.destination, ledger_id: &ledger, axis: &axis };
    let owner = match services.catalog.claim_ledger(&entry, deadline).await? {
        Claim::Ours(_) => return Ok(()),
        Claim::Other(owner) => owner.ledger_id,
    };
    Err(StepError::Failed(format!(
        "{} was claimed by another ledger ({owner}; ours is {ledger}): run with the STATE_STORE that holds it, or, if that is lost, \
         `adxingestor adopt --table {}` first",
        head.destination, head.source
    )))
}

/// What one row of the source shows.
pub struct Probe {
    /// The best cut axis.
    pub axis: CutAxis,
    /// What spreads the rows.
    pub parts: PartedBy,
    /// Of a table that is copied whole, the columns by which its rows are compared.
    pub row_columns: Vec<String>,
    /// What a person is to know of it.
    pub advice: Vec<String>,
}

/// What may be asked of a row, best first: with the time of its arrival, and by which hash. Without any, a table that has a time is cut by
/// that alone.
const WAYS: [(bool, Option<HashFunction>); 6] = [
    (true, Some(HashFunction::Xxhash64)),
    (true, Some(HashFunction::Hash)),
    (false, Some(HashFunction::Xxhash64)),
    (false, Some(HashFunction::Hash)),
    (true, None),
    (false, None),
];

/// A row of a table or two, which hash the service has, and whether it may be asked for arrival times.
pub(super) struct Shown {
    pub(super) rows: Rows,
    /// The first of them, where it has none: a window that has to be parted fails with what it says to that.
    pub(super) function: HashFunction,
    /// Why it has none.
    no_hash: Option<HuntingError>,
    has_arrival: bool,
    /// Why it may not, where the service does not take such a question.
    no_arrival: Option<HuntingError>,
}

/// Looks at a table in the first way that the service does not refuse. A table without a time is of use only with a hash, and its arrival
/// times are of none.
pub(super) async fn look(table: &Identifier, has_time: bool, hunting: &mut Hunting<'_>) -> Step<Shown> {
    let mut refused = None;
    let is_of_use =
        |(has_arrival, function): &(bool, Option<HashFunction>)| has_time || !has_arrival && function.is_some();
    for (has_arrival, function) in WAYS.into_iter().filter(is_of_use) {
        let asked = function.map(|function| match function {
            HashFunction::Xxhash64 => queries::HashFunction::Xxhash64,
            HashFunction::Hash => queries::HashFunction::Hash,
        });
        let probe = if has_arrival { queries::probe_arrival } else { queries::probe };
        match hunting.rows(&probe(table, asked)).await {
            Ok(rows) => {
                let without_arrival = has_time && !has_arrival;
                if let Some(refused) = &refused {
                    tracing::warn!(%refused, table = %table, ?function, without_arrival, "the service refuses a function");
                }
                let no_hash = refused.filter(|_| function.is_none());
                let function = function.unwrap_or_default();
                let mut shown = Shown { rows, function, no_hash, has_arrival, no_arrival: None };
                if without_arrival {
                    // Perhaps it was another part of the question that was refused.
                    match arrival(table, hunting).await? {
                        Ok(arrived) => shown.has_arrived_at(arrived),
                        Err(refused) => shown.no_arrival = Some(refused),
                    }
                }
                return Ok(shown);
            }
            Err(Error::Call(error @ HuntingError::Refused { .. })) if !error.is_unknown(table) => refused = Some(error),
            Err(error) => return Err(unknown_table(table, error)),
        }
    }
    let none = || HuntingError::Corrupt { message: "no way to ask for a row is known".to_owned() };
    Err(Error::Call(refused.unwrap_or_else(none)).into())
}

impl Shown {
    /// Adds the time at which a row of the table arrived, if one has such a time.
    fn has_arrived_at(&mut self, arrived: Option<Value>) {
        if let (Some(row), Some(arrived)) = (self.rows.rows.first_mut(), arrived) {
            row.insert(ARRIVED_AT.to_owned(), arrived);
        }
    }
}

/// When a row arrived, asked for by itself; an error of its own where the service does not take that either.
async fn arrival(table: &Identifier, hunting: &mut Hunting<'_>) -> Step<Result<Option<Value>, HuntingError>> {
    match hunting.rows(&queries::arrival(table)).await {
        Ok(rows) => Ok(Ok(rows.rows.first().and_then(|row| row.get(ARRIVED_AT)).cloned())),
        Err(Error::Call(error @ HuntingError::Refused { .. })) if !error.is_unknown(table) => Ok(Err(error)),
        Err(error) => Err(unknown_table(table, error)),
    }
}

/// Looks at one row of the source; `None` when it shows none.
pub async fn probe(config: &TableConfig, hunting: &mut Hunting<'_>) -> Step<Option<Probe>> {
    if config.load_type == Some(LoadType::Snapshot) {
        return snapshot::probe(config, hunting).await;
    }
    let source_table = Identifier::new(&config.source).map_err(StepError::name)?;
    let Shown { rows, function, no_hash, has_arrival, no_arrival } = look(&source_table, true, hunting).await?;
    if rows.rows.is_empty() {
        return Ok(None);
    }
    let column = |name: &str| rows.columns.iter().find(|column| column.name == name);
    if has_arrival && column(ARRIVED_AT).is_none() {
        return Err(StepError::later(format!(
            "the probe of {source_table} came back without the column it was asked for"
        )));
    }
    // Those that arrived before the engine kept that time have none.
    let offers_arrival = rows.rows.iter().any(|row| row.get(ARRIVED_AT).is_some_and(|value| value.is_string()));
    let watermark = config.watermark_column.as_str();
    let axis = if offers_arrival {
        CutAxis::ArrivalTime
    } else if watermark == ARRIVAL_COLUMN {
        return Err(StepError::Failed(format!(
            "{} offers no arrival time, so WatermarkColumn cannot be {ARRIVAL_COLUMN}; name one of its datetime columns, or set \
             LoadType to Snapshot, which copies the whole table in each run",
            config.source
        )));
    } else {
        CutAxis::Column(watermark.to_owned())
    };
    if watermark != ARRIVAL_COLUMN && column(watermark).is_none() {
        let times: Vec<&str> = rows
            .columns
            .iter()
            .filter(|c| c.ty.eq_ignore_ascii_case(DATETIME) && c.name != ARRIVED_AT)
            .map(|c| c.name.as_str())
            .collect();
        return Err(StepError::Failed(no_column(config, offers_arrival, &times)));
    }
    let names: Vec<(&str, &str)> =
        rows.columns.iter().map(|c| (c.name.as_str(), c.ty.as_str())).filter(|c| c.0 != ARRIVED_AT).collect();
    hunting.try_timespan(&source_table, offers_arrival, &names).await?;
    let parts = PartedBy { function, columns: hash_columns(&names) };
    let no_hash = no_hash.map(|refused| {
        format!(
            "the hunting service refuses the functions by which rows of {source_table} would be parted ({refused}): it is cut by time \
             alone, and more rows of one instant than an answer holds cannot be copied"
        )
    });
    let no_arrival = no_arrival.map(|refused| {
        format!(
            "{source_table} is cut by {watermark} and not by the time of arrival, for which the service refuses to be asked \
             ({refused}): rows that come later than LOOK_BACK_HOURS behind their {watermark} are not found"
        )
    });
    let ty = names.iter().find(|(name, _)| *name == watermark).map_or(DATETIME, |(_, ty)| ty);
    // Of some tables the schema says that their time is text.
    let no_time = (!ty.eq_ignore_ascii_case(DATETIME) && watermark != TIMESTAMP).then(|| {
        format!(
            "WatermarkColumn {watermark} of {source_table} is of type {ty}, not datetime: rows in which it is no time have none at the \
             destination"
        )
    });
    let advice = no_hash.into_iter().chain(no_arrival).chain(no_time).collect();
    Ok(Some(Probe { axis, parts, row_columns: Vec::new(), advice }))
}

/// What to set where the watermark column is none of the table's.
fn no_column(config: &TableConfig, offers_arrival: bool, times: &[&str]) -> String {
    let TableConfig { source, watermark_column, .. } = config;
    let whole = "set LoadType to Snapshot, which copies the whole table in each run and needs no WatermarkColumn";
    match (offers_arrival, times) {
        (true, _) => {
            let choice = [&[ARRIVAL_COLUMN], times].concat().join(", ");
            format!("{source} has no column {watermark_column}; set WatermarkColumn to one of: {choice}")
        }
        (false, []) => {
            format!("{source} has no column {watermark_column}, no other datetime column and no arrival time: {whole}")
        }
        (false, times) => format!(
            "{source} has no column {watermark_column} and no arrival time: {whole}; or, if one of its datetime columns says when a \
             row came, set WatermarkColumn to it ({})",
            times.join(", ")
        ),
    }
}

/// Finds out the table's shape, and claims the destination. Gives `false` when the source shows no row to learn from.
pub async fn shape(services: &Services, table: &TableRun, head: &mut Head, hunting: &mut Hunting<'_>) -> Step<bool> {
    if !found_out(services, table, head, hunting).await? {
        return Ok(false);
    }
    if let Some(shape) = &head.shape {
        claim(services, head, &shape.axis, hunting.deadline()).await?;
    }
    Ok(true)
}

/// Finds out the table's shape by asking alone. Gives `false` when the source shows no row to learn from.
pub async fn found_out(
    services: &Services,
    table: &TableRun,
    head: &mut Head,
    hunting: &mut Hunting<'_>,
) -> Step<bool> {
    let Some(Probe { axis, parts, row_columns, advice }) = probe(&table.config, hunting).await? else {
        return Ok(false);
    };
    let snapshots = (axis == CutAxis::Whole).then(|| Box::new(Snapshots::new(row_columns)));
    let handover = rules::handover(&table.config, &axis, table.config.watermark_column == ARRIVAL_COLUMN);
    let taken_over = table.config.high_watermark.is_some();
    let default_format = if taken_over { RowFormat::Full } else { RowFormat::Compact };
    let shape = Shape {
        axis,
        row_format: services.settings.row_format.unwrap_or(default_format),
        chunk_id: services.settings.chunk_id,
        parts,
        parting: 0,
        narrower: Vec::new(),
        handover,
    };
    *head = rules::shaped(head.clone(), &table.config, shape, table.high);
    head.snapshots = snapshots;
    head.advice.extend(advice);
    head.advice.extend(rules::left_out(head, &table.config));
    Ok(true)
}

/// The API says the same of a table that does not exist and of one that the tenant may not see.
pub fn unknown_table(table: &Identifier, error: Error) -> StepError {
    match &error {
        Error::Call(call) if call.is_unknown(table) => StepError::Failed(format!(
            "{table} is not a table that this identity can query ({call}). Check its spelling (names are case-sensitive) and the \
             tenant's licence for it, or set IsActive to false in its config row"
        )),
        _ => error.into(),
    }
}

/// What rows are parted by from now on, where that is no longer what it was: one of its columns is not among the table's
/// `columns`, or is among the `changed` ones, whose texts are others now.
pub fn parted_anew(shape: &Shape, columns: &Columns, changed: &[String]) -> Option<PartedBy> {
    let is_same = |name: &String| columns.contains_key(name) && !changed.contains(name);
    if shape.parts.columns.iter().all(is_same) {
        return None;
    }
    let names: Vec<(&str, &str)> = columns.iter().map(|(name, ty)| (name.as_str(), ty.as_str())).collect();
    Some(PartedBy { columns: hash_columns(&names), ..shape.parts })
}

/// Scalar columns whose hash spreads the rows.
fn hash_columns(columns: &[(&str, &str)]) -> Vec<String> {
    let has = |name: &str| columns.iter().any(|(column, ty)| *column == name && is_scalar(ty));
    let known = |names: &[&str], most| -> Vec<String> {
        names.iter().filter(|name| has(name)).take(most).map(|name| (*name).to_owned()).collect()
    };
    let good = if has(ROW_NUMBER) { known(&GOOD_HASH_COLUMNS, MOST_HASH_COLUMNS) } else { known(&IDS, MOST_IDS) };
    if good.len() >= 2 {
        return good;
    }
    let others = columns.iter().filter(|(name, ty)| is_scalar(ty) && !good.iter().any(|known| known == name));
    let others = others.map(|(name, _)| (*name).to_owned());
    good.iter().cloned().chain(others).take(MOST_HASH_COLUMNS).collect()
}

fn is_scalar(ty: &str) -> bool {
    SCALARS.iter().any(|known| known.eq_ignore_ascii_case(ty))
}

/// All scalar columns, where they are more than those that part the rows now: rows that are equal in all of those may be told apart
/// by another. Only for rows that nothing else divides, as all these columns are read of the rows of other parts too.
pub fn wider(shape: &Shape, columns: &Columns) -> Option<Vec<String>> {
    let all: Vec<String> =
        columns.iter().filter(|(_, ty)| is_scalar(ty)).map(|(name, _)| name.clone()).take(MOST_WIDE_COLUMNS).collect();
    all.iter().any(|column| !shape.parts.columns.contains(column)).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_of_scalar_columns_that_tell_rows_apart() {
        let device =
            [("Timestamp", "DateTime"), ("DeviceId", "String"), ("ReportId", "Int64"), ("ActionType", "String")];
        assert_eq!(hash_columns(&device), ["DeviceId", "ReportId", "Timestamp"]);
        let other = [("Bag", "Object"), ("Id", "String"), ("Weight", "Double"), ("Name", "String")];
        assert_eq!(hash_columns(&other), ["Id", "Name"]);
        let evidence = [
            ("Timestamp", "DateTime"),
            ("AlertId", "String"),
            ("EntityType", "String"),
            ("DeviceId", "String"),
            ("NetworkMessageId", "String"),
            ("AdditionalFields", "Object"),
        ];
        assert_eq!(hash_columns(&evidence), ["Timestamp", "AlertId", "DeviceId", "NetworkMessageId", "EntityType"]);
        let behaviors = [("Timestamp", "DateTime"), ("BehaviorId", "String"), ("DeviceId", "String")];
        assert_eq!(hash_columns(&behaviors), ["Timestamp", "BehaviorId", "DeviceId"]);
    }

    #[test]
    fn rows_that_few_columns_do_not_tell_apart_are_parted_by_all_scalar_ones_once() {
        use crate::orchestration::head::testing::shape;
        let columns: Columns = [("A", "string"), ("Bag", "dynamic"), ("C", "long"), ("On", "datetime")]
            .map(|(name, ty)| (name.to_owned(), ty.to_owned()))
            .into();
        let mut shape = Shape { parts: PartedBy { columns: vec!["C".into()], ..PartedBy::default() }, ..shape() };
        let all = wider(&shape, &columns).unwrap();
        assert_eq!(all, ["A", "C", "On"]);
        shape.widen(all);
        assert_eq!(wider(&shape, &columns), None);
    }

    #[test]
    fn rows_are_parted_by_other_columns_once_one_of_them_is_gone_or_is_another() {
        use crate::orchestration::head::testing::shape;
        let columns = |named: &[(&str, &str)]| -> Columns {
            named.iter().map(|(name, ty)| ((*name).to_owned(), (*ty).to_owned())).collect()
        };
        let parts = PartedBy { columns: vec!["DeviceId".into(), "ReportId".into()], function: HashFunction::Hash };
        let shape = Shape { parts, ..shape() };
        let all = [("Bag", "dynamic"), ("DeviceId", "string"), ("ReportId", "long"), ("Timestamp", "datetime")];
        assert_eq!(parted_anew(&shape, &columns(&all), &["Bag".into()]), None);
        let by = |columns: &Columns, changed: &[String]| parted_anew(&shape, columns, changed).unwrap();
        let gone = by(&columns(&[all[0], all[1], all[3]]), &[]);
        assert_eq!(
            (gone.columns, gone.function),
            (vec!["Timestamp".to_owned(), "DeviceId".into()], HashFunction::Hash)
        );
        assert_eq!(by(&columns(&all), &["ReportId".into()]).columns, ["DeviceId", "ReportId", "Timestamp"]);
    }
}
