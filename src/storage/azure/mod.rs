//! The ports in an Azure Storage account: one table, queues by name and one container. Knows nothing of what rows,
//! messages and payloads mean.

mod account;
mod authorize;
mod blobs;
mod client;
mod clock;
mod connection;
mod denial;
mod error;
mod header;
#[cfg(feature = "legacy-sdk")]
mod legacy;
mod queues;
mod signing;
mod tables;
mod transport;

pub use connection::Connection;

use super::{Error, Storage};
use crate::config::Lookup;
use crate::outbound;
use crate::timestamp::Clock;
use account::Account;
use blobs::Blobs;
use queues::Queues;
use std::sync::Arc;
use tables::Tables;

/// Why the services of an account cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no identity to get in with.
    #[error("no identity for AzureWebJobsStorage: {0}")]
    Identity(#[from] outbound::Error),
    /// An address or a name that the services do not take.
    #[error("AzureWebJobsStorage or STATE_TABLE: {0}")]
    Place(#[from] Error),
    /// An account that the crates of the 0.21 line cannot reach.
    #[cfg(feature = "legacy-sdk")]
    #[error("AzureWebJobsStorage with the legacy SDK: {0}")]
    Legacy(#[from] adxingestor_legacy_storage::OpenError),
}

/// The store in the account of `connection`, which is made on first use, and in words where it is and what lets this app
/// in. `lookup` is where an identity is looked up. Makes no request, and repeats none: see [`super::retrying`].
///
/// # Errors
/// See [`ConnectError`].
pub fn azure(
    connection: &Connection,
    lookup: Lookup<'_>,
    http: reqwest::Client,
    local: Arc<dyn Clock>,
) -> Result<(Storage, String), ConnectError> {
    let account = Account::new(connection, lookup, http.clone(), local)?;
    let kind = account.identity.map(|kind| format!(" ({kind})")).unwrap_or_default();
    let storage = Storage {
        tables: Arc::new(Tables::new(account.tables, &connection.table)?),
        queues: Arc::new(Queues::new(account.queues)?),
        blobs: Arc::new(Blobs::new(account.blobs, &connection.container())?),
        clock: account.clock.clone(),
    };
    let place = format!("{connection}{kind}");
    #[cfg(feature = "legacy-sdk")]
    let (storage, place) =
        (legacy::replace(storage, connection, lookup, http, account.clock)?, format!("{place}, legacy SDK"));
    Ok((storage, place))
}
