//! Setting up: what Azure Data Explorer needs before a first run, as commands that a person can read, paste or have carried out;
//! and what an installation of the Python app has of it. Everything that is made is made by the same commands as by a run. Knows
//! nothing of the command line.

mod apply;
mod existing;
mod first_run;
mod offered;
mod plan;
mod script;
mod tables;

pub use apply::{Applied, Stopped, apply};
pub use existing::{Report, examine};
pub use offered::{Columns, Offered, arrival_query, columns_of, columns_query};
pub use plan::{Item, Kind, Plan, Step, Wanted, plan};
pub use tables::{BadChoice, Choice};

use crate::adx::catalog::ConfigRow;
use crate::app::{App, Services};
use crate::defender::queries::ARRIVAL_COLUMN;
use crate::functions::hunting::{Error as HuntingError, Hunting};
use crate::orchestration::snapshot::TIME_COLUMN;
use crate::remedy;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// How long setting up may take: a few hunting calls within the quota, and some commands.
const LONGEST: Duration = Duration::from_secs(900);
/// The columns that say when an event happened, best first: of advanced hunting, and of a workspace's own tables.
const TIMES: [&str; 2] = ["Timestamp", "TimeGenerated"];

/// Why nothing can be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings do not make an app.
    #[error("{0}")]
    Settings(String),
    /// Azure Data Explorer.
    #[error(transparent)]
    Adx(#[from] crate::adx::Error),
    /// The database is not there: nothing can be set up in it.
    #[error(
        "there is no database {database} at {cluster} ({error}): {}",
        remedy::MissingDatabase { cluster, name: database }
    )]
    NoDatabase {
        /// The cluster.
        cluster: Box<Url>,
        /// Its name, as it is set.
        database: String,
        /// What the service said.
        error: crate::adx::Error,
    },
    /// The source could not be asked which tables it has.
    #[error(
        "the tenant could not be asked which tables it offers: {0}. Without --tables, roles, tables and views are set up without asking"
    )]
    Source(HuntingError),
    /// The source could not be asked what it shows of the configured tables.
    #[error("the source could not be asked what it shows of the configured tables: {0}")]
    Installation(HuntingError),
    /// Tables that were named are not there.
    #[error("--tables: {}; nothing was changed", .0.join("; "))]
    Unknown(Vec<String>),
    /// The tenant offers none of the tables.
    #[error(
        "the tenant offers none of the tables that were asked for, or this identity sees none; nothing was changed"
    )]
    NothingOffered,
}

/// The end of the time that setting up may take, from now on.
pub fn deadline() -> Instant {
    Instant::now() + LONGEST
}

/// Asks for the database, so that nothing is planned for one that is not there.
///
/// # Errors
/// [`Error::NoDatabase`]. What else the question ends in is met and told by what is done next.
pub async fn find_database(app: &App, deadline: Instant) -> Result<(), Error> {
    let services = services(app)?;
    match services.catalog.config_answer(deadline).await {
        Err(error) if error.is_missing_database() => Err(Error::NoDatabase {
            cluster: Box::new(services.settings.cluster.clone()),
            database: services.settings.database.clone(),
            error,
        }),
        _ => Ok(()),
    }
}

/// The configuration rows of the tables of a choice, as the tenant's own schema asks for, and what was left out and why.
///
/// # Errors
/// [`Error`].
pub async fn rows(
    app: &App,
    choice: &Choice,
    folder: &str,
    deadline: Instant,
) -> Result<(Vec<ConfigRow>, Vec<String>), Error> {
    let services = services(app)?;
    let candidates = choice.candidates();
    let mut hunting = Hunting::new(app, services, deadline);
    let offered = offered::offered(&mut hunting, &candidates).await.map_err(Error::Source)?;
    let missing: Vec<&str> =
        candidates.iter().map(|table| table.as_str()).filter(|name| !offered.tables.contains_key(*name)).collect();
    let refused = |name: &str| offered.refused.iter().find(|(table, _)| table == name).map(|(_, why)| why.clone());
    if matches!(choice, Choice::Named(_)) && !missing.is_empty() {
        let there = alike(&mut hunting, &missing).await;
        let told = |name: &&str| {
            let unknown = || tables::unknown(name, |known| there.contains_key(known));
            refused(name).map_or_else(unknown, |why| format!("{name}: {why}"))
        };
        return Err(Error::Unknown(missing.iter().map(told).collect()));
    }
    if offered.tables.is_empty() {
        return Err(Error::NothingOffered);
    }
    let rows = offered.tables.iter().map(|(table, columns)| row(table, columns, folder)).collect();
    let (mut left_out, mut absent) = (Vec::new(), Vec::new());
    for name in missing {
        match refused(name) {
            Some(why) => left_out.push(format!("{name}: {why}")),
            None => absent.push(name),
        }
    }
    if !absent.is_empty() {
        left_out.push(format!("not offered to this identity, so left out: {}", absent.join(", ")));
    }
    Ok((rows, left_out))
}

/// The tables that may have been meant by names that are none, as far as the tenant offers them. Without an answer nothing is
/// suggested.
async fn alike(hunting: &mut Hunting<'_>, names: &[&str]) -> BTreeMap<String, Columns> {
    let alike = tables::alike(names.iter().copied());
    if alike.is_empty() {
        return BTreeMap::new();
    }
    offered::offered(hunting, &alike).await.map(|offered| offered.tables).unwrap_or_default()
}

fn services(app: &App) -> Result<&Services, Error> {
    app.services.as_deref().map_err(|reason| Error::Settings(reason.clone()))
}

/// The configuration row of a table by its columns: by the time of its events, by their arrival where that is no instant, or
/// whole where there is none.
fn row(table: &str, columns: &Columns, folder: &str) -> ConfigRow {
    let is_instant = |name: &&&str| columns.get(**name).is_some_and(|ty| ty.eq_ignore_ascii_case("datetime"));
    let (watermark, load_type) = match TIMES.iter().find(is_instant) {
        Some(time) => (*time, "Incremental"),
        // Documented as text for one table of events.
        None if columns.contains_key(TIMES[0]) => (ARRIVAL_COLUMN, "Incremental"),
        None => (TIME_COLUMN, "Snapshot"),
    };
    ConfigRow {
        source_table: table.to_owned(),
        destination_folder: folder.to_owned(),
        destination_table: table.to_owned(),
        watermark_column: watermark.to_owned(),
        last_refreshed: None,
        high_watermark: None,
        load_type: load_type.to_owned(),
        is_active: Some(true),
        problem: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_copied_by_its_time_and_whole_where_it_has_none() {
        let of = |columns: &[(&str, &str)]| {
            let columns = columns.iter().map(|(name, ty)| ((*name).to_owned(), (*ty).to_owned())).collect();
            let row = row("T", &columns, "Defender");
            (row.watermark_column, row.load_type)
        };
        let is = |column: &str, load: &str| (column.to_owned(), load.to_owned());
        assert_eq!(of(&[("TimeGenerated", "datetime"), ("Timestamp", "datetime")]), is("Timestamp", "Incremental"));
        assert_eq!(of(&[("TimeGenerated", "datetime")]), is("TimeGenerated", "Incremental"));
        assert_eq!(of(&[("Timestamp", "string")]), is("Watermark_IngestionTime", "Incremental"));
        assert_eq!(of(&[("ExpirationDate", "datetime")]), is("SnapshotTime", "Snapshot"));
    }
}
