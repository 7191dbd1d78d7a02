//! What an installation of the Python app has of what a run needs, what a first run adds to it, and what has to be mended before
//! one can take over. Looks only.

use super::first_run::first_run;
use super::offered::{Columns, arrivals, offered};
use super::plan::{Item, Kind, Plan, Step, table_items};
use super::{Error, alike, services, tables};
use crate::adx::catalog::{ConfigRow, Configured, DestinationError, Found, add_columns, config_rows, named};
use crate::adx::error::Error as AdxError;
use crate::app::{App, Services, destination as wanted};
use crate::defender::queries::ARRIVAL_COLUMN;
use crate::functions::hunting::Hunting;
use crate::functions::validated;
use crate::kql::{Identifier, InvalidName};
use crate::orchestration::instance::{LoadType, TableConfig};
use crate::orchestration::run::begin::Row;
use crate::printable::{grouped, one_line};
use crate::remedy::{Application, Role};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use tokio::time::Instant;

/// The roles without which no run is.
const NEEDED: [Role; 3] = [Role::Users, Role::Ingestors, Role::Viewers];

/// What is said of a part of the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// It stays as it is.
    Kept(String),
    /// A first run, or `--apply`, adds it.
    Added(String),
    /// What a first run does.
    Run(String),
    /// A person is to know it.
    Note(String),
    /// It has to be mended first.
    Needs(String),
}

/// A part of the installation and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    heading: String,
    said: Vec<Said>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    database: String,
    parts: Vec<Part>,
    steps: Vec<Step>,
}

impl Report {
    /// How many things have to be mended before a first run can take over.
    pub fn needs(&self) -> usize {
        self.parts.iter().flat_map(|part| &part.said).filter(|said| matches!(said, Said::Needs(_))).count()
    }

    /// What can be done before the first run without harm, which does it otherwise.
    pub fn plan(&self) -> Plan {
        let items = self.steps.iter().cloned().map(Item::Do).collect();
        Plan { database: self.database.clone(), items, blind: None }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The installation in the database {}", one_line(&self.database))?;
        for part in &self.parts {
            writeln!(f, "\n{}", one_line(&part.heading))?;
            for said in &part.said {
                let (word, text) = match said {
                    Said::Kept(text) => ("kept", text),
                    Said::Added(text) => ("added", text),
                    Said::Run(text) => ("run", text),
                    Said::Note(text) => ("note", text),
                    Said::Needs(text) => ("needs", text),
                };
                writeln!(f, "  {word:<6} {}", one_line(text))?;
            }
        }
        match self.needs() {
            0 => writeln!(f, "\nA first run can take over. No row and no column that is there is changed."),
            1 => writeln!(f, "\nOne thing has to be mended before a first run can take over (`needs`)."),
            many => writeln!(f, "\n{many} things have to be mended before a first run can take over (`needs`)."),
        }
    }
}

/// Looks at the installation.
///
/// # Errors
/// What the looks can end in.
pub async fn examine(app: &App, identity: &Application, deadline: Instant) -> Result<Report, Error> {
    let services = services(app)?;
    let (mut metadata, mut steps, ledger) = metadata(services, deadline).await?;
    metadata.said.extend(roles(services, identity, deadline).await?);
    let catalog = &services.catalog;
    let configured = catalog.configured(deadline).await?;
    let rows = match catalog.config_answer(deadline).await.and_then(|answer| config_rows(&answer)) {
        Ok(rows) => rows,
        Err(AdxError::NotFound { .. }) if configured.iter().any(|held| held.is_active) => {
            metadata.said.push(Said::Needs(format!(
                "the tables can be looked at once the view {} is there: run `adxingestor setup --from-python-app --apply`, then this again",
                catalog.names().config_view
            )));
            Vec::new()
        }
        Err(AdxError::NotFound { .. }) => Vec::new(),
        Err(error @ (AdxError::Corrupt { .. } | AdxError::Refused { .. })) => {
            metadata
                .said
                .push(Said::Needs(format!("the view {} cannot be used: {error}", catalog.names().config_view)));
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    let switched_off = switched_off(&configured);
    if configured.is_empty() {
        metadata.said.push(Said::Needs("no table is configured: see `adxingestor setup --tables`".to_owned()));
    }
    let mut parts = vec![metadata];
    let source = Source::of(app, services, &rows, deadline).await?;
    for row in rows {
        let (part, more) = table(services, row, &source, ledger, deadline).await?;
        parts.push(part);
        steps.extend(more);
    }
    parts.extend(switched_off);
    Ok(Report { database: services.settings.database.clone(), parts, steps })
}

/// The metadata tables and views, what makes those that are missing, and whether there is a table of ledgers.
async fn metadata(services: &Services, deadline: Instant) -> Result<(Part, Vec<Step>, bool), Error> {
    let catalog = &services.catalog;
    let (mut said, mut steps, mut ledger) = (Vec::new(), Vec::new(), false);
    for (table, file) in catalog.metadata_tables() {
        let look = catalog.look_at_metadata(table, file, deadline).await?;
        ledger |= look.is_there && *table == catalog.names().ledger_table;
        let (is_there, lacks) = (look.is_there, look.lacks());
        for item in table_items(look) {
            said.push(match item {
                Item::There(what) => Said::Kept(what),
                Item::Wrong(what) => Said::Needs(what),
                Item::Note(what) => Said::Note(what),
                Item::Do(step) => {
                    steps.push(step);
                    Said::Added(if is_there {
                        format!("to the table {table}: {lacks}")
                    } else {
                        format!("the table {table}")
                    })
                }
            });
        }
    }
    let names = catalog.names();
    for (view, csl) in [&names.config_view, &names.chunk_audit_view].into_iter().zip(catalog.view_commands()) {
        said.push(match catalog.look_at_view(view, deadline).await? {
            Found::There => Said::Kept(format!("the view {view}")),
            Found::Broken(why) => {
                Said::Needs(format!("the view {view} does not run ({why}): correct it, or run `{csl}`"))
            }
            Found::Missing => {
                steps.push(Step { kind: Kind::Object, why: format!("Makes the view {view}."), csl });
                Said::Added(format!("the view {view}"))
            }
        });
    }
    Ok((Part { heading: "Metadata".to_owned(), said }, steps, ledger))
}

/// The roles that the app lacks, as far as the service shows that.
async fn roles(services: &Services, identity: &Application, deadline: Instant) -> Result<Vec<Said>, Error> {
    let catalog = &services.catalog;
    if identity.client.is_none() || identity.tenant.is_none() {
        return Ok(Vec::new());
    }
    let Some(held) = catalog.principals(deadline).await? else { return Ok(Vec::new()) };
    let lacking = NEEDED.into_iter().filter(|role| !held.may(identity, *role));
    let said =
        |role: Role| Said::Needs(format!("the role {role} for the app: run `{}`", catalog.grant(role, identity)));
    Ok(lacking.map(said).collect())
}

fn switched_off(configured: &[Configured]) -> Option<Part> {
    let off = configured.iter().filter(|held| !held.is_active);
    let names: Vec<&str> = off.map(|held| held.source_table.as_str()).collect();
    let said = vec![Said::Kept(format!("not copied, as so far: {}", names.join(", ")))];
    (!names.is_empty()).then(|| Part { heading: "Switched off".to_owned(), said })
}

/// What the source shows of the configured tables.
struct Source {
    tables: BTreeMap<String, Columns>,
    refused: Vec<(String, String)>,
    /// Those that may have been meant by names that are none.
    alike: BTreeMap<String, Columns>,
    arrivals: BTreeMap<String, bool>,
}

impl Source {
    async fn of(app: &App, services: &Services, rows: &[ConfigRow], deadline: Instant) -> Result<Self, Error> {
        let mut names: Vec<Identifier> =
            rows.iter().filter_map(|row| Identifier::new(&row.source_table).ok()).collect();
        names.sort();
        names.dedup();
        let mut hunting = Hunting::new(app, services, deadline);
        let found = offered(&mut hunting, &names).await.map_err(Error::Installation)?;
        let is_refused = |name: &str| found.refused.iter().any(|(table, _)| table == name);
        let (there, missing): (Vec<Identifier>, Vec<Identifier>) =
            names.into_iter().partition(|name| found.tables.contains_key(name.as_str()));
        let missing: Vec<&str> = missing.iter().map(Identifier::as_str).filter(|name| !is_refused(name)).collect();
        let alike = alike(&mut hunting, &missing).await;
        let arrivals = arrivals(&mut hunting, &there).await.map_err(Error::Installation)?;
        Ok(Self { tables: found.tables, refused: found.refused, alike, arrivals })
    }

    /// What is wrong with a table at the source.
    fn problem(&self, config: &TableConfig) -> Option<String> {
        let TableConfig { source, watermark_column: column, .. } = config;
        if let Some((_, why)) = self.refused.iter().find(|(table, _)| table == source) {
            return Some(format!("the source refuses {source}: {why}"));
        }
        let Some(columns) = self.tables.get(source) else {
            return Some(tables::unknown(source, |known| self.alike.contains_key(known)));
        };
        let is_its_own = config.load_type == Some(LoadType::Snapshot) || column == ARRIVAL_COLUMN;
        (!is_its_own && !columns.contains_key(column))
            .then(|| format!("{source} has no column {column}: correct WatermarkColumn in its configuration row"))
    }
}

/// One configured table, and what can be done for it before the first run.
async fn table(
    services: &Services,
    row: ConfigRow,
    source: &Source,
    ledger: bool,
    deadline: Instant,
) -> Result<(Part, Option<Step>), Error> {
    let heading = format!("{} -> {}", row.source_table, row.destination_table);
    let Row { config, problem } = validated(row);
    if let Some(problem) = problem {
        return Ok((Part { heading, said: vec![Said::Needs(problem)] }, None));
    }
    let mut said = Vec::new();
    let step = destination(services, &config, &mut said, deadline).await?;
    if let Some(problem) = source.problem(&config) {
        said.push(Said::Needs(problem));
        return Ok((Part { heading, said }, step));
    }
    let catalog = &services.catalog;
    let owner = match ledger {
        true => catalog.ledger_owner(&config.source, &config.destination, deadline).await?,
        false => None,
    };
    if let Some(owner) = owner {
        said.push(Said::Note(format!(
            "was taken over before, by the ledger {}: the next run goes on with the state store that holds it",
            owner.ledger_id
        )));
        return Ok((Part { heading, said }, step));
    }
    let arrival = source.arrivals.get(&config.source).copied();
    said.push(match first_run(&config, arrival, services.settings.limits.look_back) {
        Ok(told) => Said::Run(told),
        Err(wrong) => Said::Needs(wrong),
    });
    Ok((Part { heading, said }, step))
}

/// The destination of a table; gives the command that adds the column it lacks, where that is safe.
async fn destination(
    services: &Services,
    config: &TableConfig,
    said: &mut Vec<Said>,
    deadline: Instant,
) -> Result<Option<Step>, Error> {
    let unnamed = |error: InvalidName| AdxError::Corrupt { message: error.to_string() };
    let wanted = wanted(&services.settings, config, None, false).map_err(unnamed)?;
    let (catalog, table) = (&services.catalog, &wanted.table);
    let missing = match catalog.look_at_destination(&wanted, &mut Vec::new(), deadline).await {
        Ok(Some(missing)) => missing,
        Ok(None) => {
            said.push(Said::Added(format!("the table {table}, which is not there")));
            return Ok(None);
        }
        Err(DestinationError::Adx(error)) => return Err(error.into()),
        Err(error) => {
            said.push(Said::Needs(error.to_string()));
            return Ok(None);
        }
    };
    let rows = grouped(catalog.size(table, deadline).await?.map_or(0, |(rows, _)| rows));
    said.push(Said::Kept(match catalog.has_mapping(table, deadline).await? {
        Some(true) => format!("{rows} rows, and the mapping RawDataMap"),
        Some(false) => {
            format!("{rows} rows; there is no mapping RawDataMap, which other tools may want and this app does not")
        }
        None => format!("{rows} rows"),
    }));
    if missing.is_empty() {
        return Ok(None);
    }
    let lacks = named(&missing);
    said.push(Said::Added(format!("column {lacks}, at the end")));
    let csl = add_columns(table, &missing);
    let why = format!("Adds to the table {table} at its end: {lacks}.");
    Ok(Some(Step { kind: Kind::Object, why, csl }))
}
