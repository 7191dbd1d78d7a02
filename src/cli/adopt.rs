//! `adxingestor adopt`: rebuilds the ledger of a table whose state store was lost or moved, and prints what it found.

use super::serve::services;
use super::standalone::{environment, local_store};
use super::store::open;
use adxingestor::app::App;
use adxingestor::config::Lookup;
use adxingestor::functions::adopt;
use adxingestor::outbound::http_client;
use adxingestor::random::SystemRandom;
use adxingestor::state::{State, Tenant};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

/// The options of `adopt`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The table: its SourceTable in the configuration, or its DestinationTable.
    #[arg(long)]
    table: String,
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
    let store = local_store(&app_root, &merged)?;
    let http = http_client().map_err(|error| error.to_string());
    let opened = open(&store, &merged, || http.clone())?;
    println!("State store: {}", opened.description);
    opened.look().await.map_err(|error| error.to_string())?;
    let services = services(&merged, &[], http, &opened.storage)?;
    let limits = services.settings.limits.clone();
    let tenant = Tenant::new(&services.settings.tenant, &limits);
    let state = State::new(opened.storage, Arc::new(SystemRandom), tenant);
    let app = App { state, limits, services: Ok(Arc::new(services)) };
    let report = adopt(&app, &arguments.table, arguments.dry_run).await.map_err(|error| error.to_string())?;
    println!("{report}");
    Ok(())
}
