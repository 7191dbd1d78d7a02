//! Opening the state store that the settings name, and one look whether it can be used. Knows nothing of what it holds.

use adxingestor::config::{Lookup, StateStore};
use adxingestor::random::SystemRandom;
use adxingestor::storage::{Connection, Error, Storage, azure, look, retrying, sqlite};
use adxingestor::timestamp::SystemClock;
use std::sync::Arc;
use std::time::Duration;

/// How long the look may take.
const LOOK: Duration = Duration::from_secs(10);

/// The services of an account, and the settings that say where each is.
const SERVICES: [(&str, &str); 3] = [
    ("table service", " (AccountName, TableEndpoint) or AzureWebJobsStorage__tableServiceUri"),
    ("queue service", " (AccountName, QueueEndpoint) or AzureWebJobsStorage__queueServiceUri"),
    ("blob service", " (AccountName, BlobEndpoint) or AzureWebJobsStorage__blobServiceUri"),
];

/// An open state store.
pub struct Opened {
    /// Repeats its requests as far as that is safe.
    pub storage: Storage,
    /// Which it is, for the line at start.
    pub description: String,
    /// Repeats nothing; `None` for a file, which is known to be usable.
    remote: Option<Storage>,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Somebody has to change something.
    #[error(
        "the state store cannot be used: its {service} refused a look: {error}; check AzureWebJobsStorage{settings}"
    )]
    Refused {
        /// The service that refused.
        service: &'static str,
        /// The settings beside `AzureWebJobsStorage` that say where it is.
        settings: &'static str,
        /// What it said.
        error: Error,
    },
    /// It may be there later.
    #[error("the state store cannot be reached now: {0}")]
    Unreached(String),
}

/// Opens the state store. `http` is asked for the HTTP client only when the store needs one.
///
/// # Errors
/// Why it cannot be opened, and what to do.
pub fn open(
    store: &StateStore,
    lookup: Lookup<'_>,
    http: impl FnOnce() -> Result<reqwest::Client, String>,
) -> Result<Opened, String> {
    let (storage, description, is_remote) = match store {
        StateStore::Sqlite(path) => {
            // A path that was mistyped begins a new ledger.
            let new = if path.exists() { "" } else { " (new, empty)" };
            let storage = sqlite(path, Arc::new(SystemClock)).map_err(|error| error.to_string())?;
            (storage, format!("{store}{new}"), false)
        }
        StateStore::Azure => {
            let connection = Connection::parse(lookup).map_err(|problems| problems.to_string())?;
            let opened = azure(&connection, lookup, http()?, Arc::new(SystemClock));
            let (storage, place) = opened.map_err(|error| error.to_string())?;
            (storage, format!("{store}, {place}"), true)
        }
    };
    let remote = is_remote.then(|| storage.clone());
    Ok(Opened { storage: retrying(storage, Arc::new(SystemRandom)), description, remote })
}

impl Opened {
    /// Reads from the table, a queue and the blobs once each: a role or a signature may be missing for one of them.
    ///
    /// # Errors
    /// [`Unusable`].
    pub async fn look(&self) -> Result<(), Unusable> {
        let Some(storage) = &self.remote else { return Ok(()) };
        let refused = |(service, settings), error| Unusable::Refused { service, settings, error };
        let errors = SERVICES.into_iter().zip(look(storage, LOOK).await);
        let (passing, lasting): (Vec<_>, Vec<_>) = errors
            .filter_map(|(service, error)| Some((service, error?)))
            .partition(|(_, error)| matches!(error, Error::Unavailable(_) | Error::Throttled { .. }));
        match (lasting.into_iter().next(), passing.into_iter().next()) {
            (Some((service, error)), _) => Err(refused(service, error)),
            (None, Some((_, error))) => Err(Unusable::Unreached(error.to_string())),
            (None, None) => Ok(()),
        }
    }
}
