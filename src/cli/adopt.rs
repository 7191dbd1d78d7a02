//! `adxingestor adopt`: rebuilds the ledgers of tables whose state store was lost or moved, and prints what it found.

use super::print_lines;
use super::run::when;
use super::serve::{pointing_on, ready};
use super::standalone::{environment, local_store};
use super::store::open;
use adxingestor::app::App;
use adxingestor::config::Lookup;
use adxingestor::functions::{AdoptError, adopt, adoptable, named};
use adxingestor::outbound::http_client_by;
use adxingestor::random::SystemRandom;
use adxingestor::state::{State, Tenant};
use adxingestor::timestamp::Timestamp;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

/// The options of `adopt`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A table: its SourceTable in the configuration, or its DestinationTable; may be given more than once.
    #[arg(long, required_unless_present = "all")]
    table: Vec<String>,
    /// Each table that has an active row in the configuration.
    #[arg(long, conflicts_with_all = ["table", "since"])]
    all: bool,
    /// Where the table had begun, if its first run was given --since: what lies before was never asked for.
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<Timestamp>,
    /// Only say what would be adopted.
    #[arg(long)]
    dry_run: bool,
    /// The folder with host.json and local.settings.json; without STATE_STORE also the one with the state.
    #[arg(long, default_value = ".")]
    app_root: PathBuf,
}

/// Adopts the tables.
///
/// # Errors
/// Why nothing, or not all, was adopted, and what to do.
pub async fn run(arguments: Arguments, lookup: Lookup<'_>) -> Result<(), String> {
    let (app_root, environment) = environment(&arguments.app_root, lookup)?;
    let merged = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let names: Vec<String> = environment.iter().map(|(name, _)| name.clone()).collect();
    let http = http_client_by(&merged).map_err(|error| error.to_string());
    let ready = ready(&merged, &names, http.clone()).map_err(pointing_on)?;
    let store = local_store(&app_root, &merged)?;
    let opened = open(&store, &merged, || http.clone())?;
    print_lines(&format!("State store: {}", opened.description))?;
    opened.look().await.map_err(|error| error.to_string())?;
    let services = ready.services(&opened.storage);
    let limits = services.settings.limits.clone();
    let tenant = Tenant::new(&services.settings.tenant, &limits);
    let state = State::new(opened.storage, Arc::new(SystemRandom), tenant);
    let app = App { state, limits, services: Ok(Arc::new(services)) };
    adopt_each(&app, &arguments).await
}

async fn adopt_each(app: &App, arguments: &Arguments) -> Result<(), String> {
    let Arguments { table: tables, since, dry_run, .. } = arguments;
    let configured = adoptable(app).await.map_err(|error| error.to_string())?;
    // A name that is wrong is told before the first is adopted.
    let named = tables.iter().map(|table| named(app, &configured, table).cloned());
    let rows = match arguments.all {
        true => configured.clone(),
        false => named.collect::<Result<_, _>>().map_err(|error| error.to_string())?,
    };
    let mut failures = Vec::new();
    for row in rows {
        let name = row.source_table.clone();
        match adopt(app, row, *since, *dry_run).await {
            Ok(report) => print_lines(&report.to_string())?,
            // Of all tables some may never have been copied.
            Err(error @ AdoptError::NoDestination(_)) if arguments.all => print_lines(&format!("{name}: {error}"))?,
            Err(error) => failures.push((name, error.to_string())),
        }
    }
    match failures.as_slice() {
        [] => Ok(()),
        [(_, error)] if tables.len() == 1 => Err(error.clone()),
        failures => {
            let lines = failures.iter().map(|(table, error)| format!("{table}: {error}"));
            Err(lines.collect::<Vec<_>>().join("\n"))
        }
    }
}
