//! `adxingestor adopt`: rebuilds the ledger of a table whose state store was lost or moved, and prints what it found.

use super::print_lines;
use super::run::when;
use super::serve::ready;
use super::standalone::{environment, local_store};
use super::store::open;
use adxingestor::app::App;
use adxingestor::config::Lookup;
use adxingestor::functions::adopt;
use adxingestor::outbound::http_client;
use adxingestor::random::SystemRandom;
use adxingestor::state::{State, Tenant};
use adxingestor::timestamp::Timestamp;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

/// The options of `adopt`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The table: its SourceTable in the configuration, or its DestinationTable.
    #[arg(long)]
    table: String,
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

/// Adopts the table.
///
/// # Errors
/// Why nothing, or not all, was adopted, and what to do.
pub async fn run(arguments: Arguments, lookup: Lookup<'_>) -> Result<(), String> {
    let (app_root, environment) = environment(&arguments.app_root, lookup)?;
    let merged = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let names: Vec<String> = environment.iter().map(|(name, _)| name.clone()).collect();
    let http = http_client().map_err(|error| error.to_string());
    let ready = ready(&merged, &names, http.clone())?;
    let store = local_store(&app_root, &merged)?;
    let opened = open(&store, &merged, || http.clone())?;
    print_lines(&format!("State store: {}", opened.description))?;
    opened.look().await.map_err(|error| error.to_string())?;
    let services = ready.services(&opened.storage);
    let limits = services.settings.limits.clone();
    let tenant = Tenant::new(&services.settings.tenant, &limits);
    let state = State::new(opened.storage, Arc::new(SystemRandom), tenant);
    let app = App { state, limits, services: Ok(Arc::new(services)) };
    let report =
        adopt(&app, &arguments.table, arguments.since, arguments.dry_run).await.map_err(|error| error.to_string())?;
    print_lines(&report.to_string())
}
