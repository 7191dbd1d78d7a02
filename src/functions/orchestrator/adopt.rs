//! `adxingestor adopt`: rebuilds the ledger of a table from what its destination holds. Reads ADX and the source, writes the
//! state store and, last, one row of `meta_Ledger`; the destination's rows are never touched. What is decided is in
//! `orchestration::adoption`.

use super::begin;
use super::plan::learn::{self, Probe};
use super::plan::ownership::{CopyOf, Found, landed};
use super::{StepError, store};
use crate::adx::catalog::{ConfigRow, LedgerEntry, LedgerOwner};
use crate::app::{App, Services, mode_of};
use crate::defender::queries::{self, Hashing, Slice, Source};
use crate::functions::hunting::{Hunting, number};
use crate::functions::planner::Planner;
use crate::functions::source::{self, ARRIVAL_COLUMN};
use crate::kql::Identifier;
use crate::orchestration::adoption::compare;
use crate::orchestration::adoption::facts::{self, Clues, Facts, check_since};
use crate::orchestration::adoption::report::Report;
use crate::orchestration::adoption::{Landed, Layout, begun, lay_out, write};
use crate::orchestration::head::take::Fresh;
use crate::orchestration::ids::{InstanceId, TableKey};
use crate::orchestration::instance::{LoadType, TableConfig};
use crate::orchestration::ledger::{ChunkIdPlace, CutAxis, Head};
use crate::orchestration::plan::{Caps, Piece};
use crate::orchestration::removal::Place;
use crate::orchestration::run::place::is_over;
use crate::orchestration::sizing;
use crate::spelling::did_you_mean;
use crate::state::{Error as StateError, Stored};
use crate::storage::ETag;
use crate::timestamp::Timestamp;
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long an adoption may take: one hunting call for each gap, within the quota.
const LONGEST: Duration = Duration::from_secs(3600);

/// Why nothing was adopted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings do not make an app.
    #[error("{0}")]
    Settings(String),
    /// The table is not configured.
    #[error(
        "no active row of {view} has the SourceTable or DestinationTable `{table}`{meant}; correct the name, or the row in the configuration \
         table"
    )]
    NotConfigured {
        /// What was asked for.
        table: String,
        /// Where it was looked for.
        view: String,
        /// What may have been meant, with what it is joined by.
        meant: String,
    },
    /// No run has made the destination yet.
    #[error("there is no table {0} in ADX, so there is nothing to adopt: a run makes it")]
    NoDestination(Identifier),
    /// A run is active.
    #[error("run {0} is active: wait for its end, or terminate it, then adopt again. Nothing was changed")]
    Active(InstanceId),
    /// Somebody else changed the ledger.
    #[error("the ledger was changed by a run in the meantime: wait for its end, then adopt again")]
    Changed,
    /// Something cannot be adopted, or could not be found out.
    #[error("{0}")]
    Failed(String),
    /// The state store failed.
    #[error(transparent)]
    State(StateError),
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Conflict => Self::Changed,
            other => Self::State(other),
        }
    }
}

impl From<StepError> for Error {
    fn from(error: StepError) -> Self {
        match error {
            StepError::State(error) => error.into(),
            StepError::Failed(error) => Self::Failed(error),
            StepError::Later { error, .. } => Self::Failed(format!("{error}. Nothing was changed; adopt again")),
        }
    }
}

impl From<crate::adx::Error> for Error {
    fn from(error: crate::adx::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<crate::functions::hunting::Error> for Error {
    fn from(error: crate::functions::hunting::Error) -> Self {
        StepError::from(error).into()
    }
}

/// What an adoption works with.
struct Adopting<'a> {
    app: &'a App,
    services: &'a Services,
    config: TableConfig,
    key: TableKey,
    destination: Identifier,
    since: Option<Timestamp>,
    deadline: Instant,
}

/// The active rows of the configuration.
///
/// # Errors
/// [`Error`], also where a run is active.
pub async fn adoptable(app: &App) -> Result<Vec<ConfigRow>, Error> {
    refuse_active(app).await?;
    let rows = services(app)?.catalog.read_config(Instant::now() + LONGEST).await?;
    Ok(rows.into_iter().filter(|row| row.is_active == Some(true)).collect())
}

/// The row of the [`adoptable`] ones that has `table` as its source, or else as its destination.
///
/// # Errors
/// [`Error::NotConfigured`].
pub fn named<'r>(app: &App, rows: &'r [ConfigRow], table: &str) -> Result<&'r ConfigRow, Error> {
    let view = services(app)?.settings.names.config_view.as_str().to_owned();
    let of_source = rows.iter().find(|row| row.source_table == table);
    of_source.or_else(|| rows.iter().find(|row| row.destination_table == table)).ok_or_else(|| Error::NotConfigured {
        table: table.to_owned(),
        view,
        meant: did_you_mean(table, rows.iter().map(|row| row.source_table.as_str())),
    })
}

fn services(app: &App) -> Result<&Services, Error> {
    app.services.as_deref().map_err(|reason| Error::Settings(reason.clone()))
}

/// Adopts the table of an active row of the configuration; `since` is where its first run was told to begin, if it was. With `dry_run`
/// nothing is written, and the gaps are not counted at the source.
///
/// # Errors
/// [`Error`].
pub async fn adopt(app: &App, row: ConfigRow, since: Option<Timestamp>, dry_run: bool) -> Result<Report, Error> {
    let services = services(app)?;
    let deadline = Instant::now() + LONGEST;
    refuse_active(app).await?;
    let crate::orchestration::run::begin::Row { config, problem } = begin::validated(row);
    if let Some(problem) = problem {
        return Err(Error::Failed(problem));
    }
    let key = services.settings.table_key(&config.source, &config.destination);
    let destination = Identifier::new(&config.destination).map_err(StepError::name)?;
    Adopting { app, services, config, key, destination, since, deadline }.adopt(dry_run).await
}

async fn refuse_active(app: &App) -> Result<(), Error> {
    for place in app.state.places().await? {
        let run = app.state.instance(&place.record.instance).await?.map(|run| run.record);
        if !is_over(&place.record, run.as_ref(), app.state.now(), &app.limits) {
            return Err(Error::Active(place.record.instance));
        }
    }
    Ok(())
}

impl Adopting<'_> {
    async fn adopt(&self, dry_run: bool) -> Result<Report, Error> {
        let (app, catalog) = (self.app, &self.services.catalog);
        let head = app.state.head(&self.key).await?;
        let Some((rows, has_column)) = catalog.size(&self.destination, self.deadline).await? else {
            return Err(Error::NoDestination(self.destination.clone()));
        };
        let owner = catalog.ledger_owner(&self.config.source, &self.config.destination, self.deadline).await?;
        let place = self.place(head.as_ref().map(|head| &head.record));
        let found = if has_column || place.chunk_id == ChunkIdPlace::Row {
            let chunk_id = mode_of(place.chunk_id);
            let copy = CopyOf { source: &self.config.source, table: &self.destination, chunk_id };
            let ours = head.as_ref().map(|head| head.record.ledger);
            landed(self.services, copy, ours, Timestamp::MIN, self.deadline).await?
        } else {
            Found::default()
        };
        let Found { of_this: found, rows_of_other_sources } = found;
        let rows = rows.saturating_sub(rows_of_other_sources);
        check_since(&self.config.destination, self.since, &found).map_err(|error| Error::Failed(error.to_string()))?;
        let mut report = Report::new(&self.config, place, rows, &found, owner.as_ref().map(|o| o.ledger_id.as_str()));
        report.beside(rows_of_other_sources);
        let mut hunting = Hunting::new(app, self.services, self.deadline);
        let stored = head.as_ref().map(|head| &head.record);
        let facts = self.facts(stored, owner.as_ref(), &found, report.rows_of_others(), &mut hunting).await?;
        let windows = store::windows(app, &self.key).await?;
        let laid = lay_out(stored, windows, found, &facts, app.state.now(), &app.limits);
        let layout = laid.map_err(|error| Error::Failed(error.to_string()))?;
        report.laid_out(&layout, &facts);
        if dry_run || (facts.is_owner && layout.is_nothing()) {
            return Ok(report);
        }
        self.compare(&layout, &facts, stored, &mut hunting).await?;
        let pieces = self.cut(&layout, &facts, stored, &mut hunting).await?;
        report.cut(&pieces);
        refuse_active(app).await?;
        let rebuilt = self.store(head, layout, pieces, &facts).await?;
        self.own(&rebuilt).await?;
        report.written(&rebuilt);
        Ok(report)
    }

    fn place(&self, head: Option<&Head>) -> Place {
        let learned = head.and_then(|head| head.shape.as_ref()).map(|shape| shape.chunk_id);
        let chunk_id = learned.unwrap_or(self.services.settings.chunk_id);
        let of_snapshots = self.config.load_type == Some(LoadType::Snapshot);
        Place { table: self.destination.clone(), chunk_id, of_snapshots }
    }

    /// What has to be known beside the windows. The cut axis is what the owner says it is: the windows lie on it.
    async fn facts(
        &self,
        head: Option<&Head>,
        owner: Option<&LedgerOwner>,
        found: &[Landed],
        rows_of_others: u64,
        hunting: &mut Hunting<'_>,
    ) -> Result<Facts, Error> {
        let bits = self.app.state.random();
        let is_owner = head.zip(owner).is_some_and(|(head, owner)| head.ledger.to_string() == owner.ledger_id);
        let shape = match head.and_then(|head| head.shape.clone()) {
            Some(shape) => shape,
            None => {
                let Some(Probe { axis, parts, .. }) = learn::probe(&self.config, hunting).await? else {
                    return Err(Error::Failed(format!(
                        "{} shows no rows, so its columns cannot be learned; adopt again when it does. Nothing was changed",
                        self.config.source
                    )));
                };
                let axis = owner.map_or(axis, |owner| CutAxis::named(&owner.cut_axis));
                let settings = &self.services.settings;
                facts::shape(axis, parts, settings.row_format, settings.chunk_id, rows_of_others > 0)
            }
        };
        let before = found.iter().map(|one| one.first).min().unwrap_or(Timestamp::MAX);
        if rows_of_others > 0 && before == Timestamp::MIN {
            return Err(Error::Failed(format!(
                "{} notes no ingestion times (its policy ingestiontime is off), so it cannot be told where the app that copied \
                 before this one had stopped. Copy to another DestinationTable",
                self.destination
            )));
        }
        let (source, destination) = (&self.config.source, &self.config.destination);
        let catalog = &self.services.catalog;
        let mut stopped = catalog.stopped_before(source, destination, before, self.deadline).await?;
        if let Some(at) = stopped.as_ref().map(|stopped| stopped.high_watermark)
            && catalog.watermark_inherited_from(source, destination, at, self.deadline).await?.is_some()
        {
            stopped = None;
        }
        let clues = Clues {
            config: &self.config,
            is_owner,
            proved: owner.filter(|owner| owner.cut_axis == shape.axis.to_string()).and_then(|o| o.verified_up_to),
            stopped: stopped.map(|stopped| (stopped.high_watermark, stopped.last_refreshed)),
            by_arrival: self.config.watermark_column == ARRIVAL_COLUMN,
            rows_of_others,
            found,
            high: self.app.state.now() - self.app.limits.settling_lag,
            since: self.since,
        };
        Ok(facts::gather(clues, shape, Fresh::from_bits(bits)))
    }

    /// Holds the rows of the windows that nobody has proved against the source.
    async fn compare(
        &self,
        layout: &Layout<ETag>,
        facts: &Facts,
        head: Option<&Head>,
        hunting: &mut Hunting<'_>,
    ) -> Result<(), Error> {
        let now = self.app.state.now();
        let head = begun(head, &self.config, facts, now);
        let source = source::of(&head, &facts.shape, facts.shape.handover.is_some()).map_err(StepError::name)?;
        let place = self.place(Some(&head));
        let mut wrong = Vec::new();
        for ranges in compare::stretches(&layout.adopted, &facts.shape.axis, facts.proved, now) {
            let Some((low, high, rows)) = compare::sum(&ranges) else { continue };
            if count(hunting, &source, &source::slice_of(low, high)).await? == rows {
                continue;
            }
            for range in &ranges {
                let counted = count(hunting, &source, &source::slice_of(range.low, range.high)).await?;
                match (counted.cmp(&range.rows), range.windows.as_slice()) {
                    (Ordering::Equal, _) => {}
                    (Ordering::Less, [id]) if counted > 0 => {
                        let (mode, id_text) = (mode_of(place.chunk_id), id.to_string());
                        let catalog = &self.services.catalog;
                        let landings = catalog.landings(&self.destination, mode, &id_text, self.deadline).await?;
                        wrong.push(place.second_copy(id, counted, &landings));
                    }
                    // The source may have let go of them.
                    (Ordering::Less, _) if counted == 0 => {}
                    _ => wrong.push(place.differs(range, counted)),
                }
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::Failed(format!("{}. Then adopt again; nothing was changed", wrong.join("; "))))
    }

    /// Cuts the gaps into windows that fit an answer, and counts their rows.
    async fn cut(
        &self,
        layout: &Layout<ETag>,
        facts: &Facts,
        head: Option<&Head>,
        hunting: &mut Hunting<'_>,
    ) -> Result<Vec<Piece>, Error> {
        let head = begun(head, &self.config, facts, self.app.state.now());
        let limits = &self.app.limits;
        let target = sizing::target_rows(&head, limits, hunting.byte_cap());
        let source = source::of(&head, &facts.shape, facts.shape.handover.is_some()).map_err(StepError::name)?;
        let hashing = source::hashing(&facts.shape).map_err(StepError::name)?;
        let mut pieces = Vec::new();
        for gap in layout.gaps.iter().filter(|gap| !gap.is_part()) {
            if gap.is_null_axis() || layout.has_late_rows(gap) {
                let rows = count(hunting, &source, &source::slice_of(gap.low, gap.high)).await?;
                let whole = Piece { rows, ..*gap };
                let mut planner = Planner::new(hunting, &source, &hashing);
                let caps = Caps::of_rows(target);
                pieces.extend(if rows > target { planner.divide_at_once(whole, caps).await? } else { vec![whole] });
            } else {
                let mut planner = Planner::new(hunting, &source, &hashing);
                let counted = planner.count(gap.low, gap.high, 0, false, None).await?;
                pieces.extend(planner.cut(counted, target).await?);
            }
        }
        let beside: Vec<_> = layout.with_rows().collect();
        for parts in facts::stretches(&layout.gaps) {
            let counts = part_counts(hunting, &source, &hashing, &parts[0]).await?;
            let counted = facts::parts(&self.place(Some(&head)), &parts, &counts, &beside);
            pieces.extend(counted.map_err(|error| Error::Failed(error.to_string()))?);
        }
        Ok(pieces)
    }

    /// Writes the ledger; gives its head.
    async fn store(
        &self,
        head: Option<Stored<Head>>,
        layout: Layout<ETag>,
        pieces: Vec<Piece>,
        facts: &Facts,
    ) -> Result<Head, Error> {
        let (app, key) = (self.app, &self.key);
        let now = app.state.now();
        let Stored { record: mut head, mut etag } = match head {
            Some(head) => head,
            None => {
                let record = begun(None, &self.config, facts, now);
                let etag = store::head(app, key, &record, None).await?;
                Stored { record, etag }
            }
        };
        for step in write(&head, layout, pieces, facts, now, &app.limits) {
            etag = store::table(app, key, &step, &etag).await?;
            head = step.head;
        }
        Ok(head)
    }

    /// Takes the destination over in `meta_Ledger`, and reads back whether that is so.
    async fn own(&self, head: &Head) -> Result<(), Error> {
        let Some(shape) = &head.shape else { return Ok(()) };
        let (ledger, axis) = (head.ledger.to_string(), shape.axis.to_string());
        let entry =
            LedgerEntry { source: &head.source, destination: &head.destination, ledger_id: &ledger, axis: &axis };
        let catalog = &self.services.catalog;
        catalog.record_verified(&entry, head.verified_up_to, self.deadline).await?;
        let owner = catalog.ledger_owner(entry.source, entry.destination, self.deadline).await?;
        match owner {
            Some(owner) if owner.ledger_id == ledger => Ok(()),
            owner => Err(Error::Failed(format!(
                "{} belongs to ledger {} although ledger {ledger} has just claimed it: another app copies to it. Stop that, then adopt \
                 again",
                head.destination,
                owner.map_or_else(|| "nobody".to_owned(), |owner| owner.ledger_id)
            ))),
        }
    }
}

async fn count(hunting: &mut Hunting<'_>, source: &Source, slice: &Slice) -> Result<u64, Error> {
    let rows = hunting.rows(&queries::count(source, slice, None)).await?;
    number(&rows, "Rows").ok_or_else(|| Error::Failed("the source answered a count without a number".to_owned()))
}

/// The rows of each hash part of a piece's stretch.
async fn part_counts(
    hunting: &mut Hunting<'_>,
    source: &Source,
    hashing: &Hashing,
    piece: &Piece,
) -> Result<Vec<(u64, u64)>, Error> {
    let slice = source::slice_of(piece.low, piece.high);
    let query = queries::partition_counts(source, &slice, hashing, u32::from(piece.part.count));
    let rows = hunting.counts(&query).await?.rows;
    let value = |row: &Map<String, Value>, column: &str| row.get(column).and_then(Value::as_u64);
    Ok(rows.iter().filter_map(|row| value(row, "Part").zip(value(row, "Rows"))).collect())
}
